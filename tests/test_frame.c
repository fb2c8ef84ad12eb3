/* Sealed records, the frames in them, and the padding schemes. */
#include "tests/harness.h"

#include "common/frame.h"

static const uint8_t tag[EPOCH_TAG] = "0123456789abcdef";

static struct record_key
key_of(uint8_t fill)
{
	struct record_key k = { .n = 0 };

	memset(k.key, fill, sizeof(k.key));
	return k;
}

/* ---- records ---- */

#define TEXT "\x03\x00\x0b\0\0\0\0\0\0\0\x07""abc"
#define TEXT_LEN (sizeof(TEXT) - 1)

static size_t
sealed(struct record_key *k, uint8_t *rec, bool hello)
{
	memcpy(rec + RECORD_HEADER + (hello ? EPOCH_TAG : 0), TEXT, TEXT_LEN);
	return record_seal(k, rec, TEXT_LEN, hello ? tag : NULL);
}

START_TEST(records_open_in_order)
{
	struct record_key out = key_of(1), in = key_of(1);
	uint8_t rec[200], scratch[RECORD_TEXT_MAX];
	struct reader frames;
	size_t n, body;

	for (int i = 0; i < 6; i++) {
		bool hello = i == 0;

		n = sealed(&out, rec, hello);
		ck_assert_uint_eq(n, TEXT_LEN + (hello ? HELLO_OVERHEAD : RECORD_OVERHEAD));
		ck_assert_int_eq(record_header(rec, n, RECORD_BODY_MAX, &body), RECORD_OK);
		ck_assert_uint_eq(body, n - RECORD_HEADER);
		if (hello)
			ck_assert_mem_eq(rec + RECORD_HEADER, tag, EPOCH_TAG);
		ck_assert_int_eq(record_open(&in, rec, body, hello, i % 2 ? scratch : NULL, &frames),
		    RECORD_OK);
		ck_assert_uint_eq(frames.n, TEXT_LEN);
		ck_assert_mem_eq(frames.p, TEXT, TEXT_LEN);
		ck_assert_uint_eq(in.n, (uint64_t)i + 1);
	}
	/* Not one again, and not one before its time. */
	ck_assert_int_eq(record_open(&in, rec, body, false, scratch, &frames), RECORD_BAD);
	out.n++;
	n = sealed(&out, rec, false);
	ck_assert_int_eq(record_open(&in, rec, n - RECORD_HEADER, false, scratch, &frames), RECORD_BAD);
	ck_assert_uint_eq(in.n, 6);
}
END_TEST

START_TEST(every_flipped_bit_is_bad)
{
	uint8_t rec[200], copy[200], scratch[RECORD_TEXT_MAX];
	struct reader frames;

	for (int hello = 0; hello < 2; hello++) {
		struct record_key out = key_of(2), in = key_of(2);
		size_t n = sealed(&out, rec, hello), body;

		for (size_t bit = 0; bit < 8 * n; bit++) {
			/* The tag is not sealed: it is what the key is found by. */
			if (hello && bit / 8 >= RECORD_HEADER && bit / 8 < RECORD_HEADER + EPOCH_TAG)
				continue;
			memcpy(copy, rec, n);
			copy[bit / 8] ^= (uint8_t)(1 << bit % 8);
			body = n - RECORD_HEADER;
			ck_assert_msg(record_open(&in, copy, body, hello, scratch, &frames) ==
			    RECORD_BAD && in.n == 0, "bit %zu", bit);
			copy[bit / 8] ^= (uint8_t)(1 << bit % 8);
			ck_assert_mem_eq(copy, rec, n); /* with scratch, not touched */
		}
		ck_assert_int_eq(record_open(&in, rec, n - RECORD_HEADER, hello, scratch, &frames),
		    RECORD_OK);
	}
}
END_TEST

