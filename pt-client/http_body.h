/* Where a plain HTTP request ends: its body is empty, of a known length, or chunked (RFC 9112
 * sections 6.3 and 7.1). Pure. */
#ifndef SULTRY_PT_CLIENT_HTTP_BODY_H
#define SULTRY_PT_CLIENT_HTTP_BODY_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

enum http_body_state {
	BODY_END,
	BODY_DATA,     /* `left` bytes of the body, or of the chunk, are to come */
	BODY_SIZE,     /* the digits of a chunk's size */
	BODY_EXTENSION,
	BODY_SIZE_LF,
	BODY_DATA_CR,
	BODY_DATA_LF,
	BODY_TRAILER,  /* at the start of a line behind the last chunk */
	BODY_FIELD,    /* inside such a line */
	BODY_FIELD_LF,
	BODY_LAST_LF,
	BODY_BAD
};

/* Zeroed memory is the body of a request that has none. */
struct http_body {
	enum http_body_state state;
	bool chunked;
	uint64_t left;
	unsigned digits;
};

/* length: of a body that is not chunked. */
void http_body_init(struct http_body *b, bool chunked, uint64_t length);
/* The next n bytes that the app sent: how many of them belong to the request. Fewer than n:
 * it ends there, or what follows is no chunk as it has to be written; from then on, 0. */
size_t http_body_feed(struct http_body *b, const uint8_t *p, size_t n);

#endif
