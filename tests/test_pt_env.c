/* The environment of a managed proxy. The numbers in names are items of PT-CHECKLIST.md. */
#include <arpa/inet.h>
#include <stdio.h>

#include "common/address.h"
#include "common/pt.h"
#include "tests/harness.h"

static struct pt_env env;
static char error[PT_ERROR_MAX];

#define VER "TOR_PT_MANAGED_TRANSPORT_VER"
#define CLIENT "TOR_PT_CLIENT_TRANSPORTS"
#define SERVER "TOR_PT_SERVER_TRANSPORTS"
#define STATE "TOR_PT_STATE_LOCATION"
#define BINDADDR "TOR_PT_SERVER_BINDADDR"
#define OPTIONS "TOR_PT_SERVER_TRANSPORT_OPTIONS"
#define ORPORT "TOR_PT_ORPORT"
#define EXTPORT "TOR_PT_EXTENDED_SERVER_PORT"
#define COOKIE "TOR_PT_AUTH_COOKIE_FILE"
#define PROXY "TOR_PT_PROXY"
#define BIND4 "TOR_PT_OUTBOUND_BIND_ADDRESS_V4"
#define BIND6 "TOR_PT_OUTBOUND_BIND_ADDRESS_V6"

static void
set(const char *name, const char *value)
{
	ck_assert_int_eq(setenv(name, value, 1), 0);
}

/* The least that a client, or a server, is started with. */
static void
as_client(void)
{
	clearenv();
	set(VER, "1");
	set(CLIENT, "sultry");
}

static void
as_server(void)
{
	clearenv();
	set(VER, "1");
	set(SERVER, "sultry");
	set(STATE, "/var/lib/tor/pt_state");
	set(ORPORT, "127.0.0.1:9001");
}

static enum pt_result
read_env(void)
{
	enum pt_result r;

	pt_env_clear(&env);
	r = pt_env_read(&env, "sultry", error);
	ck_assert_int_eq(error[0] == '\0', r == PT_OK);
	return r;
}

static const char *
addr(const struct sockaddr_storage *ss)
{
	static char text[ADDRESS_TEXT_MAX];

	if (ss->ss_family == AF_UNSPEC)
		return "";
	address_text(text, ss, address_port(ss));
	return text;
}

/* Sets `name` to each value in turn and expects the result for all of them. */
static void
expect_each(const char *name, const char *const *values, size_t n, enum pt_result result)
{
	for (size_t i = 0; i < n; i++) {
		set(name, values[i]);
		ck_assert_msg(read_env() == result, "%s=%s: %s", name, values[i], error);
		/* What went wrong is named, and fits a line. */
		if (result != PT_OK && result != PT_VERSION_ERROR)
			ck_assert_ptr_nonnull(strstr(error, name));
	}
	unsetenv(name);
}
#define EXPECT_EACH(name, result, ...)                                            \
	expect_each(name, (const char *const[]){ __VA_ARGS__ },                   \
	    sizeof((const char *const[]){ __VA_ARGS__ }) / sizeof(char *), result)

START_TEST(managed)
{
	clearenv();
	ck_assert(!pt_managed());
	set(VER, "");
	set(CLIENT, "");
	set(STATE, "/x");
	ck_assert(!pt_managed());
	EXPECT_EACH(VER, PT_ENV_ERROR, "");
	set(VER, "2");
	ck_assert(pt_managed());
	unsetenv(VER);
	set(CLIENT, "x");
	ck_assert(pt_managed());
	clearenv();
	set(SERVER, "x");
	ck_assert(pt_managed());
}
END_TEST

START_TEST(version_10)
{
	as_client();
	EXPECT_EACH(VER, PT_OK, "1", "2,1", "1,1a,x", ",1", "x,,1,");
	EXPECT_EACH(VER, PT_VERSION_ERROR, "11", "1a", " 1", "1 ", "2", ",", "01", "1;2");
}
END_TEST

START_TEST(version_error_outranks_env_error_11_14)
{
	as_client();
	set(VER, "2");
	set(SERVER, "sultry"); /* both roles */
	set(PROXY, "nonsense");
	set(BIND4, "nonsense");
	ck_assert_int_eq(read_env(), PT_VERSION_ERROR);
	ck_assert_str_eq(error, "no-version");
}
END_TEST

