#include "pt-client/oob.h"

#include <assert.h>
#include <event2/event.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/queue.h>
#include <time.h>

#include "common/bytes.h"
#include "common/mem.h"
#include "pt-client/oob_multi.h"
#include "pt-client/oob_options.h"
#include "pt-client/oob_pool.h"
#include "pt-client/oob_proxy.h"
#include "pt-client/oob_target.h"

#define GET_MS 30000
#define HEADERS_MAX (64 * 1024)

struct oob {
	struct event_base *base;
	const struct outbound *outbound;
	CURLSH *share;
	unsigned speed;
	LIST_HEAD(, oob_channel) channels;
};

TAILQ_HEAD(request_list, oob_request);

struct oob_channel {
	LIST_ENTRY(oob_channel) next;
	struct oob *oob;
	struct oob_target target;
	struct oob_options options;
	char *pin; /* options.pin's */
	struct curl_slist *connect_to, *get_headers, *post_headers;

	/* New requests go here. curl cannot be told to forget its idle connections; so
	 * where they shall go, the channel takes a new one and retires this one. */
	struct multi *multi;
	struct request_list running, done;
	unsigned parallel; /* POSTs in `running` */
	unsigned gets;     /* the pool's GETs in `running` */
	struct event *deliver, *refresh;
	struct pool pool;
	bool http2; /* the last reply came that way */
	unsigned srtt_ms;
};

struct oob_request {
	TAILQ_ENTRY(oob_request) next;
	struct oob_channel *ch;
	struct multi *multi; /* NULL: not, or no longer, in curl's hands */
	CURL *easy;
	char *body;
	struct buffer got;
	size_t headers; /* bytes of them */
	bool too_large, head_whole;
	bool over, delivering; /* over: in ch->done */
	oob_done *done; /* NULL: a GET of the pool's */
	void *arg;
	enum oob_result result;
	int status;
	unsigned rtt_ms;
	char error[128];
	int os_error;
};

static uint64_t
pool_now(const struct oob *oob)
{
	struct timespec ts;

	clock_gettime(CLOCK_MONOTONIC, &ts);
	return ((uint64_t)ts.tv_sec * 1000 + (uint64_t)ts.tv_nsec / 1000000) * oob->speed;
}

/* After a random 60 to 90 s from the moment `idle` ms ago. */
static void
arm_refresh(struct oob_channel *ch, uint64_t idle)
{
	uint64_t ms = POOL_REFRESH_MIN_MS +
	    mem_random_below(POOL_REFRESH_MAX_MS - POOL_REFRESH_MIN_MS + 1);
	struct timeval tv;

	ms = (ms > idle ? ms - idle : 0) / ch->oob->speed + 1;
	tv.tv_sec = (time_t)(ms / 1000);
	tv.tv_usec = (suseconds_t)(ms % 1000 * 1000);
	event_add(ch->refresh, &tv);
}

/* ---- requests ---- */

static void
request_free(struct oob_request *req)
{
	if (req->easy != NULL)
		curl_easy_cleanup(req->easy);
	free(req->body);
	buffer_clear(&req->got);
	free(req);
}

/* Takes it from curl and from ch->running. */
static void
request_stop(struct oob_request *req)
{
	struct oob_channel *ch = req->ch;
	uint64_t now = pool_now(ch->oob);

	if (req->done != NULL)
		pool_use(&ch->pool, now, ch->parallel--);
	else
		ch->gets--;
	multi_keep(ch->multi, pool_keep(&ch->pool, now));
	if (req->multi != NULL)
		multi_remove(req->multi, req->easy, req->head_whole);
	req->multi = NULL;
	TAILQ_REMOVE(&ch->running, req, next);
}

static size_t
on_body(char *p, size_t one, size_t n, void *arg)
{
	struct oob_request *req = arg;

	(void)one;
	if (n > OOB_REPLY_MAX - req->got.n) {
		req->too_large = true;
		return 0;
	}
	buffer_add(&req->got, p, n);
	return n;
}

static size_t
on_header(char *p, size_t one, size_t n, void *arg)
{
	struct oob_request *req = arg;

	(void)one;
	/* curl takes a connection that ends inside the head for the end of the head. */
	if (!req->head_whole && n > 0 && n <= 2 && p[n - 1] == '\n') {
		req->head_whole = true;
		multi_replying(req->multi, req->easy);
	}
	req->headers += n;
	req->too_large = req->headers > HEADERS_MAX;
	return req->too_large ? 0 : n;
}

