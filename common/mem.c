#include "common/mem.h"

#include <errno.h>
#include <stdarg.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/random.h>

static void *
check(void *p)
{
	if (p == NULL) {
		static const char msg[] = "sultry: out of memory\n";
		fwrite(msg, 1, sizeof(msg) - 1, stderr);
		abort();
	}
	return p;
}

void *
mem_alloc(size_t n)
{
	return check(malloc(n ? n : 1));
}

void *
mem_zalloc(size_t n)
{
	return check(calloc(1, n ? n : 1));
}

void *
mem_realloc(void *p, size_t n)
{
	return check(realloc(p, n ? n : 1));
}

char *
mem_strdup(const char *s)
{
	return check(strdup(s));
}

char *
mem_printf(const char *fmt, ...)
{
	va_list ap;
	char *s = NULL;

	va_start(ap, fmt);
	if (vasprintf(&s, fmt, ap) < 0)
		s = NULL;
	va_end(ap);
	return check(s);
}

void
mem_wipe(void *p, size_t n)
{
	explicit_bzero(p, n);
}

bool
mem_equal(const void *a, const void *b, size_t n)
{
	const volatile uint8_t *x = a, *y = b;
	unsigned diff = 0;

	for (size_t i = 0; i < n; i++)
		diff |= (unsigned)(x[i] ^ y[i]);
	return diff == 0;
}

void
mem_random(void *p, size_t n)
{
	uint8_t *out = p;

	while (n > 0) {
		ssize_t r = getrandom(out, n, 0);

		if (r < 0 && errno == EINTR)
			continue;
		if (r <= 0)
			abort();
		out += r;
		n -= (size_t)r;
	}
}

unsigned
mem_random_below(unsigned bound)
{
	/* Values above the last whole multiple of bound are drawn again. */
	const uint32_t top = UINT32_MAX - UINT32_MAX % bound;
	uint32_t v;

	do
		mem_random(&v, sizeof(v));
	while (v >= top);
	return v % bound;
}
