#include "pt-server/sessions.h"

#include <stdlib.h>
#include <string.h>

#include "common/mem.h"

#define BUCKET_BITS 13
#define BUCKETS (1u << BUCKET_BITS)
/* Opens remembered at most: 300 a second, sustained over the window. */
#define REPLAY_MAX (300 * SESSIONS_REPLAY_S)

struct replay {
	LIST_ENTRY(replay) link;
	TAILQ_ENTRY(replay) by_age;
	uint8_t hash[32];
	char id[MSG_SESSION_ID + 1];
	uint64_t at_ms;
};

LIST_HEAD(entry_list, sessions_entry);
LIST_HEAD(tag_list, sessions_tag);
LIST_HEAD(replay_list, replay);
TAILQ_HEAD(entry_queue, sessions_entry);
TAILQ_HEAD(replay_queue, replay);

struct sessions {
	unsigned max, n, n_over, n_replays;
	uint64_t ttl_ms[AGE_COUNT];
	uint64_t salt; /* odd; keeps clients from choosing their bucket */
	struct entry_list ids[BUCKETS];
	struct tag_list tags[BUCKETS];
	struct replay_list replays[BUCKETS];
	struct entry_queue ages[AGE_COUNT];
	struct replay_queue replay_ages;
};

/* Multiplicative hashing of the first 8 bytes, which are pseudorandom in all keys here. */
static unsigned
bucket(const struct sessions *t, const void *key)
{
	uint64_t x;

	memcpy(&x, key, sizeof(x));
	return (unsigned)((x ^ t->salt >> 7) * t->salt >> (64 - BUCKET_BITS));
}

struct sessions *
sessions_new(unsigned max, unsigned retain_s)
{
	struct sessions *t = mem_zalloc(sizeof(*t));

	t->max = max;
	t->ttl_ms[AGE_PINNED] = UINT64_MAX;
	t->ttl_ms[AGE_SHORT] = t->ttl_ms[AGE_OVER] = SESSIONS_SHORT_S * 1000;
	t->ttl_ms[AGE_LONG] = (uint64_t)retain_s * 1000;
	mem_random(&t->salt, sizeof(t->salt));
	t->salt |= 1;
	for (int i = 0; i < AGE_COUNT; i++)
		TAILQ_INIT(&t->ages[i]);
	TAILQ_INIT(&t->replay_ages);
	return t;
}

static void
forget(struct sessions *t, struct replay *r)
{
	LIST_REMOVE(r, link);
	TAILQ_REMOVE(&t->replay_ages, r, by_age);
	free(r);
	t->n_replays--;
}

void
sessions_free(struct sessions *t)
{
	struct replay *r;

	while ((r = TAILQ_FIRST(&t->replay_ages)) != NULL)
		forget(t, r);
	free(t);
}

bool
sessions_add(struct sessions *t, struct sessions_entry *e, struct conn *conn, uint64_t now_ms)
{
	uint8_t raw[16];

	if (sessions_live(t) >= t->max)
		return false;
	memset(e, 0, sizeof(*e));
	e->conn = conn;
	e->age = AGE_SHORT;
	e->touched_ms = now_ms;
	mem_random(raw, sizeof(raw));
	base64url_encode(e->id, raw, sizeof(raw));
	LIST_INSERT_HEAD(&t->ids[bucket(t, e->id)], e, by_id);
	TAILQ_INSERT_TAIL(&t->ages[e->age], e, by_age);
	t->n++;
	return true;
}

void
sessions_remove(struct sessions *t, struct sessions_entry *e)
{
	sessions_drop_epochs(e);
	LIST_REMOVE(e, by_id);
	TAILQ_REMOVE(&t->ages[e->age], e, by_age);
	t->n_over -= e->age == AGE_OVER;
	t->n--;
}

void
sessions_touch(struct sessions *t, struct sessions_entry *e, enum session_age age, uint64_t now_ms)
{
	TAILQ_REMOVE(&t->ages[e->age], e, by_age);
	t->n_over -= e->age == AGE_OVER;
	t->n_over += age == AGE_OVER;
	e->age = age;
	e->touched_ms = now_ms;
	TAILQ_INSERT_TAIL(&t->ages[age], e, by_age);
}

static void
unlist(struct sessions_tag *tag)
{
	if (tag->listed)
		LIST_REMOVE(tag, link);
	tag->listed = false;
}

