/* What a client of its own is told: the command line, and client.json (spec/client.json is an
 * example). Named client_settings, since tests link both programs. */
#ifndef SULTRY_PT_CLIENT_SETTINGS_H
#define SULTRY_PT_CLIENT_SETTINGS_H

#include <sys/socket.h>

#include "common/config.h"
#include "common/log.h"
#include "common/outbound.h"
#include "common/pt_args.h"
#include "pt-client/rules.h"

#define CLIENT_LISTENERS 16
#define CLIENT_BRIDGES 16

/* LISTEN_MIXED: by the first byte, 5 is SOCKS5 and all else HTTP. */
enum listen_kind { LISTEN_SOCKS5, LISTEN_HTTP, LISTEN_MIXED };

struct client_listener {
	enum listen_kind kind;
	struct sockaddr_storage addr;
	char *user, *pass; /* what an app must name; NULL, NULL: nothing */
};

struct client_bridge {
	struct sockaddr_storage addr;
	struct pt_args args;
};

enum client_action {
	CLIENT_RUN,
	CLIENT_CHECK,   /* --check-config: all is well, say so and exit */
	CLIENT_RESOLVE, /* --resolve: of the name in `resolve` */
	CLIENT_HELP,    /* print client_settings_usage */
	CLIENT_VERSION
};

/* Strings are owned, and NULL where not given. */
struct client_settings {
	enum client_action action;
	char *resolve;
	struct client_listener listeners[CLIENT_LISTENERS];
	unsigned n_listeners;     /* at least 1, but for CLIENT_RESOLVE */
	struct client_bridge bridges[CLIENT_BRIDGES];
	unsigned n_bridges;       /* at least 1 */
	struct rules rules;       /* .otherwise: the default strategy */
	enum strategy auto_first; /* where `auto` starts */
	char *token;
	char *state;
	struct outbound out;
	enum log_level log;
};

extern const char client_settings_usage[];

/* 0; or -1 with error, which names the flag, or file, line and key, and what was expected, and
 * never a value that may be secret. Listeners and bridges of flags are added to those of the
 * file; other flags win over it. For CLIENT_HELP and CLIENT_VERSION nothing else is filled.
 * s: zeroed or cleared; to be cleared after any result. */
int client_settings_read(struct client_settings *s, int argc, char **argv,
    char error[CONFIG_ERROR]);
void client_settings_clear(struct client_settings *s);

/* "sultry 192.0.2.10:443 key=... pin=...", as in torrc: with or without "Bridge" before it and
 * a fingerprint behind the address. b: zeroed. NULL, or what was expected (static). */
const char *client_bridge_parse(struct client_bridge *b, const char *line);

#endif
