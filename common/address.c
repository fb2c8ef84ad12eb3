#include "common/address.h"

#include <arpa/inet.h>
#include <stdio.h>
#include <string.h>

bool
address_copy(struct sockaddr_storage *out, const struct sockaddr *sa, socklen_t len)
{
	struct sockaddr_in v4 = { .sin_family = AF_INET };
	struct sockaddr_in6 v6;

	if (sa->sa_family == AF_INET && len >= sizeof(v4)) {
		memcpy(&v4, sa, sizeof(v4));
	} else if (sa->sa_family == AF_INET6 && len >= sizeof(v6)) {
		memcpy(&v6, sa, sizeof(v6));
		if (!IN6_IS_ADDR_V4MAPPED(&v6.sin6_addr)) {
			memset(out, 0, sizeof(*out));
			memcpy(out, &v6, sizeof(v6));
			return true;
		}
		v4.sin_port = v6.sin6_port;
		memcpy(&v4.sin_addr, v6.sin6_addr.s6_addr + 12, 4);
	} else {
		return false;
	}
	memset(out, 0, sizeof(*out));
	memcpy(out, &v4, sizeof(v4));
	return true;
}

bool
address_is_loopback(const struct sockaddr_storage *a)
{
	if (a->ss_family == AF_INET) {
		const struct sockaddr_in *v4 = (const struct sockaddr_in *)a;

		return ntohl(v4->sin_addr.s_addr) >> 24 == IN_LOOPBACKNET;
	}
	return a->ss_family == AF_INET6 &&
	       IN6_IS_ADDR_LOOPBACK(&((const struct sockaddr_in6 *)a)->sin6_addr);
}

uint16_t
address_port(const struct sockaddr_storage *a)
{
	if (a->ss_family == AF_INET)
		return ntohs(((const struct sockaddr_in *)a)->sin_port);
	if (a->ss_family == AF_INET6)
		return ntohs(((const struct sockaddr_in6 *)a)->sin6_port);
	return 0;
}

void
address_text(char out[ADDRESS_TEXT_MAX], const struct sockaddr_storage *a, uint16_t port)
{
	char ip[INET6_ADDRSTRLEN] = "";

	if (a->ss_family == AF_INET) {
		inet_ntop(AF_INET, &((const struct sockaddr_in *)a)->sin_addr, ip, sizeof(ip));
		snprintf(out, ADDRESS_TEXT_MAX, "%s:%u", ip, port);
	} else {
		inet_ntop(AF_INET6, &((const struct sockaddr_in6 *)a)->sin6_addr, ip, sizeof(ip));
		snprintf(out, ADDRESS_TEXT_MAX, "[%s]:%u", ip, port);
	}
}

static bool
public4(uint32_t ip)
{
	static const struct {
		uint32_t net;
		int bits;
	} not_public[] = {
		{ 0x00000000, 8 }, { 0x0a000000, 8 }, { 0x64400000, 10 }, { 0x7f000000, 8 },
		{ 0xa9fe0000, 16 }, { 0xac100000, 12 }, { 0xc0000000, 24 }, { 0xc0a80000, 16 },
		{ 0xc6120000, 15 }, { 0xe0000000, 3 },
	};

	for (size_t i = 0; i < sizeof(not_public) / sizeof(not_public[0]); i++)
		if ((ip ^ not_public[i].net) >> (32 - not_public[i].bits) == 0)
			return false;
	return true;
}

static uint32_t
ip4_at(const uint8_t *p)
{
	return (uint32_t)p[0] << 24 | (uint32_t)p[1] << 16 | (uint32_t)p[2] << 8 | p[3];
}

static bool
public6(const uint8_t ip[16])
{
	static const uint8_t mapped[12] = { [10] = 0xff, [11] = 0xff };
	static const uint8_t nat64[12] = { 0x00, 0x64, 0xff, 0x9b };
	static const uint8_t teredo[4] = { 0x20, 0x01 };

	if (memcmp(ip, mapped, sizeof(mapped)) == 0 || memcmp(ip, nat64, sizeof(nat64)) == 0)
		return public4(ip4_at(ip + 12));
	if (ip[0] == 0x20 && ip[1] == 0x02)
		return public4(ip4_at(ip + 2)); /* 6to4 */
	/* Only 2000::/3 is given out; Teredo hides an address in it. */
	return ip[0] >> 5 == 1 && memcmp(ip, teredo, sizeof(teredo)) != 0;
}

