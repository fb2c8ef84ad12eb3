#include "pt-server/sessions.h"

#include <stdio.h>

#include "common/mem.h"
#include "tests/harness.h"

/* The table never looks into a conn: any pointer will do. */
#define CONN(i) ((struct conn *)(uintptr_t)(0x1000 + (i)))
#define RETAIN_S 600
#define SHORT_MS (SESSIONS_SHORT_S * 1000)
#define LONG_MS (RETAIN_S * 1000)

static uint8_t secret[NOISE_KEY] = { 3 };

/* What a client computes. */
static struct noise_epoch
epoch_of(const uint8_t key[NOISE_KEY], uint32_t epoch)
{
	struct noise_epoch e;

	noise_epoch(&e, key, epoch);
	return e;
}

static bool
knows(const struct sessions *t, const struct sessions_entry *e, uint32_t epoch)
{
	struct noise_epoch keys = epoch_of(secret, epoch);
	const struct sessions_tag *tag = sessions_by_tag(t, keys.tag);

	if (tag == NULL)
		return false;
	ck_assert_ptr_eq(tag->entry, e);
	ck_assert_uint_eq(tag->epoch, epoch);
	ck_assert_mem_eq(&tag->keys, &keys, sizeof(keys));
	return true;
}

START_TEST(ids)
{
	enum { N = 300 };
	struct sessions *t = sessions_new(N, RETAIN_S);
	struct sessions_entry *e = mem_zalloc((N + 1) * sizeof(*e));
	char id[MSG_SESSION_ID + 1];

	ck_assert_ptr_null(sessions_any(t));
	for (unsigned i = 0; i < N; i++) {
		ck_assert(sessions_add(t, &e[i], CONN(i), 5));
		ck_assert_uint_eq(strlen(e[i].id), MSG_SESSION_ID);
	}
	ck_assert_uint_eq(sessions_count(t), N);
	ck_assert(!sessions_add(t, &e[N], CONN(N), 5)); /* full */
	for (unsigned i = 0; i < N; i++) {
		ck_assert_ptr_eq(sessions_by_id(t, e[i].id), CONN(i));
		memcpy(id, e[i].id, sizeof(id));
		id[MSG_SESSION_ID - 1] = id[MSG_SESSION_ID - 1] == 'A' ? 'B' : 'A';
		ck_assert_ptr_null(sessions_by_id(t, id));
	}
	ck_assert_ptr_null(sessions_by_id(t, ""));
	ck_assert_ptr_null(sessions_by_id(t, "short"));
	ck_assert_ptr_null(sessions_by_id(t, "AAAAAAAAAAAAAAAAAAAAAAA")); /* one too long */
	sessions_remove(t, &e[7]);
	ck_assert_ptr_null(sessions_by_id(t, e[7].id));
	ck_assert(sessions_add(t, &e[N], CONN(N), 5)); /* there is room again */
	ck_assert_uint_eq(sessions_count(t), N);
	for (unsigned i = 0; i <= N; i++)
		if (i != 7)
			sessions_remove(t, &e[i]);
	ck_assert_uint_eq(sessions_count(t), 0);
	ck_assert_ptr_null(sessions_any(t));
	sessions_free(t);
	free(e);
}
END_TEST

START_TEST(epochs)
{
	struct sessions *t = sessions_new(4, RETAIN_S);
	struct sessions_entry e, other;
	const uint8_t foreign[NOISE_KEY] = { 4 };
	struct noise_epoch keys;

	ck_assert(sessions_add(t, &e, CONN(0), 5) && sessions_add(t, &other, CONN(1), 5));
	sessions_set_epochs(t, &other, foreign, 0);
	ck_assert(!knows(t, &e, 0));
	/* Forward by any step, as hellos and polls rebase it: those and no others. */
	for (uint32_t first = 0; first < 200; first += 1 + first % 11) {
		sessions_set_epochs(t, &e, secret, first);
		for (uint32_t i = 0; i < first + 2 * SESSION_EPOCHS; i++)
			ck_assert(knows(t, &e, i) == (i >= first && i < first + SESSION_EPOCHS));
	}
	/* As far as a poll may name (message.c). */
	sessions_set_epochs(t, &e, secret, UINT32_MAX / 2);
	ck_assert(knows(t, &e, UINT32_MAX / 2) && knows(t, &e, UINT32_MAX / 2 + 7));
	ck_assert(!knows(t, &e, 199));
	/* One bit decides. */
	keys = epoch_of(secret, UINT32_MAX / 2);
	for (size_t i = 0; i < EPOCH_TAG; i++) {
		keys.tag[i] ^= 1;
		ck_assert_ptr_null(sessions_by_tag(t, keys.tag));
		keys.tag[i] ^= 1;
	}
	/* The other's are its own. */
	keys = epoch_of(foreign, 7);
	ck_assert_ptr_eq(sessions_by_tag(t, keys.tag)->entry, &other);
	sessions_drop_epochs(&e);
	ck_assert(!knows(t, &e, UINT32_MAX / 2));
	sessions_drop_epochs(&e);
	sessions_remove(t, &e);
	sessions_remove(t, &other);
	ck_assert_ptr_null(sessions_by_tag(t, keys.tag));
	sessions_free(t);
}
END_TEST

