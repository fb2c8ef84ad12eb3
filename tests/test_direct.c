/* Two ends of a direct connection, or one end and a peer that breaks the rules. */
#include "common/net/direct.h"

#include "common/mem.h"
#include "tests/harness.h"
#include "tests/sockets.h"

struct end {
	struct session session;
	struct direct *direct;
	unsigned moves;
};

static struct event_base *base;
static struct stream_budget budget = { .max = 64 * 1024 * 1024 };
static struct pad_scheme pad;
static struct noise_epoch keys;
static struct end client, server;
static uint8_t scratch[RECORD_TEXT_MAX];

static void
moved(void *arg)
{
	struct end *e = arg;

	e->moves++;
	if (!e->direct->dead)
		direct_flush(e->direct);
}

static void
start(void)
{
	static const uint8_t secret[NOISE_KEY] = { 7 };

	base = event_base_new();
	pad_scheme_init(&pad, secret);
	noise_epoch(&keys, secret, 0);
	memset(&client, 0, sizeof(client));
	memset(&server, 0, sizeof(server));
	session_init(&client.session, SESSION_CLIENT, &budget);
	session_init(&server.session, SESSION_SERVER, &budget);
}

static void
stop(void)
{
	direct_free(client.direct);
	direct_free(server.direct);
	session_clear(&client.session);
	session_clear(&server.session);
	ck_assert(budget.held == 0 && budget.given == 0);
	event_base_free(base);
}

static void
start_client(evutil_socket_t fd)
{
	session_direct_start(&client.session);
	client.direct = direct_new(base, fd, &client.session, &keys, &pad, moved, &client);
}

/* Opens the hello at p, as the front does; returns its length. */
static size_t
start_server(evutil_socket_t fd, const uint8_t *p, size_t n)
{
	struct record_key key = { .n = 0 };
	struct reader frames;
	uint8_t *copy = mem_alloc(n);
	size_t body = 0;

	memcpy(copy, p, n);
	memcpy(key.key, keys.up, sizeof(key.key));
	ck_assert_int_eq(record_header(copy, n, HELLO_BODY_MAX, &body), RECORD_OK);
	ck_assert_uint_ge(n, RECORD_HEADER + body);
	ck_assert_mem_eq(copy + RECORD_HEADER, keys.tag, EPOCH_TAG);
	ck_assert_int_eq(record_open(&key, copy, body, true, scratch, &frames), RECORD_OK);
	session_accept(&server.session, 0);
	server.direct = direct_new(base, fd, &server.session, &keys, &pad, moved, &server);
	ck_assert(session_direct_frames(&server.session, &frames));
	free(copy);
	return RECORD_HEADER + body;
}

static void
put(struct end *e, size_t n)
{
	uint8_t *p = mem_alloc(n + 1);

	fill_pattern(p, stream_tx_end(&e->session.tx), n);
	session_put(&e->session, p, n);
	free(p);
}

/* The local socket takes what is there. */
static size_t
take(struct end *e)
{
	const uint8_t *p;
	size_t n = session_peek(&e->session, &p);

	if (n > 0) {
		check_pattern(p, e->session.rx.taken, n);
		session_take(&e->session, n, 0, 0);
	}
	return n;
}

/* The whole of what a client with n bytes sends when it starts. */
static size_t
record_client(uint8_t *out, size_t cap, size_t n, bool fin)
{
	evutil_socket_t fd[2];
	size_t got = 0;
	ssize_t r;

	pair_unix(fd);
	put(&client, n);
	if (fin)
		session_put_fin(&client.session);
	start_client(fd[0]);
	direct_flush(client.direct);
	ck_assert(direct_idle(client.direct));
	while ((r = recv(fd[1], out + got, cap - got, 0)) > 0)
		got += (size_t)r;
	ck_assert_uint_lt(got, cap);
	close(fd[1]);
	return got;
}

/* Both ends over a socketpair, the hello passed on by hand. */
static void
start_both(size_t first)
{
	evutil_socket_t a[2];
	static uint8_t out[300000];
	size_t n, hello;

	pair_unix(a);
	put(&client, first);
	start_client(a[0]);
	direct_flush(client.direct);
	UNTIL(base, direct_idle(client.direct));
	n = (size_t)recv(a[1], out, sizeof(out), 0);
	hello = start_server(a[1], out, n);
	direct_feed(server.direct, out + hello, n - hello);
	moved(&server);
}

