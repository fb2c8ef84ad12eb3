/* The session core, case by case: cutover, which carrier owns `down`, what must not be
 * lost between two carriers, and credit. test_session_hostile.c has peers that
 * break the protocol, test_session_model.c the rest, at random. */
#include "common/frame.h"
#include "common/mem.h"
#include "tests/session_pair.h"

#define CLIENT_HELLO "160301002d010000290303000102030405060708090a0b0c0d0e0f1011121314151617" \
	"18191a1b1c1d1e1f00000213010100"
#define SERVER_HELLO "16030300320200002e0303000102030405060708090a0b0c0d0e0f1011121314151617" \
	"18191a1b1c1d1e1f001301000006002b00020304"
#define APP_DATA "1703030003aabbcc"

static uint64_t n_next; /* number of the next request */

static void
put_zeros(struct session *x, size_t n)
{
	uint8_t *p = mem_zalloc(n);

	ck_assert_uint_ge(session_room(x), n);
	session_put(x, p, n);
	free(p);
}

/* Takes all that is there; it must be this text. */
static void
expect(struct session *x, const char *text)
{
	const uint8_t *p;
	size_t n = session_peek(x, &p);

	ck_assert_uint_eq(n, strlen(text));
	ck_assert(n == 0 || memcmp(p, text, n) == 0);
	session_take(x, n, 0, 0);
}

static void
take_all(struct session *x)
{
	const uint8_t *p;

	session_take(x, session_peek(x, &p), 0, 0);
}

/* Moves one record; how many bytes of frames it had. */
static size_t
carry_one(struct session *from, struct session *to)
{
	uint8_t text[RECORD_TEXT_MAX];
	struct writer w = writer_of(text, sizeof(text));
	struct reader r;

	session_direct_fill(from, &w);
	ck_assert(!w.failed);
	r = reader_of(text, w.n);
	ck_assert(to == NULL || session_direct_frames(to, &r));
	return w.n;
}

/* Moves records both ways until neither side wants to write. */
static void
carry(void)
{
	while (session_direct_wants(&cl) || session_direct_wants(&sv)) {
		if (session_direct_wants(&cl))
			carry_one(&cl, &sv);
		if (session_direct_wants(&sv))
			carry_one(&sv, &cl);
	}
}

/* A direct connection that comes up on both ends. */
static void
connect_direct(void)
{
	session_direct_start(&cl);
	session_accept(&sv, cl.epoch++);
	carry();
	ck_assert(cl.direct.open && sv.direct.open);
}

/* A whole exchange; what the poll gets if it would be held is an empty answer. */
static void
exchange(bool poll)
{
	struct msg_request x;
	struct msg_reply r;
	bool drop;
	uint64_t n = n_next++;

	session_exchange(&cl, &x, poll, MSG_EXCHANGE_DATA);
	ck_assert_int_eq(give(n, &x, &drop), poll ? EXCHANGE_POLL : EXCHANGE_ANSWER);
	if (drop)
		session_direct_stop(&sv);
	session_answer(&sv, &r, n, poll, MSG_EXCHANGE_DATA);
	ck_assert(session_exchanged(&cl, &x, &r));
}

static size_t
hex_put(struct session *x, const char *hex)
{
	uint8_t bytes[256];
	size_t n = unhex(bytes, hex);

	session_put(x, bytes, n);
	return n;
}

/* ---- cutover ---- */

