#include "pt-client/app_internal.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "common/envelope.h"
#include "common/log.h"
#include "common/mem.h"

#define OPEN_COLD_MS 10000   /* from the app's request to its answer, all tries included */
#define OPEN_WARM_MS 25000
#define POLL_MAX_MS 25000
#define REPLY_MS 6000        /* an answer that is not there by then has been lost */
#define RETRY_MIN_MS 200
#define RETRY_MAX_MS 5000

static void on_open(void *arg, const struct oob_reply *reply);

void
app_slot_clear(struct slot *slot)
{
	oob_cancel(slot->req);
	slot->req = NULL;
	event_del(slot->retry);
	free(slot->body);
	slot->body = NULL;
}

static void
post(struct slot *slot, const char *path, unsigned timeout_ms, oob_done *done)
{
	char *copy = mem_alloc(slot->len);

	memcpy(copy, slot->body, slot->len);
	slot->channel = bridge_channel(slot->app->b, local_now());
	slot->req = oob_post(slot->channel, path, copy, slot->len, timeout_ms, done, slot);
}

/* An answer that proves nothing, or none: the same bytes go again, by another channel. */
static void
retry_later(struct slot *slot)
{
	unsigned ms = (unsigned)RETRY_MIN_MS << (slot->tries < 5 ? slot->tries : 5);

	slot->tries++;
	bridge_channel_result(slot->app->b, slot->channel, false, local_now());
	app_after(slot->retry, ms < RETRY_MAX_MS ? ms : RETRY_MAX_MS);
}

static void
heard(struct app *a, const struct oob_channel *ch)
{
	a->heard_ms = local_now();
	bridge_authentic(a->b, a->heard_ms);
	bridge_channel_result(a->b, ch, true, a->heard_ms);
}

/* Opens message 2 of a handshake. */
static bool
read_handshake(struct noise *noise, const struct oob_reply *reply, struct noise_keys *keys,
    struct msg_reply *m, struct buffer *plain)
{
	return reply->result == OOB_OK &&
	    envelope_read_2(noise, reply->body, reply->len, keys, plain) &&
	    msg_decode_reply(m, buffer_data(plain), plain->n);
}

/* Seals a one-shot request or an open to the bridge's key. NULL: it is not a usable one. */
static char *
write_handshake(const struct app *a, struct noise *noise, const struct msg_request *m, size_t *len)
{
	struct buffer plain = { 0 };
	char *body;

	noise_init(noise, MSG_PROLOGUE, sizeof(MSG_PROLOGUE) - 1, a->b->key);
	msg_encode_request(&plain, m);
	body = envelope_write_1(noise, &plain, len);
	buffer_clear(&plain);
	return body;
}

/* ---- exchanges ---- */

static void
on_status(void *arg, const struct oob_reply *reply)
{
	struct app *a = arg;
	struct buffer plain = { 0 };
	struct noise_keys keys;
	struct msg_reply m;

	a->status = NULL;
	if (read_handshake(&a->status_noise, reply, &keys, &m, &plain) && m.op == REPLY_STATUS) {
		heard(a, NULL);
		/* A hello to a bridge that restarted fails, and that is no block. */
		if (!m.alive)
			bridge_rest(a->b, &a->direct_addr, a->heard_ms, 0);
		if (!m.alive && a->s.close_in != CLOSE_NONE)
			a->s.close_confirmed = true; /* it was over, and is forgotten */
		else if (!m.alive)
			app_fail(a, SOCKS5_REP_FAILURE, "the bridge has lost the session");
	}
	app_pump(a);
	noise_clear(&a->status_noise);
	mem_wipe(&keys, sizeof(keys));
	buffer_clear(&plain);
}

/* Something answered that does not have the keys: is it the bridge, restarted? */
static void
ask_status(struct app *a)
{
	struct msg_request m = { .op = OP_STATUS, .time = bridge_time(a->b) };
	char *body;
	size_t len;

	if (a->status != NULL)
		return;
	memcpy(m.session, a->id, sizeof(m.session));
	body = write_handshake(a, &a->status_noise, &m, &len);
	if (body != NULL)
		a->status = oob_post(bridge_channel(a->b, local_now()), a->b->base, body, len, REPLY_MS,
		    on_status, a);
}

