/* What test_oob needs around a channel: the peer (oob_peer.py) as a process of its own, what
 * it has seen, a loop that ends, and a machine of its own (namespaces). */
#ifndef SULTRY_TESTS_OOB_FIXTURE_H
#define SULTRY_TESTS_OOB_FIXTURE_H

#include <arpa/inet.h>
#include <errno.h>
#include <event2/event.h>
#include <fcntl.h>
#include <net/if.h>
#include <sched.h>
#include <signal.h>
#include <stdio.h>
#include <sys/ioctl.h>
#include <sys/mount.h>
#include <sys/prctl.h>
#include <sys/wait.h>
#include <unistd.h>

#include "common/bytes.h"
#include "common/mem.h"
#include "pt-client/oob.h"
#include "tests/harness.h"

struct fixture {
	struct event_base *base;
	struct event *hung, *peer_event;
	struct outbound out;
	struct oob *oob;
	char dir[64];
	uint8_t pin[32];
	pid_t peer;
	int peer_fd;
	struct buffer seen; /* what the peer said */
	unsigned port, proxy, plain;
};

/* A reply as the callback saw it. Zeroed memory waits for one. */
struct answer {
	struct oob_request *req;
	int calls;
	enum oob_result result;
	int status;
	char *body;
	size_t len;
	char error[128];
	unsigned rtt_ms;
};

/* Takes cmd. */
static void
fx_run(char *cmd)
{
	ck_assert_msg(system(cmd) == 0, "%s", cmd);
	free(cmd);
}

static void
fx_write(const char *path, const char *text)
{
	FILE *f = fopen(path, "w");

	ck_assert_msg(f != NULL, "%s: %s", path, strerror(errno));
	ck_assert(fputs(text, f) >= 0 && fclose(f) == 0);
}

/* How often the peer said it, as far as the loop has read. */
static int
fx_seen(struct fixture *fx, const char *what)
{
	const char *p = (const char *)buffer_data(&fx->seen), *end = p + fx->seen.n;
	int n = 0;

	while (p < end && (p = memmem(p, (size_t)(end - p), what, strlen(what))) != NULL) {
		p += strlen(what);
		n++;
	}
	return n;
}

static void
fx_hung(evutil_socket_t fd, short what, void *arg)
{
	struct fixture *fx = arg;
	size_t n = fx->seen.n < 3000 ? fx->seen.n : 3000;

	(void)fd;
	(void)what;
	ck_abort_msg("hangs; the peer saw, at last:\n%.*s", (int)n,
	    buffer_data(&fx->seen) + fx->seen.n - n);
}

static void
fx_turn(struct fixture *fx)
{
	ck_assert_int_eq(event_base_loop(fx->base, EVLOOP_ONCE), 0);
}

/* Turns the loop until *n reaches `want`. */
static void
fx_until(struct fixture *fx, const int *n, int want)
{
	while (*n < want)
		fx_turn(fx);
}

static void
fx_until_seen(struct fixture *fx, const char *what, int n)
{
	while (fx_seen(fx, what) < n)
		fx_turn(fx);
}

static void
fx_count(evutil_socket_t fd, short what, void *arg)
{
	(void)fd;
	(void)what;
	++*(int *)arg;
}

static void
fx_sleep(struct fixture *fx, unsigned ms)
{
	struct timeval tv = { .tv_sec = ms / 1000, .tv_usec = ms % 1000 * 1000 };
	int n = 0;

	event_base_once(fx->base, -1, EV_TIMEOUT, fx_count, &n, &tv);
	fx_until(fx, &n, 1);
}

static void
fx_peer_said(evutil_socket_t fd, short what, void *arg)
{
	struct fixture *fx = arg;
	ssize_t n = read(fd, buffer_space(&fx->seen, 65536), 65536);

	(void)what;
	ck_assert_msg(n > 0, "the peer has gone");
	buffer_add(&fx->seen, NULL, (size_t)n);
}