START_TEST(cutover_is_exact)
{
	struct msg_request x;
	struct msg_reply r;
	bool drop;

	begin();
	hex_put(&cl, CLIENT_HELLO);
	exchange(false);
	ck_assert(!session_may_go_direct(&cl));
	hex_put(&sv, SERVER_HELLO APP_DATA);
	/* The server's flight comes in an answer that is cut, then again from its start:
	 * the tracker sees each byte once. */
	session_exchange(&cl, &x, true, 0);
	ck_assert_int_eq(give(n_next, &x, &drop), EXCHANGE_POLL);
	session_answer(&sv, &r, n_next, true, 20);
	ck_assert_uint_eq(r.n, 20);
	ck_assert(session_exchanged(&cl, &x, &r));
	ck_assert(!session_may_go_direct(&cl));
	x.ack_received = 0;
	session_answer(&sv, &r, n_next, true, 55);
	ck_assert(session_exchanged(&cl, &x, &r));
	ck_assert(session_may_go_direct(&cl));
	ck_assert_int_eq(tls_tracker_kind(cl.tracker), TLS_YES);
	/* What comes now goes with the hello, and nothing before it again. */
	hex_put(&cl, APP_DATA);
	connect_direct();
	ck_assert_uint_eq(stream_rx_received(&sv.rx), cl.tx.base);
	ck_assert_uint_eq(cl.tx.held.n, 0);
	ck_assert(session_may_go_direct(&sv));
	end();
}
END_TEST

START_TEST(what_is_not_tls_goes_at_once)
{
	begin();
	ck_assert(!session_may_go_direct(&cl));
	put(&cl, "SSH-2.0-x\r\n");
	ck_assert(session_may_go_direct(&cl));
	end();
}
END_TEST

START_TEST(the_client_does_not_outrun_the_tags)
{
	begin();
	put(&cl, "x");
	for (int i = 0; i < SESSION_EPOCHS; i++) {
		ck_assert(session_may_go_direct(&cl));
		session_direct_start(&cl);
		cl.epoch++;
		session_direct_stop(&cl);
	}
	ck_assert(!session_may_go_direct(&cl));
	exchange(true);
	ck_assert(session_may_go_direct(&cl));
	ck_assert_uint_eq(sv.epoch, cl.epoch);
	/* A connection that is accepted tells as much. */
	cl.epoch += SESSION_EPOCHS - 1;
	connect_direct();
	cl.epoch += SESSION_EPOCHS - 1;
	ck_assert(session_may_go_direct(&cl));
	cl.epoch++;
	ck_assert(!session_may_go_direct(&cl));
	end();
}
END_TEST

/* ---- which carrier owns `down` ---- */

START_TEST(a_late_poll_does_not_pull_back)
{
	struct msg_request late;
	struct msg_reply r;
	bool drop;

	begin();
	put(&cl, "x");
	session_exchange(&cl, &late, true, 0); /* its first copy is still on the way */
	connect_direct();
	put(&sv, "answer");
	ck_assert_int_eq(give(0, &late, &drop), EXCHANGE_ANSWER);
	ck_assert(!drop && sv.direct.on);
	session_answer(&sv, &r, 0, true, MSG_EXCHANGE_DATA);
	ck_assert_uint_eq(r.n, 0);
	ck_assert(session_exchanged(&cl, &late, &r));
	carry();
	expect(&cl, "answer");
	end();
}
END_TEST

START_TEST(a_hello_takes_from_a_held_poll)
{
	struct msg_request x;
	bool drop;

	begin();
	put(&cl, "x");
	session_exchange(&cl, &x, true, 0);
	ck_assert_int_eq(give(0, &x, &drop), EXCHANGE_POLL);
	ck_assert(!session_poll_due(&sv));
	connect_direct();
	ck_assert(session_poll_due(&sv));
	end();
}
END_TEST

START_TEST(a_poll_of_a_higher_epoch_takes)
{
	begin();
	put(&cl, "x");
	connect_direct();
	put(&sv, "lost with the connection");
	carry_one(&sv, NULL);
	session_direct_stop(&cl);
	ck_assert(sv.direct.on); /* it has not noticed */
	exchange(true);
	ck_assert(!sv.direct.on);
	expect(&cl, "lost with the connection");
	end();
}
END_TEST

START_TEST(only_the_highest_poll_has_data)
{
	struct msg_request a, b;
	bool drop;

	begin();
	session_exchange(&cl, &a, true, 0);
	session_exchange(&cl, &b, true, 0);
	ck_assert_int_eq(give(2, &b, &drop), EXCHANGE_POLL);
	ck_assert_int_eq(give(1, &a, &drop), EXCHANGE_ANSWER);
	ck_assert_int_eq(give(2, &b, &drop), EXCHANGE_POLL); /* repeated by the network */
	ck_assert_int_eq(give(3, &a, &drop), EXCHANGE_POLL);
	end();
}
END_TEST

