#include "pt-client/bridge.h"

#include <stdio.h>
#include <sys/time.h>

#include "common/address.h"
#include "common/mem.h"
#include "tests/harness.h"

#define KEY "key=AQAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAA"
#define PIN "pin=AAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAA"
#define KEEP_MS (10 * 60 * 1000)
#define JITTER_MS 200
#define COARSE_MS 50 /* by which libevent's clock and ours may differ */

static struct client cl;

static void
start(void)
{
	memset(&cl, 0, sizeof(cl));
	cl.base = event_base_new();
	cl.oob = oob_new(cl.base, &cl.outbound);
}

static void
stop(void)
{
	bridge_sweep(&cl, 1, true);
	ck_assert(LIST_EMPTY(&cl.bridges));
	oob_free(cl.oob);
	event_base_free(cl.base);
}

static struct sockaddr_storage
address(const char *ip, uint16_t port)
{
	struct sockaddr_storage a;

	ck_assert_msg(address_parse(&a, ip, port), "%s", ip);
	return a;
}

static struct bridge *
get(const char *ip, const char *text, char error[256])
{
	struct sockaddr_storage a = address(ip, 443);
	struct pt_args args = { 0 };
	const char *why = "";
	struct bridge *b;

	ck_assert_msg(pt_args_parse(&args, text, strlen(text), &why), "%s: %s", text, why);
	b = bridge_get(&cl, &a, &args, error);
	pt_args_clear(&args);
	return b;
}

static struct bridge *
must_get(const char *ip, const char *text)
{
	char error[256] = "";
	struct bridge *b = get(ip, text, error);

	ck_assert_msg(b != NULL, "%s: %s", text, error);
	return b;
}

START_TEST(good_lines)
{
	char base[MSG_PATH_LEN + 1];
	struct bridge *b;

	start();
	b = must_get("192.0.2.1", KEY ";" PIN);
	ck_assert_uint_eq(b->n_channels, 1);
	ck_assert_uint_eq(b->key[0], 1);
	msg_base_path(base, b->key);
	ck_assert_str_eq(b->base, base);
	ck_assert_uint_eq(b->n_direct, 1);
	ck_assert(address_equal(&b->direct[0].addr, &b->line_addr));
	b = must_get("192.0.2.1", KEY ";base=/x;url=https://a.example;url=https://b.example/p");
	ck_assert_uint_eq(b->n_channels, 2);
	ck_assert_str_eq(b->base, "/x");
	b = must_get("2001:db8::1", KEY);
	ck_assert_uint_eq(b->n_channels, 1);
	stop();
}
END_TEST

START_TEST(bad_lines)
{
	static const struct {
		const char *text, *names;
	} cases[] = {
		{ "", "key" }, { PIN, "key" }, { "key=", "key" }, { "key=AAAA", "key" },
		{ KEY "A", "key" }, { "key=AQAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAB", "key" },
		{ "key=AQAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAA=", "key" },
		{ "key=AQAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAA+", "key" },
		{ KEY ";pin=x", "pin" }, { KEY ";pin=", "pin" }, { KEY ";base=x", "base" },
		{ KEY ";base=", "base" }, { KEY ";url=http://a.example", "" },
		{ KEY ";url=https://", "" }, { KEY ";url=", "" },
	};

	start();
	for (size_t i = 0; i < sizeof(cases) / sizeof(cases[0]); i++) {
		char error[256] = "";

		ck_assert_msg(get("192.0.2.1", cases[i].text, error) == NULL, "%s", cases[i].text);
		ck_assert_msg(error[0] != '\0' && strstr(error, cases[i].names) != NULL, "%s: %s",
		    cases[i].text, error);
		ck_assert(LIST_EMPTY(&cl.bridges));
	}
	stop();
}
END_TEST

START_TEST(too_many_urls)
{
	char text[512] = KEY, error[256] = "";

	start();
	for (int i = 0; i < BRIDGE_CHANNELS; i++)
		strcat(text, ";url=https://a.example");
	ck_assert_uint_eq(must_get("192.0.2.1", text)->n_channels, BRIDGE_CHANNELS);
	strcat(text, ";url=https://a.example");
	ck_assert_ptr_null(get("192.0.2.1", text, error));
	ck_assert_ptr_nonnull(strstr(error, "url"));
	stop();
}
END_TEST

