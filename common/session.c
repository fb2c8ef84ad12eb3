#include "common/session.h"

#include "common/frame.h"

void
session_init(struct session *s, enum session_role role, struct stream_budget *budget)
{
	*s = (struct session){ .role = role, .poll_owns = true };
	stream_tx_init(&s->tx, budget);
	stream_rx_init(&s->rx, budget);
	s->tracker = tls_tracker_new();
	s->ack_limit = s->oob_limit = s->rx.limit;
}

void
session_clear(struct session *s)
{
	stream_tx_clear(&s->tx);
	stream_rx_clear(&s->rx);
	tls_tracker_free(s->tracker);
	s->tracker = NULL;
}

void
session_discard(struct session *s)
{
	stream_tx_clear(&s->tx);
	s->rx.taken += s->rx.held.n; /* still acknowledged */
	stream_rx_clear(&s->rx);
}

/* ---- the local socket ---- */

size_t
session_room(const struct session *s)
{
	return s->close_out != CLOSE_NONE ? 0 : stream_tx_room(&s->tx);
}

void
session_put(struct session *s, const void *p, size_t n)
{
	tls_tracker_feed(s->tracker, s->role == SESSION_CLIENT ? TLS_UP : TLS_DOWN, p, n);
	stream_tx_put(&s->tx, p, n);
}

void
session_put_fin(struct session *s)
{
	stream_tx_fin(&s->tx);
}

size_t
session_peek(const struct session *s, const uint8_t **p)
{
	return stream_rx_peek(&s->rx, p);
}

void
session_take(struct session *s, size_t n, uint64_t now_ms, unsigned rtt_ms)
{
	stream_rx_take(&s->rx, n, now_ms, rtt_ms);
}

bool
session_fin_due(const struct session *s)
{
	return stream_rx_fin_due(&s->rx);
}

void
session_take_fin(struct session *s)
{
	stream_rx_take_fin(&s->rx);
}

enum close_code
session_close_due(const struct session *s)
{
	return s->rx.held.n == 0 && !session_fin_due(s) ? s->close_in : CLOSE_NONE;
}

void
session_close(struct session *s, enum close_code code)
{
	if (s->close_out == CLOSE_NONE)
		s->close_out = code;
}

bool
session_finished(const struct session *s)
{
	return s->tx.fin_acked && s->rx.fin_taken;
}

bool
session_may_go_direct(const struct session *s)
{
	return tls_tracker_final(s->tracker) && s->epoch < s->confirmed + SESSION_EPOCHS;
}

/* ---- what both carriers do with the streams ---- */

static bool
unsent(const struct session *s, uint64_t next)
{
	uint64_t end = stream_tx_end(&s->tx) + (s->tx.fin ? 1 : 0);

	/* A peer that said close wants no more of it. */
	return s->close_in == CLOSE_NONE && next < end && s->tx.base < end;
}

/* The next bytes from *next on, at most max; moves *next behind them. */
static size_t
take_unsent(const struct session *s, uint64_t *next, const uint8_t **p, size_t max)
{
	size_t n;

	if (*next < s->tx.base)
		*next = s->tx.base;
	n = stream_tx_peek(&s->tx, *next, p);
	if (n > max)
		n = max;
	*next += n;
	return n;
}

/* Whether the end of stream comes at *next; if so, moves *next behind it. */
static bool
take_unsent_fin(const struct session *s, uint64_t *next)
{
	if (!s->tx.fin || *next != stream_tx_end(&s->tx))
		return false;
	*next += 1;
	return true;
}

enum stream_result
session_receive(struct session *s, uint64_t offset, const uint8_t *p, size_t n)
{
	uint64_t before = s->rx.taken + s->rx.held.n, end = offset + n;
	enum stream_result r = stream_rx_put(&s->rx, offset, p, n);

	if (r == STREAM_OK && end > before) {
		size_t fresh = (size_t)(end - before);

		tls_tracker_feed(s->tracker, s->role == SESSION_CLIENT ? TLS_DOWN : TLS_UP,
		    p + (n - fresh), fresh);
	}
	return r;
}

static void
receive_close(struct session *s, enum close_code code)
{
	if (s->close_in == CLOSE_NONE)
		s->close_in = code;
}

/* ---- direct carrier ---- */

void
session_direct_start(struct session *s)
{
	session_direct_stop(s);
	s->direct.on = true;
	s->direct.next = s->tx.base;
	s->poll_owns = false;
}

void
session_accept(struct session *s, uint32_t epoch)
{
	session_direct_start(s);
	s->epoch = epoch + 1;
}

void
session_direct_stop(struct session *s)
{
	s->direct.on = s->direct.open = s->direct.greeted = false;
	s->direct.ping = s->direct.pong = s->direct.close_sent = false;
	s->ack_now = false;
}

static bool
close_sendable(const struct session *s, uint64_t next)
{
	return s->close_out != CLOSE_NONE && !unsent(s, next);
}

bool
session_ack_waits(const struct session *s)
{
	return s->direct.on &&
	    (stream_rx_received(&s->rx) != s->ack_received || s->rx.limit != s->ack_limit);
}

