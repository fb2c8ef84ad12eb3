#include <arpa/inet.h>
#include <errno.h>
#include <fcntl.h>
#include <net/if.h>
#include <netinet/tcp.h>
#include <poll.h>
#include <pthread.h>
#include <sched.h>
#include <stdio.h>
#include <sys/ioctl.h>
#include <sys/un.h>
#include <unistd.h>

#include "common/address.h"
#include "common/mem.h"
#include "common/net/dial.h"
#include "tests/harness.h"

#define COUNT(a) (sizeof(a) / sizeof((a)[0]))
#define B(s) (s), sizeof(s) - 1
#define PAYLOAD "first words of a fast server"
#define LONG_MS 60000 /* never reached where things work */

/* What a dial came to. */

struct outcome {
	struct event_base *base;
	bool started; /* dial_start has returned */
	int calls;
	evutil_socket_t fd;
	int err;
};

static void
on_done(void *arg, evutil_socket_t fd, int err)
{
	struct outcome *out = arg;

	ck_assert_msg(out->started, "called back from inside dial_start");
	out->calls++;
	out->fd = fd;
	out->err = err;
	event_base_loopbreak(out->base);
}

static struct dial *
start(struct outcome *out, const struct outbound *o, const struct sockaddr_storage *to,
    unsigned timeout_ms)
{
	struct dial *d;

	*out = (struct outcome){ .base = event_base_new(), .fd = -1 };
	d = dial_start(out->base, o, (const struct sockaddr *)to, sizeof(*to), timeout_ms, on_done,
	    out);
	out->started = true;
	return d;
}

static void
dial_and_wait(struct outcome *out, const struct outbound *o, const struct sockaddr_storage *to,
    unsigned timeout_ms)
{
	start(out, o, to, timeout_ms);
	event_base_dispatch(out->base);
	ck_assert_int_eq(out->calls, 1);
	ck_assert_int_eq(out->fd >= 0, out->err == 0);
	event_base_free(out->base);
}

static void
expect_failure(const struct outbound *o, const struct sockaddr_storage *to, unsigned timeout_ms,
    int err)
{
	struct outcome out;

	dial_and_wait(&out, o, to, timeout_ms);
	ck_assert_msg(out.err == err, "%s, not %s", strerror(out.err), strerror(err));
}

/* Addresses and listeners. */

static struct sockaddr_storage
address(const char *ip, uint16_t port)
{
	struct sockaddr_storage ss = { .ss_family = AF_INET };
	struct sockaddr_in *v4 = (struct sockaddr_in *)&ss;
	struct sockaddr_in6 *v6 = (struct sockaddr_in6 *)&ss;

	if (inet_pton(AF_INET, ip, &v4->sin_addr) == 1) {
		v4->sin_port = htons(port);
	} else {
		ss.ss_family = AF_INET6;
		ck_assert_int_eq(inet_pton(AF_INET6, ip, &v6->sin6_addr), 1);
		v6->sin6_port = htons(port);
	}
	return ss;
}

/* Binds a port that the kernel chooses; backlog < 0: does not listen on it. */
static int
bound_socket(const char *ip, int backlog, struct sockaddr_storage *at)
{
	struct sockaddr_storage any = address(ip, 0);
	socklen_t len = sizeof(*at);
	int fd = socket(any.ss_family, SOCK_STREAM, 0);

	ck_assert_int_ge(fd, 0);
	ck_assert_msg(bind(fd, (struct sockaddr *)&any, any.ss_family == AF_INET
	    ? sizeof(struct sockaddr_in) : sizeof(struct sockaddr_in6)) == 0, "%s: %s", ip, strerror(errno));
	if (backlog >= 0)
		ck_assert_int_eq(listen(fd, backlog), 0);
	memset(at, 0, sizeof(*at));
	ck_assert_int_eq(getsockname(fd, (struct sockaddr *)at, &len), 0);
	return fd;
}

/* A peer that plays its lines: reads what it expects, says what it has to say. */

struct line {
	const char *hear;
	size_t hear_n;
	const char *say;
	size_t say_n;
};

struct peer {
	const struct line *lines;
	size_t n;
	size_t split;  /* bytes of the last line that are said apart from the rest */
	bool hang_up;  /* after the last line; else it reads until the other side does */
	int listener;
	int told;      /* a byte is written to it when all lines are said; or -1 */
	pthread_t thread;
	char rest[512]; /* what was read after the last line */
	size_t rest_n;
};

