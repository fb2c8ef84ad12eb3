#include "pt-client/rules.h"

#include "tests/harness.h"

START_TEST(names)
{
	enum strategy s;

	for (enum strategy i = STRATEGY_CONCEAL; i <= STRATEGY_AUTO; i++) {
		ck_assert(strategy_parse(&s, strategy_name(i)));
		ck_assert_int_eq(s, i);
	}
	ck_assert_str_eq(strategy_name(STRATEGY_BLOCK), "block");
	s = STRATEGY_SPLIT;
	ck_assert(!strategy_parse(&s, "") && !strategy_parse(&s, "Split") && !strategy_parse(&s, "none"));
	ck_assert_int_eq(s, STRATEGY_SPLIT);
}
END_TEST

START_TEST(empty_list)
{
	struct rules r = { 0 };

	ck_assert_int_eq(rules_ask(&r, "example.com", 443), STRATEGY_CONCEAL);
	r.otherwise = STRATEGY_BLOCK;
	ck_assert_int_eq(rules_ask(&r, "example.com", 443), STRATEGY_BLOCK);
	rules_clear(&r);
	ck_assert_int_eq(rules_ask(&r, "example.com", 443), STRATEGY_CONCEAL);
}
END_TEST

START_TEST(first_match_counts)
{
	struct rules r = { .otherwise = STRATEGY_AUTO };

	rules_add(&r, STRATEGY_DIRECT);
	ck_assert(rules_add_host(&r, "www.example.com"));
	rules_add(&r, STRATEGY_SPLIT);
	ck_assert(rules_add_host(&r, "*.example.com"));
	ck_assert(rules_add_host(&r, "example.net"));
	rules_add(&r, STRATEGY_BLOCK);
	ck_assert(rules_add_host(&r, "*.com"));
	ck_assert_int_eq(rules_ask(&r, "www.example.com", 443), STRATEGY_DIRECT);
	ck_assert_int_eq(rules_ask(&r, "WWW.Example.COM.", 443), STRATEGY_DIRECT);
	ck_assert_int_eq(rules_ask(&r, "a.b.example.com", 443), STRATEGY_SPLIT);
	ck_assert_int_eq(rules_ask(&r, "EXAMPLE.NET", 1), STRATEGY_SPLIT);
	ck_assert_int_eq(rules_ask(&r, "example.com", 443), STRATEGY_BLOCK);
	ck_assert_int_eq(rules_ask(&r, "www.example.net", 443), STRATEGY_AUTO);
	ck_assert_int_eq(rules_ask(&r, "192.0.2.1", 443), STRATEGY_AUTO);
	rules_clear(&r);
}
END_TEST

START_TEST(ports)
{
	struct rules r = { 0 };

	rules_add(&r, STRATEGY_DIRECT);
	ck_assert(rules_add_ports(&r, "22") && rules_add_ports(&r, "8000-8100"));
	rules_add(&r, STRATEGY_SPLIT);
	ck_assert(rules_add_host(&r, "*.example") && rules_add_ports(&r, "443"));
	ck_assert_int_eq(rules_ask(&r, "a.example", 22), STRATEGY_DIRECT);
	ck_assert_int_eq(rules_ask(&r, "b", 22), STRATEGY_DIRECT);
	ck_assert_int_eq(rules_ask(&r, "b", 8000), STRATEGY_DIRECT);
	ck_assert_int_eq(rules_ask(&r, "b", 8100), STRATEGY_DIRECT);
	ck_assert_int_eq(rules_ask(&r, "b", 7999), STRATEGY_CONCEAL);
	ck_assert_int_eq(rules_ask(&r, "b", 8101), STRATEGY_CONCEAL);
	ck_assert_int_eq(rules_ask(&r, "a.example", 443), STRATEGY_SPLIT);
	ck_assert_int_eq(rules_ask(&r, "a.example", 80), STRATEGY_CONCEAL);
	ck_assert_int_eq(rules_ask(&r, "b", 443), STRATEGY_CONCEAL);
	rules_clear(&r);
}
END_TEST

/* Networks are those of literal addresses, in whatever spelling; names are not in any. */
START_TEST(networks)
{
	struct rules r = { 0 };

	rules_add(&r, STRATEGY_DIRECT);
	ck_assert(rules_add_network(&r, "10.0.0.0/8") && rules_add_network(&r, "2001:db8::/32"));
	ck_assert(rules_add_host(&r, "*.lan"));
	ck_assert_int_eq(rules_ask(&r, "10.255.255.255", 1), STRATEGY_DIRECT);
	ck_assert_int_eq(rules_ask(&r, "11.0.0.0", 1), STRATEGY_CONCEAL);
	ck_assert_int_eq(rules_ask(&r, "::ffff:10.1.2.3", 1), STRATEGY_DIRECT);
	ck_assert_int_eq(rules_ask(&r, "2001:0DB8:0::1", 1), STRATEGY_DIRECT);
	ck_assert_int_eq(rules_ask(&r, "2001:db9::1", 1), STRATEGY_CONCEAL);
	ck_assert_int_eq(rules_ask(&r, "printer.lan", 1), STRATEGY_DIRECT);
	ck_assert_int_eq(rules_ask(&r, "10.example", 1), STRATEGY_CONCEAL);
	rules_clear(&r);

	rules_add(&r, STRATEGY_BLOCK);
	ck_assert(rules_add_network(&r, "0.0.0.0/0") && rules_add_network(&r, "::/0"));
	ck_assert_int_eq(rules_ask(&r, "192.0.2.1", 1), STRATEGY_BLOCK);
	ck_assert_int_eq(rules_ask(&r, "::1", 1), STRATEGY_BLOCK);
	ck_assert_int_eq(rules_ask(&r, "example.com", 1), STRATEGY_CONCEAL);
	rules_clear(&r);
}
END_TEST

START_TEST(rule_without_conditions)
{
	struct rules r = { 0 };

	rules_add(&r, STRATEGY_SPLIT);
	rules_add(&r, STRATEGY_BLOCK);
	ck_assert_int_eq(rules_ask(&r, "example.com", 443), STRATEGY_SPLIT);
	ck_assert_int_eq(rules_ask(&r, "::1", 1), STRATEGY_SPLIT);
	rules_clear(&r);
}
END_TEST

START_TEST(refused_words)
{
	struct rules r = { 0 };

	rules_add(&r, STRATEGY_BLOCK);
	ck_assert(!rules_add_host(&r, "") && !rules_add_host(&r, "a b") && !rules_add_host(&r, "http://a"));
	ck_assert(!rules_add_network(&r, "10.0.0.0/33") && !rules_add_network(&r, "10.0.0.1/8"));
	ck_assert(!rules_add_network(&r, "example.com") && !rules_add_network(&r, ""));
	ck_assert(!rules_add_ports(&r, "0") && !rules_add_ports(&r, "65536") && !rules_add_ports(&r, ""));
	ck_assert(!rules_add_ports(&r, "2-1") && !rules_add_ports(&r, "http"));
	ck_assert_uint_eq(r.list[0].n_hosts + r.list[0].n_networks + r.list[0].n_ports, 0);
	rules_clear(&r);
}
END_TEST

TEST_MAIN("rules", names, empty_list, first_match_counts, ports, networks, rule_without_conditions,
    refused_words)
