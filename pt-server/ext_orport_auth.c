#include "pt-server/ext_orport_auth.h"

#include <string.h>
#include <wolfssl/options.h>
#include <wolfssl/wolfcrypt/hmac.h>

#include "common/address.h"
#include "common/mem.h"

#define COOKIE_HEADER "! Extended ORPort Auth Cookie !\x0a"
#define SERVER_LABEL "ExtORPort authentication server-to-client hash"
#define CLIENT_LABEL "ExtORPort authentication client-to-server hash"

enum { TYPES_END = 0, TYPE_SAFE_COOKIE = 1, TYPES_MAX = 255 };
enum { CMD_DONE = 0x0000, CMD_USERADDR = 0x0001, CMD_TRANSPORT = 0x0002 };
enum { CMD_OKAY = 0x1000, CMD_DENY = 0x1001 };

bool
ext_orport_cookie(uint8_t cookie[EXT_ORPORT_COOKIE_SIZE], const uint8_t *file, size_t n)
{
	if (n != EXT_ORPORT_COOKIE_FILE_SIZE ||
	    !mem_equal(file, COOKIE_HEADER, strlen(COOKIE_HEADER)))
		return false;
	memcpy(cookie, file + strlen(COOKIE_HEADER), EXT_ORPORT_COOKIE_SIZE);
	return true;
}

static enum talk_result
bad(struct ext_orport_auth *a, const char *error)
{
	a->error = error;
	return TALK_BAD;
}

static enum talk_result
next(struct ext_orport_auth *a, enum ext_orport_state state, size_t want)
{
	a->state = state;
	talk_want(&a->talk, want);
	return TALK_MORE;
}

/* HMAC-SHA256(cookie, label | ClientNonce | ServerNonce) (section 2.1.2). */
static bool
cookie_hash(uint8_t out[EXT_ORPORT_HASH_SIZE], const struct ext_orport_auth *a, const char *label,
    const uint8_t server_nonce[EXT_ORPORT_NONCE_SIZE])
{
	Hmac hmac;
	bool ok;

	if (wc_HmacInit(&hmac, NULL, INVALID_DEVID) != 0)
		return false;
	ok = wc_HmacSetKey(&hmac, WC_SHA256, a->cookie, sizeof(a->cookie)) == 0 &&
	     wc_HmacUpdate(&hmac, (const byte *)label, (word32)strlen(label)) == 0 &&
	     wc_HmacUpdate(&hmac, a->nonce, sizeof(a->nonce)) == 0 &&
	     wc_HmacUpdate(&hmac, server_nonce, EXT_ORPORT_NONCE_SIZE) == 0 &&
	     wc_HmacFinal(&hmac, out) == 0;
	wc_HmacFree(&hmac);
	return ok;
}

static enum talk_result
on_type(struct ext_orport_auth *a)
{
	uint8_t type = a->talk.in[0];

	if (type == TYPE_SAFE_COOKIE)
		a->safe_cookie = true;
	if (type != TYPES_END)
		return ++a->types < TYPES_MAX ? TALK_MORE
		                              : bad(a, "the Extended ORPort spoke another protocol");
	if (!a->safe_cookie)
		return bad(a, "the Extended ORPort does not offer authentication by cookie");
	writer_u8(&a->talk.out, TYPE_SAFE_COOKIE);
	writer_bytes(&a->talk.out, a->nonce, sizeof(a->nonce));
	return next(a, EXT_SERVER_HASH, EXT_ORPORT_HASH_SIZE + EXT_ORPORT_NONCE_SIZE);
}

static enum talk_result
on_server_hash(struct ext_orport_auth *a)
{
	const uint8_t *server_nonce = a->talk.in + EXT_ORPORT_HASH_SIZE;
	uint8_t hash[EXT_ORPORT_HASH_SIZE];

	if (!cookie_hash(hash, a, SERVER_LABEL, server_nonce))
		return bad(a, "HMAC-SHA256 failed");
	if (!mem_equal(hash, a->talk.in, sizeof(hash)))
		return bad(a, "the Extended ORPort does not know the cookie: is the file stale?");
	if (!cookie_hash(hash, a, CLIENT_LABEL, server_nonce))
		return bad(a, "HMAC-SHA256 failed");
	writer_bytes(&a->talk.out, hash, sizeof(hash));
	return next(a, EXT_STATUS, 1);
}

static void
write_command(struct writer *w, uint16_t command, const char *body)
{
	size_t n = strlen(body);

	writer_u16(w, command);
	writer_u16(w, (uint16_t)n);
	writer_bytes(w, body, n);
}

/* Section 3.1. */
static enum talk_result
on_status(struct ext_orport_auth *a)
{
	struct writer *w = &a->talk.out;
	char text[ADDRESS_TEXT_MAX];

	if (a->talk.in[0] != 1)
		return bad(a, "the Extended ORPort refused our answer to its cookie");
	if (a->client.ss_family != AF_UNSPEC) {
		uint16_t port = address_port(&a->client);

		/* tor means to refuse port 0, and behind a CDN no port is known. */
		address_text(text, &a->client, port != 0 ? port : 1);
		write_command(w, CMD_USERADDR, text);
	}
	write_command(w, CMD_TRANSPORT, a->transport);
	write_command(w, CMD_DONE, "");
	if (w->failed)
		return bad(a, "the transport's name is too long");
	return next(a, EXT_COMMAND, 4);
}

/* Takes the next part of a command's body, whose length is the peer's to say. */
static enum talk_result
skip_body(struct ext_orport_auth *a)
{
	size_t n = a->skip < TALK_IN_MAX ? a->skip : TALK_IN_MAX;

	if (n == 0)
		return a->okay ? TALK_OK : next(a, EXT_COMMAND, 4);
	a->skip -= n;
	return next(a, EXT_SKIP, n);
}

static enum talk_result
on_command(struct ext_orport_auth *a)
{
	struct reader r = reader_of(a->talk.in, 4);
	uint16_t command = 0, n = 0;

	reader_u16(&r, &command);
	reader_u16(&r, &n);
	if (command == CMD_DENY)
		return bad(a, "tor denied the connection (Extended ORPort)");
	a->okay = command == CMD_OKAY;
	a->skip = n;
	return skip_body(a);
}

static enum talk_result
step(struct talk *t)
{
	struct ext_orport_auth *a = (struct ext_orport_auth *)t;

	switch (a->state) {
	case EXT_TYPES:
		return on_type(a);
	case EXT_SERVER_HASH:
		return on_server_hash(a);
	case EXT_STATUS:
		return on_status(a);
	case EXT_COMMAND:
		return on_command(a);
	case EXT_SKIP:
		return skip_body(a);
	}
	return bad(a, "unknown state");
}

void
ext_orport_auth_init(struct ext_orport_auth *a, const uint8_t cookie[EXT_ORPORT_COOKIE_SIZE],
    const uint8_t nonce[EXT_ORPORT_NONCE_SIZE], const struct sockaddr *client,
    const char *transport)
{
	memset(a, 0, sizeof(*a));
	talk_init(&a->talk, step);
	memcpy(a->cookie, cookie, sizeof(a->cookie));
	memcpy(a->nonce, nonce, sizeof(a->nonce));
	if (client != NULL)
		address_copy(&a->client, client, client->sa_family == AF_INET
		    ? sizeof(struct sockaddr_in) : sizeof(struct sockaddr_in6));
	a->transport = transport;
	next(a, EXT_TYPES, 1);
}

void
ext_orport_auth_clear(struct ext_orport_auth *a)
{
	mem_wipe(a, sizeof(*a));
}
