/* Connects a session to its target: in managed mode tor's ORPort, or its Extended
 * ORPort, which is told who the client is; in a relay whatever the access list allows. */
#ifndef SULTRY_PT_SERVER_TARGET_H
#define SULTRY_PT_SERVER_TARGET_H

#include "pt-server/server.h"

struct target;

/* Called once, from the loop; the target is freed by then. fd is the callee's, connected to
 * `to` (NULL in managed mode: a client need not know); -1: err says why, and why is a text
 * for the log. */
typedef void target_done(void *arg, evutil_socket_t fd, const struct sockaddr_storage *to,
    enum msg_error err, const char *why);

/* host: "" is the bridge's own target. client: whose session it is; its family is AF_UNSPEC
 * where unknown. Both are borrowed for the call. Never calls back before it has returned. */
struct target *target_start(struct server *srv, const struct sockaddr *client, const char *host,
    uint16_t port, target_done *done, void *arg);
/* No callback. NULL is fine. */
void target_cancel(struct target *t);

#endif
