/* One bridge, as its line describes it, and what is known of its health. Shared by
 * all connections that use it, and kept a while after the last of them. */
#ifndef SULTRY_PT_CLIENT_BRIDGE_H
#define SULTRY_PT_CLIENT_BRIDGE_H

#include <stdbool.h>
#include <stdint.h>
#include <sys/socket.h>

#include "common/frame.h"
#include "common/message.h"
#include "pt-client/bridge_args.h"
#include "pt-client/client.h"

#define BRIDGE_DIALS 8 /* direct dials pending at once */

struct bridge_address {
	struct sockaddr_storage addr;
	uint64_t rests_until_ms;
};

struct bridge_channel {
	struct oob_channel *oob;
	uint64_t failed_ms;       /* when it last did */
	uint64_t failed_until_ms; /* others are preferred until then */
	unsigned failures;        /* in a row, those before that counted as one */
};

TAILQ_HEAD(bridge_queue, bridge_waiter);

/* One who waits for its turn to dial the bridge. Zeroed memory is a valid one. */
struct bridge_waiter {
	TAILQ_ENTRY(bridge_waiter) link;
	struct bridge_queue *queue; /* NULL: none */
	void (*turn)(void *arg, bool redial); /* dial; a redial calls bridge_redialled then */
	void *arg;
};

struct bridge {
	LIST_ENTRY(bridge) link;
	struct client *cl;
	char *name;                  /* address and arguments: what makes it this bridge */
	unsigned refs;
	uint64_t unused_ms;          /* since when refs is 0 */
	uint8_t key[NOISE_KEY];
	struct pad_scheme pad;
	char *base;                  /* the API's path */
	struct bridge_channel channels[BRIDGE_CHANNELS];
	unsigned n_channels;
	uint64_t authentic_ms;       /* when it last proved its key; 0: never */
	int64_t clock_offset;        /* its clock minus ours, in milliseconds */
	/* Where direct connections go: the line's own address, or those it named. */
	struct sockaddr_storage line_addr;
	struct bridge_address direct[MSG_ADDRESSES];
	unsigned n_direct, dials;
	uint32_t redial_s;           /* how long an address rests after a reset */
	/* First dials that wait until fewer are pending; redials, one at a time: a burst of
	 * them would be a sign of its own. */
	struct bridge_queue firsts, redials;
	struct event *redial;
	bool redialling;
};

/* The bridge at addr with the arguments of its line: a known one, or a new one. NULL: error
 * says what is wrong. Give it back with bridge_release. */
struct bridge *bridge_get(struct client *cl, const struct sockaddr_storage *addr,
    const struct pt_args *args, char error[256]);
void bridge_release(struct bridge *b);
/* Frees the bridges that nothing has used for a while; all of them if `all`. */
void bridge_sweep(struct client *cl, uint64_t now_ms, bool all);

/* It proved its key within the last minute. */
bool bridge_warm(const struct bridge *b, uint64_t now_ms);
/* It has, at that time. */
void bridge_authentic(struct bridge *b, uint64_t at_ms);
/* Its clock, as far as it is known: milliseconds since 1970. */
int64_t bridge_time(const struct bridge *b);
/* It has a channel that did not fail lately. */
bool bridge_healthy(const struct bridge *b, uint64_t now_ms);
/* The healthiest channel. */
struct oob_channel *bridge_channel(const struct bridge *b, uint64_t now_ms);
/* How a request on `ch` went. One that failed is the last to be tried for a while. */
void bridge_channel_result(struct bridge *b, const struct oob_channel *ch, bool ok, uint64_t now_ms);
/* The round trip of the healthiest channel; 0: unknown. */
unsigned bridge_rtt_ms(const struct bridge *b, uint64_t now_ms);
#define BRIDGE_WHY 200
/* For the log: what was wrong with an answer, or none, that does not prove the bridge's key. */
void bridge_why(char why[BRIDGE_WHY], const struct oob_reply *reply);

/* Whether an address that b told may be dialled: a public one, or one of the kind that its line
 * has, this machine or a local network. A hostile bridge must not lead us into our own network. */
bool bridge_may_lead_to(const struct bridge *b, const struct sockaddr_storage *addr);
/* The addresses that `opened` named; where none may be dialled, the line's own. */
void bridge_named(struct bridge *b, const struct msg_address *a, unsigned n);
/* The first direct address that does not rest; NULL: none, or enough dials pending. */
struct bridge_address *bridge_direct(struct bridge *b, uint64_t now_ms);
/* That address failed: it is left alone for so long. */
void bridge_rest(struct bridge *b, const struct sockaddr_storage *addr, uint64_t now_ms,
    uint32_t seconds);
/* The local network changed: what was blocked may be open from here, and the pooled
 * connections lead nowhere. */
void bridge_network_changed(struct bridge *b, uint64_t now_ms);

/* A dial is pending, and is over. */
void bridge_dials(struct bridge *b);
void bridge_dialled(struct bridge *b);
/* Queues w for its first dial until fewer are pending. False: there are few. */
bool bridge_await_dial(struct bridge *b, struct bridge_waiter *w);
/* Queues w to dial again: as soon as it is its turn and an address has rested. */
void bridge_redial(struct bridge *b, struct bridge_waiter *w, uint64_t now_ms);
void bridge_unqueue(struct bridge_waiter *w);
/* The dial of the waiter whose turn it was is over, or was not needed. */
void bridge_redialled(struct bridge *b, uint64_t now_ms);

#endif
