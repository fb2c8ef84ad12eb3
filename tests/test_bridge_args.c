/* What the arguments of a bridge line come to. Which ones are refused is in test_bridge and
 * test_settings_client, what a channel makes of its words in test_oob. */
#include "pt-client/bridge_args.h"

#include <stdio.h>

#include "tests/harness.h"

#define KEY "key=AQAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAA"
#define OTHER_KEY "key=AgAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAA"
#define PIN "pin=AwAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAU"
#define OTHER_PIN "pin=BAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAY"

static struct pt_args args; /* of the last line read: what is read borrows from it */

static const char *
read_at(struct bridge_args *a, const char *ip, uint16_t port, const char *line)
{
	struct sockaddr_storage addr;
	const char *why = "";

	ck_assert(address_parse(&addr, ip, port));
	pt_args_clear(&args);
	ck_assert_msg(pt_args_parse(&args, line, strlen(line), &why), "%s: %s", line, why);
	memset(a, 0xaa, sizeof(*a)); /* it need not be zeroed */
	return bridge_args_read(a, &addr, &args);
}

static void
must_read(struct bridge_args *a, const char *line)
{
	const char *want = read_at(a, "192.0.2.1", 443, line);

	ck_assert_msg(want == NULL, "%s: %s", line, want);
}

START_TEST(only_a_key)
{
	static const struct {
		const char *ip;
		uint16_t port;
		const char *url;
	} t[] = {
		{ "192.0.2.1", 443, "https://192.0.2.1:443" }, { "192.0.2.1", 1, "https://192.0.2.1:1" },
		{ "2001:db8::1", 8443, "https://[2001:db8::1]:8443" },
		/* As long as it gets. */
		{ "2001:db8:1111:2222:3333:4444:5555:6666", 65535,
		    "https://[2001:db8:1111:2222:3333:4444:5555:6666]:65535" },
	};
	static const uint8_t key[NOISE_KEY] = { 1 };
	struct bridge_args a;

	for (size_t i = 0; i < sizeof(t) / sizeof(t[0]); i++) {
		ck_assert_pstr_eq(read_at(&a, t[i].ip, t[i].port, KEY), NULL);
		ck_assert_mem_eq(a.key, key, sizeof(key));
		ck_assert_ptr_null(a.base);
		ck_assert_uint_eq(a.redial_s, 180);
		ck_assert_uint_eq(a.n_channels, 1);
		ck_assert_str_eq(a.channels[0].url, t[i].url);
		ck_assert_ptr_null(a.channels[0].front);
		ck_assert_ptr_null(a.channels[0].addr);
		ck_assert_ptr_null(a.channels[0].sni);
		ck_assert_ptr_null(a.channels[0].pin);
	}
}
END_TEST

/* All urls in their order, and not the bridge's own address besides. */
START_TEST(words_apply_to_every_url)
{
	static const uint8_t pin[32] = { [0] = 3, [31] = 5 };
	struct bridge_args a;

	must_read(&a, "url=https://b.example/x;" KEY ";front=f.example:81;url=https://192.0.2.7;" PIN
	    ";addr=192.0.2.9:82;base=/api;url=https://a.example");
	ck_assert_uint_eq(a.n_channels, 3);
	ck_assert_str_eq(a.channels[0].url, "https://b.example/x");
	ck_assert_str_eq(a.channels[1].url, "https://192.0.2.7");
	ck_assert_str_eq(a.channels[2].url, "https://a.example");
	for (unsigned i = 0; i < a.n_channels; i++) {
		ck_assert_str_eq(a.channels[i].front, "f.example:81");
		ck_assert_str_eq(a.channels[i].addr, "192.0.2.9:82");
		ck_assert_ptr_null(a.channels[i].sni);
		ck_assert_mem_eq(a.channels[i].pin, pin, sizeof(pin));
	}
	ck_assert_str_eq(a.base, "/api");

	/* And to the bridge's own address. */
	must_read(&a, "sni=s.example;" PIN ";addr=192.0.2.9;" KEY);
	ck_assert_uint_eq(a.n_channels, 1);
	ck_assert_str_eq(a.channels[0].url, "https://192.0.2.1:443");
	ck_assert_str_eq(a.channels[0].sni, "s.example");
	ck_assert_str_eq(a.channels[0].addr, "192.0.2.9");
	ck_assert_ptr_null(a.channels[0].front);
	ck_assert_mem_eq(a.channels[0].pin, pin, sizeof(pin));
}
END_TEST

/* A word that is good for one url only makes the line a bad one, wherever that url stands. */
START_TEST(every_url_counts)
{
	static const char *const urls[] = { "url=https://192.0.2.7", "url=https://b.example" };
	char line[256];
	struct bridge_args a;

	for (int first = 0; first < 2; first++) {
		snprintf(line, sizeof(line), KEY ";sni=s.example;%s;%s", urls[first], urls[!first]);
		ck_assert_pstr_eq(read_at(&a, "192.0.2.1", 443, line),
		    "a bridge line with sni= only where url= has an IP address");
		snprintf(line, sizeof(line), KEY ";%s;%s", first == 0 ? urls[0] : "url=http://a.example",
		    first == 0 ? "url=http://a.example" : urls[0]);
		ck_assert_pstr_eq(read_at(&a, "192.0.2.1", 443, line),
		    "a bridge line whose url= is https://host[:port][/prefix]");
	}
}
END_TEST

