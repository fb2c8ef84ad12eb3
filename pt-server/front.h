/* The public port: an authentic hello becomes its session's direct connection, and
 * everything else is spliced from byte 0 to the fallback, a web server. */
#ifndef SULTRY_PT_SERVER_FRONT_H
#define SULTRY_PT_SERVER_FRONT_H

#include "pt-server/server.h"

struct front;

/* Listens on addr (port 0: any); *bound says where. fallback: where strangers go.
 * NULL: error says why. Of the connections of all fronts, front_guests_max may be strangers'
 * or undecided. When there are more, the oldest goes that is not known (front_known); the
 * oldest of all if each is. */
struct front *front_new(struct server *srv, const struct sockaddr *addr, socklen_t len,
    const struct sockaddr_storage *fallback, struct sockaddr_storage *bound, char error[256]);
void front_free(struct front *f);
/* A quarter of RLIMIT_NOFILE as it is now, at most 4096. */
unsigned front_guests_max(void);
/* Whose splice a connection to the fallback from `from` is: 0 and *addr, or -1. */
int front_peer(const struct front *f, const struct sockaddr_storage *from,
    struct sockaddr_storage *addr);
/* By that one came an authentic request. */
void front_known(const struct front *f, const struct sockaddr_storage *from);

#endif
