/* The JSON messages: what is encoded is decoded, and nothing else is. */
#include "tests/harness.h"

#include <jansson.h>

#include "common/mem.h"
#include "common/message.h"

#define ID "AAAAAAAAAAAAAAAAAAAAAA"

enum kind { OPENING, EXCHANGE, REPLY }; /* what it is decoded as */

static bool
decodes(enum kind kind, const void *p, size_t n)
{
	struct msg_request m;
	struct msg_reply r;

	return kind == REPLY ? msg_decode_reply(&r, p, n) : msg_decode_request(&m, p, n, kind == EXCHANGE);
}

/* A plaintext of this header and n bytes of stream, freed by the next call. */
static struct buffer *
plain_of(const char *json, size_t json_len, size_t n)
{
	static struct buffer b;
	uint8_t len[2] = { (uint8_t)(json_len >> 8), (uint8_t)json_len };

	buffer_clear(&b);
	buffer_add(&b, len, 2);
	buffer_add(&b, json, json_len);
	if (n > 0) {
		memset(buffer_space(&b, n), 'x', n);
		buffer_add(&b, NULL, n);
	}
	return &b;
}

static bool
text_decodes(enum kind kind, const char *json, size_t data)
{
	struct buffer *b = plain_of(json, strlen(json), data);

	return decodes(kind, buffer_data(b), b->n);
}

/* ---- good ones ---- */

static const struct {
	enum kind kind;
	const char *json;
	bool data; /* stream bytes may follow */
} good[] = {
	{ OPENING, "{\"op\":\"open\",\"time\":1700000000,\"up\":0,\"pad\":\"000\"}", true },
	{ OPENING, "{\"op\":\"open\",\"time\":0,\"up\":0,\"token\":\"alice\","
	    "\"target\":{\"host\":\"example.com\",\"port\":443}}", true },
	{ OPENING, "{\"op\":\"status\",\"time\":5,\"session\":\"" ID "\"}", false },
	{ OPENING, "{\"op\":\"resolve\",\"time\":5,\"host\":\"example.com\",\"unknown\":[{}]}", false },
	{ EXCHANGE, "{\"op\":\"exchange\",\"epoch\":1,\"poll\":true,\"up\":517,\"fin\":false,"
	    "\"down_ack\":[1,2],\"up_limit\":262144,\"wait_ms\":25000,\"close\":null}", true },
	{ EXCHANGE, "{\"op\":\"exchange\",\"epoch\":0,\"poll\":false,\"up\":0,\"fin\":true,"
	    "\"down_ack\":[0,0],\"up_limit\":0,\"wait_ms\":0,\"close\":\"reset\"}", true },
	{ REPLY, "{\"session\":\"" ID "\",\"up_ack\":[1,2],\"down\":0,\"fin\":false,\"retain_s\":600,"
	    "\"direct\":[{\"address\":\"192.0.2.1\",\"port\":443},{\"address\":\"::1\",\"port\":1}],"
	    "\"target\":{\"address\":\"203.0.113.5\",\"port\":443}}", true },
	{ REPLY, "{\"re\":7,\"up_ack\":[3,4],\"down\":9,\"fin\":true,\"close\":\"done\"}", true },
	{ REPLY, "{\"ttl\":60,\"addresses\":[\"192.0.2.1\",\"2001:db8::1\"]}", false },
	{ REPLY, "{\"alive\":false}", false },
	{ REPLY, "{\"error\":{\"code\":\"busy\",\"message\":\"later\"}}", false },
	{ REPLY, "{\"error\":{\"code\":\"clock_skew\",\"message\":\"\"},\"time\":1700000000}", false },
};
#define GOOD (sizeof(good) / sizeof(good[0]))

