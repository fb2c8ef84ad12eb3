#include "pt-server/https.h"

#include <arpa/inet.h>
#include <errno.h>
#include <netinet/in.h>
#include <stdbool.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/queue.h>

#include <event2/buffer.h>
#include <event2/bufferevent.h>
#include <event2/event.h>
#include <event2/http.h>
#include <event2/http_struct.h>
#include <event2/keyvalq_struct.h>
#include <event2/listener.h>

#include "common/address.h"
#include "common/log.h"
#include "common/mem.h"
#include "common/net/process.h"
#include "common/net/tls_bev.h"
#include "pt-server/site.h"

#define SESSION_MAX 64 /* characters of a path's last segment */
#define LISTENERS_MAX 8

struct listener {
	struct evconnlistener *ev;
	struct event *retry;
};

/* An address and the number of its leading bits that count. */
struct prefix {
	uint8_t addr[16]; /* IPv4 as ::ffff:a.b.c.d */
	unsigned bits;
};

struct https {
	struct https *next;
	struct event_base *base;
	struct evhttp *http;
	struct tls_ctx *tls;
	struct event *rotate; /* the keys of its session tickets */
	struct https_config config; /* without its strings */
	char *path;
	bool trusts;
	struct prefix trusted;
	struct site *site;
	struct listener listeners[LISTENERS_MAX];
	unsigned n_listeners;
};

struct https_request {
	struct https *https; /* valid until the connection is gone */
	struct evhttp_request *ev;
	bool gone; /* the connection is: ev is ours alone */
	struct sockaddr_storage addr;
};

/* All of them: a listener's error callback is told evhttp's name only. */
static struct https *servers;

/* --- replies ------------------------------------------------------------- */

static void
on_sent(const void *body, size_t len, void *site)
{
	(void)body;
	(void)len;
	site_free(site);
}

/* A page of the site is not copied: any stranger may ask for many and read slowly. */
static void
add_body(struct evbuffer *content, const struct site_page *page, struct site *site)
{
	int rc;

	if (site == NULL) {
		rc = evbuffer_add(content, page->body, page->len);
	} else {
		site_hold(site);
		rc = evbuffer_add_reference(content, page->body, page->len, on_sent, site);
	}
	if (rc != 0)
		abort();
}

/* Every reply that is ours; the page is borrowed for the call unless it is the site's.
 * No Server header: TLS and evhttp's own error pages would contradict any name. */
static void
reply(struct evhttp_request *ev, int code, const char *reason, const struct site_page *page,
      struct site *site)
{
	struct evkeyvalq *headers = evhttp_request_get_output_headers(ev);
	struct evbuffer *content = evbuffer_new();
	char date[64], length[24];

	if (content == NULL)
		abort();
	evutil_date_rfc1123(date, sizeof(date), NULL);
	evhttp_add_header(headers, "Date", date);
	if (code != HTTP_NOTMODIFIED) {
		snprintf(length, sizeof(length), "%zu", page->len);
		evhttp_add_header(headers, "Content-Type", page->type);
		evhttp_add_header(headers, "Content-Length", length);
		if (evhttp_request_get_command(ev) != EVHTTP_REQ_HEAD && page->len > 0)
			add_body(content, page, site);
	}
	if (page->etag[0] != '\0') {
		evhttp_add_header(headers, "Last-Modified", page->modified);
		evhttp_add_header(headers, "ETag", page->etag);
	}
	evhttp_send_reply(ev, code, reason, content);
	evbuffer_free(content);
}

static void
reply_unknown(const struct https *https, struct evhttp_request *ev)
{
	reply(ev, HTTP_NOTFOUND, "Not Found", site_missing(https->site), https->site);
}

static void
reply_page(const struct https *https, struct evhttp_request *ev, const struct site_page *page)
{
	const struct evkeyvalq *headers = evhttp_request_get_input_headers(ev);

	if (site_not_modified(page, evhttp_find_header(headers, "If-None-Match"),
			      evhttp_find_header(headers, "If-Modified-Since")))
		reply(ev, HTTP_NOTMODIFIED, "Not Modified", page, https->site);
	else
		reply(ev, HTTP_OK, "OK", page, https->site);
}

/* --- the requests that the API owns -------------------------------------- */

/* evhttp is about to free the connection: the last moment for close_notify. What the flush
 * writes besides must not be reported: evhttp would free the connection once more. */
static void
on_close(struct evhttp_connection *evcon, void *arg)
{
	struct https_request *req = arg;
	struct bufferevent *bev = evhttp_connection_get_bufferevent(evcon);

	if (req != NULL)
		req->gone = true;
	bufferevent_setcb(bev, NULL, NULL, NULL, NULL);
	bufferevent_flush(bev, EV_WRITE, BEV_FINISHED);
}

