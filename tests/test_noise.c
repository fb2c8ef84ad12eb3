/* Noise NK against published vectors, the primitives against their RFCs, and what Sultry
 * derives from them against spec/vectors/direct.json.
 *
 * SULTRY_WRITE_VECTORS=1 build/tests/test_noise writes that file anew instead of reading
 * it: only for a change of the wire. spec/vectors/check.py computes it a second time,
 * without our code. */
#include "tests/harness.h"

#include <jansson.h>

#include "common/frame.h"
#include "common/mem.h"
#include "common/message.h"
#include "common/noise.h"

#define NOISE_VECTORS "spec/vectors/noise_nk.json"
#define DIRECT_VECTORS "spec/vectors/direct.json"

static json_t *
load(const char *path)
{
	json_error_t error;
	json_t *o = json_load_file(path, 0, &error);

	ck_assert_msg(o != NULL, "%s: %s (tests run from the project's root)", path, error.text);
	return o;
}

/* Decodes the hex string at key; returns its length in bytes. */
static size_t
hex_of(const json_t *o, const char *key, uint8_t *out, size_t cap)
{
	const char *s = json_string_value(json_object_get(o, key));

	ck_assert_msg(s != NULL && strlen(s) / 2 <= cap, "%s", key);
	return unhex(out, s);
}

/* ---- RFC 7748, RFC 5869 ---- */

START_TEST(x25519_public_keys)
{
	static const char *const t[][2] = {
		/* section 6.1, and the first round of the iteration in section 5.2 */
		{ "77076d0a7318a57d3c16c17251b26645df4c2f87ebc0992ab177fba51db92c2a",
		  "8520f0098930a754748b7ddcb43ef75a0dbf3a0d26381af4eba4a98eaa9b4e6a" },
		{ "5dab087e624a8a4b79e17f8b83800ee66f3bb1292618b6fd1c2f8b27ff88e0eb",
		  "de9edb7d7b7dc1b4d35b61c2ece435373f8343c85b78674dadfc7e146f882b4f" },
		{ "0900000000000000000000000000000000000000000000000000000000000000",
		  "422c8e7a6227d7bca1350b3e2bb7279f7897b87bb6854b783c60e80311ae3079" },
	};
	uint8_t secret[NOISE_KEY], want[NOISE_KEY], public[NOISE_KEY];

	for (size_t i = 0; i < sizeof(t) / sizeof(t[0]); i++) {
		unhex(secret, t[i][0]);
		unhex(want, t[i][1]);
		noise_public(public, secret);
		ck_assert_mem_eq(public, want, NOISE_KEY);
		/* Clamping is on a copy, and complete. */
		secret[0] ^= 7;
		secret[31] ^= 0x80;
		noise_public(public, secret);
		ck_assert_mem_eq(public, want, NOISE_KEY);
	}
}
END_TEST

START_TEST(hkdf_sha256)
{
	static const struct {
		const char *ikm, *salt, *info, *okm;
	} t[] = { /* RFC 5869, appendices A.1 to A.3 */
		{ "0b0b0b0b0b0b0b0b0b0b0b0b0b0b0b0b0b0b0b0b0b0b", "000102030405060708090a0b0c",
		  "f0f1f2f3f4f5f6f7f8f9",
		  "3cb25f25faacd57a90434f64d0362f2a2d2d0a90cf1a5a4c5db02d56ecc4c5bf34007208d5b887185865" },
		{ "000102030405060708090a0b0c0d0e0f101112131415161718191a1b1c1d1e1f"
		  "202122232425262728292a2b2c2d2e2f303132333435363738393a3b3c3d3e3f"
		  "404142434445464748494a4b4c4d4e4f",
		  "606162636465666768696a6b6c6d6e6f707172737475767778797a7b7c7d7e7f"
		  "808182838485868788898a8b8c8d8e8f909192939495969798999a9b9c9d9e9f"
		  "a0a1a2a3a4a5a6a7a8a9aaabacadaeaf",
		  "b0b1b2b3b4b5b6b7b8b9babbbcbdbebfc0c1c2c3c4c5c6c7c8c9cacbcccdcecf"
		  "d0d1d2d3d4d5d6d7d8d9dadbdcdddedfe0e1e2e3e4e5e6e7e8e9eaebecedeeef"
		  "f0f1f2f3f4f5f6f7f8f9fafbfcfdfeff",
		  "b11e398dc80327a1c8e7f78c596a49344f012eda2d4efad8a050cc4c19afa97c"
		  "59045a99cac7827271cb41c65e590e09da3275600c2f09b8367793a9aca3db71"
		  "cc30c58179ec3e87c14c01d5c1f3434f1d87" },
		{ "0b0b0b0b0b0b0b0b0b0b0b0b0b0b0b0b0b0b0b0b0b0b", "", "",
		  "8da4e775a563c18f715f802a063c5a31b8a11f5c5ee1879ec3454e5f3c738d2d9d201395faa4b61a96c8" },
	};
	uint8_t ikm[80], salt[80], info[80], okm[82], want[82];

	for (size_t i = 0; i < sizeof(t) / sizeof(t[0]); i++) {
		size_t n = unhex(want, t[i].okm);

		noise_hkdf(okm, n, salt, unhex(salt, t[i].salt), ikm, unhex(ikm, t[i].ikm), info,
		    unhex(info, t[i].info));
		ck_assert_mem_eq(okm, want, n);
	}
}
END_TEST

