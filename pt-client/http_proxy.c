#include "pt-client/http_proxy.h"

#include <arpa/inet.h>
#include <netinet/in.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <strings.h>

#include "common/match.h"
#include "common/mem.h"

#define PAIR_MAX 512 /* user, colon, password */

void
http_proxy_init(struct http_proxy *p, const char *user, const char *pass)
{
	*p = (struct http_proxy){ .user = user, .pass = pass, .state = HTTP_PROXY_MORE };
}

/* It may hold a password. */
static void
forget_input(struct http_proxy *p)
{
	if (p->in.n > 0)
		mem_wipe(p->in.mem, p->in.cap);
	buffer_clear(&p->in);
}

void
http_proxy_clear(struct http_proxy *p)
{
	forget_input(p);
	buffer_clear(&p->head);
	http_proxy_init(p, p->user, p->pass);
}

/* ---- replies ---- */

enum { OK = 200, BAD_REQUEST = 400, FORBIDDEN = 403, NOT_ALLOWED = 405, WHO_ARE_YOU = 407,
	BAD_GATEWAY = 502, TIMEOUT = 504 };

static size_t
write_reply(uint8_t out[HTTP_PROXY_REPLY_MAX], int code)
{
	static const struct {
		int code;
		const char *text, *field;
	} known[] = {
		{ BAD_REQUEST, "Bad Request", "" },
		{ FORBIDDEN, "Forbidden", "" },
		{ NOT_ALLOWED, "Method Not Allowed",
		    "Allow: CONNECT, DELETE, GET, HEAD, OPTIONS, PATCH, POST, PUT\r\n" },
		{ WHO_ARE_YOU, "Proxy Authentication Required",
		    "Proxy-Authenticate: Basic realm=\"sultry\"\r\n" },
		{ BAD_GATEWAY, "Bad Gateway", "" },
		{ TIMEOUT, "Gateway Timeout", "" },
	};
	char *text = (char *)out;

	for (size_t i = 0; i < sizeof(known) / sizeof(known[0]); i++)
		if (known[i].code == code)
			return (size_t)snprintf(text, HTTP_PROXY_REPLY_MAX,
			    "HTTP/1.1 %d %s\r\n%sContent-Length: 0\r\nConnection: close\r\n\r\n", code,
			    known[i].text, known[i].field);
	/* No Content-Length: what follows is the tunnel (RFC 9110 section 9.3.6). */
	return (size_t)snprintf(text, HTTP_PROXY_REPLY_MAX, "HTTP/1.1 200 OK\r\n\r\n");
}

size_t
http_proxy_reply(uint8_t out[HTTP_PROXY_REPLY_MAX], enum socks5_rep rep)
{
	switch (rep) {
	case SOCKS5_REP_OK:
		return write_reply(out, OK);
	case SOCKS5_REP_NOT_ALLOWED:
		return write_reply(out, FORBIDDEN);
	case SOCKS5_REP_TTL_EXPIRED:
		return write_reply(out, TIMEOUT);
	default:
		return write_reply(out, BAD_GATEWAY);
	}
}

/* ---- words ---- */

/* A piece of the head. */
struct text {
	const char *p;
	size_t n;
};

static bool
is(struct text t, const char *word)
{
	return t.n == strlen(word) && strncasecmp(t.p, word, t.n) == 0;
}

/* Cuts off what comes before the first c; false if there is none. */
static bool
until(struct text *t, char c, struct text *before)
{
	const char *at = t->n > 0 ? memchr(t->p, c, t->n) : NULL;

	if (at == NULL)
		return false;
	*before = (struct text){ t->p, (size_t)(at - t->p) };
	t->p = at + 1;
	t->n -= before->n + 1;
	return true;
}

static bool
is_blank(char c)
{
	return c == ' ' || c == '\t';
}

static struct text
trimmed(struct text t)
{
	while (t.n > 0 && is_blank(t.p[0])) {
		t.p++;
		t.n--;
	}
	while (t.n > 0 && is_blank(t.p[t.n - 1]))
		t.n--;
	return t;
}

/* RFC 9110 section 5.6.2. */
static bool
is_token(struct text t)
{
	for (size_t i = 0; i < t.n; i++) {
		char c = t.p[i];

		if (!(c >= '0' && c <= '9') && !((c | 0x20) >= 'a' && (c | 0x20) <= 'z') &&
		    (c == '\0' || strchr("!#$%&'*+-.^_`|~", c) == NULL))
			return false;
	}
	return t.n > 0;
}

