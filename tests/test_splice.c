#include "common/net/splice.h"

#include <event2/buffer.h>
#include <event2/bufferevent.h>
#include <signal.h>

#include "common/mem.h"
#include "tests/harness.h"
#include "tests/sockets.h"

#define ON_THE_WAY (144 * 1024) /* what a slow end may be owed: a queue, and one more read */
#define SMALL 16384 /* of a socket; with less, TCP waits 200 ms for each window */

static struct event_base *base;
static struct splice both;
static struct splice_config cfg;
static evutil_socket_t far[2]; /* far[i] speaks to end i */
static bool live, inside, last_reset, keep;
static unsigned looks, overs;
static uint64_t rng;

static uint64_t
below(uint64_t n)
{
	return random_below(&rng, n);
}

static size_t
held(int i)
{
	return evbuffer_get_length(splice_held(&both, i));
}

static void
clear(bool reset)
{
	splice_clear(&both, reset);
	live = false;
}

static void
looked(void *arg)
{
	ck_assert_ptr_eq(arg, &looks);
	ck_assert(live && !inside);
	looks++;
	/* As its owner has to: a full buffer would be told of again and again. */
	if (held(0) >= cfg.held_max)
		splice_read_end0(&both, false);
}

static void
over(void *arg, bool reset)
{
	ck_assert_ptr_eq(arg, &looks);
	ck_assert(live && !inside);
	overs++;
	last_reset = reset;
	if (!keep)
		clear(reset);
}

static void
start_with(evutil_socket_t end0, evutil_socket_t end1)
{
	cfg.look = looked;
	cfg.over = over;
	if (cfg.held_max == 0)
		cfg.held_max = 4096;
	looks = overs = 0;
	live = true;
	inside = true;
	splice_init(&both, base, end0, end1, &cfg, &looks);
	inside = false;
	ck_assert_int_eq(both.ended_by, -1);
}

static void
start_on(void pair(evutil_socket_t fd[2]))
{
	evutil_socket_t a[2], b[2];

	signal(SIGPIPE, SIG_IGN); /* as both programs do */
	base = event_base_new();
	pair(a);
	pair(b);
	far[0] = a[1];
	far[1] = b[1];
	start_with(a[0], b[0]);
}

static void
start(void)
{
	start_on(pair_tcp);
}

static void
stop(void)
{
	if (live)
		clear(false);
	event_base_free(base);
	for (int i = 0; i < 2; i++)
		if (far[i] >= 0)
			close(far[i]);
	keep = false;
	cfg = (struct splice_config){ 0 };
}

static void
is_over(bool reset)
{
	UNTIL(base, overs == 1);
	ck_assert(last_reset == reset);
}

static void
say(int i, const char *text)
{
	send_all(base, far[i], (const uint8_t *)text, strlen(text));
}

static void
hears(int i, const char *text)
{
	uint8_t got[256];
	size_t n = strlen(text);

	read_exactly(base, far[i], got, n);
	if (memcmp(got, text, n) != 0)
		ck_abort_msg("%.*s, not %s", (int)n, (char *)got, text);
}

static void
hears_pattern(int i, uint64_t from, size_t n)
{
	uint8_t *p = mem_alloc(n);

	read_exactly(base, far[i], p, n);
	check_pattern(p, from, n);
	free(p);
}

static size_t
owed(int i)
{
	return evbuffer_get_length(bufferevent_get_output(both.end[i].bev));
}

static void
open_end1(void)
{
	inside = true;
	splice_open_end1(&both);
	inside = false;
}

static void
open_all(const char *ahead)
{
	splice_open(&both, ahead, strlen(ahead));
}

/* Sends to a far end that does not read, until nothing more is taken; returns how much was. */
static size_t
flood(int i)
{
	uint8_t p[10007];
	size_t sent = 0;

	setsockopt(both.end[!i].fd, SOL_SOCKET, SO_SNDBUF, &(int){ SMALL }, sizeof(int));
	setsockopt(far[!i], SOL_SOCKET, SO_RCVBUF, &(int){ SMALL }, sizeof(int));
	for (int idle = 0; idle < 100;) {
		ssize_t n;

		fill_pattern(p, sent, sizeof(p));
		n = send(far[i], p, sizeof(p), MSG_NOSIGNAL);
		ck_assert(n > 0 || errno == EAGAIN);
		if (n > 0)
			sent += (size_t)n;
		idle = n > 0 ? 0 : idle + 1;
		turn(base);
	}
	return sent;
}

