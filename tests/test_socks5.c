/* The SOCKS5 server's side. The numbers in names are items of PT-CHECKLIST.md. */
#include "pt-client/socks5.h"

#include <arpa/inet.h>
#include <errno.h>
#include <netinet/in.h>
#include <stdio.h>

#include "common/mem.h"
#include "tests/harness.h"

#define NOAUTH "050100"
#define NOAUTH_OK "0500"
#define TO_V4 "05010001" "c0000201" "01bb" /* 192.0.2.1:443 */

/* A conversation: what the client sent, what it got, how it ended. */
struct talk {
	struct socks5 s;
	enum socks5_result result;
	struct buffer out;
	size_t used;
};

static void
talk_clear(struct talk *t)
{
	socks5_clear(&t->s);
	buffer_clear(&t->out);
}

/* Feeds an exact copy, so that the sanitizer sees a read past the end. */
static void
feed(struct talk *t, const uint8_t *p, size_t n)
{
	uint8_t *copy = mem_alloc(n + (n == 0));
	size_t used;

	if (n > 0)
		memcpy(copy, p, n);
	t->result = socks5_feed(&t->s, copy, n, &used, &t->out);
	ck_assert_uint_le(used, n);
	if (t->result == SOCKS5_MORE)
		ck_assert_uint_eq(used, n);
	t->used += used;
	free(copy);
}

/* Starts a conversation with n bytes of which `first` come in one piece and the rest in
 * another. */
static struct talk
talk_split(const uint8_t *p, size_t n, size_t first)
{
	struct talk t = { .used = 0 };

	socks5_init(&t.s);
	feed(&t, p, first);
	if (t.result == SOCKS5_MORE)
		feed(&t, p + first, n - first);
	return t;
}

static struct talk
talk_hex(const char *hex)
{
	uint8_t p[1200];

	return talk_split(p, unhex(p, hex), 0);
}

static void
check_out(const struct talk *t, const char *hex)
{
	uint8_t want[64];
	size_t n = unhex(want, hex);

	ck_assert_uint_eq(t->out.n, n);
	if (n > 0)
		ck_assert_mem_eq(buffer_data(&t->out), want, n);
}

static void
check_bad(const char *in, const char *out, const char *why)
{
	struct talk t = talk_hex(in);

	ck_assert_msg(t.result == SOCKS5_BAD, "%s", in);
	check_out(&t, out);
	ck_assert_str_eq(t.s.why, why);
	talk_clear(&t);
}

/* user and password as a whole conversation; the password may hold NULs. */
static struct talk
talk_userpass(const void *user, size_t ulen, const void *pass, size_t plen)
{
	uint8_t mem[600];
	struct writer w = writer_of(mem, sizeof(mem));

	writer_bytes(&w, "\5\1\2\1", 4);
	writer_u8(&w, (uint8_t)ulen);
	writer_bytes(&w, user, ulen);
	writer_u8(&w, (uint8_t)plen);
	writer_bytes(&w, pass, plen);
	writer_bytes(&w, "\5\1\0\1\x7f\0\0\1\0\x50", 10);
	ck_assert(!w.failed);
	return talk_split(mem, w.n, 0);
}

START_TEST(request_ipv4)
{
	struct talk t = talk_hex(NOAUTH TO_V4);
	const struct sockaddr_in *in = (const struct sockaddr_in *)&t.s.addr;

	ck_assert_int_eq(t.result, SOCKS5_REQUEST);
	check_out(&t, NOAUTH_OK);
	ck_assert_str_eq(t.s.host, "192.0.2.1");
	ck_assert_uint_eq(t.s.port, 443);
	ck_assert_int_eq(in->sin_family, AF_INET);
	ck_assert_uint_eq(in->sin_addr.s_addr, htonl(0xc0000201));
	ck_assert_uint_eq(in->sin_port, htons(443));
	ck_assert_uint_eq(t.s.args.text.n, 0);
	talk_clear(&t);
}
END_TEST

START_TEST(request_ipv6)
{
	struct talk t = talk_hex(NOAUTH "05010004" "20010db8000000000000000000000001" "ffff");
	const struct sockaddr_in6 *in6 = (const struct sockaddr_in6 *)&t.s.addr;

	ck_assert_int_eq(t.result, SOCKS5_REQUEST);
	ck_assert_str_eq(t.s.host, "2001:db8::1");
	ck_assert_uint_eq(t.s.port, 65535);
	ck_assert_int_eq(in6->sin6_family, AF_INET6);
	ck_assert_uint_eq(in6->sin6_addr.s6_addr[15], 1);
	ck_assert_uint_eq(in6->sin6_port, htons(65535));
	talk_clear(&t);
}
END_TEST

