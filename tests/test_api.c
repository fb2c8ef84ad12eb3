/* The OOB API without HTTP: the requests are this file's own, in the place of pt-server/https. */
#include "pt-server/api.h"

#include <stdio.h>

#include "common/address.h"
#include "common/envelope.h"
#include "common/mem.h"
#include "common/net/local.h"
#include "pt-server/conn.h"
#include "tests/dns_server.h"
#include "tests/sockets.h"

#define HOUR_MS (60 * 60 * 1000)
#define NO_SESSION "AAAAAAAAAAAAAAAAAAAAAA"

struct https_request {
	SLIST_ENTRY(https_request) link;
	unsigned replies;
	bool known;   /* its connection is no stranger's */
	bool unknown; /* got the 404 */
	char *text;
	size_t len;
};

static SLIST_HEAD(, https_request) requests;

void
https_reply_json(struct https_request *req, const char *json, size_t len)
{
	ck_assert_uint_eq(++req->replies, 1);
	ck_assert(req->known);
	req->text = mem_alloc(len);
	memcpy(req->text, json, len);
	req->len = len;
}

void
https_reply_unknown(struct https_request *req)
{
	ck_assert_uint_eq(++req->replies, 1);
	req->unknown = true;
}

void
https_request_known(struct https_request *req)
{
	ck_assert_uint_eq(req->replies, 0);
	req->known = true;
}

const struct sockaddr *
https_request_addr(const struct https_request *req)
{
	static const struct sockaddr nobody = { .sa_family = AF_UNSPEC };

	ck_assert_uint_eq(req->replies, 0);
	return &nobody;
}

/* ---- a server and its target ---- */

static struct server srv;
static evutil_socket_t listener;
static struct buffer plain; /* what was read last */

static void
start(unsigned max)
{
	memset(&srv, 0, sizeof(srv));
	srv.base = event_base_new();
	srv.identity.secret[0] = 9;
	noise_public(srv.identity.public, srv.identity.secret);
	pad_scheme_init(&srv.pad, srv.identity.public);
	srv.budget.max = 64u << 20;
	srv.sessions = sessions_new(max, 600);
	srv.retain_s = 600;
	srv.started = local_clock() - HOUR_MS;
	strcpy(srv.direct[0].address, "192.0.2.7");
	srv.direct[0].port = 4711;
	srv.n_direct = 1;
	listener = listen_tcp(&srv.orport);
}

static void
stop(void)
{
	struct https_request *req;

	api_end_all(&srv);
	while (sessions_any(srv.sessions) != NULL)
		conn_free(sessions_any(srv.sessions));
	sessions_free(srv.sessions);
	event_base_loop(srv.base, EVLOOP_NONBLOCK);
	event_base_free(srv.base);
	ck_assert(srv.budget.held == 0 && srv.budget.given == 0);
	close(listener);
	buffer_clear(&plain);
	while ((req = SLIST_FIRST(&requests)) != NULL) {
		ck_assert_uint_eq(req->replies, 1);
		SLIST_REMOVE_HEAD(&requests, link);
		free(req->text);
		free(req);
	}
}

/* The next connection that came to the target. */
static evutil_socket_t
target(void)
{
	evutil_socket_t fd = -1;

	UNTIL(srv.base, (fd = accept4(listener, NULL, NULL, SOCK_NONBLOCK | SOCK_CLOEXEC)) >= 0);
	return fd;
}

static bool
target_is_left_alone(void)
{
	settle(srv.base);
	return accept4(listener, NULL, NULL, SOCK_NONBLOCK | SOCK_CLOEXEC) < 0;
}

/* ---- a client ---- */

/* A message 1, and what it takes to read its answer. */
struct ask {
	struct noise noise;
	char *body;
	size_t len;
};

/* An open session. */
struct peer {
	char id[MSG_SESSION_ID + 1];
	struct noise_keys keys;
};

static struct https_request *
post(const char *session, const char *body, size_t len)
{
	struct https_request *req = mem_zalloc(sizeof(*req));
	char *borrowed = mem_alloc(len);

	SLIST_INSERT_HEAD(&requests, req, link);
	memcpy(borrowed, body, len);
	api_request(&srv, req, session, borrowed, len);
	free(borrowed);
	return req;
}

static void
prepare_plain(struct ask *a, const uint8_t key[NOISE_KEY], const struct buffer *text)
{
	noise_init(&a->noise, MSG_PROLOGUE, sizeof(MSG_PROLOGUE) - 1, key);
	a->body = envelope_write_1(&a->noise, text, &a->len);
	ck_assert_ptr_nonnull(a->body);
}

