/* The listeners that apps come to: a PT parent's, which is SOCKS5 with the arguments of a
 * bridge line, and those of the standalone proxy. */
#ifndef SULTRY_PT_CLIENT_ENTRY_H
#define SULTRY_PT_CLIENT_ENTRY_H

#include <sys/socket.h>

#include "pt-client/client.h"
#include "pt-client/settings.h"

struct entry;

/* Listens on addr (port 0: any); *bound says where. listener: what the standalone proxy
 * speaks there, borrowed; NULL: PT. NULL: errno. */
struct entry *entry_new(struct client *cl, const struct sockaddr_storage *addr,
    const struct client_listener *listener, struct sockaddr_storage *bound);
/* Stops listening and closes what has made no request yet. NULL is fine. */
void entry_free(struct entry *e);

#endif
