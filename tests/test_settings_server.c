#include <stdio.h>
#include <unistd.h>

#include "common/address.h"
#include "common/mem.h"
#include "pt-server/settings.h"
#include "tests/harness.h"

#define COUNT(a) (sizeof(a) / sizeof((a)[0]))

static char path[] = "/tmp/sultry-test-settings-XXXXXX";

static void
write_file(const char *json)
{
	FILE *f;

	if (strcmp(path + sizeof(path) - 7, "XXXXXX") == 0)
		close(mkstemp(path));
	f = fopen(path, "w");
	ck_assert_ptr_nonnull(f);
	fputs(json, f);
	ck_assert_int_eq(fclose(f), 0);
}

static void
expect_address(const struct sockaddr_storage *a, const char *want)
{
	char text[ADDRESS_TEXT_MAX];

	address_text(text, a, address_port(a));
	ck_assert_str_eq(text, want);
}

static bool
allowed(const struct settings *s, const char *host, const char *ip, uint16_t port)
{
	struct sockaddr_storage to;

	ck_assert(address_parse(&to, ip, port));
	return access_host(&s->access, host, port) && access_address(&s->access, host, &to);
}

START_TEST(test_least)
{
	struct settings s;
	char error[CONFIG_ERROR] = "";

	write_file("{\"listen\": [\"127.0.0.1:8443\"], \"state\": \"/var/lib/x\"}");
	ck_assert_msg(settings_read(&s, path, error) == 0, "%s", error);
	unlink(path);
	ck_assert_uint_eq(s.n_listen, 1);
	expect_address(&s.listen[0], "127.0.0.1:8443");
	ck_assert_str_eq(s.state, "/var/lib/x");
	ck_assert_uint_eq(s.options.retain_s, OPTIONS_RETAIN_S);
	ck_assert_uint_eq(s.sessions, SETTINGS_SESSIONS);
	ck_assert_int_eq(s.log, LOG_NOTICE);
	ck_assert(s.options.cert == NULL && s.options.base == NULL && !s.options.base_given);
	ck_assert(s.users == NULL && s.options.decoy == NULL && s.dns.n_servers == 0);
	ck_assert(s.quotas.sessions == 0 && s.quotas.bytes_per_day == 0);
	ck_assert(s.access.n_rules == 0 && allowed(&s, "a.example", "8.8.8.8", 443));
	settings_clear(&s);
}
END_TEST

START_TEST(test_all)
{
	struct settings s;
	char error[CONFIG_ERROR] = "", *json;

	write_file("");
	json = mem_printf("{\"listen\": [\"0.0.0.0:443\", \"[::]:443\"], \"state\": \"/s\", "
	    "\"cert\": \"%s\", \"certkey\": \"%s\", \"users\": \"%s\", \"decoy\": \"/tmp\", "
	    "\"url\": \"https://www.example.com/a\", \"base\": \"/api\", \"fallback\": \"127.0.0.1:80\", "
	    "\"oob\": \"[::1]:8443\", \"direct\": [\"192.0.2.10:443\", \"[2001:db8::10]:444\"], "
	    "\"retain\": 60, \"trusted_proxy\": \"192.0.2.0/24\", "
	    "\"resolvers\": [\"192.0.2.53\", \"[2001:db8::53]:5353\", \"::1\"], "
	    "\"allow\": [{\"ports\": [22, \"8000-8100\"], \"hosts\": [\"*.example\"]}, "
	    "{\"networks\": [\"10.0.0.0/8\", \"::1\"]}], "
	    "\"quotas\": {\"sessions\": 5, \"bytes_per_day\": 6, \"bytes_per_second\": 7}, "
	    "\"sessions\": 8, \"log\": \"debug\"}", path, path, path);
	write_file(json);
	ck_assert_msg(settings_read(&s, path, error) == 0, "%s", error);
	ck_assert_str_eq(s.options.cert, path);
	ck_assert_str_eq(s.options.certkey, path);
	ck_assert_str_eq(s.users, path);
	unlink(path);
	free(json);
	ck_assert_uint_eq(s.n_listen, 2);
	expect_address(&s.listen[1], "[::]:443");
	ck_assert_str_eq(s.options.decoy, "/tmp");
	ck_assert_str_eq(s.options.url, "https://www.example.com/a");
	ck_assert_str_eq(s.options.base, "/api");
	ck_assert(s.options.base_given);
	expect_address(&s.options.fallback, "127.0.0.1:80");
	expect_address(&s.options.oob, "[::1]:8443");
	ck_assert_uint_eq(s.options.n_direct, 2);
	ck_assert_str_eq(s.options.direct[1].address, "2001:db8::10");
	ck_assert_uint_eq(s.options.direct[1].port, 444);
	expect_address(&s.direct[0], "192.0.2.10:443");
	ck_assert_uint_eq(s.options.retain_s, 60);
	ck_assert_str_eq(s.options.trusted_proxy, "192.0.2.0/24");
	ck_assert_uint_eq(s.dns.n_servers, 3);
	expect_address(&s.dns.servers[0], "192.0.2.53:53");
	expect_address(&s.dns.servers[1], "[2001:db8::53]:5353");
	expect_address(&s.dns.servers[2], "[::1]:53");
	ck_assert(allowed(&s, "git.example", "8.8.8.8", 22) && allowed(&s, "a.example", "::1", 443));
	ck_assert(!allowed(&s, "git.example", "10.0.0.1", 22));
	ck_assert(!allowed(&s, "a.example", "8.8.8.8", 443));
	ck_assert(s.quotas.sessions == 5 && s.quotas.bytes_per_day == 6);
	ck_assert_uint_eq(s.quotas.bytes_per_second, 7);
	ck_assert_uint_eq(s.sessions, 8);
	ck_assert_int_eq(s.log, LOG_DEBUG);
	settings_clear(&s);
}
END_TEST

