#include "pt-client/relay.h"

#include <errno.h>
#include <event2/buffer.h>
#include <stdlib.h>
#include <sys/socket.h>

#include "common/mem.h"
#include "common/net/splice.h"
#include "common/tls_hello.h"
#include "pt-client/http_answer.h"
#include "pt-client/split.h"

#define ANSWER_MAX 16384 /* bytes of a target's answer that are held to read it */

enum state {
	LISTENING, /* is it a ClientHello? It is held back */
	CUTTING,   /* the segments of one are being sent */
	AWAITING,  /* one has been sent; the target may ask for a second */
	FLOWING,
	OVER       /* the sockets are closed */
};

struct relay {
	struct splice splice; /* end 0: the app, end 1: the target */
	enum state state;
	struct http_body body; /* of a plain HTTP request: what is still to come of it */
	struct http_answer answer_head; /* of what the target says to it */
	struct split split;
	size_t sent;          /* of its bytes */
	unsigned segment;     /* the one being sent */
	unsigned hellos;      /* that were cut */
	size_t left;          /* AWAITING: bytes of the app's record that has begun to pass */
	uint8_t first;        /* byte of the app, if `up` > 0 */
	struct event *turn;   /* time to send more */
	struct event *clock;  /* what is between the target's answer and RELAY_SILENT */
	struct timeval answer;
	bool asked;           /* the app's hello was on its way when the clock last struck */
	enum relay_end end;
	uint64_t up;          /* bytes that did not pass through the splice */
	void (*done)(void *arg, const struct relay_report *report);
	void *arg;
};

/* Does the app, as far as its first byte tells? Then the target has to answer at once. */
static bool
speaks_tls(const struct relay *r)
{
	return (r->up > 0 ? r->first : r->splice.end[0].first) == TLS_HANDSHAKE;
}

void
relay_look(const struct relay *r, struct relay_report *report)
{
	const struct splice_end *target = &r->splice.end[1];

	*report = (struct relay_report){
		.end = r->end,
		.up = r->up + r->splice.end[0].passed,
		.down = target->passed,
		.cut = r->hellos > 0,
	};
	report->answered = report->down > 0 && (!speaks_tls(r) || target->first == TLS_HANDSHAKE);
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
	event_del(r->turn);
	splice_open(&r->splice, buffer_data(&rest) + sent, rest.n - sent);
	buffer_clear(&rest);
}

/* The target took less than it was given: for now, or for good. The last thing done with r. */
static void
not_sent(struct relay *r)
{
	if (errno == EAGAIN || errno == EINTR) {
		splice_read_end0(&r->splice, false);
		event_add(r->turn, NULL);
		return;
	}
	r->splice.ended_by = 1;
	finish(r, RELAY_RESET);
}

static void
decided(struct relay *r)
{
	r->state = CUTTING;
	r->hellos += r->split.n_cuts > 0;
	event_active(r->turn, EV_WRITE, 1);
}

/* What the app said is with the split, whatever comes of it. */
static void
listen_to(struct relay *r, const uint8_t *p, size_t n)
{
	if (r->up == 0)
		r->first = p[0];
	r->up += n;
	if (split_feed(&r->split, p, n) != SPLIT_MORE)
		decided(r);
}

static void
listen_on(struct relay *r)
{
	const struct splice_end *app = &r->splice.end[0], *target = &r->splice.end[1];
	struct evbuffer *held = splice_held(&r->splice, 0);
	uint8_t buf[4096];
	int n;

	while (r->state == LISTENING && (n = evbuffer_remove(held, buf, sizeof(buf))) > 0)
		listen_to(r, buf, (size_t)n);
	if (r->state != LISTENING)
		return;
	if (target->eof && !target->open) {
		/* It hung up on part of a hello: the rest must not follow it in one piece. */
		finish(r, RELAY_DONE);
	} else if (app->eof || r->split.bytes.n == 0) {
		/* Nothing more comes, or the target speaks first: no ClientHello. */
		split_end(&r->split);
		decided(r);
	}
}

/* ---- a second hello ---- */

enum answer { ANSWER_PART, ANSWER_RETRY, ANSWER_OTHER };

/* Does the target ask for a second hello (RFC 8446 section 4.1.4)? What is too long to be read
 * whole may do so. */
static enum answer
answer_of(const struct relay *r)
{
	struct evbuffer *held = splice_held(&r->splice, 1);
	size_t n = evbuffer_get_length(held);
	struct reader in = reader_of(evbuffer_pullup(held, -1), n), message;
	struct tls_record record = { 0 };
	struct tls_server_hello h;
	enum tls_event e;
	bool other;

	do
		e = tls_record_next(&record, &in, &message);
	while (e == TLS_RECORD_END || (e == TLS_RECORD && tls_record_open(&record) == TLS_HANDSHAKE));
	other = e == TLS_MESSAGE ? !tls_server_hello_parse(&h, message) || !h.hello_retry : e != TLS_MORE;
	tls_record_clear(&record);
	if (e == TLS_MORE && n < ANSWER_MAX)
		return r->splice.end[1].eof ? ANSWER_OTHER : ANSWER_PART;
	return other ? ANSWER_OTHER : ANSWER_RETRY;
}

