/* What the whole bridge shares. One a process; main.c fills it. */
#ifndef SULTRY_PT_SERVER_SERVER_H
#define SULTRY_PT_SERVER_SERVER_H

#include <event2/event.h>
#include <sys/socket.h>

#include "common/frame.h"
#include "common/message.h"
#include "common/outbound.h"
#include "common/stream.h"
#include "pt-server/identity.h"
#include "pt-server/reach.h"
#include "pt-server/sessions.h"
#include "pt-server/users.h"

struct server {
	struct event_base *base;
	struct identity identity;
	struct pad_scheme pad;
	struct stream_budget budget;
	struct sessions *sessions;
	uint32_t retain_s;                   /* how long a session lives without a carrier */
	int64_t started;                     /* milliseconds since 1970 */
	bool draining;                       /* takes no new sessions, and ends with the last one */
	struct msg_address direct[MSG_ADDRESSES];
	unsigned n_direct;
	/* A relay: any target that its access list allows, for its users. NULL in managed mode. */
	struct users *users;
	struct reach_env reach;
	LIST_HEAD(, lookup) lookups;
	/* The one target of managed mode. ext_orport's family AF_UNSPEC: plain ORPort. */
	struct sockaddr_storage orport, ext_orport;
	char *auth_cookie_file;
	struct outbound outbound;
	struct https *https;
};

#endif
