#include "pt-client/memory.h"

#include <errno.h>
#include <stdio.h>
#include <sys/stat.h>
#include <unistd.h>

#include "tests/harness.h"

#define DAY 86400

static char folder[32];
static char file[64];

static void
make_folder(void)
{
	strcpy(folder, "/tmp/sultry-memory-XXXXXX");
	ck_assert_ptr_nonnull(mkdtemp(folder));
	snprintf(file, sizeof(file), "%s/strategies.json", folder);
}

static void
remove_folder(void)
{
	unlink(file);
	ck_assert_int_eq(rmdir(folder), 0); /* so no temporary file is left */
}

static struct memory *
new_memory(const char *where, enum strategy first, int64_t now)
{
	char error[CONFIG_ERROR];
	struct memory *m = memory_new(where, first, now, error);

	ck_assert_str_eq(error, "");
	return m;
}

static void
write_file(const char *text)
{
	FILE *f = fopen(file, "w");

	ck_assert_ptr_nonnull(f);
	fputs(text, f);
	fclose(f);
}

static void
read_text(char *out, size_t cap)
{
	FILE *f = fopen(file, "r");
	size_t n;

	ck_assert_ptr_nonnull(f);
	n = fread(out, 1, cap - 1, f);
	out[n] = '\0';
	fclose(f);
}

START_TEST(domains)
{
	static const char *const cases[][2] = {
		{ "example.com", "example.com" }, { "www.example.com", "example.com" },
		{ "a.b.C.Example.COM.", "example.com" }, { "localhost", "localhost" }, { "t.co", "t.co" },
		{ "www.bbc.co.uk", "bbc.co.uk" }, { "bbc.co.uk", "bbc.co.uk" }, { "co.uk", "co.uk" },
		{ "a.b.com.au", "b.com.au" }, { "x.y.gouv.fr", "y.gouv.fr" }, { "www.orange.fr", "orange.fr" },
		{ "a.b.uk.com", "uk.com" }, /* not on a list here: neighbours share */
		{ "en.bit.ly", "en.bit.ly" }, /* nor here: learnt in parts */
		{ "192.0.2.1", "192.0.2.1" }, { "2001:db8::1", "2001:db8::1" }, { "", "" }, { ".", "" },
	};
	char out[MEMORY_NAME_MAX], longest[300];

	for (size_t i = 0; i < sizeof(cases) / sizeof(cases[0]); i++) {
		memory_domain(out, cases[i][0]);
		ck_assert_str_eq(out, cases[i][1]);
	}
	memset(longest, 'a', sizeof(longest));
	longest[299] = '\0';
	memory_domain(out, longest);
	ck_assert_uint_eq(strlen(out), MEMORY_NAME_MAX - 1);
}
END_TEST

/* Asks, checks, and tells how that did. */
static void
turn(struct memory *m, const char *host, enum strategy want, bool worked)
{
	ck_assert_int_eq(memory_ask(m, host, 443, 1000), want);
	memory_tell(m, host, 443, want, worked, 1000);
}

START_TEST(strategies_in_turn)
{
	struct memory *m = new_memory(NULL, STRATEGY_DIRECT, 0);

	turn(m, "www.example.com", STRATEGY_DIRECT, true);
	turn(m, "www.example.com", STRATEGY_DIRECT, false);
	turn(m, "a.example.com", STRATEGY_SPLIT, true);
	turn(m, "b.example.com", STRATEGY_SPLIT, false);
	turn(m, "c.example.com", STRATEGY_CONCEAL, true);
	turn(m, "c.example.com", STRATEGY_CONCEAL, false);
	turn(m, "c.example.com", STRATEGY_DIRECT, false);
	turn(m, "c.example.com", STRATEGY_CONCEAL, true);
	ck_assert_int_eq(memory_ask(m, "example.org", 443, 1000), STRATEGY_DIRECT);
	memory_free(m);

	m = new_memory(NULL, STRATEGY_SPLIT, 0);
	turn(m, "example.com", STRATEGY_SPLIT, false);
	turn(m, "example.com", STRATEGY_CONCEAL, false);
	turn(m, "example.com", STRATEGY_SPLIT, true);
	turn(m, "example.com", STRATEGY_SPLIT, false);
	turn(m, "example.com", STRATEGY_CONCEAL, true);
	memory_free(m);

	/* From conceal never to direct. */
	m = new_memory(NULL, STRATEGY_CONCEAL, 0);
	turn(m, "example.com", STRATEGY_CONCEAL, true);
	turn(m, "example.com", STRATEGY_CONCEAL, false);
	turn(m, "example.com", STRATEGY_SPLIT, false);
	turn(m, "example.com", STRATEGY_CONCEAL, true);
	memory_free(m);
}
END_TEST

