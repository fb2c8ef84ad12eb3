/* Whatever the frames of a record are, each that is read is written again as it was, and
 * no view leaves the record. */
#include "common/frame.h"

#include <string.h>

int LLVMFuzzerTestOneInput(const uint8_t *p, size_t n);

int
LLVMFuzzerTestOneInput(const uint8_t *p, size_t n)
{
	static uint8_t made[RECORD_TEXT_MAX];
	struct reader r = reader_of(p, n < sizeof(made) ? n : sizeof(made));
	struct frame f;
	size_t body;

	if (n > 0 && record_header(p, n, RECORD_BODY_MAX, &body) == RECORD_OK &&
	    (body <= AEAD_TAG || body > RECORD_BODY_MAX))
		__builtin_trap();
	for (;;) {
		const uint8_t *at = r.p;
		struct writer w = writer_of(made, sizeof(made));

		if (!frame_next(&r, &f))
			return 0;
		frame_write(&w, &f);
		if (w.failed || w.n != (size_t)(r.p - at) || memcmp(made, at, w.n) != 0)
			__builtin_trap();
	}
}
