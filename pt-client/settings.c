#include "pt-client/settings.h"

#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <strings.h>

#include "common/address.h"
#include "common/mem.h"
#include "common/message.h"
#include "pt-client/bridge_args.h"

#define LINE_MAX_BYTES 4096

#define WANT_LISTENER "socks5://, http:// or mixed://, then perhaps user:password@, then an IP " \
	"address and port, such as socks5://127.0.0.1:1080"
#define WANT_BRIDGE "a bridge line such as sultry 192.0.2.10:443 key=... pin=..."
#define WANT_PROXY "a proxy such as socks5://127.0.0.1:9050"
#define WANT_STRATEGY "conceal, split, direct, block or auto"
#define WANT_FIRST "conceal, split or direct"
#define WANT_LOG "error, warning, notice, info or debug"
#define WANT_TOKEN "16 to 64 characters of printable ASCII"

const char client_settings_usage[] =
    "usage: sultry-client --listen URL --bridge LINE [flags]\n"
    "       sultry-client --config FILE [flags]\n"
    "  --listen URL     where apps connect: socks5://, http:// or mixed://[user:password@]IP:port\n"
    "  --bridge LINE    'sultry 192.0.2.10:443 key=... pin=...', as the server prints it\n"
    "  --config FILE    JSON with all of this and with rules\n"
    "  --check-config   say whether that is right, and exit\n"
    "  --resolve HOST   print HOST's addresses as the bridge sees them, and exit\n"
    "  --token TOKEN    the user's token, where the bridge asks for one\n"
    "  --state FOLDER   where to remember which strategies worked\n"
    "  --proxy URL      go out through socks5://, socks4a://, socks4:// or http://[user:pass@]IP:port\n"
    "  --log LEVEL      error, warning, notice (the default), info or debug\n"
    "  --help           print this\n"
    "  --version        print the version\n"
    "--listen and --bridge may be given several times. Without flags it is started by tor.\n";

void
client_settings_clear(struct client_settings *s)
{
	for (unsigned i = 0; i < s->n_listeners; i++) {
		free(s->listeners[i].user);
		if (s->listeners[i].pass != NULL)
			mem_wipe(s->listeners[i].pass, strlen(s->listeners[i].pass));
		free(s->listeners[i].pass);
	}
	for (unsigned i = 0; i < s->n_bridges; i++)
		pt_args_clear(&s->bridges[i].args);
	rules_clear(&s->rules);
	outbound_clear(&s->out);
	if (s->token != NULL)
		mem_wipe(s->token, strlen(s->token));
	free(s->token);
	free(s->state);
	free(s->resolve);
	*s = (struct client_settings){ .action = CLIENT_RUN };
}

/* ---- values, wherever they come from: NULL, or what was expected ---- */

/* RFC 1929 and RFC 7617: both parts are there, short enough, and no colon ends the user early. */
static bool
usable_pair(const char *user, const char *pass)
{
	return pass != NULL && user[0] != '\0' && pass[0] != '\0' && strlen(user) <= 255 &&
	    strlen(pass) <= 255 && strchr(user, ':') == NULL;
}

static const char *
add_listener(struct client_settings *s, const char *url)
{
	static const struct {
		const char *scheme;
		enum listen_kind kind;
	} kinds[] = {
		{ "socks5://", LISTEN_SOCKS5 }, { "http://", LISTEN_HTTP }, { "mixed://", LISTEN_MIXED },
	};
	struct client_listener *l = &s->listeners[s->n_listeners];
	const char *at, *rest = NULL;
	size_t n;

	if (s->n_listeners == CLIENT_LISTENERS)
		return "no more than 16 listeners";
	for (size_t i = 0; i < sizeof(kinds) / sizeof(kinds[0]); i++) {
		n = strlen(kinds[i].scheme);
		if (strncasecmp(url, kinds[i].scheme, n) == 0) {
			*l = (struct client_listener){ .kind = kinds[i].kind };
			rest = url + n;
		}
	}
	if (rest == NULL)
		return WANT_LISTENER;
	n = strlen(rest);
	at = memrchr(rest, '@', n);
	s->n_listeners++; /* from here on it is cleared with the rest */
	if (at != NULL) {
		if (!outbound_credentials(&l->user, &l->pass, rest, (size_t)(at - rest)) ||
		    !usable_pair(l->user, l->pass))
			return WANT_LISTENER;
		n -= (size_t)(at + 1 - rest);
		rest = at + 1;
	}
	if (n > 0 && rest[n - 1] == '/')
		n--;
	return address_parse_endpoint(&l->addr, rest, n, false, 0) ? NULL : WANT_LISTENER;
}

