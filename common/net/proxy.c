#include "common/net/proxy.h"

#include <errno.h>
#include <string.h>

#include "common/address.h"
#include "common/mem.h"

enum { SOCKS5_VERSION = 5, SOCKS5_NO_AUTH = 0, SOCKS5_USER_PASS = 2, SOCKS5_NO_METHOD = 0xff };
enum { SOCKS_CONNECT = 1 };
/* 0 stands for any digit; the code is its last three. */
#define HTTP_STATUS_FORM "HTTP/1.0 000"
#define HTTP_STATUS_CODE 9

static enum talk_result
bad(struct proxy *p, int err)
{
	p->err = err;
	return TALK_BAD;
}

static enum talk_result
next(struct proxy *p, enum proxy_state state, size_t want)
{
	p->state = state;
	talk_want(&p->talk, want);
	return TALK_MORE;
}

/* SOCKS5 */

/* What is empty counts as not given. */
static size_t
user_len(const struct outbound *o)
{
	return o->user != NULL ? strlen(o->user) : 0;
}

static size_t
pass_len(const struct outbound *o)
{
	return o->pass != NULL ? strlen(o->pass) : 0;
}

static int
socks5_start(struct proxy *p)
{
	struct writer *w = &p->talk.out;
	bool auth = user_len(p->o) > 0;

	/* RFC 1929 section 2: one byte for each length, and no password without a user. */
	if (user_len(p->o) > 255 || pass_len(p->o) > 255 || (!auth && pass_len(p->o) > 0))
		return EINVAL;
	writer_u8(w, SOCKS5_VERSION);
	writer_u8(w, auth ? 2 : 1);
	writer_u8(w, SOCKS5_NO_AUTH);
	if (auth)
		writer_u8(w, SOCKS5_USER_PASS);
	next(p, PROXY_METHOD, 2);
	return 0;
}

static enum talk_result
socks5_request(struct proxy *p)
{
	struct writer *w = &p->talk.out;

	writer_u8(w, SOCKS5_VERSION);
	writer_u8(w, SOCKS_CONNECT);
	writer_u8(w, 0);
	if (p->target->ss_family == AF_INET) {
		writer_u8(w, 1);
		writer_bytes(w, &((const struct sockaddr_in *)p->target)->sin_addr, 4);
	} else {
		writer_u8(w, 4);
		writer_bytes(w, &((const struct sockaddr_in6 *)p->target)->sin6_addr, 16);
	}
	writer_u16(w, address_port(p->target));
	return next(p, PROXY_REPLY, 2);
}

static enum talk_result
socks5_method(struct proxy *p)
{
	struct writer *w = &p->talk.out;
	const struct outbound *o = p->o;

	if (p->talk.in[0] != SOCKS5_VERSION)
		return bad(p, EPROTO);
	switch (p->talk.in[1]) {
	case SOCKS5_NO_AUTH:
		return socks5_request(p);
	case SOCKS5_USER_PASS:
		if (user_len(o) == 0) /* it was not offered */
			return bad(p, EPROTO);
		writer_u8(w, 1); /* RFC 1929 section 2 */
		writer_u8(w, (uint8_t)user_len(o));
		writer_bytes(w, o->user, user_len(o));
		writer_u8(w, (uint8_t)pass_len(o));
		writer_bytes(w, o->pass, pass_len(o));
		return next(p, PROXY_AUTH, 2);
	case SOCKS5_NO_METHOD:
		return bad(p, EACCES);
	default:
		return bad(p, EPROTO);
	}
}

static enum talk_result
socks5_auth(struct proxy *p)
{
	/* RFC 1929 says 1; proxies that say 5 are about, and are understood everywhere. */
	if (p->talk.in[0] != 1 && p->talk.in[0] != SOCKS5_VERSION)
		return bad(p, EPROTO);
	return p->talk.in[1] == 0 ? socks5_request(p) : bad(p, EACCES);
}

/* Read apart from the rest of the reply: a proxy may hang up behind an error code. */
static enum talk_result
socks5_reply(struct proxy *p)
{
	static const int reasons[] = { /* RFC 1928 section 6 */
		[1] = EIO, [2] = EACCES, [3] = ENETUNREACH, [4] = EHOSTUNREACH,
		[5] = ECONNREFUSED, [6] = ETIMEDOUT, [7] = EOPNOTSUPP, [8] = EAFNOSUPPORT,
	};
	uint8_t rep = p->talk.in[1];

	if (p->talk.in[0] != SOCKS5_VERSION || rep >= sizeof(reasons) / sizeof(reasons[0]))
		return bad(p, EPROTO);
	if (rep != 0)
		return bad(p, reasons[rep]);
	/* Reserved byte, type, and the first byte of the address: it may be a length. */
	return next(p, PROXY_BOUND_TYPE, 3);
}

static enum talk_result
socks5_bound_type(struct proxy *p)
{
	switch (p->talk.in[1]) {
	case 1:
		return next(p, PROXY_BOUND, 4 - 1 + 2);
	case 3:
		return next(p, PROXY_BOUND, (size_t)p->talk.in[2] + 2);
	case 4:
		return next(p, PROXY_BOUND, 16 - 1 + 2);
	default:
		return bad(p, EPROTO);
	}
}

/* SOCKS4: always by address, so 4a differs only in its name. */

static int
socks4_start(struct proxy *p)
{
	struct writer *w = &p->talk.out;

	if (p->target->ss_family != AF_INET)
		return EAFNOSUPPORT;
	if (pass_len(p->o) > 0)
		return EINVAL;
	writer_u8(w, 4);
	writer_u8(w, SOCKS_CONNECT);
	writer_u16(w, address_port(p->target));
	writer_bytes(w, &((const struct sockaddr_in *)p->target)->sin_addr, 4);
	writer_bytes(w, p->o->user, user_len(p->o));
	writer_u8(w, 0);
	next(p, PROXY_SOCKS4_REPLY, 8);
	return 0;
}