static bool
read_box(struct slot *slot, const struct oob_reply *reply, struct msg_reply *m, struct buffer *plain)
{
	uint64_t counter;

	return reply->result == OOB_OK &&
	    envelope_unbox(false, slot->app->keys.down, reply->body, reply->len, &counter, plain) &&
	    msg_decode_reply(m, buffer_data(plain), plain->n) &&
	    (m->op == REPLY_ERROR || (m->op == REPLY_EXCHANGED && m->re == slot->n));
}

static void
on_exchange(void *arg, const struct oob_reply *reply)
{
	struct slot *slot = arg;
	struct app *a = slot->app;
	struct buffer plain = { 0 };
	struct msg_reply m;

	slot->req = NULL;
	if (read_box(slot, reply, &m, &plain)) {
		heard(a, slot->channel);
		app_slot_clear(slot);
		slot->tries = 0;
		if (slot == &a->poll)
			a->wait_ms = m.n > 0 ? APP_POLL_MIN_MS :
			    a->wait_ms < POLL_MAX_MS / 2 ? 2 * a->wait_ms : POLL_MAX_MS;
		if (m.op == REPLY_ERROR || !session_exchanged(&a->s, &slot->x, &m))
			app_fail(a, SOCKS5_REP_FAILURE, "the bridge broke the protocol");
		buffer_clear(&plain);
		app_pump(a);
		return;
	}
	buffer_clear(&plain);
	if (a->s.direct.open) {
		/* The bytes go there. Not so before ACCEPT: a bridge that lost the session
		 * gives none, and this answer may be how we learn of it. */
		session_exchange_lost(&a->s, &slot->x);
		app_slot_clear(slot);
		return;
	}
	if (reply->result == OOB_OK || reply->result == OOB_STATUS)
		ask_status(a);
	if (local_now() - a->heard_ms > a->lost_ms)
		app_fail(a, SOCKS5_REP_FAILURE, "the bridge cannot be reached any more");
	else
		retry_later(slot);
}

void
app_post_exchange(struct slot *slot)
{
	/* More patience with each try, for a path that is slow and not dead. */
	unsigned patience = REPLY_MS + 4 * bridge_rtt_ms(slot->app->b, local_now());

	post(slot, slot->app->path, slot->x.wait_ms + patience * (slot->tries < 4 ? slot->tries + 1 : 4),
	    on_exchange);
}

void
app_on_retry(evutil_socket_t fd, short what, void *arg)
{
	struct slot *slot = arg;

	(void)fd;
	(void)what;
	app_post_exchange(slot);
}

static void
send_exchange(struct app *a, struct slot *slot, bool poll)
{
	struct buffer plain = { 0 };

	session_exchange(&a->s, &slot->x, poll, MSG_EXCHANGE_DATA);
	slot->x.wait_ms = poll ? a->wait_ms : 0;
	slot->n = a->n_out++;
	msg_encode_request(&plain, &slot->x);
	slot->body = envelope_box(true, a->keys.up, slot->n, &plain, &slot->len);
	buffer_clear(&plain);
	app_post_exchange(slot);
}

void
app_pump_oob(struct app *a)
{
	if (a->s.direct.on)
		return;
	/* One request does for both where it can: the poll takes the bytes along. */
	if (a->poll.body == NULL && a->s.close_in == CLOSE_NONE && a->s.close_out == CLOSE_NONE &&
	    !app_speaks_soon(a))
		send_exchange(a, &a->poll, true);
	if (a->push.body == NULL && session_push_wants(&a->s))
		send_exchange(a, &a->push, false);
}

/* ---- open ---- */

void
app_post_open(struct slot *slot)
{
	/* A second copy joins the first, if that has arrived. */
	post(slot, slot->app->b->base, REPLY_MS + 4 * bridge_rtt_ms(slot->app->b, local_now()), on_open);
}