static const char *
set_token(struct client_settings *s, const char *token)
{
	if (!msg_token_ok(token))
		return WANT_TOKEN;
	free(s->token);
	s->token = mem_strdup(token);
	return NULL;
}

static const char *
set_proxy(struct client_settings *s, const char *url)
{
	const char *why;

	outbound_clear(&s->out);
	return outbound_set_proxy(&s->out, url, &why) ? NULL : WANT_PROXY;
}

static const char *
set_log(struct client_settings *s, const char *name)
{
	for (enum log_level l = LOG_ERROR; l <= LOG_DEBUG; l++) {
		if (strcmp(log_level_name(l), name) == 0) {
			s->log = l;
			return NULL;
		}
	}
	return WANT_LOG;
}

static const char *
set_text(char **to, const char *text, const char *want)
{
	if (text[0] == '\0')
		return want;
	free(*to);
	*to = mem_strdup(text);
	return NULL;
}

static const char *
set_state(struct client_settings *s, const char *folder)
{
	return set_text(&s->state, folder, "a folder");
}

static const char *
set_resolve(struct client_settings *s, const char *host)
{
	s->action = CLIENT_RESOLVE;
	return match_name_ok(host) ? set_text(&s->resolve, host, "") : "a host name";
}

/* ---- bridge lines ---- */

/* The next word of a line; *n is 0 at its end. */
static const char *
word(const char **line, size_t *n)
{
	const char *start = *line + strspn(*line, " \t");

	*n = strcspn(start, " \t");
	*line = start + *n;
	return start;
}

static bool
is_fingerprint(const char *w, size_t n)
{
	if (n == 41 && w[0] == '$') {
		w++;
		n--;
	}
	return n == 40 && strspn(w, "0123456789abcdefABCDEF") >= 40;
}

/* The arguments of a line, that is, the rest of it. */
static bool
read_args(struct pt_args *args, const char *line)
{
	const char *w;
	size_t n;

	while (w = word(&line, &n), n > 0) {
		const char *equals = memchr(w, '=', n);
		char pair[LINE_MAX_BYTES + 1];

		if (equals == NULL || equals == w)
			return false;
		memcpy(pair, w, n);
		pair[n] = '\0';
		pair[equals - w] = '\0';
		pt_args_add(args, pair, pair + (equals - w) + 1);
	}
	return args->text.n > 0;
}

/* The words before the arguments; *line moves behind them. */
static const char *
read_address(struct client_bridge *b, const char **line)
{
	const char *w;
	size_t n;

	w = word(line, &n);
	if (n == 6 && strncasecmp(w, "Bridge", n) == 0)
		w = word(line, &n);
	if (n != 6 || memcmp(w, "sultry", n) != 0)
		return WANT_BRIDGE;
	w = word(line, &n);
	if (n == 0 || !address_parse_endpoint(&b->addr, w, n, false, 1))
		return "an IP address and port behind \"sultry\" in a bridge line";
	w = *line + strspn(*line, " \t");
	if (is_fingerprint(w, strcspn(w, " \t")))
		word(line, &n);
	return NULL;
}

const char *
client_bridge_parse(struct client_bridge *b, const char *line)
{
	struct bridge_args known;
	size_t len = strlen(line);
	const char *want;

	if (len > LINE_MAX_BYTES)
		return WANT_BRIDGE;
	for (size_t i = 0; i < len; i++)
		if (line[i] != '\t' && (line[i] < ' ' || line[i] > '~'))
			return WANT_BRIDGE;
	want = read_address(b, &line);
	if (want != NULL)
		return want;
	if (read_args(&b->args, line))
		want = bridge_args_read(&known, &b->addr, &b->args);
	else
		want = "arguments such as key=... at the end of a bridge line";
	if (want != NULL)
		pt_args_clear(&b->args);
	return want;
}