START_TEST(shared_and_kept)
{
	struct bridge *a, *b;

	start();
	a = must_get("192.0.2.1", KEY);
	ck_assert_ptr_eq(must_get("192.0.2.1", KEY), a);
	ck_assert_uint_eq(a->refs, 2);
	b = must_get("192.0.2.2", KEY);
	ck_assert_ptr_ne(b, a);
	ck_assert_ptr_ne(must_get("192.0.2.1", KEY ";base=/x"), a);
	bridge_release(a);
	/* In use, or unused but not for long: kept. */
	bridge_sweep(&cl, 1000, false);
	bridge_sweep(&cl, 1000 + 2 * KEEP_MS, false);
	ck_assert_ptr_eq(must_get("192.0.2.1", KEY), a);
	bridge_release(a);
	bridge_release(a);
	bridge_sweep(&cl, 5000, false);
	bridge_sweep(&cl, 5000 + KEEP_MS, false);
	ck_assert_ptr_eq(must_get("192.0.2.1", KEY), a);
	/* Used meanwhile: its time starts again. */
	bridge_release(a);
	bridge_sweep(&cl, 6000 + KEEP_MS, false);
	bridge_sweep(&cl, 6000 + 2 * KEEP_MS, false);
	ck_assert_ptr_eq(must_get("192.0.2.1", KEY), a);
	bridge_release(a);
	bridge_sweep(&cl, 7000, false);
	a->n_direct = 0; /* a mark */
	bridge_sweep(&cl, 7001 + KEEP_MS, false);
	a = must_get("192.0.2.1", KEY);
	ck_assert_uint_eq(a->n_direct, 1);
	ck_assert_uint_eq(a->refs, 1);
	stop();
}
END_TEST

START_TEST(warm)
{
	struct bridge *b;

	start();
	b = must_get("192.0.2.1", KEY);
	ck_assert(!bridge_warm(b, 1));
	bridge_authentic(b, 1000);
	ck_assert(bridge_warm(b, 1000) && bridge_warm(b, 60999) && !bridge_warm(b, 61000));
	stop();
}
END_TEST

START_TEST(channels)
{
	struct oob_channel *first, *second;
	struct bridge *b;
	uint64_t now = 1000, until, period;

	start();
	b = must_get("192.0.2.1", KEY ";url=https://a.example;url=https://b.example");
	first = b->channels[0].oob;
	second = b->channels[1].oob;
	ck_assert_ptr_eq(bridge_channel(b, now), first);
	bridge_channel_result(b, second, false, now); /* another one's failure */
	ck_assert_ptr_eq(bridge_channel(b, now), first);
	bridge_channel_result(b, second, true, now);
	bridge_channel_result(b, first, false, now);
	ck_assert_ptr_eq(bridge_channel(b, now), second);
	/* All requests under way failed with it, some a little later: one failure. */
	until = b->channels[0].failed_until_ms;
	period = until - now;
	ck_assert_uint_gt(until, now);
	for (int i = 0; i < 7; i++)
		bridge_channel_result(b, first, false, until - 1);
	ck_assert_uint_eq(b->channels[0].failed_until_ms, until - 1 + period);
	until = b->channels[0].failed_until_ms;
	/* Its turn comes again, and later each time; a success forgives all. */
	ck_assert_ptr_eq(bridge_channel(b, until), first);
	for (int i = 0; i < 100; i++) {
		now = b->channels[0].failed_until_ms;
		bridge_channel_result(b, first, false, now);
		if (i == 0)
			ck_assert_uint_eq(b->channels[0].failed_until_ms, now + 2 * period);
	}
	ck_assert_uint_lt(b->channels[0].failed_until_ms, now + 24 * 3600 * 1000);
	/* All have failed: the one that failed longest ago, in turn, never none. */
	bridge_channel_result(b, second, false, now + 1);
	ck_assert_ptr_eq(bridge_channel(b, now + 1), first);
	bridge_channel_result(b, first, false, now + 2);
	ck_assert_ptr_eq(bridge_channel(b, now + 2), second);
	bridge_channel_result(b, first, true, now + 3);
	ck_assert_ptr_eq(bridge_channel(b, now + 3), first);
	bridge_channel_result(b, first, false, now + 3);
	ck_assert_uint_eq(b->channels[0].failed_until_ms, now + 3 + period);
	/* From another network it may be another story. */
	bridge_network_changed(b, now + 4);
	ck_assert_ptr_eq(bridge_channel(b, now + 4), first);
	bridge_channel_result(b, first, false, now + 4);
	ck_assert_uint_eq(b->channels[0].failed_until_ms, now + 4 + period);
	stop();
}
END_TEST

