#include "common/aead.h"

#include <wolfssl/options.h>
#include <wolfssl/wolfcrypt/chacha20_poly1305.h>

#include <stdlib.h>
#include <string.h>

#include "common/mem.h"

static void
nonce_of(uint8_t nonce[12], uint64_t n)
{
	memset(nonce, 0, 4);
	for (int i = 0; i < 8; i++)
		nonce[4 + i] = (uint8_t)(n >> (8 * i));
}

static void
wolfssl_seal(const uint8_t key[AEAD_KEY], uint64_t n, const void *aad, size_t aad_len,
    const uint8_t *in, size_t len, uint8_t *out)
{
	uint8_t nonce[12];

	nonce_of(nonce, n);
	if (in == NULL)
		in = out; /* no bytes; but it wants a pointer */
	/* Fails only on bad arguments, which would be a bug of ours. */
	if (wc_ChaCha20Poly1305_Encrypt(key, nonce, aad, (word32)aad_len, in, (word32)len, out,
		out + len) != 0)
		abort();
}

static bool
wolfssl_open(const uint8_t key[AEAD_KEY], uint64_t n, const void *aad, size_t aad_len,
    const uint8_t *in, size_t len, uint8_t *out)
{
	uint8_t nonce[12];

	if (len < AEAD_TAG)
		return false;
	nonce_of(nonce, n);
	if (wc_ChaCha20Poly1305_Decrypt(key, nonce, aad, (word32)aad_len, in, (word32)(len - AEAD_TAG),
		in + len - AEAD_TAG, out) == 0)
		return true;
	mem_wipe(out, len - AEAD_TAG); /* what was not authentic is nobody's to read */
	return false;
}

const struct aead_provider aead_wolfssl = { "wolfssl", wolfssl_seal, wolfssl_open };

#ifdef HAVE_LIBCRYPTO
const struct aead_provider *const aead = &aead_libcrypto;
#else
const struct aead_provider *const aead = &aead_wolfssl;
#endif
