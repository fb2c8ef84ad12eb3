/* What is said to an upstream proxy so that it connects us to a target: SOCKS5 (RFC 1928,
 * 1929), SOCKS4 and 4a, HTTP CONNECT (RFC 9110 section 9.3.6). Bytes in, bytes out. */
#ifndef SULTRY_COMMON_NET_PROXY_H
#define SULTRY_COMMON_NET_PROXY_H

#include "common/net/talk.h"
#include "common/outbound.h"

/* The cap on an HTTP proxy's reply, whose length it need not say before. */
#define PROXY_HTTP_REPLY_MAX 8192

enum proxy_state {
	PROXY_METHOD, PROXY_AUTH, PROXY_REPLY, PROXY_BOUND_TYPE, PROXY_BOUND, /* SOCKS5 */
	PROXY_SOCKS4_REPLY,
	PROXY_HTTP_STATUS, PROXY_HTTP_HEADERS
};

struct proxy {
	struct talk talk; /* first, so that step can get at the rest */
	const struct outbound *o;
	const struct sockaddr_storage *target;
	enum proxy_state state;
	int code;     /* of the HTTP status line */
	size_t line;  /* bytes in the current line of an HTTP reply, its end aside */
	size_t total; /* bytes in the HTTP reply */
	int err;      /* after TALK_BAD: an errno value as dial_done gives it */
};

/* Starts the conversation with the kind of proxy that o names (not PROXY_NONE); the target is
 * IPv4 or IPv6. Both are borrowed. Returns 0, or an errno value if it cannot be said to this
 * proxy. To be followed by talk_feed or talk_run on &p->talk, and by proxy_clear in any case. */
int proxy_init(struct proxy *p, const struct outbound *o, const struct sockaddr_storage *target);
void proxy_clear(struct proxy *p);
/* What an HTTP proxy means by a status that is not 2xx, as struct proxy's err. */
int proxy_http_reason(int code);

#endif
