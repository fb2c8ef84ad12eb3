/* Which strategy serves which destination (DESIGN section 6): an ordered list, of which the
 * first rule that matches counts. Pure. */
#ifndef SULTRY_PT_CLIENT_RULES_H
#define SULTRY_PT_CLIENT_RULES_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "common/match.h"

enum strategy {
	STRATEGY_CONCEAL, /* through the bridge; also what zeroed memory says */
	STRATEGY_SPLIT,   /* straight to the target, its name cut in pieces */
	STRATEGY_DIRECT,  /* straight to the target */
	STRATEGY_BLOCK,   /* refused here */
	STRATEGY_AUTO     /* what worked (pt-client/memory.h) */
};

/* "conceal", "split", "direct", "block", "auto". */
const char *strategy_name(enum strategy s);
bool strategy_parse(enum strategy *s, const char *name);

/* A rule matches when the destination is one of its hosts or in one of its networks (any, if
 * it has neither) and its port is one of the rule's (any, if it has none). Networks are asked
 * about literal addresses only: no name is looked up to choose a rule. */
struct rule {
	enum strategy strategy;
	char **hosts; /* patterns, see match_host */
	struct match_network *networks;
	struct match_ports *ports;
	size_t n_hosts, n_networks, n_ports;
};

/* Zeroed memory is a valid empty list, by which everything is concealed. */
struct rules {
	struct rule *list;
	size_t n;
	enum strategy otherwise;
};

void rules_clear(struct rules *r);
/* Appends a rule; the three below add to the last one. They copy; false: it is not a pattern,
 * a network, or a port or range of them. */
void rules_add(struct rules *r, enum strategy s);
bool rules_add_host(struct rules *r, const char *pattern);
bool rules_add_network(struct rules *r, const char *text);
bool rules_add_ports(struct rules *r, const char *text);

/* host: a name, or an address as text without brackets. */
enum strategy rules_ask(const struct rules *r, const char *host, uint16_t port);

#endif
