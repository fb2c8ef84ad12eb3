#include "common/tls_tracker.h"

#include <stdlib.h>
#include <string.h>

#include "common/mem.h"
#include "common/tls_hello.h"
#include "common/tls_record.h"

enum flight { FLIGHT_NONE, FLIGHT_QUIET, FLIGHT_EXACT };

struct tls_tracker {
	enum tls_kind kind;
	enum flight flight;
	uint8_t start;        /* how many of the first two bytes up have come */
	uint8_t hellos;       /* ClientHellos seen, at most 2 */
	bool server_hello;    /* one that is not a HelloRetryRequest was seen */
	bool early;           /* records that only TLS 1.3 knows came before it */
	bool full_handshake;  /* ServerHelloDone was seen (TLS 1.2) */
	bool encrypted[2];
	struct tls_record records[2];
	struct tls_info info;
};

struct tls_tracker *
tls_tracker_new(void)
{
	return mem_zalloc(sizeof(struct tls_tracker));
}

static void
drop_buffers(struct tls_tracker *t)
{
	tls_record_clear(&t->records[TLS_UP]);
	tls_record_clear(&t->records[TLS_DOWN]);
}

void
tls_tracker_free(struct tls_tracker *t)
{
	if (t == NULL)
		return;
	drop_buffers(t);
	free(t);
}

static void
raise_flight(struct tls_tracker *t, enum flight flight)
{
	if (t->flight < flight)
		t->flight = flight;
}

static bool
is_tls13(const struct tls_tracker *t)
{
	return t->info.version == TLS_1_3;
}

/* A view as a string, if it is all printable and fits; else out stays as it is. */
static bool
copy_printable(char *out, size_t cap, struct reader r)
{
	if (r.n >= cap)
		return false;
	for (size_t i = 0; i < r.n; i++) {
		if (r.p[i] <= ' ' || r.p[i] > '~')
			return false;
	}
	if (r.n > 0)
		memcpy(out, r.p, r.n);
	out[r.n] = '\0';
	return true;
}

static void
copy_alpn(struct tls_info *info, struct reader names)
{
	struct reader name;
	size_t n = 0;

	info->alpn[0] = '\0';
	while (reader_vec8(&names, &name)) {
		size_t comma = n > 0;

		if (n + comma + name.n >= sizeof(info->alpn))
			return;
		if (!copy_printable(info->alpn + n + comma, sizeof(info->alpn) - n - comma, name))
			continue;
		if (comma)
			info->alpn[n] = ',';
		n += comma + name.n;
	}
}

static bool
on_client_hello(struct tls_tracker *t, struct reader message)
{
	struct tls_client_hello h;

	/* A second one only answers a HelloRetryRequest. */
	if (t->server_hello || t->hellos != (t->info.hello_retry ? 1 : 0) ||
	    !tls_client_hello_parse(&h, message))
		return false;
	t->hellos++;
	t->info.sni[0] = '\0';
	copy_printable(t->info.sni, sizeof(t->info.sni), h.sni);
	copy_alpn(&t->info, h.alpn);
	t->info.ech = t->info.ech || h.ech;
	t->info.early_data = t->info.early_data || h.early_data;
	t->info.client_psk = t->info.client_psk || h.psk;
	return true;
}

static bool
on_server_hello(struct tls_tracker *t, struct reader message)
{
	struct tls_server_hello h;
	bool retried = t->info.hello_retry;

	if (t->server_hello || t->hellos != (retried ? 2 : 1) ||
	    !tls_server_hello_parse(&h, message))
		return false;
	t->info.version = h.version;
	t->info.cipher = h.cipher;
	if (is_tls13(t))
		raise_flight(t, FLIGHT_QUIET);
	if (h.hello_retry) {
		t->info.hello_retry = true;
		return !retried;
	}
	t->server_hello = true;
	if (!is_tls13(t)) {
		if (h.alpn.n > 0) {
			t->info.alpn[0] = '\0';
			copy_printable(t->info.alpn, sizeof(t->info.alpn), h.alpn);
		}
		return !retried && !t->early;
	}
	t->info.resumed = h.psk;
	/* Keys change here, so the record must end here (RFC 8446 section 5.1). */
	if (t->records[TLS_DOWN].left > 0)
		return false;
	t->encrypted[TLS_DOWN] = true;
	return true;
}

static bool
on_message(struct tls_tracker *t, enum tls_dir dir, struct reader message)
{
	uint8_t type = message.p[0];

	if (type == TLS_CLIENT_HELLO)
		return dir == TLS_UP && on_client_hello(t, message);
	if (type == TLS_SERVER_HELLO)
		return dir == TLS_DOWN && on_server_hello(t, message);
	/* Every other message is plaintext in TLS 1.2 only. */
	if (!t->server_hello || is_tls13(t))
		return false;
	if (dir == TLS_UP && type == TLS_CERTIFICATE && message.n > 4 + 3)
		t->info.client_cert = true;
	if (dir == TLS_DOWN && type == TLS_NEW_SESSION_TICKET)
		t->info.new_session_ticket12 = true;
	if (dir == TLS_DOWN && type == TLS_SERVER_HELLO_DONE) {
		t->full_handshake = true;
		raise_flight(t, FLIGHT_EXACT);
	}
	return true;
}

