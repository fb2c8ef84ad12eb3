#include "pt-client/memory.h"

#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/queue.h>
#include <unistd.h>

#include "common/address.h"
#include "common/config.h"
#include "common/match.h"
#include "common/mem.h"

#define FILE_NAME "strategies.json"
#define TOUCH_S 86400 /* how old a date may get before the file is written for it */

/* What goes by another strategy than the first: a registrable domain where that did not work,
 * or a port of a host that the bridge did not reach. */
struct site {
	TAILQ_ENTRY(site) link;
	char name[MEMORY_NAME_MAX];
	uint16_t port; /* of the host; 0: it is a domain */
	enum strategy strategy;
	int64_t until;
};

TAILQ_HEAD(site_list, site);

struct memory {
	struct site_list sites; /* the one used last is first */
	unsigned n[2];          /* domains, ports of hosts */
	enum strategy first;
	char *path, *temporary; /* NULL: nothing is kept */
	bool changed;
};

/* ---- domains ---- */

/* Whether the n letters are a label that registries sell names below. */
static bool
is_registry_label(const char *label, size_t n)
{
	static const char *const known[] = { "gouv", "asso", "info", "mobi", "name", "firm", "press" };

	for (size_t i = 0; i < sizeof(known) / sizeof(known[0]); i++)
		if (strlen(known[i]) == n && memcmp(known[i], label, n) == 0)
			return true;
	return n <= 3;
}

/* The start of the label that ends before `end`. */
static const char *
label_before(const char *text, const char *end)
{
	while (end > text && end[-1] != '.')
		end--;
	return end;
}

/* Small letters, and no dot at the end. */
static void
host_name(char out[MEMORY_NAME_MAX], const char *host)
{
	size_t n = strnlen(host, MEMORY_NAME_MAX - 1);

	memcpy(out, host, n);
	if (n > 0 && out[n - 1] == '.')
		n--;
	out[n] = '\0';
	for (char *c = out; *c != '\0'; c++)
		if (*c >= 'A' && *c <= 'Z')
			*c = (char)(*c + ('a' - 'A'));
}

void
memory_domain(char out[MEMORY_NAME_MAX], const char *host)
{
	struct sockaddr_storage literal;
	const char *end, *top, *second, *third;

	host_name(out, host);
	if (address_parse(&literal, out, 0))
		return;
	end = out + strlen(out);
	top = label_before(out, end);
	if (top == out)
		return;
	second = label_before(out, top - 1);
	if (second == out)
		return;
	third = label_before(out, second - 1);
	if (end - top != 2 || !is_registry_label(second, (size_t)(top - 1 - second)))
		third = second;
	memmove(out, third, (size_t)(end - third) + 1);
}

/* What may be kept: it goes into a JSON string as it is. */
static bool
is_site(const char *name)
{
	struct sockaddr_storage literal;

	return match_name_ok(name) || address_parse(&literal, name, 0);
}

/* ---- the list ---- */

static void
drop(struct memory *m, struct site *s)
{
	TAILQ_REMOVE(&m->sites, s, link);
	m->n[s->port != 0]--;
	m->changed = true;
	free(s);
}

/* The site, as the one used last; NULL if there is none, or its time is over. */
static struct site *
find(struct memory *m, const char *name, uint16_t port, int64_t now)
{
	struct site *s;

	TAILQ_FOREACH(s, &m->sites, link) {
		if (s->port != port || strcmp(s->name, name) != 0)
			continue;
		if (s->until <= now) {
			drop(m, s);
			return NULL;
		}
		TAILQ_REMOVE(&m->sites, s, link);
		TAILQ_INSERT_HEAD(&m->sites, s, link);
		return s;
	}
	return NULL;
}