static void
prepare(struct ask *a, const struct msg_request *m)
{
	struct buffer text = { 0 };

	msg_encode_request(&text, m);
	prepare_plain(a, srv.identity.public, &text);
	buffer_clear(&text);
}

static struct https_request *
send_ask(const struct ask *a)
{
	return post(NULL, a->body, a->len);
}

/* Waits for the answer to it. */
static struct msg_reply
answer(const struct ask *a, struct https_request *req, struct noise_keys *keys)
{
	struct noise noise = a->noise;
	struct noise_keys unused;
	struct msg_reply r;

	UNTIL(srv.base, req->replies == 1);
	ck_assert(!req->unknown);
	buffer_clear(&plain);
	ck_assert(envelope_read_2(&noise, req->text, req->len, keys != NULL ? keys : &unused, &plain));
	ck_assert(msg_decode_reply(&r, buffer_data(&plain), plain.n));
	return r;
}

static struct msg_reply
ask_once(const struct msg_request *m)
{
	struct msg_reply r;
	struct ask a;

	prepare(&a, m);
	r = answer(&a, send_ask(&a), NULL);
	free(a.body);
	return r;
}

static void
expect_error(const struct msg_request *m, enum msg_error error)
{
	struct msg_reply r = ask_once(m);

	ck_assert_int_eq(r.op, REPLY_ERROR);
	ck_assert_str_eq(msg_error_name(r.error), msg_error_name(error));
}

/* Answered by the 404, and at once. */
static void
expect_unknown(const struct https_request *req, bool known)
{
	ck_assert_uint_eq(req->replies, 1);
	ck_assert(req->unknown && req->known == known);
}

static void
expect_same(const struct https_request *a, const struct https_request *b)
{
	ck_assert(a->replies == 1 && b->replies == 1 && !a->unknown && !b->unknown);
	ck_assert_uint_eq(a->len, b->len);
	ck_assert_mem_eq(a->text, b->text, a->len);
}

static struct msg_request
an_open(void)
{
	return (struct msg_request){ .op = OP_OPEN, .time = local_clock() };
}

/* Opens a session by `a`; the target's end of it. */
static evutil_socket_t
open_by(struct peer *p, struct ask *a, const struct msg_request *m)
{
	struct msg_reply r;

	prepare(a, m);
	r = answer(a, send_ask(a), &p->keys);
	ck_assert_int_eq(r.op, REPLY_OPENED);
	memcpy(p->id, r.session, sizeof(p->id));
	return target();
}

static evutil_socket_t
open_peer(struct peer *p)
{
	struct msg_request m = an_open();
	struct ask a;
	evutil_socket_t fd = open_by(p, &a, &m);

	free(a.body);
	return fd;
}

static bool
alive(const char *id)
{
	struct msg_request m = { .op = OP_STATUS };
	struct msg_reply r;

	memcpy(m.session, id, sizeof(m.session));
	r = ask_once(&m);
	ck_assert_int_eq(r.op, REPLY_STATUS);
	return r.alive;
}

static struct msg_request
an_exchange(void)
{
	return (struct msg_request){ .op = OP_EXCHANGE, .ack_limit = STREAM_CREDIT_START,
		.up_limit = STREAM_CREDIT_START };
}

static char *
box(const uint8_t key[NOISE_KEY], uint64_t n, const struct msg_request *m, size_t *len)
{
	struct buffer text = { 0 };
	char *body;

	msg_encode_request(&text, m);
	body = envelope_box(true, key, n, &text, len);
	buffer_clear(&text);
	return body;
}

static struct https_request *
send_box(const char *id, const uint8_t key[NOISE_KEY], uint64_t n, const struct msg_request *m)
{
	struct https_request *req;
	size_t len;
	char *body = box(key, n, m, &len);

	req = post(id, body, len);
	free(body);
	return req;
}

/* Waits for the answer in a box; *n: its number. */
static struct msg_reply
open_box(const struct peer *p, struct https_request *req, uint64_t *n)
{
	struct msg_reply r;

	UNTIL(srv.base, req->replies == 1);
	ck_assert(!req->unknown);
	buffer_clear(&plain);
	ck_assert(envelope_unbox(false, p->keys.down, req->text, req->len, n, &plain));
	ck_assert(msg_decode_reply(&r, buffer_data(&plain), plain.n));
	return r;
}

static struct msg_reply
exchange(const struct peer *p, uint64_t n, const struct msg_request *m)
{
	struct msg_reply r;
	uint64_t number;

	r = open_box(p, send_box(p->id, p->keys.up, n, m), &number);
	ck_assert_int_eq(r.op, REPLY_EXCHANGED);
	ck_assert_uint_eq(r.re, n);
	return r;
}

