/* What tests of sockets share: connected pairs, an event loop that runs until something
 * has happened, bytes that tell their place. */
#ifndef SULTRY_TESTS_SOCKETS_H
#define SULTRY_TESTS_SOCKETS_H

#include <check.h>
#include <dirent.h>
#include <errno.h>
#include <event2/event.h>
#include <event2/util.h>
#include <net/if.h>
#include <netinet/in.h>
#include <sched.h>
#include <stdbool.h>
#include <stdint.h>
#include <string.h>
#include <sys/ioctl.h>
#include <sys/socket.h>
#include <time.h>
#include <unistd.h>

#define DEADLINE_MS 30000 /* ends a hung test; nothing is judged by it */

static inline uint64_t
clock_ms(void)
{
	struct timespec ts;

	clock_gettime(CLOCK_MONOTONIC, &ts);
	return (uint64_t)ts.tv_sec * 1000 + (uint64_t)ts.tv_nsec / 1000000;
}

/* Byte number i of any stream here. */
static inline uint8_t
pattern(uint64_t i)
{
	return (uint8_t)(i * 167 ^ i >> 8 ^ i >> 17);
}

static inline void
fill_pattern(uint8_t *p, uint64_t from, size_t n)
{
	for (size_t i = 0; i < n; i++)
		p[i] = pattern(from + i);
}

static inline void
check_pattern(const uint8_t *p, uint64_t from, size_t n)
{
	for (size_t i = 0; i < n; i++)
		if (p[i] != pattern(from + i)) /* an assertion a byte would be slow */
			ck_abort_msg("byte %llu is wrong", (unsigned long long)(from + i));
}

static inline evutil_socket_t
listen_tcp(struct sockaddr_storage *at)
{
	struct sockaddr_in in = { .sin_family = AF_INET, .sin_addr.s_addr = htonl(INADDR_LOOPBACK) };
	socklen_t len = sizeof(*at);
	evutil_socket_t fd = socket(AF_INET, SOCK_STREAM | SOCK_NONBLOCK | SOCK_CLOEXEC, 0);

	ck_assert_int_ge(fd, 0);
	ck_assert_int_eq(bind(fd, (struct sockaddr *)&in, sizeof(in)), 0);
	ck_assert_int_eq(listen(fd, 16), 0);
	memset(at, 0, sizeof(*at));
	ck_assert_int_eq(getsockname(fd, (struct sockaddr *)at, &len), 0);
	return fd;
}

/* Connected and non-blocking. */
static inline evutil_socket_t
connect_tcp(const struct sockaddr_storage *to)
{
	evutil_socket_t fd = socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0);

	ck_assert_int_ge(fd, 0);
	ck_assert_int_eq(connect(fd, (const struct sockaddr *)to, sizeof(struct sockaddr_in)), 0);
	evutil_make_socket_nonblocking(fd);
	return fd;
}

static inline void
pair_tcp(evutil_socket_t fd[2])
{
	struct sockaddr_storage at;
	evutil_socket_t listener = listen_tcp(&at);

	fd[0] = connect_tcp(&at);
	fd[1] = accept4(listener, NULL, NULL, SOCK_NONBLOCK | SOCK_CLOEXEC);
	ck_assert_int_ge(fd[1], 0);
	close(listener);
}

static inline void
pair_unix(evutil_socket_t fd[2])
{
	ck_assert_int_eq(socketpair(AF_UNIX, SOCK_STREAM | SOCK_NONBLOCK | SOCK_CLOEXEC, 0, fd), 0);
}

/* Closes with a RST. */
static inline void
reset_tcp(evutil_socket_t fd)
{
	setsockopt(fd, SOL_SOCKET, SO_LINGER, &(struct linger){ .l_onoff = 1 }, sizeof(struct linger));
	close(fd);
}

/* One turn of the loop. */
static inline void
turn(struct event_base *base)
{
	event_base_loop(base, EVLOOP_NONBLOCK);
	usleep(100);
}

/* Turns, for what must not happen. */
static inline void
settle(struct event_base *base)
{
	for (int i = 0; i < 20; i++)
		turn(base);
}

