#include "common/stream.h"

#include <assert.h>

void
stream_tx_init(struct stream_tx *tx, struct stream_budget *budget)
{
	*tx = (struct stream_tx){ .limit = STREAM_CREDIT_START, .budget = budget };
}

void
stream_tx_clear(struct stream_tx *tx)
{
	tx->budget->held -= tx->held.n;
	buffer_clear(&tx->held);
}

uint64_t
stream_tx_end(const struct stream_tx *tx)
{
	return tx->base + tx->held.n - (tx->fin_acked ? 1 : 0);
}

/* What either half of the budget has left. */
static size_t
left(const struct stream_budget *b, size_t used)
{
	return b->max / 2 > used ? b->max / 2 - used : 0;
}

size_t
stream_tx_room(const struct stream_tx *tx)
{
	uint64_t end = stream_tx_end(tx), credit = tx->limit > end ? tx->limit - end : 0;
	/* Whatever the peer allows, what it has not acknowledged costs us memory. */
	size_t n = tx->held.n, space = n < STREAM_CREDIT_MAX ? STREAM_CREDIT_MAX - n : 0;
	size_t least = n < STREAM_HELD_MIN ? STREAM_HELD_MIN - n : 0;
	size_t most = left(tx->budget, tx->budget->held);

	if (tx->fin)
		return 0;
	if (most < least)
		most = least;
	if (space > most)
		space = most;
	return credit < space ? (size_t)credit : space;
}

void
stream_tx_put(struct stream_tx *tx, const void *p, size_t n)
{
	assert(n == 0 || (!tx->fin && n <= tx->limit - stream_tx_end(tx)));
	buffer_add(&tx->held, p, n);
	tx->budget->held += n;
}

void
stream_tx_fin(struct stream_tx *tx)
{
	tx->fin = true;
}

size_t
stream_tx_peek(const struct stream_tx *tx, uint64_t offset, const uint8_t **p)
{
	size_t skip;

	assert(offset >= tx->base);
	if (offset - tx->base >= tx->held.n)
		return 0;
	skip = (size_t)(offset - tx->base);
	*p = buffer_data(&tx->held) + skip;
	return tx->held.n - skip;
}

bool
stream_tx_ack(struct stream_tx *tx, uint64_t received, uint64_t limit)
{
	uint64_t end = stream_tx_end(tx);
	size_t n;

	if (received > end + (tx->fin ? 1 : 0))
		return false;
	if (limit > tx->limit)
		tx->limit = limit;
	if (received <= tx->base)
		return true;
	n = (size_t)((received > end ? end : received) - tx->base);
	buffer_drain(&tx->held, n);
	tx->budget->held -= n;
	tx->base = received;
	tx->fin_acked = received > end;
	return true;
}

void
stream_rx_init(struct stream_rx *rx, struct stream_budget *budget)
{
	*rx = (struct stream_rx){ .limit = STREAM_CREDIT_START, .window = STREAM_CREDIT_START,
		.budget = budget };
}

/* Counts what may come to be held beyond the guaranteed. */
static void
count_given(struct stream_rx *rx)
{
	uint64_t ahead = rx->fin ? rx->held.n : rx->limit - rx->taken;

	rx->budget->given -= rx->given;
	rx->given = ahead > STREAM_CREDIT_START ? (size_t)ahead - STREAM_CREDIT_START : 0;
	rx->budget->given += rx->given;
}

void
stream_rx_clear(struct stream_rx *rx)
{
	rx->budget->given -= rx->given;
	rx->given = 0;
	buffer_clear(&rx->held);
}

uint64_t
stream_rx_received(const struct stream_rx *rx)
{
	uint64_t end = rx->taken + rx->held.n;

	return end + (rx->fin && rx->fin_at == end ? 1 : 0);
}

enum stream_result
stream_rx_put(struct stream_rx *rx, uint64_t offset, const void *p, size_t n)
{
	uint64_t end = rx->taken + rx->held.n;
	size_t dup;

	/* offset + n cannot wrap: offset is at most limit. */
	if (offset > rx->limit || n > rx->limit - offset || (rx->fin && offset + n > rx->fin_at))
		return STREAM_BAD;
	if (offset > end)
		return STREAM_GAP;
	dup = (size_t)(end - offset < n ? end - offset : n);
	if (dup < n)
		buffer_add(&rx->held, (const uint8_t *)p + dup, n - dup);
	return STREAM_OK;
}

enum stream_result
stream_rx_fin(struct stream_rx *rx, uint64_t offset)
{
	uint64_t end = rx->taken + rx->held.n;

	if (offset < end || (rx->fin && offset != rx->fin_at) || offset > rx->limit)
		return STREAM_BAD;
	if (offset > end)
		return STREAM_GAP;
	rx->fin = true;
	rx->fin_at = offset;
	count_given(rx); /* no more can come */
	return STREAM_OK;
}

size_t
stream_rx_peek(const struct stream_rx *rx, const uint8_t **p)
{
	*p = buffer_data(&rx->held);
	return rx->held.n;
}

/* Raises the limit by the window, as far as the budget goes. */
static void
give(struct stream_rx *rx)
{
	uint64_t most = STREAM_CREDIT_START + left(rx->budget, rx->budget->given - rx->given) / 4;

	if (rx->window > most)
		rx->window = (uint32_t)most;
	if (rx->taken + rx->window > rx->limit)
		rx->limit = rx->taken + rx->window;
}

void
stream_rx_take(struct stream_rx *rx, size_t n, uint64_t now_ms, unsigned rtt_ms)
{
	buffer_drain(&rx->held, n);
	if (rx->taken == rx->mark)
		rx->mark_ms = now_ms; /* a window starts with its first byte */
	rx->taken += n;
	if (rx->taken - rx->mark >= rx->window) {
		if (now_ms - rx->mark_ms <= 2 * (uint64_t)rtt_ms)
			rx->window = rx->window < STREAM_CREDIT_MAX / 2 ? 2 * rx->window : STREAM_CREDIT_MAX;
		rx->mark = rx->taken;
	}
	if (!rx->fin)
		give(rx);
	count_given(rx);
}

bool
stream_rx_fin_due(const struct stream_rx *rx)
{
	return rx->fin && !rx->fin_taken && rx->taken == rx->fin_at;
}

void
stream_rx_take_fin(struct stream_rx *rx)
{
	rx->fin_taken = true;
}
