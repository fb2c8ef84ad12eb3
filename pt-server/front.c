#include "pt-server/front.h"

#include <errno.h>
#include <event2/buffer.h>
#include <event2/listener.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/resource.h>
#include <sys/socket.h>

#include "common/address.h"
#include "common/log.h"
#include "common/mem.h"
#include "common/net/process.h"
#include "common/net/splice.h"
#include "pt-server/conn.h"

#define PORT_BUCKETS 1024
#define ACCEPT_PAUSE_MS 100
/* A slow end that takes nothing for so long is given up, and so is one that keeps its
 * half open after the fallback has closed: a kernel forgets such a one too. */
#define STALL_S 120
#define HALF_CLOSED_S 60
/* A guest takes two descriptors, and one more in the built-in HTTPS server; a quarter
 * is left for sessions and their targets. */
#define GUESTS_MAX 4096
#define DESCRIPTORS_PER_GUEST 4

/* A connection to the public port (end 0), and the one to the fallback that was opened
 * with it (end 1). */
struct guest {
	TAILQ_ENTRY(guest) link;
	LIST_ENTRY(guest) by_port;
	struct front *front;
	struct splice splice;
	struct sockaddr_storage addr; /* the client's */
	uint16_t port;                /* local port of the socket to the fallback */
	bool known;                   /* an authentic request came by it */
};

TAILQ_HEAD(guests, guest);

struct front {
	struct server *srv;
	struct evconnlistener *listener;
	struct event *resume;
	bool cannot_accept;           /* that was logged */
	struct sockaddr_storage fallback;
	LIST_HEAD(, guest) by_port[PORT_BUCKETS];
	unsigned max;                 /* guests, of all fronts together */
};

/* Of all fronts, in the order of their coming, of being known. */
static struct guests strangers = TAILQ_HEAD_INITIALIZER(strangers);
static struct guests regulars = TAILQ_HEAD_INITIALIZER(regulars);
static unsigned n_guests;
static bool full; /* that was logged */

/* Its sockets are closed, or somebody else's. */
static void
guest_free(struct guest *g)
{
	TAILQ_REMOVE(g->known ? &regulars : &strangers, g, link);
	n_guests--;
	if (n_guests <= g->front->max / 2)
		full = false;
	if (g->port != 0)
		LIST_REMOVE(g, by_port);
	free(g);
}

static void
on_over(void *arg, bool reset)
{
	struct guest *g = arg;

	splice_clear(&g->splice, reset);
	guest_free(g);
}

/* ---- the verdict ---- */

/* Perhaps the last thing done with g. */
static void
decide_stranger(struct guest *g)
{
	splice_open(&g->splice, NULL, 0);
}

/* Hands the socket over to the session; g is freed. */
static void
become_direct(struct guest *g, const struct sessions_tag *tag, struct reader *frames,
    size_t record_len)
{
	struct evbuffer *in = splice_held(&g->splice, 0);
	struct conn *c = tag->entry->conn;
	evutil_socket_t fd;
	size_t n;
	uint8_t *rest;

	evbuffer_drain(in, record_len);
	n = evbuffer_get_length(in);
	rest = mem_alloc(n);
	evbuffer_remove(in, rest, n);
	fd = splice_take(&g->splice);
	guest_free(g);
	conn_hello(c, tag, fd, frames, rest, n);
	free(rest);
}

/* A hello is written at once, so the first bytes that come hold its tag: less is a stranger's.
 * Nothing waits but what begins with a tag that only a client can know; else a prober would
 * see the fallback hesitate. */
static void
judge(struct guest *g)
{
	static uint8_t frames_area[HELLO_BODY_MAX];
	struct evbuffer *in = splice_held(&g->splice, 0);
	size_t n = evbuffer_get_length(in), body = 0;
	const struct sessions_tag *tag = NULL;
	struct record_key key = { .n = 0 };
	struct reader frames;
	enum record_result r;
	uint8_t *p;

	if (n == 0) /* the fallback speaks first */
		return;
	if (n > RECORD_HEADER + HELLO_BODY_MAX)
		n = RECORD_HEADER + HELLO_BODY_MAX;
	p = evbuffer_pullup(in, (ev_ssize_t)n);
	if (n >= RECORD_HEADER + EPOCH_TAG &&
	    record_header(p, n, HELLO_BODY_MAX, &body) == RECORD_OK && body >= HELLO_BODY_MIN)
		tag = sessions_by_tag(g->front->srv->sessions, p + RECORD_HEADER);
	if (tag == NULL) {
		decide_stranger(g);
		return;
	}
	if (n < RECORD_HEADER + body)
		return;
	memcpy(key.key, tag->keys.up, sizeof(key.key));
	r = record_open(&key, p, body, true, frames_area, &frames);
	mem_wipe(&key, sizeof(key));
	if (r != RECORD_OK)
		decide_stranger(g);
	else
		become_direct(g, tag, &frames, RECORD_HEADER + body);
}

