#include "pt-server/conn.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "common/address.h"
#include "common/envelope.h"
#include "common/log.h"
#include "common/mem.h"

#define QUIET_MS 2
#define OPEN_HOLD_MS 5000  /* for the answer to a whole ClientHello */
#define OPEN_PAUSE_MS 250  /* for the answer to something that may have to go on */
#define POLL_HOLD_MS 25000
#define OOB_RTT_MS 100 /* of a client that polls, for the credit: a guess */
#define REFUSAL_MS 60000 /* how often the log says the same of an ORPort that fails */

static void pump(struct conn *c);

/* ---- replies ---- */

char *
conn_noise_reply(struct noise *noise, const struct msg_reply *r, struct noise_keys *keys, size_t *len)
{
	struct buffer plain = { 0 };
	char *text;

	msg_encode_reply(&plain, r);
	text = envelope_write_2(noise, &plain, keys, len);
	buffer_clear(&plain);
	return text;
}

static void
answer_opener(struct https_request *req, const char *text, size_t len)
{
	if (text != NULL)
		https_reply_json(req, text, len);
	else
		https_reply_unknown(req);
}

static void
answer_openers(struct conn *c, const char *text, size_t len)
{
	for (int i = 0; i < CONN_OPENERS; i++) {
		if (c->openers[i] != NULL)
			answer_opener(c->openers[i], text, len);
		c->openers[i] = NULL;
	}
}

bool
conn_opening(const struct conn *c)
{
	return !c->keyed;
}

/* The target is there: tells the client, with the first bytes if there are some. */
static void
answer_open(struct conn *c)
{
	struct msg_reply r;

	session_answer(&c->s, &r, 0, true, MSG_OPEN_DATA);
	r.op = REPLY_OPENED;
	memcpy(r.session, c->entry.id, sizeof(r.session));
	memcpy(r.direct, c->srv->direct, sizeof(r.direct));
	r.n_direct = c->srv->n_direct;
	r.retain_s = c->srv->retain_s;
	if (c->reached.ss_family != AF_UNSPEC) {
		char ip[ADDRESS_TEXT_MAX];

		address_ip(ip, &c->reached);
		snprintf(r.target.address, sizeof(r.target.address), "%.45s", ip);
		r.target.port = address_port(&c->reached);
	}
	c->open_reply = conn_noise_reply(&c->noise, &r, &c->keys, &c->open_reply_len);
	noise_clear(&c->noise);
	/* Without a reply there are no keys: it stays unconfirmed, and expires. */
	c->keyed = c->open_reply != NULL;
	if (c->keyed)
		sessions_set_epochs(c->srv->sessions, &c->entry, c->keys.direct, 0);
	sessions_touch(c->srv->sessions, &c->entry, AGE_SHORT, local_now());
	c->answered = true;
	event_del(c->hold);
	answer_openers(c, c->open_reply, c->open_reply_len);
}

/* The one target of a bridge is its operator's to mend, the targets of a relay are not. What
 * every client of a broken bridge runs into is said once, until it changes. */
static void
log_refusal(const struct server *srv, const char *why)
{
	static char said[128];
	static uint64_t said_ms;
	uint64_t now = local_now();

	if (srv->users != NULL) {
		log_info("target: %s", why);
	} else if (strncmp(why, said, sizeof(said) - 1) != 0 || now - said_ms >= REFUSAL_MS) {
		snprintf(said, sizeof(said), "%s", why);
		said_ms = now;
		log_warning("no connection to the ORPort: %s", why);
	}
}

/* What is left repeats the refusal to copies of the open. */
static void
refuse_open(struct conn *c, enum msg_error err, const char *why)
{
	struct msg_reply r = { .op = REPLY_ERROR, .error = err };

	log_refusal(c->srv, why);
	c->open_reply = conn_noise_reply(&c->noise, &r, &c->keys, &c->open_reply_len);
	noise_clear(&c->noise);
	mem_wipe(&c->keys, sizeof(c->keys));
	c->ended = true;
	sessions_touch(c->srv->sessions, &c->entry, AGE_OVER, local_now());
	user_session_stop(&c->user);
	event_del(c->hold);
	local_end(&c->local, true);
	session_discard(&c->s);
	answer_openers(c, c->open_reply, c->open_reply_len);
}