/* ---- opens ---- */

START_TEST(opened)
{
	static const uint8_t hello[] = "hello", world[] = "world";
	struct msg_request m = an_open(), x = an_exchange();
	struct peer p;
	struct ask a;
	struct msg_reply r;
	evutil_socket_t fd;
	uint8_t got[sizeof(hello)];

	start(8);
	m.data = hello;
	m.n = sizeof(hello);
	prepare(&a, &m);
	r = answer(&a, send_ask(&a), &p.keys);
	ck_assert_int_eq(r.op, REPLY_OPENED);
	ck_assert_uint_eq(strlen(r.session), MSG_SESSION_ID);
	ck_assert_uint_eq(r.ack_received, sizeof(hello));
	ck_assert_uint_ge(r.ack_limit, STREAM_CREDIT_START);
	ck_assert(r.down == 0 && r.n == 0 && !r.fin);
	ck_assert_str_eq(r.target.address, "");
	ck_assert_uint_eq(r.n_direct, 1);
	ck_assert_str_eq(r.direct[0].address, "192.0.2.7");
	ck_assert_uint_eq(r.direct[0].port, 4711);
	ck_assert_uint_eq(r.retain_s, 600);
	memcpy(p.id, r.session, sizeof(p.id));
	fd = target();
	read_exactly(srv.base, fd, got, sizeof(got));
	ck_assert_mem_eq(got, hello, sizeof(hello));
	/* Its keys are the session's. */
	ck_assert_int_eq(send(fd, world, sizeof(world), 0), (ssize_t)sizeof(world));
	x.poll = true;
	x.up = sizeof(hello);
	x.wait_ms = 25000;
	r = exchange(&p, 7, &x);
	ck_assert(r.down == 0 && r.n == sizeof(world));
	ck_assert_mem_eq(r.data, world, sizeof(world));
	close(fd);
	free(a.body);
	stop();
}
END_TEST

START_TEST(copies_of_a_pending_open)
{
	struct msg_request m = an_open();
	struct https_request *first, *copy[CONN_OPENERS];
	struct ask a;
	struct msg_reply r;

	start(8);
	prepare(&a, &m);
	first = send_ask(&a);
	ck_assert_uint_eq(first->replies, 0);
	for (unsigned i = 0; i < CONN_OPENERS; i++) {
		copy[i] = send_ask(&a);
		/* The oldest gives way to one too many. */
		ck_assert_uint_eq(first->replies, i == CONN_OPENERS - 1);
	}
	expect_unknown(first, true);
	r = answer(&a, copy[0], NULL);
	ck_assert_int_eq(r.op, REPLY_OPENED);
	for (unsigned i = 1; i < CONN_OPENERS; i++)
		expect_same(copy[0], copy[i]);
	/* Nobody has used it yet: the same again. */
	expect_same(copy[0], send_ask(&a));
	/* Not for those that come later, but the session is there. */
	srv.draining = true;
	expect_same(copy[0], send_ask(&a));
	close(target());
	ck_assert(target_is_left_alone());
	ck_assert_uint_eq(sessions_count(srv.sessions), 1);
	/* And when it is gone it stays so. */
	srv.draining = false;
	conn_free(sessions_any(srv.sessions));
	expect_unknown(send_ask(&a), true);
	ck_assert(target_is_left_alone());
	free(a.body);
	stop();
}
END_TEST

START_TEST(copy_of_a_confirmed_open)
{
	struct msg_request m = an_open(), x = an_exchange();
	struct peer p;
	struct ask a;
	evutil_socket_t fd;

	start(8);
	fd = open_by(&p, &a, &m);
	exchange(&p, 0, &x);
	expect_unknown(send_ask(&a), true);
	ck_assert(alive(p.id));
	exchange(&p, 1, &x);
	ck_assert(target_is_left_alone());
	close(fd);
	free(a.body);
	stop();
}
END_TEST

START_TEST(copy_of_a_refused_open)
{
	struct msg_request m = an_open();
	struct https_request *req;
	char id[MSG_SESSION_ID + 1];
	const uint8_t zeros[NOISE_KEY] = { 0 };
	struct msg_request x = an_exchange();
	struct ask a;
	struct msg_reply r;

	start(8);
	close(listener);
	prepare(&a, &m);
	req = send_ask(&a);
	r = answer(&a, req, NULL);
	ck_assert_int_eq(r.op, REPLY_ERROR);
	ck_assert_int_eq(r.error, ERR_TARGET_REFUSED);
	/* Even if the target is there now. */
	listener = listen_tcp(&srv.orport);
	expect_same(req, send_ask(&a));
	ck_assert_uint_eq(sessions_live(srv.sessions), 0);
	/* There is no session; its keys are nobody's. */
	memcpy(id, sessions_any(srv.sessions)->entry.id, sizeof(id));
	ck_assert(!alive(id));
	expect_unknown(send_box(id, zeros, 0, &x), false);
	conn_free(sessions_expired(srv.sessions, local_now() + SESSIONS_SHORT_S * 1000));
	expect_unknown(send_ask(&a), true);
	ck_assert(target_is_left_alone());
	free(a.body);
	stop();
}
END_TEST

