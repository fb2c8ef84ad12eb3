#include "pt-server/settings.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include "common/address.h"
#include "common/mem.h"

/* ---- texts ---- */

/* address:port; default_port 0: the port must be there. */
static bool
parse_address(struct sockaddr_storage *a, const char *text, uint16_t default_port)
{
	size_t n = strlen(text);

	if (address_parse_endpoint(a, text, n, false, 1))
		return true;
	if (default_port == 0 || !address_parse_host(a, text, n, true))
		return false;
	address_set_port(a, default_port);
	return true;
}

static void
read_text(struct config_node *in, const char *key, char **to)
{
	const char *text;

	if (config_string(in, key, &text))
		*to = mem_strdup(text);
}

static void
read_file(struct config_node *in, const char *key, char **to)
{
	struct stat st;

	read_text(in, key, to);
	if (*to != NULL && (stat(*to, &st) != 0 || S_ISDIR(st.st_mode) || access(*to, R_OK) != 0))
		config_bad(in, key, "a file that can be read");
}

static void
read_folder(struct config_node *in, const char *key, char **to)
{
	struct stat st;

	read_text(in, key, to);
	if (*to != NULL && (stat(*to, &st) != 0 || !S_ISDIR(st.st_mode) || access(*to, X_OK) != 0))
		config_bad(in, key, "a folder that can be read");
}

static void
read_address(struct config_node *in, const char *key, struct sockaddr_storage *to)
{
	const char *text;

	if (config_string(in, key, &text) && !parse_address(to, text, 0))
		config_bad(in, key, "an IP address and port, such as 192.0.2.1:443 or [2001:db8::1]:443");
}

/* A list of up to max addresses. Returns their number. */
static unsigned
read_addresses(struct config_node *in, const char *key, struct sockaddr_storage *to, unsigned max,
    uint16_t default_port)
{
	struct config_node list;
	const char *text;
	char limit[32];
	unsigned n = 0;

	if (!config_list(in, key, &list))
		return 0;
	snprintf(limit, sizeof(limit), "at most %u addresses", max);
	while (config_next(&list)) {
		if (n == max)
			config_bad(&list, NULL, limit);
		else if (config_string(&list, NULL, &text) && !parse_address(&to[n++], text, default_port))
			config_bad(&list, NULL, default_port != 0 ? "an IP address" :
			    "an IP address and port, such as 192.0.2.1:443 or [2001:db8::1]:443");
	}
	return n;
}

/* ---- the access list ---- */

static void
read_ports(struct config_node *rule, struct access_rule *r)
{
	struct config_node list;
	char number[24];
	const char *text;
	int64_t port;

	if (!config_list(rule, "ports", &list))
		return;
	while (config_next(&list)) {
		text = "";
		if (!config_is_string(&list, NULL)) {
			if (!config_integer(&list, NULL, 1, 65535, &port))
				return;
			snprintf(number, sizeof(number), "%d", (int)port);
			text = number;
		} else if (!config_string(&list, NULL, &text)) {
			return;
		}
		if (!access_add_ports(r, text))
			config_bad(&list, NULL, "a port, or a range such as \"8000-8100\"; 64 at most");
	}
	if (r->n_ports == 0)
		config_bad(rule, "ports", "at least one");
}

static void
read_items(struct config_node *rule, const char *key, struct access_rule *r,
    bool (*add)(struct access_rule *, const char *), const char *want)
{
	struct config_node list;
	const char *text;

	if (!config_list(rule, key, &list))
		return;
	if (!config_next(&list))
		config_bad(rule, key, "at least one");
	else
		do
			if (config_string(&list, NULL, &text) && !add(r, text))
				config_bad(&list, NULL, want);
		while (config_next(&list));
}

static void
read_access(struct config_node *in, struct access *a)
{
	struct config_node list, rule;
	struct access_rule *r;

	if (!config_list(in, "allow", &list))
		return;
	while (config_next(&list)) {
		if ((r = access_add(a)) == NULL)
			config_bad(&list, NULL, "at most 64 rules");
		if (!config_object(&list, NULL, &rule))
			return;
		read_ports(&rule, r);
		read_items(&rule, "hosts", r, access_add_host,
		    "a host name, in which * stands for anything; 64 at most");
		read_items(&rule, "networks", r, access_add_network,
		    "a network such as 10.0.0.0/8, not of all addresses; 64 at most");
		config_end(&rule);
	}
	if (a->n_rules == 0)
		config_bad(in, "allow", "at least one rule; without \"allow\" the default is ports 443 and 80");
}

/* ---- what managed mode has as well ---- */