/* A push of a client that has given up its direct connection does not take `down`. */
START_TEST(a_push_takes_nothing)
{
	begin();
	put(&cl, "x");
	connect_direct();
	session_direct_stop(&cl);
	put(&cl, "y");
	exchange(false);
	ck_assert(sv.direct.on);
	expect(&sv, "xy");
	end();
}
END_TEST

/* ---- nothing lost between carriers ---- */

START_TEST(fin_is_acknowledged_on_another_carrier)
{
	begin();
	put(&cl, "all");
	session_put_fin(&cl);
	connect_direct();
	expect(&sv, "all");
	ck_assert(session_fin_due(&sv));
	session_take_fin(&sv);
	put(&sv, "reply");
	session_put_fin(&sv);
	carry_one(&sv, NULL); /* its end of stream and its ack are lost */
	session_direct_stop(&cl);
	session_direct_stop(&sv);
	exchange(true);
	ck_assert(cl.tx.fin_acked && !sv.tx.fin_acked);
	expect(&cl, "reply");
	session_take_fin(&cl);
	ck_assert(session_finished(&cl) && !session_finished(&sv));
	exchange(true);
	ck_assert(session_finished(&sv));
	end();
}
END_TEST

START_TEST(close_moves_to_another_carrier)
{
	begin();
	put(&cl, "last words");
	connect_direct();
	session_close(&cl, CLOSE_RESET);
	session_close(&cl, CLOSE_DONE); /* the first stays */
	ck_assert_uint_eq(session_room(&cl), 0);
	carry_one(&cl, NULL);
	ck_assert(!session_direct_wants(&cl));
	session_direct_stop(&cl);
	ck_assert(session_push_wants(&cl));
	exchange(false);
	ck_assert(cl.close_confirmed && !session_push_wants(&cl));
	ck_assert_int_eq(session_close_due(&sv), CLOSE_NONE); /* bytes come first */
	expect(&sv, "last words");
	ck_assert_int_eq(session_close_due(&sv), CLOSE_RESET);
	end();
}
END_TEST

START_TEST(a_peer_that_closed_gets_no_more)
{
	begin();
	put(&cl, "x");
	connect_direct();
	session_close(&sv, CLOSE_RESET);
	carry_one(&sv, &cl);
	put(&cl, "for nobody");
	ck_assert(!session_direct_wants(&cl) && !session_push_wants(&cl));
	session_close(&cl, CLOSE_DONE);
	ck_assert(session_direct_wants(&cl));
	carry_one(&cl, &sv);
	ck_assert_int_eq(sv.close_in, CLOSE_DONE);
	expect(&sv, "x");
	end();
	/* Nor by OOB. */
	begin();
	session_close(&sv, CLOSE_RESET);
	exchange(true);
	put(&cl, "for nobody");
	session_put_fin(&cl);
	session_close(&cl, CLOSE_DONE);
	exchange(false);
	ck_assert_int_eq(sv.close_in, CLOSE_DONE);
	ck_assert(cl.close_confirmed && !sv.rx.fin);
	expect(&sv, "");
	end();
}
END_TEST

START_TEST(close_comes_behind_fin)
{
	begin();
	session_put_fin(&cl);
	session_close(&cl, CLOSE_DONE);
	exchange(false);
	ck_assert_int_eq(session_close_due(&sv), CLOSE_NONE);
	ck_assert(session_fin_due(&sv));
	session_take_fin(&sv);
	ck_assert_int_eq(session_close_due(&sv), CLOSE_DONE);
	end();
}
END_TEST

/* Two requests change places: the second counts for nothing, its close included, and
 * the client is not told that the close was heard. */
