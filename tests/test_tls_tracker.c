/* The tracker against handmade bytes; test_tls_handshakes.c has those of real stacks. */
#include "common/tls_tracker.h"

#include <malloc.h>

#include "common/bytes.h"
#include "common/mem.h"
#include "common/tls_hello.h"
#include "common/tls_record.h"
#include "tests/harness.h"

#define RANDOM "000102030405060708090a0b0c0d0e0f101112131415161718191a1b1c1d1e1f"
#define RETRY "cf21ad74e59a6111be1d8c021e65b891c2a211167abb8c5e079e09e2c8a8339c"

#define CLIENT_HELLO_BODY "01000029" "0303" RANDOM "00" "00021301" "0100"
#define SERVER_HELLO_BODY "0200002e" "0303" RANDOM "00" "130100" "0006002b00020304"

#define CLIENT_HELLO "160301002d" CLIENT_HELLO_BODY
#define EARLY_HELLO "1603010033" "0100002f" "0303" RANDOM "00" "00021301" "0100" "0004002a0000"
#define HELLO_RETRY "1603030032" "0200002e" "0303" RETRY "00" "130100" "0006002b00020304"
#define SERVER_HELLO_13 "1603030032" SERVER_HELLO_BODY
#define SERVER_HELLO_12 "160303002a" "02000026" "0303" RANDOM "00" "c02b00"
#define SERVER_DONE "16030300040e000000"
#define HELLO_REQUEST "160303000400000000"
#define TICKET "160303000a" "040000060000000000" "00"
#define KEY_EXCHANGE "160303000510000001aa"
#define CERTIFICATE "160303000b" "0b000007" "00000400000100"
#define NO_CERTIFICATE "1603030007" "0b000003" "000000"
#define CCS "140303000101"
#define FINISHED "1603030010" "ffffffffffffffffffffffffffffffff"
#define APP "1703030003aabbcc"
#define ALERT "15030300020228"
#define WARNING "15030300020170"

/* What a tracker says, as flags. */
enum { YES = 1, NOT = 2, UP = 4, DOWN = 8, FLIGHT = 16, EXACT = 32, FINAL = 64 };
#define NO_TLS (NOT | FINAL)

static unsigned
state(const struct tls_tracker *t)
{
	enum tls_kind kind = tls_tracker_kind(t);

	return (kind == TLS_YES ? YES : 0u) | (kind == TLS_NOT ? NOT : 0u) |
	    (tls_tracker_encrypted(t, TLS_UP) ? UP : 0u) |
	    (tls_tracker_encrypted(t, TLS_DOWN) ? DOWN : 0u) |
	    (tls_tracker_first_flight(t) ? FLIGHT : 0u) |
	    (tls_tracker_flight_exact(t) ? EXACT : 0u) | (tls_tracker_final(t) ? FINAL : 0u);
}

struct step {
	char dir; /* '>' up, '<' down, 0 ends the list */
	const char *hex;
	unsigned state;
};

/* Feeds the steps, each in pieces of at most n bytes, and checks the state after each. */
static void
play_in_pieces(const char *what, const struct step *steps, size_t piece)
{
	struct tls_tracker *t = tls_tracker_new();
	uint8_t bytes[1024];

	for (int i = 0; steps[i].dir != 0; i++) {
		enum tls_dir dir = steps[i].dir == '>' ? TLS_UP : TLS_DOWN;
		size_t n = unhex(bytes, steps[i].hex);

		for (size_t at = 0; at < n; at += piece)
			tls_tracker_feed(t, dir, bytes + at, n - at < piece ? n - at : piece);
		ck_assert_msg(state(t) == steps[i].state,
		    "%s: step %d in pieces of %zu: says %#x, should be %#x", what, i, piece, state(t),
		    steps[i].state);
	}
	tls_tracker_free(t);
}

static void
play(const char *what, const struct step *steps)
{
	for (size_t piece = 1; piece < 80; piece++)
		play_in_pieces(what, steps, piece);
	play_in_pieces(what, steps, 1024);
}

#define PLAY(what, ...) play(what, (const struct step[]){ __VA_ARGS__, { 0, NULL, 0 } })

