/* TLS under libevent: wolfSSL as a bufferevent over a socket. */
#ifndef SULTRY_COMMON_NET_TLS_BEV_H
#define SULTRY_COMMON_NET_TLS_BEV_H

#include <event2/bufferevent.h>

/* What connections share: certificate, key, ticket keys. */
struct tls_ctx;

/* A server side: TLS 1.3 and 1.2, session tickets, ALPN "http/1.1". The PEM
 * texts (leaf first; a chain may follow) are borrowed for the call. NULL: what
 * is wrong is in error. (wolfSSL 5.5 lets an EC key pass that is not the
 * certificate's; the handshakes fail then.) */
struct tls_ctx *tls_ctx_server(const char *cert_pem, const char *key_pem, char error[256]);
/* A client side that verifies nothing; for tests. */
struct tls_ctx *tls_ctx_client(char error[256]);
/* New session tickets get a new key (common/tickets.h): a ticket resumes its session across
 * one rotation, not across two. Its owner calls this at least every few hours, or whoever
 * takes the process's memory can read what was recorded before. */
void tls_ctx_rotate_tickets(struct tls_ctx *ctx);
/* Connections made from it may outlive it. */
void tls_ctx_free(struct tls_ctx *ctx);

/* A TLS connection over fd, which it owns and closes; fd -1: bufferevent_setfd
 * follows (evhttp). The socket must be non-blocking. Never NULL: a connection
 * without the means for TLS ends at its first byte. Relies on the program to
 * ignore SIGPIPE, as every user of libevent must.
 *
 * Reads and writes work as on any bufferevent. A byte leaves the output buffer
 * when the kernel has it, so an empty one may be closed. The event callback gets
 * BEV_EVENT_EOF after close_notify or a bare FIN, and BEV_EVENT_ERROR for what TLS
 * or the socket refuses, the alert having been sent; never BEV_EVENT_CONNECTED.
 * Whoever does not read while input is above TLS_BEV_INPUT_MAX loses the
 * connection (BEV_EVENT_ERROR), unless EV_READ is off.
 *
 * bufferevent_flush(bev, EV_WRITE, BEV_FINISHED) sends close_notify, and so does
 * bufferevent_free if the socket has not been shut down by then.
 * Whoever switches EV_WRITE on later than in the callback that queued the bytes
 * calls bufferevent_flush(bev, EV_WRITE, BEV_FLUSH): libevent's filters forget to. */
struct bufferevent *tls_bev_new(struct event_base *base, struct tls_ctx *ctx, evutil_socket_t fd);
/* Notes whose it is. freed(owner) is called when it is freed, which libevent does from the
 * loop, later than bufferevent_free. */
void tls_bev_set_owner(struct bufferevent *bev, void *owner, void (*freed)(void *owner));
void *tls_bev_owner(struct bufferevent *bev);

/* The longest body of a request (pt-server/https.h), and what may come behind it at once. */
#define TLS_BEV_INPUT_MAX ((256u + 64) * 1024)

#endif
