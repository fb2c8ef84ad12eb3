#include "common/tls_record.h"

#include <stdio.h>

#include "common/mem.h"
#include "tests/harness.h"

/* Reads all of p and appends what it is told to log: "R22:5 M14:4 E22 ". Returns
 * the last event, TLS_MORE or TLS_BAD. */
static enum tls_event
run(struct tls_record *r, const uint8_t *p, size_t n, char *log)
{
	uint8_t *copy = mem_alloc(n > 0 ? n : 1); /* a sanitizer sees an overread of it */
	struct reader in = reader_of(copy, n), m;
	enum tls_event event;

	if (n > 0)
		memcpy(copy, p, n);
	while ((event = tls_record_next(r, &in, &m)) != TLS_MORE && event != TLS_BAD) {
		log += strlen(log);
		if (event == TLS_RECORD)
			sprintf(log, "R%d:%zu ", tls_record_open(r), r->left);
		else if (event == TLS_MESSAGE)
			sprintf(log, "M%d:%zu%s ", m.p[0], m.n, tls_record_partial(r) ? "?" : "");
		else
			sprintf(log, "E%d ", r->header[0]);
	}
	ck_assert(event == TLS_BAD || in.n == 0);
	free(copy);
	return event;
}

/* The same log and verdict for every split in two, and one byte at a time. */
static void
expect(const char *hex, bool sealed, enum tls_event verdict, const char *want)
{
	uint8_t bytes[2048];
	size_t n = unhex(bytes, hex);

	for (size_t split = 0; split <= n + 1; split++) {
		struct tls_record r = { 0 };
		char log[1024] = "";
		enum tls_event event = TLS_MORE;

		if (sealed)
			tls_record_seal(&r);
		if (split <= n) {
			run(&r, bytes, split, log);
			event = run(&r, bytes + split, n - split, log);
		} else {
			for (size_t i = 0; i < n; i++)
				event = run(&r, bytes + i, 1, log);
		}
		ck_assert_msg(event == verdict && strcmp(log, want) == 0,
		    "%s, split at %zu: verdict %d, log %s", hex, split, event, log);
		tls_record_clear(&r);
	}
}

START_TEST(test_good)
{
	expect("", false, TLS_MORE, "");
	expect("16030100040e000000", false, TLS_MORE, "R22:4 M14:4 E22 ");
	/* Two messages in one record, then one over three records. */
	expect("160303000a0e0000000b000002aabb"
	       "16030300020100" "16030300020003"
	       "1603030003aabbcc",
	    false, TLS_MORE, "R22:10 M14:4 M11:6 E22 R22:2 E22 R22:2 E22 R22:3 M1:7 E22 ");
	/* The end of one message and the start of the next in one record. */
	expect("16030300040b000002" "1603030004aabb0e00" "16030300020000",
	    false, TLS_MORE, "R22:4 E22 R22:4 M11:6 E22 R22:2 M14:4 E22 ");
	expect("140303000101" "1503030002022a" "1703030003aabbcc" "1703030000",
	    false, TLS_MORE, "R20:1 E20 R21:2 E21 R23:3 E23 R23:0 E23 ");
	/* An alert may come inside a fragmented message. */
	expect("16030300020e00" "15030300020100" "16030300020000",
	    false, TLS_MORE, "R22:2 E22 R21:2 E21 R22:2 M14:4 E22 ");
	/* The minor version says nothing. */
	expect("16030900040e000000", false, TLS_MORE, "R22:4 M14:4 E22 ");
}
END_TEST

START_TEST(test_sealed)
{
	/* What would be a message, or a bad one, is ciphertext. */
	expect("16030300040e000000" "160303000401ffffff" "1403030003aabbcc",
	    true, TLS_MORE, "R22:4 E22 R22:4 E22 R20:3 E20 ");
	expect("1403030000", true, TLS_BAD, "");
}
END_TEST

START_TEST(test_bad)
{
	static const struct {
		const char *what, *hex, *log;
	} v[] = {
		{ "content type 19", "13", "" },
		{ "content type 24", "18", "" },
		{ "SSLv2", "80", "" },
		{ "HTTP", "47", "" },
		{ "major version 2", "1602", "" },
		{ "major version 4", "1604", "" },
		{ "body of 18433 bytes", "1703034801", "" },
		{ "empty handshake record", "1603030000", "" },
		{ "empty alert", "1503030000", "" },
		{ "empty ChangeCipherSpec", "1403030000", "" },
		{ "long ChangeCipherSpec", "1403030002", "" },
		{ "ChangeCipherSpec 02", "140303000102", "R20:1 " },
		{ "message of 65537 bytes", "160303400001" "00fffd", "R22:16384 " },
		{ "message of 2^24 bytes", "160303400001" "ffffff", "R22:16384 " },
		{ "application data inside a message", "16030300020100" "17", "R22:2 E22 " },
		{ "ChangeCipherSpec inside a message", "16030300020100" "14", "R22:2 E22 " },
		{ "bad after good", "140303000101" "00", "R20:1 E20 " },
	};

	for (size_t i = 0; i < sizeof(v) / sizeof(v[0]); i++) {
		expect(v[i].hex, false, TLS_BAD, v[i].log);
		/* Its last byte is what makes it bad. */
		char cut[200];
		struct tls_record r = { 0 };
		uint8_t bytes[100];
		char log[200] = "";

		snprintf(cut, sizeof(cut), "%s", v[i].hex);
		cut[strlen(cut) - 2] = '\0';
		ck_assert_msg(run(&r, bytes, unhex(bytes, cut), log) == TLS_MORE, "%s", v[i].what);
		tls_record_clear(&r);
	}
}
END_TEST

