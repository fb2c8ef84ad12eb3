/* sultry-server: a Tor bridge's transport, launched by tor as a managed proxy; or a relay
 * of its own. */
#include <errno.h>
#include <event2/event.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "common/address.h"
#include "common/log.h"
#include "common/mem.h"
#include "common/net/local.h"
#include "common/net/process.h"
#include "common/pt.h"
#include "pt-server/api.h"
#include "pt-server/bridgeline.h"
#include "pt-server/conn.h"
#include "pt-server/front.h"
#include "pt-server/options.h"
#include "pt-server/settings.h"

#define SESSIONS_MAX 4096
#define BUDGET (512u * 1024 * 1024)
#define TRANSPORT "sultry"

static struct server srv;
static struct front *fronts[SETTINGS_LISTEN_MAX];
static unsigned n_fronts;
static struct event *tick;
static uint16_t inner_port; /* of the listener that strangers are spliced to */

static void
free_fronts(void)
{
	while (n_fronts > 0)
		front_free(fronts[--n_fronts]);
}

/* Sessions that outlived their time go. */
static void
sweep(void)
{
	struct conn *c;

	/* NULL: the transport did not start. */
	while (srv.sessions != NULL && (c = sessions_expired(srv.sessions, local_now())) != NULL)
		conn_free(c);
	if (srv.draining && (srv.sessions == NULL || sessions_live(srv.sessions) == 0))
		event_base_loopbreak(srv.base);
}

/* The ports stay open to the last: sessions that drain may need another connection. */
static void
on_stop(void *arg, enum process_stop how)
{
	(void)arg;
	srv.draining = true;
	if (how == STOP_NOW)
		event_base_loopbreak(srv.base);
	else
		sweep();
}

/* Once a second. */
static void
on_tick(evutil_socket_t fd, short what, void *arg)
{
	(void)fd;
	(void)what;
	(void)arg;
	sweep();
}

static int
peer(void *arg, const struct sockaddr_storage *from, uint16_t to_port, struct sockaddr_storage *addr)
{
	(void)arg;
	/* Only the built-in fallback has splices before it: to another listener the same
	 * local port may belong to somebody else. */
	if (to_port != inner_port)
		return -1;
	for (unsigned i = 0; i < n_fronts; i++)
		if (front_peer(fronts[i], from, addr) == 0)
			return 0;
	return -1;
}

static void
known(void *arg, const struct sockaddr_storage *from, uint16_t to_port)
{
	(void)arg;
	for (unsigned i = 0; i < n_fronts && to_port == inner_port; i++)
		front_known(fronts[i], from);
}

/* ---- start ---- */

static int
start_https(const struct options *o, struct sockaddr_storage *inner, char error[256])
{
	struct sockaddr_storage loopback, bound;
	const struct https_config cfg = {
		.cert_pem = srv.identity.cert_pem,
		.key_pem = srv.identity.key_pem,
		.base = o->base,
		.api = api_request,
		.peer = peer,
		.known = known,
		.arg = &srv,
		.connections = front_guests_max(),
		.trusted_proxy = o->trusted_proxy,
		.decoy = o->decoy,
	};

	srv.https = https_new(srv.base, &cfg, error);
	if (srv.https == NULL)
		return -1;
	if (o->oob.ss_family != AF_UNSPEC && https_listen(srv.https, &o->oob, &bound, error) != 0)
		return -1;
	address_parse(&loopback, "127.0.0.1", 0);
	if (https_listen(srv.https, &loopback, inner, error) != 0)
		return -1;
	inner_port = address_port(inner);
	return 0;
}

/* That of either family, or none given. */
static bool
is_wildcard(const struct sockaddr_storage *a)
{
	const struct sockaddr_in *v4 = (const struct sockaddr_in *)a;
	const struct sockaddr_in6 *v6 = (const struct sockaddr_in6 *)a;

	return a->ss_family == AF_INET6 ? IN6_IS_ADDR_UNSPECIFIED(&v6->sin6_addr) :
	    v4->sin_addr.s_addr == htonl(INADDR_ANY);
}

/* Every address of both families; of IPv4 where IPv6 is off. */
static void
widest_wildcard(struct sockaddr_storage *a, uint16_t port)
{
	struct sockaddr_in v4 = { .sin_family = AF_INET, .sin_port = htons(port) };
	struct sockaddr_in6 v6 = { .sin6_family = AF_INET6, .sin6_port = htons(port) };
	int fd = socket(AF_INET6, SOCK_STREAM | SOCK_CLOEXEC, 0);

	memset(a, 0, sizeof(*a));
	if (fd >= 0) {
		memcpy(a, &v6, sizeof(v6));
		close(fd);
	} else {
		memcpy(a, &v4, sizeof(v4));
	}
}