/* Takes the next element of a comma list, which may be empty; false at its end. */
static bool
next_element(struct text *list, struct text *element)
{
	if (list->p == NULL)
		return false;
	if (!until(list, ',', element)) {
		*element = *list;
		list->p = NULL;
	}
	*element = trimmed(*element);
	return true;
}

static bool
list_has(struct text list, struct text name)
{
	struct text element;

	while (next_element(&list, &element))
		if (element.n == name.n && strncasecmp(element.p, name.p, name.n) == 0)
			return true;
	return false;
}

/* ---- the request line ---- */

static bool
parse_port(struct text t, uint16_t *port)
{
	unsigned v = 0;

	for (size_t i = 0; i < t.n; i++) {
		if (t.p[i] < '0' || t.p[i] > '9')
			return false;
		v = v * 10 + (unsigned)(t.p[i] - '0');
		if (v > UINT16_MAX)
			return false;
	}
	*port = (uint16_t)v;
	return t.n > 0 && t.n <= 5 && v > 0;
}

/* host:port or, if a port may be missing, host. */
static bool
parse_authority(struct http_proxy *p, struct text t, uint16_t default_port)
{
	struct text host = t;
	struct in_addr v4;
	uint8_t ip[16];
	bool v6 = t.n > 0 && t.p[0] == '[', colon;

	if (v6) {
		t.p++;
		t.n--;
		if (!until(&t, ']', &host) || (t.n > 0 && t.p[0] != ':'))
			return false;
		colon = t.n > 0;
		t = colon ? (struct text){ t.p + 1, t.n - 1 } : t;
	} else {
		colon = until(&t, ':', &host);
	}
	p->port = default_port;
	if (colon ? !parse_port(t, &p->port) : default_port == 0)
		return false;
	if (host.n >= sizeof(p->host) || memchr(host.p, '\0', host.n) != NULL)
		return false;
	memcpy(p->host, host.p, host.n);
	p->host[host.n] = '\0';
	if (!v6)
		return inet_pton(AF_INET, p->host, &v4) == 1 || match_name_ok(p->host);
	return inet_pton(AF_INET6, p->host, ip) == 1 &&
	    inet_ntop(AF_INET6, ip, p->host, sizeof(p->host)) != NULL;
}

/* What the request line says. */
struct request {
	struct text method, authority, path, version;
};

/* http://authority[/path][?query] */
static bool
parse_absolute(struct http_proxy *p, struct request *r, struct text target)
{
	static const char scheme[] = "http://";
	size_t n = sizeof(scheme) - 1, i;

	if (target.n < n || strncasecmp(target.p, scheme, n) != 0)
		return false;
	target.p += n;
	target.n -= n;
	for (i = 0; i < target.n && target.p[i] != '/' && target.p[i] != '?'; i++)
		continue;
	r->authority = (struct text){ target.p, i };
	r->path = (struct text){ target.p + i, target.n - i };
	return parse_authority(p, r->authority, 80);
}

/* method SP target SP version (RFC 9112 section 3): the reply's code, or 0 if it is good. */
static int
parse_request_line(struct http_proxy *p, struct request *r, struct text line)
{
	struct text target;

	p->why = "not an HTTP request line";
	if (!until(&line, ' ', &r->method) || !until(&line, ' ', &target) || !is_token(r->method))
		return BAD_REQUEST;
	r->version = line;
	if (line.n != 8 || memcmp(line.p, "HTTP/1.", 7) != 0 || (line.p[7] != '0' && line.p[7] != '1'))
		return BAD_REQUEST;
	p->why = "bad target of an HTTP request";
	for (size_t i = 0; i < target.n; i++)
		if ((uint8_t)target.p[i] <= ' ' || target.p[i] == 0x7f || target.p[i] == '#')
			return BAD_REQUEST;
	p->connect = r->method.n == 7 && memcmp(r->method.p, "CONNECT", 7) == 0;
	if (p->connect ? !parse_authority(p, target, 0) : !parse_absolute(p, r, target))
		return BAD_REQUEST;
	p->why = "HTTP method TRACE";
	/* It would have to count Max-Forwards, and shows cookies to scripts. */
	if (is(r->method, "TRACE"))
		return NOT_ALLOWED;
	p->why = NULL;
	return 0;
}

/* ---- the fields ---- */

struct fields {
	unsigned hosts, lengths, codings, credentials, versions;
	uint64_t length;        /* what Content-Length says */
	struct text credential; /* the value of Proxy-Authorization */
	struct text connection[16];
	unsigned n_connection;
};

