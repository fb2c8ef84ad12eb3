/* Readers, writers, buffers and base64url. */
#include "tests/harness.h"

#include "common/bytes.h"

START_TEST(readers_take_all_or_nothing)
{
	static const uint8_t p[] = { 1, 2, 3, 4, 5, 6, 7, 8, 9, 10, 11, 12, 13, 14, 15, 16, 17, 18 };
	struct reader r = reader_of(p, sizeof(p)), sub;
	uint8_t v8, two[2];
	uint16_t v16;
	uint32_t v24, v32;
	uint64_t v64;

	ck_assert(reader_u8(&r, &v8) && reader_u16(&r, &v16) && reader_u24(&r, &v24) &&
	    reader_u32(&r, &v32) && reader_u64(&r, &v64));
	ck_assert(reader_end(&r));
	ck_assert_uint_eq(v8, 1);
	ck_assert_uint_eq(v16, 0x0203);
	ck_assert_uint_eq(v24, 0x040506);
	ck_assert_uint_eq(v32, 0x0708090a);
	ck_assert_uint_eq(v64, 0x0b0c0d0e0f101112);
	for (size_t n = 0; n < 8; n++) {
		r = reader_of(p, n);
		ck_assert(!reader_u64(&r, &v64) && !reader_sub(&r, &sub, n + 1) &&
		    !reader_skip(&r, n + 1) && !reader_sub(&r, &sub, SIZE_MAX));
		ck_assert(n >= 4 || !reader_u32(&r, &v32));
		ck_assert(n >= 3 || !reader_u24(&r, &v24));
		ck_assert(n >= 2 || (!reader_u16(&r, &v16) && !reader_copy(&r, two, 2)));
		ck_assert(n >= 1 || !reader_u8(&r, &v8));
		ck_assert_ptr_eq(r.p, p);
		ck_assert_uint_eq(r.n, n);
	}
	r = reader_of(p, 3);
	ck_assert(reader_copy(&r, two, 2) && two[1] == 2 && r.n == 1);
	r = reader_of(NULL, 0);
	ck_assert(reader_end(&r) && reader_skip(&r, 0) && reader_copy(&r, two, 0) &&
	    reader_sub(&r, &sub, 0) && !reader_u8(&r, &v8));
}
END_TEST

START_TEST(vectors_of_each_length)
{
	static const struct {
		const char *hex;
		bool (*take)(struct reader *, struct reader *);
	} t[] = {
		{ "0261620f", reader_vec8 },
		{ "000261620f", reader_vec16 },
		{ "00000261620f", reader_vec24 },
	};
	uint8_t p[8];

	for (size_t i = 0; i < 3; i++) {
		size_t n = unhex(p, t[i].hex);

		for (size_t cut = 0; cut <= n; cut++) {
			struct reader r = reader_of(p, cut), sub;

			if (cut + 1 < n) {
				ck_assert(!t[i].take(&r, &sub));
				ck_assert(r.p == p && r.n == cut);
				continue;
			}
			ck_assert(t[i].take(&r, &sub));
			ck_assert(sub.n == 2 && memcmp(sub.p, "ab", 2) == 0);
			ck_assert_uint_eq(r.n, cut + 1 - n);
		}
	}
}
END_TEST

START_TEST(writers_fail_once_and_for_all)
{
	uint8_t p[19];
	struct writer w = writer_of(p, 18);
	static const uint8_t want[] = { 1, 2, 3, 4, 5, 6, 7, 8, 9, 10, 11, 12, 13, 14, 15, 'x', 'y', 0 };

	p[18] = 0xee;
	writer_u8(&w, 1);
	writer_u16(&w, 0x0203);
	writer_u32(&w, 0x04050607);
	writer_u64(&w, 0x08090a0b0c0d0e0f);
	writer_bytes(&w, "xy", 2);
	writer_bytes(&w, NULL, 0);
	writer_zeros(&w, 1);
	ck_assert(!w.failed && w.n == 18 && writer_room(&w) == 0);
	ck_assert_mem_eq(p, want, 18);
	writer_zeros(&w, 0);
	ck_assert(!w.failed);
	writer_u8(&w, 9);
	ck_assert(w.failed && w.n == 18 && p[18] == 0xee);
	/* A write that does not fit leaves nothing, and none follows it. */
	w = writer_of(p, 3);
	writer_u32(&w, 0xffffffff);
	ck_assert(w.failed && w.n == 0 && p[0] == 1);
	writer_u8(&w, 0xff);
	ck_assert(w.n == 0 && p[0] == 1 && writer_room(&w) == 0);
	ck_assert_ptr_null(writer_space(&w, 0));
	w = writer_of(p, 3);
	ck_assert_ptr_null(writer_space(&w, SIZE_MAX));
}
END_TEST

