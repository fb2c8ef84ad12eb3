#include "common/envelope.h"

#include <stdlib.h>

#include "common/aead.h"
#include "common/mem.h"
#include "common/message.h"

char *
envelope_write_1(struct noise *ns, const struct buffer *plain, size_t *len)
{
	uint8_t *msg = mem_alloc(plain->n + NOISE_OVERHEAD);
	char *text = NULL;

	if (noise_write_1(ns, NULL, buffer_data(plain), plain->n, msg))
		text = msg_wrap_noise(true, msg, plain->n + NOISE_OVERHEAD, len);
	free(msg);
	return text;
}

char *
envelope_write_2(struct noise *ns, const struct buffer *plain, struct noise_keys *keys, size_t *len)
{
	uint8_t *msg = mem_alloc(plain->n + NOISE_OVERHEAD);
	char *text = NULL;

	if (noise_write_2(ns, NULL, buffer_data(plain), plain->n, msg, keys))
		text = msg_wrap_noise(false, msg, plain->n + NOISE_OVERHEAD, len);
	free(msg);
	return text;
}

bool
envelope_read_1(struct noise *ns, const uint8_t secret[NOISE_KEY], const char *body, size_t len,
    uint8_t hash[32], struct buffer *plain)
{
	struct buffer msg = { 0 };
	bool ok = msg_unwrap_noise(true, body, len, &msg) && msg.n >= NOISE_OVERHEAD &&
	    noise_read_1(ns, secret, buffer_data(&msg), msg.n, buffer_space(plain, msg.n));

	if (ok) {
		buffer_add(plain, NULL, msg.n - NOISE_OVERHEAD);
		noise_sha256(hash, buffer_data(&msg), msg.n, NULL, 0);
	}
	buffer_clear(&msg);
	return ok;
}

bool
envelope_read_2(struct noise *ns, const char *body, size_t len, struct noise_keys *keys,
    struct buffer *plain)
{
	struct buffer msg = { 0 };
	bool ok = msg_unwrap_noise(false, body, len, &msg) && msg.n >= NOISE_OVERHEAD &&
	    noise_read_2(ns, buffer_data(&msg), msg.n, buffer_space(plain, msg.n), keys);

	if (ok)
		buffer_add(plain, NULL, msg.n - NOISE_OVERHEAD);
	buffer_clear(&msg);
	return ok;
}

char *
envelope_box(bool request, const uint8_t key[NOISE_KEY], uint64_t n, const struct buffer *plain,
    size_t *len)
{
	uint8_t *box = mem_alloc(plain->n + AEAD_TAG);
	char *text;

	aead->seal(key, n, NULL, 0, buffer_data(plain), plain->n, box);
	text = msg_wrap_box(request, n, box, plain->n + AEAD_TAG, len);
	free(box);
	return text;
}

bool
envelope_unbox(bool request, const uint8_t key[NOISE_KEY], const char *body, size_t len, uint64_t *n,
    struct buffer *plain)
{
	struct buffer box = { 0 };
	bool ok = msg_unwrap_box(request, body, len, n, &box) && box.n >= AEAD_TAG &&
	    aead->open(key, *n, NULL, 0, buffer_data(&box), box.n, buffer_space(plain, box.n));

	if (ok)
		buffer_add(plain, NULL, box.n - AEAD_TAG);
	buffer_clear(&box);
	return ok;
}
