/* Conversations before the payload: exact lengths, and not one byte too many is taken. */
#include "tests/harness.h"

#include "common/net/talk.h"
#include "tests/sockets.h"

/* Asks for 1, 2, 3 bytes and so on up to LAST, each all of that value, and answers each with
 * `answer` bytes of it. */
#define LAST 9
static size_t step_answer;
static unsigned steps;

static enum talk_result
step(struct talk *t)
{
	size_t n = t->want;

	steps++;
	for (size_t i = 0; i < n; i++) {
		if (t->in[i] != n)
			return TALK_BAD;
	}
	for (size_t i = 0; i < step_answer; i++)
		writer_u8(&t->out, (uint8_t)n);
	if (n == LAST)
		return TALK_OK;
	talk_want(t, n + 1);
	return TALK_MORE;
}

static void
begin(struct talk *t, size_t answer)
{
	step_answer = answer;
	steps = 0;
	talk_init(t, step);
	talk_want(t, 1);
}

/* All that the peer says, and "payload" behind it. */
#define SAID (LAST * (LAST + 1) / 2)
static size_t
said(uint8_t out[SAID + 7])
{
	size_t n = 0;

	for (uint8_t i = 1; i <= LAST; i++)
		for (uint8_t k = 0; k < i; k++)
			out[n++] = i;
	memcpy(out + n, "payload", 7);
	return n;
}

START_TEST(fed_in_two_parts)
{
	uint8_t bytes[SAID + 7];
	size_t n = said(bytes);
	struct talk t;

	ck_assert_uint_eq(n, SAID);
	for (size_t cut = 0; cut < n; cut++) {
		struct reader a = reader_of(bytes, cut), b = reader_of(bytes + cut, n + 7 - cut);

		begin(&t, 2);
		ck_assert_int_eq(talk_feed(&t, &a), TALK_MORE);
		ck_assert(reader_end(&a));
		ck_assert_int_eq(talk_feed(&t, &b), TALK_OK);
		ck_assert_uint_eq(b.n, 7);
		ck_assert_mem_eq(b.p, "payload", 7);
		ck_assert_uint_eq(steps, LAST);
		ck_assert_uint_eq(t.out.n, 2 * LAST);
		talk_clear(&t);
	}
}
END_TEST

START_TEST(a_step_refuses)
{
	uint8_t bytes[SAID + 7];
	size_t n = said(bytes), from = 0;
	struct talk t;

	for (size_t i = 0; i < n; i++) {
		struct reader r;

		/* Where the message ends that holds byte i. */
		if (i == from + bytes[from])
			from = i;
		bytes[i] ^= 0x80;
		r = reader_of(bytes, n);
		begin(&t, 0);
		ck_assert_int_eq(talk_feed(&t, &r), TALK_BAD);
		bytes[i] ^= 0x80;
		ck_assert_uint_eq(n - r.n, from + bytes[i]);
		talk_clear(&t);
	}
}
END_TEST

START_TEST(clearing_wipes)
{
	static const uint8_t zeros[sizeof(struct talk)];
	uint8_t bytes[SAID + 7];
	struct reader r = reader_of(bytes, said(bytes) - 1);
	struct talk t;

	begin(&t, 5);
	ck_assert_int_eq(talk_feed(&t, &r), TALK_MORE);
	talk_clear(&t);
	ck_assert_mem_eq(&t, zeros, sizeof(t));
}
END_TEST

/* ---- over a socket ---- */

START_TEST(run_byte_by_byte)
{
	uint8_t bytes[SAID + 7], answer[3 * LAST], rest[16];
	size_t n = said(bytes);
	struct talk t;
	short wait;
	int fd[2], err;

	pair_unix(fd);
	begin(&t, 3);
	for (size_t i = 0; i < n - 1; i++) {
		ck_assert_int_eq(talk_run(&t, fd[0], &wait, &err), TALK_MORE);
		ck_assert_int_eq(wait, EV_READ);
		ck_assert_int_eq(err, 0);
		ck_assert_int_eq(write(fd[1], bytes + i, 1), 1);
	}
	ck_assert_int_eq(write(fd[1], bytes + n - 1, 8), 8);
	ck_assert_int_eq(talk_run(&t, fd[0], &wait, &err), TALK_OK);
	/* The payload is still in the socket. */
	ck_assert_int_eq(read(fd[0], rest, sizeof(rest)), 7);
	ck_assert_mem_eq(rest, "payload", 7);
	/* All but the last answer is out: that one is the owner's matter (t.sent, t.out). */
	ck_assert_int_eq(read(fd[1], answer, sizeof(answer)), 3 * (LAST - 1));
	for (size_t i = 0; i < 3 * (LAST - 1); i++)
		ck_assert_uint_eq(answer[i], i / 3 + 1);
	ck_assert_uint_eq(t.sent, 3 * (LAST - 1));
	ck_assert_uint_eq(t.out.n, 3 * LAST);
	talk_clear(&t);
	close(fd[0]);
	close(fd[1]);
}
END_TEST

/* In place of libc's, for what no socket can be made to do when we want it: it takes no more than
 * so many bytes at a time, and a signal comes before each. */
static size_t send_at_most = SIZE_MAX;
static bool send_interrupted;

ssize_t
send(int fd, const void *p, size_t n, int flags)
{
	static bool again;

	again = !again;
	if (send_interrupted && again) {
		errno = EINTR;
		return -1;
	}
	return sendto(fd, p, n < send_at_most ? n : send_at_most, flags, NULL, 0);
}

