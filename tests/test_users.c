#include <stdio.h>
#include <unistd.h>

#include "common/mem.h"
#include "pt-server/users.h"
#include "tests/harness.h"

#define COUNT(a) (sizeof(a) / sizeof((a)[0]))
#define DAY (24 * UINT64_C(3600000))
#define ANNA "anna's token, long enough"
#define BEN "ben's token, long enough"

static char path[64];

static void
write_file(const char *json)
{
	FILE *f;

	if (path[0] == '\0') {
		strcpy(path, "/tmp/sultry-test-users-XXXXXX");
		close(mkstemp(path));
	}
	f = fopen(path, "w");
	ck_assert_ptr_nonnull(f);
	fputs(json, f);
	ck_assert_int_eq(fclose(f), 0);
}

static void
load(struct users *u, const char *json)
{
	char error[CONFIG_ERROR] = "";

	write_file(json);
	ck_assert_msg(users_load(u, path, error) == 0, "%s", error);
	unlink(path);
	path[0] = '\0';
}

static struct users *
with_limits(unsigned sessions, uint64_t day, uint64_t second)
{
	struct user_limits limits = { sessions, day, second };

	return users_new(&limits);
}

START_TEST(test_anonymous)
{
	struct users *u = with_limits(2, 0, 0);
	struct user *user = users_find(u, "");
	struct user_session s[3] = { 0 };
	uint64_t wait;
	int owner;

	ck_assert_ptr_nonnull(user);
	ck_assert_ptr_eq(user, users_find(u, "any token"));
	ck_assert_str_eq(user_name(user), "");
	ck_assert(user_session_start(user, &s[0], &owner, 0) && user_session_start(user, &s[1], NULL, 0));
	ck_assert_ptr_eq(s[0].owner, &owner);
	ck_assert(!user_session_start(user, &s[2], NULL, 0));
	user_session_stop(&s[2]);
	user_session_stop(&s[0]);
	user_session_stop(&s[0]);
	ck_assert(user_session_start(user, &s[2], NULL, 0));
	ck_assert_uint_eq(user_allowance(user, 5, &wait), SIZE_MAX);
	user_bytes(user, 100, 5);
	ck_assert_uint_eq(user_total(user), 100);
	ck_assert_ptr_null(users_revoked(u));
	user_session_stop(&s[1]);
	user_session_stop(&s[2]);
	users_free(u);
}
END_TEST

START_TEST(test_tokens)
{
	struct users *u = with_limits(1, 0, 0);
	struct user_session s[3] = { 0 };

	load(u, "{\"users\": [{\"name\": \"anna\", \"token\": \"" ANNA "\"},\n"
	    "{\"name\": \"ben\", \"token\": \"" BEN "\", \"sessions\": 2}]}");
	ck_assert_str_eq(user_name(users_find(u, ANNA)), "anna");
	ck_assert_str_eq(user_name(users_find(u, BEN)), "ben");
	ck_assert_ptr_null(users_find(u, ""));
	ck_assert_ptr_null(users_find(u, ANNA " "));
	ck_assert_ptr_null(users_find(u, "Anna's token, long enough"));
	ck_assert_ptr_null(users_find(u, "anna"));
	/* Limits of one's own, and the default ones. */
	ck_assert(user_session_start(users_find(u, ANNA), &s[0], NULL, 0));
	ck_assert(!user_session_start(users_find(u, ANNA), &s[1], NULL, 0));
	ck_assert(user_session_start(users_find(u, BEN), &s[1], NULL, 0));
	ck_assert(user_session_start(users_find(u, BEN), &s[2], NULL, 0));
	for (int i = 0; i < 3; i++)
		user_session_stop(&s[i]);
	/* A list without users lets nobody in. */
	load(u, "{\"users\": []}");
	ck_assert_ptr_null(users_find(u, ANNA));
	ck_assert_ptr_null(users_find(u, ""));
	users_free(u);
}
END_TEST

