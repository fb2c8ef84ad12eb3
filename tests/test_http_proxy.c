#include "pt-client/http_proxy.h"

#include <stdio.h>

#include "common/mem.h"
#include "tests/harness.h"

#define REPLY(status, field) "HTTP/1.1 " status "\r\n" field "Content-Length: 0\r\nConnection: close\r\n\r\n"
#define R400 REPLY("400 Bad Request", "")
#define R407 REPLY("407 Proxy Authentication Required", "Proxy-Authenticate: Basic realm=\"sultry\"\r\n")

/* A conversation: what came of it, and how many bytes it took. */
struct talk {
	struct http_proxy p;
	enum http_proxy_result result;
	struct buffer out;
	size_t used;
};

static void
talk_clear(struct talk *t)
{
	http_proxy_clear(&t->p);
	buffer_clear(&t->out);
}

/* Feeds `step` bytes at a time, each time an exact copy. */
static struct talk
talk_steps(const char *user, const char *pass, const char *in, size_t n, size_t step)
{
	struct talk t = { .result = HTTP_PROXY_MORE };

	http_proxy_init(&t.p, user, pass);
	while (t.used < n && t.result == HTTP_PROXY_MORE) {
		size_t k = n - t.used < step ? n - t.used : step, used;
		uint8_t *copy = mem_alloc(k);

		memcpy(copy, in + t.used, k);
		t.result = http_proxy_feed(&t.p, copy, k, &used, &t.out);
		ck_assert(t.result != HTTP_PROXY_MORE || used == k);
		t.used += used;
		free(copy);
	}
	return t;
}

static struct talk
talk(const char *in)
{
	return talk_steps(NULL, NULL, in, strlen(in), strlen(in));
}

static void
check_text(const struct buffer *b, const char *want)
{
	ck_assert_msg(b->n == strlen(want) && memcmp(buffer_data(b), want, b->n) == 0,
	    "got \"%.*s\", not \"%s\"", (int)b->n, b->n > 0 ? (const char *)buffer_data(b) : "", want);
}

static void
check_connect(const char *in, const char *host, unsigned port)
{
	struct talk t = talk(in);

	ck_assert_msg(t.result == HTTP_PROXY_REQUEST, "%s: %s", in, t.p.why);
	ck_assert(t.p.connect);
	ck_assert_str_eq(t.p.host, host);
	ck_assert_uint_eq(t.p.port, port);
	ck_assert_uint_eq(t.p.head.n + t.out.n, 0);
	talk_clear(&t);
}

static void
check_plain(const char *in, const char *host, unsigned port, const char *head)
{
	struct talk t = talk(in);

	ck_assert_msg(t.result == HTTP_PROXY_REQUEST, "%s: %s", in, t.p.why);
	ck_assert(!t.p.connect);
	ck_assert_str_eq(t.p.host, host);
	ck_assert_uint_eq(t.p.port, port);
	ck_assert_uint_eq(t.out.n, 0);
	check_text(&t.p.head, head);
	talk_clear(&t);
}

static void
check_refused(const char *in, size_t n, const char *reply, const char *why)
{
	struct talk t = talk_steps(NULL, NULL, in, n, n);

	ck_assert_msg(t.result == HTTP_PROXY_BAD, "%s", in);
	ck_assert_msg(strcmp(t.p.why, why) == 0, "%s: %s", in, t.p.why);
	check_text(&t.out, reply);
	ck_assert_uint_eq(t.p.head.n, 0);
	talk_clear(&t);
}

static void
check_bad(const char *in, const char *why)
{
	check_refused(in, strlen(in), R400, why);
}

