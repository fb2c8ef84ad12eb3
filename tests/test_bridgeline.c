#include "pt-server/bridgeline.h"

#include <stdio.h>

#include "common/bytes.h"
#include "tests/harness.h"

static struct identity id = { .public = { 1 }, .pin = { 2 } };
static char pin[BASE64URL_LEN(32) + 1];

/* The arguments of a bridge line, and what bridgeline_write makes of them: its lines from the
 * bridge line on. */
static void
write_and_read(const struct options *o, struct pt_args *args, char text[2048])
{
	char dir[] = "/tmp/test_bridgeline.XXXXXX", path[64];
	size_t n;
	FILE *f;

	base64url_encode(pin, id.pin, sizeof(id.pin));
	ck_assert_ptr_nonnull(mkdtemp(dir));
	bridgeline_args(args, &id, o);
	ck_assert_int_eq(bridgeline_write(dir, args, &id), 0);
	snprintf(path, sizeof(path), "%s/sultry_bridgeline.txt", dir);
	f = fopen(path, "r");
	ck_assert_ptr_nonnull(f);
	n = fread(text, 1, 2047, f);
	text[n] = '\0';
	fclose(f);
	ck_assert_int_eq(remove(path), 0);
	ck_assert_int_eq(remove(dir), 0);
	ck_assert_ptr_nonnull(strstr(text, "\nBridge sultry <IP ADDRESS>:<PORT> <FINGERPRINT> key="));
	memmove(text, strstr(text, "\nBridge ") + 1, strlen(strstr(text, "\nBridge ")));
}

START_TEST(a_self_signed_certificate_is_pinned)
{
	struct options o = { 0 };
	struct pt_args args = { 0 };
	char text[2048];

	id.self_signed = true;
	write_and_read(&o, &args, text);
	ck_assert_str_eq(pt_args_get(&args, "pin"), pin);
	ck_assert_ptr_nonnull(strstr(text, pin));
	ck_assert_ptr_null(strchr(text, '#'));
	pt_args_clear(&args);
}
END_TEST

START_TEST(a_certificate_of_a_ca_is_not)
{
	char url[] = "https://www.example.com";
	struct options o = { 0 };
	struct pt_args args = { 0 };
	char text[2048];

	id.self_signed = false;
	for (int i = 0; i < 2; i++) {
		write_and_read(&o, &args, text);
		ck_assert_ptr_null(pt_args_get(&args, "pin"));
		ck_assert_ptr_null(strstr(text, "pin="));
		pt_args_clear(&args);
		o.url = url;
	}
}
END_TEST

/* Behind a url is somebody else's certificate, or after all ours. */
START_TEST(with_a_url_the_pin_is_a_comment)
{
	char url[] = "https://www.example.com", base[] = "/api";
	struct options o = { .url = url, .base = base, .base_given = true };
	struct pt_args args = { 0 };
	char text[2048], *comment;

	id.self_signed = true;
	write_and_read(&o, &args, text);
	ck_assert_ptr_null(pt_args_get(&args, "pin"));
	ck_assert_str_eq(pt_args_get(&args, "url"), url);
	ck_assert_str_eq(pt_args_get(&args, "base"), base);
	comment = strstr(text, " url=https://www.example.com base=/api\n#");
	ck_assert_ptr_nonnull(comment);
	ck_assert_ptr_nonnull(strstr(comment, pin));
	pt_args_clear(&args);
}
END_TEST

TEST_MAIN("bridgeline", a_self_signed_certificate_is_pinned, a_certificate_of_a_ca_is_not,
	  with_a_url_the_pin_is_a_comment)
