#include "pt-server/reach.h"

#include <errno.h>
#include <event2/event_struct.h>
#include <ifaddrs.h>
#include <stdlib.h>
#include <string.h>

#include "common/address.h"
#include "common/mem.h"
#include "common/net/dial.h"
#include "common/net/local.h"

#define DIAL_MS 10000
#define OWN_MS 10000 /* how old our knowledge of our own addresses may be */
#define OWN_MAX 1024

struct attempt {
	struct reach *r;
	struct dial *dial;
	struct sockaddr_storage to;
};

struct reach {
	struct reach_env *env;
	char *host;
	uint16_t port;
	struct resolve *resolve;       /* NULL: ended */
	struct resolve_answer answer;
	unsigned next_v6, next_v4;     /* of the answer: not looked at yet */
	bool v4_turn;
	struct attempt attempts[2 * RESOLVE_FAMILY_MAX];
	unsigned n_attempts, n_running;
	struct event next;             /* the next attempt is due */
	struct event end;              /* out of time, or refused at the start */
	enum msg_error err;            /* what to say if nothing works, and */
	const char *why;
	reach_done *done;
	void *arg;
};

static void
start_timer(struct event *ev, unsigned ms)
{
	event_add(ev, &(struct timeval){ .tv_sec = ms / 1000, .tv_usec = ms % 1000 * 1000 });
}

void
reach_cancel(struct reach *r)
{
	if (r == NULL)
		return;
	resolve_cancel(r->resolve);
	for (unsigned i = 0; i < r->n_attempts; i++)
		dial_cancel(r->attempts[i].dial);
	event_del(&r->next);
	event_del(&r->end);
	free(r->host);
	free(r);
}

static void
fail(struct reach *r)
{
	reach_done *done = r->done;
	void *arg = r->arg;
	enum msg_error err = r->err;
	const char *why = r->why;

	reach_cancel(r);
	done(arg, -1, NULL, err, why);
}

/* ---- errors ---- */

enum msg_error
reach_error(int err)
{
	switch (err) {
	case ECONNREFUSED:
	case ECONNRESET:
		return ERR_TARGET_REFUSED;
	case EHOSTUNREACH:
		return ERR_TARGET_UNREACHABLE;
	case ENETUNREACH:
		return ERR_NETWORK_UNREACHABLE;
	case ETIMEDOUT:
		return ERR_TARGET_TIMEOUT;
	default:
		return ERR_TARGET_FAILED;
	}
}

/* How much an error tells about the target; less: about us. */
static int
weight(enum msg_error e)
{
	switch (e) {
	case ERR_TARGET_REFUSED:
		return 5;
	case ERR_TARGET_TIMEOUT:
		return 4;
	case ERR_TARGET_UNREACHABLE:
		return 3;
	case ERR_TARGET_FAILED:
		return 2;
	case ERR_NETWORK_UNREACHABLE:
		return 1;
	default:
		return 0;
	}
}

static void
note(struct reach *r, enum msg_error err, const char *why)
{
	if (weight(err) < weight(r->err))
		return;
	r->err = err;
	r->why = why;
}

static void
on_end(evutil_socket_t fd, short what, void *arg)
{
	struct reach *r = arg;

	(void)fd;
	(void)what;
	if (r->n_running > 0)
		note(r, ERR_TARGET_TIMEOUT, strerror(ETIMEDOUT));
	fail(r);
}

/* ---- dials ---- */

static void go_on(struct reach *r);

static void
on_dial(void *arg, evutil_socket_t fd, int err)
{
	struct attempt *a = arg;
	struct reach *r = a->r;
	struct sockaddr_storage to = a->to;
	reach_done *done = r->done;
	void *done_arg = r->arg;

	a->dial = NULL;
	r->n_running--;
	if (fd >= 0) {
		reach_cancel(r);
		done(done_arg, fd, &to, ERR_NONE, NULL);
		return;
	}
	note(r, reach_error(err), strerror(err));
	go_on(r);
}

