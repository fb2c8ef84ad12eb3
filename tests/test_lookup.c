/* Look-ups whose OOB channel and clock are this file's own, in the place of pt-client/oob and
 * common/net/local: what goes out is seen, what comes back is made up, time is set. */
#include "pt-client/lookup.h"

#include <stdio.h>

#include "common/address.h"
#include "common/envelope.h"
#include "common/mem.h"
#include "common/net/local.h"
#include "pt-client/bridge.h"
#include "tests/harness.h"
#include "tests/sockets.h"

#define TRIES 3
#define PUBLIC "9.9.9.9"    /* where a bridge is */
#define CLOCK 1767225600000

static uint64_t now_ms;

uint64_t
local_now(void)
{
	return now_ms;
}

int64_t
local_clock(void)
{
	return CLOCK + (int64_t)now_ms;
}

struct oob_channel {
	char *url;
};

struct oob_request {
	struct oob_channel *ch;
	char *path, *body;
	size_t len;
	oob_done *done;
	void *arg;
};

static struct oob_request *out; /* the one that is out */
static unsigned posts, cancels;

struct oob_channel *
oob_channel_new(struct oob *oob, const struct oob_config *cfg, char error[256])
{
	struct oob_channel *ch = mem_zalloc(sizeof(*ch));

	(void)oob;
	(void)error;
	ch->url = mem_strdup(cfg->url);
	return ch;
}

void
oob_channel_free(struct oob_channel *ch)
{
	free(ch->url);
	free(ch);
}

void
oob_channel_renew(struct oob_channel *ch)
{
	(void)ch;
}

unsigned
oob_channel_rtt_ms(const struct oob_channel *ch)
{
	(void)ch;
	return 0;
}

struct oob_request *
oob_post(struct oob_channel *ch, const char *path, char *body, size_t len, unsigned timeout_ms,
    oob_done *done, void *arg)
{
	struct oob_request *req = mem_zalloc(sizeof(*req));

	ck_assert_ptr_null(out);
	ck_assert_uint_gt(timeout_ms, 0);
	*req = (struct oob_request){ ch, mem_strdup(path), body, len, done, arg };
	out = req;
	posts++;
	return req;
}

static void
drop(struct oob_request *req)
{
	ck_assert_ptr_eq(req, out);
	out = NULL;
	free(req->path);
	free(req->body);
	free(req);
}

void
oob_cancel(struct oob_request *req)
{
	if (req == NULL)
		return;
	cancels++;
	drop(req);
}

/* ---- a client, its bridges, and what it is told ---- */

static const uint8_t secret[NOISE_KEY] = { 9 };
static struct client cl;
static struct lookup_cache *cache;

static void
start(void)
{
	memset(&cl, 0, sizeof(cl));
	cl.base = event_base_new();
	cache = lookup_cache_new();
	now_ms = 1000;
	posts = cancels = 0;
}

static void
stop(void)
{
	struct bridge *b;

	settle(cl.base);
	ck_assert_ptr_null(out);
	LIST_FOREACH(b, &cl.bridges, link)
		ck_assert_uint_eq(b->refs, 1);
	bridge_sweep(&cl, 1, true);
	lookup_cache_free(cache);
	event_base_free(cl.base);
}

static struct bridge *
bridge_with(const char *ip, const uint8_t key[NOISE_KEY], unsigned urls)
{
	struct sockaddr_storage at;
	struct pt_args args = { 0 };
	char text[BASE64URL_LEN(NOISE_KEY) + 1], url[32], error[256] = "";
	struct bridge *b;

	ck_assert(address_parse(&at, ip, 443));
	base64url_encode(text, key, NOISE_KEY);
	pt_args_add(&args, "key", text);
	for (unsigned i = 0; i < urls; i++) {
		snprintf(url, sizeof(url), "https://%u.example", i);
		pt_args_add(&args, "url", url);
	}
	b = bridge_get(&cl, &at, &args, error);
	ck_assert_msg(b != NULL, "%s", error);
	pt_args_clear(&args);
	return b;
}

static struct bridge *
bridge_at(const char *ip)
{
	uint8_t public[NOISE_KEY];

	noise_public(public, secret);
	return bridge_with(ip, public, 0);
}