START_TEST(a_close_over_a_gap_is_not_heard)
{
	struct msg_request first, second;
	struct msg_reply r;
	bool drop;

	begin();
	put(&cl, "one");
	session_exchange(&cl, &first, false, MSG_EXCHANGE_DATA);
	session_close(&cl, CLOSE_RESET);
	session_close(&sv, CLOSE_ERROR);
	session_exchange(&cl, &second, false, MSG_EXCHANGE_DATA);
	ck_assert_int_eq(second.close, CLOSE_RESET);
	ck_assert_int_eq(give(2, &second, &drop), EXCHANGE_ANSWER);
	ck_assert_int_eq(sv.close_in, CLOSE_NONE);
	session_answer(&sv, &r, 2, false, 0);
	ck_assert(session_exchanged(&cl, &second, &r));
	ck_assert(!cl.close_confirmed && session_push_wants(&cl));
	ck_assert_int_eq(give(1, &first, &drop), EXCHANGE_ANSWER);
	exchange(false);
	ck_assert(cl.close_confirmed);
	expect(&sv, "one");
	end();
}
END_TEST

/* The bytes came by another carrier before the answer to the close did. */
START_TEST(a_late_answer_does_not_confirm)
{
	struct msg_request first, second;
	struct msg_reply r;
	bool drop;

	begin();
	put(&cl, "one");
	session_exchange(&cl, &first, false, MSG_EXCHANGE_DATA);
	session_close(&cl, CLOSE_RESET);
	session_close(&sv, CLOSE_ERROR);
	session_exchange(&cl, &second, false, MSG_EXCHANGE_DATA);
	ck_assert_int_eq(give(2, &second, &drop), EXCHANGE_ANSWER);
	session_answer(&sv, &r, 2, false, 0);
	ck_assert_int_eq(give(1, &first, &drop), EXCHANGE_ANSWER);
	ck_assert(stream_tx_ack(&cl.tx, 3, 0)); /* what a direct connection would do */
	ck_assert(session_exchanged(&cl, &second, &r));
	ck_assert(!cl.close_confirmed && sv.close_in == CLOSE_NONE);
	end();
}
END_TEST

START_TEST(a_repeated_exchange_changes_nothing)
{
	struct msg_request x;
	struct msg_reply r;
	struct session before;
	bool drop;

	begin();
	put(&cl, "once");
	session_put_fin(&cl);
	session_exchange(&cl, &x, false, MSG_EXCHANGE_DATA);
	ck_assert_int_eq(give(0, &x, &drop), EXCHANGE_ANSWER);
	session_answer(&sv, &r, 0, false, 0);
	before = sv;
	for (int i = 0; i < 3; i++) {
		ck_assert_int_eq(give(0, &x, &drop), EXCHANGE_ANSWER);
		ck_assert(!drop);
		session_answer(&sv, &r, 0, false, 0);
		ck_assert_mem_eq(&before, &sv, sizeof(sv));
	}
	ck_assert(session_exchanged(&cl, &x, &r));
	expect(&sv, "once");
	/* Later ones of the same bytes neither. */
	ck_assert_int_eq(give(0, &x, &drop), EXCHANGE_ANSWER);
	ck_assert_uint_eq(sv.rx.held.n, 0);
	end();
}
END_TEST

START_TEST(bytes_of_an_open)
{
	struct msg_reply r;
	const uint8_t *p;
	size_t n;

	begin();
	put(&cl, "hello, ");
	n = stream_tx_peek(&cl.tx, 0, &p);
	ck_assert_int_eq(session_receive(&sv, 0, p, n), STREAM_OK);
	put(&sv, "welcome");
	session_answer(&sv, &r, 0, true, MSG_OPEN_DATA);
	put(&cl, "world");
	ck_assert(session_opened(&cl, &r));
	exchange(false);
	expect(&sv, "hello, world");
	expect(&cl, "welcome");
	r.down = 1;
	ck_assert(!session_opened(&cl, &r));
	end();
}
END_TEST

