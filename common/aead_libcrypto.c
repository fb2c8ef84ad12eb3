/* A file of its own, since the headers of OpenSSL and wolfSSL exclude each other. */
#include "common/aead.h"

#ifdef HAVE_LIBCRYPTO
#include <openssl/evp.h>
#include <stdlib.h>

#include "common/mem.h"

/* The process has one thread, so one context serves every key: the key schedule
 * of ChaCha20 is a copy of 32 bytes. */
static EVP_CIPHER_CTX *
context(bool seal)
{
	static EVP_CIPHER_CTX *ctx[2];

	if (ctx[seal] == NULL) {
		ctx[seal] = EVP_CIPHER_CTX_new();
		if (ctx[seal] == NULL ||
		    EVP_CipherInit_ex(ctx[seal], EVP_chacha20_poly1305(), NULL, NULL, NULL, seal) != 1)
			abort();
	}
	return ctx[seal];
}

static EVP_CIPHER_CTX *
start(bool seal, const uint8_t key[AEAD_KEY], uint64_t n, const void *aad, size_t aad_len)
{
	EVP_CIPHER_CTX *ctx = context(seal);
	uint8_t nonce[12] = { 0 };
	int out_len;

	for (int i = 0; i < 8; i++)
		nonce[4 + i] = (uint8_t)(n >> (8 * i));
	if (EVP_CipherInit_ex(ctx, NULL, NULL, key, nonce, seal) != 1 ||
	    (aad_len > 0 && EVP_CipherUpdate(ctx, NULL, &out_len, aad, (int)aad_len) != 1))
		abort();
	return ctx;
}

static void
libcrypto_seal(const uint8_t key[AEAD_KEY], uint64_t n, const void *aad, size_t aad_len,
    const uint8_t *in, size_t len, uint8_t *out)
{
	EVP_CIPHER_CTX *ctx = start(true, key, n, aad, aad_len);
	int out_len;

	if ((len > 0 && EVP_EncryptUpdate(ctx, out, &out_len, in, (int)len) != 1) ||
	    EVP_EncryptFinal_ex(ctx, out + len, &out_len) != 1 ||
	    EVP_CIPHER_CTX_ctrl(ctx, EVP_CTRL_AEAD_GET_TAG, AEAD_TAG, out + len) != 1)
		abort();
}

static bool
libcrypto_open(const uint8_t key[AEAD_KEY], uint64_t n, const void *aad, size_t aad_len,
    const uint8_t *in, size_t len, uint8_t *out)
{
	EVP_CIPHER_CTX *ctx;
	uint8_t tag[AEAD_TAG], last[AEAD_TAG];
	int out_len;

	if (len < AEAD_TAG)
		return false;
	len -= AEAD_TAG;
	for (int i = 0; i < AEAD_TAG; i++)
		tag[i] = in[len + (size_t)i];
	ctx = start(false, key, n, aad, aad_len);
	if ((len == 0 || EVP_DecryptUpdate(ctx, out, &out_len, in, (int)len) == 1) &&
	    EVP_CIPHER_CTX_ctrl(ctx, EVP_CTRL_AEAD_SET_TAG, AEAD_TAG, tag) == 1 &&
	    EVP_DecryptFinal_ex(ctx, last, &out_len) == 1)
		return true;
	mem_wipe(out, len); /* what was not authentic is nobody's to read */
	return false;
}

const struct aead_provider aead_libcrypto = { "libcrypto", libcrypto_seal, libcrypto_open };
#else
typedef int aead_libcrypto_is_not_built;
#endif
