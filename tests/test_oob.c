#include "tests/oob_fixture.h"

#include "pt-client/bridge.h"
#include "pt-client/oob_pool.h"
#include "pt-client/oob_target.h"

/* ---- pure parts ---- */

START_TEST(test_target)
{
	static const struct {
		const char *url, *front, *addr, *sni;
		const char *origin, *prefix, *host, *connect_to; /* origin NULL: refused */
		bool ip, v6;
	} rows[] = {
		{ "https://b.example", NULL, NULL, NULL, "https://b.example:443", "", NULL, NULL,
		    0, 0 },
		{ "HTTPS://b.example:443/", NULL, NULL, NULL, "https://b.example:443", "", NULL,
		    NULL, 0, 0 },
		{ "https://b.example:8443/a/b/", NULL, NULL, NULL, "https://b.example:8443",
		    "/a/b", NULL, NULL, 0, 0 },
		{ "https://192.0.2.1/x", NULL, NULL, NULL, "https://192.0.2.1:443", "/x", NULL,
		    NULL, 1, 0 },
		{ "https://[2001:db8::1]:8/x", NULL, NULL, NULL, "https://[2001:db8::1]:8", "/x",
		    NULL, NULL, 1, 1 },
		{ "https://b.example/x", "f.example", NULL, NULL, "https://f.example:443", "/x",
		    "b.example", NULL, 0, 0 },
		{ "https://b.example:81/x", "f.example:82", NULL, NULL, "https://f.example:82",
		    "/x", "b.example:81", NULL, 0, 0 },
		{ "https://b.example:81/x", "f.example", "192.0.2.9", NULL,
		    "https://f.example:443", "/x", "b.example:81", "192.0.2.9:443", 1, 0 },
		{ "https://b.example:81", NULL, "192.0.2.9", NULL, "https://b.example:81", "",
		    NULL, "192.0.2.9:81", 1, 0 },
		{ "https://b.example:81", NULL, "192.0.2.9:82", NULL, "https://b.example:81", "",
		    NULL, "192.0.2.9:82", 1, 0 },
		{ "https://b.example", NULL, "2001:db8::2", NULL, "https://b.example:443", "",
		    NULL, "[2001:db8::2]:443", 1, 1 },
		{ "https://b.example", NULL, "[2001:db8::2]", NULL, "https://b.example:443", "",
		    NULL, "[2001:db8::2]:443", 1, 1 },
		{ "https://b.example", NULL, "[2001:db8::2]:9", NULL, "https://b.example:443", "",
		    NULL, "[2001:db8::2]:9", 1, 1 },
		{ "https://192.0.2.1:81/x", NULL, NULL, "s.example", "https://s.example:81", "/x",
		    "192.0.2.1:81", "192.0.2.1:81", 1, 0 },
		{ "https://[2001:db8::1]/x", NULL, NULL, "s.example", "https://s.example:443",
		    "/x", "[2001:db8::1]", "[2001:db8::1]:443", 1, 1 },
		{ .url = NULL }, { .url = "" }, { .url = "https://" }, { .url = "https:///x" },
		{ .url = "http://b.example" }, { .url = "b.example" },
		    { .url = "https://u:p@b.example" },
		{ .url = "https://b.example/x?y" }, { .url = "https://b.example/#f" },
		{ .url = "https://b.example?y" }, { .url = "https://b.example/a b" },
		{ .url = "https://b.example/a\r\nX: y" }, { .url = "https://b.example\r\n" },
		{ .url = "https://b.example:0" }, { .url = "https://b.example:65536" },
		{ .url = "https://b.example:" }, { .url = "https://b.example:1x" },
		{ .url = "https://b\xc3\xbc.example" }, { .url = "https://b..example" },
		{ .url = "https://-b.example" }, { .url = "https://.b.example" },
		{ .url = "https://1.2.3" }, { .url = "https://0x7f.1" },
		    { .url = "https://1.2.3.0x4" },
		{ .url = "https://b.example." }, { .url = "https://%62.example" },
		{ .url = "https://[2001:db8::1" }, { .url = "https://[b.example]" },
		{ .url = "https://[2001:db8::1]x" }, { .url = "https://2001:db8::1" },
		{ .url = "https://b.example", .front = "" },
		{ .url = "https://b.example", .front = "f.example/x" },
		{ .url = "https://b.example", .front = "https://f.example" },
		{ .url = "https://b.example", .addr = "a.example" },
		{ .url = "https://b.example", .addr = "192.0.2.9:" },
		{ .url = "https://b.example", .addr = "" },
		{ .url = "https://b.example", .sni = "s.example" },
		{ .url = "https://192.0.2.1", .sni = "192.0.2.2" },
		{ .url = "https://192.0.2.1", .sni = "s.example:1" },
		{ .url = "https://192.0.2.1", .sni = "s.example", .front = "f.example" },
	};

	for (size_t i = 0; i < sizeof(rows) / sizeof(rows[0]); i++) {
		struct oob_config cfg = { .url = rows[i].url, .front = rows[i].front,
			.addr = rows[i].addr, .sni = rows[i].sni };
		struct oob_target t;
		const char *want = oob_target_init(&t, &cfg);

		ck_assert_msg((want == NULL) == (rows[i].origin != NULL), "row %zu: %s", i, want);
		ck_assert_pstr_eq(t.origin, rows[i].origin);
		ck_assert_pstr_eq(t.prefix, rows[i].prefix);
		ck_assert_pstr_eq(t.host, rows[i].host);
		ck_assert_pstr_eq(t.connect_to, rows[i].connect_to);
		ck_assert(t.dial_ip == rows[i].ip && t.dial_ipv6 == rows[i].v6);
		oob_target_clear(&t);
	}
}
END_TEST

START_TEST(test_target_too_long)
{
	char url[9000] = "https://";
	struct oob_config cfg = { .url = url };
	struct oob_target t;

	for (size_t n = 1; n < 600; n++) {
		memset(url + 8, 'a', n);
		url[8 + n] = '\0';
		ck_assert_int_eq(oob_target_init(&t, &cfg) == NULL, n <= 253);
		oob_target_clear(&t);
	}
}
END_TEST