static void
name(struct bridge *b, const char *const *ips, unsigned n)
{
	struct msg_address a[MSG_ADDRESSES] = { 0 };

	for (unsigned i = 0; i < n; i++) {
		snprintf(a[i].address, sizeof(a[i].address), "%s", ips[i]);
		a[i].port = 443;
	}
	bridge_named(b, a, n);
}

static bool
dials(const struct bridge *b, const char *ip)
{
	struct sockaddr_storage a = address(ip, 443);

	for (unsigned i = 0; i < b->n_direct; i++)
		if (address_equal(&b->direct[i].addr, &a))
			return true;
	return false;
}

START_TEST(named_addresses)
{
	static const char *const inside[] = { "10.0.0.1", "127.0.0.1", "192.168.1.1", "169.254.169.254",
		"100.64.0.1", "0.0.0.0", "224.0.0.1", "::1", "::", "fe80::1", "fc00::1", "ff02::1",
		"::ffff:127.0.0.1", "64:ff9b::a00:1", "2002:7f00:1::", "2001::1" };
	struct bridge *b;

	start();
	b = must_get("192.0.2.1", KEY);
	for (size_t i = 0; i < sizeof(inside) / sizeof(inside[0]); i++) {
		const char *const two[] = { inside[i], "1.1.1.1" };

		name(b, two, 1);
		ck_assert_msg(b->n_direct == 1 && !dials(b, inside[i]), "%s", inside[i]);
		name(b, two, 2);
		ck_assert_msg(b->n_direct == 1 && dials(b, "1.1.1.1"), "%s", inside[i]);
	}
	name(b, (const char *const[]){ "1.1.1.1", "2606:4700::1111", "9.9.9.9", "8.8.8.8" }, 4);
	ck_assert_uint_eq(b->n_direct, 4);
	/* None at all, or not one that can be used: it is the line's own again. */
	name(b, NULL, 0);
	ck_assert(b->n_direct == 1 && dials(b, "192.0.2.1"));
	name(b, (const char *const[]){ "1.1.1.1", "9.9.9.9" }, 2);
	name(b, (const char *const[]){ "not an address", "10.0.0.1", "::1", "" }, 4);
	ck_assert(b->n_direct == 1 && dials(b, "192.0.2.1"));
	/* A bridge in a private network may name its neighbours. */
	b = must_get("10.0.0.9", KEY);
	name(b, (const char *const[]){ "10.0.0.1", "1.1.1.1" }, 2);
	ck_assert(dials(b, "10.0.0.1") && dials(b, "1.1.1.1"));
	stop();
}
END_TEST

/* A bridge in a local network may lead to its neighbours, and not to this machine, whatever the
 * address is dressed as; one on this machine the other way round. */
