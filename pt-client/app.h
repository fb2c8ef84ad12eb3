/* One app connection: its socket, its session, and the carriers that move it. */
#ifndef SULTRY_PT_CLIENT_APP_H
#define SULTRY_PT_CLIENT_APP_H

#include <stddef.h>
#include <stdint.h>

#include "pt-client/bridge.h"
#include "pt-client/client.h"
#include "pt-client/request.h"

/* What became of an app's request at the bridge: ok or not. error: what the bridge itself,
 * authentic, said; ERR_NONE if it said nothing of the kind. Called just once. */
typedef void app_result(void *arg, bool ok, enum msg_error error);

/* Starts a session for a request. Takes its fd and the reference to b; copies the rest. The
 * app is answered when what the answer says is known. token: the user at the relay, or "".
 * result may be NULL. */
void app_start(struct client *cl, struct bridge *b, const struct request *req, const char *token,
    app_result *result, void *arg);
/* The local network changed: connections that lost their address are replaced, requests
 * under way are sent again. */
void app_network_changed(struct client *cl);
/* Ends all of them at once. */
void app_end_all(struct client *cl);

#endif
