#include "common/message.h"

#include <arpa/inet.h>
#include <assert.h>
#include <jansson.h>
#include <stdlib.h>
#include <string.h>

#include "common/mem.h"
#include "common/noise.h"

#define HEADER_MAX 65535
#define PAD_BLOCK 512
#define TIME_MAX (INT64_MAX / 2) /* leaves room to calculate with it */

/* ---- closed tables ---- */

static const struct {
	const char *name;
	uint8_t socks;
} errors[ERR_COUNT] = {
	[ERR_NONE] = { "none", 0 },
	[ERR_BAD_REQUEST] = { "bad_request", 1 },
	[ERR_CLOCK_SKEW] = { "clock_skew", 1 },
	[ERR_BUSY] = { "busy", 1 },
	[ERR_TARGET_REFUSED] = { "target_refused", 5 },
	[ERR_TARGET_UNREACHABLE] = { "target_unreachable", 4 },
	[ERR_NETWORK_UNREACHABLE] = { "network_unreachable", 3 },
	[ERR_TARGET_TIMEOUT] = { "target_timeout", 6 },
	[ERR_TARGET_DENIED] = { "target_denied", 2 },
	[ERR_DNS_FAILED] = { "dns_failed", 4 },
	[ERR_TARGET_FAILED] = { "target_failed", 1 },
	[ERR_UNSUPPORTED] = { "unsupported", 1 },
	[ERR_UNAUTHORIZED] = { "unauthorized", 1 },
	[ERR_QUOTA] = { "quota", 1 },
};

static const char *const closes[] = { NULL, "done", "reset", "error" };

const char *
msg_error_name(enum msg_error e)
{
	return errors[e].name;
}

uint8_t
msg_error_socks(enum msg_error e)
{
	return errors[e].socks;
}

const char *
close_code_name(enum close_code c)
{
	return c == CLOSE_NONE ? "none" : closes[c];
}

/* ---- typed access; each fails on a missing key or another type ---- */

static bool
get_int(const json_t *o, const char *key, int64_t min, int64_t max, int64_t *v)
{
	const json_t *j = json_object_get(o, key);

	if (!json_is_integer(j))
		return false;
	*v = json_integer_value(j);
	return *v >= min && *v <= max;
}

static bool
get_u64(const json_t *o, const char *key, uint64_t *v)
{
	int64_t x;

	if (!get_int(o, key, 0, INT64_MAX / 2, &x))
		return false;
	*v = (uint64_t)x;
	return true;
}

static bool
get_u32(const json_t *o, const char *key, uint32_t max, uint32_t *v)
{
	int64_t x;

	if (!get_int(o, key, 0, max, &x))
		return false;
	*v = (uint32_t)x;
	return true;
}

static bool
get_port(const json_t *o, uint16_t *v)
{
	int64_t x;

	if (!get_int(o, "port", 1, 65535, &x))
		return false;
	*v = (uint16_t)x;
	return true;
}

static bool
get_bool(const json_t *o, const char *key, bool *v)
{
	const json_t *j = json_object_get(o, key);

	*v = json_is_true(j);
	return json_is_boolean(j);
}

/* Copies a string of 1 to cap - 1 bytes of printable ASCII: most of them are logged. */
static bool
get_string(const json_t *o, const char *key, char *out, size_t cap)
{
	const json_t *j = json_object_get(o, key);
	const char *text = json_string_value(j);
	size_t n = json_string_length(j);

	if (n == 0 || n >= cap)
		return false;
	for (size_t i = 0; i < n; i++)
		if (text[i] < ' ' || text[i] > '~')
			return false;
	memcpy(out, text, n + 1);
	return true;
}

/* 16 bytes in base64url: it goes into a path. */
static bool
get_session(const json_t *o, char out[MSG_SESSION_ID + 1])
{
	uint8_t raw[16];
	size_t n;

	return get_string(o, "session", out, MSG_SESSION_ID + 1) &&
	    base64url_decode(raw, sizeof(raw), &n, out, strlen(out)) && n == sizeof(raw);
}

