/* What is said to the Extended ORPort (ext-orport-spec): bytes in, bytes out. */
#ifndef SULTRY_PT_SERVER_EXT_ORPORT_AUTH_H
#define SULTRY_PT_SERVER_EXT_ORPORT_AUTH_H

#include <stdbool.h>
#include <stdint.h>
#include <sys/socket.h>

#include "common/net/talk.h"

#define EXT_ORPORT_COOKIE_SIZE 32
#define EXT_ORPORT_NONCE_SIZE 32
#define EXT_ORPORT_HASH_SIZE 32
/* A header of 32 bytes, then the cookie (section 2.1.1). */
#define EXT_ORPORT_COOKIE_FILE_SIZE 64

enum ext_orport_state { EXT_TYPES, EXT_SERVER_HASH, EXT_STATUS, EXT_COMMAND, EXT_SKIP };

struct ext_orport_auth {
	struct talk talk; /* first, so that step can get at the rest */
	enum ext_orport_state state;
	uint8_t cookie[EXT_ORPORT_COOKIE_SIZE];
	uint8_t nonce[EXT_ORPORT_NONCE_SIZE];
	struct sockaddr_storage client; /* AF_UNSPEC: not known */
	const char *transport;
	unsigned types;    /* authentication types read so far */
	bool safe_cookie;  /* type 1 was among them */
	bool okay;         /* the command whose body is skipped is OKAY */
	size_t skip;       /* bytes of that body that are still to come */
	const char *error; /* after TALK_BAD: why; static */
};

/* Takes the cookie out of the n bytes of a cookie file. False if it is none. */
bool ext_orport_cookie(uint8_t cookie[EXT_ORPORT_COOKIE_SIZE], const uint8_t *file, size_t n);

/* Starts the conversation; cookie, nonce (random, but for test vectors) and client (NULL or
 * AF_UNSPEC: not known) are copied, transport is borrowed. To be followed by talk_feed or
 * talk_run on &a->talk; TALK_OK comes right behind tor's OKAY. */
void ext_orport_auth_init(struct ext_orport_auth *a, const uint8_t cookie[EXT_ORPORT_COOKIE_SIZE],
    const uint8_t nonce[EXT_ORPORT_NONCE_SIZE], const struct sockaddr *client,
    const char *transport);
/* Wipes it. */
void ext_orport_auth_clear(struct ext_orport_auth *a);

#endif
