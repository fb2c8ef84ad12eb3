#include "pt-server/https.h"

#include <errno.h>
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
#include "common/match.h"
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

/* A connection. */
struct visitor {
	TAILQ_ENTRY(visitor) link;
	struct https *https; /* NULL: it was sent away */
	struct bufferevent *bev;
	bool known;  /* it had an authentic request */
	size_t said; /* bytes of a request that is not whole yet */
};

TAILQ_HEAD(visitors, visitor);

struct https {
	struct https *next;
	struct event_base *base;
	struct evhttp *http;
	struct tls_ctx *tls;
	struct event *rotate; /* the keys of its session tickets */
	struct https_config config; /* without its strings */
	char *path;
	bool trusts;
	struct match_network trusted;
	struct site *site;
	struct visitors strangers, regulars; /* in the order of their coming, of being known */
	unsigned n_visitors;
	size_t said; /* by all strangers */
	bool cannot_accept; /* that was logged */
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

/* Where a connection comes from. The port it came to, if it is from this machine and so may be
 * the front's; else 0. */
static uint16_t
find_origin(struct evhttp_connection *conn, struct sockaddr_storage *from)
{
	const struct sockaddr *sa = evhttp_connection_get_addr(conn);
	struct sockaddr_storage to = { 0 };
	socklen_t len = sizeof(to);

	memset(from, 0, sizeof(*from));
	if (!address_copy(from, sa, sa->sa_family == AF_INET6 ? sizeof(struct sockaddr_in6) :
			  sizeof(struct sockaddr_in)) || !address_is_loopback(from) ||
	    getsockname(bufferevent_getfd(evhttp_connection_get_bufferevent(conn)),
			(struct sockaddr *)&to, &len) != 0)
		return 0;
	return address_port(&to);
}

/* The last entry of the last X-Forwarded-For; AF_UNSPEC if it names nobody. */
static void
forwarded_for(struct evhttp_request *ev, struct sockaddr_storage *addr)
{
	const char *last = NULL, *entry;
	struct evkeyval *h;
	size_t n;

	TAILQ_FOREACH(h, evhttp_request_get_input_headers(ev), next)
		if (strcasecmp(h->key, "X-Forwarded-For") == 0)
			last = h->value;
	memset(addr, 0, sizeof(*addr));
	if (last == NULL)
		return;
	entry = strrchr(last, ',');
	entry = entry != NULL ? entry + 1 : last;
	entry += strspn(entry, " \t");
	n = strlen(entry);
	if (address_parse_host(addr, entry, n, true) ||
	    address_parse_endpoint(addr, entry, n, false, 0))
		address_copy(addr, (struct sockaddr *)addr, sizeof(*addr));
	else
		memset(addr, 0, sizeof(*addr));
}

static void
find_addr(const struct https *https, struct evhttp_request *ev, struct sockaddr_storage *addr)
{
	const struct https_config *config = &https->config;
	struct sockaddr_storage behind = { 0 };
	uint16_t port = find_origin(evhttp_request_get_connection(ev), addr);

	if (port != 0 && config->peer != NULL && config->peer(config->arg, addr, port, &behind) == 0)
		*addr = behind;
	if (https->trusts && match_network(&https->trusted, addr))
		forwarded_for(ev, addr);
}

/* --- visitors ------------------------------------------------------------ */

static void
set_said(struct visitor *v, size_t n)
{
	v->https->said += n - v->said;
	v->said = n;
}

static void
leave(struct visitor *v)
{
	struct https *https = v->https;

	if (https == NULL)
		return;
	TAILQ_REMOVE(v->known ? &https->regulars : &https->strangers, v, link);
	https->n_visitors--;
	set_said(v, 0);
	v->https = NULL;
}

static void
on_freed(void *visitor)
{
	leave(visitor);
	free(visitor);
}

/* A stranger if there is one; NULL: nobody. */
static struct visitor *
oldest(struct https *https)
{
	struct visitor *v = TAILQ_FIRST(&https->strangers);

	return v != NULL ? v : TAILQ_FIRST(&https->regulars);
}

/* evhttp finds the connection at its end. */
static void
send_away(struct https *https)
{
	struct visitor *v = oldest(https);

	shutdown(bufferevent_getfd(v->bev), SHUT_RDWR);
	leave(v);
}

/* evhttp gathers a body before it tells the path, so anybody can send one. */
static void
on_said(struct evbuffer *input, const struct evbuffer_cb_info *info, void *arg)
{
	struct visitor *v = arg;

	(void)input;
	if (v->https == NULL || v->known)
		return;
	set_said(v, v->said + info->n_added);
	while (v->https != NULL && v->https->said > HTTPS_STRANGERS_MAX)
		send_away(v->https);
}

/* Never NULL: evhttp would go on without TLS. */
static struct bufferevent *
on_connection(struct event_base *base, void *arg)
{
	struct https *https = arg;
	struct visitor *v = mem_zalloc(sizeof(*v));

	https->cannot_accept = false;
	if (https->n_visitors > 0 && https->n_visitors >= https->config.connections)
		send_away(https);
	https->n_visitors++;
	v->https = https;
	v->bev = tls_bev_new(base, https->tls, -1);
	TAILQ_INSERT_TAIL(&https->strangers, v, link);
	tls_bev_set_owner(v->bev, v, on_freed);
	if (evbuffer_add_cb(bufferevent_get_input(v->bev), on_said, v) == NULL)
		abort();
	return v->bev;
}

static struct visitor *
visitor_of(struct evhttp_request *ev)
{
	struct evhttp_connection *conn = evhttp_request_get_connection(ev);

	return tls_bev_owner(evhttp_connection_get_bufferevent(conn));
}

void
https_request_known(struct https_request *req)
{
	const struct https_config *config = &req->https->config;
	struct visitor *v = visitor_of(req->ev);
	struct sockaddr_storage from;
	uint16_t port;

	if (v->https == NULL || v->known)
		return;
	TAILQ_REMOVE(&v->https->strangers, v, link);
	TAILQ_INSERT_TAIL(&v->https->regulars, v, link);
	v->known = true;
	set_said(v, 0);
	port = find_origin(evhttp_request_get_connection(req->ev), &from);
	if (port != 0 && config->known != NULL)
		config->known(config->arg, &from, port);
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
	struct visitor *v = visitor_of(ev);

	if (v->https != NULL && !v->known)
		set_said(v, evbuffer_get_length(bufferevent_get_input(v->bev)));
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
	TAILQ_INIT(&https->strangers);
	TAILQ_INIT(&https->regulars);
	https->trusts = config->trusted_proxy != NULL;
	if (config->base[0] != '/' || config->base[1] == '\0' ||
	    config->base[strlen(config->base) - 1] == '/') {
		snprintf(error, 256, "the API's path must be like \"/name\"");
		goto fail;
	}
	if (https->trusts && !match_network_parse(&https->trusted, config->trusted_proxy)) {
		snprintf(error, 256, "trusted_proxy is neither an address nor a network");
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
	/* They are freed from the loop, when there is no server any more. */
	while (https->n_visitors > 0)
		leave(oldest(https));
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

	while (https != NULL && https->http != http)
		https = https->next;
	if (https != NULL && !https->cannot_accept) {
		log_warning("HTTPS: cannot accept: %s", strerror(errno));
		https->cannot_accept = true;
	}
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
