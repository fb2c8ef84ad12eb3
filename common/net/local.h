/* Moves bytes between a local socket (the app's, or the target's) and its session. */
#ifndef SULTRY_COMMON_NET_LOCAL_H
#define SULTRY_COMMON_NET_LOCAL_H

#include <event2/event.h>
#include <stdbool.h>

#include "common/session.h"

/* Embedded in its owner. After each batch of I/O it calls moved(), whose turn it is
 * to drive the carriers; local_flush and local_end never call it. */
struct local {
	evutil_socket_t fd; /* -1: none (yet, or any more) */
	struct event *rd, *wr, *look;
	struct session *s;
	unsigned rtt_ms;     /* of the carrier, for the credit */
	bool read_done;      /* end of stream or a reset was read */
	bool deaf;           /* takes no more; what it has said is read, then it failed */
	int queued;          /* bytes that the kernel still has for it, when last asked */
	uint64_t stuck_ms;   /* since when a reset, ours or the peer's, waits without progress */
	/* Bytes that may still move, either way; SIZE_MAX: any number. The owner sets it
	 * after local_start, and calls local_flush again when there is more. */
	size_t allowance;
	/* What the socket said before local_start: the session has it first, as it has room. Set in
	 * the same way; freed with the socket. */
	struct buffer ahead;
	/* NULL, or how many of the n bytes that the socket says next the session is to have; if
	 * not all, that ends it like a reset. Set in the same way. */
	size_t (*admit)(void *arg, const uint8_t *p, size_t n);
	/* at: NULL, or how many of the n bytes that the socket gets next go ahead of `text`; if
	 * all, it is not due. Asked again for those behind. Both are set in the same way. */
	struct {
		size_t (*at)(void *arg, const uint8_t *p, size_t n);
		const char *text; /* borrowed */
		size_t ahead, left; /* what is still to go: bytes before it, and of it */
	} insert;
	uint64_t moved_bytes, looked_at;
	void (*moved)(void *arg);
	void *arg;
};

/* Takes fd, non-blocking. s is borrowed. Starts to read at once. */
void local_start(struct local *l, struct event_base *base, evutil_socket_t fd, struct session *s,
    void (*moved)(void *arg), void *arg);
/* Gives the socket what the session has for it, and reads on if there is room: to be
 * called whenever the session changed. Closes the socket when both ends are through
 * or the session says close; a reset waits until the socket's peer has what is before it,
 * or takes no more. */
void local_flush(struct local *l);
/* Closes the socket; with a reset (RST), or orderly. Idempotent. */
void local_end(struct local *l, bool reset);

/* Milliseconds of the monotonic clock. */
uint64_t local_now(void);
/* Milliseconds since 1970, of the clock that may be set. */
int64_t local_clock(void);

#endif
