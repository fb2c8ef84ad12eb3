/* The pieces of a ClientHello, and whether real servers take them. */
#include "pt-client/split.h"

#include "common/mem.h"
#include "common/tls_hello.h"
#include "tests/harness.h"
#include "tests/tls_peer.h"

#define NAME "www.example.com"

/* A ClientHello message for `name` (no SNI if its length is 0), padded to about `size`. */
static size_t
write_hello(uint8_t *out, size_t cap, const char *name, size_t size)
{
	uint8_t ext[70000];
	struct writer w = writer_of(out, cap), e = writer_of(ext, sizeof(ext));
	size_t n = strlen(name), pad = size > 200 + n ? size - 100 - n : 0;
	size_t body;

	while (pad > 0) { /* before the name, as Chrome's shuffle may have it */
		size_t part = pad < 60000 ? pad : 60000;

		writer_u16(&e, 21);
		writer_u16(&e, (uint16_t)part);
		writer_zeros(&e, part);
		pad -= part;
	}
	if (n > 0) {
		writer_u16(&e, 0);
		writer_u16(&e, (uint16_t)(n + 5));
		writer_u16(&e, (uint16_t)(n + 3));
		writer_u8(&e, 0);
		writer_u16(&e, (uint16_t)n);
		writer_bytes(&e, name, n);
	}
	writer_u16(&e, 43);
	writer_u16(&e, 3);
	writer_bytes(&e, "\x02\x03\x04", 3);
	body = 2 + 32 + 1 + 4 + 2 + 2 + e.n;
	writer_u8(&w, TLS_CLIENT_HELLO);
	writer_u8(&w, (uint8_t)(body >> 16));
	writer_u16(&w, (uint16_t)body);
	writer_u16(&w, TLS_1_2);
	writer_zeros(&w, 32);
	writer_u8(&w, 0);
	writer_bytes(&w, "\x00\x02\x13\x01", 4);
	writer_bytes(&w, "\x01\x00", 2);
	writer_u16(&w, (uint16_t)e.n);
	writer_bytes(&w, ext, e.n);
	ck_assert(!w.failed && !e.failed);
	return w.n;
}

/* Appends handshake bytes as records of at most `size`. */
static void
put_records(struct buffer *out, const uint8_t *p, size_t n, size_t size)
{
	for (size_t at = 0; at < n; at += size) {
		size_t len = n - at < size ? n - at : size;
		const uint8_t header[5] = { TLS_HANDSHAKE, 3, 1, (uint8_t)(len >> 8), (uint8_t)len };

		buffer_add(out, header, 5);
		buffer_add(out, p + at, len);
	}
}

static struct buffer
hello_for(const char *name, size_t size, size_t record)
{
	uint8_t message[70000];
	struct buffer out = { 0 };
	size_t n = write_hello(message, sizeof(message), name, size);

	put_records(&out, message, n, record);
	return out;
}

/* Feeds `step` bytes at a time, as exact copies, until it is decided; *fed: how many. */
static enum split_result
run(struct split *s, const struct buffer *in, size_t step, size_t *fed)
{
	enum split_result r = SPLIT_MORE;

	*s = (struct split){ .n_cuts = 0 };
	for (*fed = 0; *fed < in->n && r == SPLIT_MORE;) {
		size_t k = in->n - *fed < step ? in->n - *fed : step;
		uint8_t *copy = mem_alloc(k);

		memcpy(copy, buffer_data(in) + *fed, k);
		r = split_feed(s, copy, k);
		*fed += k;
		free(copy);
	}
	return r;
}

/* The bodies of whole handshake records, which p and n must be, but for `rest` bytes. */
static struct buffer
bodies(const uint8_t *p, size_t n, size_t rest)
{
	struct reader r = reader_of(p, n - rest), body;
	struct buffer out = { 0 };
	uint8_t type, major, minor;

	while (!reader_end(&r)) {
		ck_assert(reader_u8(&r, &type) && reader_u8(&r, &major) && reader_u8(&r, &minor) &&
		    reader_vec16(&r, &body));
		ck_assert(type == TLS_HANDSHAKE && major == 3 && minor == 1);
		ck_assert(body.n > 0 && body.n <= 16384);
		buffer_add(&out, body.p, body.n);
	}
	return out;
}

