#include "common/net/direct.h"

#include <errno.h>
#include <netinet/in.h>
#include <linux/tcp.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>

#include "common/mem.h"
#include "common/net/local.h"

#define ACK_DELAY_MS 100
#define BATCH 4                        /* records sealed for one write */
#define USER_TIMEOUT_MS 30000
#define STALL_MS 5000       /* no acknowledgement, or no PONG, for so long: dead */
#define LOOK_MS 1000        /* between two looks at it while bytes move, or should */
#define FIRST_PING_MS 3000  /* after the last byte either way */
#define PING_MS 60000
#define DEAF_MS 90000       /* a client that lives would have sent a PING */
#define UNSENT_MAX (128 * 1024)        /* bytes queued in the kernel but not sent */

/* One thread, one scratch area each way: an idle connection holds no buffer. */
static uint8_t in_area[RECORD_MAX + 128 * 1024];
static uint8_t out_area[BATCH * (RECORD_MAX + EPOCH_TAG)];

static bool
transient(int err)
{
	return err == EAGAIN || err == EWOULDBLOCK || err == EINTR;
}

static void
die(struct direct *d, enum direct_end why)
{
	d->dead = why;
	event_del(d->rd);
	event_del(d->wr);
	event_del(d->ack);
	event_del(d->watch);
}

const char *
direct_end_text(enum direct_end end)
{
	static const char *const text[] = { "alive", "closed by the other end", "reset",
		"silent", "not authentic" };

	return text[end];
}

static void note_progress(struct direct *d, uint64_t now);
static void watch_again(struct direct *d, uint64_t ms);

/* ---- in ---- */

/* Takes whole records from p; returns the bytes used. */
static size_t
take_records(struct direct *d, uint8_t *p, size_t n)
{
	size_t used = 0, body = 0;
	uint64_t now = local_now();
	struct reader frames;

	while (used < n && !d->dead) {
		uint8_t *rec = p + used;
		enum record_result r = record_header(rec, n - used, RECORD_BODY_MAX, &body);

		if (r == RECORD_MORE || (r == RECORD_OK && n - used < RECORD_HEADER + body))
			break;
		if (r == RECORD_BAD || record_open(&d->in, rec, body, false, NULL, &frames) != RECORD_OK ||
		    !session_direct_frames(d->s, &frames)) {
			die(d, DIRECT_BROKEN);
			break;
		}
		used += RECORD_HEADER + body;
		d->heard_ms = now;
	}
	return used;
}

void
direct_feed(struct direct *d, const uint8_t *p, size_t n)
{
	size_t used;

	if (d->dead || n == 0)
		return;
	buffer_add(&d->in_part, p, n);
	used = take_records(d, d->in_part.mem + d->in_part.head, d->in_part.n);
	buffer_drain(&d->in_part, used);
}

static void
read_some(struct direct *d)
{
	size_t held = d->in_part.n, used;
	ssize_t n;

	if (held > 0)
		memcpy(in_area, buffer_data(&d->in_part), held);
	n = recv(d->fd, in_area + held, sizeof(in_area) - held, 0);
	if (n <= 0) {
		if (n == 0 || !transient(errno))
			die(d, n == 0 ? DIRECT_EOF : DIRECT_RESET);
		return;
	}
	used = take_records(d, in_area, held + (size_t)n);
	buffer_clear(&d->in_part);
	buffer_add(&d->in_part, in_area + used, held + (size_t)n - used);
}

/* ---- out ---- */

/* Seals the next record at rec and returns its length. */
static size_t
seal_next(struct direct *d, uint8_t *rec)
{
	const uint16_t *first = d->s->role == SESSION_CLIENT ? d->pad->up : d->pad->down;
	size_t skip = d->hello ? EPOCH_TAG : 0;
	struct writer w = writer_of(rec + RECORD_HEADER + skip, pad_room(first, d->out.n, d->hello));
	size_t len;

	session_direct_fill(d->s, &w);
	pad_write(d->pad, first, d->out.n, d->hello, &w);
	len = record_seal(&d->out, rec, w.n, d->hello ? d->tag : NULL);
	d->hello = false;
	return len;
}

static void
send_bytes(struct direct *d, const uint8_t *p, size_t n)
{
	ssize_t sent = send(d->fd, p, n, MSG_NOSIGNAL);

	if (sent < 0 && !transient(errno)) {
		die(d, DIRECT_RESET);
		return;
	}
	if (sent < 0)
		sent = 0;
	d->sent += (uint64_t)sent;
	if ((size_t)sent < n) {
		/* p may be what is queued already: then only its front goes. */
		if (d->out_part.n == n)
			buffer_drain(&d->out_part, (size_t)sent);
		else
			buffer_add(&d->out_part, p + sent, n - (size_t)sent);
		event_add(d->wr, NULL);
	} else {
		buffer_clear(&d->out_part);
	}
}