/* --- no byte is lost, repeated or moved ------------------------------------------------ */

#define EVERY 30011 /* bytes of end 1 between two texts */

static const char text[] = "[an inserted text]";

struct way {
	uint64_t base;         /* of the pattern, so that the ways differ */
	size_t total, sent;    /* what the far end says */
	size_t expected, got;  /* what the other far end gets */
	bool ended, end_seen;
};

static struct way ways[2];
static struct texts texts;
static size_t asked0, ahead_n;

static size_t
admit_all(void *arg, const uint8_t *p, size_t n)
{
	ck_assert_ptr_eq(arg, &looks);
	check_pattern(p, ways[0].base + asked0, n);
	asked0 += n;
	return n;
}

static size_t
every(void *arg, const uint8_t *p, size_t n)
{
	ck_assert_ptr_eq(arg, &looks);
	return texts_ahead(&texts, p, n);
}

/* Byte number k of what far end 1 - i gets from far end i. */
static uint8_t
due_byte(int i, size_t k)
{
	size_t part = EVERY + sizeof(text) - 1, in = k % part;

	if (i == 0)
		return k < ahead_n ? (uint8_t)(k * 3) : pattern(ways[0].base + k - ahead_n);
	if (cfg.insert_at == NULL)
		return pattern(ways[1].base + k);
	return in < EVERY ? pattern(ways[1].base + k / part * EVERY + in) : (uint8_t)text[in - EVERY];
}

static void
random_send(int i)
{
	static uint8_t p[90000];
	struct way *w = &ways[i];
	size_t n = (size_t)below(below(4) == 0 ? 100 : sizeof(p)) + 1;
	ssize_t k;

	if (n > w->total - w->sent)
		n = w->total - w->sent;
	if (n == 0) {
		if (!w->ended && below(3) == 0) {
			w->ended = true;
			shutdown(far[i], SHUT_WR);
		}
		return;
	}
	fill_pattern(p, w->base + w->sent, n);
	k = send(far[i], p, n, MSG_NOSIGNAL);
	ck_assert_msg(k > 0 || errno == EAGAIN, "%s", strerror(errno));
	w->sent += k > 0 ? (size_t)k : 0;
}

/* Returns false after a reset. */
static bool
random_read(int i)
{
	static uint8_t p[90000];
	struct way *w = &ways[!i];
	ssize_t n = recv(far[i], p, (size_t)below(below(8) == 0 ? 100 : sizeof(p)) + 1, 0);

	if (n < 0 && errno == ECONNRESET)
		return false;
	ck_assert_msg(n >= 0 || errno == EAGAIN, "%s", strerror(errno));
	w->end_seen |= n == 0;
	for (ssize_t k = 0; k < n; k++, w->got++)
		if (p[k] != due_byte(!i, w->got))
			ck_abort_msg("byte %zu from far end %d is wrong", w->got, !i);
	return true;
}

static void
random_start(uint64_t seed, size_t least, void pair(evutil_socket_t fd[2]))
{
	uint8_t ahead[3000];

	rng = seed;
	for (int i = 0; i < 8; i++)
		below(1);
	ahead_n = below(3) == 0 ? 0 : (size_t)below(sizeof(ahead));
	for (size_t k = 0; k < ahead_n; k++)
		ahead[k] = (uint8_t)(k * 3);
	cfg.held_max = 1 + (size_t)below(below(2) ? 10 : 20000);
	if (below(2))
		cfg.admit = admit_all;
	if (below(2)) {
		cfg.insert_at = every;
		cfg.insert_text = text;
	}
	asked0 = 0;
	for (int i = 0; i < 2; i++) {
		ways[i] = (struct way){ .base = (uint64_t)i * 12345678,
			.total = least + (size_t)below(below(4) == 0 ? 3 : 1 << 20) };
		ways[i].expected = ways[i].total;
	}
	texts = (struct texts){ .from = ways[1].base, .every = EVERY, .due = EVERY };
	ways[0].expected += ahead_n;
	if (cfg.insert_at != NULL && ways[1].total > 0)
		ways[1].expected += (ways[1].total - 1) / EVERY * (sizeof(text) - 1);
	start_on(pair);
	for (int i = 0; i < 2; i++) {
		if (below(2))
			setsockopt(far[i], SOL_SOCKET, SO_RCVBUF, &(int){ SMALL }, sizeof(int));
		if (below(2))
			setsockopt(both.end[i].fd, SOL_SOCKET, SO_SNDBUF, &(int){ SMALL }, sizeof(int));
	}
	/* Some is said, and perhaps all, before any of it may pass. */
	for (uint64_t i = below(30); i > 0; i--) {
		random_send((int)below(2));
		event_base_loop(base, EVLOOP_NONBLOCK);
		ck_assert_uint_le(held(0), cfg.held_max);
	}
	if (below(2))
		open_end1();
	for (uint64_t i = below(10); i > 0; i--)
		event_base_loop(base, EVLOOP_NONBLOCK);
	splice_open(&both, ahead, ahead_n);
}

