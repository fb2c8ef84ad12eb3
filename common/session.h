/* The session core: two streams, the carriers that move them, and the rules for
 * changing carrier (spec/protocol.md, "Sessions"). A state machine without sockets
 * and without a clock; the programs and the tests drive it alike. */
#ifndef SULTRY_COMMON_SESSION_H
#define SULTRY_COMMON_SESSION_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "common/bytes.h"
#include "common/message.h"
#include "common/stream.h"
#include "common/tls_tracker.h"

#define SESSION_EPOCHS 8 /* direct attempts that the server knows ahead */
#define SESSION_POLL_DATA (STREAM_HELD_MIN / 2) /* bytes that a poll takes along */

enum session_role { SESSION_CLIENT, SESSION_SERVER };

struct session {
	enum session_role role;
	struct stream_tx tx; /* client: up. server: down */
	struct stream_rx rx;
	struct tls_tracker *tracker;
	enum close_code close_out; /* what we say once all of tx is sent */
	enum close_code close_in;  /* what the peer said, behind its last byte */
	bool close_confirmed;      /* the peer has heard close_out */

	/* The direct connection, if there is one. */
	struct {
		bool on;        /* started, and not stopped since */
		bool greeted;   /* our HELLO or ACCEPT is sent */
		bool open;      /* the peer's HELLO or ACCEPT has come */
		bool pong, ping;
		bool close_sent;
		uint64_t next;  /* first offset of tx not sent on it yet */
		uint64_t cookie_in, cookie_out;
	} direct;
	uint64_t ack_received, ack_limit; /* the last ones sent on it */
	bool ack_now;

	/* OOB, client: first offset not sent in a request yet, and the requests with
	 * bytes that are under way. */
	uint64_t oob_next;
	unsigned oob_flying;
	/* The credit that the peer is known to have from us over oob. Client: what it last
	 * told. Server: what the poll said. */
	uint64_t oob_limit;

	/* Client: the next epoch to use. Server: the lowest that may be accepted. */
	uint32_t epoch;
	uint32_t confirmed; /* client: the server is known to expect this epoch or a later one */
	uint64_t poll_n;    /* server: the highest poll seen, plus 1 */
	bool poll_owns;     /* server: `down` goes by poll */
};

/* budget is borrowed. */
void session_init(struct session *s, enum session_role role, struct stream_budget *budget);
void session_clear(struct session *s);
/* Frees the bytes held, of a session that has ended and only answers late requests. */
void session_discard(struct session *s);

/* ---- the local socket (app or target) ---- */

/* How many bytes may be read from it now. */
size_t session_room(const struct session *s);
void session_put(struct session *s, const void *p, size_t n); /* n <= session_room */
void session_put_fin(struct session *s);
/* What it is to be given: bytes, then perhaps the end of stream, then perhaps a close. */
size_t session_peek(const struct session *s, const uint8_t **p);
void session_take(struct session *s, size_t n, uint64_t now_ms, unsigned rtt_ms);
bool session_fin_due(const struct session *s);
void session_take_fin(struct session *s);
enum close_code session_close_due(const struct session *s);
/* The local side ends the session; what was put before is still sent. The first
 * code stays. */
void session_close(struct session *s, enum close_code code);
/* Both ends of stream were passed on and acknowledged. */
bool session_finished(const struct session *s);

/* ---- cutover ---- */

/* No plaintext handshake is left to be sent, and the server knows the next epoch: a direct
 * connection may carry the rest. */
bool session_may_go_direct(const struct session *s);

/* ---- direct carrier ---- */

/* A new direct connection takes over both streams, from what the peer is known to
 * hold. Client: call with the hello about to be sent (s->epoch was counted up by the
 * caller). Server: after its hello authenticated, with its epoch. */
void session_direct_start(struct session *s);
void session_accept(struct session *s, uint32_t epoch);
void session_direct_stop(struct session *s);
/* Something was sent on it that the peer has not acknowledged. */
bool session_direct_unacked(const struct session *s);
/* A record should be written now. */
bool session_direct_wants(const struct session *s);
/* An acknowledgement waits for company: call session_ack_now within 100 ms. */
bool session_ack_waits(const struct session *s);
void session_ack_now(struct session *s);
void session_ping(struct session *s, uint64_t cookie);
/* Fills w with the frames of one record; no padding. */
void session_direct_fill(struct session *s, struct writer *w);
/* Takes the frames of one record. False: a broken peer, to be cut off. */
bool session_direct_frames(struct session *s, struct reader *frames);

/* ---- oob carrier ---- */

/* The peer is short of credit and we have more to give: worth a push of the client's,
 * and the answer to a poll that the server holds. */
bool session_credit_due(const struct session *s);

/* ---- client ---- */

/* There are bytes, an end, a close, or credit that the peer is short of for a request
 * to carry. */
bool session_push_wants(const struct session *s);
/* Fills in an exchange with what is due, up to max bytes. A poll may be held for long, so
 * it takes few bytes, and leaves end and close to a push. The view in x->data holds
 * until the session changes. Each is followed by one session_exchanged(), or
 * session_exchange_lost() if no answer will ever be had. */
void session_exchange(struct session *s, struct msg_request *x, bool poll, size_t max);
bool session_exchanged(struct session *s, const struct msg_request *x, const struct msg_reply *r);
void session_exchange_lost(struct session *s, const struct msg_request *x);
/* Takes an `opened`: its bytes, and how many of ours the open brought. */
bool session_opened(struct session *s, const struct msg_reply *r);

/* ---- server ---- */

enum session_exchange_result {
	EXCHANGE_BAD,    /* a broken peer */
	EXCHANGE_ANSWER, /* answer now, without bytes */
	EXCHANGE_POLL,   /* it owns `down`: answer when session_poll_due() */
};

/* Takes n bytes of the stream at offset, such as those that came with an open. */
enum stream_result session_receive(struct session *s, uint64_t offset, const uint8_t *p, size_t n);
/* Takes request number n. `*drop_direct` is set if the direct connection, if any, has
 * lost the stream and is to be stopped. */
enum session_exchange_result session_take_exchange(struct session *s, uint64_t n,
    const struct msg_request *x, bool *drop_direct);
bool session_poll_due(const struct session *s);
/* Fills in the reply to request n; with bytes (up to max) if it is the poll's. */
void session_answer(struct session *s, struct msg_reply *r, uint64_t n, bool bytes, size_t max);

#endif
