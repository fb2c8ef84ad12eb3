#include "pt-server/bridgeline.h"

#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <unistd.h>

#include "common/bytes.h"
#include "common/mem.h"

void
bridgeline_args(struct pt_args *args, const struct identity *id, const struct options *o)
{
	char text[BASE64URL_LEN(32) + 1];

	base64url_encode(text, id->public, sizeof(id->public));
	pt_args_add(args, "key", text);
	/* Behind a url stands somebody else's certificate. */
	if (id->self_signed && o->url == NULL) {
		base64url_encode(text, id->pin, sizeof(id->pin));
		pt_args_add(args, "pin", text);
	}
	if (o->url != NULL)
		pt_args_add(args, "url", o->url);
	if (o->base_given)
		pt_args_add(args, "base", o->base);
}

static void
write_line(FILE *f, const struct pt_args *args, const struct identity *id)
{
	char pin[BASE64URL_LEN(32) + 1];
	const char *key, *value;
	size_t pos = 0;

	fputs("# Give this line to your users. Replace <IP ADDRESS>, <PORT> and <FINGERPRINT>:\n"
	    "# the address and port that clients reach this bridge at, and the fingerprint\n"
	    "# that tor wrote to its data folder.\n"
	    "Bridge sultry <IP ADDRESS>:<PORT> <FINGERPRINT>", f);
	while (pt_args_next(args, &pos, &key, &value))
		fprintf(f, " %s=%s", key, value);
	fputc('\n', f);
	if (id->self_signed && pt_args_get(args, "pin") == NULL) {
		base64url_encode(pin, id->pin, sizeof(id->pin));
		fprintf(f, "# If the url leads straight to this bridge, whose certificate no CA has signed,\n"
		    "# the line needs this as well: pin=%s\n", pin);
	}
}

int
bridgeline_write(const char *state_dir, const struct pt_args *args, const struct identity *id)
{
	char *path = mem_printf("%s/sultry_bridgeline.txt", state_dir);
	char *temporary = mem_printf("%s.%ld.new", path, (long)getpid());
	FILE *f = fopen(temporary, "we");
	int rc = -1, err;

	if (f != NULL) {
		write_line(f, args, id);
		rc = fflush(f) == 0 && fsync(fileno(f)) == 0 ? 0 : -1;
		if (fclose(f) != 0)
			rc = -1;
	}
	if (rc == 0)
		rc = rename(temporary, path);
	err = errno;
	if (rc != 0)
		unlink(temporary);
	free(temporary);
	free(path);
	errno = err;
	return rc;
}
