#include "common/config.h"

#include <assert.h>
#include <errno.h>
#include <jansson.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "common/bytes.h"
#include "common/mem.h"

#define PATH_MAX_TEXT 160
#define HINT_KEY_MAX 40 /* longer keys are nobody's typing error */

struct config {
	char *name;
	char *text; /* NUL-terminated; for the lines of what is wrong */
	size_t n;
	json_t *json;
	char error[CONFIG_ERROR];
	bool failed;
};

/* ---- lines: jansson keeps none, so the way is gone again in text known to be valid ---- */

struct cursor {
	const char *p, *end;
};

static void
skip_space(struct cursor *c)
{
	while (c->p < c->end && strchr(" \t\r\n", *c->p) != NULL)
		c->p++;
}

static void
skip_string(struct cursor *c)
{
	for (c->p++; c->p < c->end && *c->p != '"'; c->p++)
		if (*c->p == '\\')
			c->p++;
	c->p++;
}

/* A value, and the space around it. */
static void
skip_value(struct cursor *c)
{
	int depth = 0;

	do {
		skip_space(c);
		if (c->p >= c->end)
			return;
		if (*c->p == '"') {
			skip_string(c);
			continue;
		}
		if (*c->p == '{' || *c->p == '[')
			depth++;
		else if (*c->p == '}' || *c->p == ']')
			depth--;
		c->p++;
		while (depth == 0 && c->p < c->end && strchr(",:]} \t\r\n", *c->p) == NULL)
			c->p++; /* the rest of a number or a word */
	} while (depth > 0);
	skip_space(c);
}

/* From the start of an object or list to the start of its member number `at`. */
static void
enter(struct cursor *c, size_t at, bool object)
{
	c->p++;
	for (size_t i = 0; i < at; i++) {
		for (int n = object ? 2 : 1; n > 0; n--) {
			skip_value(c);
			c->p++; /* the colon or comma */
		}
	}
	skip_space(c);
}

/* To the start of the node's value. */
static void
descend(struct cursor *c, const struct config_node *node)
{
	if (node->up == NULL) {
		skip_space(c);
		return;
	}
	descend(c, node->up);
	enter(c, node->at, node->key != NULL);
	if (node->key != NULL) {
		skip_value(c);
		c->p++;
		skip_space(c);
	}
}

static unsigned
line_of(const struct config_node *in, const size_t *at)
{
	const struct config *f = in->file;
	struct cursor c = { f->text, f->text + f->n };
	unsigned line = 1;

	descend(&c, in);
	if (at != NULL)
		enter(&c, *at, json_is_object((const json_t *)in->json));
	for (const char *p = f->text; p < c.p && p < c.end; p++)
		line += *p == '\n';
	return line;
}

/* ---- errors ---- */

/* Keys are the file's: nothing that would garble a terminal or a log. */
static void
put_key(struct writer *w, const char *key)
{
	for (size_t i = 0; key[i] != '\0'; i++) {
		if (i == HINT_KEY_MAX) {
			writer_bytes(w, "...", 3);
			return;
		}
		writer_u8(w, key[i] > ' ' && key[i] < 0x7f ? (uint8_t)key[i] : '?');
	}
}

static void
put_step(struct writer *w, const char *key, size_t at)
{
	char index[24];

	if (key == NULL) {
		writer_bytes(w, index, (size_t)snprintf(index, sizeof(index), "[%zu]", at));
		return;
	}
	if (w->n > 0)
		writer_u8(w, '.');
	put_key(w, key);
}

static void
put_path(struct writer *w, const struct config_node *node)
{
	if (node->up == NULL)
		return;
	put_path(w, node->up);
	put_step(w, node->key, node->at);
}

static __attribute__((format(printf, 4, 5))) void
fail(struct config *c, unsigned line, const char *path, const char *fmt, ...)
{
	size_t n;
	va_list ap;

	if (c->failed)
		return;
	c->failed = true;
	if (line > 0)
		n = (size_t)snprintf(c->error, sizeof(c->error), "%.200s:%u: ", c->name, line);
	else
		n = (size_t)snprintf(c->error, sizeof(c->error), "%.200s: ", c->name);
	n += (size_t)snprintf(c->error + n, sizeof(c->error) - n, "%s%s", path,
	    path[0] != '\0' ? ": " : "");
	va_start(ap, fmt);
	vsnprintf(c->error + n, sizeof(c->error) - n, fmt, ap);
	va_end(ap);
}

static const char *
kind(const json_t *v)
{
	switch (json_typeof(v)) {
	case JSON_OBJECT:
		return "an object";
	case JSON_ARRAY:
		return "a list";
	case JSON_STRING:
		return "a string";
	case JSON_INTEGER:
	case JSON_REAL:
		return "a number";
	case JSON_TRUE:
	case JSON_FALSE:
		return "true or false";
	case JSON_NULL:
		break;
	}
	return "null";
}

