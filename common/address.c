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
