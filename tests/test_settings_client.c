#include "pt-client/settings.h"

#include <netinet/in.h>
#include <stdio.h>
#include <unistd.h>

#include "common/address.h"
#include "tests/harness.h"

#define KEY_TEXT "AAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAA"
#define KEY "key=" KEY_TEXT
#define LINE "sultry 192.0.2.10:443 " KEY
#define U " url=https://a.example"
#define SOCKS "socks5://127.0.0.1:1080"
#define BASE "--listen", SOCKS, "--bridge", LINE

static struct client_settings cs;
static char error[CONFIG_ERROR];
static char file[64];

/* Reads a command line of at most 15 words, NULL behind the last. */
static int
run(const char *const *words)
{
	char *argv[18] = { (char *)(uintptr_t)"sultry-client" };
	int argc = 1;

	for (; *words != NULL; words++)
		argv[argc++] = (char *)(uintptr_t)*words;
	client_settings_clear(&cs);
	return client_settings_read(&cs, argc, argv, error);
}
#define RUN(...) run((const char *const[]){ __VA_ARGS__, NULL })

#define GOOD(...) ck_assert_msg(RUN(__VA_ARGS__) == 0, "%s", error)
#define BAD(message, ...)                                 \
	do {                                              \
		ck_assert_int_eq(RUN(__VA_ARGS__), -1);   \
		ck_assert_str_eq(error, message);         \
	} while (0)

static void
write_file(const char *text)
{
	FILE *f;

	snprintf(file, sizeof(file), "/tmp/sultry-settings-%d.json", (int)getpid());
	f = fopen(file, "w");
	ck_assert_ptr_nonnull(f);
	fputs(text, f);
	fclose(f);
}

/* The file alone: its error, without its path in front. */
static void
check_file(const char *text, const char *want)
{
	write_file(text);
	ck_assert_msg(RUN("--config", file) == -1, "%s", text);
	ck_assert_msg(strncmp(error, file, strlen(file)) == 0, "%s", error);
	ck_assert_str_eq(error + strlen(file), want);
	unlink(file);
}

static void
check_addr(const struct sockaddr_storage *a, const char *want)
{
	char text[ADDRESS_TEXT_MAX];

	address_text(text, a, address_port(a));
	ck_assert_str_eq(text, want);
}

START_TEST(least)
{
	GOOD(BASE);
	ck_assert_int_eq(cs.action, CLIENT_RUN);
	ck_assert_uint_eq(cs.n_listeners, 1);
	ck_assert_int_eq(cs.listeners[0].kind, LISTEN_SOCKS5);
	check_addr(&cs.listeners[0].addr, "127.0.0.1:1080");
	ck_assert_ptr_null(cs.listeners[0].user);
	ck_assert_uint_eq(cs.n_bridges, 1);
	check_addr(&cs.bridges[0].addr, "192.0.2.10:443");
	ck_assert_str_eq(pt_args_get(&cs.bridges[0].args, "key"), KEY_TEXT);
	ck_assert_int_eq(cs.log, LOG_NOTICE);
	ck_assert_int_eq(cs.rules.otherwise, STRATEGY_CONCEAL);
	ck_assert_int_eq(cs.auto_first, STRATEGY_CONCEAL);
	ck_assert(cs.token == NULL && cs.state == NULL && cs.resolve == NULL);
	ck_assert_int_eq(cs.out.proxy, PROXY_NONE);
	client_settings_clear(&cs);
}
END_TEST

START_TEST(all_flags)
{
	GOOD("--listen=mixed://u%40:p:w@[::1]:0/", "--listen", "HTTP://0.0.0.0:8118", "--bridge", LINE,
	    "--bridge=" LINE, "--token", "0123456789abcdef", "--state=/tmp/x=y", "--proxy",
	    "socks5://me:secret@127.0.0.1:9050", "--log", "debug", "--check-config");
	ck_assert_int_eq(cs.action, CLIENT_CHECK);
	ck_assert_uint_eq(cs.n_listeners, 2);
	ck_assert_int_eq(cs.listeners[0].kind, LISTEN_MIXED);
	check_addr(&cs.listeners[0].addr, "[::1]:0");
	ck_assert_str_eq(cs.listeners[0].user, "u@");
	ck_assert_str_eq(cs.listeners[0].pass, "p:w");
	ck_assert_int_eq(cs.listeners[1].kind, LISTEN_HTTP);
	ck_assert_uint_eq(cs.n_bridges, 2);
	ck_assert_str_eq(cs.token, "0123456789abcdef");
	ck_assert_str_eq(cs.state, "/tmp/x=y");
	ck_assert_int_eq(cs.out.proxy, PROXY_SOCKS5);
	ck_assert_str_eq(cs.out.user, "me");
	check_addr(&cs.out.proxy_addr, "127.0.0.1:9050");
	ck_assert_int_eq(cs.log, LOG_DEBUG);
	client_settings_clear(&cs);
}
END_TEST

