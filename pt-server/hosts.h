/* Host files: the lines of /etc/hosts (hosts(5)). Pure. */
#ifndef SULTRY_PT_SERVER_HOSTS_H
#define SULTRY_PT_SERVER_HOSTS_H

#include <stdbool.h>
#include <stddef.h>
#include <sys/socket.h>

/* Called for each address. */
typedef void hosts_found(void *arg, const struct sockaddr_storage *a);

/* Looks for name, regardless of case, in n bytes of such a file. Lines that are not
 * understood are passed over. Whether there was one. */
bool hosts_find(const char *text, size_t n, const char *name, hosts_found *found, void *arg);

#endif