static enum talk_result
socks4_reply(struct proxy *p)
{
	if (p->talk.in[0] != 0)
		return bad(p, EPROTO);
	switch (p->talk.in[1]) {
	case 90:
		return TALK_OK;
	case 91: /* refused by its rules, or by the target: it does not say */
		return bad(p, ECONNREFUSED);
	case 92: /* identd, or the user id, says no */
	case 93:
		return bad(p, EACCES);
	default:
		return bad(p, EPROTO);
	}
}

/* HTTP CONNECT */

static void
write_text(struct writer *w, const char *s)
{
	writer_bytes(w, s, strlen(s));
}

/* RFC 7617 wants the other alphabet of RFC 4648, and padding. */
static bool
write_basic(struct writer *w, const struct outbound *o)
{
	char pair[1024], text[BASE64URL_LEN(sizeof(pair)) + 1];
	struct writer plain = writer_of(pair, sizeof(pair));

	writer_bytes(&plain, o->user, user_len(o));
	writer_u8(&plain, ':');
	writer_bytes(&plain, o->pass, pass_len(o));
	if (!plain.failed) {
		base64url_encode(text, pair, plain.n);
		for (char *c = text; *c != '\0'; c++)
			writer_u8(w, (uint8_t)(*c == '-' ? '+' : *c == '_' ? '/' : *c));
		writer_bytes(w, "==", (3 - plain.n % 3) % 3);
	}
	mem_wipe(pair, sizeof(pair));
	mem_wipe(text, sizeof(text));
	return !plain.failed;
}

static int
http_start(struct proxy *p)
{
	struct writer *w = &p->talk.out;
	char target[ADDRESS_TEXT_MAX];

	address_text(target, p->target, address_port(p->target));
	write_text(w, "CONNECT ");
	write_text(w, target);
	write_text(w, " HTTP/1.1\r\nHost: ");
	write_text(w, target);
	if (user_len(p->o) > 0 || pass_len(p->o) > 0) {
		write_text(w, "\r\nProxy-Authorization: Basic ");
		if (!write_basic(w, p->o))
			return EINVAL;
	}
	write_text(w, "\r\n\r\n");
	/* The length of the reply is not known before its end, so byte by byte. */
	next(p, PROXY_HTTP_STATUS, 1);
	return 0;
}

int
proxy_http_reason(int code)
{
	if (code < 200) /* there is no reason for an interim answer to CONNECT */
		return EPROTO;
	if (code == 504)
		return ETIMEDOUT;
	if (code >= 500 && code < 600)
		return EHOSTUNREACH;
	/* 407 and 403, and other refusals; a redirect is not followed either. */
	return EACCES;
}

/* The next byte of the status line (RFC 9112 section 4), up to the code. */
static bool
http_status_byte(struct proxy *p, uint8_t c)
{
	char form = HTTP_STATUS_FORM[p->line];

	if (form != '0')
		return c == form;
	if (c < '0' || c > '9')
		return false;
	p->code = p->line < HTTP_STATUS_CODE ? 0 : p->code * 10 + (c - '0');
	return true;
}

static enum talk_result
http_byte(struct proxy *p)
{
	uint8_t c = p->talk.in[0];

	if (++p->total > PROXY_HTTP_REPLY_MAX)
		return bad(p, EPROTO);
	if (p->state == PROXY_HTTP_STATUS) {
		if (p->line < strlen(HTTP_STATUS_FORM)) {
			if (!http_status_byte(p, c))
				return bad(p, EPROTO);
			p->line++;
			return TALK_MORE;
		}
		if (c != ' ' && c != '\r' && c != '\n')
			return bad(p, EPROTO);
		if (p->code < 200 || p->code > 299)
			return bad(p, proxy_http_reason(p->code));
		p->state = PROXY_HTTP_HEADERS;
	}
	if (c == '\n') {
		if (p->line == 0)
			return TALK_OK;
		p->line = 0;
	} else if (c != '\r') {
		p->line++; /* the CR of a line end counts as nothing, so an empty line is empty */
	}
	return TALK_MORE;
}

static enum talk_result
step(struct talk *t)
{
	struct proxy *p = (struct proxy *)t;

	switch (p->state) {
	case PROXY_METHOD:
		return socks5_method(p);
	case PROXY_AUTH:
		return socks5_auth(p);
	case PROXY_REPLY:
		return socks5_reply(p);
	case PROXY_BOUND_TYPE:
		return socks5_bound_type(p);
	case PROXY_BOUND:
		return TALK_OK;
	case PROXY_SOCKS4_REPLY:
		return socks4_reply(p);
	case PROXY_HTTP_STATUS:
	case PROXY_HTTP_HEADERS:
		return http_byte(p);
	}
	return bad(p, EPROTO);
}

int
proxy_init(struct proxy *p, const struct outbound *o, const struct sockaddr_storage *target)
{
	int err = EINVAL;

	talk_init(&p->talk, step);
	p->o = o;
	p->target = target;
	p->line = p->total = 0;
	p->code = p->err = 0;
	switch (o->proxy) {
	case PROXY_NONE:
		break;
	case PROXY_SOCKS4:
	case PROXY_SOCKS4A:
		err = socks4_start(p);
		break;
	case PROXY_SOCKS5:
		err = socks5_start(p);
		break;
	case PROXY_HTTP:
		err = http_start(p);
		break;
	}
	if (err == 0 && p->talk.out.failed)
		err = EINVAL; /* credentials beyond all reason */
	return err;
}

void
proxy_clear(struct proxy *p)
{
	talk_clear(&p->talk);
}