/* What a discarded session answers does not take back what it acknowledged. */
START_TEST(a_discarded_session_still_acknowledges)
{
	struct msg_request x;
	struct msg_reply r;
	bool drop;

	begin();
	put(&cl, "not read");
	session_close(&cl, CLOSE_RESET);
	session_exchange(&cl, &x, false, MSG_EXCHANGE_DATA);
	ck_assert_int_eq(give(0, &x, &drop), EXCHANGE_ANSWER);
	session_discard(&sv);
	session_answer(&sv, &r, 0, false, 0);
	ck_assert(session_exchanged(&cl, &x, &r));
	ck_assert(cl.close_confirmed);
	end();
}
END_TEST

/* ---- credit ---- */

START_TEST(two_full_peers_do_not_deadlock)
{
	begin();
	put(&cl, "x");
	connect_direct();
	/* Both apps stop reading until neither may put any more. */
	while (session_room(&cl) > 0 || session_room(&sv) > 0) {
		put_zeros(&cl, session_room(&cl));
		put_zeros(&sv, session_room(&sv));
		carry();
	}
	ck_assert_uint_eq(cl.rx.held.n, STREAM_CREDIT_START);
	ck_assert_uint_eq(sv.rx.held.n, STREAM_CREDIT_START);
	/* Nothing waits in a sender: all is acknowledged, though not taken. */
	session_ack_now(&cl);
	session_ack_now(&sv);
	carry();
	ck_assert_uint_eq(cl.tx.held.n + sv.tx.held.n, 0);
	take_all(&cl);
	take_all(&sv);
	carry();
	ck_assert_uint_gt(session_room(&cl), 0);
	ck_assert_uint_gt(session_room(&sv), 0);
	end();
}
END_TEST

START_TEST(acks_wait_for_company)
{
	begin();
	put(&cl, "x");
	connect_direct();
	put(&cl, "y");
	carry_one(&cl, &sv);
	ck_assert(session_ack_waits(&sv) && !session_direct_wants(&sv));
	session_ack_now(&sv);
	ck_assert(session_direct_wants(&sv));
	carry_one(&sv, &cl);
	ck_assert(!session_ack_waits(&sv) && !session_direct_wants(&sv));
	ck_assert_uint_eq(cl.tx.held.n, 0);
	/* A quarter of the credit is urgent: received, or allowed anew. */
	put_zeros(&cl, STREAM_CREDIT_START / 4);
	while (session_direct_wants(&cl))
		carry_one(&cl, &sv);
	ck_assert(session_direct_wants(&sv));
	carry_one(&sv, &cl);
	take_all(&sv);
	ck_assert(session_direct_wants(&sv));
	end();
}
END_TEST

/* An upload to a slow target: a poll that is held tells of new credit. */
START_TEST(a_held_poll_brings_credit)
{
	struct msg_request poll;
	struct msg_reply r;
	bool drop;

	begin();
	put_zeros(&cl, session_room(&cl));
	while (session_push_wants(&cl))
		exchange(false);
	ck_assert_uint_eq(session_room(&cl), 0);
	session_exchange(&cl, &poll, true, 0);
	ck_assert_int_eq(give(n_next, &poll, &drop), EXCHANGE_POLL);
	ck_assert(!session_poll_due(&sv));
	take_all(&sv);
	ck_assert(session_poll_due(&sv) && session_credit_due(&sv));
	session_answer(&sv, &r, n_next, true, MSG_EXCHANGE_DATA);
	ck_assert(session_exchanged(&cl, &poll, &r));
	ck_assert_uint_gt(session_room(&cl), 0);
	/* The client knows now: the next one is held. */
	session_exchange(&cl, &poll, true, 0);
	ck_assert_int_eq(give(n_next + 1, &poll, &drop), EXCHANGE_POLL);
	ck_assert(!session_poll_due(&sv));
	end();
}
END_TEST

/* A download to a slow app, with a poll held that knows nothing of the new credit. */
START_TEST(a_push_brings_credit)
{
	begin();
	put_zeros(&sv, session_room(&sv));
	while (stream_rx_received(&cl.rx) < STREAM_CREDIT_START)
		exchange(true);
	exchange(true);
	ck_assert_uint_eq(session_room(&sv), 0);
	ck_assert(!session_push_wants(&cl));
	session_take(&cl, 1000, 0, 0);
	ck_assert(!session_push_wants(&cl)); /* not for so little */
	take_all(&cl);
	ck_assert(session_push_wants(&cl));
	exchange(false);
	ck_assert(!session_push_wants(&cl));
	ck_assert_uint_gt(session_room(&sv), 0);
	end();
}
END_TEST