static void
check_same(const struct buffer *a, const struct buffer *b)
{
	ck_assert_uint_eq(a->n, b->n);
	ck_assert_mem_eq(buffer_data(a), buffer_data(b), a->n);
}

static bool
holds(const uint8_t *p, size_t n, const char *name)
{
	return memmem(p, n, name, strlen(name)) != NULL;
}

/* The result says the same, and the words are in no record and no segment of it. rest: bytes
 * behind the hello. */
static void
check_cut(const struct split *s, const struct buffer *in, size_t rest, const char *const *words)
{
	struct buffer before = bodies(buffer_data(in), in->n, rest);
	struct buffer after = bodies(buffer_data(&s->bytes), s->bytes.n, rest);
	struct reader r = reader_of(buffer_data(&s->bytes), s->bytes.n - rest), body;
	size_t from = 0;

	check_same(&before, &after);
	if (rest > 0)
		ck_assert_mem_eq(buffer_data(&s->bytes) + s->bytes.n - rest,
		    buffer_data(in) + in->n - rest, rest);
	ck_assert_uint_gt(s->n_cuts, 0);
	ck_assert_uint_le(s->n_cuts, SPLIT_CUTS);
	for (; *words != NULL; words++) {
		ck_assert(holds(buffer_data(&before), before.n, *words));
		ck_assert(!holds(buffer_data(&s->bytes), s->bytes.n - rest, *words));
	}
	for (unsigned i = 0; i <= s->n_cuts; i++) {
		size_t to = i < s->n_cuts ? s->cuts[i] : s->bytes.n - rest;
		size_t whole = from;

		/* Each segment is whole records. */
		ck_assert_uint_gt(to, from);
		while (whole < to) {
			ck_assert(reader_skip(&r, 3) && reader_vec16(&r, &body));
			whole += 5 + body.n;
		}
		ck_assert_uint_eq(whole, to);
		from = to;
	}
	ck_assert(reader_end(&r));
	buffer_clear(&before);
	buffer_clear(&after);
}

START_TEST(cut_in_each_label)
{
	static const struct { const char *name; unsigned cuts; const char *words[8]; } cases[] = {
		{ NAME, 3, { NAME, "example.com", "example", "www", "com", NULL } },
		{ "localhost", 1, { "localhost", NULL } },
		{ "a.b", 1, { "a.b", NULL } },
		{ "ab", 1, { "ab", NULL } },
		{ "x.t.co", 1, { "t.co", "co", NULL } },
		{ "a..b", 1, { "a..b", NULL } },
		{ "..", 1, { "..", NULL } },
		{ "aa.bb.cc.dd.ee.ff.gg.hh.ii.jj", 8, { "jj", "cc", "bb.cc", NULL } },
	};

	for (size_t i = 0; i < sizeof(cases) / sizeof(cases[0]); i++) {
		struct buffer in = hello_for(cases[i].name, 0, 16384);
		struct split s;
		size_t fed;

		ck_assert_int_eq(run(&s, &in, in.n, &fed), SPLIT_CUT);
		ck_assert_uint_eq(s.n_cuts, cases[i].cuts);
		check_cut(&s, &in, 0, cases[i].words);
		split_clear(&s);
		buffer_clear(&in);
	}
}
END_TEST

static const char *const words[] = { NAME, "example", NULL };

/* However it comes, and in whatever records, the same goes out. */
START_TEST(any_steps_and_records)
{
	struct buffer whole = hello_for(NAME, 600, 16384);
	struct split want, s;
	size_t fed;

	ck_assert_int_eq(run(&want, &whole, whole.n, &fed), SPLIT_CUT);
	for (size_t record = 1; record < 700; record = record * 3 / 2 + 1) {
		struct buffer in = hello_for(NAME, 600, record);

		for (size_t step = 1; step <= in.n; step = step * 5 / 4 + 1) {
			ck_assert_int_eq(run(&s, &in, step, &fed), SPLIT_CUT);
			ck_assert_uint_eq(fed, in.n);
			check_cut(&s, &in, 0, words);
			check_same(&s.bytes, &want.bytes);
			ck_assert_uint_eq(s.n_cuts, want.n_cuts);
			ck_assert_mem_eq(s.cuts, want.cuts, s.n_cuts * sizeof(s.cuts[0]));
			split_clear(&s);
		}
		buffer_clear(&in);
	}
	split_clear(&want);
	buffer_clear(&whole);
}
END_TEST