struct told {
	int calls;
	struct lookup_answer a;
	char why[256];
	struct bridge *b;   /* that was asked */
	struct bridge *ask; /* or NULL: asks it again from inside */
};

static void on_done(void *arg, const struct lookup_answer *answer);

static struct lookup *
look_up_as(struct bridge *b, const char *host, const char *token, struct told *told)
{
	char *borrowed = mem_strdup(host);
	int calls = told->calls;
	struct lookup *l = lookup_start(cache, b, borrowed, token, on_done, told);

	ck_assert_int_eq(told->calls, calls);
	told->b = b;
	free(borrowed);
	return l;
}

static struct lookup *
look_up(struct bridge *b, const char *host, struct told *told)
{
	return look_up_as(b, host, "", told);
}

static void
on_done(void *arg, const struct lookup_answer *answer)
{
	struct told *told = arg;
	struct bridge *ask = told->ask;

	told->calls++;
	told->a = *answer;
	ck_assert_uint_eq(told->b->refs, 1); /* the look-up is gone */
	ck_assert_uint_eq(answer->error == ERR_NONE, answer->n > 0);
	ck_assert(answer->error == ERR_NONE || answer->why != NULL);
	snprintf(told->why, sizeof(told->why), "%s", answer->why != NULL ? answer->why : "");
	told->ask = NULL;
	if (ask != NULL)
		look_up(ask, "again.example", told);
}

/* What the bridge reads, and how it seals the answer. */
struct heard {
	struct msg_request m;
	struct noise noise;
};

static void
hear(struct heard *h)
{
	uint8_t public[NOISE_KEY], hash[32];
	struct buffer plain = { 0 };

	UNTIL(cl.base, out != NULL);
	noise_public(public, secret);
	noise_init(&h->noise, MSG_PROLOGUE, sizeof(MSG_PROLOGUE) - 1, public);
	ck_assert(envelope_read_1(&h->noise, secret, out->body, out->len, hash, &plain));
	ck_assert(msg_decode_request(&h->m, buffer_data(&plain), plain.n, false));
	buffer_clear(&plain);
}

/* Ends the request that is out. */
static void
reply_with(struct oob_reply r)
{
	struct oob_request *req = out;
	oob_done *done = req->done;
	void *arg = req->arg;

	if (r.body == NULL)
		r.body = "";
	drop(req);
	done(arg, &r);
}

static void
reply(struct heard *h, const struct msg_reply *m)
{
	struct buffer text = { 0 };
	struct noise_keys keys;
	size_t len;
	char *body;

	msg_encode_reply(&text, m);
	body = envelope_write_2(&h->noise, &text, &keys, &len);
	reply_with((struct oob_reply){ .result = OOB_OK, .status = 200, .body = body, .len = len });
	free(body);
	buffer_clear(&text);
}

/* The addresses, separated by spaces. */
static struct msg_reply
resolved(const char *addresses, uint32_t ttl)
{
	struct msg_reply m = { .op = REPLY_RESOLVED, .ttl = ttl };
	char copy[512], *save = NULL;

	snprintf(copy, sizeof(copy), "%s", addresses);
	for (char *t = strtok_r(copy, " ", &save); t != NULL; t = strtok_r(NULL, " ", &save))
		snprintf(m.addresses[m.n_addresses++], sizeof(m.addresses[0]), "%s", t);
	return m;
}

/* Asks the bridge, which says m. */
static struct told
told_of(struct bridge *b, const char *host, const struct msg_reply *m)
{
	struct told told = { 0 };
	struct heard h;

	look_up(b, host, &told);
	hear(&h);
	reply(&h, m);
	ck_assert_int_eq(told.calls, 1);
	return told;
}

static void
expect_addresses(const struct told *told, const char *want)
{
	char got[512] = "", ip[ADDRESS_TEXT_MAX];

	ck_assert_int_eq(told->a.error, ERR_NONE);
	for (unsigned i = 0; i < told->a.n; i++) {
		address_ip(ip, &told->a.addresses[i]);
		ck_assert_uint_eq(address_port(&told->a.addresses[i]), 0);
		snprintf(got + strlen(got), sizeof(got) - strlen(got), "%s%s", i > 0 ? " " : "", ip);
	}
	ck_assert_str_eq(got, want);
}