START_TEST(request_name)
{
	struct talk t = talk_hex(NOAUTH "05010003" "0b" "6578616d706c652e636f6d" "0050");
	uint8_t longest[3 + 5 + 255 + 2];

	ck_assert_int_eq(t.result, SOCKS5_REQUEST);
	ck_assert_str_eq(t.s.host, "example.com");
	ck_assert_uint_eq(t.s.port, 80);
	ck_assert_int_eq(t.s.addr.ss_family, AF_UNSPEC);
	talk_clear(&t);

	memset(longest, 'a', sizeof(longest));
	unhex(longest, NOAUTH "05010003ff");
	t = talk_split(longest, sizeof(longest), 0);
	ck_assert_int_eq(t.result, SOCKS5_REQUEST);
	ck_assert_uint_eq(strlen(t.s.host), 255);
	talk_clear(&t);
}
END_TEST

/* A clear machine starts anew. */
START_TEST(cleared_is_fresh)
{
	struct talk t = talk_hex("0501020103613d6201" "00" TO_V4);

	ck_assert_int_eq(t.result, SOCKS5_REQUEST);
	ck_assert_str_eq(pt_args_get(&t.s.args, "a"), "b");
	talk_clear(&t);
	ck_assert_str_eq(t.s.host, "");
	t = talk_hex(NOAUTH TO_V4);
	ck_assert_int_eq(t.result, SOCKS5_REQUEST);
	talk_clear(&t);
}
END_TEST

START_TEST(methods_39)
{
	static const char *const cases[][2] = {
		{ "050100", "0500" }, { "050102", "0502" }, { "05020002", "0502" },
		{ "05020200", "0502" }, { "0503000102", "0502" }, { "0503010300", "0500" },
		{ "05020080", "0500" },
	};
	uint8_t all[2 + 255] = { 5, 255 };
	struct talk t;

	for (size_t i = 0; i < sizeof(cases) / sizeof(cases[0]); i++) {
		t = talk_hex(cases[i][0]);
		ck_assert_int_eq(t.result, SOCKS5_MORE);
		check_out(&t, cases[i][1]);
		talk_clear(&t);
	}
	memset(all + 2, 0x80, 254);
	all[256] = 2;
	t = talk_split(all, sizeof(all), 0);
	check_out(&t, "0502");
	talk_clear(&t);
	check_bad("0500", "05ff", "no usable SOCKS authentication method");
	check_bad("050101", "05ff", "no usable SOCKS authentication method");
	check_bad("05020103", "05ff", "no usable SOCKS authentication method");
}
END_TEST

START_TEST(wrong_version_39)
{
	check_bad("04", "", "wrong SOCKS version"); /* at the first byte */
	check_bad("0401005000000001", "", "wrong SOCKS version");
	check_bad("474554", "", "wrong SOCKS version");
	check_bad("00", "", "wrong SOCKS version");
	check_bad(NOAUTH "04", NOAUTH_OK, "wrong SOCKS version");
}
END_TEST

START_TEST(userpass_good_40_41)
{
	static const struct { const char *user, *pass; size_t plen; const char *v; } good[] = {
		{ "k=v", "\0", 1, "v" },       /* all of it in the name */
		{ "k=v", "", 0, "v" },         /* not in RFC 1929, but harmless */
		{ "k=v", "w", 1, "vw" },       /* joined before it is parsed */
		{ "k", "=v", 2, "v" },
		{ "k=a\\", ";b", 2, "a;b" },   /* an escape across the two */
		{ "k=v;x", "=y", 2, "v" },
		{ "k=a=b", "\\=c", 3, "a=b=c" }, /* (43) */
	};

	for (size_t i = 0; i < sizeof(good) / sizeof(good[0]); i++) {
		struct talk t = talk_userpass(good[i].user, strlen(good[i].user), good[i].pass,
		    good[i].plen);

		ck_assert_msg(t.result == SOCKS5_REQUEST, "%s", good[i].user);
		check_out(&t, "0502" "0100");
		ck_assert_str_eq(pt_args_get(&t.s.args, "k"), good[i].v);
		ck_assert_str_eq(t.s.host, "127.0.0.1");
		ck_assert_uint_eq(t.s.port, 80);
		talk_clear(&t);
	}
}
END_TEST

