/* Which targets a relay connects to. Pure: who asks resolves the name in between.
 *
 * A list of rules that allow; what no rule allows is denied. A rule has ports (none given:
 * 80 and 443), hosts (none given: any) and networks (none given: public addresses, see
 * address_is_public), and all three must agree. Without any rule the list is one rule that
 * gives none of them. The relay's own addresses, and those that are not public, are out of
 * reach unless a network of a matching rule covers them. */
#ifndef SULTRY_PT_SERVER_ACCESS_H
#define SULTRY_PT_SERVER_ACCESS_H

#include <stddef.h>

#include "common/match.h"

#define ACCESS_RULES 64 /* of a list */
#define ACCESS_ITEMS 64 /* of each kind in a rule */

struct access_rule {
	struct match_ports *ports;
	char **hosts;
	struct match_network *networks;
	size_t n_ports, n_hosts, n_networks;
};

/* Zeroed memory is a list without rules. */
struct access {
	struct access_rule *rules;
	size_t n_rules;
	struct sockaddr_storage *own;
	size_t n_own;
};

void access_clear(struct access *a);

/* A new rule that gives nothing yet; NULL if there are ACCESS_RULES. Valid until the next. */
struct access_rule *access_add(struct access *a);
/* Each false, with nothing done, if text is not of the kind, or is one too many. */
bool access_add_ports(struct access_rule *r, const char *text);   /* "443", "8000-8100" */
bool access_add_host(struct access_rule *r, const char *text);    /* see match_pattern_ok */
/* "10.0.0.0/8", "2001:db8::1". All addresses (a prefix of 0 bits) would include the
 * relay's loopback: refused. */
bool access_add_network(struct access_rule *r, const char *text);
/* The relay's own addresses, instead of those that it knew; copied. Ports do not count. */
void access_set_own(struct access *a, const struct sockaddr_storage *own, size_t n);

/* Before resolving: host is a name or a literal address as asked for, and some rule may
 * allow it with this port. */
bool access_host(const struct access *a, const char *host, uint16_t port);
/* After: may `to` (with its port), one of the host's addresses, be dialled for it? */
bool access_address(const struct access *a, const char *host, const struct sockaddr_storage *to);

#endif