/* Whether the answer is at hand; if so, *told has it. */
static bool
knows(struct bridge *b, const char *host, struct told *told)
{
	unsigned before = posts;
	struct lookup *l;

	*told = (struct told){ 0 };
	l = look_up(b, host, told);
	UNTIL(cl.base, told->calls > 0 || out != NULL);
	if (told->calls > 0) {
		ck_assert_uint_eq(posts, before);
		return true;
	}
	lookup_cancel(l);
	return false;
}

/* ---- one look-up ---- */

START_TEST(asks_the_bridge)
{
	char host[MSG_HOST_MAX + 1], token[MSG_TOKEN_MAX + 1];
	struct msg_reply m = resolved("2620:fe::fe 9.9.9.10", 77);
	struct told told = { 0 };
	struct bridge *b;
	struct heard h;

	start();
	b = bridge_at(PUBLIC);
	b->clock_offset = -5000;
	memset(host, 'h', MSG_HOST_MAX);
	host[MSG_HOST_MAX] = '\0';
	memset(token, 't', MSG_TOKEN_MAX);
	token[MSG_TOKEN_MAX] = '\0';
	look_up_as(b, host, token, &told);
	ck_assert_uint_eq(b->refs, 2);
	hear(&h);
	ck_assert_str_eq(out->path, b->base);
	ck_assert_int_eq(h.m.op, OP_RESOLVE);
	ck_assert_str_eq(h.m.host, host);
	ck_assert_str_eq(h.m.token, token);
	ck_assert_int_eq(h.m.time, local_clock() - 5000);
	ck_assert(!bridge_warm(b, now_ms));
	reply(&h, &m);
	ck_assert_int_eq(told.calls, 1);
	expect_addresses(&told, "2620:fe::fe 9.9.9.10");
	ck_assert_uint_eq(told.a.ttl, 77);
	ck_assert(bridge_warm(b, now_ms));
	ck_assert_uint_eq(b->refs, 1);
	/* Nobody named: no token. */
	told.calls = 0;
	look_up(b, "name.example", &told);
	hear(&h);
	ck_assert_str_eq(h.m.host, "name.example");
	ck_assert_str_eq(h.m.token, "");
	m = resolved("1.0.0.1 1.0.0.2 1.0.0.3 1.0.0.4 1.0.0.5 1.0.0.6 1.0.0.7 1.0.0.8 1.0.0.9 "
	    "1.0.0.10 1.0.0.11 1.0.0.12 1.0.0.13 1.0.0.14 1.0.0.15 1.0.0.16", 5);
	reply(&h, &m);
	ck_assert_uint_eq(told.a.n, MSG_RESOLVED);
	stop();
}
END_TEST

/* Those of our own network, too: the bridge has no part in it. */
START_TEST(literal_addresses)
{
	static const char *const literals[] = { "9.9.9.10", "10.0.0.1", "127.0.0.1", "2620:fe::fe", "::1" };
	struct told told;
	struct bridge *b;

	start();
	b = bridge_at(PUBLIC);
	for (unsigned i = 0; i < 2 * sizeof(literals) / sizeof(literals[0]); i++) {
		ck_assert(knows(b, literals[i / 2], &told));
		expect_addresses(&told, literals[i / 2]);
	}
	ck_assert_uint_eq(posts, 0);
	/* What only looks like one is a name. */
	ck_assert(!knows(b, "1.2.3.4.example", &told));
	ck_assert(!knows(b, "1.2.3", &told));
	stop();
}
END_TEST

