#include "pt-client/split.h"

#include "common/tls_hello.h"

#define RECORD_PLAIN_MAX 16384 /* RFC 8446 section 5.1 */

/* ---- finding the name ---- */

/* The whole first message: does it name a host that can be cut? */
static bool
find_name(struct split *s, struct reader message)
{
	struct tls_client_hello h;

	if (!tls_client_hello_parse(&h, message) || h.sni.n < 2)
		return false;
	s->name = (size_t)(h.sni.p - message.p);
	s->name_n = h.sni.n;
	return true;
}

/* Reads on; SPLIT_CUT once the record in which the hello ends is there. */
static enum split_result
look(struct split *s, struct reader *in)
{
	struct reader message;

	for (;;) {
		switch (tls_record_next(&s->record, in, &message)) {
		case TLS_MORE:
			return SPLIT_MORE;
		case TLS_BAD:
			return SPLIT_PLAIN;
		case TLS_RECORD:
			if (tls_record_open(&s->record) != TLS_HANDSHAKE)
				return SPLIT_PLAIN;
			break;
		case TLS_MESSAGE: /* what follows the hello in its record is not looked at */
			if (s->name_n == 0 && !find_name(s, message))
				return SPLIT_PLAIN;
			break;
		case TLS_RECORD_END:
			if (s->name_n > 0)
				return SPLIT_CUT;
			break;
		}
	}
}

/* ---- cutting ---- */

/* Where to cut the handshake bytes: in the middle of each label, so that not even the part
 * of the name that belongs to its owner stays in one piece. Of a long name the end counts. */
static unsigned
choose_cuts(const uint8_t *name, size_t n, size_t cuts[SPLIT_CUTS])
{
	unsigned count = 0, i, k;
	size_t end = n, start;

	while (end > 0 && count < SPLIT_CUTS) {
		for (start = end; start > 0 && name[start - 1] != '.';)
			start--;
		if (end - start > 1)
			cuts[count++] = start + (end - start) / 2;
		end = start > 0 ? start - 1 : 0;
	}
	if (count == 0)
		cuts[count++] = n / 2;
	for (i = 0, k = count - 1; i < k; i++, k--) {
		size_t swap = cuts[i];

		cuts[i] = cuts[k];
		cuts[k] = swap;
	}
	return count;
}

/* Appends n handshake bytes as records like the first one of `like`. */
static void
put_records(struct buffer *out, const uint8_t like[TLS_RECORD_HEADER], const uint8_t *p, size_t n)
{
	while (n > 0) {
		size_t len = n < RECORD_PLAIN_MAX ? n : RECORD_PLAIN_MAX;
		const uint8_t header[TLS_RECORD_HEADER] = { like[0], like[1], like[2],
			(uint8_t)(len >> 8), (uint8_t)len };

		buffer_add(out, header, sizeof(header));
		buffer_add(out, p, len);
		p += len;
		n -= len;
	}
}

/* Rewrites the records at the front of `bytes`, but for the last `rest` bytes of it. */
static void
cut(struct split *s, size_t rest)
{
	struct reader in = reader_of(buffer_data(&s->bytes), s->bytes.n - rest), body;
	const uint8_t *like = in.p;
	struct buffer hello = { 0 }, out = { 0 };
	size_t cuts[SPLIT_CUTS], done = 0;

	while (reader_skip(&in, 3) && reader_vec16(&in, &body))
		buffer_add(&hello, body.p, body.n);
	s->n_cuts = choose_cuts(buffer_data(&hello) + s->name, s->name_n, cuts);
	for (unsigned i = 0; i < s->n_cuts; i++) {
		put_records(&out, like, buffer_data(&hello) + done, s->name + cuts[i] - done);
		done = s->name + cuts[i];
		s->cuts[i] = out.n;
	}
	put_records(&out, like, buffer_data(&hello) + done, hello.n - done);
	buffer_add(&out, buffer_data(&s->bytes) + s->bytes.n - rest, rest);
	s->rest = rest;
	buffer_clear(&hello);
	buffer_clear(&s->bytes);
	s->bytes = out;
}

enum split_result
split_feed(struct split *s, const uint8_t *p, size_t n)
{
	struct reader in = reader_of(p, n);

	buffer_add(&s->bytes, p, n);
	s->result = look(s, &in);
	/* A handshake message of another type need not end before it is let go. */
	if (s->bytes.n > TLS_RECORD_HEADER &&
	    buffer_data(&s->bytes)[TLS_RECORD_HEADER] != TLS_CLIENT_HELLO)
		s->result = SPLIT_PLAIN;
	if (s->result == SPLIT_MORE && s->bytes.n > SPLIT_HELLO_MAX)
		s->result = SPLIT_PLAIN;
	if (s->result == SPLIT_CUT)
		cut(s, in.n);
	if (s->result != SPLIT_MORE)
		tls_record_clear(&s->record);
	return s->result;
}

void
split_end(struct split *s)
{
	if (s->result == SPLIT_MORE)
		s->result = SPLIT_PLAIN;
	tls_record_clear(&s->record);
}

void
split_clear(struct split *s)
{
	buffer_clear(&s->bytes);
	tls_record_clear(&s->record);
	*s = (struct split){ 0 };
}
