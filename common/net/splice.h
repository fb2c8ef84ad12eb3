/* Two sockets whose bytes are passed to each other as they are: an end of stream as such, a
 * reset as a reset, and no more than QUEUE_MAX bytes on the way to a slow end. */
#ifndef SULTRY_COMMON_NET_SPLICE_H
#define SULTRY_COMMON_NET_SPLICE_H

#include <event2/event.h>
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

struct bufferevent;
struct evbuffer;

struct splice_config {
	size_t held_max;         /* bytes that end 0 may say before it is open */
	unsigned stall_s;        /* an end that takes nothing for so long is given up; 0: never */
	unsigned half_closed_s;  /* how long end 0 may speak on after end 1 has ended; 0: for ever */
	/* NULL, or how many of the n bytes that end 0 says next may pass; if not all, that ends it
	 * like a reset of end 0. */
	size_t (*admit)(void *arg, const uint8_t *p, size_t n);
	/* NULL, or how many of the n bytes that end 1 says next go ahead of insert_text; if all, it
	 * is not due. Asked again for those behind. */
	size_t (*insert_at)(void *arg, const uint8_t *p, size_t n);
	const char *insert_text;
	/* An end that is not open has said something or ended. If one has ended, this has to open
	 * the splice sooner or later, or to end it. */
	void (*look)(void *arg);
	/* Nothing moves any more, after a reset or in good order: the owner calls splice_clear, and
	 * may free what holds the splice. Never from inside a splice_... call but splice_open. */
	void (*over)(void *arg, bool reset);
};

/* Embedded in its owner. */
struct splice {
	const struct splice_config *cfg;
	void *arg;
	bool broken, connected;
	bool overran; /* end 0 said more than may pass */
	int ended_by; /* which end was the first to end, or to be reset; -1: none so far */
	struct splice_end {
		evutil_socket_t fd;
		struct bufferevent *bev;
		bool open;       /* what it says is passed on */
		bool eof;
		uint64_t passed; /* bytes read from it and passed on */
		uint8_t first;   /* the first of them */
	} end[2];
};

/* Takes both sockets, non-blocking; end 1 may still be connecting. cfg is borrowed. */
void splice_init(struct splice *s, struct event_base *base, evutil_socket_t end0,
    evutil_socket_t end1, const struct splice_config *cfg, void *arg);
/* What end i has said and what was not passed on, for look: what is drained from it is not. */
struct evbuffer *splice_held(const struct splice *s, int i);
/* Whether end 0 is read while it is not open. It is, until told otherwise; who leaves held_max
 * bytes in the buffer has to stop it, or look is called again and again. */
void splice_read_end0(struct splice *s, bool yes);
/* From now on what end 1 says flows; end 0 is still held. Never calls over. */
void splice_open_end1(struct splice *s);
/* From now on bytes flow, both ways. p: n bytes for end 1 ahead of those held; copied. */
void splice_open(struct splice *s, const void *p, size_t n);
/* Closes both sockets, orderly or with a reset. */
void splice_clear(struct splice *s, bool reset);
/* The same, but for the socket of end 0, which it returns. */
evutil_socket_t splice_take(struct splice *s);

#endif
