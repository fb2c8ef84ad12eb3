#include "common/address.h"
#include "pt-server/access.h"
#include "tests/harness.h"

#define COUNT(a) (sizeof(a) / sizeof((a)[0]))

/* May host be asked for with port, and may ip be dialled for it? */
static bool
both(const struct access *a, const char *host, const char *ip, uint16_t port)
{
	struct sockaddr_storage to;

	ck_assert_msg(address_parse(&to, ip, port), "%s", ip);
	return access_host(a, host, port) && access_address(a, host, &to);
}

static const char *const not_public[] = {
	"0.0.0.0", "0.1.2.3", "10.0.0.1", "100.64.0.1", "100.127.255.255", "127.0.0.1", "127.255.0.1",
	"169.254.169.254", "172.16.0.1", "172.31.255.255", "192.168.0.1", "224.0.0.1", "239.255.255.250",
	"240.0.0.1", "255.255.255.255", "::", "::1", "::10.0.0.1", "fe80::1", "fec0::1", "fc00::1",
	"fd12:3456::1", "ff02::1", "::ffff:127.0.0.1", "::ffff:10.0.0.1", "64:ff9b::10.0.0.1",
	"64:ff9b::127.0.0.1", "64:ff9b:1::1", "2002:a00:1::1", "2002:7f00:1::", "2002:c0a8:101::1",
	"2001::1", "100::1",
};

START_TEST(test_default)
{
	struct access a = { 0 };

	ck_assert(both(&a, "example.com", "8.8.8.8", 443));
	ck_assert(both(&a, "example.com", "8.8.8.8", 80));
	ck_assert(both(&a, "8.8.8.8", "8.8.8.8", 443));
	ck_assert(both(&a, "example.com", "2600::1", 443));
	ck_assert(both(&a, "2600::1", "2600::1", 443));
	ck_assert(both(&a, "example.com", "64:ff9b::8.8.8.8", 443));
	ck_assert(both(&a, "example.com", "::ffff:8.8.8.8", 443));
	ck_assert(!access_host(&a, "example.com", 22));
	ck_assert(!access_host(&a, "example.com", 0));
	ck_assert(!access_host(&a, "", 443));
	ck_assert(!access_host(&a, "127.1", 443));
	ck_assert(!access_host(&a, "0x7f000001", 443));
	ck_assert(!access_host(&a, "2130706433", 443));
	ck_assert(!access_host(&a, "exa mple.com", 443));
	for (size_t i = 0; i < COUNT(not_public); i++)
		ck_assert_msg(!both(&a, "example.com", not_public[i], 443), "%s", not_public[i]);
	access_clear(&a);
}
END_TEST

/* The port of the address is looked at, not only that of the host. */
START_TEST(test_address_port)
{
	struct access a = { 0 };
	struct sockaddr_storage to;

	address_parse(&to, "8.8.8.8", 22);
	ck_assert(!access_address(&a, "example.com", &to));
	memset(&to, 0, sizeof(to));
	ck_assert(!access_address(&a, "example.com", &to));
}
END_TEST

START_TEST(test_own)
{
	struct access a = { 0 };
	struct sockaddr_storage own[2];

	address_parse(&own[0], "8.8.8.8", 0);
	address_parse(&own[1], "2600::1", 0);
	access_set_own(&a, own, 2);
	ck_assert(!both(&a, "example.com", "8.8.8.8", 443));
	ck_assert(!both(&a, "example.com", "2600::1", 443));
	ck_assert(!both(&a, "example.com", "::ffff:8.8.8.8", 443));
	ck_assert(!both(&a, "example.com", "64:ff9b::8.8.8.8", 443));
	ck_assert(!both(&a, "example.com", "2002:808:808::1", 443));
	ck_assert(both(&a, "example.com", "8.8.8.9", 443));
	ck_assert(both(&a, "example.com", "2600::2", 443));
	access_set_own(&a, own + 1, 1);
	ck_assert(both(&a, "example.com", "8.8.8.8", 443));
	ck_assert(!both(&a, "example.com", "2600::1", 443));

	/* Unless a network that covers it is listed. */
	ck_assert(access_add_network(access_add(&a), "2600::/32"));
	ck_assert(both(&a, "example.com", "2600::1", 443));
	access_set_own(&a, NULL, 0);
	ck_assert(both(&a, "example.com", "2600::1", 443));
	access_clear(&a);
}
END_TEST

