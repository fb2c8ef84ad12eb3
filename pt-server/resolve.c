#include "pt-server/resolve.h"

#include <event2/dns.h>
#include <event2/event_struct.h>
#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/queue.h>
#include <sys/stat.h>
#include <unistd.h>

#include "common/address.h"
#include "common/log.h"
#include "common/match.h"
#include "common/mem.h"
#include "common/net/local.h"
#include "pt-server/hosts.h"

#define TIMEOUT_MS 5000
#define TRIES 3               /* of a query, within the timeout */
#define A_ALONE_MS 50         /* RFC 8305 section 3: Resolution Delay */
#define HALF_TTL 30           /* seconds; one family failed, and may do better next time */
#define HOSTS_MAX (1024 * 1024)

/* A file that is read again when it has changed. */
struct watched {
	const char *path;
	bool known;       /* it was looked at */
	struct stat seen; /* zero: not there */
};

/* One question in evdns, whose callback comes even after it was cancelled. */
struct query {
	struct lookup *lookup; /* NULL: cancelled */
	struct evdns_request *request;
	bool v6;
};

/* One name that is being asked for, by anybody. */
struct lookup {
	TAILQ_ENTRY(lookup) link;
	struct resolver *r;
	char name[MATCH_NAME_MAX + 1];
	struct query *queries[2]; /* NULL: ended */
	struct resolve_answer answer;
	bool half;                /* a family failed, other than by having no addresses */
	struct event early, end;
	LIST_HEAD(, resolve) waiting, told; /* told: what one family gave */
};

struct cached {
	TAILQ_ENTRY(cached) link;
	char name[MATCH_NAME_MAX + 1];
	struct resolve_answer answer;
	uint64_t until_ms;
};

struct resolver {
	struct event_base *base;
	struct evdns_base *dns;
	unsigned timeout_ms;
	bool own_servers;         /* given, not resolv_conf's */
	struct watched resolv_conf, hosts;
	char *hosts_text;
	size_t hosts_n;
	TAILQ_HEAD(, lookup) lookups; /* the last to end at its end */
	unsigned n_lookups;
	TAILQ_HEAD(cache, cached) cache; /* the last used first */
	unsigned n_cached;
};

struct resolve {
	LIST_ENTRY(resolve) link;
	struct lookup *lookup; /* NULL: the answer was at hand, and `later` gives it */
	struct resolve_answer answer;
	struct event later;
	resolve_done *done;
	void *arg;
};

static void
start_timer(struct event *ev, unsigned ms)
{
	event_add(ev, &(struct timeval){ .tv_sec = ms / 1000, .tv_usec = ms % 1000 * 1000 });
}

/* ---- answers ---- */

static void
add_address(void *arg, const struct sockaddr_storage *a)
{
	struct resolve_answer *to = arg;

	if (a->ss_family == AF_INET && to->n_v4 < RESOLVE_FAMILY_MAX)
		to->v4[to->n_v4++] = *a;
	else if (a->ss_family == AF_INET6 && to->n_v6 < RESOLVE_FAMILY_MAX)
		to->v6[to->n_v6++] = *a;
}

/* Addresses as they stand in a DNS answer. */
static void
add_records(struct resolve_answer *to, bool v6, const void *records, int n)
{
	const uint8_t *p = records;

	for (int i = 0; i < n; i++, p += v6 ? 16 : 4) {
		struct sockaddr_in a4 = { .sin_family = AF_INET };
		struct sockaddr_in6 a6 = { .sin6_family = AF_INET6 };
		struct sockaddr_storage a;

		if (v6)
			memcpy(&a6.sin6_addr, p, 16);
		else
			memcpy(&a4.sin_addr, p, 4);
		if (address_copy(&a, v6 ? (struct sockaddr *)&a6 : (struct sockaddr *)&a4,
		    v6 ? sizeof(a6) : sizeof(a4)))
			add_address(to, &a);
	}
}

static bool
is_empty(const struct resolve_answer *a)
{
	return a->n_v4 + a->n_v6 == 0;
}

/* ---- files ---- */

/* Whether the file is another one than at the last call. */
static bool
has_changed(struct watched *w)
{
	struct stat st;

	if (stat(w->path, &st) != 0)
		memset(&st, 0, sizeof(st));
	if (w->known && st.st_dev == w->seen.st_dev && st.st_ino == w->seen.st_ino &&
	    st.st_size == w->seen.st_size && st.st_mtim.tv_sec == w->seen.st_mtim.tv_sec &&
	    st.st_mtim.tv_nsec == w->seen.st_mtim.tv_nsec)
		return false;
	w->known = true;
	w->seen = st;
	return true;
}

