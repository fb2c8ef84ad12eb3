#include <arpa/inet.h>
#include <netinet/in.h>
#include <sys/un.h>

#include "pt-server/ext_orport_auth.h"
#include "tests/harness.h"

#define B(s) (s), sizeof(s) - 1
#define HEADER "! Extended ORPort Auth Cookie !\n"

/* Cookie and both nonces all zero. */
#define SERVER_HASH "9e221919982a84f75faf60ef926949796268c97833e06960ff265369a90fd6d8"
#define CLIENT_HASH "0f368b1bee24aabc54a9114ce06c070f3ed99d0d368f599ccc6dfdc8bf457a62"

static const uint8_t zeros[EXT_ORPORT_COOKIE_FILE_SIZE];

/* An ORPort that says what it always says, with zeros for cookie and nonces. */

struct script {
	uint8_t bytes[4096];
	size_t n;
};

static void
add(struct script *s, const char *p, size_t n)
{
	ck_assert_uint_le(n, sizeof(s->bytes) - s->n);
	memcpy(s->bytes + s->n, p, n);
	s->n += n;
}

static void
add_good_start(struct script *s)
{
	add(s, B("\2\1\7\0"));
	ck_assert_uint_eq(unhex(s->bytes + s->n, SERVER_HASH), 32);
	s->n += 32;
	memset(s->bytes + s->n, 0, 32);
	s->n += 32;
	add(s, B("\1"));
}

static struct sockaddr_storage
client(const char *ip, uint16_t port)
{
	struct sockaddr_storage ss = { .ss_family = AF_INET };
	struct sockaddr_in *v4 = (struct sockaddr_in *)&ss;
	struct sockaddr_in6 *v6 = (struct sockaddr_in6 *)&ss;

	if (inet_pton(AF_INET, ip, &v4->sin_addr) == 1) {
		v4->sin_port = htons(port);
	} else {
		ss.ss_family = AF_INET6;
		ck_assert_int_eq(inet_pton(AF_INET6, ip, &v6->sin6_addr), 1);
		v6->sin6_port = htons(port);
		v6->sin6_scope_id = 2;
	}
	return ss;
}

/* Plays s and a payload to a, in pieces; *taken: bytes that a took. */
static enum talk_result
play(struct ext_orport_auth *a, const struct script *s, size_t piece, size_t *taken)
{
	struct script all = *s;
	enum talk_result result = TALK_MORE;
	size_t at = 0;

	add(&all, B("payload"));
	while (result == TALK_MORE && at < all.n) {
		size_t n = all.n - at < piece ? all.n - at : piece;
		struct reader r = reader_of(all.bytes + at, n);

		result = talk_feed(&a->talk, &r);
		at += n - r.n;
	}
	*taken = at;
	return result;
}

static void
expect_okay(const struct script *s)
{
	for (size_t piece = 1; piece < 300; piece++) {
		struct ext_orport_auth a;
		size_t taken;

		ext_orport_auth_init(&a, zeros, zeros, NULL, "sultry");
		ck_assert_int_eq(play(&a, s, piece, &taken), TALK_OK);
		ck_assert_uint_eq(taken, s->n);
		ck_assert_ptr_null(a.error);
		ext_orport_auth_clear(&a);
	}
}

static void
expect_bad(const struct script *s, const char *word)
{
	for (size_t piece = 1; piece < 300; piece++) {
		struct ext_orport_auth a;
		size_t taken;

		ext_orport_auth_init(&a, zeros, zeros, NULL, "sultry");
		ck_assert_int_eq(play(&a, s, piece, &taken), TALK_BAD);
		ck_assert_uint_le(taken, s->n);
		ck_assert_msg(strstr(a.error, word) != NULL, "%s", a.error);
		ext_orport_auth_clear(&a);
	}
}

START_TEST(cookie_files)
{
	uint8_t file[65] = HEADER, cookie[EXT_ORPORT_COOKIE_SIZE];

	memset(file + 32, 'c', 33);
	ck_assert(ext_orport_cookie(cookie, file, 64));
	ck_assert(memcmp(cookie, file + 32, 32) == 0);
	for (size_t n = 0; n <= sizeof(file); n++)
		ck_assert(n == 64 || !ext_orport_cookie(cookie, file, n));
	for (size_t i = 0; i < 32; i++) {
		file[i] ^= 1;
		ck_assert(!ext_orport_cookie(cookie, file, 64));
		file[i] ^= 1;
	}
}
END_TEST

/* All that we say, with the vectors of zeros. */
START_TEST(what_is_said)
{
	static const struct {
		const char *ip;
		uint16_t port;
		const char *text;
	} cases[] = {
		{ "1.2.3.4", 5678, "\0\1\0\x0c" "1.2.3.4:5678" },
		{ "1:2::3:4", 5678, "\0\1\0\x0f" "[1:2::3:4]:5678" },
		{ "::ffff:1.2.3.4", 5678, "\0\1\0\x0c" "1.2.3.4:5678" },
		{ "fe80::1", 5678, "\0\1\0\x0e" "[fe80::1]:5678" },
		{ "1.2.3.4", 0, "\0\1\0\x09" "1.2.3.4:1" },
		{ "::ffff:1.2.3.4", 0, "\0\1\0\x09" "1.2.3.4:1" },
		{ NULL, 0, NULL },
	};

	for (size_t i = 0; i < sizeof(cases) / sizeof(cases[0]); i++) {
		struct script s = { .n = 0 }, said = { .n = 0 };
		struct sockaddr_storage from = { .ss_family = AF_UNSPEC };
		struct ext_orport_auth a;
		size_t taken;

		add(&said, B("\1"));
		add(&said, (const char *)zeros, EXT_ORPORT_NONCE_SIZE);
		said.n += unhex(said.bytes + said.n, CLIENT_HASH);
		if (cases[i].ip != NULL) {
			from = client(cases[i].ip, cases[i].port);
			add(&said, cases[i].text, 4 + strlen(cases[i].text + 4));
		}
		add(&said, B("\0\2\0\6sultry\0\0\0\0"));
		add_good_start(&s);
		add(&s, B("\x10\0\0\0"));
		ext_orport_auth_init(&a, zeros, zeros, (struct sockaddr *)&from, "sultry");
		ck_assert_int_eq(play(&a, &s, 1, &taken), TALK_OK);
		ck_assert_uint_eq(a.talk.out.n, said.n);
		ck_assert(memcmp(a.talk.out_mem, said.bytes, said.n) == 0);
		ext_orport_auth_clear(&a);
	}
}
END_TEST

