/* The environment of a managed proxy (pt-spec section 3.2). A file of its own: it reads,
 * while common/pt.c speaks. */
#include <arpa/inet.h>
#include <stdarg.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <strings.h>

#include "common/mem.h"
#include "common/pt.h"

enum { LIST_MAX = 8192 };

/* NULL for an empty variable too. */
static const char *
env_get(const char *name)
{
	const char *v = getenv(name);

	return v != NULL && *v != '\0' ? v : NULL;
}

static char *
env_dup(const char *name)
{
	const char *v = env_get(name);

	return v != NULL ? mem_strdup(v) : NULL;
}

/* Sets the message; always false. */
__attribute__((format(printf, 2, 3))) static bool
bad(char *error, const char *fmt, ...)
{
	va_list ap;

	va_start(ap, fmt);
	vsnprintf(error, PT_ERROR_MAX, fmt, ap);
	va_end(ap);
	return false;
}

/* Whether an element of the comma list is exactly `word`. */
static bool
list_has(const char *list, const char *word)
{
	for (;; list++) {
		size_t n = strcspn(list, ",");

		if (n == strlen(word) && memcmp(list, word, n) == 0)
			return true;
		list += n;
		if (*list == '\0')
			return false;
	}
}

/* An IP literal; IPv6 in brackets, or without if bare6. */
static bool
parse_host(struct sockaddr_storage *ss, const char *s, size_t n, bool bare6)
{
	struct sockaddr_in in = { .sin_family = AF_INET };
	struct sockaddr_in6 in6 = { .sin6_family = AF_INET6 };
	char host[INET6_ADDRSTRLEN + 2];
	bool bracketed = n >= 2 && s[0] == '[' && s[n - 1] == ']';

	if (bracketed) {
		s++;
		n -= 2;
	}
	if (n >= sizeof(host))
		return false;
	memcpy(host, s, n);
	host[n] = '\0';
	memset(ss, 0, sizeof(*ss));
	if (!bracketed && inet_pton(AF_INET, host, &in.sin_addr) == 1)
		memcpy(ss, &in, sizeof(in));
	else if ((bracketed || bare6) && inet_pton(AF_INET6, host, &in6.sin6_addr) == 1)
		memcpy(ss, &in6, sizeof(in6));
	else
		return false;
	return true;
}

/* IP literal, colon, port; split at the last colon, for unbracketed IPv6 of old parents. */
static bool
parse_addr(struct sockaddr_storage *ss, const char *s, size_t n, bool bare6, uint16_t min_port)
{
	const char *colon = memrchr(s, ':', n);
	uint32_t port = 0;
	size_t digits;

	if (colon == NULL || !parse_host(ss, s, (size_t)(colon - s), bare6))
		return false;
	digits = n - (size_t)(colon + 1 - s);
	if (digits < 1 || digits > 5)
		return false;
	for (const char *c = colon + 1; c < s + n; c++) {
		if (*c < '0' || *c > '9')
			return false;
		port = port * 10 + (uint32_t)(*c - '0');
	}
	if (port > UINT16_MAX || port < min_port)
		return false;
	if (ss->ss_family == AF_INET)
		((struct sockaddr_in *)ss)->sin_port = htons((uint16_t)port);
	else
		((struct sockaddr_in6 *)ss)->sin6_port = htons((uint16_t)port);
	return true;
}

static bool
read_bind(struct outbound *out, char *error)
{
	const char *v4 = env_get("TOR_PT_OUTBOUND_BIND_ADDRESS_V4");
	const char *v6 = env_get("TOR_PT_OUTBOUND_BIND_ADDRESS_V6");
	struct sockaddr_storage ss;

	if (v4 != NULL) {
		if (!parse_host(&ss, v4, strlen(v4), true) || ss.ss_family != AF_INET)
			return bad(error, "TOR_PT_OUTBOUND_BIND_ADDRESS_V4: not an IPv4 address");
		memcpy(&out->bind4, &ss, sizeof(out->bind4));
	}
	if (v6 != NULL) {
		if (!parse_host(&ss, v6, strlen(v6), true) || ss.ss_family != AF_INET6)
			return bad(error, "TOR_PT_OUTBOUND_BIND_ADDRESS_V6: not an IPv6 address");
		memcpy(&out->bind6, &ss, sizeof(out->bind6));
	}
	return true;
}

