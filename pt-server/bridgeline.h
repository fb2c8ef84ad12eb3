/* What a client must know of this bridge, in the words of a bridge line. */
#ifndef SULTRY_PT_SERVER_BRIDGELINE_H
#define SULTRY_PT_SERVER_BRIDGELINE_H

#include "pt-server/identity.h"
#include "pt-server/options.h"

/* Appends key, and url and base if they were given, and pin where clients meet a certificate of
 * ours that no CA vouches for. */
void bridgeline_args(struct pt_args *args, const struct identity *id, const struct options *o);
/* Writes sultry_bridgeline.txt into the state folder: args, and in a comment the pin that only
 * the operator can know to be needed. 0, or -1 with errno. */
int bridgeline_write(const char *state_dir, const struct pt_args *args, const struct identity *id);

#endif
