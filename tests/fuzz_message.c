/* What decodes can be encoded, and decodes to the same again. The first byte says which
 * of the five parsers is meant. */
#include "common/message.h"

#include <string.h>

int LLVMFuzzerTestOneInput(const uint8_t *p, size_t n);

static void
check(bool ok)
{
	if (!ok)
		__builtin_trap();
}

static void
request(const uint8_t *p, size_t n, bool exchange)
{
	struct msg_request m, again;
	struct buffer b = { 0 };

	if (!msg_decode_request(&m, p, n, exchange))
		return;
	msg_encode_request(&b, &m);
	check(msg_decode_request(&again, buffer_data(&b), b.n, exchange) && again.n == m.n &&
	    (m.n == 0 || memcmp(again.data, m.data, m.n) == 0));
	again.data = m.data;
	check(memcmp(&m, &again, sizeof(m)) == 0);
	buffer_clear(&b);
}

static void
reply(const uint8_t *p, size_t n)
{
	struct msg_reply m, again;
	struct buffer b = { 0 };

	if (!msg_decode_reply(&m, p, n))
		return;
	msg_encode_reply(&b, &m);
	check(msg_decode_reply(&again, buffer_data(&b), b.n) && again.n == m.n &&
	    (m.n == 0 || memcmp(again.data, m.data, m.n) == 0));
	again.data = m.data;
	check(memcmp(&m, &again, sizeof(m)) == 0);
	buffer_clear(&b);
}

int
LLVMFuzzerTestOneInput(const uint8_t *p, size_t n)
{
	struct buffer out = { 0 };
	uint64_t counter;

	if (n == 0)
		return 0;
	switch (p[0] % 5) {
	case 0:
		request(p + 1, n - 1, false);
		break;
	case 1:
		request(p + 1, n - 1, true);
		break;
	case 2:
		reply(p + 1, n - 1);
		break;
	case 3:
		msg_unwrap_noise(true, (const char *)p + 1, n - 1, &out);
		break;
	case 4:
		msg_unwrap_box(false, (const char *)p + 1, n - 1, &counter, &out);
		break;
	}
	buffer_clear(&out);
	return 0;
}