bool
address_is_public(const struct sockaddr_storage *a)
{
	if (a->ss_family == AF_INET)
		return public4(ntohl(((const struct sockaddr_in *)a)->sin_addr.s_addr));
	return a->ss_family == AF_INET6 &&
	    public6(((const struct sockaddr_in6 *)a)->sin6_addr.s6_addr);
}

bool
address_equal(const struct sockaddr_storage *a, const struct sockaddr_storage *b)
{
	if (a->ss_family != b->ss_family || address_port(a) != address_port(b))
		return false;
	if (a->ss_family == AF_INET)
		return ((const struct sockaddr_in *)a)->sin_addr.s_addr ==
		    ((const struct sockaddr_in *)b)->sin_addr.s_addr;
	return a->ss_family == AF_INET6 &&
	    memcmp(&((const struct sockaddr_in6 *)a)->sin6_addr,
		&((const struct sockaddr_in6 *)b)->sin6_addr, 16) == 0;
}

bool
address_parse(struct sockaddr_storage *out, const char *ip, uint16_t port)
{
	struct sockaddr_in v4 = { .sin_family = AF_INET, .sin_port = htons(port) };
	struct sockaddr_in6 v6 = { .sin6_family = AF_INET6, .sin6_port = htons(port) };

	memset(out, 0, sizeof(*out));
	if (inet_pton(AF_INET, ip, &v4.sin_addr) == 1)
		memcpy(out, &v4, sizeof(v4));
	else if (inet_pton(AF_INET6, ip, &v6.sin6_addr) == 1)
		memcpy(out, &v6, sizeof(v6));
	return out->ss_family != AF_UNSPEC;
}

bool
address_parse_host(struct sockaddr_storage *out, const char *s, size_t n, bool bare6)
{
	char host[INET6_ADDRSTRLEN + 2];
	bool bracketed = n >= 2 && s[0] == '[' && s[n - 1] == ']';

	if (bracketed) {
		s++;
		n -= 2;
	}
	if (n >= sizeof(host))
		return false;
	memcpy(host, s, n);
	host[n] = '\0';
	return address_parse(out, host, 0) &&
	    (out->ss_family == AF_INET ? !bracketed : bracketed || bare6);
}

bool
address_parse_endpoint(struct sockaddr_storage *out, const char *s, size_t n, bool bare6,
    uint16_t min_port)
{
	const char *colon = memrchr(s, ':', n);
	uint32_t port = 0;
	size_t digits;

	if (colon == NULL || !address_parse_host(out, s, (size_t)(colon - s), bare6))
		return false;
	digits = n - (size_t)(colon + 1 - s);
	if (digits < 1 || digits > 5)
		return false;
	for (const char *c = colon + 1; c < s + n; c++) {
		if (*c < '0' || *c > '9')
			return false;
		port = port * 10 + (uint32_t)(*c - '0');
	}
	if (port > UINT16_MAX || port < min_port)
		return false;
	address_set_port(out, (uint16_t)port);
	return true;
}

void
address_ip(char out[ADDRESS_TEXT_MAX], const struct sockaddr_storage *a)
{
	const void *ip = a->ss_family == AF_INET ?
	    (const void *)&((const struct sockaddr_in *)a)->sin_addr :
	    (const void *)&((const struct sockaddr_in6 *)a)->sin6_addr;

	if (inet_ntop(a->ss_family, ip, out, ADDRESS_TEXT_MAX) == NULL)
		out[0] = '\0';
}

void
address_set_port(struct sockaddr_storage *a, uint16_t port)
{
	if (a->ss_family == AF_INET6)
		((struct sockaddr_in6 *)a)->sin6_port = htons(port);
	else
		((struct sockaddr_in *)a)->sin_port = htons(port);
}

socklen_t
address_len(const struct sockaddr_storage *a)
{
	return a->ss_family == AF_INET6 ? sizeof(struct sockaddr_in6) : sizeof(struct sockaddr_in);
}
