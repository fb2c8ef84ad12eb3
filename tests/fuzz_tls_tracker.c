/* Two trackers see the same bytes, one of them byte by byte: they agree, and take no
 * verdict back. Input: direction and length (1 byte), bytes, and so on. */
#include "common/tls_tracker.h"

#include <string.h>

#include "common/bytes.h"

int LLVMFuzzerTestOneInput(const uint8_t *p, size_t n);

static unsigned
state(const struct tls_tracker *t)
{
	return (tls_tracker_kind(t) == TLS_NOT ? 1u : 0u) | (tls_tracker_encrypted(t, TLS_UP) ? 2u : 0u) |
	    (tls_tracker_encrypted(t, TLS_DOWN) ? 4u : 0u) | (tls_tracker_final(t) ? 8u : 0u) |
	    (tls_tracker_first_flight(t) ? 16u : 0u) | (tls_tracker_flight_exact(t) ? 32u : 0u);
}

int
LLVMFuzzerTestOneInput(const uint8_t *p, size_t n)
{
	struct tls_tracker *a = tls_tracker_new(), *b = tls_tracker_new();
	struct reader in = reader_of(p, n), piece;
	uint8_t head;

	while (reader_u8(&in, &head) && reader_sub(&in, &piece, head & 0x7f)) {
		enum tls_dir dir = head >> 7 ? TLS_DOWN : TLS_UP;

		tls_tracker_feed(a, dir, piece.p, piece.n);
		for (size_t i = 0; i < piece.n; i++) {
			unsigned before = state(b);

			tls_tracker_feed(b, dir, piece.p + i, 1);
			if ((before & ~state(b)) != 0)
				__builtin_trap();
		}
		if (state(a) != state(b) || tls_tracker_kind(a) != tls_tracker_kind(b) ||
		    memcmp(tls_tracker_info(a), tls_tracker_info(b), sizeof(struct tls_info)) != 0)
			__builtin_trap();
	}
	tls_tracker_free(a);
	tls_tracker_free(b);
	return 0;
}