START_TEST(expiry)
{
	struct sessions *t = sessions_new(8, RETAIN_S);
	struct sessions_entry e[4];

	for (unsigned i = 0; i < 4; i++)
		ck_assert(sessions_add(t, &e[i], CONN(i), 1000 + i));
	ck_assert_ptr_null(sessions_expired(t, 1000 + SHORT_MS - 1));
	ck_assert_ptr_eq(sessions_expired(t, 1000 + SHORT_MS), CONN(0));
	/* Confirmed, direct, touched again: each has its own time. */
	sessions_touch(t, &e[0], AGE_LONG, 2000);
	sessions_touch(t, &e[1], AGE_PINNED, 2000);
	sessions_touch(t, &e[2], AGE_SHORT, 3000);
	ck_assert_ptr_null(sessions_expired(t, 1002 + SHORT_MS));
	ck_assert_ptr_eq(sessions_expired(t, 1003 + SHORT_MS), CONN(3));
	sessions_remove(t, &e[3]);
	ck_assert_ptr_eq(sessions_expired(t, 3000 + SHORT_MS), CONN(2));
	sessions_remove(t, &e[2]);
	ck_assert_ptr_null(sessions_expired(t, 2000 + LONG_MS - 1));
	ck_assert_ptr_eq(sessions_expired(t, 2000 + LONG_MS), CONN(0));
	sessions_touch(t, &e[0], AGE_LONG, 5000 + LONG_MS);
	ck_assert_ptr_null(sessions_expired(t, 4999 + 2 * (uint64_t)LONG_MS));
	sessions_remove(t, &e[0]);
	/* A direct connection keeps it for ever; then it has its time again. */
	ck_assert_ptr_null(sessions_expired(t, UINT64_MAX / 2));
	ck_assert_ptr_eq(sessions_any(t), CONN(1));
	sessions_touch(t, &e[1], AGE_LONG, 9000);
	ck_assert_ptr_eq(sessions_expired(t, 9000 + LONG_MS), CONN(1));
	sessions_remove(t, &e[1]);
	sessions_free(t);
}
END_TEST

/* What ended takes no live session's place, and is kept in bounded number. */
START_TEST(tombstones)
{
	enum { MAX = 4 };
	struct sessions *t = sessions_new(MAX, RETAIN_S);
	struct sessions_entry e[2 * MAX + 1], live[MAX], more;

	for (unsigned i = 0; i < 2 * MAX + 1; i++) {
		ck_assert(sessions_add(t, &e[i], CONN(i), 1000));
		sessions_touch(t, &e[i], AGE_OVER, 1000 + i);
	}
	for (unsigned i = 0; i < MAX; i++)
		ck_assert(sessions_add(t, &live[i], CONN(100 + i), 2000));
	ck_assert(!sessions_add(t, &more, CONN(200), 2000));
	ck_assert_uint_eq(sessions_count(t), 3 * MAX + 1);
	/* The oldest go, until as many are left as may live; those have their time. */
	for (unsigned i = 0; i < MAX + 1; i++) {
		ck_assert_ptr_eq(sessions_expired(t, 2000), CONN(i));
		sessions_remove(t, &e[i]);
	}
	ck_assert_ptr_null(sessions_expired(t, 1000 + MAX + SHORT_MS));
	ck_assert_ptr_eq(sessions_by_id(t, e[MAX + 1].id), CONN(MAX + 1));
	for (unsigned i = MAX + 1; i < 2 * MAX + 1; i++) {
		ck_assert_ptr_eq(sessions_expired(t, 1000 + i + SHORT_MS), CONN(i));
		sessions_remove(t, &e[i]);
	}
	for (unsigned i = 0; i < MAX; i++)
		sessions_remove(t, &live[i]);
	ck_assert_uint_eq(sessions_count(t), 0);
	sessions_free(t);
}
END_TEST

static unsigned
count_over(const struct sessions_entry *e, const bool *in, unsigned n)
{
	unsigned over = 0;

	for (unsigned i = 0; i < n; i++)
		over += in[i] && e[i].age == AGE_OVER;
	return over;
}

