/* The arguments of bridge lines and servers. The numbers in names are items of
 * PT-CHECKLIST.md. */
#include "common/pt_args.h"

#include <stdio.h>

#include "common/mem.h"
#include "tests/harness.h"

/* "k>v|k>v" of a list. */
static const char *
show(const struct pt_args *args)
{
	static char text[PT_ARGS_OPTIONS_MAX * 2];
	const char *k, *v;
	size_t n = 0;

	text[0] = '\0';
	for (size_t pos = 0; pt_args_next(args, &pos, &k, &v);)
		n += (size_t)snprintf(text + n, sizeof(text) - n, "%s%s>%s", n ? "|" : "", k, v);
	return text;
}

/* Parses an exact copy, so that the sanitizer sees a read past the end. */
static bool
parse(struct pt_args *args, const char *s, size_t n, const char **why)
{
	char *copy = mem_alloc(n + (n == 0));
	bool ok;

	memcpy(copy, s, n);
	ok = pt_args_parse(args, copy, n, why);
	free(copy);
	return ok;
}

START_TEST(socks_args_good_42_43)
{
	static const char *const good[][2] = {
		{ "", "" },
		{ "key=", "key>" },
		{ "key==", "key>=" },
		{ "a=b=c", "a>b=c" },
		{ "a\\=b=c", "a=b>c" },
		{ "\\;=\\;;\\\\=\\;", ";>;|\\>;" },
		{ "k=v1;k=v2", "k>v1|k>v2" },
		{ "k=a\\=b", "k>a=b" },
		{ "\\k=\\v", "k>v" },
		{ "shared-secret=rahasia;secrets-file=/tmp/blob",
		    "shared-secret>rahasia|secrets-file>/tmp/blob" },
	};

	for (size_t i = 0; i < sizeof(good) / sizeof(good[0]); i++) {
		struct pt_args args = { 0 };
		const char *why;

		ck_assert_msg(parse(&args, good[i][0], strlen(good[i][0]), &why), "%s", good[i][0]);
		ck_assert_str_eq(show(&args), good[i][1]);
		pt_args_clear(&args);
	}
}
END_TEST

START_TEST(socks_args_bad_42)
{
	static const struct { const char *s, *why; size_t n; } bad[] = {
		{ "key", "no equals sign", 0 },
		{ "key\\", "backslash at the end", 0 },
		{ "=v", "empty key", 0 },
		{ "k=v\\", "backslash at the end", 0 },
		{ ";", "no equals sign", 0 },
		{ "k=v;", "no equals sign", 0 },
		{ ";k=v", "no equals sign", 0 },
		{ "a;b=c", "no equals sign", 0 },
		{ "k=v;;k=v", "no equals sign", 0 },
		{ "k=v;=v", "empty key", 0 },
		{ "k=a\0b", "NUL byte", 5 },
		{ "\0=b", "NUL byte", 3 },
		{ "k=\\\0", "NUL byte", 4 },
	};

	for (size_t i = 0; i < sizeof(bad) / sizeof(bad[0]); i++) {
		struct pt_args args = { 0 };
		const char *why = NULL;

		pt_args_add(&args, "old", "gone");
		ck_assert_msg(!parse(&args, bad[i].s, bad[i].n ? bad[i].n : strlen(bad[i].s), &why),
		    "%s", bad[i].s);
		ck_assert_str_eq(why, bad[i].why);
		ck_assert_uint_eq(args.text.n, 0);
	}
}
END_TEST

START_TEST(socks_args_length_41)
{
	struct pt_args args = { 0 };
	const char *why;
	char s[PT_ARGS_SOCKS_MAX + 1];

	memset(s, 'x', sizeof(s));
	s[1] = '=';
	ck_assert(parse(&args, s, PT_ARGS_SOCKS_MAX, &why));
	ck_assert_uint_eq(strlen(pt_args_get(&args, "x")), PT_ARGS_SOCKS_MAX - 2);
	ck_assert(!parse(&args, s, PT_ARGS_SOCKS_MAX + 1, &why));
	ck_assert_str_eq(why, "too long");
	pt_args_clear(&args);
}
END_TEST

START_TEST(socks_args_truncated_everywhere)
{
	static const char s[] = "k=v\\;;a\\=b=c=;k=";

	/* What is left is good exactly where a value ends or goes on. */
	for (size_t n = 0; n < sizeof(s); n++) {
		struct pt_args args = { 0 };
		const char *why;

		ck_assert_int_eq(parse(&args, s, n, &why), n == 0 || n == 2 || n == 3 || n == 5 ||
		    (n >= 11 && n <= 13) || n == 16);
		pt_args_clear(&args);
	}
}
END_TEST

START_TEST(args_get_and_repeats)
{
	struct pt_args args = { 0 };
	const char *k, *v;
	size_t pos = 0;

	ck_assert_ptr_null(pt_args_get(&args, "url"));
	ck_assert(!pt_args_next(&args, &pos, &k, &v));
	pt_args_add(&args, "url", "one");
	pt_args_add(&args, "empty", "");
	pt_args_add(&args, "url", "two");
	ck_assert_str_eq(pt_args_get(&args, "url"), "one");
	ck_assert_str_eq(pt_args_get(&args, "empty"), "");
	ck_assert_ptr_null(pt_args_get(&args, "ur"));
	ck_assert_ptr_null(pt_args_get(&args, "one"));
	ck_assert_str_eq(show(&args), "url>one|empty>|url>two");
	pt_args_clear(&args);
}
END_TEST