/* Whether a record of this type may begin here. */
static bool
on_record(struct tls_tracker *t, enum tls_dir dir, int type)
{
	/* RFC 8446 section 5: a ChangeCipherSpec may come after the first hello. */
	bool answered = t->server_hello || t->info.hello_retry;

	if (t->encrypted[dir])
		return true;
	switch (type) {
	case TLS_CHANGE_CIPHER_SPEC:
		if (!t->server_hello)
			t->early = true;
		return dir == TLS_UP ? t->hellos > 0 : answered;
	case TLS_APPLICATION_DATA: /* early data */
		t->early = true;
		return dir == TLS_UP && !t->server_hello && t->hellos > 0 && t->info.early_data;
	default:
		return true;
	}
}

static void
on_record_end(struct tls_tracker *t, enum tls_dir dir, int type)
{
	if (t->encrypted[dir]) {
		/* The first record behind the server's ChangeCipherSpec is its Finished. */
		if (dir == TLS_DOWN && !is_tls13(t))
			raise_flight(t, FLIGHT_EXACT);
		return;
	}
	if (type == TLS_ALERT && dir == TLS_DOWN)
		raise_flight(t, FLIGHT_QUIET);
	if (type == TLS_CHANGE_CIPHER_SPEC && t->server_hello && !is_tls13(t)) {
		t->encrypted[dir] = true;
		tls_record_seal(&t->records[dir]);
		if (dir == TLS_DOWN)
			t->info.resumed = !t->full_handshake;
	}
}

/* TLS 1.3: up is encrypted from the ServerHello on, but a plaintext record that has
 * begun by then must end first. */
static void
settle_up(struct tls_tracker *t)
{
	const struct tls_record *up = &t->records[TLS_UP];
	int open = tls_record_open(up);

	if (t->server_hello && is_tls13(t) && !tls_record_partial(up) &&
	    (open == 0 || open == TLS_APPLICATION_DATA))
		t->encrypted[TLS_UP] = true;
}

static bool
on_event(struct tls_tracker *t, enum tls_dir dir, enum tls_event event, struct reader message)
{
	int type = t->records[dir].header[0];

	switch (event) {
	case TLS_RECORD:
		return on_record(t, dir, type);
	case TLS_MESSAGE:
		return on_message(t, dir, message);
	case TLS_RECORD_END:
		on_record_end(t, dir, type);
		return true;
	default:
		return false;
	}
}

/* The first two bytes up decide. */
static void
decide(struct tls_tracker *t, enum tls_dir dir, const uint8_t *p, size_t n)
{
	static const uint8_t start[2] = { TLS_HANDSHAKE, 3 };

	for (size_t i = 0; i < n && t->kind == TLS_UNDECIDED; i++) {
		if (dir == TLS_DOWN || p[i] != start[t->start])
			t->kind = TLS_NOT;
		else if (++t->start == sizeof(start))
			t->kind = TLS_YES;
	}
}

void
tls_tracker_feed(struct tls_tracker *t, enum tls_dir dir, const uint8_t *p, size_t n)
{
	struct reader in = reader_of(p, n), message = { NULL, 0 };
	enum tls_event event;

	decide(t, dir, p, n);
	while (!tls_tracker_final(t) &&
	    (event = tls_record_next(&t->records[dir], &in, &message)) != TLS_MORE) {
		if (on_event(t, dir, event, message))
			settle_up(t);
		else
			t->kind = TLS_NOT;
	}
	if (tls_tracker_final(t)) {
		drop_buffers(t);
		if (t->kind == TLS_YES || (dir == TLS_DOWN && n > 0))
			raise_flight(t, FLIGHT_QUIET);
	}
}

enum tls_kind
tls_tracker_kind(const struct tls_tracker *t)
{
	return t->kind;
}

bool
tls_tracker_encrypted(const struct tls_tracker *t, enum tls_dir dir)
{
	return t->encrypted[dir];
}

bool
tls_tracker_final(const struct tls_tracker *t)
{
	return t->kind == TLS_NOT || (t->encrypted[TLS_UP] && t->encrypted[TLS_DOWN]);
}

bool
tls_tracker_asked(const struct tls_tracker *t)
{
	return t->hellos > 0;
}

bool
tls_tracker_first_flight(const struct tls_tracker *t)
{
	return t->flight != FLIGHT_NONE;
}

bool
tls_tracker_flight_exact(const struct tls_tracker *t)
{
	return t->flight == FLIGHT_EXACT;
}

const struct tls_info *
tls_tracker_info(const struct tls_tracker *t)
{
	return &t->info;
}
