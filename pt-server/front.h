/* The public port: an authentic hello becomes its session's direct connection, and
 * everything else is spliced from byte 0 to the fallback, a web server. */
#ifndef SULTRY_PT_SERVER_FRONT_H
#define SULTRY_PT_SERVER_FRONT_H

#include "pt-server/server.h"

struct front;

/* Listens on addr (port 0: any); *bound says where. fallback: where strangers go.
 * NULL: error says why. Of the connections of all fronts, a quarter of RLIMIT_NOFILE (as
 * it is now) and at most 4096 may be strangers' or undecided; more are closed at once. */
struct front *front_new(struct server *srv, const struct sockaddr *addr, socklen_t len,
    const struct sockaddr_storage *fallback, struct sockaddr_storage *bound, char error[256]);
void front_free(struct front *f);
/* An https_config.peer; arg is the front: whose splice a connection from `from` is. */
int front_peer(void *arg, const struct sockaddr *from, struct sockaddr_storage *addr);

#endif