static void
say(int fd, const char *p, size_t n)
{
	while (n > 0) {
		ssize_t r = send(fd, p, n, MSG_NOSIGNAL);

		if (r < 0) /* the dialler may have heard enough */
			return;
		p += r;
		n -= (size_t)r;
	}
}

static void
play(struct peer *p, int fd)
{
	for (size_t i = 0; i < p->n; i++) {
		const struct line *l = &p->lines[i];
		char heard[1024];
		size_t split = i + 1 == p->n ? p->split : 0;

		ck_assert_uint_le(l->hear_n, sizeof(heard));
		if (l->hear_n > 0) {
			ck_assert_int_eq(recv(fd, heard, l->hear_n, MSG_WAITALL), (ssize_t)l->hear_n);
			ck_assert(memcmp(heard, l->hear, l->hear_n) == 0);
		}
		say(fd, l->say, split);
		if (split > 0)
			usleep(300); /* only to make two segments likely */
		say(fd, l->say + split, l->say_n - split);
	}
}

static void *
peer_main(void *arg)
{
	struct peer *p = arg;
	int fd = accept(p->listener, NULL, NULL);
	ssize_t r;

	ck_assert_int_ge(fd, 0);
	setsockopt(fd, IPPROTO_TCP, TCP_NODELAY, &(int){ 1 }, sizeof(int));
	play(p, fd);
	if (p->told >= 0)
		ck_assert_int_eq(write(p->told, "x", 1), 1);
	while (!p->hang_up && p->rest_n < sizeof(p->rest) &&
	       (r = recv(fd, p->rest + p->rest_n, sizeof(p->rest) - p->rest_n, 0)) > 0)
		p->rest_n += (size_t)r;
	/* The dialler has closed: a reset ends its wait, which would keep a port for a minute. */
	if (!p->hang_up)
		setsockopt(fd, SOL_SOCKET, SO_LINGER, &(struct linger){ 1, 0 }, sizeof(struct linger));
	close(fd);
	return NULL;
}

static void
peer_start(struct peer *p)
{
	ck_assert_int_eq(pthread_create(&p->thread, NULL, peer_main, p), 0);
}

static void
peer_join(struct peer *p)
{
	ck_assert_int_eq(pthread_join(p->thread, NULL), 0);
}

/* The proxies; the last line ends in the target's first bytes, glued to the proxy's own. */

#define REQUEST4 "\5\1\0\1\xc0\0\2\1\1\xbb"
#define CONNECT4 "CONNECT 192.0.2.1:443 HTTP/1.1\r\nHost: 192.0.2.1:443\r\n"
#define BASIC "Proxy-Authorization: Basic bWU6c2VjcmV0\r\n"
#define HTTP_OK "HTTP/1.1 200 Connection established\r\nVia: x\r\n\r\n"

static const struct line socks5_lines[] = {
	{ B("\5\1\0"), B("\5\0") },
	{ B(REQUEST4), B("\5\0\0\1\1\2\3\4\5\6" PAYLOAD) },
};
static const struct line socks5_auth_lines[] = {
	{ B("\5\2\0\2"), B("\5\2") },
	{ B("\1\2me\6secret"), B("\1\0") },
	{ B(REQUEST4), B("\5\0\0\3\4host\5\6" PAYLOAD) },
};
static const struct line socks4_lines[] = {
	{ B("\4\1\1\xbb\xc0\0\2\1me\0"), B("\0\x5a" "abcdef" PAYLOAD) },
};
static const struct line http_lines[] = { { B(CONNECT4 "\r\n"), B(HTTP_OK PAYLOAD) } };
static const struct line http_auth_lines[] = { { B(CONNECT4 BASIC "\r\n"), B(HTTP_OK PAYLOAD) } };

static char me[] = "me", secret[] = "secret";

static const struct proxy_case {
	enum proxy_kind kind;
	char *user, *pass;
	const struct line *lines;
	size_t n;
} proxies[] = {
	{ PROXY_SOCKS5, NULL, NULL, socks5_lines, COUNT(socks5_lines) },
	{ PROXY_SOCKS5, me, secret, socks5_auth_lines, COUNT(socks5_auth_lines) },
	{ PROXY_SOCKS4, me, NULL, socks4_lines, COUNT(socks4_lines) },
	{ PROXY_SOCKS4A, me, NULL, socks4_lines, COUNT(socks4_lines) },
	{ PROXY_HTTP, NULL, NULL, http_lines, COUNT(http_lines) },
	{ PROXY_HTTP, me, secret, http_auth_lines, COUNT(http_auth_lines) },
};

