/* What a ClientHello and a ServerHello say, as views into their bytes
 * (RFC 8446 section 4.1, RFC 5246 section 7.4.1). */
#ifndef SULTRY_COMMON_TLS_HELLO_H
#define SULTRY_COMMON_TLS_HELLO_H

#include "common/bytes.h"

#define TLS_RANDOM 32
#define TLS_1_2 0x0303
#define TLS_1_3 0x0304

enum tls_handshake_type {
	TLS_CLIENT_HELLO = 1,
	TLS_SERVER_HELLO = 2,
	TLS_NEW_SESSION_TICKET = 4,
	TLS_CERTIFICATE = 11,
	TLS_SERVER_HELLO_DONE = 14,
};

/* Every view borrows from the parsed message. Of an extension that is absent
 * the view is { NULL, 0 }; one that is present and empty has p != NULL. */
struct tls_client_hello {
	uint16_t legacy_version;
	const uint8_t *random;     /* TLS_RANDOM bytes */
	struct reader session_id;  /* 0 to 32 bytes */
	struct reader ciphers;     /* 16 bit numbers, at least one */
	struct reader sni;         /* host_name, RFC 6066 section 3: any bytes but an empty string */
	struct reader alpn;        /* names to be read with reader_vec8, RFC 7301 section 3.1 */
	struct reader versions;    /* supported_versions: 16 bit numbers, at least one */
	struct reader ticket;      /* session_ticket, RFC 5077 section 3.2 */
	bool psk;                  /* pre_shared_key is offered */
	bool early_data;
	bool ech;                  /* encrypted_client_hello, real or GREASE */
};

struct tls_server_hello {
	uint16_t version;          /* selected: supported_versions, else the legacy field */
	uint16_t cipher;
	const uint8_t *random;     /* TLS_RANDOM bytes */
	struct reader session_id;
	struct reader alpn;        /* the name selected, where it is visible (TLS 1.2) */
	bool hello_retry;          /* a HelloRetryRequest, by its random (RFC 8446 section 4.1.3) */
	bool psk;                  /* a pre_shared_key was selected */
	bool session_ticket;       /* a NewSessionTicket will follow */
};

/* message is one whole handshake message, its 4 byte header included, as
 * tls_record_next() hands it out. False if it is of another type or malformed,
 * as far as the fields above go: what is inside other extensions is not looked at.
 * An extension that is read must not occur twice (RFC 8446 section 4.2). */
bool tls_client_hello_parse(struct tls_client_hello *h, struct reader message);
bool tls_server_hello_parse(struct tls_server_hello *h, struct reader message);

#endif
