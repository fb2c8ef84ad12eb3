/* Where the answer to a plain HTTP request has room for one field more, which tells the app that
 * its connection serves no other request: a target may let it believe so, and have an answer
 * ready for what the app then asks of another. Pure. */
#ifndef SULTRY_PT_CLIENT_HTTP_ANSWER_H
#define SULTRY_PT_CLIENT_HTTP_ANSWER_H

#include <stddef.h>
#include <stdint.h>

#define HTTP_ANSWER_CLOSE "Connection: close\r\n"

enum http_answer_state {
	ANSWER_START,  /* before the end of "HTTP/" */
	ANSWER_STATUS, /* in what the status line has to be from there on */
	ANSWER_TEXT,   /* in the rest of any line */
	ANSWER_LINE,   /* at the start of a line */
	ANSWER_BLANK,  /* at the start of the line that ends the head */
	ANSWER_BLANK_LF,
	ANSWER_PASS    /* nothing is due any more */
};

/* Zeroed memory is an answer that has not begun. */
struct http_answer {
	enum http_answer_state state;
	unsigned seen;    /* ANSWER_START: bytes that are no line end */
	unsigned matched; /* of what is looked for */
	unsigned code;    /* 0: none, or not where it has to be */
};

/* The next n bytes that the target said: how many of them pass as they are. Fewer than n: then
 * HTTP_ANSWER_CLOSE is due, and the rest is to be fed again. That comes before the end of the
 * final answer's head, and not in those of interim ones (1xx). A head of which it is uncertain
 * whether an app takes it for final gets the field, and so does the next. What does not look
 * like HTTP gets none: no app goes on behind that. */
size_t http_answer_feed(struct http_answer *a, const uint8_t *p, size_t n);

#endif
