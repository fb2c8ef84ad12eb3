/* A conversation that precedes the payload on a socket: messages of exact lengths come in,
 * answers go out, and not one byte behind the last message is taken. What is said is decided
 * by `step`, a pure function; talk_feed runs it over bytes, talk_run over a socket. */
#ifndef SULTRY_COMMON_NET_TALK_H
#define SULTRY_COMMON_NET_TALK_H

#include <event2/util.h>

#include "common/bytes.h"

/* The longest message: a SOCKS5 reply that holds a name (RFC 1928 section 6). */
#define TALK_IN_MAX 260
/* All that we say in one conversation. */
#define TALK_OUT_MAX 2048

enum talk_result { TALK_OK, TALK_MORE, TALK_BAD };

struct talk {
	/* Called when the `want` bytes that were asked for are in `in`. Returns TALK_MORE after
	 * it has asked for the next message, and perhaps written to `out`. */
	enum talk_result (*step)(struct talk *t);
	uint8_t in[TALK_IN_MAX];
	size_t have, want;
	struct writer out; /* everything said so far; never drained */
	size_t sent;
	uint8_t out_mem[TALK_OUT_MAX];
};

/* The struct must stay where it is until talk_clear, which wipes it. */
void talk_init(struct talk *t, enum talk_result (*step)(struct talk *t));
void talk_clear(struct talk *t);

/* For step: the next message has n bytes, 0 < n <= TALK_IN_MAX. */
void talk_want(struct talk *t, size_t n);

/* Takes from r what belongs to the conversation. */
enum talk_result talk_feed(struct talk *t, struct reader *r);

/* Sends and receives what can be without blocking. TALK_MORE: call again when fd is ready for
 * *wait, EV_READ or EV_WRITE. TALK_BAD: *err is an errno value (ECONNRESET: the peer hung up),
 * or 0 if step did not like what was said. */
enum talk_result talk_run(struct talk *t, evutil_socket_t fd, short *wait, int *err);

#endif