START_TEST(actions)
{
	GOOD("--help");
	ck_assert_int_eq(cs.action, CLIENT_HELP);
	GOOD("--version");
	ck_assert_int_eq(cs.action, CLIENT_VERSION);
	GOOD("--listen", "nonsense", "--config", "/nowhere", "--help");
	ck_assert_int_eq(cs.action, CLIENT_HELP);
	GOOD("--resolve", "www.example.com", "--bridge", LINE);
	ck_assert_int_eq(cs.action, CLIENT_RESOLVE);
	ck_assert_str_eq(cs.resolve, "www.example.com");
	client_settings_clear(&cs);
	/* What is said is what there is. */
	for (const char *f = strstr(client_settings_usage, "  --"); f != NULL; f = strstr(f + 1, "\n  --")) {
		char flag[32];

		sscanf(f, " %31s", flag);
		RUN(flag);
		ck_assert_msg(strstr(error, "unknown") == NULL, "%s", flag);
	}
}
END_TEST

START_TEST(flags_bad)
{
	static const char listener[] = "--listen: expected socks5://, http:// or mixed://, then perhaps "
	    "user:password@, then an IP address and port, such as socks5://127.0.0.1:1080";
	static const char *const listeners[] = { "", "127.0.0.1:1080", "socks4://127.0.0.1:1080",
		"socks5://", "socks5://127.0.0.1", "socks5://localhost:1080", "socks5://127.0.0.1:65536",
		"socks5://127.0.0.1:10x", "socks5://[127.0.0.1]:1", "socks5://::1:1080",
		"http://user@127.0.0.1:1", "http://:pass@127.0.0.1:1", "http://user:@127.0.0.1:1",
		"http://us%3aer:pass@127.0.0.1:1", "http://user:%00@127.0.0.1:1", "http://127.0.0.1:1/x" };
	char longer[400] = "http://u:";

	for (size_t i = 0; i < sizeof(listeners) / sizeof(listeners[0]); i++)
		BAD(listener, "--listen", listeners[i], "--bridge", LINE);
	memset(longer + 9, 'p', 256);
	strcpy(longer + 9 + 256, "@127.0.0.1:1");
	BAD(listener, "--listen", longer, "--bridge", LINE);
	strcpy(longer + 9 + 255, "@127.0.0.1:1");
	GOOD("--listen", longer, "--bridge", LINE);

	BAD("unknown flag --lisen; see --help", "--lisen", SOCKS);
	BAD("unknown flag --tokn; see --help", "--tokn=0123456789abcdef"); /* the value stays unsaid */
	BAD("unknown flag -h; see --help", "-h");
	BAD("a word without a flag; see --help", BASE, "managed");
	BAD("a word without a flag; see --help", "");
	BAD("--token: expected a value", BASE, "--token");
	BAD("--bridge: expected a bridge line whose key= is 43 characters of base64url", "--listen", SOCKS,
	    "--bridge", "sultry 192.0.2.10:443 key=secret");
	BAD("--help: expected no value", "--help=me");
	BAD("--token: expected 16 to 64 characters of printable ASCII", BASE, "--token", "0123456789abcde");
	BAD("--token: expected 16 to 64 characters of printable ASCII", BASE, "--token", "0123456789\tabcdef");
	BAD("--token: expected 16 to 64 characters of printable ASCII", BASE, "--token",
	    "0123456789abcdef0123456789abcdef0123456789abcdef0123456789abcdefg");
	BAD("--log: expected error, warning, notice, info or debug", BASE, "--log", "loud");
	BAD("--proxy: expected a proxy such as socks5://127.0.0.1:9050", BASE, "--proxy", "127.0.0.1:9050");
	BAD("--proxy: expected a proxy such as socks5://127.0.0.1:9050", BASE, "--proxy",
	    "socks5://:@127.0.0.1:9050");
	BAD("--resolve: expected a host name", BASE, "--resolve", "192.0.2.1");
	BAD("--state: expected a folder", BASE, "--state", "");
	BAD("nothing to listen on: expected --listen, or \"listen\" in the file", "--bridge", LINE);
	BAD("no bridge: expected --bridge, or \"bridges\" in the file", "--listen", SOCKS);
	BAD("no bridge: expected --bridge, or \"bridges\" in the file", "--resolve", "a");
	client_settings_clear(&cs);
}
END_TEST

