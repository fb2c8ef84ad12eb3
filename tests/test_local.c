#include "common/net/local.h"

#include <sys/ioctl.h>

#include "common/mem.h"
#include "tests/harness.h"
#include "tests/sockets.h"

static struct event_base *base;
static struct stream_budget budget = { .max = 64 * 1024 * 1024 };
static struct session ses;
static struct local l;
static evutil_socket_t far;
static unsigned moves;

/* So that the kernel takes for the session's end what it does not read at once. */
static void
take_more(void)
{
	setsockopt(l.fd, SOL_SOCKET, SO_RCVBUF, &(int){ 1 << 20 }, sizeof(int));
}

static void
moved(void *arg)
{
	ck_assert_ptr_eq(arg, &moves);
	moves++;
	local_flush(&l);
}

static void
start(void)
{
	evutil_socket_t fd[2];

	base = event_base_new();
	session_init(&ses, SESSION_SERVER, &budget);
	pair_tcp(fd);
	far = fd[1];
	local_start(&l, base, fd[0], &ses, moved, &moves);
}

static void
stop(void)
{
	local_end(&l, false);
	local_end(&l, true); /* again is fine */
	local_flush(&l);
	session_clear(&ses);
	ck_assert(budget.held == 0 && budget.given == 0);
	event_base_free(base);
	close(far);
}

/* The other end of the session sends the next n bytes of its stream, as far as it may. */
static size_t
deliver(size_t n)
{
	uint64_t at = ses.rx.taken + ses.rx.held.n;
	size_t room = (size_t)(ses.rx.limit - at);
	uint8_t *p;

	if (n > room)
		n = room;
	p = mem_alloc(n + 1);
	fill_pattern(p, at, n);
	ck_assert_int_eq(session_receive(&ses, at, p, n), STREAM_OK);
	free(p);
	return n;
}

static void
expect(uint64_t from, size_t n)
{
	uint8_t *p = mem_alloc(n);

	read_exactly(base, far, p, n);
	check_pattern(p, from, n);
	free(p);
}

START_TEST(reading_stops_with_the_credit)
{
	static uint8_t chunk[2 * STREAM_CREDIT_START];
	uint64_t end = STREAM_CREDIT_START;

	start();
	fill_pattern(chunk, 0, sizeof(chunk));
	send_all(base, far, chunk, sizeof(chunk));
	UNTIL(base, ses.tx.held.n == end);
	settle(base);
	ck_assert_uint_eq(ses.tx.held.n, end);
	check_pattern(buffer_data(&ses.tx.held), 0, ses.tx.held.n);
	/* An ack without more credit changes nothing; a byte of credit is a byte read. */
	ck_assert(stream_tx_ack(&ses.tx, 1000, end));
	local_flush(&l);
	settle(base);
	ck_assert_uint_eq(stream_tx_end(&ses.tx), end);
	ck_assert(stream_tx_ack(&ses.tx, 1000, ++end));
	local_flush(&l);
	UNTIL(base, stream_tx_end(&ses.tx) == end);
	settle(base);
	ck_assert_uint_eq(stream_tx_end(&ses.tx), end);
	ck_assert(stream_tx_ack(&ses.tx, end, sizeof(chunk)));
	local_flush(&l);
	UNTIL(base, stream_tx_end(&ses.tx) == sizeof(chunk));
	check_pattern(buffer_data(&ses.tx.held), end, ses.tx.held.n);
	stop();
}
END_TEST

START_TEST(slow_reader)
{
	uint64_t sent = 0, read = 0;
	unsigned before;

	start();
	/* Nobody reads: the kernel takes some, the session holds its credit, no more. */
	for (int i = 0; i < 200; i++) {
		sent += deliver(SIZE_MAX / 2);
		local_flush(&l);
		turn(base);
	}
	settle(base);
	ck_assert_uint_eq(deliver(1), 0);
	ck_assert_uint_eq(ses.rx.held.n, ses.rx.limit - ses.rx.taken);
	ck_assert_uint_le(ses.rx.held.n, STREAM_CREDIT_MAX);
	/* A full socket is waited for, not asked again and again. */
	before = moves;
	settle(base);
	ck_assert_uint_eq(moves, before);
	for (; read < sent; read += 4096) {
		expect(read, sent - read < 4096 ? (size_t)(sent - read) : 4096);
		sent += deliver(sent < 8u << 20 ? 4096 : 0);
		local_flush(&l);
	}
	ck_assert_uint_eq(ses.rx.taken, sent);
	ck_assert_ptr_null(ses.rx.held.mem);
	stop();
}
END_TEST

