/* SOCKS5: the bytes at once and one at a time must come to the same. */
#include "pt-client/socks5.h"

#include <assert.h>
#include <string.h>

int LLVMFuzzerTestOneInput(const uint8_t *p, size_t n);

static enum socks5_result
run(struct socks5 *s, const uint8_t *p, size_t n, size_t step, struct buffer *out)
{
	enum socks5_result r = SOCKS5_MORE;
	size_t used;

	socks5_init(s);
	for (size_t at = 0; at < n && r == SOCKS5_MORE; at += used) {
		size_t k = n - at < step ? n - at : step;

		r = socks5_feed(s, p + at, k, &used, out);
		assert(used == k || (r != SOCKS5_MORE && used < k));
	}
	return r;
}

int
LLVMFuzzerTestOneInput(const uint8_t *p, size_t n)
{
	struct socks5 a, b;
	struct buffer out_a = { 0 }, out_b = { 0 };
	enum socks5_result r = run(&a, p, n, n, &out_a);

	assert(run(&b, p, n, 1, &out_b) == r);
	assert(out_a.n == out_b.n);
	assert(out_a.n == 0 || memcmp(buffer_data(&out_a), buffer_data(&out_b), out_a.n) == 0);
	assert(out_a.n <= 2 + 2 + SOCKS5_REPLY_LEN);
	assert((r == SOCKS5_BAD) == (a.why != NULL));
	if (r == SOCKS5_REQUEST)
		assert(a.port == b.port && strcmp(a.host, b.host) == 0 && a.host[0] != '\0');
	socks5_clear(&a);
	socks5_clear(&b);
	buffer_clear(&out_a);
	buffer_clear(&out_b);
	return 0;
}
