#include "common/tls_hello.h"

#include "common/mem.h"
#include "tests/harness.h"

/* RFC 8448 section 3: simple 1-RTT handshake. */
#define RFC_CLIENT_HELLO \
	"010000c00303cb34ecb1e78163ba1c38c6dacb196a6dffa21a8d9912ec18a2ef6283024dece700000613011303" \
	"130201000091" \
	"0000000b0009000006736572766572" \
	"ff01000100" \
	"000a00140012001d0017001800190100010101020103010400230000" \
	"0033002600240" \
	"01d002099381de560e4bd43d23d8e435a7dbafeb3c06e51c13cae4d5413691e529aaf2c" \
	"002b0003020304" \
	"000d0020001e040305030603020308040805080604010501060102010402050206020202" \
	"002d00020101001c00024001"
#define RFC_SERVER_HELLO \
	"020000560303a6af06a4121860dc5e6e60249cd34c95930c8ac5cb1434dac155772ed3e269280013010000" \
	"2e00330024001d0020c9828876112095fe66762bdbf7c672e156d6cc253b833df1dd69b1b04e751f0f" \
	"002b00020304"

#define RANDOM "000102030405060708090a0b0c0d0e0f101112131415161718191a1b1c1d1e1f"
#define RETRY "cf21ad74e59a6111be1d8c021e65b891c2a211167abb8c5e079e09e2c8a8339c"
#define SESSION_ID "20" RANDOM

/* A message of the given type around a body, all hex. */
static struct reader
message(uint8_t *out, const char *type, const char *body)
{
	size_t n = unhex(out + 4, body);

	unhex(out, type);
	out[1] = (uint8_t)(n >> 16);
	out[2] = (uint8_t)(n >> 8);
	out[3] = (uint8_t)n;
	return reader_of(out, n + 4);
}

/* Parses from memory of exactly that size, so that a sanitizer sees an overread. */
static bool
parses(const char *type, struct reader m)
{
	uint8_t *copy = mem_alloc(m.n + 1);
	struct reader exact = reader_of(copy + 1, m.n);
	struct tls_client_hello c;
	struct tls_server_hello s;
	bool ok;

	memcpy(copy + 1, m.p, m.n);
	ok = strcmp(type, "01") == 0 ? tls_client_hello_parse(&c, exact)
				     : tls_server_hello_parse(&s, exact);
	free(copy);
	return ok;
}

static void
check_view(struct reader got, const char *hex)
{
	uint8_t want[600];
	size_t n = unhex(want, hex);

	ck_assert_ptr_nonnull(got.p);
	ck_assert_uint_eq(got.n, n);
	ck_assert_mem_eq(got.p, want, n);
}

START_TEST(test_rfc8448_client)
{
	uint8_t bytes[400];
	struct reader m = reader_of(bytes, unhex(bytes, RFC_CLIENT_HELLO));
	struct tls_client_hello h;

	ck_assert_uint_eq(m.n, 196);
	ck_assert(tls_client_hello_parse(&h, m));
	ck_assert_uint_eq(h.legacy_version, TLS_1_2);
	ck_assert_ptr_eq(h.random, bytes + 6);
	ck_assert_uint_eq(h.session_id.n, 0);
	check_view(h.ciphers, "130113031302");
	check_view(h.sni, "736572766572");
	check_view(h.versions, "0304");
	ck_assert_ptr_nonnull(h.ticket.p);
	ck_assert_uint_eq(h.ticket.n, 0);
	ck_assert_ptr_null(h.alpn.p);
	ck_assert(!h.psk && !h.early_data && !h.ech);
}
END_TEST

START_TEST(test_rfc8448_server)
{
	uint8_t bytes[200];
	struct reader m = reader_of(bytes, unhex(bytes, RFC_SERVER_HELLO));
	struct tls_server_hello h;

	ck_assert_uint_eq(m.n, 90);
	ck_assert(tls_server_hello_parse(&h, m));
	ck_assert_uint_eq(h.version, TLS_1_3);
	ck_assert_uint_eq(h.cipher, 0x1301);
	ck_assert_ptr_eq(h.random, bytes + 6);
	ck_assert_ptr_null(h.alpn.p);
	ck_assert(!h.hello_retry && !h.psk && !h.session_ticket);
}
END_TEST