START_TEST(test_reload)
{
	struct users *u = with_limits(0, 1000, 0);
	struct user_session a[2] = { 0 }, b = { 0 }, c = { 0 }, nobody = { 0 }, *r;
	struct user *anna, *ben;
	uint64_t wait;
	int ended = 0;

	ck_assert(user_session_start(users_find(u, ""), &nobody, NULL, 1));
	load(u, "{\"users\": [{\"name\": \"anna\", \"token\": \"" ANNA "\"},"
	    "{\"name\": \"ben\", \"token\": \"" BEN "\"},"
	    "{\"name\": \"cleo\", \"token\": \"cleo's token, long enough\"}]}");
	ck_assert_ptr_eq(users_revoked(u), &nobody);
	user_session_stop(&nobody);
	ck_assert_ptr_null(users_revoked(u));

	anna = users_find(u, ANNA);
	ben = users_find(u, BEN);
	for (int i = 0; i < 2; i++)
		ck_assert(user_session_start(anna, &a[i], NULL, 1));
	ck_assert(user_session_start(ben, &b, NULL, 1));
	ck_assert(user_session_start(users_find(u, "cleo's token, long enough"), &c, NULL, 1));
	user_bytes(anna, 400, 1);
	user_bytes(ben, 300, 1);

	/* Anna stays, in another place and with another limit; Ben has a new token; Cleo left. */
	load(u, "{\"users\": [{\"name\": \"ben\", \"token\": \"ben's token after a leak\"},"
	    "{\"name\": \"anna\", \"token\": \"" ANNA "\", \"bytes_per_day\": 500}]}");
	ck_assert_ptr_eq(users_find(u, ANNA), anna);
	ck_assert_uint_eq(user_allowance(anna, 1, &wait), 100);
	ck_assert_ptr_null(users_find(u, BEN));
	ck_assert_ptr_null(users_find(u, "cleo's token, long enough"));
	ck_assert_uint_eq(user_allowance(users_find(u, "ben's token after a leak"), 1, &wait), 700);
	while ((r = users_revoked(u)) != NULL) {
		ck_assert(r == &b || r == &c);
		user_bytes(r->user, 1, 2); /* its last bytes */
		user_session_stop(r);
		ended++;
	}
	ck_assert_int_eq(ended, 2);
	ck_assert_ptr_eq(a[0].user, anna);
	user_session_stop(&a[0]);
	user_session_stop(&a[1]);
	users_free(u);
}
END_TEST

START_TEST(test_bad_files)
{
	static const struct {
		const char *json, *error;
	} cases[] = {
		{ "{}", ":1: users: missing: expected a list of users" },
		{ "{\"users\": 5}", ":1: users: expected a list, not a number" },
		{ "{\"users\": [5]}", ":1: users[0]: expected an object, not a number" },
		{ "{\"users\": [{\"token\": \"" ANNA "\"}]}", ":1: users[0].name: missing: expected "
		    "1 to 64 letters, digits, or \".\", \"_\", \"@\", \"-\"" },
		{ "{\"users\": [{\"name\": \"a b\", \"token\": \"" ANNA "\"}]}", ":1: users[0].name: "
		    "expected 1 to 64 letters, digits, or \".\", \"_\", \"@\", \"-\"" },
		{ "{\"users\": [{\"name\": \"a\",\n\"token\": \"too short one\"}]}",
		    ":2: users[0].token: expected 16 to 64 characters of printable ASCII" },
		{ "{\"users\": [{\"name\": \"a\", \"token\": \"" ANNA ANNA ANNA "\"}]}",
		    ":1: users[0].token: expected 16 to 64 characters of printable ASCII" },
		{ "{\"users\": [{\"name\": \"a\"}]}",
		    ":1: users[0].token: missing: expected 16 to 64 characters of printable ASCII" },
		{ "{\"users\": [{\"name\": \"a\", \"token\": \"" ANNA "\"},\n"
		    "{\"name\": \"a\", \"token\": \"" BEN "\"}]}",
		    ":2: users[1].name: expected a name of its own, not that of a user before" },
		{ "{\"users\": [{\"name\": \"a\", \"token\": \"" ANNA "\"},\n"
		    "{\"name\": \"b\", \"token\": \"" ANNA "\"}]}",
		    ":2: users[1].token: expected a token of its own, not that of a user before" },
		{ "{\"users\": [{\"name\": \"a\", \"token\": \"" ANNA "\", \"session\": 1}]}",
		    ":1: users[0].session: unknown key; did you mean \"sessions\"?" },
		{ "{\"users\": [{\"name\": \"a\", \"token\": \"" ANNA "\", \"sessions\": -1}]}",
		    ":1: users[0].sessions: expected a whole number from 0 to 4294967295" },
		{ "{\"users\": [], \"user\": []}", ":1: user: unknown key; did you mean \"users\"?" },
	};
	struct users *u = with_limits(0, 0, 0);
	char error[CONFIG_ERROR];
	struct user *before;

	load(u, "{\"users\": [{\"name\": \"anna\", \"token\": \"" ANNA "\"}]}");
	before = users_find(u, ANNA);
	for (size_t i = 0; i < COUNT(cases); i++) {
		write_file(cases[i].json);
		ck_assert_int_eq(users_load(u, path, error), -1);
		ck_assert_str_eq(error + strlen(path), cases[i].error);
		ck_assert_ptr_eq(users_find(u, ANNA), before); /* nothing has changed */
	}
	unlink(path);
	ck_assert_int_eq(users_load(u, path, error), -1);
	users_free(u);
}
END_TEST

START_TEST(test_many)
{
	struct users *u = with_limits(0, 0, 0);
	char *json = mem_alloc(100 * (USERS_MAX + 2)), error[CONFIG_ERROR], token[32];
	size_t n = 0;

	for (int more = 0; more < 2; more++) {
		n = (size_t)sprintf(json, "{\"users\": [");
		for (int i = 0; i < USERS_MAX + more; i++)
			n += (size_t)sprintf(json + n, "%s{\"name\": \"user%d\", \"token\": \"token number %08d\"}",
			    i == 0 ? "" : ",\n", i, i);
		strcpy(json + n, "]}");
		write_file(json);
		ck_assert_int_eq(users_load(u, path, error), more ? -1 : 0);
	}
	ck_assert_str_eq(error + strlen(path), ":4097: users[4096]: expected at most 4096 users");
	sprintf(token, "token number %08d", USERS_MAX - 1);
	ck_assert_str_eq(user_name(users_find(u, token)), "user4095");
	unlink(path);
	free(json);
	users_free(u);
}
END_TEST