START_TEST(connect_good)
{
	char in[600], host[256];

	check_connect("CONNECT example.com:443 HTTP/1.1\r\nHost: example.com:443\r\n\r\n", "example.com", 443);
	check_connect("CONNECT example.com:443 HTTP/1.1\r\nHost: other.example\r\n\r\n", "example.com", 443);
	check_connect("CONNECT example.com:22 HTTP/1.0\r\n\r\n", "example.com", 22);
	check_connect("CONNECT 192.0.2.1:65535 HTTP/1.1\r\n\r\n", "192.0.2.1", 65535);
	check_connect("CONNECT [2001:DB8::0001]:1 HTTP/1.1\r\n\r\n", "2001:db8::1", 1);
	check_connect("CONNECT a_b.Example:0443 HTTP/1.1\r\nContent-Length: 0\r\n\r\n", "a_b.Example", 443);
	check_connect("CONNECT a:1 HTTP/1.1\r\nContent-Length: 00\r\n\r\n", "a", 1);
	check_connect("CONNECT a:1 HTTP/1.1\r\nX:\r\nY: \t \r\nZ: \xc3\xa9 a:b\r\n\r\n", "a", 1);
	/* 253 characters: what DNS can carry. */
	memset(host, 'a', 253);
	host[63] = host[127] = host[191] = '.';
	host[253] = '\0';
	snprintf(in, sizeof(in), "CONNECT %s:443 HTTP/1.1\r\n\r\n", host);
	check_connect(in, host, 443);
}
END_TEST

START_TEST(connect_bad_target)
{
	static const char *const targets[] = {
		"example.com", "example.com:", "example.com:0", "example.com:65536", "example.com:000443",
		"example.com:+1", "example.com:44x", "example.com:-1", ":443", "", "user@example.com:443",
		"user:pass@example.com:443", "/", "*", "http://example.com:443", "http://example.com/",
		"example.com:443/", "example.com:443#", "example..com:443", ".example.com:443", "[::1]",
		"[::1", "[::1]443", "[::1]x:443", "[127.0.0.1]:443", "::1:443", "[::1%25lo]:443", "[]:443",
		"127.1:443", "0x7f000001:443", "2130706433:443", "ex%61mple.com:443", "ex\x01mple.com:443",
		"ex\xc3\xa4mple.com:443", "a b:443", "example.com:443\t", "a\x7f:443", "[::1]:443:1", "a:1:1",
	};
	char in[300], host[260];

	for (size_t i = 0; i < sizeof(targets) / sizeof(targets[0]); i++) {
		struct talk t;

		snprintf(in, sizeof(in), "CONNECT %s HTTP/1.1\r\n\r\n", targets[i]);
		t = talk(in);
		ck_assert_msg(t.result == HTTP_PROXY_BAD, "%s", in);
		check_text(&t.out, R400);
		talk_clear(&t);
	}
	memset(host, 'a', sizeof(host) - 1);
	host[63] = host[127] = host[191] = '.';
	host[254] = '\0';
	snprintf(in, sizeof(in), "CONNECT %s:1 HTTP/1.1\r\n\r\n", host);
	check_bad(in, "bad target of an HTTP request");
}
END_TEST

START_TEST(plain_rewritten)
{
	check_plain("GET http://example.com/a?b HTTP/1.1\r\nHost: example.com\r\nAccept: */*\r\n\r\n",
	    "example.com", 80,
	    "GET /a?b HTTP/1.1\r\nHost: example.com\r\nAccept: */*\r\nConnection: close\r\n\r\n");
	check_plain("POST HTTP://Example.com:8080 HTTP/1.0\r\n\r\n", "Example.com", 8080,
	    "POST / HTTP/1.0\r\nHost: Example.com:8080\r\nConnection: close\r\n\r\n");
	check_plain("get http://[2001:DB8::1]:81?q HTTP/1.1\r\n\r\n", "2001:db8::1", 81,
	    "get /?q HTTP/1.1\r\nHost: [2001:DB8::1]:81\r\nConnection: close\r\n\r\n");
	check_plain("OPTIONS http://example.com HTTP/1.1\r\n\r\n", "example.com", 80,
	    "OPTIONS * HTTP/1.1\r\nHost: example.com\r\nConnection: close\r\n\r\n");
	check_plain("OPTIONS http://example.com/ HTTP/1.1\r\n\r\n", "example.com", 80,
	    "OPTIONS / HTTP/1.1\r\nHost: example.com\r\nConnection: close\r\n\r\n");
	check_plain("M-SEARCH http://192.0.2.1/%20\\\xc3\xa9 HTTP/1.1\r\n\r\n", "192.0.2.1", 80,
	    "M-SEARCH /%20\\\xc3\xa9 HTTP/1.1\r\nHost: 192.0.2.1\r\nConnection: close\r\n\r\n");
}
END_TEST