START_TEST(sha256_of_two_parts)
{
	uint8_t want[32], got[32];

	/* FIPS 180: "abc", and the empty string */
	unhex(want, "ba7816bf8f01cfea414140de5dae2223b00361a396177a9cb410ff61f20015ad");
	for (size_t cut = 0; cut <= 3; cut++) {
		noise_sha256(got, "abc", cut, &"abc"[cut], 3 - cut);
		ck_assert_mem_eq(got, want, 32);
	}
	unhex(want, "e3b0c44298fc1c149afbf4c8996fb92427ae41e4649b934ca495991b7852b855");
	noise_sha256(got, NULL, 0, NULL, 0);
	ck_assert_mem_eq(got, want, 32);
}
END_TEST

/* ---- Noise NK ---- */

/* A transport message of the vectors: sealed as it says, opened to what it says. */
static void
transport(const json_t *message, const uint8_t key[NOISE_KEY], uint64_t n)
{
	uint8_t text[256], want[256], got[256];
	size_t len = hex_of(message, "payload", text, sizeof(text));

	ck_assert_uint_eq(hex_of(message, "ciphertext", want, sizeof(want)), len + AEAD_TAG);
	aead->seal(key, n, NULL, 0, text, len, got);
	ck_assert_mem_eq(got, want, len + AEAD_TAG);
	ck_assert(aead->open(key, n, NULL, 0, want, len + AEAD_TAG, got));
	ck_assert_mem_eq(got, text, len);
}

static void
play(const json_t *v)
{
	const json_t *messages = json_object_get(v, "messages");
	uint8_t prologue[256], e[NOISE_KEY], s[NOISE_KEY], rs[NOISE_KEY], public[NOISE_KEY];
	uint8_t text[256], want[256], msg[256], got[256], h[NOISE_HASH];
	struct noise client, server;
	struct noise_keys ck, sk;
	size_t n = hex_of(v, "init_prologue", prologue, sizeof(prologue)), len;

	hex_of(v, "init_remote_static", rs, sizeof(rs));
	hex_of(v, "resp_static", s, sizeof(s));
	noise_public(public, s);
	ck_assert_mem_eq(public, rs, NOISE_KEY);
	noise_init(&client, prologue, n, rs);
	noise_init(&server, prologue, n, public);

	hex_of(v, "init_ephemeral", e, sizeof(e));
	n = hex_of(json_array_get(messages, 0), "payload", text, sizeof(text));
	len = hex_of(json_array_get(messages, 0), "ciphertext", want, sizeof(want));
	ck_assert_uint_eq(len, n + NOISE_OVERHEAD);
	ck_assert(noise_write_1(&client, e, text, n, msg));
	ck_assert_mem_eq(msg, want, len);
	ck_assert(noise_read_1(&server, s, msg, len, got));
	ck_assert_mem_eq(got, text, n);

	hex_of(v, "resp_ephemeral", e, sizeof(e));
	n = hex_of(json_array_get(messages, 1), "payload", text, sizeof(text));
	len = hex_of(json_array_get(messages, 1), "ciphertext", want, sizeof(want));
	ck_assert(noise_write_2(&server, e, text, n, msg, &sk));
	ck_assert_mem_eq(msg, want, len);
	ck_assert(noise_read_2(&client, msg, len, got, &ck));
	ck_assert_mem_eq(got, text, n);
	ck_assert_mem_eq(&ck, &sk, sizeof(ck));
	if (json_object_get(v, "handshake_hash") != NULL) {
		hex_of(v, "handshake_hash", h, sizeof(h));
		ck_assert_mem_eq(ck.h, h, NOISE_HASH);
	}
	for (size_t i = 2; i < json_array_size(messages); i++)
		transport(json_array_get(messages, i), i % 2 == 0 ? ck.up : ck.down, i / 2 - 1);
}

