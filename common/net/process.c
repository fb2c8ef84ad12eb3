#include "common/net/process.h"

#include <errno.h>
#include <fcntl.h>
#include <netinet/in.h>
#include <poll.h>
#include <signal.h>
#include <stddef.h>
#include <stdlib.h>
#include <string.h>
#include <sys/resource.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/un.h>
#include <unistd.h>

#include "common/log.h"
#include "common/mem.h"

#define LINGER_MS 250
#define PARENT_CHECK_S 1
#define BIND_TRIES 20
#define BIND_PAUSE_MS 100

struct process {
	struct event *term, *intr, *in, *parent;
	bool draining;
	void (*stop)(void *arg, enum process_stop how);
	void *arg;
};

/* The end of stdin counts already, before process_watch. */
static bool heed_stdin;
/* Who started us. It may be gone before process_watch. */
static pid_t parent_pid;

/* Before process_watch there is nothing yet that would have to be taken down. */
static void
on_early_end(int number)
{
	(void)number;
	_exit(0);
}

/* Only to be woken up. */
static void
on_wake(int number)
{
	(void)number;
}

/* Libevent's own words: stderr may be nobody's, and full. */
static void
on_libevent(int severity, const char *msg)
{
	(void)severity;
	log_debug("libevent: %s", msg);
}

/* A session takes several. The soft limit is usually 1024, for select(), which is not used. */
static void
raise_descriptors(void)
{
	struct rlimit lim;

	if (getrlimit(RLIMIT_NOFILE, &lim) == 0) {
		lim.rlim_cur = lim.rlim_max;
		setrlimit(RLIMIT_NOFILE, &lim);
	}
}

void
process_start(bool managed)
{
	sigset_t set;
	int fd;

	parent_pid = getppid();
	raise_descriptors();
	/* Else a socket would get number 0, 1 or 2. */
	do
		fd = open("/dev/null", O_RDWR);
	while (fd >= 0 && fd <= 2);
	if (fd > 2)
		close(fd);
	umask(077);
	signal(SIGPIPE, SIG_IGN);
	event_set_log_callback(on_libevent);
	signal(SIGTERM, on_early_end);
	signal(SIGINT, on_early_end);
	if (managed)
		signal(SIGHUP, SIG_IGN);
	sigemptyset(&set);
	sigaddset(&set, SIGTERM);
	sigaddset(&set, SIGINT);
	sigprocmask(SIG_UNBLOCK, &set, NULL);
}

void
process_heed_stdin(bool heed)
{
	heed_stdin = heed;
}

static void
on_term(evutil_socket_t fd, short what, void *arg)
{
	struct process *p = arg;

	(void)fd;
	(void)what;
	p->stop(p->arg, STOP_NOW);
}

static void
on_int(evutil_socket_t fd, short what, void *arg)
{
	struct process *p = arg;
	enum process_stop how = p->draining ? STOP_NOW : STOP_DRAIN;

	(void)fd;
	(void)what;
	p->draining = true;
	p->stop(p->arg, how);
}

/* What the parent writes there means nothing; its end does. */
static bool
stdin_ended(void)
{
	char buf[256];
	ssize_t n = read(STDIN_FILENO, buf, sizeof(buf));

	return n == 0 || (n < 0 && errno != EAGAIN && errno != EINTR);
}

static void
on_stdin(evutil_socket_t fd, short what, void *arg)
{
	struct process *p = arg;

	(void)fd;
	(void)what;
	if (!stdin_ended())
		return;
	event_del(p->in);
	p->stop(p->arg, STOP_NOW);
}

/* Without the stdin flag, an orphan is noticed by its new parent. */
static void
on_parent(evutil_socket_t fd, short what, void *arg)
{
	struct process *p = arg;

	(void)fd;
	(void)what;
	if (getppid() != parent_pid)
		p->stop(p->arg, STOP_NOW);
}

