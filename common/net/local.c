#include "common/net/local.h"

#include <errno.h>
#include <linux/sockios.h>
#include <netinet/in.h>
#include <netinet/tcp.h>
#include <poll.h>
#include <stdlib.h>
#include <string.h>
#include <sys/ioctl.h>
#include <sys/socket.h>
#include <time.h>
#include <unistd.h>

#define READ_SIZE (128 * 1024)
#define READS 4 /* a turn, so that one busy socket does not starve the others */
#define LOOK_MS 2000  /* between looks for the peer's reset, while nothing is read or written */
#define RESET_MS 50   /* between looks whether our reset would cost bytes */
#define STUCK_MS 8000 /* without progress what is before a reset is given up */

uint64_t
local_now(void)
{
	struct timespec ts;

	clock_gettime(CLOCK_MONOTONIC, &ts);
	return (uint64_t)ts.tv_sec * 1000 + (uint64_t)ts.tv_nsec / 1000000;
}

int64_t
local_clock(void)
{
	struct timespec ts;

	clock_gettime(CLOCK_REALTIME, &ts);
	return (int64_t)ts.tv_sec * 1000 + ts.tv_nsec / 1000000;
}

void
local_end(struct local *l, bool reset)
{
	if (l->fd < 0)
		return;
	event_free(l->rd);
	event_free(l->wr);
	event_free(l->look);
	buffer_clear(&l->ahead);
	if (reset)
		setsockopt(l->fd, SOL_SOCKET, SO_LINGER, &(struct linger){ .l_onoff = 1 },
		    sizeof(struct linger));
	evutil_closesocket(l->fd);
	l->fd = -1;
}

static bool
transient(int err)
{
	return err == EAGAIN || err == EWOULDBLOCK || err == EINTR;
}

/* The socket failed: what was read before still goes out, then a reset. */
static void
failed(struct local *l)
{
	session_close(l->s, CLOSE_RESET);
	local_end(l, true);
}

/* How many of n bytes may move now. */
static size_t
allowed(const struct local *l, size_t n)
{
	return n < l->allowance ? n : l->allowance;
}

static void
count(struct local *l, size_t n)
{
	l->moved_bytes += n;
	l->allowance -= l->allowance == SIZE_MAX ? 0 : n;
}

static void
put_ahead(struct local *l)
{
	size_t n = allowed(l, session_room(l->s));

	if (n > l->ahead.n)
		n = l->ahead.n;
	if (n == 0)
		return;
	session_put(l->s, buffer_data(&l->ahead), n);
	buffer_drain(&l->ahead, n);
	count(l, n);
}

/* Gives the session what was read. False: not all of it. */
static bool
pass(struct local *l, const uint8_t *p, size_t n)
{
	size_t admitted = l->admit == NULL ? n : l->admit(l->arg, p, n);

	session_put(l->s, p, admitted);
	count(l, admitted);
	return admitted == n;
}

static void
read_some(struct local *l)
{
	static uint8_t buf[READ_SIZE];

	put_ahead(l);
	if (l->ahead.n > 0)
		return;
	for (int i = 0; i < READS; i++) {
		size_t room = allowed(l, session_room(l->s));
		ssize_t n;

		if (room == 0)
			return;
		n = recv(l->fd, buf, room < sizeof(buf) ? room : sizeof(buf), 0);
		if (n < 0) {
			if (!transient(errno))
				failed(l);
			return;
		}
		if (n == 0 && l->deaf) {
			failed(l);
			return;
		}
		if (n == 0) {
			l->read_done = true;
			session_put_fin(l->s);
			return;
		}
		if (!pass(l, buf, (size_t)n)) {
			failed(l);
			return;
		}
		if ((size_t)n < sizeof(buf))
			return;
	}
}

/* Whether a peer that takes no more may have left something to be read: a reset comes
 * behind what it said before. */
static bool
may_have_spoken(const struct local *l, int err)
{
	return !l->read_done && (err == EPIPE || err == ECONNRESET);
}

/* What the socket gets next: the session's bytes, or text that is due between two of them. */
static size_t
peek(struct local *l, const uint8_t **p)
{
	size_t n = session_peek(l->s, p), len;

	if (n == 0 || l->insert.at == NULL)
		return n;
	len = strlen(l->insert.text);
	if (l->insert.ahead == 0 && l->insert.left == 0) {
		l->insert.ahead = l->insert.at(l->arg, *p, n);
		l->insert.left = l->insert.ahead < n ? len : 0;
	}
	if (l->insert.ahead > 0)
		return l->insert.ahead;
	*p = (const uint8_t *)l->insert.text + len - l->insert.left;
	return l->insert.left;
}