/* Where the bridge's line leads to, its look-ups may, and no further. */
START_TEST(places_kept_out)
{
	static const char all[] = "10.0.0.1 9.9.9.10 127.0.0.1 0.0.0.0 169.254.1.1 100.64.0.1 ::1 "
	    "fe80::1 fc00::1 ::ffff:10.0.0.1 ::ffff:127.0.0.1 2620:fe::fe 192.168.1.1";
	static const struct {
		const char *line, *allowed, *denied;
	} rows[] = {
		{ PUBLIC, "9.9.9.10 2620:fe::fe", "10.0.0.1 127.0.0.1 ::1 0.0.0.0" },
		{ "10.9.9.9", "10.0.0.1 9.9.9.10 169.254.1.1 100.64.0.1 fe80::1 fc00::1 "
		    "::ffff:10.0.0.1 2620:fe::fe 192.168.1.1", "127.0.0.1 ::1 ::ffff:127.0.0.1" },
		{ "127.0.0.1", "9.9.9.10 127.0.0.1 0.0.0.0 ::1 ::ffff:127.0.0.1 2620:fe::fe",
		    "10.0.0.1 fc00::1" },
	};

	for (size_t i = 0; i < sizeof(rows) / sizeof(rows[0]); i++) {
		struct msg_reply m = resolved(all, 60);
		struct told told;
		struct bridge *b;

		start();
		b = bridge_at(rows[i].line);
		told = told_of(b, "all.example", &m);
		expect_addresses(&told, rows[i].allowed);
		/* Nor does the cache keep them. */
		ck_assert(knows(b, "all.example", &told));
		expect_addresses(&told, rows[i].allowed);
		m = resolved(rows[i].denied, 60);
		told = told_of(b, "denied.example", &m);
		ck_assert_int_eq(told.a.error, ERR_TARGET_DENIED);
		ck_assert(!knows(b, "denied.example", &told));
		stop();
	}
}
END_TEST

/* What the bridge says of a name that it has no address for is passed on, and not kept. */
START_TEST(errors)
{
	struct msg_reply m = resolved("", 60);
	struct told told;
	struct bridge *b;

	start();
	b = bridge_at(PUBLIC);
	told = told_of(b, "name.example", &m);
	ck_assert_int_eq(told.a.error, ERR_DNS_FAILED);
	for (enum msg_error e = ERR_NONE + 1; e < ERR_COUNT; e++) {
		m = (struct msg_reply){ .op = REPLY_ERROR, .error = e };
		told = told_of(b, "name.example", &m);
		ck_assert_int_eq(told.a.error, e);
		ck_assert_str_eq(told.why, msg_error_name(e));
	}
	/* An answer to another question is none. */
	m = (struct msg_reply){ .op = REPLY_STATUS, .alive = true };
	told = told_of(b, "name.example", &m);
	ck_assert_int_eq(told.a.error, ERR_DNS_FAILED);
	ck_assert_uint_eq(posts, ERR_COUNT + 1);
	m = resolved("9.9.9.10", 60);
	told = told_of(b, "name.example", &m);
	expect_addresses(&told, "9.9.9.10");
	stop();
}
END_TEST

/* A key of low order: nothing can be sealed to it. */
START_TEST(unusable_key)
{
	const uint8_t zeros[NOISE_KEY] = { 0 };
	struct told told = { 0 };
	struct bridge *b;

	start();
	b = bridge_with(PUBLIC, zeros, 0);
	look_up(b, "name.example", &told);
	UNTIL(cl.base, told.calls == 1);
	ck_assert_int_eq(told.a.error, ERR_DNS_FAILED);
	ck_assert_uint_eq(posts, 0);
	stop();
}
END_TEST

/* ---- tries ---- */