/* The families take turns, IPv6 first (RFC 8305 section 4). */
static bool
take(struct reach *r, struct sockaddr_storage *to)
{
	bool v6 = r->next_v6 < r->answer.n_v6, v4 = r->next_v4 < r->answer.n_v4;

	if (!v6 && !v4)
		return false;
	v4 = v4 && (r->v4_turn || !v6);
	*to = v4 ? r->answer.v4[r->next_v4++] : r->answer.v6[r->next_v6++];
	r->v4_turn = !v4;
	address_set_port(to, r->port);
	return true;
}

/* Starts the next attempt; when there is none to start or to wait for, it is over. */
static void
go_on(struct reach *r)
{
	struct sockaddr_storage to;
	struct attempt *a;

	while (take(r, &to)) {
		if (!access_address(r->env->access, r->host, &to)) {
			note(r, ERR_TARGET_DENIED, "the access list does not allow its address");
			continue;
		}
		a = &r->attempts[r->n_attempts++];
		*a = (struct attempt){ .r = r, .to = to };
		r->n_running++;
		a->dial = dial_start(r->env->base, r->env->outbound, (const struct sockaddr *)&to,
		    address_len(&to), DIAL_MS, on_dial, a);
		start_timer(&r->next, REACH_STAGGER_MS);
		return;
	}
	event_del(&r->next);
	if (r->n_running == 0 && r->resolve == NULL)
		fail(r);
}

static void
on_next(evutil_socket_t fd, short what, void *arg)
{
	(void)fd;
	(void)what;
	go_on(arg);
}

static void
on_resolved(void *arg, const struct resolve_answer *answer, bool last)
{
	struct reach *r = arg;

	r->answer = *answer;
	if (last)
		r->resolve = NULL;
	if (answer->err != ERR_NONE)
		note(r, answer->err, "the name does not resolve");
	if (!event_pending(&r->next, EV_TIMEOUT, NULL))
		go_on(r);
}

/* ---- the start ---- */

void
reach_refresh_own(struct reach_env *env)
{
	uint64_t now = local_now();
	struct sockaddr_storage *own;
	struct ifaddrs *list;
	size_t n = 0;

	if (env->own_ms != 0 && now - env->own_ms < OWN_MS)
		return;
	/* On failure the old ones stay. */
	if (getifaddrs(&list) != 0)
		return;
	env->own_ms = now;
	own = mem_alloc((OWN_MAX + env->n_also) * sizeof(*own));
	for (; n < env->n_also; n++)
		own[n] = env->also[n];
	for (struct ifaddrs *i = list; i != NULL && n < OWN_MAX + env->n_also;
	    i = i->ifa_next) {
		if (i->ifa_addr == NULL)
			continue;
		if (address_copy(&own[n], i->ifa_addr, i->ifa_addr->sa_family == AF_INET6 ?
		    sizeof(struct sockaddr_in6) : sizeof(struct sockaddr_in)))
			n++;
	}
	access_set_own(env->access, own, n);
	free(own);
	freeifaddrs(list);
}

struct reach *
reach_start(struct reach_env *env, const char *host, uint16_t port, reach_done *done, void *arg)
{
	struct reach *r = mem_zalloc(sizeof(*r));

	r->env = env;
	r->host = mem_strdup(host);
	r->port = port;
	r->done = done;
	r->arg = arg;
	evtimer_assign(&r->next, env->base, on_next, r);
	evtimer_assign(&r->end, env->base, on_end, r);
	reach_refresh_own(env);
	if (access_host(env->access, host, port)) {
		r->err = ERR_DNS_FAILED;
		r->resolve = resolve_start(env->resolver, host, on_resolved, r);
		start_timer(&r->end, REACH_TOTAL_MS);
	} else {
		r->err = ERR_TARGET_DENIED;
		r->why = "the access list does not allow it";
		start_timer(&r->end, 0);
	}
	return r;
}