/* Over budget a window shrinks, and what is left of it is told when that is worth it. */
START_TEST(little_credit_is_told_too)
{
	begin();
	put_zeros(&sv, STREAM_CREDIT_START);
	while (stream_rx_received(&cl.rx) < STREAM_CREDIT_START)
		exchange(true);
	exchange(true);
	budget.max = 0;
	cl.rx.window = STREAM_CREDIT_MAX;
	take_all(&cl);
	ck_assert_uint_eq(cl.rx.limit - cl.rx.taken, STREAM_CREDIT_START);
	ck_assert(session_push_wants(&cl));
	end();
}
END_TEST

/* A request that told of credit was given up: another has to. */
START_TEST(lost_credit_is_told_again)
{
	struct msg_request x;

	begin();
	put_zeros(&sv, STREAM_CREDIT_START);
	while (stream_rx_received(&cl.rx) < STREAM_CREDIT_START)
		exchange(true);
	take_all(&cl);
	session_exchange(&cl, &x, false, 0);
	ck_assert(!session_push_wants(&cl));
	session_exchange_lost(&cl, &x);
	ck_assert(session_push_wants(&cl));
	exchange(false);
	ck_assert(!session_push_wants(&cl));
	end();
}
END_TEST

START_TEST(a_poll_takes_few_bytes)
{
	struct msg_request x, poll;

	begin();
	put_zeros(&cl, SESSION_POLL_DATA);
	session_put_fin(&cl);
	session_exchange(&cl, &poll, true, MSG_EXCHANGE_DATA);
	ck_assert_uint_eq(poll.n, SESSION_POLL_DATA);
	ck_assert(!poll.fin && session_push_wants(&cl));
	session_exchange_lost(&cl, &poll);
	/* What follows bytes under way could meet a gap. */
	session_exchange(&cl, &x, false, 10);
	session_exchange(&cl, &poll, true, MSG_EXCHANGE_DATA);
	ck_assert_uint_eq(poll.n, 0);
	ck_assert_uint_eq(poll.up, cl.tx.base);
	end();
}
END_TEST

START_TEST(pings)
{
	struct frame f;
	uint8_t text[200];
	struct writer w = writer_of(text, sizeof(text));
	struct reader r;

	begin();
	put(&cl, "x");
	connect_direct();
	session_ping(&cl, 0x0123456789abcdef);
	ck_assert(session_direct_wants(&cl));
	carry_one(&cl, &sv);
	ck_assert(session_direct_wants(&sv));
	session_direct_fill(&sv, &w);
	r = reader_of(text, w.n);
	while (frame_next(&r, &f) && f.type != FRAME_PONG)
		;
	ck_assert_int_eq(f.type, FRAME_PONG);
	ck_assert_uint_eq(f.offset, 0x0123456789abcdef);
	ck_assert(!session_direct_wants(&sv));
	end();
}
END_TEST

TEST_MAIN("session", cutover_is_exact, what_is_not_tls_goes_at_once,
    the_client_does_not_outrun_the_tags, a_late_poll_does_not_pull_back,
    a_hello_takes_from_a_held_poll, a_poll_of_a_higher_epoch_takes,
    only_the_highest_poll_has_data, a_push_takes_nothing, fin_is_acknowledged_on_another_carrier,
    close_moves_to_another_carrier, a_peer_that_closed_gets_no_more, close_comes_behind_fin,
    a_close_over_a_gap_is_not_heard, a_late_answer_does_not_confirm,
    a_repeated_exchange_changes_nothing, bytes_of_an_open, a_discarded_session_still_acknowledges,
    two_full_peers_do_not_deadlock, acks_wait_for_company, a_held_poll_brings_credit,
    a_push_brings_credit, little_credit_is_told_too, lost_credit_is_told_again,
    a_poll_takes_few_bytes, pings)