START_TEST(version_unset_12)
{
	as_client();
	unsetenv(VER);
	ck_assert_int_eq(read_env(), PT_ENV_ERROR);
	ck_assert_str_eq(error, "no TOR_PT_MANAGED_TRANSPORT_VER environment variable");
	set(VER, "");
	ck_assert_int_eq(read_env(), PT_ENV_ERROR);
}
END_TEST

START_TEST(env_error_before_proxy_error_14)
{
	as_client();
	set(PROXY, "nonsense");
	ck_assert_int_eq(read_env(), PT_PROXY_ERROR);
	ck_assert(env.client);
	set(BIND6, "nonsense");
	ck_assert_int_eq(read_env(), PT_ENV_ERROR);
}
END_TEST

START_TEST(one_role_15)
{
	as_client();
	ck_assert_int_eq(read_env(), PT_OK);
	ck_assert(env.client && !env.server);
	set(SERVER, "sultry");
	ck_assert_int_eq(read_env(), PT_ENV_ERROR);
	set(CLIENT, "");
	set(SERVER, "");
	ck_assert_int_eq(read_env(), PT_ENV_ERROR);
	as_server();
	set(CLIENT, ""); /* empty is unset */
	ck_assert_int_eq(read_env(), PT_OK);
	ck_assert(env.server && !env.client);
	pt_env_clear(&env);
}
END_TEST

START_TEST(state_location_16)
{
	as_client();
	ck_assert_int_eq(read_env(), PT_OK);
	ck_assert_ptr_null(env.state_location);
	set(STATE, "/a b/c");
	ck_assert_int_eq(read_env(), PT_OK);
	ck_assert_str_eq(env.state_location, "/a b/c");
	as_server();
	set(STATE, "");
	ck_assert_int_eq(read_env(), PT_ENV_ERROR);
	ck_assert_ptr_nonnull(strstr(error, STATE));
	pt_env_clear(&env);
}
END_TEST

START_TEST(exit_on_stdin_close_18)
{
	static const char *const no[] = { "", "0", "11", "1 ", " 1", "true", "01" };

	as_client();
	ck_assert_int_eq(read_env(), PT_OK);
	ck_assert(!env.exit_on_stdin_close);
	for (size_t i = 0; i < sizeof(no) / sizeof(no[0]); i++) {
		set("TOR_PT_EXIT_ON_STDIN_CLOSE", no[i]);
		ck_assert_int_eq(read_env(), PT_OK);
		ck_assert(!env.exit_on_stdin_close);
	}
	set("TOR_PT_EXIT_ON_STDIN_CLOSE", "1");
	ck_assert_int_eq(read_env(), PT_OK);
	ck_assert(env.exit_on_stdin_close);
}
END_TEST

START_TEST(outbound_bind_19)
{
	char text[INET6_ADDRSTRLEN];

	for (int server = 0; server < 2; server++) {
		if (server)
			as_server();
		else
			as_client();
		ck_assert_int_eq(read_env(), PT_OK);
		ck_assert_int_eq(env.out.bind4.sin_family, AF_UNSPEC);
		ck_assert_int_eq(env.out.bind6.sin6_family, AF_UNSPEC);
		EXPECT_EACH(BIND4, PT_ENV_ERROR, "x", "1.2.3", "1.2.3.4:5", "[1.2.3.4]", "::1", " 1.2.3.4");
		EXPECT_EACH(BIND6, PT_ENV_ERROR, "x", "1.2.3.4", "[::1", "::1]", "[]", "[::1]:5", "fe80::1%lo");
		EXPECT_EACH(BIND6, PT_OK, "", "2001:db8::4");
		set(BIND4, "203.0.113.4");
		set(BIND6, "[2001:db8::4]");
		ck_assert_int_eq(read_env(), PT_OK);
		ck_assert_int_eq(env.out.bind4.sin_family, AF_INET);
		ck_assert_uint_eq(env.out.bind4.sin_port, 0);
		ck_assert_str_eq(inet_ntop(AF_INET, &env.out.bind4.sin_addr, text, sizeof(text)),
		    "203.0.113.4");
		ck_assert_int_eq(env.out.bind6.sin6_family, AF_INET6);
		ck_assert_str_eq(inet_ntop(AF_INET6, &env.out.bind6.sin6_addr, text, sizeof(text)),
		    "2001:db8::4");
	}
	pt_env_clear(&env);
}
END_TEST

