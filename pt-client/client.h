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

struct client {
	struct event_base *base;
	struct outbound outbound;
	struct oob *oob;
	struct stream_budget budget;
	struct bridge_list bridges;
	struct app_list apps;
	void (*idle)(struct client *cl); /* called when the last app is gone */
};

#endif
