/* The OOB API's envelopes: what one end seals the other opens, and nothing else does. */
#include "tests/harness.h"

#include <stdio.h>

#include "common/envelope.h"
#include "common/mem.h"
#include "common/message.h"

static const uint8_t server_secret[NOISE_KEY] = { 7 };
static uint8_t server_public[NOISE_KEY];

static void
client_starts(struct noise *ns)
{
	noise_public(server_public, server_secret);
	noise_init(ns, MSG_PROLOGUE, strlen(MSG_PROLOGUE), server_public);
}

static struct buffer
buffer_of(const char *text)
{
	struct buffer b = { 0 };

	buffer_add(&b, text, strlen(text));
	return b;
}

static bool
buffer_is(const struct buffer *b, const char *text)
{
	return b->n == strlen(text) && (b->n == 0 || memcmp(buffer_data(b), text, b->n) == 0);
}

/* What the server makes of a body; *plain as the client sealed it, or nothing. */
static bool
server_reads(struct noise *ns, const uint8_t secret[NOISE_KEY], const char *body, size_t len,
    uint8_t hash[32], struct buffer *plain)
{
	uint8_t public[NOISE_KEY];
	bool ok;

	noise_public(public, secret);
	noise_init(ns, MSG_PROLOGUE, strlen(MSG_PROLOGUE), public);
	/* A copy of its own, so that ASan sees whoever reads behind its end. */
	char *copy = mem_alloc(len > 0 ? len : 1);

	memcpy(copy, body, len);
	ok = envelope_read_1(ns, secret, copy, len, hash, plain);
	free(copy);
	if (!ok)
		ck_assert_uint_eq(plain->n, 0);
	return ok;
}

static void
server_refuses(const char *body, size_t len)
{
	struct buffer plain = { 0 };
	struct noise ns;
	uint8_t hash[32];

	ck_assert_msg(!server_reads(&ns, server_secret, body, len, hash, &plain), "took: %.*s", (int)len,
	    body);
	buffer_clear(&plain);
	noise_clear(&ns);
}

/* ---- the handshake ---- */

START_TEST(handshake)
{
	static const char *const texts[][2] = { { "", "" }, { "request", "" }, { "r", "a reply" } };

	for (size_t i = 0; i < sizeof(texts) / sizeof(texts[0]); i++) {
		struct buffer ask = buffer_of(texts[i][0]), answer = buffer_of(texts[i][1]);
		struct buffer asked = { 0 }, answered = { 0 }, raw = { 0 };
		struct noise_keys ours, theirs;
		struct noise client, server;
		uint8_t hash[32], expected[32];
		size_t len_1, len_2;
		char *one, *two;

		client_starts(&client);
		one = envelope_write_1(&client, &ask, &len_1);
		ck_assert_ptr_nonnull(one);
		ck_assert_uint_eq(len_1, strlen(one));
		ck_assert(server_reads(&server, server_secret, one, len_1, hash, &asked));
		ck_assert(buffer_is(&asked, texts[i][0]));
		/* What a replayed open is known by: the message, however its JSON is spelt. */
		ck_assert(msg_unwrap_noise(true, one, len_1, &raw));
		noise_sha256(expected, buffer_data(&raw), raw.n, NULL, 0);
		ck_assert_mem_eq(hash, expected, sizeof(hash));

		two = envelope_write_2(&server, &answer, &theirs, &len_2);
		ck_assert_ptr_nonnull(two);
		ck_assert_uint_eq(len_2, strlen(two));
		ck_assert(envelope_read_2(&client, two, len_2, &ours, &answered));
		ck_assert(buffer_is(&answered, texts[i][1]));
		ck_assert_mem_eq(ours.up, theirs.up, NOISE_KEY);
		ck_assert_mem_eq(ours.down, theirs.down, NOISE_KEY);
		ck_assert_mem_eq(ours.direct, theirs.direct, NOISE_KEY);
		ck_assert_mem_ne(ours.up, ours.down, NOISE_KEY);
		buffer_clear(&ask);
		buffer_clear(&answer);
		buffer_clear(&asked);
		buffer_clear(&answered);
		buffer_clear(&raw);
		noise_clear(&client);
		noise_clear(&server);
		free(one);
		free(two);
	}
}
END_TEST