/* Ends the ownership. Returns what to answer, or NULL: nobody is there any more. */
static struct evhttp_request *
request_release(struct https_request *req)
{
	struct evhttp_request *ev = req->ev;

	/* From here on evhttp frees it again; there is no call to say so. */
	ev->flags &= ~EVHTTP_USER_OWNED;
	if (req->gone) {
		evhttp_request_free(ev);
		ev = NULL;
	} else {
		evhttp_connection_set_closecb(evhttp_request_get_connection(ev), on_close, NULL);
	}
	free(req);
	return ev;
}

void
https_reply_json(struct https_request *req, const char *json, size_t len)
{
	const struct site_page page = { .type = "application/json", .body = json, .len = len };
	struct evhttp_request *ev = request_release(req);

	if (ev != NULL)
		reply(ev, HTTP_OK, "OK", &page, NULL);
}

void
https_reply_unknown(struct https_request *req)
{
	const struct https *https = req->https;
	struct evhttp_request *ev = request_release(req);

	if (ev != NULL)
		reply_unknown(https, ev);
}

const struct sockaddr *
https_request_addr(const struct https_request *req)
{
	return (const struct sockaddr *)&req->addr;
}

/* --- who is asking ------------------------------------------------------- */

/* False: not an Internet address. */
static bool
ip_of(const struct sockaddr *sa, uint8_t ip[16])
{
	static const uint8_t mapped[12] = { [10] = 0xff, [11] = 0xff };

	switch (sa->sa_family) {
	case AF_INET:
		memcpy(ip, mapped, 12);
		memcpy(ip + 12, &((const struct sockaddr_in *)sa)->sin_addr, 4);
		return true;
	case AF_INET6:
		memcpy(ip, &((const struct sockaddr_in6 *)sa)->sin6_addr, 16);
		return true;
	default:
		return false;
	}
}

static bool
prefix_holds(const struct prefix *p, const struct sockaddr *sa)
{
	uint8_t ip[16];
	unsigned whole = p->bits / 8, rest = p->bits % 8;

	return ip_of(sa, ip) && memcmp(ip, p->addr, whole) == 0 &&
	       (rest == 0 || (ip[whole] ^ p->addr[whole]) >> (8 - rest) == 0);
}

static bool
is_loopback(const struct sockaddr *sa)
{
	static const struct prefix v4 = { { [10] = 0xff, [11] = 0xff, [12] = 127 }, 104 };
	static const struct prefix v6 = { { [15] = 1 }, 128 };

	return prefix_holds(&v4, sa) || prefix_holds(&v6, sa);
}

static bool
parse_ip(const char *s, struct sockaddr_storage *addr)
{
	int len = sizeof(*addr);

	memset(addr, 0, sizeof(*addr));
	return evutil_parse_sockaddr_port(s, (struct sockaddr *)addr, &len) == 0;
}

static bool
prefix_parse(struct prefix *p, const char *s)
{
	struct sockaddr_storage addr;
	char copy[64], *slash, *end;
	unsigned long bits, max;

	if (snprintf(copy, sizeof(copy), "%s", s) >= (int)sizeof(copy))
		return false;
	slash = strchr(copy, '/');
	if (slash != NULL)
		*slash = '\0';
	if (!parse_ip(copy, &addr) || !ip_of((struct sockaddr *)&addr, p->addr))
		return false;
	max = addr.ss_family == AF_INET ? 32 : 128;
	bits = max;
	if (slash != NULL) {
		bits = strtoul(slash + 1, &end, 10);
		if (slash[1] < '0' || slash[1] > '9' || *end != '\0' || bits > max)
			return false;
	}
	p->bits = (unsigned)(128 - max + bits);
	return true;
}

/* The last entry of the last X-Forwarded-For; AF_UNSPEC if it names nobody. */
static void
forwarded_for(struct evhttp_request *ev, struct sockaddr_storage *addr)
{
	const char *last = NULL, *entry;
	struct evkeyval *h;
	char copy[64];

	memset(addr, 0, sizeof(*addr));
	TAILQ_FOREACH(h, evhttp_request_get_input_headers(ev), next)
		if (strcasecmp(h->key, "X-Forwarded-For") == 0)
			last = h->value;
	if (last == NULL)
		return;
	entry = strrchr(last, ',');
	entry = entry != NULL ? entry + 1 : last;
	entry += strspn(entry, " \t");
	if (snprintf(copy, sizeof(copy), "%s", entry) >= (int)sizeof(copy) ||
	    !parse_ip(copy, addr))
		memset(addr, 0, sizeof(*addr));
}

