/* Why a connection was not had through the upstream proxy. */
#ifndef SULTRY_CLIENT_OOB_PROXY_H
#define SULTRY_CLIENT_OOB_PROXY_H

#include <curl/curl.h>
#include <stddef.h>

/* Writes it for the log, and returns it as an errno value, in the terms of a dial that
 * failed (common/net/dial.h). */
int oob_proxy_error(CURL *e, CURLcode code, char *text, size_t cap);

#endif