static struct outbound
through(const struct proxy_case *c, const struct sockaddr_storage *at)
{
	return (struct outbound){ .proxy = c->kind, .proxy_addr = *at, .user = c->user,
		.pass = c->pass };
}

/* The socket must be as promised, and the target's first bytes must still be in it. */
static void
check_connection(int fd, const char *first)
{
	socklen_t len = sizeof(int);
	char got[64];
	size_t n = 0;
	int nodelay = 0;

	ck_assert(fcntl(fd, F_GETFL) & O_NONBLOCK);
	ck_assert(fcntl(fd, F_GETFD) & FD_CLOEXEC);
	ck_assert_int_eq(getsockopt(fd, IPPROTO_TCP, TCP_NODELAY, &nodelay, &len), 0);
	ck_assert_int_ne(nodelay, 0);
	while (n < strlen(first)) {
		struct pollfd p = { .fd = fd, .events = POLLIN };
		ssize_t r;

		ck_assert_int_eq(poll(&p, 1, LONG_MS), 1);
		r = recv(fd, got + n, sizeof(got) - n, 0);
		ck_assert_int_gt(r, 0);
		n += (size_t)r;
	}
	ck_assert_uint_eq(n, strlen(first));
	ck_assert(memcmp(got, first, n) == 0);
	ck_assert_int_eq(send(fd, "hello", 5, 0), 5);
}

static void
check_proxy(const struct proxy_case *c, size_t split, int listener,
    const struct sockaddr_storage *at)
{
	struct peer p = { .lines = c->lines, .n = c->n, .split = split, .told = -1,
		.listener = listener };
	struct sockaddr_storage to = address("192.0.2.1", 443);
	struct outbound o = through(c, at);
	struct outcome out;

	peer_start(&p);
	dial_and_wait(&out, &o, &to, LONG_MS);
	ck_assert_int_eq(out.err, 0);
	check_connection(out.fd, PAYLOAD);
	close(out.fd);
	peer_join(&p);
	ck_assert_uint_eq(p.rest_n, 5);
	ck_assert(memcmp(p.rest, "hello", 5) == 0);
}

/* Tests */

START_TEST(straight)
{
	static const struct line lines[] = { { NULL, 0, B(PAYLOAD) } };
	static const char *const forms[] = { "127.0.0.1", "::ffff:127.0.0.1" };
	struct sockaddr_storage at;
	int listener = bound_socket("127.0.0.1", 8, &at);

	for (size_t i = 0; i < COUNT(forms); i++) {
		struct peer p = { .lines = lines, .n = 1, .told = -1, .listener = listener };
		struct sockaddr_storage to = address(forms[i], address_port(&at));
		struct outcome out;

		peer_start(&p);
		dial_and_wait(&out, NULL, &to, LONG_MS);
		ck_assert_int_eq(out.err, 0);
		check_connection(out.fd, PAYLOAD);
		close(out.fd);
		peer_join(&p);
	}
	close(listener);
}
END_TEST

START_TEST(payload_behind_the_reply_arrives_intact)
{
	struct sockaddr_storage at;
	int listener = bound_socket("127.0.0.1", 8, &at);

	for (size_t i = 0; i < COUNT(proxies); i++)
		check_proxy(&proxies[i], 0, listener, &at);
	close(listener);
}
END_TEST

START_TEST(reply_split_at_each_byte)
{
	struct sockaddr_storage at;
	int listener = bound_socket("127.0.0.1", 8, &at);

	for (size_t i = 0; i < COUNT(proxies); i++) {
		const struct line *last = &proxies[i].lines[proxies[i].n - 1];

		for (size_t split = 1; split < last->say_n; split++)
			check_proxy(&proxies[i], split, listener, &at);
	}
	close(listener);
}
END_TEST

