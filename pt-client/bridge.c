#include "pt-client/bridge.h"

#include <arpa/inet.h>
#include <event2/event.h>
#include <netinet/in.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "common/address.h"
#include "common/mem.h"
#include "common/net/local.h"

#define WARM_MS 60000
#define KEEP_MS (10 * 60 * 1000)
#define FAILED_MS 5000          /* a channel's first failure; doubles with each */
#define FAILED_MAX_MS 300000
#define REDIAL_JITTER_MS 200    /* between two redials */

/* ---- what makes it ---- */

static bool
set_up(struct bridge *b, const struct pt_args *args, char error[256])
{
	struct bridge_args a;
	const char *want = bridge_args_read(&a, &b->line_addr, args);
	char derived[MSG_PATH_LEN + 1];

	if (want != NULL) {
		snprintf(error, 256, "expected %s", want);
		return false;
	}
	memcpy(b->key, a.key, sizeof(b->key));
	msg_base_path(derived, b->key);
	b->base = mem_strdup(a.base != NULL ? a.base : derived);
	b->redial_s = a.redial_s;
	pad_scheme_init(&b->pad, b->key);
	for (; b->n_channels < a.n_channels; b->n_channels++) {
		struct oob_channel *ch = oob_channel_new(b->cl->oob, &a.channels[b->n_channels], error);

		if (ch == NULL)
			return false;
		b->channels[b->n_channels].oob = ch;
	}
	return true;
}

static char *
name_of(const struct sockaddr_storage *addr, const struct pt_args *args)
{
	char at[ADDRESS_TEXT_MAX], *name;
	const char *key, *value;
	size_t pos = 0;

	address_text(at, addr, address_port(addr));
	name = mem_strdup(at);
	while (pt_args_next(args, &pos, &key, &value)) {
		char *longer = mem_printf("%s %s=%s", name, key, value);

		free(name);
		name = longer;
	}
	return name;
}

/* ---- life ---- */

static void on_redial(evutil_socket_t fd, short what, void *arg);

static void
bridge_free(struct bridge *b)
{
	for (unsigned i = 0; i < b->n_channels; i++)
		oob_channel_free(b->channels[i].oob);
	event_free(b->redial);
	free(b->name);
	free(b->base);
	free(b);
}

struct bridge *
bridge_get(struct client *cl, const struct sockaddr_storage *addr, const struct pt_args *args,
    char error[256])
{
	char *name = name_of(addr, args);
	struct bridge *b;

	LIST_FOREACH(b, &cl->bridges, link) {
		if (strcmp(b->name, name) == 0) {
			free(name);
			b->refs++;
			return b;
		}
	}
	b = mem_zalloc(sizeof(*b));
	b->cl = cl;
	b->name = name;
	b->refs = 1;
	b->line_addr = *addr;
	b->direct[0].addr = *addr;
	b->n_direct = 1;
	TAILQ_INIT(&b->firsts);
	TAILQ_INIT(&b->redials);
	b->redial = evtimer_new(cl->base, on_redial, b);
	if (!set_up(b, args, error)) {
		bridge_free(b);
		return NULL;
	}
	LIST_INSERT_HEAD(&cl->bridges, b, link);
	return b;
}

void
bridge_release(struct bridge *b)
{
	if (--b->refs == 0)
		b->unused_ms = 0; /* the next sweep starts the clock */
}

void
bridge_sweep(struct client *cl, uint64_t now_ms, bool all)
{
	struct bridge *b, *next;

	for (b = LIST_FIRST(&cl->bridges); b != NULL; b = next) {
		next = LIST_NEXT(b, link);
		if (b->refs > 0 && !all)
			continue;
		if (b->unused_ms == 0)
			b->unused_ms = now_ms;
		if (all || now_ms - b->unused_ms > KEEP_MS) {
			LIST_REMOVE(b, link);
			bridge_free(b);
		}
	}
}

/* ---- OOB ---- */

bool
bridge_warm(const struct bridge *b, uint64_t now_ms)
{
	return b->authentic_ms != 0 && now_ms - b->authentic_ms < WARM_MS;
}