START_TEST(test_pool)
{
	struct pool p = { 0 };
	const uint64_t start = 1000 * 60000;

	ck_assert_uint_eq(pool_keep(&p, start), 1);
	ck_assert(!pool_wanted(&p, start));
	ck_assert(!pool_wanted(&p, 5));
	pool_use(&p, start, 5);
	ck_assert(pool_wanted(&p, start));
	ck_assert_uint_eq(pool_keep(&p, start), 5);
	pool_use(&p, start + 10, 3);
	ck_assert_uint_eq(pool_keep(&p, start + 60000), 5);
	ck_assert_uint_eq(pool_keep(&p, start + 119999), 5);
	ck_assert_uint_eq(pool_keep(&p, start + 120000), 1);
	pool_use(&p, start + 60000, 2);
	ck_assert_uint_eq(pool_keep(&p, start + 60000), 5);
	ck_assert_uint_eq(pool_keep(&p, start + 120000), 2);
	pool_use(&p, start + 180000, 500);
	ck_assert_uint_eq(pool_keep(&p, start + 180000), POOL_KEEP_MAX);
	ck_assert(pool_wanted(&p, start + 180000 + POOL_USED_MS - 1));
	ck_assert(!pool_wanted(&p, start + 180000 + POOL_USED_MS));
}
END_TEST

/* ---- requests ---- */

START_TEST(test_post)
{
	struct fixture fx;
	struct answer a = { 0 };
	struct oob_channel *ch;

	fx_start(&fx, "");
	ch = fx_channel(&fx);
	ck_assert_uint_eq(oob_channel_rtt_ms(ch), 0);
	ck_assert_int_eq(fx_ask(&fx, ch, &a, "/s/../echo", "{\"v\":1}"), OOB_OK);
	ck_assert_int_eq(a.status, 200);
	ck_assert_str_eq(a.body, "{\"v\":1}");
	ck_assert_uint_gt(a.rtt_ms, 0);
	ck_assert_uint_gt(oob_channel_rtt_ms(ch), 0);
	fx_until_seen(&fx, "request POST /base/s/../echo host=bridge.example:", 1);
	fx_until_seen(&fx, " type=application/json len=7 ", 1);
	fx_until_seen(&fx,
	    " names=accept,content-length,content-type,host,user-agent agent=Mozilla/5.0 (", 1);
	fx_until_seen(&fx, "sni=bridge.example resumed=0", 1);
	ck_assert_int_eq(fx_ask(&fx, ch, &a, "/empty", ""), OOB_OK);
	ck_assert_uint_eq(a.len, 0);
	free(a.body);
	fx_stop(&fx);
}
END_TEST

/* A bridge's time-outs go by the channel that is used, not by one that is blocked. */
START_TEST(test_round_trip_in_use)
{
	struct fixture fx;
	struct answer a = { 0 };
	struct bridge b = { .n_channels = 2 };
	const uint64_t now = 1000;

	fx_start(&fx, "");
	b.channels[0].oob = fx_channel(&fx);
	b.channels[1].oob = fx_channel(&fx);
	ck_assert_int_eq(fx_ask(&fx, b.channels[1].oob, &a, "/echo", "x"), OOB_OK);
	ck_assert_uint_eq(bridge_rtt_ms(&b, now), 0);
	bridge_channel_result(&b, b.channels[0].oob, false, now);
	ck_assert_uint_eq(bridge_rtt_ms(&b, now), oob_channel_rtt_ms(b.channels[1].oob));
	ck_assert_uint_gt(bridge_rtt_ms(&b, now), 0);
	free(a.body);
	fx_stop(&fx);
}
END_TEST

/* Every size of body that takes another way through curl, and no "Expect: 100-continue". */
START_TEST(test_post_sizes)
{
	static const size_t sizes[] = { 1, 1000, 16384, 65536, 200000, OOB_REPLY_MAX };
	struct fixture fx;
	struct answer a = { 0 };
	struct oob_channel *ch;

	fx_start(&fx, "");
	ch = fx_channel(&fx);
	for (size_t i = 0; i < sizeof(sizes) / sizeof(sizes[0]); i++) {
		char *body = mem_zalloc(sizes[i] + 1);

		memset(body, 'x', sizes[i]);
		ck_assert_int_eq(fx_ask(&fx, ch, &a, "/echo", body), OOB_OK);
		ck_assert_str_eq(a.body, body);
		free(body);
	}
	ck_assert_int_eq(fx_seen(&fx, "expect"), 0);
	ck_assert_int_eq(fx_seen(&fx, "tls "), 1);
	free(a.body);
	fx_stop(&fx);
}
END_TEST

START_TEST(test_results)
{
	static const struct {
		const char *path;
		enum oob_result result;
		int status;
		size_t len;
	} rows[] = {
		{ "/404", OOB_STATUS, 404, 4 }, { "/redirect", OOB_STATUS, 302, 0 },
		{ "/401", OOB_STATUS, 401, 0 }, { "/max", OOB_OK, 200, OOB_REPLY_MAX },
		{ "/big", OOB_BROKEN, 200, 0 }, { "/bigchunked", OOB_BROKEN, 200, 0 },
		{ "/bighead", OOB_BROKEN, 200, 0 }, { "/die", OOB_BROKEN, 200, 0 },
		{ "/diehead", OOB_BROKEN, 0, 0 }, { "/dienow", OOB_BROKEN, 0, 0 },
		{ "/garbage", OOB_BROKEN, 0, 0 }, { "/close", OOB_OK, 200, 1 },
		{ "/cookie", OOB_OK, 200, 0 }, { "/echo", OOB_OK, 200, 1 },
	};
	struct fixture fx;
	struct answer a = { 0 };
	struct oob_channel *ch;

	fx_start(&fx, "");
	ch = fx_channel(&fx);
	for (size_t i = 0; i < sizeof(rows) / sizeof(rows[0]); i++) {
		ck_assert_msg(fx_ask(&fx, ch, &a, rows[i].path, "x") == rows[i].result, "%s: %d %s",
		    rows[i].path, a.result, a.error);
		if (rows[i].status != 0)
			ck_assert_int_eq(a.status, rows[i].status);
		ck_assert_uint_eq(a.len, rows[i].len);
		ck_assert(strstr(a.error, "127.0.0.1") == NULL && strstr(a.error, "example") == NULL);
	}
	ck_assert_int_eq(fx_seen(&fx, "/followed"), 0);
	ck_assert_int_eq(fx_seen(&fx, "cookie,"), 0);
	ck_assert_int_eq(fx_seen(&fx, "authorization"), 0);
	free(a.body);
	fx_stop(&fx);
}
END_TEST