/* One way to write an address, everywhere. */
START_TEST(test_broken_ports)
{
	static const char *const ports[] = { "443x", " 443", "4294967739", "+443", "-1", "0", "" };
	static const char *const around[][2] = {
		{ "\"oob\": \"127.0.0.1:", "\"" }, { "\"direct\": [\"127.0.0.1:", "\"]" },
		{ "\"fallback\": \"[::1]:", "\", \"oob\": \"127.0.0.1:1\"" },
		{ "\"resolvers\": [\"127.0.0.1:", "\"]" },
	};
	struct settings s;
	char error[CONFIG_ERROR], *json;

	for (size_t i = 0; i < sizeof(around) / sizeof(around[0]); i++) {
		for (size_t k = 0; k < sizeof(ports) / sizeof(ports[0]); k++) {
			json = mem_printf("{\"listen\": [\"127.0.0.1:1\"], \"state\": \"/s\", %s%s%s}",
			    around[i][0], ports[k], around[i][1]);
			write_file(json);
			ck_assert_msg(settings_read(&s, path, error) != 0, "%s", json);
			ck_assert_msg(strstr(error, "expected an IP address") != NULL, "%s", error);
			free(json);
		}
	}
	unlink(path);
}
END_TEST

#define MORE(text) "{\"listen\": [\"127.0.0.1:1\"], \"state\": \"/s\",\n" text "}"