static void
find_addr(const struct https *https, struct evhttp_request *ev, struct sockaddr_storage *addr)
{
	const struct https_config *config = &https->config;
	struct evhttp_connection *conn = evhttp_request_get_connection(ev);
	const struct sockaddr *from = evhttp_connection_get_addr(conn);

	memset(addr, 0, sizeof(*addr));
	if (from->sa_family == AF_INET)
		memcpy(addr, from, sizeof(struct sockaddr_in));
	else if (from->sa_family == AF_INET6)
		memcpy(addr, from, sizeof(struct sockaddr_in6));
	if (config->peer != NULL && is_loopback(from)) {
		struct sockaddr_storage behind = { 0 }, to = { 0 };
		socklen_t len = sizeof(to);

		if (getsockname(bufferevent_getfd(evhttp_connection_get_bufferevent(conn)),
				(struct sockaddr *)&to, &len) == 0 &&
		    config->peer(config->arg, from, address_port(&to), &behind) == 0)
			*addr = behind;
	}
	if (https->trusts && prefix_holds(&https->trusted, (struct sockaddr *)addr))
		forwarded_for(ev, addr);
}

/* --- routes -------------------------------------------------------------- */

/* The path is the API's. *session: what follows it, NULL if nothing does. */
static bool
is_api(const struct https *https, const char *path, const char **session)
{
	static const char alphabet[] = "ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz"
				       "0123456789-_";
	size_t len = strlen(https->path), n;

	if (strnlen(path, len) < len || !mem_equal(path, https->path, len))
		return false;
	path += len;
	*session = NULL;
	if (*path == '\0')
		return true;
	if (*path != '/')
		return false;
	*session = path + 1;
	n = strspn(*session, alphabet);
	return n > 0 && n <= SESSION_MAX && (*session)[n] == '\0';
}

static void
call_api(struct https *https, struct evhttp_request *ev, const char *session)
{
	struct evbuffer *input = evbuffer_new();
	const char *body;
	size_t len;
	struct https_request *req = mem_zalloc(sizeof(*req));

	req->https = https;
	req->ev = ev;
	find_addr(https, ev, &req->addr);
	/* Owned: it outlives its connection, which evhttp may free at any time. */
	evhttp_request_own(ev);
	evhttp_connection_set_closecb(evhttp_request_get_connection(ev), on_close, req);
	/* Taken from the request: one that is held does not hold its body. */
	if (input == NULL || evbuffer_add_buffer(input, evhttp_request_get_input_buffer(ev)) != 0)
		abort();
	len = evbuffer_get_length(input);
	body = len > 0 ? (const char *)evbuffer_pullup(input, -1) : "";
	https->config.api(https->config.arg, req, session, body, len);
	evbuffer_free(input);
}

static void
on_request(struct evhttp_request *ev, void *arg)
{
	struct https *https = arg;
	enum evhttp_cmd_type method = evhttp_request_get_command(ev);
	const char *path = evhttp_uri_get_path(evhttp_request_get_evhttp_uri(ev));
	const struct site_page *page = NULL;
	const char *session;

	evhttp_connection_set_closecb(evhttp_request_get_connection(ev), on_close, NULL);
	if (method == EVHTTP_REQ_POST && is_api(https, path, &session)) {
		call_api(https, ev, session);
		return;
	}
	if (method == EVHTTP_REQ_GET || method == EVHTTP_REQ_HEAD)
		page = site_find(https->site, path);
	if (page != NULL)
		reply_page(https, ev, page);
	else
		reply_unknown(https, ev);
}

/* --- the server ---------------------------------------------------------- */

/* Never NULL: evhttp would go on without TLS. */
static struct bufferevent *
on_connection(struct event_base *base, void *arg)
{
	struct https *https = arg;

	return tls_bev_new(base, https->tls, -1);
}

static struct evhttp *
http_new(struct https *https)
{
	struct evhttp *http = evhttp_new(https->base);

	if (http == NULL)
		return NULL;
	evhttp_set_bevcb(http, on_connection, https);
	evhttp_set_gencb(http, on_request, https);
	evhttp_set_timeout(http, HTTPS_IDLE_TIMEOUT);
	evhttp_set_max_headers_size(http, HTTPS_HEADERS_MAX);
	evhttp_set_max_body_size(http, HTTPS_BODY_MAX);
	/* All, unknown ones included: the answer is then ours. */
	evhttp_set_allowed_methods(http, 0xffff);
	return http;
}