START_TEST(server_options_57)
{
	static const char *const good[][2] = {
		{ "", "" },
		{ "sultry:k=v", "k>v" },
		{ "scramblesuit:key=banana;automata:rule=110;automata:depth=3", "" },
		{ "a:k=1;sultry:k=2;b:k=3;sultry:k=4", "k>2|k>4" },
		{ "sultry:url=https\\://a\\;b\\\\c", "url>https://a;b\\c" },
		{ "sultry:url=https://a:b", "url>https://a:b" },
		{ "sultry:k=a\\=b=c", "k>a=b=c" },
		{ "sul\\try:k=v", "k>v" },
		{ "sultr:k=v;sultryx:k=v;Sultry:k=v", "" },
	};
	static const char *const bad[][2] = {
		{ "sultry", "no colon" },
		{ "sultry:", "no equals sign" },
		{ "sultry:k", "no equals sign" },
		{ ":k=v", "empty transport name" },
		{ "sultry:=v", "empty key" },
		{ "other:=v", "empty key" },
		{ "sultry:k=v;", "no colon" },
		{ "sultry:k=v;k=w", "no colon" },
		{ ";sultry:k=v", "no colon" },
		{ "sultry:k=v\\", "backslash at the end" },
		{ "sultry:k=v;other:k\\", "backslash at the end" },
	};
	struct pt_args args = { 0 };
	const char *why;

	for (size_t i = 0; i < sizeof(good) / sizeof(good[0]); i++) {
		ck_assert_msg(pt_args_parse_options(&args, good[i][0], "sultry", &why), "%s",
		    good[i][0]);
		ck_assert_str_eq(show(&args), good[i][1]);
	}
	for (size_t i = 0; i < sizeof(bad) / sizeof(bad[0]); i++) {
		ck_assert_msg(!pt_args_parse_options(&args, bad[i][0], "sultry", &why), "%s",
		    bad[i][0]);
		ck_assert_str_eq(why, bad[i][1]);
		ck_assert_uint_eq(args.text.n, 0);
	}
}
END_TEST

START_TEST(server_options_length)
{
	char s[PT_ARGS_OPTIONS_MAX + 2];
	struct pt_args args = { 0 };
	const char *why;

	memset(s, 'x', sizeof(s));
	memcpy(s, "s:k=", 4);
	s[PT_ARGS_OPTIONS_MAX] = '\0';
	ck_assert(pt_args_parse_options(&args, s, "s", &why));
	ck_assert_uint_eq(strlen(pt_args_get(&args, "k")), PT_ARGS_OPTIONS_MAX - 4);
	s[PT_ARGS_OPTIONS_MAX] = 'x';
	s[PT_ARGS_OPTIONS_MAX + 1] = '\0';
	ck_assert(!pt_args_parse_options(&args, s, "s", &why));
	ck_assert_str_eq(why, "too long");
}
END_TEST

START_TEST(smethod_args_60)
{
	struct pt_args args = { 0 };
	char out[64];

	ck_assert(pt_args_smethod(out, sizeof(out), &args));
	ck_assert_str_eq(out, "");
	pt_args_add(&args, "key", "AbC-_9");
	pt_args_add(&args, "a=b,c\\", "=,\\;");
	pt_args_add(&args, "e", "");
	ck_assert(pt_args_smethod(out, sizeof(out), &args));
	ck_assert_str_eq(out, "ARGS:key=AbC-_9,a\\=b\\,c\\\\=\\=\\,\\\\;,e=");
	/* Room for all of it or for nothing. */
	for (size_t cap = 0, need = strlen(out) + 1; cap <= need; cap++) {
		char *exact = mem_alloc(cap + (cap == 0));

		ck_assert_int_eq(pt_args_smethod(exact, cap, &args), cap == need);
		if (cap > 0 && cap < need)
			ck_assert_str_eq(exact, "");
		free(exact);
	}
	pt_args_clear(&args);
}
END_TEST

START_TEST(smethod_args_never_break_the_line_61)
{
	static const char *const values[] = { "a b", "a\nb", "a\rb", "\x7f", "\xc3\xa9", "\t" };
	char out[64];

	for (size_t i = 0; i < sizeof(values) / sizeof(values[0]); i++) {
		struct pt_args args = { 0 };

		pt_args_add(&args, "k", values[i]);
		ck_assert(!pt_args_smethod(out, sizeof(out), &args));
		ck_assert_str_eq(out, "");
		pt_args_clear(&args);
	}
}
END_TEST

TEST_MAIN("pt_args", socks_args_good_42_43, socks_args_bad_42, socks_args_length_41,
    socks_args_truncated_everywhere, args_get_and_repeats, server_options_57,
    server_options_length, smethod_args_60, smethod_args_never_break_the_line_61)