/* What is for us, or for this connection only, goes; the rest stays as it was written. */
START_TEST(plain_fields)
{
	check_plain("PUT http://a/ HTTP/1.1\r\nhost: evil.example\r\nproxy-connection: Keep-Alive\r\n"
	    "Proxy-Authorization: Basic eDp5\r\nConnection: keep-alive, X-Hop ,,TE\r\nKeep-Alive: 5\r\n"
	    "X-Hop: 1\r\nx-HOPPER: 2\r\nTE: trailers\r\nUpgrade: h2c\r\nconnection:Y\r\nY:z\r\n"
	    "Content-Length: 3 \r\nX-Tab:\ta\tb\r\n\r\n", "a", 80,
	    "PUT / HTTP/1.1\r\nHost: a\r\nx-HOPPER: 2\r\nContent-Length: 3 \r\nX-Tab:\ta\tb\r\n"
	    "Connection: close\r\n\r\n");
	check_plain("PUT http://a/ HTTP/1.1\r\nTransfer-Encoding: Chunked\r\nTrailer: X\r\n\r\n", "a", 80,
	    "PUT / HTTP/1.1\r\nHost: a\r\nTransfer-Encoding: Chunked\r\nTrailer: X\r\n"
	    "Connection: close\r\n\r\n");
}
END_TEST

START_TEST(request_line_bad)
{
	static const char line[] = "not an HTTP request line", target[] = "bad target of an HTTP request";

	check_bad("\r\n", line);
	check_bad("GET\r\n\r\n", line);
	check_bad("GET http://a/\r\n\r\n", line);
	check_bad("GET  http://a/ HTTP/1.1\r\n\r\n", line);
	check_bad("GET http://a/  HTTP/1.1\r\n\r\n", line);
	check_bad("GET http://a/ HTTP/1.1 \r\n\r\n", line);
	check_bad("GET http://a/ b HTTP/1.1\r\n\r\n", line);
	check_bad(" GET http://a/ HTTP/1.1\r\n\r\n", line);
	check_bad("GET\thttp://a/ HTTP/1.1\r\n\r\n", line);
	check_bad("G(T http://a/ HTTP/1.1\r\n\r\n", line);
	check_bad("GET http://a/ HTTP/1.2\r\n\r\n", line);
	check_bad("GET http://a/ HTTP/2.0\r\n\r\n", line);
	check_bad("GET http://a/ http/1.1\r\n\r\n", line);
	check_bad("GET http://a/ HTTP/1.11\r\n\r\n", line);
	check_bad("PRI * HTTP/2.0\r\n\r\n", line);
	check_bad("GET / HTTP/1.1\r\n\r\n", target); /* what a web page could make a browser send */
	check_bad("GET * HTTP/1.1\r\n\r\n", target);
	check_bad("GET https://a/ HTTP/1.1\r\n\r\n", target);
	check_bad("GET http:/a HTTP/1.1\r\n\r\n", target);
	check_bad("GET http:// HTTP/1.1\r\n\r\n", target);
	check_bad("GET http:///a HTTP/1.1\r\n\r\n", target);
	check_bad("GET http://:80/ HTTP/1.1\r\n\r\n", target);
	check_bad("GET http://a:/ HTTP/1.1\r\n\r\n", target);
	check_bad("GET http://a:0/ HTTP/1.1\r\n\r\n", target);
	check_bad("GET http://a:80:80/ HTTP/1.1\r\n\r\n", target);
	check_bad("GET http://u@a/ HTTP/1.1\r\n\r\n", target);
	check_bad("GET http://u:p@a/ HTTP/1.1\r\n\r\n", target);
	check_bad("GET http://a/#f HTTP/1.1\r\n\r\n", target);
	check_bad("GET http://a#f HTTP/1.1\r\n\r\n", target);
	check_bad("GET http://a\\b/ HTTP/1.1\r\n\r\n", target);
	check_bad("GET http://a/\x0b HTTP/1.1\r\n\r\n", target);
	check_bad("connect a:443 HTTP/1.1\r\n\r\n", target); /* methods have letter case */
	check_refused("TRACE http://a/ HTTP/1.1\r\n\r\n", 28, REPLY("405 Method Not Allowed",
	    "Allow: CONNECT, DELETE, GET, HEAD, OPTIONS, PATCH, POST, PUT\r\n"), "HTTP method TRACE");
}
END_TEST