/* Whether an entry before p has the same name as p's, whose length is n. */
static bool
named_before(const char *list, const char *p, size_t n)
{
	for (const char *q = list; q < p; q += strcspn(q, ",") + 1)
		if (strncmp(q, p, n) == 0 && q[n] == '-')
			return true;
	return false;
}

/* name-addr:port,name-addr:port. Those of other transports must be well-formed too. */
static bool
read_bindaddr(struct pt_env *env, const char *transport, char *error)
{
	const char *list = env_get("TOR_PT_SERVER_BINDADDR");
	struct sockaddr_storage ss;

	if (list == NULL)
		return true;
	if (strlen(list) > LIST_MAX)
		return bad(error, "TOR_PT_SERVER_BINDADDR: too long");
	for (const char *p = list;; p++) {
		size_t n = strcspn(p, ",");
		const char *dash = memchr(p, '-', n);
		size_t name = dash != NULL ? (size_t)(dash - p) : 0;

		if (name == 0 || !parse_addr(&ss, dash + 1, n - name - 1, true, 0))
			return bad(error, "TOR_PT_SERVER_BINDADDR: not name-address:port: \"%.*s\"",
			    n < 100 ? (int)n : 100, p);
		if (named_before(list, p, name))
			return bad(error, "TOR_PT_SERVER_BINDADDR: two addresses for %.*s",
			    name < 100 ? (int)name : 100, p);
		if (name == strlen(transport) && memcmp(p, transport, name) == 0) {
			env->bindaddr = ss;
			env->bindaddr_given = true;
		}
		p += n;
		if (*p == '\0')
			return true;
	}
}

static bool
read_port(struct sockaddr_storage *ss, const char *name, char *error)
{
	const char *v = env_get(name);

	if (v == NULL || parse_addr(ss, v, strlen(v), true, 1))
		return true;
	return bad(error, "%s: not an address and port: \"%.100s\"", name, v);
}

static bool
read_server(struct pt_env *env, const char *transport, char *error)
{
	const char *options = env_get("TOR_PT_SERVER_TRANSPORT_OPTIONS"), *why;

	if (env->state_location == NULL)
		return bad(error, "no TOR_PT_STATE_LOCATION environment variable");
	if (!read_bindaddr(env, transport, error))
		return false;
	if (options != NULL && !pt_args_parse_options(&env->options, options, transport, &why))
		return bad(error, "TOR_PT_SERVER_TRANSPORT_OPTIONS: %s", why);
	if (!read_port(&env->orport, "TOR_PT_ORPORT", error) ||
	    !read_port(&env->ext_orport, "TOR_PT_EXTENDED_SERVER_PORT", error))
		return false;
	env->auth_cookie_file = env_dup("TOR_PT_AUTH_COOKIE_FILE");
	/* Never fall back to the plain ORPort: tor would lose the clients' addresses. */
	if (env->ext_orport.ss_family != AF_UNSPEC && env->auth_cookie_file == NULL)
		return bad(error, "TOR_PT_EXTENDED_SERVER_PORT without TOR_PT_AUTH_COOKIE_FILE");
	if (env->ext_orport.ss_family == AF_UNSPEC && env->orport.ss_family == AF_UNSPEC)
		return bad(error, "no TOR_PT_ORPORT or TOR_PT_EXTENDED_SERVER_PORT "
		    "environment variable");
	return true;
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

/* What the proxy's protocol cannot carry is an error now, not a failure at every dial. */
static bool
check_credentials(const struct outbound *out, char *error)
{
	size_t user = strlen(out->user), pass = out->pass != NULL ? strlen(out->pass) : 0;

	if (user > 255 || pass > 255)
		return bad(error, "TOR_PT_PROXY: user or password longer than 255 bytes");
	switch (out->proxy) {
	case PROXY_SOCKS5: /* RFC 1929 */
		if (user == 0)
			return bad(error, "TOR_PT_PROXY: empty user");
		break;
	case PROXY_SOCKS4:
	case PROXY_SOCKS4A:
		if (pass > 0)
			return bad(error, "TOR_PT_PROXY: SOCKS4 has no password");
		break;
	case PROXY_HTTP: /* RFC 7617 section 2 */
		if (strchr(out->user, ':') != NULL)
			return bad(error, "TOR_PT_PROXY: colon in the user");
		break;
	case PROXY_NONE:
		break;
	}
	return true;
}

static bool
read_credentials(struct outbound *out, const char *s, size_t n, char *error)
{
	const char *colon = memchr(s, ':', n);
	size_t user = colon != NULL ? (size_t)(colon - s) : n;

	out->user = percent_decode(s, user);
	if (colon != NULL)
		out->pass = percent_decode(colon + 1, n - user - 1);
	if (out->user == NULL || (colon != NULL && out->pass == NULL))
		return bad(error, "TOR_PT_PROXY: NUL byte in the credentials");
	return check_credentials(out, error);
}

/* scheme://[user[:password]@]address:port[/]. Nothing of it goes into the message: it may
 * hold a password. */
static bool
read_proxy(struct outbound *out, const char *uri, char *error)
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
			out->proxy = kinds[i].kind;
			uri += n;
			break;
		}
	}
	if (out->proxy == PROXY_NONE)
		return bad(error, "TOR_PT_PROXY: not socks5, socks4a, socks4 or http");
	/* The last `@`: tor does not escape those of a password. */
	n = strlen(uri);
	at = memrchr(uri, '@', n);
	if (at != NULL) {
		if (!read_credentials(out, uri, (size_t)(at - uri), error))
			return false;
		n -= (size_t)(at + 1 - uri);
		uri = at + 1;
	}
	if (n > 0 && uri[n - 1] == '/')
		n--;
	if (!parse_addr(&out->proxy_addr, uri, n, false, 1))
		return bad(error, "TOR_PT_PROXY: the host is not an IP address with a port");
	return true;
}