/* The proxy says its last line only up to byte k and then hangs up, or nonsense from there on. */
static int
spoiled_at(const struct proxy_case *c, size_t k, bool garble, int listener,
    const struct sockaddr_storage *at)
{
	size_t last = c->n - 1, n = c->lines[last].say_n - strlen(PAYLOAD);
	struct line lines[3];
	struct peer p = { .lines = lines, .n = c->n, .told = -1, .hang_up = true,
		.listener = listener };
	struct sockaddr_storage to = address("192.0.2.1", 443);
	struct outbound o = through(c, at);
	struct outcome out;
	char said[128];

	ck_assert_uint_le(n, sizeof(said));
	memcpy(said, c->lines[last].say, n);
	memset(said + k, 0xee, n - k);
	memcpy(lines, c->lines, c->n * sizeof(*lines));
	lines[last].say = said;
	lines[last].say_n = garble ? n : k;
	peer_start(&p);
	dial_and_wait(&out, &o, &to, LONG_MS);
	peer_join(&p);
	if (out.err == 0)
		close(out.fd);
	return out.err;
}

START_TEST(reply_cut_or_garbled_at_each_byte)
{
	struct sockaddr_storage at;
	int listener = bound_socket("127.0.0.1", 8, &at);

	for (size_t i = 0; i < COUNT(proxies); i++) {
		const struct proxy_case *c = &proxies[i];
		const struct line *last = &c->lines[c->n - 1];
		/* What decides: the first two bytes, or all up to the status code. */
		size_t verdict = c->kind == PROXY_HTTP ? strlen("HTTP/1.1 200") : 2;

		for (size_t k = 0; k < last->say_n - strlen(PAYLOAD); k++) {
			int err = spoiled_at(c, k, true, listener, &at);

			ck_assert_int_eq(spoiled_at(c, k, false, listener, &at), ECONNRESET);
			/* Behind it: nonsense, no end to be seen, or only skipped bytes. */
			ck_assert(err == EPROTO || (k >= verdict && (err == ECONNRESET || err == 0)));
		}
	}
	close(listener);
}
END_TEST

START_TEST(proxy_says_no)
{
	static const struct line refused[] = {
		{ B("\5\1\0"), B("\5\0") },
		{ B(REQUEST4), B("\5\5") },
	};
	static const struct line wrong_password[] = { { B("\5\2\0\2"), B("\5\2") },
		{ B("\1\2me\6secret"), B("\1\1") } };
	static const struct line forbidden[] = { { B(CONNECT4 "\r\n"), B("HTTP/1.1 407 Who?\r\n") } };
	static const struct {
		struct proxy_case c;
		int err;
	} cases[] = {
		{ { PROXY_SOCKS5, NULL, NULL, refused, 2 }, ECONNREFUSED },
		{ { PROXY_SOCKS5, me, secret, wrong_password, 2 }, EACCES },
		{ { PROXY_HTTP, NULL, NULL, forbidden, 1 }, EACCES },
	};
	struct sockaddr_storage at, to = address("192.0.2.1", 443);
	int listener = bound_socket("127.0.0.1", 8, &at);

	for (size_t i = 0; i < COUNT(cases); i++) {
		struct peer p = { .lines = cases[i].c.lines, .n = cases[i].c.n, .told = -1,
			.listener = listener };
		struct outbound o = through(&cases[i].c, &at);

		peer_start(&p);
		expect_failure(&o, &to, LONG_MS, cases[i].err);
		peer_join(&p);
		ck_assert_uint_eq(p.rest_n, 0);
	}
	close(listener);
}
END_TEST

START_TEST(refused)
{
	struct sockaddr_storage at, to = address("192.0.2.1", 443);
	int fd = bound_socket("127.0.0.1", -1, &at);
	struct outbound o = { .proxy = PROXY_SOCKS5, .proxy_addr = at };

	expect_failure(NULL, &at, LONG_MS, ECONNREFUSED);
	expect_failure(&o, &to, LONG_MS, ECONNREFUSED);
	close(fd);
}
END_TEST

/* A listener whose queue is full answers no SYN. */
START_TEST(no_answer_times_out)
{
	struct sockaddr_storage at;
	int listener = bound_socket("127.0.0.1", 0, &at);
	int filler[4];

	for (size_t i = 0; i < COUNT(filler); i++) {
		filler[i] = socket(AF_INET, SOCK_STREAM | SOCK_NONBLOCK, 0);
		connect(filler[i], (struct sockaddr *)&at, sizeof(struct sockaddr_in));
	}
	expect_failure(NULL, &at, 50, ETIMEDOUT);
	for (size_t i = 0; i < COUNT(filler); i++)
		close(filler[i]);
	close(listener);
}
END_TEST