/* Where `key` stands in an object; its size if it is not there. */
static size_t
place(const struct config_node *in, const char *key)
{
	size_t at = 0;
	void *it;

	if (key == NULL)
		return in->next - 1;
	for (it = json_object_iter((json_t *)(uintptr_t)in->json); it != NULL; at++) {
		if (strcmp(json_object_iter_key(it), key) == 0)
			return at;
		it = json_object_iter_next((json_t *)(uintptr_t)in->json, it);
	}
	return at;
}

static void
path_of(char text[PATH_MAX_TEXT], const struct config_node *in, const char *key)
{
	struct writer w = writer_of(text, PATH_MAX_TEXT - 1);

	put_path(&w, in);
	if (in->json != NULL)
		put_step(&w, key, key == NULL ? in->next - 1 : 0);
	text[w.n] = '\0';
}

static const json_t *
look(const struct config_node *in, const char *key)
{
	if (key == NULL)
		return json_array_get(in->json, in->next - 1);
	return json_object_get(in->json, key);
}

/* An expectation that was not met; not: what is there instead, or NULL. */
static void
unmet(const struct config_node *in, const char *key, const char *want, const char *not)
{
	char path[PATH_MAX_TEXT];
	size_t at;

	if (in->file->failed)
		return;
	at = place(in, key);
	path_of(path, in, key);
	if (look(in, key) == NULL)
		fail(in->file, line_of(in, NULL), path, "missing: expected %s", want);
	else if (not != NULL)
		fail(in->file, line_of(in, &at), path, "expected %s, not %s", want, not);
	else
		fail(in->file, line_of(in, &at), path, "expected %s", want);
}

void
config_bad(struct config_node *in, const char *key, const char *want)
{
	unmet(in, key, want, NULL);
}

/* ---- files ---- */

/* A key that is given twice has just been read, up to `end`. */
static void
fail_twice(struct config *c, unsigned line, size_t end)
{
	char path[PATH_MAX_TEXT];
	struct writer w = writer_of(path, sizeof(path) - 1);
	size_t start = end - 1;

	/* Only the quotes inside a string have a backslash before them. */
	while (start > 1 && (c->text[start - 1] != '"' || c->text[start - 2] == '\\'))
		start--;
	c->text[end - 1] = '\0';
	put_key(&w, c->text + start);
	path[w.n] = '\0';
	fail(c, line, path, "this key is given twice");
}

static void
parse(struct config *c)
{
	json_error_t e;
	char *near;

	c->json = json_loadb(c->text, c->n, JSON_REJECT_DUPLICATES, &e);
	if (c->json != NULL)
		return;
	if (json_error_code(&e) == json_error_duplicate_key && e.position > 1) {
		fail_twice(c, (unsigned)e.line, (size_t)e.position);
		return;
	}
	/* What is quoted there may be a secret, and the line says where it is. */
	near = strstr(e.text, " near ");
	if (near != NULL)
		*near = '\0';
	fail(c, e.line > 0 ? (unsigned)e.line : 1, "", "not JSON: %s", e.text);
}

static struct config *
new_config(const char *name)
{
	struct config *c = mem_zalloc(sizeof(*c));

	c->name = mem_strdup(name);
	return c;
}

struct config *
config_parse(const char *name, const char *text, size_t n)
{
	struct config *c = new_config(name);

	if (n > CONFIG_SIZE_MAX) {
		fail(c, 0, "", "larger than %d bytes", CONFIG_SIZE_MAX);
		return c;
	}
	c->text = mem_alloc(n + 1);
	if (n > 0)
		memcpy(c->text, text, n);
	c->text[n] = '\0';
	c->n = n;
	parse(c);
	return c;
}

struct config *
config_read(const char *path)
{
	struct config *c = new_config(path);
	FILE *f = fopen(path, "re");

	if (f == NULL) {
		fail(c, 0, "", "%s", strerror(errno));
		return c;
	}
	c->text = mem_alloc(CONFIG_SIZE_MAX + 2);
	c->n = fread(c->text, 1, CONFIG_SIZE_MAX + 1, f);
	if (ferror(f))
		fail(c, 0, "", "%s", strerror(errno));
	else if (c->n > CONFIG_SIZE_MAX)
		fail(c, 0, "", "larger than %d bytes", CONFIG_SIZE_MAX);
	fclose(f);
	c->text = mem_realloc(c->text, c->n + 1);
	c->text[c->n] = '\0';
	if (!c->failed)
		parse(c);
	return c;
}

void
config_free(struct config *c)
{
	if (c == NULL)
		return;
	json_decref(c->json);
	if (c->text != NULL)
		mem_wipe(c->text, c->n);
	free(c->text);
	free(c->name);
	free(c);
}

const char *
config_error(const struct config *c)
{
	return c->failed ? c->error : NULL;
}

/* ---- values ---- */

void
config_root(struct config *c, struct config_node *root)
{
	*root = (struct config_node){ .file = c, .json = c->json };
	if (!c->failed && !json_is_object(c->json))
		fail(c, line_of(root, NULL), "", "expected an object, not %s", kind(c->json));
}

