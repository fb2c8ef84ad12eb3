/* Straight connections: two sockets, and what the wire shows of a ClientHello. */
#include "pt-client/relay.h"

#include <fcntl.h>
#include <linux/filter.h>
#include <linux/if_ether.h>
#include <linux/if_packet.h>
#include <net/if.h>
#include <netinet/ip.h>
#include <netinet/tcp.h>
#include <stdio.h>

#include "common/mem.h"
#include "common/tls_record.h"
#include "tests/harness.h"
#include "tests/sockets.h"
#include "tests/tls_peer.h"

/* The relay between an app and a target, whose far ends we hold. */
static struct event_base *base;
static struct relay *relay;
static evutil_socket_t app, target;
static struct relay_report report;
static int ends;

static void
on_done(void *arg, const struct relay_report *r)
{
	ck_assert_ptr_eq(arg, &report);
	report = *r;
	ends++;
	relay_free(relay);
	relay = NULL;
}

/* buf > 0: the relay's socket buffers. */
static void
start_request(struct request req, bool split, unsigned answer_ms, int buf)
{
	evutil_socket_t a[2], t[2];

	base = event_base_new();
	pair_tcp(a);
	pair_tcp(t);
	for (int i = 0; i < 2 && buf > 0; i++) {
		setsockopt(i == 0 ? a[1] : t[0], SOL_SOCKET, SO_RCVBUF, &buf, sizeof(buf));
		setsockopt(i == 0 ? a[1] : t[0], SOL_SOCKET, SO_SNDBUF, &buf, sizeof(buf));
	}
	app = a[0];
	target = t[1];
	ends = 0;
	req.fd = a[1];
	relay = relay_new(base, &req, t[0], split, answer_ms, on_done, &report);
}

static void
start(bool split, const void *early, size_t n, unsigned answer_ms, int buf)
{
	start_request((struct request){ .early = early, .n = n }, split, answer_ms, buf);
}

static void
stop(void)
{
	relay_free(relay);
	relay = NULL;
	if (app >= 0)
		close(app);
	close(target);
	event_base_free(base);
}

static void
say(evutil_socket_t fd, const char *text)
{
	send_all(base, fd, (const uint8_t *)text, strlen(text));
}

static void
hear(evutil_socket_t fd, const char *text)
{
	uint8_t got[200];

	ck_assert_uint_le(strlen(text), sizeof(got));
	read_exactly(base, fd, got, strlen(text));
	ck_assert_mem_eq(got, text, strlen(text));
}

static void
check_end(enum relay_end end, uint64_t up, uint64_t down, bool answered, bool failed)
{
	UNTIL(base, ends == 1);
	ck_assert_int_eq(report.end, end);
	ck_assert_uint_eq(report.up, up);
	ck_assert_uint_eq(report.down, down);
	ck_assert_int_eq(report.answered, answered);
	ck_assert_int_eq(report.failed, failed);
}

START_TEST(both_ways_and_half_closed)
{
	for (int first = 0; first < 2; first++) {
		unsigned before = open_descriptors();

		start(false, "early ", 6, 0, 0);
		hear(target, "early ");
		say(app, "question");
		hear(target, "question");
		say(target, "answer");
		hear(app, "answer");
		shutdown(first == 0 ? app : target, SHUT_WR);
		ck_assert_int_eq(read_end(base, first == 0 ? target : app), 0);
		/* The other half still works. */
		say(first == 0 ? target : app, "more");
		hear(first == 0 ? app : target, "more");
		ck_assert_int_eq(ends, 0);
		shutdown(first == 0 ? target : app, SHUT_WR);
		ck_assert_int_eq(read_end(base, first == 0 ? app : target), 0);
		check_end(RELAY_DONE, 14 + (first == 1 ? 4 : 0), 6 + (first == 0 ? 4 : 0), true, false);
		stop();
		ck_assert_uint_eq(open_descriptors(), before);
	}
}
END_TEST

START_TEST(resets_are_mirrored)
{
	for (int first = 0; first < 2; first++) {
		start(false, NULL, 0, 0, 0);
		say(app, "question");
		hear(target, "question");
		reset_tcp(first == 0 ? app : target);
		if (first == 0) {
			ck_assert_int_eq(read_end(base, target), ECONNRESET);
			app = -1;
		} else {
			ck_assert_int_eq(read_end(base, app), ECONNRESET);
			target = dup(app);
		}
		check_end(RELAY_RESET, 8, 0, false, first == 1);
		ck_assert(!report.cut);
		stop();
	}
}
END_TEST

/* An alert before the reset is for the app, even if it has to wait for it. (What is with the
 * kernel by then, and has no room on the other side, falls to the reset.) */
