/* A fuzz target without libFuzzer: seeded noise, so that it is built and run by every check.
 * Of each input a part is noise, a part counts up, and a part repeats, as protocols do. */
#include <stddef.h>
#include <stdint.h>
#include <stdlib.h>

#define RUNS 3000
#define MOST 700

int LLVMFuzzerTestOneInput(const uint8_t *p, size_t n);

static uint32_t
next(uint32_t *x)
{
	*x = *x * 1664525 + 1013904223;
	return *x >> 8;
}

int
main(void)
{
	for (uint32_t run = 0; run < RUNS; run++) {
		uint32_t x = run, few = 1 + next(&x) % 256;
		size_t n = next(&x) % MOST, at = 0;
		uint8_t *p = malloc(n + 1); /* of that size, for the sanitizers */

		while (p != NULL && at < n) {
			uint32_t first = next(&x), same = next(&x) % 3;

			for (uint32_t k = next(&x) % 20; at < n && k > 0; k--)
				p[at++] = (uint8_t)(same == 0 ? next(&x) % few : same == 1 ? first++ : first);
		}
		if (p != NULL)
			LLVMFuzzerTestOneInput(p, n);
		free(p);
	}
	return 0;
}