START_TEST(transports_22_23_24)
{
	static const struct { const char *list; bool wanted; } cases[] = {
		{ "sultry", true }, { "obfs4,sultry", true }, { "sultry,sultry,,", true },
		{ ",,sultry", true }, { "*", false }, { "obfs4", false }, { "Sultry", false },
		{ "sultry2,sultr", false }, { ",", false }, { " sultry", false },
	};

	for (size_t i = 0; i < sizeof(cases) / sizeof(cases[0]); i++) {
		as_client();
		set(CLIENT, cases[i].list);
		ck_assert_int_eq(read_env(), PT_OK);
		ck_assert_int_eq(env.wanted, cases[i].wanted);
		as_server();
		set(SERVER, cases[i].list);
		ck_assert_int_eq(read_env(), PT_OK);
		ck_assert_int_eq(env.wanted, cases[i].wanted);
	}
	pt_env_clear(&env);
}
END_TEST

START_TEST(other_roles_variables_are_ignored)
{
	static const char *const server_only[] = { STATE, BINDADDR, OPTIONS, ORPORT, EXTPORT, COOKIE };

	as_client();
	for (size_t i = 0; i < sizeof(server_only) / sizeof(server_only[0]); i++)
		set(server_only[i], "\\ malformed");
	ck_assert_int_eq(read_env(), PT_OK);
	ck_assert(!env.bindaddr_given);
	ck_assert_int_eq(env.orport.ss_family, AF_UNSPEC);
	as_server();
	set(PROXY, "socks5://127.0.0.1:1");
	ck_assert_int_eq(read_env(), PT_OK);
	ck_assert_int_eq(env.out.proxy, PROXY_NONE);
	set(PROXY, "malformed");
	ck_assert_int_eq(read_env(), PT_OK);
	pt_env_clear(&env);
}
END_TEST

START_TEST(proxy_30_33_34_35)
{
	static const struct {
		const char *uri, *addr;
		enum proxy_kind kind;
		const char *user, *pass;
	} good[] = {
		{ "socks5://198.51.100.1:8000", "198.51.100.1:8000", PROXY_SOCKS5, NULL, NULL },
		{ "socks4a://127.0.0.1:1/", "127.0.0.1:1", PROXY_SOCKS4A, NULL, NULL },
		{ "socks4://id@127.0.0.1:65535", "127.0.0.1:65535", PROXY_SOCKS4, "id", NULL },
		{ "socks4a://id:@127.0.0.1:1", "127.0.0.1:1", PROXY_SOCKS4A, "id", "" },
		{ "http://[2001:db8::1]:3128", "[2001:db8::1]:3128", PROXY_HTTP, NULL, NULL },
		{ "HTTP://u:p@[::1]:80/", "[::1]:80", PROXY_HTTP, "u", "p" },
		{ "http://u@1.2.3.4:80", "1.2.3.4:80", PROXY_HTTP, "u", NULL },
		{ "socks5://u:p@1.2.3.4:5", "1.2.3.4:5", PROXY_SOCKS5, "u", "p" },
		{ "socks5://u:@1.2.3.4:5", "1.2.3.4:5", PROXY_SOCKS5, "u", "" },
		/* The last @, then the first colon: what tor does not escape. */
		{ "socks5://u:p@1.1.1.1:9@1.2.3.4:5", "1.2.3.4:5", PROXY_SOCKS5, "u", "p@1.1.1.1:9" },
		{ "socks5://u:a:b/c?d#e@1.2.3.4:5", "1.2.3.4:5", PROXY_SOCKS5, "u", "a:b/c?d#e" },
		/* What Arti escapes; a % that escapes nothing stands for itself. */
		{ "socks5://%75%3A:%40%2f%aB@1.2.3.4:5", "1.2.3.4:5", PROXY_SOCKS5, "u:", "@/\xab" },
		{ "socks5://100%:%4%zz%4g%@1.2.3.4:5", "1.2.3.4:5", PROXY_SOCKS5, "100%", "%4%zz%4g%" },
	};

	for (size_t i = 0; i < sizeof(good) / sizeof(good[0]); i++) {
		as_client();
		set(PROXY, good[i].uri);
		ck_assert_msg(read_env() == PT_OK, "%s: %s", good[i].uri, error);
		ck_assert_int_eq(env.out.proxy, good[i].kind);
		ck_assert_str_eq(addr(&env.out.proxy_addr), good[i].addr);
		ck_assert_pstr_eq(env.out.user, good[i].user);
		ck_assert_pstr_eq(env.out.pass, good[i].pass);
	}
	as_client();
	ck_assert_int_eq(read_env(), PT_OK);
	ck_assert_int_eq(env.out.proxy, PROXY_NONE);
}
END_TEST

