/* A hostile proxy: byte 0 picks its kind, the rest is what it says. Whether that comes whole or
 * byte by byte, the same is taken and the same comes of it. */
#include <assert.h>

#include "common/net/proxy.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t n);

int
LLVMFuzzerTestOneInput(const uint8_t *data, size_t n)
{
	static const enum proxy_kind kinds[] = { PROXY_SOCKS4, PROXY_SOCKS5, PROXY_HTTP };
	static char user[] = "user", pass[] = "pass";
	struct sockaddr_storage target = { .ss_family = AF_INET };
	struct reader whole;
	enum talk_result a, b = TALK_MORE;
	struct outbound o = { 0 };
	struct proxy p, q;
	size_t at = 1;

	if (n == 0)
		return 0;
	o.proxy = kinds[data[0] % 3];
	if (o.proxy != PROXY_SOCKS4 && data[0] >= 128) {
		o.user = user;
		o.pass = pass;
	}
	assert(proxy_init(&p, &o, &target) == 0 && proxy_init(&q, &o, &target) == 0);
	whole = reader_of(data + 1, n - 1);
	a = talk_feed(&p.talk, &whole);
	while (b == TALK_MORE && at < n) {
		struct reader r = reader_of(data + at++, 1);

		b = talk_feed(&q.talk, &r);
	}
	assert(a == b && p.err == q.err && (a == TALK_BAD) == (p.err != 0) && !p.talk.out.failed);
	assert(whole.n == n - at && n - whole.n <= 1 + PROXY_HTTP_REPLY_MAX + 1);
	proxy_clear(&p);
	proxy_clear(&q);
	return 0;
}
