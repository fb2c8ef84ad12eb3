#include "pt-client/app.h"

#include <errno.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>

#include "common/address.h"
#include "common/log.h"
#include "common/mem.h"
#include "common/net/dial.h"
#include "common/net/direct.h"
#include "common/net/local.h"
#include "pt-client/socks5.h"

#define FIRST_BYTES_MS 250   /* an app that says nothing waits for the server to speak */
#define CUTOVER_WAIT_MS 250  /* the hello waits so long for app bytes to go with it */
#define ACCEPT_MIN_MS 1000
#define DIAL_MS 10000
#define OPEN_COLD_MS 10000   /* from the request to its answer, retries included */
#define OPEN_WARM_MS 25000
#define POLL_MIN_MS 5000     /* how long a poll is held; doubles while nothing comes */
#define POLL_MAX_MS 25000
#define REPLY_MS 6000        /* an answer that is not there by then has been lost */
#define NO_ROUTE_S 1         /* rest of an address that no route leads to */
#define SHORT_LIFE_MS 5000   /* a direct connection closed sooner was not wanted */
#define RETRY_MIN_MS 200
#define RETRY_MAX_MS 5000
#define LINGER_MS 60000      /* a close that cannot be delivered */

enum app_state {
	APP_FIRST,   /* warm: success is told; the app's first bytes are awaited */
	APP_OPENING, /* the open is under way */
	APP_OPEN,
	APP_OVER     /* to be freed from the event loop */
};

/* One exchange under way. A retry sends the same bytes. */
struct slot {
	struct app *app;
	struct oob_request *req;
	struct oob_channel *channel;
	struct event *retry;
	struct msg_request x; /* without its bytes */
	uint64_t n;
	char *body;           /* not NULL: the slot is in use */
	size_t len;
	unsigned tries;
};

struct app {
	LIST_ENTRY(app) link;
	struct client *cl;
	struct bridge *b;
	enum app_state state;
	evutil_socket_t fd;    /* before local has it */
	struct event *watch;   /* does the app hang up before it is answered? */
	struct event *timer;   /* FIRST_BYTES, then OPEN, CUTOVER_WAIT, LINGER */
	struct event *reap;
	bool replied;          /* to the SOCKS request */
	struct local local;
	struct session s;

	struct noise noise;
	struct noise_keys keys;
	struct slot open, push, poll;
	uint64_t n_out;        /* exchanges numbered so far */
	unsigned wait_ms;      /* of the next poll */
	uint64_t started_ms, heard_ms, lost_ms;
	char path[MSG_PATH_LEN + 300];
	char id[MSG_SESSION_ID + 1];
	struct oob_request *status;
	struct noise status_noise;

	struct dial *dial;
	struct sockaddr_storage direct_addr;
	evutil_socket_t direct_fd; /* connected, its hello not sent yet */
	bool hello_due;            /* no app bytes came to go with it */
	struct direct *direct;
	uint64_t direct_ms;        /* since when */
	struct event *accept;      /* no ACCEPT by then: the path swallows hellos */
	struct bridge_waiter waiter;
	bool my_turn;              /* the bridge's other waiters wait for our dial */
};

static void pump(struct app *a);

static void
after(struct event *ev, unsigned ms)
{
	event_add(ev, &(struct timeval){ .tv_sec = ms / 1000, .tv_usec = ms % 1000 * 1000 });
}

/* ---- the end ---- */

static void
slot_clear(struct slot *slot)
{
	oob_cancel(slot->req);
	slot->req = NULL;
	event_del(slot->retry);
	free(slot->body);
	slot->body = NULL;
}

static void
turn_over(struct app *a)
{
	if (a->my_turn)
		bridge_redialled(a->b, local_now());
	a->my_turn = false;
}

static void
stop_dial(struct app *a)
{
	if (a->dial != NULL) {
		dial_cancel(a->dial);
		a->b->dials--;
		a->dial = NULL;
	}
	turn_over(a);
	if (a->direct_fd >= 0)
		evutil_closesocket(a->direct_fd);
	a->direct_fd = -1;
}

