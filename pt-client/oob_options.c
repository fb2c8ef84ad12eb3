#include "pt-client/oob_options.h"

#include <arpa/inet.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "common/bytes.h"
#include "common/mem.h"

/* TCP, proxy and TLS together; a dead address must not use up a held poll's time. */
#define CONNECT_MS 15000

#define SET(option, value) do { if (rc == CURLE_OK) rc = curl_easy_setopt(e, option, value); } while (0)

static void
write_escaped(struct writer *w, const char *s)
{
	char hex[4];

	for (; s != NULL && *s != '\0'; s++) {
		snprintf(hex, sizeof(hex), "%%%02X", (unsigned)(unsigned char)*s);
		writer_bytes(w, hex, 3);
	}
}

/* "" for no proxy, else [user:password@]address:port. The credentials go here, every byte
 * escaped, since curl has not always decoded CURLOPT_PROXYUSERNAME the same way. */
static char *
proxy_url(const struct outbound *out)
{
	const struct sockaddr_in *sin = (const void *)&out->proxy_addr;
	const struct sockaddr_in6 *sin6 = (const void *)&out->proxy_addr;
	bool v6 = out->proxy_addr.ss_family == AF_INET6;
	size_t cap = 3 * ((out->user ? strlen(out->user) : 0) + (out->pass ? strlen(out->pass) : 0)) + 80;
	char *url = mem_zalloc(cap), host[INET6_ADDRSTRLEN];
	struct writer w = writer_of(url, cap - 1);

	if (out->proxy == PROXY_NONE)
		return url;
	if (out->user != NULL) {
		write_escaped(&w, out->user);
		writer_u8(&w, ':');
		write_escaped(&w, out->pass);
		writer_u8(&w, '@');
	}
	inet_ntop(out->proxy_addr.ss_family, v6 ? (const void *)&sin6->sin6_addr : &sin->sin_addr, host,
	    sizeof(host));
	snprintf(url + w.n, cap - w.n, v6 ? "[%s]:%u" : "%s:%u", host,
	    (unsigned)ntohs(v6 ? sin6->sin6_port : sin->sin_port));
	return url;
}

/* Everything that keeps curl from doing more than it is told: without these it follows the
 * environment's proxies, ~/.netrc, and (with socks4 and socks5) looks names up itself. */
static CURLcode
set_proxy(CURL *e, const struct oob_options *o)
{
	static const long types[] = {
		[PROXY_NONE] = CURLPROXY_HTTP, [PROXY_HTTP] = CURLPROXY_HTTP,
		[PROXY_SOCKS4] = CURLPROXY_SOCKS4, [PROXY_SOCKS4A] = CURLPROXY_SOCKS4A,
		[PROXY_SOCKS5] = CURLPROXY_SOCKS5_HOSTNAME,
	};
	const struct outbound *out = o->outbound;
	long type = types[out->proxy];
	char *url = proxy_url(out);
	CURLcode rc = CURLE_OK;

	/* Where there is no name to look up, the plain kinds: the others would pass on an address as
	 * if it were a name (socks4a always, socks5 where CONNECT_TO names it). */
	if (out->proxy == PROXY_SOCKS4A && o->dial_ip)
		type = CURLPROXY_SOCKS4;
	if (out->proxy == PROXY_SOCKS5 && o->dial_ip)
		type = CURLPROXY_SOCKS5;
	SET(CURLOPT_PROXY, url);
	mem_wipe(url, strlen(url));
	free(url);
	SET(CURLOPT_NOPROXY, "");
	SET(CURLOPT_PROXYTYPE, type);
	SET(CURLOPT_HTTPPROXYTUNNEL, (long)(out->proxy == PROXY_HTTP));
	SET(CURLOPT_SUPPRESS_CONNECT_HEADERS, 1L);
	SET(CURLOPT_HEADEROPT, (long)CURLHEADER_SEPARATE);
	SET(CURLOPT_PROXYAUTH, (long)CURLAUTH_BASIC);
	SET(CURLOPT_SOCKS5_AUTH, (long)CURLAUTH_BASIC);
	return rc;
}

static CURLcode
set_tls(CURL *e, const struct oob_options *o)
{
	CURLcode rc = CURLE_OK;

	SET(CURLOPT_PROTOCOLS_STR, "https");
	SET(CURLOPT_SSLVERSION, (long)CURL_SSLVERSION_TLSv1_2);
	SET(CURLOPT_HTTP_VERSION, (long)CURL_HTTP_VERSION_2TLS);
	SET(CURLOPT_SHARE, o->share);
	if (o->pin != NULL)
		SET(CURLOPT_PINNEDPUBLICKEY, o->pin);
	SET(CURLOPT_SSL_VERIFYPEER, o->pin == NULL ? 1L : 0L);
	SET(CURLOPT_SSL_VERIFYHOST, o->pin == NULL ? 2L : 0L);
	return rc;
}

CURLcode
oob_options_set(CURL *e, const struct oob_options *o)
{
	CURLcode rc = CURLE_OK;

	SET(CURLOPT_NOSIGNAL, 1L);
	/* Without it curl waits, and the loop with it, for a look-up that was cancelled. */
	SET(CURLOPT_QUICK_EXIT, 1L);
	SET(CURLOPT_FOLLOWLOCATION, 0L);
	SET(CURLOPT_NETRC, (long)CURL_NETRC_IGNORED);
	SET(CURLOPT_PATH_AS_IS, 1L);
	SET(CURLOPT_TCP_NODELAY, 1L);
	SET(CURLOPT_PIPEWAIT, 0L);
	SET(CURLOPT_CONNECTTIMEOUT_MS, (long)CONNECT_MS);
	SET(CURLOPT_CONNECT_TO, o->connect_to);
	if (rc == CURLE_OK)
		rc = set_proxy(e, o);
	if (rc == CURLE_OK)
		rc = set_tls(e, o);
	return rc;
}