START_TEST(test_errors)
{
	static const struct {
		const char *json, *error;
	} cases[] = {
		{ "{}", ":1: listen: missing: expected a list of IP addresses and ports" },
		{ "{\"listen\": []}", ":1: listen: expected a list of IP addresses and ports" },
		{ "{\"listen\": [\"127.0.0.1:1\"]}", ":1: state: missing: expected a folder for the relay's keys" },
		{ "{\"listen\": [\"127.0.0.1\"]}", ":1: listen[0]: expected an IP address and port, such as "
		    "192.0.2.1:443 or [2001:db8::1]:443" },
		{ "{\"listen\": [\"127.0.0.1:1\",\n\"example.com:443\"]}", ":2: listen[1]: expected an IP address "
		    "and port, such as 192.0.2.1:443 or [2001:db8::1]:443" },
		{ "{\"listen\": [\"1.1.1.1:1\",\"1.1.1.1:1\",\"1.1.1.1:1\",\"1.1.1.1:1\",\"1.1.1.1:1\","
		    "\"1.1.1.1:1\",\"1.1.1.1:1\",\"1.1.1.1:1\",\"1.1.1.1:1\"]}",
		    ":1: listen[8]: expected at most 8 addresses" },
		{ MORE("\"cert\": \"/nowhere/at/all\""), ":2: cert: expected a file that can be read" },
		{ MORE("\"cert\": \"/tmp\""), ":2: cert: expected a file that can be read" },
		{ MORE("\"cert\": \"/etc/passwd\""),
		    ":1: certkey: missing: expected both, or neither, of cert and certkey" },
		{ MORE("\"decoy\": \"/etc/passwd\""), ":2: decoy: expected a folder that can be read" },
		{ MORE("\"url\": \"http://x\""), ":2: url: expected https://host..." },
		{ MORE("\"url\": \"https://\""), ":2: url: expected https://host..." },
		{ MORE("\"base\": \"api\""), ":2: base: expected a path such as /api" },
		{ MORE("\"base\": \"\""), ":2: base: expected a path such as /api" },
		{ MORE("\"trusted_proxy\": \"me\""), ":2: trusted_proxy: expected an IP address or network" },
		{ MORE("\"fallback\": \"127.0.0.1:80\""), ":1: oob: missing: expected an address for the API, "
		    "since \"fallback\" has the public port" },
		{ MORE("\"retain\": 0"), ":2: retain: expected a whole number from 1 to 86400" },
		{ MORE("\"resolvers\": [\"dns.example\"]"), ":2: resolvers[0]: expected an IP address" },
		{ MORE("\"allow\": []"), ":2: allow: expected at least one rule; without \"allow\" the "
		    "default is ports 443 and 80" },
		{ MORE("\"allow\": [{}, {\"port\": [22]}]"),
		    ":2: allow[1].port: unknown key; did you mean \"ports\"?" },
		{ MORE("\"allow\": [{\"ports\": [22, true]}]"),
		    ":2: allow[0].ports[1]: expected a whole number from 1 to 65535, not true or false" },
		{ MORE("\"allow\": [{\"ports\": [\"22-\"]}]"), ":2: allow[0].ports[0]: expected a port, or a "
		    "range such as \"8000-8100\"; 64 at most" },
		{ MORE("\"allow\": [{\"ports\": []}]"), ":2: allow[0].ports: expected at least one" },
		{ MORE("\"allow\": [{\"hosts\": []}]"), ":2: allow[0].hosts: expected at least one" },
		{ MORE("\"allow\": [{\"hosts\": [\"a b\"]}]"), ":2: allow[0].hosts[0]: expected a host name, in "
		    "which * stands for anything; 64 at most" },
		{ MORE("\"allow\": [{\"networks\":\n[\"10.0.0.0/8\",\n\"0.0.0.0/0\"]}]"),
		    ":4: allow[0].networks[1]: expected a network such as 10.0.0.0/8, not of all addresses; 64 "
		    "at most" },
		{ MORE("\"quotas\": {\"session\": 1}"),
		    ":2: quotas.session: unknown key; did you mean \"sessions\"?" },
		{ MORE("\"log\": \"loud\""), ":2: log: expected error, warning, notice, info or debug" },
		{ MORE("\"lisen\": 1"), ":2: lisen: unknown key; did you mean \"listen\"?" },
	};
	struct settings s;
	char error[CONFIG_ERROR];

	for (size_t i = 0; i < COUNT(cases); i++) {
		write_file(cases[i].json);
		ck_assert_msg(settings_read(&s, path, error) == -1, "%s", cases[i].json);
		ck_assert_str_eq(error + strlen(path), cases[i].error);
		ck_assert_int_eq(settings_check(path, error), -1);
	}
	unlink(path);
}
END_TEST

/* The users file is part of the check, and its errors are its own. */
START_TEST(test_check)
{
	char error[CONFIG_ERROR] = "", users[] = "/tmp/sultry-test-users-XXXXXX", *json, *want;
	int fd = mkstemp(users);

	json = mem_printf("{\"listen\": [\"127.0.0.1:1\"], \"state\": \"/s\", \"users\": \"%s\"}", users);
	write_file(json);
	free(json);
	ck_assert_int_eq(write(fd, "{\"users\": 1}", 12), 12);
	ck_assert_int_eq(settings_check(path, error), -1);
	want = mem_printf("%s:1: users: expected a list, not a number", users);
	ck_assert_str_eq(error, want);
	free(want);
	ck_assert_int_eq(pwrite(fd, "{\"users\":[]}", 12, 0), 12);
	ck_assert_msg(settings_check(path, error) == 0, "%s", error);
	close(fd);
	unlink(users);
	unlink(path);
}
END_TEST

START_TEST(test_example)
{
	char error[CONFIG_ERROR] = "";

	ck_assert_msg(settings_check("spec/server.json", error) == 0, "%s", error);
}
END_TEST

TEST_MAIN("settings-server", test_least, test_all, test_broken_ports, test_errors, test_check, test_example)
