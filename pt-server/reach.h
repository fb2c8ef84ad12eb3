/* A relay's way to a target: access list, resolving, access list again, and a race of dials
 * (Happy Eyeballs, RFC 8305) to the very addresses that were checked. */
#ifndef SULTRY_PT_SERVER_REACH_H
#define SULTRY_PT_SERVER_REACH_H

#include "common/outbound.h"
#include "pt-server/access.h"
#include "pt-server/resolve.h"

#define REACH_STAGGER_MS 250  /* RFC 8305 section 5: Connection Attempt Delay */
#define REACH_TOTAL_MS 15000  /* for all of it */

/* What the client is told of a dial's errno value (see common/net/dial.h). */
enum msg_error reach_error(int err);

/* What reaching needs. Filled by the owner; borrowed until all have ended. */
struct reach_env {
	struct event_base *base;
	struct access *access;        /* reach_start keeps the relay's own addresses in it */
	struct resolver *resolver;
	const struct outbound *outbound;
	const struct sockaddr_storage *also; /* ours too, though on no interface: a NAT's */
	size_t n_also;
	uint64_t own_ms;              /* when they were last looked at; starts as 0 */
};

struct reach;

/* Called once, from the loop; the reach is freed by then. fd: connected to `to`, the
 * callee's; or -1, err and a text for the log say why, and to is NULL. */
typedef void reach_done(void *arg, evutil_socket_t fd, const struct sockaddr_storage *to,
    enum msg_error err, const char *why);

/* Brings env->access up to date about the relay's own addresses, now and then. */
void reach_refresh_own(struct reach_env *env);
/* Never calls back before it has returned. */
struct reach *reach_start(struct reach_env *env, const char *host, uint16_t port, reach_done *done,
    void *arg);
/* No callback. NULL is fine. */
void reach_cancel(struct reach *r);

#endif