START_TEST(where_a_bridge_may_lead)
{
	static const char *const here[] = { "127.0.0.1", "127.9.9.9", "::1", "::ffff:127.0.0.1", "0.0.0.0",
		"::", "::ffff:0.0.0.0" };
	static const char *const near[] = { "10.0.0.1", "192.168.1.1", "::ffff:10.0.0.1", "fd00::1",
		"64:ff9b::a00:1" };
	static const struct { const char *line; bool here, near; } cases[] = {
		{ "192.0.2.1", false, false }, { "2001:db8::1", false, false },
		{ "10.0.0.9", false, true }, { "fd00::9", false, true }, { "::ffff:10.0.0.9", false, true },
		{ "127.0.0.1", true, false }, { "::1", true, false }, { "::ffff:127.0.0.1", true, false },
	};

	start();
	for (size_t i = 0; i < sizeof(cases) / sizeof(cases[0]); i++) {
		struct bridge *b = must_get(cases[i].line, KEY);
		struct sockaddr_storage a = address("1.1.1.1", 443);

		ck_assert(bridge_may_lead_to(b, &a));
		for (size_t k = 0; k < sizeof(here) / sizeof(here[0]); k++) {
			a = address(here[k], 443);
			ck_assert_msg(bridge_may_lead_to(b, &a) == cases[i].here, "%s: %s",
			    cases[i].line, here[k]);
		}
		for (size_t k = 0; k < sizeof(near) / sizeof(near[0]); k++) {
			a = address(near[k], 443);
			ck_assert_msg(bridge_may_lead_to(b, &a) == cases[i].near, "%s: %s",
			    cases[i].line, near[k]);
		}
	}
	stop();
}
END_TEST

START_TEST(resting)
{
	const uint64_t rest = BRIDGE_REDIAL_S * 1000;
	struct sockaddr_storage one = address("1.1.1.1", 443), nine = address("9.9.9.9", 443),
	    other = address("1.1.1.1", 444);
	struct bridge *b;

	start();
	b = must_get("192.0.2.1", KEY);
	name(b, (const char *const[]){ "1.1.1.1", "9.9.9.9" }, 2);
	ck_assert(address_equal(&bridge_direct(b, 1000)->addr, &one));
	bridge_rest(b, &other, 1000, BRIDGE_REDIAL_S); /* another port */
	ck_assert(address_equal(&bridge_direct(b, 1000)->addr, &one));
	bridge_rest(b, &one, 1000, BRIDGE_REDIAL_S);
	ck_assert(address_equal(&bridge_direct(b, 1000)->addr, &nine));
	bridge_rest(b, &nine, 2000, BRIDGE_REDIAL_S);
	ck_assert_ptr_null(bridge_direct(b, 2000));
	/* To be named again is no reason to be dialled again. */
	name(b, (const char *const[]){ "9.9.9.9", "1.1.1.1" }, 2);
	ck_assert_ptr_null(bridge_direct(b, 1000 + rest - 1));
	ck_assert(address_equal(&bridge_direct(b, 1000 + rest)->addr, &one));
	ck_assert(address_equal(&bridge_direct(b, 2000 + rest)->addr, &nine));
	/* So many dials at once, and no more. */
	b->dials = BRIDGE_DIALS - 1;
	ck_assert_ptr_nonnull(bridge_direct(b, 2000 + rest));
	b->dials = BRIDGE_DIALS;
	ck_assert_ptr_null(bridge_direct(b, 2000 + rest));
	stop();
}
END_TEST

/* ---- redialling ---- */

static void
turn(void *arg, bool redial)
{
	(void)redial;
	++*(unsigned *)arg;
}

/* Until the redial timer has run. */
static void
run_timer(struct bridge *b)
{
	ck_assert(event_pending(b->redial, EV_TIMEOUT, NULL));
	while (event_pending(b->redial, EV_TIMEOUT, NULL))
		event_base_loop(cl.base, EVLOOP_ONCE);
}

START_TEST(redials_one_at_a_time)
{
	unsigned turns[3] = { 0 };
	struct bridge_waiter w[3];
	struct bridge *b;

	start();
	b = must_get("192.0.2.1", KEY);
	for (int i = 0; i < 3; i++) {
		w[i] = (struct bridge_waiter){ .turn = turn, .arg = &turns[i] };
		bridge_redial(b, &w[i], 1000);
		bridge_redial(b, &w[i], 1000); /* to ask twice is to ask once */
	}
	run_timer(b);
	ck_assert(turns[0] == 1 && turns[1] == 0 && turns[2] == 0);
	/* Its dial is under way: who asks meanwhile waits, whatever else happens. */
	bridge_redial(b, &w[0], 1000);
	bridge_network_changed(b, 1000);
	ck_assert(!event_pending(b->redial, EV_TIMEOUT, NULL));
	bridge_unqueue(&w[1]);
	bridge_redialled(b, 1000);
	run_timer(b);
	ck_assert(turns[0] == 1 && turns[1] == 0 && turns[2] == 1);
	bridge_redialled(b, 1000);
	run_timer(b);
	ck_assert(turns[0] == 2 && turns[1] == 0 && turns[2] == 1);
	bridge_redialled(b, 1000);
	ck_assert(!event_pending(b->redial, EV_TIMEOUT, NULL));
	stop();
}
END_TEST

