#include "pt-server/target.h"

#include <stdlib.h>
#include <string.h>

#include "common/address.h"
#include "common/mem.h"
#include "common/net/dial.h"
#include "pt-server/ext_orport.h"

#define DIAL_MS 10000

struct target {
	struct server *srv;
	struct dial *dial;
	struct ext_orport *ext;
	struct reach *reach;
	struct sockaddr_storage client;
	target_done *done;
	void *arg;
};

static void
finish(struct target *t, evutil_socket_t fd, const struct sockaddr_storage *to,
    enum msg_error err, const char *why)
{
	target_done *done = t->done;
	void *arg = t->arg;

	free(t);
	done(arg, fd, to, err, why);
}

static void
on_ext_orport(void *arg, evutil_socket_t fd, const char *error)
{
	struct target *t = arg;

	finish(t, fd, NULL, error == NULL ? ERR_NONE : ERR_TARGET_FAILED, error);
}

static void
on_dial(void *arg, evutil_socket_t fd, int err)
{
	struct target *t = arg;

	t->dial = NULL;
	if (fd < 0) {
		finish(t, -1, NULL, reach_error(err), strerror(err));
		return;
	}
	if (t->srv->ext_orport.ss_family == AF_UNSPEC) {
		finish(t, fd, NULL, ERR_NONE, NULL);
		return;
	}
	t->ext = ext_orport_start(t->srv->base, fd, t->srv->auth_cookie_file,
	    (struct sockaddr *)&t->client, "sultry", on_ext_orport, t);
}

static void
on_reach(void *arg, evutil_socket_t fd, const struct sockaddr_storage *to, enum msg_error err,
    const char *why)
{
	finish(arg, fd, to, err, why);
}

struct target *
target_start(struct server *srv, const struct sockaddr *client, const char *host, uint16_t port,
    target_done *done, void *arg)
{
	struct target *t = mem_zalloc(sizeof(*t));
	const struct sockaddr_storage *to =
	    srv->ext_orport.ss_family != AF_UNSPEC ? &srv->ext_orport : &srv->orport;

	t->srv = srv;
	t->done = done;
	t->arg = arg;
	if (host[0] != '\0') {
		t->reach = reach_start(&srv->reach, host, port, on_reach, t);
		return t;
	}
	if (client->sa_family == AF_INET || client->sa_family == AF_INET6)
		memcpy(&t->client, client, client->sa_family == AF_INET ?
		    sizeof(struct sockaddr_in) : sizeof(struct sockaddr_in6));
	t->dial = dial_start(srv->base, &srv->outbound, (const struct sockaddr *)to, address_len(to),
	    DIAL_MS, on_dial, t);
	return t;
}

void
target_cancel(struct target *t)
{
	if (t == NULL)
		return;
	dial_cancel(t->dial);
	ext_orport_cancel(t->ext);
	reach_cancel(t->reach);
	free(t);
}
