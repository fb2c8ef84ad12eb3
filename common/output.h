/* Writing to a descriptor whose reader may have stopped reading: stdout and stderr of a child.
 * Nothing here blocks, and the file status flags, which the parent shares, stay as they are. */
#ifndef SULTRY_COMMON_OUTPUT_H
#define SULTRY_COMMON_OUTPUT_H

#include <stdbool.h>
#include <stddef.h>
#include <sys/types.h>

/* Waits up to `ms` (from the last signal on) until fd takes bytes. False: not in that time, or the reader is gone. */
bool output_wait(int fd, int ms);
/* Writes up to n bytes, n <= PIPE_BUF, after output_wait said yes. -1 with errno. */
ssize_t output_some(int fd, const void *p, size_t n);

#endif
