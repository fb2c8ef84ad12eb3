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
	tx->budget->used -= tx->held.n;
	buffer_clear(&tx->held);
}

uint64_t
stream_tx_end(const struct stream_tx *tx)
{
	return tx->base + tx->held.n - (tx->fin_acked ? 1 : 0);
}

size_t
stream_tx_room(const struct stream_tx *tx)
{
	uint64_t end = stream_tx_end(tx), credit = tx->limit > end ? tx->limit - end : 0;
	/* Whatever the peer allows, what it has not acknowledged costs us memory. */
	size_t cap = tx->budget->used < tx->budget->max ? STREAM_CREDIT_MAX : STREAM_HELD_MIN;
	size_t space = cap > tx->held.n ? cap - tx->held.n : 0;

	if (tx->fin)
		return 0;
	return credit < space ? (size_t)credit : space;
}

void
stream_tx_put(struct stream_tx *tx, const void *p, size_t n)
{
	assert(n <= stream_tx_room(tx));
	buffer_add(&tx->held, p, n);
	tx->budget->used += n;
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
	tx->budget->used -= n;
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

void
stream_rx_clear(struct stream_rx *rx)
{
	rx->budget->used -= rx->held.n;
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
	if (dup < n) {
		buffer_add(&rx->held, (const uint8_t *)p + dup, n - dup);
		rx->budget->used += n - dup;
	}
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
	return STREAM_OK;
}

size_t
stream_rx_peek(const struct stream_rx *rx, const uint8_t **p)
{
	*p = buffer_data(&rx->held);
	return rx->held.n;
}

void
stream_rx_take(struct stream_rx *rx, size_t n, uint64_t now_ms, unsigned rtt_ms)
{
	uint32_t window;

	buffer_drain(&rx->held, n);
	rx->budget->used -= n;
	if (rx->taken == rx->mark)
		rx->mark_ms = now_ms; /* a window starts with its first byte */
	rx->taken += n;
	if (rx->taken - rx->mark >= rx->window) {
		if (now_ms - rx->mark_ms <= 2 * (uint64_t)rtt_ms && rx->window < STREAM_CREDIT_MAX &&
		    rx->budget->used <= rx->budget->max)
			rx->window *= 2;
		rx->mark = rx->taken;
	}
	/* Over budget the credit given runs out before more is given. */
	window = rx->budget->used <= rx->budget->max ? rx->window : STREAM_HELD_MIN;
	if (rx->taken + window > rx->limit)
		rx->limit = rx->taken + window;
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
