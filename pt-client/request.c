#include "pt-client/request.h"

#include <sys/socket.h>

#include "pt-client/http_proxy.h"

bool
request_reply(evutil_socket_t fd, enum request_kind kind, enum socks5_rep rep)
{
	uint8_t out[HTTP_PROXY_REPLY_MAX];
	size_t n;

	if (kind == REQUEST_HTTP && rep == SOCKS5_REP_OK)
		return true;
	n = kind == REQUEST_SOCKS5 ? socks5_reply(out, rep) : http_proxy_reply(out, rep);
	/* The first bytes in an empty buffer: they fit, or the app is gone. */
	return send(fd, out, n, MSG_NOSIGNAL) == (ssize_t)n;
}
