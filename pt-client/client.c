#include "pt-client/client.h"

#include "common/net/local.h"
#include "pt-client/bridge.h"

void
client_idle(struct client *cl)
{
	if (cl->draining && LIST_EMPTY(&cl->apps) && LIST_EMPTY(&cl->routes))
		event_base_loopbreak(cl->base);
}

struct bridge *
client_bridge(struct client *cl)
{
	uint64_t now = local_now();

	for (unsigned i = 0; i < cl->n_own; i++)
		if (bridge_healthy(cl->own[i], now))
			return cl->own[i];
	return cl->own[0];
}
