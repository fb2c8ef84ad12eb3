#include <dirent.h>
#include <errno.h>
#include <stdio.h>

#include "common/address.h"
#include "pt-server/reach.h"
#include "tests/dns_server.h"

static const struct dns_row rows[] = {
	{ "works.example", 0, 0, "127.0.0.3", NULL, 300, 0, 0 },
	{ "second.example", 0, 0, "127.0.0.4 127.0.0.3", NULL, 300, 0, 0 },
	{ "other-family.example", 0, 0, "127.0.0.3", "::1", 300, 0, 0 },
	{ "slow.example", 0, 0, "127.0.0.2 127.0.0.3", NULL, 300, 0, 0 },
	{ "slow-only.example", 0, 0, "127.0.0.2 127.0.0.4", NULL, 300, 0, 0 },
	{ "refused.example", 0, 0, "127.0.0.4 127.0.0.5", "::1", 300, 0, 0 },
	{ "late.example", 0, 0, "127.0.0.3", "::1", 300, 0, 700 },
	{ "private.example", 0, 0, "10.1.2.3 127.0.0.1 192.168.1.1", "fe80::1 ::ffff:10.0.0.1", 300, 0, 0 },
	{ "mixed.example", 0, 0, "10.1.2.3 127.0.0.3", "fd00::1", 300, 0, 0 },
	{ 0 },
};

static struct event_base *base;
static struct dns_server dns;
static struct access list;
static struct reach_env env;
static struct outbound straight;
static uint16_t port;     /* the same everywhere: */
static int works = -1;    /* 127.0.0.3 accepts */
static int hangs = -1;    /* 127.0.0.2 neither accepts nor refuses */
static int fills[2] = { -1, -1 };

static int
listen_at(const char *ip, int backlog)
{
	struct sockaddr_storage at;
	socklen_t len = sizeof(at);
	int fd;

	ck_assert(address_parse(&at, ip, port));
	fd = socket(at.ss_family, SOCK_STREAM | SOCK_NONBLOCK, 0);
	ck_assert_msg(bind(fd, (struct sockaddr *)&at, address_len(&at)) == 0, "%s", strerror(errno));
	ck_assert_int_eq(listen(fd, backlog), 0);
	ck_assert_int_eq(getsockname(fd, (struct sockaddr *)&at, &len), 0);
	port = address_port(&at);
	return fd;
}

/* A full queue of connections drops what comes more. */
static void
fill(const char *ip)
{
	struct sockaddr_storage at;

	address_parse(&at, ip, port);
	for (int i = 0; i < 2; i++) {
		fills[i] = socket(AF_INET, SOCK_STREAM | SOCK_NONBLOCK, 0);
		ck_assert(connect(fills[i], (struct sockaddr *)&at, address_len(&at)) == 0 ||
		    errno == EINPROGRESS);
	}
}

static void
begin(bool listed)
{
	struct resolver_config c = { .timeout_ms = 2000, .hosts = "/nowhere" };
	struct access_rule *r;
	char text[16];

	base = event_base_new();
	dns_start(&dns, base, rows);
	c.servers[0] = dns.at;
	c.n_servers = 1;
	port = 0;
	works = listen_at("127.0.0.3", 16);
	hangs = listen_at("127.0.0.2", 0);
	fill("127.0.0.2");
	if (listed) {
		r = access_add(&list);
		snprintf(text, sizeof(text), "%u", port);
		ck_assert(access_add_ports(r, text) && access_add_network(r, "127.0.0.0/29") &&
		    access_add_network(r, "::1"));
	}
	env = (struct reach_env){
		.base = base, .access = &list, .resolver = resolver_new(base, &c), .outbound = &straight,
	};
}

static void
finish(void)
{
	resolver_free(env.resolver);
	event_base_loop(base, EVLOOP_NONBLOCK);
	dns_stop(&dns);
	event_base_free(base);
	access_clear(&list);
	close(works);
	close(hangs);
	close(fills[0]);
	close(fills[1]);
}

static int
open_files(void)
{
	DIR *d = opendir("/proc/self/fd");
	int n = 0;

	while (readdir(d) != NULL)
		n++;
	closedir(d);
	return n;
}

struct outcome {
	int calls;
	evutil_socket_t fd;
	enum msg_error err;
	char to[ADDRESS_TEXT_MAX];
};

static void
on_done(void *arg, evutil_socket_t fd, const struct sockaddr_storage *to, enum msg_error err,
    const char *why)
{
	struct outcome *o = arg;
	struct sockaddr_storage peer;
	socklen_t len = sizeof(peer);

	o->calls++;
	o->fd = fd;
	o->err = err;
	ck_assert_int_eq(fd >= 0, err == ERR_NONE);
	ck_assert_int_eq(to != NULL, fd >= 0);
	ck_assert_int_eq(why != NULL, fd < 0);
	if (fd >= 0) {
		ck_assert_int_eq(getpeername(fd, (struct sockaddr *)&peer, &len), 0);
		ck_assert(address_equal(&peer, to));
		address_text(o->to, to, 0);
	}
	event_base_loopbreak(base);
}

static struct reach *
start(struct outcome *o, const char *host, uint16_t p)
{
	struct reach *r;

	*o = (struct outcome){ .fd = -1 };
	r = reach_start(&env, host, p, on_done, o);
	ck_assert_msg(o->calls == 0, "called back from inside reach_start");
	return r;
}

