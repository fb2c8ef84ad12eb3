#include <stdio.h>
#include <sys/stat.h>

#include "common/address.h"
#include "pt-server/resolve.h"
#include "tests/dns_server.h"
#include "tests/sockets.h"

#define COUNT(a) (sizeof(a) / sizeof((a)[0]))
#define V4_9 "192.0.2.1 192.0.2.2 192.0.2.3 192.0.2.4 192.0.2.5 192.0.2.6 192.0.2.7 192.0.2.8 192.0.2.9"

static const struct dns_row rows[] = {
	{ "both.example", 0, 0, "192.0.2.1 192.0.2.2", "2001:db8::1", 300, 0, 0 },
	{ "v4.example", 0, 0, "192.0.2.4", NULL, 300, 0, 0 },
	{ "v6.example", 0, 0, NULL, "2001:db8::6", 300, 0, 0 },
	{ "v6nx.example", SAY_NXDOMAIN, 0, NULL, "2001:db8::6", 300, 0, 0 },
	{ "none.example", 0, 0, NULL, NULL, 300, 0, 0 },
	{ "servfail.example", SAY_SERVFAIL, SAY_SERVFAIL, NULL, NULL, 0, 0, 0 },
	{ "halffail.example", 0, SAY_SERVFAIL, "192.0.2.4", NULL, 300, 0, 0 },
	{ "silent.example", SAY_NOTHING, SAY_NOTHING, NULL, NULL, 0, 0, 0 },
	{ "cut.example", SAY_TRUNCATED, SAY_TRUNCATED, "192.0.2.1 192.0.2.2", "2001:db8::1", 300, 0, 0 },
	{ "wrong.example", SAY_WRONG_ID, SAY_WRONG_ID, "192.0.2.1", "2001:db8::1", 300, 0, 0 },
	{ "forged.example", SAY_WRONG_ID_FIRST, 0, "192.0.2.1", NULL, 300, 0, 0 },
	{ "chain.example", SAY_CNAME, SAY_CNAME, "192.0.2.1", "2001:db8::1", 40, 0, 0 },
	{ "dangling.example", SAY_CNAME, SAY_CNAME, NULL, NULL, 40, 0, 0 },
	{ "garbage.example", SAY_GARBAGE, SAY_GARBAGE, "192.0.2.1", "2001:db8::1", 300, 0, 0 },
	{ "many.example", 0, 0, V4_9, NULL, 300, 0, 0 },
	{ "mapped.example", 0, 0, NULL, "::ffff:192.0.2.7", 300, 0, 0 },
	{ "long.example", 0, 0, "192.0.2.1", NULL, 1000000, 0, 0 },
	{ "zero.example", 0, 0, "192.0.2.1", NULL, 0, 0, 0 },
	{ "one.example", 0, 0, "192.0.2.1", NULL, 1, 0, 0 },
	{ "late6.example", 0, 0, "192.0.2.1", "2001:db8::1", 300, 700, 0 },
	{ "late4.example", 0, 0, "192.0.2.1", "2001:db8::1", 300, 0, 700 },
	{ "half6.example", 0, SAY_NOTHING, "192.0.2.1", NULL, 300, 0, 0 },
	{ "localhost.example", 0, 0, "192.0.2.1", NULL, 300, 0, 0 },
	{ 0 },
};

/* ---- one resolver, its nameserver, and what it comes to ---- */

static struct event_base *base;
static struct dns_server dns;
static struct resolver *resolver;
static char dir[] = "/tmp/sultry-test-resolve-XXXXXX";
static char hosts[64], conf[64];

static void
put_file(const char *path, const char *text)
{
	char tmp[80];
	FILE *f;

	/* A new file each time, as editors make them. */
	snprintf(tmp, sizeof(tmp), "%s.new", path);
	f = fopen(tmp, "w");
	ck_assert_ptr_nonnull(f);
	fputs(text, f);
	ck_assert_int_eq(fclose(f), 0);
	ck_assert_int_eq(rename(tmp, path), 0);
}