static bool
get_pair(const json_t *o, const char *key, uint64_t *a, uint64_t *b)
{
	const json_t *j = json_object_get(o, key);
	json_int_t x = json_integer_value(json_array_get(j, 0));
	json_int_t y = json_integer_value(json_array_get(j, 1));

	if (json_array_size(j) != 2 || !json_is_integer(json_array_get(j, 0)) ||
	    !json_is_integer(json_array_get(j, 1)) || x < 0 || y < 0)
		return false;
	*a = (uint64_t)x;
	*b = (uint64_t)y;
	return true;
}

static bool
get_close(const json_t *o, enum close_code *c)
{
	const json_t *j = json_object_get(o, "close");

	*c = CLOSE_NONE;
	if (json_is_null(j))
		return true;
	for (int i = CLOSE_DONE; i <= CLOSE_ERROR; i++)
		if (json_is_string(j) && strcmp(json_string_value(j), closes[i]) == 0)
			*c = (enum close_code)i;
	return *c != CLOSE_NONE;
}

static bool
get_address(const json_t *o, struct msg_address *a)
{
	uint8_t ip[16];

	return get_string(o, "address", a->address, sizeof(a->address)) && get_port(o, &a->port) &&
	    (inet_pton(AF_INET, a->address, ip) == 1 || inet_pton(AF_INET6, a->address, ip) == 1);
}

static json_t *
close_json(enum close_code c)
{
	return c == CLOSE_NONE ? json_null() : json_string(closes[c]);
}

static json_t *
address_json(const struct msg_address *a)
{
	return json_pack("{s:s, s:i}", "address", a->address, "port", (int)a->port);
}

static void
set(json_t *o, const char *key, json_t *value)
{
	if (json_object_set_new(o, key, value) != 0)
		abort(); /* out of memory, or not UTF-8, which would be ours */
}

/* ---- plaintexts ---- */

/* Writes length | header with its pad | data: whole blocks of PAD_BLOCK, at least
 * two, and up to two more by chance. Takes the header. */
static void
put_plain(struct buffer *out, json_t *header, const uint8_t *data, size_t n)
{
	static const char overhead[] = ",\"pad\":\"\"";
	size_t plain, want;
	uint8_t len[2];
	char *pad, *text;

	assert(header != NULL);
	plain = 2 + json_dumpb(header, NULL, 0, JSON_COMPACT) + sizeof(overhead) - 1 + n;
	want = (plain / PAD_BLOCK + 1) * PAD_BLOCK;
	if (want < 2 * PAD_BLOCK)
		want = 2 * PAD_BLOCK;
	want += mem_random_below(3) * PAD_BLOCK;
	pad = mem_alloc(want - plain + 1);
	memset(pad, '0', want - plain);
	pad[want - plain] = '\0';
	set(header, "pad", json_string(pad));
	text = json_dumps(header, JSON_COMPACT);
	assert(text != NULL && strlen(text) <= HEADER_MAX);
	len[0] = (uint8_t)(strlen(text) >> 8);
	len[1] = (uint8_t)strlen(text);
	buffer_add(out, len, 2);
	buffer_add(out, text, strlen(text));
	if (n > 0)
		buffer_add(out, data, n);
	free(text);
	free(pad);
	json_decref(header);
}

static json_t *
get_plain(const uint8_t *p, size_t n, size_t max_data, const uint8_t **data, size_t *data_n)
{
	struct reader r = reader_of(p, n), text;

	if (!reader_vec16(&r, &text) || r.n > max_data)
		return NULL;
	*data = r.p;
	*data_n = r.n;
	return json_loadb((const char *)text.p, text.n, JSON_REJECT_DUPLICATES, NULL);
}

/* ---- requests ---- */

static json_t *
with_token(json_t *o, const struct msg_request *m)
{
	if (m->token[0] != '\0')
		set(o, "token", json_string(m->token));
	return o;
}