/* Each kind has its own room: hosts, whose names cost a stranger nothing, push no domain out. */
static void
add(struct memory *m, const char *name, uint16_t port, enum strategy strategy, int64_t until)
{
	struct site *s = mem_zalloc(sizeof(*s)), *last;

	memcpy(s->name, name, strlen(name) + 1);
	s->port = port;
	s->strategy = strategy;
	s->until = until;
	TAILQ_INSERT_HEAD(&m->sites, s, link);
	m->changed = true;
	if (++m->n[port != 0] <= MEMORY_SITES)
		return;
	TAILQ_FOREACH_REVERSE(last, &m->sites, site_list, link)
		if ((last->port != 0) == (port != 0))
			break;
	drop(m, last);
}

/* ---- strategies ---- */

/* The next one after s has failed for a domain, which always shows less. */
static enum strategy
next_strategy(enum strategy s)
{
	return s == STRATEGY_DIRECT ? STRATEGY_SPLIT : STRATEGY_CONCEAL;
}

/* Whether a domain can have come to s. */
static bool
is_reached(enum strategy first, enum strategy s)
{
	return s != first && (s == STRATEGY_CONCEAL || (s == STRATEGY_SPLIT && first == STRATEGY_DIRECT));
}

/* What is left for what the bridge cannot reach. */
static enum strategy
past_the_bridge(enum strategy first)
{
	return first == STRATEGY_DIRECT ? STRATEGY_DIRECT : STRATEGY_SPLIT;
}

static struct site *
find_for(struct memory *m, const char *host, uint16_t port, int64_t now)
{
	char name[MEMORY_NAME_MAX];
	struct site *s;

	host_name(name, host);
	s = find(m, name, port, now);
	if (s != NULL)
		return s;
	memory_domain(name, host);
	return find(m, name, 0, now);
}

enum strategy
memory_ask(struct memory *m, const char *host, uint16_t port, int64_t now)
{
	const struct site *s = find_for(m, host, port, now);

	return s != NULL ? s->strategy : m->first;
}

/* How the strategy of a domain did; s is NULL if it is still the first. */
static void
tell_domain(struct memory *m, struct site *s, const char *domain, bool worked, int64_t now)
{
	if (s == NULL) {
		if (!worked)
			add(m, domain, 0, next_strategy(m->first), now + MEMORY_KEEP_S);
	} else if (!worked || s->until < now + MEMORY_KEEP_S - TOUCH_S) {
		if (!worked)
			s->strategy = next_strategy(s->strategy);
		s->until = now + MEMORY_KEEP_S;
		m->changed = true;
	}
}

void
memory_tell(struct memory *m, const char *host, uint16_t port, enum strategy strategy, bool worked,
    int64_t now)
{
	struct site *s = find_for(m, host, port, now);
	char name[MEMORY_NAME_MAX];

	host_name(name, host);
	/* Connections run side by side: one that began before the last change says nothing new. */
	if (!is_site(name) || strategy != (s != NULL ? s->strategy : m->first))
		return;
	if (s != NULL && s->port != 0) {
		/* However well it works, it is for a while: then the bridge is asked again. */
		if (!worked)
			drop(m, s);
	} else if (strategy == STRATEGY_CONCEAL && !worked) {
		if (port != 0)
			add(m, name, port, past_the_bridge(m->first), now + MEMORY_PASSED_S);
	} else {
		memory_domain(name, host);
		tell_domain(m, s, name, worked, now);
	}
}

/* ---- the file ---- */

static void
read_site(struct memory *m, struct config_node *list, int64_t now)
{
	bool is_host;
	const char *name, *text;
	enum strategy strategy;
	struct config_node node;
	int64_t until = 0, port = 0, keep;

	if (!config_object(list, NULL, &node))
		return;
	is_host = config_string(&node, "host", &name);
	keep = is_host ? MEMORY_PASSED_S : MEMORY_KEEP_S;
	if ((!is_host && !config_string(&node, "domain", &name)) || !is_site(name) ||
	    strlen(name) >= MEMORY_NAME_MAX)
		config_bad(&node, is_host ? "host" : "domain", "a host name or address");
	else if (is_host && !config_integer(&node, "port", 1, UINT16_MAX, &port))
		config_bad(&node, "port", "a port");
	else if (!config_string(&node, "strategy", &text) || !strategy_parse(&strategy, text))
		config_bad(&node, "strategy", "a strategy");
	else if (!config_integer(&node, "until", 0, INT64_MAX, &until))
		config_bad(&node, "until", "a time in seconds");
	else if (until > now && m->n[is_host] < MEMORY_SITES &&
	    (is_host ? strategy == past_the_bridge(m->first) : is_reached(m->first, strategy)) &&
	    find(m, name, (uint16_t)port, now) == NULL)
		/* A clock that was wrong keeps nothing for years. */
		add(m, name, (uint16_t)port, strategy, until < now + keep ? until : now + keep);
	config_end(&node);
}

