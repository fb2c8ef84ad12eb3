/* What an IP socket address means and how it is written. */
#ifndef SULTRY_COMMON_ADDRESS_H
#define SULTRY_COMMON_ADDRESS_H

#include <netinet/in.h>
#include <stdbool.h>
#include <stdint.h>
#include <sys/socket.h>

/* "[" address "]:" port and a NUL. */
#define ADDRESS_TEXT_MAX (INET6_ADDRSTRLEN + 8)

/* Copies sa, of len bytes, to out. An IPv4 address in IPv6 clothes (::ffff:1.2.3.4) becomes
 * plain IPv4. False, with nothing written, if it is not a whole IPv4 or IPv6 address. */
bool address_copy(struct sockaddr_storage *out, const struct sockaddr *sa, socklen_t len);

/* 127.0.0.0/8 or ::1. */
bool address_is_loopback(const struct sockaddr_storage *a);

/* The port, in host order; 0 if it is neither IPv4 nor IPv6. */
uint16_t address_port(const struct sockaddr_storage *a);

/* Writes "1.2.3.4:5678" or "[1:2::3:4]:5678" without a zone; a must be IPv4 or IPv6. */
void address_text(char out[ADDRESS_TEXT_MAX], const struct sockaddr_storage *a, uint16_t port);

#endif
