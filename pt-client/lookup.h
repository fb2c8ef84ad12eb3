/* Host names resolved at the bridge, through the OOB channel, and remembered for their
 * time to live: no DNS query leaves this machine. */
#ifndef SULTRY_PT_CLIENT_LOOKUP_H
#define SULTRY_PT_CLIENT_LOOKUP_H

#include "common/message.h"
#include "pt-client/bridge.h"

struct lookup;
struct lookup_cache;

struct lookup_answer {
	enum msg_error error; /* ERR_NONE: there is at least one address */
	const char *why;      /* for the log, with an error */
	struct sockaddr_storage addresses[MSG_RESOLVED]; /* their ports are 0 */
	unsigned n;
	uint32_t ttl;         /* seconds left */
};
/* The answer is borrowed for the call; the lookup is freed by then. */
typedef void lookup_done(void *arg, const struct lookup_answer *answer);

struct lookup_cache *lookup_cache_new(void);
void lookup_cache_free(struct lookup_cache *c);

/* Asks b, on behalf of token ("": nobody), unless the cache knows. Addresses to which b may not
 * lead us (pt-client/bridge.h) are left out; if no other is there, the error is
 * ERR_TARGET_DENIED. host may be a literal address, which answers for itself. Takes a reference of its own to b. Never calls back
 * before it has returned. */
struct lookup *lookup_start(struct lookup_cache *c, struct bridge *b, const char *host,
    const char *token, lookup_done *done, void *arg);
/* No callback. NULL is fine. */
void lookup_cancel(struct lookup *l);

#endif
