#include "common/log.h"

#include <stdarg.h>
#include <stdio.h>
#include <unistd.h>

#include "common/output.h"

static enum log_level max_level = LOG_NOTICE;
static log_sink *to_sink;

static const char *const names[] = { "error", "warning", "notice", "info", "debug" };

void
log_init(enum log_level level, log_sink *sink)
{
	max_level = level;
	to_sink = sink;
}

const char *
log_level_name(enum log_level level)
{
	return names[level];
}

static void emit(enum log_level level, const char *fmt, va_list ap)
    __attribute__((format(printf, 2, 0)));

static void
emit(enum log_level level, const char *fmt, va_list ap)
{
	char msg[1024], line[1100];
	int n;

	if (level > max_level)
		return;
	vsnprintf(msg, sizeof(msg), fmt, ap);
	if (to_sink != NULL) {
		to_sink(level, msg);
		return;
	}
	n = snprintf(line, sizeof(line), "sultry: %s: %s\n", names[level], msg);
	/* A full or closed stderr must not stop us: the line is lost. */
	if (output_wait(STDERR_FILENO, 0))
		(void)output_some(STDERR_FILENO, line, (size_t)n);
}

#define LOG_FN(name, level)                     \
	void name(const char *fmt, ...)         \
	{                                       \
		va_list ap;                     \
		va_start(ap, fmt);              \
		emit(level, fmt, ap);           \
		va_end(ap);                     \
	}

LOG_FN(log_error, LOG_ERROR)
LOG_FN(log_warning, LOG_WARNING)
LOG_FN(log_notice, LOG_NOTICE)
LOG_FN(log_info, LOG_INFO)
LOG_FN(log_debug, LOG_DEBUG)
