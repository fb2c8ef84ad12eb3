#include "pt-client/http_body.h"

#include <stdlib.h>

#include "common/mem.h"
#include "tests/harness.h"

#define NEXT "GET http://other.example/ HTTP/1.1\r\nCookie: a=b\r\n\r\n"
/* Every kind of piece: sizes of one digit and more, in both letter cases and with zeros in
 * front, extensions, data that looks like an end, trailers. */
static const char chunked[] = "1\r\na\r\n5\r\n0\r\n\r\n\r\n00A;x=\"\xc3\xa9;\"\r\n0123456789\r\n"
    "1b;\ty\r\n0\r\nHost: a\r\n\r\n0\r\n\r\nPOST /ab\r\n000;z\r\nX-Sum: 1\r\nY:\r\n\r\n";

/* Feeds an exact copy: how many bytes are taken. */
static size_t
feed(struct http_body *b, const char *p, size_t n)
{
	uint8_t *copy = mem_alloc(n + (n == 0));
	size_t k;

	memcpy(copy, p, n);
	k = http_body_feed(b, copy, n);
	free(copy);
	return k;
}

/* The request's `n` bytes and the next request behind them, cut at `cut`. */
static void
check_cut(struct http_body b, const char *text, size_t n, size_t cut)
{
	size_t total = n + strlen(NEXT), first;
	char *in = mem_alloc(total);

	memcpy(in, text, n);
	memcpy(in + n, NEXT, strlen(NEXT));
	first = feed(&b, in, cut);
	ck_assert_uint_eq(first, cut < n ? cut : n);
	if (first == cut)
		ck_assert_uint_eq(feed(&b, in + cut, total - cut), n - cut);
	ck_assert_uint_eq(feed(&b, NEXT, strlen(NEXT)), 0);
	ck_assert_int_eq(b.state, BODY_END);
	free(in);
}

static void
check_whole(struct http_body b, const char *text, size_t n)
{
	struct http_body one = b;

	for (size_t cut = 0; cut <= n + strlen(NEXT); cut++)
		check_cut(b, text, n, cut);
	for (size_t i = 0; i < n; i++) {
		ck_assert_int_ne(one.state, BODY_END);
		ck_assert_uint_eq(feed(&one, text + i, 1), 1);
	}
	ck_assert_int_eq(one.state, BODY_END);
	ck_assert_uint_eq(feed(&one, "G", 1), 0);
	/* A body that breaks off has not ended. */
	for (size_t cut = 0; cut < n; cut++) {
		struct http_body part = b;

		ck_assert_uint_eq(feed(&part, text, cut), cut);
		ck_assert(part.state != BODY_END && part.state != BODY_BAD);
	}
}

START_TEST(none)
{
	struct http_body b = { 0 };

	check_whole(b, "", 0);
	http_body_init(&b, false, 0);
	check_whole(b, "", 0);
}
END_TEST

START_TEST(of_a_length)
{
	struct http_body b;

	for (size_t n = 1; n < 40; n++) {
		http_body_init(&b, false, n);
		check_whole(b, chunked, n);
	}
	/* The largest that a head can name, and a good part of it. */
	http_body_init(&b, false, 999999999999999999);
	for (int i = 0; i < 100; i++)
		ck_assert_uint_eq(feed(&b, chunked, sizeof(chunked)), sizeof(chunked));
	ck_assert_uint_eq(b.left, 999999999999999999 - 100 * sizeof(chunked));
}
END_TEST

START_TEST(in_chunks)
{
	static const char *const texts[] = { chunked, "0\r\n\r\n", "000000000000000\r\n\r\n",
		"0;\r\n\r\n", "0\r\na\r\n\r\n", "3\r\nabc\r\n0\r\n\r\n" };
	struct http_body b;

	http_body_init(&b, true, 0);
	for (size_t i = 0; i < sizeof(texts) / sizeof(texts[0]); i++)
		check_whole(b, texts[i], strlen(texts[i]));
	ck_assert_uint_eq(feed(&b, "fffFFFFFFFFFFFF\r\n", 17), 17);
	ck_assert_uint_eq(b.left, 0xfffffffffffffff);
}
END_TEST

/* Nothing from the first byte on that is not as it has to be. */
START_TEST(bad_chunks)
{
	static const struct { const char *text; size_t taken; } cases[] = {
		{ "\r\n", 0 }, { "\n", 0 }, { ";x\r\n", 0 }, { "g\r\n", 0 }, { " 1\r\na", 0 },
		{ "-1\r\n", 0 }, { "+1\r\n", 0 }, { "0x1\r\n", 1 }, { "1\na\r\n", 1 }, { "1 \r\na", 1 },
		{ "1\r\ra", 2 }, { "1\ra", 2 }, { "1234567890123456\r\n", 15 }, { "0000000000000001\r\n", 15 },
		{ "1;x\ny\r\n", 3 }, { "1;\x01\r\n", 2 }, { "1;\x7f\r\n", 2 }, { "1;x\ry", 4 },
		{ "1\r\nab\r\n", 4 }, { "1\r\na\n", 4 }, { "1\r\na\r\r", 5 }, { "1\r\na0\r\n", 4 },
		{ "1\r\na\r\n\r\n", 6 }, { "0\r\n\n", 3 }, { "0\r\n x\r\n", 3 }, { "0\r\n\tx\r\n", 3 },
		{ "0\r\na\nb\r\n", 4 }, { "0\r\na\rb\r\n", 5 }, { "0\r\n\r\r\n", 4 }, { "0\r\na\x01", 4 },
	};

	for (size_t i = 0; i < sizeof(cases) / sizeof(cases[0]); i++) {
		const char *text = cases[i].text;
		struct http_body b, one;
		size_t n = 0;

		http_body_init(&b, true, 0);
		one = b;
		ck_assert_msg(feed(&b, text, strlen(text)) == cases[i].taken, "%zu", i);
		ck_assert_int_eq(b.state, BODY_BAD);
		while (feed(&one, text + n, 1) == 1)
			n++;
		ck_assert_uint_eq(n, cases[i].taken);
		/* It does not recover. */
		ck_assert_uint_eq(feed(&b, "0\r\n\r\n", 5) + feed(&one, "\n", 1), 0);
	}
	/* A zero that is no byte of text anywhere but in data. */
	struct http_body b;

	http_body_init(&b, true, 0);
	ck_assert_uint_eq(feed(&b, "1\r\n\0\r\n0\0", 8), 7);
	ck_assert_int_eq(b.state, BODY_BAD);
}
END_TEST

TEST_MAIN("http_body", none, of_a_length, in_chunks, bad_chunks)