START_TEST(test_client_extensions)
{
	uint8_t bytes[600];
	struct tls_client_hello h;

	ck_assert(tls_client_hello_parse(&h, message(bytes, "01",
	    "0301" RANDOM SESSION_ID "0004c02b1301" "020001" "0059"
	    "1a1a0000"                       /* GREASE */
	    "00230003aabbcc"                 /* session_ticket */
	    "0010000e000c02683208687474702f312e31"
	    "002b000504" "03040303"
	    "0000000e000c" "01000411223344" "0000026162" /* an unknown name type first */
	    "fe0d0002dead"                   /* ECH */
	    "002a0000"                       /* early_data */
	    "00290013000800026964aabbccdd0007" "06010203040506")));
	ck_assert_uint_eq(h.legacy_version, 0x0301);
	check_view(h.session_id, RANDOM);
	check_view(h.ciphers, "c02b1301");
	check_view(h.ticket, "aabbcc");
	check_view(h.alpn, "02683208687474702f312e31");
	check_view(h.versions, "03040303");
	check_view(h.sni, "6162");
	ck_assert(h.ech && h.early_data && h.psk);
}
END_TEST

START_TEST(test_server_extensions)
{
	uint8_t bytes[600];
	struct tls_server_hello h;

	ck_assert(tls_server_hello_parse(&h, message(bytes, "02",
	    "0303" RANDOM SESSION_ID "c02b00" "0011" "00230000" "00100005000302" "6832" "00000000")));
	ck_assert_uint_eq(h.version, TLS_1_2);
	check_view(h.session_id, RANDOM);
	check_view(h.alpn, "6832");
	ck_assert(h.session_ticket && !h.psk && !h.hello_retry);

	ck_assert(tls_server_hello_parse(&h, message(bytes, "02",
	    "0303" RANDOM "00" "130200" "000c" "002b00020304" "002900020000")));
	ck_assert_uint_eq(h.version, TLS_1_3);
	ck_assert(h.psk && !h.hello_retry);

	ck_assert(tls_server_hello_parse(&h, message(bytes, "02",
	    "0303" RETRY "00" "130200" "000c" "002b00020304" "003300020017")));
	ck_assert(h.hello_retry);

	/* SSL 3.0 and TLS 1.0 to 1.2 need no extensions. */
	ck_assert(tls_server_hello_parse(&h, message(bytes, "02", "0300" RANDOM "00" "003500")));
	ck_assert_uint_eq(h.version, 0x0300);
}
END_TEST

START_TEST(test_bad_client)
{
	static const struct {
		const char *what, *tail; /* what follows the random */
	} v[] = {
		{ "session id of 33 bytes", "21" RANDOM "ff" "00021301" "0100" },
		{ "no ciphers", "00" "0000" "0100" },
		{ "odd ciphers", "00" "0003130113" "0100" },
		{ "no compression", "00" "00021301" "00" },
		{ "a byte after compression", "00" "00021301" "0100" "00" },
		{ "extensions too short", "00" "00021301" "0100" "0003" "00230000" },
		{ "extensions too long", "00" "00021301" "0100" "0005" "00230000" },
		{ "half an extension", "00" "00021301" "0100" "0003" "002300" },
		{ "server_name twice", "00" "00021301" "0100" "0014"
		  "000000060004" "00000161" "000000060004" "00000161" },
		{ "two host names", "00" "00021301" "0100" "000e" "0000000a0008" "00000161" "00000162" },
		{ "empty host name", "00" "00021301" "0100" "0009" "000000050003" "000000" },
		{ "empty name list", "00" "00021301" "0100" "0006" "000000020000" },
		{ "empty server_name", "00" "00021301" "0100" "0004" "00000000" },
		{ "name beyond its list", "00" "00021301" "0100" "000a" "000000060004" "00000261" },
		{ "byte after the name list", "00" "00021301" "0100" "000b" "000000070004" "00000161" "00" },
		{ "empty ALPN", "00" "00021301" "0100" "0006" "001000020000" },
		{ "empty ALPN name", "00" "00021301" "0100" "0007" "00100003000100" },
		{ "ALPN name beyond its list", "00" "00021301" "0100" "0008" "001000040002" "0261" },
		{ "no versions", "00" "00021301" "0100" "0005" "002b000100" },
		{ "odd versions", "00" "00021301" "0100" "0006" "002b00020103" },
		{ "pre_shared_key twice", "00" "00021301" "0100" "0008" "00290000" "00290000" },
		{ "ECH twice", "00" "00021301" "0100" "0008" "fe0d0000" "fe0d0000" },
	};
	uint8_t bytes[600];
	char body[600];

	for (size_t i = 0; i < sizeof(v) / sizeof(v[0]); i++) {
		strcpy(body, "0303" RANDOM);
		strcat(body, v[i].tail);
		ck_assert_msg(!parses("01", message(bytes, "01", body)), "%s", v[i].what);
	}
	ck_assert(parses("01", message(bytes, "01", "0303" RANDOM "00" "00021301" "0100")));
	ck_assert(!parses("01", message(bytes, "02", "0303" RANDOM "00" "00021301" "0100")));
	/* Two extensions of a type that is not read, and an empty block. */
	ck_assert(parses("01",
	    message(bytes, "01", "0303" RANDOM "00" "00021301" "0100" "0008" "1a1a0000" "1a1a0000")));
	ck_assert(parses("01", message(bytes, "01", "0303" RANDOM "00" "00021301" "0100" "0000")));
}
END_TEST

