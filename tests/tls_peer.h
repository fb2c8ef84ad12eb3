/* TLS peers for tests, made of real stacks that talk through memory. One source
 * file per stack, since the headers of the two collide. */
#ifndef SULTRY_TESTS_TLS_PEER_H
#define SULTRY_TESTS_TLS_PEER_H

#include "common/bytes.h"

struct tls_setup {
	uint16_t version;    /* of the server: 0x0301 to 0x0304; a client offers all it can */
	bool tickets;        /* TLS 1.2: resume by ticket, else by session id */
	bool hello_retry;    /* the server takes no group that a share is sent for */
	bool early_data;     /* a client that resumes sends some */
	bool client_cert;
	size_t max_fragment; /* of the plaintext; 0: as the stack likes it */
};

#define TLS_PEER_SNI "bridge.example"
#define TLS_PEER_ALPN "http/1.1" /* the server's choice among "h2,http/1.1" */

/* What a stack says about a connection of its own. */
struct tls_said {
	uint16_t version;
	uint16_t cipher;
	bool resumed;
	/* Offsets in what it wrote, by its own account of its messages: the end of
	 * the last hello, and of the first ChangeCipherSpec; 0: it does not say. */
	size_t hello_end;
	size_t ccs_end;
};

struct tls_stack {
	const char *name;
	/* One side, for several connections: a server keeps its tickets and cache,
	 * a client resumes the session of its last connection. */
	void *(*side_new)(bool server, const struct tls_setup *setup);
	void (*side_free)(void *side);
	void (*connect)(void *side);
	/* Goes on as far as it can with the bytes in `in`: the handshake, then some
	 * application data each way. Returns whether all of that is done. */
	bool (*step)(void *side, struct buffer *in, struct buffer *out);
	void (*said)(void *side, struct tls_said *said);
	void (*disconnect)(void *side); /* remembers the session */
};

extern const struct tls_stack stack_openssl;
extern const struct tls_stack stack_wolfssl;

/* A certificate (self-signed, P-256) and its key as DER, made once per process. */
const struct buffer *tls_peer_certificate(void);
const struct buffer *tls_peer_key(void);

#endif
