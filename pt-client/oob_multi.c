#include "pt-client/oob_multi.h"

#include <assert.h>
#include <event2/event.h>
#include <poll.h>
#include <stdlib.h>
#include <string.h>
#include <sys/queue.h>
#include <sys/stat.h>
#include <unistd.h>

#include "common/mem.h"
#include "common/net/dial.h"

#ifndef POLLRDHUP
#define POLLRDHUP POLLIN
#endif

/* A socket that curl was given. Whether it is still open is asked of the kernel: curl does not
 * call CLOSESOCKETFUNCTION for all of them (7.88: not while they connect). */
struct conn {
	LIST_ENTRY(conn) next;
	evutil_socket_t fd;
	ino_t inode;
	uint64_t touched; /* 0: not yet */
};

struct multi {
	struct event_base *base;
	const struct outbound *outbound;
	multi_done *done;
	CURLM *curl;
	struct event *timer;
	LIST_HEAD(, conn) conns;
	unsigned running, replying, keep;
	bool retired;
	bool acting; /* inside curl_multi_socket_action or what follows it: not to be freed */
};

/* ---- connections ---- */

static struct conn *
conn_of(const struct multi *m, curl_socket_t fd)
{
	struct conn *c;

	LIST_FOREACH(c, &m->conns, next)
		if (c->fd == fd)
			return c;
	return NULL;
}

static void
conn_drop(struct conn *c)
{
	LIST_REMOVE(c, next);
	free(c);
}

static void
drop_closed(struct multi *m)
{
	struct conn *c, *next;
	struct stat st;

	for (c = LIST_FIRST(&m->conns); c != NULL; c = next) {
		next = LIST_NEXT(c, next);
		if (fstat(c->fd, &st) != 0 || !S_ISSOCK(st.st_mode) || st.st_ino != c->inode)
			conn_drop(c);
	}
}

static curl_socket_t
on_open(void *arg, curlsocktype purpose, struct curl_sockaddr *a)
{
	struct multi *m = arg;
	struct sockaddr_storage to = { 0 };
	struct conn *c;
	struct stat st;
	int fd = socket(a->family, a->socktype | SOCK_CLOEXEC, a->protocol);

	(void)purpose;
	if (fd < 0)
		return CURL_SOCKET_BAD;
	memcpy(&to, &a->addr, a->addrlen < sizeof(to) ? a->addrlen : sizeof(to));
	if (dial_bind_source(fd, m->outbound, &to) != 0 || fstat(fd, &st) != 0) {
		close(fd);
		return CURL_SOCKET_BAD;
	}
	c = conn_of(m, fd);
	if (c != NULL)
		conn_drop(c);
	c = mem_zalloc(sizeof(*c));
	c->fd = fd;
	c->inode = st.st_ino;
	LIST_INSERT_HEAD(&m->conns, c, next);
	return fd;
}

unsigned
multi_live(struct multi *m)
{
	const struct conn *c;
	unsigned live = 0;

	drop_closed(m);
	LIST_FOREACH(c, &m->conns, next) {
		struct pollfd p = { .fd = c->fd, .events = POLLRDHUP };

		live += poll(&p, 1, 0) == 0;
	}
	return live;
}

void
multi_touch(struct multi *m, CURL *easy, uint64_t now)
{
	curl_socket_t fd = CURL_SOCKET_BAD;
	struct conn *c;

	curl_easy_getinfo(easy, CURLINFO_ACTIVESOCKET, &fd);
	c = fd != CURL_SOCKET_BAD ? conn_of(m, fd) : NULL;
	if (c != NULL)
		c->touched = now;
}

bool
multi_oldest(struct multi *m, uint64_t *touched)
{
	const struct conn *c;
	bool any = false;

	drop_closed(m);
	LIST_FOREACH(c, &m->conns, next) {
		if (c->touched != 0 && (!any || c->touched < *touched)) {
			*touched = c->touched;
			any = true;
		}
	}
	return any;
}

/* ---- the event loop ---- */

static void
multi_free(struct multi *m)
{
	curl_multi_cleanup(m->curl);
	while (!LIST_EMPTY(&m->conns))
		conn_drop(LIST_FIRST(&m->conns));
	event_free(m->timer);
	free(m);
}

static void
multi_act(struct multi *m, curl_socket_t fd, int what)
{
	CURLMsg *msg;
	int n;

	m->acting = true;
	curl_multi_socket_action(m->curl, fd, what, &n);
	while ((msg = curl_multi_info_read(m->curl, &n)) != NULL) {
		CURLcode code = msg->data.result;
		char *request;

		curl_easy_getinfo(msg->easy_handle, CURLINFO_PRIVATE, &request);
		m->done(request, code);
	}
	m->acting = false;
	if (m->retired && m->running == 0)
		multi_free(m);
}