static bool
ack_urgent(const struct session *s)
{
	uint64_t quarter = s->rx.window / 4;

	return session_ack_waits(s) && (s->ack_now ||
	    stream_rx_received(&s->rx) - s->ack_received >= quarter ||
	    s->rx.limit - s->ack_limit >= quarter || s->rx.fin);
}

bool
session_direct_unacked(const struct session *s)
{
	return s->direct.on && s->close_in == CLOSE_NONE && s->direct.next > s->tx.base;
}

bool
session_direct_wants(const struct session *s)
{
	if (!s->direct.on || s->direct.close_sent)
		return false;
	return !s->direct.greeted || s->direct.ping || s->direct.pong || ack_urgent(s) ||
	    unsent(s, s->direct.next) || close_sendable(s, s->direct.next);
}

void
session_ack_now(struct session *s)
{
	s->ack_now = true;
}

void
session_ping(struct session *s, uint64_t cookie)
{
	s->direct.ping = true;
	s->direct.cookie_out = cookie;
}

static void
fill_ack(struct session *s, struct writer *w)
{
	struct frame f = { .type = FRAME_ACK, .offset = stream_rx_received(&s->rx),
		.limit = s->rx.limit };

	if (!s->direct.greeted)
		f.type = s->role == SESSION_CLIENT ? FRAME_HELLO : FRAME_ACCEPT;
	else if (!session_ack_waits(s))
		return;
	frame_write(w, &f);
	s->direct.greeted = true;
	s->ack_received = f.offset;
	s->ack_limit = f.limit;
	s->ack_now = false;
}

static void
fill_data(struct session *s, struct writer *w)
{
	struct frame f = { .type = FRAME_DATA };
	size_t room = writer_room(w);

	if (room <= FRAME_DATA_OVERHEAD || s->close_in != CLOSE_NONE)
		return;
	f.n = take_unsent(s, &s->direct.next, &f.p, room - FRAME_DATA_OVERHEAD);
	if (f.n > 0) {
		f.offset = s->direct.next - f.n;
		frame_write(w, &f);
	}
	if (writer_room(w) >= FRAME_HEADER + 8 && take_unsent_fin(s, &s->direct.next))
		frame_write(w, &(struct frame){ .type = FRAME_FIN, .offset = s->direct.next - 1 });
}

void
session_direct_fill(struct session *s, struct writer *w)
{
	fill_ack(s, w);
	if (s->direct.ping)
		frame_write(w, &(struct frame){ .type = FRAME_PING, .offset = s->direct.cookie_out });
	if (s->direct.pong)
		frame_write(w, &(struct frame){ .type = FRAME_PONG, .offset = s->direct.cookie_in });
	s->direct.ping = s->direct.pong = false;
	fill_data(s, w);
	if (close_sendable(s, s->direct.next) && writer_room(w) >= FRAME_HEADER + 1) {
		frame_write(w, &(struct frame){ .type = FRAME_CLOSE, .code = (uint8_t)s->close_out });
		s->direct.close_sent = true;
	}
}

static bool
take_frame(struct session *s, const struct frame *f)
{
	bool greeting = f->type == (s->role == SESSION_CLIENT ? FRAME_ACCEPT : FRAME_HELLO);

	/* A greeting comes first, and once. */
	if (greeting == s->direct.open)
		return false;
	switch (f->type) {
	case FRAME_HELLO:
	case FRAME_ACCEPT:
		s->direct.open = true;
		s->confirmed = s->epoch;
		return greeting && stream_tx_ack(&s->tx, f->offset, f->limit);
	case FRAME_ACK:
		return stream_tx_ack(&s->tx, f->offset, f->limit);
	case FRAME_DATA:
		return session_receive(s, f->offset, f->p, f->n) == STREAM_OK;
	case FRAME_FIN:
		return stream_rx_fin(&s->rx, f->offset) == STREAM_OK;
	case FRAME_PING:
		s->direct.pong = true;
		s->direct.cookie_in = f->offset;
		return true;
	case FRAME_PONG:
		return true;
	case FRAME_CLOSE:
		if (f->code < CLOSE_DONE || f->code > CLOSE_ERROR)
			return false;
		receive_close(s, (enum close_code)f->code);
		/* A server says done only in answer to a client's close. */
		if (s->role == SESSION_CLIENT && s->direct.close_sent && f->code == CLOSE_DONE)
			s->close_confirmed = true;
		return true;
	case FRAME_PAD:
		break;
	}
	return false;
}

bool
session_direct_frames(struct session *s, struct reader *frames)
{
	struct frame f;

	while (frame_next(frames, &f))
		if (!take_frame(s, &f))
			return false;
	return reader_end(frames);
}

/* ---- oob carrier ---- */

/* Applies what a message of either kind says: ack, bytes, end, close. Over a gap its
 * bytes, end and close count for nothing. */
