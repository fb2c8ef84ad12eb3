#include "common/pt.h"

#include <arpa/inet.h>
#include <assert.h>
#include <errno.h>
#include <stdarg.h>
#include <stdint.h>
#include <stdio.h>
#include <string.h>
#include <time.h>
#include <unistd.h>

#include "common/output.h"

/* How long the parent may take to make room for a line without which it cannot go on. */
enum { PATIENCE_MS = 1000 };

/* Every line that we may say. A keyword that only starts like one of tor's (CMETHODX) makes
 * tor abort, hence the closed list. */
static const struct keyword {
	const char *word;
	int patience_ms;
} keywords[] = {
	{ "VERSION", PATIENCE_MS }, { "VERSION-ERROR", PATIENCE_MS },
	{ "ENV-ERROR", PATIENCE_MS },
	{ "PROXY", PATIENCE_MS }, { "PROXY-ERROR", PATIENCE_MS },
	{ "CMETHOD", PATIENCE_MS }, { "CMETHOD-ERROR", PATIENCE_MS }, { "CMETHODS", PATIENCE_MS },
	{ "SMETHOD", PATIENCE_MS }, { "SMETHOD-ERROR", PATIENCE_MS }, { "SMETHODS", PATIENCE_MS },
	{ "LOG", 0 }, { "STATUS", 0 },
};

/* The end of a line of which stdout took only a part: nothing else may come before it. */
static struct {
	uint8_t p[PT_LINE_MAX];
	size_t n;
} rest;

static int64_t
now_ms(void)
{
	struct timespec t;

	clock_gettime(CLOCK_MONOTONIC, &t);
	return (int64_t)t.tv_sec * 1000 + t.tv_nsec / 1000000;
}

/* Waits until stdout takes bytes. False: not by the deadline, or the reader is gone. */
static bool
wait_for_room(int64_t deadline)
{
	int64_t left = deadline - now_ms();

	return output_wait(STDOUT_FILENO, left > 0 ? (int)left : 0);
}

/* Writes the bytes from *done on and moves it. False: not all of them by the deadline. */
static bool
write_until(const uint8_t *p, size_t n, size_t *done, int64_t deadline)
{
	while (*done < n) {
		ssize_t k;

		if (!wait_for_room(deadline))
			return false;
		k = output_some(STDOUT_FILENO, p + *done, n - *done);
		if (k > 0)
			*done += (size_t)k;
		else if (k < 0 && errno != EINTR && errno != EAGAIN)
			return false;
		else if (now_ms() >= deadline)
			return false;
	}
	return true;
}

static bool
write_line(const uint8_t *line, size_t n, int patience_ms)
{
	int64_t deadline = now_ms() + patience_ms;
	size_t done = 0;
	bool ok = write_until(rest.p, rest.n, &done, deadline);

	memmove(rest.p, rest.p + done, rest.n - done);
	rest.n -= done;
	if (!ok)
		return false;
	done = 0;
	ok = write_until(line, n, &done, deadline);
	if (done > 0) {
		rest.n = n - done;
		memcpy(rest.p, line + done, rest.n);
	}
	return ok;
}

static const struct keyword *
find_keyword(const char *word)
{
	for (size_t i = 0; i < sizeof(keywords) / sizeof(keywords[0]); i++)
		if (strcmp(keywords[i].word, word) == 0)
			return &keywords[i];
	return NULL;
}

bool
pt_line(const char *keyword, const char *fmt, ...)
{
	const struct keyword *k = find_keyword(keyword);
	char text[PT_LINE_MAX] = "";
	uint8_t line[PT_LINE_MAX];
	struct writer w = writer_of(line, sizeof(line) - 1); /* less the line end */
	va_list ap;

	assert(k != NULL);
	va_start(ap, fmt);
	vsnprintf(text, sizeof(text), fmt, ap);
	va_end(ap);
	writer_bytes(&w, keyword, strlen(keyword));
	writer_u8(&w, ' ');
	for (const char *c = text; *c != '\0'; c++)
		if (*c != ' ' || line[w.n - 1] != ' ')
			writer_u8(&w, *c >= 0x20 && *c < 0x7f ? (uint8_t)*c : '?');
	while (line[w.n - 1] == ' ')
		w.n--;
	line[w.n++] = '\n';
	return write_line(line, w.n, k->patience_ms);
}