START_TEST(last_words_before_a_reset)
{
	static uint8_t data[100000];
	size_t got = 0;
	ssize_t n;

	fill_pattern(data, 0, sizeof(data));
	start(false, NULL, 0, 0, 4096);
	setsockopt(app, SOL_SOCKET, SO_RCVBUF, &(int){ 4096 }, sizeof(int));
	send_all(base, target, data, sizeof(data));
	UNTIL(base, (relay_look(relay, &report), report.down == sizeof(data)));
	reset_tcp(target);
	target = dup(app);
	settle(base);
	ck_assert_int_eq(ends, 0);
	memset(data, 0, sizeof(data));
	do {
		UNTIL(base, (n = recv(app, data + got, sizeof(data) - got, 0)) >= 0 || errno != EAGAIN);
		got += n > 0 ? (size_t)n : 0;
	} while (n > 0 && got < sizeof(data));
	check_pattern(data, 0, got);
	ck_assert_uint_gt(got, sizeof(data) - 16384);
	if (n > 0)
		ck_assert_int_eq(read_end(base, app), ECONNRESET);
	else
		ck_assert_int_eq(n < 0 ? errno : 0, ECONNRESET);
	check_end(RELAY_RESET, 0, sizeof(data), true, false);
	stop();
}
END_TEST

/* Whoever does not read stops the other; then not a byte is missing. */
START_TEST(backpressure)
{
	static uint8_t data[65536];

	for (int to = 0; to < 2; to++) {
		uint64_t sent = 0, got = 0, idle = 0;
		evutil_socket_t from_fd, to_fd;

		start(false, NULL, 0, 0, 32768);
		from_fd = to == 0 ? target : app;
		to_fd = to == 0 ? app : target;
		setsockopt(from_fd, SOL_SOCKET, SO_SNDBUF, &(int){ 32768 }, sizeof(int));
		setsockopt(to_fd, SOL_SOCKET, SO_RCVBUF, &(int){ 32768 }, sizeof(int));
		while (idle < 200) {
			ssize_t w;

			fill_pattern(data, sent, sizeof(data));
			w = send(from_fd, data, sizeof(data), MSG_NOSIGNAL);
			sent += w > 0 ? (uint64_t)w : 0;
			idle = w > 0 ? 0 : idle + 1;
			ck_assert_uint_lt(sent, 1000000);
			turn(base);
		}
		shutdown(from_fd, SHUT_WR);
		while (got < sent) {
			size_t n = sent - got < sizeof(data) ? (size_t)(sent - got) : sizeof(data);

			read_exactly(base, to_fd, data, n);
			check_pattern(data, got, n);
			got += n;
		}
		ck_assert_int_eq(read_end(base, to_fd), 0);
		stop();
	}
}
END_TEST

START_TEST(megabytes_each_way)
{
	static uint8_t data[65536], got[65536];
	uint64_t sent[2] = { 0 }, heard[2] = { 0 }, total = 8 * 1024 * 1024;
	uint64_t end = clock_ms() + DEADLINE_MS;

	start(true, NULL, 0, 0, 0);
	while (heard[0] < total || heard[1] < total) {
		for (int i = 0; i < 2; i++) {
			size_t n = total - sent[i] < sizeof(data) ? (size_t)(total - sent[i]) : sizeof(data);
			ssize_t w, r;

			fill_pattern(data, sent[i], n);
			w = send(i == 0 ? app : target, data, n, MSG_NOSIGNAL);
			sent[i] += w > 0 ? (uint64_t)w : 0;
			r = recv(i == 0 ? target : app, got, sizeof(got), 0);
			if (r > 0) {
				check_pattern(got, heard[i], (size_t)r);
				heard[i] += (uint64_t)r;
			}
		}
		event_base_loop(base, EVLOOP_NONBLOCK);
		ck_assert(clock_ms() < end);
	}
	relay_look(relay, &report);
	ck_assert_uint_eq(report.up, total);
	ck_assert_uint_eq(report.down, total);
	stop();
}
END_TEST

/* ---- plain HTTP ---- */

#define HEAD "POST / HTTP/1.1\r\nHost: a\r\n\r\n"
#define NEXT "GET http://b/ HTTP/1.1\r\n\r\n"

static void
start_http(bool split, size_t length)
{
	struct request req = { .kind = REQUEST_HTTP, .early = (const uint8_t *)HEAD,
		.n = strlen(HEAD) };

	http_body_init(&req.body, false, length);
	start_request(req, split, 0, 0);
	hear(target, HEAD);
}

/* An app that takes the connection for one that it may use again is reset; the target hears
 * nothing of what was for another. */
