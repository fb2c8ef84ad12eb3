/* sultry-server: a Tor bridge's transport, launched by tor as a managed proxy. */
#include <errno.h>
#include <event2/event.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/resource.h>
#include <time.h>
#include <unistd.h>

#include "common/address.h"
#include "common/log.h"
#include "common/mem.h"
#include "common/net/process.h"
#include "common/pt.h"
#include "pt-server/api.h"
#include "pt-server/bridgeline.h"
#include "pt-server/conn.h"
#include "pt-server/front.h"
#include "pt-server/options.h"

#define SESSIONS_MAX 4096
#define BUDGET (512u * 1024 * 1024)
#define TRANSPORT "sultry"

static struct server srv;
static bool draining;

static void
on_stop(void *arg, enum process_stop how)
{
	(void)arg;
	draining = true;
	front_free(srv.front);
	srv.front = NULL;
	if (how == STOP_NOW || sessions_count(srv.sessions) == 0)
		event_base_loopbreak(srv.base);
}

/* Once a second: sessions that outlived their time go. */
static void
on_tick(evutil_socket_t fd, short what, void *arg)
{
	struct conn *c;

	(void)fd;
	(void)what;
	(void)arg;
	while ((c = sessions_expired(srv.sessions, local_now())) != NULL)
		conn_free(c);
	if (draining && sessions_count(srv.sessions) == 0)
		event_base_loopbreak(srv.base);
}

static int
peer(void *arg, const struct sockaddr *from, struct sockaddr_storage *addr)
{
	(void)arg;
	return srv.front == NULL ? -1 : front_peer(srv.front, from, addr);
}

/* ---- start ---- */

static int
start_https(const struct options *o, struct sockaddr_storage *inner, char error[256])
{
	struct sockaddr_in loopback = { .sin_family = AF_INET,
		.sin_addr.s_addr = htonl(INADDR_LOOPBACK) };
	const struct https_config cfg = {
		.cert_pem = srv.identity.cert_pem,
		.key_pem = srv.identity.key_pem,
		.base = o->base,
		.api = api_request,
		.peer = peer,
		.arg = &srv,
		.trusted_proxy = o->trusted_proxy,
	};

	srv.https = https_new(srv.base, &cfg, error);
	if (srv.https == NULL)
		return -1;
	if (o->oob.ss_family != AF_UNSPEC &&
	    https_listen(srv.https, (const struct sockaddr *)&o->oob, address_len(&o->oob), NULL, error) != 0)
		return -1;
	return https_listen(srv.https, (struct sockaddr *)&loopback, sizeof(loopback), inner, error);
}

static int
start_front(const struct pt_env *env, const struct options *o, const struct sockaddr_storage *inner,
    struct sockaddr_storage *bound, char error[256])
{
	struct sockaddr_in6 any6 = { .sin6_family = AF_INET6 };
	struct sockaddr_storage want = env->bindaddr;
	const struct sockaddr_storage *fallback =
	    o->fallback.ss_family != AF_UNSPEC ? &o->fallback : inner;
	const struct sockaddr_in *v4 = (const struct sockaddr_in *)&want;
	bool any = !env->bindaddr_given ||
	    (want.ss_family == AF_INET && v4->sin_addr.s_addr == htonl(INADDR_ANY));

	/* The IPv4 wildcard means every address; IPv4 alone where IPv6 is off. */
	if (any) {
		any6.sin6_port = htons(address_port(&want));
		srv.front = front_new(&srv, (struct sockaddr *)&any6, sizeof(any6), fallback, bound,
		    error);
		if (srv.front != NULL)
			return 0;
		want.ss_family = AF_INET;
	}
	srv.front = front_new(&srv, (struct sockaddr *)&want, address_len(&want), fallback, bound, error);
	return srv.front == NULL ? -1 : 0;
}

/* Brings the bridge up; error says what failed. */
static int
start(const struct pt_env *env, struct options *o, struct sockaddr_storage *bound,
    char error[256])
{
	struct sockaddr_storage inner;

	if (identity_load(&srv.identity, env->state_location, o->cert, o->certkey, error) != 0)
		return -1;
	if (o->base == NULL) {
		o->base = mem_alloc(MSG_PATH_LEN + 1);
		msg_base_path(o->base, srv.identity.public);
	}
	pad_scheme_init(&srv.pad, srv.identity.public);
	srv.budget.max = BUDGET;
	srv.sessions = sessions_new(SESSIONS_MAX, o->retain_s);
	srv.retain_s = o->retain_s;
	srv.started = (int64_t)time(NULL);
	srv.orport = env->orport;
	srv.ext_orport = env->ext_orport;
	srv.auth_cookie_file = env->auth_cookie_file;
	srv.outbound = env->out;
	memcpy(srv.direct, o->direct, sizeof(srv.direct));
	srv.n_direct = o->n_direct;
	return start_https(o, &inner, error) != 0 ||
	    start_front(env, o, &inner, bound, error) != 0 ? -1 : 0;
}