/* What the bridge cannot reach is one port of one host, whatever came first. */
START_TEST(past_the_bridge_goes_one_port)
{
	static const struct { enum strategy first, past; } cases[] = {
		{ STRATEGY_CONCEAL, STRATEGY_SPLIT }, { STRATEGY_SPLIT, STRATEGY_SPLIT },
		{ STRATEGY_DIRECT, STRATEGY_DIRECT },
	};

	for (size_t i = 0; i < sizeof(cases) / sizeof(cases[0]); i++) {
		struct memory *m = new_memory(NULL, cases[i].first, 0);

		for (enum strategy s = cases[i].first; s != STRATEGY_CONCEAL;) {
			memory_tell(m, "victim.example", 443, s, false, 1000);
			s = memory_ask(m, "victim.example", 443, 1000);
		}
		memory_tell(m, "NoSuch.victim.example.", 443, STRATEGY_CONCEAL, false, 1000);
		ck_assert_int_eq(memory_ask(m, "nosuch.victim.example", 443, 1000), cases[i].past);
		ck_assert_int_eq(memory_ask(m, "nosuch.victim.example", 80, 1000), STRATEGY_CONCEAL);
		ck_assert_int_eq(memory_ask(m, "victim.example", 443, 1000), STRATEGY_CONCEAL);
		ck_assert_int_eq(memory_ask(m, "www.victim.example", 443, 1000), STRATEGY_CONCEAL);
		ck_assert_int_eq(memory_ask(m, "a.nosuch.victim.example", 443, 1000), STRATEGY_CONCEAL);
		memory_tell(m, "victim.example", 80, STRATEGY_CONCEAL, false, 1000);
		ck_assert_int_eq(memory_ask(m, "victim.example", 443, 1000), STRATEGY_CONCEAL);
		memory_tell(m, "victim.example", 0, STRATEGY_CONCEAL, false, 1000);
		ck_assert_int_eq(memory_ask(m, "victim.example", 443, 1000), STRATEGY_CONCEAL);
		memory_free(m);
	}
}
END_TEST

/* However well it works, conceal gets its chance again. */
START_TEST(past_the_bridge_is_not_for_long)
{
	struct memory *m = new_memory(NULL, STRATEGY_CONCEAL, 0);

	memory_tell(m, "example.com", 443, STRATEGY_CONCEAL, false, 1000);
	for (int64_t now = 1000; now < 1000 + MEMORY_PASSED_S; now += 60) {
		ck_assert_int_eq(memory_ask(m, "example.com", 443, now), STRATEGY_SPLIT);
		memory_tell(m, "example.com", 443, STRATEGY_SPLIT, true, now);
	}
	ck_assert_int_eq(memory_ask(m, "example.com", 443, 1000 + MEMORY_PASSED_S), STRATEGY_CONCEAL);
	memory_free(m);
}
END_TEST

/* Five connections that fail together are one failure, and an old success is none. */
START_TEST(late_news_is_no_news)
{
	struct memory *m = new_memory(NULL, STRATEGY_DIRECT, 0);

	for (int i = 0; i < 5; i++)
		memory_tell(m, "example.com", 443, STRATEGY_DIRECT, false, 1000);
	ck_assert_int_eq(memory_ask(m, "example.com", 443, 1000), STRATEGY_SPLIT);
	memory_tell(m, "example.com", 443, STRATEGY_DIRECT, true, 1000);
	memory_tell(m, "example.com", 443, STRATEGY_CONCEAL, true, 1000);
	memory_tell(m, "example.com", 443, STRATEGY_BLOCK, false, 1000);
	ck_assert_int_eq(memory_ask(m, "example.com", 443, 1000), STRATEGY_SPLIT);
	memory_free(m);
}
END_TEST

