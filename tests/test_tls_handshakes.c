/* The tracker against handshakes of real stacks, recorded and replayed. */
#include "common/tls_tracker.h"

#include <stdio.h>

#include "common/mem.h"
#include "tests/harness.h"
#include "tests/tls_peer.h"

/* What a tracker says, as flags. */
enum { YES = 1, NOT = 2, UP = 4, DOWN = 8, FLIGHT = 16, EXACT = 32, FINAL = 64 };

static int
state(const struct tls_tracker *t)
{
	enum tls_kind kind = tls_tracker_kind(t);

	return (kind == TLS_YES ? YES : 0) | (kind == TLS_NOT ? NOT : 0) |
	    (tls_tracker_encrypted(t, TLS_UP) ? UP : 0) |
	    (tls_tracker_encrypted(t, TLS_DOWN) ? DOWN : 0) |
	    (tls_tracker_first_flight(t) ? FLIGHT : 0) |
	    (tls_tracker_flight_exact(t) ? EXACT : 0) | (tls_tracker_final(t) ? FINAL : 0);
}

/* Feeds from memory of exactly n bytes, so that a sanitizer sees an overread. */
static void
feed(struct tls_tracker *t, enum tls_dir dir, const uint8_t *p, size_t n)
{
	uint8_t *copy = mem_alloc(n > 0 ? n : 1);

	if (n > 0)
		memcpy(copy, p, n);
	tls_tracker_feed(t, dir, copy, n);
	free(copy);
}

/* ---- Recordings of real handshakes ---- */

/* A record as it passed, and the truth at its end. */
struct record {
	enum tls_dir dir;
	uint8_t header[5];
	uint8_t *body;
	size_t n;
	bool turn;   /* the sender then waited for its peer */
	bool plain;  /* not encrypted */
	int truth;   /* flags that are set from its end on */
};

struct tape {
	struct record *v;
	size_t n;
};

static void
tape_add(struct tape *tape, enum tls_dir dir, const uint8_t *header, const uint8_t *body, size_t n)
{
	struct record *r;

	tape->v = mem_realloc(tape->v, (tape->n + 1) * sizeof(*tape->v));
	r = &tape->v[tape->n++];
	*r = (struct record){ .dir = dir, .n = n, .body = mem_alloc(n + 1) };
	memcpy(r->header, header, 3);
	r->header[3] = (uint8_t)(n >> 8);
	r->header[4] = (uint8_t)n;
	memcpy(r->body, body, n);
}

static void
tape_clear(struct tape *tape)
{
	for (size_t i = 0; i < tape->n; i++)
		free(tape->v[i].body);
	free(tape->v);
	*tape = (struct tape){ 0 };
}

/* Walks the whole records that one peer wrote in one go. */
static void
tape_turn(struct tape *tape, enum tls_dir dir, const struct buffer *b)
{
	const uint8_t *p = buffer_data(b), *end = p + b->n;

	while (end - p > 5 && end - p >= 5 + (p[3] << 8 | p[4])) {
		tape_add(tape, dir, p, p + 5, (size_t)(p[3] << 8 | p[4]));
		p += 5 + (p[3] << 8 | p[4]);
	}
	ck_assert_ptr_eq(p, end);
	tape->v[tape->n - 1].turn = true;
}

static struct record *
find(const struct tape *tape, enum tls_dir dir, int type, bool last)
{
	struct record *found = NULL;

	for (size_t i = 0; i < tape->n && (found == NULL || last); i++) {
		if (tape->v[i].dir == dir && tape->v[i].header[0] == type)
			found = &tape->v[i];
	}
	ck_assert_ptr_nonnull(found);
	return found;
}

/* The offset of the end of a record in its direction. */
static size_t
end_offset(const struct tape *tape, const struct record *r)
{
	size_t n = 0;

	for (const struct record *q = tape->v; q <= r; q++)
		n += q->dir == r->dir ? 5 + q->n : 0;
	return n;
}

