/* What every Check program of ours shares: one suite, one main, hex, seeded numbers. */
#ifndef SULTRY_TESTS_HARNESS_H
#define SULTRY_TESTS_HARNESS_H

#include <check.h>
#include <stdint.h>
#include <stdlib.h>
#include <string.h>

/* Makes a main() that runs the tests listed by name, each with 120 s. */
#define TEST_MAIN(suite_name, ...)                                          \
	int main(void)                                                      \
	{                                                                   \
		const TTest *const all[] = { __VA_ARGS__ };                 \
		Suite *s = suite_create(suite_name);                        \
		TCase *tc = tcase_create(suite_name);                       \
		tcase_set_timeout(tc, 120);                                 \
		for (size_t i = 0; i < sizeof(all) / sizeof(all[0]); i++)   \
			tcase_add_test(tc, all[i]);                         \
		suite_add_tcase(s, tc);                                     \
		SRunner *sr = srunner_create(s);                            \
		srunner_run_all(sr, CK_ENV);                                \
		int failed = srunner_ntests_failed(sr);                     \
		srunner_free(sr);                                           \
		return failed == 0 ? 0 : 1;                                 \
	}

/* From a seed, the same on every run: below n, which is far below 2^31. */
static inline uint64_t
random_below(uint64_t *x, uint64_t n)
{
	*x = *x * 6364136223846793005u + 1442695040888963407u;
	return (*x >> 33) % n;
}

/* Decodes hex; out must hold strlen(s) / 2 bytes. Returns their number. */
static inline size_t
unhex(uint8_t *out, const char *s)
{
	size_t n = 0;

	for (; s[0] != '\0' && s[1] != '\0'; s += 2) {
		char pair[3] = { s[0], s[1], '\0' };

		out[n++] = (uint8_t)strtoul(pair, NULL, 16);
	}
	return n;
}

#endif