static void
on_look(void *arg)
{
	struct guest *g = arg;

	if (g->splice.end[0].eof || g->splice.end[1].eof)
		decide_stranger(g);
	else
		judge(g);
}

static const struct splice_config config = {
	.held_max = RECORD_MAX,
	.stall_s = STALL_S,
	.half_closed_s = HALF_CLOSED_S,
	.look = on_look,
	.over = on_over,
};

/* ---- accepting ---- */

static void
remember_port(struct guest *g)
{
	struct sockaddr_storage local;
	socklen_t len = sizeof(local);

	if (getsockname(g->splice.end[1].fd, (struct sockaddr *)&local, &len) != 0)
		return;
	g->port = address_port(&local);
	if (g->port != 0)
		LIST_INSERT_HEAD(&g->front->by_port[g->port % PORT_BUCKETS], g, by_port);
}

/* Strangers must take neither the descriptors that sessions need, nor the port from those who
 * come after them. */
static void
make_room(const struct front *f)
{
	struct guest *oldest = TAILQ_FIRST(&strangers);

	if (n_guests < f->max)
		return;
	if (!full)
		log_warning("public port: %u connections; the oldest are closed", n_guests);
	full = true;
	on_over(oldest != NULL ? oldest : TAILQ_FIRST(&regulars), false);
}

static void
on_accept(struct evconnlistener *l, evutil_socket_t fd, struct sockaddr *addr, int len, void *arg)
{
	struct front *f = arg;
	struct guest *g;
	const struct sockaddr *to = (struct sockaddr *)&f->fallback;
	evutil_socket_t out;

	(void)l;
	f->cannot_accept = false;
	make_room(f);
	out = socket(to->sa_family, SOCK_STREAM | SOCK_NONBLOCK | SOCK_CLOEXEC, 0);
	if (out < 0 || (connect(out, to, address_len(&f->fallback)) != 0 && errno != EINPROGRESS)) {
		if (out >= 0)
			evutil_closesocket(out);
		evutil_closesocket(fd);
		return;
	}
	g = mem_zalloc(sizeof(*g));
	g->front = f;
	address_copy(&g->addr, addr, (socklen_t)len);
	TAILQ_INSERT_TAIL(&strangers, g, link);
	n_guests++;
	splice_init(&g->splice, f->srv->base, fd, out, &config, g);
	remember_port(g);
}

/* Out of descriptors: accepting at once again would only spin. */
static void
on_accept_error(struct evconnlistener *l, void *arg)
{
	struct front *f = arg;

	if (!f->cannot_accept)
		log_warning("public port: cannot accept: %s", strerror(errno));
	f->cannot_accept = true;
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

unsigned
front_guests_max(void)
{
	struct rlimit lim;
	rlim_t n = GUESTS_MAX;

	if (getrlimit(RLIMIT_NOFILE, &lim) == 0 && lim.rlim_cur / DESCRIPTORS_PER_GUEST < n)
		n = lim.rlim_cur / DESCRIPTORS_PER_GUEST;
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
	f->max = front_guests_max();
	f->listener = evconnlistener_new(srv->base, on_accept, f,
	    LEV_OPT_CLOSE_ON_FREE | LEV_OPT_CLOSE_ON_EXEC, 0, fd);
	f->resume = evtimer_new(srv->base, on_resume, f);
	if (f->listener == NULL || f->resume == NULL)
		abort();
	evconnlistener_set_error_cb(f->listener, on_accept_error);
	return f;
}

static void
end_guests(const struct front *f, const struct guests *of)
{
	struct guest *g, *next;

	for (g = TAILQ_FIRST(of); g != NULL; g = next) {
		next = TAILQ_NEXT(g, link);
		if (g->front == f)
			on_over(g, false);
	}
}

void
front_free(struct front *f)
{
	if (f == NULL)
		return;
	evconnlistener_free(f->listener);
	event_free(f->resume);
	end_guests(f, &strangers);
	end_guests(f, &regulars);
	free(f);
}

static struct guest *
guest_of(const struct front *f, const struct sockaddr_storage *from)
{
	uint16_t port = address_port(from);
	struct guest *g;

	LIST_FOREACH(g, &f->by_port[port % PORT_BUCKETS], by_port)
		if (g->port == port)
			return g;
	return NULL;
}

int
front_peer(const struct front *f, const struct sockaddr_storage *from,
    struct sockaddr_storage *addr)
{
	const struct guest *g = guest_of(f, from);

	if (g == NULL)
		return -1;
	*addr = g->addr;
	return 0;
}

void
front_known(const struct front *f, const struct sockaddr_storage *from)
{
	struct guest *g = guest_of(f, from);

	if (g == NULL || g->known)
		return;
	TAILQ_REMOVE(&strangers, g, link);
	TAILQ_INSERT_TAIL(&regulars, g, link);
	g->known = true;
}