static void
app_free(struct app *a)
{
	struct client *cl = a->cl;

	LIST_REMOVE(a, link);
	slot_clear(&a->open);
	slot_clear(&a->push);
	slot_clear(&a->poll);
	event_free(a->open.retry);
	event_free(a->push.retry);
	event_free(a->poll.retry);
	oob_cancel(a->status);
	bridge_unqueue(a->b, &a->waiter);
	stop_dial(a);
	direct_free(a->direct);
	local_end(&a->local, true);
	if (a->fd >= 0)
		evutil_closesocket(a->fd);
	if (a->watch != NULL)
		event_free(a->watch);
	event_free(a->timer);
	event_free(a->reap);
	event_free(a->accept);
	session_clear(&a->s);
	noise_clear(&a->noise);
	noise_clear(&a->status_noise);
	mem_wipe(&a->keys, sizeof(a->keys));
	bridge_release(a->b);
	free(a);
	if (LIST_EMPTY(&cl->apps))
		cl->idle(cl);
}

static void
on_reap(evutil_socket_t fd, short what, void *arg)
{
	(void)fd;
	(void)what;
	app_free(arg);
}

/* Nothing more happens to it; it is freed from the loop. */
static void
finish(struct app *a)
{
	a->state = APP_OVER;
	event_active(a->reap, EV_TIMEOUT, 1);
}

static void
reply(struct app *a, uint8_t rep)
{
	uint8_t out[SOCKS5_REPLY_LEN];
	size_t n = socks5_reply(out, (enum socks5_rep)rep);

	a->replied = true;
	/* The first bytes in an empty buffer: they fit, or the app is gone. */
	if (send(a->fd, out, n, MSG_NOSIGNAL) != (ssize_t)n)
		finish(a);
}

/* The session cannot be had, or is lost: the app hears it as a SOCKS reply or a reset. */
static void
fail(struct app *a, uint8_t rep, const char *why)
{
	if (a->state == APP_OVER)
		return;
	log_warning("a connection failed: %s", why);
	if (!a->replied)
		reply(a, rep);
	local_end(&a->local, true);
	finish(a);
}

/* ---- the app's socket ---- */

static void
moved(void *arg)
{
	pump(arg);
}

static void
start_local(struct app *a)
{
	evutil_socket_t fd = a->fd;

	if (a->watch != NULL)
		event_del(a->watch);
	a->fd = -1;
	local_start(&a->local, a->cl->base, fd, &a->s, moved, a);
}

/* Before the answer: only a hang-up counts; bytes stay where they are. */
static void
on_watch(evutil_socket_t fd, short what, void *arg)
{
	struct app *a = arg;
	char c;
	ssize_t n = recv(fd, &c, 1, MSG_PEEK);

	(void)what;
	if (n == 0 || (n < 0 && errno != EAGAIN && errno != EINTR))
		finish(a);
	else if (n > 0)
		event_del(a->watch);
}

/* ---- direct ---- */

static void
redial(struct app *a)
{
	if (a->s.close_in == CLOSE_NONE && a->state != APP_OVER)
		bridge_redial(a->b, &a->waiter, local_now());
}

static void
on_dial(void *arg, evutil_socket_t fd, int err)
{
	struct app *a = arg;

	a->dial = NULL;
	a->b->dials--;
	a->direct_fd = fd;
	if (fd < 0) {
		log_info("direct connection: %s", strerror(err));
		bridge_rest(a->b, &a->direct_addr, local_now(),
		    err == ENETUNREACH || err == EADDRNOTAVAIL ? NO_ROUTE_S : a->b->redial_s);
		redial(a);
	}
	turn_over(a);
	pump(a);
}

static void
dial_direct(struct app *a)
{
	struct bridge_address *to = NULL;

	if (a->dial == NULL && a->direct_fd < 0 && a->direct == NULL) {
		to = bridge_direct(a->b, local_now());
		if (to == NULL)
			redial(a);
	}
	if (to == NULL) {
		turn_over(a);
		return;
	}
	a->direct_addr = to->addr;
	a->b->dials++;
	a->dial = dial_start(a->cl->base, &a->cl->outbound, (struct sockaddr *)&to->addr,
	    address_len(&to->addr), DIAL_MS, on_dial, a);
}

static void
on_turn(void *arg)
{
	struct app *a = arg;

	a->my_turn = true;
	a->hello_due = true; /* there is a stream to go on with */
	dial_direct(a);
}

/* The direct connection is gone: all goes by OOB, until another one is up. `rest`: its
 * address is left alone for a while, since a redial renews many a block. */
