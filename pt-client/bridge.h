/* One bridge, as its line describes it, and what is known of its health. Shared by
 * all connections that use it, and kept a while after the last of them. */
#ifndef SULTRY_PT_CLIENT_BRIDGE_H
#define SULTRY_PT_CLIENT_BRIDGE_H

#include <stdbool.h>
#include <stdint.h>
#include <sys/socket.h>

#include "common/frame.h"
#include "common/message.h"
#include "common/pt_args.h"
#include "pt-client/client.h"

#define BRIDGE_CHANNELS 8
#define BRIDGE_DIALS 8          /* direct dials pending at once */
#define BRIDGE_REDIAL_S 180     /* an address rests this long after a reset */

struct bridge_address {
	struct sockaddr_storage addr;
	uint64_t rests_until_ms;
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
	struct oob_channel *channels[BRIDGE_CHANNELS];
	unsigned n_channels, channel; /* the one in use */
	uint64_t authentic_ms;       /* when it last proved its key; 0: never */
	int64_t clock_offset;        /* its clock minus ours, in seconds */
	/* Where direct connections go: the line's own address, or those it named. */
	struct sockaddr_storage line_addr;
	struct bridge_address direct[MSG_ADDRESSES];
	unsigned n_direct, dials;
};

/* The bridge at addr with the arguments of its line: a known one, or a new one. NULL: error
 * says what is wrong with the arguments. Give it back with bridge_release. */
struct bridge *bridge_get(struct client *cl, const struct sockaddr_storage *addr,
    const struct pt_args *args, char error[256]);
void bridge_release(struct bridge *b);
/* Frees the bridges that nothing has used for a while; all of them if `all`. */
void bridge_sweep(struct client *cl, uint64_t now_ms, bool all);

/* It proved its key within the last minute. */
bool bridge_warm(const struct bridge *b, uint64_t now_ms);
void bridge_authentic(struct bridge *b, uint64_t now_ms);
int64_t bridge_time(const struct bridge *b);
struct oob_channel *bridge_channel(struct bridge *b);
/* A request on `ch` failed: others are tried first from now on. */
void bridge_channel_failed(struct bridge *b, const struct oob_channel *ch);
unsigned bridge_rtt_ms(const struct bridge *b);

/* The addresses that `opened` named, if any may be dialled. */
void bridge_named(struct bridge *b, const struct msg_address *a, unsigned n);
/* The first direct address that does not rest; NULL: none, or enough dials pending. */
struct bridge_address *bridge_direct(struct bridge *b, uint64_t now_ms);
/* That address was reset or swallowed a hello: leave it alone for a while. */
void bridge_rest(struct bridge *b, const struct sockaddr_storage *addr, uint64_t now_ms);

#endif
