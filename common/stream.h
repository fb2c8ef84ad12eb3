/* One direction of a session: bytes named by their offset. The sending end keeps
 * what is not acknowledged, the receiving end what its socket has not taken.
 * No I/O and no clock (times are passed in, in milliseconds). */
#ifndef SULTRY_COMMON_STREAM_H
#define SULTRY_COMMON_STREAM_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "common/bytes.h"

#define STREAM_CREDIT_START (256u * 1024)
#define STREAM_CREDIT_MAX (8u * 1024 * 1024)
#define STREAM_HELD_MIN (16u * 1024)

/* What all streams of the process may take together, beyond what is guaranteed to each:
 * STREAM_HELD_MIN to a sending end, STREAM_CREDIT_START to a receiving one. Half of `max` is
 * for either kind. So the process never holds more than max and those guarantees. */
struct stream_budget {
	size_t max;
	size_t held;  /* by sending ends */
	size_t given; /* credit beyond the guaranteed, which may come to be held */
};

/* The sending end. `end` of stream takes one offset of its own, behind the last
 * byte, so that it is acknowledged and repeated like a byte. */
struct stream_tx {
	struct buffer held;  /* [base, end) */
	uint64_t base;       /* the peer holds everything below */
	uint64_t limit;      /* the peer allows bytes below this offset */
	bool fin;            /* the stream ends at base + held.n */
	bool fin_acked;
	struct stream_budget *budget;
};

void stream_tx_init(struct stream_tx *tx, struct stream_budget *budget);
void stream_tx_clear(struct stream_tx *tx);
/* First offset behind the bytes put so far. */
uint64_t stream_tx_end(const struct stream_tx *tx);
/* How many more bytes may be put: what the peer's credit and our memory allow. */
size_t stream_tx_room(const struct stream_tx *tx);
/* Appends n bytes: what the peer's credit allows, and by rights stream_tx_room(). Not after fin. */
void stream_tx_put(struct stream_tx *tx, const void *p, size_t n);
void stream_tx_fin(struct stream_tx *tx);
/* The bytes from `offset` on (base <= offset); returns how many there are. */
size_t stream_tx_peek(const struct stream_tx *tx, uint64_t offset, const uint8_t **p);
/* Takes the peer's ack(received, limit). Older ones than those seen change nothing.
 * False if it names what was never sent. */
bool stream_tx_ack(struct stream_tx *tx, uint64_t received, uint64_t limit);

/* The receiving end. */
struct stream_rx {
	struct buffer held; /* [taken, received) */
	uint64_t taken;     /* the local socket has everything below */
	uint64_t limit;     /* what we allowed; never lowered */
	uint64_t fin_at;    /* valid with fin */
	bool fin, fin_taken;
	uint32_t window;    /* limit is raised to taken + window */
	size_t given;       /* its part of budget->given */
	uint64_t mark;      /* `taken` when the window was last judged */
	uint64_t mark_ms;
	struct stream_budget *budget;
};

enum stream_result {
	STREAM_OK,  /* held, or a duplicate */
	STREAM_GAP, /* bytes before it are missing: nothing was taken */
	STREAM_BAD, /* beyond the limit, or at odds with fin: a broken peer */
};

void stream_rx_init(struct stream_rx *rx, struct stream_budget *budget);
void stream_rx_clear(struct stream_rx *rx);
/* What to acknowledge: the end of the contiguous bytes held, fin included. */
uint64_t stream_rx_received(const struct stream_rx *rx);
enum stream_result stream_rx_put(struct stream_rx *rx, uint64_t offset, const void *p, size_t n);
enum stream_result stream_rx_fin(struct stream_rx *rx, uint64_t offset);
/* Bytes for the local socket, and that it took n of them. stream_rx_take raises
 * the limit, and doubles the window while a whole window is drained within two
 * round trips. A window takes a quarter of what the budget has left, at most: however many
 * there are, something is left for the next. */
size_t stream_rx_peek(const struct stream_rx *rx, const uint8_t **p);
void stream_rx_take(struct stream_rx *rx, size_t n, uint64_t now_ms, unsigned rtt_ms);
/* All bytes are taken and the end is due: stream_rx_take_fin() says it was passed on. */
bool stream_rx_fin_due(const struct stream_rx *rx);
void stream_rx_take_fin(struct stream_rx *rx);

#endif
