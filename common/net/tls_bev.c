#include "common/net/tls_bev.h"

#include <netinet/in.h>
#include <netinet/tcp.h>
#include <stdbool.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>

#include <event2/buffer.h>
#include <event2/event.h>
#include <wolfssl/options.h>
#include <wolfssl/ssl.h>

#include "common/mem.h"
#include "common/tickets.h"

#define RECORD_MAX 16384
/* Plaintext that is encrypted before the socket is tried. */
#define OUT_BATCH (4 * RECORD_MAX)
/* Ciphertext that may wait for a peer that does not read: a batch, and what TLS
 * itself answers with (alerts, key updates), which the peer can ask for at will. */
#define OUT_MAX (2 * OUT_BATCH)
/* Ciphertext that is read ahead of the application. */
#define IN_MAX (64 * 1024)

struct tls_ctx {
	WOLFSSL_CTX *wolf;
	struct tickets tickets; /* of a server */
	bool server;
};

struct tls_conn {
	WOLFSSL *ssl; /* NULL: could not be had */
	struct bufferevent *bev; /* the filter: plaintext */
	struct bufferevent *sock; /* below it: ciphertext */
	struct evbuffer *out; /* what wolfSSL wrote since the last push */
	bufferevent_data_cb filter_read, filter_write; /* what libevent put on sock */
	bufferevent_event_cb filter_event;
	void *filter;
	void *owner;
	void (*freed)(void *owner);
	size_t unsent; /* plaintext at the front of bev's output that is encrypted */
	bool server;
	bool started;
	bool established;
	bool ended; /* EOF or an error was reported: nothing is read any more */
	bool finished; /* close_notify was sent */
};

static int
fail(char error[256], const char *what, int code)
{
	char why[WOLFSSL_MAX_ERROR_SZ] = "";

	if (code != 0)
		wolfSSL_ERR_error_string_n((unsigned long)code, why, sizeof(why));
	snprintf(error, 256, "%s%s%.160s", what, code != 0 ? ": " : "", why);
	return -1;
}

static int
load_certificate(WOLFSSL_CTX *wolf, const char *cert_pem, const char *key_pem, char error[256])
{
	int rc = wolfSSL_CTX_use_certificate_chain_buffer(wolf, (const unsigned char *)cert_pem,
							  (long)strlen(cert_pem));
	if (rc != WOLFSSL_SUCCESS)
		return fail(error, "cannot use the certificate", rc);
	rc = wolfSSL_CTX_use_PrivateKey_buffer(wolf, (const unsigned char *)key_pem,
					       (long)strlen(key_pem), WOLFSSL_FILETYPE_PEM);
	if (rc != WOLFSSL_SUCCESS)
		return fail(error, "cannot use the private key", rc);
	if (wolfSSL_CTX_check_private_key(wolf) != WOLFSSL_SUCCESS)
		return fail(error, "the private key does not belong to the certificate", 0);
	return 0;
}

/* Reads ciphertext that libevent has already taken from the socket. */
static int
on_recv(WOLFSSL *ssl, char *buf, int n, void *arg)
{
	struct tls_conn *c = arg;
	int got = evbuffer_remove(bufferevent_get_input(c->sock), buf, (size_t)n);

	(void)ssl;
	return got > 0 ? got : WOLFSSL_CBIO_ERR_WANT_READ;
}

/* Collects ciphertext, so that a flight leaves as a whole; never "want write". */
static int
on_send(WOLFSSL *ssl, char *buf, int n, void *arg)
{
	struct tls_conn *c = arg;
	size_t waiting = evbuffer_get_length(bufferevent_get_output(c->sock));

	(void)ssl;
	if (waiting + evbuffer_get_length(c->out) > OUT_MAX ||
	    evbuffer_add(c->out, buf, (size_t)n) != 0)
		return WOLFSSL_CBIO_ERR_GENERAL;
	return n;
}

