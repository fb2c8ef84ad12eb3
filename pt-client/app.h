/* One app connection: its socket, its session, and the carriers that move it. */
#ifndef SULTRY_PT_CLIENT_APP_H
#define SULTRY_PT_CLIENT_APP_H

#include <stddef.h>
#include <stdint.h>

#include "pt-client/bridge.h"
#include "pt-client/client.h"

/* Starts a session for an app whose SOCKS request was read from fd. Takes fd and the
 * reference to b. early: n bytes that the app sent behind its request. The reply to the
 * request is sent when what it says is known. */
void app_start(struct client *cl, evutil_socket_t fd, struct bridge *b, const uint8_t *early,
    size_t n);
/* The local network changed: connections that lost their address are replaced, requests
 * under way are sent again. */
void app_network_changed(struct client *cl);
/* Ends all of them at once. */
void app_end_all(struct client *cl);

#endif