#define SET(option, value) do { if (rc == CURLE_OK) rc = curl_easy_setopt(e, option, value); } while (0)
static CURLcode
set_request(struct oob_request *req, const char *path, size_t len, unsigned timeout_ms)
{
	const struct oob_channel *ch = req->ch;
	CURL *e = req->easy;
	bool post = req->done != NULL;
	char *url = mem_printf("%s%s%s", ch->target.origin, post ? ch->target.prefix : "", path);
	CURLcode rc = oob_options_set(e, &ch->options);

	SET(CURLOPT_URL, url);
	free(url);
	SET(CURLOPT_TIMEOUT_MS, (long)(timeout_ms > 0 ? timeout_ms : 1));
	SET(CURLOPT_HTTPHEADER, post ? ch->post_headers : ch->get_headers);
	SET(CURLOPT_HEADERFUNCTION, on_header);
	SET(CURLOPT_HEADERDATA, req);
	SET(CURLOPT_WRITEFUNCTION, on_body);
	SET(CURLOPT_WRITEDATA, req);
	if (post) {
		SET(CURLOPT_POST, 1L);
		SET(CURLOPT_POSTFIELDS, req->body);
		SET(CURLOPT_POSTFIELDSIZE_LARGE, (curl_off_t)len);
	}
	return rc;
}
#undef SET

static enum oob_result
result_of(const struct oob_request *req, CURLcode code)
{
	long connect_code = 0;
	curl_off_t tls = 0;

	switch (code) {
	case CURLE_OK:
		if (!req->head_whole)
			return OOB_BROKEN;
		return req->status == 200 ? OOB_OK : OOB_STATUS;
	case CURLE_COULDNT_RESOLVE_HOST:
	case CURLE_COULDNT_RESOLVE_PROXY:
	case CURLE_COULDNT_CONNECT:
	case CURLE_PROXY:
		return OOB_UNREACHABLE;
	case CURLE_PEER_FAILED_VERIFICATION:
	case CURLE_SSL_PINNEDPUBKEYNOTMATCH:
	case CURLE_SSL_CACERT_BADFILE:
		return OOB_TLS;
	case CURLE_OPERATION_TIMEDOUT:
		return OOB_TIMEOUT;
	default:
		curl_easy_getinfo(req->easy, CURLINFO_HTTP_CONNECTCODE, &connect_code);
		curl_easy_getinfo(req->easy, CURLINFO_APPCONNECT_TIME_T, &tls);
		/* An HTTP proxy that says no, or nothing, has no code of its own. */
		if (req->ch->oob->outbound->proxy == PROXY_HTTP && tls == 0 && connect_code / 100 != 2)
			return OOB_UNREACHABLE;
		return OOB_BROKEN;
	}
}

static void
explain(struct oob_request *req, CURLcode code)
{
	long err = 0;

	curl_easy_getinfo(req->easy, CURLINFO_OS_ERRNO, &err);
	if (req->result == OOB_STATUS)
		snprintf(req->error, sizeof(req->error), "HTTP status %d", req->status);
	else if (req->too_large)
		snprintf(req->error, sizeof(req->error), "the reply is too large");
	else if (req->result == OOB_UNREACHABLE && req->ch->oob->outbound->proxy != PROXY_NONE)
		req->os_error = oob_proxy_error(req->easy, code, req->error, sizeof(req->error));
	else if (code == CURLE_OK)
		snprintf(req->error, sizeof(req->error), "the reply ended inside its head");
	else if (code == CURLE_COULDNT_CONNECT && err != 0) {
		req->os_error = (int)err;
		snprintf(req->error, sizeof(req->error), "%s", strerror((int)err));
	}
	else
		snprintf(req->error, sizeof(req->error), "%s", curl_easy_strerror(code));
}

