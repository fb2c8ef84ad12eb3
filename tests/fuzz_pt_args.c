/* The arguments of bridge lines and servers, and back into an SMETHOD line. */
#include "common/pt_args.h"

#include <assert.h>
#include <stdint.h>
#include <stdlib.h>
#include <string.h>

#include "common/mem.h"

int LLVMFuzzerTestOneInput(const uint8_t *p, size_t n);

/* The list as an SMETHOD line shows it, read again, is the same list. */
static void
round_trip(const struct pt_args *args)
{
	char out[4 * PT_ARGS_SOCKS_MAX];
	struct pt_args again = { 0 };
	const char *why;

	if (!pt_args_smethod(out, sizeof(out), args) || out[0] == '\0')
		return;
	for (char *c = out; *c != '\0'; c++) {
		assert(*c > 0x20 && *c < 0x7f);
		if (*c == ';')
			return; /* not escaped in that form */
		if (*c == '\\')
			c++;
		else if (*c == ',')
			*c = ';';
	}
	if (strlen(out + 5) > PT_ARGS_SOCKS_MAX)
		return;
	assert(pt_args_parse(&again, out + 5, strlen(out + 5), &why));
	assert(again.text.n == args->text.n);
	assert(memcmp(buffer_data(&again.text), buffer_data(&args->text), again.text.n) == 0);
	pt_args_clear(&again);
}

int
LLVMFuzzerTestOneInput(const uint8_t *p, size_t n)
{
	struct pt_args args = { 0 };
	char *text = mem_alloc(n + 1);
	const char *why = NULL;

	if (n > 0)
		memcpy(text, p, n);
	text[n] = '\0';
	if (pt_args_parse(&args, p, n, &why))
		round_trip(&args);
	else
		assert(why != NULL && args.text.n == 0);
	why = NULL;
	assert(pt_args_parse_options(&args, text, "s", &why) || why != NULL);
	pt_args_clear(&args);
	free(text);
	return 0;
}