START_TEST(test_not_tls)
{
	PLAY("nothing", { '>', "", 0 }, { '<', "", 0 });
	PLAY("HTTP", { '>', "47", NO_TLS }, { '>', "4554", NO_TLS }, { '<', "", NO_TLS },
	    { '<', "48", NO_TLS | FLIGHT });
	PLAY("SSH", { '>', "5353482d322e30", NO_TLS });
	PLAY("SSLv2", { '>', "802e010301", NO_TLS });
	PLAY("an alert first", { '>', ALERT, NO_TLS });
	PLAY("application data first", { '>', APP, NO_TLS });
	PLAY("16 and no 03", { '>', "16", 0 }, { '>', "02", NO_TLS });
	PLAY("16 03", { '>', "16", 0 }, { '>', "03", YES });
	PLAY("down first", { '<', "53", NO_TLS | FLIGHT });
	PLAY("16 03 down first", { '<', "16", NO_TLS | FLIGHT }, { '<', "03", NO_TLS | FLIGHT });
	PLAY("down after one byte", { '>', "16", 0 }, { '<', "03", NO_TLS | FLIGHT });
}
END_TEST

START_TEST(test_tls13)
{
	PLAY("plain", { '>', CLIENT_HELLO, YES },
	    { '<', SERVER_HELLO_13, YES | UP | DOWN | FLIGHT | FINAL },
	    { '<', "00ff", YES | UP | DOWN | FLIGHT | FINAL },
	    { '>', "47", YES | UP | DOWN | FLIGHT | FINAL });
	PLAY("HelloRetryRequest", { '>', CLIENT_HELLO, YES }, { '<', HELLO_RETRY, YES | FLIGHT },
	    { '<', CCS, YES | FLIGHT }, { '>', CCS CLIENT_HELLO, YES | FLIGHT },
	    { '<', SERVER_HELLO_13, YES | UP | DOWN | FLIGHT | FINAL });
	PLAY("early data", { '>', EARLY_HELLO, YES }, { '>', CCS, YES }, { '>', APP APP, YES },
	    { '<', SERVER_HELLO_13, YES | UP | DOWN | FLIGHT | FINAL });
	PLAY("early data after HelloRetryRequest", { '>', EARLY_HELLO APP, YES },
	    { '<', HELLO_RETRY, YES | FLIGHT }, { '>', APP CCS CLIENT_HELLO, YES | FLIGHT },
	    { '<', SERVER_HELLO_13, YES | UP | DOWN | FLIGHT | FINAL });
}
END_TEST

/* A ServerHello that comes while a record upwards is not whole. */
START_TEST(test_up_in_a_record)
{
	PLAY("ChangeCipherSpec", { '>', EARLY_HELLO "140303", YES },
	    { '<', SERVER_HELLO_13, YES | DOWN | FLIGHT }, { '<', APP, YES | DOWN | FLIGHT },
	    { '>', "0001", YES | DOWN | FLIGHT }, { '>', "01", YES | UP | DOWN | FLIGHT | FINAL });
	PLAY("alert", { '>', CLIENT_HELLO "15", YES }, { '<', SERVER_HELLO_13, YES | DOWN | FLIGHT },
	    { '>', "030300020100", YES | UP | DOWN | FLIGHT | FINAL });
	PLAY("early data", { '>', EARLY_HELLO "17", YES },
	    { '<', SERVER_HELLO_13, YES | UP | DOWN | FLIGHT | FINAL });
	PLAY("a message that cannot be", { '>', CLIENT_HELLO "16030300040e", YES },
	    { '<', SERVER_HELLO_13, YES | DOWN | FLIGHT },
	    { '>', "000000", NO_TLS | DOWN | FLIGHT });
	PLAY("part of a message", { '>', CLIENT_HELLO "1603030001" "0e", YES },
	    { '<', SERVER_HELLO_13, YES | DOWN | FLIGHT }, { '>', "17", NO_TLS | DOWN | FLIGHT });
	PLAY("a message down behind it", { '>', CLIENT_HELLO "15", YES },
	    { '<', SERVER_HELLO_13, YES | DOWN | FLIGHT },
	    { '<', SERVER_DONE, NO_TLS | DOWN | FLIGHT });
}
END_TEST