/* Turns the loop until `condition`. */
#define UNTIL(base, condition)                                              \
	do {                                                                \
		uint64_t until_end = clock_ms() + DEADLINE_MS;              \
		while (!(condition)) {                                      \
			ck_assert_msg(clock_ms() < until_end, "never: %s", #condition); \
			turn(base);                                         \
		}                                                           \
	} while (0)

/* Reads exactly n bytes, turning the loop. */
static inline void
read_exactly(struct event_base *base, evutil_socket_t fd, uint8_t *p, size_t n)
{
	uint64_t end = clock_ms() + DEADLINE_MS;

	for (size_t got = 0; got < n;) {
		ssize_t r = recv(fd, p + got, n - got, 0);

		if (r == 0 || (r < 0 && errno != EAGAIN))
			ck_abort_msg("after %zu of %zu bytes: %s", got, n,
			    r == 0 ? "end" : strerror(errno));
		if (r > 0)
			got += (size_t)r;
		else
			turn(base);
		if (clock_ms() > end)
			ck_abort_msg("%zu of %zu bytes came", got, n);
	}
}

/* Waits for the end of the stream, behind no further byte: 0, or ECONNRESET. */
static inline int
read_end(struct event_base *base, evutil_socket_t fd)
{
	uint64_t end = clock_ms() + DEADLINE_MS;
	uint8_t b;
	ssize_t n;

	while ((n = recv(fd, &b, 1, 0)) < 0 && errno == EAGAIN) {
		turn(base);
		ck_assert_msg(clock_ms() < end, "the stream does not end");
	}
	ck_assert_int_le(n, 0);
	return n == 0 ? 0 : errno;
}

/* Nothing is there to be read, and no end. */
static inline bool
is_silent(struct event_base *base, evutil_socket_t fd)
{
	uint8_t b;

	settle(base);
	return recv(fd, &b, 1, MSG_PEEK) < 0 && errno == EAGAIN;
}

static inline void
send_all(struct event_base *base, evutil_socket_t fd, const uint8_t *p, size_t n)
{
	uint64_t end = clock_ms() + DEADLINE_MS;

	for (size_t sent = 0; sent < n;) {
		ssize_t w = send(fd, p + sent, n - sent, MSG_NOSIGNAL);

		if ((w < 0 && errno != EAGAIN) || clock_ms() > end)
			ck_abort_msg("%zu of %zu bytes went", sent, n);
		if (w > 0)
			sent += (size_t)w;
		else
			turn(base);
	}
}

/* For the hooks of tests: how many of n bytes may pass, up to a full stop. */
static inline size_t
up_to_full_stop(const uint8_t *p, size_t n)
{
	const uint8_t *stop = memchr(p, '.', n);

	return stop == NULL ? n : (size_t)(stop - p) + 1;
}

/* A text is due behind each `every` bytes of a pattern that starts at `from`. */
struct texts {
	uint64_t from;
	size_t every, asked, due; /* the caller sets due to every */
};

/* How many of the next n bytes go ahead of the next text; all of them: it is not due yet. */
static inline size_t
texts_ahead(struct texts *t, const uint8_t *p, size_t n)
{
	size_t k = t->due - t->asked;

	check_pattern(p, t->from + t->asked, n);
	if (n <= k) {
		t->asked += n;
		return n;
	}
	t->asked = t->due;
	t->due += t->every;
	return k;
}

/* A network of our own, so that there is only our traffic on lo. False where this is not
 * allowed. */
static inline bool
own_loopback(void)
{
	struct ifreq lo = { .ifr_name = "lo", .ifr_flags = IFF_UP };
	int fd;

	if (unshare(CLONE_NEWNET) != 0 && unshare(CLONE_NEWUSER | CLONE_NEWNET) != 0)
		return false;
	fd = socket(AF_INET, SOCK_DGRAM, 0);
	ck_assert_int_eq(ioctl(fd, SIOCSIFFLAGS, &lo), 0);
	close(fd);
	return true;
}

static inline unsigned
open_descriptors(void)
{
	DIR *d = opendir("/proc/self/fd");
	unsigned n = 0;

	while (readdir(d) != NULL)
		n++;
	closedir(d);
	return n;
}

#endif
