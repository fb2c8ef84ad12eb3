/* The table of sessions: found by id, by the tag of a hello, and by the hash of the
 * open that made them; capped in number, and expired in the order of their age. */
#ifndef SULTRY_PT_SERVER_SESSIONS_H
#define SULTRY_PT_SERVER_SESSIONS_H

#include <stdbool.h>
#include <stdint.h>
#include <sys/queue.h>

#include "common/noise.h"
#include "common/session.h"

struct conn;

/* How long a session lives without being touched. */
enum session_age {
	AGE_PINNED, /* a direct connection is up: as long as it likes */
	AGE_SHORT,  /* not confirmed yet: SESSIONS_SHORT_S */
	AGE_OVER,   /* a tombstone: as long. As many as live sessions are kept; of more, the oldest go */
	AGE_LONG,   /* no carrier: retain_s */
	AGE_COUNT
};
#define SESSIONS_SHORT_S 30
/* How old the clock of an open may be, and how long it is remembered: longer, for a clock of
 * ours that is set back a little. */
#define SESSIONS_CLOCK_S 120
#define SESSIONS_REPLAY_S 180

struct sessions_tag {
	LIST_ENTRY(sessions_tag) link;
	struct sessions_entry *entry;
	struct noise_epoch keys;
	uint32_t epoch;
	bool listed;
};

/* Embedded in a struct conn. */
struct sessions_entry {
	LIST_ENTRY(sessions_entry) by_id;
	TAILQ_ENTRY(sessions_entry) by_age;
	struct conn *conn;
	char id[MSG_SESSION_ID + 1];
	struct sessions_tag tags[SESSION_EPOCHS];
	enum session_age age;
	uint64_t touched_ms;
};

struct sessions;

struct sessions *sessions_new(unsigned max, unsigned retain_s);
void sessions_free(struct sessions *t); /* the table must be empty */

/* Makes an id for entry and lists it (AGE_SHORT). False if there are `max` sessions that live. */
bool sessions_add(struct sessions *t, struct sessions_entry *e, struct conn *conn, uint64_t now_ms);
void sessions_remove(struct sessions *t, struct sessions_entry *e);
void sessions_touch(struct sessions *t, struct sessions_entry *e, enum session_age age,
    uint64_t now_ms);
/* Lists the tags of epochs [first, first + SESSION_EPOCHS) and no others. */
void sessions_set_epochs(struct sessions *t, struct sessions_entry *e,
    const uint8_t direct_secret[NOISE_KEY], uint32_t first);
void sessions_drop_epochs(struct sessions_entry *e);

/* NULL if there is none. */
struct conn *sessions_by_id(const struct sessions *t, const char *id);
const struct sessions_tag *sessions_by_tag(const struct sessions *t, const uint8_t tag[EPOCH_TAG]);
/* A session that has outlived its age, or a tombstone of too many, else NULL. O(1). */
struct conn *sessions_expired(const struct sessions *t, uint64_t now_ms);
/* Any session, to close all; NULL if there is none. */
struct conn *sessions_any(const struct sessions *t);
/* Calls fn for each; fn frees none of them. */
void sessions_each(const struct sessions *t, void (*fn)(struct conn *c, void *arg), void *arg);
/* Tombstones too. */
unsigned sessions_count(const struct sessions *t);
/* Without them. */
unsigned sessions_live(const struct sessions *t);

/* ---- the replay filter: opens seen in the last SESSIONS_REPLAY_S ---- */

enum replay_result {
	REPLAY_NEW,  /* remembered from now on */
	REPLAY_SEEN, /* *conn is the session it made, NULL if that is gone */
	REPLAY_FULL, /* too many opens in the window */
};
/* hash: SHA-256 of message 1. The session of a new one is named with replay_bind. */
enum replay_result sessions_replay(struct sessions *t, const uint8_t hash[32], uint64_t now_ms,
    struct conn **conn);
void sessions_replay_bind(struct sessions *t, const uint8_t hash[32], const char *id);

#endif
