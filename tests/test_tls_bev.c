#include "common/net/tls_bev.h"

#include <errno.h>
#include <fcntl.h>
#include <netinet/in.h>
#include <signal.h>
#include <stdbool.h>
#include <stdio.h>
#include <sys/socket.h>
#include <unistd.h>

#include <event2/buffer.h>
#include <event2/event.h>
#include <openssl/ssl.h>

#include "common/mem.h"
#include "pt-server/certificate.h"
#include "tests/harness.h"

/* One end: what came and how it ended. */
struct end {
	struct bufferevent *bev;
	struct evbuffer *got;
	short what;      /* of the event callback */
	bool echo;       /* send back what comes */
	bool free_after; /* free it as soon as its output is empty, as evhttp does */
};

static struct event_base *base;
static struct tls_ctx *server_ctx, *client_ctx;

static void
setup(void)
{
	char error[256];
	char *key = certificate_new_key();
	char *cert = certificate_self_signed(key);

	signal(SIGPIPE, SIG_IGN);
	base = event_base_new();
	server_ctx = tls_ctx_server(cert, key, error);
	ck_assert_msg(server_ctx != NULL, "%s", error);
	client_ctx = tls_ctx_client(error);
	ck_assert_msg(client_ctx != NULL, "%s", error);
	free(key);
	free(cert);
}

static void
teardown(void)
{
	/* libevent frees bufferevents from the loop. */
	event_base_loop(base, EVLOOP_NONBLOCK);
	tls_ctx_free(server_ctx);
	tls_ctx_free(client_ctx);
	event_base_free(base);
	libevent_global_shutdown();
}

static void
on_read(struct bufferevent *bev, void *arg)
{
	struct end *e = arg;

	if (e->echo)
		bufferevent_write_buffer(bev, bufferevent_get_input(bev));
	else
		evbuffer_add_buffer(e->got, bufferevent_get_input(bev));
}

static void
on_write(struct bufferevent *bev, void *arg)
{
	struct end *e = arg;

	if (e->free_after && evbuffer_get_length(bufferevent_get_output(bev)) == 0) {
		e->bev = NULL;
		bufferevent_free(bev);
	}
}

static void
on_event(struct bufferevent *bev, short what, void *arg)
{
	struct end *e = arg;

	(void)bev;
	e->what = what;
}

static void
end_init(struct end *e, struct tls_ctx *ctx, int fd)
{
	memset(e, 0, sizeof(*e));
	evutil_make_socket_nonblocking(fd);
	e->got = evbuffer_new();
	if (ctx == server_ctx) { /* as evhttp does it */
		e->bev = tls_bev_new(base, ctx, -1);
		ck_assert_int_eq(bufferevent_setfd(e->bev, fd), 0);
	} else {
		e->bev = tls_bev_new(base, ctx, fd);
	}
	bufferevent_setcb(e->bev, on_read, on_write, on_event, e);
	bufferevent_enable(e->bev, EV_READ | EV_WRITE);
}

static void
end_clear(struct end *e)
{
	if (e->bev != NULL)
		bufferevent_free(e->bev);
	evbuffer_free(e->got);
}

static void
pair(struct end *server, struct end *client)
{
	int fds[2];

	ck_assert_int_eq(socketpair(AF_UNIX, SOCK_STREAM, 0, fds), 0);
	end_init(server, server_ctx, fds[0]);
	end_init(client, client_ctx, fds[1]);
}

static void
nothing(evutil_socket_t fd, short what, void *arg)
{
	(void)fd;
	(void)what;
	(void)arg;
}

