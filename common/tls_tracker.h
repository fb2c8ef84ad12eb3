/* Reads both directions of a connection as they pass and says from where on
 * each is encrypted. It never changes a byte and needs none of them to be TLS. */
#ifndef SULTRY_COMMON_TLS_TRACKER_H
#define SULTRY_COMMON_TLS_TRACKER_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

enum tls_dir { TLS_UP, TLS_DOWN }; /* app to target, target to app */
enum tls_kind { TLS_UNDECIDED, TLS_YES, TLS_NOT };

/* What was seen so far; zero where nothing was. Strings hold printable ASCII
 * only, so they can be logged as they are. */
struct tls_info {
	char sni[256];
	char alpn[64];             /* offered names, comma separated, as many as fit;
	                              the selected one once that is visible (TLS 1.2) */
	uint16_t version, cipher;  /* selected; from the ServerHello or HelloRetryRequest */
	bool resumed;              /* PSK selected (1.3), or no full handshake (1.2) */
	bool hello_retry;
	bool ech;                  /* the extension is there, real or GREASE */
	bool early_data;           /* offered */
	bool client_psk;           /* offered */
	bool new_session_ticket12; /* a plaintext NewSessionTicket passed */
	bool client_cert;          /* a plaintext client Certificate that is not empty passed (1.2) */
};

struct tls_tracker;

struct tls_tracker *tls_tracker_new(void);
void tls_tracker_free(struct tls_tracker *t);

/* The next n bytes of one direction. Each direction comes in its order, and
 * an answer after what it answers, as anyone between the two peers sees them; apart
 * from that, splits and interleaving are free and do not change a verdict.
 * Memory: at most one incomplete handshake message per direction. */
void tls_tracker_feed(struct tls_tracker *t, enum tls_dir dir, const uint8_t *p, size_t n);

/* TLS_YES once the first two bytes up are 16 03. TLS_NOT at a first byte that
 * differs, at bytes down before those two, and at the first malformed byte
 * before tls_tracker_final(): framing (see tls_record_next), a hello that does not
 * parse, a message or record where none of its type can come. Plaintext alerts are
 * part of TLS: they keep it TLS_YES, and not encrypted. */
enum tls_kind tls_tracker_kind(const struct tls_tracker *t);

/* Whether every byte of that direction after those fed so far is in encrypted
 * records. Never goes back to false.
 *
 * TLS 1.3: down from the end of the record that completes the ServerHello (not a
 * HelloRetryRequest); up from then, or from the end of the plaintext record that
 * has begun upwards by then. The ChangeCipherSpec that may follow either for
 * the sake of middleboxes (RFC 8446 appendix D.4) does not count as plaintext:
 * it is six constant bytes and no handshake record.
 * TLS 1.2 and older: each direction from the end of its ChangeCipherSpec. */
bool tls_tracker_encrypted(const struct tls_tracker *t, enum tls_dir dir);

/* Both directions are encrypted, or it is not TLS. Nothing more is learnt then,
 * except that first_flight of a TLS_NOT stream waits for the first byte down; all
 * buffers are freed and feeding costs nothing. */
bool tls_tracker_final(const struct tls_tracker *t);

/* Whether the client has said all that the server can wait for: a whole ClientHello went
 * up. */
bool tls_tracker_asked(const struct tls_tracker *t);

/* Whether the server has answered as far as it will without hearing more from
 * the client. TLS 1.3: ServerHello or HelloRetryRequest seen. TLS 1.2:
 * ServerHelloDone, or when resumed the end of the server's Finished. A plaintext
 * alert down, and any byte down of a stream that is TLS_NOT, count as an answer. */
bool tls_tracker_first_flight(const struct tls_tracker *t);

/* Whether that answer is known to be whole (TLS 1.2). False: more may follow at
 * once, and the caller waits for quiet. */
bool tls_tracker_flight_exact(const struct tls_tracker *t);

/* Never NULL; borrowed from the tracker. */
const struct tls_info *tls_tracker_info(const struct tls_tracker *t);

#endif
