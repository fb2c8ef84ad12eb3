#include "common/tls_record.h"

#include <assert.h>

#define MESSAGE_HEADER 4 /* type (1) length (3) */

static enum tls_event
fail(struct tls_record *r)
{
	tls_record_clear(r);
	r->bad = true;
	return TLS_BAD;
}

/* Whether the byte just added to the header can stand there. */
static bool
header_fits(const struct tls_record *r)
{
	uint8_t type = r->header[0];

	switch (r->have) {
	case 1:
		if (r->message.n > 0 && type != TLS_HANDSHAKE && type != TLS_ALERT)
			return false;
		return type >= TLS_CHANGE_CIPHER_SPEC && type <= TLS_APPLICATION_DATA;
	case 2:
		return r->header[1] == 3;
	case TLS_RECORD_HEADER:
		if (r->left == 0)
			return type == TLS_APPLICATION_DATA;
		if (type == TLS_CHANGE_CIPHER_SPEC && !r->sealed)
			return r->left == 1;
		return r->left <= TLS_RECORD_BODY_MAX;
	default:
		return true;
	}
}

static enum tls_event
read_header(struct tls_record *r, struct reader *in)
{
	while (r->have < TLS_RECORD_HEADER) {
		if (!reader_u8(in, &r->header[r->have]))
			return TLS_MORE;
		if (++r->have == TLS_RECORD_HEADER)
			r->left = (size_t)(r->header[3] << 8 | r->header[4]);
		if (!header_fits(r))
			return fail(r);
	}
	r->told = true;
	return TLS_RECORD;
}

/* The length of the message that is held, its header included; that of the
 * header itself while it is not complete. */
static size_t
message_length(const struct tls_record *r)
{
	struct reader m = reader_of(buffer_data(&r->message), r->message.n);
	uint32_t n;

	if (!reader_skip(&m, 1) || !reader_u24(&m, &n))
		return MESSAGE_HEADER;
	return MESSAGE_HEADER + (size_t)n;
}

/* Takes no byte beyond the message, so that what is held is bounded by it. */
static enum tls_event
read_handshake(struct tls_record *r, struct reader *in, struct reader *message)
{
	size_t want;

	while ((want = message_length(r)) > r->message.n) {
		struct reader part;
		size_t n = want - r->message.n;

		if (want > TLS_HANDSHAKE_MAX)
			return fail(r);
		if (r->left == 0)
			return TLS_MORE;
		n = n < r->left ? n : r->left;
		n = n < in->n ? n : in->n;
		if (n == 0)
			return TLS_MORE;
		reader_sub(in, &part, n);
		buffer_add(&r->message, part.p, n);
		r->left -= n;
	}
	r->handed = true;
	*message = reader_of(buffer_data(&r->message), r->message.n);
	return TLS_MESSAGE;
}

static enum tls_event
read_body(struct tls_record *r, struct reader *in)
{
	size_t n = in->n < r->left ? in->n : r->left;

	if (!r->sealed && r->header[0] == TLS_CHANGE_CIPHER_SPEC && n > 0 && in->p[0] != 1)
		return fail(r);
	reader_skip(in, n);
	r->left -= n;
	return TLS_MORE;
}

enum tls_event
tls_record_next(struct tls_record *r, struct reader *in, struct reader *message)
{
	enum tls_event event;

	if (r->bad)
		return TLS_BAD;
	if (r->handed) {
		r->handed = false;
		buffer_clear(&r->message);
	}
	if (!r->told)
		return read_header(r, in);
	if (r->left > 0) {
		if (r->header[0] == TLS_HANDSHAKE && !r->sealed)
			event = read_handshake(r, in, message);
		else
			event = read_body(r, in);
		if (event != TLS_MORE || r->left > 0)
			return event;
	}
	r->told = false;
	r->have = 0;
	return TLS_RECORD_END;
}

void
tls_record_seal(struct tls_record *r)
{
	assert(r->have == 0 && r->message.n == 0);
	r->sealed = true;
}

int
tls_record_open(const struct tls_record *r)
{
	return r->have > 0 ? r->header[0] : 0;
}

bool
tls_record_partial(const struct tls_record *r)
{
	return r->message.n > 0 && !r->handed;
}

void
tls_record_clear(struct tls_record *r)
{
	buffer_clear(&r->message);
	*r = (struct tls_record){ 0 };
}