/* Random operations against a list of what should be. */
START_TEST(model)
{
	enum { N = 64 };
	struct sessions *t = sessions_new(N / 2, RETAIN_S);
	struct sessions_entry e[N];
	bool in[N] = { false };
	unsigned count = 0;
	uint64_t now = 1;

	for (int step = 0; step < 20000; step++) {
		unsigned i = mem_random_below(N);
		const struct conn *c;

		now += mem_random_below(2000);
		if (!in[i]) {
			bool room = count - count_over(e, in, N) < N / 2;

			ck_assert(sessions_add(t, &e[i], CONN(i), now) == room);
			in[i] = room;
			count += in[i];
		} else if (mem_random_below(3) == 0) {
			sessions_remove(t, &e[i]);
			in[i] = false;
			count--;
		} else {
			sessions_touch(t, &e[i], (enum session_age)mem_random_below(AGE_COUNT), now);
		}
		while ((c = sessions_expired(t, now)) != NULL) {
			unsigned k = (unsigned)((uintptr_t)c - 0x1000);
			uint64_t age = now - e[k].touched_ms;

			ck_assert(in[k]);
			if (e[k].age != AGE_OVER || count_over(e, in, N) <= N / 2)
				ck_assert_uint_ge(age, e[k].age == AGE_LONG ? LONG_MS : SHORT_MS);
			sessions_remove(t, &e[k]);
			in[k] = false;
			count--;
		}
		for (unsigned k = 0; k < N; k++)
			if (in[k] && (e[k].age == AGE_SHORT || e[k].age == AGE_OVER))
				ck_assert_uint_lt(now - e[k].touched_ms, SHORT_MS);
		ck_assert_uint_eq(sessions_count(t), count);
	}
	for (unsigned i = 0; i < N; i++)
		if (in[i])
			sessions_remove(t, &e[i]);
	sessions_free(t);
}
END_TEST

static void
hash_of(uint8_t hash[32], unsigned i)
{
	noise_sha256(hash, &i, sizeof(i), NULL, 0);
}

START_TEST(replays)
{
	const uint64_t span = SESSIONS_REPLAY_S * 1000;
	struct sessions *t = sessions_new(8, RETAIN_S);
	struct sessions_entry e;
	struct conn *c = CONN(99);
	uint8_t hash[32];

	hash_of(hash, 1);
	ck_assert_int_eq(sessions_replay(t, hash, 1000, &c), REPLAY_NEW);
	/* Seen, before it has a session and after that is gone. */
	ck_assert_int_eq(sessions_replay(t, hash, 1000, &c), REPLAY_SEEN);
	ck_assert_ptr_null(c);
	ck_assert(sessions_add(t, &e, CONN(1), 1000));
	sessions_replay_bind(t, hash, e.id);
	ck_assert_int_eq(sessions_replay(t, hash, 1000 + span, &c), REPLAY_SEEN);
	ck_assert_ptr_eq(c, CONN(1));
	sessions_remove(t, &e);
	ck_assert_int_eq(sessions_replay(t, hash, 1000 + span, &c), REPLAY_SEEN);
	ck_assert_ptr_null(c);
	hash[31] ^= 1;
	ck_assert_int_eq(sessions_replay(t, hash, 2000, &c), REPLAY_NEW);
	hash[31] ^= 1;
	/* For as long as its clock is acceptable, and a minute that ours may be set back. */
	ck_assert_int_eq(sessions_replay(t, hash, 1000 + (SESSIONS_CLOCK_S + 60) * 1000, &c), REPLAY_SEEN);
	ck_assert_int_eq(sessions_replay(t, hash, 1000 + span + 1, &c), REPLAY_NEW);
	/* One that was forgotten meanwhile cannot be bound; that is harmless. */
	hash_of(hash, 2);
	sessions_replay_bind(t, hash, "AAAAAAAAAAAAAAAAAAAAAA");
	ck_assert_int_eq(sessions_replay(t, hash, 1000, &c), REPLAY_NEW);
	sessions_free(t);
}
END_TEST

START_TEST(replay_filter_full)
{
	const uint64_t span = SESSIONS_REPLAY_S * 1000;
	struct sessions *t = sessions_new(8, RETAIN_S);
	struct conn *c;
	uint8_t hash[32];
	unsigned n;

	for (n = 0;; n++) {
		hash_of(hash, n);
		if (sessions_replay(t, hash, 1000 + n / 1000, &c) == REPLAY_FULL)
			break;
		ck_assert_uint_lt(n, 1000000);
	}
	ck_assert_uint_ge(n, 300 * SESSIONS_REPLAY_S);
	/* All that it took, it knows; a new one is turned away until room is made by time,
	 * and none that is still to be remembered gives way. */
	hash_of(hash, 0);
	ck_assert_int_eq(sessions_replay(t, hash, 1000 + span, &c), REPLAY_SEEN);
	hash_of(hash, n - 1);
	ck_assert_int_eq(sessions_replay(t, hash, 1000 + span, &c), REPLAY_SEEN);
	hash_of(hash, n);
	ck_assert_int_eq(sessions_replay(t, hash, 1000 + span, &c), REPLAY_FULL);
	ck_assert_int_eq(sessions_replay(t, hash, 1000 + span + 1, &c), REPLAY_NEW);
	hash_of(hash, 999);
	ck_assert_int_eq(sessions_replay(t, hash, 1000 + span + 1, &c), REPLAY_NEW);
	hash_of(hash, 1000);
	ck_assert_int_eq(sessions_replay(t, hash, 1000 + span + 1, &c), REPLAY_SEEN);
	sessions_free(t);
}
END_TEST

TEST_MAIN("sessions", ids, epochs, expiry, tombstones, model, replays, replay_filter_full)