static void
begin(bool by_file)
{
	struct resolver_config c = { .timeout_ms = 1500, .resolv_conf = conf, .hosts = hosts };
	char text[100], at[ADDRESS_TEXT_MAX];

	ck_assert_ptr_nonnull(mkdtemp(dir));
	snprintf(hosts, sizeof(hosts), "%s/hosts", dir);
	snprintf(conf, sizeof(conf), "%s/resolv.conf", dir);
	put_file(hosts, "192.0.2.99 file.example other\n2001:db8::99 file.example\n");
	base = event_base_new();
	dns_start(&dns, base, rows);
	address_text(at, &dns.at, address_port(&dns.at));
	snprintf(text, sizeof(text), "# comment\nnameserver %s\n", at);
	put_file(conf, text);
	if (!by_file) {
		c.servers[0] = dns.at;
		c.n_servers = 1;
	}
	resolver = resolver_new(base, &c);
}

static void
finish(void)
{
	resolver_free(resolver);
	event_base_loop(base, EVLOOP_NONBLOCK);
	dns_stop(&dns);
	event_base_free(base);
	unlink(hosts);
	unlink(conf);
	rmdir(dir);
}

struct outcome {
	int calls;
	bool last;
	struct resolve_answer first, answer;
	int left_then; /* how many had not ended when it did */
	char text[2048];
};

static int left; /* resolves that have not ended */

static void
put_text(struct outcome *o)
{
	char a[ADDRESS_TEXT_MAX];

	o->text[0] = '\0';
	for (unsigned i = 0; i < o->answer.n_v6; i++) {
		address_text(a, &o->answer.v6[i], address_port(&o->answer.v6[i]));
		strcat(strcat(o->text, a), " ");
	}
	for (unsigned i = 0; i < o->answer.n_v4; i++) {
		address_text(a, &o->answer.v4[i], address_port(&o->answer.v4[i]));
		strcat(strcat(o->text, a), " ");
	}
}

static void
on_done(void *arg, const struct resolve_answer *answer, bool last)
{
	struct outcome *o = arg;

	ck_assert_msg(!o->last && o->calls < 2, "called too often");
	if (o->calls++ == 0)
		o->first = *answer;
	o->answer = *answer;
	o->last = last;
	put_text(o);
	o->left_then = left;
	if (last && --left == 0)
		event_base_loopbreak(base);
}

static struct resolve *
start(struct outcome *o, const char *host)
{
	struct resolve *q;

	*o = (struct outcome){ 0 };
	left++;
	q = resolve_start(resolver, host, on_done, o);
	ck_assert_msg(o->calls == 0, "called back from inside resolve_start");
	return q;
}

static void
ask(struct outcome *o, const char *host)
{
	start(o, host);
	event_base_dispatch(base);
	ck_assert_msg(o->last, "%s has no end", host);
	ck_assert_int_eq(o->answer.err == ERR_NONE, o->text[0] != '\0');
}

static void
expect(const char *host, const char *want)
{
	struct outcome o;

	ask(&o, host);
	ck_assert_msg(strcmp(o.text, want) == 0, "%s: \"%s\", not \"%s\"", host, o.text, want);
	ck_assert_int_eq(o.answer.err, want[0] != '\0' ? ERR_NONE : ERR_DNS_FAILED);
}

/* ---- tests ---- */

START_TEST(test_answers)
{
	struct outcome o;

	begin(false);
	expect("both.example", "[2001:db8::1]:0 192.0.2.1:0 192.0.2.2:0 ");
	expect("v4.example", "192.0.2.4:0 ");
	expect("v6.example", "[2001:db8::6]:0 ");
	expect("v6nx.example", "[2001:db8::6]:0 ");
	expect("none.example", "");
	expect("nowhere.example", "");
	expect("chain.example", "[2001:db8::1]:0 192.0.2.1:0 ");
	expect("dangling.example", "");
	expect("mapped.example", "192.0.2.7:0 ");
	ask(&o, "many.example");
	ck_assert_uint_eq(o.answer.n_v4, RESOLVE_FAMILY_MAX);
	finish();
}
END_TEST