START_TEST(expiry)
{
	struct memory *m = new_memory(NULL, STRATEGY_DIRECT, 0);

	memory_tell(m, "example.com", 443, STRATEGY_DIRECT, false, 1000);
	ck_assert_int_eq(memory_ask(m, "example.com", 443, 1000 + 7 * DAY - 1), STRATEGY_SPLIT);
	ck_assert_int_eq(memory_ask(m, "example.com", 443, 1000 + 7 * DAY), STRATEGY_DIRECT);
	/* Success keeps it. */
	memory_tell(m, "example.com", 443, STRATEGY_DIRECT, false, 1000);
	memory_tell(m, "example.com", 443, STRATEGY_SPLIT, true, 1000 + 5 * DAY);
	ck_assert_int_eq(memory_ask(m, "example.com", 443, 1000 + 12 * DAY - 1), STRATEGY_SPLIT);
	ck_assert_int_eq(memory_ask(m, "example.com", 443, 1000 + 12 * DAY), STRATEGY_DIRECT);
	memory_free(m);
}
END_TEST

START_TEST(bounded)
{
	struct memory *m = new_memory(NULL, STRATEGY_DIRECT, 0);
	char host[64];

	for (int i = 0; i < MEMORY_SITES; i++) {
		snprintf(host, sizeof(host), "site%d.example", i);
		memory_tell(m, host, 443, STRATEGY_DIRECT, false, 1000);
	}
	ck_assert_int_eq(memory_ask(m, "site0.example", 443, 1000), STRATEGY_SPLIT); /* used again */
	memory_tell(m, "more.example", 443, STRATEGY_DIRECT, false, 1000);
	ck_assert_int_eq(memory_ask(m, "more.example", 443, 1000), STRATEGY_SPLIT);
	ck_assert_int_eq(memory_ask(m, "site0.example", 443, 1000), STRATEGY_SPLIT);
	ck_assert_int_eq(memory_ask(m, "site1.example", 443, 1000), STRATEGY_DIRECT);
	ck_assert_int_eq(memory_ask(m, "site2.example", 443, 1000), STRATEGY_SPLIT);
	memory_free(m);
}
END_TEST

/* Any number of hosts below a stranger's domain push out each other, and no domain. */
START_TEST(hosts_are_bounded_apart)
{
	struct memory *m;
	char host[64];

	make_folder();
	m = new_memory(folder, STRATEGY_SPLIT, 0);
	memory_tell(m, "careful.example", 443, STRATEGY_SPLIT, false, 1000);
	memory_tell(m, "stranger.example", 443, STRATEGY_SPLIT, false, 1000);
	for (int i = 0; i <= 2 * MEMORY_SITES; i++) {
		snprintf(host, sizeof(host), "%d.stranger.example", i);
		memory_tell(m, host, 443, STRATEGY_CONCEAL, false, 1000);
	}
	for (int read = 0; read < 2; read++) {
		ck_assert_int_eq(memory_ask(m, "careful.example", 443, 1000), STRATEGY_CONCEAL);
		ck_assert_int_eq(memory_ask(m, "1000.stranger.example", 443, 1000), STRATEGY_CONCEAL);
		ck_assert_int_eq(memory_ask(m, "1001.stranger.example", 443, 1000), STRATEGY_SPLIT);
		ck_assert_int_eq(memory_ask(m, host, 443, 1000), STRATEGY_SPLIT);
		ck_assert_int_eq(memory_save(m), 0);
		memory_free(m);
		m = new_memory(folder, STRATEGY_SPLIT, 1000);
	}
	memory_free(m);
	remove_folder();
}
END_TEST

