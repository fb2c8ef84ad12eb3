#include <arpa/inet.h>
#include <errno.h>
#include <fcntl.h>
#include <netinet/in.h>
#include <poll.h>
#include <stdbool.h>
#include <stdio.h>
#include <sys/socket.h>
#include <unistd.h>
#include <wolfssl/options.h>
#include <wolfssl/wolfcrypt/hmac.h>

#include "pt-server/ext_orport.h"
#include "tests/harness.h"

#define B(s) (s), sizeof(s) - 1
#define HEADER "! Extended ORPort Auth Cookie !\n"

/* `orport` is the other end of a socket pair. */

struct fixture {
	struct event_base *base;
	char file[64];
	int orport;
	bool started;
	int calls;
	evutil_socket_t fd;
	char error[128];
};

static void
on_done(void *arg, evutil_socket_t fd, const char *error)
{
	struct fixture *f = arg;

	ck_assert_msg(f->started, "called back from inside ext_orport_start");
	ck_assert_int_eq(fd >= 0, error == NULL);
	f->calls++;
	f->fd = fd;
	snprintf(f->error, sizeof(f->error), "%s", error != NULL ? error : "");
	event_base_loopbreak(f->base);
}

static void
write_file(const char *name, const void *p, size_t n)
{
	FILE *f = fopen(name, "wb");

	ck_assert_ptr_nonnull(f);
	ck_assert_uint_eq(fwrite(p, 1, n, f), n);
	ck_assert_int_eq(fclose(f), 0);
}

static void
write_cookie(const struct fixture *f, uint8_t fill)
{
	uint8_t file[64] = HEADER;

	memset(file + 32, fill, 32);
	write_file(f->file, file, sizeof(file));
}

static void
setup(struct fixture *f)
{
	int fd;

	*f = (struct fixture){ .base = event_base_new(), .fd = -1, .orport = -1 };
	snprintf(f->file, sizeof(f->file), "/tmp/test_ext_orport.XXXXXX");
	ck_assert_int_ge(fd = mkstemp(f->file), 0);
	close(fd);
}

static void
teardown(struct fixture *f)
{
	unlink(f->file);
	event_base_free(f->base);
}

static struct ext_orport *
start(struct fixture *f)
{
	struct sockaddr_in from = { .sin_family = AF_INET, .sin_port = htons(5678),
		.sin_addr.s_addr = htonl(0x01020304) };
	struct ext_orport *e;
	int pair[2];

	f->calls = 0;
	f->started = false;
	ck_assert_int_eq(socketpair(AF_UNIX, SOCK_STREAM, 0, pair), 0);
	ck_assert_int_eq(fcntl(pair[0], F_SETFL, O_NONBLOCK), 0);
	f->orport = pair[1];
	e = ext_orport_start(f->base, pair[0], f->file, (struct sockaddr *)&from, "sultry", on_done,
	    f);
	f->started = true;
	return e;
}

static void
wait_done(struct fixture *f)
{
	event_base_dispatch(f->base);
	ck_assert_int_eq(f->calls, 1);
}

static bool
orport_sees_end(const struct fixture *f)
{
	struct pollfd p = { .fd = f->orport, .events = POLLIN };
	char c[256];
	ssize_t n;

	do {
		ck_assert_int_eq(poll(&p, 1, 30000), 1);
	} while ((n = recv(f->orport, c, sizeof(c), 0)) > 0);
	return n == 0 || errno == ECONNRESET;
}

static void
hash(uint8_t out[32], uint8_t fill, const char *label, const uint8_t *cnonce, const uint8_t *snonce)
{
	uint8_t key[32], msg[256];
	size_t n = strlen(label);
	Hmac h;

	memset(key, fill, sizeof(key));
	memcpy(msg, label, n);
	memcpy(msg + n, cnonce, 32);
	memcpy(msg + n + 32, snonce, 32);
	ck_assert_int_eq(wc_HmacInit(&h, NULL, INVALID_DEVID), 0);
	ck_assert_int_eq(wc_HmacSetKey(&h, WC_SHA256, key, sizeof(key)), 0);
	ck_assert_int_eq(wc_HmacUpdate(&h, msg, (word32)n + 64), 0);
	ck_assert_int_eq(wc_HmacFinal(&h, out), 0);
	wc_HmacFree(&h);
}

/* Runs the loop until n bytes have come to the ORPort. */
static void
orport_hears(struct fixture *f, uint8_t *out, size_t n)
{
	for (size_t got = 0; got < n;) {
		ssize_t r;

		event_base_loop(f->base, EVLOOP_ONCE | EVLOOP_NONBLOCK);
		ck_assert_int_eq(f->calls, 0);
		r = recv(f->orport, out + got, n - got, MSG_DONTWAIT);
		ck_assert(r > 0 || (r < 0 && errno == EAGAIN));
		if (r > 0)
			got += (size_t)r;
	}
}

static void
orport_says(struct fixture *f, const void *p, size_t n)
{
	ck_assert_int_eq(send(f->orport, p, n, 0), (ssize_t)n);
}