START_TEST(test_day)
{
	struct users *u = with_limits(0, 1000, 0);
	struct user *user = users_find(u, "");
	struct user_session s = { 0 };
	uint64_t wait = 0, start = 5 * DAY;

	ck_assert_uint_eq(user_allowance(user, start, &wait), 1000);
	user_bytes(user, 999, start + 7);
	ck_assert_uint_eq(user_allowance(user, start + 8, &wait), 1);
	ck_assert(user_session_start(user, &s, NULL, start + 8));
	user_session_stop(&s);
	user_bytes(user, 5, start + 9); /* more than was allowed */
	ck_assert_uint_eq(user_allowance(user, start + 10, &wait), 0);
	ck_assert(user_spent(user, start + 10));
	ck_assert_uint_eq(wait, DAY - 3);
	ck_assert(!user_session_start(user, &s, NULL, start + 10));
	ck_assert_uint_eq(user_allowance(user, start + 6 + DAY, &wait), 0);
	ck_assert_uint_eq(wait, 1);
	ck_assert_uint_eq(user_allowance(user, start + 7 + DAY, &wait), 1000);
	ck_assert(!user_spent(user, start + 7 + DAY));
	ck_assert(user_session_start(user, &s, NULL, start + 7 + DAY));
	user_session_stop(&s);
	ck_assert_uint_eq(user_total(user), 1004);
	users_free(u);
}
END_TEST

/* Moves whatever is allowed, for `ms` milliseconds by a clock that goes on as told. */
static uint64_t
run(struct user *user, uint64_t *now, uint64_t ms, size_t at_most)
{
	uint64_t end = *now + ms, moved = 0, wait;

	while (*now < end) {
		size_t n = user_allowance(user, *now, &wait);

		if (n == 0) {
			ck_assert_uint_gt(wait, 0);
			*now += wait;
			/* It holds what it promises. */
			ck_assert_uint_gt(user_allowance(user, *now, &wait), 0);
			continue;
		}
		if (n > at_most)
			n = at_most;
		user_bytes(user, n, *now);
		moved += n;
	}
	return moved;
}

START_TEST(test_rate)
{
	static const uint64_t rates[] = { 1, 7, 999, 1000, 100000, 123456789, 1000000000000 };

	for (size_t i = 0; i < COUNT(rates); i++) {
		struct users *u = with_limits(0, 0, rates[i]);
		struct user *user = users_find(u, "");
		uint64_t now = 1000000, wait, moved;

		/* A second's worth at once, and no more. */
		ck_assert_uint_eq(user_allowance(user, now, &wait), rates[i]);
		ck_assert_uint_eq(user_allowance(user, now + 10 * DAY, &wait), rates[i]);
		now += 10 * DAY;
		/* Then the rate, up to one wait too much at the end. */
		moved = run(user, &now, 100000, SIZE_MAX);
		ck_assert_uint_ge(moved, 100 * rates[i]);
		ck_assert_uint_le(moved, 102 * rates[i] + 1);
		/* A debt is paid first. */
		user_bytes(user, (size_t)rates[i] * 3, now);
		ck_assert_uint_eq(user_allowance(user, now, &wait), 0);
		ck_assert_uint_ge(wait, 2000);
		ck_assert_uint_eq(user_allowance(user, now + wait - 1, &wait), 0);
		users_free(u);
	}
}
END_TEST

/* A clock that is read every millisecond loses nothing to rounding. */
START_TEST(test_rate_often)
{
	struct users *u = with_limits(0, 0, 3);
	struct user *user = users_find(u, "");
	uint64_t now = 5000, wait, moved = 0;

	user_bytes(user, 3, now);
	for (int i = 0; i < 10000; i++) {
		size_t n = user_allowance(user, ++now, &wait);

		user_bytes(user, n, now);
		moved += n;
	}
	ck_assert_uint_ge(moved, 29);
	ck_assert_uint_le(moved, 30);
	users_free(u);
}
END_TEST

START_TEST(test_rate_and_day)
{
	struct users *u = with_limits(0, 2500, 1000);
	struct user *user = users_find(u, "");
	uint64_t now = 5000, wait = 0, moved = run(user, &now, 1400, 100);

	ck_assert_uint_ge(moved, 2300);
	ck_assert_uint_le(moved, 2400);
	user_bytes(user, 2499 - (size_t)moved, now);
	ck_assert_uint_eq(user_allowance(user, now + 1000, &wait), 1); /* of the day */
	user_bytes(user, 1, now + 1000);
	ck_assert_uint_eq(user_allowance(user, now, &wait), 0);
	ck_assert_uint_gt(wait, DAY / 2);
	users_free(u);
}
END_TEST

TEST_MAIN("users", test_anonymous, test_tokens, test_reload, test_bad_files, test_many, test_day,
    test_rate, test_rate_often, test_rate_and_day)
