#include "pt-server/certificate.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>

#include <wolfssl/options.h>
#include <wolfssl/wolfcrypt/asn_public.h>
#include <wolfssl/wolfcrypt/ecc.h>
#include <wolfssl/wolfcrypt/sha256.h>

#include "common/bytes.h"
#include "common/mem.h"

#define DAY 86400
#define DER_MAX 4096 /* of what we make ourselves */

enum { UTC_TIME = 0x17, GENERALIZED_TIME = 0x18, SEQUENCE = 0x30, EXPLICIT_0 = 0xa0 };

/* --- reading ------------------------------------------------------------- */

/* The first block of this kind as DER, to be freed; NULL if there is none. */
static DerBuffer *
pem_to_der(const char *pem, int type)
{
	DerBuffer *der = NULL;

	if (wc_PemToDer((const unsigned char *)pem, (long)strlen(pem), type, &der, NULL, NULL,
			NULL) != 0) {
		wc_FreeDer(&der);
		return NULL;
	}
	return der;
}

/* One DER element (X.690 section 8.1): its tag, its content, and all of it. */
static bool
der_next(struct reader *r, uint8_t *tag, struct reader *content, struct reader *whole)
{
	struct reader in = *r;
	uint8_t n, byte;
	size_t len = 0;

	if (!reader_u8(&in, tag) || !reader_u8(&in, &n))
		return false;
	if (n < 0x80) {
		len = n;
	} else {
		for (n &= 0x7f; n > 0; n--) {
			if (len > 0xffff || !reader_u8(&in, &byte))
				return false;
			len = len << 8 | byte;
		}
	}
	if (!reader_sub(&in, content, len))
		return false;
	*whole = reader_of(r->p, (size_t)(in.p - r->p));
	*r = in;
	return true;
}

static bool
der_skip(struct reader *r)
{
	struct reader content, whole;
	uint8_t tag;

	return der_next(r, &tag, &content, &whole);
}

static bool
der_enter(struct reader *r, struct reader *content)
{
	struct reader whole;
	uint8_t tag;

	return der_next(r, &tag, content, &whole) && tag == SEQUENCE;
}

/* What is read of a certificate (RFC 5280 section 4.1): borrowed views. */
struct parts {
	struct reader issuer, validity, subject, spki;
};

static bool
parse_certificate(const DerBuffer *der, struct parts *p)
{
	struct reader r = reader_of(der->buffer, der->length), cert, tbs, content;
	uint8_t tag;

	if (!der_enter(&r, &cert) || !der_enter(&cert, &tbs))
		return false;
	if (tbs.n > 0 && tbs.p[0] == EXPLICIT_0 && !der_skip(&tbs)) /* version */
		return false;
	return der_skip(&tbs) && /* serial number */
	       der_skip(&tbs) && /* signature algorithm */
	       der_next(&tbs, &tag, &content, &p->issuer) && tag == SEQUENCE &&
	       der_enter(&tbs, &p->validity) &&
	       der_next(&tbs, &tag, &content, &p->subject) && tag == SEQUENCE &&
	       der_next(&tbs, &tag, &content, &p->spki) && tag == SEQUENCE;
}

bool
certificate_pin(const char *cert_pem, uint8_t pin[32])
{
	DerBuffer *der = pem_to_der(cert_pem, CERT_TYPE);
	struct parts p;
	bool ok = der != NULL && parse_certificate(der, &p) &&
		  wc_Sha256Hash(p.spki.p, (word32)p.spki.n, pin) == 0;

	wc_FreeDer(&der);
	return ok;
}

bool
certificate_vouched(const char *cert_pem)
{
	DerBuffer *der = pem_to_der(cert_pem, CERT_TYPE);
	struct parts p;
	bool vouched = der != NULL && parse_certificate(der, &p) &&
		       (p.issuer.n != p.subject.n ||
			memcmp(p.issuer.p, p.subject.p, p.issuer.n) != 0);

	wc_FreeDer(&der);
	return vouched;
}