static const char *
add_bridge(struct client_settings *s, const char *line)
{
	const char *want;

	if (s->n_bridges == CLIENT_BRIDGES)
		return "no more than 16 bridges";
	want = client_bridge_parse(&s->bridges[s->n_bridges], line);
	s->n_bridges += want == NULL;
	return want;
}

/* ---- the file ---- */

/* Reads a text through `set`. */
static void
read_text(struct config_node *in, const char *key, struct client_settings *s,
    const char *(*set)(struct client_settings *s, const char *text))
{
	const char *text, *want;

	if (config_string(in, key, &text) && (want = set(s, text)) != NULL)
		config_bad(in, key, want);
}

static void
read_texts(struct config_node *in, const char *key, struct client_settings *s,
    const char *(*add)(struct client_settings *s, const char *text))
{
	struct config_node list;

	if (config_list(in, key, &list))
		while (config_next(&list))
			read_text(&list, NULL, s, add);
}

static void
read_strategy(struct config_node *in, const char *key, enum strategy *s, const char *want)
{
	const char *name;

	if (config_string(in, key, &name) && !strategy_parse(s, name))
		config_bad(in, key, want);
}

/* A list of the last rule. Empty, it would match everything, which nobody means. */
static void
read_items(struct config_node *rule, const char *key, struct rules *r,
    bool (*add)(struct rules *r, const char *text), const char *want)
{
	struct config_node list;
	bool any = false;

	if (!config_list(rule, key, &list))
		return;
	while (config_next(&list)) {
		const char *text = "";
		char number[24];
		int64_t v;

		any = true;
		/* A single port may be a number. */
		if (add != rules_add_ports || config_is_string(&list, NULL)) {
			config_string(&list, NULL, &text);
		} else if (config_integer(&list, NULL, 1, UINT16_MAX, &v)) {
			snprintf(number, sizeof(number), "%lld", (long long)v);
			text = number;
		}
		if (!add(r, text))
			config_bad(&list, NULL, want);
	}
	if (!any)
		config_bad(rule, key, "at least one");
}

static void
read_rules(struct config_node *in, struct rules *r)
{
	struct config_node list, rule;

	if (!config_list(in, "rules", &list))
		return;
	while (config_next(&list)) {
		enum strategy s = STRATEGY_CONCEAL;
		const char *name;

		if (!config_object(&list, NULL, &rule))
			return;
		if (!config_string(&rule, "strategy", &name) || !strategy_parse(&s, name))
			config_bad(&rule, "strategy", WANT_STRATEGY);
		rules_add(r, s);
		read_items(&rule, "hosts", r, rules_add_host,
		    "a host name, in which * stands for anything");
		read_items(&rule, "networks", r, rules_add_network, "a network such as 10.0.0.0/8");
		read_items(&rule, "ports", r, rules_add_ports, "a port, or a range such as \"8000-8100\"");
		config_end(&rule);
	}
}

static void
read_root(struct client_settings *s, struct config_node *in)
{
	read_texts(in, "listen", s, add_listener);
	read_texts(in, "bridges", s, add_bridge);
	read_rules(in, &s->rules);
	read_strategy(in, "default", &s->rules.otherwise, WANT_STRATEGY);
	read_strategy(in, "auto_first", &s->auto_first, WANT_FIRST);
	if (s->auto_first > STRATEGY_DIRECT)
		config_bad(in, "auto_first", WANT_FIRST);
	read_text(in, "token", s, set_token);
	read_text(in, "state", s, set_state);
	read_text(in, "proxy", s, set_proxy);
	read_text(in, "log", s, set_log);
	config_end(in);
}

static int
read_file(struct client_settings *s, const char *path, char error[CONFIG_ERROR])
{
	struct config *c = config_read(path);
	struct config_node root;
	int r = 0;

	config_root(c, &root);
	read_root(s, &root);
	if (config_error(c) != NULL) {
		snprintf(error, CONFIG_ERROR, "%s", config_error(c));
		r = -1;
	}
	config_free(c);
	return r;
}

/* ---- the command line ---- */

enum flag_kind { FLAG_PLAIN, FLAG_CONFIG, FLAG_VALUE };

struct flag {
	const char *name;
	enum flag_kind kind;
	enum client_action action; /* FLAG_PLAIN */
	const char *(*set)(struct client_settings *s, const char *value);
};

