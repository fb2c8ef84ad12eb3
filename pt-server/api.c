#include "pt-server/api.h"

#include <stdlib.h>
#include <time.h>

#include "common/envelope.h"
#include "common/mem.h"
#include "pt-server/conn.h"

#define CLOCK_SPAN_S 120

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

/* The clock that an open names: near ours, and not from before our start, since what
 * was opened before a restart is not remembered. */
static bool
clock_ok(const struct server *srv, int64_t t, int64_t now)
{
	return t >= now - CLOCK_SPAN_S && t <= now + CLOCK_SPAN_S && t >= srv->started;
}

static void
open_session(struct server *srv, struct https_request *req, struct noise *noise,
    const uint8_t hash[32], const struct msg_request *m)
{
	struct msg_reply r = { .op = REPLY_ERROR, .time = (int64_t)time(NULL) };
	struct conn *c = NULL;

	if (!clock_ok(srv, m->time, r.time)) {
		r.error = ERR_CLOCK_SKEW;
		reply(req, noise, &r);
		return;
	}
	if (m->host[0] != '\0') {
		r.error = ERR_TARGET_DENIED;
		reply(req, noise, &r);
		return;
	}
	switch (sessions_replay(srv->sessions, hash, local_now(), &c)) {
	case REPLAY_NEW:
		conn_open(srv, noise, hash, m, req);
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
	} else if (!msg_decode_request(&m, buffer_data(&plain), plain.n, false)) {
		reply(req, &noise, &r);
	} else if (m.op == OP_OPEN) {
		open_session(srv, req, &noise, hash, &m);
	} else if (m.op == OP_STATUS) {
		c = sessions_by_id(srv->sessions, m.session);
		r = (struct msg_reply){ .op = REPLY_STATUS, .alive = c != NULL && !c->ended };
		reply(req, &noise, &r);
	} else {
		/* One target, no names to look up. */
		r.error = ERR_UNSUPPORTED;
		reply(req, &noise, &r);
	}
	buffer_clear(&plain);
	noise_clear(&noise);
}

static void
exchange(struct conn *c, struct https_request *req, const char *body, size_t len)
{
	struct buffer plain = { 0 };
	struct msg_request m;
	uint64_t n = 0;

	if (!envelope_unbox(true, c->keys.up, body, len, &n, &plain))
		https_reply_unknown(req);
	else if (!msg_decode_request(&m, buffer_data(&plain), plain.n, true))
		conn_bad_exchange(c, req);
	else
		conn_exchange(c, req, n, &m);
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
