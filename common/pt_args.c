#include "common/pt_args.h"

#include <stdint.h>
#include <string.h>

void
pt_args_clear(struct pt_args *args)
{
	buffer_clear(&args->text);
}

void
pt_args_add(struct pt_args *args, const char *key, const char *value)
{
	buffer_add(&args->text, key, strlen(key) + 1);
	buffer_add(&args->text, value, strlen(value) + 1);
}

bool
pt_args_next(const struct pt_args *args, size_t *pos, const char **key, const char **value)
{
	if (*pos >= args->text.n)
		return false;
	*key = (const char *)buffer_data(&args->text) + *pos;
	*value = *key + strlen(*key) + 1;
	*pos += (size_t)(*value - *key) + strlen(*value) + 1;
	return true;
}

const char *
pt_args_get(const struct pt_args *args, const char *key)
{
	const char *k, *v;

	for (size_t pos = 0; pt_args_next(args, &pos, &k, &v);)
		if (strcmp(k, key) == 0)
			return v;
	return NULL;
}

/* Appends what comes before the first bare byte of `stops` (or the end), without its
 * escapes and with a NUL; that byte stays in r. */
static bool
take_token(struct reader *r, const char *stops, struct buffer *out, const char **why)
{
	uint8_t c;

	while (r->n > 0 && memchr(stops, *r->p, strlen(stops)) == NULL) {
		reader_u8(r, &c);
		if (c == '\\' && !reader_u8(r, &c)) {
			*why = "backslash at the end";
			return false;
		}
		if (c == '\0') {
			*why = "NUL byte";
			return false;
		}
		buffer_add(out, &c, 1);
	}
	buffer_add(out, "", 1);
	return true;
}

/* One k=v, up to a bare `;` or the end. */
static bool
take_pair(struct reader *r, struct pt_args *args, const char **why)
{
	size_t start = args->text.n;

	if (!take_token(r, "=;", &args->text, why))
		return false;
	if (r->n == 0 || *r->p != '=') {
		*why = "no equals sign";
		return false;
	}
	if (args->text.n == start + 1) {
		*why = "empty key";
		return false;
	}
	reader_skip(r, 1);
	return take_token(r, ";", &args->text, why);
}

/* `name:k=v`. */
static bool
take_option(struct reader *r, struct pt_args *args, const char *transport, const char **why)
{
	struct buffer name = { 0 };
	struct pt_args other = { 0 };
	bool ok = false;

	if (!take_token(r, ":=;", &name, why))
		goto out;
	if (r->n == 0 || *r->p != ':') {
		*why = "no colon";
		goto out;
	}
	if (name.n == 1) {
		*why = "empty transport name";
		goto out;
	}
	reader_skip(r, 1);
	if (strcmp((const char *)buffer_data(&name), transport) == 0)
		ok = take_pair(r, args, why);
	else
		ok = take_pair(r, &other, why);
out:
	pt_args_clear(&other);
	buffer_clear(&name);
	return ok;
}

static bool
parse(struct pt_args *args, struct reader r, size_t max, const char *transport, const char **why)
{
	bool ok;

	pt_args_clear(args);
	if (r.n > max) {
		*why = "too long";
		return false;
	}
	if (r.n == 0)
		return true;
	do {
		ok = transport != NULL ? take_option(&r, args, transport, why)
		                       : take_pair(&r, args, why);
	} while (ok && reader_skip(&r, 1)); /* the semicolon: a pair must follow it */
	if (!ok)
		pt_args_clear(args);
	return ok;
}

bool
pt_args_parse(struct pt_args *args, const void *s, size_t n, const char **why)
{
	return parse(args, reader_of(s, n), PT_ARGS_SOCKS_MAX, NULL, why);
}

bool
pt_args_parse_options(struct pt_args *args, const char *s, const char *transport,
    const char **why)
{
	return parse(args, reader_of(s, strlen(s)), PT_ARGS_OPTIONS_MAX, transport, why);
}

static void
write_escaped(struct writer *w, const char *s)
{
	for (; *s != '\0'; s++) {
		if (*s <= 0x20 || *s >= 0x7f)
			w->failed = true;
		if (strchr("=,\\", *s) != NULL)
			writer_u8(w, '\\');
		writer_u8(w, (uint8_t)*s);
	}
}

bool
pt_args_smethod(char *out, size_t cap, const struct pt_args *args)
{
	struct writer w = writer_of(out, cap);
	const char *key, *value;

	for (size_t pos = 0; pt_args_next(args, &pos, &key, &value);) {
		if (w.n == 0)
			writer_bytes(&w, "ARGS:", 5);
		else
			writer_u8(&w, ',');
		write_escaped(&w, key);
		writer_u8(&w, '=');
		write_escaped(&w, value);
	}
	writer_u8(&w, '\0');
	if (w.failed && cap > 0)
		out[0] = '\0';
	return !w.failed;
}