static void
fx_start_peer(struct fixture *fx, const char *addresses)
{
	char *cmd = mem_printf("exec /usr/bin/env python3 tests/oob_peer.py %s 127.0.0.1 %s",
	    fx->dir, addresses);
	int fds[2];

	ck_assert_int_eq(pipe2(fds, O_CLOEXEC), 0);
	fx->peer = fork();
	if (fx->peer == 0) {
		prctl(PR_SET_PDEATHSIG, SIGKILL);
		dup2(fds[1], 1);
		execl("/bin/sh", "sh", "-c", cmd, (char *)NULL);
		_exit(127);
	}
	free(cmd);
	close(fds[1]);
	fx->peer_fd = fds[0];
	fx->peer_event = event_new(fx->base, fds[0], EV_READ | EV_PERSIST, fx_peer_said, fx);
	event_add(fx->peer_event, NULL);
	fx_until_seen(fx, "\n", 1);
	buffer_add(&fx->seen, "", 1); /* an end for sscanf */
	ck_assert_int_eq(sscanf((const char *)buffer_data(&fx->seen), "ports %u %u %u", &fx->port,
	    &fx->proxy, &fx->plain), 3);
}

/* Makes a certificate for bridge.example and front.example, and starts the peer on 127.0.0.1
 * and the other addresses. */
static void
fx_start(struct fixture *fx, const char *addresses)
{
	struct timeval hung = { .tv_sec = 90 };
	char path[96];
	FILE *f;

	*fx = (struct fixture){ .base = event_base_new() };
	fx->hung = evtimer_new(fx->base, fx_hung, fx);
	event_add(fx->hung, &hung);
	snprintf(fx->dir, sizeof(fx->dir), "/tmp/test-oob-XXXXXX");
	ck_assert(mkdtemp(fx->dir) != NULL);
	fx_run(mem_printf("openssl req -x509 -newkey ec -pkeyopt ec_paramgen_curve:prime256v1 -nodes -subj /CN=x "
	    "-addext subjectAltName=DNS:bridge.example,DNS:front.example -keyout %s/key.pem "
	    "-out %s/cert.pem 2>/dev/null", fx->dir, fx->dir));
	fx_run(mem_printf("openssl x509 -in %s/cert.pem -pubkey -noout | openssl pkey -pubin -outform der | "
	    "openssl dgst -sha256 -binary > %s/pin", fx->dir, fx->dir));
	snprintf(path, sizeof(path), "%s/pin", fx->dir);
	f = fopen(path, "r");
	ck_assert(f != NULL && fread(fx->pin, 1, sizeof(fx->pin), f) == sizeof(fx->pin));
	fclose(f);
	fx->oob = oob_new(fx->base, &fx->out);
	fx_start_peer(fx, addresses);
}

static void
fx_stop(struct fixture *fx)
{
	oob_free(fx->oob);
	kill(fx->peer, SIGKILL);
	waitpid(fx->peer, NULL, 0);
	event_free(fx->peer_event);
	event_free(fx->hung);
	close(fx->peer_fd);
	buffer_clear(&fx->seen);
	event_base_free(fx->base);
	fx_run(mem_printf("rm -r %s", fx->dir));
}

/* %u in the url stands for the peer's port. */
static struct oob_channel *
fx_channel_of(struct fixture *fx, struct oob_config cfg)
{
	const char *mark = strstr(cfg.url, "%u");
	char error[256] = "";
	char *url = mark == NULL ? mem_strdup(cfg.url) :
	    mem_printf("%.*s%u%s", (int)(mark - cfg.url), cfg.url, fx->port, mark + 2);
	struct oob_channel *ch;

	cfg.url = url;
	ch = oob_channel_new(fx->oob, &cfg, error);
	ck_assert_msg(ch != NULL, "%s", error);
	free(url);
	return ch;
}

static struct oob_channel *
fx_channel(struct fixture *fx)
{
	return fx_channel_of(fx, (struct oob_config){ .url = "https://bridge.example:%u/base",
	    .addr = "127.0.0.1", .pin = fx->pin });
}

static void
fx_done(void *arg, const struct oob_reply *reply)
{
	struct answer *a = arg;

	a->req = NULL;
	a->calls++;
	a->result = reply->result;
	a->status = reply->status;
	ck_assert(reply->body != NULL);
	ck_assert((reply->error == NULL) == (reply->result == OOB_OK));
	free(a->body);
	a->body = mem_printf("%.*s", (int)reply->len, reply->body);
	a->len = reply->len;
	a->rtt_ms = reply->rtt_ms;
	snprintf(a->error, sizeof(a->error), "%s", reply->error != NULL ? reply->error : "");
}

static void
fx_post_ms(struct oob_channel *ch, struct answer *a, const char *path, const char *body, unsigned ms)
{
	int calls = a->calls;

	a->req = oob_post(ch, path, mem_strdup(body), strlen(body), ms, fx_done, a);
	ck_assert_int_eq(a->calls, calls);
}

