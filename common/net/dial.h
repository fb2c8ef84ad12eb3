/* Opens one outgoing TCP connection, straight or through the upstream proxy. */
#ifndef SULTRY_COMMON_NET_DIAL_H
#define SULTRY_COMMON_NET_DIAL_H

#include <event2/event.h>
#include <sys/socket.h>

#include "common/outbound.h"

struct dial;

/* Called once, from the loop, when the dial has ended; the dial is freed by then. fd: a
 * connected socket that the callee owns (non-blocking, close-on-exec, TCP_NODELAY; its next
 * byte is the target's first), or -1 with err set to an errno value: what connect(2) said
 * or, where the proxy did the connecting, what it said, in the same terms:
 *   ECONNREFUSED EHOSTUNREACH ENETUNREACH ETIMEDOUT  the target, as told by the proxy; the
 *                 last also when timeout_ms has passed
 *   ECONNRESET    the proxy hung up in the middle of the conversation
 *   EACCES        the proxy wants other credentials, or its rules forbid it
 *   EAFNOSUPPORT  not an IP address, or one that this kind of proxy cannot be told
 *                 (socks4, socks4a: IPv6)
 *   EOPNOTSUPP EIO  the proxy failed without a better reason
 *   EPROTO        the proxy spoke another protocol
 *   EINVAL        the credentials do not fit the proxy's kind
 * Nothing is ever tried around the proxy. */
typedef void dial_done(void *arg, evutil_socket_t fd, int err);

/* Starts to connect to sa (copied). o: borrowed until the dial ends; NULL: straight, from any
 * source address. timeout_ms bounds all of it, the proxy included. A source address is bound
 * unless the connection (to the proxy, where there is one) stays on the loopback. Never calls
 * back before it has returned. */
struct dial *dial_start(struct event_base *base, const struct outbound *o,
    const struct sockaddr *sa, socklen_t len, unsigned timeout_ms, dial_done *done, void *arg);

/* Binds fd to the source address of peer's family in o, if there is one and peer is not on the
 * loopback (pt-spec section 3.2.1). Returns 0 or an errno value. */
int dial_bind_source(evutil_socket_t fd, const struct outbound *o,
    const struct sockaddr_storage *peer);

/* Ends a dial whose callback has not been called yet; it will not be. NULL is fine. */
void dial_cancel(struct dial *d);

#endif
