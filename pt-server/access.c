#include "pt-server/access.h"

#include <stdlib.h>
#include <string.h>

#include "common/address.h"
#include "common/mem.h"

static const struct access_rule default_rule;
static const struct match_ports default_ports[] = { { 80, 80 }, { 443, 443 } };

/* ---- the list ---- */

void
access_clear(struct access *a)
{
	for (size_t i = 0; i < a->n_rules; i++) {
		struct access_rule *r = &a->rules[i];

		for (size_t j = 0; j < r->n_hosts; j++)
			free(r->hosts[j]);
		free(r->ports);
		free(r->hosts);
		free(r->networks);
	}
	free(a->rules);
	free(a->own);
	*a = (struct access){ 0 };
}

struct access_rule *
access_add(struct access *a)
{
	if (a->n_rules == ACCESS_RULES)
		return NULL;
	a->rules = mem_realloc(a->rules, (a->n_rules + 1) * sizeof(*a->rules));
	a->rules[a->n_rules] = (struct access_rule){ 0 };
	return &a->rules[a->n_rules++];
}

bool
access_add_ports(struct access_rule *r, const char *text)
{
	struct match_ports p;

	if (r->n_ports == ACCESS_ITEMS || !match_ports_parse(&p, text))
		return false;
	r->ports = mem_realloc(r->ports, (r->n_ports + 1) * sizeof(p));
	r->ports[r->n_ports++] = p;
	return true;
}

bool
access_add_host(struct access_rule *r, const char *text)
{
	if (r->n_hosts == ACCESS_ITEMS || !match_pattern_ok(text))
		return false;
	r->hosts = mem_realloc(r->hosts, (r->n_hosts + 1) * sizeof(*r->hosts));
	r->hosts[r->n_hosts++] = mem_strdup(text);
	return true;
}

bool
access_add_network(struct access_rule *r, const char *text)
{
	struct match_network n;

	if (r->n_networks == ACCESS_ITEMS || !match_network_parse(&n, text) || n.bits == 0)
		return false;
	r->networks = mem_realloc(r->networks, (r->n_networks + 1) * sizeof(n));
	r->networks[r->n_networks++] = n;
	return true;
}

void
access_set_own(struct access *a, const struct sockaddr_storage *own, size_t n)
{
	a->own = mem_realloc(a->own, n * sizeof(*own));
	if (n > 0)
		memcpy(a->own, own, n * sizeof(*own));
	a->n_own = n;
}

/* ---- the questions ---- */

static bool
ports_allow(const struct access_rule *r, uint16_t port)
{
	const struct match_ports *list = r->n_ports > 0 ? r->ports : default_ports;
	size_t n = r->n_ports > 0 ? r->n_ports : sizeof(default_ports) / sizeof(default_ports[0]);

	for (size_t i = 0; i < n; i++)
		if (match_port(&list[i], port))
			return true;
	return false;
}

static bool
hosts_allow(const struct access_rule *r, const char *host)
{
	for (size_t i = 0; i < r->n_hosts; i++)
		if (match_host(r->hosts[i], host))
			return true;
	return r->n_hosts == 0;
}

/* The IPv4 address that packets to a NAT64 or 6to4 address end at. */
static bool
inner_ip4(const struct sockaddr_storage *a, struct sockaddr_storage *inner)
{
	static const uint8_t nat64[12] = { 0x00, 0x64, 0xff, 0x9b };
	const uint8_t *ip = ((const struct sockaddr_in6 *)a)->sin6_addr.s6_addr;
	struct sockaddr_in v4 = { .sin_family = AF_INET };

	if (a->ss_family != AF_INET6)
		return false;
	if (memcmp(ip, nat64, sizeof(nat64)) == 0)
		memcpy(&v4.sin_addr, ip + 12, 4);
	else if (ip[0] == 0x20 && ip[1] == 0x02)
		memcpy(&v4.sin_addr, ip + 2, 4);
	else
		return false;
	memset(inner, 0, sizeof(*inner));
	memcpy(inner, &v4, sizeof(v4));
	return true;
}

static bool
is_one_of_own(const struct access *a, const struct sockaddr_storage *to)
{
	struct match_network host = { .ip = *to, .bits = to->ss_family == AF_INET ? 32 : 128 };

	for (size_t i = 0; i < a->n_own; i++)
		if (match_network(&host, &a->own[i]))
			return true;
	return false;
}

static bool
is_own(const struct access *a, const struct sockaddr_storage *to)
{
	struct sockaddr_storage inner;

	return is_one_of_own(a, to) || (inner_ip4(to, &inner) && is_one_of_own(a, &inner));
}

static bool
networks_allow(const struct access *a, const struct access_rule *r,
    const struct sockaddr_storage *to)
{
	if (r->n_networks == 0)
		return address_is_public(to) && !is_own(a, to);
	for (size_t i = 0; i < r->n_networks; i++)
		if (match_network(&r->networks[i], to))
			return true;
	return false;
}

/* to NULL: not known yet. */
static bool
rule_allows(const struct access *a, const struct access_rule *r, const char *host, uint16_t port,
    const struct sockaddr_storage *to)
{
	return ports_allow(r, port) && hosts_allow(r, host) &&
	    (to == NULL || networks_allow(a, r, to));
}

static bool
any_allows(const struct access *a, const char *host, uint16_t port,
    const struct sockaddr_storage *to)
{
	for (size_t i = 0; i < a->n_rules; i++)
		if (rule_allows(a, &a->rules[i], host, port, to))
			return true;
	return a->n_rules == 0 && rule_allows(a, &default_rule, host, port, to);
}

bool
access_host(const struct access *a, const char *host, uint16_t port)
{
	struct sockaddr_storage literal;

	return (match_name_ok(host) || address_parse(&literal, host, port)) &&
	    any_allows(a, host, port, NULL);
}

bool
access_address(const struct access *a, const char *host, const struct sockaddr_storage *to)
{
	struct sockaddr_storage plain;

	/* A v4-mapped address is dialled as IPv4: it is judged as that. */
	return address_copy(&plain, (const struct sockaddr *)to, sizeof(*to)) &&
	    any_allows(a, host, address_port(&plain), &plain);
}
