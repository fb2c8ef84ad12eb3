#include "common/net/talk.h"

#include <assert.h>
#include <errno.h>
#include <event2/event.h>
#include <sys/socket.h>

#include "common/mem.h"

/* System calls in one talk_run: a peer that never pauses must not hold the loop. */
#define TURNS 256

void
talk_init(struct talk *t, enum talk_result (*step)(struct talk *t))
{
	t->step = step;
	t->have = t->want = t->sent = 0;
	t->out = writer_of(t->out_mem, sizeof(t->out_mem));
}

void
talk_clear(struct talk *t)
{
	mem_wipe(t, sizeof(*t));
}

void
talk_want(struct talk *t, size_t n)
{
	assert(n > 0 && n <= sizeof(t->in));
	t->want = n;
}

/* n bytes were added to t->in. */
static enum talk_result
received(struct talk *t, size_t n)
{
	t->have += n;
	if (t->have < t->want)
		return TALK_MORE;
	t->have = 0;
	return t->step(t);
}

enum talk_result
talk_feed(struct talk *t, struct reader *r)
{
	enum talk_result result = TALK_MORE;

	while (result == TALK_MORE && !reader_end(r)) {
		size_t n = t->want - t->have;

		if (n > r->n)
			n = r->n;
		reader_copy(r, t->in + t->have, n);
		result = received(t, n);
	}
	return result;
}

/* One send or receive. TALK_OK: it is done; TALK_MORE: the socket is not ready. */
static enum talk_result
transfer(struct talk *t, evutil_socket_t fd, short what, size_t *n, int *err)
{
	ssize_t r;

	do {
		if (what == EV_WRITE)
			r = send(fd, t->out_mem + t->sent, t->out.n - t->sent, MSG_NOSIGNAL);
		else
			r = recv(fd, t->in + t->have, t->want - t->have, 0);
	} while (r < 0 && errno == EINTR);
	if (r > 0) {
		*n = (size_t)r;
		return TALK_OK;
	}
	if (r < 0 && (errno == EAGAIN || errno == EWOULDBLOCK))
		return TALK_MORE;
	*err = r == 0 || errno == EPIPE ? ECONNRESET : errno;
	return TALK_BAD;
}

enum talk_result
talk_run(struct talk *t, evutil_socket_t fd, short *wait, int *err)
{
	enum talk_result result;
	size_t n;

	*err = 0;
	for (int turn = 0;; turn++) {
		*wait = t->sent < t->out.n ? EV_WRITE : EV_READ;
		if (turn == TURNS)
			return TALK_MORE;
		result = transfer(t, fd, *wait, &n, err);
		if (result != TALK_OK)
			return result;
		if (*wait == EV_WRITE)
			t->sent += n;
		else if ((result = received(t, n)) != TALK_MORE)
			return result;
	}
}
