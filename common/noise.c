#include "common/noise.h"

#include <wolfssl/options.h>
#include <wolfssl/wolfcrypt/curve25519.h>
#include <wolfssl/wolfcrypt/hmac.h>
#include <wolfssl/wolfcrypt/sha256.h>

#include <stdlib.h>
#include <string.h>

#include "common/aead.h"
#include "common/bytes.h"
#include "common/mem.h"

/* wolfCrypt fails here only on bad arguments: a bug of ours. */
static void
must(int rc)
{
	if (rc != 0)
		abort();
}

static void
clamp(uint8_t out[NOISE_KEY], const uint8_t secret[NOISE_KEY])
{
	memcpy(out, secret, NOISE_KEY);
	out[0] &= 248;
	out[31] = (uint8_t)((out[31] & 127) | 64);
}

void
noise_public(uint8_t public[NOISE_KEY], const uint8_t secret[NOISE_KEY])
{
	uint8_t s[NOISE_KEY];

	clamp(s, secret);
	must(wc_curve25519_make_pub(NOISE_KEY, public, NOISE_KEY, s));
	mem_wipe(s, sizeof(s));
}

/* False for a point of low order, whose shared secret is all zero (RFC 7748 6.1). */
static bool
x25519(uint8_t out[NOISE_KEY], const uint8_t secret[NOISE_KEY], const uint8_t public[NOISE_KEY])
{
	static const uint8_t zero[NOISE_KEY];
	curve25519_key priv, pub;
	uint8_t s[NOISE_KEY];
	word32 n = NOISE_KEY;
	bool ok;

	clamp(s, secret);
	must(wc_curve25519_init(&priv));
	must(wc_curve25519_init(&pub));
	ok = wc_curve25519_import_private_ex(s, NOISE_KEY, &priv, EC25519_LITTLE_ENDIAN) == 0 &&
	    wc_curve25519_import_public_ex(public, NOISE_KEY, &pub, EC25519_LITTLE_ENDIAN) == 0 &&
	    wc_curve25519_shared_secret_ex(&priv, &pub, out, &n, EC25519_LITTLE_ENDIAN) == 0 &&
	    !mem_equal(out, zero, NOISE_KEY);
	wc_curve25519_free(&priv);
	wc_curve25519_free(&pub);
	mem_wipe(s, sizeof(s));
	return ok;
}

void
noise_sha256(uint8_t out[32], const void *a, size_t a_len, const void *b, size_t b_len)
{
	wc_Sha256 sha;

	must(wc_InitSha256(&sha));
	if (a_len > 0)
		must(wc_Sha256Update(&sha, a, (word32)a_len));
	if (b_len > 0)
		must(wc_Sha256Update(&sha, b, (word32)b_len));
	must(wc_Sha256Final(&sha, out));
	wc_Sha256Free(&sha);
}

void
noise_hkdf(uint8_t *out, size_t out_len, const void *salt, size_t salt_len, const void *ikm,
    size_t ikm_len, const void *info, size_t info_len)
{
	static const uint8_t none[1];

	must(wc_HKDF(WC_SHA256, ikm_len ? ikm : none, (word32)ikm_len, salt, (word32)salt_len, info,
	    (word32)info_len, out, (word32)out_len));
}

static void
mix_hash(struct noise *ns, const void *p, size_t n)
{
	noise_sha256(ns->h, ns->h, NOISE_HASH, p, n);
}

static void
mix_key(struct noise *ns, const uint8_t *ikm, size_t n)
{
	uint8_t out[2 * NOISE_KEY];

	/* Noise's HKDF of two outputs is RFC 5869's with ck as salt and no info. */
	noise_hkdf(out, sizeof(out), ns->ck, NOISE_HASH, ikm, n, NULL, 0);
	memcpy(ns->ck, out, NOISE_HASH);
	memcpy(ns->k, out + NOISE_HASH, NOISE_KEY);
	mem_wipe(out, sizeof(out));
}

static bool
mix_dh(struct noise *ns, const uint8_t secret[NOISE_KEY], const uint8_t public[NOISE_KEY])
{
	uint8_t dh[NOISE_KEY];
	bool ok = x25519(dh, secret, public);

	if (ok)
		mix_key(ns, dh, sizeof(dh));
	mem_wipe(dh, sizeof(dh));
	return ok;
}

