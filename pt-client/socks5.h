/* The server's side of SOCKS5 (RFC 1928) with username and password (RFC 1929), the
 * latter as PT clients get the arguments of a bridge line (pt-spec section 3.5). Pure:
 * bytes in, bytes out. No time-out and no socket of its own. */
#ifndef SULTRY_PT_CLIENT_SOCKS5_H
#define SULTRY_PT_CLIENT_SOCKS5_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <sys/socket.h>

#include "common/bytes.h"
#include "common/pt_args.h"

/* RFC 1928 section 6. */
enum socks5_rep {
	SOCKS5_REP_OK = 0,
	SOCKS5_REP_FAILURE = 1,
	SOCKS5_REP_NOT_ALLOWED = 2,      /* never to a PT parent, see socks5_rep_for_errno */
	SOCKS5_REP_NET_UNREACHABLE = 3,
	SOCKS5_REP_HOST_UNREACHABLE = 4, /* also: the name does not resolve */
	SOCKS5_REP_REFUSED = 5,
	SOCKS5_REP_TTL_EXPIRED = 6,      /* what a time-out is called here */
	SOCKS5_REP_BAD_COMMAND = 7,
	SOCKS5_REP_BAD_ADDRESS = 8
};

enum { SOCKS5_REPLY_LEN = 10 };

enum socks5_result {
	SOCKS5_MORE,    /* send what is in `out`, then feed what comes */
	SOCKS5_REQUEST, /* a CONNECT is complete: answer it with socks5_reply */
	SOCKS5_BAD      /* send what is in `out`, then close; `why` says why */
};

enum socks5_state {
	SOCKS5_GREETING, SOCKS5_USERPASS, SOCKS5_COMMAND, SOCKS5_DONE, SOCKS5_FAILED
};

struct socks5 {
	/* After SOCKS5_REQUEST: */
	struct pt_args args;          /* empty if the client gave none */
	char host[256];               /* a name, or an address as text */
	uint16_t port;
	struct sockaddr_storage addr; /* AF_UNSPEC if host came as a name */
	/* After SOCKS5_BAD: a static string for the log. It holds nothing of the peer's. */
	const char *why;

	/* Private: the message that is being read, 513 being the longest (RFC 1929). */
	bool local;
	const char *user, *pass;
	enum socks5_state state;
	uint8_t msg[513];
	size_t n;
};

void socks5_init(struct socks5 *s);
/* For a proxy of our own, where username and password are no arguments: what they must be
 * (1 to 255 bytes each; borrowed; compared in constant time), or NULL, NULL: any will do, as
 * from programs that use them to keep their streams apart. */
void socks5_init_local(struct socks5 *s, const char *user, const char *pass);
void socks5_clear(struct socks5 *s);
/* Takes some of n bytes from the client, *used of them: never one behind the request.
 * Appends what is to be sent to `out`. After REQUEST or BAD it takes nothing more and
 * gives the same answer. */
enum socks5_result socks5_feed(struct socks5 *s, const uint8_t *p, size_t n, size_t *used,
    struct buffer *out);

/* Writes the reply to a request and returns its length, SOCKS5_REPLY_LEN. */
size_t socks5_reply(uint8_t out[SOCKS5_REPLY_LEN], enum socks5_rep rep);
/* What to answer when the way to the target failed with errno `err` (PT-CHECKLIST items
 * 47 and 48: never "not allowed", BAD_COMMAND or BAD_ADDRESS, after which Arti gives up). */
enum socks5_rep socks5_rep_for_errno(int err);

#endif
