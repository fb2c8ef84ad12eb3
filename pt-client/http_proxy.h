/* The server's side of an HTTP proxy: CONNECT (RFC 9110 section 9.3.6), and plain requests
 * for http:// URLs in absolute form (RFC 9112 section 3.2.2). Pure: bytes in, bytes out.
 *
 * One connection serves one request: what goes to the target asks it to close, and `body`
 * says where the request ends, so that a target that keeps the connection open is not given
 * the app's next request, which may be for another. (http_answer.h is for the app, which is
 * not to ask on.) Whatever two readers could take differently (line ends, folded or padded
 * field names, lengths, user names and spaces in the target, odd ports) is refused, not
 * repaired. */
#ifndef SULTRY_PT_CLIENT_HTTP_PROXY_H
#define SULTRY_PT_CLIENT_HTTP_PROXY_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "common/bytes.h"
#include "pt-client/http_body.h"
#include "pt-client/socks5.h"

#define HTTP_PROXY_HEAD_MAX (16 * 1024)
#define HTTP_PROXY_REPLY_MAX 256

enum http_proxy_result {
	HTTP_PROXY_MORE,    /* feed what comes */
	HTTP_PROXY_REQUEST, /* the head is complete: go to the target */
	HTTP_PROXY_BAD      /* send what is in `out`, then close; `why` says why */
};

struct http_proxy {
	/* After HTTP_PROXY_REQUEST: */
	bool connect;       /* else: send `head` to the target, then `body` */
	char host[256];     /* a name, or an address as text without brackets */
	uint16_t port;
	struct buffer head; /* the request as the target shall see it; empty for CONNECT */
	struct http_body body; /* what follows it */
	/* After HTTP_PROXY_BAD: a static string for the log. It holds nothing of the peer's. */
	const char *why;

	/* Private. */
	const char *user, *pass;
	enum http_proxy_result state;
	struct buffer in;   /* the head so far */
	size_t line;        /* where its last line starts */
};

/* user and pass: what Basic authorization (RFC 7617) must name; borrowed. NULL, NULL: none is
 * asked for, and what is named is not looked at. */
void http_proxy_init(struct http_proxy *p, const char *user, const char *pass);
void http_proxy_clear(struct http_proxy *p);
/* Takes some of n bytes from the client, *used of them: never one behind the head. Appends
 * what is to be sent (nothing but error replies) to `out`. After REQUEST or BAD it takes
 * nothing more and gives the same answer. */
enum http_proxy_result http_proxy_feed(struct http_proxy *p, const uint8_t *in, size_t n,
    size_t *used, struct buffer *out);

/* Writes the whole reply for what became of the target, in SOCKS terms, and returns its
 * length. SOCKS5_REP_OK is for CONNECT only: else the target's own answer is the reply. */
size_t http_proxy_reply(uint8_t out[HTTP_PROXY_REPLY_MAX], enum socks5_rep rep);

#endif