/* The truth, from the finished recording and the stacks alone. TLS 1.3: the last
 * handshake record that shows its type is the ServerHello. Before: what follows the
 * first ChangeCipherSpec is encrypted, and the server's first flight is what
 * it said before it waited. */
static void
tape_mark(struct tape *tape, const struct tls_said said[2], uint16_t version)
{
	for (enum tls_dir dir = TLS_UP; dir <= TLS_DOWN; dir++) {
		struct record *hello, *ccs;

		if (version == 0x0304) {
			hello = find(tape, dir, 22, true);
			if (said[dir].hello_end > 0)
				ck_assert_uint_eq(end_offset(tape, hello), said[dir].hello_end);
			for (struct record *r = tape->v; r < tape->v + tape->n; r++)
				r->plain = r->plain || (r->dir == dir && r->header[0] != 23);
			continue;
		}
		ccs = find(tape, dir, 20, false);
		if (said[dir].ccs_end > 0)
			ck_assert_uint_eq(end_offset(tape, ccs), said[dir].ccs_end);
		ccs->truth |= dir == TLS_UP ? UP : DOWN;
		for (struct record *r = tape->v; r <= ccs; r++)
			r->plain = r->plain || r->dir == dir;
	}
	if (version == 0x0304) {
		ck_assert(find(tape, TLS_UP, 22, true) < find(tape, TLS_DOWN, 22, true));
		find(tape, TLS_DOWN, 22, true)->truth = UP | DOWN;
		find(tape, TLS_DOWN, 22, false)->truth |= FLIGHT;
		return;
	}
	for (struct record *r = tape->v; r < tape->v + tape->n; r++) {
		if (r->dir == TLS_DOWN && r->turn) {
			r->truth |= FLIGHT | EXACT;
			return;
		}
	}
}

/* The same with runs of plaintext handshake records joined, then cut into records of
 * at most k bytes. */
static struct tape
tape_cut(const struct tape *in, size_t k)
{
	struct tape out = { 0 };

	for (size_t i = 0; i < in->n; i++) {
		struct buffer body = { 0 };
		const struct record *r = &in->v[i];

		buffer_add(&body, r->body, r->n);
		while (r->plain && r->header[0] == 22 && r->truth == 0 && !r->turn &&
		    i + 1 < in->n && r[1].plain && r[1].header[0] == 22 && r[1].dir == r->dir) {
			r = &in->v[++i];
			buffer_add(&body, r->body, r->n);
		}
		size_t most = r->plain && r->header[0] == 22 ? k : body.n;

		while (body.n > 0) {
			size_t n = body.n < most ? body.n : most;

			tape_add(&out, r->dir, r->header, buffer_data(&body), n);
			out.v[out.n - 1].plain = r->plain;
			buffer_drain(&body, n);
		}
		out.v[out.n - 1].truth = r->truth;
	}
	return out;
}

/* ---- Replaying them ---- */

struct flat {
	uint8_t *dir, *byte, *truth; /* truth[i]: the flags once i bytes are fed */
	size_t n;
};

static struct flat
flatten(const struct tape *tape)
{
	struct flat f = { 0 };
	int now = 0;

	for (size_t i = 0; i < tape->n; i++)
		f.n += 5 + tape->v[i].n;
	f.dir = mem_alloc(f.n);
	f.byte = mem_alloc(f.n);
	f.truth = mem_zalloc(f.n + 1);
	f.n = 0;
	for (size_t i = 0; i < tape->n; i++) {
		const struct record *r = &tape->v[i];

		for (size_t k = 0; k < 5 + r->n; k++) {
			f.dir[f.n] = (uint8_t)r->dir;
			f.byte[f.n] = k < 5 ? r->header[k] : r->body[k - 5];
			f.n++;
			now |= f.n >= 2 ? YES : 0;
			if (k + 1 == 5 + r->n)
				now |= r->truth;
			if ((now & UP) && (now & DOWN))
				now |= FINAL;
			f.truth[f.n] = (uint8_t)now;
		}
	}
	ck_assert_int_eq(now & (YES | UP | DOWN | FINAL), YES | UP | DOWN | FINAL);
	return f;
}

