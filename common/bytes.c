#include "common/bytes.h"

#include <assert.h>
#include <stdlib.h>
#include <string.h>

#include "common/mem.h"

static bool
reader_uint(struct reader *r, size_t n, uint64_t *v)
{
	uint64_t x = 0;

	if (r->n < n)
		return false;
	for (size_t i = 0; i < n; i++)
		x = x << 8 | r->p[i];
	*v = x;
	return reader_skip(r, n);
}

#define READER_UINT(name, type, size)                   \
	bool name(struct reader *r, type *v)            \
	{                                               \
		uint64_t x;                             \
		if (!reader_uint(r, size, &x))          \
			return false;                   \
		*v = (type)x;                           \
		return true;                            \
	}

READER_UINT(reader_u8, uint8_t, 1)
READER_UINT(reader_u16, uint16_t, 2)
READER_UINT(reader_u24, uint32_t, 3)
READER_UINT(reader_u32, uint32_t, 4)
READER_UINT(reader_u64, uint64_t, 8)

bool
reader_skip(struct reader *r, size_t n)
{
	if (r->n < n)
		return false;
	if (n > 0)
		r->p += n;
	r->n -= n;
	return true;
}

bool
reader_copy(struct reader *r, void *out, size_t n)
{
	if (r->n < n)
		return false;
	if (n > 0)
		memcpy(out, r->p, n);
	return reader_skip(r, n);
}

bool
reader_sub(struct reader *r, struct reader *sub, size_t n)
{
	if (r->n < n)
		return false;
	*sub = reader_of(r->p, n);
	return reader_skip(r, n);
}

static bool
reader_vec(struct reader *r, struct reader *sub, size_t len_size)
{
	struct reader at = *r;
	uint64_t n;

	if (!reader_uint(&at, len_size, &n) || !reader_sub(&at, sub, (size_t)n))
		return false;
	*r = at;
	return true;
}

bool
reader_vec8(struct reader *r, struct reader *sub)
{
	return reader_vec(r, sub, 1);
}

bool
reader_vec16(struct reader *r, struct reader *sub)
{
	return reader_vec(r, sub, 2);
}

bool
reader_vec24(struct reader *r, struct reader *sub)
{
	return reader_vec(r, sub, 3);
}

bool
reader_end(const struct reader *r)
{
	return r->n == 0;
}

uint8_t *
writer_space(struct writer *w, size_t n)
{
	if (w->failed || w->cap - w->n < n) {
		w->failed = true;
		return NULL;
	}
	w->n += n;
	return w->p + (w->n - n);
}

size_t
writer_room(const struct writer *w)
{
	return w->failed ? 0 : w->cap - w->n;
}

static void
writer_uint(struct writer *w, uint64_t v, size_t n)
{
	uint8_t *p = writer_space(w, n);

	for (size_t i = n; p != NULL && i-- > 0; v >>= 8)
		p[i] = (uint8_t)v;
}

void
writer_u8(struct writer *w, uint8_t v)
{
	writer_uint(w, v, 1);
}

void
writer_u16(struct writer *w, uint16_t v)
{
	writer_uint(w, v, 2);
}

void
writer_u32(struct writer *w, uint32_t v)
{
	writer_uint(w, v, 4);
}

void
writer_u64(struct writer *w, uint64_t v)
{
	writer_uint(w, v, 8);
}

void
writer_bytes(struct writer *w, const void *src, size_t n)
{
	uint8_t *p = writer_space(w, n);

	if (p != NULL && n > 0)
		memcpy(p, src, n);
}

void
writer_zeros(struct writer *w, size_t n)
{
	uint8_t *p = writer_space(w, n);

	if (p != NULL && n > 0)
		memset(p, 0, n);
}

const uint8_t *
buffer_data(const struct buffer *b)
{
	return b->mem == NULL ? NULL : b->mem + b->head;
}

uint8_t *
buffer_space(struct buffer *b, size_t n)
{
	if (b->cap - b->head - b->n < n) {
		/* Slide only when that frees at least as much as it moves, so
		 * that a byte is moved a constant number of times. */
		if (b->cap - b->n >= n && b->head >= b->n) {
			if (b->n > 0)
				memmove(b->mem, b->mem + b->head, b->n);
		} else {
			size_t want = b->n + n, cap = b->cap ? b->cap : 4096;
			uint8_t *mem;

			while (cap < want)
				cap *= 2;
			if (cap - want < want / 4)
				cap += cap / 2;
			mem = mem_alloc(cap);
			if (b->n > 0)
				memcpy(mem, b->mem + b->head, b->n);
			free(b->mem);
			b->mem = mem;
			b->cap = cap;
		}
		b->head = 0;
	}
	return b->mem + b->head + b->n;
}

void
buffer_add(struct buffer *b, const void *p, size_t n)
{
	if (n == 0)
		return;
	if (p != NULL)
		memcpy(buffer_space(b, n), p, n);
	assert(b->cap - b->head - b->n >= n);
	b->n += n;
}

void
buffer_drain(struct buffer *b, size_t n)
{
	assert(n <= b->n);
	b->head += n;
	b->n -= n;
	if (b->n == 0)
		buffer_clear(b);
}

void
buffer_clear(struct buffer *b)
{
	free(b->mem);
	*b = (struct buffer){ 0 };
}

static const char alphabet[] =
    "ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789-_";

void
base64url_encode(char *out, const void *src, size_t n)
{
	const uint8_t *p = src;
	uint32_t acc = 0;
	unsigned bits = 0;

	for (size_t i = 0; i < n; i++) {
		acc = acc << 8 | p[i];
		for (bits += 8; bits >= 6; bits -= 6)
			*out++ = alphabet[acc >> (bits - 6) & 63];
	}
	if (bits > 0)
		*out++ = alphabet[acc << (6 - bits) & 63];
	*out = '\0';
}

static int
base64url_value(char c)
{
	if (c >= 'A' && c <= 'Z')
		return c - 'A';
	if (c >= 'a' && c <= 'z')
		return c - 'a' + 26;
	if (c >= '0' && c <= '9')
		return c - '0' + 52;
	return c == '-' ? 62 : c == '_' ? 63 : -1;
}

bool
base64url_decode(uint8_t *out, size_t cap, size_t *n, const char *s, size_t len)
{
	struct writer w = writer_of(out, cap);
	uint32_t acc = 0;
	unsigned bits = 0;

	if (len % 4 == 1)
		return false;
	for (size_t i = 0; i < len; i++) {
		int v = base64url_value(s[i]);

		if (v < 0)
			return false;
		acc = acc << 6 | (uint32_t)v;
		bits += 6;
		if (bits >= 8) {
			bits -= 8;
			writer_u8(&w, (uint8_t)(acc >> bits));
		}
	}
	if (w.failed || (acc & ((1u << bits) - 1)) != 0)
		return false;
	*n = w.n;
	return true;
}
