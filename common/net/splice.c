#include "common/net/splice.h"

#include <event2/buffer.h>
#include <event2/bufferevent.h>
#include <netinet/in.h>
#include <netinet/tcp.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>

#define QUEUE_MAX (128 * 1024) /* bytes waiting for a slow end */
#define QUEUE_LOW (32 * 1024)

static struct splice_end *
end_of(struct splice *s, const struct bufferevent *bev)
{
	return &s->end[bev == s->end[1].bev];
}

static struct splice_end *
other(struct splice *s, const struct splice_end *e)
{
	return &s->end[e == &s->end[0]];
}

static size_t
unwritten(const struct splice_end *e)
{
	return evbuffer_get_length(bufferevent_get_output(e->bev));
}

/* How many of the bytes that e has said may pass. */
static size_t
admitted(struct splice *s, const struct splice_end *e, struct evbuffer *in)
{
	size_t n = evbuffer_get_length(in), k = n;

	if (n > 0 && e == &s->end[0] && s->cfg->admit != NULL)
		k = s->cfg->admit(s->arg, evbuffer_pullup(in, -1), n);
	s->overran |= k < n;
	return k;
}

/* Passes on n bytes that e has said, and the text that is due between two of them. */
static void
pass(struct splice *s, const struct splice_end *e, struct evbuffer *in, size_t n)
{
	const struct splice_config *cfg = s->cfg;
	struct evbuffer *out = bufferevent_get_output(other(s, e)->bev);

	while (n > 0 && e == &s->end[1] && cfg->insert_at != NULL) {
		size_t k = cfg->insert_at(s->arg, evbuffer_pullup(in, -1), n);

		if (k == n)
			break;
		evbuffer_remove_buffer(in, out, k);
		n -= k;
		evbuffer_add(out, cfg->insert_text, strlen(cfg->insert_text));
	}
	evbuffer_remove_buffer(in, out, n);
}

/* Passes on what e has said, and its end of stream once all of that is written. settle() has
 * to follow. */
static void
forward(struct splice *s, struct splice_end *e)
{
	struct evbuffer *in = bufferevent_get_input(e->bev);
	struct splice_end *to = other(s, e);
	size_t n = admitted(s, e, in);

	if (n > 0 && e->passed == 0)
		evbuffer_copyout(in, &e->first, 1);
	e->passed += n;
	pass(s, e, in, n);
	if (unwritten(to) > QUEUE_MAX)
		bufferevent_disable(e->bev, EV_READ);
	else if (e->eof && unwritten(to) == 0 && (s->connected || to == &s->end[0]))
		shutdown(to->fd, SHUT_WR);
}

/* e was reset, or takes nothing any more. What it had said still goes out. */
static void
break_off(struct splice *s, struct splice_end *e)
{
	struct splice_end *to = other(s, e);

	if (s->broken || unwritten(to) == 0) {
		s->cfg->over(s->arg, true);
		return;
	}
	s->broken = true;
	bufferevent_disable(e->bev, EV_READ | EV_WRITE);
	bufferevent_disable(to->bev, EV_READ);
}

/* Ends the splice when both ends have, or end 0 must not go on. The last thing that its caller
 * does with it. */
static void
settle(struct splice *s)
{
	const struct timeval half = { .tv_sec = s->cfg->half_closed_s };
	const struct timeval stall = { .tv_sec = s->cfg->stall_s };
	struct splice_end *e = s->end;

	if (!e[0].open)
		return;
	if (s->overran) {
		s->ended_by = s->ended_by < 0 ? 0 : s->ended_by;
		break_off(s, &e[0]);
	} else if (e[0].eof && e[1].eof && unwritten(&e[0]) == 0 && unwritten(&e[1]) == 0) {
		s->cfg->over(s->arg, false);
	} else if (e[1].eof && unwritten(&e[0]) == 0 && half.tv_sec > 0) {
		bufferevent_set_timeouts(e[0].bev, &half, stall.tv_sec > 0 ? &stall : NULL);
	}
}

static void
on_written(struct bufferevent *bev, void *arg)
{
	struct splice *s = arg;
	struct splice_end *e = end_of(s, bev), *from = other(s, e);

	if (s->broken && unwritten(e) == 0) {
		s->cfg->over(s->arg, true);
		return;
	}
	if (!from->open || s->broken)
		return;
	if (!from->eof)
		bufferevent_enable(from->bev, EV_READ);
	forward(s, from);
	settle(s);
}

static void
on_read(struct bufferevent *bev, void *arg)
{
	struct splice *s = arg;
	struct splice_end *e = end_of(s, bev);

	if (e->open) {
		forward(s, e);
		settle(s);
		return;
	}
	/* An end 1 that speaks first. (A watermark would call us again and again.) */
	if (e == &s->end[1] && evbuffer_get_length(bufferevent_get_input(bev)) > QUEUE_LOW)
		bufferevent_disable(bev, EV_READ);
	s->cfg->look(s->arg);
}

