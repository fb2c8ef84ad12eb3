#include "pt-client/bridge_args.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "common/bytes.h"
#include "common/message.h"
#include "pt-client/oob_target.h"

#define REDIAL_MAX_S 86400

static bool
decode32(uint8_t out[32], const char *text)
{
	size_t n;

	return text != NULL && base64url_decode(out, 32, &n, text, strlen(text)) && n == 32;
}

static bool
read_redial(uint32_t *seconds, const char *text)
{
	unsigned long v;
	char *end;

	*seconds = BRIDGE_REDIAL_S;
	if (text == NULL)
		return true;
	v = strtoul(text, &end, 10);
	if (text[0] < '0' || text[0] > '9' || *end != '\0' || v > REDIAL_MAX_S)
		return false;
	*seconds = (uint32_t)v;
	return true;
}

static const char *
add_channel(struct bridge_args *a, const char *url, const struct pt_args *args)
{
	struct oob_config *cfg = &a->channels[a->n_channels];
	struct oob_target target;
	const char *want;

	if (a->n_channels == BRIDGE_CHANNELS)
		return "a bridge line with url= at most 8 times";
	a->n_channels++;
	*cfg = (struct oob_config){ .url = url, .front = pt_args_get(args, "front"),
		.addr = pt_args_get(args, "addr"), .sni = pt_args_get(args, "sni"),
		.pin = pt_args_get(args, "pin") != NULL ? a->pin : NULL };
	want = oob_target_init(&target, cfg);
	oob_target_clear(&target);
	return want;
}

static const char *
add_channels(struct bridge_args *a, const struct sockaddr_storage *addr,
    const struct pt_args *args)
{
	char at[ADDRESS_TEXT_MAX];
	const char *key, *value, *want = NULL;
	size_t pos = 0;

	while (want == NULL && pt_args_next(args, &pos, &key, &value))
		if (strcmp(key, "url") == 0)
			want = add_channel(a, value, args);
	if (want != NULL || a->n_channels > 0)
		return want;
	address_text(at, addr, address_port(addr));
	snprintf(a->own_url, sizeof(a->own_url), "https://%s", at);
	return add_channel(a, a->own_url, args);
}

const char *
bridge_args_read(struct bridge_args *a, const struct sockaddr_storage *addr,
    const struct pt_args *args)
{
	const char *pin = pt_args_get(args, "pin");

	*a = (struct bridge_args){ .base = pt_args_get(args, "base") };
	if (!decode32(a->key, pt_args_get(args, "key")))
		return "a bridge line whose key= is 43 characters of base64url";
	if (pin != NULL && !decode32(a->pin, pin))
		return "a bridge line whose pin= is 43 characters of base64url";
	if (a->base != NULL && !msg_base_ok(a->base))
		return "a bridge line whose base= is a path such as /api";
	if (!read_redial(&a->redial_s, pt_args_get(args, "redial")))
		return "a bridge line whose redial= is a number of seconds up to 86400";
	return add_channels(a, addr, args);
}
