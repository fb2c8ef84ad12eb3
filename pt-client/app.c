#include "pt-client/app_internal.h"

#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>

#include "common/log.h"
#include "common/mem.h"

#define FIRST_BYTES_MS 250   /* an app that says nothing waits for the server to speak */
#define LINGER_MS 60000      /* a close that cannot be delivered */

void
app_after(struct event *ev, unsigned ms)
{
	event_add(ev, &(struct timeval){ .tv_sec = ms / 1000, .tv_usec = ms % 1000 * 1000 });
}

/* ---- the end ---- */

static void
log_session(const struct app *a)
{
	const struct tls_info *t = tls_tracker_info(a->s.tracker);
	const char *version = t->version == 0x0304 ? "TLS 1.3" : t->version == 0x0303 ? "TLS 1.2" :
	    t->version != 0 ? "old TLS" :
	    tls_tracker_kind(a->s.tracker) == TLS_NOT ? "not TLS" : "unanswered";

	if (a->state != APP_OPENING)
		log_info("session over: %s%s%s%s%s, %llu bytes up, %llu down, %u direct connections",
		    version, t->resumed ? ", resumed" : "", t->early_data ? ", early data" : "",
		    t->new_session_ticket12 ? ", new ticket" : "", t->ech ? ", ECH" : "",
		    (unsigned long long)stream_tx_end(&a->s.tx),
		    (unsigned long long)a->s.rx.taken, a->s.epoch);
}

static void
app_free(struct app *a)
{
	struct client *cl = a->cl;

	log_session(a);
	app_tell(a, false, ERR_NONE);
	LIST_REMOVE(a, link);
	app_slot_clear(&a->open);
	app_slot_clear(&a->push);
	app_slot_clear(&a->poll);
	event_free(a->open.retry);
	event_free(a->push.retry);
	event_free(a->poll.retry);
	oob_cancel(a->status);
	bridge_unqueue(&a->waiter);
	app_stop_dial(a);
	direct_free(a->direct);
	local_end(&a->local, true);
	if (a->fd >= 0)
		evutil_closesocket(a->fd);
	buffer_clear(&a->early);
	if (a->watch != NULL)
		event_free(a->watch);
	event_free(a->timer);
	event_free(a->linger);
	event_free(a->reap);
	event_free(a->accept);
	session_clear(&a->s);
	noise_clear(&a->noise);
	noise_clear(&a->status_noise);
	mem_wipe(&a->keys, sizeof(a->keys));
	bridge_release(a->b);
	free(a);
	client_idle(cl);
}

static void
on_reap(evutil_socket_t fd, short what, void *arg)
{
	(void)fd;
	(void)what;
	app_free(arg);
}

void
app_finish(struct app *a)
{
	a->state = APP_OVER;
	event_active(a->reap, EV_TIMEOUT, 1);
}

static void
reply(struct app *a, uint8_t rep)
{
	a->replied = true;
	if (!request_reply(a->fd, a->kind, (enum socks5_rep)rep))
		app_finish(a);
}

void
app_tell(struct app *a, bool ok, enum msg_error error)
{
	app_result *result = a->result;

	a->result = NULL;
	if (result != NULL)
		result(a->result_arg, ok, error);
}

void
app_fail(struct app *a, uint8_t rep, const char *why)
{
	if (a->state == APP_OVER)
		return;
	log_warning("a connection failed: %s", why);
	app_tell(a, false, ERR_NONE);
	if (!a->replied)
		reply(a, rep);
	/* Success of a plain HTTP request is not told: as long as none of the target's answer has
	 * come through, there can be one of ours. */
	else if (a->kind == REQUEST_HTTP && a->local.fd >= 0 && a->s.rx.taken == 0 &&
	    request_reply(a->local.fd, a->kind, (enum socks5_rep)rep))
		local_end(&a->local, false);
	local_end(&a->local, true);
	app_finish(a);
}

/* ---- the app's socket ---- */

void
app_moved(void *arg)
{
	app_pump(arg);
}

/* What the app says behind its plain HTTP request is another one, perhaps for another target. */
static size_t
admit(void *arg, const uint8_t *p, size_t n)
{
	struct app *a = arg;

	return http_body_feed(&a->body, p, n);
}

/* The target may say that the connection is kept for that. */
static size_t
insert_at(void *arg, const uint8_t *p, size_t n)
{
	struct app *a = arg;

	return http_answer_feed(&a->answer_head, p, n);
}

void
app_accept(struct app *a)
{
	evutil_socket_t fd = a->fd;

	reply(a, SOCKS5_REP_OK);
	if (a->state == APP_OVER)
		return;
	if (a->watch != NULL)
		event_del(a->watch);
	a->fd = -1;
	local_start(&a->local, a->cl->base, fd, &a->s, app_moved, a);
	a->local.ahead = a->early;
	a->early = (struct buffer){ 0 };
	if (a->kind == REQUEST_HTTP) {
		a->local.admit = admit;
		a->local.insert.at = insert_at;
		a->local.insert.text = HTTP_ANSWER_CLOSE;
	}
}

/* Before the answer: only a hang-up counts; bytes stay where they are. An end behind bytes that
 * came with the request is a half-close, whose answer is still wanted. */
static void
on_watch(evutil_socket_t fd, short what, void *arg)
{
	struct app *a = arg;
	char c;
	ssize_t n = recv(fd, &c, 1, MSG_PEEK);

	(void)what;
	if (n > 0 || (n == 0 && a->early.n > 0))
		event_del(a->watch);
	else if (n == 0 || (errno != EAGAIN && errno != EINTR))
		app_finish(a);
}

