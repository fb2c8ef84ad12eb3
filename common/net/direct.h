/* One direct connection: a TCP socket that carries sealed records, and its session. */
#ifndef SULTRY_COMMON_NET_DIRECT_H
#define SULTRY_COMMON_NET_DIRECT_H

#include <event2/event.h>
#include <stdbool.h>

#include "common/frame.h"
#include "common/session.h"

/* How a direct connection ended. */
enum direct_end {
	DIRECT_ALIVE,
	DIRECT_EOF,    /* the peer closed it in order */
	DIRECT_RESET,  /* an error of the socket */
	DIRECT_SILENT, /* sent data stays unacknowledged, or a PING unanswered */
	DIRECT_BROKEN, /* what came is not authentic, or breaks the protocol */
};

/* Heap object of its owner, who frees it with direct_free: never from inside moved()
 * unless that is the last thing it does with it. */
struct direct {
	evutil_socket_t fd;
	struct event *rd, *wr, *ack, *watch;
	struct session *s;
	const struct pad_scheme *pad;
	struct record_key out, in;
	uint8_t tag[EPOCH_TAG];
	bool hello;          /* client: the first record is still to be sent */
	enum direct_end dead; /* not DIRECT_ALIVE: the owner frees it */
	unsigned rtt_ms;     /* the kernel's smoothed round trip, now and then */
	/* Liveness, in ms of local_now(). */
	uint64_t heard_ms;   /* a record came */
	uint64_t closed_ms;  /* CLOSE was sent; 0: not yet */
	uint64_t data_ms;    /* a stream moved, either way */
	uint64_t acked_ms;   /* `base` or, up to `due`, kernel_acked moved, or nothing had to */
	uint64_t ping_ms;    /* the last PING; 0: none since data moved */
	uint64_t base, moved_sum, kernel_acked;
	uint64_t sent;       /* to the kernel; comparable with kernel_acked */
	uint64_t due;        /* `sent` behind all that was sent when the wait began */
	bool waits;          /* for an acknowledgement */
	bool watching;       /* the next look is due soon */
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
/* Its own address is gone from this machine. */
bool direct_orphaned(const struct direct *d);
const char *direct_end_text(enum direct_end end);

#endif
