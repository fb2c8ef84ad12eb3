/* Who may use a relay, and how much: tokens, sessions, bytes, rates. No I/O but the
 * reading of the users file; the clock is the caller's (monotonic milliseconds).
 *
 * Without a file there is one anonymous user, whom everybody is. With one, a token that is
 * not in it is nobody. Its form:
 *	{"users": [{"name": "anna", "token": "at least 16 characters", "sessions": 16,
 *	    "bytes_per_day": 10000000000, "bytes_per_second": 1000000}, ...]}
 * A limit that a user does not have is the default one. */
#ifndef SULTRY_PT_SERVER_USERS_H
#define SULTRY_PT_SERVER_USERS_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <sys/queue.h>

#include "common/config.h"
#include "common/message.h"

#define USERS_MAX 4096
#define USERS_NAME_MAX 64

struct users;
struct user;

/* 0: no limit. */
struct user_limits {
	unsigned sessions;         /* at a time */
	uint64_t bytes_per_day;    /* both directions together, in 24 h from the first byte */
	uint64_t bytes_per_second; /* both directions together */
};

/* Embedded in a session. Zeroed memory: not started. */
struct user_session {
	LIST_ENTRY(user_session) link;
	struct user *user; /* NULL: not started */
	void *owner;       /* the session that it is in */
};

/* Reads "sessions", "bytes_per_day" and "bytes_per_second" of an object; what it does not
 * have stays as it is. */
void user_limits_read(struct config_node *in, struct user_limits *limits);

struct users *users_new(const struct user_limits *defaults);
/* All sessions must have been stopped. */
void users_free(struct users *u);

/* Reads the file, at the start or again. Users are known by name and token: who has kept
 * both keeps the sessions and what was used, with the limits of now. Whose token changed
 * keeps what was used, but loses the sessions, like those who are gone. 0, or -1 with
 * nothing changed and what is wrong in error. */
int users_load(struct users *u, const char *path, char error[CONFIG_ERROR]);
/* A session whose user is gone, NULL if there is none: to be ended (which stops it) until
 * there are no more, after each users_load. */
struct user_session *users_revoked(struct users *u);

/* NULL: nobody. token "" where none was given. */
struct user *users_find(struct users *u, const char *token);
/* For the log; "" for the anonymous user. */
const char *user_name(const struct user *user);

/* False, with nothing started: the user has all sessions that are allowed, or has used up
 * the day's bytes. */
bool user_session_start(struct user *user, struct user_session *s, void *owner, uint64_t now_ms);
/* Idempotent. */
void user_session_stop(struct user_session *s);

/* The day's bytes are used up. */
bool user_spent(struct user *user, uint64_t now_ms);
/* How many bytes of the user's may move now: SIZE_MAX without limits. If 0, *wait_ms is when
 * to ask again (up to a day). Several sessions share what is there: each asks before it
 * moves bytes, and says how many it moved. */
size_t user_allowance(struct user *user, uint64_t now_ms, uint64_t *wait_ms);
/* n bytes moved; more than were allowed are a debt. */
void user_bytes(struct user *user, size_t n, uint64_t now_ms);
/* All bytes that user_bytes was told of. */
uint64_t user_total(const struct user *user);

#endif
