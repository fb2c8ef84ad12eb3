#include "pt-server/api.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "common/address.h"
#include "common/envelope.h"
#include "common/mem.h"
#include "pt-server/conn.h"


static void
reply(struct https_request *req, struct noise *noise, const struct msg_reply *r)
{
	struct noise_keys keys;
	size_t len = 0;
	char *text = conn_noise_reply(noise, r, &keys, &len);

	if (text != NULL)
		https_reply_json(req, text, len);
	else
		https_reply_unknown(req);
	free(text);
	mem_wipe(&keys, sizeof(keys));
}

/* The clock that an open names: as old as the replay filter may forget it, at most; from our
 * own time, since what was opened before a restart is not remembered; and not ahead of it,
 * since it would be of the next process's time too, were there one. */
static bool
clock_ok(const struct server *srv, int64_t t, int64_t now)
{
	return t >= now - SESSIONS_CLOCK_S * 1000 && t <= now && t > srv->started;
}

static void
open_session(struct server *srv, struct https_request *req, struct noise *noise,
    const uint8_t hash[32], const struct msg_request *m)
{
	struct msg_reply r = { .op = REPLY_ERROR, .time = local_clock() };
	struct conn *c = NULL;
	struct user *user;

	if (!clock_ok(srv, m->time, r.time)) {
		r.error = ERR_CLOCK_SKEW;
		reply(req, noise, &r);
		return;
	}
	/* A bridge has its own target and no other, a relay the reverse. */
	if ((m->host[0] != '\0') != (srv->users != NULL)) {
		r.error = ERR_TARGET_DENIED;
		reply(req, noise, &r);
		return;
	}
	user = srv->users == NULL ? NULL : users_find(srv->users, m->token);
	if (srv->users != NULL && user == NULL) {
		r.error = ERR_UNAUTHORIZED;
		reply(req, noise, &r);
		return;
	}
	switch (sessions_replay(srv->sessions, hash, local_now(), &c)) {
	case REPLAY_NEW:
		conn_open(srv, noise, hash, m, user, req);
		return;
	case REPLAY_SEEN:
		if (c != NULL)
			conn_open_again(c, req);
		else
			https_reply_unknown(req);
		return;
	case REPLAY_FULL:
		r.error = ERR_BUSY;
		reply(req, noise, &r);
		return;
	}
}

/* ---- resolve ---- */

struct lookup {
	LIST_ENTRY(lookup) link;
	struct server *srv;
	struct https_request *req;
	struct noise noise;
	char host[MSG_HOST_MAX + 1];
	struct resolve *resolve;
};

static void
lookup_end(struct lookup *l, const struct msg_reply *r)
{
	LIST_REMOVE(l, link);
	resolve_cancel(l->resolve);
	reply(l->req, &l->noise, r);
	noise_clear(&l->noise);
	free(l);
}

/* Whether some rule lets clients go to the address, on whatever port: others are not told. */
static bool
may_tell(const struct access *a, const char *host, struct sockaddr_storage addr)
{
	static const uint16_t usual[] = { 443, 80 };

	for (size_t i = 0; i < 2; i++) {
		address_set_port(&addr, usual[i]);
		if (access_address(a, host, &addr))
			return true;
	}
	for (size_t i = 0; i < a->n_rules; i++) {
		if (a->rules[i].n_ports == 0)
			continue;
		address_set_port(&addr, a->rules[i].ports[0].first);
		if (access_address(a, host, &addr))
			return true;
	}
	return false;
}

static void
add_addresses(const struct lookup *l, struct msg_reply *r, const struct sockaddr_storage *list,
    unsigned n)
{
	char text[ADDRESS_TEXT_MAX];

	for (unsigned i = 0; i < n && r->n_addresses < MSG_RESOLVED; i++) {
		if (!may_tell(l->srv->reach.access, l->host, list[i]))
			continue;
		address_ip(text, &list[i]);
		snprintf(r->addresses[r->n_addresses++], sizeof(r->addresses[0]), "%.45s", text);
	}
}

