#include "pt-client/relay.h"

#include <errno.h>
#include <event2/buffer.h>
#include <stdlib.h>
#include <sys/socket.h>

#include "common/mem.h"
#include "common/net/splice.h"
#include "pt-client/split.h"

enum state {
	LISTENING, /* is it a ClientHello? Nothing has been sent */
	CUTTING,   /* the segments of one are being sent */
	FLOWING,
	OVER       /* the sockets are closed */
};

struct relay {
	struct splice splice; /* end 0: the app, end 1: the target */
	enum state state;
	struct http_body body; /* of a plain HTTP request: what is still to come of it */
	struct split split;
	size_t sent;          /* of its bytes */
	unsigned segment;     /* the one being sent */
	struct event *turn;   /* time to send a segment */
	struct event *clock;  /* what is between the target's answer and RELAY_SILENT */
	struct timeval answer;
	bool asked;           /* the app had spoken when the clock last struck */
	enum relay_end end;
	uint64_t up;          /* bytes that did not pass through the splice */
	void (*done)(void *arg, const struct relay_report *report);
	void *arg;
};

void
relay_look(const struct relay *r, struct relay_report *report)
{
	const struct splice_end *target = &r->splice.end[1];

	*report = (struct relay_report){
		.end = r->end,
		.up = r->up + r->splice.end[0].passed,
		.down = target->passed,
		.cut = r->split.n_cuts > 0,
	};
	report->answered = report->down > 0 && (!report->cut || target->first == TLS_HANDSHAKE);
	report->failed = report->up > 0 && !report->answered &&
	    (r->end == RELAY_SILENT || r->splice.ended_by == 1);
}

static void
close_both(struct relay *r, bool reset)
{
	if (r->state == OVER)
		return;
	r->state = OVER;
	event_del(r->turn);
	event_del(r->clock);
	splice_clear(&r->splice, reset);
}

/* The last thing done with r. */
static void
finish(struct relay *r, enum relay_end end)
{
	struct relay_report report;

	close_both(r, end != RELAY_DONE);
	r->end = end;
	relay_look(r, &report);
	r->done(r->arg, &report);
}

static void
on_over(void *arg, bool reset)
{
	finish(arg, reset ? RELAY_RESET : RELAY_DONE);
}

/* ---- the first bytes ---- */

/* From here on bytes pass as they come, behind those of the split that are not sent. Perhaps
 * the last thing done with r. */
static void
flow(struct relay *r)
{
	struct buffer rest = r->split.bytes;
	size_t sent = r->sent;

	r->split.bytes = (struct buffer){ 0 };
	r->state = FLOWING;
	splice_open(&r->splice, buffer_data(&rest) + sent, rest.n - sent);
	buffer_clear(&rest);
}

/* MSG_EOR ends a segment: the kernel puts nothing behind these bytes in one, not even when it
 * has to send them again. So there is nothing to be waited for between two of them. */
static void
on_turn(evutil_socket_t fd, short what, void *arg)
{
	struct relay *r = arg;
	struct split *s = &r->split;

	(void)what;
	while (r->segment < s->n_cuts) {
		size_t n = s->cuts[r->segment] - r->sent;
		ssize_t w = send(fd, buffer_data(&s->bytes) + r->sent, n, MSG_EOR | MSG_NOSIGNAL);

		if (w < 0 && (errno == EAGAIN || errno == EINTR)) {
			event_add(r->turn, NULL);
			return;
		}
		if (w < 0) {
			r->splice.ended_by = 1;
			finish(r, RELAY_RESET);
			return;
		}
		r->sent += (size_t)w;
		r->segment += (size_t)w == n;
	}
	flow(r);
}

static void
decided(struct relay *r)
{
	r->state = CUTTING;
	event_active(r->turn, EV_WRITE, 1);
}

/* What the app said is with the split, whatever comes of it. */
static void
listen_to(struct relay *r, const uint8_t *p, size_t n)
{
	r->up += n;
	if (split_feed(&r->split, p, n) != SPLIT_MORE)
		decided(r);
}

static void
on_look(void *arg)
{
	struct relay *r = arg;
	const struct splice_end *app = &r->splice.end[0], *target = &r->splice.end[1];
	struct evbuffer *held = splice_held(&r->splice);
	uint8_t buf[4096];
	int n;

	while (r->state == LISTENING && (n = evbuffer_remove(held, buf, sizeof(buf))) > 0)
		listen_to(r, buf, (size_t)n);
	if (r->state != LISTENING)
		return;
	if (target->eof) {
		/* It hung up on part of a hello: the rest must not follow it in one piece. */
		finish(r, RELAY_DONE);
	} else if (app->eof || r->split.bytes.n == 0) {
		/* Nothing more comes, or the target speaks first: no ClientHello. */
		split_end(&r->split);
		decided(r);
	}
}

/* ---- life ---- */

static void
on_clock(evutil_socket_t fd, short what, void *arg)
{
	struct relay *r = arg;
	struct relay_report report;

	(void)fd;
	(void)what;
	relay_look(r, &report);
	if (report.down > 0)
		return;
	if (r->asked) {
		finish(r, RELAY_SILENT);
		return;
	}
	r->asked = report.up > 0;
	event_add(r->clock, &r->answer);
}

static size_t
admit(void *arg, const uint8_t *p, size_t n)
{
	struct relay *r = arg;

	return http_body_feed(&r->body, p, n);
}

static const struct splice_config tunnel = {
	.held_max = SPLIT_HELLO_MAX,
	.look = on_look,
	.over = on_over,
}, one_request = {
	.held_max = SPLIT_HELLO_MAX,
	.admit = admit,
	.look = on_look,
	.over = on_over,
};

struct relay *
relay_new(struct event_base *base, const struct request *req, evutil_socket_t target, bool split,
    unsigned answer_ms, void (*done)(void *arg, const struct relay_report *report), void *arg)
{
	bool http = req->kind == REQUEST_HTTP;
	struct relay *r = mem_zalloc(sizeof(*r));

	r->done = done;
	r->arg = arg;
	r->turn = event_new(base, target, EV_WRITE, on_turn, r);
	r->clock = evtimer_new(base, on_clock, r);
	if (r->turn == NULL || r->clock == NULL)
		abort();
	r->body = req->body;
	splice_init(&r->splice, base, req->fd, target, http ? &one_request : &tunnel, r);
	/* A plain HTTP request is no ClientHello. */
	if (split && !http) {
		if (req->n > 0)
			listen_to(r, req->early, req->n);
	} else {
		r->up = req->n;
		r->state = FLOWING;
		splice_open(&r->splice, req->early, req->n);
	}
	if (answer_ms > 0) {
		r->answer = (struct timeval){ .tv_sec = answer_ms / 1000,
			.tv_usec = answer_ms % 1000 * 1000 };
		event_add(r->clock, &r->answer);
	}
	return r;
}

void
relay_free(struct relay *r)
{
	if (r == NULL)
		return;
	close_both(r, false);
	split_clear(&r->split);
	event_free(r->turn);
	event_free(r->clock);
	free(r);
}