START_TEST(silent_proxy_times_out)
{
	struct sockaddr_storage at, to = address("192.0.2.1", 443);
	int listener = bound_socket("127.0.0.1", 8, &at);

	for (size_t i = 0; i < COUNT(proxies); i++) {
		struct peer p = { .n = 0, .told = -1, .listener = listener };
		struct outbound o = through(&proxies[i], &at);

		peer_start(&p);
		expect_failure(&o, &to, 50, ETIMEDOUT);
		peer_join(&p);
	}
	close(listener);
}
END_TEST

START_TEST(what_cannot_be_dialled)
{
	struct sockaddr_storage v6 = address("2001:db8::1", 443), un = { .ss_family = AF_UNIX };
	struct sockaddr_storage v4 = address("192.0.2.1", 443), at;
	int fd = bound_socket("127.0.0.1", 1, &at);
	struct outbound socks4 = { .proxy = PROXY_SOCKS4A, .proxy_addr = at };
	struct outbound nowhere = { .proxy = PROXY_SOCKS5 };
	struct pollfd p = { .fd = fd, .events = POLLIN };

	expect_failure(NULL, &un, LONG_MS, EAFNOSUPPORT);
	expect_failure(&socks4, &v6, LONG_MS, EAFNOSUPPORT);
	expect_failure(&nowhere, &v4, LONG_MS, EAFNOSUPPORT);
	socks4.pass = secret;
	expect_failure(&socks4, &v4, LONG_MS, EINVAL);
	/* The proxy was not troubled with any of it. */
	ck_assert_int_eq(poll(&p, 1, 0), 0);
	close(fd);
}
END_TEST

static void
on_told(evutil_socket_t fd, short what, void *arg)
{
	(void)fd;
	(void)what;
	event_base_loopbreak(arg);
}

/* Cancels when the peer has played `lines` whole lines of a proxy that then stops. */
static void
cancel_after(const struct proxy_case *c, size_t lines)
{
	struct line last[3];
	struct sockaddr_storage at, to = address("192.0.2.1", 443);
	int listener = bound_socket("127.0.0.1", 8, &at);
	struct peer p = { .lines = last, .n = lines, .listener = listener };
	struct outbound o = through(c, &at);
	struct outcome out;
	struct event *told;
	struct dial *d;
	int ends[2];

	memcpy(last, c->lines, c->n * sizeof(*last));
	last[c->n - 1].say_n = 1;
	ck_assert_int_eq(pipe(ends), 0);
	p.told = ends[1];
	peer_start(&p);
	d = start(&out, &o, &to, LONG_MS);
	told = event_new(out.base, ends[0], EV_READ, on_told, out.base);
	event_add(told, NULL);
	event_base_dispatch(out.base);
	ck_assert_int_eq(out.calls, 0);
	dial_cancel(d);
	peer_join(&p); /* ends only when its connection has been closed */
	event_free(told);
	event_base_loop(out.base, EVLOOP_NONBLOCK);
	ck_assert_int_eq(out.calls, 0);
	event_base_free(out.base);
	close(ends[0]);
	close(ends[1]);
	close(listener);
}

START_TEST(cancel_at_every_stage)
{
	for (size_t i = 0; i < COUNT(proxies); i++)
		for (size_t lines = 0; lines <= proxies[i].n; lines++)
			cancel_after(&proxies[i], lines);
}
END_TEST

START_TEST(cancel_at_once)
{
	struct sockaddr_storage un = { .ss_family = AF_UNIX }, at;
	int fd = bound_socket("127.0.0.1", 1, &at);
	const struct sockaddr_storage *targets[] = { &un, &at };

	for (size_t i = 0; i < COUNT(targets); i++) {
		struct outcome out;

		dial_cancel(start(&out, NULL, targets[i], LONG_MS));
		event_base_dispatch(out.base); /* nothing is left to wait for */
		ck_assert_int_eq(out.calls, 0);
		event_base_free(out.base);
	}
	dial_cancel(NULL);
	close(fd);
}
END_TEST

static bool
can_bind(const struct sockaddr_in6 *v6)
{
	int fd = socket(AF_INET6, SOCK_DGRAM, 0);
	bool ok = bind(fd, (const struct sockaddr *)v6, sizeof(*v6)) == 0;

	close(fd);
	return ok;
}

