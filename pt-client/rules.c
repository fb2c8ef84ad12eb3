#include "pt-client/rules.h"

#include <stdlib.h>
#include <string.h>

#include "common/address.h"
#include "common/mem.h"

static const char *const names[] = { "conceal", "split", "direct", "block", "auto" };

const char *
strategy_name(enum strategy s)
{
	return names[s];
}

bool
strategy_parse(enum strategy *s, const char *name)
{
	for (size_t i = 0; i < sizeof(names) / sizeof(names[0]); i++) {
		if (strcmp(names[i], name) == 0) {
			*s = (enum strategy)i;
			return true;
		}
	}
	return false;
}

void
rules_clear(struct rules *r)
{
	for (size_t i = 0; i < r->n; i++) {
		struct rule *rule = &r->list[i];

		for (size_t k = 0; k < rule->n_hosts; k++)
			free(rule->hosts[k]);
		free(rule->hosts);
		free(rule->networks);
		free(rule->ports);
	}
	free(r->list);
	*r = (struct rules){ 0 };
}

void
rules_add(struct rules *r, enum strategy s)
{
	r->list = mem_realloc(r->list, (r->n + 1) * sizeof(r->list[0]));
	r->list[r->n++] = (struct rule){ .strategy = s };
}

bool
rules_add_host(struct rules *r, const char *pattern)
{
	struct rule *rule = &r->list[r->n - 1];

	if (!match_pattern_ok(pattern))
		return false;
	rule->hosts = mem_realloc(rule->hosts, (rule->n_hosts + 1) * sizeof(rule->hosts[0]));
	rule->hosts[rule->n_hosts++] = mem_strdup(pattern);
	return true;
}

bool
rules_add_network(struct rules *r, const char *text)
{
	struct rule *rule = &r->list[r->n - 1];
	struct match_network network;

	if (!match_network_parse(&network, text))
		return false;
	rule->networks = mem_realloc(rule->networks,
	    (rule->n_networks + 1) * sizeof(rule->networks[0]));
	rule->networks[rule->n_networks++] = network;
	return true;
}

bool
rules_add_ports(struct rules *r, const char *text)
{
	struct rule *rule = &r->list[r->n - 1];
	struct match_ports ports;

	if (!match_ports_parse(&ports, text))
		return false;
	rule->ports = mem_realloc(rule->ports, (rule->n_ports + 1) * sizeof(rule->ports[0]));
	rule->ports[rule->n_ports++] = ports;
	return true;
}

/* a: AF_UNSPEC if the host is a name. */
static bool
matches_host(const struct rule *rule, const char *host, const struct sockaddr_storage *a)
{
	if (rule->n_hosts == 0 && rule->n_networks == 0)
		return true;
	for (size_t i = 0; i < rule->n_hosts; i++)
		if (match_host(rule->hosts[i], host))
			return true;
	for (size_t i = 0; i < rule->n_networks; i++)
		if (match_network(&rule->networks[i], a))
			return true;
	return false;
}

static bool
matches_port(const struct rule *rule, uint16_t port)
{
	for (size_t i = 0; i < rule->n_ports; i++)
		if (match_port(&rule->ports[i], port))
			return true;
	return rule->n_ports == 0;
}

enum strategy
rules_ask(const struct rules *r, const char *host, uint16_t port)
{
	struct sockaddr_storage a = { 0 }, plain;

	/* An IPv4 address in IPv6 clothes is still in its IPv4 network. */
	if (address_parse(&a, host, port) &&
	    address_copy(&plain, (const struct sockaddr *)&a, sizeof(a)))
		a = plain;
	for (size_t i = 0; i < r->n; i++)
		if (matches_port(&r->list[i], port) && matches_host(&r->list[i], host, &a))
			return r->list[i].strategy;
	return r->otherwise;
}
