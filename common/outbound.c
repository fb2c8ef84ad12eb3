#include "common/outbound.h"

#include <stdlib.h>
#include <string.h>
#include <strings.h>

#include "common/address.h"
#include "common/mem.h"

static void
free_secret(char *s)
{
	if (s != NULL)
		mem_wipe(s, strlen(s));
	free(s);
}

void
outbound_clear(struct outbound *o)
{
	free_secret(o->pass);
	free(o->user);
	*o = (struct outbound){ 0 };
}

static int
hex_value(char c)
{
	if (c >= '0' && c <= '9')
		return c - '0';
	c |= 0x20;
	return c >= 'a' && c <= 'f' ? c - 'a' + 10 : -1;
}

/* Decodes each valid %HH and leaves every other byte as it is: Arti escapes, tor does not.
 * NULL if a NUL comes out. */
static char *
percent_decode(const char *s, size_t n)
{
	char *out = mem_alloc(n + 1);
	size_t len = 0;

	for (size_t i = 0; i < n; i++) {
		char c = s[i];

		if (c == '%' && n - i > 2 && hex_value(s[i + 1]) >= 0 && hex_value(s[i + 2]) >= 0) {
			c = (char)(hex_value(s[i + 1]) << 4 | hex_value(s[i + 2]));
			i += 2;
		}
		if (c == '\0') {
			mem_wipe(out, len);
			free(out);
			return NULL;
		}
		out[len++] = c;
	}
	out[len] = '\0';
	return out;
}

bool
outbound_credentials(char **user, char **pass, const char *s, size_t n)
{
	const char *colon = memchr(s, ':', n);
	size_t user_n = colon != NULL ? (size_t)(colon - s) : n;
	char *u = percent_decode(s, user_n);
	char *p = colon != NULL ? percent_decode(colon + 1, n - user_n - 1) : NULL;

	if (u == NULL || (colon != NULL && p == NULL)) {
		free(u);
		free_secret(p);
		return false;
	}
	*user = u;
	*pass = p;
	return true;
}

/* What the proxy's protocol cannot carry is an error now, not a failure at every dial. */
static const char *
check_credentials(const struct outbound *o)
{
	size_t user = strlen(o->user), pass = o->pass != NULL ? strlen(o->pass) : 0;

	if (user > 255 || pass > 255)
		return "user or password longer than 255 bytes";
	switch (o->proxy) {
	case PROXY_SOCKS5: /* RFC 1929 */
		if (user == 0)
			return "empty user";
		break;
	case PROXY_SOCKS4:
	case PROXY_SOCKS4A:
		if (pass > 0)
			return "SOCKS4 has no password";
		break;
	case PROXY_HTTP: /* RFC 7617 section 2 */
		if (strchr(o->user, ':') != NULL)
			return "colon in the user";
		break;
	case PROXY_NONE:
		break;
	}
	return NULL;
}

bool
outbound_set_proxy(struct outbound *o, const char *uri, const char **why)
{
	static const struct {
		const char *scheme;
		enum proxy_kind kind;
	} kinds[] = {
		{ "socks5://", PROXY_SOCKS5 }, { "socks4a://", PROXY_SOCKS4A },
		{ "socks4://", PROXY_SOCKS4 }, { "http://", PROXY_HTTP },
	};
	const char *at;
	size_t n;

	for (size_t i = 0; i < sizeof(kinds) / sizeof(kinds[0]); i++) {
		n = strlen(kinds[i].scheme);
		if (strncasecmp(uri, kinds[i].scheme, n) == 0) {
			o->proxy = kinds[i].kind;
			uri += n;
			break;
		}
	}
	*why = "not socks5, socks4a, socks4 or http";
	if (o->proxy == PROXY_NONE)
		return false;
	/* The last `@`: tor does not escape those of a password. */
	n = strlen(uri);
	at = memrchr(uri, '@', n);
	if (at != NULL) {
		*why = "NUL byte in the credentials";
		if (!outbound_credentials(&o->user, &o->pass, uri, (size_t)(at - uri)))
			return false;
		*why = check_credentials(o);
		if (*why != NULL)
			return false;
		n -= (size_t)(at + 1 - uri);
		uri = at + 1;
	}
	if (n > 0 && uri[n - 1] == '/')
		n--;
	*why = "the host is not an IP address with a port";
	return address_parse_endpoint(&o->proxy_addr, uri, n, false, 1);
}
