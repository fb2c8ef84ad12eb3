/* From the words of a bridge line (url, front, addr, sni) to where a channel connects and
 * what it says there. Pure. */
#ifndef SULTRY_CLIENT_OOB_TARGET_H
#define SULTRY_CLIENT_OOB_TARGET_H

#include <stdbool.h>
#include <stdint.h>

#include "pt-client/oob.h"

struct oob_target {
	char *origin;     /* https://name:port; the name goes into SNI and certificate check */
	char *prefix;     /* "" or /path without trailing slash */
	char *host;       /* the Host header's value, or NULL: that of origin */
	char *connect_to; /* host:port to connect to, IPv6 in brackets, or NULL: that of origin */
	bool dial_ip, dial_ipv6; /* what is connected to is no name */
};

/* NULL; or what was expected (static), and t is cleared. cfg's pin is not looked at. */
const char *oob_target_init(struct oob_target *t, const struct oob_config *cfg);
void oob_target_clear(struct oob_target *t);

#endif
