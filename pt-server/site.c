#include "pt-server/site.h"

#include <ctype.h>
#include <dirent.h>
#include <errno.h>
#include <event2/util.h>
#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <strings.h>
#include <sys/stat.h>
#include <time.h>
#include <unistd.h>

#include "common/mem.h"
#include "pt-server/decoy.h"

#define INDEX "index.html"
#define HTML "text/html; charset=utf-8"

struct site {
	unsigned holds;
	unsigned n;
	struct site_page pages[SITE_FILES_MAX]; /* their paths and bodies are ours */
	struct site_page missing;
	char *made_missing; /* its body, if it is no page's */
};

/* ---- reading a folder ---- */

struct reading {
	struct site *site;
	size_t bytes;
	const char *folder;
	char *error;
};

static const char *
type_of(const char *path)
{
	static const char *const types[][2] = {
		{ ".html", HTML }, { ".css", "text/css" }, { ".js", "text/javascript" },
		{ ".txt", "text/plain; charset=utf-8" }, { ".xml", "text/xml" },
		{ ".json", "application/json" }, { ".pdf", "application/pdf" },
		{ ".png", "image/png" }, { ".jpg", "image/jpeg" }, { ".jpeg", "image/jpeg" },
		{ ".gif", "image/gif" }, { ".svg", "image/svg+xml" }, { ".webp", "image/webp" },
		{ ".ico", "image/x-icon" }, { ".woff2", "font/woff2" },
	};
	const char *ending = strrchr(strrchr(path, '/'), '.');

	for (size_t i = 0; ending != NULL && i < sizeof(types) / sizeof(types[0]); i++)
		if (strcasecmp(ending, types[i][0]) == 0)
			return types[i][1];
	return "application/octet-stream";
}

static int
bad(const struct reading *r, const char *path, const char *why)
{
	/* Cut in such a way that the reason is always there. */
	snprintf(r->error, 256, "decoy %.70s: %.110s: %.60s", r->folder, path, why);
	return -1;
}

static int
read_page(struct reading *r, int fd, const char *path, const struct stat *st)
{
	struct site_page *page = &r->site->pages[r->site->n];
	size_t size = (size_t)st->st_size;
	struct tm tm;
	ssize_t n = 1;
	char *body;

	if (r->site->n == SITE_FILES_MAX)
		return bad(r, path, "there are more than 200 files");
	if (st->st_size > SITE_FILE_MAX)
		return bad(r, path, "larger than 1 MiB");
	if (r->bytes + size > SITE_BYTES_MAX)
		return bad(r, path, "the files are larger than 8 MiB together");
	body = mem_alloc(size);
	/* A file that shrinks meanwhile is what it is by now. */
	while (page->len < size && (n = read(fd, body + page->len, size - page->len)) > 0)
		page->len += (size_t)n;
	r->site->n++;
	r->bytes += size;
	page->path = mem_strdup(path);
	page->type = type_of(path);
	page->body = body;
	evutil_date_rfc1123(page->modified, sizeof(page->modified), gmtime_r(&st->st_mtime, &tm));
	snprintf(page->etag, sizeof(page->etag), "\"%llx-%zx\"", (unsigned long long)st->st_mtime,
	    page->len);
	return n < 0 ? bad(r, path, strerror(errno)) : 0;
}

static int read_folder(struct reading *r, int fd, const char *path, unsigned depth);

/* folder: its path, with a "/" at its end. */
static int
read_entry(struct reading *r, int folder_fd, const char *folder, const char *name, unsigned depth)
{
	char path[SITE_PATH_MAX + 2];
	struct stat st;
	int fd, rc, len;

	len = snprintf(path, SITE_PATH_MAX + 1, "%s%s", folder, name);
	if (len > SITE_PATH_MAX)
		return bad(r, path, "its path is too long");
	fd = openat(folder_fd, name, O_RDONLY | O_NOFOLLOW | O_NONBLOCK | O_CLOEXEC);
	if (fd < 0)
		return bad(r, path, errno == ELOOP ? "a symbolic link" : strerror(errno));
	if (fstat(fd, &st) != 0) {
		rc = bad(r, path, strerror(errno));
	} else if (S_ISDIR(st.st_mode)) {
		strcpy(path + len, "/");
		return read_folder(r, fd, path, depth + 1);
	} else {
		rc = S_ISREG(st.st_mode) ? read_page(r, fd, path, &st) :
		    bad(r, path, "neither a file nor a folder");
	}
	close(fd);
	return rc;
}

