/* What `auto` remembers: for which sites another strategy than the first one is needed.
 *
 * A strategy that fails is followed by one that shows less: direct by split, split by conceal.
 * That counts for the registrable domain, so that one answer serves all hosts of a site. There is
 * no public suffix list here: it is the last two labels, or the last three where the last has two
 * letters and the one before has at most three ("co.uk", "com.au") or is one of a few words
 * ("gouv.fr"). Where that is wrong, a site is learnt in parts, or together with a neighbour.
 *
 * Conceal is followed by one that shows more. Any web page can ask for hosts and ports that it
 * chose, so that counts for just that host and port, and not for long, however well it works.
 *
 * What `auto` shows. With `direct` first the watcher of the line sees name and address of every
 * site before another strategy is tried, with `split` first the address and a name cut in pieces,
 * which hides it from filters that do not reassemble and from no one else. With `conceal` first it
 * sees nothing, unless the bridge says that the network between it and the target is in the way
 * (unreachable, or no answer in time): that host and port then go by `split`, never `direct`, for
 * MEMORY_PASSED_S. So the watcher gets to know of the sites that are out of the bridge's reach,
 * and whoever can cut a site off from the bridge, or gets the app to ask for a port that the
 * target's firewall swallows, can have the client show that it goes to that address and port.
 * `split` cuts TLS alone: what is not TLS, a plain http:// request among others, is then shown
 * whole. Where that must not be, say `conceal` in a rule. The file names the sites that needed
 * another strategy than the first one, and those only. */
#ifndef SULTRY_PT_CLIENT_MEMORY_H
#define SULTRY_PT_CLIENT_MEMORY_H

#include <stdbool.h>
#include <stdint.h>

#include "common/config.h"
#include "pt-client/rules.h"

#define MEMORY_SITES 1000         /* domains, and ports of hosts; the one not used for longest goes */
#define MEMORY_KEEP_S (7 * 86400) /* a domain, since its strategy last worked or failed */
#define MEMORY_PASSED_S 3600      /* a port of a host, since the bridge failed to reach it */
#define MEMORY_NAME_MAX 254

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
enum strategy memory_ask(struct memory *m, const char *host, uint16_t port, int64_t now);
/* How strategy s, which was asked for, did for that port of host. Conceal "did not work" only if
 * the bridge itself, authentic, said that the network is between it and this very target: whoever
 * can cut off the bridge, or has asked for what does not exist or is not allowed there, must not be
 * able to make us show names. */
void memory_tell(struct memory *m, const char *host, uint16_t port, enum strategy s, bool worked,
    int64_t now);
/* Writes the file (by a temporary one) if something changed since. 0, or -1 with errno. */
int memory_save(struct memory *m);

/* The registrable domain of host, in small letters; of an address itself. */
void memory_domain(char out[MEMORY_NAME_MAX], const char *host);

#endif
