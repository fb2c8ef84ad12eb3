/* The OOB channel: POST requests over HTTPS that never block the event loop. What
 * it sends and keeps open is DESIGN.md section 3, "Pool"; how it leaves the machine
 * (proxy, source address) is common/outbound.h. Nothing goes around the proxy: with
 * one, no name is looked up here.
 *
 * Headers: Host, Accept, a browser's User-Agent (OOB_USER_AGENT: only the web server
 * and its CDN see it, and common firewall rules refuse requests without one),
 * Content-Type and Content-Length. An HTTP proxy is shown none of them. */
#ifndef SULTRY_CLIENT_OOB_H
#define SULTRY_CLIENT_OOB_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "common/outbound.h"

#define OOB_REPLY_MAX (256 * 1024)
#define OOB_USER_AGENT "Mozilla/5.0 (Windows NT 10.0; rv:128.0) Gecko/20100101 Firefox/128.0"

struct event_base;
struct oob;
struct oob_channel;
struct oob_request;

struct oob_config {
	const char *url;   /* https://host[:port][/prefix]; the prefix comes before every path */
	const char *front; /* or NULL: host[:port] to connect to and to name in SNI and certificate
	                    * check; the Host header still asks for url's host */
	const char *addr;  /* or NULL: IP, IP:port, [IPv6] or [IPv6]:port to connect to: no look-up */
	const char *sni;   /* or NULL: the name in SNI and certificate check where url's host is an IP
	                    * address, which is still what is connected to and asked for. Not with front */
	const uint8_t *pin; /* SHA-256 of the server's SubjectPublicKeyInfo, 32 bytes, instead of the
	                     * CA verification that NULL means */
};

enum oob_result {
	OOB_OK,          /* HTTP 200 */
	OOB_STATUS,      /* a whole reply with another status */
	OOB_UNREACHABLE, /* no address, no TCP connection, or the proxy failed or refused */
	OOB_TLS,         /* the certificate or the pin is wrong */
	OOB_TIMEOUT,
	OOB_BROKEN,      /* died on the way (in the TLS handshake too), too large, not HTTP */
};

struct oob_reply {
	enum oob_result result;
	int status;        /* HTTP status, 0 if there was none */
	const char *body;  /* never NULL; not terminated; empty unless OOB_OK or OOB_STATUS */
	size_t len;
	const char *error; /* for a log line: no address in it; NULL for OOB_OK */
	int os_error;      /* errno of a connect that failed, or what the proxy said of its own; 0
	                    * if there is none */
	unsigned rtt_ms;   /* from the request sent to the first byte of its reply; 0 if unknown */
};

/* `reply` and what it points to are borrowed for the call. Any function below may be
 * called from inside, oob_free and a cancel of this very request (ignored) included. */
typedef void oob_done(void *arg, const struct oob_reply *reply);

/* Borrows both; outbound does not change while oob lives. */
struct oob *oob_new(struct event_base *base, const struct outbound *outbound);
/* Frees the channels that are left, too; no callback runs. NULL is fine. */
void oob_free(struct oob *oob);

/* NULL with a reason if the configuration makes no sense, cannot go through the proxy
 * (socks4 carries neither names nor IPv6), or needs what this libcurl lacks. Copies cfg. */
struct oob_channel *oob_channel_new(struct oob *oob, const struct oob_config *cfg, char error[256]);
/* Cancels its requests; no callback runs. NULL is fine. */
void oob_channel_free(struct oob_channel *ch);

/* POST of a JSON body. `path` starts with '/' and is sent as it is. Takes body, malloc'ed. Always
 * calls done, once, and never from inside oob_post. The request is gone after that.
 * libcurl may send it again, byte-identical, when a reused connection turns out dead. */
struct oob_request *oob_post(struct oob_channel *ch, const char *path, char *body, size_t len,
    unsigned timeout_ms, oob_done *done, void *arg);
/* Its callback will not run. NULL is fine. */
void oob_cancel(struct oob_request *req);

/* The connections open now get no new requests; those under way go on. For a change of the
 * local network; happens by itself when a request on a reused connection times out. */
void oob_channel_renew(struct oob_channel *ch);
/* Smoothed round trip to the host connected to: the time of TCP connects, or of TLS
 * handshakes where a proxy is in between. 0 if unknown, else at least 1. */
unsigned oob_channel_rtt_ms(const struct oob_channel *ch);

/* For tests: the pool's clock (not the requests' timeouts) runs so many times faster. */
void oob_set_pool_speed(struct oob *oob, unsigned times);

#endif