void
direct_flush(struct direct *d)
{
	uint64_t sum = d->moved_sum, now = local_now();

	if (d->dead)
		return;
	note_progress(d, now); /* before new bytes start to wait for their acknowledgement */
	if (d->out_part.n > 0)
		send_bytes(d, buffer_data(&d->out_part), d->out_part.n);
	while (!d->dead && d->out_part.n == 0 && session_direct_wants(d->s)) {
		size_t n = 0;

		for (int i = 0; i < BATCH && session_direct_wants(d->s); i++)
			n += seal_next(d, out_area + n);
		send_bytes(d, out_area, n);
	}
	if (d->dead)
		return;
	if (d->s->direct.close_sent && d->closed_ms == 0) {
		d->closed_ms = now;
		watch_again(d, STALL_MS);
	}
	if (session_ack_waits(d->s) && !event_pending(d->ack, EV_TIMEOUT, NULL))
		event_add(d->ack, &(struct timeval){ .tv_usec = ACK_DELAY_MS * 1000 });
	note_progress(d, now);
	if (sum != d->moved_sum && !d->watching) {
		/* Bytes move after a rest: the next look may be a minute away. */
		d->watching = true;
		watch_again(d, LOOK_MS);
	}
}

bool
direct_idle(const struct direct *d)
{
	return d->out_part.n == 0 && !session_direct_wants(d->s);
}

bool
direct_orphaned(const struct direct *d)
{
	struct sockaddr_storage a;
	socklen_t len = sizeof(a);
	evutil_socket_t fd;
	bool gone;

	if (getsockname(d->fd, (struct sockaddr *)&a, &len) != 0)
		return true;
	/* Whether one may bind to it says whether it is still ours. */
	if (a.ss_family == AF_INET)
		((struct sockaddr_in *)&a)->sin_port = 0;
	else
		((struct sockaddr_in6 *)&a)->sin6_port = 0;
	fd = socket(a.ss_family, SOCK_DGRAM | SOCK_CLOEXEC, 0);
	gone = fd >= 0 && bind(fd, (struct sockaddr *)&a, len) != 0 && errno == EADDRNOTAVAIL;
	if (fd >= 0)
		evutil_closesocket(fd);
	return gone;
}

/* ---- liveness ---- */

/* Takes the kernel's round trip. On a slow link one record takes long: what the other
 * kernel acknowledges counts as movement too, until it has all that is waited for. */
static void
ask_kernel(struct direct *d, uint64_t now)
{
	struct tcp_info info = { 0 };
	socklen_t len = sizeof(info);

	if (getsockopt(d->fd, IPPROTO_TCP, TCP_INFO, &info, &len) != 0)
		return;
	d->rtt_ms = (info.tcpi_rtt + 999) / 1000;
	if (info.tcpi_bytes_acked != d->kernel_acked && d->kernel_acked < d->due)
		d->acked_ms = now;
	d->kernel_acked = info.tcpi_bytes_acked;
}

/* Notes what has moved since it was last called. */
static void
note_progress(struct direct *d, uint64_t now)
{
	uint64_t sum = d->s->direct.next + stream_rx_received(&d->s->rx);
	bool waits = session_direct_unacked(d->s);

	if (d->s->tx.base != d->base || !waits || !d->waits) {
		d->acked_ms = now;
		d->due = d->sent + d->out_part.n;
	}
	if (sum != d->moved_sum) {
		d->data_ms = now;
		d->ping_ms = 0;
	}
	d->waits = waits;
	d->base = d->s->tx.base;
	d->moved_sum = sum;
}

/* Ends it if it is silent, PINGs if it is idle; returns when to look again, in ms. */
static uint64_t
check_alive(struct direct *d, uint64_t now)
{
	uint64_t patience = 4 * (uint64_t)d->rtt_ms > STALL_MS ? 4 * (uint64_t)d->rtt_ms : STALL_MS;
	uint64_t idle = now - d->data_ms, moved, next_ping;

	if (session_direct_unacked(d->s)) {
		/* While records come, an acknowledgement may be on its way behind them. */
		moved = d->heard_ms > d->acked_ms ? d->heard_ms : d->acked_ms;
		if (now - moved >= patience)
			die(d, DIRECT_SILENT);
		return moved + patience - now < LOOK_MS ? moved + patience - now : LOOK_MS;
	}
	if (d->s->role == SESSION_SERVER) {
		if (now - d->heard_ms >= DEAF_MS)
			die(d, DIRECT_SILENT);
		return d->heard_ms + DEAF_MS - now;
	}
	if (d->closed_ms != 0) {
		/* Nothing may be sent behind CLOSE; where it is not answered, there is OOB. */
		if (now - d->closed_ms >= patience)
			die(d, DIRECT_SILENT);
		return d->closed_ms + patience - now;
	}
	if (d->ping_ms != 0 && d->heard_ms < d->ping_ms) {
		if (now - d->ping_ms >= patience)
			die(d, DIRECT_SILENT);
		return d->ping_ms + patience - now;
	}
	next_ping = d->ping_ms == 0 ? FIRST_PING_MS - (idle < FIRST_PING_MS ? idle : FIRST_PING_MS) :
	    PING_MS - (now - d->ping_ms < PING_MS ? now - d->ping_ms : PING_MS);
	if (next_ping > 0)
		return next_ping;
	d->ping_ms = now;
	session_ping(d->s, now);
	return patience;
}

