/* Making and reading TLS certificates, as PEM texts. No I/O. */
#ifndef SULTRY_PT_SERVER_CERTIFICATE_H
#define SULTRY_PT_SERVER_CERTIFICATE_H

#include <stdbool.h>
#include <stdint.h>

/* A new ECDSA P-256 key; secret. The caller frees it. NULL: wolfSSL failed. */
char *certificate_new_key(void);
/* The text holds a key of that kind. */
bool certificate_key_ok(const char *key_pem);

/* A certificate signed by its own key: for a random host name, valid from some
 * weeks ago for one to two years. The caller frees it. NULL: wolfSSL failed. */
char *certificate_self_signed(const char *key_pem);
/* It belongs to the key (ECDSA P-256) and stays valid for 30 days or more. */
bool certificate_usable(const char *cert_pem, const char *key_pem);

/* The key is an EC key but not the certificate's, which wolfSSL 5.5 does not notice
 * (it does for RSA). */
bool certificate_foreign(const char *cert_pem, const char *key_pem);

/* Somebody else issued the first certificate: issuer and subject are not the same. */
bool certificate_vouched(const char *cert_pem);
/* SHA-256 of the first certificate's SubjectPublicKeyInfo (RFC 7469 section 2.4).
 * False: there is no certificate in the text. */
bool certificate_pin(const char *cert_pem, uint8_t pin[32]);

#endif
