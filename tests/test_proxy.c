#include <arpa/inet.h>
#include <errno.h>

#include "common/address.h"
#include "common/mem.h"
#include "common/net/proxy.h"
#include "tests/harness.h"

/* A string literal with its length, NULs and all. */
#define B(s) (s), sizeof(s) - 1

#define V4 "192.0.2.1"       /* in every case, port 443: c000 0201 01bb */
#define V6 "2001:db8::abcd"

struct chat {
	const char *name;
	enum proxy_kind kind;
	const char *user, *pass;
	const char *target;
	const char *say; /* what must be sent in all */
	size_t say_n;
	const char *reply; /* all that the proxy says */
	size_t reply_n;
	enum talk_result result;
	int err;
};

#define REQUEST4 "\5\1\0\1\xc0\0\2\1\1\xbb"
#define REQUEST6 "\5\1\0\4\x20\1\x0d\xb8\0\0\0\0\0\0\0\0\0\0\xab\xcd\1\xbb"
#define AUTH "\5\2\0\2\1\2me\6secret"
#define SOCKS5_OK "\5\0\5\0\0\1\1\2\3\4\5\6"
#define SOCKS5_AUTH_OK "\5\2\1\0\5\0\0\1\1\2\3\4\5\6"
#define SOCKS4_ASK "\4\1\1\xbb\xc0\0\2\1"
#define CONNECT4 "CONNECT 192.0.2.1:443 HTTP/1.1\r\nHost: 192.0.2.1:443\r\n"
#define HTTP_FAIL(reply, err) "http " reply, PROXY_HTTP, NULL, NULL, V4, \
	B(CONNECT4 "\r\n"), B(reply), TALK_BAD, err

