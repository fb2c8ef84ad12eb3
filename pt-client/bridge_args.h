/* What the arguments of a bridge line say (spec/protocol.md section 10). Pure. */
#ifndef SULTRY_PT_CLIENT_BRIDGE_ARGS_H
#define SULTRY_PT_CLIENT_BRIDGE_ARGS_H

#include <stdint.h>
#include <sys/socket.h>

#include "common/address.h"
#include "common/noise.h"
#include "common/pt_args.h"
#include "pt-client/oob.h"

#define BRIDGE_CHANNELS 8
#define BRIDGE_REDIAL_S 180 /* an address rests this long after a reset */

/* Borrows from itself, so that it must not be copied, and from what it was read from. */
struct bridge_args {
	uint8_t key[NOISE_KEY];
	const char *base;  /* the API's path; NULL: the derived one */
	uint32_t redial_s; /* how long an address rests after a reset */
	struct oob_config channels[BRIDGE_CHANNELS];
	unsigned n_channels; /* at least 1 */

	/* Private: what the channels borrow. */
	uint8_t pin[32];
	char own_url[ADDRESS_TEXT_MAX + 8];
};

/* Of the bridge at addr. NULL, or what was expected: a static string without anything of the
 * line's. */
const char *bridge_args_read(struct bridge_args *a, const struct sockaddr_storage *addr,
    const struct pt_args *args);

#endif