START_TEST(no_byte_of_message_1_may_change)
{
	struct buffer ask = buffer_of("{\"op\":\"open\"}"), plain = { 0 };
	const uint8_t other[NOISE_KEY] = { 8 };
	uint8_t hash[32];
	struct noise client, server;
	size_t len;
	char *body;

	client_starts(&client);
	body = envelope_write_1(&client, &ask, &len);
	ck_assert(!server_reads(&server, other, body, len, hash, &plain));
	noise_clear(&server);
	for (size_t n = 0; n < len; n++)
		server_refuses(body, n);
	for (size_t i = 0; i < len; i++) {
		for (int bit = 0; bit < 8; bit++) {
			body[i] = (char)(body[i] ^ 1 << bit);
			server_refuses(body, len);
			body[i] = (char)(body[i] ^ 1 << bit);
		}
	}
	ck_assert(server_reads(&server, server_secret, body, len, hash, &plain));
	noise_clear(&server);
	noise_clear(&client);
	buffer_clear(&plain);
	buffer_clear(&ask);
	free(body);
}
END_TEST

/* A failed attempt leaves the handshake of a struct unusable, so each has a fresh one. */
START_TEST(no_byte_of_message_2_may_change)
{
	struct buffer nothing = { 0 }, answer = buffer_of("{\"op\":\"opened\"}"), plain = { 0 };
	struct noise_keys keys;
	struct noise client, server, copy;
	uint8_t hash[32];
	size_t len_1, len;
	char *one, *body;

	client_starts(&client);
	one = envelope_write_1(&client, &nothing, &len_1);
	ck_assert(server_reads(&server, server_secret, one, len_1, hash, &plain));
	body = envelope_write_2(&server, &answer, &keys, &len);
	for (size_t i = 0; i < len; i++) {
		copy = client;
		ck_assert(!envelope_read_2(&copy, body, i, &keys, &plain));
		for (int bit = 0; bit < 8; bit++) {
			copy = client;
			body[i] = (char)(body[i] ^ 1 << bit);
			ck_assert(!envelope_read_2(&copy, body, len, &keys, &plain));
			ck_assert_uint_eq(plain.n, 0);
			body[i] = (char)(body[i] ^ 1 << bit);
		}
	}
	/* The other direction's message is not taken for it, nor is that of another handshake. */
	copy = client;
	ck_assert(!envelope_read_2(&copy, one, len_1, &keys, &plain));
	client_starts(&copy);
	free(envelope_write_1(&copy, &nothing, &len_1));
	ck_assert(!envelope_read_2(&copy, body, len, &keys, &plain));
	ck_assert(envelope_read_2(&client, body, len, &keys, &plain));
	ck_assert(buffer_is(&plain, "{\"op\":\"opened\"}"));
	noise_clear(&copy);
	noise_clear(&client);
	noise_clear(&server);
	buffer_clear(&plain);
	buffer_clear(&answer);
	free(one);
	free(body);
}
END_TEST

START_TEST(too_short_to_be_a_message)
{
	for (size_t n = 0; n < NOISE_OVERHEAD; n++) {
		const uint8_t zeros[NOISE_OVERHEAD] = { 0 };
		size_t len;
		char *body = msg_wrap_noise(true, zeros, n, &len);

		server_refuses(body, len);
		free(body);
	}
}
END_TEST

/* X25519 with such a key gives zero, whatever the other secret is (RFC 7748 section 6.1). */
START_TEST(keys_of_low_order)
{
	static const char *const low[] = {
		"0000000000000000000000000000000000000000000000000000000000000000",
		"0100000000000000000000000000000000000000000000000000000000000000",
		"e0eb7a7c3b41b8ae1656e3faf19fc46ada098deb9c32b1fd866205165f49b800",
		"5f9c95bca3508c24b1d0b1559c83ef5b04445cc4581c8e86d8224eddd09f1157",
		"ecffffffffffffffffffffffffffffffffffffffffffffffffffffffffffff7f",
	};
	struct buffer ask = buffer_of("x");

	for (size_t i = 0; i < sizeof(low) / sizeof(low[0]); i++) {
		uint8_t message[NOISE_OVERHEAD] = { 0 };
		struct noise ns;
		size_t len;
		char *body;

		unhex(message, low[i]);
		noise_init(&ns, MSG_PROLOGUE, strlen(MSG_PROLOGUE), message);
		ck_assert_ptr_null(envelope_write_1(&ns, &ask, &len));
		noise_clear(&ns);
		/* As a client's ephemeral key. */
		body = msg_wrap_noise(true, message, sizeof(message), &len);
		server_refuses(body, len);
		free(body);
	}
	buffer_clear(&ask);
}
END_TEST

/* ---- boxes ---- */

static const uint8_t up[NOISE_KEY] = { 1 }, down[NOISE_KEY] = { 2 };