static void
take_round_trip(struct oob_request *req)
{
	struct oob_channel *ch = req->ch;
	CURL *e = req->easy;
	curl_off_t lookup = 0, tcp = 0, tls = 0, sent = 0, first = 0, us;
	unsigned ms;
	long connects = 0;

	curl_easy_getinfo(e, CURLINFO_NAMELOOKUP_TIME_T, &lookup);
	curl_easy_getinfo(e, CURLINFO_CONNECT_TIME_T, &tcp);
	curl_easy_getinfo(e, CURLINFO_APPCONNECT_TIME_T, &tls);
	curl_easy_getinfo(e, CURLINFO_PRETRANSFER_TIME_T, &sent);
	curl_easy_getinfo(e, CURLINFO_STARTTRANSFER_TIME_T, &first);
	curl_easy_getinfo(e, CURLINFO_NUM_CONNECTS, &connects);
	if (first > sent && sent > 0)
		req->rtt_ms = (unsigned)((first - sent + 999) / 1000);
	us = ch->oob->outbound->proxy == PROXY_NONE ? tcp - lookup : tls - tcp;
	if (connects == 0 || tls == 0 || us <= 0)
		return;
	ms = (unsigned)((us + 999) / 1000);
	ch->srtt_ms = ch->srtt_ms == 0 ? ms : (7 * ch->srtt_ms + ms + 4) / 8;
}

/* What the end of a request says about its connection and those beside it. */
static void
take_connection(struct oob_request *req)
{
	struct oob_channel *ch = req->ch;
	long connects = 0, version = 0;

	multi_touch(req->multi, req->easy, pool_now(ch->oob));
	curl_easy_getinfo(req->easy, CURLINFO_NUM_CONNECTS, &connects);
	curl_easy_getinfo(req->easy, CURLINFO_HTTP_VERSION, &version);
	if (version != 0)
		ch->http2 = version == CURL_HTTP_VERSION_2_0;
	/* A path that has gone leaves all idle connections dead and silent; each would cost
	 * one more time-out. */
	if (req->result == OOB_TIMEOUT && connects == 0 && req->multi == ch->multi)
		oob_channel_renew(ch);
}

static void
request_over(struct oob_request *req, CURLcode code)
{
	struct oob_channel *ch = req->ch;
	long status = 0;

	curl_easy_getinfo(req->easy, CURLINFO_RESPONSE_CODE, &status);
	req->status = (int)status;
	req->result = result_of(req, code);
	if (req->result != OOB_OK)
		explain(req, code);
	if (req->multi != NULL) {
		take_round_trip(req);
		take_connection(req);
	}
	request_stop(req);
	curl_easy_cleanup(req->easy);
	req->easy = NULL;
	if (req->done == NULL) {
		request_free(req);
		return;
	}
	req->over = true;
	TAILQ_INSERT_TAIL(&ch->done, req, next);
	event_active(ch->deliver, EV_TIMEOUT, 0);
}

static void
on_curl_done(void *req, CURLcode code)
{
	request_over(req, code);
}

/* One a turn: the callback may free the channel, or everything. */
static void
on_deliver(evutil_socket_t fd, short what, void *arg)
{
	struct oob_channel *ch = arg;
	struct oob_request *req = TAILQ_FIRST(&ch->done);
	struct oob_reply reply;
	bool whole;

	(void)fd;
	(void)what;
	if (req == NULL)
		return;
	TAILQ_REMOVE(&ch->done, req, next);
	if (!TAILQ_EMPTY(&ch->done))
		event_active(ch->deliver, EV_TIMEOUT, 0);
	whole = req->result == OOB_OK || req->result == OOB_STATUS;
	reply = (struct oob_reply){
		.result = req->result,
		.status = req->status,
		.body = whole && req->got.n > 0 ? (const char *)buffer_data(&req->got) : "",
		.len = whole ? req->got.n : 0,
		.error = req->result != OOB_OK ? req->error : NULL,
		.os_error = req->os_error,
		.rtt_ms = req->rtt_ms,
	};
	req->delivering = true;
	req->done(req->arg, &reply);
	request_free(req);
}

/* Takes body; done NULL: a GET that opens or refreshes a connection. */
static struct oob_request *
request_new(struct oob_channel *ch, const char *path, char *body, size_t len, unsigned timeout_ms,
    oob_done *done, void *arg)
{
	struct oob_request *req = mem_zalloc(sizeof(*req));
	CURLcode rc;

	req->ch = ch;
	req->easy = curl_easy_init();
	req->body = body;
	req->done = done;
	req->arg = arg;
	assert(req->easy != NULL);
	TAILQ_INSERT_TAIL(&ch->running, req, next);
	if (done != NULL)
		pool_use(&ch->pool, pool_now(ch->oob), ++ch->parallel);
	else
		ch->gets++;
	if (!event_pending(ch->refresh, EV_TIMEOUT, NULL))
		arm_refresh(ch, 0);
	rc = set_request(req, path, len, timeout_ms);
	if (rc == CURLE_OK)
		rc = multi_prepare(ch->multi, req->easy, req);
	if (rc == CURLE_OK && multi_add(ch->multi, req->easy) == CURLM_OK)
		req->multi = ch->multi;
	else
		request_over(req, rc != CURLE_OK ? rc : CURLE_FAILED_INIT);
	return req;
}

