/* Which way a request of the standalone proxy goes (DESIGN section 6): through a bridge, or
 * straight to its target, as the rules say. */
#ifndef SULTRY_PT_CLIENT_ROUTE_H
#define SULTRY_PT_CLIENT_ROUTE_H

#include "pt-client/client.h"
#include "pt-client/request.h"

/* Takes the request's fd; the app is answered, at once or later. */
void route_request(struct client *cl, const struct request *req);
/* Ends all connections that go straight. */
void route_end_all(struct client *cl);

#endif