START_TEST(http_one_request)
{
	for (int i = 0; i < 4; i++) {
		unsigned before = open_descriptors();
		bool split = i % 2 == 1, at_once = i / 2 == 1;

		start_http(split, 10);
		say(app, "01234");
		hear(target, "01234");
		say(target, "100 ");
		hear(app, "100 ");
		say(app, at_once ? "56789" NEXT : "56789");
		hear(target, "56789");
		if (!at_once) {
			say(target, "answer");
			hear(app, "answer");
			ck_assert_int_eq(ends, 0);
			say(app, NEXT);
		}
		ck_assert_int_eq(read_end(base, app), ECONNRESET);
		ck_assert_int_eq(read_end(base, target), ECONNRESET);
		check_end(RELAY_RESET, strlen(HEAD) + 10, at_once ? 4 : 10, true, false);
		stop();
		ck_assert_uint_eq(open_descriptors(), before);
	}
}
END_TEST

/* It is the app's doing, whether the target has answered or not. */
START_TEST(http_without_an_answer)
{
	start_http(false, 0);
	say(app, NEXT);
	ck_assert_int_eq(read_end(base, target), ECONNRESET);
	check_end(RELAY_RESET, strlen(HEAD), 0, false, false);
	stop();
}
END_TEST

/* Ends of stream stay what they are, and a body may be long. */
START_TEST(http_body_whole)
{
	static uint8_t data[100000], got[sizeof(data)];

	fill_pattern(data, 0, sizeof(data));
	start_http(true, sizeof(data));
	send_all(base, app, data, sizeof(data));
	read_exactly(base, target, got, sizeof(got));
	check_pattern(got, 0, sizeof(got));
	shutdown(app, SHUT_WR);
	ck_assert_int_eq(read_end(base, target), 0);
	say(target, "answer");
	shutdown(target, SHUT_WR);
	hear(app, "answer");
	ck_assert_int_eq(read_end(base, app), 0);
	check_end(RELAY_DONE, strlen(HEAD) + sizeof(data), 6, true, false);
	stop();
}
END_TEST

/* An app is told that a target's connection is not for its next request, whatever the target
 * says; also if what it says comes in one piece, or in many. */
START_TEST(http_says_close)
{
	static const char answer[] = "HTTP/1.1 100 Continue\r\n\r\nHTTP/1.1 200 OK\r\n"
	    "Connection: keep-alive\r\nContent-Length: 2\r\n\r\nok";
	static const char got[] = "HTTP/1.1 100 Continue\r\n\r\nHTTP/1.1 200 OK\r\n"
	    "Connection: keep-alive\r\nContent-Length: 2\r\nConnection: close\r\n\r\nok"
	    "HTTP/1.1 200 OK\r\n\r\n";

	for (int i = 0; i < 4; i++) {
		start_http(i % 2 == 1, 0);
		if (i / 2 == 0)
			say(target, answer);
		for (const char *c = answer; *c != '\0' && i / 2 == 1; c++) {
			send_all(base, target, (const uint8_t *)c, 1);
			turn(base);
		}
		say(target, "HTTP/1.1 200 OK\r\n\r\n");
		shutdown(target, SHUT_WR);
		hear(app, got);
		ck_assert_int_eq(read_end(base, app), 0);
		shutdown(app, SHUT_WR);
		check_end(RELAY_DONE, strlen(HEAD), strlen(answer) + 19, true, false);
		stop();
	}
	/* Not in a tunnel. */
	start(false, NULL, 0, 0, 0);
	say(target, answer);
	hear(app, answer);
	ck_assert(is_silent(base, app));
	stop();
}
END_TEST

/* ---- split ---- */

/* A real ClientHello that asks for TLS_PEER_SNI. */
static struct buffer
real_hello(void **client)
{
	static const struct tls_setup setup = { .version = 0x0304 };
	struct buffer in = { 0 }, out = { 0 };

	*client = stack_openssl.side_new(false, &setup);
	stack_openssl.connect(*client);
	stack_openssl.step(*client, &in, &out);
	return out;
}

static void
free_client(void *client)
{
	stack_openssl.disconnect(client);
	stack_openssl.side_free(client);
}

/* Moves what the stack at fd says and hears; whether it is through. */
static bool
move(const struct tls_stack *stack, void *side, evutil_socket_t fd, struct buffer *in,
    struct buffer *out)
{
	uint8_t buf[4096];
	bool done;
	ssize_t n;

	if ((n = recv(fd, buf, sizeof(buf), 0)) > 0)
		buffer_add(in, buf, (size_t)n);
	done = stack->step(side, in, out);
	while (out->n > 0 && (n = send(fd, buffer_data(out), out->n, MSG_NOSIGNAL)) > 0)
		buffer_drain(out, (size_t)n);
	return done;
}

static bool
moved_all(void *client, struct buffer *in, struct buffer *out, void *server, struct buffer *far_in,
    struct buffer *far_out)
{
	bool client_done = move(&stack_openssl, client, app, in, out);
	bool server_done = move(&stack_wolfssl, server, target, far_in, far_out);

	return client_done && server_done;
}