START_TEST(half_close_by_the_peer)
{
	start();
	send_all(base, far, (const uint8_t *)"bye", 3);
	shutdown(far, SHUT_WR);
	UNTIL(base, ses.tx.fin);
	ck_assert_uint_eq(ses.tx.held.n, 3);
	ck_assert_int_eq(ses.close_out, CLOSE_NONE);
	/* It still gets what comes. */
	deliver(5000);
	local_flush(&l);
	expect(0, 5000);
	ck_assert(is_silent(base, far));
	ck_assert_int_ge(l.fd, 0);
	ck_assert_int_eq(stream_rx_fin(&ses.rx, 5000), STREAM_OK);
	local_flush(&l);
	ck_assert_int_eq(l.fd, -1);
	ck_assert_int_eq(read_end(base, far), 0);
	stop();
}
END_TEST

START_TEST(half_close_by_the_session)
{
	start();
	deliver(100);
	ck_assert_int_eq(stream_rx_fin(&ses.rx, 100), STREAM_OK);
	local_flush(&l);
	expect(0, 100);
	ck_assert_int_eq(read_end(base, far), 0);
	ck_assert_int_ge(l.fd, 0);
	send_all(base, far, (const uint8_t *)"more", 4);
	UNTIL(base, ses.tx.held.n == 4);
	shutdown(far, SHUT_WR);
	UNTIL(base, l.fd < 0);
	ck_assert(ses.tx.fin);
	ck_assert_int_eq(ses.close_out, CLOSE_NONE);
	stop();
}
END_TEST

START_TEST(reset_by_the_peer)
{
	start();
	send_all(base, far, (const uint8_t *)"last", 4);
	reset_tcp(far);
	UNTIL(base, l.fd < 0);
	far = dup(0);
	ck_assert_int_eq(ses.close_out, CLOSE_RESET);
	ck_assert_uint_eq(ses.tx.held.n, 4);
	ck_assert(!ses.tx.fin);
	stop();
}
END_TEST

/* Even if there is no room for what it says, and nothing to be said to it. */
START_TEST(reset_while_nothing_moves)
{
	static uint8_t chunk[STREAM_CREDIT_START + 1000];

	start();
	send_all(base, far, chunk, sizeof(chunk));
	UNTIL(base, session_room(&ses) == 0);
	settle(base);
	reset_tcp(far);
	far = dup(0);
	UNTIL(base, l.fd < 0);
	ck_assert_int_eq(ses.close_out, CLOSE_RESET);
	stop();
}
END_TEST

/* Both ends have ended and there is room for no more for a while: what was said is still read,
 * as it is if the peer was reset behind it. */
START_TEST(an_end_waits_for_room)
{
	enum { MORE = 32 * 1024 };
	static uint8_t data[STREAM_CREDIT_START + MORE];
	int queued;

	fill_pattern(data, 0, sizeof(data));
	for (int reset = 0; reset < 2; reset++) {
		uint64_t later = clock_ms() + 4500; /* as long as two looks */

		start();
		take_more();
		send_all(base, far, data, sizeof(data));
		UNTIL(base, session_room(&ses) == 0);
		UNTIL(base, ioctl(l.fd, FIONREAD, &queued) == 0 && queued == MORE);
		ck_assert_int_eq(stream_rx_fin(&ses.rx, 0), STREAM_OK);
		local_flush(&l);
		if (reset) {
			reset_tcp(far);
			far = dup(0);
		} else {
			shutdown(far, SHUT_WR);
		}
		while (clock_ms() < later)
			turn(base);
		ck_assert_int_ge(l.fd, 0);
		ck_assert(stream_tx_ack(&ses.tx, STREAM_CREDIT_START, sizeof(data) + 1));
		local_flush(&l);
		UNTIL(base, l.fd < 0);
		ck_assert_uint_eq(stream_tx_end(&ses.tx), sizeof(data));
		check_pattern(buffer_data(&ses.tx.held), STREAM_CREDIT_START, ses.tx.held.n);
		ck_assert(ses.tx.fin == !reset);
		ck_assert_int_eq(ses.close_out, reset ? CLOSE_RESET : CLOSE_NONE);
		stop();
	}
}
END_TEST

/* A reset is behind all that comes before it, for a peer that takes that. */
START_TEST(reset_by_the_session_costs_nothing)
{
	uint64_t sent = 0;

	for (int takes = 0; takes < 2; takes++) {
		start();
		setsockopt(far, SOL_SOCKET, SO_RCVBUF, &(int){ 4096 }, sizeof(int));
		for (int i = 0; i < 50; i++) {
			sent += deliver(20000);
			local_flush(&l);
			turn(base);
		}
		ses.close_in = CLOSE_RESET;
		local_flush(&l);
		settle(base);
		ck_assert_int_ge(l.fd, 0);
		if (takes) {
			expect(0, sent);
			ck_assert_int_eq(read_end(base, far), ECONNRESET);
		}
		UNTIL(base, l.fd < 0);
		stop();
		sent = 0;
	}
}
END_TEST

