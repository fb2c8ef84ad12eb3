#include "pt-server/front.h"

#include <errno.h>
#include <event2/buffer.h>
#include <event2/bufferevent.h>
#include <event2/listener.h>
#include <netinet/tcp.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/resource.h>
#include <sys/socket.h>

#include "common/address.h"
#include "common/log.h"
#include "common/mem.h"
#include "common/net/process.h"
#include "pt-server/conn.h"

#define QUEUE_MAX (128 * 1024) /* bytes waiting for a slow end of a splice */
#define QUEUE_LOW (32 * 1024)
#define PORT_BUCKETS 1024
#define ACCEPT_PAUSE_MS 100
/* A slow end that takes nothing for so long is given up, and so is one that keeps its
 * half open after the fallback has closed: a kernel forgets such a one too. */
#define STALL_S 120
#define HALF_CLOSED_S 60
/* A splice takes two descriptors, and one more in the built-in HTTPS server; a quarter
 * is left for sessions and their targets. */
#define SPLICES_MAX 4096
#define DESCRIPTORS_PER_SPLICE 4

/* A connection to the public port, and the one to the fallback that was opened with it. */
struct splice {
	LIST_ENTRY(splice) link, by_port;
	struct front *front;
	evutil_socket_t client_fd, fallback_fd;
	struct bufferevent *client, *fallback;
	struct sockaddr_storage addr; /* the client's */
	uint16_t port;                /* local port of fallback_fd */
	bool decided;                 /* it is a stranger: bytes flow */
	bool connected;               /* to the fallback */
	bool client_eof, fallback_eof;
	bool broken;                  /* one end was reset; the other hears it last */
};

LIST_HEAD(splice_list, splice);

struct front {
	struct server *srv;
	struct evconnlistener *listener;
	struct event *resume;
	struct sockaddr_storage fallback;
	struct splice_list all, by_port[PORT_BUCKETS];
	unsigned max;                 /* splices, of all fronts together */
};

static unsigned n_splices;
static bool full; /* that was logged */

static void
splice_free(struct splice *sp, bool reset)
{
	const struct linger now = { .l_onoff = 1 };

	LIST_REMOVE(sp, link);
	n_splices--;
	if (n_splices <= sp->front->max / 2)
		full = false;
	if (sp->port != 0)
		LIST_REMOVE(sp, by_port);
	/* Inside its own callback a bufferevent is freed later; its events must go now,
	 * before the descriptor gets another owner. */
	bufferevent_disable(sp->client, EV_READ | EV_WRITE);
	bufferevent_disable(sp->fallback, EV_READ | EV_WRITE);
	bufferevent_free(sp->client);
	bufferevent_free(sp->fallback);
	if (reset) {
		setsockopt(sp->client_fd, SOL_SOCKET, SO_LINGER, &now, sizeof(now));
		setsockopt(sp->fallback_fd, SOL_SOCKET, SO_LINGER, &now, sizeof(now));
	}
	if (sp->client_fd >= 0)
		evutil_closesocket(sp->client_fd);
	evutil_closesocket(sp->fallback_fd);
	free(sp);
}

/* ---- splicing ---- */

static struct bufferevent *
other(const struct splice *sp, const struct bufferevent *bev)
{
	return bev == sp->client ? sp->fallback : sp->client;
}

static bool
ended(const struct splice *sp, const struct bufferevent *bev)
{
	return bev == sp->client ? sp->client_eof : sp->fallback_eof;
}

static size_t
unwritten(struct bufferevent *bev)
{
	return evbuffer_get_length(bufferevent_get_output(bev));
}

/* Passes on what bev has read, and its end of stream once all of that is written. */
static void
forward(struct splice *sp, struct bufferevent *bev)
{
	struct bufferevent *to = other(sp, bev);

	bufferevent_write_buffer(to, bufferevent_get_input(bev));
	if (unwritten(to) > QUEUE_MAX)
		bufferevent_disable(bev, EV_READ);
	else if (ended(sp, bev) && unwritten(to) == 0 && sp->connected)
		shutdown(bufferevent_getfd(to), SHUT_WR);
}

/* Ends the splice when both ends have. */
static void
settle(struct splice *sp)
{
	static const struct timeval half = { .tv_sec = HALF_CLOSED_S }, stall = { .tv_sec = STALL_S };

	if (sp->client_eof && sp->fallback_eof && unwritten(sp->client) == 0 &&
	    unwritten(sp->fallback) == 0)
		splice_free(sp, false);
	else if (sp->fallback_eof && unwritten(sp->client) == 0)
		bufferevent_set_timeouts(sp->client, &half, &stall);
}

static void
on_written(struct bufferevent *bev, void *arg)
{
	struct splice *sp = arg;
	struct bufferevent *from = other(sp, bev);

	/* The first time is when the connection stands. */
	if (bev == sp->fallback)
		sp->connected = true;
	if (sp->broken && unwritten(bev) == 0) {
		splice_free(sp, true);
		return;
	}
	if (!sp->decided || sp->broken)
		return;
	if (!ended(sp, from))
		bufferevent_enable(from, EV_READ);
	forward(sp, from);
	settle(sp);
}