/* What TLS says comes through, whatever part of it is early. */
START_TEST(real_handshake)
{
	static const struct tls_setup setup = { .version = 0x0304 };

	for (size_t early = 0; early < 1000; early += 90) {
		struct buffer up, down = { 0 }, far_in = { 0 }, far_out = { 0 };
		void *server = stack_wolfssl.side_new(true, &setup), *client;

		up = real_hello(&client);
		stack_wolfssl.connect(server);
		if (early > up.n)
			early = up.n;
		start(true, buffer_data(&up), early, 0, 0);
		buffer_drain(&up, early);
		UNTIL(base, moved_all(client, &down, &up, server, &far_in, &far_out));
		relay_look(relay, &report);
		ck_assert(report.cut && report.answered && !report.failed);
		stack_wolfssl.disconnect(server);
		stack_wolfssl.side_free(server);
		free_client(client);
		buffer_clear(&up);
		buffer_clear(&down);
		buffer_clear(&far_in);
		buffer_clear(&far_out);
		stop();
		if (early == up.n)
			early = 1000;
	}
}
END_TEST

/* Nothing is to be cut: other protocols, whoever speaks first. */
START_TEST(not_tls)
{
	start(true, NULL, 0, 0, 0);
	say(app, "SSH-2.0-a\r\n");
	hear(target, "SSH-2.0-a\r\n");
	say(target, "SSH-2.0-b\r\n");
	hear(app, "SSH-2.0-b\r\n");
	relay_look(relay, &report);
	ck_assert(!report.cut && report.answered);
	stop();

	start(true, NULL, 0, 0, 0);
	say(target, "220 hello\r\n");
	hear(app, "220 hello\r\n");
	say(app, "EHLO\r\n");
	hear(target, "EHLO\r\n");
	stop();

	start(true, "early", 5, 0, 0);
	hear(target, "early");
	stop();

	/* One that is over before it has begun. */
	start(true, NULL, 0, 0, 0);
	shutdown(app, SHUT_WR);
	ck_assert_int_eq(read_end(base, target), 0);
	say(target, "late");
	hear(app, "late");
	stop();
}
END_TEST

/* Part of a hello, and then an end or a reset. */
START_TEST(hello_broken_off)
{
	struct buffer hello;
	void *client;
	uint8_t got[200];

	hello = real_hello(&client);
	free_client(client);
	ck_assert_uint_gt(hello.n, sizeof(got));
	start(true, NULL, 0, 0, 0);
	send_all(base, app, buffer_data(&hello), sizeof(got));
	ck_assert(is_silent(base, target));
	shutdown(app, SHUT_WR);
	read_exactly(base, target, got, sizeof(got));
	ck_assert_mem_eq(got, buffer_data(&hello), sizeof(got));
	ck_assert_int_eq(read_end(base, target), 0);
	stop();

	/* A target that hangs up gets nothing of it. */
	start(true, buffer_data(&hello), 200, 0, 0);
	settle(base);
	shutdown(target, SHUT_WR);
	ck_assert_int_eq(read_end(base, app), 0);
	ck_assert_int_eq(read_end(base, target), 0);
	check_end(RELAY_DONE, 200, 0, false, true);
	stop();

	start(true, buffer_data(&hello), 200, 0, 0);
	reset_tcp(app);
	app = -1;
	ck_assert_int_eq(read_end(base, target), ECONNRESET);
	check_end(RELAY_RESET, 200, 0, false, false);
	stop();
	buffer_clear(&hello);
}
END_TEST

/* What a censor's box does to a hello that it does not like. */
START_TEST(hello_answered_badly)
{
	static const struct { const char *answer; size_t n; bool reset, answered; } cases[] = {
		{ "", 0, true, false }, { "", 0, false, false }, { "HTTP/1.1 302", 12, false, false },
		{ "\x15\x03\x03\x00\x02\x02\x28", 7, true, false },
		{ "\x16\x03\x03\x00\x02\x02\x00", 7, false, true },
	};
	struct buffer hello;
	void *client;

	hello = real_hello(&client);
	free_client(client);
	for (size_t k = 0; k < 2 * sizeof(cases) / sizeof(cases[0]); k++) {
		size_t i = k / 2;
		uint8_t got[5];

		start(k % 2 == 0, buffer_data(&hello), hello.n, 0, 0);
		read_exactly(base, target, got, sizeof(got));
		settle(base);
		send_all(base, target, (const uint8_t *)cases[i].answer, cases[i].n);
		settle(base);
		if (cases[i].reset) {
			reset_tcp(target);
			target = dup(app);
		} else {
			shutdown(target, SHUT_WR);
			settle(base);
			shutdown(app, SHUT_WR);
		}
		check_end(cases[i].reset ? RELAY_RESET : RELAY_DONE, hello.n, cases[i].n, cases[i].answered,
		    !cases[i].answered);
		ck_assert(report.cut == (k % 2 == 0));
		stop();
	}
	buffer_clear(&hello);
}
END_TEST