static void
drop_direct(struct app *a, bool rest, const char *why)
{
	log_info("direct connection lost: %s", why);
	if (rest)
		bridge_rest(a->b, &a->direct_addr, local_now(), a->b->redial_s);
	event_del(a->accept);
	session_direct_stop(&a->s);
	direct_free(a->direct);
	a->direct = NULL;
	a->wait_ms = POLL_MIN_MS;
	redial(a);
}

static void
on_accept(evutil_socket_t fd, short what, void *arg)
{
	struct app *a = arg;

	(void)fd;
	(void)what;
	if (a->direct != NULL && !a->s.direct.open)
		drop_direct(a, true, "no answer to the hello");
	pump(a);
}

/* The socket waited for its hello, perhaps long: is it still there? */
static bool
still_connected(evutil_socket_t fd)
{
	char c;
	ssize_t n = recv(fd, &c, 1, MSG_PEEK);

	return n < 0 && (errno == EAGAIN || errno == EINTR);
}

static void
say_hello(struct app *a)
{
	struct noise_epoch keys;
	unsigned wait = 3 * bridge_rtt_ms(a->b);

	if (!still_connected(a->direct_fd)) {
		stop_dial(a);
		dial_direct(a);
		return;
	}
	a->direct_ms = local_now();
	noise_epoch(&keys, a->keys.direct, a->s.epoch++);
	session_direct_start(&a->s);
	a->direct = direct_new(a->cl->base, a->direct_fd, &a->s, &keys, &a->b->pad, moved, a);
	a->direct_fd = -1;
	mem_wipe(&keys, sizeof(keys));
	after(a->accept, wait > ACCEPT_MIN_MS ? wait : ACCEPT_MIN_MS);
}

/* The hello goes with the first app bytes after cutover; at once if it is not TLS. */
static bool
hello_ready(struct app *a)
{
	if (a->direct != NULL || a->direct_fd < 0 || !session_may_go_direct(&a->s) ||
	    a->s.close_in != CLOSE_NONE)
		return false;
	return a->hello_due || session_push_wants(&a->s) ||
	    tls_tracker_kind(a->s.tracker) == TLS_NOT;
}

/* The app is about to send what the hello will go with: no poll is needed. Not for
 * long, since the target may be the one to speak. */
static bool
hello_soon(struct app *a)
{
	if (a->hello_due || !session_may_go_direct(&a->s) || session_push_wants(&a->s) ||
	    (a->direct_fd < 0 && a->dial == NULL))
		return false;
	if (!event_pending(a->timer, EV_TIMEOUT, NULL))
		after(a->timer, CUTOVER_WAIT_MS);
	return true;
}

static void
pump_direct(struct app *a)
{
	enum direct_end end;

	if (hello_ready(a))
		say_hello(a);
	if (a->direct == NULL)
		return;
	direct_flush(a->direct);
	if (a->s.direct.open)
		event_del(a->accept);
	end = a->direct->dead;
	/* A bridge that restarts closes in order, and may be dialled again. */
	if (end != DIRECT_ALIVE)
		drop_direct(a, end != DIRECT_EOF || !a->s.direct.open ||
		    local_now() - a->direct_ms < SHORT_LIFE_MS, direct_end_text(end));
}

/* ---- OOB ---- */

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
	unsigned ms = RETRY_MIN_MS << (slot->tries < 5 ? slot->tries : 5);

	slot->tries++;
	bridge_channel_result(slot->app->b, slot->channel, false, local_now());
	after(slot->retry, ms < RETRY_MAX_MS ? ms : RETRY_MAX_MS);
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
read_noise(struct noise *noise, const struct oob_reply *reply, struct noise_keys *keys,
    struct msg_reply *m, struct buffer *plain)
{
	struct buffer msg = { 0 };
	bool ok = reply->result == OOB_OK && msg_unwrap_noise(false, reply->body, reply->len, &msg) &&
	    msg.n >= NOISE_OVERHEAD &&
	    noise_read_2(noise, buffer_data(&msg), msg.n, buffer_space(plain, msg.n), keys);

	if (ok)
		buffer_add(plain, NULL, msg.n - NOISE_OVERHEAD);
	ok = ok && msg_decode_reply(m, buffer_data(plain), plain->n);
	buffer_clear(&msg);
	return ok;
}