START_TEST(all_arrives_both_ways)
{
	unsigned before = open_descriptors();
	size_t moved = 0;

	for (uint64_t seed = 1; seed <= 30; seed++) {
		/* One way may rest for a while. */
		uint64_t lazy = seed % 4, end = clock_ms() + DEADLINE_MS, turns = 0;

		random_start(seed, 0, pair_unix);
		for (; live || !ways[0].end_seen || !ways[1].end_seen; turns++) {
			ck_assert_msg(clock_ms() < end, "seed %u: %zu of %zu, %zu of %zu",
			    (unsigned)seed, ways[0].got, ways[0].expected, ways[1].got,
			    ways[1].expected);
			for (int i = 0; i < 2; i++) {
				random_send(i);
				if (lazy != (uint64_t)i || turns > 200)
					ck_assert(random_read(i));
			}
			event_base_loop(base, EVLOOP_NONBLOCK);
			if (live) {
				ck_assert_uint_le(owed(0), ON_THE_WAY + 100 * sizeof(text));
				ck_assert_uint_le(owed(1), ON_THE_WAY + ahead_n + cfg.held_max);
			}
		}
		for (int i = 0; i < 2; i++) {
			ck_assert_uint_eq(ways[i].got, ways[i].expected);
			ck_assert_uint_eq(both.end[i].passed, ways[i].total);
			if (ways[i].total > 0)
				ck_assert_uint_eq(both.end[i].first, pattern(ways[i].base));
			moved += ways[i].got;
		}
		ck_assert_uint_eq(overs, 1);
		ck_assert(!last_reset && !both.overran && both.ended_by >= 0);
		stop();
	}
	ck_assert_uint_gt(moved, 8 << 20);
	ck_assert_uint_eq(open_descriptors(), before);
}
END_TEST

/* A reset at any moment arrives as one, behind nothing that was not said. */
START_TEST(a_reset_at_any_moment)
{
	for (uint64_t seed = 1; seed <= 60; seed++) {
		int from = seed % 2;
		uint64_t end = clock_ms() + DEADLINE_MS;

		random_start(1000 + seed, 8 << 20, pair_tcp); /* none ends before */
		for (uint64_t i = below(40); i > 0; i--) {
			for (int k = 0; k < 2; k++) {
				random_send(k);
				ck_assert(random_read(k));
			}
			event_base_loop(base, EVLOOP_NONBLOCK);
		}
		reset_tcp(far[from]);
		far[from] = -1;
		while (random_read(!from)) {
			ck_assert_msg(clock_ms() < end, "seed %u", (unsigned)seed);
			ck_assert(!ways[from].end_seen);
			turn(base);
		}
		UNTIL(base, !live);
		ck_assert_uint_le(ways[from].got, ways[from].sent + (from == 0 ? ahead_n :
		    ways[from].sent / EVERY * (sizeof(text) - 1)));
		ck_assert_uint_eq(overs, 1);
		ck_assert(last_reset);
		stop();
	}
}
END_TEST

/* --- how it ends ------------------------------------------------------------------------ */

START_TEST(half_closes)
{
	for (int first = 0; first < 2; first++) {
		start();
		open_all("");
		say(first, "bye");
		shutdown(far[first], SHUT_WR);
		hears(!first, "bye");
		ck_assert_int_eq(read_end(base, far[!first]), 0);
		ck_assert_int_eq(both.ended_by, first);
		ck_assert(is_silent(base, far[first]));
		say(!first, "one more word");
		hears(first, "one more word");
		ck_assert_uint_eq(overs, 0);
		shutdown(far[!first], SHUT_WR);
		ck_assert_int_eq(read_end(base, far[first]), 0);
		is_over(false);
		ck_assert_int_eq(both.ended_by, first);
		stop();
	}
}
END_TEST