START_TEST(proxy_bad_32_34_36)
{
	char uri[600];

	as_client();
	EXPECT_EACH(PROXY, PT_PROXY_ERROR,
	    "1.2.3.4:5", "//1.2.3.4:5", "socks://1.2.3.4:5", "https://1.2.3.4:5", "socks5:1.2.3.4:5",
	    "socks5h://1.2.3.4:5", " socks5://1.2.3.4:5", "socks5://",
	    "socks5://localhost:5", "socks5://proxy.example.com:5", "socks5://1.2.3.4",
	    "socks5://1.2.3.4:", "socks5://1.2.3.4:0", "socks5://1.2.3.4:65536", "socks5://1.2.3.4:+5",
	    "socks5://1.2.3.4:0x5", "socks5://1.2.3.4:5//", "socks5://1.2.3.4:5/path",
	    "socks5://1.2.3.4:5?query", "socks5://1.2.3.4:5/?q", "socks5://1.2.3.4:5#f",
	    "socks5://::1:5", "socks5://[::1]", "socks5://[::1:5", "socks5://[1.2.3.4]:5",
	    "socks5://:5", "socks5://u:p@", "socks5://u:p@:5",
	    "socks5://@1.2.3.4:5", "socks5://:p@1.2.3.4:5", "socks5://%00:p@1.2.3.4:5",
	    "socks5://u:a%00b@1.2.3.4:5", "socks4a://u:p@1.2.3.4:5", "socks4://u:p@1.2.3.4:5",
	    "http://a%3ab:p@1.2.3.4:5");
	/* 255 bytes of each and not one more. */
	for (int n = 255; n <= 256; n++) {
		enum pt_result r = n == 255 ? PT_OK : PT_PROXY_ERROR;

		snprintf(uri, sizeof(uri), "socks5://u:%0*d@1.2.3.4:5", n, 1);
		EXPECT_EACH(PROXY, r, uri);
		snprintf(uri, sizeof(uri), "socks5://%0*d:p@1.2.3.4:5", n, 1);
		EXPECT_EACH(PROXY, r, uri);
	}
	pt_env_clear(&env);
}
END_TEST

START_TEST(proxy_error_tells_no_secret)
{
	static const char *const uris[] = { "socks5://user:hunter2@host:1", "hunter2://",
		"socks4://user:hunter2@1.2.3.4:5", "socks5://hunter2%00@1.2.3.4:5" };

	for (size_t i = 0; i < sizeof(uris) / sizeof(uris[0]); i++) {
		as_client();
		set(PROXY, uris[i]);
		ck_assert_int_eq(read_env(), PT_PROXY_ERROR);
		ck_assert_ptr_null(strstr(error, "hunter2"));
	}
	pt_env_clear(&env);
}
END_TEST

