/* Paths and validators of strangers' requests: text up to a newline, then the rest. */
#include <stdint.h>
#include <stdlib.h>
#include <string.h>

#include "common/mem.h"
#include "pt-server/site.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

int
LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
	static const struct site_page page = { .etag = "\"5-a\"", .modified = "date" };
	static struct site *site;
	char *text = mem_alloc(size + 1), *rest;
	const struct site_page *found;
	char error[256];

	if (site == NULL)
		site = site_new(NULL, "seed", error);
	memcpy(text, data, size);
	text[size] = '\0';
	rest = strchr(text, '\n');
	if (rest != NULL)
		*rest++ = '\0';
	found = site_find(site, text);
	if (found != NULL && strcmp(found->path, "/index.html") != 0)
		abort();
	if (site_not_modified(&page, rest, text) && rest != NULL && strcmp(rest, "*") != 0 &&
	    strstr(rest, page.etag) == NULL)
		abort();
	free(text);
	return 0;
}
