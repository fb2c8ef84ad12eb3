/* What `auto` remembers: for which sites another strategy than the first one is needed.
 *
 * By registrable domain, so that one answer serves all hosts of a site. There is no public
 * suffix list here: it is the last two labels, or the last three where the last has two
 * letters and the one before has at most three ("co.uk", "com.au") or is one of a few words
 * ("gouv.fr"). Where that is wrong, a site is learnt in parts, or together with a neighbour.
 *
 * What `auto` shows: with the first strategy `direct` the watcher of the line sees the name
 * and address of a site, with `split` its address, before another is tried. With `conceal`
 * first it sees nothing, unless the bridge says that it cannot reach a target: then `split` is
 * tried, never `direct`. The file names the sites that needed another strategy than the
 * first one, and those only. */
#ifndef SULTRY_PT_CLIENT_MEMORY_H
#define SULTRY_PT_CLIENT_MEMORY_H

#include <stdbool.h>
#include <stdint.h>

#include "common/config.h"
#include "pt-client/rules.h"

#define MEMORY_SITES 1000          /* the one not used for longest goes first */
#define MEMORY_KEEP_S (7 * 86400)  /* since it last worked, or failed */
#define MEMORY_DOMAIN_MAX 254

struct memory;

/* first: conceal, split or direct. folder: the state folder, NULL to keep nothing; what the
 * file in there says, and still holds at `now`, is read. Never NULL; error is "", or says what
 * is wrong with the file, which then counts as far as it was good. All times are seconds since
 * 1970. */
struct memory *memory_new(const char *folder, enum strategy first, int64_t now,
    char error[CONFIG_ERROR]);
/* Does not save. NULL is fine. */
void memory_free(struct memory *m);

/* conceal, split or direct. */
enum strategy memory_ask(struct memory *m, const char *host, int64_t now);
/* How strategy s, which was asked for, did for host. Conceal "did not work" only if the bridge
 * itself, authentic, said that it cannot or will not reach the target: whoever can cut off the
 * bridge must not be able to make us show names. */
void memory_tell(struct memory *m, const char *host, enum strategy s, bool worked, int64_t now);
/* Writes the file (by a temporary one) if something changed since. 0, or -1 with errno. */
int memory_save(struct memory *m);

/* The registrable domain of host, in small letters; of an address itself. */
void memory_domain(char out[MEMORY_DOMAIN_MAX], const char *host);

#endif