/* Opens a public port; *bound says where. */
static int
start_front(struct sockaddr_storage want, const struct options *o,
    const struct sockaddr_storage *inner, struct sockaddr_storage *bound, char error[256])
{
	const struct sockaddr_storage *fallback =
	    o->fallback.ss_family != AF_UNSPEC ? &o->fallback : inner;
	char at[ADDRESS_TEXT_MAX], why[256];

	if (is_wildcard(&want))
		widest_wildcard(&want, address_port(&want));
	fronts[n_fronts] = front_new(&srv, (struct sockaddr *)&want, address_len(&want), fallback,
	    bound, why);
	if (fronts[n_fronts] != NULL) {
		n_fronts++;
		return 0;
	}
	address_text(at, &want, address_port(&want));
	snprintf(error, 256, "%s: %.150s", at, why);
	return -1;
}

/* Before anything else, in either mode. */
static void
init(void)
{
	srv.base = event_base_new();
	srv.started = local_clock();
	srv.budget.max = BUDGET;
	tick = event_new(srv.base, -1, EV_PERSIST, on_tick, NULL);
	event_add(tick, &(struct timeval){ .tv_sec = 1 });
}

/* Brings up all but the public port; error says what failed. *inner: where the built-in
 * HTTPS server is. */
static int
start(const char *state, struct options *o, unsigned sessions, struct sockaddr_storage *inner,
    char error[256])
{
	if (identity_load(&srv.identity, state, o->cert, o->certkey, error) != 0)
		return -1;
	if (o->base == NULL) {
		o->base = mem_alloc(MSG_PATH_LEN + 1);
		msg_base_path(o->base, srv.identity.public);
	}
	pad_scheme_init(&srv.pad, srv.identity.public);
	srv.sessions = sessions_new(sessions, o->retain_s);
	srv.retain_s = o->retain_s;
	memcpy(srv.direct, o->direct, sizeof(srv.direct));
	srv.n_direct = o->n_direct;
	return start_https(o, inner, error);
}

/* In the order of who borrows from whom; no event but libevent's own comes any more. */
static void
end(void)
{
	event_free(tick);
	free_fronts();
	api_end_all(&srv);
	while (srv.sessions != NULL && sessions_any(srv.sessions) != NULL)
		conn_free(sessions_any(srv.sessions));
	https_free(srv.https);
	if (srv.reach.resolver != NULL)
		resolver_free(srv.reach.resolver);
	event_base_loop(srv.base, EVLOOP_NONBLOCK); /* libevent frees bufferevents from the loop */
	if (srv.users != NULL)
		users_free(srv.users);
	if (srv.sessions != NULL)
		sessions_free(srv.sessions);
	event_base_free(srv.base);
	identity_clear(&srv.identity);
}

/* ---- launched by tor ---- */

static void
smethod(const struct pt_env *env, const struct options *o, const struct sockaddr_storage *bound)
{
	char addr[ADDRESS_TEXT_MAX], text[PT_LINE_MAX];
	struct pt_args args = { 0 };

	bridgeline_args(&args, &srv.identity, o);
	if (bridgeline_write(env->state_location, &args, &srv.identity) != 0)
		log_warning("cannot write the bridge line to the state folder: %s", strerror(errno));
	address_text(addr, bound, address_port(bound));
	if (pt_args_smethod(text, sizeof(text), &args))
		pt_line("SMETHOD", TRANSPORT " %s %s", addr, text);
	else
		pt_line("SMETHOD-ERROR", TRANSPORT " the arguments do not fit an SMETHOD line");
	pt_args_clear(&args);
}

static int
managed(int argc, char **argv)
{
	struct pt_env env = { 0 };
	char error[256] = "";
	struct options o = { 0 };
	struct sockaddr_storage inner, bound;
	struct process *process;
	int status = pt_begin(&env, TRANSPORT, true, argc, argv);

	if (status != PT_EXIT_OK) {
		process_linger();
		pt_env_clear(&env);
		return status;
	}
	process_heed_stdin(env.exit_on_stdin_close);
	log_init(LOG_NOTICE, pt_log);
	init();
	srv.orport = env.orport;
	srv.ext_orport = env.ext_orport;
	srv.auth_cookie_file = env.auth_cookie_file;
	srv.outbound = env.out;
	pt_status(TRANSPORT, "version", "IMPLEMENTATION", TRANSPORT, "VERSION", SULTRY_VERSION, NULL);
	if (env.wanted) {
		if (options_read(&o, &env.options, error) == 0 &&
		    start(env.state_location, &o, SESSIONS_MAX, &inner, error) == 0 &&
		    start_front(env.bindaddr, &o, &inner, &bound, error) == 0)
			smethod(&env, &o, &bound);
		else
			pt_line("SMETHOD-ERROR", TRANSPORT " %s", error);
	}
	pt_line("SMETHODS", "DONE");
	process = process_watch(srv.base, true, env.exit_on_stdin_close, on_stop, NULL);
	event_base_dispatch(srv.base);

	process_free(process);
	end();
	options_clear(&o);
	pt_env_clear(&env);
	return PT_EXIT_OK;
}

/* ---- a relay of its own ---- */

static const char usage[] =
    "sultry-server --config FILE [--check-config]\n"
    "sultry-server --version\n"
    "A relay to targets that its access list allows. As a Tor bridge it is started by tor:\n"
    "  ServerTransportPlugin sultry exec sultry-server\n";

static struct settings settings;