/* An end that comes before anything may pass is told, and passed on after all that was said. */
START_TEST(ends_before_it_is_open)
{
	for (int first = 0; first < 2; first++) {
		start();
		say(first, "bye");
		shutdown(far[first], SHUT_WR);
		UNTIL(base, both.end[first].eof);
		ck_assert_uint_gt(looks, 0);
		ck_assert(is_silent(base, far[!first]));
		ck_assert_uint_eq(overs, 0);
		open_all("");
		hears(!first, "bye");
		ck_assert_int_eq(read_end(base, far[!first]), 0);
		say(!first, "answer");
		hears(first, "answer");
		shutdown(far[!first], SHUT_WR);
		is_over(false);
		stop();
	}
	/* Both, without a word: nothing is left to be done. */
	start();
	shutdown(far[0], SHUT_WR);
	shutdown(far[1], SHUT_WR);
	UNTIL(base, both.end[0].eof && both.end[1].eof);
	ck_assert_uint_ge(looks, 2);
	open_all("");
	is_over(false);
	ck_assert_int_eq(read_end(base, far[0]), 0);
	ck_assert_int_eq(read_end(base, far[1]), 0);
	stop();
}
END_TEST

START_TEST(resets)
{
	for (int from = 0; from < 2; from++) {
		for (int open = 0; open < 2; open++) {
			start();
			if (open) {
				open_all("");
				say(from, "last");
				hears(!from, "last");
			}
			reset_tcp(far[from]);
			far[from] = -1;
			is_over(true);
			ck_assert_int_eq(both.ended_by, from);
			ck_assert_int_eq(read_end(base, far[!from]), ECONNRESET);
			stop();
		}
	}
}
END_TEST

/* What is on the way to the other end when the reset comes still goes out. */
START_TEST(a_reset_waits_for_what_was_said)
{
	for (int from = 0; from < 2; from++) {
		size_t got;

		start();
		keep = true;
		open_all("");
		flood(from);
		ck_assert_uint_gt(owed(!from), 0);
		reset_tcp(far[from]);
		far[from] = -1;
		settle(base);
		ck_assert_uint_eq(overs, 0);
		for (got = 0; overs == 0 || got < both.end[from].passed; got += 100)
			hears_pattern(!from, got, both.end[from].passed - got < 100 ?
			    (size_t)(both.end[from].passed - got) : 100);
		ck_assert(last_reset);
		ck_assert_uint_eq(owed(!from), 0);
		ck_assert(is_silent(base, far[!from]));
		clear(true);
		ck_assert_int_eq(read_end(base, far[!from]), ECONNRESET);
		stop();
	}
}
END_TEST

START_TEST(cleared_by_its_owner)
{
	static const int ends[] = { 0, ECONNRESET };
	unsigned before = open_descriptors();

	for (int reset = 0; reset < 2; reset++) {
		start();
		open_all("");
		say(0, "a");
		hears(1, "a");
		clear(reset);
		ck_assert_int_eq(read_end(base, far[0]), ends[reset]);
		ck_assert_int_eq(read_end(base, far[1]), ends[reset]);
		ck_assert_uint_eq(overs, 0);
		stop();
	}
	ck_assert_uint_eq(open_descriptors(), before);
}
END_TEST

START_TEST(takes_end0_back)
{
	unsigned before = open_descriptors();
	evutil_socket_t fd, was;

	start();
	was = both.end[0].fd;
	say(0, "hello");
	UNTIL(base, held(0) == 5);
	fd = splice_take(&both);
	live = false;
	ck_assert_int_eq(fd, was);
	ck_assert_int_eq(read_end(base, far[1]), 0);
	/* It is ours now: nobody else reads from it, nor ends it. */
	say(0, "more");
	ck_assert(is_silent(base, far[0]));
	ck_assert_int_eq(send(fd, "answer", 6, 0), 6);
	hears(0, "answer");
	close(far[0]);
	far[0] = fd;
	hears(0, "more");
	ck_assert_int_eq(read_end(base, fd), 0);
	stop();
	ck_assert_uint_eq(open_descriptors(), before);
}
END_TEST

/* --- before it is open ------------------------------------------------------------------- */

