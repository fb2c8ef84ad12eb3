/* What an IP socket address means and how it is written. */
#ifndef SULTRY_COMMON_ADDRESS_H
#define SULTRY_COMMON_ADDRESS_H

#include <netinet/in.h>
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <sys/socket.h>

/* "[" address "]:" port and a NUL. */
#define ADDRESS_TEXT_MAX (INET6_ADDRSTRLEN + 8)

/* Copies sa, of len bytes, to out. An IPv4 address in IPv6 clothes (::ffff:1.2.3.4) becomes
 * plain IPv4. False, with nothing written, if it is not a whole IPv4 or IPv6 address. */
bool address_copy(struct sockaddr_storage *out, const struct sockaddr *sa, socklen_t len);

/* 127.0.0.0/8 or ::1. */
bool address_is_loopback(const struct sockaddr_storage *a);

/* Whether it may be a host on the public Internet. Not so: private, shared (100.64/10),
 * loopback, link-local, multicast and reserved ranges (RFC 6890), the unique local ones of
 * IPv6, and any of these inside a v4-mapped, NAT64 (64:ff9b::/96) or 6to4 (2002::/16) one. */
bool address_is_public(const struct sockaddr_storage *a);
/* Same family, address and port. */
bool address_equal(const struct sockaddr_storage *a, const struct sockaddr_storage *b);
/* A literal IPv4 or IPv6 address, without brackets or zone. */
bool address_parse(struct sockaddr_storage *out, const char *ip, uint16_t port);
/* The same of n characters, IPv6 in brackets, or without too if bare6. The port is 0. */
bool address_parse_host(struct sockaddr_storage *out, const char *s, size_t n, bool bare6);
/* Of n characters, what address_text writes: a host as above, a colon, a port not below
 * min_port. It is split at the last colon, for the unbracketed IPv6 of old PT parents. */
bool address_parse_endpoint(struct sockaddr_storage *out, const char *s, size_t n, bool bare6,
    uint16_t min_port);
/* The address alone, without brackets. */
void address_ip(char out[ADDRESS_TEXT_MAX], const struct sockaddr_storage *a);
void address_set_port(struct sockaddr_storage *a, uint16_t port);
/* What the socket calls want as length. */
socklen_t address_len(const struct sockaddr_storage *a);
/* The port, in host order; 0 if it is neither IPv4 nor IPv6. */
uint16_t address_port(const struct sockaddr_storage *a);

/* Writes "1.2.3.4:5678" or "[1:2::3:4]:5678" without a zone; a must be IPv4 or IPv6. */
void address_text(char out[ADDRESS_TEXT_MAX], const struct sockaddr_storage *a, uint16_t port);

#endif
