#include "common/tls_hello.h"

#include <string.h>

enum extension {
	EXT_SERVER_NAME = 0,
	EXT_ALPN = 16,
	EXT_SESSION_TICKET = 35,
	EXT_PRE_SHARED_KEY = 41,
	EXT_EARLY_DATA = 42,
	EXT_SUPPORTED_VERSIONS = 43,
	EXT_ECH = 0xfe0d,
};

/* SHA-256 of "HelloRetryRequest" (RFC 8446 section 4.1.3). */
static const uint8_t retry_random[TLS_RANDOM] = {
	0xcf, 0x21, 0xad, 0x74, 0xe5, 0x9a, 0x61, 0x11, 0xbe, 0x1d, 0x8c, 0x02, 0x1e, 0x65, 0xb8, 0x91,
	0xc2, 0xa2, 0x11, 0x16, 0x7a, 0xbb, 0x8c, 0x5e, 0x07, 0x9e, 0x09, 0xe2, 0xc8, 0xa8, 0x33, 0x9c,
};

/* Opens the message and reads what both hellos start with. */
static bool
read_start(struct reader message, uint8_t type, struct reader *body, uint16_t *version,
    const uint8_t **random, struct reader *session_id)
{
	struct reader r = message, view;
	uint8_t t;

	if (!reader_u8(&r, &t) || t != type || !reader_vec24(&r, body) || !reader_end(&r))
		return false;
	if (!reader_u16(body, version) || !reader_sub(body, &view, TLS_RANDOM))
		return false;
	*random = view.p;
	return reader_vec8(body, session_id) && session_id->n <= 32;
}

/* Takes the next extension of a block. *seen has a bit for each type that is read
 * here and has come; none may come again. */
static bool
next_extension(struct reader *block, unsigned *seen, uint16_t *type, struct reader *data)
{
	static const uint16_t known[] = { EXT_SERVER_NAME, EXT_ALPN, EXT_SESSION_TICKET,
		EXT_PRE_SHARED_KEY, EXT_EARLY_DATA, EXT_SUPPORTED_VERSIONS, EXT_ECH };

	if (!reader_u16(block, type) || !reader_vec16(block, data))
		return false;
	for (size_t i = 0; i < sizeof(known) / sizeof(known[0]); i++) {
		if (*type != known[i])
			continue;
		if ((*seen & 1u << i) != 0)
			return false;
		*seen |= 1u << i;
	}
	return true;
}

/* ServerNameList, RFC 6066 section 3: at most one host_name, never empty. */
static bool
read_sni(struct reader data, struct reader *sni)
{
	struct reader list, name;
	uint8_t type;

	if (!reader_vec16(&data, &list) || !reader_end(&data) || reader_end(&list))
		return false;
	while (!reader_end(&list)) {
		if (!reader_u8(&list, &type) || !reader_vec16(&list, &name))
			return false;
		if (type != 0)
			continue;
		if (name.n == 0 || sni->p != NULL)
			return false;
		*sni = name;
	}
	return true;
}

/* ProtocolNameList, RFC 7301 section 3.1: names of 1 to 255 bytes, at least one. */
static bool
read_alpn(struct reader data, struct reader *names)
{
	struct reader list, name;

	if (!reader_vec16(&data, &list) || !reader_end(&data) || reader_end(&list))
		return false;
	*names = list;
	while (!reader_end(&list)) {
		if (!reader_vec8(&list, &name) || name.n == 0)
			return false;
	}
	return true;
}

static bool
read_numbers(struct reader list, struct reader *numbers)
{
	*numbers = list;
	return list.n >= 2 && list.n % 2 == 0;
}

static bool
client_extension(struct tls_client_hello *h, uint16_t type, struct reader data)
{
	struct reader list;

	switch (type) {
	case EXT_SERVER_NAME:
		return read_sni(data, &h->sni);
	case EXT_ALPN:
		return read_alpn(data, &h->alpn);
	case EXT_SESSION_TICKET:
		h->ticket = data;
		return true;
	case EXT_PRE_SHARED_KEY:
		h->psk = true;
		return true;
	case EXT_EARLY_DATA:
		h->early_data = true;
		return true;
	case EXT_SUPPORTED_VERSIONS:
		return reader_vec8(&data, &list) && reader_end(&data) &&
		    read_numbers(list, &h->versions);
	case EXT_ECH:
		h->ech = true;
		return true;
	default:
		return true;
	}
}

bool
tls_client_hello_parse(struct tls_client_hello *h, struct reader message)
{
	struct reader body, list, block, data;
	unsigned seen = 0;
	uint16_t type;

	memset(h, 0, sizeof(*h));
	if (!read_start(message, TLS_CLIENT_HELLO, &body, &h->legacy_version, &h->random,
		&h->session_id))
		return false;
	if (!reader_vec16(&body, &list) || !read_numbers(list, &h->ciphers))
		return false;
	if (!reader_vec8(&body, &list) || reader_end(&list)) /* compression methods */
		return false;
	if (reader_end(&body)) /* a hello without extensions ends here (RFC 5246 section 7.4.1.2) */
		return true;
	if (!reader_vec16(&body, &block) || !reader_end(&body))
		return false;
	while (!reader_end(&block)) {
		if (!next_extension(&block, &seen, &type, &data) ||
		    !client_extension(h, type, data))
			return false;
	}
	return true;
}

static bool
server_extension(struct tls_server_hello *h, uint16_t type, struct reader data)
{
	struct reader names;
	uint16_t identity;

	switch (type) {
	case EXT_ALPN: /* exactly one name */
		return read_alpn(data, &names) && reader_vec8(&names, &h->alpn) &&
		    reader_end(&names);
	case EXT_SESSION_TICKET:
		h->session_ticket = true;
		return true;
	case EXT_PRE_SHARED_KEY:
		h->psk = true;
		return reader_u16(&data, &identity) && reader_end(&data);
	case EXT_SUPPORTED_VERSIONS:
		return reader_u16(&data, &h->version) && reader_end(&data) &&
		    h->version == TLS_1_3;
	default:
		return true;
	}
}

bool
tls_server_hello_parse(struct tls_server_hello *h, struct reader message)
{
	struct reader body, block, data;
	unsigned seen = 0;
	uint16_t type;
	uint8_t compression;

	memset(h, 0, sizeof(*h));
	if (!read_start(message, TLS_SERVER_HELLO, &body, &h->version, &h->random, &h->session_id))
		return false;
	/* TLS 1.3 is only ever selected by the extension (RFC 8446 section 4.2.1). */
	if (h->version > TLS_1_2)
		return false;
	h->hello_retry = memcmp(h->random, retry_random, TLS_RANDOM) == 0;
	if (!reader_u16(&body, &h->cipher) || !reader_u8(&body, &compression))
		return false;
	if (!reader_end(&body)) {
		if (!reader_vec16(&body, &block) || !reader_end(&body))
			return false;
		while (!reader_end(&block)) {
			if (!next_extension(&block, &seen, &type, &data) ||
			    !server_extension(h, type, data))
				return false;
		}
	}
	return !h->hello_retry || h->version == TLS_1_3;
}