static void
refresh_hosts(struct resolver *r)
{
	int fd;
	ssize_t n;

	if (!has_changed(&r->hosts))
		return;
	r->hosts_n = 0;
	fd = open(r->hosts.path, O_RDONLY | O_CLOEXEC | O_NONBLOCK);
	if (fd < 0)
		return;
	r->hosts_text = mem_realloc(r->hosts_text, HOSTS_MAX);
	while (r->hosts_n < HOSTS_MAX &&
	    (n = read(fd, r->hosts_text + r->hosts_n, HOSTS_MAX - r->hosts_n)) > 0)
		r->hosts_n += (size_t)n;
	close(fd);
	r->hosts_text = mem_realloc(r->hosts_text, r->hosts_n);
}

static void
refresh_servers(struct resolver *r)
{
	if (r->own_servers || !has_changed(&r->resolv_conf))
		return;
	evdns_base_clear_nameservers_and_suspend(r->dns);
	/* A file that is not there, or names nobody, means this machine: resolv.conf(5). */
	evdns_base_resolv_conf_parse(r->dns, DNS_OPTION_NAMESERVERS, r->resolv_conf.path);
	evdns_base_resume(r->dns);
}

/* ---- the cache ---- */

static void
forget(struct resolver *r, struct cached *e)
{
	TAILQ_REMOVE(&r->cache, e, link);
	r->n_cached--;
	free(e);
}

static struct cached *
remembered(struct resolver *r, const char *name)
{
	struct cached *e;

	TAILQ_FOREACH(e, &r->cache, link)
		if (strcmp(e->name, name) == 0)
			return e;
	return NULL;
}

static bool
recall(struct resolver *r, const char *name, struct resolve_answer *answer)
{
	struct cached *e = remembered(r, name);
	uint64_t now = local_now();

	if (e == NULL)
		return false;
	if (now >= e->until_ms) {
		forget(r, e);
		return false;
	}
	*answer = e->answer;
	answer->ttl = (uint32_t)((e->until_ms - now + 999) / 1000);
	TAILQ_REMOVE(&r->cache, e, link);
	TAILQ_INSERT_HEAD(&r->cache, e, link);
	return true;
}

static void
remember(struct resolver *r, const char *name, const struct resolve_answer *answer)
{
	struct cached *e = remembered(r, name);

	if (e != NULL)
		forget(r, e);
	if (answer->err != ERR_NONE || answer->ttl == 0)
		return;
	if (r->n_cached == RESOLVE_CACHE_MAX)
		forget(r, TAILQ_LAST(&r->cache, cache));
	e = mem_zalloc(sizeof(*e));
	memcpy(e->name, name, strlen(name) + 1);
	e->answer = *answer;
	e->until_ms = local_now() + answer->ttl * UINT64_C(1000);
	TAILQ_INSERT_HEAD(&r->cache, e, link);
	r->n_cached++;
}

/* ---- lookups ---- */

static void
finish_resolve(struct resolve *q, const struct resolve_answer *answer)
{
	resolve_done *done = q->done;
	void *arg = q->arg;

	resolve_cancel(q);
	done(arg, answer, true);
}

static void
drop_query(struct lookup *l, int i)
{
	struct query *query = l->queries[i];

	l->queries[i] = NULL;
	if (query == NULL)
		return;
	query->lookup = NULL;
	evdns_cancel_request(l->r->dns, query->request);
}

/* Out of the table: whoever asks for the name from now on, asks anew. */
static void
unlist(struct lookup *l)
{
	TAILQ_REMOVE(&l->r->lookups, l, link);
	l->r->n_lookups--;
	drop_query(l, 0);
	drop_query(l, 1);
	event_del(&l->early);
	event_del(&l->end);
}

static void
finish_lookup(struct lookup *l)
{
	struct resolve *q;

	unlist(l);
	l->answer.err = is_empty(&l->answer) ? ERR_DNS_FAILED : ERR_NONE;
	if (l->half && l->answer.ttl > HALF_TTL)
		l->answer.ttl = HALF_TTL;
	remember(l->r, l->name, &l->answer);
	/* A callback may end any of the others. */
	while ((q = LIST_FIRST(&l->told)) != NULL || (q = LIST_FIRST(&l->waiting)) != NULL)
		finish_resolve(q, &l->answer);
	free(l);
}

