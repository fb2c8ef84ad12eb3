/* Noise_NK_25519_ChaChaPoly_SHA256 (Noise revision 34), and the keys that Sultry
 * takes from it (spec/protocol.md, "Keys"). Pure computation. */
#ifndef SULTRY_COMMON_NOISE_H
#define SULTRY_COMMON_NOISE_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#define NOISE_KEY 32
#define NOISE_HASH 32
#define NOISE_MESSAGE_MAX 65535
#define NOISE_OVERHEAD 48 /* an ephemeral key and a tag around each handshake payload */

/* A handshake in progress. Holds secrets: noise_clear when done. */
struct noise {
	uint8_t h[NOISE_HASH], ck[NOISE_HASH], k[NOISE_KEY];
	uint8_t e[NOISE_KEY];      /* our ephemeral secret */
	uint8_t remote[NOISE_KEY]; /* initiator: the server's key; responder: the client's ephemeral */
};

/* What both ends hold after the handshake. */
struct noise_keys {
	uint8_t up[NOISE_KEY], down[NOISE_KEY]; /* transport keys, client to server and back */
	uint8_t direct[NOISE_KEY];              /* the direct secret */
	uint8_t h[NOISE_HASH];                  /* handshake hash */
};

/* One direct connection's share of the direct secret. */
#define EPOCH_TAG 16
struct noise_epoch {
	uint8_t tag[EPOCH_TAG];
	uint8_t up[NOISE_KEY], down[NOISE_KEY];
};

/* X25519 (RFC 7748). Clamps a copy of secret. */
void noise_public(uint8_t public[NOISE_KEY], const uint8_t secret[NOISE_KEY]);

/* Starts either end; rs is the server's public key. */
void noise_init(struct noise *ns, const void *prologue, size_t n, const uint8_t rs[NOISE_KEY]);

/* Initiator: writes message 1, n + NOISE_OVERHEAD bytes. False if the server's key
 * is a point of low order. ephemeral: a given secret (test vectors), else NULL. */
bool noise_write_1(struct noise *ns, const uint8_t *ephemeral, const void *payload, size_t n,
    uint8_t *out);
/* Responder (noise_init with its own public key): opens message 1 of len bytes;
 * payload has room for len - NOISE_OVERHEAD. False if it is not authentic. */
bool noise_read_1(struct noise *ns, const uint8_t secret[NOISE_KEY], const uint8_t *msg, size_t len,
    uint8_t *payload);
/* The same for message 2, the other way round; both fill keys. */
bool noise_write_2(struct noise *ns, const uint8_t *ephemeral, const void *payload, size_t n,
    uint8_t *out, struct noise_keys *keys);
bool noise_read_2(struct noise *ns, const uint8_t *msg, size_t len, uint8_t *payload,
    struct noise_keys *keys);
void noise_clear(struct noise *ns);

/* The tag and keys of direct connection number `epoch`. */
void noise_epoch(struct noise_epoch *out, const uint8_t direct[NOISE_KEY], uint32_t epoch);

void noise_sha256(uint8_t out[32], const void *a, size_t a_len, const void *b, size_t b_len);
/* HKDF-SHA256 (RFC 5869), extract and expand. */
void noise_hkdf(uint8_t *out, size_t out_len, const void *salt, size_t salt_len, const void *ikm,
    size_t ikm_len, const void *info, size_t info_len);

#endif
