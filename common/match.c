#include "common/match.h"

#include <string.h>

#include "common/address.h"

/* Regardless of the locale. */
static char
lower(char c)
{
	return c >= 'A' && c <= 'Z' ? (char)(c + ('a' - 'A')) : c;
}

static bool
is_letter(char c)
{
	return lower(c) >= 'a' && lower(c) <= 'z';
}

static bool
is_digit(char c)
{
	return c >= '0' && c <= '9';
}

bool
match_name_ok(const char *host)
{
	size_t n = strlen(host), start = 0;

	if (n > 0 && host[n - 1] == '.')
		n--;
	if (n == 0 || n > MATCH_NAME_MAX)
		return false;
	for (size_t i = 0; i < n; i++) {
		if (host[i] == '.') {
			if (i == start)
				return false;
			start = i + 1;
		} else if ((!is_letter(host[i]) && !is_digit(host[i]) && host[i] != '-' &&
		    host[i] != '_') || i - start == 63) {
			return false;
		}
	}
	return start < n && is_letter(host[start]);
}

/* ---- hosts ---- */

bool
match_pattern_ok(const char *pattern)
{
	size_t n = strlen(pattern);

	for (size_t i = 0; i < n; i++)
		if (!is_letter(pattern[i]) && !is_digit(pattern[i]) &&
		    strchr("*.-_:", pattern[i]) == NULL)
			return false;
	/* A dot at the end would never match: hosts are looked at without theirs. */
	return n > 0 && n <= MATCH_NAME_MAX && pattern[n - 1] != '.';
}

bool
match_host(const char *pattern, const char *host)
{
	const char *p = pattern, *h = host, *end = host + strlen(host);
	const char *star = NULL, *from = NULL; /* the last "*", and where its run ends so far */

	if (end > host && end[-1] == '.')
		end--;
	while (h < end) {
		if (*p == '*') {
			star = p++;
			from = h;
		} else if (*p != '\0' && lower(*p) == lower(*h)) {
			p++;
			h++;
		} else if (star != NULL) {
			p = star + 1;
			h = ++from;
		} else {
			return false;
		}
	}
	while (*p == '*')
		p++;
	return *p == '\0';
}

/* ---- numbers ---- */

/* Digits without a zero in front, up to max; *end is behind them. */
static bool
number(const char *text, const char **end, unsigned max, unsigned *v)
{
	const char *p = text;

	for (*v = 0; is_digit(*p); p++) {
		*v = *v * 10 + (unsigned)(*p - '0');
		if (*v > max)
			return false;
	}
	*end = p;
	return p > text && (*text != '0' || p == text + 1);
}

bool
match_ports_parse(struct match_ports *p, const char *text)
{
	unsigned first, last;
	const char *end;

	if (!number(text, &end, UINT16_MAX, &first) || first == 0)
		return false;
	last = first;
	if (*end == '-' && !number(end + 1, &end, UINT16_MAX, &last))
		return false;
	if (*end != '\0' || last < first)
		return false;
	*p = (struct match_ports){ (uint16_t)first, (uint16_t)last };
	return true;
}

bool
match_port(const struct match_ports *p, uint16_t port)
{
	return port >= p->first && port <= p->last;
}

/* ---- networks ---- */

/* The address's bytes, and their number in *n. */
static const uint8_t *
ip_bytes(const struct sockaddr_storage *a, unsigned *n)
{
	if (a->ss_family == AF_INET) {
		*n = 4;
		return (const uint8_t *)&((const struct sockaddr_in *)a)->sin_addr;
	}
	*n = 16;
	return ((const struct sockaddr_in6 *)a)->sin6_addr.s6_addr;
}

/* Bit number i, counted from the front. */
static bool
bit(const uint8_t *ip, unsigned i)
{
	return (ip[i / 8] >> (7 - i % 8) & 1) != 0;
}

bool
match_network_parse(struct match_network *n, const char *text)
{
	char ip[INET6_ADDRSTRLEN];
	const char *slash = strchr(text, '/'), *end;
	size_t len = slash != NULL ? (size_t)(slash - text) : strlen(text);
	const uint8_t *bytes;
	unsigned max;

	if (len >= sizeof(ip))
		return false;
	memcpy(ip, text, len);
	ip[len] = '\0';
	if (!address_parse(&n->ip, ip, 0))
		return false;
	bytes = ip_bytes(&n->ip, &max);
	max *= 8;
	n->bits = max;
	if (slash != NULL && (!number(slash + 1, &end, max, &n->bits) || *end != '\0'))
		return false;
	for (unsigned i = n->bits; i < max; i++)
		if (bit(bytes, i))
			return false;
	return true;
}

bool
match_network(const struct match_network *n, const struct sockaddr_storage *a)
{
	const uint8_t *x, *y;
	unsigned len;

	if ((a->ss_family != AF_INET && a->ss_family != AF_INET6) || n->ip.ss_family != a->ss_family)
		return false;
	x = ip_bytes(&n->ip, &len);
	y = ip_bytes(a, &len);
	for (unsigned i = 0; i < n->bits; i++)
		if (bit(x, i) != bit(y, i))
			return false;
	return true;
}
