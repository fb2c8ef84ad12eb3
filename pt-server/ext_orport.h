/* Tells tor's Extended ORPort who a connection comes from (ext-orport-spec): authentication
 * by cookie, then USERADDR, TRANSPORT and DONE. */
#ifndef SULTRY_PT_SERVER_EXT_ORPORT_H
#define SULTRY_PT_SERVER_EXT_ORPORT_H

#include <event2/event.h>
#include <sys/socket.h>

struct ext_orport;

/* Called once, from the loop; the ext_orport is freed by then. error NULL: tor said OKAY, the
 * callee owns fd, and the next byte read from it is the ORPort's. Otherwise fd is -1 (the
 * socket has been closed) and error says why, a string that holds during the call. */
typedef void ext_orport_done(void *arg, evutil_socket_t fd, const char *error);

/* Starts on fd, a non-blocking socket connected to the Extended ORPort, which it takes.
 * cookie_file is read now, since tor makes a new cookie whenever it starts. client: NULL or
 * AF_UNSPEC where it is not known; no USERADDR is sent then. Takes at most 5 s in all. Never
 * calls back before it has returned. */
struct ext_orport *ext_orport_start(struct event_base *base, evutil_socket_t fd,
    const char *cookie_file, const struct sockaddr *client, const char *transport,
    ext_orport_done *done, void *arg);

/* Ends one whose callback has not been called yet, and closes its socket. NULL is fine. */
void ext_orport_cancel(struct ext_orport *e);

#endif
