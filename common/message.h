/* The JSON messages of the OOB API (spec/protocol.md, "Messages") as structs, and
 * the closed table of errors. The only module that sees jansson. */
#ifndef SULTRY_COMMON_MESSAGE_H
#define SULTRY_COMMON_MESSAGE_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "common/bytes.h"

#define MSG_BODY_MAX (256 * 1024)    /* an HTTP body, either way */
#define MSG_OPEN_DATA (32 * 1024)    /* stream bytes in open and opened */
#define MSG_EXCHANGE_DATA (128 * 1024)
#define MSG_SESSION_ID 22            /* characters: 16 random bytes */
#define MSG_HOST_MAX 255
#define MSG_TOKEN_MIN 16              /* of those given out; any is taken from the wire */
#define MSG_TOKEN_MAX 64
#define MSG_BASE_MAX 255
#define MSG_ADDRESSES 4              /* direct addresses in opened */
#define MSG_RESOLVED 16              /* addresses in resolved */

/* Errors, each with its name on the wire and the SOCKS reply the client gives. */
enum msg_error {
	ERR_NONE,
	ERR_BAD_REQUEST,
	ERR_CLOCK_SKEW, /* `time` holds the server's clock */
	ERR_BUSY,
	ERR_TARGET_REFUSED,
	ERR_TARGET_UNREACHABLE,
	ERR_NETWORK_UNREACHABLE,
	ERR_TARGET_TIMEOUT,
	ERR_TARGET_DENIED,
	ERR_DNS_FAILED,
	ERR_TARGET_FAILED,
	ERR_UNSUPPORTED,
	ERR_UNAUTHORIZED, /* no such user, or none named where one is asked for */
	ERR_QUOTA,
	ERR_COUNT
};
const char *msg_error_name(enum msg_error e);
/* The SOCKS5 REP code (RFC 1928 section 6) for it. */
uint8_t msg_error_socks(enum msg_error e);

/* Why a session ends; 0 on the wire means that it does not. */
enum close_code { CLOSE_NONE = 0, CLOSE_DONE = 1, CLOSE_RESET = 2, CLOSE_ERROR = 3 };
const char *close_code_name(enum close_code c);

struct msg_address {
	char address[46]; /* literal IPv4 or IPv6 */
	uint16_t port;
};

enum msg_op { OP_OPEN, OP_STATUS, OP_RESOLVE, OP_EXCHANGE };

/* What a client sends; op says which members count. */
struct msg_request {
	enum msg_op op;
	/* open, status, resolve */
	int64_t time;                     /* milliseconds since 1970 */
	char host[MSG_HOST_MAX + 1];      /* open: "" = the bridge's own target; resolve */
	uint16_t port;                    /* open */
	char token[MSG_TOKEN_MAX + 1];    /* open, resolve: the user; "" = none */
	char session[MSG_SESSION_ID + 1]; /* status */
	/* open, exchange */
	uint64_t up;                      /* offset of the bytes that follow the header */
	/* exchange */
	uint32_t epoch;
	bool poll, fin;
	uint64_t ack_received, ack_limit; /* of `down` */
	uint64_t up_limit;                /* the credit of `up` that the client knows of */
	uint32_t wait_ms;
	enum close_code close;
	/* the stream bytes; decoding borrows them from the plaintext */
	const uint8_t *data;
	size_t n;
};

enum msg_reply_op { REPLY_OPENED, REPLY_EXCHANGED, REPLY_STATUS, REPLY_RESOLVED, REPLY_ERROR };

struct msg_reply {
	enum msg_reply_op op;
	/* opened */
	char session[MSG_SESSION_ID + 1];
	struct msg_address target;         /* address "" where it is not told */
	struct msg_address direct[MSG_ADDRESSES];
	unsigned n_direct;
	uint32_t retain_s;
	/* opened, exchanged */
	uint64_t ack_received, ack_limit;  /* of `up` */
	uint64_t down;                     /* offset of the bytes that follow the header */
	bool fin;
	enum close_code close;
	uint64_t re;                       /* exchanged: the request's n */
	/* status */
	bool alive;
	/* resolved */
	char addresses[MSG_RESOLVED][46];
	unsigned n_addresses;
	uint32_t ttl;
	/* error */
	enum msg_error error;
	int64_t time;                      /* clock_skew */
	char message[128];
	/* the stream bytes, as above */
	const uint8_t *data;
	size_t n;
};

/* Plaintexts: length (2) | JSON header | stream bytes. Encoding appends to out, and
 * pads inside the header so that lengths do not tell. Decoding is strict about types,
 * ranges and sizes (max_data bytes of stream) and ignores unknown keys. The server
 * decodes a request as it decodes what it was sent for: exchange on a session's path,
 * the other three on the base path. */
void msg_encode_request(struct buffer *out, const struct msg_request *m);
bool msg_decode_request(struct msg_request *m, const uint8_t *p, size_t n, bool exchange);
void msg_encode_reply(struct buffer *out, const struct msg_reply *m);
bool msg_decode_reply(struct msg_reply *m, const uint8_t *p, size_t n);

/* The outer JSON, with its sealed bytes in base64url: {"v":1,"noise":"..."} and
 * {"v":1,"n":7,"box":"..."}; replies carry no "v". The result is malloc'ed text. */
char *msg_wrap_noise(bool request, const uint8_t *p, size_t n, size_t *len);
char *msg_wrap_box(bool request, uint64_t counter, const uint8_t *p, size_t n, size_t *len);
/* Appends the decoded bytes to out. False on anything malformed or a foreign "v". */
bool msg_unwrap_noise(bool request, const char *s, size_t len, struct buffer *out);
bool msg_unwrap_box(bool request, const char *s, size_t len, uint64_t *counter, struct buffer *out);

/* The API's path for a server key: "/" and 22 characters of a hash. */
#define MSG_PATH_LEN 23
void msg_base_path(char out[MSG_PATH_LEN + 1], const uint8_t server_public[32]);
/* Whether a path may be set instead of it: it starts with a slash and does not end with one,
 * is not too long, and no proxy, browser or SMETHOD line would write it in another way. */
bool msg_base_ok(const char *base);
/* Whether a token may be given out: MSG_TOKEN_MIN to MSG_TOKEN_MAX characters of printable ASCII. */
bool msg_token_ok(const char *token);
/* What both handshakes hash first. */
#define MSG_PROLOGUE "sultry oob v1"

#endif