START_TEST(test_bad_answers)
{
	struct outcome o[7];

	begin(false);
	expect("cut.example", "");
	expect("forged.example", "192.0.2.1:0 ");
	start(&o[0], "wrong.example");
	start(&o[1], "silent.example");
	start(&o[2], "servfail.example");
	start(&o[3], "garbage.example");
	event_base_dispatch(base);
	for (int i = 0; i < 4; i++) {
		ck_assert(o[i].last && o[i].calls == 1);
		ck_assert_int_eq(o[i].answer.err, ERR_DNS_FAILED);
	}
	/* One family does not wait for ever for the other. */
	ask(&o[4], "halffail.example");
	ck_assert_str_eq(o[4].text, "192.0.2.4:0 ");
	ck_assert_uint_le(o[4].answer.ttl, 30);
	finish();
}
END_TEST

/* None of these is a question for anybody. */
START_TEST(test_no_query)
{
	char label[300];

	begin(false);
	expect("192.0.2.5", "192.0.2.5:0 ");
	expect("2001:db8::5", "[2001:db8::5]:0 ");
	expect("::ffff:192.0.2.5", "192.0.2.5:0 ");
	expect("FILE.example.", "[2001:db8::99]:0 192.0.2.99:0 ");
	expect("other", "192.0.2.99:0 ");
	expect("", "");
	expect("127.1", "");
	expect("a b", "");
	memset(label, 'a', sizeof(label));
	label[sizeof(label) - 1] = '\0';
	expect(label, "");
	ck_assert_uint_eq(dns.queries, 0);
	/* The file was changed. */
	put_file(hosts, "192.0.2.98 file.example\n");
	expect("file.example", "192.0.2.98:0 ");
	ck_assert_uint_eq(dns.queries, 0);
	unlink(hosts);
	expect("file.example", "");
	ck_assert_uint_eq(dns.queries, 2);
	finish();
}
END_TEST

START_TEST(test_cache)
{
	struct outcome o;
	char name[32];

	begin(false);
	ask(&o, "both.example");
	ck_assert_uint_eq(o.answer.ttl, 300);
	ck_assert_uint_eq(dns.queries, 2);
	ask(&o, "BOTH.Example.");
	ck_assert_str_eq(o.text, "[2001:db8::1]:0 192.0.2.1:0 192.0.2.2:0 ");
	ck_assert(o.calls == 1 && o.answer.ttl <= 300 && o.answer.ttl >= 100);
	ck_assert_uint_eq(dns.queries, 2);
	ask(&o, "chain.example");
	ck_assert_uint_eq(o.answer.ttl, 40);
	ask(&o, "long.example");
	ck_assert_uint_eq(o.answer.ttl, 300);

	/* What may not be kept, and what does not exist, is asked for again. */
	dns.queries = 0;
	expect("zero.example", "192.0.2.1:0 ");
	expect("zero.example", "192.0.2.1:0 ");
	expect("nowhere.example", "");
	expect("nowhere.example", "");
	ck_assert_uint_eq(dns.queries, 8);

	/* Two seconds later, the other one's second is over. */
	dns.queries = 0;
	expect("one.example", "192.0.2.1:0 ");
	usleep(1200000);
	expect("one.example", "192.0.2.1:0 ");
	ck_assert_uint_eq(dns.queries, 4);

	/* Bounded: the least recently used gives way. */
	for (int i = 0; i < RESOLVE_CACHE_MAX + 10; i++) {
		struct dns_row one[2] = { { name, 0, 0, "192.0.2.1", NULL, 300, 0, 0 }, { 0 } };

		snprintf(name, sizeof(name), "n%d.example", i);
		dns.rows = one;
		expect(name, "192.0.2.1:0 ");
		if (i == 0)
			continue;
		expect("n0.example", "192.0.2.1:0 ");
	}
	dns.queries = 0;
	dns.rows = rows;
	expect("n0.example", "192.0.2.1:0 ");
	ck_assert_uint_eq(dns.queries, 0);
	expect("n1.example", "");
	ck_assert_uint_eq(dns.queries, 2);
	finish();
}
END_TEST

