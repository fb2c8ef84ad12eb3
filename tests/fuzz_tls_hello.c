/* No view that a hello hands out leaves the message. */
#include "common/tls_hello.h"

int LLVMFuzzerTestOneInput(const uint8_t *p, size_t n);

static void
check(struct reader view, const uint8_t *p, size_t n)
{
	if (view.p != NULL && (view.p < p || view.n > n || view.p + view.n > p + n))
		__builtin_trap();
}

int
LLVMFuzzerTestOneInput(const uint8_t *p, size_t n)
{
	struct tls_client_hello c;
	struct tls_server_hello s;

	if (tls_client_hello_parse(&c, reader_of(p, n))) {
		const struct reader views[] = { reader_of(c.random, TLS_RANDOM), c.session_id,
			c.ciphers, c.sni, c.alpn, c.versions, c.ticket };

		for (size_t i = 0; i < sizeof(views) / sizeof(views[0]); i++)
			check(views[i], p, n);
	}
	if (tls_server_hello_parse(&s, reader_of(p, n))) {
		check(reader_of(s.random, TLS_RANDOM), p, n);
		check(s.session_id, p, n);
		check(s.alpn, p, n);
	}
	return 0;
}
