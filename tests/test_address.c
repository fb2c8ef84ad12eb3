#include <arpa/inet.h>
#include <string.h>
#include <sys/un.h>

#include "common/address.h"
#include "tests/harness.h"

static struct sockaddr_storage
address(const char *ip, uint16_t port)
{
	struct sockaddr_storage out;
	struct sockaddr_in v4 = { .sin_family = AF_INET, .sin_port = htons(port) };
	struct sockaddr_in6 v6 = { .sin6_family = AF_INET6, .sin6_port = htons(port) };

	if (inet_pton(AF_INET, ip, &v4.sin_addr) == 1) {
		ck_assert(address_copy(&out, (struct sockaddr *)&v4, sizeof(v4)));
	} else {
		ck_assert_int_eq(inet_pton(AF_INET6, ip, &v6.sin6_addr), 1);
		v6.sin6_scope_id = 3;
		ck_assert(address_copy(&out, (struct sockaddr *)&v6, sizeof(v6)));
	}
	return out;
}

START_TEST(written)
{
	static const struct {
		const char *ip, *text;
	} cases[] = {
		{ "1.2.3.4", "1.2.3.4:5678" },
		{ "255.255.255.255", "255.255.255.255:5678" },
		{ "1:2::3:4", "[1:2::3:4]:5678" },
		{ "::ffff:1.2.3.4", "1.2.3.4:5678" },
		{ "fe80::1", "[fe80::1]:5678" }, /* its zone is not written */
		{ "1111:2222:3333:4444:5555:6666:7777:8888",
		    "[1111:2222:3333:4444:5555:6666:7777:8888]:5678" },
	};
	char text[ADDRESS_TEXT_MAX];

	for (size_t i = 0; i < sizeof(cases) / sizeof(cases[0]); i++) {
		struct sockaddr_storage a = address(cases[i].ip, 5678);

		address_text(text, &a, address_port(&a));
		ck_assert_str_eq(text, cases[i].text);
	}
}
END_TEST

START_TEST(longest_text_fits)
{
	struct sockaddr_storage a = address("1111:2222:3333:4444:5555:6666:7777:8888", 65535);
	char text[ADDRESS_TEXT_MAX];

	address_text(text, &a, address_port(&a));
	ck_assert_str_eq(text, "[1111:2222:3333:4444:5555:6666:7777:8888]:65535");
}
END_TEST

START_TEST(loopback)
{
	static const char *const yes[] = { "127.0.0.1", "127.255.0.9", "::1", "::ffff:127.0.0.1" };
	static const char *const no[] = { "128.0.0.1", "126.255.255.255", "0.0.0.0", "::",
		"::2", "::ffff:10.0.0.1", "::127.0.0.1" };

	for (size_t i = 0; i < sizeof(yes) / sizeof(yes[0]); i++) {
		struct sockaddr_storage a = address(yes[i], 1);

		ck_assert_msg(address_is_loopback(&a), "%s", yes[i]);
	}
	for (size_t i = 0; i < sizeof(no) / sizeof(no[0]); i++) {
		struct sockaddr_storage a = address(no[i], 1);

		ck_assert_msg(!address_is_loopback(&a), "%s", no[i]);
	}
}
END_TEST

START_TEST(not_an_ip_address)
{
	struct sockaddr_un un = { .sun_family = AF_UNIX, .sun_path = "x" };
	struct sockaddr_in v4 = { .sin_family = AF_INET };
	struct sockaddr_in6 v6 = { .sin6_family = AF_INET6 };
	struct sockaddr_storage out = { .ss_family = AF_UNSPEC };

	ck_assert(!address_copy(&out, (struct sockaddr *)&un, sizeof(un)));
	ck_assert(!address_copy(&out, (struct sockaddr *)&v4, sizeof(v4) - 1));
	ck_assert(!address_copy(&out, (struct sockaddr *)&v6, sizeof(v6) - 1));
	ck_assert_int_eq(out.ss_family, AF_UNSPEC);
	ck_assert_uint_eq(address_port(&out), 0);
	ck_assert(!address_is_loopback(&out));
}
END_TEST

TEST_MAIN("address", written, longest_text_fits, loopback, not_an_ip_address)
