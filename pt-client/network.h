/* Tells of changes of the local network: an address or a link that comes or goes. */
#ifndef SULTRY_PT_CLIENT_NETWORK_H
#define SULTRY_PT_CLIENT_NETWORK_H

#include <event2/event.h>
#include <stdbool.h>

struct ifaddrs;
struct network;

/* Whether two lists of getifaddrs (NULL: empty) differ in the addresses from which a bridge can
 * be reached, the interfaces that have them, or whether those run. Their order does not count. */
bool network_differs(const struct ifaddrs *a, const struct ifaddrs *b);

/* Calls changed() a moment after each change, once for those that come together. NULL
 * where the system cannot tell: then time-outs have to. */
struct network *network_new(struct event_base *base, void (*changed)(void *arg), void *arg);
/* NULL is fine. */
void network_free(struct network *n);

#endif
