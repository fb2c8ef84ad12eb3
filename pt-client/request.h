/* What an app asked for, in whatever protocol, and how it is answered in that. */
#ifndef SULTRY_PT_CLIENT_REQUEST_H
#define SULTRY_PT_CLIENT_REQUEST_H

#include <event2/util.h>
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "pt-client/http_body.h"
#include "pt-client/socks5.h"

enum request_kind {
	REQUEST_SOCKS5,
	REQUEST_CONNECT, /* HTTP CONNECT */
	REQUEST_HTTP     /* a plain HTTP request: the target's answer is the reply */
};

/* The strings and early bytes are borrowed; fd is the app's socket, whose owner changes as
 * the functions that take a request say. */
struct request {
	evutil_socket_t fd;
	enum request_kind kind;
	const char *host;     /* NULL: the bridge's own target */
	uint16_t port;
	const uint8_t *early; /* n bytes that the app sent behind its request */
	size_t n;
	struct http_body body; /* REQUEST_HTTP: what the app may send behind them */
};

/* Tells the app what became of its request. False: the app is gone. */
bool request_reply(evutil_socket_t fd, enum request_kind kind, enum socks5_rep rep);

#endif