START_TEST(what_was_held_follows_p)
{
	start();
	say(0, "DROPheld");
	UNTIL(base, held(0) == 8);
	ck_assert_uint_gt(looks, 0);
	say(1, "banner");
	UNTIL(base, held(1) == 6);
	ck_assert(is_silent(base, far[0]));
	ck_assert(is_silent(base, far[1]));
	ck_assert_int_eq(evbuffer_drain(splice_held(&both, 0), 4), 0);
	open_all("ahead ");
	say(0, " later");
	hears(1, "ahead held later");
	hears(0, "banner");
	ck_assert_uint_eq(both.end[0].passed, 10);
	ck_assert_uint_eq(both.end[0].first, 'h');
	ck_assert_uint_eq(both.end[1].passed, 6);
	ck_assert_uint_eq(both.end[1].first, 'b');
	stop();
}
END_TEST

START_TEST(holds_so_much)
{
	uint8_t said[5000];
	unsigned before;

	cfg.held_max = 1000;
	start();
	fill_pattern(said, 0, sizeof(said));
	send_all(base, far[0], said, sizeof(said));
	UNTIL(base, held(0) == 1000);
	before = looks;
	settle(base);
	ck_assert_uint_eq(held(0), 1000);
	ck_assert_uint_eq(looks, before);
	/* Room, but not told to read. */
	ck_assert_int_eq(evbuffer_drain(splice_held(&both, 0), 300), 0);
	settle(base);
	ck_assert_uint_eq(held(0), 700);
	splice_read_end0(&both, true);
	UNTIL(base, held(0) == 1000);
	settle(base);
	ck_assert_uint_eq(held(0), 1000);
	/* The bound, and the stop, are for then only. */
	open_all("");
	hears_pattern(1, 300, sizeof(said) - 300);
	stop();
}
END_TEST

/* An end 1 that speaks first is not taken in without bound, and loses nothing. */
START_TEST(end1_speaks_first)
{
	size_t said;

	start();
	said = flood(1);
	ck_assert_uint_gt(looks, 0);
	ck_assert_uint_le(held(1), ON_THE_WAY);
	ck_assert(is_silent(base, far[0]));
	open_all("");
	hears_pattern(0, 0, said);
	stop();
}
END_TEST

START_TEST(one_way_open)
{
	start();
	say(1, "banner");
	UNTIL(base, held(1) == 6);
	say(0, "mine");
	UNTIL(base, held(0) == 4);
	open_end1();
	hears(0, "banner");
	say(1, " and more");
	hears(0, " and more");
	ck_assert(is_silent(base, far[1]));
	ck_assert_uint_eq(held(0), 4);
	ck_assert_uint_eq(both.end[0].passed, 0);
	/* Its end goes the open way, too; that does not end the splice. */
	shutdown(far[1], SHUT_WR);
	ck_assert_int_eq(read_end(base, far[0]), 0);
	ck_assert_int_eq(both.ended_by, 1);
	shutdown(far[0], SHUT_WR);
	UNTIL(base, both.end[0].eof);
	ck_assert_uint_eq(overs, 0);
	open_all("");
	hears(1, "mine");
	ck_assert_int_eq(read_end(base, far[1]), 0);
	is_over(false);
	stop();
}
END_TEST

/* --- a slow end -------------------------------------------------------------------------- */

START_TEST(a_slow_end_stops_the_other)
{
	for (int from = 0; from < 2; from++) {
		size_t sent;

		start();
		open_all("");
		sent = flood(from);
		ck_assert_uint_le(owed(!from), ON_THE_WAY);
		ck_assert_uint_lt(both.end[from].passed, sent);
		/* The other way is none the slower for it. */
		say(!from, "still here");
		hears(from, "still here");
		shutdown(far[from], SHUT_WR);
		hears_pattern(!from, 0, sent);
		ck_assert_int_eq(read_end(base, far[!from]), 0);
		ck_assert_uint_eq(overs, 0);
		stop();
	}
}
END_TEST

/* Turns for longer than a limit of one second. */
static void
rest(void)
{
	uint64_t end = clock_ms() + 1700;

	while (clock_ms() < end)
		turn(base);
}

START_TEST(an_end_that_takes_nothing_is_given_up)
{
	for (int to = 0; to < 2; to++) {
		cfg.stall_s = 1;
		start();
		/* With nothing to take there is nothing to be blamed for. */
		rest();
		open_all("");
		rest();
		say(!to, "hello");
		hears(to, "hello");
		ck_assert_uint_eq(overs, 0);
		flood(!to);
		is_over(true);
		ck_assert_int_eq(both.ended_by, to);
		stop();
	}
	start();
	open_all("");
	flood(0);
	rest();
	ck_assert_uint_eq(overs, 0);
	stop();
}
END_TEST