START_TEST(too_many)
{
	char text[4000] = "{\"bridges\": [\"" LINE "\"], \"listen\": [";

	for (int i = 0; i < CLIENT_LISTENERS; i++)
		strcat(text, "\"" SOCKS "\",");
	text[strlen(text) - 1] = '\0';
	strcat(text, "]}");
	write_file(text);
	GOOD("--config", file);
	ck_assert_uint_eq(cs.n_listeners, CLIENT_LISTENERS);
	BAD("--listen: expected no more than 16 listeners", "--config", file, "--listen", SOCKS);
	unlink(file);
	strcpy(text, "{\"listen\": [\"" SOCKS "\"], \"bridges\": [");
	for (int i = 0; i <= CLIENT_BRIDGES; i++)
		strcat(text, "\"" LINE "\",\n");
	text[strlen(text) - 2] = '\0';
	strcat(text, "]}");
	check_file(text, ":17: bridges[16]: expected no more than 16 bridges");
	client_settings_clear(&cs);
}
END_TEST

START_TEST(bridge_lines)
{
	static const char *const good[] = { LINE, "Bridge " LINE, "bridge\tsultry \t192.0.2.10:443  " KEY " ",
		"  Bridge sultry 192.0.2.10:443 0123456789ABCDEF0123456789abcdef01234567 " KEY,
		"sultry 192.0.2.10:443 $0123456789ABCDEF0123456789abcdef01234567 " KEY };
	static const struct { const char *line, *why; } bad[] = {
		{ "", "a bridge line such as sultry 192.0.2.10:443 key=... pin=..." },
		{ "Bridge", "a bridge line such as sultry 192.0.2.10:443 key=... pin=..." },
		{ "obfs4 192.0.2.10:443 " KEY, "a bridge line such as sultry 192.0.2.10:443 key=... pin=..." },
		{ "192.0.2.10:443 " KEY, "a bridge line such as sultry 192.0.2.10:443 key=... pin=..." },
		{ LINE "\n", "a bridge line such as sultry 192.0.2.10:443 key=... pin=..." },
		{ "sultry", "an IP address and port behind \"sultry\" in a bridge line" },
		{ "sultry example.com:443 " KEY, "an IP address and port behind \"sultry\" in a bridge line" },
		{ "sultry 192.0.2.10:0 " KEY, "an IP address and port behind \"sultry\" in a bridge line" },
		{ "sultry 192.0.2.10 " KEY, "an IP address and port behind \"sultry\" in a bridge line" },
		{ "sultry 192.0.2.10:443", "arguments such as key=... at the end of a bridge line" },
		{ "sultry 192.0.2.10:443 0123456789ABCDEF0123456789abcdef01234567",
		    "arguments such as key=... at the end of a bridge line" },
		{ "sultry 192.0.2.10:443 0123456789ABCDEF0123456789abcdef0123456 " KEY,
		    "arguments such as key=... at the end of a bridge line" },
		{ LINE " pin", "arguments such as key=... at the end of a bridge line" },
		{ LINE " =pin", "arguments such as key=... at the end of a bridge line" },
		{ "sultry 192.0.2.10:443 k=v", "a bridge line whose key= is 43 characters of base64url" },
		{ "sultry 192.0.2.10:443 key=short", "a bridge line whose key= is 43 characters of base64url" },
		{ LINE "A", "a bridge line whose key= is 43 characters of base64url" },
		{ LINE " pin=x", "a bridge line whose pin= is 43 characters of base64url" },
		{ LINE " base=api", "a bridge line whose base= is a path such as /api" },
		{ LINE " redial=", "a bridge line whose redial= is a number of seconds up to 86400" },
		{ LINE " redial=86401", "a bridge line whose redial= is a number of seconds up to 86400" },
		{ LINE " url=http://a.example", "a bridge line whose url= is https://host[:port][/prefix]" },
		{ LINE " url=https://a.example url=", "a bridge line whose url= is https://host[:port][/prefix]" },
		{ LINE U U U U U U U U U, "a bridge line with url= at most 8 times" },
		{ LINE " front=a/b", "a bridge line whose front= is host[:port]" },
		{ LINE " front=a sni=b", "a bridge line with front= or sni=, not both" },
		{ LINE " sni=192.0.2.1", "a bridge line whose sni= is a host name" },
		{ LINE U " sni=b", "a bridge line with sni= only where url= has an IP address" },
		{ LINE " addr=a", "a bridge line whose addr= is an IP address, with or without a port" },
	};
	static const char start[] = "sultry [2001:db8::1]:443 " KEY " k=v=";
	char line[5000];
	const char *why;

	for (size_t i = 0; i < sizeof(good) / sizeof(good[0]); i++) {
		struct client_bridge b = { 0 };

		why = client_bridge_parse(&b, good[i]);
		ck_assert_msg(why == NULL, "%s: %s", good[i], why);
		check_addr(&b.addr, "192.0.2.10:443");
		ck_assert_str_eq(pt_args_get(&b.args, "key"), KEY_TEXT);
		pt_args_clear(&b.args);
	}
	for (size_t i = 0; i < sizeof(bad) / sizeof(bad[0]); i++) {
		struct client_bridge b = { 0 };

		ck_assert_pstr_eq(client_bridge_parse(&b, bad[i].line), bad[i].why);
		ck_assert_uint_eq(b.args.text.n, 0);
	}
	for (size_t n = 4096; n <= 4097; n++) {
		struct client_bridge b = { 0 };

		memset(line, 'x', n);
		line[n] = '\0';
		memcpy(line, start, strlen(start));
		ck_assert_int_eq(client_bridge_parse(&b, line) == NULL, n == 4096);
		if (n == 4096) {
			check_addr(&b.addr, "[2001:db8::1]:443");
			ck_assert_uint_eq(strlen(pt_args_get(&b.args, "k")), 4096 - strlen(start) + 2);
		}
		pt_args_clear(&b.args);
	}
}
END_TEST

