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

/* A site that needs another strategy than the first. */
struct site {
	TAILQ_ENTRY(site) link;
	char domain[MEMORY_DOMAIN_MAX];
	enum strategy strategy;
	int64_t until;
};

TAILQ_HEAD(site_list, site);

struct memory {
	struct site_list sites; /* the one used last is first */
	unsigned n;
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

void
memory_domain(char out[MEMORY_DOMAIN_MAX], const char *host)
{
	struct sockaddr_storage literal;
	size_t n = strnlen(host, MEMORY_DOMAIN_MAX - 1);
	const char *end, *top, *second, *third;

	memcpy(out, host, n);
	if (n > 0 && out[n - 1] == '.')
		n--;
	out[n] = '\0';
	for (char *c = out; *c != '\0'; c++)
		if (*c >= 'A' && *c <= 'Z')
			*c = (char)(*c + ('a' - 'A'));
	if (address_parse(&literal, out, 0))
		return;
	end = out + n;
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
is_site(const char *domain)
{
	struct sockaddr_storage literal;

	return match_name_ok(domain) || address_parse(&literal, domain, 0);
}

/* ---- the list ---- */

static void
drop(struct memory *m, struct site *s)
{
	TAILQ_REMOVE(&m->sites, s, link);
	m->n--;
	m->changed = true;
	free(s);
}

/* The site, as the one used last; NULL if there is none, or its time is over. */
static struct site *
find(struct memory *m, const char *domain, int64_t now)
{
	struct site *s;

	TAILQ_FOREACH(s, &m->sites, link) {
		if (strcmp(s->domain, domain) != 0)
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

static void
add(struct memory *m, const char *domain, enum strategy strategy, int64_t until)
{
	struct site *s = mem_zalloc(sizeof(*s));

	memcpy(s->domain, domain, strlen(domain) + 1);
	s->strategy = strategy;
	s->until = until;
	TAILQ_INSERT_HEAD(&m->sites, s, link);
	m->changed = true;
	if (++m->n > MEMORY_SITES)
		drop(m, TAILQ_LAST(&m->sites, site_list));
}

/* ---- strategies ---- */

/* What comes after s has failed, as long as the domain is remembered. False if s is none that
 * auto would try. */
static bool
next_strategy(enum strategy first, enum strategy s, enum strategy *next)
{
	static const struct {
		enum strategy first, s, next;
	} order[] = {
		{ STRATEGY_CONCEAL, STRATEGY_CONCEAL, STRATEGY_SPLIT },
		{ STRATEGY_CONCEAL, STRATEGY_SPLIT, STRATEGY_CONCEAL },
		{ STRATEGY_SPLIT, STRATEGY_SPLIT, STRATEGY_CONCEAL },
		{ STRATEGY_SPLIT, STRATEGY_CONCEAL, STRATEGY_SPLIT },
		{ STRATEGY_DIRECT, STRATEGY_DIRECT, STRATEGY_SPLIT },
		{ STRATEGY_DIRECT, STRATEGY_SPLIT, STRATEGY_CONCEAL },
		{ STRATEGY_DIRECT, STRATEGY_CONCEAL, STRATEGY_DIRECT },
	};

	for (size_t i = 0; i < sizeof(order) / sizeof(order[0]); i++) {
		if (order[i].first == first && order[i].s == s) {
			*next = order[i].next;
			return true;
		}
	}
	return false;
}

enum strategy
memory_ask(struct memory *m, const char *host, int64_t now)
{
	char domain[MEMORY_DOMAIN_MAX];
	const struct site *s;

	memory_domain(domain, host);
	s = find(m, domain, now);
	return s != NULL ? s->strategy : m->first;
}

void
memory_tell(struct memory *m, const char *host, enum strategy strategy, bool worked, int64_t now)
{
	char domain[MEMORY_DOMAIN_MAX];
	enum strategy next = strategy;
	struct site *s;

	memory_domain(domain, host);
	s = find(m, domain, now);
	/* Connections run side by side: one that began before the last change says nothing new. */
	if (!is_site(domain) || strategy != (s != NULL ? s->strategy : m->first))
		return;
	if (!worked && !next_strategy(m->first, strategy, &next))
		return;
	if (next == m->first) {
		if (s != NULL)
			drop(m, s);
	} else if (s == NULL) {
		add(m, domain, next, now + MEMORY_KEEP_S);
	} else if (next != s->strategy || s->until < now + MEMORY_KEEP_S - TOUCH_S) {
		s->strategy = next;
		s->until = now + MEMORY_KEEP_S;
		m->changed = true;
	}
}

/* ---- the file ---- */

static void
read_site(struct memory *m, struct config_node *list, int64_t now)
{
	const char *domain, *name;
	enum strategy strategy, next;
	struct config_node node;
	int64_t until = 0;

	if (!config_object(list, NULL, &node))
		return;
	if (!config_string(&node, "domain", &domain) || !is_site(domain) ||
	    strlen(domain) >= MEMORY_DOMAIN_MAX)
		config_bad(&node, "domain", "a host name or address");
	else if (!config_string(&node, "strategy", &name) || !strategy_parse(&strategy, name))
		config_bad(&node, "strategy", "a strategy");
	else if (!config_integer(&node, "until", 0, INT64_MAX, &until))
		config_bad(&node, "until", "a time in seconds");
	else if (until > now && m->n < MEMORY_SITES && strategy != m->first &&
	    next_strategy(m->first, strategy, &next) && find(m, domain, now) == NULL)
		/* A clock that was wrong keeps nothing for years. */
		add(m, domain, strategy, until < now + MEMORY_KEEP_S ? until : now + MEMORY_KEEP_S);
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
	TAILQ_FOREACH(s, &m->sites, link)
		fprintf(f, "%s\n  {\"domain\": \"%s\", \"strategy\": \"%s\", \"until\": %lld}",
		    s != TAILQ_FIRST(&m->sites) ? "," : "", s->domain, strategy_name(s->strategy),
		    (long long)s->until);
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