/* A buffer against an array and two indices. */
START_TEST(buffers_at_random)
{
	static uint8_t model[1 << 20];
	struct buffer b = { 0 };
	uint64_t x = 1;
	size_t head = 0, tail = 0;
	bool same = true;

	for (size_t i = 0; i < sizeof(model); i++)
		model[i] = (uint8_t)(i * 13 + (i >> 8));
	while (tail < sizeof(model) && same) {
		size_t n;

		x = x * 6364136223846793005u + 1442695040888963407u;
		n = (x >> 33) % ((x >> 20) % 8 == 0 ? 20000 : 300);
		if ((x >> 60) % 2 == 0) {
			n = n < sizeof(model) - tail ? n : sizeof(model) - tail;
			if ((x >> 61) % 2 == 0) {
				buffer_add(&b, model + tail, n);
			} else if (n > 0) {
				memcpy(buffer_space(&b, n), model + tail, n);
				buffer_add(&b, NULL, n);
			}
			tail += n;
		} else {
			n = n < b.n ? n : b.n;
			buffer_drain(&b, n);
			head += n;
		}
		same = b.n == tail - head && (b.n > 0) == (b.mem != NULL) &&
		    (b.n == 0 || memcmp(buffer_data(&b), model + head, b.n) == 0) &&
		    b.cap <= 8192 + 8 * (b.n + 20000);
	}
	ck_assert_msg(same, "at %zu", tail);
	buffer_clear(&b);
	ck_assert(b.mem == NULL && b.n == 0 && buffer_data(&b) == NULL);
	buffer_clear(&b);
}
END_TEST

/* RFC 4648 section 10, in the URL-safe alphabet. */
START_TEST(base64url_vectors)
{
	static const struct {
		const char *plain, *text;
	} t[] = {
		{ "", "" }, { "f", "Zg" }, { "fo", "Zm8" }, { "foo", "Zm9v" }, { "foob", "Zm9vYg" },
		{ "fooba", "Zm9vYmE" }, { "foobar", "Zm9vYmFy" }, { "\xfb\xff\xbe", "-_--" },
	};
	uint8_t out[8];
	char text[16];
	size_t n;

	for (size_t i = 0; i < sizeof(t) / sizeof(t[0]); i++) {
		size_t len = strlen(t[i].plain), text_len = strlen(t[i].text);

		base64url_encode(text, t[i].plain, len);
		ck_assert_str_eq(text, t[i].text);
		ck_assert_uint_eq(BASE64URL_LEN(len), text_len);
		ck_assert(base64url_decode(out, sizeof(out), &n, text, text_len));
		ck_assert_uint_eq(n, len);
		ck_assert_mem_eq(out, t[i].plain, len);
		ck_assert(len == 0 || !base64url_decode(out, len - 1, &n, text, text_len));
		ck_assert(base64url_decode(out, len, &n, text, text_len));
	}
}
END_TEST

START_TEST(base64url_has_one_spelling)
{
	static const char *const bad[] = {
		"A", "AAAAA",             /* lengths that none has */
		"Zg==", "Zm8=", "Zg=",    /* padding */
		"Zh", "Zv", "Zm9", "Zm-", /* low bits that are not zero */
		"Zm9+", "Zm9/", "Zm 9", "Zm9\n", "Zm.v", "Zm\x80v",
	};
	uint8_t out[8];
	char one[] = "Zm?v";
	size_t n, good = 0;

	for (size_t i = 0; i < sizeof(bad) / sizeof(bad[0]); i++)
		ck_assert_msg(!base64url_decode(out, sizeof(out), &n, bad[i], strlen(bad[i])), "%s",
		    bad[i]);
	ck_assert(!base64url_decode(out, sizeof(out), &n, "Zm\0v", 4));
	for (int c = 0; c < 256; c++) {
		one[2] = (char)c;
		good += base64url_decode(out, sizeof(out), &n, one, 4);
	}
	ck_assert_uint_eq(good, 64);
}
END_TEST

TEST_MAIN("bytes", readers_take_all_or_nothing, vectors_of_each_length,
    writers_fail_once_and_for_all, buffers_at_random, base64url_vectors, base64url_has_one_spelling)