/* What a peer has said before it reset the connection for what it was sent, such as a web
 * server's refusal of a body that it does not want, still goes out. */
START_TEST(reset_for_what_was_sent)
{
	enum { MORE = 32 * 1024 };
	static uint8_t answer[STREAM_CREDIT_START + MORE];
	int queued = 0;

	start();
	take_more();
	fill_pattern(answer, 0, sizeof(answer));
	send_all(base, far, answer, sizeof(answer));
	UNTIL(base, ses.tx.held.n == STREAM_CREDIT_START);
	/* What has not come as far as our kernel, the reset does cost. */
	UNTIL(base, ioctl(l.fd, FIONREAD, &queued) == 0 && queued == MORE);
	close(far);
	far = dup(0);
	/* The first of these brings the reset, the next one meets it. */
	for (int i = 0; i < 5; i++) {
		deliver(1000);
		local_flush(&l);
		settle(base);
	}
	ck_assert(stream_tx_ack(&ses.tx, STREAM_CREDIT_START, sizeof(answer) + 1));
	local_flush(&l);
	UNTIL(base, ses.close_out != CLOSE_NONE);
	ck_assert_int_eq(ses.close_out, CLOSE_RESET);
	ck_assert_uint_eq(stream_tx_end(&ses.tx), sizeof(answer));
	check_pattern(buffer_data(&ses.tx.held), STREAM_CREDIT_START, ses.tx.held.n);
	ck_assert_int_eq(l.fd, -1);
	stop();
}
END_TEST

START_TEST(close_by_the_session)
{
	static const struct {
		enum close_code code;
		int end;
	} cases[] = { { CLOSE_DONE, 0 }, { CLOSE_RESET, ECONNRESET }, { CLOSE_ERROR, ECONNRESET } };

	for (size_t i = 0; i < sizeof(cases) / sizeof(cases[0]); i++) {
		start();
		deliver(300);
		ses.close_in = cases[i].code;
		local_flush(&l);
		ck_assert_int_eq(l.fd, -1);
		expect(0, 300);
		ck_assert_int_eq(read_end(base, far), cases[i].end);
		stop();
	}
}
END_TEST

/* A close waits for the bytes before it. */
START_TEST(close_behind_a_slow_reader)
{
	uint64_t sent = 0;

	start();
	for (int i = 0; i < 200; i++) {
		sent += deliver(SIZE_MAX / 2);
		local_flush(&l);
	}
	ck_assert_uint_gt(ses.rx.held.n, 0);
	ses.close_in = CLOSE_DONE;
	local_flush(&l);
	ck_assert_int_ge(l.fd, 0);
	expect(0, (size_t)sent);
	ck_assert_int_eq(read_end(base, far), 0);
	ck_assert_int_eq(l.fd, -1);
	stop();
}
END_TEST

/* After a close by our side nothing is read, and nothing spins. */
START_TEST(reads_nothing_after_close)
{
	unsigned before;

	start();
	session_close(&ses, CLOSE_ERROR);
	send_all(base, far, (const uint8_t *)"x", 1);
	settle(base);
	before = moves;
	settle(base);
	ck_assert_uint_eq(moves, before);
	ck_assert_uint_eq(ses.tx.held.n, 0);
	stop();
}
END_TEST

static size_t
admit_sentence(void *arg, const uint8_t *p, size_t n)
{
	ck_assert_ptr_eq(arg, &moves);
	return up_to_full_stop(p, n);
}

/* What is not for this session does not get into it, and its end is a reset. */
START_TEST(admits_so_much)
{
	start();
	l.admit = admit_sentence;
	send_all(base, far, (const uint8_t *)"to ", 3);
	UNTIL(base, ses.tx.held.n == 3);
	send_all(base, far, (const uint8_t *)"you.", 4);
	UNTIL(base, ses.tx.held.n == 7);
	settle(base);
	ck_assert_int_ge(l.fd, 0);
	ck_assert_int_eq(ses.close_out, CLOSE_NONE);
	send_all(base, far, (const uint8_t *)"this.to another", 15);
	UNTIL(base, l.fd < 0);
	ck_assert_uint_eq(ses.tx.held.n, 12);
	ck_assert_mem_eq(buffer_data(&ses.tx.held), "to you.this.", 12);
	ck_assert_int_eq(ses.close_out, CLOSE_RESET);
	ck_assert(!ses.tx.fin);
	ck_assert_int_eq(read_end(base, far), ECONNRESET);
	stop();
}
END_TEST

