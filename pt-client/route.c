#include "pt-client/route.h"

#include <errno.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>

#include "common/address.h"
#include "common/log.h"
#include "common/mem.h"
#include "common/net/dial.h"
#include "common/net/local.h"
#include "pt-client/app.h"
#include "pt-client/lookup.h"
#include "pt-client/memory.h"
#include "pt-client/relay.h"

#define DIAL_MS 10000
#define STAGGER_MS 250 /* RFC 8305 section 5: the next address is tried beside the first */
#define ANSWER_MS 5000 /* a target under `auto` that is silent for so long is blocked */

/* A connection that goes straight to its target. The name is resolved at the bridge. */
struct route {
	LIST_ENTRY(route) link;
	struct client *cl;
	struct request req;
	char host[MSG_HOST_MAX + 1];
	struct buffer early;
	enum strategy strategy;
	bool automatic; /* tell the memory how it went */
	struct lookup *lookup;
	struct lookup_answer addresses;
	unsigned next;  /* address to dial */
	struct dial *dials[MSG_RESOLVED];
	struct route_dial {
		struct route *route;
		unsigned i;
	} args[MSG_RESOLVED];
	unsigned dialling;
	struct event *stagger;
	struct relay *relay;
};

/* ---- what `auto` learns ---- */

static int64_t
clock_now(void)
{
	return (int64_t)time(NULL);
}

struct concealed {
	struct client *cl;
	char host[MSG_HOST_MAX + 1];
	uint16_t port;
};

/* The network between the bridge and the target is in the way. All other errors can be had for
 * any target by asking for what does not exist or is not allowed; and who refuses is reached. */
static bool
is_out_of_reach(enum msg_error e)
{
	return e == ERR_TARGET_UNREACHABLE || e == ERR_NETWORK_UNREACHABLE || e == ERR_TARGET_TIMEOUT;
}

static void
on_concealed(void *arg, bool ok, enum msg_error error)
{
	struct concealed *c = arg;

	if (ok || is_out_of_reach(error))
		memory_tell(c->cl->memory, c->host, c->port, STRATEGY_CONCEAL, ok, clock_now());
	free(c);
}

static void
tell(const struct route *r, bool worked)
{
	if (r->automatic)
		memory_tell(r->cl->memory, r->host, r->req.port, r->strategy, worked, clock_now());
}

/* ---- the end ---- */

static void
stop_dials(struct route *r)
{
	for (unsigned i = 0; i < r->addresses.n; i++) {
		dial_cancel(r->dials[i]);
		r->dials[i] = NULL;
	}
	event_del(r->stagger);
	r->dialling = 0;
}

static void
route_free(struct route *r)
{
	struct client *cl = r->cl;

	LIST_REMOVE(r, link);
	lookup_cancel(r->lookup);
	stop_dials(r);
	event_free(r->stagger);
	relay_free(r->relay);
	if (r->req.fd >= 0)
		evutil_closesocket(r->req.fd);
	buffer_clear(&r->early);
	free(r);
	client_idle(cl);
}

static void
fail(struct route *r, enum socks5_rep rep, const char *why)
{
	log_warning("a connection failed: %s", why);
	/* A look-up that failed says nothing about the strategy. */
	if (r->addresses.n > 0)
		tell(r, false);
	request_reply(r->req.fd, r->req.kind, rep);
	route_free(r);
}

/* ---- straight ---- */

static void
on_relay(void *arg, const struct relay_report *report)
{
	struct route *r = arg;

	if (report->answered || report->failed)
		tell(r, report->answered);
	route_free(r);
}

static void dial_next(struct route *r);

static void
on_dial(void *arg, evutil_socket_t fd, int err)
{
	struct route_dial *d = arg;
	struct route *r = d->route;

	r->dials[d->i] = NULL;
	r->dialling--;
	if (fd < 0) {
		if (r->next < r->addresses.n)
			dial_next(r);
		else if (r->dialling == 0)
			fail(r, socks5_rep_for_errno(err), strerror(err));
		return;
	}
	stop_dials(r);
	if (!request_reply(r->req.fd, r->req.kind, SOCKS5_REP_OK)) {
		evutil_closesocket(fd);
		route_free(r);
		return;
	}
	r->relay = relay_new(r->cl->base, &r->req, fd, r->strategy == STRATEGY_SPLIT,
	    r->automatic ? ANSWER_MS : 0, on_relay, r);
	r->req.fd = -1;
}

static void
dial_next(struct route *r)
{
	unsigned i = r->next++;
	struct sockaddr_storage *a = &r->addresses.addresses[i];

	address_set_port(a, r->req.port);
	r->args[i] = (struct route_dial){ .route = r, .i = i };
	r->dialling++;
	r->dials[i] = dial_start(r->cl->base, &r->cl->outbound, (struct sockaddr *)a, address_len(a),
	    DIAL_MS, on_dial, &r->args[i]);
	if (r->next < r->addresses.n)
		event_add(r->stagger, &(struct timeval){ .tv_usec = STAGGER_MS * 1000 });
}

static void
on_stagger(evutil_socket_t fd, short what, void *arg)
{
	(void)fd;
	(void)what;
	dial_next(arg);
}

static void
on_lookup(void *arg, const struct lookup_answer *answer)
{
	struct route *r = arg;

	r->lookup = NULL;
	if (answer->error != ERR_NONE) {
		fail(r, (enum socks5_rep)msg_error_socks(answer->error), answer->why);
		return;
	}
	r->addresses = *answer;
	dial_next(r);
}

static void
go_straight(struct client *cl, const struct request *req, enum strategy s, bool automatic)
{
	struct route *r = mem_zalloc(sizeof(*r));

	r->cl = cl;
	r->req = *req;
	r->strategy = s;
	r->automatic = automatic;
	memcpy(r->host, req->host, strnlen(req->host, MSG_HOST_MAX));
	buffer_add(&r->early, req->early, req->n);
	r->req.host = r->host;
	r->req.early = buffer_data(&r->early);
	r->stagger = evtimer_new(cl->base, on_stagger, r);
	LIST_INSERT_HEAD(&cl->routes, r, link);
	r->lookup = lookup_start(cl->lookups, client_bridge(cl), r->host, cl->token, on_lookup, r);
}

/* ---- through a bridge ---- */

static void
conceal(struct client *cl, const struct request *req, bool automatic)
{
	struct bridge *b = client_bridge(cl);
	struct concealed *c = NULL;

	if (automatic) {
		c = mem_zalloc(sizeof(*c));
		c->cl = cl;
		c->port = req->port;
		memcpy(c->host, req->host, strnlen(req->host, MSG_HOST_MAX));
	}
	b->refs++;
	app_start(cl, b, req, cl->token, automatic ? on_concealed : NULL, c);
}

void
route_request(struct client *cl, const struct request *req)
{
	enum strategy s = rules_ask(cl->rules, req->host, req->port);
	bool automatic = s == STRATEGY_AUTO;

	if (automatic)
		s = memory_ask(cl->memory, req->host, req->port, clock_now());
	if (s == STRATEGY_BLOCK) {
		request_reply(req->fd, req->kind, SOCKS5_REP_NOT_ALLOWED);
		evutil_closesocket(req->fd);
	} else if (s == STRATEGY_CONCEAL) {
		conceal(cl, req, automatic);
	} else {
		go_straight(cl, req, s, automatic);
	}
}

void
route_end_all(struct client *cl)
{
	while (!LIST_EMPTY(&cl->routes))
		route_free(LIST_FIRST(&cl->routes));
}