START_TEST(test_tls12)
{
	PLAY("full", { '>', CLIENT_HELLO, YES }, { '<', SERVER_HELLO_12 HELLO_REQUEST, YES },
	    { '<', SERVER_DONE, YES | FLIGHT | EXACT }, { '>', KEY_EXCHANGE, YES | FLIGHT | EXACT },
	    { '>', CCS, YES | UP | FLIGHT | EXACT }, { '>', FINISHED, YES | UP | FLIGHT | EXACT },
	    { '<', TICKET, YES | UP | FLIGHT | EXACT },
	    { '<', CCS, YES | UP | DOWN | FLIGHT | EXACT | FINAL });
	PLAY("resumed", { '>', CLIENT_HELLO, YES }, { '<', SERVER_HELLO_12 TICKET, YES },
	    { '<', CCS, YES | DOWN }, { '<', "1603030002aa", YES | DOWN },
	    { '<', "bb", YES | DOWN | FLIGHT | EXACT },
	    { '>', CCS, YES | UP | DOWN | FLIGHT | EXACT | FINAL });
	PLAY("resumed, the client quick", { '>', CLIENT_HELLO, YES },
	    { '<', SERVER_HELLO_12 CCS, YES | DOWN },
	    { '>', CCS, YES | UP | DOWN | FLIGHT | FINAL });
	PLAY("the client quicker than it may be", { '>', CLIENT_HELLO, YES }, { '<', SERVER_HELLO_12, YES },
	    { '>', CCS FINISHED, YES | UP }, { '<', CCS, YES | UP | DOWN | FLIGHT | FINAL });
	PLAY("false start", { '>', CLIENT_HELLO, YES },
	    { '<', SERVER_HELLO_12 SERVER_DONE, YES | FLIGHT | EXACT },
	    { '>', KEY_EXCHANGE CCS FINISHED APP, YES | UP | FLIGHT | EXACT },
	    { '<', CCS, YES | UP | DOWN | FLIGHT | EXACT | FINAL });
}
END_TEST

START_TEST(test_alerts)
{
	PLAY("refused", { '>', CLIENT_HELLO, YES }, { '<', ALERT, YES | FLIGHT },
	    { '>', ALERT, YES | FLIGHT });
	PLAY("given up", { '>', CLIENT_HELLO ALERT, YES });
	PLAY("refused before its hello was whole", { '>', "1603010100010000fc", YES },
	    { '<', ALERT, YES | FLIGHT });
	PLAY("warned", { '>', CLIENT_HELLO, YES }, { '<', WARNING, YES | FLIGHT },
	    { '<', SERVER_HELLO_12, YES | FLIGHT }, { '<', SERVER_DONE, YES | FLIGHT | EXACT });
	PLAY("in a message", { '>', "1603010001" "01" WARNING, YES },
	    { '>', "160301002c" "000029" "0303" RANDOM "00" "00021301" "0100", YES },
	    { '<', SERVER_HELLO_13, YES | UP | DOWN | FLIGHT | FINAL });
}
END_TEST

START_TEST(test_malformed)
{
	PLAY("another content type", { '>', CLIENT_HELLO "18", NO_TLS });
	PLAY("another version", { '>', CLIENT_HELLO, YES }, { '<', "1602", NO_TLS | FLIGHT });
	PLAY("HTTP back", { '>', CLIENT_HELLO, YES }, { '<', "48", NO_TLS | FLIGHT });
	PLAY("record too long", { '>', CLIENT_HELLO, YES },
	    { '<', "1603034801", NO_TLS | FLIGHT });
	PLAY("ClientHello too long", { '>', "1603014000" "0100fffc", YES });
	PLAY("ClientHello too long", { '>', "1603014000" "0100fffd", NO_TLS });
	PLAY("another first message", { '>', SERVER_DONE, NO_TLS });
	PLAY("a ServerHello up", { '>', SERVER_HELLO_13, NO_TLS });
	PLAY("a hello that does not parse", { '>', "1603010004" "01000000", NO_TLS });
	PLAY("two ClientHellos", { '>', CLIENT_HELLO CLIENT_HELLO, NO_TLS });
	PLAY("ChangeCipherSpec within a ClientHello", { '>', "1603010001" "01" CCS, NO_TLS });
	PLAY("early data that was not announced", { '>', CLIENT_HELLO, YES }, { '>', "1703030003",
	    NO_TLS });
	PLAY("an answer to half a hello", { '>', "1603", YES },
	    { '<', SERVER_HELLO_13, NO_TLS | FLIGHT });
	PLAY("a ClientHello down", { '>', CLIENT_HELLO, YES },
	    { '<', CLIENT_HELLO, NO_TLS | FLIGHT });
	PLAY("ServerHello that does not parse", { '>', CLIENT_HELLO, YES },
	    { '<', "1603030004" "02000000", NO_TLS | FLIGHT });
	PLAY("application data down", { '>', CLIENT_HELLO, YES }, { '<', APP, NO_TLS | FLIGHT });
	PLAY("ChangeCipherSpec down", { '>', CLIENT_HELLO, YES }, { '<', CCS, NO_TLS | FLIGHT });
	PLAY("no ServerHello", { '>', CLIENT_HELLO, YES }, { '<', SERVER_DONE, NO_TLS | FLIGHT });
	PLAY("a message behind the ServerHello of TLS 1.3", { '>', CLIENT_HELLO, YES },
	    { '<', "1603030033" SERVER_HELLO_BODY "08", NO_TLS | FLIGHT });
}
END_TEST

