/* TLS under libevent: wolfSSL as a bufferevent over a socket. */
#ifndef SULTRY_COMMON_NET_TLS_BEV_H
#define SULTRY_COMMON_NET_TLS_BEV_H

#include <event2/bufferevent.h>

/* What connections share: certificate, key, ticket keys. */
struct tls_ctx;

/* A server side: TLS 1.3 and 1.2, session tickets, ALPN "http/1.1". The PEM
 * texts (leaf first; a chain may follow) are borrowed for the call. NULL: what
 * is wrong is in error. */
struct tls_ctx *tls_ctx_server(const char *cert_pem, const char *key_pem, char error[256]);
/* A client side that verifies nothing; for tests. */
struct tls_ctx *tls_ctx_client(char error[256]);
/* Not before the last bufferevent made from it is gone. */
void tls_ctx_free(struct tls_ctx *ctx);

/* A TLS connection over fd, which it owns and closes; fd -1: bufferevent_setfd
 * follows (evhttp). The socket must be non-blocking. NULL: out of resources
 * (fd is then still the caller's). Borrows ctx.
 *
 * Reads and writes work as on any bufferevent. The event callback gets
 * BEV_EVENT_EOF after close_notify or a bare FIN, and BEV_EVENT_ERROR for
 * anything that TLS or the socket refuses, the alert having been sent; there is
 * no BEV_EVENT_CONNECTED. bufferevent_free sends close_notify.
 *
 * After switching EV_WRITE on with bytes already queued, call
 * bufferevent_flush(bev, EV_WRITE, BEV_FLUSH): libevent's filters forget to. */
struct bufferevent *tls_bev_new(struct event_base *base, struct tls_ctx *ctx, evutil_socket_t fd);

/* The handshake is over, in both directions. */
int tls_bev_established(struct bufferevent *bev);

#endif