START_TEST(good_ones)
{
	for (size_t i = 0; i < GOOD; i++) {
		ck_assert_msg(text_decodes(good[i].kind, good[i].json, 0), "%s", good[i].json);
		ck_assert_msg(text_decodes(good[i].kind, good[i].json, 10) == good[i].data, "%s with data",
		    good[i].json);
		/* Nothing is taken for a message of another kind. */
		for (enum kind k = OPENING; k <= REPLY; k++)
			if (k != good[i].kind && !(k == REPLY && strstr(good[i].json, "session")))
				ck_assert_msg(!text_decodes(k, good[i].json, 0), "%s as %d", good[i].json, k);
	}
}
END_TEST

START_TEST(cut_at_every_length)
{
	for (size_t i = 0; i < GOOD; i++) {
		size_t len = strlen(good[i].json);
		struct buffer *b = plain_of(good[i].json, len, 0);

		for (size_t n = 0; n < b->n; n++) {
			/* A copy of just that size, so that a sanitizer sees a read beyond it. */
			uint8_t *p = mem_alloc(n + 1);

			memcpy(p + 1, buffer_data(b), n);
			ck_assert_msg(!decodes(good[i].kind, p + 1, n), "%s at %zu", good[i].json, n);
			free(p);
		}
		/* And the header itself, its length being right. */
		for (size_t n = 0; n < len; n++) {
			b = plain_of(good[i].json, n, 0);
			ck_assert_msg(!decodes(good[i].kind, buffer_data(b), b->n), "%s cut at %zu",
			    good[i].json, n);
		}
	}
}
END_TEST

/* ---- wrong types, for every key at every depth ---- */

static const char *const wrong[] = {
	"null", "true", "\"x\"", "\"\"", "-1", "1.5", "1e3", "[]", "{}", "[1]", "[1,2,3]",
	"[\"1\",2]", "[1,-2]", "[-1,2]", "[1,2.0]", "9223372036854775807",
};

/* Where a value of another type is allowed all the same. */
static bool
allowed(const char *key, const char *value)
{
	static const char *const t[][2] = {
		{ "pad", "" }, { "unknown", "" }, /* no meaning, or none that matters */
		{ "poll", "true" }, { "fin", "true" }, { "alive", "true" }, { "close", "null" },
		{ "host", "\"x\"" }, { "token", "\"x\"" }, { "code", "\"x\"" }, { "code", "\"\"" },
		{ "message", "\"x\"" }, { "message", "\"\"" },
		{ "direct", "[]" }, { "addresses", "[]" },
	};

	for (size_t i = 0; i < sizeof(t) / sizeof(t[0]); i++)
		if (strcmp(key, t[i][0]) == 0 && (t[i][1][0] == '\0' || strcmp(value, t[i][1]) == 0))
			return true;
	return false;
}

static void
decode_object(enum kind kind, json_t *root, const char *key, const char *value, bool want)
{
	char *text = json_dumps(root, JSON_COMPACT);

	ck_assert_msg(text_decodes(kind, text, 0) == want, "%s = %s in %s", key, value, text);
	free(text);
}

/* Tries every wrong value for every key of o, which is part of root. */
static void
try_wrong(enum kind kind, json_t *root, json_t *o)
{
	const char *key;
	json_t *v;
	void *next;

	for (void *at = json_object_iter(o); at != NULL; at = next) {
		key = json_object_iter_key(at);
		v = json_incref(json_object_iter_value(at));
		for (size_t i = 0; i < sizeof(wrong) / sizeof(wrong[0]); i++) {
			json_object_iter_set_new(o, at, json_loads(wrong[i], JSON_DECODE_ANY, NULL));
			decode_object(kind, root, key, wrong[i], allowed(key, wrong[i]));
		}
		json_object_iter_set(o, at, v);
		if (json_is_object(v))
			try_wrong(kind, root, v);
		for (size_t i = 0; json_is_array(v) && i < json_array_size(v); i++) {
			json_t *item = json_incref(json_array_get(v, i));

			if (json_is_object(item))
				try_wrong(kind, root, item);
			json_array_set_new(v, i, json_object());
			decode_object(kind, root, key, "an item {}", allowed(key, ""));
			json_array_set_new(v, i, json_string("x"));
			decode_object(kind, root, key, "an item \"x\"", allowed(key, ""));
			json_array_set_new(v, i, item);
		}
		json_decref(v);
		next = json_object_iter_next(o, at);
	}
}