static struct tls_ctx *
ctx_new(WOLFSSL_METHOD *method, bool server, char error[256])
{
	static const char ciphers[] =
		"TLS13-AES128-GCM-SHA256:TLS13-AES256-GCM-SHA384:TLS13-CHACHA20-POLY1305-SHA256:"
		"ECDHE-ECDSA-AES128-GCM-SHA256:ECDHE-RSA-AES128-GCM-SHA256:"
		"ECDHE-ECDSA-AES256-GCM-SHA384:ECDHE-RSA-AES256-GCM-SHA384:"
		"ECDHE-ECDSA-CHACHA20-POLY1305:ECDHE-RSA-CHACHA20-POLY1305";
	struct tls_ctx *ctx = mem_zalloc(sizeof(*ctx));

	ctx->server = server;
	ctx->wolf = wolfSSL_CTX_new(method);
	if (ctx->wolf == NULL ||
	    wolfSSL_CTX_SetMinVersion(ctx->wolf, WOLFSSL_TLSV1_2) != WOLFSSL_SUCCESS ||
	    wolfSSL_CTX_set_cipher_list(ctx->wolf, ciphers) != WOLFSSL_SUCCESS) {
		fail(error, "cannot set up TLS", 0);
		tls_ctx_free(ctx);
		return NULL;
	}
	wolfSSL_SetIORecv(ctx->wolf, on_recv);
	wolfSSL_SetIOSend(ctx->wolf, on_send);
	wolfSSL_CTX_set_verify(ctx->wolf, WOLFSSL_VERIFY_NONE, NULL);
	return ctx;
}

/* Seals and opens session tickets. wolfSSL leaves room for the tag behind what it wants
 * sealed; iv and mac, which the AEAD does not need, salt the ticket's key. */
static int
on_ticket(WOLFSSL *ssl, unsigned char name[WOLFSSL_TICKET_NAME_SZ],
	  unsigned char iv[WOLFSSL_TICKET_IV_SZ], unsigned char mac[WOLFSSL_TICKET_MAC_SZ],
	  int seal, unsigned char *ticket, int n, int *out_n, void *arg)
{
	static const int verdict[] = { [TICKET_OK] = WOLFSSL_TICKET_RET_OK,
				       [TICKET_OLD] = WOLFSSL_TICKET_RET_CREATE,
				       [TICKET_BAD] = WOLFSSL_TICKET_RET_REJECT };
	const struct tickets *keys = arg;
	struct ticket_head head;

	(void)ssl;
	if (keys == NULL) /* the context is gone */
		return WOLFSSL_TICKET_RET_REJECT;
	if (seal) {
		if (*out_n < n + TICKET_OVERHEAD)
			return WOLFSSL_TICKET_RET_FATAL;
		tickets_seal(keys, &head, ticket, (size_t)n);
		memcpy(name, head.name, sizeof(head.name));
		memcpy(iv, head.salt, WOLFSSL_TICKET_IV_SZ);
		memcpy(mac, head.salt + WOLFSSL_TICKET_IV_SZ, WOLFSSL_TICKET_MAC_SZ);
		*out_n = n + TICKET_OVERHEAD;
		return WOLFSSL_TICKET_RET_OK;
	}
	memcpy(head.name, name, sizeof(head.name));
	memcpy(head.salt, iv, WOLFSSL_TICKET_IV_SZ);
	memcpy(head.salt + WOLFSSL_TICKET_IV_SZ, mac, WOLFSSL_TICKET_MAC_SZ);
	*out_n = n - TICKET_OVERHEAD;
	return verdict[tickets_open(keys, &head, ticket, (size_t)n)];
}

_Static_assert(TICKET_NAME == WOLFSSL_TICKET_NAME_SZ &&
	       TICKET_SALT == WOLFSSL_TICKET_IV_SZ + WOLFSSL_TICKET_MAC_SZ, "a ticket's head");