START_TEST(test_malformed_later)
{
	PLAY("two HelloRetryRequests", { '>', CLIENT_HELLO, YES }, { '<', HELLO_RETRY, YES | FLIGHT },
	    { '>', CLIENT_HELLO, YES | FLIGHT }, { '<', HELLO_RETRY, NO_TLS | FLIGHT });
	PLAY("ServerHello without the second ClientHello", { '>', CLIENT_HELLO, YES },
	    { '<', HELLO_RETRY, YES | FLIGHT }, { '<', SERVER_HELLO_13, NO_TLS | FLIGHT });
	PLAY("TLS 1.2 after a HelloRetryRequest", { '>', CLIENT_HELLO, YES },
	    { '<', HELLO_RETRY, YES | FLIGHT }, { '>', CLIENT_HELLO, YES | FLIGHT },
	    { '<', SERVER_HELLO_12, NO_TLS | FLIGHT });
	PLAY("TLS 1.2 after early data", { '>', EARLY_HELLO APP, YES },
	    { '<', SERVER_HELLO_12, NO_TLS | FLIGHT });
	PLAY("TLS 1.2 after an early ChangeCipherSpec", { '>', CLIENT_HELLO CCS, YES },
	    { '<', SERVER_HELLO_12, NO_TLS | FLIGHT });
	PLAY("two ServerHellos", { '>', CLIENT_HELLO, YES }, { '<', SERVER_HELLO_12, YES },
	    { '<', SERVER_HELLO_12, NO_TLS | FLIGHT });
	PLAY("TLS 1.2 in the clear", { '>', CLIENT_HELLO, YES }, { '<', SERVER_HELLO_12, YES },
	    { '>', APP, NO_TLS });
	PLAY("TLS 1.2, early data too late", { '>', EARLY_HELLO, YES }, { '<', SERVER_HELLO_12, YES },
	    { '>', APP, NO_TLS });
	PLAY("TLS 1.2 in the clear, down", { '>', CLIENT_HELLO, YES }, { '<', SERVER_HELLO_12, YES },
	    { '<', APP, NO_TLS | FLIGHT });
	PLAY("a second ClientHello in TLS 1.2", { '>', CLIENT_HELLO, YES },
	    { '<', SERVER_HELLO_12, YES }, { '>', CLIENT_HELLO, NO_TLS });
	PLAY("framing lost behind the ChangeCipherSpec", { '>', CLIENT_HELLO, YES },
	    { '<', SERVER_HELLO_12 CCS, YES | DOWN }, { '<', "48", NO_TLS | DOWN | FLIGHT });
}
END_TEST

/* 0 where the allocator does not say, as under a sanitizer. */
static size_t
heap_used(void)
{
#ifdef __GLIBC__
	return mallinfo2().uordblks;
#else
	return 0;
#endif
}

START_TEST(test_small_once_final)
{
	struct tls_tracker *t = tls_tracker_new();
	uint8_t bytes[5 + 16384] = { TLS_HANDSHAKE, 3, 1, 0x40, 0, TLS_CLIENT_HELLO, 0, 0xf0, 0 };
	size_t before, after;

	tls_tracker_feed(t, TLS_UP, bytes, sizeof(bytes));
	ck_assert_int_eq(tls_tracker_kind(t), TLS_YES);
	before = heap_used();
	tls_tracker_feed(t, TLS_DOWN, (const uint8_t *)"H", 1);
	ck_assert_int_eq(tls_tracker_kind(t), TLS_NOT);
	after = heap_used();
	ck_assert(before == 0 || after + 16384 <= before);
	tls_tracker_free(t);
}
END_TEST