/* What no bridge says goes unheard: the same request again, and then a true answer counts. */
START_TEST(bad_answers)
{
	enum { STATUS, TIMEOUT, JUNK, FLIPPED, MALFORMED, WAYS };
	const struct msg_reply good = resolved("9.9.9.10", 60);

	for (unsigned way = 0; way < WAYS; way++) {
		struct told told = { 0 };
		struct buffer text = { 0 };
		struct noise_keys keys;
		struct bridge *b;
		struct heard h;
		struct noise before;
		char *first, *body;
		size_t first_len, len;

		start();
		b = bridge_at(PUBLIC);
		look_up(b, "name.example", &told);
		hear(&h);
		before = h.noise;
		first_len = out->len;
		first = mem_alloc(first_len);
		memcpy(first, out->body, first_len);
		if (way != MALFORMED)
			msg_encode_reply(&text, &good);
		body = envelope_write_2(&h.noise, &text, &keys, &len);
		if (way == FLIPPED)
			body[len / 2] ^= body[len / 2] == 'A' ? 3 : 1;
		if (way == STATUS)
			reply_with((struct oob_reply){ .result = OOB_STATUS, .status = 404, .body = body,
			    .len = len, .error = "404" });
		else if (way == TIMEOUT)
			reply_with((struct oob_reply){ .result = OOB_TIMEOUT, .error = "time" });
		else if (way == JUNK)
			reply_with((struct oob_reply){ .result = OOB_OK, .status = 200, .body = "{}",
			    .len = 2 });
		else
			reply_with((struct oob_reply){ .result = OOB_OK, .status = 200, .body = body,
			    .len = len });
		ck_assert_int_eq(told.calls, 0);
		ck_assert(!bridge_warm(b, now_ms) && !bridge_healthy(b, now_ms));
		UNTIL(cl.base, out != NULL);
		ck_assert_uint_eq(out->len, first_len);
		ck_assert_mem_eq(out->body, first, first_len);
		h.noise = before;
		reply(&h, &good);
		ck_assert_int_eq(told.calls, 1);
		expect_addresses(&told, "9.9.9.10");
		ck_assert(bridge_warm(b, now_ms) && bridge_healthy(b, now_ms));
		free(first);
		free(body);
		buffer_clear(&text);
		stop();
	}
}
END_TEST

/* Each try goes by the best channel, each failure is held against the one that it was on. */
START_TEST(gives_up)
{
	struct told told = { 0 };
	uint8_t public[NOISE_KEY];
	struct bridge *b;

	start();
	noise_public(public, secret);
	b = bridge_with(PUBLIC, public, TRIES);
	ck_assert_uint_eq(b->n_channels, TRIES);
	look_up(b, "name.example", &told);
	for (unsigned i = 0; i < TRIES; i++) {
		UNTIL(cl.base, out != NULL);
		ck_assert_ptr_eq(out->ch, b->channels[i].oob);
		ck_assert(bridge_healthy(b, now_ms));
		ck_assert_int_eq(told.calls, 0);
		if (i < TRIES - 1)
			reply_with((struct oob_reply){ .result = OOB_UNREACHABLE, .error = "some" });
		else
			reply_with((struct oob_reply){ .result = OOB_UNREACHABLE, .error = "the last" });
	}
	ck_assert_int_eq(told.calls, 1);
	ck_assert_int_eq(told.a.error, ERR_DNS_FAILED);
	ck_assert_ptr_nonnull(strstr(told.why, "the last"));
	ck_assert(!bridge_healthy(b, now_ms));
	ck_assert_uint_eq(posts, TRIES);
	stop();
}
END_TEST

/* ---- the cache ---- */

START_TEST(time_to_live)
{
	struct msg_reply m = resolved("9.9.9.10", 60);
	struct told told;
	struct bridge *b, *other;

	start();
	b = bridge_at(PUBLIC);
	other = bridge_at("9.9.9.8");
	told_of(b, "name.example", &m);
	ck_assert(knows(b, "name.example", &told));
	expect_addresses(&told, "9.9.9.10");
	ck_assert_uint_eq(told.a.ttl, 60);
	now_ms += 20000;
	ck_assert(knows(other, "NAME.Example", &told));
	expect_addresses(&told, "9.9.9.10");
	ck_assert_uint_eq(told.a.ttl, 40);
	ck_assert(!knows(b, "name.example.", &told));
	ck_assert(!knows(b, "name.exampl", &told));
	/* To be asked does not make it live longer. */
	now_ms += 39999;
	ck_assert(knows(b, "name.example", &told));
	now_ms++;
	ck_assert(!knows(b, "name.example", &told));
	/* Then what the bridge says anew. */
	m = resolved("9.9.9.11", 1);
	told = told_of(b, "name.example", &m);
	expect_addresses(&told, "9.9.9.11");
	now_ms += 999;
	ck_assert(knows(b, "name.example", &told));
	expect_addresses(&told, "9.9.9.11");
	now_ms++;
	ck_assert(!knows(b, "name.example", &told));
	/* None, and the longest that there is (message.c). */
	m = resolved("9.9.9.10", 0);
	told = told_of(b, "name.example", &m);
	expect_addresses(&told, "9.9.9.10");
	ck_assert(!knows(b, "name.example", &told));
	m = resolved("9.9.9.10", 86400);
	told_of(b, "name.example", &m);
	now_ms += 86399999;
	ck_assert(knows(b, "name.example", &told));
	now_ms++;
	ck_assert(!knows(b, "name.example", &told));
	stop();
}
END_TEST

