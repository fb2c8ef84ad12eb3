/* How many idle connections a channel keeps, and for how long: the rule of DESIGN.md
 * section 3, "Pool", without sockets or a clock. Times are milliseconds of any clock that
 * does not run backwards. Zeroed memory is a channel that was never used. */
#ifndef SULTRY_CLIENT_OOB_POOL_H
#define SULTRY_CLIENT_OOB_POOL_H

#include <stdbool.h>
#include <stdint.h>

#define POOL_KEEP_MAX 8
#define POOL_REFRESH_MIN_MS 60000
#define POOL_REFRESH_MAX_MS 90000
#define POOL_USED_MS 600000

struct pool {
	uint64_t minute;     /* the minute that `peak` is of */
	unsigned peak, past; /* most parallel requests in it, and in the one before */
	uint64_t used;       /* the last use */
	bool ever;
};

/* A request of the user's starts or ends, and `parallel` of them are alive, it included. */
void pool_use(struct pool *p, uint64_t now, unsigned parallel);
/* Idle connections to keep: the peak of this minute and the last, 1 to POOL_KEEP_MAX. */
unsigned pool_keep(const struct pool *p, uint64_t now);
/* Used in the last POOL_USED_MS: keep connections at all. */
bool pool_wanted(const struct pool *p, uint64_t now);

#endif