static void
decide_stranger(struct splice *sp)
{
	const int one = 1;

	sp->decided = true;
	/* Each end has made its own segments: no waiting here. */
	setsockopt(sp->client_fd, IPPROTO_TCP, TCP_NODELAY, &one, sizeof(one));
	bufferevent_setwatermark(sp->client, EV_READ, 0, 0);
	if (!sp->fallback_eof)
		bufferevent_enable(sp->fallback, EV_READ);
	forward(sp, sp->client);
	forward(sp, sp->fallback);
}

/* ---- the verdict ---- */

/* Hands the socket over to the session; sp is freed. */
static void
become_direct(struct splice *sp, const struct sessions_tag *tag, struct reader *frames,
    size_t record_len)
{
	struct evbuffer *in = bufferevent_get_input(sp->client);
	struct conn *c = tag->entry->conn;
	evutil_socket_t fd = sp->client_fd;
	size_t n;
	uint8_t *rest;

	evbuffer_drain(in, record_len);
	n = evbuffer_get_length(in);
	rest = mem_alloc(n);
	evbuffer_remove(in, rest, n);
	sp->client_fd = -1;
	splice_free(sp, false);
	conn_hello(c, tag, fd, frames, rest, n);
	free(rest);
}

static void
judge(struct splice *sp)
{
	static uint8_t frames_area[HELLO_BODY_MAX];
	struct evbuffer *in = bufferevent_get_input(sp->client);
	size_t n = evbuffer_get_length(in), body = 0;
	const struct sessions_tag *tag;
	struct record_key key = { .n = 0 };
	struct reader frames;
	enum record_result r;
	uint8_t *p;

	if (n > RECORD_HEADER + HELLO_BODY_MAX)
		n = RECORD_HEADER + HELLO_BODY_MAX;
	p = evbuffer_pullup(in, (ev_ssize_t)n);
	r = n == 0 ? RECORD_MORE : record_header(p, n, HELLO_BODY_MAX, &body);
	if (r == RECORD_BAD || (r == RECORD_OK && body < HELLO_BODY_MIN)) {
		decide_stranger(sp);
		return;
	}
	if (r == RECORD_MORE || n < RECORD_HEADER + EPOCH_TAG)
		return;
	tag = sessions_by_tag(sp->front->srv->sessions, p + RECORD_HEADER);
	if (tag == NULL) {
		decide_stranger(sp);
		return;
	}
	if (n < RECORD_HEADER + body)
		return;
	memcpy(key.key, tag->keys.up, sizeof(key.key));
	r = record_open(&key, p, body, true, frames_area, &frames);
	mem_wipe(&key, sizeof(key));
	if (r != RECORD_OK)
		decide_stranger(sp);
	else
		become_direct(sp, tag, &frames, RECORD_HEADER + body);
}

static void
on_read(struct bufferevent *bev, void *arg)
{
	struct splice *sp = arg;

	if (sp->decided)
		forward(sp, bev);
	else if (bev == sp->client)
		judge(sp);
	/* A fallback that speaks first is heard after the verdict, as from a server
	 * that waits for the client. (A watermark would call us again and again.) */
	else if (evbuffer_get_length(bufferevent_get_input(bev)) > QUEUE_LOW)
		bufferevent_disable(bev, EV_READ);
}

/* bev's end was reset, or takes nothing any more. What it had sent still goes out. */
static void
break_off(struct splice *sp, struct bufferevent *bev)
{
	struct bufferevent *to = other(sp, bev);

	if (sp->broken || unwritten(to) == 0) {
		splice_free(sp, true);
		return;
	}
	sp->broken = true;
	bufferevent_disable(bev, EV_READ | EV_WRITE);
	bufferevent_disable(to, EV_READ);
}

static void
on_event(struct bufferevent *bev, short what, void *arg)
{
	struct splice *sp = arg;

	if ((what & BEV_EVENT_TIMEOUT) != 0 && (what & BEV_EVENT_READING) != 0) {
		splice_free(sp, false);
		return;
	}
	if ((what & BEV_EVENT_EOF) == 0) {
		break_off(sp, bev);
		return;
	}
	if (bev == sp->client)
		sp->client_eof = true;
	else
		sp->fallback_eof = true;
	if (!sp->decided)
		decide_stranger(sp);
	else
		forward(sp, bev);
	settle(sp);
}

/* ---- accepting ---- */

static void
remember_port(struct splice *sp)
{
	struct sockaddr_storage local;
	socklen_t len = sizeof(local);

	if (getsockname(sp->fallback_fd, (struct sockaddr *)&local, &len) != 0)
		return;
	sp->port = address_port(&local);
	if (sp->port != 0)
		LIST_INSERT_HEAD(&sp->front->by_port[sp->port % PORT_BUCKETS], sp, by_port);
}

/* Strangers must not take the descriptors that sessions need. */
static bool
is_full(const struct front *f)
{
	if (n_splices < f->max)
		return false;
	if (!full)
		log_warning("public port: %u connections; more are closed at once", n_splices);
	full = true;
	return true;
}