/* Leaves out each key of the outermost object. */
static void
try_without(enum kind kind, const char *json)
{
	json_t *whole = json_loads(json, 0, NULL);
	const char *key;
	json_t *v;

	json_object_foreach(whole, key, v) {
		json_t *o = json_copy(whole);
		bool optional = strcmp(key, "target") == 0 || strcmp(key, "token") == 0 || allowed(key, "");

		json_object_del(o, key);
		decode_object(kind, o, key, "(missing)", optional);
		json_decref(o);
	}
	json_decref(whole);
}

START_TEST(wrong_types)
{
	for (size_t i = 0; i < GOOD; i++) {
		json_t *o = json_loads(good[i].json, 0, NULL);

		ck_assert_ptr_nonnull(o);
		try_wrong(good[i].kind, o, o);
		decode_object(good[i].kind, o, "all", "as it was", true);
		json_decref(o);
		try_without(good[i].kind, good[i].json);
	}
}
END_TEST

/* ---- named bad ones ---- */

#define X(rest) "{\"op\":\"exchange\",\"epoch\":0,\"poll\":true,\"fin\":false,\"down_ack\":[0,0]," \
	"\"up_limit\":0," rest "}"
#define OPEN(rest) "{\"op\":\"open\",\"time\":1,\"up\":0," rest "}"

#define FOUR(s) s "," s "," s "," s
#define EIGHT(s) FOUR(s) "," FOUR(s)
#define IP "\"2001:db8:1111:2222:3333:4444:5555:6666\""
#define DIRECT "{\"address\":\"192.0.2.1\",\"port\":1}"
#define OPENED(list) "{\"session\":\"" ID "\",\"up_ack\":[1,2],\"down\":0,\"fin\":false," \
	"\"retain_s\":600,\"direct\":[" list "]}"