#define EVERY 70001 /* bytes of the session between two texts */

static char text[30001];
static struct texts texts;

static size_t
insert_at(void *arg, const uint8_t *p, size_t n)
{
	ck_assert_ptr_eq(arg, &moves);
	return texts_ahead(&texts, p, n);
}

/* Byte number i of what the socket has to get. */
static uint8_t
with_texts(size_t i)
{
	size_t part = EVERY + strlen(text), k = i % part;

	return k < EVERY ? pattern(i / part * EVERY + k) : (uint8_t)text[k - EVERY];
}

/* What is inserted is whole and in its place, however little of it goes at once, and counts for
 * none of the session's bytes. */
START_TEST(inserts)
{
	for (size_t i = 0; i < sizeof(text) - 1; i++)
		text[i] = (char)('a' + i % 23);
	for (int limited = 0; limited < 2; limited++) {
		size_t total = 4 * EVERY + 1000, all = total + 4 * strlen(text), sent = 0, got = 0;
		uint64_t end = clock_ms() + DEADLINE_MS;
		bool parted = false;

		start();
		setsockopt(l.fd, SOL_SOCKET, SO_SNDBUF, &(int){ 1 }, sizeof(int));
		setsockopt(far, SOL_SOCKET, SO_RCVBUF, &(int){ 1 }, sizeof(int));
		l.insert.at = insert_at;
		l.insert.text = text;
		texts = (struct texts){ .every = EVERY, .due = EVERY };
		while (got < all) {
			uint8_t buf[4096];
			ssize_t n;

			l.allowance = limited ? 999 : SIZE_MAX;
			sent += deliver(total - sent < 5000 ? total - sent : 5000);
			local_flush(&l);
			parted |= l.insert.left > 0 && l.insert.left < strlen(text);
			n = recv(far, buf, sizeof(buf), 0);
			for (ssize_t i = 0; i < n; i++, got++)
				if (buf[i] != with_texts(got))
					ck_abort_msg("byte %zu is wrong", got);
			event_base_loop(base, EVLOOP_NONBLOCK);
			ck_assert(clock_ms() < end);
		}
		ck_assert(parted);
		ck_assert_uint_eq(ses.rx.taken, total);
		ck_assert_int_eq(stream_rx_fin(&ses.rx, total), STREAM_OK);
		local_flush(&l);
		ck_assert_int_eq(read_end(base, far), 0);
		stop();
	}
}
END_TEST

/* What was said before goes first, as there is room. */
START_TEST(said_before)
{
	static uint8_t data[2 * STREAM_CREDIT_START];
	size_t ahead = STREAM_CREDIT_START + 1000, end = STREAM_CREDIT_START;

	fill_pattern(data, 0, sizeof(data));
	start();
	buffer_add(&l.ahead, data, ahead);
	send_all(base, far, data + ahead, sizeof(data) - ahead);
	shutdown(far, SHUT_WR);
	local_flush(&l);
	for (size_t step = 300; end < sizeof(data); step *= 2) {
		settle(base);
		ck_assert_uint_eq(stream_tx_end(&ses.tx), end);
		check_pattern(buffer_data(&ses.tx.held), ses.tx.base, ses.tx.held.n);
		ck_assert(!ses.tx.fin);
		end = sizeof(data) - end < step ? sizeof(data) : end + step;
		ck_assert(stream_tx_ack(&ses.tx, stream_tx_end(&ses.tx), end));
		local_flush(&l);
		UNTIL(base, stream_tx_end(&ses.tx) == end);
	}
	check_pattern(buffer_data(&ses.tx.held), ses.tx.base, ses.tx.held.n);
	ck_assert(stream_tx_ack(&ses.tx, end, end + 1));
	local_flush(&l);
	UNTIL(base, ses.tx.fin);
	stop();
	/* It may be cut short. */
	start();
	buffer_add(&l.ahead, data, sizeof(data));
	stop();
}
END_TEST

TEST_MAIN("local", reading_stops_with_the_credit, slow_reader, half_close_by_the_peer,
    half_close_by_the_session, reset_by_the_peer, reset_while_nothing_moves, an_end_waits_for_room,
    reset_by_the_session_costs_nothing, reset_for_what_was_sent, close_by_the_session,
    close_behind_a_slow_reader, reads_nothing_after_close, admits_so_much, inserts, said_before)
