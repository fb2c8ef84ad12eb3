/* Memory: allocation that cannot fail, and the handling of secrets. */
#ifndef SULTRY_COMMON_MEM_H
#define SULTRY_COMMON_MEM_H

#include <stdbool.h>
#include <stddef.h>

/* As malloc, calloc, realloc, strdup; out of memory ends the process, so the
 * result is never NULL. Sizes that a peer chooses are capped by the caller. */
void *mem_alloc(size_t n);
void *mem_zalloc(size_t n);
void *mem_realloc(void *p, size_t n);
char *mem_strdup(const char *s);
char *mem_printf(const char *fmt, ...) __attribute__((format(printf, 1, 2)));

/* Overwrites n bytes; never optimised away. */
void mem_wipe(void *p, size_t n);
/* Compares n bytes in a time that does not depend on them. */
bool mem_equal(const void *a, const void *b, size_t n);
/* n unpredictable bytes from the kernel; ends the process if there are none. */
void mem_random(void *p, size_t n);
/* Uniform in [0, bound), bound > 0. */
unsigned mem_random_below(unsigned bound);

#endif
