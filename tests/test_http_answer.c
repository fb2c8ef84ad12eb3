#include "pt-client/http_answer.h"

#include <stdio.h>
#include <stdlib.h>

#include "common/bytes.h"
#include "common/mem.h"
#include "tests/harness.h"

#define C HTTP_ANSWER_CLOSE

/* Feeds an exact copy; what the app gets is appended to `out`. */
static void
feed(struct http_answer *a, const char *p, size_t n, struct buffer *out)
{
	uint8_t *copy = mem_alloc(n + (n == 0));
	size_t at = 0, k;

	memcpy(copy, p, n);
	while ((k = http_answer_feed(a, copy + at, n - at)) < n - at) {
		buffer_add(out, copy + at, k);
		buffer_add(out, C, strlen(C));
		at += k;
		ck_assert_uint_le(out->n, 100 * (n + 1));
	}
	buffer_add(out, copy + at, k);
	free(copy);
}

static void
check_got(struct buffer *out, const char *want)
{
	buffer_add(out, "", 1);
	ck_assert_str_eq((const char *)buffer_data(out), want);
	buffer_clear(out);
}

/* At once, cut at every place, and a byte at a time. */
static void
check(const char *in, const char *want)
{
	size_t n = strlen(in);
	struct http_answer one = { 0 };
	struct buffer out = { 0 };

	for (size_t cut = 0; cut <= n; cut++) {
		struct http_answer a = { 0 };

		feed(&a, in, cut, &out);
		feed(&a, in + cut, n - cut, &out);
		check_got(&out, want);
	}
	for (size_t i = 0; i < n; i++)
		feed(&one, in + i, 1, &out);
	check_got(&out, want);
}

START_TEST(final)
{
	check("HTTP/1.1 200 OK\r\n\r\n", "HTTP/1.1 200 OK\r\n" C "\r\n");
	check("HTTP/1.1 200 OK\r\nA: b\r\nConnection: keep-alive\r\n\r\nbody",
	    "HTTP/1.1 200 OK\r\nA: b\r\nConnection: keep-alive\r\n" C "\r\nbody");
	check("HTTP/1.0 404\r\nA: b\r\n c\r\n\r\n", "HTTP/1.0 404\r\nA: b\r\n c\r\n" C "\r\n");
	check("HTTP/1.1 304 \r\n\r\n", "HTTP/1.1 304 \r\n" C "\r\n");
	check("HTTP/1.1 204 a\nA:\n\nx", "HTTP/1.1 204 a\nA:\n" C "\nx");
	check("HTTP/1.1 599\n\r\n", "HTTP/1.1 599\n" C "\r\n");
}
END_TEST

/* Another head in the body, or behind it, is none of ours. */
START_TEST(only_once)
{
	check("HTTP/1.1 200 OK\r\n\r\nHTTP/1.1 200 OK\r\n\r\n\r\n\r\n",
	    "HTTP/1.1 200 OK\r\n" C "\r\nHTTP/1.1 200 OK\r\n\r\n\r\n\r\n");
}
END_TEST

START_TEST(interim)
{
	check("HTTP/1.1 100 Continue\r\n\r\nHTTP/1.1 200 OK\r\nA: b\r\n\r\nbody",
	    "HTTP/1.1 100 Continue\r\n\r\nHTTP/1.1 200 OK\r\nA: b\r\n" C "\r\nbody");
	check("HTTP/1.1 100\n\nHTTP/1.1 103 x\r\nLink: a\r\n\r\nHTTP/1.1 102 \r\n\r\nHTTP/1.1 500\r\n\r\n",
	    "HTTP/1.1 100\n\nHTTP/1.1 103 x\r\nLink: a\r\n\r\nHTTP/1.1 102 \r\n\r\nHTTP/1.1 500\r\n" C "\r\n");
	check("HTTP/1.1 100 Continue\r\n\r\n", "HTTP/1.1 100 Continue\r\n\r\n");
}
END_TEST