/* SIGHUP: who is no longer in the users file loses the sessions. */
static void
on_reload(evutil_socket_t fd, short what, void *arg)
{
	char error[CONFIG_ERROR];
	struct user_session *gone;

	(void)fd;
	(void)what;
	(void)arg;
	if (settings.users == NULL)
		return;
	if (users_load(srv.users, settings.users, error) != 0) {
		log_error("the users stay as they were: %s", error);
		return;
	}
	while ((gone = users_revoked(srv.users)) != NULL)
		conn_revoke(gone->owner);
	conn_pump_all(&srv); /* a limit may have been raised */
	log_notice("the users file was read again");
}

/* One wildcard takes both families: that of the other would find the port taken. */
static bool
is_covered(unsigned i)
{
	for (unsigned k = 0; k < i; k++)
		if (is_wildcard(&settings.listen[i]) && is_wildcard(&settings.listen[k]) &&
		    address_port(&settings.listen[i]) == address_port(&settings.listen[k]))
			return true;
	return false;
}

static int
start_relay(char error[CONFIG_ERROR])
{
	struct sockaddr_storage inner, bound;
	char at[ADDRESS_TEXT_MAX];
	struct pt_args args = { 0 };

	srv.users = users_new(&settings.quotas);
	if (settings.users != NULL && users_load(srv.users, settings.users, error) != 0)
		return -1;
	srv.reach.base = srv.base;
	srv.reach.access = &settings.access;
	srv.reach.resolver = resolver_new(srv.base, &settings.dns);
	srv.reach.outbound = &srv.outbound;
	/* Addresses that are the relay's from outside: clients must not be sent there. */
	srv.reach.also = settings.direct;
	srv.reach.n_also = settings.options.n_direct;
	if (start(settings.state, &settings.options, settings.sessions, &inner, error) != 0)
		return -1;
	for (unsigned i = 0; i < settings.n_listen; i++) {
		if (is_covered(i))
			continue;
		if (start_front(settings.listen[i], &settings.options, &inner, &bound, error) != 0)
			return -1;
		address_text(at, &bound, address_port(&bound));
		log_notice("listening on %s", at);
	}
	bridgeline_args(&args, &srv.identity, &settings.options);
	if (bridgeline_write(settings.state, &args, &srv.identity) != 0)
		log_warning("cannot write the bridge line to the state folder: %s", strerror(errno));
	pt_args_clear(&args);
	return 0;
}

static int
relay(void)
{
	char error[CONFIG_ERROR] = "";
	struct process *process;
	struct event *reload;
	int status = 0;

	log_init(settings.log, NULL);
	init();
	reload = evsignal_new(srv.base, SIGHUP, on_reload, NULL);
	event_add(reload, NULL);
	process = process_watch(srv.base, false, false, on_stop, NULL);
	if (start_relay(error) == 0) {
		process_ready();
		event_base_dispatch(srv.base);
	} else {
		log_error("%s", error);
		status = 1;
	}
	event_free(reload);
	process_free(process);
	end();
	return status;
}

/* --config FILE or --config=FILE at argv[*i], which moves to its last word: the FILE, "" if
 * there is none. NULL: it is not that flag. */
static const char *
take_config(int *i, int argc, char **argv)
{
	static const char name[] = "--config";
	const char *rest = argv[*i] + sizeof(name) - 1;

	if (strncmp(argv[*i], name, sizeof(name) - 1) != 0 || (*rest != '\0' && *rest != '='))
		return NULL;
	if (*rest == '=')
		return rest + 1;
	return *i + 1 < argc ? argv[++*i] : "";
}

static int
standalone(int argc, char **argv)
{
	const char *config = NULL, *value;
	char error[CONFIG_ERROR] = "";
	bool check = false;
	int status;

	for (int i = 1; i < argc; i++) {
		if (strcmp(argv[i], "--help") == 0) {
			fputs(usage, stdout);
			return 0;
		}
		if (strcmp(argv[i], "--check-config") == 0) {
			check = true;
		} else if ((value = take_config(&i, argc, argv)) != NULL) {
			config = value;
		} else {
			fprintf(stderr, "sultry-server: unknown flag %s; see --help\n", argv[i]);
			return PT_EXIT_ENV;
		}
	}
	if (config == NULL || config[0] == '\0') {
		fputs("sultry-server: --config: expected a file; see --help\n", stderr);
		return PT_EXIT_ENV;
	}
	status = check ? settings_check(config, error) : settings_read(&settings, config, error);
	if (status != 0) {
		fprintf(stderr, "sultry-server: %s\n", error);
		return PT_EXIT_ENV;
	}
	if (check) {
		puts("The settings are good.");
		return 0;
	}
	status = relay();
	settings_clear(&settings);
	return status;
}

int
main(int argc, char **argv)
{
	bool is_managed = pt_managed();

	process_start(is_managed);
	if (argc == 2 && strcmp(argv[1], "--version") == 0) {
		printf("sultry-server %s\n", SULTRY_VERSION);
		return 0;
	}
	return is_managed ? managed(argc, argv) : standalone(argc, argv);
}