START_TEST(saved_and_read)
{
	struct memory *m;
	char text[4096];
	struct stat st;

	make_folder();
	m = new_memory(folder, STRATEGY_DIRECT, 1000);
	memory_tell(m, "plain.example", 443, STRATEGY_DIRECT, true, 1000);
	ck_assert_int_eq(memory_save(m), 0);
	ck_assert_int_ne(access(file, F_OK), 0); /* nothing that would be worth a file */
	memory_tell(m, "www.one.example", 443, STRATEGY_DIRECT, false, 1000);
	memory_tell(m, "192.0.2.1", 443, STRATEGY_DIRECT, false, 2000);
	memory_tell(m, "192.0.2.1", 443, STRATEGY_SPLIT, false, 2000);
	memory_tell(m, "X.Two.example", 8443, STRATEGY_DIRECT, false, 2000);
	memory_tell(m, "x.two.example", 8443, STRATEGY_SPLIT, false, 2000);
	memory_tell(m, "X.two.example.", 8443, STRATEGY_CONCEAL, false, 2000);
	memory_tell(m, "a\"b", 443, STRATEGY_DIRECT, false, 2000);
	memory_tell(m, "a b.example", 443, STRATEGY_DIRECT, false, 2000);
	ck_assert_int_eq(memory_save(m), 0);
	ck_assert_int_eq(stat(file, &st), 0);
	ck_assert_uint_eq(st.st_mode & 0777, 0600);
	memory_free(m);
	read_text(text, sizeof(text));
	ck_assert_str_eq(text, "{\"sites\": [\n"
	    "  {\"host\": \"x.two.example\", \"port\": 8443, \"strategy\": \"direct\", "
	    "\"until\": 5600},\n"
	    "  {\"domain\": \"two.example\", \"strategy\": \"conceal\", \"until\": 606800},\n"
	    "  {\"domain\": \"192.0.2.1\", \"strategy\": \"conceal\", \"until\": 606800},\n"
	    "  {\"domain\": \"one.example\", \"strategy\": \"split\", \"until\": 605800}\n]}\n");

	m = new_memory(folder, STRATEGY_DIRECT, 3000);
	ck_assert_int_eq(memory_ask(m, "two.one.example", 443, 3000), STRATEGY_SPLIT);
	ck_assert_int_eq(memory_ask(m, "192.0.2.1", 443, 3000), STRATEGY_CONCEAL);
	ck_assert_int_eq(memory_ask(m, "x.two.example", 8443, 3000), STRATEGY_DIRECT);
	ck_assert_int_eq(memory_ask(m, "x.two.example", 443, 3000), STRATEGY_CONCEAL);
	/* Nothing has changed: nothing is written. */
	unlink(file);
	ck_assert_int_eq(memory_save(m), 0);
	ck_assert_int_ne(access(file, F_OK), 0);
	memory_free(m);
	remove_folder();
}
END_TEST

START_TEST(order_survives_the_file)
{
	struct memory *m;
	char host[64];

	make_folder();
	m = new_memory(folder, STRATEGY_DIRECT, 1000);
	for (int i = 0; i < MEMORY_SITES; i++) {
		snprintf(host, sizeof(host), "site%d.example", i);
		memory_tell(m, host, 443, STRATEGY_DIRECT, false, 1000);
	}
	ck_assert_int_eq(memory_save(m), 0);
	memory_free(m);
	m = new_memory(folder, STRATEGY_DIRECT, 1000);
	memory_tell(m, "more.example", 443, STRATEGY_DIRECT, false, 1000);
	ck_assert_int_eq(memory_ask(m, "site0.example", 443, 1000), STRATEGY_DIRECT);
	ck_assert_int_eq(memory_ask(m, "site1.example", 443, 1000), STRATEGY_SPLIT);
	ck_assert_int_eq(memory_ask(m, "site999.example", 443, 1000), STRATEGY_SPLIT);
	memory_free(m);
	remove_folder();
}
END_TEST

/* What is over, odd for this `first`, twice there, or too far in the future. */
START_TEST(file_looked_through)
{
	struct memory *m;

	make_folder();
	write_file("{\"sites\": [{\"domain\": \"over.example\", \"strategy\": \"conceal\", \"until\": 1000},"
	    "{\"domain\": \"direct.example\", \"strategy\": \"direct\", \"until\": 2000},"
	    "{\"domain\": \"split.example\", \"strategy\": \"split\", \"until\": 2000},"
	    "{\"domain\": \"block.example\", \"strategy\": \"block\", \"until\": 2000},"
	    "{\"host\": \"direct.example\", \"port\": 443, \"strategy\": \"direct\", \"until\": 2000},"
	    "{\"host\": \"block.example\", \"port\": 443, \"strategy\": \"block\", \"until\": 2000},"
	    "{\"host\": \"far.example\", \"port\": 80, \"strategy\": \"split\", \"until\": 9223372036854775807},"
	    "{\"domain\": \"far.example\", \"strategy\": \"conceal\", \"until\": 9223372036854775807},"
	    "{\"domain\": \"far.example\", \"strategy\": \"conceal\", \"until\": 1500}]}");
	m = new_memory(folder, STRATEGY_SPLIT, 1000);
	ck_assert_int_eq(memory_ask(m, "over.example", 443, 1000), STRATEGY_SPLIT);
	ck_assert_int_eq(memory_ask(m, "direct.example", 443, 1000), STRATEGY_SPLIT);
	ck_assert_int_eq(memory_ask(m, "block.example", 443, 1000), STRATEGY_SPLIT);
	ck_assert_int_eq(memory_ask(m, "far.example", 443, 1000 + 7 * DAY - 1), STRATEGY_CONCEAL);
	ck_assert_int_eq(memory_ask(m, "far.example", 443, 1000 + 7 * DAY), STRATEGY_SPLIT);
	memory_free(m);

	/* From conceal no whole domain is taken, whatever an older version wrote. */
	m = new_memory(folder, STRATEGY_CONCEAL, 1000);
	ck_assert_int_eq(memory_ask(m, "split.example", 443, 1000), STRATEGY_CONCEAL);
	ck_assert_int_eq(memory_ask(m, "direct.example", 443, 1000), STRATEGY_CONCEAL);
	ck_assert_int_eq(memory_ask(m, "far.example", 443, 1000), STRATEGY_CONCEAL);
	ck_assert_int_eq(memory_ask(m, "far.example", 80, 1000 + MEMORY_PASSED_S - 1), STRATEGY_SPLIT);
	ck_assert_int_eq(memory_ask(m, "far.example", 80, 1000 + MEMORY_PASSED_S), STRATEGY_CONCEAL);
	memory_free(m);
	remove_folder();
}
END_TEST