static bool
take_oob(struct session *s, uint64_t ack_received, uint64_t ack_limit, uint64_t offset,
    const uint8_t *p, size_t n, bool fin, enum close_code close)
{
	enum stream_result r = STREAM_OK;

	if (!stream_tx_ack(&s->tx, ack_received, ack_limit))
		return false;
	if (n > 0)
		r = session_receive(s, offset, p, n);
	else if (offset > stream_rx_received(&s->rx))
		r = STREAM_GAP;
	if (r == STREAM_OK && fin)
		r = stream_rx_fin(&s->rx, offset + n);
	if (r == STREAM_OK && close != CLOSE_NONE)
		receive_close(s, close);
	return r != STREAM_BAD;
}

bool
session_credit_due(const struct session *s)
{
	uint64_t quarter = s->rx.window / 4;

	return s->close_in == CLOSE_NONE && s->oob_limit < stream_rx_received(&s->rx) + quarter &&
	    s->rx.limit >= s->oob_limit + quarter;
}

bool
session_push_wants(const struct session *s)
{
	return unsent(s, s->oob_next) || session_credit_due(s) ||
	    (close_sendable(s, s->oob_next) && !s->close_confirmed);
}

void
session_exchange(struct session *s, struct msg_request *x, bool poll, size_t max)
{
	*x = (struct msg_request){ .op = OP_EXCHANGE, .poll = poll, .epoch = s->epoch,
		.ack_received = stream_rx_received(&s->rx), .ack_limit = s->rx.limit,
		.up = s->tx.base, .up_limit = s->tx.limit };
	s->oob_limit = x->ack_limit;
	/* Held, a poll keeps its bytes from being acknowledged: few, and none over a gap. */
	if (poll && (s->oob_flying > 0 || s->tx.held.n > SESSION_POLL_DATA))
		return;
	if (s->close_in == CLOSE_NONE) {
		x->n = take_unsent(s, &s->oob_next, &x->data, max);
		x->up = s->oob_next - x->n;
		x->fin = !poll && take_unsent_fin(s, &s->oob_next);
	}
	if (!poll && close_sendable(s, s->oob_next))
		x->close = s->close_out;
	if (x->n > 0 || x->fin)
		s->oob_flying++;
}

static uint64_t
exchange_end(const struct msg_request *x)
{
	return x->up + x->n + (x->fin ? 1 : 0);
}

static void
exchange_over(struct session *s, const struct msg_request *x)
{
	if (x->n > 0 || x->fin)
		s->oob_flying--;
	/* Lost, or met a gap: all that is not acknowledged goes again. */
	if (s->tx.base < exchange_end(x))
		s->oob_next = s->tx.base;
}

void
session_exchange_lost(struct session *s, const struct msg_request *x)
{
	exchange_over(s, x);
	s->oob_limit = 0; /* the peer may not have heard it */
}

bool
session_exchanged(struct session *s, const struct msg_request *x, const struct msg_reply *r)
{
	bool ok = take_oob(s, r->ack_received, r->ack_limit, r->down, r->data, r->n, r->fin, r->close);

	exchange_over(s, x);
	if (x->poll && x->epoch > s->confirmed)
		s->confirmed = x->epoch;
	/* Over a gap it was not heard, even if the server says close too. */
	if (x->close != CLOSE_NONE && r->close != CLOSE_NONE && r->ack_received >= exchange_end(x))
		s->close_confirmed = true;
	return ok;
}

bool
session_opened(struct session *s, const struct msg_reply *r)
{
	return r->down == 0 &&
	    take_oob(s, r->ack_received, r->ack_limit, 0, r->data, r->n, r->fin, r->close);
}

enum session_exchange_result
session_take_exchange(struct session *s, uint64_t n, const struct msg_request *x, bool *drop_direct)
{
	*drop_direct = false;
	if (!take_oob(s, x->ack_received, x->ack_limit, x->up, x->data, x->n, x->fin, x->close))
		return EXCHANGE_BAD;
	if (!x->poll || n + 1 < s->poll_n || x->epoch < s->epoch)
		return EXCHANGE_ANSWER;
	/* A poll that names epoch e says that all before e are given up. */
	s->epoch = x->epoch;
	s->poll_n = n + 1;
	s->oob_limit = x->up_limit;
	*drop_direct = s->direct.on;
	s->poll_owns = true;
	return EXCHANGE_POLL;
}

bool
session_poll_due(const struct session *s)
{
	return !s->poll_owns || unsent(s, s->tx.base) || s->close_out != CLOSE_NONE ||
	    session_credit_due(s);
}

void
session_answer(struct session *s, struct msg_reply *r, uint64_t n, bool bytes, size_t max)
{
	uint64_t next = s->tx.base;

	*r = (struct msg_reply){ .op = REPLY_EXCHANGED, .re = n,
		.ack_received = stream_rx_received(&s->rx), .ack_limit = s->rx.limit };
	if (bytes && s->poll_owns) {
		r->n = take_unsent(s, &next, &r->data, max);
		r->fin = take_unsent_fin(s, &next);
	}
	r->down = next - r->n - (r->fin ? 1 : 0);
	if (close_sendable(s, next))
		r->close = s->close_out;
	else if (s->close_in != CLOSE_NONE)
		r->close = CLOSE_DONE; /* heard */
}