/* Seals a reply under the next nonce. */
static void
send_reply(struct conn *c, struct https_request *req, const struct msg_reply *r)
{
	struct buffer plain = { 0 };
	char *text;
	size_t len;

	msg_encode_reply(&plain, r);
	text = envelope_box(false, c->keys.down, c->n_out++, &plain, &len);
	https_reply_json(req, text, len);
	free(text);
	buffer_clear(&plain);
}

static void
answer(struct conn *c, struct https_request *req, uint64_t n, bool bytes)
{
	struct msg_reply r;

	session_answer(&c->s, &r, n, bytes, MSG_EXCHANGE_DATA);
	send_reply(c, req, &r);
}

void
conn_bad_exchange(struct conn *c, struct https_request *req)
{
	const struct msg_reply r = { .op = REPLY_ERROR, .error = ERR_BAD_REQUEST };

	send_reply(c, req, &r);
}

static void
answer_poll(struct conn *c, bool bytes)
{
	struct https_request *req = c->poll;

	if (req == NULL)
		return;
	c->poll = NULL;
	event_del(c->hold);
	answer(c, req, c->poll_n, bytes);
	if (bytes)
		c->answered = true;
}

/* Whether a held open or poll has what it waits for (DESIGN: "When the server answers"). */
static bool
flight_due(const struct conn *c, size_t enough)
{
	const struct session *s = &c->s;

	if (!s->poll_owns || s->close_out != CLOSE_NONE || s->close_in != CLOSE_NONE)
		return true;
	if ((s->tx.fin && !s->tx.fin_acked) || session_credit_due(s))
		return true;
	if (s->tx.held.n == 0)
		return false;
	if (s->tx.held.n >= enough)
		return true;
	if (tls_tracker_kind(s->tracker) == TLS_YES && !tls_tracker_first_flight(s->tracker))
		return false;
	return c->is_quiet || (!c->answered && tls_tracker_flight_exact(s->tracker));
}

static void
answer_if_due(struct conn *c)
{
	if (conn_opening(c) && c->target == NULL &&
	    (!c->open_data || flight_due(c, MSG_OPEN_DATA)))
		answer_open(c);
	if (c->poll != NULL && flight_due(c, MSG_EXCHANGE_DATA))
		answer_poll(c, true);
}

static void
on_hold(evutil_socket_t fd, short what, void *arg)
{
	struct conn *c = arg;

	(void)fd;
	(void)what;
	if (c->ended)
		return;
	if (conn_opening(c) && c->target == NULL)
		answer_open(c);
	else
		answer_poll(c, true);
	pump(c);
}

static void
hold(struct conn *c, unsigned ms)
{
	event_add(c->hold, &(struct timeval){ .tv_sec = ms / 1000, .tv_usec = ms % 1000 * 1000 });
}

static void
on_quiet(evutil_socket_t fd, short what, void *arg)
{
	struct conn *c = arg;

	(void)fd;
	(void)what;
	c->is_quiet = true;
	pump(c);
}

/* ---- the pump ---- */

static void
drop_direct(struct conn *c)
{
	if (c->direct == NULL)
		return;
	session_direct_stop(&c->s);
	direct_free(c->direct);
	c->direct = NULL;
	if (c->entry.age == AGE_PINNED)
		sessions_touch(c->srv->sessions, &c->entry, AGE_LONG, local_now());
}

/* Both ends are through: what is left answers copies of the last requests. */
static void
end(struct conn *c)
{
	c->ended = true;
	user_session_stop(&c->user);
	answer_poll(c, true);
	drop_direct(c);
	session_discard(&c->s);
	sessions_drop_epochs(&c->entry);
	sessions_touch(c->srv->sessions, &c->entry, AGE_OVER, local_now());
}

/* The session cannot go on: an error for the client, a reset for the target. */
static void
break_off(struct conn *c)
{
	session_close(&c->s, CLOSE_ERROR);
	local_end(&c->local, true);
}

