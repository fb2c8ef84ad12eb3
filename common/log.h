/* Log lines: to stderr, or wherever the program sends them (PT LOG lines). */
#ifndef SULTRY_COMMON_LOG_H
#define SULTRY_COMMON_LOG_H

enum log_level { LOG_ERROR, LOG_WARNING, LOG_NOTICE, LOG_INFO, LOG_DEBUG };

/* Takes one message without a line end; must not block. */
typedef void log_sink(enum log_level level, const char *msg);

/* Messages above `level` are dropped. sink NULL: stderr, one write a line. */
void log_init(enum log_level level, log_sink *sink);
/* "error", "warning", "notice", "info", "debug". */
const char *log_level_name(enum log_level level);

#define LOG_FN(name) void name(const char *fmt, ...) __attribute__((format(printf, 1, 2)))
LOG_FN(log_error);
LOG_FN(log_warning);
LOG_FN(log_notice);
LOG_FN(log_info);
LOG_FN(log_debug);
#undef LOG_FN

#endif