START_TEST(published_vectors)
{
	json_t *o = load(NOISE_VECTORS);
	const json_t *vectors = json_object_get(o, "vectors");

	ck_assert_uint_ge(json_array_size(vectors), 2);
	for (size_t i = 0; i < json_array_size(vectors); i++)
		play(json_array_get(vectors, i));
	json_decref(o);
}
END_TEST

static uint8_t server_secret[NOISE_KEY] = { 7 }, server_public[NOISE_KEY];

static void
begin(struct noise *client, struct noise *server)
{
	noise_public(server_public, server_secret);
	noise_init(client, "p", 1, server_public);
	noise_init(server, "p", 1, server_public);
}

START_TEST(low_order_points_are_refused)
{
	static const char *const points[] = {
		"0000000000000000000000000000000000000000000000000000000000000000",
		"0100000000000000000000000000000000000000000000000000000000000000",
		"e0eb7a7c3b41b8ae1656e3faf19fc46ada098deb9c32b1fd866205165f49b800",
		"5f9c95bca3508c24b1d0b1559c83ef5b04445cc4581c8e86d8224eddd09f1157",
		"ecffffffffffffffffffffffffffffffffffffffffffffffffffffffffffff7f",
		"edffffffffffffffffffffffffffffffffffffffffffffffffffffffffffff7f",
		"eeffffffffffffffffffffffffffffffffffffffffffffffffffffffffffff7f",
	};
	struct noise client, server;
	struct noise_keys keys;
	uint8_t point[NOISE_KEY], msg[NOISE_OVERHEAD + 8] = { 0 }, out[8];

	for (size_t i = 0; i < sizeof(points) / sizeof(points[0]); i++) {
		unhex(point, points[i]);
		begin(&client, &server);
		noise_init(&client, "p", 1, point);
		ck_assert(!noise_write_1(&client, NULL, "", 0, msg));
		memcpy(msg, point, NOISE_KEY);
		ck_assert(!noise_read_1(&server, server_secret, msg, sizeof(msg), out));
		begin(&client, &server);
		ck_assert(noise_write_1(&client, NULL, "", 0, msg));
		memcpy(msg, point, NOISE_KEY);
		ck_assert(!noise_read_2(&client, msg, sizeof(msg), out, &keys));
	}
}
END_TEST

START_TEST(flips_and_cuts_are_refused)
{
	struct noise client, server, copy;
	struct noise_keys keys;
	uint8_t one[NOISE_OVERHEAD + 5], two[NOISE_OVERHEAD + 5], out[8];

	begin(&client, &server);
	ck_assert(noise_write_1(&client, NULL, "hello", 5, one));
	for (size_t bit = 0; bit < 8 * sizeof(one); bit++) {
		one[bit / 8] ^= (uint8_t)(1 << bit % 8);
		copy = server;
		ck_assert_msg(!noise_read_1(&copy, server_secret, one, sizeof(one), out), "bit %zu", bit);
		one[bit / 8] ^= (uint8_t)(1 << bit % 8);
	}
	for (size_t n = 0; n < sizeof(one); n++) {
		/* Its own memory, so that a sanitizer sees what is read or written beyond. */
		uint8_t *cut = mem_alloc(n + 1), *text = mem_alloc(n + 1);

		memcpy(cut + 1, one, n);
		copy = server;
		ck_assert_msg(!noise_read_1(&copy, server_secret, cut + 1, n, text), "length %zu", n);
		free(cut);
		free(text);
	}
	ck_assert(noise_read_1(&server, server_secret, one, sizeof(one), out));
	ck_assert(noise_write_2(&server, NULL, "reply", 5, two, &keys));
	for (size_t bit = 0; bit < 8 * sizeof(two); bit++) {
		two[bit / 8] ^= (uint8_t)(1 << bit % 8);
		copy = client;
		ck_assert_msg(!noise_read_2(&copy, two, sizeof(two), out, &keys), "bit %zu", bit);
		two[bit / 8] ^= (uint8_t)(1 << bit % 8);
	}
	for (size_t n = 0; n < sizeof(two); n++) {
		copy = client;
		ck_assert_msg(!noise_read_2(&copy, two, n, out, &keys), "length %zu", n);
	}
	ck_assert(noise_read_2(&client, two, sizeof(two), out, &keys));
}
END_TEST