static void
on_rotate(evutil_socket_t fd, short what, void *arg)
{
	(void)fd;
	(void)what;
	tls_ctx_rotate_tickets(arg);
}

/* The certificate, and session tickets under keys that do not stay. */
static int
tls_start(struct https *https, const struct https_config *config, char error[256])
{
	struct timeval every = { .tv_sec = HTTPS_TICKET_KEY_S };

	if (config->ticket_key_s > 0)
		every.tv_sec = config->ticket_key_s;
	https->tls = tls_ctx_server(config->cert_pem, config->key_pem, error);
	if (https->tls == NULL)
		return -1;
	https->rotate = event_new(https->base, -1, EV_PERSIST, on_rotate, https->tls);
	if (https->rotate == NULL || event_add(https->rotate, &every) != 0)
		abort();
	return 0;
}

struct https *
https_new(struct event_base *base, const struct https_config *config, char error[256])
{
	struct https *https = mem_zalloc(sizeof(*https));

	https->next = servers;
	servers = https;
	https->base = base;
	https->config = *config;
	https->path = mem_strdup(config->base);
	https->trusts = config->trusted_proxy != NULL;
	if (config->base[0] != '/' || config->base[1] == '\0' ||
	    config->base[strlen(config->base) - 1] == '/') {
		snprintf(error, 256, "the API's path must be like \"/name\"");
		goto fail;
	}
	if (https->trusts && !prefix_parse(&https->trusted, config->trusted_proxy)) {
		snprintf(error, 256, "trusted_proxy is neither an address nor a prefix");
		goto fail;
	}
	https->site = site_new(config->decoy, config->base, error);
	if (https->site == NULL)
		goto fail;
	if (tls_start(https, config, error) != 0)
		goto fail;
	https->http = http_new(https);
	if (https->http == NULL) {
		snprintf(error, 256, "cannot set up HTTP");
		goto fail;
	}
	return https;
fail:
	https_free(https);
	return NULL;
}

void
https_free(struct https *https)
{
	if (https == NULL)
		return;
	for (struct https **p = &servers; *p != NULL; p = &(*p)->next) {
		if (*p == https) {
			*p = https->next;
			break;
		}
	}
	for (unsigned i = 0; i < https->n_listeners; i++)
		event_free(https->listeners[i].retry);
	if (https->http != NULL)
		evhttp_free(https->http);
	if (https->rotate != NULL)
		event_free(https->rotate);
	tls_ctx_free(https->tls);
	free(https->path);
	site_free(https->site);
	free(https);
}

static void
on_retry(evutil_socket_t fd, short what, void *arg)
{
	struct listener *l = arg;

	(void)fd;
	(void)what;
	evconnlistener_enable(l->ev);
}

/* Mostly: no file descriptors left. Without a pause, libevent would spin. */
static void
on_accept_error(struct evconnlistener *ev, void *http)
{
	const struct timeval pause = { .tv_sec = 1 };
	struct https *https = servers;

	log_warning("HTTPS: cannot accept: %s", strerror(errno));
	while (https != NULL && https->http != http)
		https = https->next;
	for (unsigned i = 0; https != NULL && i < https->n_listeners; i++) {
		if (https->listeners[i].ev == ev) {
			evconnlistener_disable(ev);
			event_add(https->listeners[i].retry, &pause);
		}
	}
}

int
https_listen(struct https *https, const struct sockaddr_storage *addr,
	     struct sockaddr_storage *bound, char error[256])
{
	struct listener *l = &https->listeners[https->n_listeners];
	char at[ADDRESS_TEXT_MAX];
	evutil_socket_t fd;

	if (https->n_listeners == LISTENERS_MAX) {
		snprintf(error, 256, "too many listeners");
		return -1;
	}
	fd = process_listen((const struct sockaddr *)addr, address_len(addr), bound);
	if (fd < 0) {
		address_text(at, addr, address_port(addr));
		snprintf(error, 256, "%s: listen: %s", at, strerror(errno));
		return -1;
	}
	l->ev = evconnlistener_new(https->base, NULL, NULL,
				   LEV_OPT_CLOSE_ON_FREE | LEV_OPT_CLOSE_ON_EXEC, 0, fd);
	l->retry = evtimer_new(https->base, on_retry, l);
	if (l->ev == NULL || l->retry == NULL ||
	    evhttp_bind_listener(https->http, l->ev) == NULL)
		abort();
	https->n_listeners++;
	evconnlistener_set_error_cb(l->ev, on_accept_error);
	return 0;
}
