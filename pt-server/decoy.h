/* The pages of a site that is made up (pt-server/site.h shows them). */
#ifndef SULTRY_PT_SERVER_DECOY_H
#define SULTRY_PT_SERVER_DECOY_H

/* Both are picked by seed (any string; a few dozen bits of it show through), so
 * that two bridges do not serve the same bytes and one search does not list all.
 * The caller frees them. */
char *decoy_home(const char *seed);
char *decoy_not_found(const char *seed);

#endif