/* name ":" OWS value OWS (RFC 9112 section 5). */
static bool
split_field(struct text line, struct text *name, struct text *value)
{
	if (!until(&line, ':', name) || !is_token(*name))
		return false;
	for (size_t i = 0; i < line.n; i++)
		if (((uint8_t)line.p[i] < ' ' && line.p[i] != '\t') || line.p[i] == 0x7f)
			return false;
	*value = trimmed(line);
	return true;
}

static bool
parse_length(struct text t, uint64_t *length)
{
	*length = 0;
	for (size_t i = 0; i < t.n; i++) {
		if (t.p[i] < '0' || t.p[i] > '9' || i == 18)
			return false;
		*length = *length * 10 + (unsigned)(t.p[i] - '0');
	}
	return t.n > 0;
}

/* What is wrong with a field, or NULL. */
static const char *
read_field(struct fields *f, struct text name, struct text value)
{
	if (is(name, "Host")) {
		f->hosts++;
	} else if (is(name, "Content-Length")) {
		f->lengths++;
		if (!parse_length(value, &f->length))
			return "bad Content-Length";
	} else if (is(name, "Transfer-Encoding")) {
		f->codings++;
		if (!is(value, "chunked"))
			return "Transfer-Encoding other than chunked";
	} else if (is(name, "Proxy-Authorization")) {
		f->credentials++;
		f->credential = value;
	} else if (is(name, "Connection")) {
		if (f->n_connection == sizeof(f->connection) / sizeof(f->connection[0]))
			return "too many Connection fields";
		f->connection[f->n_connection++] = value;
	}
	return NULL;
}

/* RFC 9110 section 7.6.1: the options of Connection name fields that end here. These must
 * not be dropped that way: they say where the request ends, or for whom it is. */
static bool
connection_ok(const struct fields *f)
{
	static const char *const stay[] = { "Host", "Content-Length", "Transfer-Encoding" };

	for (unsigned i = 0; i < f->n_connection; i++)
		for (size_t k = 0; k < sizeof(stay) / sizeof(stay[0]); k++)
			if (list_has(f->connection[i], (struct text){ stay[k], strlen(stay[k]) }))
				return false;
	return true;
}

/* A Host that is missing is none that could contradict the target: old tools send CONNECT
 * without one. */
static const char *
check_fields(const struct fields *f, const struct http_proxy *p, const struct request *r)
{
	if (f->hosts > 1)
		return "more than one Host";
	if (f->lengths + f->codings > 1)
		return "more than one length of the body";
	if (f->codings > 0 && r->version.p[7] == '0')
		return "Transfer-Encoding in HTTP/1.0";
	if (p->connect && (f->codings > 0 || f->length > 0))
		return "CONNECT with a body";
	if (f->credentials > 1)
		return "more than one Proxy-Authorization";
	if (!connection_ok(f))
		return "Connection names a field that has to stay";
	return NULL;
}

/* Whether the credential is the base64 of user:pass, in a time that tells only lengths. */
static bool
authorized(const struct http_proxy *p, struct text credential)
{
	char pair[PAIR_MAX], want[BASE64URL_LEN(sizeof(pair)) + 3];
	int n = snprintf(pair, sizeof(pair), "%s:%s", p->user, p->pass);
	struct text scheme;
	size_t len;
	bool ok;

	if (n >= (int)sizeof(pair) || !until(&credential, ' ', &scheme) || !is(scheme, "Basic"))
		return false;
	credential = trimmed(credential);
	base64url_encode(want, pair, (size_t)n);
	/* RFC 7617 wants the other alphabet of RFC 4648, and padding. */
	for (char *c = want; *c != '\0'; c++)
		*c = *c == '-' ? '+' : *c == '_' ? '/' : *c;
	len = strlen(want);
	memcpy(want + len, "==", (size_t)(3 - n % 3) % 3);
	len += (size_t)(3 - n % 3) % 3;
	ok = credential.n == len && mem_equal(credential.p, want, len);
	mem_wipe(pair, sizeof(pair));
	mem_wipe(want, sizeof(want));
	return ok;
}

/* ---- what the target gets ---- */

static void
put(struct http_proxy *p, struct text t)
{
	buffer_add(&p->head, t.p, t.n);
}

static void
put_text(struct http_proxy *p, const char *s)
{
	buffer_add(&p->head, s, strlen(s));
}