/* In a network of its own, where 10.0.0.0/8 and fd00::1, fd00::2 are this machine's. */
static bool
own_network(bool *has_v6)
{
	struct ifreq ifr = { .ifr_name = "lo" };
	struct { struct in6_addr addr; uint32_t prefix; int index; } ifr6 = { .prefix = 128 };
	struct sockaddr_in6 v6 = { .sin6_family = AF_INET6 };
	struct sockaddr_storage v4 = address("10.0.0.1", 0);
	int s4, s6;

	if (unshare(CLONE_NEWNET) != 0 && unshare(CLONE_NEWUSER | CLONE_NEWNET) != 0)
		return false;
	s4 = socket(AF_INET, SOCK_DGRAM, 0);
	ifr.ifr_flags = IFF_UP | IFF_LOOPBACK | IFF_RUNNING;
	ck_assert_int_eq(ioctl(s4, SIOCSIFFLAGS, &ifr), 0);
	memcpy(ifr.ifr_name, "lo:1", 5);
	memcpy(&ifr.ifr_addr, &v4, sizeof(ifr.ifr_addr));
	ck_assert_int_eq(ioctl(s4, SIOCSIFADDR, &ifr), 0);
	close(s4);
	s6 = socket(AF_INET6, SOCK_DGRAM, 0); /* IPv6 may be off altogether */
	*has_v6 = s6 >= 0;
	ifr6.index = (int)if_nametoindex("lo");
	for (int i = 1; i <= 2; i++) {
		ifr6.addr = (struct in6_addr){ .s6_addr = { 0xfd, [15] = (uint8_t)i } };
		*has_v6 = *has_v6 && ioctl(s6, SIOCSIFADDR, &ifr6) == 0;
		v6.sin6_addr = ifr6.addr;
		/* An address cannot be used at once, even where it cannot be a duplicate. */
		while (*has_v6 && !can_bind(&v6))
			usleep(1000);
	}
	if (s6 >= 0)
		close(s6);
	return true;
}

/* Dials the listener at ip (as the target, or as the proxy on the way) and checks where the
 * connection comes from. */
static void
check_source(const char *ip, const char *from4, const char *from6, bool proxy, const char *seen)
{
	struct sockaddr_storage at, to = address("192.0.2.1", 443), from = { 0 };
	struct sockaddr_storage want = address(seen, 0), b4 = address(from4, 0);
	struct sockaddr_storage b6 = address(from6, 0);
	struct outbound o = { .proxy = proxy ? PROXY_SOCKS5 : PROXY_NONE };
	char from_text[ADDRESS_TEXT_MAX], want_text[ADDRESS_TEXT_MAX];
	socklen_t len = sizeof(from);
	struct outcome out;
	struct dial *d;
	int fd, listener = bound_socket(ip, 1, &at);

	memcpy(&o.bind4, &b4, sizeof(o.bind4));
	memcpy(&o.bind6, &b6, sizeof(o.bind6));
	o.proxy_addr = at;
	d = start(&out, &o, proxy ? &to : &at, LONG_MS);
	fd = accept(listener, (struct sockaddr *)&from, &len);
	ck_assert_int_ge(fd, 0);
	address_text(from_text, &from, 0);
	address_text(want_text, &want, 0);
	ck_assert_str_eq(from_text, want_text);
	dial_cancel(d);
	event_base_free(out.base);
	close(fd);
	close(listener);
}

START_TEST(source_address)
{
	struct sockaddr_storage far = address("10.0.0.1", 9), b4 = address("203.0.113.9", 0);
	struct outbound o = { .proxy = PROXY_NONE };
	bool has_v6;

	if (!own_network(&has_v6)) {
		fprintf(stderr, "source_address: not run, no network namespaces here\n");
		return;
	}
	for (int proxy = 0; proxy < 2; proxy++) {
		check_source("10.0.0.1", "10.0.0.2", "fd00::2", proxy, "10.0.0.2");
		check_source("127.0.0.1", "10.0.0.2", "fd00::2", proxy, "127.0.0.1");
		if (has_v6) {
			check_source("fd00::1", "10.0.0.2", "fd00::2", proxy, "fd00::2");
			check_source("::1", "10.0.0.2", "fd00::2", proxy, "::1");
		}
	}
	/* An address that is not ours is never silently left out. */
	memcpy(&o.bind4, &b4, sizeof(o.bind4));
	expect_failure(&o, &far, LONG_MS, EADDRNOTAVAIL);
}
END_TEST

TEST_MAIN("dial", straight, payload_behind_the_reply_arrives_intact, reply_split_at_each_byte,
    reply_cut_or_garbled_at_each_byte, proxy_says_no, refused, no_answer_times_out,
    silent_proxy_times_out, what_cannot_be_dialled, cancel_at_every_stage, cancel_at_once,
    source_address)
