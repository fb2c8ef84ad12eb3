/* TLS record framing of one direction (RFC 8446 section 5, RFC 5246 section 6):
 * records, and the handshake messages that plaintext records carry, whatever
 * way both are split or coalesced. */
#ifndef SULTRY_COMMON_TLS_RECORD_H
#define SULTRY_COMMON_TLS_RECORD_H

#include "common/bytes.h"

#define TLS_RECORD_HEADER 5
#define TLS_RECORD_BODY_MAX (16384 + 2048) /* ciphertext, RFC 5246 section 6.2.3 */
/* The longest handshake message that is accepted, its 4 byte header included. */
#define TLS_HANDSHAKE_MAX 65536

enum tls_content {
	TLS_CHANGE_CIPHER_SPEC = 20,
	TLS_ALERT = 21,
	TLS_HANDSHAKE = 22,
	TLS_APPLICATION_DATA = 23,
};

enum tls_event {
	TLS_MORE,       /* every byte is taken; nothing more to tell yet */
	TLS_BAD,        /* not TLS; the same answer for ever after */
	TLS_RECORD,     /* a header is complete: tls_record_open(), r->left */
	TLS_MESSAGE,    /* a whole plaintext handshake message */
	TLS_RECORD_END, /* the last byte of a record of type r->header[0] was taken */
};

/* Zeroed memory is a valid start. It holds the handshake message that is
 * incomplete so far and no other bytes; between messages it owns no memory. */
struct tls_record {
	uint8_t header[TLS_RECORD_HEADER];
	uint8_t have;   /* bytes of header; 0 between records */
	bool told;      /* TLS_RECORD was told for this header */
	bool sealed;
	bool bad;
	bool handed;    /* message was handed out; it goes at the next call */
	size_t left;    /* bytes of the body still to come */
	struct buffer message;
};

/* Takes bytes from the front of in, up to the next event. On TLS_MESSAGE
 * message is the whole of it, header included, borrowed until the next call.
 *
 * Bad are: an unknown content type, a major version other than 3 (the minor one
 * is ignored, RFC 8446 section 5.1), a body above TLS_RECORD_BODY_MAX, a
 * message above TLS_HANDSHAKE_MAX, an empty record that is not application
 * data, a ChangeCipherSpec that is not the one byte 01, and any record but
 * an alert inside a fragmented handshake message. Each is told at the first byte
 * that shows it, so the events do not depend on how the bytes are split. */
enum tls_event tls_record_next(struct tls_record *r, struct reader *in, struct reader *message);

/* From the next record on, bodies are ciphertext: only the headers are read.
 * To be called between records. */
void tls_record_seal(struct tls_record *r);

/* The content type of a record that has begun and not ended; 0 if none. */
int tls_record_open(const struct tls_record *r);

/* Whether a part of a handshake message is held. */
bool tls_record_partial(const struct tls_record *r);

void tls_record_clear(struct tls_record *r);

#endif