#define G "GET http://a/ HTTP/1.1\r\n"
#define C "CONNECT a:1 HTTP/1.1\r\n"

START_TEST(fields_bad)
{
	static const char field[] = "not an HTTP header field", length[] = "bad Content-Length";
	static const char lengths[] = "more than one length of the body", body[] = "CONNECT with a body";
	static const char coding[] = "Transfer-Encoding other than chunked";
	static const char stay[] = "Connection names a field that has to stay";

	check_bad(G "Host\r\n\r\n", field);
	check_bad(G ": a\r\n\r\n", field);
	check_bad(G "Content-Length : 5\r\n\r\n", field);
	check_bad(G "Content Length: 5\r\n\r\n", field);
	check_bad(G "X: a\x01\r\n\r\n", field);
	check_bad(G "X: a\x7f\r\n\r\n", field);
	check_bad(G "X\xc3\xa9: a\r\n\r\n", field);
	check_bad(G "X: a\r\n b\r\n\r\n", "folded header field");
	check_bad(G "X: a\r\n\tb\r\n\r\n", "folded header field");
	check_bad(G " X: a\r\n\r\n", "folded header field");
	check_bad(G "Host: a\r\nhost: a\r\n\r\n", "more than one Host");
	check_bad(G "Content-Length: 5\r\nContent-Length: 5\r\n\r\n", lengths);
	check_bad(G "Content-Length: 5\r\nTransfer-Encoding: chunked\r\n\r\n", lengths);
	check_bad(G "Transfer-Encoding: chunked\r\nContent-Length: 5\r\n\r\n", lengths);
	check_bad(G "Transfer-Encoding: chunked\r\ntransfer-encoding: chunked\r\n\r\n", lengths);
	check_bad(G "Content-Length: 5, 5\r\n\r\n", length);
	check_bad(G "Content-Length: +5\r\n\r\n", length);
	check_bad(G "Content-Length: -1\r\n\r\n", length);
	check_bad(G "Content-Length: 0x5\r\n\r\n", length);
	check_bad(G "Content-Length:\r\n\r\n", length);
	check_bad(G "Content-Length: 9999999999999999999\r\n\r\n", length);
	check_bad(G "Transfer-Encoding: gzip, chunked\r\n\r\n", coding);
	check_bad(G "Transfer-Encoding: xchunked\r\n\r\n", coding);
	check_bad(G "Transfer-Encoding: identity\r\n\r\n", coding);
	check_bad(G "Transfer-Encoding:\r\n\r\n", coding);
	check_bad("GET http://a/ HTTP/1.0\r\nTransfer-Encoding: chunked\r\n\r\n",
	    "Transfer-Encoding in HTTP/1.0");
	check_bad(C "Content-Length: 5\r\n\r\n", body);
	check_bad(C "Transfer-Encoding: chunked\r\n\r\n", body);
	check_bad(G "Connection: content-length\r\nContent-Length: 5\r\n\r\n", stay);
	check_bad(G "Connection: close, Transfer-Encoding\r\n\r\n", stay);
	check_bad(G "Connection: host\r\n\r\n", stay);
	check_bad(G "Proxy-Authorization: a\r\nProxy-Authorization: a\r\n\r\n",
	    "more than one Proxy-Authorization");
}
END_TEST

