/* One session on the server: its core, its target, its direct connection, and the
 * request that is being held for it. */
#ifndef SULTRY_PT_SERVER_CONN_H
#define SULTRY_PT_SERVER_CONN_H

#include "common/net/direct.h"
#include "common/net/local.h"
#include "pt-server/https.h"
#include "pt-server/server.h"
#include "pt-server/target.h"

#define CONN_OPENERS 4 /* copies of one open that may wait together */

struct conn {
	struct server *srv;
	struct sessions_entry entry;
	struct session s;
	struct noise_keys keys;
	uint64_t n_out;           /* replies sealed so far */
	bool keyed;               /* the open was answered, and not refused: there
	                           * is a session, and keys are its own */
	bool ended;               /* a tombstone: both ends are through with it */

	struct target *target;    /* while it is being connected */
	struct sockaddr_storage reached; /* AF_UNSPEC: not told */
	struct user_session user; /* a relay's */
	uint64_t charged;         /* of local.moved_bytes, what the user has been charged */
	struct event *allow;      /* when the user may move bytes again */
	struct local local;
	struct direct *direct;

	/* The open, until the client confirms that it has the reply. */
	struct noise noise;
	uint8_t open_hash[32];
	struct https_request *openers[CONN_OPENERS];
	bool open_data;           /* it brought bytes: answer with the target's first flight */
	char *open_reply;         /* what was answered, for copies of the request */
	size_t open_reply_len;

	struct https_request *poll; /* the poll that is held, and its number */
	uint64_t poll_n;
	struct event *quiet, *hold;
	bool is_quiet;            /* the target said nothing for QUIET_MS */
	bool answered;            /* the first flight is out */
	uint64_t seen_end;        /* of tx, when quiet was last started */
};

/* Takes an authentic open: its handshake (message 1 read), its hash, the request. user: whose
 * it is; NULL in managed mode. The reply comes when the target has answered. */
void conn_open(struct server *srv, const struct noise *noise, const uint8_t hash[32],
    const struct msg_request *m, struct user *user, struct https_request *req);
/* Its user is gone: the client hears an error, the target a reset. */
void conn_revoke(struct conn *c);
/* The open is not answered yet, or was refused: there are no keys. */
bool conn_opening(const struct conn *c);
/* The same open came again. */
void conn_open_again(struct conn *c, struct https_request *req);
/* Exchange number n, decrypted. */
void conn_exchange(struct conn *c, struct https_request *req, uint64_t n,
    const struct msg_request *m);
/* An authentic one that makes no sense. */
void conn_bad_exchange(struct conn *c, struct https_request *req);
/* An authentic hello: takes fd; frames are the hello's, rest what came behind it. */
void conn_hello(struct conn *c, const struct sessions_tag *tag, evutil_socket_t fd,
    struct reader *frames, const uint8_t *rest, size_t n);
/* All look again at what they may do. */
void conn_pump_all(struct server *srv);
void conn_free(struct conn *c);

/* Answers a handshake whose message 1 was read; the caller goes on with keys if it
 * is to be a session. Takes req (NULL: only makes the text, which is returned). */
char *conn_noise_reply(struct noise *noise, const struct msg_reply *r, struct noise_keys *keys,
    size_t *len);

#endif
