#include <wolfssl/options.h>
#include <wolfssl/ssl.h>
#include <stdlib.h>
#include <string.h>

#include "tests/harness.h"
#include "tests/tls_peer.h"

struct side {
	bool server;
	struct tls_setup setup;
	WOLFSSL_CTX *ctx;
	WOLFSSL *ssl;
	WOLFSSL_SESSION *session;
	bool wrote, got;
	struct buffer *in, *out; /* for the length of a step */
};

static int
take(WOLFSSL *ssl, char *p, int n, void *arg)
{
	struct side *s = arg;
	size_t some = s->in->n < (size_t)n ? s->in->n : (size_t)n;

	(void)ssl;
	if (some == 0)
		return WOLFSSL_CBIO_ERR_WANT_READ;
	memcpy(p, buffer_data(s->in), some);
	buffer_drain(s->in, some);
	return (int)some;
}

static int
give(WOLFSSL *ssl, char *p, int n, void *arg)
{
	struct side *s = arg;

	(void)ssl;
	buffer_add(s->out, p, (size_t)n);
	return n;
}

static int
accept_any(int ok, WOLFSSL_X509_STORE_CTX *ctx)
{
	(void)ok;
	(void)ctx;
	return 1;
}

static WOLFSSL_METHOD *
method(const struct side *s)
{
	if (!s->server)
		return wolfSSLv23_client_method();
	return s->setup.version == 0x0304 ? wolfTLSv1_3_server_method() : wolfTLSv1_2_server_method();
}

static void *
side_new(bool server, const struct tls_setup *setup)
{
	struct side *s = calloc(1, sizeof(*s));
	const struct buffer *cert = tls_peer_certificate(), *key = tls_peer_key();
	int p384 = WOLFSSL_ECC_SECP384R1;

	ck_assert_ptr_nonnull(s);
	s->server = server;
	s->setup = *setup;
	wolfSSL_Init();
	s->ctx = wolfSSL_CTX_new(method(s));
	ck_assert_ptr_nonnull(s->ctx);
	wolfSSL_CTX_SetIORecv(s->ctx, take);
	wolfSSL_CTX_SetIOSend(s->ctx, give);
	wolfSSL_CTX_set_verify(s->ctx, server && !setup->client_cert ? WOLFSSL_VERIFY_NONE
	    : WOLFSSL_VERIFY_PEER | WOLFSSL_VERIFY_FAIL_IF_NO_PEER_CERT, accept_any);
	if (server || setup->client_cert) {
		ck_assert_int_eq(wolfSSL_CTX_use_certificate_buffer(s->ctx, buffer_data(cert),
				     (long)cert->n, WOLFSSL_FILETYPE_ASN1), WOLFSSL_SUCCESS);
		ck_assert_int_eq(wolfSSL_CTX_use_PrivateKey_buffer(s->ctx, buffer_data(key),
				     (long)key->n, WOLFSSL_FILETYPE_ASN1), WOLFSSL_SUCCESS);
	}
	if (server && setup->hello_retry)
		wolfSSL_CTX_set_groups(s->ctx, &p384, 1);
	if (server && !setup->tickets)
		wolfSSL_CTX_NoTicketTLSv12(s->ctx);
	if (!server && setup->tickets)
		wolfSSL_CTX_UseSessionTicket(s->ctx);
	return s;
}

static void
connect_side(void *arg)
{
	struct side *s = arg;
	char names[] = "h2,http/1.1", chosen[] = TLS_PEER_ALPN;

	s->ssl = wolfSSL_new(s->ctx);
	ck_assert_ptr_nonnull(s->ssl);
	s->wrote = s->got = false;
	wolfSSL_SetIOReadCtx(s->ssl, s);
	wolfSSL_SetIOWriteCtx(s->ssl, s);
	if (s->server) {
		wolfSSL_UseALPN(s->ssl, chosen, sizeof(chosen) - 1, WOLFSSL_ALPN_FAILED_ON_MISMATCH);
		wolfSSL_set_accept_state(s->ssl);
		return;
	}
	wolfSSL_UseALPN(s->ssl, names, sizeof(names) - 1, WOLFSSL_ALPN_FAILED_ON_MISMATCH);
	wolfSSL_UseSNI(s->ssl, WOLFSSL_SNI_HOST_NAME, TLS_PEER_SNI, sizeof(TLS_PEER_SNI) - 1);
	if (s->session != NULL)
		wolfSSL_set_session(s->ssl, s->session);
	if (s->setup.hello_retry)
		wolfSSL_NoKeyShares(s->ssl);
	wolfSSL_set_connect_state(s->ssl);
}

static bool
step(void *arg, struct buffer *in, struct buffer *out)
{
	struct side *s = arg;
	char data[64];

	s->in = in;
	s->out = out;
	if (wolfSSL_SSL_do_handshake(s->ssl) == WOLFSSL_SUCCESS) {
		/* The client speaks first, the server when it has heard it. */
		if (!s->wrote && !s->server)
			s->wrote = wolfSSL_write(s->ssl, "application data", 16) == 16;
		while (wolfSSL_read(s->ssl, data, sizeof(data)) > 0)
			s->got = true;
		if (s->server && s->got && !s->wrote)
			s->wrote = wolfSSL_write(s->ssl, "application data", 16) == 16;
	}
	s->in = s->out = NULL;
	return s->wrote && s->got;
}

static void
said(void *arg, struct tls_said *out)
{
	struct side *s = arg;

	*out = (struct tls_said){ 0 };
	out->version = (uint16_t)wolfSSL_version(s->ssl);
	out->cipher = (uint16_t)wolfSSL_get_current_cipher_suite(s->ssl);
	out->resumed = wolfSSL_session_reused(s->ssl) != 0;
}

static void
disconnect(void *arg)
{
	struct side *s = arg;

	if (!s->server) {
		wolfSSL_SESSION_free(s->session);
		s->session = wolfSSL_get1_session(s->ssl);
	}
	wolfSSL_free(s->ssl);
	s->ssl = NULL;
}

static void
side_free(void *arg)
{
	struct side *s = arg;

	wolfSSL_SESSION_free(s->session);
	wolfSSL_CTX_free(s->ctx);
	free(s);
}

const struct tls_stack stack_wolfssl = {
	.name = "wolfssl",
	.side_new = side_new,
	.side_free = side_free,
	.connect = connect_side,
	.step = step,
	.said = said,
	.disconnect = disconnect,
};