/* Turns the loop until cond holds; 30 s at most. */
#define TURN_UNTIL(cond)                                                       \
	do {                                                                   \
		struct timeval start, now;                                     \
		evutil_gettimeofday(&start, NULL);                             \
		while (!(cond)) {                                              \
			struct timeval tick = { .tv_usec = 50000 };            \
			event_base_once(base, -1, EV_TIMEOUT, nothing, NULL, &tick); \
			event_base_loop(base, EVLOOP_ONCE);                    \
			evutil_gettimeofday(&now, NULL);                       \
			ck_assert_msg(now.tv_sec - start.tv_sec < 30, "waited for %s", #cond); \
		}                                                              \
	} while (0)

/* Bytes whose place can be told. */
static uint8_t *
pattern(size_t n)
{
	uint8_t *p = mem_alloc(n);

	for (size_t i = 0; i < n; i++)
		p[i] = (uint8_t)(i * 31 + (i >> 8) * 7 + (i >> 16));
	return p;
}

static void
check_pattern(struct evbuffer *got, size_t n)
{
	uint8_t *p = pattern(n);

	ck_assert_uint_eq(evbuffer_get_length(got), n);
	ck_assert(memcmp(evbuffer_pullup(got, -1), p, n) == 0);
	free(p);
}

START_TEST(bad_certificates_are_refused)
{
	char error[256] = "";
	char *key, *cert;

	setup();
	key = certificate_new_key();
	cert = certificate_self_signed(key);
	ck_assert_ptr_null(tls_ctx_server("rubbish", key, error));
	ck_assert_ptr_nonnull(strstr(error, "certificate"));
	ck_assert_ptr_null(tls_ctx_server(cert, "rubbish", error));
	ck_assert_ptr_nonnull(strstr(error, "key"));
	ck_assert_ptr_null(tls_ctx_server("", "", error));
	free(key);
	free(cert);
	teardown();
}
END_TEST

START_TEST(bytes_go_both_ways)
{
	struct end server, client;

	setup();
	pair(&server, &client);
	server.echo = true;
	bufferevent_write(client.bev, "hello", 5);
	TURN_UNTIL(evbuffer_get_length(client.got) == 5);
	ck_assert(memcmp(evbuffer_pullup(client.got, -1), "hello", 5) == 0);
	end_clear(&client);
	TURN_UNTIL(server.what != 0);
	ck_assert_int_eq(server.what, BEV_EVENT_EOF | BEV_EVENT_READING);
	end_clear(&server);
	teardown();
}
END_TEST

/* A peer that does not read: what it was sent waits here, as plaintext. */
static void
push_past(struct end *from, struct end *to)
{
	size_t n = 8 * 1024 * 1024, left;
	uint8_t *p = pattern(n);

	bufferevent_disable(to->bev, EV_READ);
	bufferevent_write(from->bev, p, n);
	free(p);
	for (int i = 0; i < 50; i++)
		event_base_loop(base, EVLOOP_NONBLOCK);
	left = evbuffer_get_length(bufferevent_get_output(from->bev));
	ck_assert_uint_gt(left, n / 2);
	ck_assert_uint_eq(evbuffer_get_length(bufferevent_get_input(to->bev)), 0);
	bufferevent_enable(to->bev, EV_READ);
	TURN_UNTIL(evbuffer_get_length(to->got) == n);
	check_pattern(to->got, n);
	ck_assert_uint_eq(evbuffer_get_length(bufferevent_get_output(from->bev)), 0);
	evbuffer_drain(to->got, n);
}

static void
shake_hands(struct end *server, struct end *client)
{
	bufferevent_write(client->bev, "x", 1);
	TURN_UNTIL(evbuffer_get_length(server->got) == 1);
	evbuffer_drain(server->got, 1);
}

START_TEST(writes_wait_for_the_reader)
{
	struct end server, client;

	setup();
	pair(&server, &client);
	shake_hands(&server, &client);
	push_past(&client, &server);
	push_past(&server, &client);
	end_clear(&client);
	end_clear(&server);
	teardown();
}
END_TEST

/* An empty output buffer means that the kernel has all: closing loses nothing,
 * also when the socket was full in between. */
START_TEST(closing_when_written_loses_nothing)
{
	static const size_t sizes[] = { 1, 16384, 16385, 3 * 1024 * 1024 };

	setup();
	for (size_t i = 0; i < sizeof(sizes) / sizeof(sizes[0]); i++) {
		struct end server, client;
		uint8_t *p = pattern(sizes[i]);

		pair(&server, &client);
		shake_hands(&server, &client);
		server.free_after = true;
		bufferevent_write(server.bev, p, sizes[i]);
		TURN_UNTIL(client.what != 0);
		ck_assert_int_eq(client.what, BEV_EVENT_EOF | BEV_EVENT_READING);
		check_pattern(client.got, sizes[i]);
		ck_assert_ptr_null(server.bev);
		free(p);
		end_clear(&client);
		end_clear(&server);
	}
	teardown();
}
END_TEST

/* Trap 1: bytes queued while EV_WRITE is off, which is then switched on. */
START_TEST(queued_bytes_leave_when_writing_is_switched_on)
{
	struct end server, client;

	setup();
	pair(&server, &client);
	shake_hands(&server, &client);
	bufferevent_disable(server.bev, EV_WRITE);
	bufferevent_write(server.bev, "reply", 5);
	bufferevent_enable(server.bev, EV_WRITE);
	TURN_UNTIL(evbuffer_get_length(client.got) == 5);
	end_clear(&client);
	end_clear(&server);
	teardown();
}
END_TEST

START_TEST(close_notify_is_sent_and_seen)
{
	struct end server, client;

	setup();
	pair(&server, &client);
	shake_hands(&server, &client);
	bufferevent_write(server.bev, "bye", 3);
	bufferevent_flush(server.bev, EV_WRITE, BEV_FINISHED);
	TURN_UNTIL(client.what != 0); /* the socket is open still: this is the alert */
	ck_assert_int_eq(client.what, BEV_EVENT_EOF | BEV_EVENT_READING);
	ck_assert_uint_eq(evbuffer_get_length(client.got), 3);
	ck_assert_int_eq(server.what, 0);
	bufferevent_flush(client.bev, EV_WRITE, BEV_FINISHED);
	TURN_UNTIL(server.what != 0);
	ck_assert_int_eq(server.what, BEV_EVENT_EOF | BEV_EVENT_READING);
	end_clear(&client);
	end_clear(&server);
	teardown();
}
END_TEST

START_TEST(input_that_nobody_takes_is_bounded)
{
	struct end server, client;
	size_t n = 2 * 1024 * 1024;
	uint8_t *p = pattern(n);

	setup();
	pair(&server, &client);
	shake_hands(&server, &client);
	bufferevent_setcb(server.bev, NULL, NULL, on_event, &server);
	bufferevent_write(client.bev, p, n);
	TURN_UNTIL(server.what != 0);
	ck_assert_int_eq(server.what, BEV_EVENT_ERROR | BEV_EVENT_READING);
	ck_assert_uint_le(evbuffer_get_length(bufferevent_get_input(server.bev)),
			  TLS_BEV_INPUT_MAX + 16384);
	free(p);
	end_clear(&client);
	end_clear(&server);
	teardown();
}
END_TEST

/* --- hostile peers: a server end, and a bare socket ---------------------- */

static int
bare(struct end *server)
{
	int fds[2];

	ck_assert_int_eq(socketpair(AF_UNIX, SOCK_STREAM, 0, fds), 0);
	end_init(server, server_ctx, fds[0]);
	return fds[1];
}

/* What OpenSSL 3.0 answers to the same bytes. */
START_TEST(garbage_gets_the_alert_that_openssl_sends)
{
	static const struct {
		const char *bytes;
		size_t n;
		uint8_t alert; /* 0: none */
	} cases[] = {
		{ "GET / HTTP/1.1\r\nHost: a\r\n\r\n", 27, 0 },
		{ "SSH-2.0-OpenSSH_9.2p1\r\n", 23, 0 },
		{ "\x16\x03\x01\x00\x05\x02\x00\x00\x01\x00", 10, 10 }, /* a ServerHello */
		{ "\x17\x03\x03\x00\x20" "aaaaaaaaaaaaaaaabbbbbbbbbbbbbbbb", 37, 10 },
		{ "\x16\x03\x01\xff\xff\x01\x00\xff\xff\x03\x03", 11, 22 }, /* too long */
		{ "\x16\x03\x01\x00\x08\x01\x00\x00\x04\x03\x03\x00\x00", 13, 50 },
	};

	setup();
	for (size_t i = 0; i < sizeof(cases) / sizeof(cases[0]); i++) {
		const uint8_t expected[] = { 0x15, 3, 3, 0, 2, 2, cases[i].alert };
		struct end server;
		int fd = bare(&server);
		uint8_t answer[64];
		ssize_t n;

		ck_assert_int_eq(write(fd, cases[i].bytes, cases[i].n), (ssize_t)cases[i].n);
		TURN_UNTIL(server.what != 0);
		ck_assert_int_eq(server.what, BEV_EVENT_ERROR | BEV_EVENT_READING);
		end_clear(&server);
		event_base_loop(base, EVLOOP_NONBLOCK);
		n = read(fd, answer, sizeof(answer));
		ck_assert_int_eq(n, cases[i].alert != 0 ? (ssize_t)sizeof(expected) : 0);
		ck_assert(memcmp(answer, expected, (size_t)n) == 0);
		ck_assert_int_eq(read(fd, answer, 1), 0);
		close(fd);
	}
	teardown();
}
END_TEST

/* Carries bytes between two bare sockets, at most `budget` of them upwards. */
struct relay {
	struct event *up, *down;
	int client, server;
	size_t carried, budget;
	size_t step; /* bytes at a time, upwards */
	bool cut;
};

static void
relay_cut(struct relay *r)
{
	if (!r->cut) {
		r->cut = true;
		event_free(r->up);
		event_free(r->down);
		close(r->client);
		close(r->server);
	}
}

static void
on_up(evutil_socket_t fd, short what, void *arg)
{
	struct relay *r = arg;
	uint8_t buf[4096];
	size_t max = r->budget - r->carried < r->step ? r->budget - r->carried : r->step;
	ssize_t n = max > 0 ? read(fd, buf, max < sizeof(buf) ? max : sizeof(buf)) : 0;

	(void)what;
	if (n <= 0 || write(r->server, buf, (size_t)n) != n) {
		relay_cut(r);
		return;
	}
	r->carried += (size_t)n;
}

static void
on_down(evutil_socket_t fd, short what, void *arg)
{
	struct relay *r = arg;
	uint8_t buf[4096];
	ssize_t n = read(fd, buf, sizeof(buf));

	(void)what;
	if (n <= 0 || write(r->client, buf, (size_t)n) != n)
		relay_cut(r);
}

static void
relay_init(struct relay *r, struct end *server, struct end *client, size_t budget, size_t step)
{
	int a[2], b[2];

	*r = (struct relay){ .budget = budget, .step = step };
	ck_assert_int_eq(socketpair(AF_UNIX, SOCK_STREAM, 0, a), 0);
	ck_assert_int_eq(socketpair(AF_UNIX, SOCK_STREAM, 0, b), 0);
	r->client = a[0];
	r->server = b[0];
	r->up = event_new(base, a[0], EV_READ | EV_PERSIST, on_up, r);
	r->down = event_new(base, b[0], EV_READ | EV_PERSIST, on_down, r);
	event_add(r->up, NULL);
	event_add(r->down, NULL);
	end_init(client, client_ctx, a[1]);
	end_init(server, server_ctx, b[1]);
}

START_TEST(one_byte_at_a_time)
{
	struct end server, client;
	struct relay r;

	setup();
	relay_init(&r, &server, &client, SIZE_MAX, 1);
	server.echo = true;
	bufferevent_write(client.bev, "hello", 5);
	TURN_UNTIL(evbuffer_get_length(client.got) == 5);
	relay_cut(&r);
	end_clear(&client);
	end_clear(&server);
	teardown();
}
END_TEST

/* The connection breaks after every number of bytes of handshake and data. */
START_TEST(truncation_at_every_length)
{
	size_t total;
	struct end server, client;
	struct relay r;

	setup();
	relay_init(&r, &server, &client, SIZE_MAX, 4096);
	shake_hands(&server, &client);
	total = r.carried;
	relay_cut(&r);
	end_clear(&client);
	end_clear(&server);
	ck_assert_uint_gt(total, 200);
	for (size_t n = 0; n < total; n++) {
		relay_init(&r, &server, &client, n, 4096);
		bufferevent_write(client.bev, "x", 1);
		TURN_UNTIL(server.what != 0);
		ck_assert_int_ne(server.what & (BEV_EVENT_EOF | BEV_EVENT_ERROR), 0);
		ck_assert_uint_eq(evbuffer_get_length(server.got), 0);
		relay_cut(&r);
		end_clear(&client);
		end_clear(&server);
	}
	teardown();
}
END_TEST

static int
tcp_pair(int fds[2])
{
	struct sockaddr_in sin = { .sin_family = AF_INET,
				   .sin_addr.s_addr = htonl(INADDR_LOOPBACK) };
	socklen_t len = sizeof(sin);
	int l = socket(AF_INET, SOCK_STREAM, 0);

	fds[1] = socket(AF_INET, SOCK_STREAM, 0);
	if (bind(l, (struct sockaddr *)&sin, len) != 0 || listen(l, 1) != 0 ||
	    getsockname(l, (struct sockaddr *)&sin, &len) != 0 ||
	    connect(fds[1], (struct sockaddr *)&sin, len) != 0)
		return -1;
	fds[0] = accept(l, NULL, NULL);
	close(l);
	return fds[0] < 0 ? -1 : 0;
}

START_TEST(a_peer_that_breaks_off_while_we_write)
{
	struct end server, client;
	struct linger hard = { .l_onoff = 1 };
	size_t n = 16 * 1024 * 1024;
	uint8_t *p = pattern(n);
	int fds[2];

	setup();
	ck_assert_int_eq(tcp_pair(fds), 0);
	end_init(&server, server_ctx, fds[0]);
	end_init(&client, client_ctx, fds[1]);
	shake_hands(&server, &client);
	bufferevent_disable(client.bev, EV_READ);
	bufferevent_write(server.bev, p, n);
	free(p);
	for (int i = 0; i < 20; i++)
		event_base_loop(base, EVLOOP_NONBLOCK);
	setsockopt(fds[1], SOL_SOCKET, SO_LINGER, &hard, sizeof(hard));
	end_clear(&client);
	TURN_UNTIL(server.what != 0);
	/* More of it is harmless. */
	bufferevent_write(server.bev, "more", 4);
	event_base_loop(base, EVLOOP_NONBLOCK);
	end_clear(&server);
	teardown();
}
END_TEST

/* --- session tickets, as OpenSSL holds them ------------------------------- */

/* Turns the loop until an operation on the non-blocking client is through. */
#define OPENSSL_UNTIL(ssl, rc, operation)                                              \
	while ((rc = (operation)) <= 0) {                                              \
		ck_assert_int_eq(SSL_get_error(ssl, rc), SSL_ERROR_WANT_READ);         \
		event_base_loop(base, EVLOOP_NONBLOCK);                                \
	}

/* A visit of the server; the session that is left after it. */
static SSL_SESSION *
visit(int version, uint64_t options, SSL_SESSION *with, bool *resumed)
{
	SSL_CTX *ctx = SSL_CTX_new(TLS_client_method());
	SSL *ssl = SSL_new(ctx);
	SSL_SESSION *left;
	struct end server;
	char echo[2];
	int fd = bare(&server), rc;

	server.echo = true;
	evutil_make_socket_nonblocking(fd);
	SSL_set_max_proto_version(ssl, version);
	SSL_set_options(ssl, options);
	SSL_set_fd(ssl, fd);
	if (with != NULL)
		ck_assert_int_eq(SSL_set_session(ssl, with), 1);
	OPENSSL_UNTIL(ssl, rc, SSL_connect(ssl));
	ck_assert_int_eq(SSL_version(ssl), version);
	ck_assert_int_eq(SSL_write(ssl, "x", 1), 1);
	OPENSSL_UNTIL(ssl, rc, SSL_read(ssl, echo, sizeof(echo))); /* TLS 1.3: takes the ticket */
	*resumed = SSL_session_reused(ssl) == 1;
	left = SSL_get1_session(ssl);
	SSL_set_shutdown(ssl, SSL_SENT_SHUTDOWN); /* or OpenSSL takes it for broken */
	SSL_free(ssl);
	SSL_CTX_free(ctx);
	close(fd);
	end_clear(&server);
	return left;
}

static void
visit_again(int version, SSL_SESSION *with, bool resumes)
{
	bool resumed;

	SSL_SESSION_free(visit(version, 0, with, &resumed));
	ck_assert_msg(resumed == resumes, "TLS %x", (unsigned)version);
}

START_TEST(tickets_resume_across_one_rotation_but_not_two)
{
	static const int versions[] = { TLS1_2_VERSION, TLS1_3_VERSION };

	setup();
	for (size_t i = 0; i < sizeof(versions) / sizeof(versions[0]); i++) {
		SSL_SESSION *first, *second;
		bool resumed;

		first = visit(versions[i], 0, NULL, &resumed);
		ck_assert(!resumed);
		visit_again(versions[i], first, true);
		tls_ctx_rotate_tickets(server_ctx);
		second = visit(versions[i], 0, first, &resumed);
		ck_assert(resumed);
		tls_ctx_rotate_tickets(server_ctx);
		visit_again(versions[i], first, false);
		/* What resumed by an old ticket got a new one (wolfSSL 5.5: but for TLS 1.2). */
		if (versions[i] == TLS1_3_VERSION)
			visit_again(versions[i], second, true);
		SSL_SESSION_free(first);
		SSL_SESSION_free(second);
	}
	teardown();
}
END_TEST

/* A session without a ticket has an id, which a cache would know: secrets that nobody rotates. */
START_TEST(a_server_keeps_no_sessions)
{
	SSL_SESSION *session;
	bool resumed;

	setup();
	session = visit(TLS1_2_VERSION, SSL_OP_NO_TICKET, NULL, &resumed);
	SSL_SESSION_free(visit(TLS1_2_VERSION, SSL_OP_NO_TICKET, session, &resumed));
	ck_assert(!resumed);
	SSL_SESSION_free(session);
	teardown();
}
END_TEST

/* A handshake that goes on when the keys are gone ends without them. */
START_TEST(a_context_may_be_freed_before_its_connections)
{
	struct end server, client;

	setup();
	pair(&server, &client);
	tls_ctx_free(server_ctx);
	server_ctx = NULL;
	bufferevent_write(client.bev, "x", 1);
	TURN_UNTIL(evbuffer_get_length(server.got) == 1 || server.what != 0);
	end_clear(&client);
	end_clear(&server);
	teardown();
}
END_TEST

TEST_MAIN("tls_bev", bad_certificates_are_refused, bytes_go_both_ways, writes_wait_for_the_reader,
	  closing_when_written_loses_nothing, queued_bytes_leave_when_writing_is_switched_on,
	  close_notify_is_sent_and_seen, input_that_nobody_takes_is_bounded,
	  garbage_gets_the_alert_that_openssl_sends, one_byte_at_a_time, truncation_at_every_length,
	  a_peer_that_breaks_off_while_we_write, tickets_resume_across_one_rotation_but_not_two,
	  a_server_keeps_no_sessions, a_context_may_be_freed_before_its_connections)
