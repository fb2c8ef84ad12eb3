/* What rules about destinations are made of: host patterns, networks, ports. Pure. */
#ifndef SULTRY_COMMON_MATCH_H
#define SULTRY_COMMON_MATCH_H

#include <stdbool.h>
#include <stdint.h>
#include <sys/socket.h>

#define MATCH_NAME_MAX 253 /* RFC 1035 section 2.3.4, without the root's dot */

/* first <= last, neither is 0. */
struct match_ports {
	uint16_t first, last;
};

/* The leading `bits` of ip. */
struct match_network {
	struct sockaddr_storage ip;
	unsigned bits;
};

/* Whether it is a host name that can be asked for: labels of letters, digits, "-" and "_",
 * 1 to 63 long; a dot may end it. The last label starts with a letter: to some resolvers
 * "127.1" and "0x7f000001" are addresses in disguise. Literal addresses are not names. */
bool match_name_ok(const char *host);

/* A pattern is a host name, or a literal address, in which each "*" stands for any run of
 * characters, dots too: "*.example.com" is every name below example.com, not itself. */
bool match_pattern_ok(const char *pattern);
/* Regardless of letter case and of a dot at the end of the host. */
bool match_host(const char *pattern, const char *host);

/* "443" or "8000-8100". */
bool match_ports_parse(struct match_ports *p, const char *text);
bool match_port(const struct match_ports *p, uint16_t port);

/* "192.0.2.0/24", "2001:db8::/32", or an address alone. No bits may be set behind the
 * prefix: that is a typing error. */
bool match_network_parse(struct match_network *n, const char *text);
/* a is not v4-mapped (see address_copy); its port is not looked at. */
bool match_network(const struct match_network *n, const struct sockaddr_storage *a);

#endif