START_TEST(head_without_end)
{
	static const char start[] = "HTTP/1.1 200 OK\r\nA: b\r\n";
	struct http_answer a = { 0 };
	struct buffer out = { 0 };

	for (size_t n = 0; n < sizeof(start); n++) {
		char part[sizeof(start)] = "";

		memcpy(part, start, n);
		check(part, part);
	}
	ck_assert_uint_eq(http_answer_feed(&a, (const uint8_t *)start, strlen(start)), strlen(start));
	for (int i = 0; i < 100000; i++)
		ck_assert_uint_eq(http_answer_feed(&a, (const uint8_t *)"A: bcdefghi\r\n", 13), 13);
	feed(&a, "\r\n", 2, &out);
	check_got(&out, C "\r\n");
}
END_TEST

START_TEST(not_http)
{
	static const char *const texts[] = { "", "\r\n", "<html>\r\n\r\n</html>\n\n", "SSH-2.0-a\r\n\r\n",
		"http://a/\r\n\r\n", "abcdeHTTP/1.1 200 OK\r\n\r\n", "HTTPS/1.1 200 OK\r\n\r\n",
		"HTTP\r\n/1.1 200\r\n\r\n", "h\n\nh\n\n" };

	for (size_t i = 0; i < sizeof(texts) / sizeof(texts[0]); i++)
		check(texts[i], texts[i]);
}
END_TEST

/* What some app takes for the head of an answer that it may reuse the connection behind. */
START_TEST(odd_start)
{
	check("\r\n\nHTTP/1.1 200 OK\r\n\r\n\r\n", "\r\n\nHTTP/1.1 200 OK\r\n" C "\r\n\r\n");
	check("hhttHttp/1.1 200 OK\r\n\r\n", "hhttHttp/1.1 200 OK\r\n" C "\r\n");
	check("a\r\nb\nHTTP/1.1 200 OK\r\n\r\n", "a\r\nb\nHTTP/1.1 200 OK\r\n" C "\r\n");
	check("HTTP/1.1 100\r\n\r\n\r\nHTTP/1.1 200 OK\n\n", "HTTP/1.1 100\r\n\r\n\r\nHTTP/1.1 200 OK\n" C "\n");
}
END_TEST

/* One that may be final or not gets the field, and so does what follows. */
START_TEST(odd_code)
{
	static const char *const lines[] = { "HTTP/1.1 101 Upgrade", "HTTP/1.1  100 OK", "HTTP/2 100",
		"HTTP/1.1 100x", "HTTP/1.1 1000", "HTTP/1.1 99 ", "HTTP/1.1 099 ", "HTTP/1.1 000",
		"HTTP/1.1\t100", "HTTP/1.1", "HTTP/", "HTTP/1.1 1", "HTTP/1.10 100", "HTTP/ 1.1 100",
		"HTTP/1.x 100" };

	for (size_t i = 0; i < sizeof(lines) / sizeof(lines[0]); i++) {
		char in[200], want[200];

		snprintf(in, sizeof(in), "%s\r\nA: b\r\n\r\nHTTP/1.1 200 OK\r\n\r\n\r\n", lines[i]);
		snprintf(want, sizeof(want), "%s\r\nA: b\r\n" C "\r\nHTTP/1.1 200 OK\r\n" C "\r\n\r\n", lines[i]);
		check(in, want);
	}
}
END_TEST

/* A line that starts with a CR is the end of a head for some. */
START_TEST(odd_end)
{
	check("HTTP/1.1 200 OK\r\n\r\r\n\r\n", "HTTP/1.1 200 OK\r\n" C "\r\r\n\r\n");
	check("HTTP/1.1 200 OK\r\n\rA: b\r\n\r\n", "HTTP/1.1 200 OK\r\n" C "\rA: b\r\n\r\n");
	check("HTTP/1.1 100\r\n\rA: b\r\nHTTP/1.1 200 OK\n\nHTTP/1.1 200 OK\n\n\n",
	    "HTTP/1.1 100\r\n\rA: b\r\nHTTP/1.1 200 OK\n" C "\nHTTP/1.1 200 OK\n" C "\n\n");
	check("HTTP/1.1 100\r\n\r\r\nHTTP/1.1 200 OK\n\n", "HTTP/1.1 100\r\n\r\r\nHTTP/1.1 200 OK\n" C "\n");
}
END_TEST

TEST_MAIN("http_answer", final, only_once, interim, head_without_end, not_http, odd_start, odd_code,
    odd_end)