START_TEST(line_ends_bad)
{
	static const char end[] = "bad line end", nul[] = "NUL byte";

	check_bad("GET http://a/ HTTP/1.1\n", end);
	check_bad("\n", end);
	check_bad(G "X: a\n", end);
	check_bad(G "\n", end);
	check_bad(G "X: a\rb\r\n\r\n", end);
	check_bad(G "X: a\r\r\n\r\n", end);
	check_bad(G "\r\r\n", end);
	check_bad("\rGET http://a/ HTTP/1.1\r\n\r\n", end);
	check_refused("GET http://a\0/ HTTP/1.1\r\n\r\n", 27, R400, nul);
	check_refused(G "X: \0\r\n\r\n", sizeof(G) + 7, R400, nul);
	check_refused("\x16\x03\x01\x00", 4, R400, nul); /* TLS on the wrong port */
}
END_TEST

START_TEST(head_too_long)
{
	char in[HTTP_PROXY_HEAD_MAX + 100];
	size_t start = strlen(G "X: ");
	struct talk t;

	memset(in, 'a', sizeof(in));
	memcpy(in, G "X: ", start);
	t = talk_steps(NULL, NULL, in, sizeof(in), 1000);
	ck_assert_int_eq(t.result, HTTP_PROXY_BAD);
	ck_assert_uint_eq(t.used, HTTP_PROXY_HEAD_MAX);
	check_text(&t.out, R400);
	talk_clear(&t);
	/* The longest that is taken, and one more. */
	for (size_t more = 0; more < 2; more++) {
		memset(in, 'a', sizeof(in));
		memcpy(in, G "X: ", start);
		memcpy(in + HTTP_PROXY_HEAD_MAX - 4 + more, "\r\n\r\n", 4);
		t = talk_steps(NULL, NULL, in, HTTP_PROXY_HEAD_MAX + more, 5000);
		ck_assert_int_eq(t.result, more == 0 ? HTTP_PROXY_REQUEST : HTTP_PROXY_BAD);
		talk_clear(&t);
	}
}
END_TEST

START_TEST(many_connection_fields)
{
	char in[1000] = G;

	for (int i = 0; i < 16; i++)
		strcat(in, "Connection: a\r\n");
	strcat(in, "A: b\r\n");
	check_connect("CONNECT a:1 HTTP/1.1\r\nConnection: a\r\n\r\n", "a", 1);
	strcat(in, "\r\n");
	check_plain(in, "a", 80, "GET / HTTP/1.1\r\nHost: a\r\nConnection: close\r\n\r\n");
	in[strlen(in) - 2] = '\0';
	strcat(in, "Connection: a\r\n\r\n");
	check_bad(in, "too many Connection fields");
}
END_TEST