START_TEST(another_key_or_prologue_is_refused)
{
	struct noise client, server;
	uint8_t msg[NOISE_OVERHEAD], out[1], other[NOISE_KEY] = { 8 };

	begin(&client, &server);
	ck_assert(noise_write_1(&client, NULL, NULL, 0, msg));
	ck_assert(!noise_read_1(&server, other, msg, sizeof(msg), out));
	noise_init(&server, "q", 1, server_public);
	ck_assert(!noise_read_1(&server, server_secret, msg, sizeof(msg), out));
	noise_init(&server, "p", 1, server_public);
	ck_assert(noise_read_1(&server, server_secret, msg, sizeof(msg), out));
}
END_TEST

/* ---- spec/vectors/direct.json ---- */

static json_t *
hex_json(const void *p, size_t n)
{
	static const char digit[] = "0123456789abcdef";
	const uint8_t *b = p;
	char s[2 * RECORD_MAX];

	for (size_t i = 0; i < n; i++) {
		s[2 * i] = digit[b[i] >> 4];
		s[2 * i + 1] = digit[b[i] & 15];
	}
	return json_stringn(s, 2 * n);
}

static json_t *
handshake_json(struct noise_keys *keys)
{
	static const char prologue[] = "sultry oob v1";
	uint8_t e1[NOISE_KEY], e2[NOISE_KEY], one[NOISE_OVERHEAD + 4], two[NOISE_OVERHEAD + 5], out[8];
	struct noise client, server;
	struct noise_keys other;

	memset(server_secret, 0x42, NOISE_KEY);
	memset(e1, 0x11, NOISE_KEY);
	memset(e2, 0x22, NOISE_KEY);
	noise_public(server_public, server_secret);
	noise_init(&client, prologue, sizeof(prologue) - 1, server_public);
	noise_init(&server, prologue, sizeof(prologue) - 1, server_public);
	ck_assert(noise_write_1(&client, e1, "open", 4, one));
	ck_assert(noise_read_1(&server, server_secret, one, sizeof(one), out));
	ck_assert(noise_write_2(&server, e2, "reply", 5, two, keys));
	ck_assert(noise_read_2(&client, two, sizeof(two), out, &other));
	return json_pack("{s:s, s:o, s:o, s:o, s:o, s:o, s:o, s:o, s:o, s:o, s:o, s:o, s:o}",
	    "prologue", prologue,
	    "server_secret", hex_json(server_secret, NOISE_KEY),
	    "server_public", hex_json(server_public, NOISE_KEY),
	    "client_ephemeral_secret", hex_json(e1, NOISE_KEY),
	    "server_ephemeral_secret", hex_json(e2, NOISE_KEY),
	    "payload_1", hex_json("open", 4), "message_1", hex_json(one, sizeof(one)),
	    "payload_2", hex_json("reply", 5), "message_2", hex_json(two, sizeof(two)),
	    "hash", hex_json(keys->h, NOISE_HASH), "key_up", hex_json(keys->up, NOISE_KEY),
	    "key_down", hex_json(keys->down, NOISE_KEY),
	    "direct_secret", hex_json(keys->direct, NOISE_KEY));
}

/* One record: its frames, padded with zeros to `size` bytes of body, and its bytes. */
static json_t *
record_json(struct record_key *k, const struct frame *f, size_t n, const uint8_t *tag, size_t size)
{
	uint8_t rec[RECORD_MAX];
	size_t skip = RECORD_HEADER + (tag != NULL ? EPOCH_TAG : 0), len;
	struct writer w = writer_of(rec + skip, size + RECORD_HEADER - skip - AEAD_TAG);
	json_t *o;

	for (size_t i = 0; i < n; i++)
		frame_write(&w, &f[i]);
	writer_zeros(&w, writer_room(&w));
	o = json_pack("{s:I, s:o}", "n", (json_int_t)k->n, "frames", hex_json(rec + skip, w.n));
	len = record_seal(k, rec, w.n, tag);
	json_object_set_new(o, "record", hex_json(rec, len));
	return o;
}

