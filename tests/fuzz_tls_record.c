/* Whole and byte by byte, a stream of records tells the same events. */
#include "common/tls_record.h"

int LLVMFuzzerTestOneInput(const uint8_t *p, size_t n);

static uint64_t
run(const uint8_t *p, size_t n, size_t piece)
{
	struct tls_record r = { 0 };
	struct reader in, m = { NULL, 0 };
	enum tls_event event = TLS_MORE;
	uint64_t sum = 0;

	for (size_t at = 0; at < n && event != TLS_BAD; at += piece) {
		in = reader_of(p + at, n - at < piece ? n - at : piece);
		while ((event = tls_record_next(&r, &in, &m)) != TLS_MORE && event != TLS_BAD) {
			sum = sum * 31 + (uint64_t)event;
			for (size_t i = 0; event == TLS_MESSAGE && i < m.n; i++)
				sum = sum * 31 + m.p[i];
			if (event == TLS_RECORD_END && r.header[0] == TLS_CHANGE_CIPHER_SPEC)
				tls_record_seal(&r);
		}
		if (r.message.n > TLS_HANDSHAKE_MAX || (event == TLS_MORE && in.n > 0))
			__builtin_trap();
	}
	tls_record_clear(&r);
	return sum * 31 + (uint64_t)event;
}

int
LLVMFuzzerTestOneInput(const uint8_t *p, size_t n)
{
	if (run(p, n, 1) != run(p, n, n + 1))
		__builtin_trap();
	return 0;
}