/* RFC 7617's own example, and what is not it. */
START_TEST(authorization)
{
	static const char *const good[] = { "Basic QWxhZGRpbjpvcGVuIHNlc2FtZQ==",
		"bAsIc   QWxhZGRpbjpvcGVuIHNlc2FtZQ== " };
	static const char *const wrong[] = { "Basic QWxhZGRpbjpvcGVuIHNlc2FtZQ=",
		"Basic QWxhZGRpbjpvcGVuIHNlc2FtZQ", "Basic QWxhZGRpbjpvcGVuIHNlc2FtZR==",
		"Basic QWxhZGRpbjpvcGVuIHNlc2FtZQ== x", "Basic qwxhZGRpbjpvcGVuIHNlc2FtZQ==", "Basic",
		"Basic ", "", "Bearer QWxhZGRpbjpvcGVuIHNlc2FtZQ==", "QWxhZGRpbjpvcGVuIHNlc2FtZQ==" };
	char in[200];
	struct talk t;

	for (size_t i = 0; i < sizeof(good) / sizeof(good[0]); i++) {
		snprintf(in, sizeof(in), C "Proxy-Authorization: %s\r\n\r\n", good[i]);
		t = talk_steps("Aladdin", "open sesame", in, strlen(in), 7);
		ck_assert_msg(t.result == HTTP_PROXY_REQUEST, "%s", in);
		talk_clear(&t);
	}
	for (size_t i = 0; i < sizeof(wrong) / sizeof(wrong[0]); i++) {
		snprintf(in, sizeof(in), C "Proxy-Authorization: %s\r\n\r\n", wrong[i]);
		t = talk_steps("Aladdin", "open sesame", in, strlen(in), 7);
		ck_assert_msg(t.result == HTTP_PROXY_BAD, "%s", in);
		check_text(&t.out, R407);
		talk_clear(&t);
	}
	t = talk_steps("Aladdin", "open sesame", C "\r\n", strlen(C "\r\n"), 7);
	ck_assert_int_eq(t.result, HTTP_PROXY_BAD);
	check_text(&t.out, R407);
	talk_clear(&t);
	/* The characters that the two alphabets differ in, and each padding. */
	static const char *const pairs[][2] = { { "~~", "fn46fn5-" }, { "\xff\xfe", "//46//4=" },
		{ "~~", "fn46fn4=" }, { "\xfb\xf0", "+/A6+/A=" } };

	for (size_t i = 0; i < sizeof(pairs) / sizeof(pairs[0]); i++) {
		snprintf(in, sizeof(in), C "Proxy-Authorization: Basic %s\r\n\r\n", pairs[i][1]);
		t = talk_steps(pairs[i][0], pairs[i][0], in, strlen(in), 100);
		ck_assert_msg(t.result == (i == 0 ? HTTP_PROXY_BAD : HTTP_PROXY_REQUEST), "%zu", i);
		talk_clear(&t);
	}
}
END_TEST

/* The longest user and password that settings let pass. */
START_TEST(authorization_longest)
{
	char user[256], in[1200] = C "Proxy-Authorization: Basic ";
	struct talk t;

	memset(user, 'a', 255);
	user[255] = '\0';
	for (int i = 0; i < 85; i++)
		strcat(in, "YWFh");
	strcat(in, "OmFh");
	for (int i = 0; i < 84; i++)
		strcat(in, "YWFh");
	strcat(in, "YQ==\r\n\r\n");
	t = talk_steps(user, user, in, strlen(in), 100);
	ck_assert_int_eq(t.result, HTTP_PROXY_REQUEST);
	talk_clear(&t);
}
END_TEST

static const char *const whole[] = {
	"CONNECT example.com:443 HTTP/1.1\r\nHost: example.com\r\nProxy-Connection: Keep-Alive\r\n\r\n",
	"POST http://example.com/a HTTP/1.1\r\nConnection: X\r\nX: 1\r\nContent-Length: 3\r\n\r\n",
	"GET http://[::1]/ HTTP/1.0\r\n\r\n",
};

START_TEST(truncated_at_every_length)
{
	for (size_t i = 0; i < sizeof(whole) / sizeof(whole[0]); i++) {
		for (size_t n = 0; n < strlen(whole[i]); n++) {
			struct talk t = talk_steps(NULL, NULL, whole[i], n, n);

			ck_assert_int_eq(t.result, HTTP_PROXY_MORE);
			ck_assert_uint_eq(t.used, n);
			ck_assert_uint_eq(t.out.n + t.p.head.n, 0);
			talk_clear(&t);
		}
	}
}
END_TEST