/* A port that nothing listens on: bound, then given back. */
static unsigned
closed_port(void)
{
	struct sockaddr_in sin = { .sin_family = AF_INET, .sin_addr.s_addr = htonl(INADDR_LOOPBACK) };
	socklen_t len = sizeof(sin);
	int fd = socket(AF_INET, SOCK_STREAM, 0);

	ck_assert_int_eq(bind(fd, (struct sockaddr *)&sin, sizeof(sin)), 0);
	ck_assert_int_eq(getsockname(fd, (struct sockaddr *)&sin, &len), 0);
	close(fd);
	return ntohs(sin.sin_port);
}

START_TEST(test_unreachable)
{
	struct fixture fx;
	struct answer a = { 0 };
	struct oob_channel *ch;
	char addr[32];

	fx_start(&fx, "");
	snprintf(addr, sizeof(addr), "127.0.0.1:%u", closed_port());
	ch = fx_channel_of(&fx, (struct oob_config){ .url = "https://b.example", .addr = addr });
	ck_assert_int_eq(fx_ask(&fx, ch, &a, "/echo", "x"), OOB_UNREACHABLE);
	ck_assert_str_eq(a.error, strerror(ECONNREFUSED));
	snprintf(addr, sizeof(addr), "127.0.0.1:%u", fx.plain);
	ch = fx_channel_of(&fx, (struct oob_config){ .url = "https://b.example", .addr = addr });
	ck_assert_int_eq(fx_ask(&fx, ch, &a, "/echo", "x"), OOB_BROKEN);
	free(a.body);
	fx_stop(&fx);
}
END_TEST

START_TEST(test_pin)
{
	struct fixture fx;
	struct answer a = { 0 };
	struct oob_config cfg = { .url = "https://bridge.example:%u", .addr = "127.0.0.1" };
	uint8_t pin[32];

	fx_start(&fx, "");
	ck_assert_int_eq(fx_ask(&fx, fx_channel_of(&fx, cfg), &a, "/echo", "x"), OOB_TLS);
	for (int i = 0; i < 32; i += 31) {
		memcpy(pin, fx.pin, sizeof(pin));
		pin[i] ^= 1;
		cfg.pin = pin;
		ck_assert_int_eq(fx_ask(&fx, fx_channel_of(&fx, cfg), &a, "/echo", "x"), OOB_TLS);
	}
	/* The name on the certificate does not matter where the key is pinned. */
	cfg.pin = fx.pin;
	cfg.url = "https://other.example:%u";
	ck_assert_int_eq(fx_ask(&fx, fx_channel_of(&fx, cfg), &a, "/echo", "x"), OOB_OK);
	cfg.pin = pin;
	ck_assert_int_eq(fx_ask(&fx, fx_channel_of(&fx, cfg), &a, "/echo", "x"), OOB_TLS);
	ck_assert_int_eq(fx_seen(&fx, "request "), 1);
	free(a.body);
	fx_stop(&fx);
}
END_TEST

START_TEST(test_front_addr_sni)
{
	struct fixture fx;
	struct answer a = { 0 };

	fx_start(&fx, "");
	fx_ask(&fx, fx_channel_of(&fx, (struct oob_config){ .url = "https://127.0.0.1:%u/p",
	    .pin = fx.pin }), &a, "/1", "x");
	fx_until_seen(&fx, "sni=None ", 1);
	fx_until_seen(&fx, "POST /p/1 host=127.0.0.1:", 1);
	fx_ask(&fx, fx_channel_of(&fx, (struct oob_config){ .url = "https://127.0.0.1:%u/p",
	    .sni = "sni.example", .pin = fx.pin }), &a, "/2", "x");
	fx_until_seen(&fx, "sni=sni.example ", 1);
	fx_until_seen(&fx, "POST /p/2 host=127.0.0.1:", 1);
	{
		char addr[32];

		snprintf(addr, sizeof(addr), "127.0.0.1:%u", fx.port);
		fx_ask(&fx, fx_channel_of(&fx, (struct oob_config){ .url = "https://b.example/p",
		    .addr = addr, .front = "front.example", .pin = fx.pin }), &a, "/3", "x");
		fx_until_seen(&fx, "sni=front.example ", 1);
		fx_until_seen(&fx, "POST /p/3 host=b.example type", 1);
	}
	ck_assert_int_eq(a.result, OOB_OK);
	ck_assert_int_eq(fx_seen(&fx, "tls "), 3);
	free(a.body);
	fx_stop(&fx);
}
END_TEST

/* ---- connections ---- */

START_TEST(test_reuse)
{
	struct fixture fx;
	struct answer a = { 0 };
	struct oob_channel *ch;

	fx_start(&fx, "");
	ch = fx_channel(&fx);
	for (int i = 0; i < 20; i++)
		ck_assert_int_eq(fx_ask(&fx, ch, &a, "/echo", "x"), OOB_OK);
	fx_until_seen(&fx, "request ", 20);
	ck_assert_int_eq(fx_seen(&fx, "tls "), 1);
	free(a.body);
	fx_stop(&fx);
}
END_TEST

START_TEST(test_held_poll_blocks_nothing)
{
	struct fixture fx;
	struct answer held = { 0 }, a = { 0 };
	struct oob_channel *ch;

	fx_start(&fx, "");
	ch = fx_channel(&fx);
	fx_post(ch, &held, "/hold", "poll");
	fx_until_seen(&fx, "/hold", 1);
	for (int i = 0; i < 10; i++)
		ck_assert_int_eq(fx_ask(&fx, ch, &a, "/echo", "x"), OOB_OK);
	ck_assert_int_eq(held.calls, 0);
	ck_assert_int_eq(fx_ask(&fx, ch, &a, "/release", "x"), OOB_OK);
	fx_until(&fx, &held.calls, 1);
	ck_assert_str_eq(held.body, "poll");
	ck_assert_int_eq(fx_seen(&fx, "tls "), 2);
	free(held.body);
	free(a.body);
	fx_stop(&fx);
}
END_TEST

/* 500 at once (the server answers none before it has them all); eight connections stay. They
 * start in waves, so that a busy machine is through with each one's handshakes in time. */