START_TEST(half_closed_for_so_long)
{
	/* Either may be silent while both are there, and end 1 after end 0 has ended. */
	cfg.half_closed_s = 1;
	start();
	open_all("");
	rest();
	shutdown(far[0], SHUT_WR);
	ck_assert_int_eq(read_end(base, far[1]), 0);
	rest();
	say(1, "answer");
	hears(0, "answer");
	ck_assert_uint_eq(overs, 0);
	stop();

	cfg.half_closed_s = 1;
	start();
	open_all("");
	say(1, "answer");
	shutdown(far[1], SHUT_WR);
	hears(0, "answer");
	ck_assert_int_eq(read_end(base, far[0]), 0);
	is_over(false);
	ck_assert_int_eq(both.ended_by, 1);
	ck_assert_int_eq(read_end(base, far[1]), 0);
	stop();

	start();
	open_all("");
	shutdown(far[1], SHUT_WR);
	ck_assert_int_eq(read_end(base, far[0]), 0);
	rest();
	say(0, "still here");
	hears(1, "still here");
	stop();
}
END_TEST

/* --- what may pass, and what is added ------------------------------------------------------ */

static size_t
admit_sentence(void *arg, const uint8_t *p, size_t n)
{
	ck_assert_ptr_eq(arg, &looks);
	return up_to_full_stop(p, n);
}

START_TEST(admits_so_much)
{
	cfg.admit = admit_sentence;
	start();
	open_all("");
	say(0, "to ");
	hears(1, "to ");
	say(0, "you.");
	hears(1, "you.");
	say(1, "what is not. said to end 1");
	hears(0, "what is not. said to end 1");
	ck_assert(!both.overran);
	keep = true; /* a reset would take what it overtakes */
	say(0, "this.to another");
	hears(1, "this.");
	is_over(true);
	ck_assert(both.overran);
	ck_assert_int_eq(both.ended_by, 0);
	ck_assert_uint_eq(both.end[0].passed, 12);
	ck_assert(is_silent(base, far[1]));
	clear(true);
	ck_assert_int_eq(read_end(base, far[0]), ECONNRESET);
	ck_assert_int_eq(read_end(base, far[1]), ECONNRESET);
	stop();
	/* It holds for what was held, too. */
	cfg.admit = admit_sentence;
	start();
	say(0, "you.another");
	UNTIL(base, held(0) == 11);
	ck_assert(!both.overran);
	keep = true;
	open_all("to ");
	hears(1, "to you.");
	is_over(true);
	ck_assert(both.overran);
	ck_assert(is_silent(base, far[1]));
	stop();
}
END_TEST

static size_t
admit_nothing(void *arg, const uint8_t *p, size_t n)
{
	(void)arg;
	(void)p;
	(void)n;
	return 0;
}

START_TEST(admits_nothing)
{
	cfg.admit = admit_nothing;
	start();
	say(0, "x");
	UNTIL(base, held(0) == 1);
	open_all("");
	is_over(true);
	ck_assert(both.overran);
	ck_assert_int_eq(both.ended_by, 0);
	ck_assert_int_eq(read_end(base, far[1]), ECONNRESET);
	stop();
}
END_TEST

static const char answer[] = "|HTTP/1.1 200 OK|a: b||c: d|";

static size_t asked, due;

/* Ahead of each bar. */
static size_t
at_bars(void *arg, const uint8_t *p, size_t n)
{
	ck_assert_ptr_eq(arg, &looks);
	for (size_t k = 0; k < n; k++, asked++) {
		ck_assert_int_eq(p[k], answer[asked]);
		if (p[k] == '|' && due <= asked) {
			due = asked + 1; /* this one is done */
			return k;
		}
	}
	return n;
}

/* What far end 0 gets of the first n bytes of the answer. */
static const char *
with_bars(size_t from, size_t n)
{
	static char out[256];
	size_t len = 0;

	for (size_t k = from; k < n; k++) {
		if (answer[k] == '|')
			out[len++] = '+';
		out[len++] = answer[k];
	}
	out[len] = '\0';
	return out;
}

static void
start_bars(void)
{
	cfg.insert_at = at_bars;
	cfg.insert_text = "+";
	asked = due = 0;
	start();
}