START_TEST(every_other_length_is_bad)
{
	uint8_t rec[200] = { 0 }, scratch[RECORD_TEXT_MAX];
	struct reader frames;

	for (int hello = 0; hello < 2; hello++) {
		struct record_key out = key_of(3), in = key_of(3);
		size_t n = sealed(&out, rec, hello);

		for (size_t body = 0; body < sizeof(rec) - RECORD_HEADER; body++)
			if (body != n - RECORD_HEADER)
				ck_assert_int_eq(record_open(&in, rec, body, hello, scratch, &frames),
				    RECORD_BAD);
		ck_assert_int_eq(record_open(&in, rec, RECORD_BODY_MAX + 1, hello, scratch, &frames),
		    RECORD_BAD);
	}
}
END_TEST

START_TEST(headers_byte_by_byte)
{
	static const struct {
		const char *hex;
		size_t max;
		size_t bad_at; /* bytes after which it is BAD; 0: never */
	} t[] = {
		{ "1703030011", RECORD_BODY_MAX, 0 },
		{ "1703034011", RECORD_BODY_MAX, 0 }, /* 16401, the longest */
		{ "17030304b0", HELLO_BODY_MAX, 0 },  /* 1200 */
		{ "1603030011", RECORD_BODY_MAX, 1 },
		{ "1702030011", RECORD_BODY_MAX, 2 },
		{ "1703040011", RECORD_BODY_MAX, 3 },
		{ "1703034111", RECORD_BODY_MAX, 4 },
		{ "17030305b0", HELLO_BODY_MAX, 4 },
		{ "1703034012", RECORD_BODY_MAX, 5 },
		{ "17030304b1", HELLO_BODY_MAX, 5 },
		{ "1703030010", RECORD_BODY_MAX, 5 }, /* a tag and nothing in it */
		{ "1703030000", RECORD_BODY_MAX, 5 },
	};
	uint8_t p[5];
	size_t body;

	for (size_t i = 0; i < sizeof(t) / sizeof(t[0]); i++) {
		unhex(p, t[i].hex);
		for (size_t n = 0; n <= sizeof(p); n++) {
			enum record_result want = t[i].bad_at != 0 && n >= t[i].bad_at ? RECORD_BAD :
			    n < sizeof(p) ? RECORD_MORE : RECORD_OK;

			body = 0;
			ck_assert_msg(record_header(p, n, t[i].max, &body) == want, "%s at %zu",
			    t[i].hex, n);
			if (want == RECORD_OK)
				ck_assert_uint_eq(body, (size_t)(p[3] << 8 | p[4]));
		}
	}
}
END_TEST

/* Whatever each end was built with: the record that one library sealed opens with the other. */
START_TEST(providers_interoperate)
{
	static uint8_t rec[RECORD_MAX], plain[RECORD_TEXT_MAX], text[RECORD_TEXT_MAX];
	const struct aead_provider *all[] = {
		&aead_wolfssl,
#ifdef HAVE_LIBCRYPTO
		&aead_libcrypto,
#endif
	};
	size_t providers = sizeof(all) / sizeof(all[0]);

	for (size_t i = 0; i < sizeof(plain); i++)
		plain[i] = (uint8_t)(i * 7);
	for (size_t n = 1; n <= sizeof(plain); n = n < 300 ? n + 1 : n * 2 < 16385 ? n * 2 : n + 16385) {
		struct record_key out = key_of(4);

		memcpy(rec + RECORD_HEADER, plain, n);
		record_seal(&out, rec, n, NULL);
		for (size_t i = 0; i < providers; i++) {
			uint8_t again[RECORD_MAX];

			ck_assert(all[i]->open(out.key, 0, rec, RECORD_HEADER, rec + RECORD_HEADER,
			    n + AEAD_TAG, text));
			ck_assert_mem_eq(text, plain, n);
			all[i]->seal(out.key, 0, rec, RECORD_HEADER, plain, n, again);
			ck_assert_mem_eq(again, rec + RECORD_HEADER, n + AEAD_TAG);
		}
	}
}
END_TEST

/* ---- frames ---- */

