/* The keys that seal TLS session tickets (RFC 5077, RFC 8446 section 4.6.1). A ticket holds
 * what decrypts its session, so its key must not outlive it for long: a new one seals after
 * each tickets_rotate, the one before only opens, and the one before that is wiped. Pure
 * computation, no clock. */
#ifndef SULTRY_COMMON_TICKETS_H
#define SULTRY_COMMON_TICKETS_H

#include <stddef.h>
#include <stdint.h>

#include "common/aead.h"

#define TICKET_NAME 16
#define TICKET_SALT 48
#define TICKET_OVERHEAD AEAD_TAG /* bytes that sealing adds behind the text */

/* Holds secrets: tickets_clear when done. Never written to disk. */
struct tickets {
	struct ticket_key {
		uint8_t name[TICKET_NAME]; /* in each of its tickets, in the clear */
		uint8_t secret[AEAD_KEY];
	} now, before;
};

/* Without name and salt no ticket opens. */
struct ticket_head {
	uint8_t name[TICKET_NAME];
	uint8_t salt[TICKET_SALT];
};

enum ticket_result { TICKET_OK, TICKET_OLD, TICKET_BAD };

void tickets_init(struct tickets *t);
void tickets_rotate(struct tickets *t);
void tickets_clear(struct tickets *t);

/* Seals n bytes in place, writes n + TICKET_OVERHEAD, and makes up the head. */
void tickets_seal(const struct tickets *t, struct ticket_head *head, uint8_t *ticket, size_t n);
/* Opens n bytes in place, of which n - TICKET_OVERHEAD are left. TICKET_OLD: good, by the
 * key before, so its owner should get a new one. TICKET_BAD: not authentic, or too old. */
enum ticket_result tickets_open(const struct tickets *t, const struct ticket_head *head,
    uint8_t *ticket, size_t n);

#endif
