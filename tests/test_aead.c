/* Both providers of the AEAD: each against published vectors, and against the other. */
#include "tests/harness.h"

#include "common/aead.h"

static const struct aead_provider *const providers[] = {
	&aead_wolfssl,
#ifdef HAVE_LIBCRYPTO
	&aead_libcrypto,
#endif
};
#define PROVIDERS (sizeof(providers) / sizeof(providers[0]))

/* RFC 8439 appendix A.5. Its nonce begins with four zero bytes, as all of ours do; the
 * one of section 2.8.2 does not. */
START_TEST(rfc8439)
{
	static const char text[] = "Internet-Drafts are draft documents valid for a maximum of six "
	    "months and may be updated, replaced, or obsoleted by other documents at any time. It is "
	    "inappropriate to use Internet-Drafts as reference material or to cite them other than as "
	    "/\xe2\x80\x9cwork in progress./\xe2\x80\x9d";
	uint8_t key[AEAD_KEY], aad[12], sealed[300], want[300], got[300];
	size_t len = sizeof(text) - 1, n;

	unhex(key, "1c9240a5eb55d38af333888604f6b5f0473917c1402b80099dca5cbc207075c0");
	unhex(aad, "f33388860000000000004e91");
	n = unhex(want, "64a0861575861af460f062c79be643bd5e805cfd345cf389f108670ac76c8cb2"
	    "4c6cfc18755d43eea09ee94e382d26b0bdb7b73c321b0100d4f03b7f355894cf"
	    "332f830e710b97ce98c8a84abd0b948114ad176e008d33bd60f982b1ff37c855"
	    "9797a06ef4f0ef61c186324e2b3506383606907b6a7c02b0f9f6157b53c867e4"
	    "b9166c767b804d46a59b5216cde7a4e99040c5a40433225ee282a1b0a06c523e"
	    "af4534d7f83fa1155b0047718cbc546a0d072b04b3564eea1b422273f548271a"
	    "0bb2316053fa76991955ebd63159434ecebb4e466dae5a1073a6727627097a10"
	    "49e617d91d361094fa68f0ff77987130305beaba2eda04df997b714d6c6f2c29"
	    "a6ad5cb4022b02709b" "eead9d67890cbb22392336fea1851f38");
	ck_assert_uint_eq(n, len + AEAD_TAG);
	for (size_t i = 0; i < PROVIDERS; i++) {
		providers[i]->seal(key, 0x0807060504030201, aad, sizeof(aad), (const uint8_t *)text, len, sealed);
		ck_assert_msg(memcmp(sealed, want, n) == 0, "%s", providers[i]->name);
		ck_assert(providers[i]->open(key, 0x0807060504030201, aad, sizeof(aad), want, n, got));
		ck_assert_mem_eq(got, text, len);
	}
}
END_TEST

START_TEST(in_place_and_each_with_the_other)
{
	static const size_t lengths[] = { 0, 1, 15, 16, 17, 63, 64, 65, 255, 1200, 16385 };
	static uint8_t text[16385], one[16385 + AEAD_TAG], two[16385 + AEAD_TAG];
	uint8_t key[AEAD_KEY] = { 1, 2, 3 };

	for (size_t i = 0; i < sizeof(text); i++)
		text[i] = (uint8_t)(i * 5);
	for (size_t l = 0; l < sizeof(lengths) / sizeof(lengths[0]); l++) {
		size_t n = lengths[l];

		for (size_t i = 0; i < PROVIDERS * PROVIDERS; i++) {
			const struct aead_provider *a = providers[i / PROVIDERS], *b = providers[i % PROVIDERS];
			uint64_t nonce = l == 0 ? UINT64_MAX : l << 33;

			memcpy(one, text, n);
			a->seal(key, nonce, n % 2 ? "aad" : NULL, n % 2 ? 3 : 0, one, n, one);
			b->seal(key, nonce, n % 2 ? "aad" : NULL, n % 2 ? 3 : 0, n ? text : NULL, n, two);
			ck_assert_mem_eq(one, two, n + AEAD_TAG);
			ck_assert(b->open(key, nonce, "aad", n % 2 ? 3 : 0, one, n + AEAD_TAG, one));
			ck_assert_mem_eq(one, text, n);
		}
	}
}
END_TEST

START_TEST(nothing_opens_but_what_was_sealed)
{
	uint8_t key[AEAD_KEY] = { 9 }, sealed[21], got[21];

	for (size_t i = 0; i < PROVIDERS; i++) {
		const struct aead_provider *a = providers[i];

		a->seal(key, 3, "ab", 2, (const uint8_t *)"hello", 5, sealed);
		for (size_t bit = 0; bit < 8 * sizeof(sealed); bit++) {
			sealed[bit / 8] ^= (uint8_t)(1 << bit % 8);
			ck_assert_msg(!a->open(key, 3, "ab", 2, sealed, sizeof(sealed), got), "bit %zu", bit);
			sealed[bit / 8] ^= (uint8_t)(1 << bit % 8);
		}
		for (size_t n = 0; n < sizeof(sealed); n++)
			ck_assert_msg(!a->open(key, 3, "ab", 2, sealed, n, got), "length %zu", n);
		ck_assert(!a->open(key, 4, "ab", 2, sealed, sizeof(sealed), got));
		sealed[5] ^= 1; /* the tag; what it is for can be decrypted */
		ck_assert(!a->open(key, 3, "ab", 2, sealed, sizeof(sealed), got));
		ck_assert_mem_ne(got, "hello", 5);
		sealed[5] ^= 1;
		ck_assert(!a->open(key, 3, "ac", 2, sealed, sizeof(sealed), got));
		ck_assert(!a->open(key, 3, "ab", 1, sealed, sizeof(sealed), got));
		key[31] ^= 1;
		ck_assert(!a->open(key, 3, "ab", 2, sealed, sizeof(sealed), got));
		key[31] ^= 1;
		ck_assert(a->open(key, 3, "ab", 2, sealed, sizeof(sealed), got));
		ck_assert_mem_eq(got, "hello", 5);
	}
}
END_TEST

START_TEST(the_build_has_one_of_them)
{
	ck_assert_ptr_eq(aead, providers[PROVIDERS - 1]);
}
END_TEST

TEST_MAIN("aead", rfc8439, in_place_and_each_with_the_other, nothing_opens_but_what_was_sealed,
    the_build_has_one_of_them)
