#include "pt-client/oob_pool.h"

#define MINUTE_MS 60000

void
pool_use(struct pool *p, uint64_t now, unsigned parallel)
{
	uint64_t minute = now / MINUTE_MS;

	if (minute != p->minute) {
		p->past = minute == p->minute + 1 ? p->peak : 0;
		p->peak = 0;
		p->minute = minute;
	}
	if (parallel > p->peak)
		p->peak = parallel;
	p->used = now;
	p->ever = true;
}

unsigned
pool_keep(const struct pool *p, uint64_t now)
{
	uint64_t age = now / MINUTE_MS - p->minute;
	unsigned keep = 1;

	if (age <= 1 && p->peak > keep)
		keep = p->peak;
	if (age == 0 && p->past > keep)
		keep = p->past;
	return keep < POOL_KEEP_MAX ? keep : POOL_KEEP_MAX;
}

bool
pool_wanted(const struct pool *p, uint64_t now)
{
	return p->ever && now - p->used < POOL_USED_MS;
}