static json_t *
request_json(const struct msg_request *m)
{
	switch (m->op) {
	case OP_OPEN: {
		json_t *o = json_pack("{s:s, s:I, s:I}", "op", "open", "time", (json_int_t)m->time,
		    "up", (json_int_t)m->up);

		if (m->host[0] != '\0')
			set(o, "target", json_pack("{s:s, s:i}", "host", m->host, "port",
			    (int)m->port));
		return with_token(o, m);
	}
	case OP_STATUS:
		return json_pack("{s:s, s:I, s:s}", "op", "status", "time", (json_int_t)m->time,
		    "session", m->session);
	case OP_RESOLVE:
		return with_token(json_pack("{s:s, s:I, s:s}", "op", "resolve", "time",
		    (json_int_t)m->time, "host", m->host), m);
	case OP_EXCHANGE:
		break;
	}
	return json_pack("{s:s, s:I, s:b, s:I, s:b, s:[I, I], s:I, s:I, s:o}", "op", "exchange",
	    "epoch", (json_int_t)m->epoch, "poll", m->poll, "up", (json_int_t)m->up,
	    "fin", m->fin, "down_ack", (json_int_t)m->ack_received, (json_int_t)m->ack_limit,
	    "up_limit", (json_int_t)m->up_limit, "wait_ms", (json_int_t)m->wait_ms,
	    "close", close_json(m->close));
}

void
msg_encode_request(struct buffer *out, const struct msg_request *m)
{
	put_plain(out, request_json(m), m->data, m->n);
}

static bool
get_token(struct msg_request *m, const json_t *o)
{
	return json_object_get(o, "token") == NULL ||
	    get_string(o, "token", m->token, sizeof(m->token));
}

static bool
get_open(struct msg_request *m, const json_t *o)
{
	const json_t *target = json_object_get(o, "target");

	return get_token(m, o) && get_u64(o, "up", &m->up) && m->up == 0 &&
	    (target == NULL || (get_string(target, "host", m->host, sizeof(m->host)) &&
	    get_port(target, &m->port)));
}

static bool
get_one_shot(struct msg_request *m, const json_t *o)
{
	const char *op = json_string_value(json_object_get(o, "op"));

	if (op == NULL || !get_int(o, "time", 0, TIME_MAX, &m->time))
		return false;
	if (strcmp(op, "open") == 0) {
		m->op = OP_OPEN;
		return get_open(m, o);
	}
	if (strcmp(op, "status") == 0) {
		m->op = OP_STATUS;
		return m->n == 0 && get_session(o, m->session);
	}
	m->op = OP_RESOLVE;
	return strcmp(op, "resolve") == 0 && m->n == 0 && get_token(m, o) &&
	    get_string(o, "host", m->host, sizeof(m->host));
}

static bool
get_exchange(struct msg_request *m, const json_t *o)
{
	const char *op = json_string_value(json_object_get(o, "op"));

	m->op = OP_EXCHANGE;
	return op != NULL && strcmp(op, "exchange") == 0 &&
	    get_u32(o, "epoch", UINT32_MAX / 2, &m->epoch) && get_bool(o, "poll", &m->poll) &&
	    get_u64(o, "up", &m->up) && get_bool(o, "fin", &m->fin) &&
	    get_pair(o, "down_ack", &m->ack_received, &m->ack_limit) &&
	    get_u64(o, "up_limit", &m->up_limit) && get_u32(o, "wait_ms", 60000, &m->wait_ms) &&
	    get_close(o, &m->close);
}

bool
msg_decode_request(struct msg_request *m, const uint8_t *p, size_t n, bool exchange)
{
	json_t *o;
	bool ok;

	*m = (struct msg_request){ 0 };
	o = get_plain(p, n, exchange ? MSG_EXCHANGE_DATA : MSG_OPEN_DATA, &m->data, &m->n);
	ok = o != NULL && (exchange ? get_exchange(m, o) : get_one_shot(m, o));
	json_decref(o);
	return ok;
}

/* ---- replies ---- */

static json_t *
opened_json(const struct msg_reply *m)
{
	json_t *o = json_pack("{s:s, s:[I, I], s:I, s:b, s:I, s:[]}", "session", m->session,
	    "up_ack", (json_int_t)m->ack_received, (json_int_t)m->ack_limit,
	    "down", (json_int_t)m->down, "fin", m->fin, "retain_s", (json_int_t)m->retain_s,
	    "direct");

	if (m->target.address[0] != '\0')
		set(o, "target", address_json(&m->target));
	for (unsigned i = 0; i < m->n_direct; i++)
		json_array_append_new(json_object_get(o, "direct"), address_json(&m->direct[i]));
	return o;
}

