#include "pt-client/socks5.h"

#include <arpa/inet.h>
#include <errno.h>
#include <netinet/in.h>
#include <string.h>

#include "common/mem.h"

enum {
	VERSION = 5,
	USERPASS_VERSION = 1,
	METHOD_NONE = 0x00,
	METHOD_USERPASS = 0x02,
	NO_METHOD = 0xff,
	CMD_CONNECT = 1,
	ATYP_IPV4 = 1,
	ATYP_NAME = 3,
	ATYP_IPV6 = 4
};

void
socks5_init(struct socks5 *s)
{
	*s = (struct socks5){ .state = SOCKS5_GREETING };
}

void
socks5_init_local(struct socks5 *s, const char *user, const char *pass)
{
	*s = (struct socks5){ .state = SOCKS5_GREETING, .local = true, .user = user, .pass = pass };
}

void
socks5_clear(struct socks5 *s)
{
	pt_args_clear(&s->args);
	mem_wipe(s->msg, sizeof(s->msg)); /* it may hold a password */
	socks5_init(s);
}

/* How long the message is, as far as its first n bytes tell. */
static size_t
message_len(const struct socks5 *s)
{
	const uint8_t *m = s->msg;
	size_t ulen;

	switch (s->state) {
	case SOCKS5_GREETING: /* VER NMETHODS METHODS */
		return s->n < 2 ? 2 : 2 + (size_t)m[1];
	case SOCKS5_USERPASS: /* VER ULEN UNAME PLEN PASSWD */
		if (s->n < 2)
			return 2;
		ulen = m[1];
		return s->n < 3 + ulen ? 3 + ulen : 3 + ulen + m[2 + ulen];
	case SOCKS5_COMMAND: /* VER CMD RSV ATYP DST.ADDR DST.PORT */
		if (s->n < 4)
			return 4;
		if (m[3] == ATYP_IPV4)
			return 10;
		if (m[3] == ATYP_IPV6)
			return 22;
		if (m[3] == ATYP_NAME)
			return s->n < 5 ? 5 : 7 + (size_t)m[4];
		return 4;
	case SOCKS5_DONE:
	case SOCKS5_FAILED:
		break;
	}
	return 0;
}

static void
fail(struct socks5 *s, const char *why)
{
	s->why = why;
	s->state = SOCKS5_FAILED;
}

static void
send_pair(struct buffer *out, uint8_t a, uint8_t b)
{
	buffer_add(out, (const uint8_t[]){ a, b }, 2);
}

static void
greeting(struct socks5 *s, struct buffer *out)
{
	const uint8_t *methods = s->msg + 2;
	size_t n = s->msg[1];

	/* User and password first: a PT parent that offers both has arguments to pass. */
	if (memchr(methods, METHOD_USERPASS, n) != NULL) {
		send_pair(out, VERSION, METHOD_USERPASS);
		s->state = SOCKS5_USERPASS;
	} else if (memchr(methods, METHOD_NONE, n) != NULL && s->user == NULL) {
		send_pair(out, VERSION, METHOD_NONE);
		s->state = SOCKS5_COMMAND;
	} else {
		send_pair(out, VERSION, NO_METHOD);
		fail(s, "no usable SOCKS authentication method");
	}
}

/* pt-spec section 3.5: where the name alone holds the arguments, the password, which RFC 1929
 * does not allow to be empty, is one NUL. An escape may lie across the two. */
static bool
take_arguments(struct socks5 *s, const char **why)
{
	uint8_t *user = s->msg + 2;
	size_t ulen = s->msg[1], plen = user[ulen];
	const uint8_t *pass = user + ulen + 1;

	*why = "empty SOCKS user name";
	if (plen == 1 && pass[0] == '\0')
		plen = 0;
	memmove(user + ulen, pass, plen);
	return ulen > 0 && pt_args_parse(&s->args, user, ulen + plen, why);
}

/* Whether n bytes are `word`, in a time that depends on neither. */
static bool
same_word(const uint8_t *p, size_t n, const char *word)
{
	uint8_t a[256] = { (uint8_t)n }, b[256] = { (uint8_t)strlen(word) };
	bool same;

	memcpy(a + 1, p, n);
	memcpy(b + 1, word, b[0]);
	same = mem_equal(a, b, sizeof(a));
	mem_wipe(a, sizeof(a));
	mem_wipe(b, sizeof(b));
	return same;
}

static bool
check_password(const struct socks5 *s, const char **why)
{
	const uint8_t *user = s->msg + 2, *pass = user + s->msg[1] + 1;
	bool user_ok, pass_ok;

	*why = "wrong SOCKS user or password";
	if (s->user == NULL)
		return true;
	user_ok = same_word(user, s->msg[1], s->user);
	pass_ok = same_word(pass, pass[-1], s->pass);
	return user_ok && pass_ok;
}

static void
userpass(struct socks5 *s, struct buffer *out)
{
	const char *why;

	if (s->local ? !check_password(s, &why) : !take_arguments(s, &why)) {
		send_pair(out, USERPASS_VERSION, 1);
		fail(s, why);
		return;
	}
	send_pair(out, USERPASS_VERSION, 0);
	s->state = SOCKS5_COMMAND;
}

