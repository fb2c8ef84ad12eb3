/* What a bridge is known by: its X25519 key and its TLS certificate. Both are
 * kept in the state folder, so that a bridge line outlives a restart. */
#ifndef SULTRY_PT_SERVER_IDENTITY_H
#define SULTRY_PT_SERVER_IDENTITY_H

#include <stdbool.h>
#include <stdint.h>

struct identity {
	uint8_t secret[32]; /* X25519 (RFC 7748), little endian */
	uint8_t public[32];
	char *cert_pem; /* leaf first; a chain may follow */
	char *key_pem;  /* secret */
	uint8_t pin[32]; /* SHA-256 of the leaf's SubjectPublicKeyInfo (RFC 7469) */
	bool self_signed; /* by us or the operator: no CA vouches for it */
};

/* Loads the identity from state_dir, and makes what is not there yet: the folder
 * (0700, with its parents), sultry_identity and, when cert_file is NULL,
 * sultry_key.pem and sultry_cert.pem (self-signed, ECDSA P-256), all 0600. A
 * certificate that is unreadable, foreign to the key or about to expire is made
 * anew from the same key, so that pins hold. A sultry_identity that is there but
 * cannot be read is an error, since a new one would cut off every client. Several
 * processes that start on one folder at once end with the same identity.
 * cert_file and key_file: the operator's own; both or neither (one file that
 * holds both may be named twice).
 * 0, or -1 with what is wrong in error and nothing to clear. */
int identity_load(struct identity *id, const char *state_dir, const char *cert_file,
		  const char *key_file, char error[256]);
void identity_clear(struct identity *id);

#endif
