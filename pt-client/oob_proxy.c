#include "pt-client/oob_proxy.h"

#include <errno.h>
#include <stdio.h>
#include <string.h>

#include "common/net/proxy.h"

/* The same as common/net/proxy.c makes of the same answers. */
static int
socks_reason(long said)
{
	switch (said) {
	case CURLPX_REPLY_CONNECTION_REFUSED:
	case CURLPX_REQUEST_FAILED: /* socks4: by its rules, or by the target */
		return ECONNREFUSED;
	case CURLPX_REPLY_HOST_UNREACHABLE:
		return EHOSTUNREACH;
	case CURLPX_REPLY_NETWORK_UNREACHABLE:
		return ENETUNREACH;
	case CURLPX_REPLY_TTL_EXPIRED:
		return ETIMEDOUT;
	case CURLPX_REPLY_NOT_ALLOWED:
	case CURLPX_NO_AUTH:
	case CURLPX_USER_REJECTED:
	case CURLPX_IDENTD:
	case CURLPX_IDENTD_DIFFER:
		return EACCES;
	case CURLPX_REPLY_COMMAND_NOT_SUPPORTED:
		return EOPNOTSUPP;
	case CURLPX_REPLY_ADDRESS_TYPE_NOT_SUPPORTED:
		return EAFNOSUPPORT;
	case CURLPX_REPLY_GENERAL_SERVER_FAILURE:
		return EIO;
	case CURLPX_OK: /* an HTTP proxy that hung up */
	case CURLPX_CLOSED:
	case CURLPX_RECV_ADDRESS:
	case CURLPX_RECV_AUTH:
	case CURLPX_RECV_CONNECT:
	case CURLPX_RECV_REQACK:
	case CURLPX_SEND_AUTH:
	case CURLPX_SEND_CONNECT:
	case CURLPX_SEND_REQUEST:
		return ECONNRESET;
	default:
		return EPROTO;
	}
}

int
oob_proxy_error(CURL *e, CURLcode code, char *text, size_t cap)
{
	long status = 0, said = CURLPX_OK, err = 0;

	curl_easy_getinfo(e, CURLINFO_HTTP_CONNECTCODE, &status);
	curl_easy_getinfo(e, CURLINFO_PROXY_ERROR, &said);
	curl_easy_getinfo(e, CURLINFO_OS_ERRNO, &err);
	if (status != 0) {
		snprintf(text, cap, "the upstream proxy: HTTP status %ld", status);
		return proxy_http_reason((int)status);
	}
	if (code == CURLE_COULDNT_CONNECT && err != 0) {
		snprintf(text, cap, "the upstream proxy: %s", strerror((int)err));
		return (int)err;
	}
	snprintf(text, cap, "the upstream proxy says: %s", strerror(socks_reason(said)));
	return socks_reason(said);
}