START_TEST(truncated_at_every_length)
{
	struct buffer in = hello_for(NAME, 300, 70);

	for (size_t n = 1; n < in.n; n++) {
		struct split s = { .n_cuts = 0 };
		struct buffer copy = { 0 };

		buffer_add(&copy, buffer_data(&in), n);
		ck_assert_int_eq(split_feed(&s, buffer_data(&copy), n), SPLIT_MORE);
		split_end(&s);
		check_same(&s.bytes, &copy);
		ck_assert_uint_eq(s.n_cuts, 0);
		split_clear(&s);
		buffer_clear(&copy);
	}
	buffer_clear(&in);
}
END_TEST

/* Early data, or what else comes with the hello. */
START_TEST(bytes_behind)
{
	static const uint8_t more[] = "\x14\x03\x03\x00\x01\x01\x17\x03\x03\x00\x02" "ab\x17";
	struct buffer in = hello_for(NAME, 300, 16384);
	struct split s;
	size_t fed;

	buffer_add(&in, more, sizeof(more) - 1);
	ck_assert_int_eq(run(&s, &in, in.n, &fed), SPLIT_CUT);
	check_cut(&s, &in, sizeof(more) - 1, words);
	split_clear(&s);
	buffer_clear(&in);
}
END_TEST

/* A second message in the record of the hello stays behind it. */
START_TEST(message_behind)
{
	uint8_t message[2000];
	size_t n = write_hello(message, sizeof(message), NAME, 300), fed;
	struct buffer in = { 0 };
	struct split s;

	memcpy(message + n, "\x18\x00\x00\x01\x00\x0b\x00", 7); /* and the start of a third */
	put_records(&in, message, n + 7, 16384);
	for (size_t step = 1; step <= in.n; step += in.n - 1) {
		ck_assert_int_eq(run(&s, &in, step, &fed), SPLIT_CUT);
		ck_assert_uint_eq(fed, in.n);
		check_cut(&s, &in, 0, words);
		split_clear(&s);
	}
	buffer_clear(&in);
}
END_TEST

/* Records may not grow beyond what they may hold. */
START_TEST(long_hello)
{
	struct buffer in = hello_for(NAME, 50000, 16384);
	struct split s;
	size_t fed;

	ck_assert_int_eq(run(&s, &in, 4096, &fed), SPLIT_CUT);
	check_cut(&s, &in, 0, words);
	split_clear(&s);
	buffer_clear(&in);
}
END_TEST

static void
check_plain(const void *p, size_t n)
{
	struct buffer in = { 0 };
	struct split s;
	size_t fed;

	buffer_add(&in, p, n);
	for (size_t step = 1; step <= n; step += n > 1 ? n - 1 : 1) {
		ck_assert_int_eq(run(&s, &in, step, &fed), SPLIT_PLAIN);
		ck_assert_uint_eq(s.n_cuts, 0);
		ck_assert_uint_eq(s.bytes.n, fed);
		ck_assert_mem_eq(buffer_data(&s.bytes), p, fed);
		split_clear(&s);
	}
	buffer_clear(&in);
}

START_TEST(not_to_be_cut)
{
	struct buffer b = hello_for("", 0, 16384);

	check_plain(buffer_data(&b), b.n); /* no name */
	buffer_clear(&b);
	b = hello_for("a", 0, 16384); /* nothing inside it */
	check_plain(buffer_data(&b), b.n);
	buffer_clear(&b);
	check_plain("GET / HTTP/1.1\r\n", 16);
	check_plain("SSH-2.0-", 8);
	check_plain("\x05\x01\x00", 3);
	check_plain("\x00", 1);
	check_plain("\x16\x02", 2);
	check_plain("\x17\x03\x03\x00\x05", 5);
	check_plain("\x15\x03\x03\x00\x02\x01", 6);
	check_plain("\x14\x03\x03\x00\x01\x01", 6);
	check_plain("\x16\x03\x01\x00\x00", 5);
	check_plain("\x16\x03\x01\xff\xff", 5);
	check_plain("\x16\x03\x01\x00\x05\x02", 6);                     /* not a ClientHello, seen early */
	check_plain("\x16\x03\x01\x00\x04\x01\x00\x00\x00", 9);         /* an empty one */
	check_plain("\x16\x03\x01\x00\x04\x01\x01\x00\x00", 9);         /* one too long */
	/* A hello that is broken off. */
	check_plain("\x16\x03\x01\x00\x05\x01\x00\x02\x00\x03\x17", 11);
	check_plain("\x16\x03\x01\x00\x05\x01\x00\x02\x00\x03\x15\x03\x01\x00\x02", 15);
}
END_TEST

