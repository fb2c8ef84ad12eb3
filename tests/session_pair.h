/* A client's and a server's session for one test, not joined by anything yet. */
#ifndef SULTRY_TESTS_SESSION_PAIR_H
#define SULTRY_TESTS_SESSION_PAIR_H

#include "common/session.h"
#include "tests/harness.h"

static struct session cl, sv;
static struct stream_budget budget;

static inline void
begin(void)
{
	budget = (struct stream_budget){ .max = 64u << 20 };
	session_init(&cl, SESSION_CLIENT, &budget);
	session_init(&sv, SESSION_SERVER, &budget);
}

static inline void
end(void)
{
	session_clear(&cl);
	session_clear(&sv);
	ck_assert(budget.held == 0 && budget.given == 0);
}

static inline void
put(struct session *x, const char *text)
{
	ck_assert_uint_ge(session_room(x), strlen(text));
	session_put(x, text, strlen(text));
}

/* The server takes request number n. */
static inline enum session_exchange_result
give(uint64_t n, const struct msg_request *x, bool *drop)
{
	return session_take_exchange(&sv, n, x, drop);
}

#endif
