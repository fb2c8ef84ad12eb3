#include "pt-client/network.h"

#include <ifaddrs.h>
#include <net/if.h>
#include <sched.h>
#include <stdio.h>

#include "common/address.h"
#include "tests/harness.h"

#define LIST_MAX 8
#define UP (IFF_UP | IFF_RUNNING)
#define LOOK_MS 500 /* longer than messages take to settle */

struct item {
	const char *interface, *ip;
	unsigned flags;
};

/* A list as getifaddrs makes it; an item without a name ends it. */
struct list {
	struct ifaddrs i[LIST_MAX];
	struct sockaddr_storage address[LIST_MAX];
};

static const struct ifaddrs *
make(struct list *l, const struct item *items)
{
	memset(l, 0, sizeof(*l));
	for (size_t n = 0; items[n].interface != NULL; n++) {
		l->i[n].ifa_name = strdup(items[n].interface);
		l->i[n].ifa_flags = items[n].flags;
		l->i[n].ifa_next = items[n + 1].interface != NULL ? &l->i[n + 1] : NULL;
		if (items[n].ip == NULL)
			continue; /* as for a tunnel without a hardware address */
		ck_assert_msg(address_parse(&l->address[n], items[n].ip, 0), "%s", items[n].ip);
		l->i[n].ifa_addr = (struct sockaddr *)&l->address[n];
	}
	return items[0].interface != NULL ? l->i : NULL;
}

static void
clear(struct list *l)
{
	for (size_t n = 0; n < LIST_MAX; n++)
		free(l->i[n].ifa_name);
}

START_TEST(differences)
{
	static const struct item usual[] = { { "lo", "127.0.0.1", UP }, { "eth0", "192.0.2.1", UP },
		{ "eth0", "2001:db8::1", UP }, { 0 } };
	static const struct {
		struct item items[LIST_MAX];
		bool differs;
	} cases[] = {
		{ { { "lo", "127.0.0.1", UP }, { "eth0", "192.0.2.1", UP }, { "eth0", "2001:db8::1", UP } },
			false },
		/* Neither their order, nor what cannot reach a bridge, nor other flags. */
		{ { { "eth0", "2001:db8::1", UP }, { "lo", "127.0.0.1", UP }, { "eth0", "192.0.2.1", UP } },
			false },
		{ { { "lo", "127.0.0.1", UP }, { "eth0", "192.0.2.1", UP }, { "eth0", "2001:db8::1", UP },
			{ "eth0", "fe80::1", UP }, { "tun0", NULL, UP } }, false },
		{ { { "lo", "127.0.0.1", UP }, { "eth0", "192.0.2.1", UP | IFF_PROMISC },
			{ "eth0", "2001:db8::1", UP } }, false },
		{ { { 0 } }, true },
		/* Gone, come, another one, on another interface, not running. */
		{ { { "lo", "127.0.0.1", UP }, { "eth0", "2001:db8::1", UP } }, true },
		{ { { "lo", "127.0.0.1", UP }, { "eth0", "192.0.2.1", UP }, { "eth0", "2001:db8::1", UP },
			{ "eth0", "2001:db8::2", UP } }, true },
		{ { { "lo", "127.0.0.1", UP }, { "eth0", "192.0.2.2", UP }, { "eth0", "2001:db8::1", UP } },
			true },
		{ { { "lo", "127.0.0.1", UP }, { "eth1", "192.0.2.1", UP }, { "eth0", "2001:db8::1", UP } },
			true },
		{ { { "lo", "127.0.0.1", UP }, { "eth0", "192.0.2.1", IFF_UP },
			{ "eth0", "2001:db8::1", IFF_UP } }, true },
	};
	struct list a, b;

	for (size_t i = 0; i < sizeof(cases) / sizeof(cases[0]); i++) {
		const struct ifaddrs *before = make(&a, usual), *after = make(&b, cases[i].items);

		ck_assert_msg(network_differs(before, after) == cases[i].differs, "case %zu", i);
		ck_assert_msg(network_differs(after, before) == cases[i].differs, "case %zu, back", i);
		clear(&a);
		clear(&b);
	}
	ck_assert(!network_differs(NULL, NULL));
}
END_TEST

static void
count(void *arg)
{
	++*(unsigned *)arg;
}

/* How often changed() was called for what the command does. */
static unsigned
changes(struct event_base *base, unsigned *counter, const char *command)
{
	unsigned before = *counter;

	ck_assert_msg(system(command) == 0, "%s", command);
	event_base_loopexit(base, &(struct timeval){ .tv_usec = LOOK_MS * 1000 });
	event_base_dispatch(base);
	return *counter - before;
}

START_TEST(messages)
{
	struct event_base *base;
	struct network *n;
	unsigned counter = 0;

	if (unshare(CLONE_NEWNET) != 0) {
		printf("left out, since this user may make no network namespaces: messages\n");
		return;
	}
	base = event_base_new();
	n = network_new(base, count, &counter);
	ck_assert_ptr_nonnull(n);
	ck_assert_uint_gt(changes(base, &counter, "ip link set lo up"), 0);
	ck_assert_uint_eq(changes(base, &counter, "ip address add 192.0.2.1/32 dev lo"), 1);
	/* What a router advertisement does to an address: it lives longer. */
	ck_assert_uint_eq(changes(base, &counter,
	    "ip address change 192.0.2.1/32 dev lo valid_lft 600 preferred_lft 300"), 0);
	ck_assert_uint_eq(changes(base, &counter, "ip address del 192.0.2.1/32 dev lo"), 1);
	ck_assert_uint_gt(changes(base, &counter, "ip link set lo down"), 0);
	network_free(n);
	event_base_free(base);
}
END_TEST

TEST_MAIN("network", differences, messages)