/* As tor does it, with the cookie that is filled with `fill`; stops before OKAY. */
static void
authenticate(struct fixture *f, uint8_t fill)
{
	static const char commands[] = "\0\1\0\x0c" "1.2.3.4:5678" "\0\2\0\6sultry\0\0\0";
	uint8_t hello[33], reply[64], heard[64], want[32];

	orport_says(f, B("\1\0"));
	orport_hears(f, hello, sizeof(hello));
	ck_assert_uint_eq(hello[0], 1);
	memset(reply + 32, 0x5a, 32);
	hash(reply, fill, "ExtORPort authentication server-to-client hash", hello + 1, reply + 32);
	hash(want, fill, "ExtORPort authentication client-to-server hash", hello + 1, reply + 32);
	orport_says(f, reply, sizeof(reply));
	orport_hears(f, heard, 32);
	ck_assert(memcmp(heard, want, 32) == 0);
	orport_says(f, B("\1"));
	orport_hears(f, heard, sizeof(commands));
	ck_assert(memcmp(heard, commands, sizeof(commands)) == 0);
}

/* Each connection reads the file again; what comes behind OKAY stays in the socket. */
START_TEST(good_with_a_new_cookie_each_time)
{
	struct fixture f;
	char got[32];

	setup(&f);
	for (uint8_t fill = 1; fill < 4; fill++) {
		write_cookie(&f, fill);
		start(&f);
		authenticate(&f, fill);
		orport_says(&f, B("\xab\xcd\0\3xyz\x10\0\0\0payload"));
		wait_done(&f);
		ck_assert_str_eq(f.error, "");
		ck_assert_int_eq(recv(f.fd, got, sizeof(got), 0), 7);
		ck_assert(memcmp(got, "payload", 7) == 0);
		close(f.fd);
		close(f.orport);
	}
	teardown(&f);
}
END_TEST

static void
expect_error(struct fixture *f, const char *word)
{
	wait_done(f);
	ck_assert_msg(strstr(f->error, word) != NULL, "%s", f->error);
	ck_assert(orport_sees_end(f));
	close(f->orport);
}

START_TEST(stale_cookie)
{
	struct fixture f;
	uint8_t hello[33];

	setup(&f);
	write_cookie(&f, 7);
	start(&f);
	orport_says(&f, B("\1\0"));
	orport_hears(&f, hello, sizeof(hello));
	orport_says(&f, (uint8_t[64]){ 0 }, 64);
	expect_error(&f, "stale");
	teardown(&f);
}
END_TEST

START_TEST(bad_cookie_file)
{
	struct fixture f;
	uint8_t file[65] = HEADER;

	setup(&f);
	write_file(f.file, file, 63);
	start(&f);
	expect_error(&f, "holds no cookie");
	write_file(f.file, file, 65);
	start(&f);
	expect_error(&f, "holds no cookie");
	file[3]++;
	write_file(f.file, file, 64);
	start(&f);
	expect_error(&f, "holds no cookie");
	unlink(f.file);
	start(&f);
	expect_error(&f, "cannot be opened");
	teardown(&f);
}
END_TEST

START_TEST(orport_denies_or_hangs_up)
{
	struct fixture f;

	setup(&f);
	write_cookie(&f, 1);
	start(&f);
	authenticate(&f, 1);
	orport_says(&f, B("\x10\1\0\0"));
	expect_error(&f, "denied");
	start(&f);
	ck_assert_int_eq(shutdown(f.orport, SHUT_WR), 0);
	expect_error(&f, "hung up");
	teardown(&f);
}
END_TEST

START_TEST(silent_orport_times_out)
{
	struct fixture f;

	setup(&f);
	write_cookie(&f, 1);
	start(&f);
	orport_says(&f, B("\1"));
	expect_error(&f, "in time");
	teardown(&f);
}
END_TEST

/* 0: at once; 1: after the hello; 2: when only OKAY is missing. */
START_TEST(cancel_at_every_stage)
{
	struct fixture f;
	uint8_t hello[33];

	setup(&f);
	write_cookie(&f, 1);
	for (int stage = 0; stage < 3; stage++) {
		struct ext_orport *e = start(&f);

		if (stage == 1) {
			orport_says(&f, B("\1\0"));
			orport_hears(&f, hello, sizeof(hello));
		} else if (stage == 2) {
			authenticate(&f, 1);
		}
		ext_orport_cancel(e);
		ck_assert(orport_sees_end(&f));
		event_base_dispatch(f.base); /* nothing is left to wait for */
		ck_assert_int_eq(f.calls, 0);
		close(f.orport);
	}
	unlink(f.file);
	ext_orport_cancel(start(&f)); /* one that has failed already */
	event_base_dispatch(f.base);
	ck_assert_int_eq(f.calls, 0);
	close(f.orport);
	ext_orport_cancel(NULL);
	teardown(&f);
}
END_TEST

TEST_MAIN("ext_orport", good_with_a_new_cookie_each_time, stale_cookie, bad_cookie_file,
    orport_denies_or_hangs_up, silent_orport_times_out, cancel_at_every_stage)