static void
fx_post(struct oob_channel *ch, struct answer *a, const char *path, const char *body)
{
	fx_post_ms(ch, a, path, body, 60000);
}

/* Posts and waits for the answer. */
static enum oob_result
fx_ask(struct fixture *fx, struct oob_channel *ch, struct answer *a, const char *path,
    const char *body)
{
	fx_post(ch, a, path, body);
	fx_until(fx, &a->calls, a->calls + 1);
	return a->result;
}

/* The same, over a channel of its own that stays open. */
static enum oob_result
fx_ask_of(struct fixture *fx, struct answer *a, struct oob_config cfg)
{
	return fx_ask(fx, fx_channel_of(fx, cfg), a, "/echo", "x");
}

static void
fx_lo_address(int fd, const char *name, const char *ip)
{
	struct ifreq ifr = { .ifr_flags = 0 };
	struct sockaddr_in sin = { .sin_family = AF_INET };

	inet_pton(AF_INET, ip, &sin.sin_addr);
	snprintf(ifr.ifr_name, sizeof(ifr.ifr_name), "%s", name);
	memcpy(&ifr.ifr_addr, &sin, sizeof(sin));
	ck_assert_int_eq(ioctl(fd, SIOCSIFADDR, &ifr), 0);
	ifr.ifr_flags = IFF_UP | IFF_RUNNING;
	ck_assert_int_eq(ioctl(fd, SIOCSIFFLAGS, &ifr), 0);
}

/* What linux/ipv6.h, which cannot stand beside netinet/in.h, calls in6_ifreq. */
struct fx_in6_ifreq {
	struct in6_addr addr;
	uint32_t prefix;
	int index;
};

static void
fx_lo_address6(const char *ip)
{
	struct fx_in6_ifreq ifr = { .prefix = 128, .index = 1 };
	int fd = socket(AF_INET6, SOCK_DGRAM | SOCK_CLOEXEC, 0);

	inet_pton(AF_INET6, ip, &ifr.addr);
	ck_assert_int_eq(ioctl(fd, SIOCSIFADDR, &ifr), 0);
	close(fd);
}

/* In namespaces of its own an ordinary user may be root, who keeps that over exec (nginx needs
 * port 443). */
static bool
fx_unshare_as_root(void)
{
	unsigned uid = geteuid(), gid = getegid();
	char map[32];

	if (unshare(CLONE_NEWUSER | CLONE_NEWNET | CLONE_NEWNS) != 0)
		return false;
	fx_write("/proc/self/setgroups", "deny");
	snprintf(map, sizeof(map), "0 %u 1", uid);
	fx_write("/proc/self/uid_map", map);
	snprintf(map, sizeof(map), "0 %u 1", gid);
	fx_write("/proc/self/gid_map", map);
	return true;
}

/* Network and mounts of this process's own; its lo has 192.0.2.1 and .2, 2001:db8::1 and ::2,
 * too. False, having said so, where the kernel does not let us. Call it before all else. */
static bool
fx_isolate(void)
{
	int fd;

	if (unshare(CLONE_NEWNET | CLONE_NEWNS) != 0 && !fx_unshare_as_root()) {
		fprintf(stderr, "NOT TESTED: this kernel gives no namespaces: %s\n",
		    strerror(errno));
		return false;
	}
	ck_assert_int_eq(mount("none", "/", NULL, MS_REC | MS_PRIVATE, NULL), 0);
	fd = socket(AF_INET, SOCK_DGRAM | SOCK_CLOEXEC, 0);
	fx_lo_address(fd, "lo", "127.0.0.1");
	fx_lo_address(fd, "lo:1", "192.0.2.1");
	fx_lo_address(fd, "lo:2", "192.0.2.2");
	close(fd);
	fx_lo_address6("2001:db8::1");
	fx_lo_address6("2001:db8::2");
	return true;
}

/* Puts `from` in the place of a file, for this process and its children (after fx_isolate). */
static void
fx_cover(const char *path, const char *from)
{
	ck_assert_msg(mount(from, path, NULL, MS_BIND, NULL) == 0, "%s: %s", path, strerror(errno));
}

/* The same with a text; the copy lies in the fixture's directory. */
static void
fx_cover_text(struct fixture *fx, const char *path, const char *text)
{
	char *copy = mem_printf("%s/%s", fx->dir, strrchr(path, '/') + 1);

	fx_write(copy, text);
	fx_cover(path, copy);
	free(copy);
}

#endif