START_TEST(test_bad_stays_bad)
{
	struct tls_record r = { 0 };
	uint8_t bytes[20];
	char log[100] = "";

	ck_assert_int_eq(run(&r, bytes, unhex(bytes, "16030300020100" "17"), log), TLS_BAD);
	ck_assert_ptr_null(r.message.mem);
	ck_assert_int_eq(run(&r, bytes, unhex(bytes, "140303000101"), log), TLS_BAD);
	ck_assert_int_eq(run(&r, bytes, 0, log), TLS_BAD);
}
END_TEST

START_TEST(test_longest)
{
	static uint8_t bytes[5 + TLS_RECORD_BODY_MAX];
	struct tls_record r = { 0 };
	size_t held = 0;
	char log[400] = "";

	memcpy(bytes, "\x17\x03\x03\x48\x00", 5);
	ck_assert_int_eq(run(&r, bytes, sizeof(bytes), log), TLS_MORE);
	ck_assert_str_eq(log, "R23:18432 E23 ");

	/* 65536 bytes in four records: the header, then zeros. */
	log[0] = '\0';
	for (int i = 0; i < 4; i++) {
		memcpy(bytes, "\x16\x03\x03\x40\x00", 5);
		memset(bytes + 5, 0, 16384);
		if (i == 0)
			memcpy(bytes + 5, "\x0b\x00\xff\xfc", 4);
		ck_assert_int_eq(run(&r, bytes, 5 + 16384, log), TLS_MORE);
		held += 16384;
		if (i < 3) {
			ck_assert(tls_record_partial(&r));
			ck_assert_uint_eq(r.message.n, held);
			ck_assert_uint_le(r.message.cap, 2 * held);
		}
	}
	ck_assert(!tls_record_partial(&r));
	ck_assert_str_eq(log, "R22:16384 E22 R22:16384 E22 R22:16384 E22 R22:16384 M11:65536 E22 ");
	ck_assert_ptr_null(r.message.mem);
}
END_TEST

/* Memory follows what arrived, not what a length promises. */
START_TEST(test_memory)
{
	struct tls_record r = { 0 };
	uint8_t bytes[100];
	char log[100] = "";

	run(&r, bytes, unhex(bytes, "16030340000100fff0"), log);
	ck_assert_uint_eq(r.message.n, 4);
	ck_assert_uint_le(r.message.cap, 8192);
	tls_record_clear(&r);
	ck_assert_ptr_null(r.message.mem);

	run(&r, bytes, unhex(bytes, "16030300040e000000"), log);
	ck_assert_ptr_null(r.message.mem);
	run(&r, bytes, unhex(bytes, "1703034000aabb"), log);
	ck_assert_ptr_null(r.message.mem);
}
END_TEST

START_TEST(test_open_and_partial)
{
	struct tls_record r = { 0 };
	uint8_t bytes[100];
	char log[100] = "";

	ck_assert_int_eq(tls_record_open(&r), 0);
	run(&r, bytes, unhex(bytes, "16"), log);
	ck_assert_int_eq(tls_record_open(&r), TLS_HANDSHAKE);
	ck_assert(!tls_record_partial(&r));
	run(&r, bytes, unhex(bytes, "0303000201"), log);
	ck_assert_int_eq(tls_record_open(&r), TLS_HANDSHAKE);
	ck_assert(tls_record_partial(&r));
	run(&r, bytes, unhex(bytes, "00"), log);
	ck_assert_int_eq(tls_record_open(&r), 0);
	ck_assert(tls_record_partial(&r));
	run(&r, bytes, unhex(bytes, "16030300020000"), log);
	ck_assert_int_eq(tls_record_open(&r), 0);
	ck_assert(!tls_record_partial(&r));
}
END_TEST

TEST_MAIN("tls_record", test_good, test_sealed, test_bad, test_bad_stays_bad, test_longest,
    test_memory, test_open_and_partial)