/* Of each argument but url the first counts, be it good or bad; unknown ones do not, nor does
 * a name in other letters. */
START_TEST(the_first_counts)
{
	static const uint8_t key[NOISE_KEY] = { 1 }, pin[32] = { [0] = 3, [31] = 5 };
	static const char *const bad[][2] = {
		{ "key=x;" KEY, "a bridge line whose key= is 43 characters of base64url" },
		{ KEY ";pin=x;" PIN, "a bridge line whose pin= is 43 characters of base64url" },
		{ KEY ";base=x;base=/a", "a bridge line whose base= is a path such as /api" },
		{ KEY ";redial=x;redial=7", "a bridge line whose redial= is a number of seconds up to 86400" },
		{ KEY ";addr=x;addr=192.0.2.9",
		    "a bridge line whose addr= is an IP address, with or without a port" },
		{ KEY ";sni=192.0.2.1;sni=s.example", "a bridge line whose sni= is a host name" },
		{ KEY ";front=;front=f.example", "a bridge line whose front= is host[:port]" },
	};
	struct bridge_args a;

	must_read(&a, KEY ";" OTHER_KEY ";key=x;" PIN ";" OTHER_PIN ";pin=x;base=/a;base=/b;base=x;redial=7;"
	    "redial=8;redial=x;front=f.example;front=g.example;front=;addr=192.0.2.9;addr=192.0.2.8;addr=x");
	ck_assert_mem_eq(a.key, key, sizeof(key));
	ck_assert_uint_eq(a.n_channels, 1);
	ck_assert_mem_eq(a.channels[0].pin, pin, sizeof(pin));
	ck_assert_str_eq(a.base, "/a");
	ck_assert_uint_eq(a.redial_s, 7);
	ck_assert_str_eq(a.channels[0].front, "f.example");
	ck_assert_str_eq(a.channels[0].addr, "192.0.2.9");
	must_read(&a, "of_tomorrow=1;" KEY ";KEY=x;Pin=x;BASE=x;Redial=x;URL=x;Front=;Addr=x;Sni=-;x=");
	ck_assert_ptr_null(a.channels[0].pin);
	ck_assert_uint_eq(a.redial_s, 180);
	for (size_t i = 0; i < sizeof(bad) / sizeof(bad[0]); i++)
		ck_assert_pstr_eq(read_at(&a, "192.0.2.1", 443, bad[i][0]), bad[i][1]);
}
END_TEST

START_TEST(redial)
{
	static const struct {
		const char *line;
		uint32_t seconds;
	} good[] = { { KEY ";redial=0", 0 }, { KEY ";redial=1", 1 }, { KEY ";redial=86400", 86400 } };
	static const char *const bad[] = { "", "-1", "-0", "+1", " 1", "1 ", "1s", "1.5", "0x10", "1e3", "86401",
		"4294967296", "4294967297", "18446744073709551616", "18446744073709551617", "-18446744073709551615",
		"99999999999999999999999" };
	struct bridge_args a;
	char line[128];

	for (size_t i = 0; i < sizeof(good) / sizeof(good[0]); i++) {
		must_read(&a, good[i].line);
		ck_assert_uint_eq(a.redial_s, good[i].seconds);
	}
	for (size_t i = 0; i < sizeof(bad) / sizeof(bad[0]); i++) {
		snprintf(line, sizeof(line), KEY ";redial=%s", bad[i]);
		ck_assert_msg(read_at(&a, "192.0.2.1", 443, line) != NULL, "%s", line);
	}
}
END_TEST

/* Keys and pins at each length but their own. */
START_TEST(cut_keys_and_pins)
{
	static const char *const texts[] = { KEY, KEY ";" PIN };
	struct bridge_args a;
	char line[128];

	for (size_t i = 0; i < 2; i++) {
		size_t len = strlen(texts[i]), from = len - 43;

		for (size_t n = from; n < len; n++) {
			snprintf(line, sizeof(line), "%.*s", (int)n, texts[i]);
			ck_assert_msg(read_at(&a, "192.0.2.1", 443, line) != NULL, "%s", line);
		}
		/* Whole groups behind it, so that only the length is wrong. */
		snprintf(line, sizeof(line), "%sA", texts[i]);
		ck_assert_ptr_nonnull(read_at(&a, "192.0.2.1", 443, line));
		snprintf(line, sizeof(line), "%sAAAAA", texts[i]);
		ck_assert_ptr_nonnull(read_at(&a, "192.0.2.1", 443, line));
		must_read(&a, texts[i]);
	}
}
END_TEST

TEST_MAIN("bridge_args", only_a_key, words_apply_to_every_url, every_url_counts, the_first_counts, redial,
    cut_keys_and_pins)
