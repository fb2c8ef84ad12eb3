#include <stdio.h>

#include "common/address.h"
#include "common/mem.h"
#include "pt-server/hosts.h"
#include "tests/harness.h"

#define COUNT(a) (sizeof(a) / sizeof((a)[0]))

static void
found(void *arg, const struct sockaddr_storage *a)
{
	char text[ADDRESS_TEXT_MAX], *to = arg;

	address_text(text, a, 0);
	ck_assert_uint_lt(strlen(to) + strlen(text) + 1, 256);
	strcat(strcat(to, text), " ");
}

/* From memory of the exact size, so that a sanitizer sees what is read behind it. */
static const char *
find(const char *text, size_t n, const char *name)
{
	static char out[256];
	char *copy = mem_alloc(n);
	bool any;

	memcpy(copy, text, n);
	out[0] = '\0';
	any = hosts_find(copy, n, name, found, out);
	ck_assert_int_eq(any, out[0] != '\0');
	free(copy);
	return out;
}

static const char file[] =
    "# 192.0.2.66 comment\n"
    "127.0.0.1\tlocalhost\n"
    "::1 localhost ip6-localhost # 192.0.2.67 localhost\r\n"
    "\n"
    "   192.0.2.1   one  One.Example one\n"
    "192.0.2.2 two#three\n"
    "192.0.2 bad\n"
    "fe80::1%eth0 bad\n"
    "::ffff:192.0.2.9 mapped\n"
    "192.0.2.3\n"
    "999999999999999999999999999999999999999999999999999999999999999 bad\n"
    "192.0.2.4 last";

START_TEST(test_find)
{
	static const struct {
		const char *name, *want;
	} cases[] = {
		{ "localhost", "127.0.0.1:0 [::1]:0 " }, { "ip6-localhost", "[::1]:0 " },
		{ "one", "192.0.2.1:0 " }, { "ONE.example", "192.0.2.1:0 " }, { "two", "192.0.2.2:0 " },
		{ "three", "" }, { "comment", "" }, { "bad", "" }, { "mapped", "192.0.2.9:0 " },
		{ "last", "192.0.2.4:0 " }, { "las", "" }, { "lastt", "" }, { "192.0.2.3", "" }, { "", "" },
	};

	for (size_t i = 0; i < COUNT(cases); i++)
		ck_assert_str_eq(find(file, sizeof(file) - 1, cases[i].name), cases[i].want);
}
END_TEST

START_TEST(test_cut)
{
	for (size_t n = 0; n < sizeof(file); n++) {
		ck_assert_str_eq(find(file, n, "last"), n >= sizeof(file) - 1 ? "192.0.2.4:0 " : "");
		find(file, n, "one");
	}
	/* A NUL ends nothing but its line. */
	ck_assert_str_eq(find("1.2.3.4 a\0 b\n1.2.3.5 b", 22, "b"), "1.2.3.5:0 ");
}
END_TEST

TEST_MAIN("hosts", test_find, test_cut)