bool
pt_managed(void)
{
	return env_get("TOR_PT_MANAGED_TRANSPORT_VER") != NULL ||
	    env_get("TOR_PT_CLIENT_TRANSPORTS") != NULL ||
	    env_get("TOR_PT_SERVER_TRANSPORTS") != NULL;
}

static bool
read_all_but_proxy(struct pt_env *env, const char *transport, char *error)
{
	const char *client = env_get("TOR_PT_CLIENT_TRANSPORTS");
	const char *server = env_get("TOR_PT_SERVER_TRANSPORTS");
	const char *exit_on_close = env_get("TOR_PT_EXIT_ON_STDIN_CLOSE");

	if ((client != NULL) == (server != NULL))
		return bad(error, "%s TOR_PT_CLIENT_TRANSPORTS %s TOR_PT_SERVER_TRANSPORTS",
		    client != NULL ? "both" : "neither", client != NULL ? "and" : "nor");
	env->client = client != NULL;
	env->server = server != NULL;
	env->wanted = list_has(env->client ? client : server, transport);
	env->exit_on_stdin_close = exit_on_close != NULL && strcmp(exit_on_close, "1") == 0;
	env->state_location = env_dup("TOR_PT_STATE_LOCATION");
	return read_bind(&env->out, error) &&
	    (env->client || read_server(env, transport, error));
}

enum pt_result
pt_env_read(struct pt_env *env, const char *transport, char error[PT_ERROR_MAX])
{
	const char *versions = env_get("TOR_PT_MANAGED_TRANSPORT_VER");
	const char *proxy = env_get("TOR_PT_PROXY");

	error[0] = '\0';
	if (versions == NULL) {
		bad(error, "no TOR_PT_MANAGED_TRANSPORT_VER environment variable");
		return PT_ENV_ERROR;
	}
	if (!list_has(versions, "1")) {
		bad(error, "no-version");
		return PT_VERSION_ERROR;
	}
	if (!read_all_but_proxy(env, transport, error))
		return PT_ENV_ERROR;
	if (env->client && proxy != NULL && !read_proxy(&env->out, proxy, error))
		return PT_PROXY_ERROR;
	return PT_OK;
}

void
pt_env_clear(struct pt_env *env)
{
	if (env->out.pass != NULL)
		mem_wipe(env->out.pass, strlen(env->out.pass));
	free(env->out.pass);
	free(env->out.user);
	free(env->state_location);
	free(env->auth_cookie_file);
	pt_args_clear(&env->options);
	*env = (struct pt_env){ 0 };
}