static bool
unboxes(bool request, const uint8_t key[NOISE_KEY], const char *body, size_t len, uint64_t *n,
    const char *expected)
{
	struct buffer plain = { 0 };
	char *copy = mem_alloc(len > 0 ? len : 1);
	bool ok;

	memcpy(copy, body, len);
	ok = envelope_unbox(request, key, copy, len, n, &plain);
	ck_assert(ok ? buffer_is(&plain, expected) : plain.n == 0);
	buffer_clear(&plain);
	free(copy);
	return ok;
}

START_TEST(boxes)
{
	static const uint64_t nonces[] = { 0, 1, 41, UINT32_MAX, (uint64_t)1 << 40 };
	static const char *const texts[] = { "", "x", "an exchange" };

	for (size_t i = 0; i < sizeof(nonces) / sizeof(nonces[0]); i++) {
		for (size_t k = 0; k < sizeof(texts) / sizeof(texts[0]); k++) {
			struct buffer plain = buffer_of(texts[k]);
			size_t len;
			uint64_t n = 99;
			char *body = envelope_box(i % 2 == 0, up, nonces[i], &plain, &len);

			ck_assert_uint_eq(len, strlen(body));
			ck_assert(unboxes(i % 2 == 0, up, body, len, &n, texts[k]));
			ck_assert_uint_eq(n, nonces[i]);
			ck_assert(!unboxes(i % 2 == 0, down, body, len, &n, ""));
			free(body);
			buffer_clear(&plain);
		}
	}
}
END_TEST

/* The nonce is outside the box, and yet nobody can move it. */
START_TEST(no_byte_of_a_box_may_change)
{
	struct buffer plain = buffer_of("bytes of a stream");

	for (int request = 0; request < 2; request++) {
		size_t len;
		uint64_t n;
		char *body = envelope_box(request, up, 12, &plain, &len);

		for (size_t i = 0; i < len; i++) {
			ck_assert(!unboxes(request, up, body, i, &n, ""));
			for (int bit = 0; bit < 8; bit++) {
				body[i] = (char)(body[i] ^ 1 << bit);
				ck_assert_msg(!unboxes(request, up, body, len, &n, ""), "took: %s",
				    body);
				body[i] = (char)(body[i] ^ 1 << bit);
			}
		}
		ck_assert(unboxes(request, up, body, len, &n, "bytes of a stream"));
		free(body);
	}
	buffer_clear(&plain);
}
END_TEST

START_TEST(too_short_to_be_a_box)
{
	for (size_t i = 0; i < 16; i++) {
		const uint8_t zeros[16] = { 0 };
		uint64_t n;
		size_t len;
		char *body = msg_wrap_box(true, 1, zeros, i, &len);

		ck_assert(!unboxes(true, up, body, len, &n, ""));
		free(body);
	}
}
END_TEST

/* The longest that there is, both ways. */
START_TEST(large_ones)
{
	struct buffer plain = { 0 }, opened = { 0 };
	struct noise client, server;
	uint8_t hash[32];
	uint64_t n;
	size_t len;
	char *body;

	memset(buffer_space(&plain, MSG_EXCHANGE_DATA), 'x', MSG_EXCHANGE_DATA);
	buffer_add(&plain, NULL, MSG_EXCHANGE_DATA);
	body = envelope_box(true, up, 3, &plain, &len);
	ck_assert_uint_lt(len, MSG_BODY_MAX);
	ck_assert(envelope_unbox(true, up, body, len, &n, &opened));
	ck_assert_uint_eq(opened.n, plain.n);
	ck_assert_mem_eq(buffer_data(&opened), buffer_data(&plain), plain.n);
	free(body);
	buffer_clear(&opened);

	buffer_drain(&plain, MSG_EXCHANGE_DATA - MSG_OPEN_DATA);
	client_starts(&client);
	body = envelope_write_1(&client, &plain, &len);
	ck_assert(server_reads(&server, server_secret, body, len, hash, &opened));
	ck_assert_uint_eq(opened.n, plain.n);
	ck_assert_mem_eq(buffer_data(&opened), buffer_data(&plain), plain.n);
	free(body);
	buffer_clear(&opened);
	buffer_clear(&plain);
	noise_clear(&client);
	noise_clear(&server);
}
END_TEST

TEST_MAIN("envelope", handshake, no_byte_of_message_1_may_change, no_byte_of_message_2_may_change,
	  too_short_to_be_a_message, keys_of_low_order, boxes, no_byte_of_a_box_may_change,
	  too_short_to_be_a_box, large_ones)
