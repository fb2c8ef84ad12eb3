/* Key and value arguments of the managed-proxy protocol (Tor's pt-spec): what a bridge
 * line gives to a client over SOCKS (section 3.5), TOR_PT_SERVER_TRANSPORT_OPTIONS
 * (section 3.2.3), and the ARGS of an SMETHOD line (section 3.3.3). Pure. */
#ifndef SULTRY_COMMON_PT_ARGS_H
#define SULTRY_COMMON_PT_ARGS_H

#include <stdbool.h>
#include <stddef.h>

#include "common/bytes.h"

enum { PT_ARGS_SOCKS_MAX = 510, PT_ARGS_OPTIONS_MAX = 8192 };

/* An ordered list; keys repeat. Owns its text. Zeroed memory is a valid empty one. */
struct pt_args {
	struct buffer text; /* key NUL value NUL, key NUL value NUL, ... */
};

void pt_args_clear(struct pt_args *args);
/* Appends a pair; both are copied. */
void pt_args_add(struct pt_args *args, const char *key, const char *value);
/* The first value of `key`, or NULL. It lives until the list changes. */
const char *pt_args_get(const struct pt_args *args, const char *key);
/* The pair at *pos (0 at first) and *pos moved behind it; false at the end. */
bool pt_args_next(const struct pt_args *args, size_t *pos, const char **key, const char **value);

/* Both parsers replace what is in args. False for bad text: *why says what is wrong with
 * it (a static string) and args is empty. No bytes are no arguments, which is good. */

/* `k=v;k=v`: a backslash takes the next byte as it is, the first bare `=` ends the key,
 * later ones belong to the value. At most PT_ARGS_SOCKS_MAX bytes, none of them NUL. */
bool pt_args_parse(struct pt_args *args, const void *s, size_t n, const char **why);
/* `name:k=v;name:k=v`: as above; all of it is checked, the pairs of `transport` are
 * kept. At most PT_ARGS_OPTIONS_MAX bytes. */
bool pt_args_parse_options(struct pt_args *args, const char *s, const char *transport,
    const char **why);

/* Writes "ARGS:k=v,k=v" and a NUL, or "" for an empty list. False, and out is "", if it
 * does not fit or holds a byte that would break the line (outside 0x21 to 0x7e). */
bool pt_args_smethod(char *out, size_t cap, const struct pt_args *args);

#endif
