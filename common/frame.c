#include "common/frame.h"

#include <string.h>

#include "common/mem.h"

static const uint8_t record_start[3] = { 0x17, 0x03, 0x03 };

size_t
record_seal(struct record_key *k, uint8_t *rec, size_t n, const uint8_t tag[EPOCH_TAG])
{
	size_t skip = tag == NULL ? 0 : EPOCH_TAG;
	uint8_t *text = rec + RECORD_HEADER + skip;
	struct writer w = writer_of(rec, RECORD_HEADER + skip);

	writer_bytes(&w, record_start, sizeof(record_start));
	writer_u16(&w, (uint16_t)(skip + n + AEAD_TAG));
	writer_bytes(&w, tag, skip);
	aead->seal(k->key, k->n++, rec, RECORD_HEADER, text, n, text);
	return RECORD_HEADER + skip + n + AEAD_TAG;
}

enum record_result
record_header(const uint8_t *p, size_t n, size_t body_max, size_t *body)
{
	struct reader r = reader_of(p, n);
	uint16_t len;

	if (memcmp(p, record_start, n < 3 ? n : 3) != 0)
		return RECORD_BAD;
	if (n > 3 && p[3] > body_max >> 8)
		return RECORD_BAD; /* the length's first byte already says so */
	if (!reader_skip(&r, 3) || !reader_u16(&r, &len))
		return RECORD_MORE;
	if (len <= AEAD_TAG || len > body_max)
		return RECORD_BAD;
	*body = len;
	return RECORD_OK;
}

enum record_result
record_open(struct record_key *k, uint8_t *rec, size_t body, bool hello, uint8_t *scratch,
    struct reader *frames)
{
	size_t skip = hello ? EPOCH_TAG : 0;
	uint8_t *text = rec + RECORD_HEADER + skip, *out = scratch != NULL ? scratch : text;

	if (body < skip + AEAD_TAG || body > RECORD_BODY_MAX)
		return RECORD_BAD;
	if (!aead->open(k->key, k->n, rec, RECORD_HEADER, text, body - skip, out))
		return RECORD_BAD;
	k->n++;
	*frames = reader_of(out, body - skip - AEAD_TAG);
	return RECORD_OK;
}

static bool
frame_body(struct reader *r, struct frame *f)
{
	switch (f->type) {
	case FRAME_HELLO:
		return reader_u64(r, &f->offset) && reader_u64(r, &f->limit) &&
		    reader_u8(r, &f->code) && reader_end(r);
	case FRAME_ACCEPT:
	case FRAME_ACK:
		return reader_u64(r, &f->offset) && reader_u64(r, &f->limit) && reader_end(r);
	case FRAME_FIN:
	case FRAME_PING:
	case FRAME_PONG:
		return reader_u64(r, &f->offset) && reader_end(r);
	case FRAME_DATA:
		if (!reader_u64(r, &f->offset) || reader_end(r))
			return false;
		f->p = r->p;
		f->n = r->n;
		return true;
	case FRAME_CLOSE:
		return reader_u8(r, &f->code) && reader_end(r);
	case FRAME_PAD:
		break;
	}
	return false;
}

bool
frame_next(struct reader *frames, struct frame *f)
{
	struct reader at = *frames, body;
	uint8_t type;

	if (!reader_u8(&at, &type))
		return false;
	*f = (struct frame){ .type = (enum frame_type)type };
	if (type == FRAME_PAD) {
		reader_skip(&at, at.n);
		*frames = at;
		return false;
	}
	if (!reader_vec16(&at, &body) || !frame_body(&body, f))
		return false;
	*frames = at;
	return true;
}

void
frame_write(struct writer *w, const struct frame *f)
{
	bool two = f->type == FRAME_HELLO || f->type == FRAME_ACCEPT || f->type == FRAME_ACK;
	bool code = f->type == FRAME_HELLO || f->type == FRAME_CLOSE;
	size_t len = (f->type == FRAME_CLOSE ? 0u : 8u) + (two ? 8u : 0u) + (code ? 1u : 0u) + f->n;

	if (writer_room(w) < FRAME_HEADER + len) {
		w->failed = true;
		return;
	}
	writer_u8(w, (uint8_t)f->type);
	writer_u16(w, (uint16_t)len);
	if (f->type != FRAME_CLOSE)
		writer_u64(w, f->offset);
	if (two)
		writer_u64(w, f->limit);
	if (code)
		writer_u8(w, f->code);
	writer_bytes(w, f->p, f->n);
}

void
pad_scheme_init(struct pad_scheme *s, const uint8_t server_public[NOISE_KEY])
{
	static const char label[] = "sultry padding v1";
	uint8_t okm[4 * PAD_FIRST + 2];
	struct reader r = reader_of(okm, sizeof(okm));
	uint16_t v = 0;

	noise_hkdf(okm, sizeof(okm), NULL, 0, server_public, NOISE_KEY, label, sizeof(label) - 1);
	for (int i = 0; i < PAD_FIRST; i++) {
		reader_u16(&r, &v);
		s->up[i] = (uint16_t)(400 + v % 801); /* 400 to HELLO_BODY_MAX */
	}
	for (int i = 0; i < PAD_FIRST; i++) {
		reader_u16(&r, &v);
		s->down[i] = (uint16_t)(400 + v % 2601); /* 400 to 3000 */
	}
	reader_u16(&r, &v);
	s->spread = (uint16_t)(160 + v % 160);
}

size_t
pad_room(const uint16_t first[PAD_FIRST], uint64_t i, bool hello)
{
	if (i >= PAD_FIRST)
		return RECORD_TEXT_MAX;
	return (size_t)first[i] - AEAD_TAG - (hello ? EPOCH_TAG : 0);
}

void
pad_write(const struct pad_scheme *s, const uint16_t first[PAD_FIRST], uint64_t i, bool hello,
    struct writer *w)
{
	size_t room = pad_room(first, i, hello), pad;

	if (i < PAD_FIRST)
		pad = w->n < room ? room - w->n : 0;
	else
		pad = mem_random_below(s->spread + 1u);
	if (pad > writer_room(w))
		pad = writer_room(w);
	writer_zeros(w, pad);
}
