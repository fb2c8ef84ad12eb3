#include "common/output.h"

#include <errno.h>
#include <poll.h>
#include <sys/socket.h>
#include <unistd.h>

bool
output_wait(int fd, int ms)
{
	struct pollfd out = { .fd = fd, .events = POLLOUT };
	int n;

	do
		n = poll(&out, 1, ms);
	while (n < 0 && errno == EINTR);
	return n == 1 && (out.revents & (POLLERR | POLLHUP | POLLNVAL)) == 0;
}

/* A socket is told in the call not to block, and a pipe that polls writable takes PIPE_BUF
 * bytes. */
ssize_t
output_some(int fd, const void *p, size_t n)
{
	ssize_t sent = send(fd, p, n, MSG_DONTWAIT | MSG_NOSIGNAL);

	return sent < 0 && errno == ENOTSOCK ? write(fd, p, n) : sent;
}