/* to: the address reached, or NULL for an error. */
static void
expect_at(const char *host, uint16_t p, const char *to, enum msg_error err)
{
	struct outcome o;
	int before = open_files();

	start(&o, host, p);
	event_base_dispatch(base);
	ck_assert_int_eq(o.calls, 1);
	ck_assert_msg(o.err == err, "%s: %s, not %s", host, msg_error_name(o.err), msg_error_name(err));
	if (to != NULL)
		ck_assert_str_eq(o.to, to);
	if (o.fd >= 0)
		close(o.fd);
	/* Who lost the race is gone; evdns keeps its socket. */
	event_base_loop(base, EVLOOP_NONBLOCK);
	ck_assert_int_le(open_files(), before + 1);
}

static void
expect(const char *host, const char *to, enum msg_error err)
{
	expect_at(host, port, to, err);
}

START_TEST(test_reached)
{
	begin(true);
	expect("works.example", "127.0.0.3:0", ERR_NONE);
	expect("127.0.0.3", "127.0.0.3:0", ERR_NONE);
	expect("::ffff:127.0.0.3", "127.0.0.3:0", ERR_NONE);
	expect("second.example", "127.0.0.3:0", ERR_NONE);
	expect("other-family.example", "127.0.0.3:0", ERR_NONE);
	expect("slow.example", "127.0.0.3:0", ERR_NONE);
	expect("late.example", "127.0.0.3:0", ERR_NONE);
	expect("mixed.example", "127.0.0.3:0", ERR_NONE);
	finish();
}
END_TEST

START_TEST(test_failed)
{
	begin(true);
	expect("refused.example", NULL, ERR_TARGET_REFUSED);
	expect("nowhere.example", NULL, ERR_DNS_FAILED);
	expect("private.example", NULL, ERR_TARGET_REFUSED); /* 127.0.0.1 is listed here */
	finish();
}
END_TEST

static bool
nobody_came(void)
{
	int fd = accept(works, NULL, NULL);

	if (fd >= 0)
		close(fd);
	return fd < 0;
}

START_TEST(test_denied)
{
	begin(true);
	expect_at("works.example", (uint16_t)(port ^ 1), NULL, ERR_TARGET_DENIED);
	expect_at("works.example", 0, NULL, ERR_TARGET_DENIED);
	expect("", NULL, ERR_TARGET_DENIED);
	expect("127.3", NULL, ERR_TARGET_DENIED);
	expect("0x7f000003", NULL, ERR_TARGET_DENIED);
	ck_assert_uint_eq(dns.queries, 0); /* not even asked for */
	expect("127.0.0.9", NULL, ERR_TARGET_DENIED);
	expect("64:ff9b::127.0.0.3", NULL, ERR_TARGET_DENIED);
	expect("8.8.8.8", NULL, ERR_TARGET_DENIED);
	ck_assert(nobody_came());
	finish();
}
END_TEST

/* With the default list nothing here can be reached, whatever the name says. */
START_TEST(test_default_list)
{
	begin(false);
	expect("works.example", NULL, ERR_TARGET_DENIED);
	expect_at("works.example", 443, NULL, ERR_TARGET_DENIED);
	expect_at("private.example", 443, NULL, ERR_TARGET_DENIED);
	expect_at("127.0.0.3", 80, NULL, ERR_TARGET_DENIED);
	expect_at("::1", 443, NULL, ERR_TARGET_DENIED);
	ck_assert(nobody_came());
	finish();
}
END_TEST

/* Our own address in front of a NAT is not dialled; those of the interfaces are known. */
START_TEST(test_own)
{
	struct sockaddr_storage also;
	bool loopback = false;

	begin(false);
	address_parse(&also, "8.8.8.8", 443);
	env.also = &also;
	env.n_also = 1;
	expect_at("8.8.8.8", 443, NULL, ERR_TARGET_DENIED);
	expect_at("64:ff9b::8.8.8.8", 443, NULL, ERR_TARGET_DENIED);
	for (size_t i = 0; i < list.n_own; i++)
		loopback = loopback || address_is_loopback(&list.own[i]);
	ck_assert(list.n_own > 1 && loopback);
	finish();
}
END_TEST

START_TEST(test_cancel)
{
	struct outcome o[4];
	struct reach *r;
	int before;

	begin(true);
	expect("works.example", "127.0.0.3:0", ERR_NONE);
	before = open_files();
	reach_cancel(NULL);
	reach_cancel(start(&o[0], "slow-only.example", port));
	reach_cancel(start(&o[1], "works.example", (uint16_t)(port ^ 1)));
	/* While dials are out: a second one started when the first did not answer. */
	r = start(&o[2], "slow-only.example", port);
	start(&o[3], "slow.example", port);
	event_base_dispatch(base);
	ck_assert_str_eq(o[3].to, "127.0.0.3:0");
	close(o[3].fd);
	reach_cancel(r);
	event_base_loop(base, EVLOOP_NONBLOCK);
	for (int i = 0; i < 3; i++)
		ck_assert_int_eq(o[i].calls, 0);
	ck_assert_int_le(open_files(), before);
	finish();
}
END_TEST

START_TEST(test_errors)
{
	ck_assert_int_eq(reach_error(ECONNREFUSED), ERR_TARGET_REFUSED);
	ck_assert_int_eq(reach_error(ECONNRESET), ERR_TARGET_REFUSED);
	ck_assert_int_eq(reach_error(EHOSTUNREACH), ERR_TARGET_UNREACHABLE);
	ck_assert_int_eq(reach_error(ENETUNREACH), ERR_NETWORK_UNREACHABLE);
	ck_assert_int_eq(reach_error(ETIMEDOUT), ERR_TARGET_TIMEOUT);
	ck_assert_int_eq(reach_error(EPROTO), ERR_TARGET_FAILED);
}
END_TEST

TEST_MAIN("reach", test_reached, test_failed, test_denied, test_default_list, test_own, test_cancel,
    test_errors)