struct tls_ctx *
tls_ctx_server(const char *cert_pem, const char *key_pem, char error[256])
{
	struct tls_ctx *ctx = ctx_new(wolfSSLv23_server_method(), true, error);

	if (ctx == NULL)
		return NULL;
	tickets_init(&ctx->tickets);
	/* wolfSSL's own ticket keys and its cache of sessions keep old secrets for as long as
	 * no new client comes to overwrite them. */
	wolfSSL_CTX_set_session_cache_mode(ctx->wolf, WOLFSSL_SESS_CACHE_OFF);
	wolfSSL_CTX_set_TicketEncCb(ctx->wolf, on_ticket);
	wolfSSL_CTX_set_TicketEncCtx(ctx->wolf, &ctx->tickets);
	if (load_certificate(ctx->wolf, cert_pem, key_pem, error) != 0) {
		tls_ctx_free(ctx);
		return NULL;
	}
	return ctx;
}

void
tls_ctx_rotate_tickets(struct tls_ctx *ctx)
{
	tickets_rotate(&ctx->tickets);
}

struct tls_ctx *
tls_ctx_client(char error[256])
{
	return ctx_new(wolfSSLv23_client_method(), false, error);
}

void
tls_ctx_free(struct tls_ctx *ctx)
{
	if (ctx == NULL)
		return;
	if (ctx->wolf != NULL)
		wolfSSL_CTX_set_TicketEncCtx(ctx->wolf, NULL); /* connections may go on */
	wolfSSL_CTX_free(ctx->wolf);
	tickets_clear(&ctx->tickets);
	free(ctx);
}

/* Gives the kernel what it takes at once, and libevent the rest. Trying first
 * matters: evhttp closes a connection as soon as its output is empty. Errors are
 * left to libevent, which meets them again and reports them. */
static void
push(struct tls_conn *c)
{
	struct evbuffer *below = bufferevent_get_output(c->sock);
	size_t n = evbuffer_get_length(c->out);

	if (n > 0 && evbuffer_get_length(below) == 0) {
		ssize_t sent = send(bufferevent_getfd(c->sock), evbuffer_pullup(c->out, -1), n,
				    MSG_NOSIGNAL);
		if (sent > 0)
			evbuffer_drain(c->out, (size_t)sent);
	}
	if (evbuffer_get_length(c->out) > 0)
		evbuffer_add_buffer(below, c->out);
}

/* Reports the end of the connection once the bytes before it were handed over:
 * from the event loop, not from inside the filter. */
static void
end(struct tls_conn *c, short what)
{
	if (c->ended)
		return;
	c->ended = true;
	wolfSSL_ERR_clear_error();
	bufferevent_trigger_event(c->bev, what, BEV_TRIG_DEFER_CALLBACKS);
}

/* Has the output looked at again from the event loop. */
static void
kick(struct tls_conn *c)
{
	bufferevent_trigger(c->sock, EV_WRITE,
			    BEV_TRIG_IGNORE_WATERMARKS | BEV_TRIG_DEFER_CALLBACKS);
}

/* evhttp queues a reply while EV_WRITE is off and switches it on afterwards, which
 * a filter does not notice. */
static void
on_output_added(struct evbuffer *output, const struct evbuffer_cb_info *info, void *arg)
{
	struct tls_conn *c = arg;

	(void)output;
	if (info->n_added > 0 && (bufferevent_get_enabled(c->bev) & EV_WRITE) == 0)
		kick(c);
}

static void
handshake(struct tls_conn *c)
{
	int rc, nodelay = 1;

	if (!c->started) {
		c->started = true;
		setsockopt(bufferevent_getfd(c->sock), IPPROTO_TCP, TCP_NODELAY, &nodelay,
			   sizeof(nodelay));
	}
	if (c->ssl == NULL) {
		end(c, BEV_EVENT_ERROR | BEV_EVENT_READING);
		return;
	}
	rc = c->server ? wolfSSL_accept(c->ssl) : wolfSSL_connect(c->ssl);
	if (rc == WOLFSSL_SUCCESS) {
		c->established = true;
		kick(c);
	} else if (wolfSSL_get_error(c->ssl, rc) != WOLFSSL_ERROR_WANT_READ) {
		end(c, BEV_EVENT_ERROR | BEV_EVENT_READING);
	}
}