static const struct {
	const char *hex;
	struct frame f;
} good[] = {
	{ "010011" "0000000000000102" "0000000000040000" "00",
	  { .type = FRAME_HELLO, .offset = 0x102, .limit = 0x40000 } },
	{ "020010" "0000000000000102" "ffffffffffffffff",
	  { .type = FRAME_ACCEPT, .offset = 0x102, .limit = UINT64_MAX } },
	{ "03000a" "0000000000000007" "6869",
	  { .type = FRAME_DATA, .offset = 7, .p = (const uint8_t *)"hi", .n = 2 } },
	{ "040010" "0000000000000001" "0000000000000002",
	  { .type = FRAME_ACK, .offset = 1, .limit = 2 } },
	{ "050008" "8000000000000000", { .type = FRAME_FIN, .offset = 1ull << 63 } },
	{ "060008" "0102030405060708", { .type = FRAME_PING, .offset = 0x0102030405060708 } },
	{ "070008" "0102030405060708", { .type = FRAME_PONG, .offset = 0x0102030405060708 } },
	{ "080001" "02", { .type = FRAME_CLOSE, .code = 2 } },
};
#define GOOD (sizeof(good) / sizeof(good[0]))

START_TEST(frames_both_ways)
{
	uint8_t wire[64], made[64];
	struct frame f;

	for (size_t i = 0; i < GOOD; i++) {
		size_t n = unhex(wire, good[i].hex);
		struct writer w = writer_of(made, sizeof(made));
		struct reader r = reader_of(wire, n);

		frame_write(&w, &good[i].f);
		ck_assert_uint_eq(w.n, n);
		ck_assert_mem_eq(made, wire, n);
		ck_assert(frame_next(&r, &f));
		ck_assert(reader_end(&r));
		ck_assert_int_eq(f.type, good[i].f.type);
		ck_assert_uint_eq(f.offset, good[i].f.offset);
		ck_assert_uint_eq(f.limit, good[i].f.limit);
		ck_assert_uint_eq(f.code, good[i].f.code);
		ck_assert_uint_eq(f.n, good[i].f.n);
		if (f.n > 0)
			ck_assert_mem_eq(f.p, good[i].f.p, f.n);
		/* Cut at every length, it is malformed, and the reader stays where it was. */
		for (size_t cut = 1; cut < n; cut++) {
			r = reader_of(wire, cut);
			ck_assert(!frame_next(&r, &f));
			ck_assert_uint_eq(r.n, cut);
		}
		/* One byte short of room, nothing is written. */
		w = writer_of(made, n - 1);
		frame_write(&w, &good[i].f);
		ck_assert(w.failed && w.n == 0);
	}
}
END_TEST

START_TEST(frames_follow_each_other)
{
	uint8_t wire[256];
	struct writer w = writer_of(wire, sizeof(wire));
	struct reader r;
	struct frame f;

	for (size_t i = 0; i < GOOD; i++)
		frame_write(&w, &good[i].f);
	writer_zeros(&w, 20);
	r = reader_of(wire, w.n);
	for (size_t i = 0; i < GOOD; i++) {
		ck_assert(frame_next(&r, &f));
		ck_assert_int_eq(f.type, good[i].f.type);
	}
	ck_assert(!frame_next(&r, &f));
	ck_assert(reader_end(&r));
	ck_assert(!frame_next(&r, &f));
}
END_TEST

START_TEST(malformed_frames)
{
	static const char *const bad[] = {
		"09000100",                           /* unknown types */
		"ff0000",
		"01001000000000000000010000000000000002",     /* HELLO without flags */
		"0100120000000000000001000000000000000200aa", /* and with too much */
		"02001100000000000000010000000000000002aa",
		"0300080000000000000007",             /* DATA without a byte */
		"030007000000000000aa",
		"03000b0000000000000007aabb",         /* longer than the record */
		"040008000000000000000100",
		"050007000000000000aa",
		"05000900000000000000aabb",
		"06000400000000",
		"070000",
		"080000",
		"0800020101",
	};
	uint8_t wire[64];
	struct frame f;

	for (size_t i = 0; i < sizeof(bad) / sizeof(bad[0]); i++) {
		size_t n = unhex(wire, bad[i]);
		struct reader r = reader_of(wire, n);

		ck_assert_msg(!frame_next(&r, &f), "%s", bad[i]);
		ck_assert_uint_eq(r.n, n);
	}
}
END_TEST

