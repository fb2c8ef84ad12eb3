/* A JSON file of settings, read strictly. With common/message.c the only module that sees
 * jansson.
 *
 *	struct config *c = config_read(path);
 *	struct config_node top, list;
 *	const char *text;
 *
 *	config_root(c, &top);
 *	if (config_string(&top, "cert", &text)) ...
 *	if (config_list(&top, "listen", &list))
 *		while (config_next(&list))
 *			if (config_string(&list, NULL, &text) && !parse(text))
 *				config_bad(&list, NULL, "an IP address and port");
 *	config_end(&top);
 *	if (config_error(c) != NULL) ...
 *
 * The first error stays; from then on every call below is false and writes nothing, so
 * that it is enough to look once, at the end. A message names the file, the line, the key
 * with its path and what was expected, but never a value, which may be a secret. */
#ifndef SULTRY_COMMON_CONFIG_H
#define SULTRY_COMMON_CONFIG_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#define CONFIG_ERROR 512             /* bytes of a message, its NUL included */
#define CONFIG_SIZE_MAX (1024 * 1024) /* bytes of a file */
#define CONFIG_KEYS 40               /* keys that one object may be asked for */

struct config;

/* An object or a list that is being read. Borrows the file, and the node that it is in. */
struct config_node {
	struct config *file;
	const struct config_node *up; /* NULL: the root */
	const char *key;              /* its key in up; NULL: an element of a list */
	size_t at;                    /* its place in up, and the element at hand of a list, */
	size_t next;                  /* plus one */
	const void *json;             /* NULL: not there */
	const char *asked[CONFIG_KEYS];
	unsigned n_asked;
};

/* Never NULL: an unreadable file and a syntax error are errors like the others. */
struct config *config_read(const char *path);
/* The same for text at hand; name stands for the file in messages. Both are borrowed for
 * the call. */
struct config *config_parse(const char *name, const char *text, size_t n);
void config_free(struct config *c);
/* The first error, without a line end; NULL if there is none. Lives as long as c. */
const char *config_error(const struct config *c);

/* The whole file, which must be an object. */
void config_root(struct config *c, struct config_node *root);

/* The value of `key` in an object (a literal: it is kept), or, with key NULL, the element
 * of a list that config_next moved to. True: it is there and right. False: it is not there
 * and *v is untouched, or it is of another kind, which is an error. */
bool config_string(struct config_node *in, const char *key, const char **v); /* borrowed from the file */
bool config_integer(struct config_node *in, const char *key, int64_t min, int64_t max, int64_t *v);
bool config_bool(struct config_node *in, const char *key, bool *v);
bool config_object(struct config_node *in, const char *key, struct config_node *object);
bool config_list(struct config_node *in, const char *key, struct config_node *list);

/* Whether the value is there, and is a string: for keys with values of several kinds. */
bool config_is_string(struct config_node *in, const char *key);
/* Moves to the next element of a list; false at its end. */
bool config_next(struct config_node *list);

/* The caller does not like a value, or misses it: "<key>: expected <what>". */
void config_bad(struct config_node *in, const char *key, const char *want);
/* The object was read: a key in it that nobody asked for is an error, with the nearest key
 * that was as a hint. */
void config_end(struct config_node *object);

#endif