/* A mass of one byte records stops being held back. */
START_TEST(held_is_bounded)
{
	struct buffer in = hello_for(NAME, 20000, 1);
	struct split s;
	size_t fed;

	ck_assert_uint_gt(in.n, SPLIT_HELLO_MAX + 1000);
	ck_assert_int_eq(run(&s, &in, 100, &fed), SPLIT_PLAIN);
	ck_assert_uint_le(fed, SPLIT_HELLO_MAX + 100);
	ck_assert_mem_eq(buffer_data(&s.bytes), buffer_data(&in), fed);
	split_clear(&s);
	buffer_clear(&in);
}
END_TEST

/* ---- real stacks ---- */

/* Runs a connection whose first flight goes through a split, segment by segment. */
static void
converse(const struct tls_stack *cs, void *client, const struct tls_stack *ss, void *server,
    bool resumes)
{
	struct buffer up = { 0 }, down = { 0 }, part = { 0 };
	bool done_c = false, done_s = false;
	struct split s = { .n_cuts = 0 };
	struct tls_said said;
	size_t sent = 0;
	static const char *const sni[] = { TLS_PEER_SNI, "bridge", "example", NULL };

	cs->connect(client);
	ss->connect(server);
	cs->step(client, &down, &up);
	ck_assert(holds(buffer_data(&up), up.n, TLS_PEER_SNI));
	ck_assert_int_eq(split_feed(&s, buffer_data(&up), up.n), SPLIT_CUT);
	for (const char *const *w = sni; *w != NULL; w++)
		ck_assert(!holds(buffer_data(&s.bytes), s.bytes.n, *w));
	buffer_clear(&up);
	for (unsigned i = 0; i <= s.n_cuts; i++) {
		size_t to = i < s.n_cuts ? s.cuts[i] : s.bytes.n;

		buffer_add(&part, buffer_data(&s.bytes) + sent, to - sent);
		done_s = ss->step(server, &part, &down);
		ck_assert(i == s.n_cuts || down.n == 0); /* no alert, and no answer too early */
		sent = to;
	}
	for (int i = 0; i < 20 && !(done_c && done_s); i++) {
		done_c = cs->step(client, &down, &up);
		done_s = ss->step(server, &up, &down);
	}
	ck_assert_msg(done_c && done_s, "%s to %s", cs->name, ss->name);
	ss->said(server, &said);
	ck_assert_int_eq(said.resumed, resumes);
	cs->disconnect(client);
	ss->disconnect(server);
	split_clear(&s);
	buffer_clear(&up);
	buffer_clear(&down);
	buffer_clear(&part);
}

START_TEST(real_servers_take_it)
{
	static const struct tls_stack *const stacks[] = { &stack_openssl, &stack_wolfssl };

	for (int c = 0; c < 2; c++) {
		for (int s = 0; s < 2; s++) {
			for (uint16_t version = TLS_1_2; version <= TLS_1_3; version++) {
				struct tls_setup setup = { .version = version, .tickets = true };
				void *client = stacks[c]->side_new(false, &setup);
				void *server = stacks[s]->side_new(true, &setup);

				converse(stacks[c], client, stacks[s], server, false);
				converse(stacks[c], client, stacks[s], server, true);
				stacks[c]->side_free(client);
				stacks[s]->side_free(server);
			}
		}
	}
}
END_TEST

/* Early data of TLS 1.3 is behind the hello from the start. */
START_TEST(real_early_data)
{
	struct tls_setup setup = { .version = TLS_1_3, .tickets = true, .early_data = true };
	void *client = stack_openssl.side_new(false, &setup);
	void *server = stack_openssl.side_new(true, &setup);

	converse(&stack_openssl, client, &stack_openssl, server, false);
	converse(&stack_openssl, client, &stack_openssl, server, true);
	stack_openssl.side_free(client);
	stack_openssl.side_free(server);
}
END_TEST

TEST_MAIN("split", cut_in_each_label, any_steps_and_records, truncated_at_every_length, bytes_behind,
    message_behind, long_hello, not_to_be_cut, held_is_bounded, real_servers_take_it, real_early_data)
