/* What any PT program owes its parent: sane descriptors and signals at the start, and
 * an end when it is asked for (PT-CHECKLIST, "Process" and "Shutdown"). */
#ifndef SULTRY_COMMON_NET_PROCESS_H
#define SULTRY_COMMON_NET_PROCESS_H

#include <event2/event.h>
#include <stdbool.h>

/* The very first call of main: opens /dev/null on closed standard descriptors, allows as many
 * descriptors as the hard limit does, ignores SIGPIPE, unblocks SIGTERM and SIGINT. Until
 * process_watch those end the program with status 0. */
void process_start(bool managed);
/* From here on so does the end of stdin, while process_listen waits. */
void process_heed_stdin(bool heed);

enum process_stop {
	STOP_NOW,   /* SIGTERM, a second SIGINT, the parent or its end of stdin is gone */
	STOP_DRAIN, /* the first SIGINT: take no new sessions, end when idle */
};
struct process;
/* Calls stop() when an end is asked for, perhaps more than once. To be called when all is
 * up: from here on the event loop has to run for an end to be noticed. */
struct process *process_watch(struct event_base *base, bool managed, bool stdin_close,
    void (*stop)(void *arg, enum process_stop how), void *arg);
void process_free(struct process *p);

/* Tells a service manager, if there is one, that all is up (sd_notify(3), READY=1). */
void process_ready(void);

/* After a fatal line: gives the parent up to 250 ms to read it and end us. */
void process_linger(void);

/* A listening socket (non-blocking, close-on-exec, SO_REUSEADDR), its address in *bound.
 * The IPv6 wildcard takes IPv4 too. EADDRINUSE is tried again for 2 s. -1: errno. */
evutil_socket_t process_listen(const struct sockaddr *addr, socklen_t len,
    struct sockaddr_storage *bound);

#endif