void
app_start_open(struct app *a)
{
	struct msg_request m = { .op = OP_OPEN, .time = bridge_time(a->b), .port = a->port };
	uint64_t limit = a->replied ? OPEN_WARM_MS : OPEN_COLD_MS, spent = local_now() - a->started_ms;

	a->state = APP_OPENING;
	memcpy(m.host, a->host, sizeof(m.host));
	memcpy(m.token, a->token, sizeof(m.token));
	/* What an app sends before it is told of success is kept back: nothing is
	 * known of the bridge yet. */
	m.n = a->replied ? stream_tx_peek(&a->s.tx, 0, &m.data) : 0;
	if (m.n > MSG_OPEN_DATA)
		m.n = MSG_OPEN_DATA;
	app_slot_clear(&a->open);
	a->open.body = write_handshake(a, &a->noise, &m, &a->open.len);
	if (a->open.body == NULL) {
		app_fail(a, SOCKS5_REP_FAILURE, "the bridge line's key is not a usable one");
		return;
	}
	app_after(a->timer, spent < limit ? (unsigned)(limit - spent) : 0);
	app_post_open(&a->open);
	app_dial_direct(a);
}

void
app_on_open_retry(evutil_socket_t fd, short what, void *arg)
{
	(void)fd;
	(void)what;
	app_post_open(arg);
}

static void
opened(struct app *a, const struct msg_reply *m)
{
	char *path = mem_printf("%s/%s", a->b->base, m->session);

	app_slot_clear(&a->open);
	noise_clear(&a->noise);
	event_del(a->timer);
	memcpy(a->id, m->session, sizeof(a->id));
	if (strlen(path) < sizeof(a->path))
		memcpy(a->path, path, strlen(path) + 1);
	free(path);
	a->state = APP_OPEN;
	a->lost_ms = (uint64_t)m->retain_s * 1000;
	if (a->path[0] == '\0' || !session_opened(&a->s, m)) {
		app_fail(a, SOCKS5_REP_FAILURE, "the bridge broke the protocol");
		return;
	}
	app_tell(a, true, ERR_NONE);
	bridge_named(a->b, m->direct, m->n_direct);
	if (!a->replied)
		app_accept(a);
	app_pump(a);
}

static void
refused(struct app *a, const struct msg_reply *m)
{
	char why[200];

	if (m->error == ERR_CLOCK_SKEW && !a->clock_corrected) {
		/* It was turned away before anything happened: a fresh one is safe. */
		a->b->clock_offset += m->time - bridge_time(a->b);
		a->clock_corrected = true;
		app_start_open(a);
		return;
	}
	app_tell(a, false, m->error);
	snprintf(why, sizeof(why), "the bridge says %s", msg_error_name(m->error));
	app_fail(a, msg_error_socks(m->error), why);
}

static uint8_t
rep_of(const struct oob_reply *r)
{
	if (r->os_error != 0)
		return (uint8_t)socks5_rep_for_errno(r->os_error);
	return r->result == OOB_UNREACHABLE ? SOCKS5_REP_HOST_UNREACHABLE :
	    r->result == OOB_TIMEOUT ? SOCKS5_REP_TTL_EXPIRED : SOCKS5_REP_FAILURE;
}

/* A few tries, since an app that hears of the failure soon can try another bridge. Time
 * that is short of the whole is no sign of one. */
static bool
may_retry_open(const struct app *a, const struct oob_reply *reply)
{
	return reply->result == OOB_TIMEOUT || a->open.tries < 2 * a->b->n_channels + 1;
}

static void
on_open(void *arg, const struct oob_reply *reply)
{
	struct slot *slot = arg;
	struct app *a = slot->app;
	struct noise noise = a->noise; /* a bad answer must not spoil it for a good one */
	struct buffer plain = { 0 };
	struct msg_reply m;

	slot->req = NULL;
	if (read_handshake(&noise, reply, &a->keys, &m, &plain) &&
	    (m.op == REPLY_OPENED || m.op == REPLY_ERROR)) {
		heard(a, slot->channel);
		if (m.op == REPLY_OPENED)
			opened(a, &m);
		else
			refused(a, &m);
	} else {
		bridge_why(a->why, reply);
		if (may_retry_open(a, reply))
			retry_later(slot);
		else
			app_fail(a, rep_of(reply), a->why);
	}
	noise_clear(&noise);
	buffer_clear(&plain);
}