START_TEST(whole_file)
{
	GOOD("--config", "spec/client.json");
	ck_assert_uint_eq(cs.n_listeners, 3);
	ck_assert_uint_eq(cs.n_bridges, 1);
	ck_assert_uint_eq(cs.rules.n, 3);
	ck_assert_int_eq(rules_ask(&cs.rules, "printer.lan", 80), STRATEGY_DIRECT);
	ck_assert_int_eq(rules_ask(&cs.rules, "10.1.2.3", 80), STRATEGY_DIRECT);
	ck_assert_int_eq(rules_ask(&cs.rules, "x.ads.example", 80), STRATEGY_BLOCK);
	ck_assert_int_eq(rules_ask(&cs.rules, "www.example.com", 8445), STRATEGY_SPLIT);
	ck_assert_int_eq(rules_ask(&cs.rules, "www.example.com", 80), STRATEGY_CONCEAL);
	ck_assert_str_eq(cs.state, "/var/lib/sultry");
	client_settings_clear(&cs);
}
END_TEST

/* Flags win over the file, wherever they stand, and add to its lists. */
START_TEST(file_and_flags)
{
	write_file("{\"listen\": [\"" SOCKS "\"], \"bridges\": [\"" LINE "\"], \"log\": \"debug\","
	    "\"token\": \"0123456789abcdef\", \"proxy\": \"http://a:b@127.0.0.1:1\","
	    "\"default\": \"auto\", \"auto_first\": \"split\"}");
	GOOD("--log", "error", "--config", file, "--listen", "http://127.0.0.1:2", "--proxy",
	    "socks4://127.0.0.1:2", "--token", "fedcba9876543210");
	ck_assert_int_eq(cs.log, LOG_ERROR);
	ck_assert_uint_eq(cs.n_listeners, 2);
	check_addr(&cs.listeners[1].addr, "127.0.0.1:2");
	ck_assert_int_eq(cs.out.proxy, PROXY_SOCKS4);
	ck_assert_ptr_null(cs.out.user);
	ck_assert_str_eq(cs.token, "fedcba9876543210");
	ck_assert_int_eq(cs.rules.otherwise, STRATEGY_AUTO);
	ck_assert_int_eq(cs.auto_first, STRATEGY_SPLIT);
	client_settings_clear(&cs);
	unlink(file);
}
END_TEST