static void
expect_skew(const struct ask *a)
{
	int64_t before = local_clock();
	struct msg_reply r = answer(a, send_ask(a), NULL);

	ck_assert_int_eq(r.op, REPLY_ERROR);
	ck_assert_int_eq(r.error, ERR_CLOCK_SKEW);
	ck_assert(r.time >= before && r.time <= local_clock());
}

START_TEST(clocks)
{
	struct msg_request m = an_open();
	struct peer p;
	struct ask a;

	start(8);
	/* Too old, by a millisecond at least. */
	m.time = local_clock() - SESSIONS_CLOCK_S * 1000 - 1;
	prepare(&a, &m);
	expect_skew(&a);
	free(a.body);
	m.time = 0;
	prepare(&a, &m);
	expect_skew(&a);
	free(a.body);
	/* Ahead. */
	m.time = local_clock() + 60000;
	prepare(&a, &m);
	expect_skew(&a);
	free(a.body);
	/* Of the time before the server started: another may have seen it. */
	m.time = local_clock() - 1000;
	srv.started = m.time;
	prepare(&a, &m);
	expect_skew(&a);
	ck_assert_uint_eq(sessions_count(srv.sessions), 0);
	ck_assert(target_is_left_alone());
	/* Nothing has happened: were its clock acceptable, the very same one would be. */
	srv.started--;
	ck_assert_int_eq(answer(&a, send_ask(&a), NULL).op, REPLY_OPENED);
	close(target());
	free(a.body);
	/* As old as may be, but for a busy machine. */
	srv.started = local_clock() - HOUR_MS;
	m.time = local_clock() - SESSIONS_CLOCK_S * 1000 / 2;
	close(open_by(&p, &a, &m));
	free(a.body);
	/* It is looked at in an open only. */
	m = (struct msg_request){ .op = OP_STATUS, .time = local_clock() + HOUR_MS };
	memcpy(m.session, p.id, sizeof(m.session));
	ck_assert(ask_once(&m).alive);
	stop();
}
END_TEST

static void
fill_replay_filter(void)
{
	uint8_t hash[32];
	struct conn *c;

	for (unsigned i = 0;; i++) {
		noise_sha256(hash, &i, sizeof(i), NULL, 0);
		if (sessions_replay(srv.sessions, hash, local_now(), &c) == REPLAY_FULL)
			return;
	}
}

/* One that is turned away leaves nothing, and harms none that is there. */
START_TEST(busy)
{
	enum { FULL, DRAINING, FILTER, WAYS };
	struct msg_request x = an_exchange();

	for (unsigned way = 0; way < WAYS; way++) {
		struct msg_request m = an_open();
		struct https_request *req;
		struct ask first, a;
		struct peer p;
		evutil_socket_t fd;

		start(way == FULL ? 1 : 8);
		fd = open_by(&p, &first, &m);
		req = send_ask(&first);
		if (way == FILTER)
			fill_replay_filter();
		srv.draining = way == DRAINING;
		prepare(&a, &m);
		ck_assert_int_eq(answer(&a, send_ask(&a), NULL).error, ERR_BUSY);
		if (way != FILTER)
			expect_unknown(send_ask(&a), true);
		ck_assert(target_is_left_alone());
		ck_assert_uint_eq(sessions_count(srv.sessions), 1);
		expect_same(req, send_ask(&first));
		ck_assert(alive(p.id));
		exchange(&p, 0, &x);
		close(fd);
		free(first.body);
		free(a.body);
		if (way == FULL) {
			/* There is room again. */
			conn_free(sessions_any(srv.sessions));
			close(open_peer(&p));
		}
		stop();
	}
}
END_TEST

/* ---- what is not authentic ---- */

static void
expect_stranger(const char *session, const char *body, size_t len)
{
	expect_unknown(post(session, body, len), false);
}

