#include "pt-server/hosts.h"

#include <netinet/in.h>
#include <string.h>
#include <strings.h>

#include "common/address.h"

/* The next word of [*p, end), its length in *n; NULL at the end of the line or a comment. */
static const char *
word(const char **p, const char *end, size_t *n)
{
	const char *start;

	while (*p < end && (**p == ' ' || **p == '\t' || **p == '\r'))
		(*p)++;
	start = *p;
	while (*p < end && strchr(" \t\r#", **p) == NULL)
		(*p)++;
	*n = (size_t)(*p - start);
	return *n > 0 ? start : NULL;
}

static bool
line_address(struct sockaddr_storage *a, const char **p, const char *end)
{
	struct sockaddr_storage raw;
	char ip[INET6_ADDRSTRLEN];
	size_t n;
	const char *w = word(p, end, &n);

	if (w == NULL || n >= sizeof(ip))
		return false;
	memcpy(ip, w, n);
	ip[n] = '\0';
	return address_parse(&raw, ip, 0) && address_copy(a, (struct sockaddr *)&raw, sizeof(raw));
}

bool
hosts_find(const char *text, size_t n, const char *name, hosts_found *found, void *arg)
{
	const char *p = text, *end = text + n, *eol, *w;
	size_t len = strlen(name), w_len;
	struct sockaddr_storage a;
	bool any = false;

	for (; p < end; p = eol < end ? eol + 1 : end) {
		eol = memchr(p, '\n', (size_t)(end - p));
		if (eol == NULL)
			eol = end;
		if (!line_address(&a, &p, eol))
			continue;
		while ((w = word(&p, eol, &w_len)) != NULL) {
			if (w_len != len || strncasecmp(w, name, len) != 0)
				continue;
			found(arg, &a);
			any = true;
			break;
		}
	}
	return any;
}