/* Early data, and the ChangeCipherSpec that looks like TLS 1.2, go before a second hello. */
static bool
may_precede(uint8_t type)
{
	return type == TLS_CHANGE_CIPHER_SPEC || type == TLS_APPLICATION_DATA;
}

/* Passes the app's records, up to one with a handshake message in plain. Perhaps the last
 * thing done with r. */
static void
pass_records(struct relay *r)
{
	struct evbuffer *held = splice_held(&r->splice, 0);
	uint8_t header[TLS_RECORD_HEADER];
	int n;

	while (evbuffer_get_length(held) > 0) {
		if (r->left == 0) {
			n = (int)evbuffer_copyout(held, header, sizeof(header));
			if (header[0] == TLS_HANDSHAKE) {
				r->state = LISTENING;
				listen_on(r);
				return;
			}
			if (!may_precede(header[0])) {
				flow(r);
				return;
			}
			if (n < TLS_RECORD_HEADER)
				break;
			r->left = TLS_RECORD_HEADER + ((size_t)header[3] << 8 | header[4]);
		}
		n = evbuffer_write_atmost(held, r->splice.end[1].fd, (ev_ssize_t)r->left);
		if (n < 0) {
			not_sent(r);
			return;
		}
		r->left -= (size_t)n;
		r->up += (size_t)n;
	}
	if (r->splice.end[0].eof)
		flow(r);
}

/* The target's answer is held back until it is known to be a HelloRetryRequest or not. Perhaps
 * the last thing done with r. */
static void
await(struct relay *r)
{
	if (!r->splice.end[1].open) {
		enum answer a = answer_of(r);

		if (a == ANSWER_OTHER) {
			flow(r);
			return;
		}
		if (a == ANSWER_RETRY)
			splice_open_end1(&r->splice);
	}
	pass_records(r);
}

/* ---- sending ---- */

/* MSG_EOR ends a segment: the kernel puts nothing behind these bytes in one, not even when it
 * has to send them again. So there is nothing to be waited for between two of them. Perhaps the
 * last thing done with r. */
static void
send_segments(struct relay *r)
{
	struct split *s = &r->split;

	while (s->n_cuts > 0 && r->segment <= s->n_cuts) {
		size_t end = r->segment < s->n_cuts ? s->cuts[r->segment] : s->bytes.n - s->rest;
		size_t n = end - r->sent;
		ssize_t w = send(r->splice.end[1].fd, buffer_data(&s->bytes) + r->sent, n,
		    MSG_EOR | MSG_NOSIGNAL);

		if (w < 0) {
			not_sent(r);
			return;
		}
		r->sent += (size_t)w;
		r->segment += (size_t)w == n;
	}
	if (r->hellos != 1 || s->n_cuts == 0) {
		flow(r);
		return;
	}
	evbuffer_prepend(splice_held(&r->splice, 0), buffer_data(&s->bytes) + r->sent, s->rest);
	r->up -= s->rest;
	split_clear(s);
	r->sent = r->segment = 0;
	r->state = AWAITING;
	await(r);
}

static void
on_turn(evutil_socket_t fd, short what, void *arg)
{
	struct relay *r = arg;

	(void)fd;
	(void)what;
	splice_read_end0(&r->splice, true);
	if (r->state == CUTTING)
		send_segments(r);
	else if (r->state == AWAITING)
		pass_records(r);
}

static void
on_look(void *arg)
{
	struct relay *r = arg;

	if (r->state == LISTENING)
		listen_on(r);
	else if (r->state == AWAITING)
		await(r);
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
	if (report.down > 0 || (report.up > 0 && !speaks_tls(r)))
		return;
	if (r->asked) {
		finish(r, RELAY_SILENT);
		return;
	}
	r->asked = report.up > 0 && r->state != LISTENING;
	event_add(r->clock, &r->answer);
}

static size_t
admit(void *arg, const uint8_t *p, size_t n)
{
	struct relay *r = arg;

	return http_body_feed(&r->body, p, n);
}

static size_t
insert_at(void *arg, const uint8_t *p, size_t n)
{
	struct relay *r = arg;

	return http_answer_feed(&r->answer_head, p, n);
}

static const struct splice_config tunnel = {
	.held_max = SPLIT_HELLO_MAX,
	.look = on_look,
	.over = on_over,
}, one_request = {
	.held_max = SPLIT_HELLO_MAX,
	.admit = admit,
	.insert_at = insert_at,
	.insert_text = HTTP_ANSWER_CLOSE,
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
		r->first = req->n > 0 ? req->early[0] : 0;
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
