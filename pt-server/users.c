#include "pt-server/users.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "common/mem.h"
#include "common/noise.h"

#define DAY_MS (24u * 3600 * 1000)
#define LIMIT_MAX 1000000000000 /* of bytes, so that no sum below overflows */
#define BURST_MS 1000           /* what a user who was quiet may send at once */
#define GRAIN_MS 20             /* less than that is not worth a wakeup */

struct user {
	LIST_ENTRY(user) link;     /* in users.gone */
	char name[USERS_NAME_MAX + 1];
	uint8_t token[NOISE_HASH]; /* SHA-256 of it */
	struct user_limits limits;
	bool gone;                 /* freed with its last session */
	unsigned n_sessions;
	LIST_HEAD(, user_session) sessions;

	uint64_t total;
	uint64_t day_start_ms, day_bytes; /* the 24 hours at hand; 0 bytes: not begun */
	/* The token bucket, in thousandths of bytes: what a millisecond fills is a whole
	 * number then. Negative: a debt. */
	int64_t level;
	uint64_t level_ms; /* when that was so */
};

struct users {
	struct user_limits defaults;
	bool anonymous;     /* list holds the one whom everybody is */
	struct user **list;
	size_t n;
	LIST_HEAD(, user) gone; /* with sessions left */
};

/* ---- the list ---- */

static struct user *
new_user(const char *name, const struct user_limits *limits)
{
	struct user *user = mem_zalloc(sizeof(*user));

	snprintf(user->name, sizeof(user->name), "%s", name);
	user->limits = *limits;
	user->level = (int64_t)limits->bytes_per_second * BURST_MS;
	LIST_INIT(&user->sessions);
	return user;
}

static void
free_user(struct user *user)
{
	mem_wipe(user->token, sizeof(user->token));
	free(user);
}

static void
free_list(struct user **list, size_t n)
{
	for (size_t i = 0; i < n; i++)
		free_user(list[i]);
	free(list);
}

struct users *
users_new(const struct user_limits *defaults)
{
	struct users *u = mem_zalloc(sizeof(*u));

	u->defaults = *defaults;
	u->anonymous = true;
	u->list = mem_alloc(sizeof(*u->list));
	u->list[u->n++] = new_user("", defaults);
	LIST_INIT(&u->gone);
	return u;
}

void
users_free(struct users *u)
{
	if (u == NULL)
		return;
	free_list(u->list, u->n);
	free(u);
}

struct user *
users_find(struct users *u, const char *token)
{
	uint8_t hash[NOISE_HASH];
	struct user *found = NULL;

	if (u->anonymous)
		return u->list[0];
	noise_sha256(hash, token, strlen(token), NULL, 0);
	/* To the end in any case: the time does not tell which one it was. */
	for (size_t i = 0; i < u->n; i++)
		if (mem_equal(hash, u->list[i]->token, sizeof(hash)))
			found = u->list[i];
	return found;
}

const char *
user_name(const struct user *user)
{
	return user->name;
}

/* ---- the file ---- */

static void
read_bytes(struct config_node *in, const char *key, uint64_t *v)
{
	int64_t n;

	if (config_integer(in, key, 0, LIMIT_MAX, &n))
		*v = (uint64_t)n;
}

void
user_limits_read(struct config_node *in, struct user_limits *limits)
{
	int64_t n;

	if (config_integer(in, "sessions", 0, UINT32_MAX, &n))
		limits->sessions = (unsigned)n;
	read_bytes(in, "bytes_per_day", &limits->bytes_per_day);
	read_bytes(in, "bytes_per_second", &limits->bytes_per_second);
}

/* Names go into the log. */
static bool
name_ok(const char *name)
{
	size_t n = strspn(name, "abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ0123456789._@-");

	return n > 0 && n <= USERS_NAME_MAX && name[n] == '\0';
}

static struct user *
by_name(struct user *const *list, size_t n, const char *name)
{
	for (size_t i = 0; i < n; i++)
		if (strcmp(list[i]->name, name) == 0)
			return list[i];
	return NULL;
}

static bool
token_is_taken(struct user *const *list, size_t n, const uint8_t hash[NOISE_HASH])
{
	for (size_t i = 0; i < n; i++)
		if (mem_equal(list[i]->token, hash, NOISE_HASH))
			return true;
	return false;
}

/* One user of the file; NULL with an error in it. `before`: those that were read. */
static struct user *
read_user(struct config_node *o, const struct user_limits *defaults, struct user *const *before,
    size_t n_before)
{
	const char *name = NULL, *token = NULL;
	struct user_limits limits = *defaults;
	uint8_t hash[NOISE_HASH];
	struct user *user;

	if (!config_string(o, "name", &name) || !name_ok(name))
		config_bad(o, "name", "1 to 64 letters, digits, or \".\", \"_\", \"@\", \"-\"");
	else if (by_name(before, n_before, name) != NULL)
		config_bad(o, "name", "a name of its own, not that of a user before");
	if (!config_string(o, "token", &token) || !msg_token_ok(token))
		config_bad(o, "token", "16 to 64 characters of printable ASCII");
	user_limits_read(o, &limits);
	config_end(o);
	if (config_error(o->file) != NULL)
		return NULL;
	noise_sha256(hash, token, strlen(token), NULL, 0);
	if (token_is_taken(before, n_before, hash)) {
		config_bad(o, "token", "a token of its own, not that of a user before");
		return NULL;
	}
	user = new_user(name, &limits);
	memcpy(user->token, hash, sizeof(hash));
	return user;
}