/* A Time of RFC 5280 section 4.1.2.5; -1 if it is none. */
static time_t
parse_time(struct reader *r)
{
	struct reader content, whole;
	struct tm tm = { 0 };
	char text[20] = "";
	uint8_t tag;

	if (!der_next(r, &tag, &content, &whole) || content.n > 15)
		return -1;
	/* 1950 to 2049 */
	if (tag == UTC_TIME && content.n == 13)
		snprintf(text, sizeof(text), "%s", content.p[0] < '5' ? "20" : "19");
	else if (tag != GENERALIZED_TIME || content.n != 15)
		return -1;
	memcpy(text + strlen(text), content.p, content.n);
	if (strptime(text, "%Y%m%d%H%M%SZ", &tm) == NULL)
		return -1;
	return timegm(&tm);
}

/* Loads an EC key; wc_ecc_free it if true. */
static bool
load_key(ecc_key *key, const char *key_pem)
{
	DerBuffer *der = pem_to_der(key_pem, PRIVATEKEY_TYPE);
	word32 at = 0;
	bool ok;

	if (der == NULL)
		return false;
	wc_ecc_init(key);
	ok = wc_EccPrivateKeyDecode(der->buffer, &at, key, der->length) == 0 &&
	     wc_ecc_make_pub(key, NULL) == 0;
	mem_wipe(der->buffer, der->length);
	wc_FreeDer(&der);
	if (!ok)
		wc_ecc_free(key);
	return ok;
}

bool
certificate_key_ok(const char *key_pem)
{
	ecc_key key;
	bool ok;

	if (!load_key(&key, key_pem))
		return false;
	ok = wc_ecc_get_curve_id(key.idx) == ECC_SECP256R1;
	wc_ecc_free(&key);
	return ok;
}

static bool
belongs(const struct reader *spki, ecc_key *key)
{
	uint8_t own[256];
	int n = wc_EccPublicKeyToDer(key, own, sizeof(own), 1);

	return n > 0 && (size_t)n == spki->n && memcmp(own, spki->p, spki->n) == 0;
}

bool
certificate_foreign(const char *cert_pem, const char *key_pem)
{
	DerBuffer *der = pem_to_der(cert_pem, CERT_TYPE);
	struct parts p;
	bool foreign = false;
	ecc_key key;

	if (der != NULL && load_key(&key, key_pem)) {
		foreign = !parse_certificate(der, &p) || !belongs(&p.spki, &key);
		wc_ecc_free(&key);
	}
	wc_FreeDer(&der);
	return foreign;
}

bool
certificate_usable(const char *cert_pem, const char *key_pem)
{
	DerBuffer *der = pem_to_der(cert_pem, CERT_TYPE);
	struct parts p;
	time_t now = time(NULL), from, until;
	bool ok = false;

	if (der != NULL && parse_certificate(der, &p)) {
		from = parse_time(&p.validity);
		until = parse_time(&p.validity);
		ok = from >= 0 && from <= now && until >= now + 30 * DAY &&
		     !certificate_foreign(cert_pem, key_pem);
	}
	wc_FreeDer(&der);
	return ok;
}

/* --- making -------------------------------------------------------------- */

static char *
der_to_pem(const uint8_t *der, int n, int type)
{
	char pem[2 * DER_MAX];
	int len = n > 0 ? wc_DerToPem(der, (word32)n, (byte *)pem, sizeof(pem) - 1, type) : -1;
	char *copy;

	if (len <= 0)
		return NULL;
	pem[len] = '\0';
	copy = mem_strdup(pem);
	mem_wipe(pem, sizeof(pem));
	return copy;
}

