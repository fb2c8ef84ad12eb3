#include "pt-client/oob_target.h"

#include <arpa/inet.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "common/mem.h"

enum kind { NAME, IPV4, IPV6 };

struct endpoint {
	char host[256]; /* IPv6 in brackets */
	unsigned port;  /* 0: not given */
	enum kind kind;
};

/* Letters, digits, '-', '_' and '.': what DNS and SNI carry. Anything else would end up,
 * unchecked, in a request's head or in one of curl's little languages. The last label is not
 * all digits or 0x..: such a name is one more spelling of an IPv4 address. */
static bool
is_name(const char *s)
{
	const char *last = strrchr(s, '.');
	size_t n = strlen(s);

	last = last != NULL ? last + 1 : s;
	return n > 0 && n <= 253 && s[0] != '.' && s[0] != '-' && *last != '\0' &&
	    strstr(s, "..") == NULL && strncasecmp(last, "0x", 2) != 0 &&
	    last[strspn(last, "0123456789")] != '\0' &&
	    s[strspn(s, "abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ0123456789-_.")] == '\0';
}

static bool
parse_port(const char *s, unsigned *port)
{
	size_t n = strspn(s, "0123456789");
	unsigned long v = strtoul(s, NULL, 10);

	if (n == 0 || n > 5 || s[n] != '\0' || v == 0 || v > 65535)
		return false;
	*port = (unsigned)v;
	return true;
}

/* host[:port] of n characters. */
static bool
parse_endpoint(struct endpoint *e, const char *s, size_t n)
{
	char text[sizeof(e->host) + 8], *colon;
	unsigned char ip[16];

	*e = (struct endpoint){ .port = 0 };
	if (n >= sizeof(text))
		return false;
	memcpy(text, s, n);
	text[n] = '\0';
	if (text[0] == '[') {
		char *end = strchr(text, ']');

		if (end == NULL || (end[1] != '\0' && end[1] != ':'))
			return false;
		colon = end[1] == ':' ? end + 1 : NULL;
		*end = '\0';
		if (inet_pton(AF_INET6, text + 1, ip) != 1)
			return false;
		e->kind = IPV6;
		snprintf(e->host, sizeof(e->host), "[%.64s]", text + 1);
		return colon == NULL || parse_port(colon + 1, &e->port);
	}
	colon = strchr(text, ':');
	if (colon != NULL) {
		*colon = '\0';
		if (!parse_port(colon + 1, &e->port))
			return false;
	}
	e->kind = inet_pton(AF_INET, text, ip) == 1 ? IPV4 : NAME;
	if (e->kind == NAME && !is_name(text))
		return false;
	snprintf(e->host, sizeof(e->host), "%.253s", text);
	return true;
}

/* As above, and an IPv6 address may come without brackets if it comes without a port. */
static bool
parse_addr(struct endpoint *e, const char *s)
{
	unsigned char ip[16];

	if (inet_pton(AF_INET6, s, ip) != 1)
		return parse_endpoint(e, s, strlen(s)) && e->kind != NAME;
	*e = (struct endpoint){ .kind = IPV6 };
	snprintf(e->host, sizeof(e->host), "[%.64s]", s);
	return true;
}

/* Sets *prefix to the path, without its trailing slash (borrowed from s). */
static bool
parse_url(struct endpoint *e, const char **prefix, size_t *len, const char *s)
{
	static const char scheme[] = "https://";
	size_t n;

	if (strncasecmp(s, scheme, sizeof(scheme) - 1) != 0)
		return false;
	s += sizeof(scheme) - 1;
	n = strcspn(s, "/");
	if (!parse_endpoint(e, s, n))
		return false;
	*prefix = s + n;
	*len = strlen(*prefix);
	for (size_t i = 0; i < *len; i++) {
		char c = (*prefix)[i];

		if (c <= ' ' || c > '~' || c == '?' || c == '#' || c == '\\')
			return false;
	}
	while (*len > 0 && (*prefix)[*len - 1] == '/')
		--*len;
	return true;
}

/* What was expected, or NULL. */
static const char *
read_words(struct endpoint *url, struct endpoint *name, struct endpoint *dial, const char **prefix,
    size_t *len, const struct oob_config *cfg)
{
	if (cfg->url == NULL || !parse_url(url, prefix, len, cfg->url))
		return "a bridge line whose url= is https://host[:port][/prefix]";
	*name = *url;
	if (cfg->front != NULL) {
		if (cfg->sni != NULL)
			return "a bridge line with front= or sni=, not both";
		if (!parse_endpoint(name, cfg->front, strlen(cfg->front)))
			return "a bridge line whose front= is host[:port]";
	}
	*dial = *name;
	if (cfg->sni != NULL) {
		if (url->kind == NAME)
			return "a bridge line with sni= only where url= has an IP address";
		if (!parse_endpoint(name, cfg->sni, strlen(cfg->sni)) || name->kind != NAME ||
		    name->port != 0)
			return "a bridge line whose sni= is a host name";
		name->port = url->port;
	}
	if (cfg->addr != NULL) {
		if (!parse_addr(dial, cfg->addr))
			return "a bridge line whose addr= is an IP address, with or without a port";
		if (dial->port == 0)
			dial->port = name->port;
	}
	return NULL;
}

const char *
oob_target_init(struct oob_target *t, const struct oob_config *cfg)
{
	struct endpoint url, name, dial;
	const char *prefix, *want;
	size_t len;

	*t = (struct oob_target){ .origin = NULL };
	want = read_words(&url, &name, &dial, &prefix, &len, cfg);
	if (want != NULL)
		return want;
	t->origin = mem_printf("https://%s:%u", name.host, name.port ? name.port : 443);
	t->prefix = mem_printf("%.*s", (int)len, prefix);
	if (cfg->front != NULL || cfg->sni != NULL)
		t->host = url.port == 0 || url.port == 443 ? mem_strdup(url.host) :
		    mem_printf("%s:%u", url.host, url.port);
	if (cfg->addr != NULL || cfg->sni != NULL)
		t->connect_to = mem_printf("%s:%u", dial.host, dial.port ? dial.port : 443);
	t->dial_ip = dial.kind != NAME;
	t->dial_ipv6 = dial.kind == IPV6;
	return NULL;
}

void
oob_target_clear(struct oob_target *t)
{
	free(t->origin);
	free(t->prefix);
	free(t->host);
	free(t->connect_to);
	*t = (struct oob_target){ .origin = NULL };
}