/* However many names an app asks for, some hundred are kept: those that were used last. */
START_TEST(bounded)
{
	enum { NAMES = 3000, HUNDREDS = 1000 };
	struct msg_reply m = resolved("9.9.9.10", 86400);
	struct told told;
	struct bridge *b;
	unsigned known = 0;
	char host[32];

	start();
	b = bridge_at(PUBLIC);
	told_of(b, "hot.example", &m);
	for (unsigned i = 0; i < NAMES; i++) {
		snprintf(host, sizeof(host), "%u.example", i);
		told_of(b, host, &m);
		if (i % 100 == 0)
			ck_assert(knows(b, "hot.example", &told));
	}
	ck_assert(knows(b, "hot.example", &told));
	for (unsigned i = 0; i < NAMES; i++) {
		bool knew = known > 0;

		snprintf(host, sizeof(host), "%u.example", i);
		known += knows(b, host, &told);
		/* Of the others, those that came later than some time. */
		ck_assert(!knew || told.calls == 1);
	}
	ck_assert(known > 100 && known < HUNDREDS);
	/* What is not to be kept takes nobody's place. */
	m.ttl = 0;
	for (unsigned i = 0; i < HUNDREDS; i++) {
		snprintf(host, sizeof(host), "%u.fleeting.example", i);
		told_of(b, host, &m);
	}
	ck_assert(knows(b, "hot.example", &told));
	stop();
}
END_TEST

/* ---- ends ---- */

START_TEST(cancelled)
{
	struct msg_reply m = resolved("9.9.9.10", 60);
	struct told told = { 0 };
	struct bridge *b;
	struct lookup *l;

	start();
	b = bridge_at(PUBLIC);
	lookup_cancel(NULL);
	/* Before it is out, */
	lookup_cancel(look_up(b, "name.example", &told));
	settle(cl.base);
	ck_assert_uint_eq(posts, 0);
	/* when it is, */
	l = look_up(b, "name.example", &told);
	UNTIL(cl.base, out != NULL);
	lookup_cancel(l);
	ck_assert_ptr_null(out);
	ck_assert_uint_eq(cancels, 1);
	/* between two tries, */
	l = look_up(b, "name.example", &told);
	UNTIL(cl.base, out != NULL);
	reply_with((struct oob_reply){ .result = OOB_TIMEOUT, .error = "time" });
	lookup_cancel(l);
	/* and with the answer at hand. */
	told_of(b, "name.example", &m);
	lookup_cancel(look_up(b, "name.example", &told));
	lookup_cancel(look_up(b, "9.9.9.9", &told));
	settle(cl.base);
	ck_assert_int_eq(told.calls, 0);
	ck_assert_uint_eq(cancels, 1);
	/* The cache has it none the less. */
	ck_assert(knows(b, "name.example", &told));
	stop();
}
END_TEST

/* From inside the callback another may be started, also one that is answered by the cache. */
START_TEST(again_from_inside)
{
	struct msg_reply m = resolved("9.9.9.10", 60);
	struct told told = { 0 };
	struct bridge *b;
	struct heard h;

	start();
	b = bridge_at(PUBLIC);
	told.ask = b;
	look_up(b, "name.example", &told);
	hear(&h);
	reply(&h, &m);
	ck_assert_int_eq(told.calls, 1);
	hear(&h);
	ck_assert_str_eq(h.m.host, "again.example");
	m = resolved("9.9.9.11", 60);
	reply(&h, &m);
	ck_assert_int_eq(told.calls, 2);
	told.ask = b;
	look_up(b, "name.example", &told);
	UNTIL(cl.base, told.calls == 4);
	expect_addresses(&told, "9.9.9.11");
	stop();
}
END_TEST

TEST_MAIN("lookup", asks_the_bridge, literal_addresses, places_kept_out, errors, unusable_key,
    bad_answers, gives_up, time_to_live, bounded, cancelled, again_from_inside)