/* Seals a one-shot request or an open to the bridge's key. */
static void
write_noise(struct app *a, struct noise *noise, const struct msg_request *m, char **body,
    size_t *len)
{
	struct buffer plain = { 0 };
	uint8_t *msg;

	noise_init(noise, MSG_PROLOGUE, sizeof(MSG_PROLOGUE) - 1, a->b->key);
	msg_encode_request(&plain, m);
	msg = mem_alloc(plain.n + NOISE_OVERHEAD);
	*body = noise_write_1(noise, NULL, buffer_data(&plain), plain.n, msg) ?
	    msg_wrap_noise(true, msg, plain.n + NOISE_OVERHEAD, len) : NULL;
	free(msg);
	buffer_clear(&plain);
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
	if (read_noise(&a->status_noise, reply, &keys, &m, &plain) && m.op == REPLY_STATUS) {
		heard(a, NULL);
		if (!m.alive)
			fail(a, SOCKS5_REP_FAILURE, "the bridge has lost the session");
	}
	noise_clear(&a->status_noise);
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
	write_noise(a, &a->status_noise, &m, &body, &len);
	if (body != NULL)
		a->status = oob_post(bridge_channel(a->b, local_now()), a->b->base, body, len, REPLY_MS,
		    on_status, a);
}

static bool
read_box(struct slot *slot, const struct oob_reply *reply, struct msg_reply *m, struct buffer *plain)
{
	struct buffer box = { 0 };
	uint64_t counter;
	bool ok = reply->result == OOB_OK &&
	    msg_unwrap_box(false, reply->body, reply->len, &counter, &box) && box.n >= AEAD_TAG &&
	    aead->open(slot->app->keys.down, counter, NULL, 0, buffer_data(&box), box.n,
		buffer_space(plain, box.n));

	if (ok)
		buffer_add(plain, NULL, box.n - AEAD_TAG);
	ok = ok && msg_decode_reply(m, buffer_data(plain), plain->n) && m->op == REPLY_EXCHANGED &&
	    m->re == slot->n;
	buffer_clear(&box);
	return ok;
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
		slot_clear(slot);
		slot->tries = 0;
		if (slot == &a->poll)
			a->wait_ms = m.n > 0 ? POLL_MIN_MS :
			    a->wait_ms < POLL_MAX_MS / 2 ? 2 * a->wait_ms : POLL_MAX_MS;
		if (!session_exchanged(&a->s, &slot->x, &m))
			fail(a, SOCKS5_REP_FAILURE, "the bridge broke the protocol");
		buffer_clear(&plain);
		pump(a);
		return;
	}
	buffer_clear(&plain);
	if (a->s.direct.on) {
		/* The bytes go there. */
		session_exchange_lost(&a->s, &slot->x);
		slot_clear(slot);
		return;
	}
	if (reply->result == OOB_OK || reply->result == OOB_STATUS)
		ask_status(a);
	if (local_now() - a->heard_ms > a->lost_ms)
		fail(a, SOCKS5_REP_FAILURE, "the bridge cannot be reached any more");
	else
		retry_later(slot);
}

static void
post_exchange(struct slot *slot)
{
	/* More patience with each try, for a path that is slow and not dead. */
	unsigned patience = REPLY_MS + 4 * bridge_rtt_ms(slot->app->b);

	post(slot, slot->app->path, slot->x.wait_ms + patience * (slot->tries < 4 ? slot->tries + 1 : 4),
	    on_exchange);
}

static void
on_retry(evutil_socket_t fd, short what, void *arg)
{
	struct slot *slot = arg;

	(void)fd;
	(void)what;
	post_exchange(slot);
}

static void
send_exchange(struct app *a, struct slot *slot, bool poll)
{
	struct buffer plain = { 0 };
	uint8_t *box;

	session_exchange(&a->s, &slot->x, poll, MSG_EXCHANGE_DATA);
	slot->x.wait_ms = poll ? a->wait_ms : 0;
	msg_encode_request(&plain, &slot->x);
	slot->n = a->n_out++;
	box = mem_alloc(plain.n + AEAD_TAG);
	aead->seal(a->keys.up, slot->n, NULL, 0, buffer_data(&plain), plain.n, box);
	slot->body = msg_wrap_box(true, slot->n, box, plain.n + AEAD_TAG, &slot->len);
	free(box);
	buffer_clear(&plain);
	post_exchange(slot);
}

