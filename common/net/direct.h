/* One direct connection: a TCP socket that carries sealed records, and its session. */
#ifndef SULTRY_COMMON_NET_DIRECT_H
#define SULTRY_COMMON_NET_DIRECT_H

#include <event2/event.h>
#include <stdbool.h>

#include "common/frame.h"
#include "common/session.h"

/* Heap object of its owner, who frees it with direct_free: never from inside moved()
 * unless that is the last thing it does with it. */
struct direct {
	evutil_socket_t fd;
	struct event *rd, *wr, *ack;
	struct session *s;
	const struct pad_scheme *pad;
	struct record_key out, in;
	uint8_t tag[EPOCH_TAG];
	bool hello;          /* client: the first record is still to be sent */
	bool dead;           /* the peer is gone or broken; the owner frees it */
	bool eof;            /* of these, it closed in order */
	uint64_t bytes_in;
	struct buffer in_part, out_part; /* an incomplete record; sealed bytes not sent */
	void (*moved)(void *arg);
	void *arg;
};

/* Takes fd, non-blocking and connected. s and pad are borrowed. For a client: sends
 * the hello with what the session has. For a server: the caller has opened the hello
 * (in_n = 1 record). Reads at once. */
struct direct *direct_new(struct event_base *base, evutil_socket_t fd, struct session *s,
    const struct noise_epoch *keys, const struct pad_scheme *pad, void (*moved)(void *arg),
    void *arg);
void direct_free(struct direct *d);
/* Bytes that were read from fd before direct_new. */
void direct_feed(struct direct *d, const uint8_t *p, size_t n);
/* Sends what the session wants sent; call whenever the session changed. */
void direct_flush(struct direct *d);
/* All that was sealed is with the kernel. */
bool direct_idle(const struct direct *d);
/* The kernel's smoothed round trip, in ms, rounded up. */
unsigned direct_rtt_ms(const struct direct *d);

#endif