START_TEST(data_both_ways)
{
	size_t want = 6u << 20, up = 0, down = 0;
	uint64_t limit = clock_ms() + DEADLINE_MS;

	start();
	start_both(3000);
	while (up < want || down < want) {
		struct end *ends[2] = { &client, &server };

		for (int i = 0; i < 2; i++) {
			size_t room = session_room(&ends[i]->session), n = 1 + mem_random_below(70000);
			uint64_t left = want + 9000 - stream_tx_end(&ends[i]->session.tx);

			n = n < room ? n : room;
			put(ends[i], n < left ? n : (size_t)left);
			direct_flush(ends[i]->direct);
		}
		up += take(&server);
		down += take(&client);
		turn(base);
		ck_assert_msg(clock_ms() < limit, "%zu up, %zu down", up, down);
	}
	ck_assert(!client.direct->dead && !server.direct->dead);
	stop();
}
END_TEST

/* Ends, acknowledgements without company, and then nothing is held. */
START_TEST(ends_and_idles)
{
	start();
	start_both(20000);
	put(&server, 50000);
	session_put_fin(&server.session);
	direct_flush(server.direct);
	UNTIL(base, take(&client) == 0 && client.session.rx.taken == 50000);
	ck_assert(session_fin_due(&client.session));
	session_take_fin(&client.session);
	direct_flush(client.direct);
	take(&server);
	direct_flush(server.direct);
	UNTIL(base, server.session.tx.fin_acked);
	/* Nobody says anything else: the ACK timer brings this one. */
	UNTIL(base, client.session.tx.base == 20000);
	for (int i = 0; i < 2; i++) {
		struct end *e = i == 0 ? &client : &server;
		unsigned before;

		ck_assert_ptr_null(e->direct->in_part.mem);
		ck_assert_ptr_null(e->direct->out_part.mem);
		ck_assert_ptr_null(e->session.tx.held.mem);
		ck_assert_ptr_null(e->session.rx.held.mem);
		ck_assert(direct_idle(e->direct));
		before = e->moves;
		settle(base);
		ck_assert_uint_eq(e->moves, before);
	}
	session_close(&server.session, CLOSE_RESET);
	direct_flush(server.direct);
	UNTIL(base, client.session.close_in == CLOSE_RESET);
	ck_assert(server.session.direct.close_sent);
	stop();
}
END_TEST

/* A record arrives whole, whatever the splits, and leaves nothing behind. */
START_TEST(every_split)
{
	static uint8_t out[8192];
	evutil_socket_t fd[2];
	size_t n, hello;

	start();
	n = record_client(out, sizeof(out), 2000, true);
	stop();
	for (size_t cut = 0; cut < n; cut++) {
		start();
		pair_unix(fd);
		hello = start_server(fd[0], out, n);
		if (cut > hello) {
			/* Up to cut together with the hello, the rest from the socket. */
			direct_feed(server.direct, out + hello, cut - hello);
			send_all(base, fd[1], out + cut, n - cut);
		} else {
			/* From the socket, in two parts. */
			size_t part = (n - hello) * cut / (hello + 1);

			send_all(base, fd[1], out + hello, part);
			turn(base);
			send_all(base, fd[1], out + hello + part, n - hello - part);
		}
		UNTIL(base, stream_rx_received(&server.session.rx) == 2001);
		ck_assert_uint_eq(take(&server), 2000);
		ck_assert(session_fin_due(&server.session));
		ck_assert_ptr_null(server.direct->in_part.mem);
		ck_assert(!server.direct->dead);
		close(fd[1]);
		stop();
	}
}
END_TEST

START_TEST(one_byte_at_a_time)
{
	static uint8_t out[8192];
	evutil_socket_t fd[2];
	size_t n, hello;

	start();
	n = record_client(out, sizeof(out), 2000, true);
	stop();
	start();
	pair_unix(fd);
	hello = start_server(fd[0], out, n);
	for (size_t i = hello; i < n; i++) {
		ck_assert_uint_lt(stream_rx_received(&server.session.rx), 2001);
		send_all(base, fd[1], out + i, 1);
		turn(base);
	}
	UNTIL(base, stream_rx_received(&server.session.rx) == 2001);
	ck_assert_uint_eq(take(&server), 2000);
	close(fd[1]);
	stop();
}
END_TEST