/* Many ask for one name: it is asked for once. */
START_TEST(test_together)
{
	struct outcome o[200];

	begin(false);
	for (size_t i = 0; i < COUNT(o); i++)
		start(&o[i], "both.example");
	event_base_dispatch(base);
	for (size_t i = 0; i < COUNT(o); i++)
		ck_assert_str_eq(o[i].text, "[2001:db8::1]:0 192.0.2.1:0 192.0.2.2:0 ");
	ck_assert_uint_eq(dns.queries, 2);
	finish();
}
END_TEST

/* However many names do not answer, another one is asked for: the oldest ends. */
START_TEST(test_too_many)
{
	static struct dns_row silent[RESOLVE_PENDING_MAX + 2];
	static char names[RESOLVE_PENDING_MAX][32];
	static struct outcome o[RESOLVE_PENDING_MAX];
	struct outcome literal, good, again;

	begin(false);
	for (size_t i = 0; i < COUNT(o); i++) {
		snprintf(names[i], sizeof(names[i]), "n%zu.example", i);
		silent[i] = (struct dns_row){ names[i], SAY_NOTHING, SAY_NOTHING, NULL, NULL, 0, 0, 0 };
	}
	silent[COUNT(o)] = (struct dns_row){ "v4.example", 0, 0, "192.0.2.4", NULL, 0, 0, 0 };
	dns.rows = silent;
	for (size_t i = 0; i < COUNT(o); i++) {
		start(&o[i], names[i]);
		event_base_loop(base, EVLOOP_NONBLOCK); /* a socket does not hold so many queries */
	}
	start(&literal, "192.0.2.3");
	start(&good, "v4.example");
	start(&again, names[5]);
	event_base_dispatch(base);
	ck_assert_str_eq(literal.text, "192.0.2.3:0 ");
	ck_assert_str_eq(good.text, "192.0.2.4:0 ");
	ck_assert_int_gt(o[0].left_then, o[1].left_then);
	for (size_t i = 0; i < COUNT(o); i++) {
		ck_assert_int_eq(o[i].answer.err, ERR_DNS_FAILED);
		ck_assert(i == 0 || o[i].left_then < good.left_then);
	}
	finish();
}
END_TEST

/* The family that is there is told while the other one is late. */
START_TEST(test_late_family)
{
	struct outcome a, b, c;

	begin(false);
	start(&a, "late6.example");
	start(&b, "late4.example");
	start(&c, "half6.example");
	event_base_dispatch(base);
	ck_assert_int_eq(a.calls, 2);
	ck_assert(a.first.n_v4 == 1 && a.first.n_v6 == 0);
	ck_assert_str_eq(a.text, "[2001:db8::1]:0 192.0.2.1:0 ");
	ck_assert_int_eq(b.calls, 2);
	ck_assert(b.first.n_v4 == 0 && b.first.n_v6 == 1);
	ck_assert_str_eq(b.text, "[2001:db8::1]:0 192.0.2.1:0 ");
	ck_assert_int_eq(c.calls, 2);
	ck_assert(c.first.n_v4 == 1 && c.answer.n_v6 == 0 && c.answer.err == ERR_NONE);
	finish();
}
END_TEST

static struct resolve *victim;

static void
cancel_other(void *arg, const struct resolve_answer *answer, bool last)
{
	struct outcome *o = arg;

	(void)answer;
	o->calls++;
	o->last = last;
	resolve_cancel(victim);
	if (victim != NULL)
		left--;
	victim = NULL;
	if (last && --left == 0)
		event_base_loopbreak(base);
}