/* The body, cut at each length, and with each of its bits flipped. */
static void
expect_all_strangers(const char *session, char *body, size_t len)
{
	for (size_t n = 0; n < len; n++)
		expect_stranger(session, body, n);
	for (size_t i = 0; i < 8 * len; i++) {
		body[i / 8] = (char)(body[i / 8] ^ 1 << i % 8);
		expect_stranger(session, body, len);
		body[i / 8] = (char)(body[i / 8] ^ 1 << i % 8);
	}
}

START_TEST(strangers)
{
	static const char *const texts[] = { "", "{", "{}", "[]", "null", "{\"v\":1}",
	    "{\"v\":1,\"noise\":\"\"}", "{\"v\":1,\"noise\":\"AAAA\"}", "{\"v\":1,\"noise\":7}",
	    "{\"v\":1,\"n\":0,\"box\":\"AAAA\"}" };
	struct msg_request m = an_open();
	struct buffer text = { 0 };
	uint8_t other[NOISE_KEY] = { 7 };
	struct ask a;
	char *body;

	start(8);
	for (size_t i = 0; i < sizeof(texts) / sizeof(texts[0]); i++) {
		expect_stranger(NULL, texts[i], strlen(texts[i]));
		expect_stranger(NO_SESSION, texts[i], strlen(texts[i]));
		expect_stranger("x", texts[i], strlen(texts[i]));
	}
	/* Another bridge's. */
	noise_public(other, other);
	msg_encode_request(&text, &m);
	prepare_plain(&a, other, &text);
	expect_stranger(NULL, a.body, a.len);
	free(a.body);
	buffer_clear(&text);
	prepare(&a, &m);
	expect_all_strangers(NULL, a.body, a.len);
	body = mem_printf("%.*s}", (int)a.len, a.body);
	expect_stranger(NULL, body, a.len + 1);
	free(body);
	expect_stranger(NO_SESSION, a.body, a.len);
	/* None was anything: it is still new. */
	ck_assert_uint_eq(sessions_count(srv.sessions), 0);
	ck_assert(target_is_left_alone());
	ck_assert_int_eq(answer(&a, send_ask(&a), NULL).op, REPLY_OPENED);
	close(target());
	free(a.body);
	stop();
}
END_TEST

/* Authentic, but no request: the client hears so. */
START_TEST(malformed)
{
	struct msg_request x = an_exchange();
	struct buffer text = { 0 };
	struct msg_reply r;
	struct ask a;

	start(8);
	expect_error(&x, ERR_BAD_REQUEST);
	for (unsigned n = 0; n < 4; n++) {
		prepare_plain(&a, srv.identity.public, &text);
		r = answer(&a, send_ask(&a), NULL);
		ck_assert_int_eq(r.op, REPLY_ERROR);
		ck_assert_int_eq(r.error, ERR_BAD_REQUEST);
		free(a.body);
		buffer_add(&text, "x", 1);
	}
	buffer_clear(&text);
	ck_assert_uint_eq(sessions_count(srv.sessions), 0);
	stop();
}
END_TEST

/* ---- exchanges ---- */

START_TEST(exchanges_of_strangers)
{
	struct msg_request x = an_exchange();
	struct peer p, other;
	evutil_socket_t fd, other_fd;
	struct msg_reply r;
	uint64_t n;
	size_t len;
	char *body;

	start(8);
	fd = open_peer(&p);
	other_fd = open_peer(&other);
	x.data = (const uint8_t *)"abc";
	x.n = 3;
	/* Of no session, of another, under the other direction's key. */
	expect_unknown(send_box(NO_SESSION, p.keys.up, 0, &x), false);
	expect_unknown(send_box(other.id, p.keys.up, 0, &x), false);
	expect_unknown(send_box(p.id, p.keys.down, 0, &x), false);
	body = box(p.keys.up, 0, &x, &len);
	expect_stranger(NULL, body, len);
	expect_all_strangers(p.id, body, len);
	ck_assert(is_silent(srv.base, fd) && is_silent(srv.base, other_fd));
	/* It was never heard, nor were replies numbered for it. */
	r = open_box(&p, post(p.id, body, len), &n);
	ck_assert_uint_eq(n, 0);
	ck_assert(r.op == REPLY_EXCHANGED && r.re == 0 && r.ack_received == 3);
	free(body);
	close(fd);
	close(other_fd);
	stop();
}
END_TEST

/* Nobody has keys before the open is answered: those of zeros are not it. */
START_TEST(exchange_too_early)
{
	struct msg_request m = an_open(), x = an_exchange();
	const uint8_t zeros[NOISE_KEY] = { 0 };
	struct https_request *req;
	struct ask a;

	start(8);
	prepare(&a, &m);
	req = send_ask(&a);
	ck_assert_uint_eq(req->replies, 0);
	expect_unknown(send_box(sessions_any(srv.sessions)->entry.id, zeros, 0, &x), false);
	ck_assert_int_eq(answer(&a, req, NULL).op, REPLY_OPENED);
	close(target());
	free(a.body);
	stop();
}
END_TEST