START_TEST(run_when_the_socket_takes_a_part)
{
	uint8_t bytes[SAID + 7], answer[50 * LAST];
	size_t n = said(bytes);
	struct talk t;
	short wait;
	int fd[2], err;

	send_interrupted = true;
	for (send_at_most = 1; send_at_most <= 51; send_at_most++) {
		enum talk_result result;
		size_t got = 0;
		ssize_t r;

		pair_unix(fd);
		begin(&t, 50);
		ck_assert_int_eq(write(fd[1], bytes, n), (ssize_t)n);
		/* At one byte a time, it has too much to do for one turn. */
		do {
			result = talk_run(&t, fd[0], &wait, &err);
			ck_assert_int_eq(err, 0);
			r = recv(fd[1], answer + got, sizeof(answer) - got, MSG_DONTWAIT);
			ck_assert_int_gt(r, 0); /* or it would stand still */
			got += (size_t)r;
		} while (result == TALK_MORE);
		ck_assert_int_eq(result, TALK_OK);
		ck_assert_uint_eq(got, 50 * (LAST - 1));
		for (size_t i = 0; i < 50 * (LAST - 1); i++)
			ck_assert_uint_eq(answer[i], i / 50 + 1);
		talk_clear(&t);
		close(fd[0]);
		close(fd[1]);
	}
}
END_TEST

/* The peer reads nothing for a while: it waits for the socket to take more. */
START_TEST(run_when_the_socket_is_full)
{
	uint8_t bytes[SAID + 7], byte = 0;
	size_t n = said(bytes), full = 0;
	ssize_t r;
	struct talk t;
	short wait;
	int fd[2], err;

	pair_unix(fd);
	while ((r = write(fd[0], &byte, 1)) == 1)
		full++;
	begin(&t, 200);
	ck_assert_int_eq(write(fd[1], bytes, n), (ssize_t)n);
	ck_assert_int_eq(talk_run(&t, fd[0], &wait, &err), TALK_MORE);
	ck_assert_int_eq(wait, EV_WRITE);
	ck_assert_int_eq(err, 0);
	ck_assert_uint_eq(steps, 1);
	for (; full > 0; full -= (size_t)r) {
		uint8_t sink[4096];

		r = read(fd[1], sink, full < sizeof(sink) ? full : sizeof(sink));
		ck_assert_int_gt(r, 0);
	}
	ck_assert_int_eq(talk_run(&t, fd[0], &wait, &err), TALK_OK);
	ck_assert_uint_eq(steps, LAST);
	talk_clear(&t);
	close(fd[0]);
	close(fd[1]);
}
END_TEST

START_TEST(run_with_a_peer_that_hangs_up)
{
	uint8_t bytes[SAID + 7];
	size_t n = said(bytes);
	struct talk t;
	short wait;
	int fd[2], err;

	for (size_t cut = 0; cut < n; cut++) {
		pair_unix(fd);
		begin(&t, 1);
		ck_assert_int_eq(write(fd[1], bytes, cut), (ssize_t)cut);
		ck_assert_int_eq(shutdown(fd[1], SHUT_WR), 0);
		ck_assert_int_eq(talk_run(&t, fd[0], &wait, &err), TALK_BAD);
		ck_assert_int_eq(err, ECONNRESET);
		talk_clear(&t);
		close(fd[0]);
		close(fd[1]);
	}
	/* Nobody is there to take the answer: no SIGPIPE either. */
	pair_unix(fd);
	begin(&t, 1);
	ck_assert_int_eq(write(fd[1], bytes, 1), 1);
	close(fd[1]);
	ck_assert_int_eq(talk_run(&t, fd[0], &wait, &err), TALK_BAD);
	ck_assert_int_eq(err, ECONNRESET);
	talk_clear(&t);
	close(fd[0]);
}
END_TEST

START_TEST(run_with_a_step_that_refuses)
{
	struct talk t;
	short wait;
	int fd[2], err;

	pair_unix(fd);
	begin(&t, 1);
	ck_assert_int_eq(write(fd[1], "x", 1), 1);
	ck_assert_int_eq(talk_run(&t, fd[0], &wait, &err), TALK_BAD);
	ck_assert_int_eq(err, 0);
	talk_clear(&t);
	close(fd[0]);
	close(fd[1]);
}
END_TEST

static enum talk_result
endless(struct talk *t)
{
	steps++;
	talk_want(t, 1);
	return TALK_MORE;
}

START_TEST(run_gives_the_loop_a_turn)
{
	static const uint8_t zeros[4000];
	struct talk t;
	short wait;
	int fd[2], err, runs = 0;

	pair_unix(fd);
	steps = 0;
	talk_init(&t, endless);
	talk_want(&t, 1);
	ck_assert_int_eq(write(fd[1], zeros, sizeof(zeros)), sizeof(zeros));
	while (steps < sizeof(zeros)) {
		unsigned before = steps;

		ck_assert_int_eq(talk_run(&t, fd[0], &wait, &err), TALK_MORE);
		ck_assert_int_eq(wait, EV_READ);
		ck_assert_uint_gt(steps, before);
		runs++;
	}
	ck_assert_int_gt(runs, 1);
	talk_clear(&t);
	close(fd[0]);
	close(fd[1]);
}
END_TEST

TEST_MAIN("talk", fed_in_two_parts, a_step_refuses, clearing_wipes, run_byte_by_byte,
	  run_when_the_socket_takes_a_part, run_when_the_socket_is_full, run_with_a_peer_that_hangs_up,
	  run_with_a_step_that_refuses, run_gives_the_loop_a_turn)
