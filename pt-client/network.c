#include "pt-client/network.h"

#include <ifaddrs.h>
#include <linux/netlink.h>
#include <linux/rtnetlink.h>
#include <net/if.h>
#include <netinet/in.h>
#include <stdint.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>

#include "common/address.h"
#include "common/mem.h"

#define SETTLE_MS 100 /* an interface that comes up brings several events */

struct network {
	evutil_socket_t fd;
	struct event *rd, *settle;
	struct ifaddrs *last; /* what changed() was last called for */
	void (*changed)(void *arg);
	void *arg;
};

/* ---- what counts ---- */

/* An address from which a bridge can be reached: not so a link-local one. */
static bool
usable(struct sockaddr_storage *out, const struct ifaddrs *i)
{
	if (i->ifa_addr == NULL || !address_copy(out, i->ifa_addr, i->ifa_addr->sa_family == AF_INET6 ?
	    sizeof(struct sockaddr_in6) : sizeof(struct sockaddr_in)))
		return false;
	return out->ss_family != AF_INET6 ||
	    !IN6_IS_ADDR_LINKLOCAL(&((const struct sockaddr_in6 *)out)->sin6_addr);
}

static bool
same(const struct ifaddrs *a, const struct ifaddrs *b)
{
	struct sockaddr_storage x, y;

	return usable(&x, a) && usable(&y, b) && address_equal(&x, &y) &&
	    strcmp(a->ifa_name, b->ifa_name) == 0 &&
	    ((a->ifa_flags ^ b->ifa_flags) & IFF_RUNNING) == 0;
}

/* All that counts in `part` is in `whole`. */
static bool
covers(const struct ifaddrs *whole, const struct ifaddrs *part)
{
	struct sockaddr_storage unused;

	for (; part != NULL; part = part->ifa_next) {
		const struct ifaddrs *i = whole;

		while (i != NULL && !same(i, part))
			i = i->ifa_next;
		if (i == NULL && usable(&unused, part))
			return false;
	}
	return true;
}

bool
network_differs(const struct ifaddrs *a, const struct ifaddrs *b)
{
	return !covers(a, b) || !covers(b, a);
}

/* ---- messages ---- */

/* They only say when to look: each IPv6 router advertisement brings some, too. */
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
	struct ifaddrs *now = NULL;

	(void)fd;
	(void)what;
	if (getifaddrs(&now) == 0 && !network_differs(n->last, now)) {
		freeifaddrs(now);
		return;
	}
	freeifaddrs(n->last);
	n->last = now;
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
	if (getifaddrs(&n->last) != 0)
		n->last = NULL;
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
	freeifaddrs(n->last);
	free(n);
}