START_TEST(bindaddr_55)
{
	static const char *const good[][2] = {
		{ "sultry-0.0.0.0:443", "0.0.0.0:443" },
		{ "sultry-[::]:0", "[::]:0" },
		{ "sultry-2001:db8::1:443", "[2001:db8::1]:443" }, /* tor before 0.2.4 */
		{ "obfs4-1.2.3.4:5,sultry-[2001:db8::1]:65535", "[2001:db8::1]:65535" },
		{ "sultry-1.2.3.4:5,sultry2-1.2.3.4:5,sultr-1.2.3.4:5", "1.2.3.4:5" },
		{ "obfs4-1.2.3.4:5", "" },
		{ "", "" },
	};
	char many[9000] = "sultry-1.2.3.4:1";

	for (size_t i = 0; i < sizeof(good) / sizeof(good[0]); i++) {
		as_server();
		set(BINDADDR, good[i][0]);
		ck_assert_msg(read_env() == PT_OK, "%s: %s", good[i][0], error);
		ck_assert_int_eq(env.bindaddr_given, good[i][1][0] != '\0');
		ck_assert_str_eq(addr(&env.bindaddr), good[i][1]);
	}
	as_server();
	EXPECT_EACH(BINDADDR, PT_ENV_ERROR,
	    "sultry", "sultry-", "-1.2.3.4:5", "1.2.3.4:5", "sultry-1.2.3.4", "sultry-1.2.3.4:",
	    "sultry-1.2.3.4:65536", "sultry-1.2.3.4:-1", "sultry-1.2.3.4:5x", "sultry-1.2.3.4: 5",
	    "sultry-localhost:5", "sultry-[1.2.3.4]:5", "sultry-[::1:5", "sultry-::1]:5",
	    "sultry-*:5", "sultry-:5", "sultry-1.2.3.4:5,", ",sultry-1.2.3.4:5",
	    "sultry-1.2.3.4:5,,a-1.2.3.4:5", "sultry-1.2.3.4:5,obfs4", "sultry-1.2.3.4:000005",
	    "sultry-1.2.3.4:5,sultry-1.2.3.4:5", "a-1.2.3.4:5,sultry-1.2.3.4:5,a-1.2.3.4:6");
	while (strlen(many) <= 8192)
		strcat(many, ",a-1.2.3.4:5");
	EXPECT_EACH(BINDADDR, PT_ENV_ERROR, many);
	pt_env_clear(&env);
}
END_TEST

START_TEST(options_57)
{
	as_server();
	set(OPTIONS, "obfs4:k=1;sultry:url=https\\://x;sultry:k=2");
	ck_assert_int_eq(read_env(), PT_OK);
	ck_assert_str_eq(pt_args_get(&env.options, "url"), "https://x");
	ck_assert_str_eq(pt_args_get(&env.options, "k"), "2");
	EXPECT_EACH(OPTIONS, PT_ENV_ERROR, "sultry", "obfs4:k", "sultry:k=v;", "sultry:k=\\");
	pt_env_clear(&env);
}
END_TEST

START_TEST(or_ports_63)
{
	as_server();
	ck_assert_int_eq(read_env(), PT_OK);
	ck_assert_str_eq(addr(&env.orport), "127.0.0.1:9001");
	ck_assert_int_eq(env.ext_orport.ss_family, AF_UNSPEC);
	EXPECT_EACH(ORPORT, PT_ENV_ERROR, "9001", "127.0.0.1", "127.0.0.1:0", "localhost:9001",
	    "127.0.0.1:9001,127.0.0.1:9002");
	ck_assert_int_eq(read_env(), PT_ENV_ERROR); /* neither */
	set(EXTPORT, "[::1]:9002");
	ck_assert_int_eq(read_env(), PT_ENV_ERROR); /* no cookie */
	set(ORPORT, "127.0.0.1:9001");
	ck_assert_int_eq(read_env(), PT_ENV_ERROR); /* nor with a port to fall back to */
	set(COOKIE, "");
	ck_assert_int_eq(read_env(), PT_ENV_ERROR);
	set(COOKIE, "/run/cookie");
	ck_assert_int_eq(read_env(), PT_OK);
	ck_assert_str_eq(addr(&env.ext_orport), "[::1]:9002");
	ck_assert_str_eq(addr(&env.orport), "127.0.0.1:9001");
	ck_assert_str_eq(env.auth_cookie_file, "/run/cookie");
	unsetenv(ORPORT);
	ck_assert_int_eq(read_env(), PT_OK);
	EXPECT_EACH(EXTPORT, PT_ENV_ERROR, "x", "1.2.3.4:0");
	pt_env_clear(&env);
}
END_TEST

TEST_MAIN("pt_env", managed, version_10, version_error_outranks_env_error_11_14,
    version_unset_12, env_error_before_proxy_error_14, one_role_15, state_location_16,
    exit_on_stdin_close_18, outbound_bind_19, transports_22_23_24,
    other_roles_variables_are_ignored, proxy_30_33_34_35, proxy_bad_32_34_36,
    proxy_error_tells_no_secret, bindaddr_55, options_57, or_ports_63)