/* The value, or NULL; notes that the key is known. */
static const json_t *
ask(struct config_node *in, const char *key)
{
	bool noted = key == NULL;

	for (unsigned i = 0; i < in->n_asked && !noted; i++)
		noted = strcmp(in->asked[i], key) == 0;
	if (!noted) {
		assert(in->n_asked < CONFIG_KEYS);
		in->asked[in->n_asked++] = key;
	}
	return in->file->failed ? NULL : look(in, key);
}

bool
config_string(struct config_node *in, const char *key, const char **v)
{
	const json_t *j = ask(in, key);

	if (j == NULL)
		return false;
	if (!json_is_string(j)) {
		unmet(in, key, "a string", kind(j));
		return false;
	}
	*v = json_string_value(j);
	return true;
}

bool
config_is_string(struct config_node *in, const char *key)
{
	return json_is_string(ask(in, key));
}

bool
config_integer(struct config_node *in, const char *key, int64_t min, int64_t max, int64_t *v)
{
	const json_t *j = ask(in, key);
	char want[96];

	if (j == NULL)
		return false;
	if (!json_is_integer(j) || json_integer_value(j) < min || json_integer_value(j) > max) {
		snprintf(want, sizeof(want), "a whole number from %lld to %lld", (long long)min,
		    (long long)max);
		unmet(in, key, want, json_is_number(j) ? NULL : kind(j));
		return false;
	}
	*v = json_integer_value(j);
	return true;
}

bool
config_bool(struct config_node *in, const char *key, bool *v)
{
	const json_t *j = ask(in, key);

	if (j == NULL)
		return false;
	if (!json_is_boolean(j)) {
		unmet(in, key, "true or false", kind(j));
		return false;
	}
	*v = json_is_true(j);
	return true;
}

static bool
open_node(struct config_node *in, const char *key, struct config_node *node, bool object)
{
	const json_t *j = ask(in, key);

	if (j == NULL)
		return false;
	if (object ? !json_is_object(j) : !json_is_array(j)) {
		unmet(in, key, object ? "an object" : "a list", kind(j));
		return false;
	}
	*node = (struct config_node){
		.file = in->file, .up = in, .key = key, .at = place(in, key), .json = j,
	};
	return true;
}

bool
config_object(struct config_node *in, const char *key, struct config_node *object)
{
	return open_node(in, key, object, true);
}

bool
config_list(struct config_node *in, const char *key, struct config_node *list)
{
	return open_node(in, key, list, false);
}

bool
config_next(struct config_node *list)
{
	if (list->file->failed || list->next >= json_array_size(list->json))
		return false;
	list->next++;
	return true;
}

/* ---- unknown keys ---- */

/* How many letters must be put in, left out or changed (Levenshtein). */
static size_t
distance(const char *a, const char *b)
{
	size_t row[HINT_KEY_MAX + 1], n = strlen(b);

	for (size_t j = 0; j <= n; j++)
		row[j] = j;
	for (size_t i = 1; a[i - 1] != '\0'; i++) {
		size_t diagonal = row[0];

		row[0] = i;
		for (size_t j = 1; j <= n; j++) {
			size_t best = diagonal + (a[i - 1] != b[j - 1]);

			diagonal = row[j];
			if (row[j] + 1 < best)
				best = row[j] + 1;
			if (row[j - 1] + 1 < best)
				best = row[j - 1] + 1;
			row[j] = best;
		}
	}
	return row[n];
}

static const char *
nearest(const struct config_node *object, const char *key)
{
	const char *found = NULL;
	size_t best = 4; /* beyond that it is another word */

	if (strlen(key) > HINT_KEY_MAX)
		return NULL;
	for (unsigned i = 0; i < object->n_asked; i++) {
		size_t d;

		assert(strlen(object->asked[i]) <= HINT_KEY_MAX);
		d = distance(key, object->asked[i]);
		if (d < best && d < strlen(object->asked[i])) {
			best = d;
			found = object->asked[i];
		}
	}
	return found;
}

void
config_end(struct config_node *object)
{
	json_t *o = (json_t *)(uintptr_t)object->json;
	char path[PATH_MAX_TEXT];
	size_t at = 0;

	if (object->file->failed)
		return;
	for (void *it = json_object_iter(o); it != NULL; it = json_object_iter_next(o, it), at++) {
		const char *key = json_object_iter_key(it), *hint;
		bool known = false;

		for (unsigned i = 0; i < object->n_asked && !known; i++)
			known = strcmp(object->asked[i], key) == 0;
		if (known)
			continue;
		path_of(path, object, key);
		hint = nearest(object, key);
		fail(object->file, line_of(object, &at), path, "unknown key%s%s%s",
		    hint != NULL ? "; did you mean \"" : "", hint != NULL ? hint : "",
		    hint != NULL ? "\"?" : "");
		return;
	}
}
