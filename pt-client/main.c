/* sultry-client: a pluggable transport, launched by tor or another PT parent. */
#include <errno.h>
#include <event2/event.h>
#include <netinet/in.h>
#include <stdio.h>
#include <string.h>

#include "common/address.h"
#include "common/log.h"
#include "common/net/local.h"
#include "common/net/process.h"
#include "common/pt.h"
#include "pt-client/app.h"
#include "pt-client/bridge.h"
#include "pt-client/entry.h"
#include "pt-client/network.h"

#define BUDGET (64u * 1024 * 1024)
#define SWEEP_S 60
#define TRANSPORT "sultry"

static struct client cl;
static struct entry *entry;
static bool draining;

static void
on_idle(struct client *c)
{
	if (draining)
		event_base_loopbreak(c->base);
}

static void
on_stop(void *arg, enum process_stop how)
{
	(void)arg;
	draining = true;
	entry_free(entry);
	entry = NULL;
	if (how == STOP_NOW || LIST_EMPTY(&cl.apps))
		event_base_loopbreak(cl.base);
}

static void
on_sweep(evutil_socket_t fd, short what, void *arg)
{
	(void)fd;
	(void)what;
	(void)arg;
	bridge_sweep(&cl, local_now(), false);
}

static void
on_network(void *arg)
{
	(void)arg;
	app_network_changed(&cl);
}

static void
listen_for_apps(void)
{
	struct sockaddr_in loopback = { .sin_family = AF_INET,
		.sin_addr.s_addr = htonl(INADDR_LOOPBACK) };
	struct sockaddr_storage bound;
	char addr[ADDRESS_TEXT_MAX];

	entry = entry_new(&cl, (struct sockaddr *)&loopback, sizeof(loopback), &bound);
	if (entry == NULL) {
		pt_line("CMETHOD-ERROR", TRANSPORT " listen: %s", strerror(errno));
		return;
	}
	address_text(addr, &bound, address_port(&bound));
	pt_line("CMETHOD", TRANSPORT " socks5 %s", addr);
}

static int
managed(void)
{
	struct pt_env env = { 0 };
	char error[PT_ERROR_MAX] = "";
	enum pt_result r = pt_env_read(&env, TRANSPORT, error);
	struct process *process;
	struct network *network;
	struct event *sweep;
	int status;

	if (r == PT_OK && env.server) {
		r = PT_ENV_ERROR;
		snprintf(error, sizeof(error), "sultry-client was started as a server");
	}
	status = pt_hello(&env, r, error);
	if (status != PT_EXIT_OK) {
		process_linger();
		pt_env_clear(&env);
		return status;
	}
	process_heed_stdin(env.exit_on_stdin_close);
	log_init(LOG_NOTICE, pt_log);
	cl.base = event_base_new();
	cl.outbound = env.out;
	cl.budget.max = BUDGET;
	cl.idle = on_idle;
	cl.oob = oob_new(cl.base, &cl.outbound);
	network = network_new(cl.base, on_network, NULL);
	sweep = event_new(cl.base, -1, EV_PERSIST, on_sweep, NULL);
	event_add(sweep, &(struct timeval){ .tv_sec = SWEEP_S });
	pt_status(TRANSPORT, "version", "IMPLEMENTATION", TRANSPORT, "VERSION", SULTRY_VERSION, NULL);
	if (env.wanted)
		listen_for_apps();
	pt_line("CMETHODS", "DONE");
	process = process_watch(cl.base, true, env.exit_on_stdin_close, on_stop, NULL);
	event_base_dispatch(cl.base);

	entry_free(entry);
	app_end_all(&cl);
	bridge_sweep(&cl, 0, true);
	oob_free(cl.oob);
	event_free(sweep);
	network_free(network);
	process_free(process);
	event_base_free(cl.base);
	pt_env_clear(&env);
	return PT_EXIT_OK;
}

int
main(int argc, char **argv)
{
	bool is_managed = pt_managed();

	process_start(is_managed);
	for (int i = 1; i < argc; i++) {
		if (strcmp(argv[i], "--version") == 0) {
			printf("sultry-client %s\n", SULTRY_VERSION);
			return 0;
		}
		if (argv[i][0] == '-' && is_managed) {
			pt_line("ENV-ERROR", "unknown flag %s", argv[i]);
			process_linger();
			return PT_EXIT_ENV;
		}
		/* Other words are ignored: "exec sultry-client managed" is common. */
	}
	if (is_managed)
		return managed();
	fprintf(stderr, "sultry-client is started by tor: put this into torrc\n"
	    "  ClientTransportPlugin sultry exec %s\n", argv[0]);
	return PT_EXIT_ENV;
}