/* One family has been out for too long: what the other gave is told. */
static void
on_early(evutil_socket_t fd, short what, void *arg)
{
	struct lookup *l = arg;
	struct resolve *q;

	(void)fd;
	(void)what;
	while ((q = LIST_FIRST(&l->waiting)) != NULL) {
		LIST_REMOVE(q, link);
		LIST_INSERT_HEAD(&l->told, q, link);
		q->done(q->arg, &l->answer, false);
	}
}

static void
on_end(evutil_socket_t fd, short what, void *arg)
{
	struct lookup *l = arg;

	(void)fd;
	(void)what;
	l->half = true;
	finish_lookup(l);
}

static void
on_query(int result, char type, int count, int ttl, void *addresses, void *arg)
{
	struct query *query = arg;
	struct lookup *l = query->lookup;
	struct resolve_answer *a;
	bool v6 = query->v6, first;

	(void)type;
	free(query);
	if (l == NULL)
		return;
	l->queries[v6] = NULL;
	a = &l->answer;
	first = is_empty(a);
	if (result == DNS_ERR_NONE) {
		uint32_t t = ttl < 0 ? 0 : ttl > RESOLVE_TTL_MAX ? RESOLVE_TTL_MAX : (uint32_t)ttl;

		add_records(a, v6, addresses, count);
		if (first || t < a->ttl)
			a->ttl = t;
	} else if (result != DNS_ERR_NODATA && result != DNS_ERR_NOTEXIST) {
		l->half = true;
	}
	if (l->queries[!v6] == NULL)
		finish_lookup(l);
	else if (!is_empty(a))
		start_timer(&l->early, v6 ? 0 : A_ALONE_MS);
}

static void
ask(struct lookup *l, bool v6)
{
	struct query *query = mem_zalloc(sizeof(*query));
	struct evdns_base *dns = l->r->dns;

	query->lookup = l;
	query->v6 = v6;
	query->request = v6 ?
	    evdns_base_resolve_ipv6(dns, l->name, DNS_QUERY_NO_SEARCH, on_query, query) :
	    evdns_base_resolve_ipv4(dns, l->name, DNS_QUERY_NO_SEARCH, on_query, query);
	if (query->request != NULL)
		l->queries[v6] = query;
	else
		free(query);
}

static struct lookup *
look_up(struct resolver *r, const char *name)
{
	struct lookup *l = mem_zalloc(sizeof(*l));

	l->r = r;
	memcpy(l->name, name, strlen(name) + 1);
	LIST_INIT(&l->waiting);
	LIST_INIT(&l->told);
	evtimer_assign(&l->early, r->base, on_early, l);
	evtimer_assign(&l->end, r->base, on_end, l);
	TAILQ_INSERT_TAIL(&r->lookups, l, link);
	r->n_lookups++;
	if (evdns_base_count_nameservers(r->dns) > 0) {
		ask(l, true);
		ask(l, false);
	}
	/* Not even asked: ends at once, from the loop. */
	start_timer(&l->end, l->queries[0] != NULL || l->queries[1] != NULL ? r->timeout_ms : 0);
	return l;
}

/* ---- resolves ---- */

static void
on_later(evutil_socket_t fd, short what, void *arg)
{
	struct resolve *q = arg;
	struct resolve_answer answer = q->answer;

	(void)fd;
	(void)what;
	finish_resolve(q, &answer);
}

/* Without a dot at the end and in small letters: the key of the cache. */
static void
normal_name(char out[MATCH_NAME_MAX + 1], const char *host)
{
	size_t n = strlen(host);

	if (host[n - 1] == '.')
		n--;
	for (size_t i = 0; i < n; i++)
		out[i] = host[i] >= 'A' && host[i] <= 'Z' ? (char)(host[i] + ('a' - 'A')) : host[i];
	out[n] = '\0';
}

/* What needs no query. */
static bool
answer_at_hand(struct resolver *r, const char *host, const char *name, struct resolve_answer *a)
{
	struct sockaddr_storage literal, plain;

	if (address_parse(&literal, host, 0) &&
	    address_copy(&plain, (struct sockaddr *)&literal, sizeof(literal))) {
		add_address(a, &plain);
		return true;
	}
	if (name[0] == '\0') {
		a->err = ERR_DNS_FAILED;
		return true;
	}
	refresh_hosts(r);
	return hosts_find(r->hosts_text, r->hosts_n, name, add_address, a) || recall(r, name, a);
}

