/* The listener that apps come to: SOCKS5 with a bridge line's arguments. */
#ifndef SULTRY_PT_CLIENT_ENTRY_H
#define SULTRY_PT_CLIENT_ENTRY_H

#include <sys/socket.h>

#include "pt-client/client.h"

struct entry;

/* Listens on addr (port 0: any); *bound says where. NULL: errno. */
struct entry *entry_new(struct client *cl, const struct sockaddr *addr, socklen_t len,
    struct sockaddr_storage *bound);
/* Stops listening and closes what has made no request yet. NULL is fine. */
void entry_free(struct entry *e);

#endif
