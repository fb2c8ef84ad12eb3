#include <openssl/ssl.h>
#include <openssl/x509.h>
#include <stdlib.h>
#include <string.h>

#include "tests/harness.h"
#include "tests/tls_peer.h"

struct side {
	bool server;
	struct tls_setup setup;
	SSL_CTX *ctx;
	SSL *ssl;
	SSL_SESSION *session;
	bool early; /* early data is not over */
	bool wrote, got;
	size_t written;
	size_t hello_end, ccs_end;
};

static struct buffer certificate, key;

static void
make_identity(void)
{
	EVP_PKEY *pkey = EVP_EC_gen("P-256");
	X509 *x = X509_new();
	X509_NAME *name = X509_get_subject_name(x);

	X509_NAME_add_entry_by_txt(name, "CN", MBSTRING_ASC, (const uint8_t *)TLS_PEER_SNI, -1, -1, 0);
	X509_set_issuer_name(x, name);
	ASN1_INTEGER_set(X509_get_serialNumber(x), 1);
	X509_gmtime_adj(X509_getm_notBefore(x), -3600);
	X509_gmtime_adj(X509_getm_notAfter(x), 86400);
	X509_set_version(x, X509_VERSION_3);
	X509_set_pubkey(x, pkey);
	ck_assert_int_gt(X509_sign(x, pkey, EVP_sha256()), 0);

	uint8_t *der = NULL;
	int n = i2d_X509(x, &der);

	ck_assert_int_gt(n, 0);
	buffer_add(&certificate, der, (size_t)n);
	OPENSSL_free(der);
	der = NULL;
	n = i2d_PrivateKey(pkey, &der);
	ck_assert_int_gt(n, 0);
	buffer_add(&key, der, (size_t)n);
	OPENSSL_free(der);
	X509_free(x);
	EVP_PKEY_free(pkey);
}

const struct buffer *
tls_peer_certificate(void)
{
	if (certificate.n == 0)
		make_identity();
	return &certificate;
}

const struct buffer *
tls_peer_key(void)
{
	if (key.n == 0)
		make_identity();
	return &key;
}

/* OpenSSL tells each record header as it is written, then the message it ends. */
static void
on_message(int writing, int version, int type, const void *p, size_t n, SSL *ssl, void *arg)
{
	struct side *s = arg;
	const uint8_t *b = p;

	(void)version;
	(void)ssl;
	if (!writing)
		return;
	if (type == SSL3_RT_HEADER) {
		ck_assert_uint_eq(n, 5);
		s->written += 5 + (size_t)(b[3] << 8 | b[4]);
	}
	if (type == SSL3_RT_HANDSHAKE && (b[0] == SSL3_MT_CLIENT_HELLO || b[0] == SSL3_MT_SERVER_HELLO))
		s->hello_end = s->written;
	if (type == SSL3_RT_CHANGE_CIPHER_SPEC && s->ccs_end == 0)
		s->ccs_end = s->written;
}

static int
choose_alpn(SSL *ssl, const uint8_t **out, uint8_t *n, const uint8_t *in, unsigned in_n, void *arg)
{
	(void)ssl;
	(void)arg;
	return SSL_select_next_proto((uint8_t **)(uintptr_t)out, n,
		   (const uint8_t *)"\x08" TLS_PEER_ALPN, 9, in, in_n) == OPENSSL_NPN_NEGOTIATED
	    ? SSL_TLSEXT_ERR_OK : SSL_TLSEXT_ERR_ALERT_FATAL;
}

static int
accept_any(int ok, X509_STORE_CTX *ctx)
{
	(void)ok;
	(void)ctx;
	return 1;
}

static void
set_up_server(struct side *s)
{
	SSL_CTX_set_min_proto_version(s->ctx, s->setup.version);
	SSL_CTX_set_max_proto_version(s->ctx, s->setup.version);
	SSL_CTX_set_session_id_context(s->ctx, (const uint8_t *)"test", 4);
	SSL_CTX_set_alpn_select_cb(s->ctx, choose_alpn, NULL);
	if (!s->setup.tickets && s->setup.version < TLS1_3_VERSION)
		SSL_CTX_set_options(s->ctx, SSL_OP_NO_TICKET);
	if (s->setup.early_data) {
		SSL_CTX_set_max_early_data(s->ctx, 1024);
		SSL_CTX_set_options(s->ctx, SSL_OP_NO_ANTI_REPLAY);
	}
	if (s->setup.client_cert)
		SSL_CTX_set_verify(s->ctx, SSL_VERIFY_PEER | SSL_VERIFY_FAIL_IF_NO_PEER_CERT,
		    accept_any);
}

