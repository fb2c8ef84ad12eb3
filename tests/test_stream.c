/* One direction of a session: offsets, duplicates, gaps, the end, credit, budget. */
#include "tests/harness.h"

#include "common/mem.h"
#include "common/stream.h"

#define RUNS 3000
#define KEPT (64 * 1024)

static struct stream_budget budget;
static uint8_t text[KEPT];

static void
begin(struct stream_tx *tx, struct stream_rx *rx, size_t max)
{
	budget = (struct stream_budget){ .max = max };
	stream_tx_init(tx, &budget);
	stream_rx_init(rx, &budget);
	for (size_t i = 0; i < sizeof(text); i++)
		text[i] = (uint8_t)(i * 31 + (i >> 8) * 7);
}

static void
end(struct stream_tx *tx, struct stream_rx *rx)
{
	stream_tx_clear(tx);
	stream_rx_clear(rx);
	ck_assert(budget.held == 0 && budget.given == 0);
	ck_assert_ptr_null(tx->held.mem);
	ck_assert_ptr_null(rx->held.mem);
}

/* ---- against a model: two counters and one array ---- */

#define must(what)                                                             \
	do {                                                                   \
		if (!(what))                                                   \
			ck_abort_msg("run %llu: %s", (unsigned long long)run, #what); \
	} while (0)

static void
random_step(uint64_t run, uint64_t *x, struct stream_tx *tx, struct stream_rx *rx)
{
	uint64_t put = stream_tx_end(tx), n = random_below(x, 300), received = stream_rx_received(rx), at;
	const uint8_t *p = NULL;
	size_t have;

	switch (random_below(x, 6)) {
	case 0:
		n = n < stream_tx_room(tx) ? n : stream_tx_room(tx);
		n = n < KEPT - put ? n : KEPT - put;
		stream_tx_put(tx, text + put, (size_t)n);
		must(stream_tx_end(tx) == put + n);
		break;
	case 1: /* any range that is held, in any order, again and again */
		at = tx->base + random_below(x, tx->held.n + 1);
		have = stream_tx_peek(tx, at, &p);
		must(at + have == put || have == 0);
		n = n < have ? n : have;
		must(n == 0 || memcmp(p, text + at, (size_t)n) == 0);
		must(n == 0 || stream_rx_put(rx, at, p, (size_t)n) ==
		    (at > rx->taken + rx->held.n ? STREAM_GAP : STREAM_OK));
		break;
	case 2:
		have = stream_rx_peek(rx, &p);
		must(have == 0 || memcmp(p, text + rx->taken, have) == 0);
		stream_rx_take(rx, (size_t)random_below(x, have + 1), random_below(x, 1000), 10);
		break;
	case 3: /* an old or a new acknowledgement */
		at = random_below(x, received + 1);
		must(stream_tx_ack(tx, random_below(x, 3) ? received : at, rx->limit - random_below(x, 20)));
		break;
	case 4:
		if (tx->fin)
			must(stream_rx_fin(rx, put) != STREAM_BAD);
		else if (put == KEPT || random_below(x, 200) == 0)
			stream_tx_fin(tx);
		break;
	default:
		if (stream_rx_fin_due(rx))
			stream_rx_take_fin(rx);
	}
	must(tx->base <= stream_rx_received(rx) && tx->limit <= rx->limit);
	must(stream_rx_received(rx) <= stream_tx_end(tx) + tx->fin);
	must(budget.held == tx->held.n && budget.given == rx->given);
	must(rx->fin || rx->limit - rx->taken <= STREAM_CREDIT_START + rx->given);
	must(budget.held <= budget.max / 2 + STREAM_HELD_MIN && budget.given <= budget.max / 2);
	must(!tx->fin_acked || (tx->fin && tx->base == stream_tx_end(tx) + 1));
}

START_TEST(random_operations)
{
	struct stream_tx tx;
	struct stream_rx rx;

	for (uint64_t run = 0; run < RUNS; run++) {
		uint64_t x = run;

		begin(&tx, &rx, random_below(&x, 2) ? 1 << 20 : 500);
		rx.window = 20 + (uint32_t)random_below(&x, 2000);
		rx.limit = tx.limit = rx.window;
		for (int i = 0; i < 400 && !rx.fin_taken; i++)
			random_step(run, &x, &tx, &rx);
		end(&tx, &rx);
	}
}
END_TEST

/* ---- by name ---- */

START_TEST(the_end_has_an_offset_of_its_own)
{
	struct stream_tx tx;
	struct stream_rx rx;
	const uint8_t *p;

	begin(&tx, &rx, 1 << 20);
	stream_tx_put(&tx, text, 5);
	stream_tx_fin(&tx);
	ck_assert_uint_eq(stream_tx_room(&tx), 0);
	ck_assert_int_eq(stream_rx_fin(&rx, 5), STREAM_GAP);
	ck_assert_int_eq(stream_rx_put(&rx, 0, text, 5), STREAM_OK);
	ck_assert_uint_eq(stream_rx_received(&rx), 5);
	ck_assert(stream_tx_ack(&tx, 5, 0));
	ck_assert(!tx.fin_acked);
	ck_assert_int_eq(stream_rx_fin(&rx, 5), STREAM_OK);
	ck_assert_uint_eq(stream_rx_received(&rx), 6);
	ck_assert(!stream_rx_fin_due(&rx));
	ck_assert_uint_eq(stream_rx_peek(&rx, &p), 5);
	stream_rx_take(&rx, 5, 0, 0);
	ck_assert(stream_rx_fin_due(&rx));
	stream_rx_take_fin(&rx);
	ck_assert(!stream_rx_fin_due(&rx));
	ck_assert(stream_tx_ack(&tx, 6, 0));
	ck_assert(tx.fin_acked);
	ck_assert_uint_eq(stream_tx_end(&tx), 5);
	ck_assert_uint_eq(stream_tx_peek(&tx, 6, &p), 0);
	ck_assert(stream_tx_ack(&tx, 3, 0)); /* an old one */
	ck_assert(tx.fin_acked);
	ck_assert(!stream_tx_ack(&tx, 7, 0));
	end(&tx, &rx);
}
END_TEST

START_TEST(an_empty_stream_ends)
{
	struct stream_tx tx;
	struct stream_rx rx;

	begin(&tx, &rx, 1 << 20);
	ck_assert(!stream_tx_ack(&tx, 1, 0));
	stream_tx_fin(&tx);
	ck_assert_int_eq(stream_rx_fin(&rx, 0), STREAM_OK);
	ck_assert(stream_rx_fin_due(&rx));
	ck_assert(stream_tx_ack(&tx, stream_rx_received(&rx), 0));
	ck_assert(tx.fin_acked);
	end(&tx, &rx);
}
END_TEST

START_TEST(bad_bytes_and_ends)
{
	struct stream_tx tx;
	struct stream_rx rx;

	begin(&tx, &rx, 1 << 20);
	rx.limit = 100;
	ck_assert_int_eq(stream_rx_put(&rx, 0, text, 101), STREAM_BAD);
	ck_assert_int_eq(stream_rx_put(&rx, 100, text, 1), STREAM_BAD);
	ck_assert_int_eq(stream_rx_put(&rx, 101, text, 1), STREAM_BAD);
	ck_assert_int_eq(stream_rx_put(&rx, UINT64_MAX, text, 1), STREAM_BAD);
	ck_assert_int_eq(stream_rx_put(&rx, UINT64_MAX - 3, text, 8), STREAM_BAD);
	ck_assert_int_eq(stream_rx_put(&rx, 1, text, SIZE_MAX), STREAM_BAD);
	ck_assert_int_eq(stream_rx_put(&rx, 1, text, 99), STREAM_GAP);
	ck_assert_uint_eq(rx.held.n, 0);
	ck_assert_int_eq(stream_rx_put(&rx, 0, text, 100), STREAM_OK);
	ck_assert_int_eq(stream_rx_fin(&rx, 99), STREAM_BAD);
	ck_assert_int_eq(stream_rx_fin(&rx, 101), STREAM_BAD);
	ck_assert_int_eq(stream_rx_fin(&rx, UINT64_MAX), STREAM_BAD);
	ck_assert(!rx.fin);
	ck_assert_int_eq(stream_rx_fin(&rx, 100), STREAM_OK); /* needs no credit */
	rx.limit = 300;
	ck_assert_int_eq(stream_rx_fin(&rx, 101), STREAM_BAD);
	ck_assert_int_eq(stream_rx_put(&rx, 100, text, 1), STREAM_BAD);
	ck_assert_int_eq(stream_rx_put(&rx, 90, text, 11), STREAM_BAD);
	ck_assert_int_eq(stream_rx_put(&rx, 90, text + 90, 10), STREAM_OK);
	ck_assert_uint_eq(stream_rx_received(&rx), 101);
	end(&tx, &rx);
}
END_TEST

/* ---- credit ---- */

/* Receives and takes n bytes in pieces, ms_each apart; how far credit reaches then. */
static uint64_t
drain(struct stream_rx *rx, size_t n, uint64_t *now, unsigned ms_each, unsigned rtt)
{
	static const uint8_t piece[16384];

	for (size_t left = n; left > 0;) {
		size_t k = left < sizeof(piece) ? left : sizeof(piece);
		uint64_t before = rx->limit;

		ck_assert_int_eq(stream_rx_put(rx, rx->taken, piece, k), STREAM_OK);
		stream_rx_take(rx, k, *now, rtt);
		ck_assert_uint_ge(rx->limit, before);
		*now += ms_each;
		left -= k;
	}
	return rx->limit - rx->taken;
}

START_TEST(credit_doubles_while_drained_fast)
{
	struct stream_tx tx;
	struct stream_rx rx;
	uint64_t now = 1000, credit = STREAM_CREDIT_START;

	begin(&tx, &rx, 128 << 20);
	while (credit < STREAM_CREDIT_MAX) {
		/* Not before the whole window is drained. */
		ck_assert_uint_eq(drain(&rx, (size_t)credit - 16384, &now, 0, 10), credit);
		ck_assert_uint_eq(drain(&rx, 16384, &now, 0, 10), 2 * credit);
		credit *= 2;
	}
	ck_assert_uint_eq(credit, STREAM_CREDIT_MAX);
	ck_assert_uint_eq(drain(&rx, 2 * STREAM_CREDIT_MAX, &now, 0, 10), STREAM_CREDIT_MAX);
	end(&tx, &rx);
}
END_TEST

START_TEST(credit_stays_when_drained_slowly)
{
	struct stream_tx tx;
	struct stream_rx rx;
	uint64_t now = 0;

	begin(&tx, &rx, 128 << 20);
	/* 16 pieces, 15 gaps: just over, then just within two round trips of 75 ms. */
	ck_assert_uint_eq(drain(&rx, STREAM_CREDIT_START, &now, 11, 75), STREAM_CREDIT_START);
	ck_assert_uint_eq(drain(&rx, STREAM_CREDIT_START, &now, 10, 75), 2 * STREAM_CREDIT_START);
	/* Silence between two windows does not count. */
	now += 1000000;
	ck_assert_uint_eq(drain(&rx, 2 * STREAM_CREDIT_START, &now, 1, 75), 4 * STREAM_CREDIT_START);
	end(&tx, &rx);
}
END_TEST

START_TEST(an_idle_reader_gives_no_credit)
{
	struct stream_tx tx;
	struct stream_rx rx;

	begin(&tx, &rx, 1 << 20);
	ck_assert_int_eq(stream_rx_put(&rx, 0, text, 5000), STREAM_OK);
	ck_assert_uint_eq(rx.limit, STREAM_CREDIT_START);
	stream_rx_take(&rx, 0, 0, 0);
	ck_assert_uint_eq(rx.limit, STREAM_CREDIT_START);
	stream_rx_take(&rx, 1, 0, 0);
	ck_assert_uint_eq(rx.limit, STREAM_CREDIT_START + 1);
	end(&tx, &rx);
}
END_TEST

START_TEST(over_budget_a_window_shrinks)
{
	struct stream_tx tx;
	struct stream_rx rx;
	uint64_t now = 0, limit;

	begin(&tx, &rx, 1 << 20);
	budget.max = 64 << 20;
	ck_assert_uint_eq(drain(&rx, STREAM_CREDIT_START, &now, 0, 10), 2 * STREAM_CREDIT_START);
	limit = rx.limit;
	budget.given += budget.max; /* some other streams' */
	/* What was given stays; no more comes until it is used up to the guaranteed. */
	ck_assert_uint_eq(drain(&rx, STREAM_CREDIT_START / 2, &now, 0, 10), 3 * STREAM_CREDIT_START / 2);
	ck_assert_uint_eq(rx.limit, limit);
	ck_assert_uint_eq(drain(&rx, STREAM_CREDIT_START, &now, 0, 10), STREAM_CREDIT_START);
	budget.given -= budget.max;
	ck_assert_uint_eq(drain(&rx, 2 * STREAM_CREDIT_START, &now, 0, 10), 2 * STREAM_CREDIT_START);
	/* Behind an end no more can come, but what is held is held. */
	ck_assert_uint_eq(budget.given, STREAM_CREDIT_START);
	for (int i = 0; i < 384; i++)
		ck_assert_int_eq(stream_rx_put(&rx, rx.taken + rx.held.n, text, 1024), STREAM_OK);
	ck_assert_int_eq(stream_rx_fin(&rx, rx.taken + rx.held.n), STREAM_OK);
	ck_assert_uint_eq(budget.given, STREAM_CREDIT_START / 2);
	stream_rx_take(&rx, STREAM_CREDIT_START / 4, now, 10);
	ck_assert_uint_eq(budget.given, STREAM_CREDIT_START / 4);
	stream_rx_take(&rx, STREAM_CREDIT_START / 2, now, 10);
	ck_assert_uint_eq(budget.given, 0);
	end(&tx, &rx);
}
END_TEST

/* Readers that were fast and then stop, or have all just begun: what may come to be held, by
 * all of them together, stays under the budget and what is guaranteed to each. */
START_TEST(many_that_stop_stay_under_the_budget)
{
	enum { N = 300 };
	static struct stream_rx rx[N];
	uint64_t now = 0, sum = 0;

	budget = (struct stream_budget){ .max = 64 << 20 };
	for (int i = 0; i < N; i++) {
		stream_rx_init(&rx[i], &budget);
		drain(&rx[i], 4 * STREAM_CREDIT_MAX, &now, 0, 10);
		ck_assert_uint_ge(rx[i].limit - rx[i].taken, STREAM_CREDIT_START);
	}
	/* The first takes no more than a quarter, so that the next find something. */
	ck_assert_uint_gt(rx[0].limit - rx[0].taken, STREAM_CREDIT_MAX / 2);
	ck_assert_uint_gt(rx[5].limit - rx[5].taken, 4 * STREAM_CREDIT_START);
	for (int i = 0; i < N; i++)
		sum += rx[i].limit - rx[i].taken;
	ck_assert_uint_le(sum, budget.max / 2 + (uint64_t)N * STREAM_CREDIT_START);
	/* When they go on, all get what is theirs; when they end, nothing is left. */
	for (int i = 0; i < N; i++) {
		drain(&rx[i], 1, &now, 0, 10);
		ck_assert_uint_le(budget.given, budget.max / 2);
		stream_rx_clear(&rx[i]);
	}
	ck_assert_uint_eq(budget.given, 0);
}
END_TEST

START_TEST(a_sender_stops_at_credit_and_at_budget)
{
	struct stream_tx tx;
	struct stream_rx rx;

	begin(&tx, &rx, 32 << 20);
	ck_assert_uint_eq(stream_tx_room(&tx), STREAM_CREDIT_START);
	ck_assert(stream_tx_ack(&tx, 0, UINT64_MAX));
	ck_assert_uint_eq(stream_tx_room(&tx), STREAM_CREDIT_MAX);
	ck_assert(stream_tx_ack(&tx, 0, 5)); /* limits never go down */
	ck_assert_uint_eq(tx.limit, UINT64_MAX);
	stream_tx_put(&tx, text, 1000);
	ck_assert_uint_eq(stream_tx_room(&tx), STREAM_CREDIT_MAX - 1000);
	budget.max = 4 << 20;
	ck_assert_uint_eq(stream_tx_room(&tx), (2 << 20) - 1000);
	budget.max = 1000;
	ck_assert_uint_eq(stream_tx_room(&tx), STREAM_HELD_MIN - 1000);
	stream_tx_put(&tx, text, STREAM_HELD_MIN - 1000);
	ck_assert_uint_eq(stream_tx_room(&tx), 0);
	ck_assert(stream_tx_ack(&tx, 700, 0));
	ck_assert_uint_eq(stream_tx_room(&tx), 700);
	budget.max = 32 << 20;
	ck_assert_uint_eq(stream_tx_room(&tx), STREAM_CREDIT_MAX - STREAM_HELD_MIN + 700);
	end(&tx, &rx);
}
END_TEST

TEST_MAIN("stream", random_operations, the_end_has_an_offset_of_its_own, an_empty_stream_ends,
    bad_bytes_and_ends, credit_doubles_while_drained_fast, credit_stays_when_drained_slowly,
    an_idle_reader_gives_no_credit, over_budget_a_window_shrinks, many_that_stop_stay_under_the_budget,
    a_sender_stops_at_credit_and_at_budget)