static const struct chat chats[] = {
	{ "socks5 v4", PROXY_SOCKS5, NULL, NULL, V4, B("\5\1\0" REQUEST4), B(SOCKS5_OK), TALK_OK, 0 },
	{ "socks5 v6", PROXY_SOCKS5, NULL, NULL, V6, B("\5\1\0" REQUEST6), B(SOCKS5_OK), TALK_OK, 0 },
	{ "bound to v6", PROXY_SOCKS5, NULL, NULL, V4, B("\5\1\0" REQUEST4),
	    B("\5\0\5\0\0\4" "0123456789abcdef" "\1\2"), TALK_OK, 0 },
	{ "bound to a name", PROXY_SOCKS5, NULL, NULL, V4, B("\5\1\0" REQUEST4),
	    B("\5\0\5\0\0\3\4host\1\2"), TALK_OK, 0 },
	{ "bound to an empty name", PROXY_SOCKS5, NULL, NULL, V4, B("\5\1\0" REQUEST4),
	    B("\5\0\5\0\0\3\0\1\2"), TALK_OK, 0 },
	{ "password", PROXY_SOCKS5, "me", "secret", V4, B(AUTH REQUEST4), B(SOCKS5_AUTH_OK), TALK_OK, 0 },
	{ "no password", PROXY_SOCKS5, "me", NULL, V4, B("\5\2\0\2\1\2me\0" REQUEST4),
	    B(SOCKS5_AUTH_OK), TALK_OK, 0 },
	{ "password not wanted", PROXY_SOCKS5, "me", "secret", V4, B("\5\2\0\2" REQUEST4),
	    B(SOCKS5_OK), TALK_OK, 0 },
	{ "auth version 5", PROXY_SOCKS5, "me", "secret", V4, B(AUTH REQUEST4),
	    B("\5\2\5\0\5\0\0\1\1\2\3\4\5\6"), TALK_OK, 0 },

	{ "wrong password", PROXY_SOCKS5, "me", "secret", V4, B(AUTH), B("\5\2\1\1"), TALK_BAD, EACCES },
	{ "auth version 2", PROXY_SOCKS5, "me", "secret", V4, B(AUTH), B("\5\2\2\0"), TALK_BAD, EPROTO },
	{ "no method", PROXY_SOCKS5, NULL, NULL, V4, B("\5\1\0"), B("\5\xff"), TALK_BAD, EACCES },
	{ "method not offered", PROXY_SOCKS5, NULL, NULL, V4, B("\5\1\0"), B("\5\2"), TALK_BAD, EPROTO },
	{ "gssapi", PROXY_SOCKS5, "me", NULL, V4, B("\5\2\0\2"), B("\5\1"), TALK_BAD, EPROTO },
	{ "method version", PROXY_SOCKS5, NULL, NULL, V4, B("\5\1\0"), B("\4\0"), TALK_BAD, EPROTO },
	{ "reply version", PROXY_SOCKS5, NULL, NULL, V4, B("\5\1\0" REQUEST4), B("\5\0\4\0"),
	    TALK_BAD, EPROTO },
	{ "bound type", PROXY_SOCKS5, NULL, NULL, V4, B("\5\1\0" REQUEST4), B("\5\0\5\0\0\2\0"),
	    TALK_BAD, EPROTO },

	{ "socks4", PROXY_SOCKS4, NULL, NULL, V4, B(SOCKS4_ASK "\0"), B("\0\x5a" "abcdef"), TALK_OK, 0 },
	{ "socks4a", PROXY_SOCKS4A, "me", "", V4, B(SOCKS4_ASK "me\0"), B("\0\x5a" "abcdef"), TALK_OK, 0 },
	{ "socks4 rejected", PROXY_SOCKS4, NULL, NULL, V4, B(SOCKS4_ASK "\0"), B("\0\x5b" "abcdef"),
	    TALK_BAD, ECONNREFUSED },
	{ "socks4 identd", PROXY_SOCKS4, NULL, NULL, V4, B(SOCKS4_ASK "\0"), B("\0\x5c" "abcdef"),
	    TALK_BAD, EACCES },
	{ "socks4 user", PROXY_SOCKS4, NULL, NULL, V4, B(SOCKS4_ASK "\0"), B("\0\x5d" "abcdef"),
	    TALK_BAD, EACCES },
	{ "socks4 code", PROXY_SOCKS4, NULL, NULL, V4, B(SOCKS4_ASK "\0"), B("\0\x5e" "abcdef"),
	    TALK_BAD, EPROTO },
	{ "socks4 version", PROXY_SOCKS4, NULL, NULL, V4, B(SOCKS4_ASK "\0"), B("\4\x5a" "abcdef"),
	    TALK_BAD, EPROTO },

	{ "http", PROXY_HTTP, NULL, NULL, V4, B(CONNECT4 "\r\n"),
	    B("HTTP/1.1 200 Connection established\r\n\r\n"), TALK_OK, 0 },
	{ "http v6", PROXY_HTTP, NULL, NULL, V6,
	    B("CONNECT [2001:db8::abcd]:443 HTTP/1.1\r\nHost: [2001:db8::abcd]:443\r\n\r\n"),
	    B("HTTP/1.0 200 OK\r\nVia: x\r\nContent-Length: 5\r\n\r\n"), TALK_OK, 0 },
	{ "http, no reason", PROXY_HTTP, NULL, NULL, V4, B(CONNECT4 "\r\n"),
	    B("HTTP/1.1 204\r\n\r\n"), TALK_OK, 0 },
	{ "http, bare line ends", PROXY_HTTP, NULL, NULL, V4, B(CONNECT4 "\r\n"),
	    B("HTTP/1.1 200\nVia: x\n\n"), TALK_OK, 0 },
	{ "http, RFC 7617's example", PROXY_HTTP, "Aladdin", "open sesame", V4,
	    B(CONNECT4 "Proxy-Authorization: Basic QWxhZGRpbjpvcGVuIHNlc2FtZQ==\r\n\r\n"),
	    B("HTTP/1.1 200 OK\r\n\r\n"), TALK_OK, 0 },
	{ "http, the other alphabet", PROXY_HTTP, "\xfb\xff", "\xbf>", V4,
	    B(CONNECT4 "Proxy-Authorization: Basic +/86vz4=\r\n\r\n"),
	    B("HTTP/1.1 200 OK\r\n\r\n"), TALK_OK, 0 },
	{ "http, user only", PROXY_HTTP, "ab", NULL, V4,
	    B(CONNECT4 "Proxy-Authorization: Basic YWI6\r\n\r\n"),
	    B("HTTP/1.1 200 OK\r\n\r\n"), TALK_OK, 0 },
	{ HTTP_FAIL("HTTP/1.1 407 Proxy Authentication Required\r\n\r\n", EACCES) },
	{ HTTP_FAIL("HTTP/1.1 403 Forbidden\r\n\r\n", EACCES) },
	{ HTTP_FAIL("HTTP/1.1 302 Found\r\nLocation: http://x/\r\n\r\n", EACCES) },
	{ HTTP_FAIL("HTTP/1.1 502\r\n\r\n", EHOSTUNREACH) },
	{ HTTP_FAIL("HTTP/1.1 503 x\r\n\r\n", EHOSTUNREACH) },
	{ HTTP_FAIL("HTTP/1.1 504 x\r\n\r\n", ETIMEDOUT) },
	{ HTTP_FAIL("HTTP/1.1 100 Continue\r\n\r\n", EPROTO) },
	{ HTTP_FAIL("HTTP/1.1 199 \r\n\r\n", EPROTO) },
	{ HTTP_FAIL("HTTP/1.1 300 \r\n\r\n", EACCES) },
	{ HTTP_FAIL("HTTP/1.1 2000 \r\n\r\n", EPROTO) },
	{ HTTP_FAIL("HTTP/1.1 20\r\n\r\n", EPROTO) },
	{ HTTP_FAIL("HTTP/2 200 \r\n\r\n", EPROTO) },
	{ HTTP_FAIL("HTTP/1.x 200 \r\n\r\n", EPROTO) },
	{ HTTP_FAIL("http/1.1 200 \r\n\r\n", EPROTO) },
	{ HTTP_FAIL("\r\n\r\n", EPROTO) },
	{ HTTP_FAIL("\5\0", EPROTO) },
	{ HTTP_FAIL("\x15\3\3\0\2\2\x28", EPROTO) },
};