static void *
side_new(bool server, const struct tls_setup *setup)
{
	struct side *s = calloc(1, sizeof(*s));
	const struct buffer *cert = tls_peer_certificate(), *pkey = tls_peer_key();

	ck_assert_ptr_nonnull(s);
	s->server = server;
	s->setup = *setup;
	s->ctx = SSL_CTX_new(server ? TLS_server_method() : TLS_client_method());
	ck_assert_ptr_nonnull(s->ctx);
	SSL_CTX_set_security_level(s->ctx, 0);
	SSL_CTX_set_msg_callback(s->ctx, on_message);
	SSL_CTX_set_msg_callback_arg(s->ctx, s);
	if (setup->max_fragment > 0)
		SSL_CTX_set_max_send_fragment(s->ctx, (long)setup->max_fragment);
	ck_assert_int_eq(SSL_CTX_set1_groups_list(s->ctx,
			     server && setup->hello_retry ? "P-384" : "X25519:P-256:P-384"), 1);
	if (server || setup->client_cert) {
		SSL_CTX_use_certificate_ASN1(s->ctx, (int)cert->n, buffer_data(cert));
		ck_assert_int_eq(SSL_CTX_use_PrivateKey_ASN1(EVP_PKEY_EC, s->ctx, buffer_data(pkey),
				     (long)pkey->n), 1);
	}
	if (server) {
		set_up_server(s);
	} else {
		SSL_CTX_set_min_proto_version(s->ctx, TLS1_VERSION);
		SSL_CTX_set_alpn_protos(s->ctx, (const uint8_t *)"\x02h2\x08http/1.1", 12);
	}
	return s;
}

static void
connect_side(void *arg)
{
	struct side *s = arg;

	s->ssl = SSL_new(s->ctx);
	ck_assert_ptr_nonnull(s->ssl);
	s->wrote = s->got = false;
	s->written = s->hello_end = s->ccs_end = 0;
	SSL_set_bio(s->ssl, BIO_new(BIO_s_mem()), BIO_new(BIO_s_mem()));
	if (s->server) {
		SSL_set_accept_state(s->ssl);
		s->early = s->setup.early_data;
		return;
	}
	SSL_set_connect_state(s->ssl);
	SSL_set_tlsext_host_name(s->ssl, TLS_PEER_SNI);
	if (s->session != NULL)
		SSL_set_session(s->ssl, s->session);
	s->early = s->setup.early_data && s->session != NULL &&
	    SSL_SESSION_get_max_early_data(s->session) > 0;
}

static void
step_early(struct side *s)
{
	uint8_t data[64];
	size_t n;

	if (s->server) {
		int r = SSL_read_early_data(s->ssl, data, sizeof(data), &n);

		while (r == SSL_READ_EARLY_DATA_SUCCESS)
			r = SSL_read_early_data(s->ssl, data, sizeof(data), &n);
		s->early = r != SSL_READ_EARLY_DATA_FINISH;
	} else if (SSL_write_early_data(s->ssl, "early, one", 10, &n) == 1 &&
	    SSL_write_early_data(s->ssl, "early, two", 10, &n) == 1) {
		s->early = false;
	}
}

static void
step_data(struct side *s)
{
	uint8_t data[64];

	/* The client speaks first, the server when it has heard it. */
	if (!s->wrote && (!s->server || s->got))
		s->wrote = SSL_write(s->ssl, "application data", 16) == 16;
	while (SSL_read(s->ssl, data, sizeof(data)) > 0)
		s->got = true;
	if (s->server && s->got && !s->wrote)
		s->wrote = SSL_write(s->ssl, "application data", 16) == 16;
}

static bool
step(void *arg, struct buffer *in, struct buffer *out)
{
	struct side *s = arg;
	char *p;
	long n;

	if (in->n > 0) {
		BIO_write(SSL_get_rbio(s->ssl), buffer_data(in), (int)in->n);
		buffer_clear(in);
	}
	if (s->early)
		step_early(s);
	if (!s->early && SSL_do_handshake(s->ssl) == 1)
		step_data(s);
	n = BIO_get_mem_data(SSL_get_wbio(s->ssl), &p);
	buffer_add(out, p, (size_t)n);
	(void)BIO_reset(SSL_get_wbio(s->ssl));
	return s->wrote && s->got;
}

static void
said(void *arg, struct tls_said *out)
{
	struct side *s = arg;

	out->version = (uint16_t)SSL_version(s->ssl);
	out->cipher = SSL_CIPHER_get_protocol_id(SSL_get_current_cipher(s->ssl));
	out->resumed = SSL_session_reused(s->ssl);
	out->hello_end = s->hello_end;
	out->ccs_end = s->ccs_end;
}

static void
disconnect(void *arg)
{
	struct side *s = arg;

	if (!s->server) {
		SSL_SESSION_free(s->session);
		s->session = SSL_get1_session(s->ssl);
	}
	/* Else the session would count as broken and leave the cache. */
	SSL_set_shutdown(s->ssl, SSL_SENT_SHUTDOWN | SSL_RECEIVED_SHUTDOWN);
	SSL_free(s->ssl);
	s->ssl = NULL;
}

static void
side_free(void *arg)
{
	struct side *s = arg;

	SSL_SESSION_free(s->session);
	SSL_CTX_free(s->ctx);
	free(s);
}

const struct tls_stack stack_openssl = {
	.name = "openssl",
	.side_new = side_new,
	.side_free = side_free,
	.connect = connect_side,
	.step = step,
	.said = said,
	.disconnect = disconnect,
};