/* A copy gets a reply of its own, and its bytes count once. */
START_TEST(copy_of_an_exchange)
{
	struct msg_request x = an_exchange();
	struct peer p;
	struct msg_reply r;
	evutil_socket_t fd;
	uint8_t got[5];
	uint64_t n;
	size_t len;
	char *body;

	start(8);
	fd = open_peer(&p);
	x.data = (const uint8_t *)"abc";
	x.n = 3;
	body = box(p.keys.up, 41, &x, &len);
	for (unsigned i = 0; i < 3; i++) {
		r = open_box(&p, post(p.id, body, len), &n);
		ck_assert_uint_eq(n, i);
		ck_assert(r.op == REPLY_EXCHANGED && r.re == 41 && r.ack_received == 3);
	}
	x.up = 3;
	x.data = (const uint8_t *)"de";
	x.n = 2;
	/* The numbers' order means nothing. */
	ck_assert_uint_eq(exchange(&p, 40, &x).ack_received, 5);
	free(body);
	read_exactly(srv.base, fd, got, sizeof(got));
	ck_assert_mem_eq(got, "abcde", 5);
	ck_assert(is_silent(srv.base, fd));
	close(fd);
	stop();
}
END_TEST

START_TEST(malformed_exchange)
{
	struct msg_request m = an_open(), x = an_exchange();
	struct peer p;
	struct msg_reply r;
	evutil_socket_t fd;
	uint64_t n;

	start(8);
	fd = open_peer(&p);
	r = open_box(&p, send_box(p.id, p.keys.up, 0, &m), &n);
	ck_assert_int_eq(r.op, REPLY_ERROR);
	ck_assert_int_eq(r.error, ERR_BAD_REQUEST);
	ck_assert(alive(p.id));
	ck_assert_int_eq(exchange(&p, 1, &x).close, CLOSE_NONE);
	/* Well formed, but an ack of what was never sent: that is the end of it. */
	x.ack_received = 5;
	ck_assert_int_eq(exchange(&p, 2, &x).close, CLOSE_ERROR);
	ck_assert_int_eq(read_end(srv.base, fd), ECONNRESET);
	close(fd);
	stop();
}
END_TEST

/* A poll that is held is answered when its session goes, empty. */
START_TEST(poll_of_a_lost_session)
{
	struct msg_request x = an_exchange();
	struct https_request *req;
	struct msg_reply r;
	struct peer p;
	evutil_socket_t fd;
	uint64_t n;

	start(8);
	fd = open_peer(&p);
	x.poll = true;
	x.wait_ms = 60000;
	req = send_box(p.id, p.keys.up, 0, &x);
	settle(srv.base);
	ck_assert_uint_eq(req->replies, 0);
	conn_free(sessions_any(srv.sessions));
	ck_assert_uint_eq(req->replies, 1);
	r = open_box(&p, req, &n);
	ck_assert(r.op == REPLY_EXCHANGED && r.re == 0 && r.n == 0 && !r.fin);
	close(fd);
	stop();
}
END_TEST

START_TEST(statuses)
{
	struct msg_request x = an_exchange();
	struct peer p, other;
	struct conn *c;
	evutil_socket_t fd, other_fd;
	uint64_t n = 0;

	start(8);
	ck_assert(!alive(NO_SESSION));
	fd = open_peer(&p);
	other_fd = open_peer(&other);
	ck_assert(alive(p.id) && alive(other.id));
	/* A status asks; it does not confirm. */
	ck_assert_ptr_nonnull(sessions_expired(srv.sessions, local_now() + SESSIONS_SHORT_S * 1000));
	c = sessions_by_id(srv.sessions, p.id);
	exchange(&other, 0, &x);
	x.close = CLOSE_DONE;
	while (exchange(&p, n++, &x).close == CLOSE_NONE)
		turn(srv.base);
	ck_assert_int_eq(read_end(srv.base, fd), 0);
	UNTIL(srv.base, c->ended);
	/* A tombstone answers, but does not live. */
	ck_assert(!alive(p.id) && alive(other.id));
	ck_assert_int_ne(exchange(&p, n, &x).close, CLOSE_NONE);
	ck_assert_ptr_eq(sessions_expired(srv.sessions, local_now() + SESSIONS_SHORT_S * 1000), c);
	conn_free(c);
	ck_assert(!alive(p.id) && alive(other.id));
	expect_unknown(send_box(p.id, p.keys.up, n, &x), false);
	close(fd);
	close(other_fd);
	stop();
}
END_TEST