static struct sockaddr_storage
target(const char *ip)
{
	struct sockaddr_storage ss = { .ss_family = AF_INET };
	struct sockaddr_in *v4 = (struct sockaddr_in *)&ss;
	struct sockaddr_in6 *v6 = (struct sockaddr_in6 *)&ss;

	if (inet_pton(AF_INET, ip, &v4->sin_addr) == 1) {
		v4->sin_port = htons(443);
	} else {
		ss.ss_family = AF_INET6;
		ck_assert_int_eq(inet_pton(AF_INET6, ip, &v6->sin6_addr), 1);
		v6->sin6_port = htons(443);
	}
	return ss;
}

static struct outbound
outbound(const struct chat *c)
{
	return (struct outbound){
		.proxy = c->kind,
		.user = c->user != NULL ? mem_strdup(c->user) : NULL,
		.pass = c->pass != NULL ? mem_strdup(c->pass) : NULL,
	};
}

/* Gives the reply in pieces of `piece` bytes and checks everything that the chat says. */
static void
check_chat(const struct chat *c, size_t piece)
{
	static const char payload[] = "payload";
	struct outbound o = outbound(c);
	struct sockaddr_storage to = target(c->target);
	enum talk_result result = TALK_MORE;
	struct proxy p;
	uint8_t *in = mem_alloc(c->reply_n + sizeof(payload));
	size_t n = c->reply_n + sizeof(payload), at = 0;

	memcpy(in, c->reply, c->reply_n);
	memcpy(in + c->reply_n, payload, sizeof(payload));
	ck_assert_msg(proxy_init(&p, &o, &to) == 0, "%s", c->name);
	while (result == TALK_MORE && at < n) {
		size_t m = n - at < piece ? n - at : piece;
		struct reader r = reader_of(in + at, m);

		result = talk_feed(&p.talk, &r);
		at += m - r.n;
	}
	ck_assert_msg(result == c->result && p.err == c->err, "%s: result %d, error %d", c->name,
	    (int)result, p.err);
	ck_assert_msg(p.talk.out.n == c->say_n && memcmp(p.talk.out_mem, c->say, c->say_n) == 0,
	    "%s: said something else", c->name);
	/* Not one byte of the payload; of a bad reply, no more than the reply. */
	ck_assert_msg(c->result == TALK_OK ? at == c->reply_n : at <= c->reply_n,
	    "%s: took %zu bytes", c->name, at);
	proxy_clear(&p);
	outbound_clear(&o);
	free(in);
}

START_TEST(conversations)
{
	for (size_t i = 0; i < sizeof(chats) / sizeof(chats[0]); i++)
		for (size_t piece = 1; piece < 64; piece++)
			check_chat(&chats[i], piece);
}
END_TEST

START_TEST(truncated_is_not_bad)
{
	for (size_t i = 0; i < sizeof(chats) / sizeof(chats[0]); i++) {
		const struct chat *c = &chats[i];
		struct outbound o = outbound(c);
		struct sockaddr_storage to = target(c->target);

		for (size_t n = 0; c->result == TALK_OK && n < c->reply_n; n++) {
			struct reader r = reader_of(c->reply, n);
			struct proxy p;

			ck_assert_int_eq(proxy_init(&p, &o, &to), 0);
			ck_assert_msg(talk_feed(&p.talk, &r) == TALK_MORE, "%s at %zu", c->name, n);
			ck_assert(reader_end(&r));
			proxy_clear(&p);
		}
		outbound_clear(&o);
	}
}
END_TEST

