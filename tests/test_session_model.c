/* Two sessions joined by carriers that delay, cut, repeat, reorder and drop whatever
 * they can, against a model that is two byte arrays. A failure prints its seed;
 * SULTRY_SEED=n (with SULTRY_BIG=1 for a run with megabytes) runs that one again. */
#include "tests/harness.h"

#include <stdio.h>

#include "common/frame.h"
#include "common/mem.h"
#include "common/session.h"

#define SMALL_RUNS 10000
#define BIG_RUNS 150
#define NOISE_BYTES (8u << 20)
#define CARRIERS 6
#define PACKETS 256
#define WAIT_MS 25000     /* a held poll; no run may need it to run out */
#define KIND_MS 8000      /* how long a run may take once the network is kind */
#define NEVER UINT64_MAX

enum { CLIENT, SERVER };
enum { POLL, PUSH, OPEN };

/* One local socket: what it puts, and what it must be given. */
struct app {
	struct session s;
	const uint8_t *bytes;  /* that it puts */
	uint64_t total, put, taken;
	uint64_t close_at;     /* it closes at this offset of its bytes */
	enum close_code said, heard;
	bool leaves;           /* takes nothing once it has closed */
	uint64_t asleep_until; /* takes nothing before */
	uint64_t limit;        /* the credit that it gave so far */
};

/* One direction of a direct connection. */
struct pipe {
	struct buffer wire, got;  /* under way; delivered, but not a whole record yet */
	uint64_t left;            /* bytes until it goes dead, unnoticed */
	struct record_key seal, open;
};

struct carrier {
	uint32_t epoch;
	uint8_t tag[EPOCH_TAG];
	bool end[2];          /* whether that side still has its end open */
	bool greeted;         /* the server has seen the hello */
	uint64_t starts;      /* nothing is delivered before */
	unsigned speed;       /* percent of ticks in which it delivers */
	struct pipe up, down;
};

/* A request that waits for its answer. */
struct pending {
	bool on;
	uint64_t n, again_at; /* when it is sent again: the network said that it failed */
	unsigned tries;
	struct msg_request x;
	struct buffer data;
};

/* A copy of a request or of a reply on its way. */
struct packet {
	uint64_t at, n;
	bool reply;
	struct msg_request x;
	struct msg_reply r;
	struct buffer data; /* the stream bytes, or in a `json` run the whole plaintext */
};

struct run {
	uint64_t seed, rng, now;
	bool big, sealed, json, kind, opened, use_direct;
	unsigned drop, repeat, delay, die, notice, chunk, rtt;
	uint64_t kind_at;
	struct app app[2];
	struct stream_budget budget;
	uint8_t secret[NOISE_KEY];
	struct carrier carrier[CARRIERS];
	struct carrier *current[2];  /* what each side sends on; NULL: nothing */
	uint32_t given_up;           /* all epochs below, as a poll told the server */
	uint64_t next_n;
	struct pending pending[3];
	struct packet packet[PACKETS];
	size_t n_packets;
	struct { bool on; uint64_t n, until; } held;
	struct { bool on; struct msg_reply r; struct buffer data; } first; /* the answer to open */
};

static uint8_t *noise_bytes;

static uint64_t
next_random(uint64_t *x)
{
	uint64_t z = *x += 0x9e3779b97f4a7c15;

	z = (z ^ z >> 30) * 0xbf58476d1ce4e5b9;
	z = (z ^ z >> 27) * 0x94d049bb133111eb;
	return z ^ z >> 31;
}

static uint64_t
below(struct run *t, uint64_t n)
{
	return next_random(&t->rng) % n;
}

static bool
chance(struct run *t, unsigned percent)
{
	return below(t, 100) < percent;
}

