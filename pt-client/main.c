/* sultry-client: a pluggable transport, launched by tor or another PT parent; or a local
 * proxy of its own. */
#include <errno.h>
#include <event2/event.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>

#include "common/address.h"
#include "common/log.h"
#include "common/mem.h"
#include "common/net/local.h"
#include "common/net/process.h"
#include "common/pt.h"
#include "pt-client/app.h"
#include "pt-client/bridge.h"
#include "pt-client/entry.h"
#include "pt-client/lookup.h"
#include "pt-client/memory.h"
#include "pt-client/network.h"
#include "pt-client/route.h"

#define BUDGET (64u * 1024 * 1024)
#define SWEEP_S 60
#define TRANSPORT "sultry"

static struct client cl;
static struct entry *entries[CLIENT_LISTENERS];
static unsigned n_entries;
static struct network *network;
static struct event *sweep;

static void
stop_listening(void)
{
	while (n_entries > 0)
		entry_free(entries[--n_entries]);
}

static void
on_stop(void *arg, enum process_stop how)
{
	(void)arg;
	cl.draining = true;
	stop_listening();
	if (how == STOP_NOW)
		event_base_loopbreak(cl.base);
	else
		client_idle(&cl);
}

static void
save_memory(void)
{
	if (cl.memory != NULL && memory_save(cl.memory) != 0)
		log_warning("cannot save what auto has learnt: %s", strerror(errno));
}

static void
on_sweep(evutil_socket_t fd, short what, void *arg)
{
	(void)fd;
	(void)what;
	(void)arg;
	bridge_sweep(&cl, local_now(), false);
	save_memory();
}

static void
on_network(void *arg)
{
	(void)arg;
	app_network_changed(&cl);
}

static void
start(const struct outbound *out)
{
	cl.base = event_base_new();
	cl.outbound = *out;
	cl.budget.max = BUDGET;
	cl.oob = oob_new(cl.base, &cl.outbound);
	network = network_new(cl.base, on_network, NULL);
	sweep = event_new(cl.base, -1, EV_PERSIST, on_sweep, NULL);
	event_add(sweep, &(struct timeval){ .tv_sec = SWEEP_S });
}

static void
run(bool is_managed, bool stdin_close)
{
	struct process *process = process_watch(cl.base, is_managed, stdin_close, on_stop, NULL);

	event_base_dispatch(cl.base);
	process_free(process);
}

/* In the order of who borrows from whom. */
static void
end(void)
{
	stop_listening();
	app_end_all(&cl);
	route_end_all(&cl);
	save_memory();
	memory_free(cl.memory);
	lookup_cache_free(cl.lookups);
	bridge_sweep(&cl, 0, true);
	oob_free(cl.oob);
	event_free(sweep);
	network_free(network);
	event_base_free(cl.base);
	free(cl.own);
}

/* ---- launched by a parent ---- */

static void
listen_for_parent(void)
{
	struct sockaddr_storage loopback, bound;
	char addr[ADDRESS_TEXT_MAX];

	address_parse(&loopback, "127.0.0.1", 0);
	entries[0] = entry_new(&cl, &loopback, NULL, &bound);
	if (entries[0] == NULL) {
		pt_line("CMETHOD-ERROR", TRANSPORT " listen: %s", strerror(errno));
		return;
	}
	n_entries = 1;
	address_text(addr, &bound, address_port(&bound));
	pt_line("CMETHOD", TRANSPORT " socks5 %s", addr);
}

static int
managed(int argc, char **argv)
{
	struct pt_env env = { 0 };
	int status = pt_begin(&env, TRANSPORT, false, argc, argv);

	if (status != PT_EXIT_OK) {
		process_linger();
		pt_env_clear(&env);
		return status;
	}
	process_heed_stdin(env.exit_on_stdin_close);
	log_init(LOG_NOTICE, pt_log);
	start(&env.out);
	pt_status(TRANSPORT, "version", "IMPLEMENTATION", TRANSPORT, "VERSION", SULTRY_VERSION, NULL);
	if (env.wanted)
		listen_for_parent();
	pt_line("CMETHODS", "DONE");
	run(true, env.exit_on_stdin_close);
	end();
	pt_env_clear(&env);
	return PT_EXIT_OK;
}

