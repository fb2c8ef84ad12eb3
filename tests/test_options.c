#include "pt-server/options.h"

#include <netinet/in.h>
#include <stdio.h>

#include "common/address.h"
#include "tests/harness.h"

/* Options as pairs "key=value;key=value", the way tor passes them on. */
static int
read_text(struct options *o, const char *text, char error[256])
{
	struct pt_args args = { 0 };
	const char *why = "";
	int rc;

	ck_assert_msg(pt_args_parse(&args, text, strlen(text), &why), "%s: %s", text, why);
	rc = options_read(o, &args, error);
	pt_args_clear(&args);
	return rc;
}

START_TEST(none)
{
	struct options o = { 0 };
	char error[256] = "";

	ck_assert_int_eq(read_text(&o, "", error), 0);
	ck_assert(o.cert == NULL && o.certkey == NULL && o.url == NULL && o.base == NULL &&
	    o.trusted_proxy == NULL && o.decoy == NULL && !o.base_given && o.n_direct == 0);
	ck_assert_int_eq(o.fallback.ss_family, AF_UNSPEC);
	ck_assert_int_eq(o.oob.ss_family, AF_UNSPEC);
	ck_assert_uint_eq(o.retain_s, OPTIONS_RETAIN_S);
	options_clear(&o);
}
END_TEST

START_TEST(every_option)
{
	struct options o = { 0 };
	char error[256] = "", text[ADDRESS_TEXT_MAX];

	ck_assert_int_eq(read_text(&o, "cert=/c.pem;certkey=/k.pem;url=https://cdn.example/x;"
	    "base=/a/b-c_d.e~f;trusted_proxy=10.0.0.0/8;fallback=127.0.0.1:8443;oob=[::1]:65535;"
	    "retain=86400;decoy=/srv/site;direct=192.0.2.1:1;direct=[2001:db8::1]:443;direct=192.0.2.2:443;direct=192.0.2.3:443",
	    error), 0);
	ck_assert_str_eq(o.cert, "/c.pem");
	ck_assert_str_eq(o.certkey, "/k.pem");
	ck_assert_str_eq(o.url, "https://cdn.example/x");
	ck_assert_str_eq(o.base, "/a/b-c_d.e~f");
	ck_assert(o.base_given);
	ck_assert_str_eq(o.trusted_proxy, "10.0.0.0/8");
	ck_assert_str_eq(o.decoy, "/srv/site");
	address_text(text, &o.fallback, address_port(&o.fallback));
	ck_assert_str_eq(text, "127.0.0.1:8443");
	address_text(text, &o.oob, address_port(&o.oob));
	ck_assert_str_eq(text, "[::1]:65535");
	ck_assert_uint_eq(o.retain_s, 86400);
	ck_assert_uint_eq(o.n_direct, 4);
	ck_assert_str_eq(o.direct[0].address, "192.0.2.1");
	ck_assert_uint_eq(o.direct[0].port, 1);
	ck_assert_str_eq(o.direct[1].address, "2001:db8::1");
	ck_assert_str_eq(o.direct[3].address, "192.0.2.3");
	options_clear(&o);
	ck_assert_ptr_null(o.cert);
	options_clear(&o);
}
END_TEST

START_TEST(the_last_one_counts)
{
	struct options o = { 0 };
	char error[256] = "";

	ck_assert_int_eq(read_text(&o, "url=https://a;url=https://b;base=/a;base=/b", error), 0);
	ck_assert_str_eq(o.url, "https://b");
	ck_assert_str_eq(o.base, "/b");
	options_clear(&o);
}
END_TEST

START_TEST(bad_ones)
{
	/* The option that the message must name. */
	static const struct {
		const char *text, *names;
	} cases[] = {
		{ "colour=red", "colour" }, { "Cert=x", "Cert" },
		{ "url=http://a", "url" }, { "url=", "url" }, { "url=HTTPS://a", "url" },
		{ "url=https://", "url" }, { "url=https:///x", "url" }, { "url=https://:443", "url" },
		{ "base=", "base" }, { "base=/", "base" }, { "base=a", "base" }, { "base=/a/", "base" },
		{ "base=/a b", "base" }, { "base=/a?b", "base" }, { "base=/a#b", "base" },
		{ "base=/%41", "base" }, { "base=/a\n", "base" }, { "base=/\xc3\xa4", "base" },
		{ "cert=/c", "cert" }, { "certkey=/k", "cert" },
		{ "fallback=127.0.0.1:80", "fallback" }, { "oob=x", "oob" }, { "oob=127.0.0.1", "oob" },
		{ "oob=127.0.0.1:0", "oob" }, { "oob=127.0.0.1:65536", "oob" }, { "oob=:443", "oob" },
		{ "oob=127.0.0.1:44a", "oob" }, { "oob=127.0.0.1: 44", "oob" },
		{ "oob=127.0.0.1:4294967739", "oob" }, { "oob=127.0.0.1:-1", "oob" },
		{ "retain=0", "retain" }, { "retain=", "retain" }, { "retain=86401", "retain" },
		{ "retain=1s", "retain" }, { "retain=-1", "retain" },
		{ "retain=18446744073709551617", "retain" }, { "oob=::1:443:x", "oob" }, { "oob=[::1", "oob" },
		{ "oob=localhost:443", "oob" }, { "oob=127.0.0.256:1", "oob" }, { "oob=", "oob" },
		{ "fallback=x;oob=127.0.0.1:1", "fallback" },
		{ "direct=192.0.2.1", "direct" }, { "direct=host.example:443", "direct" },
		{ "direct=1.1.1.1:1;direct=1.1.1.1:1;direct=1.1.1.1:1;direct=1.1.1.1:1;direct=1.1.1.1:1",
		    "direct" },
	};

	for (size_t i = 0; i < sizeof(cases) / sizeof(cases[0]); i++) {
		struct options o = { 0 };
		char error[256] = "";

		ck_assert_msg(read_text(&o, cases[i].text, error) == -1, "%s", cases[i].text);
		ck_assert_msg(error[0] != '\0' && strstr(error, cases[i].names) != NULL, "%s: %s",
		    cases[i].text, error);
		options_clear(&o);
	}
}
END_TEST

START_TEST(a_long_name_fits_the_message)
{
	struct pt_args args = { 0 };
	struct options o = { 0 };
	char error[256] = "", key[4000];

	memset(key, 'k', sizeof(key) - 1);
	key[sizeof(key) - 1] = '\0';
	pt_args_add(&args, key, key);
	ck_assert_int_eq(options_read(&o, &args, error), -1);
	ck_assert_uint_lt(strnlen(error, sizeof(error)), sizeof(error));
	pt_args_clear(&args);
	options_clear(&o);
}
END_TEST

TEST_MAIN("options", none, every_option, the_last_one_counts, bad_ones, a_long_name_fits_the_message)