/* ---- a second hello ---- */

/* What two real stacks say in turn up to the second answer: the server takes none of the groups
 * that the first hello has a share for. */
struct flights {
	struct buffer up[2], down[2];
};

static void
record_flights(struct flights *f, bool early_data)
{
	const struct tls_setup setup = { .version = 0x0304, .hello_retry = true, .early_data = early_data,
		.tickets = early_data };
	void *client = stack_openssl.side_new(false, &setup);
	void *server = stack_openssl.side_new(true, &setup);
	struct buffer up = { 0 }, down = { 0 };

	*f = (struct flights){ .up = { { 0 } } };
	for (int turn_no = early_data ? 0 : 1; turn_no < 2; turn_no++) {
		bool last = turn_no == 1, done = false;

		stack_openssl.connect(client);
		stack_openssl.connect(server);
		for (int i = 0; i < (last ? 2 : 20) && !done; i++) {
			done = stack_openssl.step(client, &down, &up);
			if (last)
				buffer_add(&f->up[i], buffer_data(&up), up.n);
			done = stack_openssl.step(server, &up, &down) && done;
			if (last)
				buffer_add(&f->down[i], buffer_data(&down), down.n);
		}
		ck_assert(done == !last);
		stack_openssl.disconnect(client);
		stack_openssl.disconnect(server);
	}
	buffer_clear(&up);
	buffer_clear(&down);
	stack_openssl.side_free(client);
	stack_openssl.side_free(server);
}

static void
clear_flights(struct flights *f)
{
	for (int i = 0; i < 2; i++) {
		buffer_clear(&f->up[i]);
		buffer_clear(&f->down[i]);
	}
}

static bool
names_it(const uint8_t *p, size_t n)
{
	return memmem(p, n, "bridge", 6) != NULL || memmem(p, n, "example", 7) != NULL;
}

/* Records as they say the same in whatever pieces: the bodies of handshake records alone, all
 * others whole. cut: none of them names it. */
static struct buffer
meaning(const uint8_t *p, size_t n, bool cut)
{
	struct reader r = reader_of(p, n), body;
	struct buffer out = { 0 };

	while (!reader_end(&r)) {
		const uint8_t *from = r.p;

		ck_assert(reader_skip(&r, 3) && reader_vec16(&r, &body));
		ck_assert(!cut || !names_it(body.p, body.n));
		if (from[0] == TLS_HANDSHAKE)
			buffer_add(&out, body.p, body.n);
		else
			buffer_add(&out, from, (size_t)(r.p - from));
	}
	return out;
}

#define TWO_CUTS 10 /* bytes more of a hello in three records; the name has two labels */

/* The target hears a flight of the app's, its hello cut. */
static void
hear_cut(const struct buffer *flight)
{
	size_t n = flight->n + TWO_CUTS;
	uint8_t *got = mem_alloc(n);
	struct buffer want = meaning(buffer_data(flight), flight->n, false), have;

	ck_assert(names_it(buffer_data(&want), want.n));
	read_exactly(base, target, got, n);
	have = meaning(got, n, true);
	ck_assert_uint_eq(have.n, want.n);
	ck_assert_mem_eq(buffer_data(&have), buffer_data(&want), want.n);
	buffer_clear(&want);
	buffer_clear(&have);
	free(got);
}

static void
say_in_two(evutil_socket_t fd, const struct buffer *b, size_t at)
{
	setsockopt(fd, IPPROTO_TCP, TCP_NODELAY, &(int){ 1 }, sizeof(int));
	send_all(base, fd, buffer_data(b), at);
	for (int i = 0; i < 3 && at < b->n; i++)
		turn(base);
	send_all(base, fd, buffer_data(b) + at, b->n - at);
}

static void
hear_all(evutil_socket_t fd, const struct buffer *b)
{
	uint8_t *got = mem_alloc(b->n);

	read_exactly(base, fd, got, b->n);
	ck_assert_mem_eq(got, buffer_data(b), b->n);
	free(got);
}

/* One of the four flights (up, down, up, down) comes in two parts. */
static void
play(const struct flights *f, int which, size_t at)
{
	static const char *const after = "\x17\x03\x03\x01\x0e" "bridge.example";

	start(true, NULL, 0, 0, 0);
	for (int i = 0; i < 2; i++) {
		say_in_two(app, &f->up[i], which == 2 * i ? at : f->up[i].n);
		hear_cut(&f->up[i]);
		say_in_two(target, &f->down[i], which == 2 * i + 1 ? at : f->down[i].n);
		hear_all(app, &f->down[i]);
	}
	/* From then on nothing is looked at. */
	say(app, after);
	hear(target, after);
	relay_look(relay, &report);
	ck_assert_uint_eq(report.up, f->up[0].n + f->up[1].n + strlen(after));
	ck_assert_uint_eq(report.down, f->down[0].n + f->down[1].n);
	ck_assert(report.cut && report.answered);
	stop();
}

