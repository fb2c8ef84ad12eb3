#include <arpa/inet.h>
#include <string.h>
#include <sys/un.h>

#include "common/address.h"
#include "tests/harness.h"

static struct sockaddr_storage
address(const char *ip, uint16_t port)
{
	struct sockaddr_storage out;
	struct sockaddr_in v4 = { .sin_family = AF_INET, .sin_port = htons(port) };
	struct sockaddr_in6 v6 = { .sin6_family = AF_INET6, .sin6_port = htons(port) };

	if (inet_pton(AF_INET, ip, &v4.sin_addr) == 1) {
		ck_assert(address_copy(&out, (struct sockaddr *)&v4, sizeof(v4)));
	} else {
		ck_assert_int_eq(inet_pton(AF_INET6, ip, &v6.sin6_addr), 1);
		v6.sin6_scope_id = 3;
		ck_assert(address_copy(&out, (struct sockaddr *)&v6, sizeof(v6)));
	}
	return out;
}

START_TEST(written)
{
	static const struct {
		const char *ip, *text;
	} cases[] = {
		{ "1.2.3.4", "1.2.3.4:5678" },
		{ "255.255.255.255", "255.255.255.255:5678" },
		{ "1:2::3:4", "[1:2::3:4]:5678" },
		{ "::ffff:1.2.3.4", "1.2.3.4:5678" },
		{ "fe80::1", "[fe80::1]:5678" }, /* its zone is not written */
		{ "1111:2222:3333:4444:5555:6666:7777:8888",
		    "[1111:2222:3333:4444:5555:6666:7777:8888]:5678" },
	};
	char text[ADDRESS_TEXT_MAX];

	for (size_t i = 0; i < sizeof(cases) / sizeof(cases[0]); i++) {
		struct sockaddr_storage a = address(cases[i].ip, 5678);

		address_text(text, &a, address_port(&a));
		ck_assert_str_eq(text, cases[i].text);
	}
}
END_TEST

START_TEST(longest_text_fits)
{
	struct sockaddr_storage a = address("1111:2222:3333:4444:5555:6666:7777:8888", 65535);
	char text[ADDRESS_TEXT_MAX];

	address_text(text, &a, address_port(&a));
	ck_assert_str_eq(text, "[1111:2222:3333:4444:5555:6666:7777:8888]:65535");
}
END_TEST

START_TEST(loopback)
{
	static const char *const yes[] = { "127.0.0.1", "127.255.0.9", "::1", "::ffff:127.0.0.1" };
	static const char *const no[] = { "128.0.0.1", "126.255.255.255", "0.0.0.0", "::",
		"::2", "::ffff:10.0.0.1", "::127.0.0.1" };

	for (size_t i = 0; i < sizeof(yes) / sizeof(yes[0]); i++) {
		struct sockaddr_storage a = address(yes[i], 1);

		ck_assert_msg(address_is_loopback(&a), "%s", yes[i]);
	}
	for (size_t i = 0; i < sizeof(no) / sizeof(no[0]); i++) {
		struct sockaddr_storage a = address(no[i], 1);

		ck_assert_msg(!address_is_loopback(&a), "%s", no[i]);
	}
}
END_TEST

START_TEST(not_an_ip_address)
{
	struct sockaddr_un un = { .sun_family = AF_UNIX, .sun_path = "x" };
	struct sockaddr_in v4 = { .sin_family = AF_INET };
	struct sockaddr_in6 v6 = { .sin6_family = AF_INET6 };
	struct sockaddr_storage out = { .ss_family = AF_UNSPEC };

	ck_assert(!address_copy(&out, (struct sockaddr *)&un, sizeof(un)));
	ck_assert(!address_copy(&out, (struct sockaddr *)&v4, sizeof(v4) - 1));
	ck_assert(!address_copy(&out, (struct sockaddr *)&v6, sizeof(v6) - 1));
	ck_assert_int_eq(out.ss_family, AF_UNSPEC);
	ck_assert_uint_eq(address_port(&out), 0);
	ck_assert(!address_is_loopback(&out));
}
END_TEST

static struct sockaddr_storage
parsed(const char *ip)
{
	struct sockaddr_storage a;

	ck_assert_msg(address_parse(&a, ip, 443), "%s", ip);
	return a;
}