START_TEST(inserts_at_every_split)
{
	size_t all = sizeof(answer) - 1;

	for (size_t cut = 0; cut <= all; cut++) {
		for (int early = 0; early < 2; early++) {
			start_bars();
			if (!early)
				open_all("");
			send_all(base, far[1], (const uint8_t *)answer, cut);
			if (early) {
				UNTIL(base, held(1) == cut);
				open_end1();
			}
			hears(0, with_bars(0, cut));
			send_all(base, far[1], (const uint8_t *)answer + cut, all - cut);
			hears(0, with_bars(cut, all));
			ck_assert(is_silent(base, far[0]));
			ck_assert_uint_eq(both.end[1].passed, all);
			ck_assert_uint_eq(both.end[1].first, '|');
			/* Not in what goes the other way. */
			open_all("");
			say(0, "a|b");
			hears(1, "a|b");
			stop();
		}
	}
	start_bars();
	open_all("");
	for (size_t k = 0; k < all; k++) {
		send_all(base, far[1], (const uint8_t *)answer + k, 1);
		hears(0, with_bars(k, k + 1));
	}
	stop();
}
END_TEST

/* --- end 1 on its way ---------------------------------------------------------------------- */

static evutil_socket_t
begin_connect(const struct sockaddr_storage *to)
{
	evutil_socket_t fd = socket(AF_INET, SOCK_STREAM | SOCK_NONBLOCK | SOCK_CLOEXEC, 0);

	ck_assert_int_ge(fd, 0);
	ck_assert_int_ne(connect(fd, (const struct sockaddr *)to, sizeof(struct sockaddr_in)), 0);
	return fd;
}

/* A listener whose queue is full answers no one; the kernel asks it again a second later. */
START_TEST(end1_is_still_connecting)
{
	for (int words = 0; words < 2; words++) {
		evutil_socket_t near[2], listener, filler;
		struct sockaddr_storage at;

		base = event_base_new();
		listener = listen_tcp(&at);
		ck_assert_int_eq(listen(listener, 0), 0);
		filler = connect_tcp(&at);
		pair_tcp(near);
		far[0] = near[1];
		start_with(near[0], begin_connect(&at));
		if (words)
			say(0, "held");
		open_all(words ? "ahead " : "");
		shutdown(far[0], SHUT_WR);
		UNTIL(base, both.end[0].eof);
		settle(base);
		ck_assert(!both.connected);
		ck_assert_uint_eq(overs, 0);
		far[1] = accept4(listener, NULL, NULL, SOCK_NONBLOCK | SOCK_CLOEXEC);
		ck_assert_int_ge(far[1], 0);
		close(far[1]);
		close(filler);
		UNTIL(base, (far[1] = accept4(listener, NULL, NULL, SOCK_NONBLOCK | SOCK_CLOEXEC)) >= 0);
		if (words)
			hears(1, "ahead held");
		ck_assert_int_eq(read_end(base, far[1]), 0);
		ck_assert(both.connected);
		say(1, "answer");
		shutdown(far[1], SHUT_WR);
		hears(0, "answer");
		ck_assert_int_eq(read_end(base, far[0]), 0);
		is_over(false);
		close(listener);
		stop();
	}
}
END_TEST

START_TEST(end1_refuses)
{
	for (int open = 0; open < 2; open++) {
		evutil_socket_t near[2];
		struct sockaddr_storage at;

		base = event_base_new();
		close(listen_tcp(&at));
		pair_tcp(near);
		far[0] = near[1];
		far[1] = -1;
		say(0, "hello");
		start_with(near[0], begin_connect(&at));
		if (open)
			open_all("ahead");
		is_over(true);
		ck_assert_int_eq(both.ended_by, 1);
		ck_assert_int_eq(read_end(base, far[0]), ECONNRESET);
		stop();
	}
}
END_TEST

TEST_MAIN("splice", all_arrives_both_ways, a_reset_at_any_moment, half_closes,
    ends_before_it_is_open, resets, a_reset_waits_for_what_was_said, cleared_by_its_owner,
    takes_end0_back, what_was_held_follows_p, holds_so_much, end1_speaks_first, one_way_open,
    a_slow_end_stops_the_other, an_end_that_takes_nothing_is_given_up, half_closed_for_so_long,
    admits_so_much, admits_nothing, inserts_at_every_split, end1_is_still_connecting, end1_refuses)
