#include "pt-client/entry.h"

#include <errno.h>
#include <event2/listener.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>

#include "common/log.h"
#include "common/mem.h"
#include "common/net/process.h"
#include "pt-client/app.h"
#include "pt-client/socks5.h"

#define HANDSHAKE_S 5
#define ACCEPT_PAUSE_MS 100

/* An app in the middle of its SOCKS handshake. */
struct guest {
	LIST_ENTRY(guest) link;
	struct entry *entry;
	evutil_socket_t fd;
	struct event *ev, *deadline;
	struct socks5 socks;
};

LIST_HEAD(guest_list, guest);

struct entry {
	struct client *cl;
	struct evconnlistener *listener;
	struct event *resume;
	struct guest_list guests;
};

/* Frees it but for its socket. */
static void
guest_free(struct guest *g)
{
	LIST_REMOVE(g, link);
	event_free(g->ev);
	event_free(g->deadline);
	socks5_clear(&g->socks);
	free(g);
}

static void
turn_away(struct guest *g)
{
	evutil_closesocket(g->fd);
	guest_free(g);
}

/* Replies are a few bytes at the start of a connection: they fit or it is gone. */
static bool
say(struct guest *g, const void *p, size_t n)
{
	return n == 0 || send(g->fd, p, n, MSG_NOSIGNAL) == (ssize_t)n;
}

static void
request(struct guest *g, const uint8_t *early, size_t n)
{
	struct client *cl = g->entry->cl;
	struct socks5 *s = &g->socks;
	uint8_t out[SOCKS5_REPLY_LEN];
	char error[256] = "the bridge's address is not an IP address";
	struct bridge *b = NULL;
	evutil_socket_t fd = g->fd;

	if (s->addr.ss_family != AF_UNSPEC)
		b = bridge_get(cl, &s->addr, &s->args, error);
	if (b == NULL) {
		log_warning("a request was refused: %s", error);
		say(g, out, socks5_reply(out, SOCKS5_REP_FAILURE));
		turn_away(g);
		return;
	}
	guest_free(g);
	app_start(cl, fd, b, early, n);
}

static void
on_event(evutil_socket_t fd, short what, void *arg)
{
	struct guest *g = arg;
	struct buffer out = { 0 };
	enum socks5_result r;
	uint8_t buf[1024];
	ssize_t n = recv(fd, buf, sizeof(buf), 0);
	size_t used = 0;
	bool said;

	(void)what;
	if (n < 0 && (errno == EAGAIN || errno == EINTR))
		return;
	if (n <= 0) {
		turn_away(g);
		return;
	}
	r = socks5_feed(&g->socks, buf, (size_t)n, &used, &out);
	said = say(g, buffer_data(&out), out.n);
	buffer_clear(&out);
	if (r == SOCKS5_BAD && said)
		log_warning("a SOCKS handshake failed: %s", g->socks.why);
	if (r == SOCKS5_BAD || !said)
		turn_away(g);
	else if (r == SOCKS5_REQUEST)
		request(g, buf + used, (size_t)n - used);
}

/* Of the whole handshake, however it trickles. */
static void
on_deadline(evutil_socket_t fd, short what, void *arg)
{
	(void)fd;
	(void)what;
	turn_away(arg);
}

static void
on_accept(struct evconnlistener *l, evutil_socket_t fd, struct sockaddr *addr, int len, void *arg)
{
	struct entry *e = arg;
	struct guest *g = mem_zalloc(sizeof(*g));

	(void)l;
	(void)addr;
	(void)len;
	g->entry = e;
	g->fd = fd;
	socks5_init(&g->socks);
	LIST_INSERT_HEAD(&e->guests, g, link);
	g->ev = event_new(e->cl->base, fd, EV_READ | EV_PERSIST, on_event, g);
	g->deadline = evtimer_new(e->cl->base, on_deadline, g);
	if (g->ev == NULL || g->deadline == NULL)
		abort();
	event_add(g->ev, NULL);
	event_add(g->deadline, &(struct timeval){ .tv_sec = HANDSHAKE_S });
}

/* Out of descriptors: accepting at once again would only spin. */
static void
on_accept_error(struct evconnlistener *l, void *arg)
{
	struct entry *e = arg;

	log_warning("accept: %s", strerror(errno));
	evconnlistener_disable(l);
	event_add(e->resume, &(struct timeval){ .tv_usec = ACCEPT_PAUSE_MS * 1000 });
}

static void
on_resume(evutil_socket_t fd, short what, void *arg)
{
	struct entry *e = arg;

	(void)fd;
	(void)what;
	evconnlistener_enable(e->listener);
}

struct entry *
entry_new(struct client *cl, const struct sockaddr *addr, socklen_t len,
    struct sockaddr_storage *bound)
{
	evutil_socket_t fd = process_listen(addr, len, bound);
	struct entry *e;

	if (fd < 0)
		return NULL;
	e = mem_zalloc(sizeof(*e));
	e->cl = cl;
	LIST_INIT(&e->guests);
	e->listener = evconnlistener_new(cl->base, on_accept, e,
	    LEV_OPT_CLOSE_ON_FREE | LEV_OPT_CLOSE_ON_EXEC, 0, fd);
	e->resume = evtimer_new(cl->base, on_resume, e);
	if (e->listener == NULL || e->resume == NULL)
		abort();
	evconnlistener_set_error_cb(e->listener, on_accept_error);
	return e;
}

void
entry_free(struct entry *e)
{
	if (e == NULL)
		return;
	evconnlistener_free(e->listener);
	event_free(e->resume);
	while (!LIST_EMPTY(&e->guests))
		turn_away(LIST_FIRST(&e->guests));
	free(e);
}