/* Where each record of a recording begins; the number of them. */
static size_t
find_records(const uint8_t *p, size_t n, size_t *at, size_t max)
{
	size_t count = 0;

	for (size_t i = 0; i < n; i += RECORD_HEADER + (size_t)(p[i + 3] << 8 | p[i + 4])) {
		ck_assert_uint_lt(count, max);
		at[count++] = i;
	}
	return count;
}

/* The peer leaves at every byte: what came in whole records counts, the rest never. */
START_TEST(end_at_every_byte)
{
	static uint8_t out[8192];
	size_t at[32], n, hello, count;
	evutil_socket_t fd[2];

	start();
	n = record_client(out, sizeof(out), 2000, true);
	stop();
	count = find_records(out, n, at, 32);
	for (size_t cut = at[1]; cut <= n; cut++) {
		size_t whole = 0;
		uint64_t expect;

		while (whole < count && (whole + 1 < count ? at[whole + 1] : n) <= cut)
			whole++;
		/* What the whole records say, from another direct. */
		start();
		pair_unix(fd);
		hello = start_server(fd[0], out, n);
		direct_feed(server.direct, out + hello,
		    (whole < count ? at[whole] : n) - hello);
		expect = stream_rx_received(&server.session.rx);
		close(fd[1]);
		stop();

		start();
		pair_unix(fd);
		start_server(fd[0], out, n);
		send_all(base, fd[1], out + hello, cut - hello);
		shutdown(fd[1], SHUT_WR);
		UNTIL(base, server.direct->dead);
		ck_assert_int_eq(server.direct->dead, DIRECT_EOF);
		close(fd[1]);
		ck_assert_uint_eq(stream_rx_received(&server.session.rx), expect);
		take(&server);
		stop();
	}
}
END_TEST

/* A byte is changed: the record and all behind it are refused. */
START_TEST(a_flipped_byte_anywhere)
{
	static uint8_t out[8192];
	size_t at[32], n, hello, count, before = 0;
	evutil_socket_t fd[2];

	start();
	n = record_client(out, sizeof(out), 3000, false);
	stop();
	count = find_records(out, n, at, 32);
	ck_assert_uint_ge(count, 3);
	for (size_t i = at[1]; i < n; i++) {
		if (before + 1 < count && at[before + 1] == i)
			before++;
		out[i] ^= 1;
		start();
		pair_unix(fd);
		hello = start_server(fd[0], out, n);
		send_all(base, fd[1], out + hello, n - hello);
		shutdown(fd[1], SHUT_WR);
		UNTIL(base, server.direct->dead);
		close(fd[1]);
		ck_assert_uint_lt(stream_rx_received(&server.session.rx), 3000);
		take(&server);
		/* A length that is longer now waits for bytes that never come. */
		ck_assert(server.direct->dead == DIRECT_BROKEN || i == at[before] + 3 || i == at[before] + 4);
		stop();
		out[i] ^= 1;
	}
}
END_TEST

START_TEST(garbage)
{
	static const char *const cases[] = {
		"16", "1703030000", "1703030010", "17030340",
		"1703034012", "15030300020228", "00", "ff", "170304", "474554202f",
	};
	static uint8_t out[8192];
	uint8_t p[64];
	size_t n, hello;
	evutil_socket_t fd[2];

	start();
	n = record_client(out, sizeof(out), 10, false);
	stop();
	for (size_t i = 0; i < sizeof(cases) / sizeof(cases[0]); i++) {
		size_t len = unhex(p, cases[i]);

		start();
		pair_unix(fd);
		hello = start_server(fd[0], out, n);
		ck_assert_uint_le(hello, n);
		if (strcmp(cases[i], "17030340") == 0) {
			/* Could still be a record: it is waited for. */
			send_all(base, fd[1], p, len);
			settle(base);
			ck_assert(!server.direct->dead);
			p[0] = 0xff;
			len = 1;
		}
		send_all(base, fd[1], p, len);
		UNTIL(base, server.direct->dead);
		ck_assert_int_eq(server.direct->dead, DIRECT_BROKEN);
		close(fd[1]);
		stop();
	}
}
END_TEST

