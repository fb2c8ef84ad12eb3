/* The environment of a managed proxy (pt-spec section 3.2). A file of its own: it reads,
 * while common/pt.c speaks. */
#include <stdarg.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "common/address.h"
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

static bool
read_bind(struct outbound *out, char *error)
{
	const char *v4 = env_get("TOR_PT_OUTBOUND_BIND_ADDRESS_V4");
	const char *v6 = env_get("TOR_PT_OUTBOUND_BIND_ADDRESS_V6");
	struct sockaddr_storage ss;

	if (v4 != NULL) {
		if (!address_parse_host(&ss, v4, strlen(v4), true) || ss.ss_family != AF_INET)
			return bad(error, "TOR_PT_OUTBOUND_BIND_ADDRESS_V4: not an IPv4 address");
		memcpy(&out->bind4, &ss, sizeof(out->bind4));
	}
	if (v6 != NULL) {
		if (!address_parse_host(&ss, v6, strlen(v6), true) || ss.ss_family != AF_INET6)
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

		if (name == 0 || !address_parse_endpoint(&ss, dash + 1, n - name - 1, true, 0))
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

	if (v == NULL || address_parse_endpoint(ss, v, strlen(v), true, 1))
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

static bool
read_proxy(struct outbound *out, const char *uri, char *error)
{
	const char *why;

	return outbound_set_proxy(out, uri, &why) || bad(error, "TOR_PT_PROXY: %s", why);
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
	outbound_clear(&env->out);
	free(env->state_location);
	free(env->auth_cookie_file);
	pt_args_clear(&env->options);
	*env = (struct pt_env){ 0 };
}
