/* What a request to the OOB API means (spec/protocol.md, "OOB API"). */
#ifndef SULTRY_PT_SERVER_API_H
#define SULTRY_PT_SERVER_API_H

#include "pt-server/https.h"
#include "pt-server/server.h"

/* An https_config.api; arg is the struct server. */
void api_request(void *arg, struct https_request *req, const char *session, const char *body,
    size_t len);
/* Answers the look-ups that are still out. */
void api_end_all(struct server *srv);

#endif