struct oob_request *
oob_post(struct oob_channel *ch, const char *path, char *body, size_t len, unsigned timeout_ms,
    oob_done *done, void *arg)
{
	assert(path[0] == '/' && done != NULL);
	return request_new(ch, path, body, len, timeout_ms, done, arg);
}

void
oob_cancel(struct oob_request *req)
{
	if (req == NULL || req->delivering)
		return;
	if (req->over)
		TAILQ_REMOVE(&req->ch->done, req, next);
	else
		request_stop(req);
	request_free(req);
}

/* ---- the pool ---- */

static void
send_get(struct oob_channel *ch)
{
	request_new(ch, "/", NULL, 0, GET_MS, NULL, NULL);
}

/* Idle connections. */
static unsigned
spare(const struct oob_channel *ch)
{
	unsigned live = multi_live(ch->multi), running = multi_running(ch->multi);

	if (ch->http2)
		return live > 0;
	return live > running ? live - running : 0;
}

static void
on_refresh(evutil_socket_t fd, short what, void *arg)
{
	struct oob_channel *ch = arg;
	uint64_t now = pool_now(ch->oob), touched, idle = POOL_REFRESH_MIN_MS;
	unsigned n, keep = pool_keep(&ch->pool, now);

	(void)fd;
	(void)what;
	if (!pool_wanted(&ch->pool, now) && ch->parallel == 0) {
		oob_channel_renew(ch);
		return;
	}
	if (multi_oldest(ch->multi, &touched))
		idle = now > touched ? now - touched : 0;
	if (idle < POOL_REFRESH_MIN_MS) {
		arm_refresh(ch, idle);
		return;
	}
	/* As many at once as are idle, so that curl takes each of them. */
	n = spare(ch);
	n = n < keep ? n : keep;
	do {
		send_get(ch);
	} while (n-- > 1);
	arm_refresh(ch, 0);
}

void
oob_channel_renew(struct oob_channel *ch)
{
	multi_retire(ch->multi);
	ch->multi = multi_new(ch->oob->base, ch->oob->outbound, on_curl_done);
	multi_keep(ch->multi, pool_keep(&ch->pool, pool_now(ch->oob)));
}

unsigned
oob_channel_rtt_ms(const struct oob_channel *ch)
{
	return ch->srtt_ms;
}

/* ---- channels ---- */

/* The same as base64url with '+', '/' and padding; 32 bytes make one '='. */
static char *
pin_spelling(const uint8_t pin[32])
{
	char text[BASE64URL_LEN(32) + 1];

	base64url_encode(text, pin, 32);
	for (char *p = text; *p != '\0'; p++)
		*p = *p == '-' ? '+' : *p == '_' ? '/' : *p;
	return mem_printf("sha256//%s=", text);
}

static struct curl_slist *
list_add(struct curl_slist *list, const char *line)
{
	list = curl_slist_append(list, line);
	assert(list != NULL);
	return list;
}

static void
make_lists(struct oob_channel *ch)
{
	const struct oob_target *t = &ch->target;
	struct curl_slist **lists[] = { &ch->get_headers, &ch->post_headers };
	char *line;

	for (int i = 0; i < 2; i++) {
		if (t->host != NULL) {
			line = mem_printf("Host: %s", t->host);
			*lists[i] = list_add(*lists[i], line);
			free(line);
		}
		*lists[i] = list_add(*lists[i], "User-Agent: " OOB_USER_AGENT);
	}
	ch->post_headers = list_add(ch->post_headers, "Content-Type: application/json");
	ch->post_headers = list_add(ch->post_headers, "Expect:");
	if (t->connect_to != NULL) {
		line = mem_printf("::%s", t->connect_to);
		ch->connect_to = list_add(NULL, line);
		free(line);
	}
}

