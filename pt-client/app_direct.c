#include "pt-client/app_internal.h"

#include <errno.h>
#include <string.h>
#include <sys/socket.h>

#include "common/address.h"
#include "common/log.h"
#include "common/mem.h"

#define CUTOVER_WAIT_MS 250  /* the hello waits so long for app bytes to go with it */
#define ACCEPT_MIN_MS 1000
#define DIAL_MS 10000
#define NO_ROUTE_S 1         /* rest of an address that no route leads to */
#define SHORT_LIFE_MS 5000   /* a direct connection closed sooner was not wanted */
#define SILENT_LIFE_MS 60000 /* one that fell silent sooner was silenced */

static void
turn_over(struct app *a)
{
	if (a->my_turn)
		bridge_redialled(a->b, local_now());
	a->my_turn = false;
}

void
app_stop_dial(struct app *a)
{
	if (a->dial != NULL) {
		dial_cancel(a->dial);
		a->dial = NULL;
		bridge_dialled(a->b);
	}
	turn_over(a);
	if (a->direct_fd >= 0)
		evutil_closesocket(a->direct_fd);
	a->direct_fd = -1;
}

static void
redial(struct app *a)
{
	if (a->s.close_in == CLOSE_NONE && a->s.close_out == CLOSE_NONE && a->state != APP_OVER)
		bridge_redial(a->b, &a->waiter, local_now());
}

static void
on_dial(void *arg, evutil_socket_t fd, int err)
{
	struct app *a = arg;

	a->dial = NULL;
	a->direct_fd = fd;
	if (fd < 0) {
		log_info("direct connection: %s", strerror(err));
		bridge_rest(a->b, &a->direct_addr, local_now(),
		    err == ENETUNREACH || err == EADDRNOTAVAIL ? NO_ROUTE_S : a->b->redial_s);
		redial(a);
	}
	bridge_dialled(a->b);
	turn_over(a);
	app_pump(a);
}

void
app_dial_direct(struct app *a)
{
	struct bridge_address *to = NULL;

	if (a->dial == NULL && a->direct_fd < 0 && a->direct == NULL) {
		to = bridge_direct(a->b, local_now());
		if (to == NULL && (a->my_turn || !bridge_await_dial(a->b, &a->waiter)))
			redial(a);
	}
	if (to == NULL) {
		turn_over(a);
		return;
	}
	a->direct_addr = to->addr;
	bridge_dials(a->b);
	a->dial = dial_start(a->cl->base, &a->cl->outbound, (struct sockaddr *)&to->addr,
	    address_len(&to->addr), DIAL_MS, on_dial, a);
}

void
app_on_turn(void *arg, bool is_redial)
{
	struct app *a = arg;

	a->my_turn = is_redial;
	a->hello_due = true; /* there is a stream to go on with */
	app_dial_direct(a);
}

static void
end_direct(struct app *a)
{
	/* The bridge's time for a session without a carrier runs from here on. */
	if (a->s.direct.open && a->direct->heard_ms > a->heard_ms)
		a->heard_ms = a->direct->heard_ms;
	event_del(a->accept);
	session_direct_stop(&a->s);
	direct_free(a->direct);
	a->direct = NULL;
}

/* The direct connection is gone: all goes by OOB, until another one is up. `rest`: its
 * address is left alone for a while, since a redial renews many a block. */
void
app_drop_direct(struct app *a, bool rest, const char *why)
{
	log_info("direct connection lost: %s", why);
	if (rest)
		bridge_rest(a->b, &a->direct_addr, local_now(), a->b->redial_s);
	end_direct(a);
	a->wait_ms = APP_POLL_MIN_MS;
	redial(a);
}

void
app_on_accept(evutil_socket_t fd, short what, void *arg)
{
	struct app *a = arg;

	(void)fd;
	(void)what;
	if (a->direct != NULL && !a->s.direct.open)
		app_drop_direct(a, true, "no answer to the hello");
	app_pump(a);
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
	unsigned wait = 3 * bridge_rtt_ms(a->b, local_now());

	if (!still_connected(a->direct_fd)) {
		app_stop_dial(a);
		app_dial_direct(a);
		return;
	}
	a->direct_ms = local_now();
	noise_epoch(&keys, a->keys.direct, a->s.epoch++);
	session_direct_start(&a->s);
	a->direct = direct_new(a->cl->base, a->direct_fd, &a->s, &keys, &a->b->pad, app_moved, a);
	a->direct_fd = -1;
	mem_wipe(&keys, sizeof(keys));
	app_after(a->accept, wait > ACCEPT_MIN_MS ? wait : ACCEPT_MIN_MS);
}

/* The hello goes with the first app bytes after cutover; at once if it is not TLS. */
static bool
hello_ready(struct app *a)
{
	if (a->direct != NULL || a->direct_fd < 0 || !session_may_go_direct(&a->s) ||
	    a->s.close_in != CLOSE_NONE || a->s.close_out != CLOSE_NONE)
		return false; /* a session that ends meanwhile would leave the hello to the fallback */
	return a->hello_due || session_push_wants(&a->s) ||
	    tls_tracker_kind(a->s.tracker) == TLS_NOT;
}

/* The app is about to speak: for the first time, or with what the hello will go with. No
 * poll is needed before it does, and the first one can take its bytes along. Not for
 * long, since the target may be the one to speak. */
bool
app_speaks_soon(struct app *a)
{
	bool silent = stream_tx_end(&a->s.tx) == 0 && !a->s.tx.fin;
	bool hello = session_may_go_direct(&a->s) && (a->direct_fd >= 0 || a->dial != NULL);

	if (a->hello_due || session_push_wants(&a->s) || (!silent && !hello))
		return false;
	if (!event_pending(a->timer, EV_TIMEOUT, NULL))
		app_after(a->timer, CUTOVER_WAIT_MS);
	return true;
}

/* Whether what ended it may be a block, which a new attempt would renew. */
static bool
may_be_block(const struct app *a, enum direct_end end)
{
	uint64_t lived = local_now() - a->direct_ms;

	if (a->s.direct.close_sent)
		return false; /* nobody needs it any more */
	return !a->s.direct.open || end == DIRECT_RESET || end == DIRECT_BROKEN ||
	    lived < (end == DIRECT_EOF ? SHORT_LIFE_MS : SILENT_LIFE_MS);
}

void
app_pump_direct(struct app *a)
{
	enum direct_end end;

	if (hello_ready(a))
		say_hello(a);
	if (a->direct == NULL)
		return;
	direct_flush(a->direct);
	if (a->s.direct.open) {
		event_del(a->accept);
		bridge_authentic(a->b, a->direct->heard_ms);
	}
	end = a->direct->dead;
	/* A bridge that has said close itself answers ours by its end of stream. Else one that
	 * closes in order has restarted, and may be dialled again. */
	if (end == DIRECT_EOF && a->s.direct.close_sent && a->s.close_in != CLOSE_NONE) {
		a->s.close_confirmed = true;
		end_direct(a);
	} else if (end != DIRECT_ALIVE)
		app_drop_direct(a, may_be_block(a, end), direct_end_text(end));
}