static void
read_direct(struct config_node *in, struct settings *s)
{
	struct options *o = &s->options;
	char ip[ADDRESS_TEXT_MAX];

	o->n_direct = read_addresses(in, "direct", s->direct, MSG_ADDRESSES, 0);
	for (unsigned i = 0; i < o->n_direct; i++) {
		const struct sockaddr_storage *a = &s->direct[i];

		address_ip(ip, a);
		snprintf(o->direct[i].address, sizeof(o->direct[i].address), "%.45s", ip);
		o->direct[i].port = address_port(a);
	}
}

static void
read_options(struct config_node *in, struct settings *s)
{
	struct options *o = &s->options;
	struct match_network n;
	int64_t retain;

	read_file(in, "cert", &o->cert);
	read_file(in, "certkey", &o->certkey);
	if ((o->cert == NULL) != (o->certkey == NULL))
		config_bad(in, o->cert == NULL ? "cert" : "certkey", "both, or neither, of cert and certkey");
	read_folder(in, "decoy", &o->decoy);
	read_text(in, "url", &o->url);
	if (o->url != NULL && !options_url_ok(o->url))
		config_bad(in, "url", "https://host...");
	read_text(in, "base", &o->base);
	o->base_given = o->base != NULL;
	if (o->base != NULL && !msg_base_ok(o->base))
		config_bad(in, "base", "a path such as /api");
	read_text(in, "trusted_proxy", &o->trusted_proxy);
	if (o->trusted_proxy != NULL && !match_network_parse(&n, o->trusted_proxy))
		config_bad(in, "trusted_proxy", "an IP address or network");
	read_address(in, "fallback", &o->fallback);
	read_address(in, "oob", &o->oob);
	if (o->fallback.ss_family != AF_UNSPEC && o->oob.ss_family == AF_UNSPEC)
		config_bad(in, "oob", "an address for the API, since \"fallback\" has the public port");
	read_direct(in, s);
	if (config_integer(in, "retain", 1, 86400, &retain))
		o->retain_s = (uint32_t)retain;
}

/* ---- the file ---- */

static void
read_log(struct config_node *in, enum log_level *level)
{
	const char *text;

	if (!config_string(in, "log", &text))
		return;
	for (int i = LOG_ERROR; i <= LOG_DEBUG; i++) {
		if (strcmp(text, log_level_name((enum log_level)i)) == 0) {
			*level = (enum log_level)i;
			return;
		}
	}
	config_bad(in, "log", "error, warning, notice, info or debug");
}

static void
read_all(struct config_node *in, struct settings *s)
{
	struct config_node quotas;
	int64_t n;

	s->n_listen = read_addresses(in, "listen", s->listen, SETTINGS_LISTEN_MAX, 0);
	if (s->n_listen == 0)
		config_bad(in, "listen", "a list of IP addresses and ports");
	read_text(in, "state", &s->state);
	if (s->state == NULL || s->state[0] == '\0')
		config_bad(in, "state", "a folder for the relay's keys");
	read_options(in, s);
	read_access(in, &s->access);
	s->dns.n_servers = read_addresses(in, "resolvers", s->dns.servers, RESOLVE_SERVERS_MAX, 53);
	if (config_object(in, "quotas", &quotas)) {
		user_limits_read(&quotas, &s->quotas);
		config_end(&quotas);
	}
	if (config_integer(in, "sessions", 1, 1000000, &n))
		s->sessions = (unsigned)n;
	read_file(in, "users", &s->users);
	read_log(in, &s->log);
	config_end(in);
}

int
settings_read(struct settings *s, const char *path, char error[CONFIG_ERROR])
{
	struct config *c = config_read(path);
	struct config_node root;
	int rc = 0;

	*s = (struct settings){
		.options.retain_s = OPTIONS_RETAIN_S, .sessions = SETTINGS_SESSIONS, .log = LOG_NOTICE,
	};
	config_root(c, &root);
	read_all(&root, s);
	if (config_error(c) != NULL) {
		snprintf(error, CONFIG_ERROR, "%s", config_error(c));
		settings_clear(s);
		rc = -1;
	}
	config_free(c);
	return rc;
}

int
settings_check(const char *path, char error[CONFIG_ERROR])
{
	struct settings s;
	struct users *users;
	int rc = 0;

	if (settings_read(&s, path, error) != 0)
		return -1;
	users = users_new(&s.quotas);
	if (s.users != NULL)
		rc = users_load(users, s.users, error);
	users_free(users);
	settings_clear(&s);
	return rc;
}

void
settings_clear(struct settings *s)
{
	options_clear(&s->options);
	access_clear(&s->access);
	free(s->state);
	free(s->users);
	*s = (struct settings){ 0 };
}