START_TEST(is_public)
{
	/* Around each range that is not: the last address before it and the first behind it
	 * (where these are public themselves). */
	static const char *const yes[] = {
		"1.0.0.0", "9.255.255.255", "11.0.0.0", "100.63.255.255", "100.128.0.0",
		"126.255.255.255", "128.0.0.0", "169.253.255.255", "169.255.0.0", "172.15.255.255",
		"172.32.0.0", "191.255.255.255", "192.0.1.0", "192.167.255.255", "192.169.0.0",
		"198.17.255.255", "198.20.0.0", "223.255.255.255",
		"2000::", "2001:1::", "2003::", "2606:4700::1111", "3fff:ffff::",
		"::ffff:1.1.1.1", "64:ff9b::1.1.1.1", "2002:101:101::",
		"2002:101:101::7f00:1", /* what is behind the embedded address does not count */
	};
	static const char *const no[] = {
		"0.0.0.0", "0.255.255.255", "10.0.0.0", "10.255.255.255", "100.64.0.0",
		"100.127.255.255", "127.0.0.0", "127.255.255.255", "169.254.0.0", "169.254.255.255",
		"172.16.0.0", "172.31.255.255", "192.0.0.0", "192.0.0.255", "192.168.0.0",
		"192.168.255.255", "198.18.0.0", "198.19.255.255", "224.0.0.0", "239.255.255.255",
		"240.0.0.0", "255.255.255.255",
		"::", "::1", "::2", "::1.1.1.1", "1fff:ffff::", "4000::", "fc00::", "fdff::1",
		"fe80::1", "febf::1", "fec0::1", "ff02::1", "100::1", "5f00::1",
		"::ffff:10.0.0.1", "::ffff:127.0.0.1", "::ffff:0.0.0.0", "::ffff:169.254.169.254",
		"::fffe:1.1.1.1", "64:ff9b::10.0.0.1", "64:ff9b::192.168.0.1", "64:ff9b::127.0.0.1",
		"64:ff9b:1::1.1.1.1", "64:ff9b::1:1.1.1.1", "2002:a00:1::", "2002:7f00:1::",
		"2002:c0a8:101::", "2002::", "2001::", "2001:0:ffff::1", "2001:0:4136:e378::1",
	};

	for (size_t i = 0; i < sizeof(yes) / sizeof(yes[0]); i++) {
		struct sockaddr_storage a = parsed(yes[i]);

		ck_assert_msg(address_is_public(&a), "%s", yes[i]);
	}
	for (size_t i = 0; i < sizeof(no) / sizeof(no[0]); i++) {
		struct sockaddr_storage a = parsed(no[i]);

		ck_assert_msg(!address_is_public(&a), "%s", no[i]);
	}
	ck_assert(!address_is_public(&(struct sockaddr_storage){ .ss_family = AF_UNIX }));
	ck_assert(!address_is_public(&(struct sockaddr_storage){ 0 }));
}
END_TEST

START_TEST(equality)
{
	struct sockaddr_storage a = address("1.2.3.4", 5), b = address("1.2.3.4", 5),
	    c = address("1:2::3", 5), d = address("1:2::3", 5), none = { 0 };

	ck_assert(address_equal(&a, &b) && address_equal(&c, &d));
	ck_assert(!address_equal(&a, &c) && !address_equal(&none, &none));
	b = address("1.2.3.4", 6);
	ck_assert(!address_equal(&a, &b));
	b = address("1.2.3.5", 5);
	ck_assert(!address_equal(&a, &b));
	d = address("1:2::3", 6);
	ck_assert(!address_equal(&c, &d));
	d = address("1:2::4", 5);
	ck_assert(!address_equal(&c, &d));
	/* address_copy has made it plain IPv4. */
	b = address("::ffff:1.2.3.4", 5);
	ck_assert(address_equal(&a, &b));
}
END_TEST

START_TEST(parsing)
{
	static const char *const bad[] = { "", "1.2.3", "1.2.3.4.5", "1.2.3.256", "01.2.3.4", "0x1.2.3.4",
		"1.2.3.4 ", " 1.2.3.4", "1.2.3.4:80", "[::1]", "::1%lo", "fe80::1%1", "1::2::3", ":::",
		"12345::", "g::", "host.example", "1.2.3.4\n", "2130706433",
		"1111:2222:3333:4444:5555:6666:7777:8888:9999" };
	struct sockaddr_storage a;
	char text[ADDRESS_TEXT_MAX];

	for (size_t i = 0; i < sizeof(bad) / sizeof(bad[0]); i++) {
		memset(&a, 0xff, sizeof(a));
		ck_assert_msg(!address_parse(&a, bad[i], 1), "%s", bad[i]);
		ck_assert_int_eq(a.ss_family, AF_UNSPEC);
	}
	memset(&a, 0xff, sizeof(a));
	ck_assert(address_parse(&a, "1.2.3.4", 65535));
	ck_assert_uint_eq(address_len(&a), sizeof(struct sockaddr_in));
	address_text(text, &a, address_port(&a));
	ck_assert_str_eq(text, "1.2.3.4:65535");
	memset(&a, 0xff, sizeof(a));
	ck_assert(address_parse(&a, "1:2:3:4:5:6:7:8", 1));
	ck_assert_uint_eq(address_len(&a), sizeof(struct sockaddr_in6));
	ck_assert_uint_eq(((struct sockaddr_in6 *)&a)->sin6_scope_id, 0);
	ck_assert_uint_eq(((struct sockaddr_in6 *)&a)->sin6_flowinfo, 0);
	address_text(text, &a, address_port(&a));
	ck_assert_str_eq(text, "[1:2:3:4:5:6:7:8]:1");
}
END_TEST

TEST_MAIN("address", written, longest_text_fits, loopback, not_an_ip_address, is_public, equality,
    parsing)