START_TEST(test_cancel)
{
	struct outcome a, b, c;
	struct resolve *q;

	begin(false);
	/* Before anything came; the query that is out fills the cache. */
	q = start(&a, "both.example");
	resolve_cancel(q);
	left--;
	expect("v4.example", "192.0.2.4:0 ");
	ck_assert_int_eq(a.calls, 0);
	expect("both.example", "[2001:db8::1]:0 192.0.2.1:0 192.0.2.2:0 ");
	ck_assert_uint_eq(dns.queries, 4);
	/* An answer that was at hand. */
	resolve_cancel(start(&a, "192.0.2.1"));
	left--;
	/* One of two in the other's callback, with its first and with its last answer. */
	for (int i = 0; i < 2; i++) {
		const char *name = i == 0 ? "late4.example" : "v6.example";

		victim = start(&b, name);
		c = (struct outcome){ 0 };
		left++;
		resolve_start(resolver, name, cancel_other, &c);
		event_base_dispatch(base);
		ck_assert(c.last && b.calls <= 1);
	}
	resolve_cancel(NULL);
	/* A resolver that ends in the middle of a lookup. */
	resolve_cancel(start(&a, "silent.example"));
	left--;
	event_base_loop(base, EVLOOP_NONBLOCK);
	finish();
	ck_assert_int_eq(a.calls, 0);
}
END_TEST

START_TEST(test_resolv_conf)
{
	static const struct dns_row others[] = {
		{ "v4.example", 0, 0, "192.0.2.44", NULL, 0, 0, 0 },
		{ 0 },
	};
	char text[100], at[ADDRESS_TEXT_MAX];
	struct dns_server other;

	begin(true);
	expect("zero.example", "192.0.2.1:0 ");
	ck_assert_uint_eq(dns.queries, 2);
	/* Another nameserver from now on. */
	dns_start(&other, base, others);
	address_text(at, &other.at, address_port(&other.at));
	snprintf(text, sizeof(text), "search example\nnameserver %s\n", at);
	put_file(conf, text);
	expect("v4.example", "192.0.2.44:0 ");
	expect("v4", ""); /* no search list */
	ck_assert_uint_eq(dns.queries, 2);
	ck_assert_uint_eq(other.queries, 4);
	dns_stop(&other);
	finish();
}
END_TEST

/* resolv.conf(5): where there is none, this machine is the nameserver. */
START_TEST(test_no_resolv_conf)
{
	struct resolver_config c = { .timeout_ms = 1500, .resolv_conf = "/nowhere", .hosts = "/nowhere" };
	struct dns_server here;

	if (!own_loopback()) {
		fprintf(stderr, "resolve: no network namespaces here, the default was not looked at\n");
		return;
	}
	begin(false);
	resolver_free(resolver);
	dns_start_at(&here, base, rows, 53);
	resolver = resolver_new(base, &c);
	expect("v4.example", "192.0.2.4:0 ");
	dns_stop(&here);
	finish();
}
END_TEST

/* The first nameserver is dead: the next one is asked. */
START_TEST(test_two_servers)
{
	struct resolver_config c = { .timeout_ms = 3000, .hosts = "/nowhere" };
	static const struct dns_row nothing[] = {
		{ "v4.example", SAY_NOTHING, SAY_NOTHING, NULL, NULL, 0, 0, 0 }, { 0 },
	};
	struct dns_server dead;

	begin(false);
	resolver_free(resolver);
	dns_start(&dead, base, nothing);
	c.servers[0] = dead.at;
	c.servers[1] = dns.at;
	c.n_servers = 2;
	resolver = resolver_new(base, &c);
	expect("v4.example", "192.0.2.4:0 ");
	ck_assert_uint_ge(dead.queries, 1);
	dns_stop(&dead);
	finish();
}
END_TEST

TEST_MAIN("resolve", test_answers, test_bad_answers, test_no_query, test_cache, test_together,
    test_too_many, test_late_family, test_cancel, test_resolv_conf, test_no_resolv_conf, test_two_servers)