/* n bytes of that went. */
static void
take(struct local *l, size_t n)
{
	count(l, n);
	if (l->insert.ahead == 0 && l->insert.left > 0) {
		l->insert.left -= n;
		return;
	}
	l->insert.ahead -= l->insert.ahead > 0 ? n : 0;
	session_take(l->s, n, local_now(), l->rtt_ms);
}

/* Returns false if the socket is full, or the allowance used up. */
static bool
write_all(struct local *l)
{
	const uint8_t *p;
	size_t n;

	while ((n = peek(l, &p)) > 0) {
		ssize_t w;

		n = allowed(l, n);
		if (n == 0)
			return false;
		w = l->deaf ? (ssize_t)n : send(l->fd, p, n, MSG_NOSIGNAL);
		if (w < 0) {
			if (transient(errno))
				return false;
			if (!may_have_spoken(l, errno)) {
				failed(l);
				return true;
			}
			l->deaf = true;
			continue;
		}
		take(l, (size_t)w);
	}
	return true;
}

static void
look_in(struct local *l, unsigned ms)
{
	event_add(l->look, &(struct timeval){ .tv_sec = ms / 1000, .tv_usec = ms % 1000 * 1000 });
}

/* A reset discards what the kernel has not delivered yet. */
static bool
reset_would_cost(struct local *l)
{
	uint64_t now = local_now();
	int queued = 0;

	if (l->deaf || ioctl(l->fd, SIOCOUTQ, &queued) != 0 || queued == 0)
		return false;
	if (queued != l->queued)
		l->stuck_ms = now;
	l->queued = queued;
	return now - l->stuck_ms < STUCK_MS;
}

/* Waits for what may come next. While neither is of use no event tells of a reset. */
static void
wait_for_more(struct local *l, bool written)
{
	bool write = !written && l->allowance > 0;
	bool read = !l->read_done && session_room(l->s) > 0 && l->allowance > 0;

	if (write)
		event_add(l->wr, NULL);
	if (read)
		event_add(l->rd, NULL);
	if (!write && !read && !event_pending(l->look, EV_TIMEOUT, NULL))
		look_in(l, LOOK_MS);
}

void
local_flush(struct local *l)
{
	enum close_code close;
	bool written, reset;

	if (l->fd < 0)
		return;
	put_ahead(l);
	written = write_all(l);
	if (l->fd < 0)
		return;
	if (written && session_fin_due(l->s)) {
		shutdown(l->fd, SHUT_WR);
		session_take_fin(l->s);
	}
	close = written ? session_close_due(l->s) : CLOSE_NONE;
	reset = close == CLOSE_RESET || close == CLOSE_ERROR;
	if (reset && reset_would_cost(l))
		look_in(l, RESET_MS);
	else if (close != CLOSE_NONE || (l->read_done && l->s->rx.fin_taken))
		local_end(l, reset);
	else
		wait_for_more(l, written);
}

static void
on_event(evutil_socket_t fd, short what, void *arg)
{
	struct local *l = arg;

	(void)fd;
	if ((what & EV_READ) != 0 && !l->read_done)
		read_some(l);
	l->moved(l->arg); /* which flushes */
}

/* Whether the peer was reset, and what it said before that is not read for long. POLLHUP is no
 * reset: both ends may have ended in order. */
static bool
is_gone(struct local *l)
{
	struct pollfd p = { .fd = l->fd };
	bool reset = poll(&p, 1, 0) > 0 && (p.revents & POLLERR) != 0;
	uint64_t now = local_now();

	if (!reset || l->moved_bytes != l->looked_at)
		l->stuck_ms = now;
	l->looked_at = l->moved_bytes;
	return reset && now - l->stuck_ms >= STUCK_MS;
}

static void
on_look(evutil_socket_t fd, short what, void *arg)
{
	struct local *l = arg;

	(void)fd;
	(void)what;
	if (session_close_due(l->s) == CLOSE_NONE && is_gone(l))
		failed(l);
	l->moved(l->arg); /* which flushes, and looks again */
}

void
local_start(struct local *l, struct event_base *base, evutil_socket_t fd, struct session *s,
    void (*moved)(void *arg), void *arg)
{
	int one = 1;

	setsockopt(fd, IPPROTO_TCP, TCP_NODELAY, &one, sizeof(one));
	*l = (struct local){ .fd = fd, .s = s, .allowance = SIZE_MAX,
		.moved = moved, .arg = arg };
	l->rd = event_new(base, fd, EV_READ, on_event, l);
	l->wr = event_new(base, fd, EV_WRITE, on_event, l);
	l->look = event_new(base, fd, 0, on_look, l);
	if (l->rd == NULL || l->wr == NULL || l->look == NULL)
		abort();
	event_add(l->rd, NULL);
}
