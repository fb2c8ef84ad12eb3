#include "pt-client/http_body.h"

#define SIZE_DIGITS 15 /* of a chunk's size: more would not fit in `left`, or are padding */

void
http_body_init(struct http_body *b, bool chunked, uint64_t length)
{
	*b = (struct http_body){
		.state = chunked ? BODY_SIZE : length > 0 ? BODY_DATA : BODY_END,
		.chunked = chunked,
		.left = chunked ? 0 : length,
	};
}

/* The value of a hexadecimal digit; -1: it is none. */
static int
hex_digit(uint8_t c)
{
	uint8_t lower = c | 0x20;

	if (c >= '0' && c <= '9')
		return c - '0';
	return lower >= 'a' && lower <= 'f' ? lower - 'a' + 10 : -1;
}

static enum http_body_state
size_byte(struct http_body *b, uint8_t c)
{
	int digit = hex_digit(c);

	if (digit >= 0 && b->digits < SIZE_DIGITS) {
		b->left = b->left * 16 + (unsigned)digit;
		b->digits++;
		return BODY_SIZE;
	}
	if (digit >= 0 || b->digits == 0)
		return BODY_BAD;
	b->digits = 0;
	return c == '\r' ? BODY_SIZE_LF : c == ';' ? BODY_EXTENSION : BODY_BAD;
}

/* A line whose text goes on in `more`. */
static enum http_body_state
line_byte(uint8_t c, enum http_body_state more, enum http_body_state end)
{
	if (c == '\r')
		return end;
	return (c >= ' ' && c != 0x7f) || c == '\t' ? more : BODY_BAD;
}

/* The state behind a byte that is not data. No bare CR or LF, as in the head: two readers
 * could take them differently. */
static enum http_body_state
step(struct http_body *b, uint8_t c)
{
	switch (b->state) {
	case BODY_SIZE:
		return size_byte(b, c);
	case BODY_EXTENSION:
		return line_byte(c, BODY_EXTENSION, BODY_SIZE_LF);
	case BODY_SIZE_LF:
		return c != '\n' ? BODY_BAD : b->left > 0 ? BODY_DATA : BODY_TRAILER;
	case BODY_DATA_CR:
		return c == '\r' ? BODY_DATA_LF : BODY_BAD;
	case BODY_DATA_LF:
		return c == '\n' ? BODY_SIZE : BODY_BAD;
	case BODY_TRAILER:
		/* Not folded. */
		return c == ' ' || c == '\t' ? BODY_BAD : line_byte(c, BODY_FIELD, BODY_LAST_LF);
	case BODY_FIELD:
		return line_byte(c, BODY_FIELD, BODY_FIELD_LF);
	case BODY_FIELD_LF:
		return c == '\n' ? BODY_TRAILER : BODY_BAD;
	case BODY_LAST_LF:
		return c == '\n' ? BODY_END : BODY_BAD;
	case BODY_END:
	case BODY_DATA:
	case BODY_BAD:
		break;
	}
	return BODY_BAD;
}

size_t
http_body_feed(struct http_body *b, const uint8_t *p, size_t n)
{
	size_t i = 0;

	while (i < n && b->state != BODY_END && b->state != BODY_BAD) {
		if (b->state == BODY_DATA) {
			size_t k = b->left < n - i ? (size_t)b->left : n - i;

			i += k;
			b->left -= k;
			if (b->left == 0)
				b->state = b->chunked ? BODY_DATA_CR : BODY_END;
		} else {
			b->state = step(b, p[i]);
			i += b->state != BODY_BAD;
		}
	}
	return i;
}