static void
on_event(struct bufferevent *bev, short what, void *arg)
{
	struct splice *s = arg;
	struct splice_end *e = end_of(s, bev);

	if ((what & BEV_EVENT_CONNECTED) != 0) {
		s->connected = true;
		if (s->end[0].open && !s->broken) {
			forward(s, &s->end[0]);
			settle(s);
		}
		return;
	}
	if (s->ended_by < 0)
		s->ended_by = e == &s->end[1];
	if ((what & BEV_EVENT_TIMEOUT) != 0 && (what & BEV_EVENT_READING) != 0) {
		s->cfg->over(s->arg, false);
	} else if ((what & BEV_EVENT_EOF) == 0) {
		break_off(s, e);
	} else {
		e->eof = true;
		if (!e->open) {
			s->cfg->look(s->arg);
			return;
		}
		forward(s, e);
		settle(s);
	}
}

void
splice_init(struct splice *s, struct event_base *base, evutil_socket_t end0, evutil_socket_t end1,
    const struct splice_config *cfg, void *arg)
{
	const struct timeval stall = { .tv_sec = cfg->stall_s };
	const int one = 1;

	*s = (struct splice){ .cfg = cfg, .arg = arg, .ended_by = -1 };
	s->end[0].fd = end0;
	s->end[1].fd = end1;
	setsockopt(end1, IPPROTO_TCP, TCP_NODELAY, &one, sizeof(one));
	for (int i = 0; i < 2; i++) {
		struct bufferevent *bev = bufferevent_socket_new(base, s->end[i].fd, 0);

		if (bev == NULL)
			abort();
		s->end[i].bev = bev;
		bufferevent_setcb(bev, on_read, on_written, on_event, s);
		bufferevent_setwatermark(bev, EV_WRITE, QUEUE_LOW, 0);
		if (stall.tv_sec > 0)
			bufferevent_set_timeouts(bev, NULL, &stall);
	}
	bufferevent_setwatermark(s->end[0].bev, EV_READ, 0, cfg->held_max);
	/* Without an address: it may be connecting. Else to be refused would read as an end. */
	if (bufferevent_socket_connect(s->end[1].bev, NULL, 0) != 0)
		abort();
	bufferevent_enable(s->end[0].bev, EV_READ | EV_WRITE);
	bufferevent_enable(s->end[1].bev, EV_READ | EV_WRITE);
}

struct evbuffer *
splice_held(const struct splice *s, int i)
{
	return bufferevent_get_input(s->end[i].bev);
}

void
splice_read_end0(struct splice *s, bool yes)
{
	struct splice_end *e = &s->end[0];

	if (!yes)
		bufferevent_disable(e->bev, EV_READ);
	else if (!e->eof && !s->broken)
		bufferevent_enable(e->bev, EV_READ);
}

void
splice_open_end1(struct splice *s)
{
	const int one = 1;

	/* It has made its own segments: no waiting here. */
	setsockopt(s->end[0].fd, IPPROTO_TCP, TCP_NODELAY, &one, sizeof(one));
	s->end[1].open = true;
	if (!s->end[1].eof)
		bufferevent_enable(s->end[1].bev, EV_READ);
	forward(s, &s->end[1]);
}

void
splice_open(struct splice *s, const void *p, size_t n)
{
	s->end[0].open = true;
	splice_read_end0(s, true);
	bufferevent_setwatermark(s->end[0].bev, EV_READ, 0, 0);
	if (n > 0)
		bufferevent_write(s->end[1].bev, p, n);
	forward(s, &s->end[0]);
	splice_open_end1(s);
	settle(s);
}

static void
end_clear(struct splice_end *e, bool reset)
{
	/* Inside its own callback a bufferevent is freed later; its events must go now, before
	 * the descriptor gets another owner. */
	bufferevent_disable(e->bev, EV_READ | EV_WRITE);
	bufferevent_free(e->bev);
	if (e->fd < 0)
		return;
	if (reset)
		setsockopt(e->fd, SOL_SOCKET, SO_LINGER, &(struct linger){ .l_onoff = 1 },
		    sizeof(struct linger));
	evutil_closesocket(e->fd);
}

void
splice_clear(struct splice *s, bool reset)
{
	end_clear(&s->end[0], reset);
	end_clear(&s->end[1], reset);
}

evutil_socket_t
splice_take(struct splice *s)
{
	evutil_socket_t fd = s->end[0].fd;

	s->end[0].fd = -1;
	splice_clear(s, false);
	return fd;
}