START_TEST(a_client_that_has_no_ip_address)
{
	struct sockaddr_un un = { .sun_family = AF_UNIX, .sun_path = "/x" };
	struct ext_orport_auth a;

	ext_orport_auth_init(&a, zeros, zeros, (struct sockaddr *)&un, "sultry");
	ck_assert_int_eq(a.client.ss_family, AF_UNSPEC);
	ext_orport_auth_clear(&a);
}
END_TEST

START_TEST(okay)
{
	struct script plain = { .n = 0 }, body = { .n = 0 };

	add_good_start(&plain);
	add(&plain, B("\x10\0\0\0"));
	expect_okay(&plain);
	add_good_start(&body);
	add(&body, B("\x10\0\0\5extra"));
	expect_okay(&body);
}
END_TEST

START_TEST(unknown_commands_are_skipped)
{
	struct script s = { .n = 0 };
	char body[1000];

	memset(body, 0x10, sizeof(body));
	add_good_start(&s);
	add(&s, B("\x10\2\0\4\x10\1\0\0")); /* CONTROL, with a body that looks like DENY */
	add(&s, B("\xff\xff\0\0"));
	add(&s, B("\0\0\3\xe8"));
	add(&s, body, sizeof(body));
	add(&s, B("\x10\0\0\0"));
	expect_okay(&s);
}
END_TEST

START_TEST(the_longest_body_is_skipped)
{
	static uint8_t bytes[4 + 65535 + 4 + 1] = { 0x12, 0x34, 0xff, 0xff };
	struct script s = { .n = 0 };
	struct ext_orport_auth a;
	struct reader r;

	bytes[4 + 65535] = 0x10; /* OKAY, and one byte of payload */
	add_good_start(&s);
	ext_orport_auth_init(&a, zeros, zeros, NULL, "sultry");
	r = reader_of(s.bytes, s.n);
	ck_assert_int_eq(talk_feed(&a.talk, &r), TALK_MORE);
	r = reader_of(bytes, sizeof(bytes));
	ck_assert_int_eq(talk_feed(&a.talk, &r), TALK_OK);
	ck_assert_uint_eq(r.n, 1);
	ext_orport_auth_clear(&a);
}
END_TEST

START_TEST(deny)
{
	struct script s = { .n = 0 };

	add_good_start(&s);
	add(&s, B("\x10\2\0\1x\x10\1\0\0"));
	expect_bad(&s, "denied");
}
END_TEST

START_TEST(no_cookie_authentication)
{
	struct script none = { .n = 0 }, other = { .n = 0 }, endless = { .n = 0 };

	add(&none, B("\0"));
	expect_bad(&none, "does not offer");
	add(&other, B("\2\3\0"));
	expect_bad(&other, "does not offer");
	memset(endless.bytes, 1, 300);
	endless.n = 300;
	expect_bad(&endless, "another protocol");
}
END_TEST

START_TEST(wrong_hash)
{
	for (size_t i = 0; i < 64; i++) {
		struct script s = { .n = 0 };

		add_good_start(&s);
		s.bytes[4 + i] ^= 0x80; /* of the hash, or of the nonce that it covers */
		expect_bad(&s, "cookie");
	}
}
END_TEST

START_TEST(our_hash_is_refused)
{
	static const uint8_t status[] = { 0, 2, 255 };

	for (size_t i = 0; i < sizeof(status); i++) {
		struct script s = { .n = 0 };

		add_good_start(&s);
		s.bytes[s.n - 1] = status[i];
		expect_bad(&s, "refused");
	}
}
END_TEST

START_TEST(truncated_is_not_bad)
{
	struct script s = { .n = 0 };

	add_good_start(&s);
	add(&s, B("\x10\2\0\5extra\x10\0\0\2ok"));
	for (size_t n = 0; n < s.n; n++) {
		struct reader r = reader_of(s.bytes, n);
		struct ext_orport_auth a;

		ext_orport_auth_init(&a, zeros, zeros, NULL, "sultry");
		ck_assert_int_eq(talk_feed(&a.talk, &r), TALK_MORE);
		ck_assert(reader_end(&r));
		ext_orport_auth_clear(&a);
	}
}
END_TEST

START_TEST(name_too_long)
{
	static char name[TALK_OUT_MAX + 1];
	struct script s = { .n = 0 };
	struct ext_orport_auth a;
	size_t taken;

	memset(name, 'x', sizeof(name) - 1);
	add_good_start(&s);
	ext_orport_auth_init(&a, zeros, zeros, NULL, name);
	ck_assert_int_eq(play(&a, &s, 1, &taken), TALK_BAD);
	ext_orport_auth_clear(&a);
}
END_TEST

TEST_MAIN("ext_orport_auth", cookie_files, what_is_said, a_client_that_has_no_ip_address, okay,
    unknown_commands_are_skipped, the_longest_body_is_skipped, deny, no_cookie_authentication,
    wrong_hash, our_hash_is_refused, truncated_is_not_bad, name_too_long)