static void
on_resolved(void *arg, const struct resolve_answer *answer, bool last)
{
	struct lookup *l = arg;
	struct msg_reply r = { .op = REPLY_RESOLVED, .ttl = answer->ttl };

	if (!last)
		return;
	l->resolve = NULL;
	add_addresses(l, &r, answer->v6, answer->n_v6);
	add_addresses(l, &r, answer->v4, answer->n_v4);
	if (r.n_addresses == 0)
		r = (struct msg_reply){ .op = REPLY_ERROR,
			.error = answer->err != ERR_NONE ? answer->err : ERR_TARGET_DENIED };
	lookup_end(l, &r);
}

static void
look_up(struct server *srv, struct https_request *req, struct noise *noise,
    const struct msg_request *m)
{
	struct msg_reply r = { .op = REPLY_ERROR, .error = ERR_UNSUPPORTED };
	struct lookup *l;

	/* A bridge has one target, and no names to look up. */
	if (srv->users == NULL || users_find(srv->users, m->token) == NULL) {
		if (srv->users != NULL)
			r.error = ERR_UNAUTHORIZED;
		reply(req, noise, &r);
		return;
	}
	reach_refresh_own(&srv->reach);
	l = mem_zalloc(sizeof(*l));
	l->srv = srv;
	l->req = req;
	l->noise = *noise;
	memcpy(l->host, m->host, sizeof(l->host));
	LIST_INSERT_HEAD(&srv->lookups, l, link);
	l->resolve = resolve_start(srv->reach.resolver, l->host, on_resolved, l);
}

void
api_end_all(struct server *srv)
{
	const struct msg_reply r = { .op = REPLY_ERROR, .error = ERR_BUSY };

	while (!LIST_EMPTY(&srv->lookups))
		lookup_end(LIST_FIRST(&srv->lookups), &r);
}

static void
one_shot(struct server *srv, struct https_request *req, const char *body, size_t len)
{
	struct buffer plain = { 0 };
	struct noise noise;
	struct msg_request m;
	struct msg_reply r = { .op = REPLY_ERROR, .error = ERR_BAD_REQUEST };
	uint8_t hash[32];
	const struct conn *c;

	noise_init(&noise, MSG_PROLOGUE, sizeof(MSG_PROLOGUE) - 1, srv->identity.public);
	if (!envelope_read_1(&noise, srv->identity.secret, body, len, hash, &plain)) {
		https_reply_unknown(req);
		goto out;
	}
	https_request_known(req);
	if (!msg_decode_request(&m, buffer_data(&plain), plain.n, false)) {
		reply(req, &noise, &r);
	} else if (m.op == OP_OPEN) {
		open_session(srv, req, &noise, hash, &m);
	} else if (m.op == OP_STATUS) {
		c = sessions_by_id(srv->sessions, m.session);
		r = (struct msg_reply){ .op = REPLY_STATUS, .alive = c != NULL && !c->ended };
		reply(req, &noise, &r);
	} else {
		look_up(srv, req, &noise, &m);
	}
out:
	buffer_clear(&plain);
	noise_clear(&noise);
}

static void
exchange(struct conn *c, struct https_request *req, const char *body, size_t len)
{
	struct buffer plain = { 0 };
	struct msg_request m;
	uint64_t n = 0;

	if (!envelope_unbox(true, c->keys.up, body, len, &n, &plain)) {
		https_reply_unknown(req);
		goto out;
	}
	https_request_known(req);
	if (!msg_decode_request(&m, buffer_data(&plain), plain.n, true))
		conn_bad_exchange(c, req);
	else
		conn_exchange(c, req, n, &m);
out:
	buffer_clear(&plain);
}

void
api_request(void *arg, struct https_request *req, const char *session, const char *body, size_t len)
{
	struct server *srv = arg;
	struct conn *c;

	if (session == NULL) {
		one_shot(srv, req, body, len);
		return;
	}
	c = sessions_by_id(srv->sessions, session);
	/* Before the open is answered nobody can know the keys. */
	if (c == NULL || conn_opening(c))
		https_reply_unknown(req);
	else
		exchange(c, req, body, len);
}