static void
pump_oob(struct app *a)
{
	if (a->s.direct.on)
		return;
	/* One request does for both where it can: the poll takes the bytes along. */
	if (a->poll.body == NULL && a->s.close_in == CLOSE_NONE && a->s.close_out == CLOSE_NONE &&
	    !hello_soon(a))
		send_exchange(a, &a->poll, true);
	if (a->push.body == NULL && session_push_wants(&a->s))
		send_exchange(a, &a->push, false);
}

/* ---- open ---- */

static void on_open(void *arg, const struct oob_reply *reply);

static void
post_open(struct slot *slot)
{
	/* A second copy joins the first, if that has arrived. */
	post(slot, slot->app->b->base, REPLY_MS + 4 * bridge_rtt_ms(slot->app->b), on_open);
}

static void
start_open(struct app *a)
{
	struct msg_request m = { .op = OP_OPEN, .time = bridge_time(a->b) };

	a->state = APP_OPENING;
	/* What an app sends before it is told of success is kept back: nothing is
	 * known of the bridge yet. */
	m.n = a->replied ? stream_tx_peek(&a->s.tx, 0, &m.data) : 0;
	if (m.n > MSG_OPEN_DATA)
		m.n = MSG_OPEN_DATA;
	slot_clear(&a->open);
	write_noise(a, &a->noise, &m, &a->open.body, &a->open.len);
	if (a->open.body == NULL) {
		fail(a, SOCKS5_REP_FAILURE, "the bridge line's key is not a usable one");
		return;
	}
	after(a->timer, a->replied ? OPEN_WARM_MS : OPEN_COLD_MS);
	post_open(&a->open);
	dial_direct(a);
}

static void
on_open_retry(evutil_socket_t fd, short what, void *arg)
{
	(void)fd;
	(void)what;
	post_open(arg);
}

static void
opened(struct app *a, const struct msg_reply *m)
{
	char *path = mem_printf("%s/%s", a->b->base, m->session);

	slot_clear(&a->open);
	noise_clear(&a->noise);
	event_del(a->timer);
	memcpy(a->id, m->session, sizeof(a->id));
	if (strlen(path) < sizeof(a->path))
		memcpy(a->path, path, strlen(path) + 1);
	free(path);
	a->state = APP_OPEN;
	a->lost_ms = (uint64_t)m->retain_s * 1000;
	if (a->path[0] == '\0' || !session_opened(&a->s, m)) {
		fail(a, SOCKS5_REP_FAILURE, "the bridge broke the protocol");
		return;
	}
	bridge_named(a->b, m->direct, m->n_direct);
	if (!a->replied) {
		reply(a, SOCKS5_REP_OK);
		if (a->state == APP_OVER)
			return;
		start_local(a);
	}
	pump(a);
}

static void
refused(struct app *a, const struct msg_reply *m)
{
	char why[200];

	if (m->error == ERR_CLOCK_SKEW && a->open.tries == 0) {
		/* It was turned away before anything happened: a fresh one is safe. */
		a->b->clock_offset += m->time - bridge_time(a->b);
		a->open.tries = 1;
		start_open(a);
		return;
	}
	snprintf(why, sizeof(why), "the bridge says %s", msg_error_name(m->error));
	fail(a, msg_error_socks(m->error), why);
}

static uint8_t
rep_of(enum oob_result r)
{
	return r == OOB_UNREACHABLE ? SOCKS5_REP_HOST_UNREACHABLE :
	    r == OOB_TIMEOUT ? SOCKS5_REP_TTL_EXPIRED : SOCKS5_REP_FAILURE;
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
	char why[200];

	slot->req = NULL;
	if (read_noise(&noise, reply, &a->keys, &m, &plain) &&
	    (m.op == REPLY_OPENED || m.op == REPLY_ERROR)) {
		heard(a, slot->channel);
		if (m.op == REPLY_OPENED)
			opened(a, &m);
		else
			refused(a, &m);
	} else if (may_retry_open(a, reply)) {
		retry_later(slot);
	} else {
		if (reply->result == OOB_OK || reply->result == OOB_STATUS)
			snprintf(why, sizeof(why), "what answers at the bridge's URL (HTTP status %d) "
			    "does not have the bridge's key", reply->status);
		else
			snprintf(why, sizeof(why), "OOB channel: %s", reply->error);
		fail(a, rep_of(reply->result), why);
	}
	noise_clear(&noise);
	buffer_clear(&plain);
}