/* Charges the user for what moved, and lets as much move as it may. */
static void
charge(struct conn *c)
{
	uint64_t now, wait_ms = 0;

	if (c->user.user == NULL)
		return;
	now = local_now();
	user_bytes(c->user.user, (size_t)(c->local.moved_bytes - c->charged), now);
	c->charged = c->local.moved_bytes;
	if (c->local.fd < 0)
		return;
	if (user_spent(c->user.user, now)) {
		/* For the rest of the day: the client had better hear it. */
		break_off(c);
		return;
	}
	c->local.allowance = user_allowance(c->user.user, now, &wait_ms);
	if (c->local.allowance == 0 && !event_pending(c->allow, EV_TIMEOUT, NULL))
		event_add(c->allow, &(struct timeval){ .tv_sec = (time_t)(wait_ms / 1000),
		    .tv_usec = (suseconds_t)(wait_ms % 1000 * 1000 + 1000) });
}

static void
on_allow(evutil_socket_t fd, short what, void *arg)
{
	(void)fd;
	(void)what;
	pump(arg);
}

static bool
target_spoke(struct conn *c)
{
	uint64_t tx_end = stream_tx_end(&c->s.tx);
	bool spoke = tx_end != c->seen_end;

	c->seen_end = tx_end;
	return spoke;
}

static void
pump(struct conn *c)
{
	if (c->ended)
		return;
	charge(c);
	c->local.rtt_ms = c->direct != NULL ? c->direct->rtt_ms : OOB_RTT_MS;
	local_flush(&c->local);
	charge(c);
	if (target_spoke(c) && (conn_opening(c) || c->poll != NULL)) {
		c->is_quiet = false;
		event_add(c->quiet, &(struct timeval){ .tv_usec = QUIET_MS * 1000 });
	}
	/* The target is through with it: tell the client that its close was heard. */
	if (c->s.close_in != CLOSE_NONE && c->target == NULL && c->local.fd < 0)
		session_close(&c->s, CLOSE_DONE);
	if (c->direct != NULL) {
		direct_flush(c->direct);
		if (c->direct->dead)
			drop_direct(c);
	}
	answer_if_due(c);
	/* Not before the client is told so, and has what comes before that. */
	if (c->s.close_in != CLOSE_NONE && c->target == NULL && c->local.fd < 0 &&
	    (c->direct == NULL || direct_idle(c->direct)))
		end(c);
}

static void
moved(void *arg)
{
	pump(arg);
}

/* ---- events from outside ---- */

static void
on_target(void *arg, evutil_socket_t fd, const struct sockaddr_storage *to, enum msg_error err,
    const char *why)
{
	struct conn *c = arg;

	c->target = NULL;
	if (fd < 0) {
		refuse_open(c, err, why);
		return;
	}
	if (to != NULL)
		c->reached = *to;
	local_start(&c->local, c->srv->base, fd, &c->s, moved, c);
	hold(c, tls_tracker_asked(c->s.tracker) ? OPEN_HOLD_MS : OPEN_PAUSE_MS);
	pump(c);
}

void
conn_open(struct server *srv, const struct noise *noise, const uint8_t hash[32],
    const struct msg_request *m, struct user *user, struct https_request *req)
{
	struct conn *c = mem_zalloc(sizeof(*c));

	c->srv = srv;
	c->local.fd = -1;
	c->noise = *noise;
	memcpy(c->open_hash, hash, sizeof(c->open_hash));
	session_init(&c->s, SESSION_SERVER, &srv->budget);
	c->quiet = evtimer_new(srv->base, on_quiet, c);
	c->hold = evtimer_new(srv->base, on_hold, c);
	c->allow = evtimer_new(srv->base, on_allow, c);
	c->openers[0] = req;
	c->open_data = m->n > 0;
	if (srv->draining || !sessions_add(srv->sessions, &c->entry, c, local_now())) {
		struct msg_reply r = { .op = REPLY_ERROR, .error = ERR_BUSY };
		size_t len = 0;
		char *text = conn_noise_reply(&c->noise, &r, &c->keys, &len);

		c->openers[0] = NULL;
		answer_opener(req, text, len);
		free(text);
		c->srv = NULL;
		conn_free(c);
		return;
	}
	sessions_replay_bind(srv->sessions, hash, c->entry.id);
	if (user != NULL && !user_session_start(user, &c->user, c, local_now())) {
		refuse_open(c, ERR_QUOTA, "the user has no more of it");
		return;
	}
	session_receive(&c->s, 0, m->data, m->n);
	c->target = target_start(srv, https_request_addr(req), m->host, m->port, on_target, c);
}