/* A bridge has one target, and no names. */
START_TEST(bridge_is_no_relay)
{
	struct msg_request m = an_open();

	start(8);
	strcpy(m.host, "127.0.0.1");
	m.port = address_port(&srv.orport);
	expect_error(&m, ERR_TARGET_DENIED);
	m = (struct msg_request){ .op = OP_RESOLVE, .host = "name.example" };
	expect_error(&m, ERR_UNSUPPORTED);
	ck_assert_uint_eq(sessions_count(srv.sessions), 0);
	ck_assert(target_is_left_alone());
	stop();
}
END_TEST

/* ---- a relay ---- */

#define ANNA "anna-anna-anna-anna"

static const struct dns_row rows[] = {
	{ "mixed.example", 0, 0, "9.9.9.9 10.0.0.1 127.0.0.1 10.1.2.3", "2620:fe::fe fc00::1", 250, 0, 0 },
	{ "private.example", 0, 0, "10.0.0.1 127.0.0.1", "::1", 250, 0, 0 },
	{ "target.example", 0, 0, "127.0.0.1", NULL, 250, 0, 0 },
	{ "halves.example", 0, 0, "9.9.9.9", "2620:fe::fe", 250, 0, 200 },
	{ "silent.example", SAY_NOTHING, SAY_NOTHING, NULL, NULL, 0, 0, 0 },
	{ "late.example", 0, 0, "9.9.9.9", "2620:fe::fe", 250, 3000, 3000 },
	{ 0 },
};
static struct dns_server dns;
static struct access list;

/* Public addresses; the network 10.1/16 by one port; our listener, under one name. */
static void
start_relay(const struct user_limits *limits)
{
	struct resolver_config c = { .hosts = "/nowhere", .n_servers = 1 };
	struct access_rule *r;
	char port[8];

	start(8);
	dns_start(&dns, srv.base, rows);
	c.servers[0] = dns.at;
	access_add(&list);
	r = access_add(&list);
	ck_assert(access_add_ports(r, "22") && access_add_network(r, "10.1.0.0/16"));
	r = access_add(&list);
	snprintf(port, sizeof(port), "%u", address_port(&srv.orport));
	ck_assert(access_add_ports(r, port) && access_add_host(r, "target.example") &&
	    access_add_network(r, "127.0.0.1"));
	srv.users = users_new(limits);
	srv.reach = (struct reach_env){ .base = srv.base, .access = &list, .outbound = &srv.outbound,
		.resolver = resolver_new(srv.base, &c) };
}

static void
stop_relay(void)
{
	struct conn *c;

	api_end_all(&srv);
	while ((c = sessions_any(srv.sessions)) != NULL)
		conn_free(c);
	resolver_free(srv.reach.resolver);
	event_base_loop(srv.base, EVLOOP_NONBLOCK);
	dns_stop(&dns);
	users_free(srv.users);
	access_clear(&list);
	stop();
}

static struct msg_request
a_resolve(const char *host)
{
	struct msg_request m = { .op = OP_RESOLVE };

	strcpy(m.host, host);
	return m;
}

static struct msg_request
an_open_to(const char *host)
{
	struct msg_request m = an_open();

	strcpy(m.host, host);
	m.port = address_port(&srv.orport);
	return m;
}

static bool
has_address(const struct msg_reply *r, const char *ip)
{
	for (unsigned i = 0; i < r->n_addresses; i++)
		if (strcmp(r->addresses[i], ip) == 0)
			return true;
	return false;
}

START_TEST(relay_resolves)
{
	struct msg_request m;
	struct msg_reply r;

	start_relay(&(struct user_limits){ 0 });
	/* What clients may go to, by whatever port, and nothing else. */
	m = a_resolve("mixed.example");
	r = ask_once(&m);
	ck_assert_int_eq(r.op, REPLY_RESOLVED);
	ck_assert_uint_eq(r.n_addresses, 3);
	ck_assert(has_address(&r, "9.9.9.9") && has_address(&r, "2620:fe::fe") &&
	    has_address(&r, "10.1.2.3"));
	ck_assert(r.ttl > 0 && r.ttl <= 250);
	/* All of it, though it comes by and by. */
	m = a_resolve("halves.example");
	r = ask_once(&m);
	ck_assert(r.n_addresses == 2 && has_address(&r, "9.9.9.9") && has_address(&r, "2620:fe::fe"));
	m = a_resolve("target.example");
	r = ask_once(&m);
	ck_assert(r.n_addresses == 1 && has_address(&r, "127.0.0.1"));
	m = a_resolve("private.example");
	expect_error(&m, ERR_TARGET_DENIED);
	m = a_resolve("127.0.0.1");
	expect_error(&m, ERR_TARGET_DENIED);
	m = a_resolve("9.9.9.9");
	r = ask_once(&m);
	ck_assert(r.n_addresses == 1 && has_address(&r, "9.9.9.9"));
	m = a_resolve("nowhere.example");
	expect_error(&m, ERR_DNS_FAILED);
	ck_assert(LIST_EMPTY(&srv.lookups));
	stop_relay();
}
END_TEST