START_TEST(userpass_bad_40)
{
	static const struct { const char *user, *pass; size_t plen; const char *why; } bad[] = {
		{ "", "", 0, "empty SOCKS user name" },
		{ "", "k=v", 3, "empty SOCKS user name" },
		{ "key", "\0", 1, "no equals sign" },
		{ "k=v", ";", 1, "no equals sign" },
		{ "k=v\\", "\0", 1, "backslash at the end" },
		{ "k=v", "\0\0", 2, "NUL byte" },
		{ "=v", "", 0, "empty key" },
	};

	for (size_t i = 0; i < sizeof(bad) / sizeof(bad[0]); i++) {
		struct talk t = talk_userpass(bad[i].user, strlen(bad[i].user), bad[i].pass,
		    bad[i].plen);

		ck_assert_msg(t.result == SOCKS5_BAD, "%s", bad[i].user);
		check_out(&t, "0502" "0101");
		ck_assert_str_eq(t.s.why, bad[i].why);
		ck_assert_uint_eq(t.s.args.text.n, 0);
		talk_clear(&t);
	}
	check_bad("050102" "05", "0502" "0101", "wrong SOCKS version");
	check_bad("050102" "00", "0502" "0101", "wrong SOCKS version");
}
END_TEST

START_TEST(userpass_longest_41)
{
	char text[PT_ARGS_SOCKS_MAX];
	struct talk t;

	memset(text, 'x', sizeof(text));
	memcpy(text, "k=", 2);
	t = talk_userpass(text, 255, text + 255, 255);
	ck_assert_int_eq(t.result, SOCKS5_REQUEST);
	ck_assert_uint_eq(strlen(pt_args_get(&t.s.args, "k")), PT_ARGS_SOCKS_MAX - 2);
	talk_clear(&t);
}
END_TEST

/* ---- a proxy of our own ---- */

/* A greeting, user and password, and a request. */
static struct talk
talk_local(const char *want_user, const char *want_pass, const char *user, const char *pass)
{
	uint8_t mem[600];
	struct writer w = writer_of(mem, sizeof(mem));
	struct talk t = { .used = 0 };

	writer_bytes(&w, "\5\2\0\2\1", 5);
	writer_u8(&w, (uint8_t)strlen(user));
	writer_bytes(&w, user, strlen(user));
	writer_u8(&w, (uint8_t)strlen(pass));
	writer_bytes(&w, pass, strlen(pass));
	writer_bytes(&w, "\5\1\0\3\1x\0\x50", 8);
	ck_assert(!w.failed);
	socks5_init_local(&t.s, want_user, want_pass);
	feed(&t, mem, 9);
	if (t.result == SOCKS5_MORE)
		feed(&t, mem + 9, w.n - 9);
	return t;
}

START_TEST(local_password)
{
	static const struct { const char *want[2], *user, *pass; bool ok; } cases[] = {
		{ { "user", "secret" }, "user", "secret", true },
		{ { "user", "secret" }, "user", "secreT", false },
		{ { "user", "secret" }, "user", "secret2", false },
		{ { "user", "secret" }, "user", "secre", false },
		{ { "user", "secret" }, "usez", "secret", false },
		{ { "user", "secret" }, "users", "ecret", false },
		{ { "user", "secret" }, "", "secret", false },
		{ { "user", "secret" }, "user", "", false },
		{ { "user", "secret" }, "k=v", "k=v", false },
		{ { NULL, NULL }, "any", "thing", true }, /* a stream's own, as Tor Browser has them */
		{ { NULL, NULL }, "k=v", "", true },
	};
	char longest[256];
	struct talk t;

	for (size_t i = 0; i < sizeof(cases) / sizeof(cases[0]); i++) {
		t = talk_local(cases[i].want[0], cases[i].want[1], cases[i].user, cases[i].pass);
		ck_assert_msg(t.result == (cases[i].ok ? SOCKS5_REQUEST : SOCKS5_BAD), "%zu", i);
		check_out(&t, cases[i].ok ? "0502" "0100" : "0502" "0101");
		if (!cases[i].ok)
			ck_assert_str_eq(t.s.why, "wrong SOCKS user or password");
		ck_assert_uint_eq(t.s.args.text.n, 0);
		talk_clear(&t);
	}
	memset(longest, 'x', 255);
	longest[255] = '\0';
	t = talk_local(longest, longest, longest, longest);
	ck_assert_int_eq(t.result, SOCKS5_REQUEST);
	ck_assert_str_eq(t.s.host, "x");
	talk_clear(&t);
	t = talk_local(longest, longest, longest, longest + 1);
	ck_assert_int_eq(t.result, SOCKS5_BAD);
	talk_clear(&t);
}
END_TEST

