/* How connections leave this machine: what TOR_PT_PROXY and
 * TOR_PT_OUTBOUND_BIND_ADDRESS_V4/_V6 (pt-spec sections 3.2.1, 3.2.2) say. Filled by
 * common/pt or by a client's settings, used by every dial and by the OOB channel alike, so that nothing goes
 * around the proxy. Zeroed memory means: no proxy, any source address. */
#ifndef SULTRY_COMMON_OUTBOUND_H
#define SULTRY_COMMON_OUTBOUND_H

#include <netinet/in.h>
#include <stdbool.h>
#include <stddef.h>
#include <sys/socket.h>

enum proxy_kind { PROXY_NONE, PROXY_SOCKS4, PROXY_SOCKS4A, PROXY_SOCKS5, PROXY_HTTP };

struct outbound {
	enum proxy_kind proxy;
	struct sockaddr_storage proxy_addr; /* address and port; never a name */
	char *user, *pass;                  /* owned, decoded; NULL where not given */
	struct sockaddr_in bind4;           /* sin_family is AF_UNSPEC where not given */
	struct sockaddr_in6 bind6;
};

void outbound_clear(struct outbound *o);
/* scheme://[user[:password]@]address:port[/], as in TOR_PT_PROXY; the scheme is socks5, socks4a,
 * socks4 or http. o has no proxy yet. False: *why (static, nothing of the URI in it, which may
 * hold a password) says what is wrong, and o is to be cleared. */
bool outbound_set_proxy(struct outbound *o, const char *uri, const char **why);
/* "user[:password]", n characters, as URIs hold it; owned by the caller. *pass stays NULL without
 * a colon. False if a NUL comes out; nothing is set then. */
bool outbound_credentials(char **user, char **pass, const char *s, size_t n);

#endif