/* Fields that end here, or that are written anew. */
static bool
is_dropped(const struct fields *f, struct text name)
{
	static const char *const ours[] = { "Host", "Connection", "Proxy-Connection", "Keep-Alive",
		"Proxy-Authorization", "Upgrade", "TE" };

	for (size_t i = 0; i < sizeof(ours) / sizeof(ours[0]); i++)
		if (is(name, ours[i]))
			return true;
	for (unsigned i = 0; i < f->n_connection; i++)
		if (list_has(f->connection[i], name))
			return true;
	return false;
}

/* The Host field says what the target says, whatever the client's did (RFC 9112 section
 * 3.2.2). No Via: the request is to look as if it came straight from the client. */
static void
write_head(struct http_proxy *p, const struct request *r, const struct fields *f, struct text rest)
{
	struct text line, name, value;

	put(p, r->method);
	put_text(p, " ");
	if (r->path.n == 0)
		put_text(p, is(r->method, "OPTIONS") ? "*" : "/"); /* RFC 9112 section 3.2.4 */
	else if (r->path.p[0] == '?')
		put_text(p, "/");
	put(p, r->path);
	put_text(p, " ");
	put(p, r->version);
	put_text(p, "\r\nHost: ");
	put(p, r->authority);
	put_text(p, "\r\n");
	while (until(&rest, '\n', &line) && line.n > 1) {
		line.n--; /* CR */
		if (split_field(line, &name, &value) && !is_dropped(f, name)) {
			put(p, line);
			put_text(p, "\r\n");
		}
	}
	put_text(p, "Connection: close\r\n\r\n");
}

/* ---- the head ---- */

static void
fail(struct http_proxy *p, int code, const char *why, struct buffer *out)
{
	uint8_t reply[HTTP_PROXY_REPLY_MAX];

	p->state = HTTP_PROXY_BAD;
	p->why = why;
	buffer_add(out, reply, write_reply(reply, code));
}

/* Reads the whole head, whose line ends are known to be good. */
static void
read_head(struct http_proxy *p, struct buffer *out)
{
	struct text rest = { (const char *)buffer_data(&p->in), p->in.n }, fields, line, name, value;
	struct request r = { .path.n = 0 };
	struct fields f = { .hosts = 0 };
	const char *why = NULL;
	int code;

	until(&rest, '\n', &line);
	line.n--;
	code = parse_request_line(p, &r, line);
	if (code != 0) {
		fail(p, code, p->why, out);
		return;
	}
	fields = rest;
	while (why == NULL && until(&rest, '\n', &line) && line.n > 1) {
		line.n--;
		why = split_field(line, &name, &value) ? read_field(&f, name, value) :
		    "not an HTTP header field";
	}
	if (why == NULL)
		why = check_fields(&f, p, &r);
	if (why != NULL) {
		fail(p, BAD_REQUEST, why, out);
	} else if (p->user != NULL && (f.credentials == 0 || !authorized(p, f.credential))) {
		fail(p, WHO_ARE_YOU, "no proxy authorization, or a wrong one", out);
	} else {
		p->state = HTTP_PROXY_REQUEST;
		if (p->connect)
			return;
		write_head(p, &r, &f, fields);
		http_body_init(&p->body, f.codings > 0, f.length);
	}
}

/* Acts on the line feed that was just added. */
static void
end_line(struct http_proxy *p, struct buffer *out)
{
	const uint8_t *in = buffer_data(&p->in);
	size_t len = p->in.n - p->line;

	/* CRLF only (RFC 9112 section 2.2 lets us refuse the rest), and no CR elsewhere. */
	if (len < 2 || memchr(in + p->line, '\r', len) != in + p->in.n - 2)
		fail(p, BAD_REQUEST, "bad line end", out);
	else if (len > 2 && p->line > 0 && is_blank((char)in[p->line]))
		fail(p, BAD_REQUEST, "folded header field", out);
	else if (len == 2 && p->line == 0)
		fail(p, BAD_REQUEST, "not an HTTP request line", out);
	else if (len == 2)
		read_head(p, out);
	p->line = p->in.n;
}

enum http_proxy_result
http_proxy_feed(struct http_proxy *p, const uint8_t *in, size_t n, size_t *used,
    struct buffer *out)
{
	for (*used = 0; *used < n && p->state == HTTP_PROXY_MORE; ++*used) {
		buffer_add(&p->in, in + *used, 1);
		if (in[*used] == '\n')
			end_line(p, out);
		else if (in[*used] == '\0')
			fail(p, BAD_REQUEST, "NUL byte", out);
		else if (p->in.n == HTTP_PROXY_HEAD_MAX)
			fail(p, BAD_REQUEST, "head too long", out);
	}
	if (p->state != HTTP_PROXY_MORE)
		forget_input(p);
	return p->state;
}
