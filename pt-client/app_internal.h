/* The insides of an app connection, shared by app.c (its life), app_direct.c (its direct
 * connection) and app_oob.c (its requests). */
#ifndef SULTRY_PT_CLIENT_APP_INTERNAL_H
#define SULTRY_PT_CLIENT_APP_INTERNAL_H

#include <event2/event.h>

#include "common/net/dial.h"
#include "common/net/direct.h"
#include "common/net/local.h"
#include "pt-client/app.h"
#include "pt-client/http_answer.h"

#define APP_POLL_MIN_MS 5000 /* how long a poll is held; doubles while nothing comes */

enum app_state {
	APP_FIRST,   /* warm: success is told; the app's first bytes are awaited */
	APP_OPENING, /* the open is under way */
	APP_OPEN,
	APP_OVER     /* to be freed from the event loop */
};

/* One exchange under way. A retry sends the same bytes. */
struct slot {
	struct app *app;
	struct oob_request *req;
	struct oob_channel *channel;
	struct event *retry;
	struct msg_request x; /* without its bytes */
	uint64_t n;
	char *body;           /* not NULL: the slot is in use */
	size_t len;
	unsigned tries;
};

struct app {
	LIST_ENTRY(app) link;
	struct client *cl;
	struct bridge *b;
	enum app_state state;
	evutil_socket_t fd;    /* before local has it */
	struct buffer early;   /* what the app said with its request; then local has it */
	struct event *watch;   /* does the app hang up before it is answered? */
	struct event *timer;   /* FIRST_BYTES, then OPEN, then CUTOVER_WAIT */
	struct event *linger;  /* the app is gone; how long its close is still offered */
	struct event *reap;
	enum request_kind kind;
	struct http_body body; /* of a plain HTTP request: what is still to come of it */
	struct http_answer answer_head; /* of the answer to it */
	char host[MSG_HOST_MAX + 1]; /* "": the bridge's own target */
	uint16_t port;
	char token[MSG_TOKEN_MAX + 1];
	bool replied;          /* to the request */
	bool clock_corrected;  /* once is enough */
	char why[BRIDGE_WHY];  /* the last try to open it failed; "": none did */
	app_result *result;    /* NULL once called */
	void *result_arg;
	struct local local;
	struct session s;

	struct noise noise;
	struct noise_keys keys;
	struct slot open, push, poll;
	uint64_t n_out;        /* exchanges numbered so far */
	unsigned wait_ms;      /* of the next poll */
	uint64_t started_ms, heard_ms, lost_ms;
	char path[MSG_PATH_LEN + 300];
	char id[MSG_SESSION_ID + 1];
	struct oob_request *status;
	struct noise status_noise;

	struct dial *dial;
	struct sockaddr_storage direct_addr;
	evutil_socket_t direct_fd; /* connected, its hello not sent yet */
	bool hello_due;            /* no app bytes came to go with it */
	struct direct *direct;
	uint64_t direct_ms;        /* since when */
	struct event *accept;      /* no ACCEPT by then: the path swallows hellos */
	struct bridge_waiter waiter;
	bool my_turn;              /* the bridge's other waiters wait for our dial */
};

/* app.c */
void app_pump(struct app *a);
void app_moved(void *arg); /* app_pump, as a callback */
/* The session cannot be had, or is lost: the app hears it as a reply or a reset. */
void app_fail(struct app *a, uint8_t rep, const char *why);
void app_tell(struct app *a, bool ok, enum msg_error error);
/* Nothing more happens to it; it is freed from the loop. */
void app_finish(struct app *a);
void app_after(struct event *ev, unsigned ms);
/* Tells the app of success, and starts to read it. */
void app_accept(struct app *a);

/* app_direct.c */
void app_dial_direct(struct app *a);
void app_stop_dial(struct app *a);
void app_pump_direct(struct app *a);
/* The app is about to send something; so long no poll is needed. */
bool app_speaks_soon(struct app *a);
/* rest: its address is left alone for a while. */
void app_drop_direct(struct app *a, bool rest, const char *why);
void app_on_turn(void *arg, bool redial);
void app_on_accept(evutil_socket_t fd, short what, void *arg);

/* app_oob.c */
void app_start_open(struct app *a);
void app_post_open(struct slot *slot);
void app_post_exchange(struct slot *slot);
void app_slot_clear(struct slot *slot);
void app_pump_oob(struct app *a);
void app_on_retry(evutil_socket_t fd, short what, void *arg);
void app_on_open_retry(evutil_socket_t fd, short what, void *arg);

#endif