START_TEST(test_rules)
{
	struct access a = { 0 };
	struct access_rule *r = access_add(&a);

	/* Git on a few hosts, at public addresses. */
	ck_assert(access_add_ports(r, "22") && access_add_ports(r, "9000-9010"));
	ck_assert(access_add_host(r, "*.Example.com") && access_add_host(r, "git.example.org"));
	/* One inner service. */
	r = access_add(&a);
	ck_assert(access_add_ports(r, "5432") && access_add_host(r, "db.example.net") &&
	    access_add_network(r, "10.20.0.0/16") && access_add_network(r, "fd00::/8"));
	/* A network on the default ports. */
	ck_assert(access_add_network(access_add(&a), "127.0.0.1"));

	ck_assert(both(&a, "a.example.com", "8.8.8.8", 22));
	ck_assert(both(&a, "A.EXAMPLE.COM.", "8.8.8.8", 9010));
	ck_assert(both(&a, "git.example.org", "2600::1", 9000));
	ck_assert(!access_host(&a, "a.example.com", 9011));
	ck_assert(!access_host(&a, "example.com", 22));
	ck_assert(!access_host(&a, "8.8.8.8", 22));
	ck_assert(!both(&a, "a.example.com", "10.20.0.1", 22));

	ck_assert(both(&a, "db.example.net", "10.20.255.1", 5432));
	ck_assert(both(&a, "db.example.net", "::ffff:10.20.255.1", 5432));
	ck_assert(both(&a, "db.example.net", "fd00::1", 5432));
	ck_assert(!both(&a, "db.example.net", "10.21.0.1", 5432));
	ck_assert(!both(&a, "db.example.net", "8.8.8.8", 5432));
	ck_assert(!both(&a, "db.example.net", "64:ff9b::10.20.0.1", 5432));
	ck_assert(!access_host(&a, "other.example.net", 5432));

	/* Any host may be asked for on 443, but only one address is there for it. */
	ck_assert(both(&a, "anything.example", "127.0.0.1", 443));
	ck_assert(!both(&a, "anything.example", "127.0.0.2", 443));
	ck_assert(!both(&a, "anything.example", "8.8.8.8", 443));
	ck_assert(!access_host(&a, "anything.example", 8080));
	access_clear(&a);
}
END_TEST

START_TEST(test_limits)
{
	struct access a = { 0 };
	struct access_rule *r = access_add(&a);

	ck_assert(!access_add_ports(r, "0") && !access_add_host(r, "a b") && !access_add_host(r, ""));
	ck_assert(!access_add_network(r, "10.0.0.1/8") && !access_add_network(r, "0.0.0.0/0"));
	ck_assert(!access_add_network(r, "::/0"));
	ck_assert(r->n_ports == 0 && r->n_hosts == 0 && r->n_networks == 0);
	for (int i = 0; i < ACCESS_ITEMS; i++)
		ck_assert(access_add_ports(r, "1") && access_add_host(r, "a") &&
		    access_add_network(r, "1.2.3.4"));
	ck_assert(!access_add_ports(r, "1") && !access_add_host(r, "a") &&
	    !access_add_network(r, "1.2.3.4"));
	for (int i = 1; i < ACCESS_RULES; i++)
		ck_assert_ptr_nonnull(access_add(&a));
	ck_assert_ptr_null(access_add(&a));
	access_clear(&a);
	ck_assert_uint_eq(a.n_rules, 0);
}
END_TEST

TEST_MAIN("access", test_default, test_address_port, test_own, test_rules, test_limits)