static void
flat_clear(struct flat *f)
{
	free(f->dir);
	free(f->byte);
	free(f->truth);
}

/* Feeds the bytes [a, b), each run of one direction in one piece. */
static void
feed_range(struct tls_tracker *t, const struct flat *f, size_t a, size_t b)
{
	while (a < b) {
		size_t n = 1;

		while (a + n < b && f->dir[a + n] == f->dir[a])
			n++;
		feed(t, f->dir[a], f->byte + a, n);
		a += n;
	}
}

static void
check_state(const struct tls_tracker *t, const struct flat *f, size_t at, const char *what)
{
	/* No ck_assert where it holds: Check writes a note for each. */
	if (state(t) != f->truth[at])
		ck_abort_msg("%s: after %zu of %zu bytes: says %x, truth %x", what, at, f->n,
		    (unsigned)state(t), (unsigned)f->truth[at]);
}

static void
check_info(const struct tls_tracker *t, const struct tls_info *want, const char *what)
{
	const struct tls_info *got = tls_tracker_info(t);

	ck_assert_str_eq(got->sni, want->sni);
	ck_assert_str_eq(got->alpn, want->alpn);
	ck_assert_uint_eq(got->version, want->version);
	ck_assert_uint_eq(got->cipher, want->cipher);
	ck_assert_msg(got->resumed == want->resumed && got->hello_retry == want->hello_retry &&
		got->ech == want->ech && got->early_data == want->early_data &&
		got->client_psk == want->client_psk &&
		got->new_session_ticket12 == want->new_session_ticket12 &&
		got->client_cert == want->client_cert,
	    "%s: resumed %d retry %d ech %d early %d psk %d ticket %d cert %d", what, got->resumed,
	    got->hello_retry, got->ech, got->early_data, got->client_psk,
	    got->new_session_ticket12, got->client_cert);
}

static void
replay_bytes(const struct flat *f, const struct tls_info *info, const char *what)
{
	struct tls_tracker *t = tls_tracker_new();

	for (size_t i = 0; i < f->n; i++) {
		check_state(t, f, i, what);
		feed_range(t, f, i, i + 1);
	}
	check_state(t, f, f->n, what);
	check_info(t, info, what);
	tls_tracker_free(t);
}

static void
replay_splits(const struct flat *f, const struct tls_info *info, const char *what)
{
	for (size_t i = 0; i <= f->n; i++) {
		struct tls_tracker *t = tls_tracker_new();

		feed_range(t, f, 0, i);
		check_state(t, f, i, what);
		feed_range(t, f, i, f->n);
		check_state(t, f, f->n, what);
		check_info(t, info, what);
		tls_tracker_free(t);
	}
}

static void
replay_random(const struct flat *f, const struct tls_info *info, const char *what)
{
	unsigned seed = 1;

	for (int round = 0; round < 50; round++) {
		struct tls_tracker *t = tls_tracker_new();

		for (size_t i = 0, n; i < f->n; i += n) {
			n = 1 + (size_t)rand_r(&seed) % (size_t)(1 << rand_r(&seed) % 12);
			n = n < f->n - i ? n : f->n - i;
			feed_range(t, f, i, i + n);
			check_state(t, f, i + n, what);
		}
		check_info(t, info, what);
		tls_tracker_free(t);
	}
}

static void
replay(const struct tape *tape, const struct tls_info *info, const char *what)
{
	static const size_t cuts[] = { 16384, 97, 5, 1 };
	struct flat f = flatten(tape);

	replay_bytes(&f, info, what);
	replay_splits(&f, info, what);
	replay_random(&f, info, what);
	flat_clear(&f);
	for (size_t i = 0; i < sizeof(cuts) / sizeof(cuts[0]); i++) {
		struct tape cut = tape_cut(tape, cuts[i]);

		f = flatten(&cut);
		replay_bytes(&f, info, what);
		replay_random(&f, info, what);
		flat_clear(&f);
		tape_clear(&cut);
	}
}

/* ---- Handshakes ---- */

struct scenario {
	const char *name;
	struct tls_setup setup;
	bool resume;       /* also check a second connection, which resumes the first */
	bool openssl_only;
};

