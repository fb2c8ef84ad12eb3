#include "pt-client/lookup.h"

#include <stdlib.h>
#include <string.h>
#include <strings.h>

#include "common/address.h"
#include "common/envelope.h"
#include "common/mem.h"
#include "common/net/local.h"

#define CACHE_MAX 512
#define TRIES 3
#define TRY_MS 6000
#define PAUSE_MS 300

struct known {
	TAILQ_ENTRY(known) link; /* the latest used first */
	char host[MSG_HOST_MAX + 1];
	struct lookup_answer answer;
	uint64_t until_ms;
};

struct lookup_cache {
	TAILQ_HEAD(known_list, known) all;
	unsigned n;
};

struct lookup {
	struct lookup_cache *cache;
	struct bridge *b;
	char host[MSG_HOST_MAX + 1];
	struct noise noise;
	char *body; /* kept for the next try, which is byte-identical */
	size_t len;
	struct oob_request *req;
	struct oob_channel *channel;
	struct event *timer; /* an answer that is at hand, or the next try */
	struct lookup_answer answer;
	bool ready;
	unsigned tries;
	lookup_done *done;
	void *arg;
};

/* ---- the cache ---- */

struct lookup_cache *
lookup_cache_new(void)
{
	struct lookup_cache *c = mem_zalloc(sizeof(*c));

	TAILQ_INIT(&c->all);
	return c;
}

static void
forget(struct lookup_cache *c, struct known *k)
{
	TAILQ_REMOVE(&c->all, k, link);
	free(k);
	c->n--;
}

void
lookup_cache_free(struct lookup_cache *c)
{
	while (c != NULL && !TAILQ_EMPTY(&c->all))
		forget(c, TAILQ_FIRST(&c->all));
	free(c);
}

static bool
recall(struct lookup_cache *c, const char *host, uint64_t now_ms, struct lookup_answer *answer)
{
	struct known *k;

	TAILQ_FOREACH(k, &c->all, link) {
		if (strcasecmp(k->host, host) != 0)
			continue;
		if (k->until_ms <= now_ms) {
			forget(c, k);
			return false;
		}
		TAILQ_REMOVE(&c->all, k, link);
		TAILQ_INSERT_HEAD(&c->all, k, link);
		*answer = k->answer;
		answer->ttl = (uint32_t)((k->until_ms - now_ms) / 1000);
		return true;
	}
	return false;
}

static void
remember(struct lookup_cache *c, const char *host, const struct lookup_answer *answer, uint64_t now_ms)
{
	struct lookup_answer old;
	struct known *k;

	if (answer->ttl == 0 || recall(c, host, now_ms, &old))
		return;
	if (c->n == CACHE_MAX)
		forget(c, TAILQ_LAST(&c->all, known_list));
	k = mem_zalloc(sizeof(*k));
	memcpy(k->host, host, strlen(host) + 1);
	k->answer = *answer;
	k->until_ms = now_ms + (uint64_t)answer->ttl * 1000;
	TAILQ_INSERT_HEAD(&c->all, k, link);
	c->n++;
}

/* ---- one look-up ---- */

void
lookup_cancel(struct lookup *l)
{
	if (l == NULL)
		return;
	oob_cancel(l->req);
	event_free(l->timer);
	noise_clear(&l->noise);
	free(l->body);
	bridge_release(l->b);
	free(l);
}

static void
finish(struct lookup *l)
{
	struct lookup_answer answer = l->answer;
	lookup_done *done = l->done;
	void *arg = l->arg;

	lookup_cancel(l);
	done(arg, &answer);
}

static void
fail(struct lookup *l, enum msg_error error, const char *why)
{
	l->answer = (struct lookup_answer){ .error = error, .why = why };
	finish(l);
}