START_TEST(named_bad_ones)
{
	static const struct {
		enum kind kind;
		const char *json;
	} bad[] = {
		{ OPENING, "" }, { OPENING, "{}" }, { OPENING, "[]" }, { OPENING, "null" },
		{ OPENING, "{\"op\":\"delete\",\"time\":1,\"host\":\"a\"}" },
		{ OPENING, "{\"op\":\"open\",\"time\":1,\"up\":1}" },
		{ OPENING, OPEN("\"target\":{\"host\":\"a\",\"port\":0}") },
		{ OPENING, OPEN("\"target\":{\"host\":\"a\",\"port\":65536}") },
		{ OPENING, OPEN("\"target\":{\"host\":\"a\\nb\",\"port\":1}") },
		{ OPENING, OPEN("\"target\":{\"host\":\"a\\u0000b\",\"port\":1}") },
		{ OPENING, OPEN("\"target\":{\"host\":\"\\u00e4\",\"port\":1}") },
		{ OPENING, OPEN("\"target\":{\"host\":\"\xff\",\"port\":1}") },
		{ OPENING, OPEN("\"token\":\"a\\u001bb\"") },
		{ OPENING, OPEN("\"up\":0") },            /* twice */
		{ OPENING, OPEN("\"pad\":\"a\",\"pad\":\"b\"") },
		{ OPENING, OPEN("\"pad\":\"\"") "{}" },   /* more behind */
		{ OPENING, OPEN("\"pad\":\"\"") "x" },
		{ OPENING, "{\"op\":\"status\",\"time\":1,\"session\":\"AAAAAAAAAAAAAAAAAAAAA\"}" },
		{ OPENING, "{\"op\":\"status\",\"time\":1,\"session\":\"AAAAAAAAAAAAAAAAAAAAAAA\"}" },
		{ OPENING, "{\"op\":\"status\",\"time\":1,\"session\":\"AAAAAAAAAA/AAAAAAAAAAA\"}" },
		{ OPENING, "{\"op\":\"status\",\"time\":1,\"session\":\"AAAAAAAAAAAAAAAAAAAAAB\"}" },
		{ OPENING, "{\"op\":\"open\",\"time\":99999999999999999999,\"up\":0}" },
		{ OPENING, "{\"op\":\"open\",\"time\":4611686018427387904,\"up\":0}" },
		{ EXCHANGE, X("\"up\":4611686018427387904,\"wait_ms\":0,\"close\":null") },
		{ EXCHANGE, X("\"up\":0,\"wait_ms\":60001,\"close\":null") },
		{ EXCHANGE, X("\"up\":0,\"wait_ms\":0,\"close\":\"no\"") },
		{ EXCHANGE, X("\"up\":0,\"wait_ms\":0,\"close\":\"none\"") },
		{ REPLY, "{\"error\":{\"code\":\"clock_skew\",\"message\":\"\"}}" },
		{ REPLY, "{\"error\":{\"code\":\"busy\"}}" },
		{ REPLY, "{\"error\":{\"code\":\"busy\",\"message\":5}}" },
		{ REPLY, "{\"ttl\":86401,\"addresses\":[]}" },
		{ REPLY, "{\"ttl\":1,\"addresses\":[\"example.com\"]}" },
		{ REPLY, "{\"ttl\":1,\"addresses\":[\"1.2.3.4.5\"]}" },
	};

	ck_assert(text_decodes(EXCHANGE, X("\"up\":0,\"wait_ms\":60000,\"close\":null"), 0));
	ck_assert(text_decodes(OPENING, OPEN("\"pad\":\"\""), 0));
	for (size_t i = 0; i < sizeof(bad) / sizeof(bad[0]); i++)
		ck_assert_msg(!text_decodes(bad[i].kind, bad[i].json, 0), "%s", bad[i].json);
	ck_assert(!decodes(OPENING, "\0\x02{\0", 4)); /* a NUL in the text */
	ck_assert(text_decodes(REPLY, "{\"ttl\":1,\"addresses\":[" EIGHT(IP) "," EIGHT(IP) "]}", 0));
	ck_assert(!text_decodes(REPLY, "{\"ttl\":1,\"addresses\":[" EIGHT(IP) "," EIGHT(IP) "," IP "]}", 0));
	ck_assert(text_decodes(REPLY, OPENED(FOUR(DIRECT)), 0));
	ck_assert(!text_decodes(REPLY, OPENED(FOUR(DIRECT) "," DIRECT), 0));
}
END_TEST

START_TEST(sizes)
{
	static char text[70000];
	struct buffer *b;
	size_t n;

	ck_assert(text_decodes(OPENING, good[0].json, MSG_OPEN_DATA));
	ck_assert(!text_decodes(OPENING, good[0].json, MSG_OPEN_DATA + 1));
	ck_assert(text_decodes(EXCHANGE, good[4].json, MSG_EXCHANGE_DATA));
	ck_assert(!text_decodes(EXCHANGE, good[4].json, MSG_EXCHANGE_DATA + 1));
	ck_assert(text_decodes(REPLY, good[6].json, MSG_OPEN_DATA));
	ck_assert(!text_decodes(REPLY, good[6].json, MSG_OPEN_DATA + 1));
	ck_assert(text_decodes(REPLY, good[7].json, MSG_EXCHANGE_DATA));
	ck_assert(!text_decodes(REPLY, good[7].json, MSG_EXCHANGE_DATA + 1));

	/* Host names of 255 and 256 bytes. */
	for (int len = MSG_HOST_MAX; len <= MSG_HOST_MAX + 1; len++) {
		snprintf(text, sizeof(text), OPEN("\"target\":{\"host\":\"%0*d\",\"port\":1}"), len, 0);
		ck_assert_int_eq(text_decodes(OPENING, text, 0), len == MSG_HOST_MAX);
	}
	/* A header of nothing but brackets, as deep as it can be. */
	memset(text, '[', 65535);
	b = plain_of(text, 65535, 0);
	ck_assert(!decodes(OPENING, buffer_data(b), b->n));
	memset(text, '{', 65535);
	b = plain_of(text, 65535, 0);
	ck_assert(!decodes(REPLY, buffer_data(b), b->n));
	/* One huge string that nobody asked for is passed over. */
	n = (size_t)snprintf(text, sizeof(text), OPEN("\"pad\":\"%065000d\""), 0);
	b = plain_of(text, n, 0);
	ck_assert(decodes(OPENING, buffer_data(b), b->n));
	/* A header that says it is longer than what there is. */
	ck_assert(!decodes(OPENING, "\xff\xff{}", 4));
}
END_TEST

