#include "common/net/dial.h"

#include <errno.h>
#include <event2/event_struct.h>
#include <netinet/tcp.h>
#include <stdlib.h>

#include "common/address.h"
#include "common/mem.h"
#include "common/net/proxy.h"

struct dial {
	struct event_base *base;
	struct sockaddr_storage target;
	evutil_socket_t fd;
	bool connected;      /* to the proxy, where there is one */
	struct proxy *proxy; /* NULL: straight */
	struct event ready;  /* fd is ready for the next step */
	struct event end;    /* the dial ends with end_err: out of time, or never started */
	int end_err;
	dial_done *done;
	void *arg;
};

static void
dial_free(struct dial *d)
{
	event_del(&d->ready);
	event_del(&d->end);
	if (d->fd >= 0)
		evutil_closesocket(d->fd);
	if (d->proxy != NULL)
		proxy_clear(d->proxy);
	free(d->proxy);
	free(d);
}

static void
finish(struct dial *d, int err)
{
	dial_done *done = d->done;
	void *arg = d->arg;
	evutil_socket_t fd = -1;

	if (err == 0) {
		fd = d->fd;
		d->fd = -1;
	}
	dial_free(d);
	done(arg, fd, err);
}

static void
on_end(evutil_socket_t fd, short what, void *arg)
{
	struct dial *d = arg;

	(void)fd;
	(void)what;
	finish(d, d->end_err);
}

static int
connect_result(evutil_socket_t fd)
{
	socklen_t len = sizeof(int);
	int err;

	return getsockopt(fd, SOL_SOCKET, SO_ERROR, &err, &len) == 0 ? err : errno;
}

/* Goes on as far as it can. Returns 0 when the dial is complete, EINPROGRESS with *wait set,
 * or why it failed. */
static int
advance(struct dial *d, short *wait)
{
	int err;

	if (!d->connected) {
		if ((err = connect_result(d->fd)) != 0)
			return err;
		d->connected = true;
	}
	if (d->proxy == NULL)
		return 0;
	switch (talk_run(&d->proxy->talk, d->fd, wait, &err)) {
	case TALK_OK:
		return 0;
	case TALK_MORE:
		return EINPROGRESS;
	case TALK_BAD:
		break;
	}
	return err != 0 ? err : d->proxy->err;
}

static void
on_ready(evutil_socket_t fd, short what, void *arg)
{
	struct dial *d = arg;
	short wait = 0;
	int err = advance(d, &wait);

	(void)what;
	if (err != EINPROGRESS) {
		finish(d, err);
		return;
	}
	event_assign(&d->ready, d->base, fd, wait, on_ready, d);
	if (event_add(&d->ready, NULL) != 0)
		finish(d, ENOMEM);
}

int
dial_bind_source(evutil_socket_t fd, const struct outbound *o, const struct sockaddr_storage *peer)
{
	const struct sockaddr *source = NULL;
	socklen_t len = 0;

	if (o == NULL || address_is_loopback(peer))
		return 0;
	if (peer->ss_family == AF_INET && o->bind4.sin_family == AF_INET) {
		source = (const struct sockaddr *)&o->bind4;
		len = sizeof(o->bind4);
	} else if (peer->ss_family == AF_INET6 && o->bind6.sin6_family == AF_INET6) {
		source = (const struct sockaddr *)&o->bind6;
		len = sizeof(o->bind6);
	} else {
		return 0;
	}
#ifdef IP_BIND_ADDRESS_NO_PORT
	/* Else the port is taken for all destinations, and they soon run out. */
	setsockopt(fd, IPPROTO_IP, IP_BIND_ADDRESS_NO_PORT, &(int){ 1 }, sizeof(int));
#endif
	return bind(fd, source, len) == 0 ? 0 : errno;
}

static int
open_socket(struct dial *d, const struct outbound *o, const struct sockaddr_storage *peer)
{
	socklen_t len = peer->ss_family == AF_INET ? sizeof(struct sockaddr_in)
	                                           : sizeof(struct sockaddr_in6);
	int err;

	d->fd = socket(peer->ss_family, SOCK_STREAM | SOCK_NONBLOCK | SOCK_CLOEXEC, IPPROTO_TCP);
	if (d->fd < 0)
		return errno;
	if (setsockopt(d->fd, IPPROTO_TCP, TCP_NODELAY, &(int){ 1 }, sizeof(int)) != 0)
		return errno;
	if ((err = dial_bind_source(d->fd, o, peer)) != 0)
		return err;
	if (connect(d->fd, (const struct sockaddr *)peer, len) != 0 && errno != EINPROGRESS)
		return errno;
	event_assign(&d->ready, d->base, d->fd, EV_WRITE, on_ready, d);
	return event_add(&d->ready, NULL) == 0 ? 0 : ENOMEM;
}

static int
begin(struct dial *d, const struct outbound *o, const struct sockaddr *sa, socklen_t len)
{
	struct sockaddr_storage peer;
	int err;

	if (!address_copy(&d->target, sa, len))
		return EAFNOSUPPORT;
	if (o == NULL || o->proxy == PROXY_NONE)
		return open_socket(d, o, &d->target);
	d->proxy = mem_alloc(sizeof(*d->proxy));
	if ((err = proxy_init(d->proxy, o, &d->target)) != 0)
		return err;
	if (!address_copy(&peer, (const struct sockaddr *)&o->proxy_addr, sizeof(o->proxy_addr)))
		return EAFNOSUPPORT;
	return open_socket(d, o, &peer);
}

struct dial *
dial_start(struct event_base *base, const struct outbound *o, const struct sockaddr *sa,
    socklen_t len, unsigned timeout_ms, dial_done *done, void *arg)
{
	struct timeval time = { timeout_ms / 1000, timeout_ms % 1000 * 1000 };
	struct dial *d = mem_zalloc(sizeof(*d));

	d->base = base;
	d->fd = -1;
	d->done = done;
	d->arg = arg;
	event_assign(&d->ready, base, -1, 0, on_ready, d);
	event_assign(&d->end, base, -1, 0, on_end, d);
	d->end_err = begin(d, o, sa, len);
	if (d->end_err == 0) {
		d->end_err = ETIMEDOUT;
		if (event_add(&d->end, &time) == 0)
			return d;
		d->end_err = ENOMEM;
	}
	event_active(&d->end, EV_TIMEOUT, 0);
	return d;
}

void
dial_cancel(struct dial *d)
{
	if (d != NULL)
		dial_free(d);
}