static void
take_reply(struct lookup *l, const struct msg_reply *m)
{
	unsigned kept_out = 0;

	if (m->op == REPLY_ERROR) {
		fail(l, m->error, msg_error_name(m->error));
		return;
	}
	for (unsigned i = 0; m->op == REPLY_RESOLVED && i < m->n_addresses; i++) {
		struct sockaddr_storage *a = &l->answer.addresses[l->answer.n];

		if (!address_parse(a, m->addresses[i], 0))
			continue;
		if (bridge_may_lead_to(l->b, a))
			l->answer.n++;
		else
			kept_out++;
	}
	l->answer.ttl = m->ttl;
	if (l->answer.n == 0) {
		if (kept_out > 0)
			fail(l, ERR_TARGET_DENIED, "the bridge gives a name addresses that are not public");
		else
			fail(l, ERR_DNS_FAILED, "the name has no address");
		return;
	}
	remember(l->cache, l->host, &l->answer, local_now());
	finish(l);
}

static void
on_reply(void *arg, const struct oob_reply *reply)
{
	struct lookup *l = arg;
	struct noise noise = l->noise; /* a bad answer must not spoil it for a good one */
	struct noise_keys keys;
	struct buffer plain = { 0 };
	struct msg_reply m;
	uint64_t now = local_now();
	char why[BRIDGE_WHY];

	l->req = NULL;
	if (reply->result == OOB_OK && envelope_read_2(&noise, reply->body, reply->len, &keys, &plain) &&
	    msg_decode_reply(&m, buffer_data(&plain), plain.n)) {
		bridge_authentic(l->b, now);
		bridge_channel_result(l->b, l->channel, true, now);
		take_reply(l, &m);
	} else {
		bridge_channel_result(l->b, l->channel, false, now);
		if (++l->tries < TRIES) {
			event_add(l->timer, &(struct timeval){ .tv_usec = PAUSE_MS * 1000 });
		} else {
			bridge_why(why, reply);
			fail(l, ERR_DNS_FAILED, why);
		}
	}
	mem_wipe(&keys, sizeof(keys));
	noise_clear(&noise);
	buffer_clear(&plain);
}

static void
on_timer(evutil_socket_t fd, short what, void *arg)
{
	struct lookup *l = arg;
	char *copy;

	(void)fd;
	(void)what;
	if (l->ready) {
		finish(l);
		return;
	}
	if (l->body == NULL) {
		fail(l, ERR_DNS_FAILED, "the bridge line's key is not a usable one");
		return;
	}
	copy = mem_alloc(l->len);
	memcpy(copy, l->body, l->len);
	l->channel = bridge_channel(l->b, local_now());
	l->req = oob_post(l->channel, l->b->base, copy, l->len, TRY_MS, on_reply, l);
}

struct lookup *
lookup_start(struct lookup_cache *c, struct bridge *b, const char *host, const char *token,
    lookup_done *done, void *arg)
{
	struct lookup *l = mem_zalloc(sizeof(*l));
	struct msg_request m = { .op = OP_RESOLVE, .time = bridge_time(b) };
	struct buffer plain = { 0 };

	l->cache = c;
	l->b = b;
	b->refs++;
	l->done = done;
	l->arg = arg;
	l->timer = evtimer_new(b->cl->base, on_timer, l);
	/* The caller has checked their lengths: they come from SOCKS, HTTP and settings. */
	memcpy(l->host, host, strnlen(host, MSG_HOST_MAX));
	if (address_parse(&l->answer.addresses[0], host, 0)) {
		l->answer.n = 1;
		l->ready = true;
	} else {
		l->ready = recall(c, host, local_now(), &l->answer);
	}
	if (!l->ready) {
		memcpy(m.host, l->host, sizeof(m.host));
		memcpy(m.token, token, strnlen(token, MSG_TOKEN_MAX));
		noise_init(&l->noise, MSG_PROLOGUE, sizeof(MSG_PROLOGUE) - 1, b->key);
		msg_encode_request(&plain, &m);
		l->body = envelope_write_1(&l->noise, &plain, &l->len);
		buffer_clear(&plain);
	}
	event_active(l->timer, EV_TIMEOUT, 1);
	return l;
}