START_TEST(test_many)
{
	enum { MANY = 500 };
	static struct answer a[MANY];
	struct fixture fx;
	struct oob_channel *ch;

	fx_start(&fx, "");
	ch = fx_channel(&fx);
	for (int i = 0; i < MANY; i++) {
		fx_post(ch, &a[i], "/gate500", "x");
		if (i % 25 == 0)
			fx_until_seen(&fx, "/gate500", i + 1);
	}
	for (int i = 0; i < MANY; i++) {
		fx_until(&fx, &a[i].calls, 1);
		ck_assert_msg(a[i].result == OOB_OK, "%d: %s", i, a[i].error);
		ck_assert_str_eq(a[i].body, "x");
	}
	fx_until_seen(&fx, "closed", MANY - POOL_KEEP_MAX);
	for (int i = 0; i < POOL_KEEP_MAX; i++)
		fx_post(ch, &a[i], "/gate8", "x");
	for (int i = 0; i < POOL_KEEP_MAX; i++) {
		fx_until(&fx, &a[i].calls, 2);
		ck_assert_int_eq(a[i].result, OOB_OK);
	}
	fx_until_seen(&fx, "/gate8 ", POOL_KEEP_MAX);
	ck_assert_int_eq(fx_seen(&fx, "tls "), MANY);
	ck_assert_int_eq(fx_seen(&fx, "closed"), MANY - POOL_KEEP_MAX);
	for (int i = 0; i < MANY; i++)
		free(a[i].body);
	fx_stop(&fx);
}
END_TEST

/* Many held polls do not crowd out the connection of the requests beside them. */
START_TEST(test_reuse_beside_polls)
{
	struct fixture fx;
	struct answer held[20] = { 0 }, a = { 0 };
	struct oob_channel *ch;

	fx_start(&fx, "");
	ch = fx_channel(&fx);
	for (int i = 0; i < 20; i++)
		fx_post(ch, &held[i], "/hold", "x");
	fx_until_seen(&fx, "/hold", 20);
	for (int i = 0; i < 20; i++)
		ck_assert_int_eq(fx_ask(&fx, ch, &a, "/echo", "x"), OOB_OK);
	ck_assert_int_eq(fx_seen(&fx, "tls "), 21);
	free(a.body);
	fx_stop(&fx);
}
END_TEST

START_TEST(test_sessions_resume)
{
	struct fixture fx;
	struct answer a = { 0 };
	struct oob_channel *ch;

	fx_start(&fx, "");
	ch = fx_channel(&fx);
	for (int i = 0; i < 3; i++)
		ck_assert_int_eq(fx_ask(&fx, ch, &a, "/close", "x"), OOB_OK);
	/* Another channel to the same place. */
	ck_assert_int_eq(fx_ask(&fx, fx_channel(&fx), &a, "/close", "x"), OOB_OK);
	fx_until_seen(&fx, "resumed=0", 1);
	fx_until_seen(&fx, "resumed=1", 3);
	/* A session is no way around a pin. */
	{
		uint8_t pin[32] = { 1 };

		ck_assert_int_eq(fx_ask(&fx, fx_channel_of(&fx, (struct oob_config){
		    .url = "https://bridge.example:%u/base", .addr = "127.0.0.1", .pin = pin }),
		    &a, "/echo", "x"), OOB_TLS);
		ck_assert_int_eq(fx_ask(&fx, fx_channel_of(&fx, (struct oob_config){
		    .url = "https://bridge.example:%u/base", .addr = "127.0.0.1" }),
		    &a, "/echo", "x"), OOB_TLS);
	}
	free(a.body);
	fx_stop(&fx);
}
END_TEST

START_TEST(test_resent_when_idle_connection_died)
{
	struct fixture fx;
	struct answer a = { 0 };
	struct oob_channel *ch;

	fx_start(&fx, "");
	ch = fx_channel(&fx);
	ck_assert_int_eq(fx_ask(&fx, ch, &a, "/echo", "x"), OOB_OK);
	ck_assert_int_eq(fx_ask(&fx, ch, &a, "/stale", "the same bytes"), OOB_OK);
	ck_assert_str_eq(a.body, "the same bytes");
	fx_until_seen(&fx, "/stale host=bridge.example:", 2);
	fx_until_seen(&fx, "len=14 sum=1358 ", 2);
	/* On a new connection nothing is sent twice. */
	ck_assert_int_eq(fx_ask(&fx, ch, &a, "/close", "x"), OOB_OK);
	ck_assert_int_eq(fx_ask(&fx, ch, &a, "/dienow", "x"), OOB_BROKEN);
	ck_assert_int_eq(fx_ask(&fx, ch, &a, "/echo", "x"), OOB_OK);
	ck_assert_int_eq(fx_seen(&fx, "/dienow"), 1);
	free(a.body);
	fx_stop(&fx);
}
END_TEST

START_TEST(test_timeout)
{
	struct fixture fx;
	struct answer a = { 0 }, held = { 0 };
	struct oob_channel *ch;

	fx_start(&fx, "");
	ch = fx_channel(&fx);
	fx_post(ch, &held, "/hold", "x");
	ck_assert_int_eq(fx_ask(&fx, ch, &a, "/echo", "x"), OOB_OK);
	fx_until_seen(&fx, "tls ", 2);
	/* On a reused connection: all idle ones are given up, the held poll is not. */
	fx_post_ms(ch, &a, "/never", "x", 300);
	fx_until(&fx, &a.calls, 2);
	ck_assert_int_eq(a.result, OOB_TIMEOUT);
	ck_assert_int_eq(fx_ask(&fx, ch, &a, "/release", "x"), OOB_OK);
	fx_until_seen(&fx, "tls ", 3);
	fx_until(&fx, &held.calls, 1);
	ck_assert_int_eq(held.result, OOB_OK);
	fx_until_seen(&fx, "closed", 1);
	free(held.body);
	free(a.body);
	fx_stop(&fx);
}
END_TEST

START_TEST(test_renew)
{
	struct fixture fx;
	struct answer a = { 0 };
	struct oob_channel *ch;

	fx_start(&fx, "");
	ch = fx_channel(&fx);
	oob_channel_renew(ch);
	for (int i = 1; i <= 3; i++) {
		ck_assert_int_eq(fx_ask(&fx, ch, &a, "/echo", "x"), OOB_OK);
		oob_channel_renew(ch);
		fx_until_seen(&fx, "closed", i);
		ck_assert_int_eq(fx_seen(&fx, "tls "), i);
	}
	free(a.body);
	fx_stop(&fx);
}
END_TEST

