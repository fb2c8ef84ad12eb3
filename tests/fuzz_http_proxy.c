/* HTTP proxy requests: the bytes at once and one at a time must come to the same, head and
 * body; what goes on to a target has one reading. Byte 0 picks whether a password is asked
 * for. And the same bytes as an answer. */
#include "pt-client/http_answer.h"
#include "pt-client/http_proxy.h"

#include <assert.h>
#include <string.h>

int LLVMFuzzerTestOneInput(const uint8_t *p, size_t n);

static enum http_proxy_result
run(struct http_proxy *h, const char *user, const uint8_t *p, size_t n, size_t step,
    struct buffer *out, size_t *taken)
{
	enum http_proxy_result r = HTTP_PROXY_MORE;
	size_t used;

	http_proxy_init(h, user, user);
	for (*taken = 0; *taken < n && r == HTTP_PROXY_MORE; *taken += used) {
		size_t k = n - *taken < step ? n - *taken : step;

		r = http_proxy_feed(h, p + *taken, k, &used, out);
		assert(used == k || (r != HTTP_PROXY_MORE && used < k));
	}
	return r;
}

/* No line of it starts or ends oddly, and there is one end. */
static void
check_head(const struct buffer *head)
{
	const char *p = (const char *)buffer_data(head), *end = p + head->n;

	assert(head->n > 4 && memcmp(end - 4, "\r\n\r\n", 4) == 0);
	assert(memmem(p, head->n - 1, "\r\n\r\n", 4) == NULL && memchr(p, '\0', head->n) == NULL);
	assert(memmem(p, head->n, "\n ", 2) == NULL && memmem(p, head->n, "\n\t", 2) == NULL);
	for (const char *c = p; c < end; c++)
		assert((*c != '\n' || c[-1] == '\r') && (*c != '\r' || c[1] == '\n'));
}

static void
check_body(struct http_body once, struct http_body one, const uint8_t *p, size_t n)
{
	size_t k = http_body_feed(&once, p, n), i = 0;

	while (i < n && http_body_feed(&one, p + i, 1) == 1)
		i++;
	assert(k == i && once.state == one.state);
	assert((k < n) <= (once.state == BODY_END || once.state == BODY_BAD));
}

/* Nothing of an answer is lost, and the field is due at the same places, each ahead of a line. */
static void
check_answer(const uint8_t *p, size_t n)
{
	struct http_answer once = { 0 }, one = { 0 };
	size_t next = http_answer_feed(&once, p, n);

	for (size_t i = 0; i < n; i++) {
		if (http_answer_feed(&one, p + i, 1) == 0) {
			assert(i == next && i > 0 && p[i - 1] == '\n');
			next += http_answer_feed(&once, p + i, n - i);
			assert(next > i && http_answer_feed(&one, p + i, 1) == 1);
		}
	}
	assert(next == n && once.state == one.state);
}

int
LLVMFuzzerTestOneInput(const uint8_t *p, size_t n)
{
	struct http_proxy a, b;
	struct buffer out_a = { 0 }, out_b = { 0 };
	const char *user = n > 0 && p[0] >= 128 ? "u" : NULL;
	enum http_proxy_result r;
	size_t taken_a, taken_b;

	if (n == 0)
		return 0;
	check_answer(p + 1, n - 1);
	r = run(&a, user, p + 1, n - 1, n, &out_a, &taken_a);
	assert(run(&b, user, p + 1, n - 1, 1, &out_b, &taken_b) == r);
	assert(taken_a == taken_b && taken_a <= HTTP_PROXY_HEAD_MAX && out_a.n == out_b.n);
	assert((r == HTTP_PROXY_BAD) == (a.why != NULL) && (r == HTTP_PROXY_BAD) == (out_a.n > 0));
	assert(a.head.n == b.head.n);
	if (r == HTTP_PROXY_REQUEST) {
		assert(a.port > 0 && a.port == b.port && a.host[0] != '\0' && strcmp(a.host, b.host) == 0);
		assert(a.connect == (a.head.n == 0));
		if (!a.connect) {
			check_head(&a.head);
			check_body(a.body, b.body, p + 1 + taken_a, n - 1 - taken_a);
		}
	}
	http_proxy_clear(&a);
	http_proxy_clear(&b);
	buffer_clear(&out_a);
	buffer_clear(&out_b);
	return 0;
}
