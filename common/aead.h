/* ChaCha20-Poly1305 (RFC 8439): the one door to whatever library seals for us. */
#ifndef SULTRY_COMMON_AEAD_H
#define SULTRY_COMMON_AEAD_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#define AEAD_KEY 32
#define AEAD_TAG 16 /* bytes that sealing adds behind the text */

/* The nonce is 4 zero bytes and `n` in little endian (Noise section 12.3); a key
 * is never used twice with one n. `out` may be `in`. */
struct aead_provider {
	const char *name;
	/* Writes len + AEAD_TAG bytes. */
	void (*seal)(const uint8_t key[AEAD_KEY], uint64_t n, const void *aad, size_t aad_len,
	    const uint8_t *in, size_t len, uint8_t *out);
	/* Reads len bytes, tag included, and writes len - AEAD_TAG. False, with
	 * nothing of the text in out, unless every bit is authentic. */
	bool (*open)(const uint8_t key[AEAD_KEY], uint64_t n, const void *aad, size_t aad_len,
	    const uint8_t *in, size_t len, uint8_t *out);
};

extern const struct aead_provider aead_wolfssl;
#ifdef HAVE_LIBCRYPTO
extern const struct aead_provider aead_libcrypto; /* ten times as fast on Debian */
#endif

/* The provider that this build seals with. Both ends interoperate whatever each has. */
extern const struct aead_provider *const aead;

#endif
