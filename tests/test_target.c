#include <stdio.h>

#include "common/address.h"
#include "pt-server/reach.h"
#include "pt-server/target.h"
#include "tests/dns_server.h"

static const struct dns_row rows[] = {
	{ "target.example", 0, 0, "127.0.0.1", NULL, 300, 0, 0 },
	{ 0 },
};

static struct server srv;
static struct dns_server dns;
static struct access list;
static int listener;
static struct sockaddr_storage at;
static const struct sockaddr nobody = { .sa_family = AF_UNSPEC };

static void
begin(void)
{
	struct sockaddr_in any = { .sin_family = AF_INET, .sin_addr.s_addr = htonl(INADDR_LOOPBACK) };
	struct resolver_config c = { .hosts = "/nowhere", .n_servers = 1 };
	socklen_t len = sizeof(at);
	char text[16];
	struct access_rule *r;

	srv = (struct server){ .base = event_base_new() };
	dns_start(&dns, srv.base, rows);
	c.servers[0] = dns.at;
	listener = socket(AF_INET, SOCK_STREAM, 0);
	ck_assert_int_eq(bind(listener, (struct sockaddr *)&any, sizeof(any)), 0);
	ck_assert_int_eq(listen(listener, 8), 0);
	ck_assert_int_eq(getsockname(listener, (struct sockaddr *)&at, &len), 0);
	r = access_add(&list);
	snprintf(text, sizeof(text), "%u", address_port(&at));
	ck_assert(access_add_ports(r, text) && access_add_network(r, "127.0.0.1"));
	srv.reach = (struct reach_env){ .base = srv.base, .access = &list, .outbound = &srv.outbound,
		.resolver = resolver_new(srv.base, &c) };
}

static void
finish(void)
{
	resolver_free(srv.reach.resolver);
	event_base_loop(srv.base, EVLOOP_NONBLOCK);
	dns_stop(&dns);
	event_base_free(srv.base);
	access_clear(&list);
	close(listener);
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

	o->calls++;
	o->fd = fd;
	o->err = err;
	ck_assert_int_eq(why == NULL, err == ERR_NONE);
	if (to != NULL)
		address_text(o->to, to, address_port(to));
	event_base_loopbreak(srv.base);
}

static struct target *
start(struct outcome *o, const char *host, uint16_t port)
{
	struct target *t;

	*o = (struct outcome){ .fd = -1 };
	t = target_start(&srv, &nobody, host, port, on_done, o);
	ck_assert_msg(o->calls == 0, "called back from inside target_start");
	return t;
}

/* The connection arrives at the listener, and is the one that was handed out. */
static void
expect_connected(struct outcome *o)
{
	char byte = 0;
	int fd;

	ck_assert_int_eq(o->calls, 1);
	ck_assert_int_eq(o->err, ERR_NONE);
	fd = accept(listener, NULL, NULL);
	ck_assert_int_ge(fd, 0);
	ck_assert_int_eq(write(o->fd, "x", 1), 1);
	ck_assert_int_eq(read(fd, &byte, 1), 1);
	ck_assert_int_eq(byte, 'x');
	close(fd);
	close(o->fd);
}

static void
expect_error(const char *host, uint16_t port, enum msg_error err)
{
	struct outcome o;

	start(&o, host, port);
	event_base_dispatch(srv.base);
	ck_assert_int_eq(o.calls, 1);
	ck_assert_int_eq(o.fd, -1);
	ck_assert_int_eq(o.err, err);
}

START_TEST(test_orport)
{
	struct outcome o;

	begin();
	srv.orport = at;
	start(&o, "", 0);
	event_base_dispatch(srv.base);
	expect_connected(&o);
	ck_assert_str_eq(o.to, "");
	close(listener);
	expect_error("", 0, ERR_TARGET_REFUSED);
	finish();
}
END_TEST

START_TEST(test_relay)
{
	struct outcome o;
	char want[ADDRESS_TEXT_MAX];

	begin();
	start(&o, "target.example", address_port(&at));
	event_base_dispatch(srv.base);
	expect_connected(&o);
	address_text(want, &at, address_port(&at));
	ck_assert_str_eq(o.to, want);
	expect_error("target.example", 443, ERR_TARGET_DENIED);
	expect_error("nowhere.example", address_port(&at), ERR_DNS_FAILED);
	finish();
}
END_TEST

START_TEST(test_cancel)
{
	struct outcome o[3];

	begin();
	target_cancel(NULL);
	target_cancel(start(&o[0], "", 0));
	target_cancel(start(&o[1], "target.example", address_port(&at)));
	srv.orport = at;
	target_cancel(start(&o[2], "", 0));
	expect_error("nowhere.example", address_port(&at), ERR_DNS_FAILED);
	for (int i = 0; i < 3; i++)
		ck_assert_int_eq(o[i].calls, 0);
	finish();
}
END_TEST

TEST_MAIN("target", test_orport, test_relay, test_cancel)