int
pt_hello(const struct pt_env *env, enum pt_result result, const char *error)
{
	switch (result) {
	case PT_VERSION_ERROR:
		pt_line("VERSION-ERROR", "no-version");
		return PT_EXIT_VERSION;
	case PT_ENV_ERROR:
		/* Before VERSION: behind it tor drops the text. */
		pt_line("ENV-ERROR", "%s", error);
		return PT_EXIT_ENV;
	case PT_PROXY_ERROR:
		pt_line("VERSION", "1");
		pt_line("PROXY-ERROR", "%s", error);
		return PT_EXIT_PROXY;
	case PT_OK:
		break;
	}
	pt_line("VERSION", "1");
	if (env->out.proxy != PROXY_NONE)
		pt_line("PROXY", "DONE");
	return PT_EXIT_OK;
}

/* Words are ignored: "exec sultry-client managed" is common. NULL: there is no flag. */
static const char *
first_flag(int argc, char **argv)
{
	for (int i = 1; i < argc; i++)
		if (argv[i][0] == '-')
			return argv[i];
	return NULL;
}

int
pt_begin(struct pt_env *env, const char *transport, bool server, int argc, char **argv)
{
	static const char *const roles[] = { "client", "server" };
	const char *flag = first_flag(argc, argv);
	char error[PT_ERROR_MAX] = "";
	enum pt_result r = pt_env_read(env, transport, error);

	if (r != PT_VERSION_ERROR && flag != NULL) {
		r = PT_ENV_ERROR;
		snprintf(error, sizeof(error), "unknown flag %s", flag);
	} else if (r == PT_OK && env->server != server) {
		r = PT_ENV_ERROR;
		snprintf(error, sizeof(error), "%s-%s was started as a %s", transport, roles[server],
		    roles[!server]);
	}
	return pt_hello(env, r, error);
}

size_t
pt_quote(char *out, size_t cap, const char *msg)
{
	static const char escaped[] = "\"\\\n\r\t", as[] = "\"\\nrt";
	size_t n = 0;

	for (; *msg != '\0'; msg++) {
		const char *e = strchr(escaped, *msg);

		if (cap - n <= (e != NULL ? 2u : 1u)) /* with room for the NUL */
			break;
		if (e != NULL) {
			out[n++] = '\\';
			out[n++] = as[e - escaped];
		} else {
			out[n++] = *msg >= 0x20 && *msg < 0x7f ? *msg : '?';
		}
	}
	out[n] = '\0';
	return n;
}

void
pt_log(enum log_level level, const char *msg)
{
	char text[PT_LINE_MAX - 64]; /* so that the closing quote fits */

	pt_quote(text, sizeof(text), msg);
	pt_line("LOG", "SEVERITY=%s MESSAGE=\"%s\"", log_level_name(level), text);
}

static void
write_text(struct writer *w, const char *s)
{
	writer_bytes(w, s, strlen(s));
}

bool
pt_status(const char *transport, const char *type, ...)
{
	char text[PT_LINE_MAX - 64];
	struct writer w = writer_of(text, sizeof(text));
	const char *key;
	va_list ap;

	write_text(&w, "TRANSPORT=");
	write_text(&w, transport);
	write_text(&w, " TYPE=");
	write_text(&w, type);
	va_start(ap, type);
	while ((key = va_arg(ap, const char *)) != NULL) {
		char value[512];

		pt_quote(value, sizeof(value), va_arg(ap, const char *));
		for (char *c = value; (c = strchr(c, ' ')) != NULL;)
			*c = '_';
		write_text(&w, " ");
		write_text(&w, key);
		write_text(&w, "=\"");
		write_text(&w, value);
		write_text(&w, "\"");
	}
	va_end(ap);
	writer_u8(&w, '\0');
	return !w.failed && pt_line("STATUS", "%s", text);
}