/* A NUL in what is given ends nothing. */
START_TEST(local_password_nul)
{
	static const uint8_t in[] = "\5\1\2\1\4u\0ab\4u\0ab";
	struct talk t = { .used = 0 };

	socks5_init_local(&t.s, "u", "u");
	feed(&t, in, sizeof(in) - 1);
	ck_assert_int_eq(t.result, SOCKS5_BAD);
	check_out(&t, "0502" "0101");
	talk_clear(&t);
}
END_TEST

/* Who must name a password cannot do without. */
START_TEST(local_methods)
{
	static const struct { const char *user, *in, *out; enum socks5_result result; } cases[] = {
		{ "u", "050100", "05ff", SOCKS5_BAD }, { "u", "050102", "0502", SOCKS5_MORE },
		{ "u", "05020002", "0502", SOCKS5_MORE }, { NULL, "050100", "0500", SOCKS5_MORE },
		{ NULL, "050102", "0502", SOCKS5_MORE }, { NULL, "050101", "05ff", SOCKS5_BAD },
	};

	for (size_t i = 0; i < sizeof(cases) / sizeof(cases[0]); i++) {
		struct talk t = { .used = 0 };
		uint8_t in[8];

		socks5_init_local(&t.s, cases[i].user, cases[i].user);
		feed(&t, in, unhex(in, cases[i].in));
		ck_assert_int_eq(t.result, cases[i].result);
		check_out(&t, cases[i].out);
		talk_clear(&t);
	}
}
END_TEST

START_TEST(commands_45_46)
{
	static const char reply07[] = NOAUTH_OK "05070001000000000000";
	static const char reply08[] = NOAUTH_OK "05080001000000000000";
	const char *cmd = "SOCKS command other than CONNECT", *atyp = "unknown SOCKS address type";

	check_bad(NOAUTH "0500000100000000" "0050", reply07, cmd);
	check_bad(NOAUTH "0502000100000000" "0050", reply07, cmd);
	check_bad(NOAUTH "05030003026162" "0050", reply07, cmd);
	check_bad(NOAUTH "05f0000100000000" "0050", reply07, cmd); /* tor's RESOLVE */
	check_bad(NOAUTH "05010000", reply08, atyp);
	check_bad(NOAUTH "05010002", reply08, atyp);
	check_bad(NOAUTH "050100ff", reply08, atyp);
	check_bad(NOAUTH "05020002", reply07, cmd);
}
END_TEST

START_TEST(names_bad_48)
{
	static const char reply01[] = NOAUTH_OK "05010001000000000000";
	const char *why = "bad host name in a SOCKS request";

	check_bad(NOAUTH "0501000300" "0050", reply01, why);
	check_bad(NOAUTH "05010003036100" "62" "0050", reply01, why);
	check_bad(NOAUTH "05010003036120" "62" "0050", reply01, why);
	check_bad(NOAUTH "0501000303610a" "62" "0050", reply01, why);
	check_bad(NOAUTH "050100030361c3a9" "0050", reply01, why);
	check_bad(NOAUTH "05010003017f" "0050", reply01, why);
}
END_TEST

/* What the app sends behind its request is not ours. */
START_TEST(early_data_stays)
{
	uint8_t p[64];
	size_t whole = unhex(p, NOAUTH TO_V4), n = unhex(p, NOAUTH TO_V4 "160301020001"), used;
	struct talk t;

	for (size_t first = 0; first <= n; first++) {
		t = talk_split(p, n, first);
		ck_assert_int_eq(t.result, SOCKS5_REQUEST);
		ck_assert_uint_eq(t.used, whole);
		ck_assert_int_eq(socks5_feed(&t.s, p, n, &used, &t.out), SOCKS5_REQUEST);
		ck_assert_uint_eq(used, 0);
		check_out(&t, NOAUTH_OK);
		talk_clear(&t);
	}
	t = talk_hex("0501010000");
	ck_assert_uint_eq(t.used, 3);
	ck_assert_int_eq(socks5_feed(&t.s, p, n, &used, &t.out), SOCKS5_BAD);
	ck_assert_uint_eq(used, 0);
	check_out(&t, "05ff");
	talk_clear(&t);
}
END_TEST