/* With the pool's clock 1000 times as fast: refreshed after 60 to 90 ms, given up after 600. */
START_TEST(test_refresh)
{
	struct fixture fx;
	struct answer a = { 0 };
	struct oob_channel *ch;
	int gets;

	fx_start(&fx, "");
	oob_set_pool_speed(fx.oob, 1000);
	ch = fx_channel(&fx);
	ck_assert_int_eq(fx_ask(&fx, ch, &a, "/echo", "x"), OOB_OK);
	fx_until_seen(&fx, "GET / ", 2);
	ck_assert_int_eq(fx_seen(&fx, "tls "), 1);
	fx_until_seen(&fx, "closed", 1);
	gets = fx_seen(&fx, "GET / ");
	fx_sleep(&fx, 300);
	ck_assert_int_eq(fx_seen(&fx, "GET / "), gets);
	ck_assert_int_le(gets, 10);
	/* The next use opens a connection again. */
	ck_assert_int_eq(fx_ask(&fx, ch, &a, "/echo", "x"), OOB_OK);
	fx_until_seen(&fx, "GET / ", gets + 1);
	free(a.body);
	fx_stop(&fx);
}
END_TEST

/* ---- cancelling ---- */

/* After each number of turns of the loop, so in every stage of a request. */
START_TEST(test_cancel)
{
	struct fixture fx;
	struct answer a[2] = { 0 }, after = { 0 };
	struct oob_channel *ch;
	bool finished = false;

	fx_start(&fx, "");
	for (int turns = 0; !finished; turns++) {
		ch = fx_channel(&fx);
		a[0].calls = 0;
		fx_post(ch, &a[0], "/echo", "x");
		for (int i = 0; i < turns && a[0].calls == 0; i++)
			fx_turn(&fx);
		finished = a[0].calls > 0;
		oob_cancel(a[0].req);
		ck_assert_int_eq(fx_ask(&fx, ch, &after, "/echo", "y"), OOB_OK);
		ck_assert_int_eq(a[0].calls, finished);
		fx_post(ch, &a[1], "/echo", "x");
		oob_channel_free(ch);
		ck_assert_int_eq(a[1].calls, 0);
		ck_assert_int_lt(turns, 1000);
	}
	oob_cancel(NULL);
	free(a[0].body);
	free(after.body);
	fx_stop(&fx);
}
END_TEST

struct killer {
	struct fixture *fx;
	struct oob_channel *channel;
	struct oob_request *reqs[8];
	int calls, what;
};

static void
kill_others(void *arg, const struct oob_reply *reply)
{
	struct killer *k = arg;

	k->calls++;
	switch (k->what) {
	case 0:
		for (int i = 0; i < 8; i++)
			oob_cancel(k->reqs[i]);
		break;
	case 1:
		oob_channel_free(k->channel);
		break;
	case 2:
		oob_free(k->fx->oob);
		k->fx->oob = NULL;
		break;
	default:
		oob_channel_renew(k->channel);
	}
	ck_assert_int_eq(reply->result, OOB_OK);
	ck_assert_mem_eq(reply->body, "body", 4);
}

START_TEST(test_cancel_inside_callback)
{
	struct fixture fx;
	struct killer k = { .fx = &fx };
	struct answer a = { 0 };

	fx_start(&fx, "");
	for (k.what = 0; k.what < 4; k.what++) {
		if (fx.oob == NULL)
			fx.oob = oob_new(fx.base, &fx.out);
		k.channel = fx_channel(&fx);
		k.calls = 0;
		for (int i = 0; i < 8; i++)
			k.reqs[i] = oob_post(k.channel, "/gate8", mem_strdup("body"), 4, 60000,
			    kill_others, &k);
		fx_until(&fx, &k.calls, k.what == 3 ? 8 : 1);
		if (fx.oob == NULL)
			fx.oob = oob_new(fx.base, &fx.out);
		ck_assert_int_eq(fx_ask(&fx, fx_channel(&fx), &a, "/echo", "x"), OOB_OK);
		fx_sleep(&fx, 50);
		ck_assert_int_eq(k.calls, k.what == 3 ? 8 : 1);
	}
	free(a.body);
	fx_stop(&fx);
}
END_TEST

static void
post_again(void *arg, const struct oob_reply *reply)
{
	struct killer *k = arg;

	ck_assert_int_eq(reply->result, OOB_OK);
	if (++k->calls < 10)
		oob_post(k->channel, "/echo", mem_strdup("x"), 1, 60000, post_again, k);
}

START_TEST(test_post_inside_callback)
{
	struct fixture fx;
	struct killer k = { .fx = &fx };

	fx_start(&fx, "");
	k.channel = fx_channel(&fx);
	oob_post(k.channel, "/echo", mem_strdup("x"), 1, 60000, post_again, &k);
	fx_until(&fx, &k.calls, 10);
	ck_assert_int_eq(fx_seen(&fx, "tls "), 1);
	fx_stop(&fx);
}
END_TEST

/* ---- the way out ---- */

/* A name server on the isolated machine that counts what it is asked, and says nothing. */
struct dns {
	int fd, queries;
	struct event *event;
};

static void
dns_query(evutil_socket_t fd, short what, void *arg)
{
	struct dns *dns = arg;
	char buf[512];

	(void)what;
	ck_assert_int_gt(recv(fd, buf, sizeof(buf), 0), 0);
	dns->queries++;
}

static void
dns_start(struct dns *dns, struct fixture *fx)
{
	struct sockaddr_in sin = { .sin_family = AF_INET, .sin_port = htons(53),
		.sin_addr.s_addr = htonl(INADDR_LOOPBACK) };

	dns->queries = 0;
	dns->fd = socket(AF_INET, SOCK_DGRAM | SOCK_NONBLOCK | SOCK_CLOEXEC, 0);
	ck_assert_int_eq(bind(dns->fd, (struct sockaddr *)&sin, sizeof(sin)), 0);
	dns->event = event_new(fx->base, dns->fd, EV_READ | EV_PERSIST, dns_query, dns);
	event_add(dns->event, NULL);
	fx_cover_text(fx, "/etc/resolv.conf", "nameserver 127.0.0.1\n");
	fx_cover_text(fx, "/etc/nsswitch.conf", "hosts: files dns\n");
	fx_cover_text(fx, "/etc/hosts", "127.0.0.1 bridge.example front.example\n");
}

static void
dns_stop(struct dns *dns)
{
	event_free(dns->event);
	close(dns->fd);
}

static void
use_proxy(struct fixture *fx, enum proxy_kind kind, const char *user, const char *pass)
{
	struct sockaddr_in *sin = (void *)&fx->out.proxy_addr;

	fx->out.proxy = kind;
	sin->sin_family = AF_INET;
	sin->sin_port = htons((uint16_t)fx->proxy);
	sin->sin_addr.s_addr = htonl(INADDR_LOOPBACK);
	free(fx->out.user);
	free(fx->out.pass);
	fx->out.user = user != NULL ? mem_strdup(user) : NULL;
	fx->out.pass = pass != NULL ? mem_strdup(pass) : NULL;
}