/* ---- the pump ---- */

static void
on_timer(evutil_socket_t fd, short what, void *arg)
{
	struct app *a = arg;

	(void)fd;
	(void)what;
	if (a->state == APP_FIRST)
		start_open(a);
	else if (a->state == APP_OPENING)
		fail(a, SOCKS5_REP_TTL_EXPIRED, "the bridge did not answer in time");
	else if (a->local.fd < 0)
		finish(a);
	else
		a->hello_due = true;
	pump(a);
}

/* The app's side is through, and so is what the bridge must hear. */
static bool
delivered(const struct app *a)
{
	if (a->direct != NULL)
		return a->s.direct.close_sent && direct_idle(a->direct);
	return a->s.close_confirmed;
}

static void
pump(struct app *a)
{
	if (a->state == APP_OVER)
		return;
	a->local.rtt_ms = a->direct != NULL ? a->direct->rtt_ms : 2 * bridge_rtt_ms(a->b);
	local_flush(&a->local);
	if (a->state == APP_FIRST && (a->s.tx.held.n > 0 || a->s.tx.fin || a->s.close_out != CLOSE_NONE)) {
		event_del(a->timer);
		if (a->s.close_out != CLOSE_NONE)
			finish(a);
		else
			start_open(a);
	}
	if (a->state != APP_OPEN)
		return;
	if (session_finished(&a->s) || a->s.close_in != CLOSE_NONE)
		session_close(&a->s, CLOSE_DONE);
	pump_direct(a);
	pump_oob(a);
	if (a->local.fd >= 0)
		return;
	if (delivered(a))
		finish(a);
	else if (a->s.close_out != CLOSE_NONE && !event_pending(a->timer, EV_TIMEOUT, NULL))
		after(a->timer, LINGER_MS);
}

/* ---- start ---- */

static void
slot_init(struct app *a, struct slot *slot, event_callback_fn retry)
{
	slot->app = a;
	slot->retry = evtimer_new(a->cl->base, retry, slot);
}

void
app_start(struct client *cl, evutil_socket_t fd, struct bridge *b, const uint8_t *early, size_t n)
{
	struct app *a = mem_zalloc(sizeof(*a));

	a->cl = cl;
	a->b = b;
	a->fd = fd;
	a->local.fd = a->direct_fd = -1;
	a->started_ms = a->heard_ms = local_now();
	LIST_INSERT_HEAD(&cl->apps, a, link);
	session_init(&a->s, SESSION_CLIENT, &cl->budget);
	slot_init(a, &a->open, on_open_retry);
	slot_init(a, &a->push, on_retry);
	slot_init(a, &a->poll, on_retry);
	a->timer = evtimer_new(cl->base, on_timer, a);
	a->reap = evtimer_new(cl->base, on_reap, a);
	a->accept = evtimer_new(cl->base, on_accept, a);
	a->waiter = (struct bridge_waiter){ .turn = on_turn, .arg = a };
	a->wait_ms = POLL_MIN_MS;
	if (n > 0)
		session_put(&a->s, early, n);
	if (bridge_warm(b, a->started_ms)) {
		a->state = APP_FIRST;
		reply(a, SOCKS5_REP_OK);
		if (a->state == APP_OVER)
			return;
		start_local(a);
		after(a->timer, FIRST_BYTES_MS);
		pump(a);
		return;
	}
	/* Cold: success is promised only when the bridge has proved its key and the
	 * target; the open carries nothing. */
	a->watch = event_new(cl->base, fd, EV_READ | EV_PERSIST, on_watch, a);
	event_add(a->watch, NULL);
	start_open(a);
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
		repost(&a->open, post_open);
		repost(&a->push, post_exchange);
		repost(&a->poll, post_exchange);
		if (a->dial != NULL) {
			stop_dial(a);
			dial_direct(a);
		}
		if (a->direct != NULL && direct_orphaned(a->direct)) {
			drop_direct(a, false, "its address is gone");
			pump(a);
		}
	}
}

void
app_end_all(struct client *cl)
{
	while (!LIST_EMPTY(&cl->apps))
		app_free(LIST_FIRST(&cl->apps));
}