/* ---- the pump ---- */

/* What the tries before failed of says more than that time is up. */
static void
out_of_time(struct app *a)
{
	char why[BRIDGE_WHY + 64];

	snprintf(why, sizeof(why), "the bridge did not answer in time%s%s%s",
	    a->why[0] != '\0' ? " (" : "", a->why, a->why[0] != '\0' ? ")" : "");
	app_fail(a, SOCKS5_REP_TTL_EXPIRED, why);
}

static void
on_timer(evutil_socket_t fd, short what, void *arg)
{
	struct app *a = arg;

	(void)fd;
	(void)what;
	if (a->state == APP_FIRST)
		app_start_open(a);
	else if (a->state == APP_OPENING)
		out_of_time(a);
	else
		a->hello_due = true;
	app_pump(a);
}

static void
on_linger(evutil_socket_t fd, short what, void *arg)
{
	(void)fd;
	(void)what;
	app_finish(arg);
}

void
app_pump(struct app *a)
{
	if (a->state == APP_OVER)
		return;
	a->local.rtt_ms = a->direct != NULL ? a->direct->rtt_ms :
	    2 * bridge_rtt_ms(a->b, local_now());
	local_flush(&a->local);
	if (a->state == APP_FIRST && (a->s.tx.held.n > 0 || a->s.tx.fin || a->s.close_out != CLOSE_NONE)) {
		event_del(a->timer);
		if (a->s.close_out != CLOSE_NONE)
			app_finish(a);
		else
			app_start_open(a);
	}
	if (a->state != APP_OPEN)
		return;
	if (session_finished(&a->s) || a->s.close_in != CLOSE_NONE)
		session_close(&a->s, CLOSE_DONE);
	app_pump_direct(a);
	app_pump_oob(a);
	if (a->local.fd >= 0)
		return;
	if (a->s.close_confirmed)
		app_finish(a);
	else if (a->s.close_out != CLOSE_NONE && !event_pending(a->linger, EV_TIMEOUT, NULL))
		app_after(a->linger, LINGER_MS);
}

/* ---- start ---- */

static void
slot_init(struct app *a, struct slot *slot, event_callback_fn retry)
{
	slot->app = a;
	slot->retry = evtimer_new(a->cl->base, retry, slot);
}

void
app_start(struct client *cl, struct bridge *b, const struct request *req, const char *token,
    app_result *result, void *arg)
{
	struct app *a = mem_zalloc(sizeof(*a));

	a->cl = cl;
	a->b = b;
	a->fd = req->fd;
	a->kind = req->kind;
	a->body = req->body;
	a->port = req->port;
	/* Zeroed, so that what is copied ends. */
	if (req->host != NULL)
		memcpy(a->host, req->host, strnlen(req->host, MSG_HOST_MAX));
	memcpy(a->token, token, strnlen(token, MSG_TOKEN_MAX));
	a->result = result;
	a->result_arg = arg;
	a->local.fd = a->direct_fd = -1;
	a->started_ms = a->heard_ms = local_now();
	LIST_INSERT_HEAD(&cl->apps, a, link);
	session_init(&a->s, SESSION_CLIENT, &cl->budget);
	slot_init(a, &a->open, app_on_open_retry);
	slot_init(a, &a->push, app_on_retry);
	slot_init(a, &a->poll, app_on_retry);
	a->timer = evtimer_new(cl->base, on_timer, a);
	a->linger = evtimer_new(cl->base, on_linger, a);
	a->reap = evtimer_new(cl->base, on_reap, a);
	a->accept = evtimer_new(cl->base, app_on_accept, a);
	a->waiter = (struct bridge_waiter){ .turn = app_on_turn, .arg = a };
	a->wait_ms = APP_POLL_MIN_MS;
	buffer_add(&a->early, req->early, req->n);
	if (bridge_warm(b, a->started_ms)) {
		a->state = APP_FIRST;
		app_accept(a);
		if (a->state == APP_OVER)
			return;
		app_after(a->timer, FIRST_BYTES_MS);
		app_pump(a);
		return;
	}
	/* Cold: success is promised only when the bridge has proved its key and the
	 * target; the open carries nothing. */
	a->watch = event_new(cl->base, a->fd, EV_READ | EV_PERSIST, on_watch, a);
	event_add(a->watch, NULL);
	app_start_open(a);
}

static void
repost(struct slot *slot, void (*again)(struct slot *slot))
{
	if (slot->body == NULL)
		return;
	oob_cancel(slot->req);
	event_del(slot->retry);
	again(slot);
}

void
app_network_changed(struct client *cl)
{
	uint64_t now = local_now();
	struct bridge *b;
	struct app *a;

	LIST_FOREACH(b, &cl->bridges, link)
		bridge_network_changed(b, now);
	LIST_FOREACH(a, &cl->apps, link) {
		if (a->state == APP_OVER)
			continue;
		repost(&a->open, app_post_open);
		repost(&a->push, app_post_exchange);
		repost(&a->poll, app_post_exchange);
		if (a->dial != NULL || a->direct_fd >= 0) {
			app_stop_dial(a);
			app_dial_direct(a);
		}
		if (a->direct != NULL && direct_orphaned(a->direct)) {
			app_drop_direct(a, false, "its address is gone");
			app_pump(a);
		}
	}
}

void
app_end_all(struct client *cl)
{
	while (!LIST_EMPTY(&cl->apps))
		app_free(LIST_FIRST(&cl->apps));
}