static const struct flag flags[] = {
	{ .name = "--help", .action = CLIENT_HELP },
	{ .name = "--version", .action = CLIENT_VERSION },
	{ .name = "--check-config", .action = CLIENT_CHECK },
	{ .name = "--config", .kind = FLAG_CONFIG },
	{ .name = "--listen", .kind = FLAG_VALUE, .set = add_listener },
	{ .name = "--bridge", .kind = FLAG_VALUE, .set = add_bridge },
	{ .name = "--resolve", .kind = FLAG_VALUE, .set = set_resolve },
	{ .name = "--token", .kind = FLAG_VALUE, .set = set_token },
	{ .name = "--state", .kind = FLAG_VALUE, .set = set_state },
	{ .name = "--proxy", .kind = FLAG_VALUE, .set = set_proxy },
	{ .name = "--log", .kind = FLAG_VALUE, .set = set_log },
};

__attribute__((format(printf, 2, 3))) static int
bad(char error[CONFIG_ERROR], const char *fmt, ...)
{
	va_list ap;

	va_start(ap, fmt);
	vsnprintf(error, CONFIG_ERROR, fmt, ap);
	va_end(ap);
	return -1;
}

/* One flag at argv[*i]: "--flag value" or "--flag=value"; *i moves to its last word. */
static const struct flag *
take_flag(int *i, int argc, char **argv, const char **value, char error[CONFIG_ERROR])
{
	const char *equals = strchr(argv[*i], '=');
	size_t n = equals != NULL ? (size_t)(equals - argv[*i]) : strlen(argv[*i]);

	for (size_t k = 0; k < sizeof(flags) / sizeof(flags[0]); k++) {
		const struct flag *f = &flags[k];

		if (strlen(f->name) != n || memcmp(f->name, argv[*i], n) != 0)
			continue;
		*value = equals != NULL ? equals + 1 : NULL;
		if (f->kind == FLAG_PLAIN && *value != NULL)
			bad(error, "%s: expected no value", f->name);
		else if (f->kind != FLAG_PLAIN && *value == NULL && ++*i == argc)
			bad(error, "%s: expected a value", f->name);
		else
			*value = f->kind != FLAG_PLAIN && *value == NULL ? argv[*i] : *value;
		return f;
	}
	/* No value: it may be a token under a misspelt flag. */
	if (argv[*i][0] == '-')
		bad(error, "unknown flag %.*s; see --help", n < 60 ? (int)n : 60, argv[*i]);
	else
		bad(error, "a word without a flag; see --help");
	return NULL;
}

/* Goes over the flags and sets those of one kind; the file must come before the values. */
static int
read_flags(struct client_settings *s, enum flag_kind kind, int argc, char **argv,
    char error[CONFIG_ERROR])
{
	const char *value, *want;

	for (int i = 1; i < argc; i++) {
		const struct flag *f = take_flag(&i, argc, argv, &value, error);

		if (f == NULL || error[0] != '\0')
			return -1;
		if (f->kind != kind)
			continue;
		if (kind == FLAG_PLAIN)
			s->action = f->action > s->action ? f->action : s->action;
		else if (kind == FLAG_CONFIG && read_file(s, value, error) != 0)
			return -1;
		else if (kind == FLAG_VALUE && (want = f->set(s, value)) != NULL)
			return bad(error, "%s: expected %s", f->name, want);
	}
	return 0;
}

int
client_settings_read(struct client_settings *s, int argc, char **argv, char error[CONFIG_ERROR])
{
	error[0] = '\0';
	s->log = LOG_NOTICE;
	if (read_flags(s, FLAG_PLAIN, argc, argv, error) != 0)
		return -1;
	if (s->action >= CLIENT_HELP)
		return 0;
	if (read_flags(s, FLAG_CONFIG, argc, argv, error) != 0 ||
	    read_flags(s, FLAG_VALUE, argc, argv, error) != 0)
		return -1;
	if (s->n_listeners == 0 && s->action != CLIENT_RESOLVE)
		return bad(error, "nothing to listen on: expected --listen, or \"listen\" in the file");
	/* Also for `direct`: names are resolved there. */
	if (s->n_bridges == 0)
		return bad(error, "no bridge: expected --bridge, or \"bridges\" in the file");
	return 0;
}
