/* The managed-proxy protocol, version 1 (Tor's pt-spec): what the parent process says to
 * us in the environment (common/pt_env.c), and what we say to it on stdout (common/pt.c). */
#ifndef SULTRY_COMMON_PT_H
#define SULTRY_COMMON_PT_H

#include <stdbool.h>
#include <stddef.h>
#include <sys/socket.h>

#include "common/log.h"
#include "common/outbound.h"
#include "common/pt_args.h"

/* What was asked of us. Zeroed memory is a valid empty one. Strings are owned. */
struct pt_env {
	bool client, server;      /* exactly one, after PT_OK and PT_PROXY_ERROR */
	bool wanted;              /* our transport is in the list of that role */
	bool exit_on_stdin_close;
	char *state_location;     /* NULL if unset, which only a client may see */
	struct outbound out;      /* .proxy: clients only */

	/* Servers only. AF_UNSPEC where not given. */
	struct sockaddr_storage bindaddr;
	bool bindaddr_given;      /* false: an ephemeral port on the wildcard address */
	struct pt_args options;   /* those of our transport */
	struct sockaddr_storage orport, ext_orport; /* at least one */
	char *auth_cookie_file;   /* never NULL if ext_orport is given */
};

enum pt_result {
	PT_OK,
	PT_VERSION_ERROR, /* the parent does not speak version 1; outranks the others */
	PT_ENV_ERROR,     /* a variable is missing or bad */
	PT_PROXY_ERROR    /* all is good but TOR_PT_PROXY */
};

enum { PT_ERROR_MAX = 512, PT_LINE_MAX = 4096 };

/* Whether a PT parent started this process: TOR_PT_MANAGED_TRANSPORT_VER or a list of
 * transports is set. Here and below an empty variable is an unset one. */
bool pt_managed(void);
/* Reads the environment for the transport `transport`. The variables of the other role
 * are not looked at. Unless PT_OK, `error` holds the message for the parent. `env` must
 * be zeroed or cleared; it is to be cleared after any result. */
enum pt_result pt_env_read(struct pt_env *env, const char *transport, char error[PT_ERROR_MAX]);
void pt_env_clear(struct pt_env *env);

/* Exit statuses of the program (PT-CHECKLIST item 20). */
enum { PT_EXIT_OK = 0, PT_EXIT_ENV = 64, PT_EXIT_PROXY = 69, PT_EXIT_VERSION = 78 };

/* Says the lines that come before the methods, in their order: VERSION 1 and, if the
 * parent gave a usable proxy, PROXY DONE; or the one error. Returns PT_EXIT_OK to go on,
 * else the status to exit with. */
int pt_hello(const struct pt_env *env, enum pt_result result, const char *error);

/* All of a program's start as `transport`-client or -server: reads the environment, which must
 * be zeroed, refuses flags, of which there are none, and says hello. Returns as pt_hello does;
 * env is to be cleared after any result. */
int pt_begin(struct pt_env *env, const char *transport, bool server, int argc, char **argv);

/* Writes "keyword text" as one whole line to stdout, in one write where the file allows
 * it. The keyword is one of the protocol's (anything else is a bug); bytes outside 0x20
 * to 0x7e become `?`, runs of spaces one, and what goes beyond PT_LINE_MAX bytes (line
 * end included) is cut. If the parent does not read, LOG and STATUS are dropped at once
 * and the other lines after a second. False if the line was not written. The program
 * ignores SIGPIPE. The file status flags of stdout, which the parent shares, stay. */
bool pt_line(const char *keyword, const char *fmt, ...) __attribute__((format(printf, 2, 3)));
/* LOG SEVERITY=... MESSAGE="...". A log_sink. */
void pt_log(enum log_level level, const char *msg);
/* STATUS TRANSPORT=<transport> TYPE=<type>, then K="V" for each pair of strings up to a
 * NULL. A space in a value becomes `_`: some parents split there without regard to quotes. */
bool pt_status(const char *transport, const char *type, ...) __attribute__((sentinel));
/* The text between the quotes of a LOG or STATUS value, as a C string: `"` and `\` with a
 * backslash, line feed, return and tab as \n \r \t, 0x20 to 0x7e as they are, all else
 * `?` (never octal, which Arti refuses). Cut before the first escape that does not fit
 * in cap bytes, cap > 0. Returns the length. */
size_t pt_quote(char *out, size_t cap, const char *msg);

#endif