START_TEST(second_hello_at_every_split)
{
	for (int early_data = 0; early_data < 2; early_data++) {
		struct flights f;

		record_flights(&f, early_data);
		ck_assert_uint_gt(f.up[1].n, 0);
		for (size_t at = 1; at < f.up[0].n; at++)
			play(&f, 0, at);
		for (size_t at = 1; at < f.down[0].n; at++)
			play(&f, 1, at);
		for (size_t at = 1; at < f.up[1].n; at++)
			play(&f, 2, at);
		clear_flights(&f);
	}
}
END_TEST

/* A client of one stack and a server of another come to an end through it. */
START_TEST(second_hello_of_real_stacks)
{
	static const struct tls_setup setup = { .version = 0x0304, .hello_retry = true };
	struct buffer up, down = { 0 }, far_in = { 0 }, far_out = { 0 };
	void *server = stack_wolfssl.side_new(true, &setup), *client;
	struct tls_said said;

	up = real_hello(&client);
	stack_wolfssl.connect(server);
	start(true, NULL, 0, 0, 0);
	UNTIL(base, moved_all(client, &down, &up, server, &far_in, &far_out));
	stack_openssl.said(client, &said);
	ck_assert_uint_eq(said.version, 0x0304);
	stack_wolfssl.disconnect(server);
	stack_wolfssl.side_free(server);
	free_client(client);
	buffer_clear(&up);
	buffer_clear(&down);
	buffer_clear(&far_in);
	buffer_clear(&far_out);
	stop();
}
END_TEST

/* Ends and resets about a second hello. */
START_TEST(retry_broken_off)
{
	unsigned before = open_descriptors();
	struct flights f;

	record_flights(&f, false);
	for (int i = 0; i < 5; i++) {
		start(true, buffer_data(&f.up[0]), f.up[0].n, 0, 0);
		hear_cut(&f.up[0]);
		if (i == 0) { /* the app has said all */
			shutdown(app, SHUT_WR);
			ck_assert_int_eq(read_end(base, target), 0);
		}
		send_all(base, target, buffer_data(&f.down[0]), f.down[0].n);
		hear_all(app, &f.down[0]);
		if (i == 1) { /* the target has: what it still gets is cut all the same */
			shutdown(target, SHUT_WR);
			ck_assert_int_eq(read_end(base, app), 0);
			send_all(base, app, buffer_data(&f.up[1]), f.up[1].n);
			hear_cut(&f.up[1]);
		} else if (i == 2) {
			reset_tcp(target);
			target = dup(app);
			ck_assert_int_eq(read_end(base, app), ECONNRESET);
		} else if (i == 3) { /* in the middle of the hello */
			send_all(base, app, buffer_data(&f.up[1]), f.up[1].n / 2);
			settle(base);
			reset_tcp(app);
			app = -1;
			settle(base);
		} else if (i == 4) { /* with no second hello, but an alert */
			say(app, "\x15\x03\x03\x01\x01x");
			hear(target, "\x15\x03\x03\x01\x01x");
		}
		if (i == 0 || i == 1)
			shutdown(i == 0 ? target : app, SHUT_WR);
		if (i < 4)
			UNTIL(base, ends == 1);
		stop();
	}
	clear_flights(&f);
	ck_assert_uint_eq(open_descriptors(), before);
}
END_TEST

/* What else may follow a hello passes at once. */
START_TEST(no_second_hello)
{
	static const char *const answers[] = { "HTTP/1.1 400 ", "\x15\x03\x03\x01\x01x", "x" };
	static const char *const more[] = { "\x15\x03\x03\x01\x01x", "anything", "\x14\x03\x03\x01\x01x",
		"\x17\x03\x03\x01" };
	struct buffer hello;
	void *client;

	hello = real_hello(&client);
	free_client(client);
	for (size_t i = 0; i < sizeof(answers) / sizeof(answers[0]); i++) {
		start(true, buffer_data(&hello), hello.n, 0, 0);
		hear_cut(&hello);
		say(target, answers[i]);
		hear(app, answers[i]);
		stop();
	}
	/* Before there is an answer, or when none comes. The last one is not even a record. */
	for (size_t i = 0; i < sizeof(more) / sizeof(more[0]); i++) {
		start(true, buffer_data(&hello), hello.n, 0, 0);
		hear_cut(&hello);
		say(app, more[i]);
		if (i == 3)
			shutdown(app, SHUT_WR);
		hear(target, more[i]);
		if (i != 3)
			shutdown(app, SHUT_WR);
		ck_assert_int_eq(read_end(base, target), 0);
		shutdown(target, SHUT_WR);
		check_end(RELAY_DONE, hello.n + strlen(more[i]), 0, false, false);
		stop();
	}
	buffer_clear(&hello);
}
END_TEST