/* ---- encoding ---- */

static void
check_sizes(const struct buffer *b, size_t data)
{
	ck_assert_uint_eq(b->n % 512, 0);
	ck_assert_uint_ge(b->n, 1024);
	ck_assert_uint_le(b->n, data + 3 * 1024);
}

START_TEST(requests_both_ways)
{
	struct msg_request all[] = {
		{ .op = OP_OPEN, .time = 1700000000, .host = "example.com", .port = 443, .token = "alice",
		  .data = (const uint8_t *)"hello", .n = 5 },
		{ .op = OP_OPEN, .time = 1 },
		{ .op = OP_STATUS, .time = 2, .session = ID },
		{ .op = OP_RESOLVE, .time = 3, .host = "example.org", .token = "bob" },
		{ .op = OP_EXCHANGE, .up = 1ull << 40, .epoch = 77, .poll = true, .ack_received = 5,
		  .ack_limit = 1ull << 41, .up_limit = 1ull << 42, .wait_ms = 25000,
		  .data = (const uint8_t *)"bytes", .n = 5 },
		{ .op = OP_EXCHANGE, .fin = true, .close = CLOSE_ERROR },
	}, got;
	struct buffer b = { 0 };

	for (size_t i = 0; i < sizeof(all) / sizeof(all[0]); i++) {
		msg_encode_request(&b, &all[i]);
		check_sizes(&b, all[i].n);
		ck_assert(msg_decode_request(&got, buffer_data(&b), b.n, all[i].op == OP_EXCHANGE));
		ck_assert_uint_eq(got.n, all[i].n);
		ck_assert(got.n == 0 || memcmp(got.data, all[i].data, got.n) == 0);
		got.data = all[i].data;
		ck_assert_mem_eq(&got, &all[i], sizeof(got));
		buffer_clear(&b);
	}
}
END_TEST

START_TEST(replies_both_ways)
{
	struct msg_reply all[] = {
		{ .op = REPLY_OPENED, .session = ID, .target = { "203.0.113.5", 443 },
		  .direct = { { "192.0.2.1", 443 }, { "2001:db8::1", 8443 } }, .n_direct = 2,
		  .retain_s = 600, .ack_received = 1, .ack_limit = 2, .fin = true,
		  .data = (const uint8_t *)"hello", .n = 5 },
		{ .op = REPLY_OPENED, .session = ID },
		{ .op = REPLY_EXCHANGED, .re = 1ull << 50, .ack_received = 3, .ack_limit = 4, .down = 5,
		  .close = CLOSE_RESET, .data = (const uint8_t *)"x", .n = 1 },
		{ .op = REPLY_STATUS, .alive = true },
		{ .op = REPLY_STATUS },
		{ .op = REPLY_RESOLVED, .addresses = { "192.0.2.7", "::" }, .n_addresses = 2, .ttl = 60 },
		{ .op = REPLY_RESOLVED },
		{ .op = REPLY_ERROR, .error = ERR_TARGET_REFUSED, .message = "no" },
		{ .op = REPLY_ERROR, .error = ERR_CLOCK_SKEW, .time = 1700000000 },
	}, got;
	struct buffer b = { 0 };

	for (size_t i = 0; i < sizeof(all) / sizeof(all[0]); i++) {
		msg_encode_reply(&b, &all[i]);
		check_sizes(&b, all[i].n);
		ck_assert(msg_decode_reply(&got, buffer_data(&b), b.n));
		ck_assert(got.n == all[i].n && (got.n == 0 || memcmp(got.data, all[i].data, got.n) == 0));
		got.data = all[i].data;
		ck_assert_mem_eq(&got, &all[i], sizeof(got));
		buffer_clear(&b);
	}
}
END_TEST