/* The lookup that has been out for the longest ends, as if its time were up. */
static void
hurry(struct resolver *r)
{
	struct lookup *l = TAILQ_FIRST(&r->lookups);

	TAILQ_REMOVE(&r->lookups, l, link); /* it is not the next one that has to hurry */
	TAILQ_INSERT_TAIL(&r->lookups, l, link);
	start_timer(&l->end, 0);
}

static struct lookup *
join_or_look_up(struct resolver *r, const char *name)
{
	struct lookup *l;

	TAILQ_FOREACH(l, &r->lookups, link) {
		if (strcmp(l->name, name) != 0)
			continue;
		/* Others may have been told a part by now. */
		if (!is_empty(&l->answer) && !event_pending(&l->early, EV_TIMEOUT, NULL))
			start_timer(&l->early, 0);
		return l;
	}
	if (r->n_lookups >= RESOLVE_PENDING_MAX)
		hurry(r);
	refresh_servers(r);
	return look_up(r, name);
}

struct resolve *
resolve_start(struct resolver *r, const char *host, resolve_done *done, void *arg)
{
	struct resolve *q = mem_zalloc(sizeof(*q));
	char name[MATCH_NAME_MAX + 1] = "";

	q->done = done;
	q->arg = arg;
	evtimer_assign(&q->later, r->base, on_later, q);
	if (match_name_ok(host))
		normal_name(name, host);
	if (answer_at_hand(r, host, name, &q->answer)) {
		start_timer(&q->later, 0);
	} else {
		q->lookup = join_or_look_up(r, name);
		LIST_INSERT_HEAD(&q->lookup->waiting, q, link);
	}
	return q;
}

void
resolve_cancel(struct resolve *q)
{
	if (q == NULL)
		return;
	event_del(&q->later);
	if (q->lookup != NULL)
		LIST_REMOVE(q, link);
	/* The lookup goes on: its end is near, and fills the cache. */
	free(q);
}

/* ---- the resolver ---- */

static void
set_times(struct resolver *r)
{
	char text[32];

	snprintf(text, sizeof(text), "%.3f", r->timeout_ms / 1000.0 / TRIES);
	evdns_base_set_option(r->dns, "timeout:", text);
	snprintf(text, sizeof(text), "%d", TRIES);
	evdns_base_set_option(r->dns, "attempts:", text);
	snprintf(text, sizeof(text), "%d", 2 * RESOLVE_PENDING_MAX);
	evdns_base_set_option(r->dns, "max-inflight:", text);
}

static void
dns_log(int is_warning, const char *msg)
{
	(void)is_warning;
	log_debug("dns: %s", msg);
}

struct resolver *
resolver_new(struct event_base *base, const struct resolver_config *config)
{
	struct resolver *r = mem_zalloc(sizeof(*r));

	r->base = base;
	r->timeout_ms = config->timeout_ms != 0 ? config->timeout_ms : TIMEOUT_MS;
	r->resolv_conf.path = config->resolv_conf != NULL ? config->resolv_conf : "/etc/resolv.conf";
	r->hosts.path = config->hosts != NULL ? config->hosts : "/etc/hosts";
	r->hosts_text = mem_strdup("");
	r->own_servers = config->n_servers > 0;
	TAILQ_INIT(&r->lookups);
	TAILQ_INIT(&r->cache);
	r->dns = evdns_base_new(base, EVDNS_BASE_DISABLE_WHEN_INACTIVE);
	if (r->dns == NULL)
		abort(); /* out of memory */
	evdns_set_log_fn(dns_log);
	set_times(r);
	for (unsigned i = 0; i < config->n_servers; i++)
		evdns_base_nameserver_sockaddr_add(r->dns,
		    (const struct sockaddr *)&config->servers[i],
		    address_len(&config->servers[i]), 0);
	return r;
}

void
resolver_free(struct resolver *r)
{
	struct lookup *l;

	if (r == NULL)
		return;
	while ((l = TAILQ_FIRST(&r->lookups)) != NULL) {
		unlist(l);
		free(l);
	}
	while (!TAILQ_EMPTY(&r->cache))
		forget(r, TAILQ_FIRST(&r->cache));
	evdns_base_free(r->dns, 0);
	free(r->hosts_text);
	free(r);
}
