/* The site that strangers see, in memory: an operator's folder, or a page that is made up. */
#ifndef SULTRY_PT_SERVER_SITE_H
#define SULTRY_PT_SERVER_SITE_H

#include <stdbool.h>
#include <stddef.h>

#define SITE_FILES_MAX 200
#define SITE_FILE_MAX (1024u * 1024)      /* bytes of a file */
#define SITE_BYTES_MAX (8u * 1024 * 1024) /* of all files together */
#define SITE_PATH_MAX 512                 /* bytes of a path, decoded */
#define SITE_DEPTH_MAX 16                 /* folders in folders */

struct site_page {
	const char *path; /* from "/" on, decoded */
	const char *type; /* Content-Type */
	const char *body;
	size_t len;
	char modified[32], etag[40]; /* header values; both are "" where there are none */
};

struct site;

/* Reads the folder, once: all regular files in it and in its folders, but nothing whose
 * name starts with a dot. Anything else, such as a symbolic link (the folder itself may be
 * one), a file too many or too large, or no index.html at its top, is an error that names
 * the file. folder NULL: a home page that is picked by seed, like the 404 of a folder
 * without a 404.html (pt-server/decoy.h). NULL: error says why. */
struct site *site_new(const char *folder, const char *seed, char error[256]);
/* Pages may be needed longer than their site: each hold wants a site_free of its own. */
void site_hold(struct site *site);
void site_free(struct site *site);

/* The page at a path as it stands in a request, without its query: %XX stands for a byte,
 * and "/" at the end for the folder's index.html. No other spelling leads to a file, so
 * none leads out. NULL: there is none. */
const struct site_page *site_find(const struct site *site, const char *path);
/* The body of every 404; without validators. */
const struct site_page *site_missing(const struct site *site);
/* Whether the client has the page already, by its If-None-Match and If-Modified-Since
 * headers (NULL: not sent): RFC 9110, 13.1.2, 13.1.3. A date counts only if it is the one
 * that we sent, as with most static servers. */
bool site_not_modified(const struct site_page *page, const char *none_match, const char *since);

#endif
