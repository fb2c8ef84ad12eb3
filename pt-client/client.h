/* What the whole client shares. One a process; main.c fills it. */
#ifndef SULTRY_PT_CLIENT_CLIENT_H
#define SULTRY_PT_CLIENT_CLIENT_H

#include <event2/event.h>
#include <sys/queue.h>

#include "common/outbound.h"
#include "common/stream.h"
#include "pt-client/oob.h"

LIST_HEAD(app_list, app);
LIST_HEAD(bridge_list, bridge);
LIST_HEAD(route_list, route);

struct client {
	struct event_base *base;
	struct outbound outbound;
	struct oob *oob;
	struct stream_budget budget;
	struct bridge_list bridges;
	struct app_list apps;
	bool draining; /* take nothing new, end when idle */

	/* The standalone proxy's. */
	struct route_list routes;
	const struct rules *rules;
	const char *token; /* "": none */
	struct lookup_cache *lookups;
	struct memory *memory;
	struct bridge **own; /* its bridges, referenced, in the order of preference */
	unsigned n_own;
};

/* A connection has ended: if it was the last, and the client is draining, the loop ends. */
void client_idle(struct client *cl);
/* The standalone proxy's bridge that is best to use now. */
struct bridge *client_bridge(struct client *cl);

#endif