/* ck_assert writes a mark to a file at each call: too slow for what runs a million times. */
#define must(t, what)                                                             \
	do {                                                                      \
		if (!(what))                                                      \
			ck_abort_msg("SULTRY_SEED=%llu%s at %llu ms: %s",         \
			    (unsigned long long)(t)->seed,                        \
			    (t)->big ? " SULTRY_BIG=1" : "",                      \
			    (unsigned long long)(t)->now, #what);                 \
	} while (0)

/* ---- direct carriers ---- */

static void
carrier_clear(struct carrier *c)
{
	buffer_clear(&c->up.wire);
	buffer_clear(&c->up.got);
	buffer_clear(&c->down.wire);
	buffer_clear(&c->down.got);
	*c = (struct carrier){ 0 };
}

static void
close_end(struct run *t, int side, struct carrier *c)
{
	c->end[side] = false;
	if (t->current[side] == c) {
		t->current[side] = NULL;
		session_direct_stop(&t->app[side].s);
	}
}

static void
write_record(struct run *t, int side)
{
	struct carrier *c = t->current[side];
	struct pipe *p = side == CLIENT ? &c->up : &c->down;
	bool hello = side == CLIENT && !t->app[CLIENT].s.direct.greeted;
	size_t skip = RECORD_HEADER + (hello ? EPOCH_TAG : 0);
	uint8_t rec[RECORD_MAX];
	size_t room = 64 + (size_t)below(t, t->big && !hello ? RECORD_TEXT_MAX - 63 : 400);
	struct writer w = writer_of(rec + skip, room);
	size_t n;

	session_direct_fill(&t->app[side].s, &w);
	must(t, !w.failed && w.n > 0);
	if (chance(t, 30))
		writer_zeros(&w, (size_t)below(t, writer_room(&w) + 1));
	if (t->sealed) {
		n = record_seal(&p->seal, rec, w.n, hello ? c->tag : NULL);
	} else {
		n = skip + w.n + AEAD_TAG;
		struct writer head = writer_of(rec, skip);

		writer_bytes(&head, "\x17\x03\x03", 3);
		writer_u16(&head, (uint16_t)(n - RECORD_HEADER));
		writer_bytes(&head, c->tag, skip - RECORD_HEADER);
		memset(rec + skip + w.n, 0, AEAD_TAG);
	}
	buffer_add(&p->wire, rec, n);
}

static void
dial(struct run *t)
{
	struct session *s = &t->app[CLIENT].s;
	struct carrier *c = NULL;
	struct noise_epoch e;

	for (int i = 0; i < CARRIERS; i++)
		if (!t->carrier[i].end[CLIENT] && !t->carrier[i].end[SERVER])
			c = &t->carrier[i];
	if (c == NULL || !session_may_go_direct(s))
		return;
	carrier_clear(c);
	c->epoch = s->epoch++;
	c->end[CLIENT] = c->end[SERVER] = true;
	c->starts = t->now + (t->kind ? 2 : below(t, chance(t, 20) ? 800 : 20));
	c->speed = t->kind ? 90 : 5 + (unsigned)below(t, 95);
	c->up.left = !t->kind && chance(t, t->die) ? below(t, 1500) : NEVER;
	c->down.left = !t->kind && chance(t, t->die) ? below(t, 1500) : NEVER;
	if (t->sealed) {
		noise_epoch(&e, t->secret, c->epoch);
		memcpy(c->tag, e.tag, EPOCH_TAG);
		memcpy(c->up.seal.key, e.up, AEAD_KEY);
		memcpy(c->up.open.key, e.up, AEAD_KEY);
		memcpy(c->down.seal.key, e.down, AEAD_KEY);
		memcpy(c->down.open.key, e.down, AEAD_KEY);
	}
	t->current[CLIENT] = c;
	session_direct_start(s);
	write_record(t, CLIENT);
}

/* The server's front: a hello of an epoch that may still be accepted takes over. */
static bool
greet(struct run *t, struct carrier *c, const uint8_t *rec)
{
	struct session *s = &t->app[SERVER].s;

	must(t, memcmp(rec + RECORD_HEADER, c->tag, EPOCH_TAG) == 0);
	c->greeted = true;
	/* The client never runs ahead of the tags that the server looks for. */
	must(t, c->epoch < s->epoch + SESSION_EPOCHS);
	if (c->epoch < s->epoch)
		return false;
	if (t->current[SERVER] != NULL)
		close_end(t, SERVER, t->current[SERVER]);
	must(t, c->epoch >= t->given_up);
	t->current[SERVER] = c;
	session_accept(s, c->epoch);
	return true;
}

/* Takes the whole records that have come; `side` receives. */
static void
read_records(struct run *t, int side, struct carrier *c)
{
	struct pipe *p = side == SERVER ? &c->up : &c->down;
	uint8_t rec[RECORD_MAX];
	struct reader frames;
	size_t body;

	while (c->end[side] && p->got.n > 0) {
		bool hello = side == SERVER && !c->greeted;
		size_t max = hello ? HELLO_BODY_MAX : RECORD_BODY_MAX;
		size_t skip = hello ? EPOCH_TAG : 0;
		enum record_result r = record_header(buffer_data(&p->got), p->got.n, max, &body);

		must(t, r != RECORD_BAD);
		if (r == RECORD_MORE || p->got.n < RECORD_HEADER + body)
			return;
		memcpy(rec, buffer_data(&p->got), RECORD_HEADER + body);
		buffer_drain(&p->got, RECORD_HEADER + body);
		if (hello && !greet(t, c, rec)) {
			close_end(t, side, c);
			return;
		}
		if (t->sealed)
			must(t, record_open(&p->open, rec, body, hello, NULL, &frames) == RECORD_OK);
		else
			frames = reader_of(rec + RECORD_HEADER + skip, body - skip - AEAD_TAG);
		must(t, t->current[side] == c);
		must(t, session_direct_frames(&t->app[side].s, &frames));
	}
}

static void
deliver(struct run *t, int side, struct carrier *c)
{
	struct pipe *p = side == SERVER ? &c->up : &c->down;
	size_t n = p->wire.n;

	if (n == 0 || t->now < c->starts || !chance(t, c->speed))
		return;
	n = t->big || t->kind ? n : 1 + (size_t)below(t, n);
	n = n < p->left ? n : (size_t)p->left;
	if (p->left != NEVER)
		p->left -= n;
	buffer_add(&p->got, buffer_data(&p->wire), n);
	buffer_drain(&p->wire, p->left == 0 ? p->wire.n : n);
	if (c->end[side])
		read_records(t, side, c);
	else
		buffer_clear(&p->got);
}

static bool
looks_dead(const struct carrier *c)
{
	return c->up.left == 0 || c->down.left == 0 || !c->end[CLIENT] || !c->end[SERVER];
}

static void
direct_tick(struct run *t)
{
	for (int i = 0; i < CARRIERS; i++) {
		struct carrier *c = &t->carrier[i];

		for (int side = 0; side < 2; side++) {
			if (c->end[side] || c->end[!side])
				deliver(t, side, c);
			/* Noticed late or soon; a live one is given up now and then. */
			if (c->end[side] && (looks_dead(c) ? chance(t, t->notice) :
			    !t->kind && below(t, 3000) == 0))
				close_end(t, side, c);
		}
	}
	for (int side = 0; side < 2; side++) {
		struct session *s = &t->app[side].s;

		for (int i = 0; i < 4 && t->current[side] != NULL && session_direct_wants(s); i++)
			write_record(t, side);
		if (session_ack_waits(s) && chance(t, 5))
			session_ack_now(s);
		if (t->current[side] != NULL && below(t, 500) == 0)
			session_ping(s, t->now);
	}
	if (t->opened && t->current[CLIENT] == NULL && (t->kind ? t->use_direct && chance(t, 10) :
	    below(t, 200) == 0))
		dial(t);
	/* No ACCEPT in time. */
	if (t->current[CLIENT] != NULL && !t->app[CLIENT].s.direct.open && !t->kind &&
	    below(t, 150) == 0)
		close_end(t, CLIENT, t->current[CLIENT]);
}

/* ---- oob carrier ---- */

static struct pending *
pending_of(struct run *t, uint64_t n, bool open)
{
	for (int i = 0; i < 3; i++)
		if (t->pending[i].on && t->pending[i].n == n && (i == OPEN) == open)
			return &t->pending[i];
	return NULL;
}

/* NULL: lost. The client sees its connection die, sooner or later. */
static struct packet *
new_packet(struct run *t, uint64_t n, bool open, bool reply)
{
	struct packet *p = &t->packet[t->n_packets];
	struct pending *q = pending_of(t, n, open);

	if (t->n_packets == PACKETS || (!t->kind && chance(t, t->drop))) {
		if (q != NULL && q->again_at == NEVER)
			q->again_at = t->now + below(t, 100);
		return NULL;
	}
	t->n_packets++;
	p->at = t->now + 1 + below(t, t->kind ? 5 : chance(t, 10) ? 1000 : t->delay);
	p->n = n;
	p->reply = reply;
	p->data = (struct buffer){ 0 };
	return p;
}

static void
send_request(struct run *t, struct pending *q)
{
	q->again_at = NEVER;
	for (unsigned copies = 1 + (chance(t, t->repeat) ? 1 : 0); copies > 0; copies--) {
		struct packet *p = new_packet(t, q->n, q->x.op == OP_OPEN, false);

		if (p == NULL)
			continue;
		p->x = q->x;
		p->x.data = buffer_data(&q->data);
		if (t->json)
			msg_encode_request(&p->data, &p->x);
		else
			buffer_add(&p->data, p->x.data, p->x.n);
	}
	q->tries++;
}

static void
send_reply(struct run *t, uint64_t n, const struct msg_reply *r)
{
	for (unsigned copies = 1 + (chance(t, t->repeat) ? 1 : 0); copies > 0; copies--) {
		struct packet *p = new_packet(t, n, r->op == REPLY_OPENED, true);

		if (p == NULL)
			continue;
		p->r = *r;
		if (t->json)
			msg_encode_reply(&p->data, r);
		else
			buffer_add(&p->data, r->data, r->n);
	}
}

static size_t
some(struct run *t, size_t max)
{
	return 1 + (size_t)below(t, t->big ? max : t->chunk);
}

static void
answer(struct run *t, uint64_t n, bool bytes)
{
	struct msg_reply r;

	session_answer(&t->app[SERVER].s, &r, n, bytes, some(t, MSG_EXCHANGE_DATA));
	must(t, r.re == n && ((bytes && t->current[SERVER] == NULL) || (r.n == 0 && !r.fin)));
	send_reply(t, n, &r);
}

static void
take_open(struct run *t, struct packet *p)
{
	if (!t->first.on) {
		must(t, session_receive(&t->app[SERVER].s, 0, p->x.data, p->x.n) == STREAM_OK);
		session_answer(&t->app[SERVER].s, &t->first.r, 0, true, some(t, MSG_OPEN_DATA));
		t->first.r.op = REPLY_OPENED;
		memset(t->first.r.session, 'A', MSG_SESSION_ID);
		buffer_add(&t->first.data, t->first.r.data, t->first.r.n);
		t->first.on = true;
	}
	t->first.r.data = buffer_data(&t->first.data);
	send_reply(t, 0, &t->first.r);
}

static void
take_request(struct run *t, struct packet *p)
{
	struct session *s = &t->app[SERVER].s;
	enum session_exchange_result result;
	bool drop;

	p->x.data = buffer_data(&p->data);
	if (t->json)
		must(t, msg_decode_request(&p->x, buffer_data(&p->data), p->data.n,
		    p->x.op == OP_EXCHANGE));
	if (p->x.op == OP_OPEN) {
		take_open(t, p);
		return;
	}
	result = session_take_exchange(s, p->n, &p->x, &drop);
	must(t, result != EXCHANGE_BAD);
	if (result == EXCHANGE_ANSWER) {
		must(t, !drop);
		answer(t, p->n, false);
		return;
	}
	must(t, !t->held.on || t->held.n <= p->n);
	must(t, p->x.epoch >= t->given_up);
	t->given_up = p->x.epoch;
	must(t, drop == (t->current[SERVER] != NULL));
	if (drop) {
		/* No poll of the past takes `down` from the connection in use. */
		must(t, t->current[SERVER]->epoch < p->x.epoch);
		must(t, t->current[SERVER] != t->current[CLIENT]);
		close_end(t, SERVER, t->current[SERVER]);
	}
	if (t->held.on)
		answer(t, t->held.n, false);
	t->held.on = true;
	t->held.n = p->n;
	t->held.until = t->now + WAIT_MS;
}

static void
take_reply(struct run *t, struct packet *p)
{
	struct session *s = &t->app[CLIENT].s;
	struct pending *q = pending_of(t, p->n, p->r.op == REPLY_OPENED);

	/* Each request has one answer; what comes later is dropped. */
	if (q == NULL)
		return;
	p->r.data = buffer_data(&p->data);
	if (t->json)
		must(t, msg_decode_reply(&p->r, buffer_data(&p->data), p->data.n));
	q->on = false;
	if (q == &t->pending[OPEN]) {
		must(t, session_opened(s, &p->r));
		t->opened = true;
	} else {
		must(t, session_exchanged(s, &q->x, &p->r));
	}
	buffer_clear(&q->data);
}

static void
oob_deliver(struct run *t)
{
	for (size_t i = 0; i < t->n_packets; i++) {
		struct packet p = t->packet[i];

		if (p.at > t->now)
			continue;
		t->packet[i--] = t->packet[--t->n_packets];
		if (p.reply)
			take_reply(t, &p);
		else
			take_request(t, &p);
		buffer_clear(&p.data);
	}
}

static void
begin_request(struct run *t, int kind)
{
	struct pending *q = &t->pending[kind];
	struct session *s = &t->app[CLIENT].s;

	if (kind == OPEN) {
		q->x = (struct msg_request){ .op = OP_OPEN, .time = 1 };
		q->x.n = stream_tx_peek(&s->tx, 0, &q->x.data);
		if (q->x.n > MSG_OPEN_DATA)
			q->x.n = MSG_OPEN_DATA;
		q->n = 0;
	} else {
		session_exchange(s, &q->x, kind == POLL, some(t, MSG_EXCHANGE_DATA));
		must(t, kind == PUSH || (q->x.n <= SESSION_POLL_DATA && !q->x.fin &&
		    q->x.close == CLOSE_NONE));
		q->n = t->next_n++;
	}
	buffer_add(&q->data, q->x.data, q->x.n);
	q->on = true;
	q->tries = 0;
	send_request(t, q);
}

static void
oob_tick(struct run *t)
{
	struct session *s = &t->app[CLIENT].s;

	oob_deliver(t);
	if (t->held.on && (session_poll_due(&t->app[SERVER].s) || t->now >= t->held.until)) {
		t->held.on = false;
		answer(t, t->held.n, true);
	}
	if (!t->opened && !t->pending[OPEN].on && (t->app[CLIENT].put > 0 || chance(t, 5)))
		begin_request(t, OPEN);
	if (t->opened && t->current[CLIENT] == NULL) {
		if (!t->pending[POLL].on)
			begin_request(t, POLL);
		if (!t->pending[PUSH].on && session_push_wants(s))
			begin_request(t, PUSH);
	}
	for (int i = 0; i < 3; i++) {
		struct pending *q = &t->pending[i];

		if (!q->on || t->now < q->again_at)
			continue;
		if (i != OPEN && !t->kind && q->tries > 2 && chance(t, 20)) {
			session_exchange_lost(s, &q->x);
			buffer_clear(&q->data);
			q->on = false;
		} else {
			send_request(t, q);
		}
	}
}

/* ---- the local sides ---- */

static void
put_some(struct run *t, struct app *a)
{
	uint64_t n = some(t, 200000), room = session_room(&a->s);
	uint64_t stop = a->total < a->close_at ? a->total : a->close_at;

	if (a->said != CLOSE_NONE)
		return;
	n = n < room ? n : room;
	n = n < stop - a->put ? n : stop - a->put;
	session_put(&a->s, a->bytes + a->put, (size_t)n);
	a->put += n;
	if (a->put == a->close_at) {
		a->said = chance(t, 50) ? CLOSE_RESET : CLOSE_ERROR;
		session_close(&a->s, a->said);
	} else if (a->put == a->total && !a->s.tx.fin && chance(t, 20)) {
		session_put_fin(&a->s);
	}
}

static void
take_some(struct run *t, struct app *a, const struct app *peer)
{
	const uint8_t *p;
	size_t have = session_peek(&a->s, &p), n = have < 200 ? have : 1 + (size_t)below(t, have);

	if (t->now < a->asleep_until || (a->said != CLOSE_NONE && a->leaves))
		return;
	if (!t->kind && below(t, 60) == 0)
		a->asleep_until = t->now + below(t, 500);
	must(t, a->taken + n <= peer->put &&
	    (n == 0 || memcmp(p, peer->bytes + a->taken, n) == 0));
	session_take(&a->s, n, t->now, t->rtt);
	a->taken += n;
	if (session_fin_due(&a->s)) {
		must(t, a->taken == peer->total && peer->s.tx.fin);
		session_take_fin(&a->s);
	}
	if (a->heard == CLOSE_NONE && session_close_due(&a->s) != CLOSE_NONE) {
		a->heard = session_close_due(&a->s);
		/* Unless we closed too, everything came before the close. */
		if (a->said == CLOSE_NONE)
			must(t, a->taken == peer->put && a->s.rx.fin_taken == peer->s.tx.fin &&
			    a->heard == peer->said);
	}
	/* A server says done only in answer to a client's close. */
	if (a->said == CLOSE_NONE && (a->heard != CLOSE_NONE ||
	    (a->s.role == SESSION_CLIENT && session_finished(&a->s)))) {
		a->said = CLOSE_DONE;
		session_close(&a->s, a->said);
	}
}

static void
app_tick(struct run *t, int side)
{
	struct app *a = &t->app[side];

	/* A client's app may be silent while the session is not open; a target cannot talk then. */
	if (chance(t, 30) && (side == CLIENT || t->first.on))
		put_some(t, a);
	if (chance(t, 30))
		take_some(t, a, &t->app[!side]);
}

/* ---- what holds at all times ---- */

static void
check_stream(struct run *t, const struct app *from, struct app *to)
{
	const struct stream_tx *tx = &from->s.tx;
	const struct stream_rx *rx = &to->s.rx;
	uint64_t received = stream_rx_received(rx);

	must(t, tx->base <= received);
	must(t, stream_tx_end(tx) == from->put && received <= from->put + (tx->fin ? 1 : 0));
	must(t, rx->taken == to->taken && rx->taken + rx->held.n <= rx->limit);
	must(t, rx->limit >= to->limit && tx->limit <= rx->limit);
	must(t, rx->limit - rx->taken <= STREAM_CREDIT_MAX && tx->held.n <= STREAM_CREDIT_MAX);
	must(t, rx->held.n > 0 || rx->held.mem == NULL);
	must(t, tx->held.n > 0 || tx->held.mem == NULL);
	to->limit = rx->limit;
}

static void
check_run(struct run *t)
{
	const struct app *c = &t->app[CLIENT], *s = &t->app[SERVER];

	check_stream(t, c, &t->app[SERVER]);
	check_stream(t, s, &t->app[CLIENT]);
	must(t, t->budget.held == c->s.tx.held.n + s->s.tx.held.n);
	must(t, t->budget.given == c->s.rx.given + s->s.rx.given);
	must(t, t->budget.held <= t->budget.max / 2 + 2 * STREAM_HELD_MIN);
	must(t, t->budget.given <= t->budget.max / 2);
	must(t, c->s.direct.on == (t->current[CLIENT] != NULL));
	must(t, s->s.direct.on == (t->current[SERVER] != NULL));
	must(t, !c->s.close_confirmed || s->s.close_in != CLOSE_NONE);
}

/* ---- a run ---- */

static void
start(struct run *t, uint64_t seed, bool big)
{
	memset(t, 0, offsetof(struct run, packet));
	t->n_packets = 0;
	t->held.on = t->first.on = false;
	t->first.data = (struct buffer){ 0 };
	t->seed = seed;
	t->rng = seed * 2 + big;
	t->big = big;
	t->sealed = chance(t, 15);
	t->json = chance(t, 4);
	t->use_direct = chance(t, 50);
	t->drop = (unsigned)below(t, 40);
	t->repeat = (unsigned)below(t, 40);
	t->delay = 1 + (unsigned)below(t, 60);
	t->die = (unsigned)below(t, 100);
	t->notice = 1 + (unsigned)below(t, 10);
	t->chunk = 20 + (unsigned)below(t, 600);
	t->rtt = (unsigned)below(t, 100);
	t->kind_at = below(t, 1200);
	t->budget.max = chance(t, 20) ? 1000 : 4u << 20;
	for (size_t i = 0; i < NOISE_KEY; i++)
		t->secret[i] = (uint8_t)below(t, 256);
	for (int i = 0; i < 2; i++) {
		struct app *a = &t->app[i];
		uint32_t window = big ? STREAM_CREDIT_START : 16 + (uint32_t)below(t, 3000);

		session_init(&a->s, i == CLIENT ? SESSION_CLIENT : SESSION_SERVER, &t->budget);
		a->total = below(t, !big ? 3000 : t->budget.max < 2000 ? 1u << 20 : 3u << 20);
		a->close_at = chance(t, 20) ? below(t, a->total + 1) : NEVER;
		a->leaves = chance(t, 50);
		a->bytes = noise_bytes + below(t, NOISE_BYTES - a->total);
		a->s.rx.window = window;
		a->s.rx.limit = a->s.ack_limit = a->s.oob_limit = window;
	}
	/* Both ends know the credit that a session starts with. */
	t->app[CLIENT].s.tx.limit = t->app[SERVER].s.rx.limit;
	t->app[SERVER].s.tx.limit = t->app[CLIENT].s.rx.limit;
}

static void
stop(struct run *t)
{
	session_clear(&t->app[CLIENT].s);
	session_clear(&t->app[SERVER].s);
	must(t, t->budget.held == 0 && t->budget.given == 0);
	for (int i = 0; i < CARRIERS; i++)
		carrier_clear(&t->carrier[i]);
	for (int i = 0; i < 3; i++)
		buffer_clear(&t->pending[i].data);
	for (size_t i = 0; i < t->n_packets; i++)
		buffer_clear(&t->packet[i].data);
	buffer_clear(&t->first.data);
}

static bool
over(const struct run *t)
{
	const struct app *c = &t->app[CLIENT], *s = &t->app[SERVER];

	return c->said != CLOSE_NONE && s->said != CLOSE_NONE &&
	    (c->s.close_confirmed || c->s.close_in != CLOSE_NONE) && s->s.close_in != CLOSE_NONE;
}

static void
one_run(uint64_t seed, bool big)
{
	static struct run run; /* large */
	struct run *t = &run;

	start(t, seed, big);
	while (!over(t)) {
		t->now++;
		if (t->now == t->kind_at) {
			t->kind = true;
			t->notice = 20;
			for (int i = 0; i < CARRIERS; i++)
				t->carrier[i].speed = 90;
		}
		must(t, t->now < t->kind_at + KIND_MS);
		oob_tick(t);
		direct_tick(t);
		app_tick(t, CLIENT);
		app_tick(t, SERVER);
		check_run(t);
	}
	stop(t);
}

static void
runs(uint64_t count, bool big)
{
	const char *seed = getenv("SULTRY_SEED"), *more = getenv("SULTRY_RUNS");
	uint64_t x = 1;

	noise_bytes = mem_alloc(NOISE_BYTES);
	for (size_t i = 0; i < NOISE_BYTES; i += 8) {
		uint64_t v = next_random(&x);

		memcpy(noise_bytes + i, &v, 8);
	}
	if (seed != NULL && big == (getenv("SULTRY_BIG") != NULL))
		one_run(strtoull(seed, NULL, 10), big);
	else if (seed == NULL)
		for (uint64_t i = 0; i < (more != NULL ? strtoull(more, NULL, 10) : count); i++)
			one_run(i, big);
	free(noise_bytes);
}

START_TEST(small)
{
	runs(SMALL_RUNS, false);
}
END_TEST

START_TEST(megabytes)
{
	runs(BIG_RUNS, true);
}
END_TEST

TEST_MAIN("session_model", small, megabytes)