void
bridge_authentic(struct bridge *b, uint64_t at_ms)
{
	if (at_ms > b->authentic_ms)
		b->authentic_ms = at_ms;
}

int64_t
bridge_time(const struct bridge *b)
{
	return local_clock() + b->clock_offset;
}

bool
bridge_healthy(const struct bridge *b, uint64_t now_ms)
{
	for (unsigned i = 0; i < b->n_channels; i++)
		if (b->channels[i].failed_until_ms <= now_ms)
			return true;
	return false;
}

struct oob_channel *
bridge_channel(const struct bridge *b, uint64_t now_ms)
{
	const struct bridge_channel *best = &b->channels[0];

	/* The line's order counts among the healthy; else the one that failed longest ago. */
	for (unsigned i = 0; i < b->n_channels; i++) {
		if (b->channels[i].failed_until_ms <= now_ms)
			return b->channels[i].oob;
		if (b->channels[i].failed_ms < best->failed_ms)
			best = &b->channels[i];
	}
	return best->oob;
}

/* Of a channel that has failed so often in a row. */
static uint64_t
rest_ms(unsigned failures)
{
	uint64_t ms = (uint64_t)FAILED_MS << (failures < 10 ? failures - 1 : 9);

	return ms < FAILED_MAX_MS ? ms : FAILED_MAX_MS;
}

void
bridge_channel_result(struct bridge *b, const struct oob_channel *ch, bool ok, uint64_t now_ms)
{
	for (unsigned i = 0; i < b->n_channels; i++) {
		struct bridge_channel *c = &b->channels[i];

		if (c->oob != ch)
			continue;
		if (ok) {
			c->failures = 0;
			c->failed_until_ms = 0;
			continue;
		}
		/* A blip fails all that was under way. That is one failure, but what failed last
		 * must not go back to it at once. */
		if (c->failed_until_ms <= now_ms)
			c->failures++;
		c->failed_ms = now_ms;
		c->failed_until_ms = now_ms + rest_ms(c->failures);
	}
}

unsigned
bridge_rtt_ms(const struct bridge *b, uint64_t now_ms)
{
	return oob_channel_rtt_ms(bridge_channel(b, now_ms));
}

void
bridge_why(char why[BRIDGE_WHY], const struct oob_reply *reply)
{
	if (reply->result == OOB_OK || reply->result == OOB_STATUS)
		snprintf(why, BRIDGE_WHY, "what answers at the bridge's URL (HTTP status %d) does not "
		    "have the bridge's key", reply->status);
	else
		snprintf(why, BRIDGE_WHY, "OOB channel: %s", reply->error);
}

/* ---- direct addresses ---- */

/* A dial to it ends on this machine; one to the unspecified address does so, too. */
static bool
is_here(const struct sockaddr_storage *a)
{
	static const struct in6_addr any;

	if (a->ss_family == AF_INET6)
		return address_is_loopback(a) ||
		    memcmp(&((const struct sockaddr_in6 *)a)->sin6_addr, &any, sizeof(any)) == 0;
	return address_is_loopback(a) || ((const struct sockaddr_in *)a)->sin_addr.s_addr == 0;
}

bool
bridge_may_lead_to(const struct bridge *b, const struct sockaddr_storage *addr)
{
	struct sockaddr_storage a, line;

	if (address_is_public(addr))
		return true;
	/* Dialled is the IPv4 address inside a mapped one. */
	return !address_is_public(&b->line_addr) &&
	    address_copy(&a, (const struct sockaddr *)addr, address_len(addr)) &&
	    address_copy(&line, (const struct sockaddr *)&b->line_addr, address_len(&b->line_addr)) &&
	    is_here(&a) == is_here(&line);
}

/* The address, with what is known of it already. */
static struct bridge_address
known(const struct bridge *b, const struct sockaddr_storage *addr)
{
	for (unsigned i = 0; i < b->n_direct; i++)
		if (address_equal(&b->direct[i].addr, addr))
			return b->direct[i];
	return (struct bridge_address){ .addr = *addr };
}