static void
watch_again(struct direct *d, uint64_t ms)
{
	/* An early look costs little; data that starts to move needs one. */
	if (ms > PING_MS)
		ms = PING_MS;
	event_add(d->watch, &(struct timeval){ .tv_sec = (time_t)(ms / 1000),
	    .tv_usec = (suseconds_t)(ms % 1000 * 1000 + 1000) });
}

static void
on_watch(evutil_socket_t fd, short what, void *arg)
{
	struct direct *d = arg;
	uint64_t now = local_now(), next;

	(void)fd;
	(void)what;
	ask_kernel(d, now);
	note_progress(d, now);
	next = check_alive(d, now);
	d->watching = next <= LOOK_MS;
	if (d->dead == DIRECT_ALIVE)
		watch_again(d, next);
	d->moved(d->arg);
}

static void
on_event(evutil_socket_t fd, short what, void *arg)
{
	struct direct *d = arg;

	(void)fd;
	if ((what & EV_READ) != 0)
		read_some(d);
	d->moved(d->arg); /* which flushes, or frees a dead one */
}

static void
on_ack(evutil_socket_t fd, short what, void *arg)
{
	struct direct *d = arg;

	(void)fd;
	(void)what;
	session_ack_now(d->s);
	d->moved(d->arg);
}

static void
set(evutil_socket_t fd, int level, int option, int value)
{
	setsockopt(fd, level, option, &value, sizeof(value));
}

static void
socket_options(evutil_socket_t fd)
{
	set(fd, IPPROTO_TCP, TCP_NODELAY, 1);
	/* A deep queue in the kernel would delay acknowledgements, and all of it
	 * would have to be sent again after a reset. */
	set(fd, IPPROTO_TCP, TCP_NOTSENT_LOWAT, UNSENT_MAX);
	/* The peer always reads, so bytes that stay unacknowledged mean a dead path. */
	set(fd, IPPROTO_TCP, TCP_USER_TIMEOUT, USER_TIMEOUT_MS);
}

struct direct *
direct_new(struct event_base *base, evutil_socket_t fd, struct session *s,
    const struct noise_epoch *keys, const struct pad_scheme *pad, void (*moved)(void *arg), void *arg)
{
	struct direct *d = mem_zalloc(sizeof(*d));
	bool client = s->role == SESSION_CLIENT;

	d->fd = fd;
	d->s = s;
	d->pad = pad;
	d->moved = moved;
	d->arg = arg;
	d->hello = client;
	memcpy(d->tag, keys->tag, EPOCH_TAG);
	memcpy(d->out.key, client ? keys->up : keys->down, AEAD_KEY);
	memcpy(d->in.key, client ? keys->down : keys->up, AEAD_KEY);
	d->in.n = client ? 0 : 1;
	socket_options(fd);
	d->rd = event_new(base, fd, EV_READ | EV_PERSIST, on_event, d);
	d->wr = event_new(base, fd, EV_WRITE, on_event, d);
	d->ack = evtimer_new(base, on_ack, d);
	d->watch = evtimer_new(base, on_watch, d);
	if (d->rd == NULL || d->wr == NULL || d->ack == NULL || d->watch == NULL)
		abort();
	event_add(d->rd, NULL);
	d->heard_ms = d->data_ms = d->acked_ms = local_now();
	d->base = s->tx.base;
	ask_kernel(d, d->acked_ms);
	d->sent = d->kernel_acked; /* which counts the SYN, where it was ours */
	d->watching = true;
	watch_again(d, LOOK_MS);
	return d;
}

void
direct_free(struct direct *d)
{
	if (d == NULL)
		return;
	event_free(d->rd);
	event_free(d->wr);
	event_free(d->ack);
	event_free(d->watch);
	evutil_closesocket(d->fd);
	mem_wipe(&d->out, sizeof(d->out));
	mem_wipe(&d->in, sizeof(d->in));
	buffer_clear(&d->in_part);
	buffer_clear(&d->out_part);
	free(d);
}