/* What a proxy of each kind is asked for, word by word; names never meet a resolver. */
START_TEST(test_proxies)
{
	static const struct {
		enum proxy_kind kind;
		const char *user, *pass, *url, *addr, *front;
		const char *seen; /* NULL: refused */
	} rows[] = {
		{ PROXY_SOCKS5, NULL, NULL, "https://far.example/", NULL, NULL,
		    "proxy socks5 methods=00 atyp=3 far.example 443 user=None pass=None\n" },
		{ PROXY_SOCKS5, "u%41:@", "p:%42 @", "https://far.example:8443", NULL, NULL,
		    "atyp=3 far.example 8443 user=u%41:@ pass=p:%42 @\n" },
		{ PROXY_SOCKS5, "user", NULL, "https://far.example:8444", NULL, NULL,
		    "atyp=3 far.example 8444 user=user pass=\n" },
		{ PROXY_SOCKS5, NULL, NULL, "https://203.0.113.7", NULL, NULL,
		    "atyp=1 cb007107 443 " },
		{ PROXY_SOCKS5, NULL, NULL, "https://[2001:db8::7]", NULL, NULL,
		    "atyp=4 20010db8000000000000000000000007 443 " },
		{ PROXY_SOCKS5, NULL, NULL, "https://far.example", "203.0.113.8:81", NULL,
		    "atyp=1 cb007108 81 " },
		{ PROXY_SOCKS5, NULL, NULL, "https://far.example", "[2001:db8::8]:81", NULL,
		    "atyp=4 20010db8000000000000000000000008 81 " },
		{ PROXY_SOCKS5, NULL, NULL, "https://far.example", NULL, "front.example:82",
		    "atyp=3 front.example 82 " },
		{ PROXY_SOCKS4, "me", NULL, "https://203.0.113.7", NULL, NULL,
		    "proxy socks4 cb007107 443 user=me\n" },
		{ PROXY_SOCKS4, NULL, NULL, "https://far.example", "203.0.113.8", NULL,
		    "proxy socks4 cb007108 443 user=\n" },
		{ PROXY_SOCKS4, NULL, NULL, "https://far.example", NULL, NULL, NULL },
		{ PROXY_SOCKS4, NULL, NULL, "https://[2001:db8::7]", NULL, NULL, NULL },
		{ PROXY_SOCKS4A, "me", NULL, "https://far.example:83", NULL, NULL,
		    "proxy socks4a far.example 83 user=me\n" },
		{ PROXY_SOCKS4A, NULL, NULL, "https://203.0.113.9", NULL, NULL,
		    "proxy socks4 cb007109 443 user=\n" },
		{ PROXY_SOCKS4A, NULL, NULL, "https://far.example", "2001:db8::8", NULL, NULL },
		{ PROXY_HTTP, NULL, NULL, "https://far.example:84/x", NULL, NULL,
		    "proxy http CONNECT far.example:84 HTTP/1.1 auth= names=host,proxy-connection\n" },
		{ PROXY_HTTP, "u%41", "p:%42 @", "https://far.example:85", NULL, NULL,
		    "far.example:85 HTTP/1.1 auth=u%41:p:%42 @ names=host,proxy-authorization,proxy-connection\n" },
		{ PROXY_HTTP, NULL, NULL, "https://far.example", "203.0.113.8", NULL,
		    "CONNECT 203.0.113.8:443 " },
		{ PROXY_HTTP, NULL, NULL, "https://far.example", "2001:db8::8", NULL,
		    "CONNECT [2001:db8::8]:443 " },
		{ PROXY_HTTP, NULL, NULL, "https://far.example", NULL, "front.example",
		    "CONNECT front.example:443 " },
	};
	struct fixture fx;
	struct answer a = { 0 };
	struct dns dns;
	bool alone = fx_isolate();

	fx_start(&fx, "");
	if (alone)
		dns_start(&dns, &fx);
	setenv("no_proxy", "*", 1);
	setenv("NO_PROXY", "*", 1);
	for (size_t i = 0; i < sizeof(rows) / sizeof(rows[0]); i++) {
		struct oob_config cfg = { .url = rows[i].url, .addr = rows[i].addr,
			.front = rows[i].front, .pin = fx.pin };
		struct oob_channel *ch;
		char error[256];

		use_proxy(&fx, rows[i].kind, rows[i].user, rows[i].pass);
		ch = oob_channel_new(fx.oob, &cfg, error);
		ck_assert_msg((ch != NULL) == (rows[i].seen != NULL), "row %zu", i);
		if (ch == NULL)
			continue;
		ck_assert_msg(fx_ask(&fx, ch, &a, "/echo", "x") == OOB_OK, "row %zu: %s", i, a.error);
		ck_assert_msg(fx_seen(&fx, rows[i].seen) == 1, "row %zu:\n%.*s", i, (int)fx.seen.n,
		    buffer_data(&fx.seen));
		ck_assert_uint_gt(oob_channel_rtt_ms(ch), 0);
		oob_channel_free(ch);
	}
	if (alone) {
		ck_assert_int_eq(dns.queries, 0);
		dns_stop(&dns);
	}
	use_proxy(&fx, PROXY_NONE, NULL, NULL);
	free(a.body);
	fx_stop(&fx);
}
END_TEST

START_TEST(test_proxy_refuses)
{
	static const struct {
		enum proxy_kind kind;
		const char *user, *url;
	} rows[] = {
		{ PROXY_SOCKS5, NULL, "https://refused.example" }, { PROXY_SOCKS5, "wrong",
		    "https://far.example" },
		{ PROXY_SOCKS4A, NULL, "https://refused.example" }, { PROXY_HTTP, NULL,
		    "https://refused.example" },
		{ PROXY_HTTP, "u", "https://auth.example" },
	};
	struct fixture fx;
	struct answer a = { 0 };

	fx_start(&fx, "");
	for (size_t i = 0; i < 2 * sizeof(rows) / sizeof(rows[0]); i++) {
		size_t n = i / 2;
		struct oob_channel *ch;

		use_proxy(&fx, rows[n].kind, rows[n].user, NULL);
		/* Then with something at the proxy's port that is no proxy. */
		if (i % 2 == 1)
			((struct sockaddr_in *)(void *)&fx.out.proxy_addr)->sin_port = htons((uint16_t)fx.plain);
		ch = fx_channel_of(&fx, (struct oob_config){ .url = rows[n].url, .pin = fx.pin });
		ck_assert_msg(fx_ask(&fx, ch, &a, "/echo", "x") == OOB_UNREACHABLE,
		    "row %zu: %d %s", i,
		    a.result, a.error);
		oob_channel_free(ch);
	}
	ck_assert_int_eq(fx_seen(&fx, "tls "), 0);
	use_proxy(&fx, PROXY_NONE, NULL, NULL);
	free(a.body);
	fx_stop(&fx);
}
END_TEST