/* The largest messages fit into the largest bodies. */
START_TEST(the_largest_fit)
{
	static uint8_t data[MSG_EXCHANGE_DATA], sealed[MSG_BODY_MAX];
	struct msg_request x = { .op = OP_EXCHANGE, .up = INT64_MAX / 2, .epoch = UINT32_MAX / 2,
		.ack_received = INT64_MAX, .ack_limit = INT64_MAX, .up_limit = INT64_MAX / 2,
		.wait_ms = 60000, .close = CLOSE_RESET, .data = data, .n = sizeof(data) };
	struct buffer b = { 0 }, back = { 0 };
	uint64_t n;
	size_t len;
	char *s;

	for (int i = 0; i < 20; i++) {
		msg_encode_request(&b, &x);
		ck_assert_uint_le(b.n + 16, sizeof(sealed));
		s = msg_wrap_box(true, INT64_MAX / 2, sealed, b.n + 16, &len);
		ck_assert_uint_le(len, MSG_BODY_MAX);
		ck_assert(msg_unwrap_box(true, s, len, &n, &back));
		ck_assert_uint_eq(back.n, b.n + 16);
		ck_assert(msg_decode_request(&(struct msg_request){ 0 }, buffer_data(&b), b.n, true));
		buffer_clear(&b);
		buffer_clear(&back);
		free(s);
	}
}
END_TEST

START_TEST(padding_varies)
{
	struct msg_reply r = { .op = REPLY_STATUS };
	unsigned seen[8] = { 0 };

	for (int i = 0; i < 300; i++) {
		struct buffer b = { 0 };

		msg_encode_reply(&b, &r);
		seen[b.n / 512 < 8 ? b.n / 512 : 0]++;
		buffer_clear(&b);
	}
	/* 1024, 1536 and 2048 bytes, each a third of the time. */
	ck_assert(seen[2] > 0 && seen[3] > 0 && seen[4] > 0);
	ck_assert_uint_eq(seen[2] + seen[3] + seen[4], 300);
}
END_TEST

START_TEST(errors_are_a_closed_list)
{
	struct msg_reply got;
	struct buffer *b;
	const char *json = "{\"error\":{\"code\":\"of_tomorrow\",\"message\":\"a\\nb\\u00e4\"}}";

	ck_assert_str_eq(msg_error_name(ERR_TARGET_REFUSED), "target_refused");
	ck_assert_uint_eq(msg_error_socks(ERR_TARGET_REFUSED), 5);
	for (int i = ERR_NONE + 1; i < ERR_COUNT; i++) {
		ck_assert_ptr_nonnull(msg_error_name((enum msg_error)i));
		ck_assert(msg_error_socks((enum msg_error)i) >= 1 && msg_error_socks((enum msg_error)i) <= 8);
		for (int k = 0; k < i; k++)
			ck_assert_str_ne(msg_error_name((enum msg_error)i), msg_error_name((enum msg_error)k));
	}
	/* A newer server's is taken for the most general; its text is made safe to log. */
	b = plain_of(json, strlen(json), 0);
	ck_assert(msg_decode_reply(&got, buffer_data(b), b->n));
	ck_assert_int_eq(got.error, ERR_TARGET_FAILED);
	ck_assert_str_eq(got.message, "a?b??");
}
END_TEST

