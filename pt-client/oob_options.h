/* The options that are the same for all requests of a channel: proxy, TLS, and all that keeps
 * curl from doing more than it is told. Part of oob: only oob.c includes it. */
#ifndef SULTRY_CLIENT_OOB_OPTIONS_H
#define SULTRY_CLIENT_OOB_OPTIONS_H

#include <curl/curl.h>
#include <stdbool.h>

#include "common/outbound.h"

/* All borrowed for as long as the handles that got them. */
struct oob_options {
	const struct outbound *outbound;
	CURLSH *share;                 /* TLS sessions: any new connection resumes */
	const char *pin;               /* in curl's spelling; NULL: CA verification */
	struct curl_slist *connect_to; /* or NULL */
	bool dial_ip;                  /* what is connected to is no name */
};

/* The first error if this libcurl does not know an option: the handle is not to be used then. */
CURLcode oob_options_set(CURL *easy, const struct oob_options *o);

#endif
