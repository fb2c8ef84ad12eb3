#include "pt-server/options.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "common/address.h"
#include "common/mem.h"

static int
bad(char error[256], const char *key, const char *want)
{
	snprintf(error, 256, "option %s: expected %s", key, want);
	return -1;
}

static bool
parse_addr(struct sockaddr_storage *a, const char *text)
{
	return address_parse_endpoint(a, text, strlen(text), false, 1);
}

static bool
add_direct(struct options *o, const char *text)
{
	struct sockaddr_storage a;
	struct msg_address *d = &o->direct[o->n_direct];
	char ip[ADDRESS_TEXT_MAX];

	if (o->n_direct == MSG_ADDRESSES || !parse_addr(&a, text))
		return false;
	address_ip(ip, &a);
	snprintf(d->address, sizeof(d->address), "%.45s", ip);
	d->port = address_port(&a);
	o->n_direct++;
	return true;
}

bool
options_url_ok(const char *url)
{
	static const char https[] = "https://";
	const char *host = url + sizeof(https) - 1;

	return strncmp(url, https, sizeof(https) - 1) == 0 && *host != '\0' &&
	    strchr("/:?#@", *host) == NULL;
}

static bool
parse_seconds(uint32_t *out, const char *text)
{
	char *end;
	unsigned long v = strtoul(text, &end, 10);

	*out = (uint32_t)v;
	return text[0] >= '0' && text[0] <= '9' && *end == '\0' && v >= 1 && v <= 86400;
}

static void
replace(char **to, const char *value)
{
	free(*to);
	*to = mem_strdup(value);
}

static int
read_one(struct options *o, const char *key, const char *value, char error[256])
{
	if (strcmp(key, "cert") == 0)
		replace(&o->cert, value);
	else if (strcmp(key, "certkey") == 0)
		replace(&o->certkey, value);
	else if (strcmp(key, "trusted_proxy") == 0)
		replace(&o->trusted_proxy, value);
	else if (strcmp(key, "decoy") == 0)
		replace(&o->decoy, value);
	else if (strcmp(key, "url") == 0) {
		if (!options_url_ok(value))
			return bad(error, key, "https://host...");
		replace(&o->url, value);
	} else if (strcmp(key, "base") == 0) {
		if (!msg_base_ok(value))
			return bad(error, key, "a path such as /api");
		replace(&o->base, value);
		o->base_given = true;
	} else if (strcmp(key, "fallback") == 0) {
		if (!parse_addr(&o->fallback, value))
			return bad(error, key, "an IP address and port");
	} else if (strcmp(key, "oob") == 0) {
		if (!parse_addr(&o->oob, value))
			return bad(error, key, "an IP address and port");
	} else if (strcmp(key, "direct") == 0) {
		if (!add_direct(o, value))
			return bad(error, key, "an IP address and port, at most four times");
	} else if (strcmp(key, "retain") == 0) {
		if (!parse_seconds(&o->retain_s, value))
			return bad(error, key, "seconds, 1 to 86400");
	} else {
		snprintf(error, 256, "unknown option %.100s", key);
		return -1;
	}
	return 0;
}

int
options_read(struct options *o, const struct pt_args *args, char error[256])
{
	const char *key, *value;
	size_t pos = 0;

	o->retain_s = OPTIONS_RETAIN_S;
	while (pt_args_next(args, &pos, &key, &value))
		if (read_one(o, key, value, error) != 0)
			return -1;
	if ((o->cert == NULL) != (o->certkey == NULL))
		return bad(error, "cert", "certkey with it, and the reverse");
	if (o->fallback.ss_family != AF_UNSPEC && o->oob.ss_family == AF_UNSPEC)
		return bad(error, "fallback", "oob with it: the API needs a listener of its own");
	return 0;
}

void
options_clear(struct options *o)
{
	free(o->cert);
	free(o->certkey);
	free(o->url);
	free(o->base);
	free(o->trusted_proxy);
	free(o->decoy);
	*o = (struct options){ 0 };
}