/* Takes fd. */
static int
read_folder(struct reading *r, int fd, const char *path, unsigned depth)
{
	struct dirent *entry;
	DIR *dir = NULL;
	int rc = 0;

	if (depth > SITE_DEPTH_MAX)
		rc = bad(r, path, "too many folders in each other");
	else if ((dir = fdopendir(fd)) == NULL)
		rc = bad(r, path, strerror(errno));
	if (dir == NULL) {
		close(fd);
		return rc;
	}
	while (rc == 0) {
		errno = 0;
		entry = readdir(dir);
		if (entry == NULL && errno != 0)
			rc = bad(r, path, strerror(errno));
		if (entry == NULL)
			break;
		if (entry->d_name[0] != '.')
			rc = read_entry(r, fd, path, entry->d_name, depth);
	}
	closedir(dir);
	return rc;
}

static const struct site_page *
lookup(const struct site *site, const char *path)
{
	for (unsigned i = 0; i < site->n; i++)
		if (strcmp(site->pages[i].path, path) == 0)
			return &site->pages[i];
	return NULL;
}

static int
read_site(struct site *site, const char *folder, char error[256])
{
	struct reading r = { .site = site, .folder = folder, .error = error };
	int fd = open(folder, O_RDONLY | O_DIRECTORY | O_CLOEXEC);

	if (fd < 0)
		return bad(&r, "/", strerror(errno));
	if (read_folder(&r, fd, "/", 0) != 0)
		return -1;
	return lookup(site, "/" INDEX) != NULL ? 0 : bad(&r, "/" INDEX, "there is none");
}

/* ---- the site ---- */

static struct site_page
made_page(char *html)
{
	return (struct site_page){ .type = HTML, .body = html, .len = strlen(html) };
}

struct site *
site_new(const char *folder, const char *seed, char error[256])
{
	struct site *site = mem_zalloc(sizeof(*site));
	const struct site_page *missing;

	site->holds = 1;
	if (folder == NULL) {
		site->pages[0] = made_page(decoy_home(seed));
		site->pages[0].path = mem_strdup("/" INDEX);
		site->n = 1;
	} else if (read_site(site, folder, error) != 0) {
		site_free(site);
		return NULL;
	}
	missing = lookup(site, "/404.html");
	if (missing != NULL) {
		site->missing = (struct site_page){ .type = missing->type, .body = missing->body,
			.len = missing->len };
	} else {
		site->made_missing = decoy_not_found(seed);
		site->missing = made_page(site->made_missing);
	}
	return site;
}

void
site_hold(struct site *site)
{
	site->holds++;
}

void
site_free(struct site *site)
{
	if (site == NULL || --site->holds > 0)
		return;
	for (unsigned i = 0; i < site->n; i++) {
		free((char *)site->pages[i].path);
		free((char *)site->pages[i].body);
	}
	free(site->made_missing);
	free(site);
}

/* ---- requests ---- */

/* Strictly: two digits behind each %, no NUL, room for cap bytes and a NUL in out. */
static bool
decode(char *out, size_t cap, const char *path)
{
	size_t n = 0;

	for (; *path != '\0'; path++) {
		char c = *path;

		if (c == '%') {
			if (!isxdigit((unsigned char)path[1]) || !isxdigit((unsigned char)path[2]))
				return false;
			c = (char)strtoul((char[]){ path[1], path[2], '\0' }, NULL, 16);
			path += 2;
		}
		if (c == '\0' || n == cap)
			return false;
		out[n++] = c;
	}
	out[n] = '\0';
	return true;
}

const struct site_page *
site_find(const struct site *site, const char *path)
{
	char name[SITE_PATH_MAX + sizeof(INDEX)];
	size_t n;

	if (!decode(name, SITE_PATH_MAX, path))
		return NULL;
	n = strlen(name);
	if (n > 0 && name[n - 1] == '/')
		strcpy(name + n, INDEX);
	return lookup(site, name);
}

const struct site_page *
site_missing(const struct site *site)
{
	return &site->missing;
}

bool
site_not_modified(const struct site_page *page, const char *none_match, const char *since)
{
	size_t len = strlen(page->etag);
	const char *p = none_match, *end;

	if (len == 0)
		return false;
	if (none_match == NULL)
		return since != NULL && strcmp(since, page->modified) == 0;
	if (strcmp(none_match, "*") == 0)
		return true;
	for (;; p = end + 1) {
		p += strspn(p, ", \t");
		if (p[0] == 'W' && p[1] == '/') /* compared weakly */
			p += 2;
		if (*p != '"' || (end = strchr(p + 1, '"')) == NULL)
			return false;
		if ((size_t)(end + 1 - p) == len && memcmp(p, page->etag, len) == 0)
			return true;
	}
}
