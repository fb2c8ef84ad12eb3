/* The one place where wire bytes are read and written by position. */
#ifndef SULTRY_COMMON_BYTES_H
#define SULTRY_COMMON_BYTES_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

/* A bounded view of bytes that it borrows. Each call below takes from its
 * front, all or nothing: false leaves the reader as it was. All integers are
 * big endian. */
struct reader {
	const uint8_t *p;
	size_t n; /* bytes left */
};

static inline struct reader
reader_of(const void *p, size_t n)
{
	return (struct reader){ .p = p, .n = n };
}

bool reader_u8(struct reader *r, uint8_t *v);
bool reader_u16(struct reader *r, uint16_t *v);
bool reader_u24(struct reader *r, uint32_t *v);
bool reader_u32(struct reader *r, uint32_t *v);
bool reader_u64(struct reader *r, uint64_t *v);
bool reader_copy(struct reader *r, void *out, size_t n);
bool reader_skip(struct reader *r, size_t n);
/* The next n bytes as a view of their own. */
bool reader_sub(struct reader *r, struct reader *sub, size_t n);
/* A length of 1, 2 or 3 bytes, then that many bytes as a view. */
bool reader_vec8(struct reader *r, struct reader *sub);
bool reader_vec16(struct reader *r, struct reader *sub);
bool reader_vec24(struct reader *r, struct reader *sub);
/* Nothing left: what every nested view must come to. */
bool reader_end(const struct reader *r);

/* Writes into a fixed area that it borrows. A write that does not fit writes
 * nothing and sets `failed`; callers check that once, at the end. */
struct writer {
	uint8_t *p;
	size_t n;   /* bytes written */
	size_t cap;
	bool failed;
};

static inline struct writer
writer_of(void *p, size_t cap)
{
	return (struct writer){ .p = p, .cap = cap };
}

/* Room for n more bytes, to be filled by the caller; NULL if it does not fit. */
uint8_t *writer_space(struct writer *w, size_t n);
size_t writer_room(const struct writer *w);
void writer_u8(struct writer *w, uint8_t v);
void writer_u16(struct writer *w, uint16_t v);
void writer_u32(struct writer *w, uint32_t v);
void writer_u64(struct writer *w, uint64_t v);
void writer_bytes(struct writer *w, const void *p, size_t n);
void writer_zeros(struct writer *w, size_t n);

/* A queue of bytes that grows at its end and is drained at its front. It owns
 * its memory and holds none while it is empty. Zeroed memory is a valid empty
 * one. The caller bounds what it puts in. */
struct buffer {
	uint8_t *mem;
	size_t head; /* index of the first byte */
	size_t n;    /* bytes queued */
	size_t cap;
};

const uint8_t *buffer_data(const struct buffer *b);
/* Room for n more bytes behind the last; buffer_add with p == NULL after
 * filling it counts them in. The pointer holds until the next call. */
uint8_t *buffer_space(struct buffer *b, size_t n);
/* Appends n bytes (p == NULL: those just written through buffer_space). */
void buffer_add(struct buffer *b, const void *p, size_t n);
/* Drops the first n bytes, n <= b->n. */
void buffer_drain(struct buffer *b, size_t n);
void buffer_clear(struct buffer *b);

/* base64url without padding (RFC 4648 section 5): the only alphabet we speak. */
#define BASE64URL_LEN(n) (((n) * 4 + 2) / 3)
/* Writes BASE64URL_LEN(n) characters and a NUL to out. */
void base64url_encode(char *out, const void *p, size_t n);
/* Decodes len characters into out (room for cap bytes) and sets *n. False for
 * a foreign character, '=', an impossible length, stray low bits in the last
 * character (so that one value has one spelling), or no room. */
bool base64url_decode(uint8_t *out, size_t cap, size_t *n, const char *s, size_t len);

#endif
