/* The proxy that all dials go through. What TOR_PT_PROXY may hold is in test_pt_env. */
#include "tests/harness.h"

#include <stdio.h>

#include "common/address.h"
#include "common/mem.h"
#include "common/outbound.h"

/* A string literal with its length, NULs and all. */
#define B(s) (s), sizeof(s) - 1

static char untouched[] = "untouched";

/* Of a copy of just that size, so that a sanitizer sees who reads behind its end. */
static bool
credentials(char **user, char **pass, const char *s, size_t n)
{
	char *copy = mem_alloc(n + 1);
	bool ok;

	*user = *pass = untouched;
	memcpy(copy + 1, s, n);
	ok = outbound_credentials(user, pass, copy + 1, n);
	free(copy);
	return ok;
}

static bool
set(struct outbound *o, const char *uri, size_t n, const char **why)
{
	char *copy = mem_zalloc(n + 1);
	bool ok;

	*o = (struct outbound){ 0 };
	memcpy(copy, uri, n);
	ok = outbound_set_proxy(o, copy, why);
	free(copy);
	return ok;
}

/* ---- credentials ---- */

static const struct {
	const char *s;
	size_t n;
	const char *user, *pass;
} good[] = {
	{ B(""), "", NULL }, { B(":"), "", "" }, { B("u"), "u", NULL }, { B("u:"), "u", "" },
	{ B(":p"), "", "p" }, { B("u:p"), "u", "p" }, { B("::"), "", ":" }, { B("u:p:q"), "u", "p:q" },
	{ B("%3a:%3A"), ":", ":" }, { B("u%3ap"), "u:p", NULL },
	{ B("%01%7f%80%ff"), "\x01\x7f\x80\xff", NULL }, { B("\xff:\x01"), "\xff", "\x01" },
	/* Decoded once. */
	{ B("%25"), "%", NULL }, { B("%2541"), "%41", NULL }, { B("%%34%31"), "%41", NULL },
	/* What escapes nothing stands for itself; an escape does not reach over the colon. */
	{ B("%"), "%", NULL }, { B("%4"), "%4", NULL }, { B("%4:1"), "%4", "1" }, { B("%:41"), "%", "41" },
	{ B("%g0%0g%/0%0/%:0"), "%g0%0g%/0%0/%", "0" }, { B("%@0%`0%G0%-1"), "%@0%`0%G0%-1", NULL },
	{ B("+ "), "+ ", NULL },
};

START_TEST(good_credentials)
{
	char *user, *pass;

	for (size_t i = 0; i < sizeof(good) / sizeof(good[0]); i++) {
		ck_assert_msg(credentials(&user, &pass, good[i].s, good[i].n), "%s", good[i].s);
		ck_assert_str_eq(user, good[i].user);
		ck_assert_pstr_eq(pass, good[i].pass);
		free(user);
		free(pass);
	}
}
END_TEST

/* Each byte by its escape, in small and large letters. */
START_TEST(every_escape)
{
	char text[8], *user, *pass;

	for (unsigned c = 1; c < 256; c++) {
		const char want[] = { (char)c, '\0' };

		for (size_t i = 0; i < 2; i++) {
			snprintf(text, sizeof(text), i == 0 ? "%%%02x:%%%02x" : "%%%02X:%%%02X", c, c);
			ck_assert_msg(credentials(&user, &pass, text, strlen(text)), "%s", text);
			ck_assert_str_eq(user, want);
			ck_assert_str_eq(pass, want);
			free(user);
			free(pass);
		}
	}
}
END_TEST

/* C's strings would end there, and half a password be sent. */
START_TEST(no_nul_comes_out)
{
	static const struct {
		const char *s;
		size_t n;
	} bad[] = {
		{ B("%00") }, { B("a%00") }, { B("%00:p") }, { B("u:%00") }, { B("u:a%00b") },
		{ B("%00:%00") }, { B("\0") }, { B("a\0b") }, { B("u:\0") }, { B("u:p\0") }, { B("\0:p") },
	};
	char *user, *pass;

	for (size_t i = 0; i < sizeof(bad) / sizeof(bad[0]); i++) {
		ck_assert_msg(!credentials(&user, &pass, bad[i].s, bad[i].n), "number %zu", i);
		ck_assert_ptr_eq(user, untouched);
		ck_assert_ptr_eq(pass, untouched);
	}
}
END_TEST