START_TEST(socks5_reply_codes)
{
	static const int err[] = { 0, EIO, EACCES, ENETUNREACH, EHOSTUNREACH, ECONNREFUSED,
		ETIMEDOUT, EOPNOTSUPP, EAFNOSUPPORT };

	for (unsigned rep = 1; rep < 256; rep++) {
		char reply[] = { 5, 0, 5, (char)rep };
		struct chat c = { "reply code", PROXY_SOCKS5, NULL, NULL, V4, B("\5\1\0" REQUEST4),
			reply, sizeof(reply), TALK_BAD, rep < 9 ? err[rep] : EPROTO };

		check_chat(&c, 4);
	}
}
END_TEST

START_TEST(http_reply_is_capped)
{
	struct outbound o = { .proxy = PROXY_HTTP };
	struct sockaddr_storage to = target(V4);

	for (size_t size = PROXY_HTTP_REPLY_MAX; size <= PROXY_HTTP_REPLY_MAX + 1; size++) {
		char reply[PROXY_HTTP_REPLY_MAX + 1];
		struct reader r = reader_of(reply, size);
		struct proxy p;

		memset(reply, 'x', sizeof(reply));
		memcpy(reply, "HTTP/1.1 200 ", 13);
		memcpy(reply + size - 4, "\r\n\r\n", 4);
		ck_assert_int_eq(proxy_init(&p, &o, &to), 0);
		if (size <= PROXY_HTTP_REPLY_MAX) {
			ck_assert_int_eq(talk_feed(&p.talk, &r), TALK_OK);
		} else {
			ck_assert_int_eq(talk_feed(&p.talk, &r), TALK_BAD);
			ck_assert_int_eq(p.err, EPROTO);
		}
		proxy_clear(&p);
	}
}
END_TEST

static int
init_result(enum proxy_kind kind, size_t user, size_t pass, const char *ip)
{
	struct outbound o = { .proxy = kind };
	struct sockaddr_storage to = target(ip);
	struct proxy p;
	int err;

	if (user > 0)
		memset(o.user = mem_zalloc(user + 1), 'u', user);
	if (pass > 0)
		memset(o.pass = mem_zalloc(pass + 1), 'p', pass);
	err = proxy_init(&p, &o, &to);
	proxy_clear(&p);
	outbound_clear(&o);
	return err;
}

START_TEST(what_cannot_be_said)
{
	ck_assert_int_eq(init_result(PROXY_SOCKS4, 0, 0, V6), EAFNOSUPPORT);
	ck_assert_int_eq(init_result(PROXY_SOCKS4A, 0, 0, V6), EAFNOSUPPORT);
	ck_assert_int_eq(init_result(PROXY_SOCKS4A, 2, 1, V4), EINVAL);
	ck_assert_int_eq(init_result(PROXY_SOCKS4, 4000, 0, V4), EINVAL);
	ck_assert_int_eq(init_result(PROXY_SOCKS5, 255, 255, V4), 0);
	ck_assert_int_eq(init_result(PROXY_SOCKS5, 256, 1, V4), EINVAL);
	ck_assert_int_eq(init_result(PROXY_SOCKS5, 1, 256, V4), EINVAL);
	ck_assert_int_eq(init_result(PROXY_SOCKS5, 0, 1, V4), EINVAL);
	ck_assert_int_eq(init_result(PROXY_HTTP, 500, 500, V6), 0);
	ck_assert_int_eq(init_result(PROXY_HTTP, 512, 512, V6), EINVAL);
	ck_assert_int_eq(init_result(PROXY_NONE, 0, 0, V4), EINVAL);
}
END_TEST

/* RFC 1929 by its longest user and password, which fill the byte of their length. */
START_TEST(longest_credentials)
{
	char user[256], pass[256];
	struct outbound o = { .proxy = PROXY_SOCKS5, .user = user, .pass = pass };
	struct sockaddr_storage to = target(V6);
	struct reader r = reader_of(B(SOCKS5_AUTH_OK));
	struct proxy p;

	memset(user, 'u', 255);
	memset(pass, 'p', 255);
	user[255] = pass[255] = '\0';
	ck_assert_int_eq(proxy_init(&p, &o, &to), 0);
	ck_assert_int_eq(talk_feed(&p.talk, &r), TALK_OK);
	ck_assert(!p.talk.out.failed);
	ck_assert_uint_eq(p.talk.out.n, 4 + 3 + 510 + 22);
	ck_assert_uint_eq(p.talk.out_mem[5], 255);
	ck_assert_uint_eq(p.talk.out_mem[6 + 255], 255);
	proxy_clear(&p);
}
END_TEST

TEST_MAIN("proxy", conversations, truncated_is_not_bad, socks5_reply_codes, http_reply_is_capped,
    what_cannot_be_said, longest_credentials)