static json_t *
resolved_json(const struct msg_reply *m)
{
	json_t *o = json_pack("{s:I, s:[]}", "ttl", (json_int_t)m->ttl, "addresses");

	for (unsigned i = 0; i < m->n_addresses; i++)
		json_array_append_new(json_object_get(o, "addresses"), json_string(m->addresses[i]));
	return o;
}

static json_t *
error_json(const struct msg_reply *m)
{
	json_t *o = json_pack("{s:{s:s, s:s}}", "error", "code", msg_error_name(m->error),
	    "message", m->message);

	if (m->error == ERR_CLOCK_SKEW)
		set(o, "time", json_integer((json_int_t)m->time));
	return o;
}

static json_t *
reply_json(const struct msg_reply *m)
{
	switch (m->op) {
	case REPLY_OPENED:
		return opened_json(m);
	case REPLY_RESOLVED:
		return resolved_json(m);
	case REPLY_STATUS:
		return json_pack("{s:b}", "alive", m->alive);
	case REPLY_ERROR:
		return error_json(m);
	case REPLY_EXCHANGED:
		break;
	}
	return json_pack("{s:I, s:[I, I], s:I, s:b, s:o}", "re", (json_int_t)m->re, "up_ack",
	    (json_int_t)m->ack_received, (json_int_t)m->ack_limit, "down", (json_int_t)m->down,
	    "fin", m->fin, "close", close_json(m->close));
}

void
msg_encode_reply(struct buffer *out, const struct msg_reply *m)
{
	put_plain(out, reply_json(m), m->data, m->n);
}

static bool
get_opened(struct msg_reply *m, const json_t *o)
{
	const json_t *direct = json_object_get(o, "direct"), *target = json_object_get(o, "target");

	m->op = REPLY_OPENED;
	m->n_direct = (unsigned)json_array_size(direct);
	if (!json_is_array(direct) || m->n_direct > MSG_ADDRESSES ||
	    (target != NULL && !get_address(target, &m->target)))
		return false;
	for (unsigned i = 0; i < m->n_direct; i++)
		if (!get_address(json_array_get(direct, i), &m->direct[i]))
			return false;
	return get_session(o, m->session) && get_bool(o, "fin", &m->fin) &&
	    get_pair(o, "up_ack", &m->ack_received, &m->ack_limit) && get_u64(o, "down", &m->down) &&
	    get_u32(o, "retain_s", 86400, &m->retain_s) && m->n <= MSG_OPEN_DATA;
}

static bool
get_exchanged(struct msg_reply *m, const json_t *o)
{
	m->op = REPLY_EXCHANGED;
	return get_u64(o, "re", &m->re) && get_pair(o, "up_ack", &m->ack_received, &m->ack_limit) &&
	    get_u64(o, "down", &m->down) && get_bool(o, "fin", &m->fin) && get_close(o, &m->close);
}

static bool
get_resolved(struct msg_reply *m, const json_t *o)
{
	const json_t *list = json_object_get(o, "addresses");
	uint8_t ip[16];

	m->op = REPLY_RESOLVED;
	m->n_addresses = (unsigned)json_array_size(list);
	if (!json_is_array(list) || m->n_addresses > MSG_RESOLVED)
		return false;
	for (unsigned i = 0; i < m->n_addresses; i++) {
		const char *s = json_string_value(json_array_get(list, i));

		if (s == NULL || (inet_pton(AF_INET, s, ip) != 1 && inet_pton(AF_INET6, s, ip) != 1))
			return false;
		memcpy(m->addresses[i], s, strlen(s) + 1);
	}
	return get_u32(o, "ttl", 86400, &m->ttl);
}

static bool
get_error(struct msg_reply *m, const json_t *o)
{
	const json_t *e = json_object_get(o, "error");
	const char *code = json_string_value(json_object_get(e, "code"));
	const char *message = json_string_value(json_object_get(e, "message"));

	m->op = REPLY_ERROR;
	m->error = ERR_TARGET_FAILED; /* a code that a newer server may have */
	for (int i = ERR_NONE + 1; i < ERR_COUNT; i++)
		if (code != NULL && strcmp(code, errors[i].name) == 0)
			m->error = (enum msg_error)i;
	if (code == NULL || message == NULL)
		return false;
	for (size_t i = 0; message[i] != '\0' && i + 1 < sizeof(m->message); i++)
		m->message[i] = message[i] < ' ' || message[i] > '~' ? '?' : message[i];
	return m->error != ERR_CLOCK_SKEW || get_int(o, "time", 0, TIME_MAX, &m->time);
}