/* ---- padding ---- */

START_TEST(first_records_have_the_schemes_sizes)
{
	uint8_t public[NOISE_KEY], text[HELLO_BODY_MAX + 2000], want[sizeof(text)] = { 0 };
	struct pad_scheme s;

	for (int i = 0; i < 40; i++) {
		memset(public, i, sizeof(public));
		pad_scheme_init(&s, public);
		ck_assert(s.spread >= 160 && s.spread < 320);
		for (uint64_t k = 0; k < 2 * PAD_FIRST; k++) {
			const uint16_t *first = k < PAD_FIRST ? s.up : s.down;
			uint64_t at = k % PAD_FIRST;
			bool hello = k == 0;
			size_t room = pad_room(first, at, hello);
			size_t outside = AEAD_TAG + (hello ? EPOCH_TAG : 0u);

			ck_assert(first[at] >= 400);
			ck_assert(first[at] <= (first == s.up ? HELLO_BODY_MAX : 3000));
			/* Whatever is inside, the body has the length that the scheme says. */
			for (size_t inside = 0; inside <= room; inside += inside < 3 ? 1 : 997) {
				struct writer w = writer_of(text, room);

				memset(text, 0xff, room);
				w.n = inside;
				pad_write(&s, first, at, hello, &w);
				ck_assert_uint_eq(w.n + outside, first[at]);
				ck_assert_mem_eq(text + inside, want, w.n - inside);
			}
		}
	}
}
END_TEST

START_TEST(later_records_vary)
{
	uint8_t public[NOISE_KEY] = { 9 }, text[RECORD_TEXT_MAX];
	struct pad_scheme s;
	size_t min = SIZE_MAX, max = 0;

	pad_scheme_init(&s, public);
	ck_assert_uint_eq(pad_room(s.up, PAD_FIRST, false), RECORD_TEXT_MAX);
	for (int i = 0; i < 8000; i++) {
		struct writer w = writer_of(text, sizeof(text));

		w.n = 100;
		pad_write(&s, s.up, PAD_FIRST + (uint64_t)i, false, &w);
		min = w.n < min ? w.n : min;
		max = w.n > max ? w.n : max;
	}
	/* 8000 draws of at most 320 values: no end is missed in a lifetime. */
	ck_assert_uint_eq(min, 100);
	ck_assert_uint_eq(max, 100u + s.spread);
	/* A full record has no room for any. */
	struct writer full = writer_of(text, sizeof(text));
	full.n = sizeof(text);
	pad_write(&s, s.up, 99, false, &full);
	ck_assert(!full.failed && full.n == sizeof(text));
}
END_TEST

START_TEST(no_two_bridges_share_a_scheme)
{
	uint8_t public[NOISE_KEY] = { 0 };
	struct pad_scheme s[200];

	for (uint8_t i = 0; i < 200; i++) {
		bool same = false;

		public[5] = i;
		pad_scheme_init(&s[i], public);
		for (uint8_t k = 0; k < i; k++)
			same = same || memcmp(&s[i], &s[k], sizeof(s[i])) == 0;
		ck_assert(!same);
	}
}
END_TEST

TEST_MAIN("frame", records_open_in_order, every_flipped_bit_is_bad, every_other_length_is_bad,
    headers_byte_by_byte, providers_interoperate, frames_both_ways, frames_follow_each_other,
    malformed_frames, first_records_have_the_schemes_sizes, later_records_vary,
    no_two_bridges_share_a_scheme)