/* Records out of order, repeated, or of the other direction do not open. */
START_TEST(reordered_and_reflected)
{
	static uint8_t out[8192], in[8192];
	size_t at[32], n, hello, count;
	evutil_socket_t fd[2];

	start();
	n = record_client(out, sizeof(out), 3000, false);
	stop();
	count = find_records(out, n, at, 32);
	ck_assert_uint_ge(count, 3);
	for (int i = 0; i < 3; i++) {
		start();
		pair_unix(fd);
		hello = start_server(fd[0], out, n);
		if (i == 0) { /* skips one */
			send_all(base, fd[1], out + at[2], n - at[2]);
		} else if (i == 1) { /* the hello again */
			send_all(base, fd[1], out, hello);
		} else { /* its own ACCEPT */
			ssize_t r;

			moved(&server);
			r = recv(fd[1], in, sizeof(in), 0);
			ck_assert_int_gt(r, 0);
			send_all(base, fd[1], in, (size_t)r);
		}
		UNTIL(base, server.direct->dead);
		close(fd[1]);
		stop();
	}
}
END_TEST

START_TEST(a_peer_that_never_reads)
{
	evutil_socket_t fd[2];
	int size = 4096;
	unsigned before;

	start();
	pair_unix(fd);
	setsockopt(fd[0], SOL_SOCKET, SO_SNDBUF, &size, sizeof(size));
	start_client(fd[0]);
	while (session_room(&client.session) > 0) {
		put(&client, session_room(&client.session) < 5000 ? session_room(&client.session) : 5000);
		direct_flush(client.direct);
	}
	/* Only its credit is held, and a few sealed records of it twice. */
	ck_assert_uint_eq(client.session.tx.held.n, STREAM_CREDIT_START);
	ck_assert_uint_gt(client.direct->out_part.n, 0);
	ck_assert_uint_le(client.direct->out_part.n, 4 * RECORD_MAX);
	for (int i = 0; i < 100; i++)
		session_ping(&client.session, 1), direct_flush(client.direct);
	ck_assert_uint_le(client.direct->out_part.n, 4 * RECORD_MAX);
	settle(base);
	before = client.moves;
	settle(base);
	ck_assert_uint_eq(client.moves, before);
	ck_assert(!client.direct->dead);
	/* It goes away: that is noticed. */
	close(fd[1]);
	UNTIL(base, client.direct->dead);
	direct_flush(client.direct);
	direct_feed(client.direct, (const uint8_t *)"x", 1);
	ck_assert_uint_eq(client.session.tx.held.n, STREAM_CREDIT_START);
	stop();
}
END_TEST

/* The bytes of a connection that died at any byte go again on the next one. */
START_TEST(nothing_is_lost_by_a_new_connection)
{
	static uint8_t out[8192];
	evutil_socket_t fd[2];
	size_t n, hello;

	start();
	n = record_client(out, sizeof(out), 2000, true);
	stop();
	for (size_t cut = 0; cut < n; cut += 7) {
		static uint8_t again[8192];
		size_t m;

		start();
		pair_unix(fd);
		hello = start_server(fd[0], out, n);
		direct_feed(server.direct, out + hello, cut > hello ? cut - hello : 0);
		direct_free(server.direct);
		server.direct = NULL;
		session_direct_stop(&server.session);
		close(fd[1]);
		m = record_client(again, sizeof(again), 2000, true);
		ck_assert_int_gt((int)m, 0);
		pair_unix(fd);
		hello = start_server(fd[0], again, m);
		direct_feed(server.direct, again + hello, m - hello);
		ck_assert_uint_eq(take(&server), 2000);
		ck_assert(session_fin_due(&server.session));
		close(fd[1]);
		stop();
	}
}
END_TEST

TEST_MAIN("direct", data_both_ways, ends_and_idles, every_split, one_byte_at_a_time,
    end_at_every_byte, a_flipped_byte_anywhere, garbage, reordered_and_reflected,
    a_peer_that_never_reads, nothing_is_lost_by_a_new_connection)