START_TEST(file_bad)
{
	check_file("{\n\"lisen\": []}", ":2: lisen: unknown key; did you mean \"listen\"?");
	check_file("{\n\n\"listen\": [\"" SOCKS "\",\n\"x\"]}", ":4: listen[1]: expected socks5://, http:// or "
	    "mixed://, then perhaps user:password@, then an IP address and port, such as "
	    "socks5://127.0.0.1:1080");
	check_file("{\"listen\": \"" SOCKS "\"}", ":1: listen: expected a list, not a string");
	check_file("{\"bridges\": [1]}", ":1: bridges[0]: expected a string, not a number");
	check_file("{\"bridges\": [\"sultry 1:1 k=v\"]}",
	    ":1: bridges[0]: expected an IP address and port behind \"sultry\" in a bridge line");
	check_file("{\"bridges\": [\"" LINE "\",\n\"" LINE " pin=secret\"]}",
	    ":2: bridges[1]: expected a bridge line whose pin= is 43 characters of base64url");
	check_file("{\"log\": \"debug\",\n\"log\": \"debug\"}", ":2: log: this key is given twice");
	check_file("{\"default\": \"none\"}",
	    ":1: default: expected conceal, split, direct, block or auto");
	check_file("{\"auto_first\": \"auto\"}", ":1: auto_first: expected conceal, split or direct");
	check_file("{\"auto_first\": \"block\"}", ":1: auto_first: expected conceal, split or direct");
	check_file("{\"token\":\n\"short\"}", ":1: token: expected 16 to 64 characters of printable ASCII");
	check_file("{\"proxy\": \"ftp://127.0.0.1:1\"}",
	    ":1: proxy: expected a proxy such as socks5://127.0.0.1:9050");
	check_file("{\"log\": 1}", ":1: log: expected a string, not a number");
	check_file("{\"rules\": [{}]}",
	    ":1: rules[0].strategy: missing: expected conceal, split, direct, block or auto");
	check_file("{\"rules\": [\n{\"strategy\": \"maybe\"}]}",
	    ":2: rules[0].strategy: expected conceal, split, direct, block or auto");
	check_file("{\"rules\": [{\"strategy\": \"block\", \"host\": \"a\"}]}",
	    ":1: rules[0].host: unknown key; did you mean \"hosts\"?");
	check_file("{\"rules\": [{\"strategy\": \"block\", \"hosts\": []}]}",
	    ":1: rules[0].hosts: expected at least one");
	check_file("{\"rules\": [{\"strategy\": \"block\", \"hosts\": [\"a b\"]}]}",
	    ":1: rules[0].hosts[0]: expected a host name, in which * stands for anything");
	check_file("{\"rules\": [{\"strategy\": \"block\", \"hosts\": [1]}]}",
	    ":1: rules[0].hosts[0]: expected a string, not a number");
	check_file("{\"rules\": [{\"strategy\": \"block\", \"networks\": [\"::1\", \"10.0.0.1/8\"]}]}",
	    ":1: rules[0].networks[1]: expected a network such as 10.0.0.0/8");
	check_file("{\"rules\": [{\"strategy\": \"block\", \"ports\": [0]}]}",
	    ":1: rules[0].ports[0]: expected a whole number from 1 to 65535");
	check_file("{\"rules\": [{\"strategy\": \"block\", \"ports\": [\"5-\"]}]}",
	    ":1: rules[0].ports[0]: expected a port, or a range such as \"8000-8100\"");
	check_file("{\"rules\": [{\"strategy\": \"block\", \"ports\": [443, true]}]}",
	    ":1: rules[0].ports[1]: expected a whole number from 1 to 65535, not true or false");
	check_file("{\"rules\": [5]}", ":1: rules[0]: expected an object, not a number");
	check_file("[]", ":1: expected an object, not a list");
	ck_assert_int_eq(RUN("--config", "/nowhere/client.json"), -1);
	ck_assert_str_eq(error, "/nowhere/client.json: No such file or directory");
	client_settings_clear(&cs);
}
END_TEST

TEST_MAIN("settings_client", least, all_flags, actions, flags_bad, too_many, bridge_lines, whole_file,
    file_and_flags, file_bad)