static void
on_timer(evutil_socket_t fd, short what, void *arg)
{
	(void)fd;
	(void)what;
	multi_act(arg, CURL_SOCKET_TIMEOUT, 0);
}

static void
on_socket(evutil_socket_t fd, short what, void *arg)
{
	multi_act(arg, fd, ((what & EV_READ) ? CURL_CSELECT_IN : 0) |
	    ((what & EV_WRITE) ? CURL_CSELECT_OUT : 0));
}

static int
on_want_timer(CURLM *curl, long ms, void *arg)
{
	struct multi *m = arg;
	struct timeval tv = { .tv_sec = ms / 1000, .tv_usec = ms % 1000 * 1000 };

	(void)curl;
	if (ms < 0)
		event_del(m->timer);
	else
		event_add(m->timer, &tv);
	return 0;
}

static int
on_want_socket(CURL *easy, curl_socket_t fd, int what, void *arg, void *old)
{
	struct multi *m = arg;
	struct event *ev = NULL;

	(void)easy;
	if (old != NULL)
		event_free(old);
	if (what != CURL_POLL_REMOVE) {
		ev = event_new(m->base, fd, (short)(EV_PERSIST | ((what & CURL_POLL_IN) ? EV_READ : 0) |
		    ((what & CURL_POLL_OUT) ? EV_WRITE : 0)), on_socket, m);
		event_add(ev, NULL);
	}
	curl_multi_assign(m->curl, fd, ev);
	return 0;
}

/* ---- requests ---- */

struct multi *
multi_new(struct event_base *base, const struct outbound *outbound, multi_done *done)
{
	struct multi *m = mem_zalloc(sizeof(*m));

	m->base = base;
	m->outbound = outbound;
	m->done = done;
	m->curl = curl_multi_init();
	m->timer = evtimer_new(base, on_timer, m);
	assert(m->curl != NULL && m->timer != NULL);
	LIST_INIT(&m->conns);
	curl_multi_setopt(m->curl, CURLMOPT_SOCKETFUNCTION, on_want_socket);
	curl_multi_setopt(m->curl, CURLMOPT_SOCKETDATA, m);
	curl_multi_setopt(m->curl, CURLMOPT_TIMERFUNCTION, on_want_timer);
	curl_multi_setopt(m->curl, CURLMOPT_TIMERDATA, m);
	multi_keep(m, 1);
	return m;
}

void
multi_retire(struct multi *m)
{
	m->retired = true;
	multi_keep(m, 0);
	if (m->running == 0 && !m->acting)
		multi_free(m);
}

/* curl's limit is on all open connections: when one becomes idle, which is still counted in
 * running then, at most one is closed. That lowers the number slowly; that it does not rise in
 * the first place, when requests end together, is multi_replying's part. */
void
multi_keep(struct multi *m, unsigned idle)
{
	unsigned n = idle + m->running;

	m->keep = idle;
	curl_multi_setopt(m->curl, CURLMOPT_MAXCONNECTS, n > 1 ? (long)n - 1 : 1L);
}

CURLcode
multi_prepare(struct multi *m, CURL *easy, void *request)
{
	CURLcode rc = curl_easy_setopt(easy, CURLOPT_OPENSOCKETFUNCTION, on_open);

	if (rc == CURLE_OK)
		rc = curl_easy_setopt(easy, CURLOPT_OPENSOCKETDATA, m);
	if (rc == CURLE_OK)
		rc = curl_easy_setopt(easy, CURLOPT_PRIVATE, request);
	return rc;
}

CURLMcode
multi_add(struct multi *m, CURL *easy)
{
	CURLMcode rc = curl_multi_add_handle(m->curl, easy);

	if (rc == CURLM_OK) {
		m->running++;
		multi_keep(m, m->keep);
	}
	return rc;
}

void
multi_replying(struct multi *m, CURL *easy)
{
	if (multi_live(m) >= m->keep + m->running - m->replying)
		curl_easy_setopt(easy, CURLOPT_FORBID_REUSE, 1L);
	m->replying++;
}

void
multi_remove(struct multi *m, CURL *easy, bool replying)
{
	curl_multi_remove_handle(m->curl, easy);
	m->running--;
	m->replying -= replying;
	multi_keep(m, m->keep);
	if (m->retired && m->running == 0 && !m->acting)
		multi_free(m);
}

unsigned
multi_running(const struct multi *m)
{
	return m->running;
}