struct pair {
	const struct tls_stack *stack[2]; /* client, server */
	void *side[2];
};

/* Lets two sides talk until both are done; records all of it. */
static struct tape
talk(const struct pair *p)
{
	struct tape tape = { 0 };
	struct buffer wire[2] = { 0 };
	bool done[2] = { false, false };

	for (enum tls_dir dir = TLS_UP; dir <= TLS_DOWN; dir++)
		p->stack[dir]->connect(p->side[dir]);
	for (int turn = 0; turn < 40; turn++) {
		enum tls_dir dir = turn % 2 == 0 ? TLS_UP : TLS_DOWN;
		struct buffer *in = &wire[dir == TLS_UP ? TLS_DOWN : TLS_UP];

		done[dir] = p->stack[dir]->step(p->side[dir], in, &wire[dir]);
		if (wire[dir].n > 0)
			tape_turn(&tape, dir, &wire[dir]);
	}
	ck_assert(done[TLS_UP] && done[TLS_DOWN]);
	ck_assert_uint_eq(wire[TLS_UP].n + wire[TLS_DOWN].n, 0);
	return tape;
}

/* That the recording is of what its name says, so that no test passes for want of
 * the case it is about. */
static void
check_shape(const struct tape *tape, const struct tls_setup *setup, bool second, const char *what)
{
	size_t hellos = 0;
	bool early = false, answered = false;

	for (const struct record *r = tape->v; r < tape->v + tape->n; r++) {
		hellos += r->dir == TLS_UP && r->header[0] == 22;
		answered = answered || r->dir == TLS_DOWN;
		early = early || (r->header[0] == 23 && !answered);
	}
	ck_assert_msg(early == (second && setup->early_data), "%s: early data", what);
	if (setup->version == 0x0304)
		ck_assert_msg(hellos == (setup->hello_retry ? 2 : 1), "%s: %zu hellos", what, hellos);
}

static void
run_connection(const struct pair *p, const struct scenario *s, bool second, const char *what)
{
	bool tls13 = s->setup.version == 0x0304;
	struct tls_said said[2];
	struct tls_info info = { 0 };
	struct tape tape = talk(p);

	for (enum tls_dir dir = TLS_UP; dir <= TLS_DOWN; dir++)
		p->stack[dir]->said(p->side[dir], &said[dir]);
	ck_assert_uint_eq(said[TLS_UP].version, s->setup.version);
	ck_assert_uint_eq(said[TLS_UP].cipher, said[TLS_DOWN].cipher);
	ck_assert_msg(said[TLS_UP].resumed == second && said[TLS_DOWN].resumed == second,
	    "%s: the stacks did not do what was asked", what);
	check_shape(&tape, &s->setup, second, what);
	tape_mark(&tape, said, s->setup.version);

	snprintf(info.sni, sizeof(info.sni), "%s", TLS_PEER_SNI);
	snprintf(info.alpn, sizeof(info.alpn), "%s", tls13 ? "h2,http/1.1" : TLS_PEER_ALPN);
	info.version = said[TLS_DOWN].version;
	info.cipher = said[TLS_DOWN].cipher;
	info.resumed = second;
	info.hello_retry = s->setup.hello_retry;
	info.early_data = second && s->setup.early_data;
	info.client_psk = second && tls13;
	info.new_session_ticket12 = !second && !tls13 && s->setup.tickets;
	info.client_cert = !second && !tls13 && s->setup.client_cert;
	replay(&tape, &info, what);
	tape_clear(&tape);
	for (enum tls_dir dir = TLS_UP; dir <= TLS_DOWN; dir++)
		p->stack[dir]->disconnect(p->side[dir]);
}

