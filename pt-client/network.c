#include "pt-client/network.h"

#include <linux/netlink.h>
#include <linux/rtnetlink.h>
#include <stdint.h>
#include <stdlib.h>
#include <sys/socket.h>

#include "common/mem.h"

#define SETTLE_MS 100 /* an interface that comes up brings several events */

struct network {
	evutil_socket_t fd;
	struct event *rd, *settle;
	void (*changed)(void *arg);
	void *arg;
};

/* What changed does not matter, so the messages are not looked at. */
static void
on_read(evutil_socket_t fd, short what, void *arg)
{
	struct network *n = arg;
	uint8_t buf[8192];

	(void)what;
	while (recv(fd, buf, sizeof(buf), MSG_DONTWAIT) > 0)
		continue;
	if (!event_pending(n->settle, EV_TIMEOUT, NULL))
		event_add(n->settle, &(struct timeval){ .tv_usec = SETTLE_MS * 1000 });
}

static void
on_settle(evutil_socket_t fd, short what, void *arg)
{
	struct network *n = arg;

	(void)fd;
	(void)what;
	n->changed(n->arg);
}

struct network *
network_new(struct event_base *base, void (*changed)(void *arg), void *arg)
{
	struct sockaddr_nl sa = { .nl_family = AF_NETLINK,
		.nl_groups = RTMGRP_IPV4_IFADDR | RTMGRP_IPV6_IFADDR | RTMGRP_LINK };
	evutil_socket_t fd = socket(AF_NETLINK, SOCK_RAW | SOCK_CLOEXEC | SOCK_NONBLOCK,
	    NETLINK_ROUTE);
	struct network *n;

	if (fd < 0 || bind(fd, (struct sockaddr *)&sa, sizeof(sa)) != 0) {
		if (fd >= 0)
			evutil_closesocket(fd);
		return NULL;
	}
	n = mem_zalloc(sizeof(*n));
	n->fd = fd;
	n->changed = changed;
	n->arg = arg;
	n->rd = event_new(base, fd, EV_READ | EV_PERSIST, on_read, n);
	n->settle = evtimer_new(base, on_settle, n);
	if (n->rd == NULL || n->settle == NULL)
		abort();
	event_add(n->rd, NULL);
	return n;
}

void
network_free(struct network *n)
{
	if (n == NULL)
		return;
	event_free(n->rd);
	event_free(n->settle);
	evutil_closesocket(n->fd);
	free(n);
}