START_TEST(relay_opens)
{
	struct msg_request m;
	struct msg_reply r;

	start_relay(&(struct user_limits){ .sessions = 1 });
	m = an_open();
	expect_error(&m, ERR_TARGET_DENIED);
	m = an_open_to("127.0.0.1");
	expect_error(&m, ERR_TARGET_DENIED);
	ck_assert(target_is_left_alone());
	m = an_open_to("target.example");
	r = ask_once(&m);
	ck_assert_int_eq(r.op, REPLY_OPENED);
	ck_assert_str_eq(r.target.address, "127.0.0.1");
	ck_assert_uint_eq(r.target.port, m.port);
	close(target());
	/* One session is what its user may have. */
	expect_error(&m, ERR_QUOTA);
	ck_assert(target_is_left_alone());
	stop_relay();
}
END_TEST

static void
load_users(void)
{
	char path[] = "/tmp/sultry-test-api-XXXXXX", error[CONFIG_ERROR] = "";
	int fd = mkstemp(path);

	ck_assert_int_ge(fd, 0);
	ck_assert_int_gt(dprintf(fd, "{\"users\":[{\"name\":\"anna\",\"token\":\"" ANNA "\"}]}"), 0);
	close(fd);
	ck_assert_msg(users_load(srv.users, path, error) == 0, "%s", error);
	unlink(path);
}

START_TEST(relay_has_users)
{
	static const char *const wrong[] = { "", "x", ANNA "x", "Anna-anna-anna-anna" };
	struct msg_request open, resolve;

	start_relay(&(struct user_limits){ 0 });
	load_users();
	open = an_open_to("target.example");
	resolve = a_resolve("target.example");
	for (size_t i = 0; i < sizeof(wrong) / sizeof(wrong[0]); i++) {
		strcpy(open.token, wrong[i]);
		strcpy(resolve.token, wrong[i]);
		expect_error(&open, ERR_UNAUTHORIZED);
		expect_error(&resolve, ERR_UNAUTHORIZED);
	}
	/* Nor was anything asked or dialled for them. */
	ck_assert_uint_eq(dns.queries, 0);
	ck_assert_uint_eq(sessions_count(srv.sessions), 0);
	ck_assert(target_is_left_alone());
	strcpy(open.token, ANNA);
	strcpy(resolve.token, ANNA);
	ck_assert_int_eq(ask_once(&resolve).op, REPLY_RESOLVED);
	ck_assert_int_eq(ask_once(&open).op, REPLY_OPENED);
	close(target());
	stop_relay();
}
END_TEST

START_TEST(end_all)
{
	struct msg_request m[2];
	struct https_request *req[2];
	struct ask a[2];

	start_relay(&(struct user_limits){ 0 });
	m[0] = a_resolve("silent.example");
	m[1] = a_resolve("late.example");
	for (unsigned i = 0; i < 2; i++) {
		prepare(&a[i], &m[i]);
		req[i] = send_ask(&a[i]);
	}
	UNTIL(srv.base, dns.queries >= 4);
	ck_assert(req[0]->replies == 0 && req[1]->replies == 0);
	api_end_all(&srv);
	ck_assert(LIST_EMPTY(&srv.lookups));
	for (unsigned i = 0; i < 2; i++) {
		ck_assert_uint_eq(req[i]->replies, 1);
		ck_assert_int_eq(answer(&a[i], req[i], NULL).error, ERR_BUSY);
		free(a[i].body);
	}
	api_end_all(&srv);
	/* Nobody is told of what comes now. */
	UNTIL(srv.base, LIST_EMPTY(&dns.late));
	settle(srv.base);
	stop_relay();
}
END_TEST

TEST_MAIN("api", opened, copies_of_a_pending_open, copy_of_a_confirmed_open, copy_of_a_refused_open,
    clocks, busy, strangers, malformed, exchanges_of_strangers, exchange_too_early,
    copy_of_an_exchange, malformed_exchange, poll_of_a_lost_session, statuses,
    bridge_is_no_relay, relay_resolves, relay_opens, relay_has_users, end_all)