/* The file lists the site used last first, so that reading turns the order round. */
static void
reverse(struct site_list *sites)
{
	struct site_list turned = TAILQ_HEAD_INITIALIZER(turned);
	struct site *s;

	while ((s = TAILQ_FIRST(sites)) != NULL) {
		TAILQ_REMOVE(sites, s, link);
		TAILQ_INSERT_HEAD(&turned, s, link);
	}
	TAILQ_CONCAT(sites, &turned, link);
}

static void
read_file(struct memory *m, int64_t now, char error[CONFIG_ERROR])
{
	struct config *c = config_read(m->path);
	struct config_node root, list;

	config_root(c, &root);
	if (config_list(&root, "sites", &list))
		while (config_next(&list))
			read_site(m, &list, now);
	config_end(&root);
	if (config_error(c) != NULL)
		snprintf(error, CONFIG_ERROR, "%s", config_error(c));
	config_free(c);
	reverse(&m->sites);
	m->changed = false;
}

struct memory *
memory_new(const char *folder, enum strategy first, int64_t now, char error[CONFIG_ERROR])
{
	struct memory *m = mem_zalloc(sizeof(*m));

	error[0] = '\0';
	TAILQ_INIT(&m->sites);
	m->first = first;
	if (folder == NULL)
		return m;
	m->path = mem_printf("%s/%s", folder, FILE_NAME);
	m->temporary = mem_printf("%s.tmp", m->path);
	if (access(m->path, F_OK) == 0)
		read_file(m, now, error);
	return m;
}

static void
write_sites(FILE *f, const struct memory *m)
{
	const struct site *s;

	fprintf(f, "{\"sites\": [");
	TAILQ_FOREACH(s, &m->sites, link) {
		fprintf(f, "%s\n  {\"%s\": \"%s\", ", s != TAILQ_FIRST(&m->sites) ? "," : "",
		    s->port != 0 ? "host" : "domain", s->name);
		if (s->port != 0)
			fprintf(f, "\"port\": %u, ", s->port);
		fprintf(f, "\"strategy\": \"%s\", \"until\": %lld}", strategy_name(s->strategy),
		    (long long)s->until);
	}
	fprintf(f, "\n]}\n");
}

int
memory_save(struct memory *m)
{
	int fd, err;
	FILE *f;

	if (m->path == NULL || !m->changed)
		return 0;
	fd = open(m->temporary, O_WRONLY | O_CREAT | O_TRUNC | O_CLOEXEC | O_NOFOLLOW, 0600);
	if (fd < 0)
		return -1;
	f = fdopen(fd, "w");
	if (f == NULL)
		abort();
	write_sites(f, m);
	err = fflush(f) != 0 || ferror(f) != 0 ? errno : 0;
	if (fclose(f) != 0 && err == 0)
		err = errno;
	if (err == 0 && rename(m->temporary, m->path) != 0)
		err = errno;
	if (err != 0) {
		unlink(m->temporary);
		errno = err;
		return -1;
	}
	m->changed = false;
	return 0;
}

void
memory_free(struct memory *m)
{
	struct site *s;

	if (m == NULL)
		return;
	while ((s = TAILQ_FIRST(&m->sites)) != NULL) {
		TAILQ_REMOVE(&m->sites, s, link);
		free(s);
	}
	free(m->path);
	free(m->temporary);
	free(m);
}