START_TEST(bad_files)
{
	static const char *const texts[] = { "", "{", "[]", "{\"sites\": 1}", "{\"sites\": [1]}",
		"{\"sites\": [{}]}", "{\"sites\": [{\"domain\": \"a b\", \"strategy\": \"split\", \"until\": 1}]}",
		"{\"sites\": [{\"domain\": \"a.b\", \"strategy\": \"x\", \"until\": 1}]}",
		"{\"sites\": [{\"domain\": \"a.b\", \"strategy\": \"split\"}]}",
		"{\"sites\": [{\"domain\": \"a.b\", \"strategy\": \"split\", \"until\": \"1\"}]}",
		"{\"sites\": [{\"host\": \"a b\", \"port\": 1, \"strategy\": \"split\", \"until\": 1}]}",
		"{\"sites\": [{\"host\": \"a.b\", \"strategy\": \"split\", \"until\": 1}]}",
		"{\"sites\": [{\"host\": \"a.b\", \"port\": 0, \"strategy\": \"split\", \"until\": 1}]}",
		"{\"sites\": [{\"domain\": \"a.b\", \"port\": 1, \"strategy\": \"split\", \"until\": 1}]}",
		"{\"sites\": [], \"more\": 1}" };
	char error[CONFIG_ERROR];

	make_folder();
	for (size_t i = 0; i < sizeof(texts) / sizeof(texts[0]); i++) {
		struct memory *m;

		write_file(texts[i]);
		m = memory_new(folder, STRATEGY_DIRECT, 1000, error);
		ck_assert_msg(strstr(error, "strategies.json") != NULL, "%s: %s", texts[i], error);
		ck_assert_int_eq(memory_ask(m, "a.b", 443, 0), STRATEGY_DIRECT);
		/* It can be mended by what is learnt next. */
		memory_tell(m, "a.b", 443, STRATEGY_DIRECT, false, 1000);
		ck_assert_int_eq(memory_save(m), 0);
		memory_free(m);
		memory_free(new_memory(folder, STRATEGY_DIRECT, 1000));
	}
	remove_folder();
}
END_TEST

START_TEST(cannot_save)
{
	struct memory *m;

	make_folder();
	m = new_memory(folder, STRATEGY_DIRECT, 1000);
	memory_tell(m, "a.example", 443, STRATEGY_DIRECT, false, 1000);
	/* A folder where the file should be: the old state stays, and no temporary file. */
	ck_assert_int_eq(mkdir(file, 0700), 0);
	ck_assert_int_eq(memory_save(m), -1);
	ck_assert_int_eq(errno, EISDIR);
	ck_assert_int_eq(rmdir(file), 0);
	ck_assert_int_eq(memory_save(m), 0); /* still due */
	ck_assert_int_eq(access(file, F_OK), 0);
	memory_free(m);
	remove_folder();
	m = new_memory(folder, STRATEGY_DIRECT, 1000);
	memory_tell(m, "a.example", 443, STRATEGY_DIRECT, false, 1000);
	ck_assert_int_eq(memory_save(m), -1);
	ck_assert_int_eq(errno, ENOENT);
	memory_free(m);
	memory_free(NULL);
}
END_TEST

TEST_MAIN("memory", domains, strategies_in_turn, past_the_bridge_goes_one_port,
    past_the_bridge_is_not_for_long, late_news_is_no_news, expiry, bounded, hosts_are_bounded_apart,
    saved_and_read, order_survives_the_file, file_looked_through, bad_files, cannot_save)
