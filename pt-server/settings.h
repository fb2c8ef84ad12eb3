/* server.json: what a relay is told, checked. spec/server.json is an example. */
#ifndef SULTRY_PT_SERVER_SETTINGS_H
#define SULTRY_PT_SERVER_SETTINGS_H

#include "common/config.h"
#include "common/log.h"
#include "pt-server/access.h"
#include "pt-server/options.h"
#include "pt-server/resolve.h"
#include "pt-server/users.h"

#define SETTINGS_LISTEN_MAX 8
#define SETTINGS_SESSIONS 4096 /* of all users together, if not said */

/* Strings are owned, and NULL where not given. Zeroed memory is empty. */
struct settings {
	struct options options;      /* what managed mode has as well */
	struct sockaddr_storage direct[MSG_ADDRESSES]; /* options.direct once more */
	struct sockaddr_storage listen[SETTINGS_LISTEN_MAX];
	unsigned n_listen;           /* at least 1 */
	char *state;                 /* the state folder; always there */
	struct access access;        /* n_rules 0: the default */
	struct resolver_config dns;  /* n_servers */
	struct user_limits quotas;   /* of users that have none of their own */
	unsigned sessions;           /* of all together */
	char *users;                 /* the users file */
	enum log_level log;
};

/* 0; or -1 with error (which names file, line, key and what was expected) and nothing to
 * clear. Files and folders that it names must be there, but for the state folder. */
int settings_read(struct settings *s, const char *path, char error[CONFIG_ERROR]);
/* --check-config: reads the users file as well. The same results; nothing to clear. */
int settings_check(const char *path, char error[CONFIG_ERROR]);
void settings_clear(struct settings *s);

#endif