/* ---- the outer JSON ---- */

START_TEST(outer_json)
{
	static const struct {
		bool request, box;
		const char *json;
		bool good;
	} t[] = {
		{ true, false, "{\"v\":1,\"noise\":\"Zm9v\"}", true },
		{ true, false, " { \"noise\" : \"Zm9v\" , \"v\" : 1 , \"new\" : {} } ", true },
		{ false, false, "{\"noise\":\"Zm9v\"}", true },
		{ true, false, "{\"noise\":\"Zm9v\"}", false },
		{ true, false, "{\"v\":2,\"noise\":\"Zm9v\"}", false },
		{ true, false, "{\"v\":\"1\",\"noise\":\"Zm9v\"}", false },
		{ true, false, "{\"v\":1,\"noise\":\"\"}", false },
		{ true, false, "{\"v\":1,\"noise\":\"Zm9v=\"}", false },
		{ true, false, "{\"v\":1,\"noise\":\"Zm9v\",\"noise\":\"Zm9v\"}", false },
		{ true, false, "{\"v\":1,\"noise\":7}", false },
		{ true, false, "{\"v\":1,\"box\":\"Zm9v\"}", false },
		{ true, false, "{\"v\":1,\"noise\":\"Zm9v\"}x", false },
		{ true, false, "[\"v\",1]", false },
		{ true, true, "{\"v\":1,\"n\":7,\"box\":\"Zm9v\"}", true },
		{ false, true, "{\"n\":7,\"box\":\"Zm9v\"}", true },
		{ true, true, "{\"v\":1,\"box\":\"Zm9v\"}", false },
		{ true, true, "{\"v\":1,\"n\":-7,\"box\":\"Zm9v\"}", false },
		{ true, true, "{\"v\":1,\"n\":7.0,\"box\":\"Zm9v\"}", false },
		{ true, true, "{\"v\":1,\"n\":9223372036854775807,\"box\":\"Zm9v\"}", false },
		{ true, true, "{\"v\":1,\"n\":99999999999999999999,\"box\":\"Zm9v\"}", false },
	};
	struct buffer out = { 0 };
	uint64_t n;

	for (size_t i = 0; i < sizeof(t) / sizeof(t[0]); i++) {
		for (size_t len = 0; len <= strlen(t[i].json); len++) {
			bool whole = strchr(" x", t[i].json[len]) != NULL && strchr(&t[i].json[len], '}') == NULL;
			bool ok = t[i].box ? msg_unwrap_box(t[i].request, t[i].json, len, &n, &out) :
			    msg_unwrap_noise(t[i].request, t[i].json, len, &out);

			if (len == strlen(t[i].json))
				ck_assert_msg(ok == t[i].good, "%s", t[i].json);
			else if (!whole)
				ck_assert_msg(!ok, "%s at %zu", t[i].json, len);
			if (ok) {
				ck_assert(out.n == 3 && memcmp(buffer_data(&out), "foo", 3) == 0);
				ck_assert(!t[i].box || n == 7);
			}
			buffer_clear(&out);
		}
	}
}
END_TEST

START_TEST(outer_json_has_a_cap)
{
	size_t len = MSG_BODY_MAX + 1;
	char *s = mem_alloc(len);
	struct buffer out = { 0 };

	memset(s, ' ', len);
	memcpy(s, "{\"noise\":\"Zm9v\"}", 16);
	ck_assert(msg_unwrap_noise(false, s, len - 1, &out));
	buffer_clear(&out);
	ck_assert(!msg_unwrap_noise(false, s, len, &out));
	ck_assert_uint_eq(out.n, 0);
	buffer_clear(&out);
	free(s);
}
END_TEST

TEST_MAIN("message", good_ones, cut_at_every_length, wrong_types, named_bad_ones, sizes,
    requests_both_ways, replies_both_ways, the_largest_fit, padding_varies,
    errors_are_a_closed_list, outer_json, outer_json_has_a_cap)