void
sessions_set_epochs(struct sessions *t, struct sessions_entry *e,
    const uint8_t direct_secret[NOISE_KEY], uint32_t first)
{
	for (uint32_t epoch = first; epoch < first + SESSION_EPOCHS; epoch++) {
		struct sessions_tag *tag = &e->tags[epoch % SESSION_EPOCHS];

		if (tag->listed && tag->epoch == epoch)
			continue;
		unlist(tag);
		noise_epoch(&tag->keys, direct_secret, epoch);
		tag->epoch = epoch;
		tag->entry = e;
		tag->listed = true;
		LIST_INSERT_HEAD(&t->tags[bucket(t, tag->keys.tag)], tag, link);
	}
}

void
sessions_drop_epochs(struct sessions_entry *e)
{
	for (int i = 0; i < SESSION_EPOCHS; i++) {
		unlist(&e->tags[i]);
		mem_wipe(&e->tags[i].keys, sizeof(e->tags[i].keys));
	}
}

struct conn *
sessions_by_id(const struct sessions *t, const char *id)
{
	struct sessions_entry *e;

	if (strlen(id) != MSG_SESSION_ID)
		return NULL;
	LIST_FOREACH(e, &t->ids[bucket(t, id)], by_id)
		if (mem_equal(e->id, id, MSG_SESSION_ID))
			return e->conn;
	return NULL;
}

const struct sessions_tag *
sessions_by_tag(const struct sessions *t, const uint8_t tag[EPOCH_TAG])
{
	struct sessions_tag *x;

	LIST_FOREACH(x, &t->tags[bucket(t, tag)], link)
		if (mem_equal(x->keys.tag, tag, EPOCH_TAG))
			return x;
	return NULL;
}

struct conn *
sessions_expired(const struct sessions *t, uint64_t now_ms)
{
	if (t->n_over > t->max)
		return TAILQ_FIRST(&t->ages[AGE_OVER])->conn;
	for (int i = AGE_SHORT; i < AGE_COUNT; i++) {
		struct sessions_entry *e = TAILQ_FIRST(&t->ages[i]);

		if (e != NULL && now_ms - e->touched_ms >= t->ttl_ms[i])
			return e->conn;
	}
	return NULL;
}

struct conn *
sessions_any(const struct sessions *t)
{
	for (int i = 0; i < AGE_COUNT; i++)
		if (!TAILQ_EMPTY(&t->ages[i]))
			return TAILQ_FIRST(&t->ages[i])->conn;
	return NULL;
}

void
sessions_each(const struct sessions *t, void (*fn)(struct conn *c, void *arg), void *arg)
{
	struct sessions_entry *e;

	for (unsigned i = 0; i < BUCKETS; i++)
		LIST_FOREACH(e, &t->ids[i], by_id)
			fn(e->conn, arg);
}

unsigned
sessions_count(const struct sessions *t)
{
	return t->n;
}

unsigned
sessions_live(const struct sessions *t)
{
	return t->n - t->n_over;
}

static struct replay *
find_replay(const struct sessions *t, const uint8_t hash[32])
{
	struct replay *r;

	LIST_FOREACH(r, &t->replays[bucket(t, hash)], link)
		if (mem_equal(r->hash, hash, sizeof(r->hash)))
			return r;
	return NULL;
}

enum replay_result
sessions_replay(struct sessions *t, const uint8_t hash[32], uint64_t now_ms, struct conn **conn)
{
	struct replay *r;

	while ((r = TAILQ_FIRST(&t->replay_ages)) != NULL &&
	    now_ms - r->at_ms > SESSIONS_REPLAY_S * 1000)
		forget(t, r);
	r = find_replay(t, hash);
	if (r != NULL) {
		*conn = sessions_by_id(t, r->id);
		return REPLAY_SEEN;
	}
	if (t->n_replays >= REPLAY_MAX)
		return REPLAY_FULL;
	r = mem_zalloc(sizeof(*r));
	memcpy(r->hash, hash, sizeof(r->hash));
	r->at_ms = now_ms;
	LIST_INSERT_HEAD(&t->replays[bucket(t, hash)], r, link);
	TAILQ_INSERT_TAIL(&t->replay_ages, r, by_age);
	t->n_replays++;
	return REPLAY_NEW;
}

void
sessions_replay_bind(struct sessions *t, const uint8_t hash[32], const char *id)
{
	struct replay *r = find_replay(t, hash);

	if (r != NULL)
		memcpy(r->id, id, sizeof(r->id));
}