/* ---- tls_info ---- */

static struct tls_tracker *
feed_all(const struct step *steps)
{
	struct tls_tracker *t = tls_tracker_new();
	uint8_t bytes[1024];

	for (int i = 0; steps[i].dir != 0; i++)
		tls_tracker_feed(t, steps[i].dir == '>' ? TLS_UP : TLS_DOWN, bytes,
		    unhex(bytes, steps[i].hex));
	return t;
}

#define FEED(...) feed_all((const struct step[]){ __VA_ARGS__, { 0, NULL, 0 } })

START_TEST(test_client_certificate)
{
	struct tls_tracker *t =
	    FEED({ '>', CLIENT_HELLO, 0 }, { '<', SERVER_HELLO_12, 0 }, { '>', NO_CERTIFICATE, 0 });

	ck_assert_int_eq(tls_tracker_kind(t), TLS_YES);
	ck_assert(!tls_tracker_info(t)->client_cert);
	tls_tracker_free(t);
	t = FEED({ '>', CLIENT_HELLO, 0 }, { '<', SERVER_HELLO_12 CERTIFICATE, 0 });
	ck_assert(!tls_tracker_info(t)->client_cert);
	tls_tracker_free(t);
	t = FEED({ '>', CLIENT_HELLO, 0 }, { '<', SERVER_HELLO_12, 0 }, { '>', CERTIFICATE, 0 });
	ck_assert(tls_tracker_info(t)->client_cert);
	tls_tracker_free(t);
}
END_TEST

START_TEST(test_ticket12)
{
	struct tls_tracker *t = FEED({ '>', CLIENT_HELLO, 0 }, { '<', SERVER_HELLO_12 TICKET, 0 });

	ck_assert(tls_tracker_info(t)->new_session_ticket12);
	ck_assert_uint_eq(tls_tracker_info(t)->version, 0x0303);
	ck_assert_uint_eq(tls_tracker_info(t)->cipher, 0xc02b);
	tls_tracker_free(t);
}
END_TEST

START_TEST(test_ech)
{
	struct tls_tracker *t = FEED({ '>', "1603010033" "0100002f" "0303" RANDOM "00" "00021301"
	    "0100" "0004fe0d0000", 0 });

	ck_assert(tls_tracker_info(t)->ech);
	tls_tracker_free(t);
}
END_TEST

/* Feeds a ClientHello with that SNI and these ALPN names. */
static struct tls_tracker *
feed_names(const uint8_t *sni, size_t sni_n, const uint8_t *alpn, size_t alpn_n)
{
	struct tls_tracker *t = tls_tracker_new();
	uint8_t bytes[2048] = { 0 };
	size_t extensions = 9 + sni_n + (alpn_n > 0 ? 6 + alpn_n : 0), body = 41 + 2 + extensions;
	struct writer w = writer_of(bytes, sizeof(bytes));

	writer_bytes(&w, "\x16\x03\x01", 3);
	writer_u16(&w, (uint16_t)(4 + body));
	writer_u16(&w, 0x0100);
	writer_u16(&w, (uint16_t)body);
	writer_u16(&w, 0x0303);
	writer_zeros(&w, 32);
	writer_bytes(&w, "\x00\x00\x02\x13\x01\x01\x00", 7);
	writer_u16(&w, (uint16_t)extensions);
	writer_u16(&w, 0);
	writer_u16(&w, (uint16_t)(sni_n + 5));
	writer_u16(&w, (uint16_t)(sni_n + 3));
	writer_u8(&w, 0);
	writer_u16(&w, (uint16_t)sni_n);
	writer_bytes(&w, sni, sni_n);
	if (alpn_n > 0) {
		writer_u16(&w, 16);
		writer_u16(&w, (uint16_t)(alpn_n + 2));
		writer_u16(&w, (uint16_t)alpn_n);
		writer_bytes(&w, alpn, alpn_n);
	}
	ck_assert(!w.failed);
	tls_tracker_feed(t, TLS_UP, bytes, w.n);
	ck_assert_int_eq(tls_tracker_kind(t), TLS_YES);
	return t;
}