/* ---- a proxy of its own ---- */

static bool
add_bridges(const struct client_settings *s)
{
	char error[256];

	cl.own = mem_zalloc(s->n_bridges * sizeof(cl.own[0]));
	for (unsigned i = 0; i < s->n_bridges; i++) {
		cl.own[i] = bridge_get(&cl, &s->bridges[i].addr, &s->bridges[i].args, error);
		if (cl.own[i] == NULL) {
			log_error("bridge %u: %s", i + 1, error);
			return false;
		}
		cl.n_own++;
	}
	return true;
}

static bool
listen_for_apps(const struct client_settings *s)
{
	struct sockaddr_storage bound;
	char addr[ADDRESS_TEXT_MAX];

	for (unsigned i = 0; i < s->n_listeners; i++) {
		address_text(addr, &s->listeners[i].addr, address_port(&s->listeners[i].addr));
		if (!address_is_loopback(&s->listeners[i].addr) && s->listeners[i].user == NULL)
			log_warning("%s is open to others, and asks for no password", addr);
		entries[i] = entry_new(&cl, &s->listeners[i].addr, &s->listeners[i], &bound);
		if (entries[i] == NULL) {
			log_error("listen on %s: %s", addr, strerror(errno));
			return false;
		}
		n_entries = i + 1;
		address_text(addr, &bound, address_port(&bound));
		log_notice("listening on %s", addr);
	}
	return true;
}

static struct lookup *resolving;
static int resolve_status = 1; /* until it is answered */

static void
on_resolved(void *arg, const struct lookup_answer *answer)
{
	char text[ADDRESS_TEXT_MAX];

	(void)arg;
	resolving = NULL;
	resolve_status = answer->error == ERR_NONE ? 0 : 1;
	if (answer->error != ERR_NONE)
		fprintf(stderr, "sultry-client: %s\n", answer->why);
	for (unsigned i = 0; i < answer->n; i++) {
		address_ip(text, &answer->addresses[i]);
		puts(text);
	}
	event_base_loopbreak(cl.base);
}

static int
resolve(const struct client_settings *s)
{
	resolving = lookup_start(cl.lookups, client_bridge(&cl), s->resolve, cl.token, on_resolved, NULL);
	run(false, false);
	lookup_cancel(resolving);
	return resolve_status;
}

static int
serve(const struct client_settings *s)
{
	char error[CONFIG_ERROR];

	cl.memory = memory_new(s->state, s->auto_first, (int64_t)time(NULL), error);
	if (error[0] != '\0')
		log_warning("what auto had learnt is lost: %s", error);
	if (!listen_for_apps(s))
		return 1;
	process_ready();
	run(false, false);
	return 0;
}

static int
standalone(int argc, char **argv)
{
	struct client_settings s = { 0 };
	char error[CONFIG_ERROR] = "";
	int status = 0;

	if (client_settings_read(&s, argc, argv, error) != 0) {
		fprintf(stderr, "sultry-client: %s\n", error);
		client_settings_clear(&s);
		return PT_EXIT_ENV;
	}
	if (s.action == CLIENT_HELP || s.action == CLIENT_VERSION) {
		if (s.action == CLIENT_HELP)
			fputs(client_settings_usage, stdout);
		else
			printf("sultry-client %s\n", SULTRY_VERSION);
		client_settings_clear(&s);
		return 0;
	}
	log_init(s.log, NULL);
	start(&s.out);
	cl.rules = &s.rules;
	cl.token = s.token == NULL ? "" : s.token;
	cl.lookups = lookup_cache_new();
	if (!add_bridges(&s)) {
		status = 1;
	} else if (s.action == CLIENT_CHECK) {
		puts("The settings are good.");
	} else if (s.action == CLIENT_RESOLVE) {
		status = resolve(&s);
	} else {
		status = serve(&s);
	}
	end();
	client_settings_clear(&s);
	return status;
}

int
main(int argc, char **argv)
{
	bool is_managed = pt_managed();

	process_start(is_managed);
	if (is_managed && !(argc == 2 && strcmp(argv[1], "--version") == 0))
		return managed(argc, argv);
	return standalone(argc, argv);
}
