/* Peers of a session that break the protocol. */
#include "common/frame.h"
#include "tests/session_pair.h"

static bool
frames(struct session *x, size_t n, const struct frame *f)
{
	uint8_t text[RECORD_TEXT_MAX];
	struct writer w = writer_of(text, sizeof(text));
	struct reader r;

	for (size_t i = 0; i < n; i++)
		frame_write(&w, &f[i]);
	r = reader_of(text, w.n);
	return session_direct_frames(x, &r);
}

#define FRAMES(x, ...) \
	frames(x, sizeof((struct frame[]){ __VA_ARGS__ }) / sizeof(struct frame), \
	    (struct frame[]){ __VA_ARGS__ })
#define HELLO { .type = FRAME_HELLO, .limit = STREAM_CREDIT_START }
#define ACCEPT { .type = FRAME_ACCEPT, .limit = STREAM_CREDIT_START }
#define BYTES(at, count) { .type = FRAME_DATA, .offset = (at), .p = zeros, .n = (count) }

static const uint8_t zeros[16000];

static void
begin_direct(void)
{
	begin();
	put(&cl, "x");
	session_direct_start(&cl);
	session_accept(&sv, cl.epoch++);
}

#define REFUSED(x, ...)                               \
	do {                                          \
		begin_direct();                       \
		ck_assert(!FRAMES(x, __VA_ARGS__));   \
		end();                                \
	} while (0)

START_TEST(hostile_greetings)
{
	begin_direct();
	ck_assert(FRAMES(&sv, HELLO, BYTES(0, 5)));
	ck_assert(!FRAMES(&sv, HELLO));
	end();
	REFUSED(&sv, BYTES(0, 5));
	REFUSED(&sv, { .type = FRAME_PING });
	REFUSED(&sv, { .type = FRAME_CLOSE, .code = CLOSE_DONE });
	REFUSED(&sv, ACCEPT);
	REFUSED(&sv, HELLO, ACCEPT);
	REFUSED(&cl, HELLO);
	REFUSED(&cl, ACCEPT, HELLO);
	REFUSED(&cl, ACCEPT, ACCEPT);
	REFUSED(&cl, BYTES(0, 1));
	REFUSED(&sv, { .type = FRAME_HELLO, .offset = 1 });
	REFUSED(&cl, { .type = FRAME_ACCEPT, .offset = 2 }); /* one byte was put */
}
END_TEST

START_TEST(hostile_frames)
{
	REFUSED(&sv, HELLO, { .type = FRAME_ACK, .offset = 1 });
	REFUSED(&sv, HELLO, { .type = FRAME_ACK, .offset = UINT64_MAX });
	REFUSED(&sv, HELLO, BYTES(1, 1));
	REFUSED(&sv, HELLO, BYTES(UINT64_MAX, 1));
	REFUSED(&sv, HELLO, BYTES(UINT64_MAX - 1, 16));
	REFUSED(&sv, HELLO, { .type = FRAME_FIN, .offset = 1 });
	REFUSED(&sv, HELLO, { .type = FRAME_FIN, .offset = UINT64_MAX });
	REFUSED(&sv, HELLO, BYTES(0, 5), { .type = FRAME_FIN, .offset = 4 });
	REFUSED(&sv, HELLO, BYTES(0, 5), { .type = FRAME_FIN, .offset = 5 },
	    { .type = FRAME_FIN, .offset = 6 });
	REFUSED(&sv, HELLO, { .type = FRAME_FIN, .offset = 0 }, BYTES(0, 1));
	REFUSED(&sv, HELLO, { .type = FRAME_CLOSE, .code = 0 });
	REFUSED(&sv, HELLO, { .type = FRAME_CLOSE, .code = 4 });
	REFUSED(&cl, ACCEPT, { .type = FRAME_ACK, .offset = 2 });
	/* Said again, the end is the same end. */
	begin_direct();
	ck_assert(FRAMES(&sv, HELLO, BYTES(0, 5), { .type = FRAME_FIN, .offset = 5 },
	    { .type = FRAME_FIN, .offset = 5 }, BYTES(3, 2)));
	ck_assert_uint_eq(stream_rx_received(&sv.rx), 6);
	end();
}
END_TEST