static const char *const whole[] = {
	NOAUTH TO_V4,
	"0503000102" "0103613d620100" "05010003" "03612e62" "0050",
	"050102" "0103613d6204633b643d" "05010004" "00000000000000000000000000000001" "0050",
	"050102" "0104613d625c" "023b63" TO_V4,
};

START_TEST(truncated_at_every_length)
{
	for (size_t i = 0; i < sizeof(whole) / sizeof(whole[0]); i++) {
		uint8_t p[128];
		size_t n = unhex(p, whole[i]);

		for (size_t cut = 0; cut < n; cut++) {
			struct talk t = talk_split(p, cut, cut);

			ck_assert_int_eq(t.result, SOCKS5_MORE);
			talk_clear(&t);
		}
	}
}
END_TEST

/* However the bytes arrive, the same comes out. */
START_TEST(one_byte_at_a_time_and_split_everywhere)
{
	for (size_t i = 0; i < sizeof(whole) / sizeof(whole[0]); i++) {
		uint8_t p[128];
		size_t n = unhex(p, whole[i]);
		struct talk at_once = talk_split(p, n, n), t = { .used = 0 };

		ck_assert_int_eq(at_once.result, SOCKS5_REQUEST);
		for (size_t first = 0; first <= n + 1; first++) {
			if (first <= n) {
				t = talk_split(p, n, first);
			} else {
				socks5_init(&t.s);
				t.used = 0;
				do {
					feed(&t, p + t.used, 1);
				} while (t.result == SOCKS5_MORE);
			}
			ck_assert_int_eq(t.result, at_once.result);
			if (t.result == SOCKS5_REQUEST)
				ck_assert_uint_eq(t.used, n);
			ck_assert_uint_eq(t.out.n, at_once.out.n);
			ck_assert_mem_eq(buffer_data(&t.out), buffer_data(&at_once.out), t.out.n);
			ck_assert_str_eq(t.s.host, at_once.s.host);
			ck_assert_uint_eq(t.s.port, at_once.s.port);
			ck_assert_uint_eq(t.s.args.text.n, at_once.s.args.text.n);
			talk_clear(&t);
		}
		talk_clear(&at_once);
	}
}
END_TEST

START_TEST(replies_46)
{
	uint8_t out[SOCKS5_REPLY_LEN], want[SOCKS5_REPLY_LEN];

	ck_assert_uint_eq(socks5_reply(out, SOCKS5_REP_OK), unhex(want, "05000001000000000000"));
	ck_assert_mem_eq(out, want, sizeof(out));
	ck_assert_uint_eq(socks5_reply(out, SOCKS5_REP_REFUSED), unhex(want, "05050001000000000000"));
	ck_assert_mem_eq(out, want, sizeof(out));
}
END_TEST

START_TEST(errno_47_48)
{
	ck_assert_int_eq(socks5_rep_for_errno(0), 0);
	ck_assert_int_eq(socks5_rep_for_errno(ECONNREFUSED), 5);
	ck_assert_int_eq(socks5_rep_for_errno(ECONNRESET), 5);
	ck_assert_int_eq(socks5_rep_for_errno(EHOSTUNREACH), 4);
	ck_assert_int_eq(socks5_rep_for_errno(ENETUNREACH), 3);
	ck_assert_int_eq(socks5_rep_for_errno(ETIMEDOUT), 6);
	ck_assert_int_eq(socks5_rep_for_errno(EACCES), 1);
	ck_assert_int_eq(socks5_rep_for_errno(EPROTO), 1);
	for (int err = -1; err < 200; err++) {
		enum socks5_rep rep = socks5_rep_for_errno(err);

		ck_assert(rep != 2 && rep < SOCKS5_REP_BAD_COMMAND);
		ck_assert_int_eq(rep == SOCKS5_REP_OK, err == 0);
	}
}
END_TEST

TEST_MAIN("socks5", request_ipv4, request_ipv6, request_name, cleared_is_fresh, methods_39,
    wrong_version_39, userpass_good_40_41, userpass_bad_40, userpass_longest_41, local_password,
    local_password_nul, local_methods, commands_45_46, names_bad_48, early_data_stays, truncated_at_every_length,
    one_byte_at_a_time_and_split_everywhere, replies_46, errno_47_48)
