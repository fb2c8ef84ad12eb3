/* An app connection that goes straight to its target (strategies split and direct): two
 * sockets, no session. */
#ifndef SULTRY_PT_CLIENT_RELAY_H
#define SULTRY_PT_CLIENT_RELAY_H

#include <event2/event.h>
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "pt-client/request.h"

struct relay;

enum relay_end {
	RELAY_DONE,  /* both ends have said all */
	RELAY_RESET, /* one of them broke off, and the other was reset */
	RELAY_SILENT /* nothing came from the target within answer_ms of the app's ClientHello */
};

/* What became of it. */
struct relay_report {
	enum relay_end end;
	uint64_t up, down; /* bytes read from the app and from the target */
	bool cut;          /* a ClientHello went in pieces */
	bool answered;     /* the target said something, and to an app that speaks TLS a handshake
	                    * message: the strategy worked */
	bool failed;       /* it did not: the target was silent or the first to end, though the app
	                    * had spoken. Neither, if the app gave up first or said nothing */
};

/* Takes both sockets, req's and the target's, connected and non-blocking; the app has had its
 * reply. A plain HTTP request is passed on alone: what the app says behind it resets both,
 * and the answer says that the connection closes (see pt-client/http_answer.h).
 * split: see pt-client/split.h; so is the second ClientHello, if the target asks for one.
 * answer_ms: 0, or an app that does not speak TLS, waits for ever. done is called once, from
 * the loop, with the sockets closed; the callee calls relay_free then or later. */
struct relay *relay_new(struct event_base *base, const struct request *req,
    evutil_socket_t target, bool split, unsigned answer_ms,
    void (*done)(void *arg, const struct relay_report *report), void *arg);
/* The report so far. */
void relay_look(const struct relay *r, struct relay_report *report);
/* Closes the sockets at once, if they are still open; done is not called. NULL is fine. */
void relay_free(struct relay *r);

#endif