/* Returns the list, *n long; what is wrong is in the file. */
static struct user **
read_list(struct config *c, const struct user_limits *defaults, size_t *n)
{
	struct user **list = NULL, *user;
	struct config_node root, users, o;

	*n = 0;
	config_root(c, &root);
	if (!config_list(&root, "users", &users)) {
		config_bad(&root, "users", "a list of users");
		return NULL;
	}
	while (config_next(&users)) {
		if (*n == USERS_MAX)
			config_bad(&users, NULL, "at most 4096 users");
		if (!config_object(&users, NULL, &o) ||
		    (user = read_user(&o, defaults, list, *n)) == NULL)
			break;
		list = mem_realloc(list, (*n + 1) * sizeof(*list));
		list[(*n)++] = user;
	}
	config_end(&root);
	return list;
}

static void
keep_use(struct user *to, const struct user *from)
{
	to->total = from->total;
	to->day_start_ms = from->day_start_ms;
	to->day_bytes = from->day_bytes;
	to->level = from->level;
	to->level_ms = from->level_ms;
}

/* Puts in place of the new one the old user whom it names, if that is the same. */
static void
take_over(struct user **slot, struct user **old, size_t n_old)
{
	for (size_t i = 0; i < n_old; i++) {
		if (old[i] == NULL || strcmp(old[i]->name, (*slot)->name) != 0)
			continue;
		if (!mem_equal(old[i]->token, (*slot)->token, NOISE_HASH)) {
			keep_use(*slot, old[i]);
			return;
		}
		old[i]->limits = (*slot)->limits;
		free_user(*slot);
		*slot = old[i];
		old[i] = NULL;
		return;
	}
}

static void
let_go(struct users *u, struct user *user)
{
	if (user->n_sessions == 0) {
		free_user(user);
		return;
	}
	user->gone = true;
	LIST_INSERT_HEAD(&u->gone, user, link);
}

int
users_load(struct users *u, const char *path, char error[CONFIG_ERROR])
{
	struct config *c = config_read(path);
	size_t n;
	struct user **list = read_list(c, &u->defaults, &n);

	if (config_error(c) != NULL) {
		snprintf(error, CONFIG_ERROR, "%s", config_error(c));
		config_free(c);
		free_list(list, n);
		return -1;
	}
	config_free(c);
	for (size_t i = 0; i < n; i++)
		take_over(&list[i], u->list, u->n);
	for (size_t i = 0; i < u->n; i++)
		if (u->list[i] != NULL)
			let_go(u, u->list[i]);
	free(u->list);
	u->list = list;
	u->n = n;
	u->anonymous = false;
	return 0;
}

struct user_session *
users_revoked(struct users *u)
{
	struct user *user = LIST_FIRST(&u->gone);

	return user != NULL ? LIST_FIRST(&user->sessions) : NULL;
}

/* ---- use ---- */

/* What is left of the day. */
static uint64_t
day_left(struct user *user, uint64_t now_ms)
{
	uint64_t limit = user->limits.bytes_per_day;

	if (user->day_bytes > 0 && now_ms - user->day_start_ms >= DAY_MS)
		user->day_bytes = 0;
	return limit == 0 ? UINT64_MAX : limit > user->day_bytes ? limit - user->day_bytes : 0;
}

/* Fills the bucket by the time that has passed. */
static void
fill(struct user *user, uint64_t now_ms)
{
	int64_t rate = (int64_t)user->limits.bytes_per_second, full = rate * BURST_MS;
	uint64_t passed = now_ms - user->level_ms;

	user->level_ms = now_ms;
	if (rate == 0 || user->level >= full || passed > (uint64_t)((full - user->level) / rate))
		user->level = full;
	else
		user->level += rate * (int64_t)passed;
}

bool
user_session_start(struct user *user, struct user_session *s, void *owner, uint64_t now_ms)
{
	if (user->limits.sessions > 0 && user->n_sessions >= user->limits.sessions)
		return false;
	if (day_left(user, now_ms) == 0)
		return false;
	s->user = user;
	s->owner = owner;
	user->n_sessions++;
	LIST_INSERT_HEAD(&user->sessions, s, link);
	return true;
}

void
user_session_stop(struct user_session *s)
{
	struct user *user = s->user;

	if (user == NULL)
		return;
	s->user = NULL;
	LIST_REMOVE(s, link);
	if (--user->n_sessions == 0 && user->gone) {
		LIST_REMOVE(user, link);
		free_user(user);
	}
}

bool
user_spent(struct user *user, uint64_t now_ms)
{
	return day_left(user, now_ms) == 0;
}

size_t
user_allowance(struct user *user, uint64_t now_ms, uint64_t *wait_ms)
{
	int64_t rate = (int64_t)user->limits.bytes_per_second, grain = rate * GRAIN_MS;
	uint64_t day = day_left(user, now_ms), now;

	if (day == 0) {
		*wait_ms = user->day_start_ms + DAY_MS - now_ms;
		return 0;
	}
	if (rate == 0)
		return day < SIZE_MAX ? (size_t)day : SIZE_MAX;
	fill(user, now_ms);
	if (grain < 1000)
		grain = 1000; /* a byte */
	if (user->level < grain) {
		*wait_ms = (uint64_t)((grain - user->level + rate - 1) / rate);
		return 0;
	}
	now = (uint64_t)user->level / 1000;
	return (size_t)(now < day ? now : day);
}

void
user_bytes(struct user *user, size_t n, uint64_t now_ms)
{
	if (n == 0)
		return;
	day_left(user, now_ms); /* may begin a new day */
	if (user->day_bytes == 0)
		user->day_start_ms = now_ms;
	user->day_bytes += n;
	user->total += n;
	if (user->limits.bytes_per_second == 0)
		return;
	fill(user, now_ms);
	user->level -= (int64_t)n * 1000;
}

uint64_t
user_total(const struct user *user)
{
	return user->total;
}