static void
run_scenario(const struct scenario *s)
{
	static const struct tls_stack *const stacks[2] = { &stack_openssl, &stack_wolfssl };

	for (int i = 0; i < (s->openssl_only ? 1 : 4); i++) {
		struct pair p = { .stack = { stacks[i & 1], stacks[i >> 1] } };
		char what[100];

		for (enum tls_dir dir = TLS_UP; dir <= TLS_DOWN; dir++)
			p.side[dir] = p.stack[dir]->side_new(dir == TLS_DOWN, &s->setup);
		for (int second = 0; second <= s->resume; second++) {
			snprintf(what, sizeof(what), "%s, %s to %s%s", s->name, p.stack[0]->name,
			    p.stack[1]->name, second ? ", resumed" : "");
			run_connection(&p, s, second, what);
		}
		for (enum tls_dir dir = TLS_UP; dir <= TLS_DOWN; dir++)
			p.stack[dir]->side_free(p.side[dir]);
	}
}

START_TEST(test_tls13)
{
	static const struct scenario s = {
		.name = "TLS 1.3",
		.setup = { .version = 0x0304 },
	};

	run_scenario(&s);
}
END_TEST

START_TEST(test_hello_retry)
{
	static const struct scenario s = {
		.name = "HelloRetryRequest",
		.setup = { .version = 0x0304, .hello_retry = true },
	};

	run_scenario(&s);
}
END_TEST

START_TEST(test_tls13_client_cert)
{
	static const struct scenario s = {
		.name = "TLS 1.3, client certificate",
		.setup = { .version = 0x0304, .client_cert = true },
	};

	run_scenario(&s);
}
END_TEST

START_TEST(test_psk)
{
	static const struct scenario s = {
		.name = "PSK",
		.setup = { .version = 0x0304, .tickets = true },
		.resume = true,
	};

	run_scenario(&s);
}
END_TEST

START_TEST(test_psk_hello_retry)
{
	static const struct scenario s = {
		.name = "PSK, HelloRetryRequest",
		.setup = { .version = 0x0304, .tickets = true, .hello_retry = true },
		.resume = true,
	};

	run_scenario(&s);
}
END_TEST

START_TEST(test_early_data)
{
	static const struct scenario s = {
		.name = "early data",
		.setup = { .version = 0x0304, .tickets = true, .early_data = true },
		.resume = true,
		.openssl_only = true,
	};

	run_scenario(&s);
}
END_TEST

START_TEST(test_early_data_hello_retry)
{
	static const struct scenario s = {
		.name = "early data, HelloRetryRequest",
		.setup = { .version = 0x0304, .tickets = true, .early_data = true,
		.hello_retry = true },
		.resume = true,
		.openssl_only = true,
	};

	run_scenario(&s);
}
END_TEST

START_TEST(test_tls12_session_id)
{
	static const struct scenario s = {
		.name = "TLS 1.2, session id",
		.setup = { .version = 0x0303 },
		.resume = true,
	};

	run_scenario(&s);
}
END_TEST

START_TEST(test_tls12_ticket)
{
	static const struct scenario s = {
		.name = "TLS 1.2, ticket",
		.setup = { .version = 0x0303, .tickets = true },
		.resume = true,
	};

	run_scenario(&s);
}
END_TEST

START_TEST(test_tls12_client_cert)
{
	static const struct scenario s = {
		.name = "TLS 1.2, client certificate",
		.setup = { .version = 0x0303, .client_cert = true },
	};

	run_scenario(&s);
}
END_TEST

START_TEST(test_tls12_fragments)
{
	static const struct scenario s = {
		.name = "TLS 1.2, fragments",
		.setup = { .version = 0x0303, .tickets = true, .max_fragment = 512 },
		.resume = true,
		.openssl_only = true,
	};

	run_scenario(&s);
}
END_TEST

START_TEST(test_tls10)
{
	static const struct scenario s = {
		.name = "TLS 1.0",
		.setup = { .version = 0x0301 },
		.resume = true,
		.openssl_only = true,
	};

	run_scenario(&s);
}
END_TEST

TEST_MAIN("tls_handshakes", test_tls13, test_hello_retry, test_tls13_client_cert, test_psk,
    test_psk_hello_retry, test_early_data, test_early_data_hello_retry, test_tls12_session_id,
    test_tls12_ticket, test_tls12_client_cert, test_tls12_fragments, test_tls10)