START_TEST(hostile_bytes)
{
	static const char *const bad[] = {
		"090000",       /* unknown type */
		"ff0001aa",
		"06000100",     /* a PING too short */
		"0300080000000000000000", /* DATA without a byte */
		"04",           /* cut short */
		"0400",
		"040010",
	};
	uint8_t bytes[32];

	for (size_t i = 0; i < sizeof(bad) / sizeof(bad[0]); i++) {
		struct reader r = reader_of(bytes, unhex(bytes, bad[i]));

		begin_direct();
		ck_assert(FRAMES(&sv, HELLO));
		ck_assert_msg(!session_direct_frames(&sv, &r), "%s", bad[i]);
		end();
	}
}
END_TEST

START_TEST(hostile_data_beyond_the_limit)
{
	uint64_t at = 0;

	begin_direct();
	ck_assert(FRAMES(&sv, HELLO));
	for (; at + sizeof(zeros) <= STREAM_CREDIT_START; at += sizeof(zeros))
		ck_assert(FRAMES(&sv, BYTES(at, sizeof(zeros))));
	ck_assert(!FRAMES(&sv, BYTES(at, sizeof(zeros))));
	ck_assert_uint_le(sv.rx.held.n, STREAM_CREDIT_START);
	end();
}
END_TEST

START_TEST(hostile_exchanges)
{
	const struct msg_request bad[] = {
		{ .ack_received = 1 },
		{ .ack_received = UINT64_MAX },
		{ .up = STREAM_CREDIT_START, .data = zeros, .n = 1 },
		{ .up = STREAM_CREDIT_START - 1, .data = zeros, .n = 2, .fin = true },
		{ .up = UINT64_MAX, .data = zeros, .n = 2 },
	};
	struct msg_request x = { .up = UINT64_MAX / 4, .fin = true, .close = CLOSE_DONE };
	bool drop;

	for (size_t i = 0; i < sizeof(bad) / sizeof(bad[0]); i++) {
		begin();
		ck_assert_int_eq(give(0, &bad[i], &drop), EXCHANGE_BAD);
		ck_assert(!drop);
		end();
	}
	/* A gap is what a network makes: nothing is taken, nothing is bad. */
	begin();
	ck_assert_int_eq(give(0, &x, &drop), EXCHANGE_ANSWER);
	ck_assert(!sv.rx.fin && sv.close_in == CLOSE_NONE);
	/* The end moves neither way. */
	x = (struct msg_request){ .data = zeros, .n = 5, .fin = true };
	ck_assert_int_eq(give(1, &x, &drop), EXCHANGE_ANSWER);
	x.n = 4;
	ck_assert_int_eq(give(2, &x, &drop), EXCHANGE_BAD);
	x.n = 6;
	ck_assert_int_eq(give(3, &x, &drop), EXCHANGE_BAD);
	x.n = 5;
	ck_assert_int_eq(give(4, &x, &drop), EXCHANGE_ANSWER);
	end();
}
END_TEST

START_TEST(hostile_answers)
{
	const struct msg_reply bad[] = {
		{ .ack_received = 2 },
		{ .down = STREAM_CREDIT_START, .data = zeros, .n = 1 },
		{ .down = STREAM_CREDIT_START - 1, .data = zeros, .n = 2, .fin = true },
	};
	struct msg_request x;

	for (size_t i = 0; i < sizeof(bad) / sizeof(bad[0]); i++) {
		begin();
		put(&cl, "x");
		session_exchange(&cl, &x, false, MSG_EXCHANGE_DATA);
		ck_assert(!session_exchanged(&cl, &x, &bad[i]));
		end();
	}
}
END_TEST

/* The caller asks session_accept only for epochs from sv.epoch on: each once, and none
 * below one that was used or given up. */
START_TEST(epochs_only_rise)
{
	struct msg_request poll = { .poll = true, .epoch = 7 };
	bool drop;

	begin();
	session_accept(&sv, 0);
	ck_assert_uint_eq(sv.epoch, 1);
	session_accept(&sv, 4);
	ck_assert_uint_eq(sv.epoch, 5);
	ck_assert_int_eq(give(0, &poll, &drop), EXCHANGE_POLL);
	ck_assert(drop);
	ck_assert_uint_eq(sv.epoch, 7);
	poll.epoch = 6;
	ck_assert_int_eq(give(1, &poll, &drop), EXCHANGE_ANSWER);
	ck_assert_uint_eq(sv.epoch, 7);
	end();
}
END_TEST

TEST_MAIN("session_hostile", hostile_greetings, hostile_frames, hostile_bytes,
    hostile_data_beyond_the_limit, hostile_exchanges, hostile_answers, epochs_only_rise)
