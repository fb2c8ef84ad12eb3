/* Connects a session to its target: in managed mode tor's ORPort, or its Extended
 * ORPort, which is told who the client is. */
#ifndef SULTRY_PT_SERVER_TARGET_H
#define SULTRY_PT_SERVER_TARGET_H

#include "pt-server/server.h"

struct target;

/* Called once, from the loop; the target is freed by then. fd is the callee's; -1: err
 * says why, and why is a text for the log. */
typedef void target_done(void *arg, evutil_socket_t fd, enum msg_error err, const char *why);

/* client: whose session it is; its family is AF_UNSPEC where unknown. Borrowed for the
 * call. Never calls back before it has returned. */
struct target *target_start(struct server *srv, const struct sockaddr *client, target_done *done,
    void *arg);
/* No callback. NULL is fine. */
void target_cancel(struct target *t);

#endif