/* n ends it, not what follows in the URI. */
START_TEST(cut_credentials)
{
	static const char text[] = "%75s%65r:p%61ss@";
	static const struct {
		const char *user, *pass;
	} cut[] = {
		{ "", NULL }, { "%", NULL }, { "%7", NULL }, { "u", NULL }, { "us", NULL }, { "us%", NULL },
		{ "us%6", NULL }, { "use", NULL }, { "user", NULL }, { "user", "" }, { "user", "p" },
		{ "user", "p%" }, { "user", "p%6" }, { "user", "pa" }, { "user", "pas" }, { "user", "pass" },
	};
	char *user, *pass;

	for (size_t n = 0; n < sizeof(cut) / sizeof(cut[0]); n++) {
		ck_assert(outbound_credentials(&user, &pass, text, n));
		ck_assert_str_eq(user, cut[n].user);
		ck_assert_pstr_eq(pass, cut[n].pass);
		free(user);
		free(pass);
	}
}
END_TEST

/* ---- the proxy ---- */

#define WHY_SCHEME "not socks5, socks4a, socks4 or http"
#define WHY_NUL "NUL byte in the credentials"
#define WHY_LONG "user or password longer than 255 bytes"
#define WHY_HOST "the host is not an IP address with a port"

/* Whole texts: so there is nothing of the URI in them. */
START_TEST(why_not)
{
	static const struct {
		const char *uri, *why;
	} bad[] = {
		{ "", WHY_SCHEME }, { "secret", WHY_SCHEME }, { "secret://1.2.3.4:5", WHY_SCHEME },
		{ "socks5:/1.2.3.4:5", WHY_SCHEME }, { "https://u:secret@1.2.3.4:5", WHY_SCHEME },
		{ "socks5://secret%00:p@1.2.3.4:5", WHY_NUL }, { "http://u:secret%00@1.2.3.4:5", WHY_NUL },
		{ "socks5://:secret@1.2.3.4:5", "empty user" }, { "socks5://@1.2.3.4:5", "empty user" },
		{ "socks4://u:secret@1.2.3.4:5", "SOCKS4 has no password" },
		{ "socks4a://:secret@1.2.3.4:5", "SOCKS4 has no password" },
		{ "http://a%3asecret:p@1.2.3.4:5", "colon in the user" },
		{ "http://u:p@secret:5", WHY_HOST }, { "socks5://u:secret@", WHY_HOST },
		{ "socks4://1.2.3.4", WHY_HOST }, { "socks5://u:secret@1.2.3.4:0", WHY_HOST },
		{ "socks5://u:secret/1.2.3.4:5", WHY_HOST },
		/* The first fault is the one that is told. */
		{ "ftp://%00@secret", WHY_SCHEME }, { "socks5://%00@secret", WHY_NUL },
		{ "socks4://u:p@secret", "SOCKS4 has no password" },
	};
	struct outbound o;
	const char *why;

	for (size_t i = 0; i < sizeof(bad) / sizeof(bad[0]); i++) {
		ck_assert_msg(!set(&o, bad[i].uri, strlen(bad[i].uri), &why), "%s", bad[i].uri);
		ck_assert_msg(strcmp(why, bad[i].why) == 0, "%s: %s", bad[i].uri, why);
		outbound_clear(&o);
	}
}
END_TEST

START_TEST(what_a_proxy_can_carry)
{
	static const struct {
		const char *uri, *user, *pass;
		enum proxy_kind kind;
	} t[] = {
		{ "http://@1.2.3.4:5", "", NULL, PROXY_HTTP },
		{ "http://:p@1.2.3.4:5", "", "p", PROXY_HTTP },
		{ "http://u:a%3ab@1.2.3.4:5", "u", "a:b", PROXY_HTTP },
		{ "http://a@b:c@d@1.2.3.4:5", "a@b", "c@d", PROXY_HTTP },
		{ "socks4://@1.2.3.4:5", "", NULL, PROXY_SOCKS4 },
		{ "SOCKS4A://a%3ab:@1.2.3.4:5", "a:b", "", PROXY_SOCKS4A },
		{ "Socks5://a%3ab@1.2.3.4:5", "a:b", NULL, PROXY_SOCKS5 },
	};
	struct outbound o;
	struct sockaddr_storage a;
	const char *why;

	ck_assert(address_parse(&a, "1.2.3.4", 5));
	for (size_t i = 0; i < sizeof(t) / sizeof(t[0]); i++) {
		ck_assert_msg(set(&o, t[i].uri, strlen(t[i].uri), &why), "%s: %s", t[i].uri, why);
		ck_assert_int_eq(o.proxy, t[i].kind);
		ck_assert_str_eq(o.user, t[i].user);
		ck_assert_pstr_eq(o.pass, t[i].pass);
		ck_assert(address_equal(&o.proxy_addr, &a));
		outbound_clear(&o);
	}
}
END_TEST

