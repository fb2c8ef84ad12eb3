/* Turns host names into addresses, without blocking: /etc/hosts, then a small cache, then
 * DNS over UDP (libevent's evdns), both families at once. evdns 2.1 knows neither EDNS nor DNS
 * over TCP: a family whose answer does not fit 512 bytes (some 28 IPv4 or 16 IPv6 addresses
 * behind a short name) counts as failed. */
#ifndef SULTRY_PT_SERVER_RESOLVE_H
#define SULTRY_PT_SERVER_RESOLVE_H

#include <event2/event.h>
#include <stdbool.h>

#include "common/message.h"

#define RESOLVE_FAMILY_MAX (MSG_RESOLVED / 2) /* addresses of each family; more are dropped */
#define RESOLVE_PENDING_MAX 256               /* names that are asked for at a time */
#define RESOLVE_SERVERS_MAX 4
#define RESOLVE_CACHE_MAX 512                 /* names */
/* Seconds; longer ones count as that. Not long: evdns does not tell those of CNAMEs. */
#define RESOLVE_TTL_MAX 300

struct resolver;
struct resolve;

/* Zeroed memory is the ordinary one. Strings are borrowed for the resolver's life. */
struct resolver_config {
	/* Nameservers, with their ports. None: those of resolv_conf, read again when that
	 * has changed. */
	struct sockaddr_storage servers[RESOLVE_SERVERS_MAX];
	unsigned n_servers;
	const char *resolv_conf; /* NULL: /etc/resolv.conf */
	const char *hosts;       /* NULL: /etc/hosts */
	unsigned timeout_ms;     /* for an answer; 0: 5000 */
};

struct resolver *resolver_new(struct event_base *base, const struct resolver_config *config);
/* All resolves must have ended. The loop must run once more (EVLOOP_NONBLOCK) before the
 * event base is freed: libevent reports its cancelled queries from there. */
void resolver_free(struct resolver *r);

/* What is known of a name. Ports are 0. */
struct resolve_answer {
	struct sockaddr_storage v6[RESOLVE_FAMILY_MAX], v4[RESOLVE_FAMILY_MAX];
	unsigned n_v6, n_v4;
	uint32_t ttl;       /* seconds: the shortest; 0 for a literal address or a file's */
	enum msg_error err; /* ERR_NONE if there is an address, else ERR_DNS_FAILED */
};

/* Called from the loop once or twice: with what the first family gave (only if that is
 * something) while the other one is out, and at the end (last: the resolve is freed by then)
 * with everything. In a family addresses only go from none to all (RFC 8305 section 3: IPv6
 * at once, IPv4 50 ms later). */
typedef void resolve_done(void *arg, const struct resolve_answer *answer, bool last);

/* host: a literal address, which answers for itself, or a name (see match_name_ok). When too
 * many names are being asked for, the one that has been out for the longest ends: names that
 * do not answer keep nobody from theirs. Never calls back before it has returned. */
struct resolve *resolve_start(struct resolver *r, const char *host, resolve_done *done, void *arg);
/* No callback any more. NULL is fine. */
void resolve_cancel(struct resolve *q);

#endif
