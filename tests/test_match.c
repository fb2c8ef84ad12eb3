#include <string.h>

#include "common/address.h"
#include "common/match.h"
#include "tests/harness.h"

#define COUNT(a) (sizeof(a) / sizeof((a)[0]))

START_TEST(test_names)
{
	static const char *const good[] = {
		"example.com", "example.com.", "a", "localhost", "EXAMPLE.Com", "a-b.c_d.e1",
		"xn--bcher-kva.example", "1.example", "_sip._tcp.example", "0x7f.example",
	};
	static const char *const bad[] = {
		"", ".", "..", "a..b", ".a", "a..", "a b", "a/b", "a:80", "1.2.3.4", "127.1", "2130706433",
		"0x7f000001", "1.2.3.4.", "::1", "[::1]", "b\xc3\xbc", "a%00", "a*", "a@b", "a\\b",
		"example.1com", "example.com\n",
	};
	char name[MATCH_NAME_MAX + 3];

	for (size_t i = 0; i < COUNT(good); i++)
		ck_assert_msg(match_name_ok(good[i]), "%s", good[i]);
	for (size_t i = 0; i < COUNT(bad); i++)
		ck_assert_msg(!match_name_ok(bad[i]), "%s", bad[i]);

	for (size_t n = 1; n <= MATCH_NAME_MAX + 1; n++) {
		for (size_t i = 0; i < n; i++)
			name[i] = i % 64 == 63 && i + 1 < n ? '.' : 'x';
		name[n] = '\0';
		ck_assert_int_eq(match_name_ok(name), n <= MATCH_NAME_MAX && n % 64 != 0);
	}
	for (size_t n = 60; n < 70; n++) {
		memset(name, 'x', n);
		strcpy(name + n, ".a");
		ck_assert_int_eq(match_name_ok(name), n <= 63);
	}
}
END_TEST

START_TEST(test_patterns)
{
	static const char *const good[] = { "*", "a", "*.example.com", "ads*.example", "2001:db8::*",
		"192.0.2.*", "a_b-c" };
	static const char *const bad[] = { "", "a b", "example.com.", "a?", "[ab]", "a/b", "b\xc3\xbc" };
	static const struct {
		const char *pattern, *host;
		bool match;
	} cases[] = {
		{ "example.com", "example.com", true }, { "example.com", "EXAMPLE.COM", true },
		{ "Example.Com", "example.com.", true }, { "example.com", "www.example.com", false },
		{ "example.com", "example.co", false }, { "example.com", "example.com.evil", false },
		{ "*.example.com", "www.example.com", true }, { "*.example.com", "a.b.example.com", true },
		{ "*.example.com", "example.com", false }, { "*.example.com", "evilexample.com", false },
		{ "*.example.com", "www.example.com.evil.net", false },
		{ "*", "anything", true }, { "*", "192.0.2.1", true }, { "a*c", "abc", true },
		{ "a*c", "ac", true }, { "a*c", "ab", false }, { "a**c", "axxc", true },
		{ "*a*a*", "xaxa", true }, { "*a*a*", "xax", false }, { "*aab", "aaaab", true },
		{ "*.*.example", "a.b.example", true }, { "*.*.example", "a.example", false },
		{ "192.0.2.*", "192.0.2.7", true }, { "192.0.2.*", "192.0.20.7", false },
		{ "a", "", false },
	};

	for (size_t i = 0; i < COUNT(good); i++)
		ck_assert_msg(match_pattern_ok(good[i]), "%s", good[i]);
	for (size_t i = 0; i < COUNT(bad); i++)
		ck_assert_msg(!match_pattern_ok(bad[i]), "%s", bad[i]);
	for (size_t i = 0; i < COUNT(cases); i++)
		ck_assert_msg(match_host(cases[i].pattern, cases[i].host) == cases[i].match, "%s %s",
		    cases[i].pattern, cases[i].host);
}
END_TEST

START_TEST(test_ports)
{
	static const char *const bad[] = { "", "0", "65536", "1-0", "5-4", "-5", "5-", "a", "80a", " 80",
		"080", "1-65536", "1-2-3", "99999999999999999999" };
	struct match_ports p = { 7, 7 };

	for (size_t i = 0; i < COUNT(bad); i++)
		ck_assert_msg(!match_ports_parse(&p, bad[i]), "%s", bad[i]);
	ck_assert(p.first == 7 && p.last == 7);
	ck_assert(match_ports_parse(&p, "65535") && p.first == 65535 && p.last == 65535);
	ck_assert(match_ports_parse(&p, "8000-8100"));
	ck_assert(match_port(&p, 8000) && match_port(&p, 8050) && match_port(&p, 8100));
	ck_assert(!match_port(&p, 7999) && !match_port(&p, 8101));
}
END_TEST

START_TEST(test_networks)
{
	static const char *const bad[] = { "", "/8", "10.0.0.0/", "10.0.0.0/33", "10.0.0.1/24", "10.0.0/8",
		"::/129", "2001:db8::1/32", "10.0.0.0/08", "10.0.0.0/8/8", "a/8", "10.0.0.0/-1",
		"1111:1111:1111:1111:1111:1111:1111:1111:1111:1111:1111:1111/8" };
	static const struct {
		const char *network, *ip;
		bool match;
	} cases[] = {
		{ "10.0.0.0/8", "10.0.0.0", true }, { "10.0.0.0/8", "10.255.255.255", true },
		{ "10.0.0.0/8", "11.0.0.0", false }, { "10.0.0.0/8", "9.255.255.255", false },
		{ "100.64.0.0/10", "100.127.255.255", true }, { "100.64.0.0/10", "100.128.0.0", false },
		{ "192.0.2.1", "192.0.2.1", true }, { "192.0.2.1", "192.0.2.0", false },
		{ "192.0.2.0/31", "192.0.2.1", true }, { "192.0.2.0/31", "192.0.2.2", false },
		{ "0.0.0.0/0", "1.2.3.4", true }, { "0.0.0.0/0", "::1", false },
		{ "fd00::/8", "fd12::1", true }, { "fd00::/8", "fe00::1", false },
		{ "2001:db8::/33", "2001:db8:7fff::1", true }, { "2001:db8::/33", "2001:db8:8000::1", false },
		{ "::1", "::1", true }, { "::1", "::2", false }, { "::/0", "10.0.0.1", false },
	};
	struct match_network n;
	struct sockaddr_storage a;

	for (size_t i = 0; i < COUNT(bad); i++)
		ck_assert_msg(!match_network_parse(&n, bad[i]), "%s", bad[i]);
	for (size_t i = 0; i < COUNT(cases); i++) {
		ck_assert_msg(match_network_parse(&n, cases[i].network), "%s", cases[i].network);
		ck_assert(address_parse(&a, cases[i].ip, 99));
		ck_assert_msg(match_network(&n, &a) == cases[i].match, "%s %s", cases[i].network,
		    cases[i].ip);
	}
	memset(&a, 0, sizeof(a));
	ck_assert(!match_network(&n, &a));
}
END_TEST

TEST_MAIN("match", test_names, test_patterns, test_ports, test_networks)