static void
smethod(const struct pt_env *env, const struct options *o, const struct sockaddr_storage *bound)
{
	char addr[PT_ADDR_MAX], text[PT_LINE_MAX];
	struct pt_args args = { 0 };

	bridgeline_args(&args, &srv.identity, o);
	if (bridgeline_write(env->state_location, &args) != 0)
		log_warning("cannot write the bridge line to the state folder: %s", strerror(errno));
	pt_addr_format(addr, (const struct sockaddr *)bound);
	if (pt_args_smethod(text, sizeof(text), &args))
		pt_line("SMETHOD", TRANSPORT " %s %s", addr, text);
	else
		pt_line("SMETHOD-ERROR", TRANSPORT " the arguments do not fit an SMETHOD line");
	pt_args_clear(&args);
}

static int
managed(void)
{
	struct pt_env env = { 0 };
	char error[PT_ERROR_MAX] = "", start_error[256] = "";
	struct options o = { 0 };
	struct sockaddr_storage bound;
	enum pt_result r = pt_env_read(&env, TRANSPORT, error);
	struct process *process;
	struct event *tick;
	int status;

	if (r == PT_OK && env.client) {
		r = PT_ENV_ERROR;
		snprintf(error, sizeof(error), "sultry-server was started as a client");
	}
	status = pt_hello(&env, r, error);
	if (status != PT_EXIT_OK) {
		process_linger();
		return status;
	}
	log_init(LOG_NOTICE, pt_log);
	srv.base = event_base_new();
	process = process_watch(srv.base, true, env.exit_on_stdin_close, on_stop, NULL);
	tick = event_new(srv.base, -1, EV_PERSIST, on_tick, NULL);
	event_add(tick, &(struct timeval){ .tv_sec = 1 });
	pt_status(TRANSPORT, "version", "IMPLEMENTATION", TRANSPORT, "VERSION", SULTRY_VERSION, NULL);
	if (env.wanted) {
		if (options_read(&o, &env.options, start_error) == 0 &&
		    start(&env, &o, &bound, start_error) == 0)
			smethod(&env, &o, &bound);
		else
			pt_line("SMETHOD-ERROR", TRANSPORT " %s", start_error);
	}
	pt_line("SMETHODS", "DONE");
	event_base_dispatch(srv.base);

	/* In the order of who borrows from whom. */
	front_free(srv.front);
	while (srv.sessions != NULL && sessions_any(srv.sessions) != NULL)
		conn_free(sessions_any(srv.sessions));
	https_free(srv.https);
	event_base_loop(srv.base, EVLOOP_NONBLOCK); /* libevent frees bufferevents from the loop */
	if (srv.sessions != NULL)
		sessions_free(srv.sessions);
	event_free(tick);
	process_free(process);
	event_base_free(srv.base);
	identity_clear(&srv.identity);
	options_clear(&o);
	pt_env_clear(&env);
	return PT_EXIT_OK;
}

static void
raise_descriptors(void)
{
	struct rlimit lim;

	if (getrlimit(RLIMIT_NOFILE, &lim) == 0) {
		lim.rlim_cur = lim.rlim_max;
		setrlimit(RLIMIT_NOFILE, &lim);
	}
}

int
main(int argc, char **argv)
{
	bool is_managed = pt_managed();

	process_start(is_managed);
	raise_descriptors();
	for (int i = 1; i < argc; i++) {
		if (strcmp(argv[i], "--version") == 0) {
			printf("sultry-server %s\n", SULTRY_VERSION);
			return 0;
		}
		if (argv[i][0] == '-' && is_managed) {
			pt_line("ENV-ERROR", "unknown flag %s", argv[i]);
			process_linger();
			return PT_EXIT_ENV;
		}
		/* Other words are ignored: "exec sultry-server managed" is common. */
	}
	if (is_managed)
		return managed();
	fprintf(stderr, "sultry-server is started by tor: put this into the bridge's torrc\n"
	    "  ServerTransportPlugin sultry exec %s\n", argv[0]);
	return PT_EXIT_ENV;
}