char *
certificate_new_key(void)
{
	uint8_t der[DER_MAX];
	char *pem = NULL;
	ecc_key key;
	WC_RNG rng;

	if (wc_InitRng(&rng) != 0)
		return NULL;
	wc_ecc_init(&key);
	if (wc_ecc_make_key_ex(&rng, 32, &key, ECC_SECP256R1) == 0)
		pem = der_to_pem(der, wc_EccKeyToDer(&key, der, sizeof(der)), ECC_PRIVATEKEY_TYPE);
	wc_ecc_free(&key);
	wc_FreeRng(&rng);
	mem_wipe(der, sizeof(der));
	return pem;
}

/* What small servers are called by those who rent them out. */
static void
random_name(char name[32])
{
	unsigned n = 10000 + mem_random_below(990000);

	switch (mem_random_below(5)) {
	case 0:
		snprintf(name, 32, "vps%u", n);
		break;
	case 1:
		snprintf(name, 32, "srv%u", n);
		break;
	case 2:
		snprintf(name, 32, "vm-%u", n);
		break;
	case 3:
		snprintf(name, 32, "host-%x", n * 37);
		break;
	default:
		snprintf(name, 32, "ip-10-%u-%u-%u", n % 255, n / 255 % 255,
			 1 + mem_random_below(254));
	}
}

/* Returns the length of the element. */
static int
put_time(uint8_t out[CTC_DATE_SIZE], time_t t)
{
	struct tm tm;
	char text[32];
	const char *p = text;
	size_t n;

	gmtime_r(&t, &tm);
	strftime(text, sizeof(text), "%Y%m%d%H%M%SZ", &tm);
	out[0] = GENERALIZED_TIME;
	if (tm.tm_year < 150) { /* before 2050 (RFC 5280 section 4.1.2.5) */
		out[0] = UTC_TIME;
		p += 2;
	}
	n = strlen(p);
	out[1] = (uint8_t)n;
	memcpy(out + 2, p, n);
	return (int)n + 2;
}

static void
describe(Cert *cert)
{
	char name[32];
	time_t from = time(NULL) - (time_t)(1 + mem_random_below(30)) * DAY -
		      (time_t)mem_random_below(DAY);
	time_t until = from + (time_t)(430 + mem_random_below(300)) * DAY;
	size_t n;

	random_name(name);
	n = strlen(name);
	snprintf(cert->subject.commonName, sizeof(cert->subject.commonName), "%s", name);
	/* SubjectAltName with one dNSName (RFC 5280 section 4.2.1.6) */
	cert->altNames[0] = SEQUENCE;
	cert->altNames[1] = (byte)(n + 2);
	cert->altNames[2] = 0x82;
	cert->altNames[3] = (byte)n;
	memcpy(cert->altNames + 4, name, n);
	cert->altNamesSz = (int)n + 4;
	cert->beforeDateSz = put_time(cert->beforeDate, from);
	cert->afterDateSz = put_time(cert->afterDate, until);
	cert->sigType = CTC_SHA256wECDSA;
	cert->selfSigned = 1;
}

char *
certificate_self_signed(const char *key_pem)
{
	Cert *cert = mem_alloc(sizeof(*cert)); /* too large for the stack */
	uint8_t der[DER_MAX];
	char *pem = NULL;
	ecc_key key;
	WC_RNG rng;
	int n = -1;

	if (!load_key(&key, key_pem))
		goto out;
	if (wc_InitRng(&rng) == 0) {
		if (wc_InitCert(cert) == 0) {
			describe(cert);
			n = wc_MakeCert_ex(cert, der, sizeof(der), ECC_TYPE, &key, &rng);
		}
		if (n > 0)
			n = wc_SignCert_ex(n, cert->sigType, der, sizeof(der), ECC_TYPE, &key,
					   &rng);
		if (n > 0)
			pem = der_to_pem(der, n, CERT_TYPE);
		wc_FreeRng(&rng);
	}
	wc_ecc_free(&key);
out:
	free(cert);
	return pem;
}