static void
on_accept(struct evconnlistener *l, evutil_socket_t fd, struct sockaddr *addr, int len, void *arg)
{
	struct front *f = arg;
	struct splice *sp;
	const struct timeval stall = { .tv_sec = STALL_S };
	const struct sockaddr *to = (struct sockaddr *)&f->fallback;
	evutil_socket_t out = -1;
	const int one = 1;

	(void)l;
	if (!is_full(f))
		out = socket(to->sa_family, SOCK_STREAM | SOCK_NONBLOCK | SOCK_CLOEXEC, 0);
	if (out < 0 || (connect(out, to, address_len(&f->fallback)) != 0 && errno != EINPROGRESS)) {
		if (out >= 0)
			evutil_closesocket(out);
		evutil_closesocket(fd);
		return;
	}
	setsockopt(out, IPPROTO_TCP, TCP_NODELAY, &one, sizeof(one));
	sp = mem_zalloc(sizeof(*sp));
	sp->front = f;
	sp->client_fd = fd;
	sp->fallback_fd = out;
	address_copy(&sp->addr, addr, (socklen_t)len);
	LIST_INSERT_HEAD(&f->all, sp, link);
	n_splices++;
	remember_port(sp);
	sp->client = bufferevent_socket_new(f->srv->base, fd, 0);
	sp->fallback = bufferevent_socket_new(f->srv->base, out, 0);
	if (sp->client == NULL || sp->fallback == NULL)
		abort();
	bufferevent_setcb(sp->client, on_read, on_written, on_event, sp);
	bufferevent_setcb(sp->fallback, on_read, on_written, on_event, sp);
	bufferevent_setwatermark(sp->client, EV_READ, 0, RECORD_MAX);
	bufferevent_setwatermark(sp->client, EV_WRITE, QUEUE_LOW, 0);
	bufferevent_setwatermark(sp->fallback, EV_WRITE, QUEUE_LOW, 0);
	bufferevent_set_timeouts(sp->client, NULL, &stall);
	bufferevent_set_timeouts(sp->fallback, NULL, &stall);
	bufferevent_enable(sp->client, EV_READ | EV_WRITE);
	bufferevent_enable(sp->fallback, EV_READ | EV_WRITE);
}

/* Out of descriptors: accepting at once again would only spin. */
static void
on_accept_error(struct evconnlistener *l, void *arg)
{
	struct front *f = arg;

	log_warning("accept: %s", strerror(errno));
	evconnlistener_disable(l);
	event_add(f->resume, &(struct timeval){ .tv_usec = ACCEPT_PAUSE_MS * 1000 });
}

static void
on_resume(evutil_socket_t fd, short what, void *arg)
{
	struct front *f = arg;

	(void)fd;
	(void)what;
	evconnlistener_enable(f->listener);
}

static unsigned
splices_max(void)
{
	struct rlimit lim;
	rlim_t n = SPLICES_MAX;

	if (getrlimit(RLIMIT_NOFILE, &lim) == 0 && lim.rlim_cur / DESCRIPTORS_PER_SPLICE < n)
		n = lim.rlim_cur / DESCRIPTORS_PER_SPLICE;
	return n > 0 ? (unsigned)n : 1;
}

struct front *
front_new(struct server *srv, const struct sockaddr *addr, socklen_t len,
    const struct sockaddr_storage *fallback, struct sockaddr_storage *bound, char error[256])
{
	evutil_socket_t fd = process_listen(addr, len, bound);
	struct front *f;

	if (fd < 0) {
		snprintf(error, 256, "listen: %s", strerror(errno));
		return NULL;
	}
	f = mem_zalloc(sizeof(*f));
	f->srv = srv;
	f->fallback = *fallback;
	f->max = splices_max();
	LIST_INIT(&f->all);
	f->listener = evconnlistener_new(srv->base, on_accept, f,
	    LEV_OPT_CLOSE_ON_FREE | LEV_OPT_CLOSE_ON_EXEC, 0, fd);
	f->resume = evtimer_new(srv->base, on_resume, f);
	if (f->listener == NULL || f->resume == NULL)
		abort();
	evconnlistener_set_error_cb(f->listener, on_accept_error);
	return f;
}

void
front_free(struct front *f)
{
	if (f == NULL)
		return;
	evconnlistener_free(f->listener);
	event_free(f->resume);
	while (!LIST_EMPTY(&f->all))
		splice_free(LIST_FIRST(&f->all), false);
	free(f);
}

int
front_peer(void *arg, const struct sockaddr *from, struct sockaddr_storage *addr)
{
	const struct front *f = arg;
	struct sockaddr_storage a;
	struct splice *sp;
	uint16_t port;

	memset(&a, 0, sizeof(a));
	memcpy(&a, from, from->sa_family == AF_INET6 ? sizeof(struct sockaddr_in6) :
	    sizeof(struct sockaddr_in));
	port = address_port(&a);
	LIST_FOREACH(sp, &f->by_port[port % PORT_BUCKETS], by_port)
		if (sp->port == port) {
			*addr = sp->addr;
			return 0;
		}
	return -1;
}