/* However the bytes arrive the same comes out, and what is behind the head stays. */
START_TEST(any_steps_and_a_body)
{
	for (size_t i = 0; i < sizeof(whole) / sizeof(whole[0]); i++) {
		size_t n = strlen(whole[i]), used;
		struct talk once = talk(whole[i]);
		char in[300];

		snprintf(in, sizeof(in), "%sabc\r\n\r\nGET", whole[i]);
		for (size_t step = 1; step <= strlen(in); step++) {
			struct talk t = talk_steps(NULL, NULL, in, strlen(in), step);

			ck_assert_int_eq(t.result, HTTP_PROXY_REQUEST);
			ck_assert_uint_eq(t.used, n);
			ck_assert_str_eq(t.p.host, once.p.host);
			ck_assert_uint_eq(t.p.port, once.p.port);
			ck_assert_uint_eq(t.p.head.n, once.p.head.n);
			if (once.p.head.n > 0)
				ck_assert_mem_eq(buffer_data(&t.p.head), buffer_data(&once.p.head), once.p.head.n);
			ck_assert_int_eq(http_proxy_feed(&t.p, (const uint8_t *)"x", 1, &used, &t.out),
			    HTTP_PROXY_REQUEST);
			ck_assert_uint_eq(used + t.out.n, 0);
			talk_clear(&t);
		}
		talk_clear(&once);
	}
}
END_TEST

/* The head says where the request ends. */
START_TEST(where_it_ends)
{
	static const struct { const char *head, *body; } cases[] = {
		{ "GET http://a/ HTTP/1.1\r\n\r\n", "" },
		{ "GET http://a/ HTTP/1.0\r\n\r\n", "" },
		{ "POST http://a/ HTTP/1.1\r\n\r\n", "" },
		{ "POST http://a/ HTTP/1.1\r\nContent-Length: 000\r\n\r\n", "" },
		{ "POST http://a/ HTTP/1.1\r\ncontent-LENGTH:\t0010 \r\n\r\n", "0123456789" },
		{ "POST http://a/ HTTP/1.1\r\nTransfer-Encoding: chunked\r\n\r\n",
		    "a\r\n0123456789\r\n0\r\nX: y\r\n\r\n" },
	};

	for (size_t i = 0; i < sizeof(cases) / sizeof(cases[0]); i++) {
		struct talk t = talk(cases[i].head);
		size_t n = strlen(cases[i].body);
		char in[100];

		ck_assert_int_eq(t.result, HTTP_PROXY_REQUEST);
		snprintf(in, sizeof(in), "%sGET http://b/", cases[i].body);
		ck_assert_uint_eq(http_body_feed(&t.p.body, (const uint8_t *)in, strlen(in)), n);
		ck_assert_int_eq(t.p.body.state, BODY_END);
		talk_clear(&t);
	}
}
END_TEST

START_TEST(replies)
{
	static const struct { enum socks5_rep rep; const char *want; } cases[] = {
		{ SOCKS5_REP_OK, "HTTP/1.1 200 OK\r\n\r\n" },
		{ SOCKS5_REP_FAILURE, REPLY("502 Bad Gateway", "") },
		{ SOCKS5_REP_NOT_ALLOWED, REPLY("403 Forbidden", "") },
		{ SOCKS5_REP_NET_UNREACHABLE, REPLY("502 Bad Gateway", "") },
		{ SOCKS5_REP_HOST_UNREACHABLE, REPLY("502 Bad Gateway", "") },
		{ SOCKS5_REP_REFUSED, REPLY("502 Bad Gateway", "") },
		{ SOCKS5_REP_TTL_EXPIRED, REPLY("504 Gateway Timeout", "") },
	};
	uint8_t out[HTTP_PROXY_REPLY_MAX];

	for (size_t i = 0; i < sizeof(cases) / sizeof(cases[0]); i++) {
		ck_assert_uint_eq(http_proxy_reply(out, cases[i].rep), strlen(cases[i].want));
		ck_assert_mem_eq(out, cases[i].want, strlen(cases[i].want));
	}
}
END_TEST

TEST_MAIN("http_proxy", connect_good, connect_bad_target, plain_rewritten, plain_fields,
    request_line_bad, fields_bad, line_ends_bad, head_too_long, many_connection_fields,
    authorization, authorization_longest, truncated_at_every_length, any_steps_and_a_body,
    where_it_ends, replies)
