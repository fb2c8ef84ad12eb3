/* One curl multi handle under the event loop, with the connections that it has open. Part of
 * oob: only oob.c includes it. */
#ifndef SULTRY_CLIENT_OOB_MULTI_H
#define SULTRY_CLIENT_OOB_MULTI_H

#include <curl/curl.h>
#include <stdbool.h>
#include <stdint.h>

#include "common/outbound.h"

struct event_base;
struct multi;

/* A request came to its end, from the event loop only. The callback takes the handle out with
 * multi_remove, and starts none. */
typedef void multi_done(void *request, CURLcode code);

/* Borrows base and outbound. */
struct multi *multi_new(struct event_base *base, const struct outbound *outbound, multi_done *done);
/* Takes no new requests: closes its idle connections, and itself with the last request. */
void multi_retire(struct multi *m);

/* Makes easy's connections m's: call before multi_add, with the other options. */
CURLcode multi_prepare(struct multi *m, CURL *easy, void *request);
CURLMcode multi_add(struct multi *m, CURL *easy);
/* The head of this request's reply is here (once each; may be called by curl). Where enough
 * connections are idle, or about to be, this one is not kept. */
void multi_replying(struct multi *m, CURL *easy);
/* Of a handle that was added; closes a connection with an HTTP/1 request under way. */
void multi_remove(struct multi *m, CURL *easy, bool replying);
/* The idle connections to keep from now on. */
void multi_keep(struct multi *m, unsigned idle);

/* Requests that are added now. */
unsigned multi_running(const struct multi *m);
/* Open connections, but for those that the peer has closed. */
unsigned multi_live(struct multi *m);
/* The connection of this ended request was in use until now. */
void multi_touch(struct multi *m, CURL *easy, uint64_t now);
/* The longest unused connection's last touch; false if none was ever touched. */
bool multi_oldest(struct multi *m, uint64_t *touched);

#endif
