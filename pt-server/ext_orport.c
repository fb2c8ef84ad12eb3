#include "pt-server/ext_orport.h"

#include <errno.h>
#include <event2/event_struct.h>
#include <fcntl.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "common/mem.h"
#include "pt-server/ext_orport_auth.h"

#define TIMEOUT_S 5

struct ext_orport {
	struct event_base *base;
	evutil_socket_t fd;
	struct ext_orport_auth auth;
	char *transport;
	struct event ready;    /* fd is ready for the next step */
	struct event end;      /* it ends with end_error: out of time, or never started */
	const char *end_error;
	ext_orport_done *done;
	void *arg;
};

static void
ext_orport_free(struct ext_orport *e)
{
	event_del(&e->ready);
	event_del(&e->end);
	if (e->fd >= 0)
		evutil_closesocket(e->fd);
	ext_orport_auth_clear(&e->auth);
	free(e->transport);
	free(e);
}

/* error NULL: the socket is the caller's. */
static void
finish(struct ext_orport *e, const char *error)
{
	ext_orport_done *done = e->done;
	void *arg = e->arg;
	evutil_socket_t fd = -1;

	if (error == NULL) {
		fd = e->fd;
		e->fd = -1;
	}
	ext_orport_free(e);
	done(arg, fd, error);
}

static void
on_end(evutil_socket_t fd, short what, void *arg)
{
	struct ext_orport *e = arg;

	(void)fd;
	(void)what;
	finish(e, e->end_error);
}

static void
on_ready(evutil_socket_t fd, short what, void *arg)
{
	struct ext_orport *e = arg;
	short wait;
	int err;

	(void)what;
	switch (talk_run(&e->auth.talk, fd, &wait, &err)) {
	case TALK_OK:
		finish(e, NULL);
		return;
	case TALK_BAD:
		finish(e, err == 0 ? e->auth.error : err == ECONNRESET
		    ? "the Extended ORPort hung up" : strerror(err));
		return;
	case TALK_MORE:
		break;
	}
	event_assign(&e->ready, e->base, fd, wait, on_ready, e);
	if (event_add(&e->ready, NULL) != 0)
		finish(e, "out of memory");
}

/* Returns NULL, or what is wrong. */
static const char *
read_cookie(uint8_t cookie[EXT_ORPORT_COOKIE_SIZE], const char *name)
{
	uint8_t file[EXT_ORPORT_COOKIE_FILE_SIZE + 1]; /* one more, to see that it ends there */
	const char *error = NULL;
	ssize_t n;
	int fd = open(name, O_RDONLY | O_CLOEXEC | O_NONBLOCK);

	if (fd < 0)
		return "the Extended ORPort's cookie file cannot be opened";
	n = read(fd, file, sizeof(file));
	if (n < 0)
		error = "the Extended ORPort's cookie file cannot be read";
	else if (!ext_orport_cookie(cookie, file, (size_t)n))
		error = "the Extended ORPort's cookie file holds no cookie";
	close(fd);
	mem_wipe(file, sizeof(file));
	return error;
}

static const char *
begin(struct ext_orport *e, const char *cookie_file, const struct sockaddr *client)
{
	uint8_t cookie[EXT_ORPORT_COOKIE_SIZE], nonce[EXT_ORPORT_NONCE_SIZE];
	const char *error = read_cookie(cookie, cookie_file);

	if (error != NULL)
		return error;
	mem_random(nonce, sizeof(nonce));
	ext_orport_auth_init(&e->auth, cookie, nonce, client, e->transport);
	mem_wipe(cookie, sizeof(cookie));
	event_assign(&e->ready, e->base, e->fd, EV_READ, on_ready, e);
	return event_add(&e->ready, NULL) == 0 ? NULL : "out of memory";
}

struct ext_orport *
ext_orport_start(struct event_base *base, evutil_socket_t fd, const char *cookie_file,
    const struct sockaddr *client, const char *transport, ext_orport_done *done, void *arg)
{
	struct timeval time = { .tv_sec = TIMEOUT_S };
	struct ext_orport *e = mem_zalloc(sizeof(*e));

	e->base = base;
	e->fd = fd;
	e->transport = mem_strdup(transport);
	e->done = done;
	e->arg = arg;
	event_assign(&e->ready, base, -1, 0, on_ready, e);
	event_assign(&e->end, base, -1, 0, on_end, e);
	e->end_error = begin(e, cookie_file, client);
	if (e->end_error == NULL) {
		e->end_error = "the Extended ORPort did not answer in time";
		if (event_add(&e->end, &time) == 0)
			return e;
		e->end_error = "out of memory";
	}
	event_active(&e->end, EV_TIMEOUT, 0);
	return e;
}

void
ext_orport_cancel(struct ext_orport *e)
{
	if (e != NULL)
		ext_orport_free(e);
}