void
bridge_named(struct bridge *b, const struct msg_address *a, unsigned n)
{
	struct bridge_address named[MSG_ADDRESSES];
	unsigned count = 0;

	for (unsigned i = 0; i < n; i++) {
		struct sockaddr_storage ss;

		if (address_parse(&ss, a[i].address, a[i].port) && bridge_may_lead_to(b, &ss))
			named[count++] = known(b, &ss);
	}
	if (count == 0)
		named[count++] = known(b, &b->line_addr);
	memcpy(b->direct, named, count * sizeof(named[0]));
	b->n_direct = count;
}

struct bridge_address *
bridge_direct(struct bridge *b, uint64_t now_ms)
{
	if (b->dials >= BRIDGE_DIALS)
		return NULL;
	for (unsigned i = 0; i < b->n_direct; i++)
		if (b->direct[i].rests_until_ms <= now_ms)
			return &b->direct[i];
	return NULL;
}

void
bridge_rest(struct bridge *b, const struct sockaddr_storage *addr, uint64_t now_ms,
    uint32_t seconds)
{
	for (unsigned i = 0; i < b->n_direct; i++)
		if (address_equal(&b->direct[i].addr, addr))
			b->direct[i].rests_until_ms = now_ms + (uint64_t)seconds * 1000;
}

/* ---- turns to dial ---- */

static void
queue(struct bridge_queue *q, struct bridge_waiter *w)
{
	if (w->queue != NULL)
		return;
	w->queue = q;
	TAILQ_INSERT_TAIL(q, w, link);
}

void
bridge_unqueue(struct bridge_waiter *w)
{
	if (w->queue != NULL)
		TAILQ_REMOVE(w->queue, w, link);
	w->queue = NULL;
}

void
bridge_dials(struct bridge *b)
{
	b->dials++;
}

bool
bridge_await_dial(struct bridge *b, struct bridge_waiter *w)
{
	if (b->dials < BRIDGE_DIALS)
		return false;
	queue(&b->firsts, w);
	return true;
}

void
bridge_dialled(struct bridge *b)
{
	struct bridge_waiter *w;

	b->dials--;
	while ((w = TAILQ_FIRST(&b->firsts)) != NULL && b->dials < BRIDGE_DIALS) {
		bridge_unqueue(w);
		w->turn(w->arg, false);
	}
}

/* Sets the timer for the next turn: when an address has rested, after some jitter. */
static void
schedule(struct bridge *b, uint64_t now_ms)
{
	uint64_t first = UINT64_MAX, ms;

	if (b->redialling || TAILQ_EMPTY(&b->redials) || event_pending(b->redial, EV_TIMEOUT, NULL))
		return;
	for (unsigned i = 0; i < b->n_direct; i++)
		if (b->direct[i].rests_until_ms < first)
			first = b->direct[i].rests_until_ms;
	ms = (first > now_ms ? first - now_ms : 0) + mem_random_below(REDIAL_JITTER_MS);
	event_add(b->redial, &(struct timeval){ .tv_sec = (time_t)(ms / 1000),
	    .tv_usec = (suseconds_t)(ms % 1000 * 1000) });
}

static void
on_redial(evutil_socket_t fd, short what, void *arg)
{
	struct bridge *b = arg;
	struct bridge_waiter *w = TAILQ_FIRST(&b->redials);

	(void)fd;
	(void)what;
	if (w == NULL || b->redialling)
		return;
	bridge_unqueue(w);
	b->redialling = true;
	w->turn(w->arg, true);
}

void
bridge_redial(struct bridge *b, struct bridge_waiter *w, uint64_t now_ms)
{
	queue(&b->redials, w);
	schedule(b, now_ms);
}

void
bridge_redialled(struct bridge *b, uint64_t now_ms)
{
	b->redialling = false;
	schedule(b, now_ms);
}

void
bridge_network_changed(struct bridge *b, uint64_t now_ms)
{
	for (unsigned i = 0; i < b->n_direct; i++)
		b->direct[i].rests_until_ms = 0;
	for (unsigned i = 0; i < b->n_channels; i++) {
		b->channels[i].failed_until_ms = 0;
		b->channels[i].failures = 0;
		oob_channel_renew(b->channels[i].oob);
	}
	event_del(b->redial);
	schedule(b, now_ms);
}
