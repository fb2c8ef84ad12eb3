/* The reader of settings: any text, read as a relay's users and as a tree of every kind. */
#include "common/config.h"

#include <assert.h>
#include <string.h>

int LLVMFuzzerTestOneInput(const uint8_t *p, size_t n);

/* Goes down wherever a key of one letter leads. */
static void
read_node(struct config_node *in, const char *key, int depth)
{
	struct config_node child;
	const char *s;
	int64_t v;

	if (depth > 8)
		return;
	if (config_is_string(in, key)) {
		assert(config_string(in, key, &s) && s != NULL);
		if (s[0] == '!')
			config_bad(in, key, "no exclamation mark");
		return;
	}
	if (key != NULL && key[0] == 'a') {
		if (config_object(in, key, &child)) {
			read_node(&child, "a", depth + 1);
			read_node(&child, "b", depth + 1);
			read_node(&child, "c", depth + 1);
			config_end(&child);
		}
	} else if (key != NULL && key[0] == 'b') {
		if (config_list(in, key, &child))
			while (config_next(&child))
				read_node(&child, NULL, depth + 1);
	} else {
		assert(!config_integer(in, key, -5, 5, &v) || (v >= -5 && v <= 5));
	}
}

int
LLVMFuzzerTestOneInput(const uint8_t *p, size_t n)
{
	struct config *c = config_parse("fuzz", (const char *)p, n);
	struct config_node root;

	config_root(c, &root);
	read_node(&root, "a", 0);
	read_node(&root, "b", 0);
	read_node(&root, "c", 0);
	config_end(&root);
	assert(config_error(c) == NULL || strncmp(config_error(c), "fuzz:", 5) == 0);
	config_free(c);
	return 0;
}
