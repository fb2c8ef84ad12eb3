#include "pt-client/entry.h"

#include <errno.h>
#include <event2/listener.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>

#include "common/address.h"
#include "common/log.h"
#include "common/mem.h"
#include "common/net/process.h"
#include "pt-client/app.h"
#include "pt-client/http_proxy.h"
#include "pt-client/route.h"

#define HANDSHAKE_S 5
#define ACCEPT_PAUSE_MS 100

/* An app in the middle of its request. */
struct guest {
	LIST_ENTRY(guest) link;
	struct entry *entry;
	evutil_socket_t fd;
	struct event *ev, *deadline;
	bool started, http; /* which of the two it speaks */
	struct socks5 socks;
	struct http_proxy proxy;
};

LIST_HEAD(guest_list, guest);

struct entry {
	struct client *cl;
	const struct client_listener *kind; /* NULL: PT */
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
	http_proxy_clear(&g->proxy);
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

/* A PT app's request names the bridge, and nothing else. */
static void
request_bridge(struct guest *g, struct request *req)
{
	struct client *cl = g->entry->cl;
	struct socks5 *s = &g->socks;
	char error[256] = "the bridge's address is not an IP address";
	struct bridge *b = NULL;

	if (s->addr.ss_family != AF_UNSPEC)
		b = bridge_get(cl, &s->addr, &s->args, error);
	if (b == NULL) {
		log_warning("a request was refused: %s", error);
		request_reply(g->fd, REQUEST_SOCKS5, SOCKS5_REP_FAILURE);
		turn_away(g);
		return;
	}
	guest_free(g);
	app_start(cl, b, req, "", NULL, NULL);
}

static void
request_target(struct guest *g, struct request *req)
{
	struct client *cl = g->entry->cl;
	struct buffer early = { 0 };
	char host[256];

	memcpy(host, g->http ? g->proxy.host : g->socks.host, sizeof(host));
	req->host = host;
	req->port = g->http ? g->proxy.port : g->socks.port;
	if (g->http) {
		req->kind = g->proxy.connect ? REQUEST_CONNECT : REQUEST_HTTP;
		req->body = g->proxy.body;
		if (req->kind == REQUEST_HTTP &&
		    http_body_feed(&req->body, req->early, req->n) < req->n) {
			log_warning("a request was refused: it does not end where it says");
			request_reply(g->fd, REQUEST_HTTP, SOCKS5_REP_NOT_ALLOWED);
			turn_away(g);
			return;
		}
		buffer_add(&early, buffer_data(&g->proxy.head), g->proxy.head.n);
		buffer_add(&early, req->early, req->n);
		req->early = buffer_data(&early);
		req->n = early.n;
	}
	guest_free(g);
	route_request(cl, req);
	buffer_clear(&early);
}

static void
request(struct guest *g, const uint8_t *early, size_t n)
{
	struct request req = { .fd = g->fd, .kind = REQUEST_SOCKS5, .early = early, .n = n };

	if (g->entry->kind == NULL)
		request_bridge(g, &req);
	else
		request_target(g, &req);
}

static void
start(struct guest *g, uint8_t first)
{
	const struct client_listener *kind = g->entry->kind;

	g->started = true;
	g->http = kind != NULL && (kind->kind == LISTEN_HTTP ||
	    (kind->kind == LISTEN_MIXED && first != 5));
	if (g->http)
		http_proxy_init(&g->proxy, kind->user, kind->pass);
	else if (kind != NULL)
		socks5_init_local(&g->socks, kind->user, kind->pass);
	else
		socks5_init(&g->socks);
}

static void
on_event(evutil_socket_t fd, short what, void *arg)
{
	struct guest *g = arg;
	struct buffer out = { 0 };
	bool done, bad, said;
	uint8_t buf[1024];
	ssize_t n = recv(fd, buf, sizeof(buf), 0);
	size_t used = 0;

	(void)what;
	if (n < 0 && (errno == EAGAIN || errno == EINTR))
		return;
	if (n <= 0) {
		turn_away(g);
		return;
	}
	if (!g->started)
		start(g, buf[0]);
	if (g->http) {
		enum http_proxy_result r = http_proxy_feed(&g->proxy, buf, (size_t)n, &used, &out);

		done = r == HTTP_PROXY_REQUEST;
		bad = r == HTTP_PROXY_BAD;
	} else {
		enum socks5_result r = socks5_feed(&g->socks, buf, (size_t)n, &used, &out);

		done = r == SOCKS5_REQUEST;
		bad = r == SOCKS5_BAD;
	}
	said = say(g, buffer_data(&out), out.n);
	buffer_clear(&out);
	if (bad && said)
		log_warning("a handshake failed: %s", g->http ? g->proxy.why : g->socks.why);
	if (bad || !said)
		turn_away(g);
	else if (done)
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
entry_new(struct client *cl, const struct sockaddr_storage *addr,
    const struct client_listener *listener, struct sockaddr_storage *bound)
{
	evutil_socket_t fd = process_listen((const struct sockaddr *)addr, address_len(addr), bound);
	struct entry *e;

	if (fd < 0)
		return NULL;
	e = mem_zalloc(sizeof(*e));
	e->cl = cl;
	e->kind = listener;
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