/* The address of a whole request; false for a name that no resolver could take. */
static bool
take_address(struct socks5 *s)
{
	struct reader r = reader_of(s->msg + 4, s->n - 4), name = { 0 };
	struct sockaddr_in in = { .sin_family = AF_INET };
	struct sockaddr_in6 in6 = { .sin6_family = AF_INET6 };
	bool ok;

	if (s->msg[3] == ATYP_IPV4) {
		ok = reader_copy(&r, &in.sin_addr, sizeof(in.sin_addr)) &&
		    reader_u16(&r, &s->port);
		in.sin_port = htons(s->port);
		memcpy(&s->addr, &in, sizeof(in));
		inet_ntop(AF_INET, &in.sin_addr, s->host, sizeof(s->host));
	} else if (s->msg[3] == ATYP_IPV6) {
		ok = reader_copy(&r, &in6.sin6_addr, sizeof(in6.sin6_addr)) &&
		    reader_u16(&r, &s->port);
		in6.sin6_port = htons(s->port);
		memcpy(&s->addr, &in6, sizeof(in6));
		inet_ntop(AF_INET6, &in6.sin6_addr, s->host, sizeof(s->host));
	} else {
		ok = reader_vec8(&r, &name) && reader_u16(&r, &s->port) && name.n > 0;
		for (size_t i = 0; ok && i < name.n; i++)
			ok = name.p[i] > 0x20 && name.p[i] < 0x7f;
		if (ok)
			memcpy(s->host, name.p, name.n);
	}
	return ok && reader_end(&r);
}

static void
command(struct socks5 *s, struct buffer *out)
{
	enum socks5_rep rep = SOCKS5_REP_OK;
	uint8_t reply[SOCKS5_REPLY_LEN];
	uint8_t atyp = s->msg[3];

	if (s->msg[1] != CMD_CONNECT) {
		rep = SOCKS5_REP_BAD_COMMAND;
		fail(s, "SOCKS command other than CONNECT");
	} else if (atyp != ATYP_IPV4 && atyp != ATYP_IPV6 && atyp != ATYP_NAME) {
		rep = SOCKS5_REP_BAD_ADDRESS;
		fail(s, "unknown SOCKS address type");
	} else if (!take_address(s)) {
		rep = SOCKS5_REP_FAILURE;
		fail(s, "bad host name in a SOCKS request");
	} else {
		s->state = SOCKS5_DONE;
	}
	if (rep != SOCKS5_REP_OK)
		buffer_add(out, reply, socks5_reply(reply, rep));
}

/* Acts on a whole message. */
static void
handle(struct socks5 *s, struct buffer *out)
{
	switch (s->state) {
	case SOCKS5_GREETING:
		greeting(s, out);
		break;
	case SOCKS5_USERPASS:
		userpass(s, out);
		break;
	case SOCKS5_COMMAND:
		command(s, out);
		break;
	case SOCKS5_DONE:
	case SOCKS5_FAILED:
		break;
	}
	s->n = 0;
}

/* Every message starts with the version of its protocol. */
static bool
version_ok(struct socks5 *s, struct buffer *out)
{
	if (s->n == 0)
		return true;
	if (s->msg[0] == (s->state == SOCKS5_USERPASS ? USERPASS_VERSION : VERSION))
		return true;
	if (s->state == SOCKS5_USERPASS)
		send_pair(out, USERPASS_VERSION, 1);
	fail(s, "wrong SOCKS version");
	return false;
}

enum socks5_result
socks5_feed(struct socks5 *s, const uint8_t *p, size_t n, size_t *used, struct buffer *out)
{
	*used = 0;
	while (s->state != SOCKS5_DONE && s->state != SOCKS5_FAILED) {
		size_t missing = message_len(s) - s->n;

		if (missing > n - *used)
			missing = n - *used;
		if (missing > 0) {
			memcpy(s->msg + s->n, p + *used, missing);
			s->n += missing;
			*used += missing;
		}
		if (!version_ok(s, out))
			break;
		if (s->n == message_len(s))
			handle(s, out);
		else if (*used == n)
			return SOCKS5_MORE;
	}
	return s->state == SOCKS5_DONE ? SOCKS5_REQUEST : SOCKS5_BAD;
}

size_t
socks5_reply(uint8_t out[SOCKS5_REPLY_LEN], enum socks5_rep rep)
{
	memset(out, 0, SOCKS5_REPLY_LEN);
	out[0] = VERSION;
	out[1] = (uint8_t)rep;
	out[3] = ATYP_IPV4;
	return SOCKS5_REPLY_LEN;
}

enum socks5_rep
socks5_rep_for_errno(int err)
{
	switch (err) {
	case 0:
		return SOCKS5_REP_OK;
	case ECONNREFUSED:
	case ECONNRESET:
		return SOCKS5_REP_REFUSED;
	case EHOSTUNREACH:
		return SOCKS5_REP_HOST_UNREACHABLE;
	case ENETUNREACH:
		return SOCKS5_REP_NET_UNREACHABLE;
	case ETIMEDOUT:
		return SOCKS5_REP_TTL_EXPIRED;
	default:
		return SOCKS5_REP_FAILURE;
	}
}
