/* Tells of changes of the local network: an address or a link that comes or goes. */
#ifndef SULTRY_PT_CLIENT_NETWORK_H
#define SULTRY_PT_CLIENT_NETWORK_H

#include <event2/event.h>

struct network;

/* Calls changed() a moment after each change, once for those that come together. NULL
 * where the system cannot tell: then time-outs have to. */
struct network *network_new(struct event_base *base, void (*changed)(void *arg), void *arg);
/* NULL is fine. */
void network_free(struct network *n);

#endif
