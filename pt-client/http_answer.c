#include "pt-client/http_answer.h"

#include <stdbool.h>

#define JUNK_MAX 4 /* bytes ahead of "HTTP/", in any letter case, that browsers put up with */

static bool
is_line_end(uint8_t c)
{
	return c == '\r' || c == '\n';
}

static enum http_answer_state
text_byte(uint8_t c)
{
	return c == '\n' ? ANSWER_LINE : ANSWER_TEXT;
}

static enum http_answer_state
start_byte(struct http_answer *a, uint8_t c)
{
	static const char name[] = "http/";
	const unsigned len = sizeof(name) - 1;
	uint8_t lower = c | 0x20;

	if (is_line_end(c)) {
		a->matched = 0;
		return ANSWER_START;
	}
	a->seen++;
	a->matched = lower == name[a->matched] ? a->matched + 1 : lower == name[0];
	if (a->matched == len) {
		a->matched = 0;
		return ANSWER_STATUS;
	}
	return a->seen < JUNK_MAX + len ? ANSWER_START : ANSWER_PASS;
}

/* RFC 9112 section 4. What is written in another way has no code here, whatever an app reads. */
static enum http_answer_state
status_byte(struct http_answer *a, uint8_t c)
{
	static const char form[] = "1.# ###";
	const unsigned code_at = 4;
	unsigned i = a->matched++;

	if (form[i] == '\0') {
		a->code = c == ' ' || is_line_end(c) ? a->code : 0;
		return text_byte(c);
	}
	if (form[i] == '#' ? c < '0' || c > '9' : c != form[i]) {
		a->code = 0;
		return text_byte(c);
	}
	if (i >= code_at)
		a->code = a->code * 10 + c - '0';
	return ANSWER_STATUS;
}

static enum http_answer_state
step(struct http_answer *a, uint8_t c)
{
	switch (a->state) {
	case ANSWER_START:
		return start_byte(a, c);
	case ANSWER_STATUS:
		return status_byte(a, c);
	case ANSWER_TEXT:
		return text_byte(c);
	case ANSWER_LINE:
	case ANSWER_BLANK:
		if (c == '\r')
			return ANSWER_BLANK_LF;
		if (c != '\n')
			return ANSWER_TEXT;
		break;
	case ANSWER_BLANK_LF:
		if (c != '\n') {
			/* For some the head ends here, for others it goes on. */
			a->code = 0;
			return ANSWER_TEXT;
		}
		break;
	case ANSWER_PASS:
		return ANSWER_PASS;
	}
	*a = (struct http_answer){ 0 };
	return ANSWER_START;
}

/* Interim, and for every app: 101 ends HTTP, or it is read like the others. */
static bool
is_interim(const struct http_answer *a)
{
	return a->code >= 100 && a->code < 200 && a->code != 101;
}

/* The field is due before a CR that may be all there is to a blank line: so it is seen by
 * whoever takes that for the end, and by whoever does not. */
size_t
http_answer_feed(struct http_answer *a, const uint8_t *p, size_t n)
{
	for (size_t i = 0; i < n && a->state != ANSWER_PASS; i++) {
		if (a->state == ANSWER_LINE && is_line_end(p[i]) && !is_interim(a)) {
			a->state = a->code >= 200 ? ANSWER_PASS : ANSWER_BLANK;
			return i;
		}
		a->state = step(a, p[i]);
	}
	return n;
}