/* In how many ms the redial that is waited for is due. */
static int64_t
due(struct bridge *b)
{
	struct timeval now, at;

	ck_assert(event_pending(b->redial, EV_TIMEOUT, &at));
	gettimeofday(&now, NULL);
	return (int64_t)(at.tv_sec - now.tv_sec) * 1000 + (at.tv_usec - now.tv_usec) / 1000;
}

/* The same, of one that is asked for now. */
static int64_t
due_when_asked(struct bridge *b, uint64_t now_ms)
{
	struct bridge_waiter w = { .turn = turn };
	int64_t ms;

	bridge_redial(b, &w, now_ms);
	ms = due(b);
	bridge_unqueue(&w);
	event_del(b->redial);
	return ms;
}

/* So many first dials at once; each that is over makes room for the next, with no pause. */
START_TEST(first_dials_wait_for_room)
{
	unsigned turns[3] = { 0 };
	struct bridge_waiter w[3];
	struct bridge *b;

	start();
	b = must_get("192.0.2.1", KEY);
	for (int i = 0; i < 3; i++)
		w[i] = (struct bridge_waiter){ .turn = turn, .arg = &turns[i] };
	ck_assert(!bridge_await_dial(b, &w[0]));
	for (int i = 0; i < BRIDGE_DIALS; i++)
		bridge_dials(b);
	for (int i = 0; i < 3; i++)
		ck_assert(bridge_await_dial(b, &w[i]));
	bridge_unqueue(&w[1]);
	bridge_dialled(b); /* whose turn it is makes no dial here: the next has it at once */
	ck_assert(turns[0] == 1 && turns[1] == 0 && turns[2] == 1);
	ck_assert(!event_pending(b->redial, EV_TIMEOUT, NULL));
	stop();
}
END_TEST

START_TEST(redials_after_the_rest)
{
	const int64_t rest = BRIDGE_REDIAL_S * 1000, late = 10000; /* how slow this machine may be */
	struct sockaddr_storage one = address("1.1.1.1", 443), nine = address("9.9.9.9", 443);
	struct bridge_waiter w = { .turn = turn };
	int64_t ms, first = INT64_MAX, last = INT64_MIN;
	struct bridge *b;

	start();
	b = must_get("192.0.2.1", KEY);
	name(b, (const char *const[]){ "1.1.1.1", "9.9.9.9" }, 2);
	bridge_rest(b, &nine, 1000, 2 * BRIDGE_REDIAL_S);
	/* At once if an address does not rest, but never at the same moment. */
	for (int i = 0; i < 100; i++) {
		ms = due_when_asked(b, 1000);
		ck_assert_int_lt(ms, JITTER_MS + COARSE_MS);
		first = ms < first ? ms : first;
		last = ms > last ? ms : last;
	}
	ck_assert_int_gt(last - first, JITTER_MS / 2);
	/* Else when the first of them has rested. */
	bridge_rest(b, &one, 1000, BRIDGE_REDIAL_S);
	for (int i = 0; i < 100; i++) {
		ms = due_when_asked(b, 2000) + 1000;
		ck_assert(ms > rest - late && ms < rest + JITTER_MS + COARSE_MS);
	}
	/* A change of network ends all rest, under a redial that waits for it too. */
	bridge_redial(b, &w, 2000);
	bridge_network_changed(b, 3000);
	ck_assert_int_lt(due(b), JITTER_MS + COARSE_MS);
	stop();
}
END_TEST

TEST_MAIN("bridge", good_lines, bad_lines, too_many_urls, shared_and_kept, warm,
    channels, named_addresses, where_a_bridge_may_lead, resting, redials_one_at_a_time,
    first_dials_wait_for_room, redials_after_the_rest)