void
conn_revoke(struct conn *c)
{
	user_session_stop(&c->user);
	target_cancel(c->target);
	c->target = NULL;
	if (conn_opening(c)) {
		if (!c->ended)
			refuse_open(c, ERR_UNAUTHORIZED, "the user is gone");
		return;
	}
	break_off(c);
	pump(c);
}

void
conn_open_again(struct conn *c, struct https_request *req)
{
	if (c->open_reply != NULL) {
		answer_opener(req, c->open_reply, c->open_reply_len);
		return;
	}
	if (!conn_opening(c)) {
		https_reply_unknown(req);
		return;
	}
	/* The client retries when it thinks a copy lost: the oldest gives way. */
	if (c->openers[CONN_OPENERS - 1] != NULL)
		https_reply_unknown(c->openers[CONN_OPENERS - 1]);
	memmove(c->openers + 1, c->openers, sizeof(c->openers) - sizeof(c->openers[0]));
	c->openers[0] = req;
}

/* The client has the keys: the open needs no more answers. */
static void
confirm(struct conn *c)
{
	free(c->open_reply);
	c->open_reply = NULL;
}

void
conn_exchange(struct conn *c, struct https_request *req, uint64_t n, const struct msg_request *m)
{
	enum session_exchange_result r;
	bool drop = false;

	confirm(c);
	if (c->ended) {
		answer(c, req, n, false);
		return;
	}
	if (c->direct == NULL)
		sessions_touch(c->srv->sessions, &c->entry, AGE_LONG, local_now());
	r = session_take_exchange(&c->s, n, m, &drop);
	if (r == EXCHANGE_BAD) {
		/* Authentic nonsense: the session cannot be trusted any more. */
		log_warning("a client broke the protocol on the OOB channel");
		break_off(c);
	}
	if (drop)
		drop_direct(c);
	if (r == EXCHANGE_POLL) {
		answer_poll(c, false); /* an older one gives way */
		sessions_set_epochs(c->srv->sessions, &c->entry, c->keys.direct, c->s.epoch);
		c->poll = req;
		c->poll_n = n;
		if (!event_pending(c->quiet, EV_TIMEOUT, NULL))
			c->is_quiet = true;
		hold(c, m->wait_ms < POLL_HOLD_MS ? m->wait_ms : POLL_HOLD_MS);
	}
	pump(c);
	if (r != EXCHANGE_POLL)
		answer(c, req, n, false);
}

void
conn_hello(struct conn *c, const struct sessions_tag *tag, evutil_socket_t fd,
    struct reader *frames, const uint8_t *rest, size_t n)
{
	struct noise_epoch keys = tag->keys;
	uint32_t epoch = tag->epoch;

	confirm(c);
	drop_direct(c);
	session_accept(&c->s, epoch);
	sessions_set_epochs(c->srv->sessions, &c->entry, c->keys.direct, c->s.epoch);
	sessions_touch(c->srv->sessions, &c->entry, AGE_PINNED, local_now());
	c->direct = direct_new(c->srv->base, fd, &c->s, &keys, &c->srv->pad, moved, c);
	mem_wipe(&keys, sizeof(keys));
	if (session_direct_frames(&c->s, frames))
		direct_feed(c->direct, rest, n);
	else
		drop_direct(c);
	answer_poll(c, false);
	pump(c);
}

static void
pump_one(struct conn *c, void *arg)
{
	(void)arg;
	pump(c);
}

void
conn_pump_all(struct server *srv)
{
	sessions_each(srv->sessions, pump_one, NULL);
}

void
conn_free(struct conn *c)
{
	if (c->srv != NULL) {
		answer_openers(c, NULL, 0);
		answer_poll(c, false);
		drop_direct(c);
		sessions_remove(c->srv->sessions, &c->entry);
	}
	user_session_stop(&c->user);
	target_cancel(c->target);
	local_end(&c->local, true);
	session_clear(&c->s);
	event_free(c->quiet);
	event_free(c->hold);
	event_free(c->allow);
	noise_clear(&c->noise);
	mem_wipe(&c->keys, sizeof(c->keys));
	free(c->open_reply);
	free(c);
}