START_TEST(test_sni)
{
	uint8_t name[300];
	struct tls_tracker *t;

	memset(name, 'a', sizeof(name));
	t = feed_names(name, 255, NULL, 0);
	ck_assert_uint_eq(strlen(tls_tracker_info(t)->sni), 255);
	tls_tracker_free(t);
	t = feed_names(name, 256, NULL, 0);
	ck_assert_str_eq(tls_tracker_info(t)->sni, "");
	tls_tracker_free(t);
	for (int c = 0; c < 256; c++) {
		name[3] = (uint8_t)c;
		t = feed_names(name, 7, NULL, 0);
		ck_assert_uint_eq(strlen(tls_tracker_info(t)->sni), c > ' ' && c < 127 ? 7 : 0);
		tls_tracker_free(t);
	}
}
END_TEST

static void
check_alpn(const char *names, size_t n, const char *want)
{
	struct tls_tracker *t = feed_names((const uint8_t *)"a", 1, (const uint8_t *)names, n);

	ck_assert_str_eq(tls_tracker_info(t)->alpn, want);
	tls_tracker_free(t);
}

START_TEST(test_alpn)
{
	char names[256], want[64];

	check_alpn("\x02h2\x08http/1.1", 12, "h2,http/1.1");
	check_alpn("\x02\x0a\x0a\x02h2", 6, "h2");
	check_alpn("\x02h2\x01\n", 5, "h2");
	/* 63 characters fit, no name is cut. */
	memset(want, 'x', 63);
	want[63] = '\0';
	memset(names, 'x', sizeof(names));
	names[0] = 63;
	check_alpn(names, 64, want);
	names[0] = 64;
	check_alpn(names, 65, "");
	names[0] = 60;
	names[61] = 2;
	want[60] = ',';
	check_alpn(names, 64, want);
	names[61] = 3;
	want[60] = '\0';
	check_alpn(names, 65, want);
}
END_TEST

/* ---- Any byte changed to anything: no verdict is ever taken back, and none depends on
 * how the bytes are split. ---- */

static bool
holds(const uint8_t *up, size_t up_n, const uint8_t *down, size_t down_n)
{
	struct tls_tracker *whole = tls_tracker_new(), *bytes = tls_tracker_new();
	unsigned before = 0, now = 0;
	bool ok = true;

	tls_tracker_feed(whole, TLS_UP, up, up_n);
	tls_tracker_feed(whole, TLS_DOWN, down, down_n);
	for (size_t i = 0; i < up_n + down_n; i++) {
		tls_tracker_feed(bytes, i < up_n ? TLS_UP : TLS_DOWN,
		    i < up_n ? up + i : down + (i - up_n), 1);
		now = state(bytes);
		ok = ok && (before & ~now & ~(unsigned)YES) == 0;
		if ((before & FINAL) != 0)
			ok = ok && ((before ^ now) & ~(unsigned)FLIGHT) == 0;
		before = now;
	}
	ok = ok && state(whole) == now && memcmp(tls_tracker_info(whole), tls_tracker_info(bytes),
	    sizeof(struct tls_info)) == 0;
	tls_tracker_free(whole);
	tls_tracker_free(bytes);
	return ok;
}

START_TEST(test_any_byte_changed)
{
	static const char *const downs[] = { SERVER_HELLO_13 CCS APP, HELLO_RETRY CCS SERVER_HELLO_13,
		SERVER_HELLO_12 TICKET CCS FINISHED, SERVER_HELLO_12 CERTIFICATE SERVER_DONE TICKET CCS };
	uint8_t up[256], down[256];
	size_t up_n = unhex(up, EARLY_HELLO CCS APP), down_n;

	for (size_t d = 0; d < sizeof(downs) / sizeof(downs[0]); d++) {
		down_n = unhex(down, downs[d]);
		for (size_t i = 0; i < up_n + down_n; i++) {
			uint8_t *p = i < up_n ? &up[i] : &down[i - up_n], was = *p;

			for (unsigned v = 0; v < 256; v++) {
				*p = (uint8_t)v;
				if (!holds(up, up_n, down, down_n))
					ck_abort_msg("case %zu, byte %zu made %#x", d, i, v);
			}
			*p = was;
		}
	}
}
END_TEST

TEST_MAIN("tls_tracker", test_not_tls, test_tls13, test_up_in_a_record, test_tls12, test_alerts,
    test_malformed, test_malformed_later, test_small_once_final, test_client_certificate,
    test_ticket12, test_ech, test_sni, test_alpn, test_any_byte_changed)