bool
msg_decode_reply(struct msg_reply *m, const uint8_t *p, size_t n)
{
	json_t *o;
	bool ok;

	*m = (struct msg_reply){ 0 };
	o = get_plain(p, n, MSG_EXCHANGE_DATA, &m->data, &m->n);
	if (json_object_get(o, "error") != NULL)
		ok = get_error(m, o);
	else if (json_object_get(o, "session") != NULL)
		ok = get_opened(m, o);
	else if (json_object_get(o, "re") != NULL)
		ok = get_exchanged(m, o);
	else if (json_object_get(o, "addresses") != NULL)
		ok = get_resolved(m, o);
	else {
		m->op = REPLY_STATUS;
		ok = get_bool(o, "alive", &m->alive);
	}
	json_decref(o);
	return ok && (m->op == REPLY_OPENED || m->op == REPLY_EXCHANGED || m->n == 0);
}

/* ---- outer JSON: flat, so written by hand and read by jansson ---- */

static char *
wrap(char *head, const uint8_t *p, size_t n, size_t *len)
{
	size_t start = strlen(head);
	char *s = mem_realloc(head, start + BASE64URL_LEN(n) + 3);

	base64url_encode(s + start, p, n);
	memcpy(s + start + BASE64URL_LEN(n), "\"}", 3);
	*len = start + BASE64URL_LEN(n) + 2;
	return s;
}

char *
msg_wrap_noise(bool request, const uint8_t *p, size_t n, size_t *len)
{
	return wrap(mem_strdup(request ? "{\"v\":1,\"noise\":\"" : "{\"noise\":\""), p, n, len);
}

char *
msg_wrap_box(bool request, uint64_t counter, const uint8_t *p, size_t n, size_t *len)
{
	return wrap(mem_printf("{%s\"n\":%llu,\"box\":\"", request ? "\"v\":1," : "",
	    (unsigned long long)counter), p, n, len);
}

static bool
unwrap(bool request, const char *s, size_t len, const char *key, uint64_t *counter,
    struct buffer *out)
{
	json_t *o = len > MSG_BODY_MAX ? NULL : json_loadb(s, len, JSON_REJECT_DUPLICATES, NULL);
	const json_t *text = json_object_get(o, key);
	size_t n = json_string_length(text), got;
	int64_t v;
	bool ok;

	ok = n > 0 && (!request || get_int(o, "v", 1, 1, &v)) &&
	    (counter == NULL || get_u64(o, "n", counter)) &&
	    base64url_decode(buffer_space(out, n), n, &got, json_string_value(text), n);
	if (ok)
		buffer_add(out, NULL, got);
	json_decref(o);
	return ok;
}

bool
msg_unwrap_noise(bool request, const char *s, size_t len, struct buffer *out)
{
	return unwrap(request, s, len, "noise", NULL, out);
}

bool
msg_unwrap_box(bool request, const char *s, size_t len, uint64_t *counter, struct buffer *out)
{
	return unwrap(request, s, len, "box", counter, out);
}

void
msg_base_path(char out[MSG_PATH_LEN + 1], const uint8_t server_public[32])
{
	static const char label[] = "sultry path v1";
	uint8_t hash[32];
	char text[BASE64URL_LEN(32) + 1];

	noise_sha256(hash, label, sizeof(label) - 1, server_public, 32);
	base64url_encode(text, hash, sizeof(hash));
	out[0] = '/';
	memcpy(out + 1, text, MSG_PATH_LEN - 1);
	out[MSG_PATH_LEN] = '\0';
}

bool
msg_base_ok(const char *base)
{
	static const char good[] = "ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz"
	    "0123456789-._~/";
	size_t n = strlen(base);

	return n <= MSG_BASE_MAX && base[0] == '/' && base[n - 1] != '/' && base[strspn(base, good)] == '\0';
}

bool
msg_token_ok(const char *token)
{
	size_t n = strlen(token);

	for (size_t i = 0; i < n; i++)
		if (token[i] < ' ' || token[i] > '~')
			return false;
	return n >= MSG_TOKEN_MIN && n <= MSG_TOKEN_MAX;
}