/* Decrypts all that is here. */
static enum bufferevent_filter_result
decrypt(struct tls_conn *c, struct evbuffer *dst)
{
	enum bufferevent_filter_result result = BEV_NEED_MORE;

	while (!c->ended) {
		uint8_t record[RECORD_MAX];
		int n = wolfSSL_read(c->ssl, record, sizeof(record));

		if (n > 0) {
			evbuffer_add(dst, record, (size_t)n);
			result = BEV_OK;
			if (evbuffer_get_length(dst) > TLS_BEV_INPUT_MAX)
				end(c, BEV_EVENT_ERROR | BEV_EVENT_READING);
			continue;
		}
		switch (wolfSSL_get_error(c->ssl, n)) {
		case WOLFSSL_ERROR_WANT_READ:
			return result;
		case WOLFSSL_ERROR_ZERO_RETURN:
			end(c, BEV_EVENT_EOF | BEV_EVENT_READING);
			break;
		default:
			end(c, BEV_EVENT_ERROR | BEV_EVENT_READING);
		}
	}
	return result;
}

static enum bufferevent_filter_result
on_input(struct evbuffer *src, struct evbuffer *dst, ev_ssize_t limit,
	 enum bufferevent_flush_mode mode, void *arg)
{
	struct tls_conn *c = arg;
	enum bufferevent_filter_result result = BEV_NEED_MORE;

	(void)limit;
	(void)mode;
	if (!c->ended && !c->established)
		handshake(c);
	if (c->established)
		result = decrypt(c, dst);
	if (c->ended)
		evbuffer_drain(src, evbuffer_get_length(src));
	push(c);
	return result;
}

/* Encrypts a batch without taking it from src; sets unsent. */
static void
encrypt(struct tls_conn *c, struct evbuffer *src)
{
	size_t total = evbuffer_get_length(src);
	const uint8_t *p;

	if (total > OUT_BATCH)
		total = OUT_BATCH;
	p = evbuffer_pullup(src, (ev_ssize_t)total);
	while (c->unsent < total) {
		size_t n = total - c->unsent < RECORD_MAX ? total - c->unsent : RECORD_MAX;

		if (wolfSSL_write(c->ssl, p + c->unsent, (int)n) != (int)n) {
			end(c, BEV_EVENT_ERROR | BEV_EVENT_WRITING);
			return;
		}
		c->unsent += n;
	}
}

/* Once, and only behind what was written whole. */
static void
finish(struct tls_conn *c)
{
	if (c->established && !c->finished) {
		c->finished = true;
		wolfSSL_shutdown(c->ssl);
		wolfSSL_ERR_clear_error();
	}
}

static enum bufferevent_filter_result
on_output(struct evbuffer *src, struct evbuffer *dst, ev_ssize_t limit,
	  enum bufferevent_flush_mode mode, void *arg)
{
	struct tls_conn *c = arg;

	(void)limit;
	if (c->established && !c->finished && c->unsent == 0 &&
	    evbuffer_get_length(dst) == 0)
		encrypt(c, src);
	if (mode == BEV_FINISHED)
		finish(c);
	push(c);
	if (c->unsent == 0 || evbuffer_get_length(dst) > 0)
		return BEV_NEED_MORE;
	evbuffer_drain(src, c->unsent);
	c->unsent = 0;
	return BEV_OK;
}

/* libevent's filter does not hold itself while it works for the socket below. If
 * the user frees it meanwhile, as evhttp does after the last byte of a reply, it
 * still sets a timer, in memory that is about to be freed. So we hold it. */
