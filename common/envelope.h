/* The OOB API's envelopes: JSON around base64url around sealed plaintexts of
 * common/message (spec/protocol.md, "OOB API"). Pure functions. Texts are malloc'ed;
 * opened plaintexts are appended to `plain`, an empty buffer. */
#ifndef SULTRY_COMMON_ENVELOPE_H
#define SULTRY_COMMON_ENVELOPE_H

#include "common/bytes.h"
#include "common/noise.h"

/* Noise messages 1 (client to server) and 2, around the functions of common/noise. Writing
 * gives NULL if the other side's key is of low order. *hash: SHA-256 of message 1. */
char *envelope_write_1(struct noise *ns, const struct buffer *plain, size_t *len);
bool envelope_read_1(struct noise *ns, const uint8_t secret[NOISE_KEY], const char *body, size_t len,
    uint8_t hash[32], struct buffer *plain);
char *envelope_write_2(struct noise *ns, const struct buffer *plain, struct noise_keys *keys,
    size_t *len);
bool envelope_read_2(struct noise *ns, const char *body, size_t len, struct noise_keys *keys,
    struct buffer *plain);

/* Boxes of an open session; n is the nonce. A request's n is the client's counter, a
 * reply's the server's. */
char *envelope_box(bool request, const uint8_t key[NOISE_KEY], uint64_t n,
    const struct buffer *plain, size_t *len);
bool envelope_unbox(bool request, const uint8_t key[NOISE_KEY], const char *body, size_t len,
    uint64_t *n, struct buffer *plain);

#endif