struct process *
process_watch(struct event_base *base, bool managed, bool stdin_close,
    void (*stop)(void *arg, enum process_stop how), void *arg)
{
	struct process *p = mem_zalloc(sizeof(*p));

	p->stop = stop;
	p->arg = arg;
	p->term = evsignal_new(base, SIGTERM, on_term, p);
	p->intr = evsignal_new(base, SIGINT, on_int, p);
	p->in = event_new(base, STDIN_FILENO, EV_READ | EV_PERSIST, on_stdin, p);
	p->parent = event_new(base, -1, EV_PERSIST, on_parent, p);
	event_add(p->term, NULL);
	event_add(p->intr, NULL);
	if (stdin_close && event_add(p->in, NULL) != 0) {
		/* A file or /dev/null: always readable, so it ends when read. */
		while (!stdin_ended())
			continue;
		event_active(p->term, EV_SIGNAL, 1);
	}
	if (managed && !stdin_close)
		event_add(p->parent, &(struct timeval){ .tv_sec = PARENT_CHECK_S });
	return p;
}

void
process_free(struct process *p)
{
	event_free(p->term);
	event_free(p->intr);
	event_free(p->in);
	event_free(p->parent);
	free(p);
}

void
process_ready(void)
{
	static const char ready[] = "READY=1";
	const char *path = getenv("NOTIFY_SOCKET");
	struct sockaddr_un sa = { .sun_family = AF_UNIX };
	size_t n = path == NULL ? 0 : strlen(path);
	evutil_socket_t fd;

	if (n < 2 || n >= sizeof(sa.sun_path) || (path[0] != '/' && path[0] != '@'))
		return;
	memcpy(sa.sun_path, path, n);
	if (path[0] == '@')
		sa.sun_path[0] = '\0'; /* an abstract one */
	fd = socket(AF_UNIX, SOCK_DGRAM | SOCK_CLOEXEC, 0);
	/* Nobody to tell is no trouble of ours. */
	if (fd >= 0 && sendto(fd, ready, sizeof(ready) - 1, MSG_NOSIGNAL, (struct sockaddr *)&sa,
	    (socklen_t)(offsetof(struct sockaddr_un, sun_path) + n)) < 0)
		errno = 0;
	if (fd >= 0)
		evutil_closesocket(fd);
}

void
process_linger(void)
{
	struct pollfd in = { .fd = STDIN_FILENO, .events = POLLIN };
	struct timespec before, now;
	int left = LINGER_MS;

	/* The status to exit with is decided. */
	signal(SIGTERM, on_wake);
	signal(SIGINT, on_wake);
	clock_gettime(CLOCK_MONOTONIC, &before);
	while (left > 0 && poll(&in, 1, left) > 0 && !stdin_ended()) {
		clock_gettime(CLOCK_MONOTONIC, &now);
		left = LINGER_MS - (int)((now.tv_sec - before.tv_sec) * 1000 +
		    (now.tv_nsec - before.tv_nsec) / 1000000);
	}
}

static evutil_socket_t
listen_once(const struct sockaddr *addr, socklen_t len)
{
	evutil_socket_t fd = socket(addr->sa_family, SOCK_STREAM | SOCK_NONBLOCK | SOCK_CLOEXEC, 0);
	int one = 1, off = 0, err;

	if (fd < 0)
		return -1;
	setsockopt(fd, SOL_SOCKET, SO_REUSEADDR, &one, sizeof(one));
	if (addr->sa_family == AF_INET6)
		setsockopt(fd, IPPROTO_IPV6, IPV6_V6ONLY, &off, sizeof(off));
	if (bind(fd, addr, len) == 0 && listen(fd, SOMAXCONN) == 0)
		return fd;
	err = errno;
	evutil_closesocket(fd);
	errno = err;
	return -1;
}

/* The event loop does not run yet, so what would end it is looked for here. */
static void
bind_pause(void)
{
	struct pollfd in = { .fd = heed_stdin ? STDIN_FILENO : -1, .events = POLLIN };

	if (poll(&in, 1, BIND_PAUSE_MS) > 0 && stdin_ended())
		_exit(0);
}

evutil_socket_t
process_listen(const struct sockaddr *addr, socklen_t len, struct sockaddr_storage *bound)
{
	socklen_t bound_len = sizeof(*bound);
	evutil_socket_t fd = listen_once(addr, len);

	for (int i = 0; i < BIND_TRIES && fd < 0 && errno == EADDRINUSE; i++) {
		bind_pause();
		fd = listen_once(addr, len);
	}
	if (fd >= 0 && getsockname(fd, (struct sockaddr *)bound, &bound_len) != 0) {
		evutil_closesocket(fd);
		fd = -1;
	}
	return fd;
}