static json_t *
epoch_json(const struct noise_keys *keys, uint32_t epoch, const struct pad_scheme *pad)
{
	static const struct frame hello[] = {
		{ .type = FRAME_HELLO, .offset = 4096, .limit = 266240 },
		{ .type = FRAME_DATA, .offset = 517, .p = (const uint8_t *)"first bytes", .n = 11 },
	}, accept[] = {
		{ .type = FRAME_ACCEPT, .offset = 528, .limit = 262672 },
		{ .type = FRAME_DATA, .offset = 4096, .p = (const uint8_t *)"answer", .n = 6 },
		{ .type = FRAME_FIN, .offset = 4102 },
	}, more[] = {
		{ .type = FRAME_ACK, .offset = 4103, .limit = 266246 },
		{ .type = FRAME_PING, .offset = 0x0102030405060708 },
		{ .type = FRAME_PONG, .offset = 0x1112131415161718 },
		{ .type = FRAME_CLOSE, .code = CLOSE_RESET },
	};
	struct noise_epoch e;
	struct record_key up = { .n = 0 }, down = { .n = 0 };
	json_t *o;

	noise_epoch(&e, keys->direct, epoch);
	memcpy(up.key, e.up, AEAD_KEY);
	memcpy(down.key, e.down, AEAD_KEY);
	o = json_pack("{s:I, s:o, s:o, s:o}", "epoch", (json_int_t)epoch,
	    "tag", hex_json(e.tag, EPOCH_TAG), "key_up", hex_json(e.up, NOISE_KEY),
	    "key_down", hex_json(e.down, NOISE_KEY));
	json_object_set_new(o, "hello", record_json(&up, hello, 2, e.tag, pad->up[0]));
	json_object_set_new(o, "accept", record_json(&down, accept, 3, NULL, pad->down[0]));
	json_object_set_new(o, "second_up", record_json(&up, more, 4, NULL, pad->up[1]));
	return o;
}

static json_t *
padding_json(const struct pad_scheme *s)
{
	json_t *up = json_array(), *down = json_array();

	for (int i = 0; i < PAD_FIRST; i++) {
		json_array_append_new(up, json_integer(s->up[i]));
		json_array_append_new(down, json_integer(s->down[i]));
	}
	return json_pack("{s:o, s:o, s:I}", "up", up, "down", down, "spread", (json_int_t)s->spread);
}

static json_t *
direct_json(void)
{
	struct noise_keys keys;
	struct pad_scheme pad;
	char path[MSG_PATH_LEN + 1];
	json_t *o = json_object(), *epochs = json_array();

	json_object_set_new(o, "handshake", handshake_json(&keys));
	msg_base_path(path, server_public);
	json_object_set_new(o, "base_path", json_string(path));
	pad_scheme_init(&pad, server_public);
	json_object_set_new(o, "padding", padding_json(&pad));
	json_array_append_new(epochs, epoch_json(&keys, 0, &pad));
	json_array_append_new(epochs, epoch_json(&keys, 0x01020304, &pad));
	json_object_set_new(o, "epochs", epochs);
	return o;
}

START_TEST(direct_vectors)
{
	json_t *ours = direct_json(), *file;

	if (getenv("SULTRY_WRITE_VECTORS") != NULL)
		ck_assert_int_eq(json_dump_file(ours, DIRECT_VECTORS, JSON_INDENT(1)), 0);
	file = load(DIRECT_VECTORS);
	ck_assert(json_equal(ours, file));
	json_decref(ours);
	json_decref(file);
}
END_TEST

START_TEST(epochs_share_nothing)
{
	struct noise_epoch e[50];
	uint8_t direct[NOISE_KEY] = { 5 };
	unsigned same = 0;

	for (uint32_t i = 0; i < 50; i++) {
		noise_epoch(&e[i], direct, i < 25 ? i : i << 20);
		same += memcmp(e[i].up, e[i].down, NOISE_KEY) == 0;
		for (uint32_t k = 0; k < i; k++)
			same += memcmp(e[i].tag, e[k].tag, EPOCH_TAG) == 0 ||
			    memcmp(e[i].up, e[k].up, NOISE_KEY) == 0 ||
			    memcmp(e[i].down, e[k].down, NOISE_KEY) == 0;
	}
	ck_assert_uint_eq(same, 0);
}
END_TEST

TEST_MAIN("noise", x25519_public_keys, hkdf_sha256, sha256_of_two_parts, published_vectors,
    low_order_points_are_refused, flips_and_cuts_are_refused, another_key_or_prologue_is_refused,
    direct_vectors, epochs_share_nothing)