/* Nonsense in the environment and a ~/.netrc change nothing. */
START_TEST(test_environment)
{
	static const char *const names[] = { "http_proxy", "https_proxy", "HTTPS_PROXY",
	    "all_proxy", "ALL_PROXY" };
	struct fixture fx;
	struct answer a = { 0 };
	char path[96];

	fx_start(&fx, "");
	for (size_t i = 0; i < sizeof(names) / sizeof(names[0]); i++)
		setenv(names[i], "socks5h://127.0.0.1:1", 1);
	setenv("HOME", fx.dir, 1);
	snprintf(path, sizeof(path), "%s/.netrc", fx.dir);
	fx_write(path,
	    "machine bridge.example login me password secret\ndefault login me password x\n");
	ck_assert_int_eq(fx_ask(&fx, fx_channel(&fx), &a, "/401", "x"), OOB_STATUS);
	ck_assert_int_eq(fx_seen(&fx, "proxied"), 0);
	ck_assert_int_eq(fx_seen(&fx, "authorization"), 0);
	free(a.body);
	fx_stop(&fx);
}
END_TEST

START_TEST(test_source_address)
{
	struct fixture fx;
	struct answer a = { 0 };

	if (!fx_isolate())
		return;
	fx_start(&fx, "192.0.2.1 2001:db8::1");
	fx.out.bind4.sin_family = AF_INET;
	inet_pton(AF_INET, "192.0.2.2", &fx.out.bind4.sin_addr);
	fx_ask(&fx, fx_channel_of(&fx, (struct oob_config){ .url = "https://192.0.2.1:%u",
	    .pin = fx.pin }), &a, "/4", "x");
	fx_until_seen(&fx, "from=192.0.2.2 ", 1);
	/* No address of that family to use: any. */
	fx_ask(&fx, fx_channel_of(&fx, (struct oob_config){ .url = "https://[2001:db8::1]:%u",
	    .pin = fx.pin }), &a, "/6", "x");
	ck_assert_int_eq(a.result, OOB_OK);
	fx.out.bind6.sin6_family = AF_INET6;
	inet_pton(AF_INET6, "2001:db8::2", &fx.out.bind6.sin6_addr);
	fx_ask(&fx, fx_channel_of(&fx, (struct oob_config){ .url = "https://[2001:db8::1]:%u",
	    .pin = fx.pin }), &a, "/6", "x");
	fx_until_seen(&fx, "from=2001:db8::2 ", 1);
	fx_ask(&fx, fx_channel(&fx), &a, "/loopback", "x");
	fx_until_seen(&fx, "from=127.0.0.1 ", 1);
	/* The connection to the proxy, too. */
	use_proxy(&fx, PROXY_SOCKS5, NULL, NULL);
	inet_pton(AF_INET, "192.0.2.1", &((struct sockaddr_in *)(void *)&fx.out.proxy_addr)->sin_addr);
	fx_ask(&fx, fx_channel_of(&fx, (struct oob_config){ .url = "https://far.example",
	    .pin = fx.pin }), &a, "/proxy", "x");
	fx_until_seen(&fx, "proxied from=192.0.2.2\n", 1);
	use_proxy(&fx, PROXY_NONE, NULL, NULL);
	/* One that this machine does not have: no connection from another. */
	inet_pton(AF_INET, "198.51.100.7", &fx.out.bind4.sin_addr);
	ck_assert_int_eq(fx_ask(&fx, fx_channel_of(&fx,
	    (struct oob_config){ .url = "https://192.0.2.1:%u", .pin = fx.pin }), &a, "/4", "x"),
	    OOB_UNREACHABLE);
	ck_assert_int_eq(fx_seen(&fx, "tls "), 5);
	free(a.body);
	fx_stop(&fx);
}
END_TEST

/* addr and sni ask no resolver; front and url do; the system's certificates are what counts. */
START_TEST(test_names)
{
	static const struct {
		struct oob_config cfg;
		enum oob_result result;
	} rows[] = {
		{ { .url = "https://bridge.example:%u" }, OOB_OK },
		{ { .url = "https://bridge.example:%u", .addr = "127.0.0.1" }, OOB_OK },
		{ { .url = "https://other.example:%u", .addr = "127.0.0.1" }, OOB_TLS },
		{ { .url = "https://127.0.0.1:%u" }, OOB_TLS },
		{ { .url = "https://127.0.0.1:%u", .sni = "bridge.example" }, OOB_OK },
		{ { .url = "https://127.0.0.1:%u", .sni = "nowhere.example" }, OOB_TLS },
		{ { .url = "https://nowhere.example", .front = "with its port" }, OOB_OK },
	};
	char front[32];
	struct fixture fx;
	struct dns dns;
	struct answer a = { 0 };
	char *cert;

	if (!fx_isolate())
		return;
	fx_start(&fx, "");
	dns_start(&dns, &fx);
	cert = mem_printf("%s/cert.pem", fx.dir);
	fx_cover("/etc/ssl/certs/ca-certificates.crt", cert);
	free(cert);
	snprintf(front, sizeof(front), "front.example:%u", fx.port);
	for (size_t i = 0; i < sizeof(rows) / sizeof(rows[0]); i++) {
		struct oob_config cfg = rows[i].cfg;

		if (cfg.front != NULL)
			cfg.front = front;
		ck_assert_msg(fx_ask_of(&fx, &a, cfg) == rows[i].result, "row %zu: %s", i, a.error);
	}
	fx_until_seen(&fx, "sni=front.example ", 1);
	fx_until_seen(&fx, "host=nowhere.example ", 1);
	ck_assert_int_eq(dns.queries, 0);
	dns_stop(&dns);
	free(a.body);
	fx_stop(&fx);
}
END_TEST