static void
on_sock_read(struct bufferevent *sock, void *arg)
{
	struct tls_conn *c = arg;
	struct bufferevent *bev = c->bev;

	bufferevent_incref(bev);
	c->filter_read(sock, c->filter);
	bufferevent_decref(bev);
}

static void
on_sock_write(struct bufferevent *sock, void *arg)
{
	struct tls_conn *c = arg;
	struct bufferevent *bev = c->bev;

	bufferevent_incref(bev);
	c->filter_write(sock, c->filter);
	bufferevent_decref(bev);
}

static void
on_sock_event(struct bufferevent *sock, short what, void *arg)
{
	struct tls_conn *c = arg;
	struct bufferevent *bev = c->bev;

	bufferevent_incref(bev);
	c->filter_event(sock, what, c->filter);
	bufferevent_decref(bev);
}

static void
on_free(void *arg)
{
	struct tls_conn *c = arg;

	/* If the socket is shut down or full by now, it is too late. */
	finish(c);
	if (evbuffer_get_length(c->out) > 0 &&
	    evbuffer_get_length(bufferevent_get_output(c->sock)) == 0)
		send(bufferevent_getfd(c->sock), evbuffer_pullup(c->out, -1),
		     evbuffer_get_length(c->out), MSG_NOSIGNAL);
	wolfSSL_free(c->ssl);
	evbuffer_free(c->out);
	if (c->freed != NULL)
		c->freed(c->owner);
	free(c);
}

static WOLFSSL *
ssl_new(struct tls_ctx *ctx, struct tls_conn *c)
{
	static char alpn[] = "http/1.1";
	WOLFSSL *ssl = wolfSSL_new(ctx->wolf);

	if (ssl == NULL)
		return NULL;
	wolfSSL_SetIOReadCtx(ssl, c);
	wolfSSL_SetIOWriteCtx(ssl, c);
	if (wolfSSL_UseALPN(ssl, alpn, sizeof(alpn) - 1, WOLFSSL_ALPN_CONTINUE_ON_MISMATCH) !=
	    WOLFSSL_SUCCESS) {
		wolfSSL_free(ssl);
		return NULL;
	}
	return ssl;
}

static void *
must(void *p)
{
	if (p == NULL)
		abort();
	return p;
}

struct bufferevent *
tls_bev_new(struct event_base *base, struct tls_ctx *ctx, evutil_socket_t fd)
{
	struct tls_conn *c = mem_zalloc(sizeof(*c));

	c->server = ctx->server;
	c->ssl = ssl_new(ctx, c);
	c->out = must(evbuffer_new());
	c->sock = must(bufferevent_socket_new(base, fd, BEV_OPT_CLOSE_ON_FREE));
	bufferevent_setwatermark(c->sock, EV_READ, 0, IN_MAX);
	c->bev = must(bufferevent_filter_new(c->sock, on_input, on_output, BEV_OPT_CLOSE_ON_FREE,
					     on_free, c));
	bufferevent_getcb(c->sock, &c->filter_read, &c->filter_write, &c->filter_event, &c->filter);
	bufferevent_setcb(c->sock, on_sock_read, on_sock_write, on_sock_event, c);
	must(evbuffer_add_cb(bufferevent_get_output(c->bev), on_output_added, c));
	if (!c->server && fd >= 0) {
		handshake(c);
		push(c);
	}
	return c->bev;
}

/* What tls_bev_new gave to the callbacks of the socket below. */
static struct tls_conn *
conn_of(struct bufferevent *bev)
{
	void *c;

	bufferevent_getcb(bufferevent_get_underlying(bev), NULL, NULL, NULL, &c);
	return c;
}

void
tls_bev_set_owner(struct bufferevent *bev, void *owner, void (*freed)(void *owner))
{
	struct tls_conn *c = conn_of(bev);

	c->owner = owner;
	c->freed = freed;
}

void *
tls_bev_owner(struct bufferevent *bev)
{
	return conn_of(bev)->owner;
}
