/* The strategy `split`: a ClientHello as several TLS records, cut inside the name that it
 * asks for, so that no record, and no TCP segment, holds the name whole. What the records
 * carry stays the same byte for byte (RFC 8446 section 5.1 allows any fragmentation). Pure. */
#ifndef SULTRY_PT_CLIENT_SPLIT_H
#define SULTRY_PT_CLIENT_SPLIT_H

#include "common/bytes.h"
#include "common/tls_record.h"

#define SPLIT_HELLO_MAX (64 * 1024) /* bytes held back at most */
#define SPLIT_CUTS 8

enum split_result {
	SPLIT_MORE, /* it may still become a ClientHello; nothing is to be sent yet */
	SPLIT_CUT,  /* `bytes` are to be sent in segments: up to each of `cuts`, then what is left */
	SPLIT_PLAIN /* no ClientHello, or none with a name: `bytes` are what came, cuts none */
};

/* Zeroed memory is a valid start. */
struct split {
	struct buffer bytes;
	size_t cuts[SPLIT_CUTS]; /* where segments end, in rising order */
	unsigned n_cuts;
	size_t rest;             /* of `bytes`: what came behind the records of the hello */

	/* Private. */
	enum split_result result;
	struct tls_record record;
	size_t name, name_n; /* where the name stands in the message; name_n 0: not known yet */
};

/* Takes the next n bytes of the app's stream. After SPLIT_CUT or SPLIT_PLAIN none may follow:
 * the stream goes on as it comes, up to a second hello, which takes a new split. */
enum split_result split_feed(struct split *s, const uint8_t *p, size_t n);
/* The app says no more for now: what was held back is SPLIT_PLAIN. */
void split_end(struct split *s);
void split_clear(struct split *s);

#endif