/* A resolver that does not answer holds up neither the loop nor a cancel: were the loop to wait
 * for it, its second attempt (5 s later) would be among the queries. */
START_TEST(test_silent_resolver)
{
	struct fixture fx;
	struct dns dns;
	struct answer a = { 0 }, b = { 0 };
	struct oob_channel *ch;

	if (!fx_isolate())
		return;
	fx_start(&fx, "");
	dns_start(&dns, &fx);
	ch = fx_channel_of(&fx, (struct oob_config){ .url = "https://nowhere.example",
	    .pin = fx.pin });
	fx_post_ms(ch, &a, "/echo", "x", 500);
	fx_post(ch, &b, "/echo", "x");
	fx_until(&fx, &dns.queries, 4);
	oob_cancel(b.req);
	fx_until(&fx, &a.calls, 1);
	ck_assert_int_eq(a.result, OOB_TIMEOUT);
	fx_post(ch, &b, "/echo", "x");
	fx_until(&fx, &dns.queries, 6);
	oob_channel_free(ch);
	ck_assert_int_eq(fx_ask(&fx, fx_channel(&fx), &a, "/echo", "x"), OOB_OK);
	ck_assert_int_eq(dns.queries, 6);
	ck_assert_int_eq(b.calls, 0);
	/* Nobody listens any more: the threads learn it, and end before the process. */
	dns_stop(&dns);
	fx_sleep(&fx, 100);
	free(a.body);
	fx_stop(&fx);
}
END_TEST

/* ---- HTTP/2, by nginx ---- */

static pid_t
start_nginx(struct fixture *fx)
{
	char *path = mem_printf("%s/nginx.conf", fx->dir);
	char *conf = mem_printf("user root; daemon off; master_process off;\n"
	    "pid %s/pid; error_log %s/log; events { }\nhttp { access_log off; client_body_temp_path %s/t1; proxy_temp_path %s/t2;\n"
	    "fastcgi_temp_path %s/t3; uwsgi_temp_path %s/t4; scgi_temp_path %s/t5;\n"
	    "server { listen 127.0.0.1:443 ssl http2; ssl_certificate %s/cert.pem;\n"
	    "ssl_certificate_key %s/key.pem; location / { proxy_pass https://127.0.0.1:%u;\n"
	    "proxy_set_header Host $server_protocol.$connection.$host; } } }\n", fx->dir, fx->dir,
	    fx->dir, fx->dir, fx->dir, fx->dir, fx->dir, fx->dir, fx->dir, fx->port);
	pid_t pid;

	fx_write(path, conf);
	pid = fork();
	if (pid == 0) {
		prctl(PR_SET_PDEATHSIG, SIGKILL);
		execlp("nginx", "nginx", "-e", "/dev/null", "-c", path, (char *)NULL);
		_exit(127);
	}
	free(path);
	free(conf);
	return pid;
}

START_TEST(test_http2)
{
	struct fixture fx;
	struct answer held = { 0 }, a = { 0 };
	struct oob_channel *ch;
	char first[64] = "";
	const char *p;
	pid_t nginx;

	ck_assert_msg(access("/usr/sbin/nginx", X_OK) == 0, "install the package nginx-light");
	if (!fx_isolate())
		return;
	setenv("PATH", "/usr/sbin:/usr/bin:/bin", 1);
	fx_start(&fx, "");
	nginx = start_nginx(&fx);
	ch = fx_channel_of(&fx, (struct oob_config){ .url = "https://bridge.example",
	    .addr = "127.0.0.1", .pin = fx.pin });
	while (fx_ask(&fx, ch, &a, "/echo", "x") != OOB_OK)
		fx_sleep(&fx, 20);
	fx_until_seen(&fx, " host=HTTP/2.0.", 1);
	buffer_add(&fx.seen, "", 1); /* an end for sscanf */
	p = memmem(buffer_data(&fx.seen), fx.seen.n, "host=", 5);
	ck_assert_int_eq(sscanf(p, "%63[^ \n]", first), 1);
	ck_assert_msg(strstr(first, ".bridge.example") != NULL, "%s", first);
	/* Requests beside a held poll go over the same connection and are not held. */
	fx_post(ch, &held, "/hold", "poll");
	fx_until_seen(&fx, "/hold", 1);
	for (int i = 0; i < 20; i++)
		ck_assert_int_eq(fx_ask(&fx, ch, &a, "/max", "x"), OOB_OK);
	ck_assert_uint_eq(a.len, OOB_REPLY_MAX);
	ck_assert_int_eq(held.calls, 0);
	ck_assert_int_eq(fx_ask(&fx, ch, &a, "/release", "x"), OOB_OK);
	fx_until(&fx, &held.calls, 1);
	ck_assert_str_eq(held.body, "poll");
	ck_assert_int_eq(fx_seen(&fx, first), 23);
	ck_assert_int_eq(fx_seen(&fx, "GET"), 0);
	/* A cancelled one takes nothing with it; one that timed out leaves the connection. */
	fx_post(ch, &held, "/never", "x");
	fx_until_seen(&fx, "/never", 1);
	oob_cancel(held.req);
	ck_assert_int_eq(fx_ask(&fx, ch, &a, "/echo", "x"), OOB_OK);
	ck_assert_int_eq(fx_seen(&fx, first), 25);
	fx_post_ms(ch, &held, "/never", "x", 300);
	fx_until(&fx, &held.calls, 2);
	ck_assert_int_eq(held.result, OOB_TIMEOUT);
	ck_assert_int_eq(fx_ask(&fx, ch, &a, "/echo", "x"), OOB_OK);
	fx_until_seen(&fx, " host=HTTP/2.0.", 27);
	ck_assert_int_eq(fx_seen(&fx, first), 26);
	kill(nginx, SIGKILL);
	waitpid(nginx, NULL, 0);
	free(held.body);
	free(a.body);
	fx_stop(&fx);
}
END_TEST

TEST_MAIN("oob", test_target, test_target_too_long, test_pool, test_post, test_round_trip_in_use,
    test_post_sizes, test_results,
    test_unreachable, test_pin, test_front_addr_sni, test_reuse, test_held_poll_blocks_nothing,
    test_many,
    test_reuse_beside_polls, test_sessions_resume, test_resent_when_idle_connection_died, test_timeout,
    test_renew, test_refresh, test_cancel, test_cancel_inside_callback,
    test_post_inside_callback,
    test_proxies, test_proxy_refuses, test_environment, test_source_address, test_names,
    test_silent_resolver, test_http2)