/* Megabytes of it, to a target that takes its time. */
START_TEST(early_data_waits_for_room)
{
	static uint8_t record[5 + 16384] = { TLS_APPLICATION_DATA, 3, 3, 0x40, 0 }, got[sizeof(record)];
	size_t total = 128 * sizeof(record), sent = 0, heard = 0, idle = 0;
	struct buffer hello;
	void *client;

	hello = real_hello(&client);
	free_client(client);
	start(true, buffer_data(&hello), hello.n, 0, 32768);
	setsockopt(app, SOL_SOCKET, SO_SNDBUF, &(int){ 32768 }, sizeof(int));
	setsockopt(target, SOL_SOCKET, SO_RCVBUF, &(int){ 32768 }, sizeof(int));
	hear_cut(&hello);
	while (idle < 200) {
		size_t at = sent % sizeof(record);
		ssize_t w;

		if (at == 0)
			fill_pattern(record + 5, sent, sizeof(record) - 5);
		w = send(app, record + at, sizeof(record) - at, MSG_NOSIGNAL);
		sent += w > 0 ? (size_t)w : 0;
		idle = w > 0 ? 0 : idle + 1;
		ck_assert_uint_lt(sent, total);
		turn(base);
	}
	while (heard < sent) {
		size_t n = sent - heard < sizeof(got) ? sent - heard : sizeof(got);

		read_exactly(base, target, got, n);
		if (n > 5)
			check_pattern(got + 5, heard, n - 5);
		heard += n;
	}
	stop();
	buffer_clear(&hello);
}
END_TEST

START_TEST(silence)
{
	struct buffer hello;
	void *client;

	hello = real_hello(&client);
	free_client(client);
	for (int split = 0; split < 2; split++) {
		for (int early = 0; early < 2; early++) {
			start(split, buffer_data(&hello), early ? hello.n : 0, 50, 0);
			if (!early)
				send_all(base, app, buffer_data(&hello), hello.n);
			check_end(RELAY_SILENT, hello.n, 0, false, true);
			ck_assert_int_eq(read_end(base, app), ECONNRESET);
			stop();
		}
	}
	buffer_clear(&hello);
}
END_TEST

static void
wait_long(void)
{
	uint64_t until;

	for (until = clock_ms() + 200; clock_ms() < until;)
		turn(base);
	ck_assert_int_eq(ends, 0);
}

/* An app that says nothing, and a target that has answered once, may take their time; so may
 * the target of an app that does not speak TLS, whatever it takes meanwhile. */
START_TEST(no_silence)
{
	static const struct { const char *question, *answer; } cases[] = {
		{ NULL, NULL }, { "\x16\x03\x01\x01\x01\x02", "\x16" }, { "question", "answer" },
		{ "question", NULL },
	};

	for (size_t i = 0; i < 2 * sizeof(cases) / sizeof(cases[0]); i++) {
		const char *question = cases[i / 2].question, *answer = cases[i / 2].answer;
		size_t up = question != NULL ? strlen(question) : 0;
		size_t down = answer != NULL ? strlen(answer) : 0;

		start(i % 2 == 0, question, up, 10, 0);
		if (answer != NULL)
			say(target, answer);
		wait_long();
		shutdown(app, SHUT_WR);
		settle(base);
		shutdown(target, SHUT_WR);
		check_end(RELAY_DONE, up, down, down > 0, false);
		stop();
	}
}
END_TEST

/* The target cannot answer the hello that we hold back. */
START_TEST(no_silence_before_the_hello_is_whole)
{
	struct buffer hello;
	void *client;

	hello = real_hello(&client);
	free_client(client);
	start(true, buffer_data(&hello), 200, 10, 0);
	wait_long();
	stop();
	buffer_clear(&hello);
}
END_TEST

START_TEST(freed_at_any_time)
{
	unsigned before = open_descriptors();
	struct buffer hello;
	void *client;

	hello = real_hello(&client);
	free_client(client);
	for (int turns = 0; turns < 10; turns++) {
		for (int n = 0; n < 3; n++) {
			start(true, buffer_data(&hello), hello.n * (size_t)n / 2, 1000, 0);
			for (int i = 0; i < turns; i++)
				turn(base);
			stop();
			ck_assert_int_eq(ends, 0);
		}
	}
	ck_assert_uint_eq(open_descriptors(), before);
	relay_free(NULL);
	buffer_clear(&hello);
}
END_TEST

/* ---- the wire ---- */

static evutil_socket_t
sniffer(void)
{
	evutil_socket_t fd = socket(AF_PACKET, SOCK_DGRAM | SOCK_NONBLOCK, htons(ETH_P_IP));

	ck_assert_int_ge(fd, 0);
	return fd;
}