static const char *
cannot_work(const struct oob_channel *ch)
{
	enum proxy_kind proxy = ch->oob->outbound->proxy;
	int features = curl_version_info(CURLVERSION_NOW)->features;

	if ((features & CURL_VERSION_ASYNCHDNS) == 0)
		return "this libcurl blocks while it looks names up";
	if (proxy == PROXY_SOCKS4 && !ch->target.dial_ip)
		return "a socks4 proxy takes no names: addr is needed";
	if ((proxy == PROXY_SOCKS4 || proxy == PROXY_SOCKS4A) && ch->target.dial_ipv6)
		return "a socks4 proxy takes no IPv6 addresses";
	return NULL;
}

struct oob_channel *
oob_channel_new(struct oob *oob, const struct oob_config *cfg, char error[256])
{
	struct oob_channel *ch = mem_zalloc(sizeof(*ch));
	struct oob_request probe = { .ch = ch };
	const char *bad;
	CURLcode rc;

	ch->oob = oob;
	TAILQ_INIT(&ch->running);
	TAILQ_INIT(&ch->done);
	LIST_INSERT_HEAD(&oob->channels, ch, next);
	ch->multi = multi_new(oob->base, oob->outbound, on_curl_done);
	ch->deliver = event_new(oob->base, -1, 0, on_deliver, ch);
	ch->refresh = evtimer_new(oob->base, on_refresh, ch);
	assert(ch->deliver != NULL && ch->refresh != NULL);
	bad = oob_target_init(&ch->target, cfg);
	if (bad != NULL) {
		snprintf(error, 256, "expected %s", bad);
		goto fail;
	}
	bad = cannot_work(ch);
	if (bad != NULL) {
		snprintf(error, 256, "%s", bad);
		goto fail;
	}
	if (cfg->pin != NULL)
		ch->pin = pin_spelling(cfg->pin);
	make_lists(ch);
	ch->options = (struct oob_options){
		.outbound = oob->outbound,
		.share = oob->share,
		.pin = ch->pin,
		.connect_to = ch->connect_to,
		.dial_ip = ch->target.dial_ip,
	};
	/* An option that this libcurl does not know is found now, not with the first request. */
	probe.easy = curl_easy_init();
	assert(probe.easy != NULL);
	rc = set_request(&probe, "/", 0, 1);
	curl_easy_cleanup(probe.easy);
	if (rc == CURLE_OK)
		return ch;
	snprintf(error, 256, "libcurl %s: %s", curl_version_info(CURLVERSION_NOW)->version,
	    curl_easy_strerror(rc));
fail:
	oob_channel_free(ch);
	return NULL;
}

void
oob_channel_free(struct oob_channel *ch)
{
	struct oob_request *req;

	if (ch == NULL)
		return;
	while ((req = TAILQ_FIRST(&ch->running)) != NULL || (req = TAILQ_FIRST(&ch->done)) != NULL)
		oob_cancel(req);
	multi_retire(ch->multi);
	LIST_REMOVE(ch, next);
	event_free(ch->deliver);
	event_free(ch->refresh);
	curl_slist_free_all(ch->connect_to);
	curl_slist_free_all(ch->get_headers);
	curl_slist_free_all(ch->post_headers);
	oob_target_clear(&ch->target);
	free(ch->pin);
	free(ch);
}

struct oob *
oob_new(struct event_base *base, const struct outbound *outbound)
{
	struct oob *oob = mem_zalloc(sizeof(*oob));
	CURLcode rc = curl_global_init(CURL_GLOBAL_DEFAULT);

	assert(rc == CURLE_OK);
	(void)rc;
	oob->base = base;
	oob->outbound = outbound;
	oob->speed = 1;
	LIST_INIT(&oob->channels);
	oob->share = curl_share_init();
	assert(oob->share != NULL);
	curl_share_setopt(oob->share, CURLSHOPT_SHARE, CURL_LOCK_DATA_SSL_SESSION);
	return oob;
}

void
oob_free(struct oob *oob)
{
	if (oob == NULL)
		return;
	while (!LIST_EMPTY(&oob->channels))
		oob_channel_free(LIST_FIRST(&oob->channels));
	curl_share_cleanup(oob->share);
	curl_global_cleanup();
	free(oob);
}

void
oob_set_pool_speed(struct oob *oob, unsigned times)
{
	oob->speed = times;
}