START_TEST(test_bad_server)
{
	static const struct {
		const char *what, *body;
	} v[] = {
		{ "legacy version 1.3", "0304" RANDOM "00" "130100" },
		{ "session id of 33 bytes", "0303" RANDOM "21" RANDOM "ff" "130100" },
		{ "no compression", "0303" RANDOM "00" "1301" },
		{ "a byte too many", "0303" RANDOM "00" "130100" "00" },
		{ "version 1.2 selected by extension", "0303" RANDOM "00" "130100" "0006" "002b00020303" },
		{ "a list of versions", "0303" RANDOM "00" "130100" "0007" "002b0003020304" },
		{ "supported_versions twice",
		  "0303" RANDOM "00" "130100" "000c" "002b00020304" "002b00020304" },
		{ "long pre_shared_key", "0303" RANDOM "00" "130100" "0007" "00290003000000" },
		{ "two ALPN names", "0303" RANDOM "00" "c02b00" "000a" "0010000600040161" "0162" },
		{ "HelloRetryRequest of TLS 1.2", "0303" RETRY "00" "c02b00" },
	};
	uint8_t bytes[600];

	for (size_t i = 0; i < sizeof(v) / sizeof(v[0]); i++)
		ck_assert_msg(!parses("02", message(bytes, "02", v[i].body)), "%s", v[i].what);
	ck_assert(parses("02", message(bytes, "02", "0303" RANDOM "00" "130100")));
	ck_assert(!parses("02", message(bytes, "01", "0303" RANDOM "00" "130100")));
}
END_TEST

/* Cut anywhere, a message is not one: once with the header as it was, once with a
 * header that agrees with the cut. */
static void
cut(const char *hex)
{
	uint8_t bytes[400];
	size_t n = unhex(bytes, hex);
	const char *type = bytes[0] == 1 ? "01" : "02";
	/* A hello may end where its extensions start. */
	size_t whole = bytes[0] == 1 ? 4 + 2 + 32 + 1 + 2 + 6 + 2 : 4 + 2 + 32 + 1 + 3;

	ck_assert(parses(type, reader_of(bytes, n)));
	for (size_t i = 0; i < n; i++)
		ck_assert(!parses(type, reader_of(bytes, i)));
	bytes[n] = 0;
	ck_assert(!parses(type, reader_of(bytes, n + 1)));
	for (size_t i = 4; i < n; i++) {
		bytes[2] = (uint8_t)((i - 4) >> 8);
		bytes[3] = (uint8_t)(i - 4);
		ck_assert_msg(parses(type, reader_of(bytes, i)) == (i == whole), "cut at %zu", i);
	}
}

START_TEST(test_truncation)
{
	cut(RFC_CLIENT_HELLO);
	cut(RFC_SERVER_HELLO);
}
END_TEST

TEST_MAIN("tls_hello", test_rfc8448_client, test_rfc8448_server, test_client_extensions,
    test_server_extensions, test_bad_client, test_bad_server, test_truncation)