/* The payload of the next TCP segment to `port` that has one, and where it belongs; 0 if no
 * more has been seen. */
static size_t
next_segment(evutil_socket_t fd, uint16_t port, uint8_t out[65536], uint32_t *seq)
{
	static uint8_t packet[65536];
	struct sockaddr_ll from;
	socklen_t len = sizeof(from);
	ssize_t n;

	while ((n = recvfrom(fd, packet, sizeof(packet), 0, (struct sockaddr *)&from, &len)) > 0) {
		const struct iphdr *ip = (const struct iphdr *)packet;
		const struct tcphdr *tcp = (const struct tcphdr *)(packet + ip->ihl * 4);
		size_t head = (size_t)ip->ihl * 4 + (size_t)tcp->doff * 4;

		/* Each is seen as it goes and as it comes. */
		if (from.sll_pkttype == PACKET_OUTGOING || ip->protocol != IPPROTO_TCP ||
		    ntohs(tcp->dest) != port || (size_t)n <= head)
			continue;
		memcpy(out, packet + head, (size_t)n - head);
		*seq = ntohl(tcp->seq);
		return (size_t)n - head;
	}
	return 0;
}

static bool
holds(const uint8_t *p, size_t n, const char *word)
{
	return memmem(p, n, word, strlen(word)) != NULL;
}

/* Not even one who puts the records of a segment together sees a label of the name. */
static void
check_segment(const uint8_t *p, size_t n)
{
	struct reader r = reader_of(p, n), body;
	struct buffer all = { 0 };

	while (!reader_end(&r)) {
		ck_assert(reader_skip(&r, 3) && reader_vec16(&r, &body));
		buffer_add(&all, body.p, body.n);
	}
	ck_assert(!holds(buffer_data(&all), all.n, "bridge"));
	ck_assert(!holds(buffer_data(&all), all.n, "example"));
	buffer_clear(&all);
}

static uint16_t
port_of(evutil_socket_t fd)
{
	struct sockaddr_in in;
	socklen_t len = sizeof(in);

	ck_assert_int_eq(getsockname(fd, (struct sockaddr *)&in, &len), 0);
	return ntohs(in.sin_port);
}

/* lost: the first copies of all segments are. What is sent again is then cut, too. */
static void
watch_hello(bool lost)
{
	struct sock_filter nothing = { .code = BPF_RET | BPF_K, .k = 0 };
	struct sock_fprog drop = { .len = 1, .filter = &nothing };
	static uint8_t p[65536];
	evutil_socket_t wire = sniffer();
	struct buffer hello;
	uint8_t *got;
	unsigned segments = 0;
	uint32_t seq, first = 0;
	void *client;
	size_t n, bytes = 0, all;

	hello = real_hello(&client);
	free_client(client);
	start(true, NULL, 0, 0, 0);
	if (lost)
		ck_assert_int_eq(setsockopt(target, SOL_SOCKET, SO_ATTACH_FILTER, &drop, sizeof(drop)), 0);
	send_all(base, app, buffer_data(&hello), hello.n);
	all = hello.n + 2 * 5; /* two labels, two cuts */
	while (bytes < all) {
		UNTIL(base, (n = next_segment(wire, port_of(target), p, &seq)) > 0);
		check_segment(p, n);
		if (bytes == 0)
			first = seq;
		if (seq - first == bytes) { /* else it is sent again */
			bytes += n;
			segments++;
		}
	}
	ck_assert_uint_eq(bytes, all);
	ck_assert_uint_eq(segments, 3);
	if (lost)
		ck_assert_int_eq(setsockopt(target, SOL_SOCKET, SO_DETACH_FILTER, &(int){ 0 }, sizeof(int)), 0);
	got = mem_alloc(all);
	read_exactly(base, target, got, all);
	for (segments = 0; (n = next_segment(wire, port_of(target), p, &seq)) > 0; segments++)
		check_segment(p, n);
	ck_assert(segments > 0 || !lost);
	free(got);
	close(wire);
	buffer_clear(&hello);
	stop();
}

START_TEST(name_in_no_segment)
{
	if (!own_loopback()) {
		fprintf(stderr, "relay: no network namespaces here, the wire was not looked at\n");
		return;
	}
	watch_hello(false);
	watch_hello(true);
}
END_TEST

TEST_MAIN("relay", both_ways_and_half_closed, resets_are_mirrored, last_words_before_a_reset,
    backpressure, megabytes_each_way, http_one_request, http_without_an_answer, http_body_whole,
    http_says_close, real_handshake, not_tls, hello_broken_off, hello_answered_badly,
    second_hello_at_every_split, second_hello_of_real_stacks, retry_broken_off, no_second_hello,
    early_data_waits_for_room, silence, no_silence, no_silence_before_the_hello_is_whole,
    freed_at_any_time, name_in_no_segment)
