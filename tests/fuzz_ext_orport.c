/* A hostile Extended ORPort. Its hash cannot be guessed, so where byte 0 is odd a good start
 * (cookie and nonces of zeros) goes before its words. */
#include <assert.h>
#include <string.h>

#include "pt-server/ext_orport_auth.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t n);

int
LLVMFuzzerTestOneInput(const uint8_t *data, size_t n)
{
	static const uint8_t zeros[32], start[2 + 64 + 1] = { 1, 0,
		0x9e, 0x22, 0x19, 0x19, 0x98, 0x2a, 0x84, 0xf7, 0x5f, 0xaf, 0x60, 0xef, 0x92, 0x69,
		0x49, 0x79, 0x62, 0x68, 0xc9, 0x78, 0x33, 0xe0, 0x69, 0x60, 0xff, 0x26, 0x53, 0x69,
		0xa9, 0x0f, 0xd6, 0xd8, [66] = 1 };
	struct ext_orport_auth a, b;
	enum talk_result whole, bytes = TALK_MORE;
	struct reader r;
	size_t at = 1;

	if (n == 0)
		return 0;
	ext_orport_auth_init(&a, zeros, zeros, NULL, "sultry");
	ext_orport_auth_init(&b, zeros, zeros, NULL, "sultry");
	if (data[0] & 1) {
		r = reader_of(start, sizeof(start));
		assert(talk_feed(&a.talk, &r) == TALK_MORE && reader_end(&r));
		r = reader_of(start, sizeof(start));
		assert(talk_feed(&b.talk, &r) == TALK_MORE && reader_end(&r));
	}
	while (bytes == TALK_MORE && at < n) {
		r = reader_of(data + at++, 1);
		bytes = talk_feed(&b.talk, &r);
	}
	r = reader_of(data + 1, n - 1);
	whole = talk_feed(&a.talk, &r);
	assert(whole == bytes && r.n == n - at && (whole == TALK_BAD) == (a.error != NULL));
	ext_orport_auth_clear(&a);
	ext_orport_auth_clear(&b);
	return 0;
}
