/* The direct connection's wire: sealed records and the frames in them
 * (spec/protocol.md, "Direct connection"). Pure functions over bytes. */
#ifndef SULTRY_COMMON_FRAME_H
#define SULTRY_COMMON_FRAME_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "common/aead.h"
#include "common/bytes.h"
#include "common/noise.h"

/* ---- sealed records: 17 03 03 | length (2) | [tag, in a hello] | ciphertext ---- */

#define RECORD_HEADER 5
#define RECORD_TEXT_MAX 16385                      /* frames in one record */
#define RECORD_BODY_MAX (RECORD_TEXT_MAX + AEAD_TAG) /* what a header may announce */
#define RECORD_MAX (RECORD_HEADER + RECORD_BODY_MAX)
#define HELLO_BODY_MAX 1200                        /* a hello's body, tag included */
#define HELLO_BODY_MIN (EPOCH_TAG + AEAD_TAG + 1)
#define HELLO_OVERHEAD (RECORD_HEADER + EPOCH_TAG + AEAD_TAG)
#define RECORD_OVERHEAD (RECORD_HEADER + AEAD_TAG)

/* One direction of one direct connection. */
struct record_key {
	uint8_t key[AEAD_KEY];
	uint64_t n; /* records sealed or opened so far */
};

/* Seals n bytes of frames in place: they stand at rec + RECORD_HEADER (tag NULL) or
 * at rec + RECORD_HEADER + EPOCH_TAG (a hello), with AEAD_TAG bytes free behind.
 * Returns the record's whole length. */
size_t record_seal(struct record_key *k, uint8_t *rec, size_t n, const uint8_t tag[EPOCH_TAG]);

enum record_result { RECORD_OK, RECORD_MORE, RECORD_BAD };

/* Reads a record's 5 header bytes: its body length, capped by body_max. MORE while
 * all n bytes so far fit a header; BAD at the first byte that does not. */
enum record_result record_header(const uint8_t *p, size_t n, size_t body_max, size_t *body);
/* Opens the record of 5 + body bytes at rec, writing its frames over the ciphertext
 * (hello: a tag stands before it). Result OK or BAD; *frames views them. k->n moves
 * only on OK, and rec is not touched on BAD if `scratch` is given (RECORD_TEXT_MAX
 * bytes that take the frames instead). */
enum record_result record_open(struct record_key *k, uint8_t *rec, size_t body, bool hello,
    uint8_t *scratch, struct reader *frames);

/* ---- frames: type (1) length (2) body ---- */

enum frame_type {
	FRAME_PAD = 0,    /* fills the rest of the record; has no length */
	FRAME_HELLO = 1,  /* received (8) limit (8) flags (1): the client's state of `down` */
	FRAME_ACCEPT = 2, /* received (8) limit (8): the server's state of `up` */
	FRAME_DATA = 3,   /* offset (8), bytes */
	FRAME_ACK = 4,    /* received (8) limit (8) */
	FRAME_FIN = 5,    /* offset (8): the stream ends here */
	FRAME_PING = 6,   /* cookie (8) */
	FRAME_PONG = 7,   /* the same cookie */
	FRAME_CLOSE = 8,  /* enum close_code (1) */
};

#define FRAME_HEADER 3
#define FRAME_DATA_OVERHEAD (FRAME_HEADER + 8)

struct frame {
	enum frame_type type;
	uint64_t offset; /* DATA, FIN: offset; HELLO, ACCEPT, ACK: received; PING, PONG: cookie */
	uint64_t limit;  /* HELLO, ACCEPT, ACK */
	uint8_t code;    /* HELLO: flags, CLOSE: code */
	const uint8_t *p; /* DATA: borrowed from the record */
	size_t n;
};

/* Takes the next frame. False when there is none (frames->n is 0 then) or when it
 * is malformed or of an unknown type (frames->n is not 0). */
bool frame_next(struct reader *frames, struct frame *f);
void frame_write(struct writer *w, const struct frame *f);

/* ---- padding: no two bridges share a scheme ---- */

#define PAD_FIRST 6

struct pad_scheme {
	uint16_t up[PAD_FIRST], down[PAD_FIRST]; /* body lengths of the first records */
	uint16_t spread; /* later short records get 0 to spread random bytes */
};

/* Derives the scheme from the bridge's public key. */
void pad_scheme_init(struct pad_scheme *s, const uint8_t server_public[NOISE_KEY]);
/* Bytes of frames that record number i of a direction may hold at most. */
size_t pad_room(const uint16_t first[PAD_FIRST], uint64_t i, bool hello);
/* Writes PAD so that record number i, whose frames are in w, shows no inner length. */
void pad_write(const struct pad_scheme *s, const uint16_t first[PAD_FIRST], uint64_t i, bool hello,
    struct writer *w);

#endif