/* 255 bytes of each as they are sent, three times as many characters where all are escaped. */
START_TEST(long_credentials)
{
	static const char *const schemes[] = { "socks5", "socks4", "socks4a", "http" };
	char user[3 * 256 + 1], pass[3 * 256 + 1], uri[2000];
	struct outbound o;
	const char *why;

	for (size_t i = 0; i < 4; i++) {
		for (size_t n = 255; n <= 256; n++) {
			bool with_pass = strstr(schemes[i], "socks4") == NULL;

			for (size_t k = 0; k < n; k++) {
				memcpy(user + 3 * k, "%75", 4);
				memcpy(pass + 3 * k, "%70", 4);
			}
			snprintf(uri, sizeof(uri), "%s://%s@[::1]:5", schemes[i], user);
			ck_assert_int_eq(set(&o, uri, strlen(uri), &why), n == 255);
			if (n == 256)
				ck_assert_str_eq(why, WHY_LONG);
			ck_assert_uint_eq(strlen(o.user), n);
			outbound_clear(&o);
			snprintf(uri, sizeof(uri), "%s://u:%s@[::1]:5", schemes[i], pass);
			ck_assert_int_eq(set(&o, uri, strlen(uri), &why), n == 255 && with_pass);
			if (n == 256)
				ck_assert_str_eq(why, WHY_LONG);
			outbound_clear(&o);
		}
	}
}
END_TEST

/* Nothing is taken for whole that is not, and what was taken before a fault is not lost. */
START_TEST(cut_uris)
{
	static const char *const uris[] = { "socks5://1.2.3.4:5", "socks5://u:p%40@[2001:db8::1]:9",
		"socks4://id@127.0.0.1:1", "socks4a://127.0.0.1:1", "http://a:b@[::1]:8" };
	struct outbound o;
	const char *why;

	for (size_t i = 0; i < sizeof(uris) / sizeof(uris[0]); i++) {
		size_t len = strlen(uris[i]);

		for (size_t n = 0; n < len; n++) {
			why = NULL;
			ck_assert_msg(!set(&o, uris[i], n, &why), "%s at %zu", uris[i], n);
			ck_assert_ptr_nonnull(why);
			outbound_clear(&o);
		}
		ck_assert_msg(set(&o, uris[i], len, &why), "%s: %s", uris[i], why);
		outbound_clear(&o);
	}
}
END_TEST

/* What is zero means: no proxy, any source address. */
START_TEST(cleared_is_zeroed)
{
	static const struct outbound zeros;
	struct outbound o = { 0 };
	const char *why;

	outbound_clear(&o);
	for (int i = 0; i < 2; i++) {
		o.bind4.sin_family = AF_INET;
		o.bind6.sin6_family = AF_INET6;
		ck_assert(outbound_set_proxy(&o, "socks5://u:p@1.2.3.4:5", &why));
		/* The source addresses are somebody else's. */
		ck_assert_int_eq(o.bind4.sin_family, AF_INET);
		ck_assert_int_eq(o.bind6.sin6_family, AF_INET6);
		outbound_clear(&o);
		ck_assert_mem_eq(&o, &zeros, sizeof(o));
	}
	outbound_clear(&o);
	/* Half of one, too. */
	ck_assert(!outbound_set_proxy(&o, "http://u:p@localhost:5", &why));
	outbound_clear(&o);
	ck_assert_mem_eq(&o, &zeros, sizeof(o));
}
END_TEST

TEST_MAIN("outbound", good_credentials, every_escape, no_nul_comes_out, cut_credentials, why_not,
    what_a_proxy_can_carry, long_credentials, cut_uris, cleared_is_zeroed)