void
noise_init(struct noise *ns, const void *prologue, size_t n, const uint8_t rs[NOISE_KEY])
{
	static const char name[] = "Noise_NK_25519_ChaChaPoly_SHA256"; /* just 32 bytes */

	memset(ns, 0, sizeof(*ns));
	memcpy(ns->h, name, NOISE_HASH);
	memcpy(ns->ck, name, NOISE_HASH);
	memcpy(ns->remote, rs, NOISE_KEY);
	mix_hash(ns, prologue, n);
	mix_hash(ns, rs, NOISE_KEY); /* the pre-message "<- s" */
}

void
noise_clear(struct noise *ns)
{
	mem_wipe(ns, sizeof(*ns));
}

/* "e", a DH between it and the other side's key, then the payload. */
static bool
write_message(struct noise *ns, const uint8_t *ephemeral, const void *payload, size_t n,
    uint8_t *out)
{
	if (ephemeral != NULL)
		memcpy(ns->e, ephemeral, NOISE_KEY);
	else
		mem_random(ns->e, NOISE_KEY);
	noise_public(out, ns->e);
	mix_hash(ns, out, NOISE_KEY);
	if (!mix_dh(ns, ns->e, ns->remote))
		return false;
	aead->seal(ns->k, 0, ns->h, NOISE_HASH, payload, n, out + NOISE_KEY);
	mix_hash(ns, out + NOISE_KEY, n + AEAD_TAG);
	return true;
}

static bool
read_message(struct noise *ns, const uint8_t secret[NOISE_KEY], const uint8_t *msg, size_t len,
    uint8_t *payload)
{
	if (len < NOISE_OVERHEAD || len > NOISE_MESSAGE_MAX)
		return false;
	memcpy(ns->remote, msg, NOISE_KEY);
	mix_hash(ns, msg, NOISE_KEY);
	if (!mix_dh(ns, secret, ns->remote) ||
	    !aead->open(ns->k, 0, ns->h, NOISE_HASH, msg + NOISE_KEY, len - NOISE_KEY, payload))
		return false;
	mix_hash(ns, msg + NOISE_KEY, len - NOISE_KEY);
	return true;
}

static void
split(const struct noise *ns, struct noise_keys *keys)
{
	static const char label[] = "sultry direct v1";
	uint8_t out[2 * NOISE_KEY];

	noise_hkdf(out, sizeof(out), ns->ck, NOISE_HASH, NULL, 0, NULL, 0);
	memcpy(keys->up, out, NOISE_KEY);
	memcpy(keys->down, out + NOISE_KEY, NOISE_KEY);
	mem_wipe(out, sizeof(out));
	memcpy(keys->h, ns->h, NOISE_HASH);
	noise_hkdf(keys->direct, NOISE_KEY, ns->h, NOISE_HASH, ns->ck, NOISE_HASH, label,
	    sizeof(label) - 1);
}

bool
noise_write_1(struct noise *ns, const uint8_t *ephemeral, const void *payload, size_t n, uint8_t *out)
{
	return write_message(ns, ephemeral, payload, n, out);
}

bool
noise_read_1(struct noise *ns, const uint8_t secret[NOISE_KEY], const uint8_t *msg, size_t len,
    uint8_t *payload)
{
	return read_message(ns, secret, msg, len, payload);
}

bool
noise_write_2(struct noise *ns, const uint8_t *ephemeral, const void *payload, size_t n,
    uint8_t *out, struct noise_keys *keys)
{
	if (!write_message(ns, ephemeral, payload, n, out))
		return false;
	split(ns, keys);
	return true;
}

bool
noise_read_2(struct noise *ns, const uint8_t *msg, size_t len, uint8_t *payload,
    struct noise_keys *keys)
{
	if (!read_message(ns, ns->e, msg, len, payload))
		return false;
	split(ns, keys);
	return true;
}

void
noise_epoch(struct noise_epoch *out, const uint8_t direct[NOISE_KEY], uint32_t epoch)
{
	static const char label[] = "sultry epoch v1";
	uint8_t info[sizeof(label) - 1 + 4], okm[EPOCH_TAG + 2 * NOISE_KEY];
	struct writer w = writer_of(info, sizeof(info));
	struct reader r = reader_of(okm, sizeof(okm));

	writer_bytes(&w, label, sizeof(label) - 1);
	writer_u32(&w, epoch);
	noise_hkdf(okm, sizeof(okm), NULL, 0, direct, NOISE_KEY, info, w.n);
	reader_copy(&r, out->tag, EPOCH_TAG);
	reader_copy(&r, out->up, NOISE_KEY);
	reader_copy(&r, out->down, NOISE_KEY);
	mem_wipe(okm, sizeof(okm));
}
