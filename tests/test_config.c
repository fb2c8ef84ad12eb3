#include <stdio.h>
#include <unistd.h>

#include "common/config.h"
#include "common/mem.h"
#include "tests/harness.h"

#define COUNT(a) (sizeof(a) / sizeof((a)[0]))

static struct config *
text(const char *s)
{
	return config_parse("my.json", s, strlen(s));
}

static void
expect(struct config *c, const char *error)
{
	ck_assert_msg(config_error(c) != NULL, "no error, expected: %s", error);
	ck_assert_str_eq(config_error(c), error);
	config_free(c);
}

START_TEST(test_values)
{
	static const char json[] =
	    "{\"s\": \"text\", \"n\": -7, \"big\": 4294967296, \"t\": true, \"f\": false,\n"
	    " \"o\": {\"list\": [\"a\", 2, {\"x\": 1}, [3]]}, \"empty\": []}";
	struct config *c = text(json);
	struct config_node root, o, list, in;
	const char *s = NULL;
	int64_t n = 0;
	bool b = false;

	config_root(c, &root);
	ck_assert(config_string(&root, "s", &s));
	ck_assert_str_eq(s, "text");
	ck_assert(config_integer(&root, "n", -7, -7, &n));
	ck_assert_int_eq(n, -7);
	ck_assert(config_integer(&root, "big", 0, INT64_MAX, &n));
	ck_assert_int_eq(n, 4294967296);
	ck_assert(config_bool(&root, "t", &b) && b);
	ck_assert(config_bool(&root, "f", &b) && !b);
	ck_assert(config_object(&root, "o", &o));
	ck_assert(config_list(&o, "list", &list));
	ck_assert(config_next(&list) && config_is_string(&list, NULL));
	ck_assert(config_string(&list, NULL, &s));
	ck_assert_str_eq(s, "a");
	ck_assert(config_next(&list) && !config_is_string(&list, NULL));
	ck_assert(config_integer(&list, NULL, 0, 9, &n));
	ck_assert_int_eq(n, 2);
	ck_assert(config_next(&list) && config_object(&list, NULL, &in));
	ck_assert(config_integer(&in, "x", 0, 9, &n) && n == 1);
	config_end(&in);
	ck_assert(config_next(&list) && config_list(&list, NULL, &in));
	ck_assert(config_next(&in) && config_integer(&in, NULL, 0, 9, &n) && n == 3);
	ck_assert(!config_next(&in));
	ck_assert(!config_next(&list));
	config_end(&o);
	ck_assert(config_list(&root, "empty", &list) && !config_next(&list));
	config_end(&root);
	ck_assert_ptr_null(config_error(c));
	config_free(c);
}
END_TEST

/* What is not there leaves the value alone, and is no error. */
START_TEST(test_absent)
{
	struct config *c = text("{}");
	struct config_node root, in;
	const char *s = "default";
	int64_t n = 5;
	bool b = true;

	config_root(c, &root);
	ck_assert(!config_string(&root, "s", &s) && !config_integer(&root, "n", 0, 1, &n));
	ck_assert(!config_bool(&root, "b", &b) && !config_list(&root, "l", &in));
	ck_assert(!config_object(&root, "o", &in) && !config_is_string(&root, "s"));
	config_end(&root);
	ck_assert_ptr_null(config_error(c));
	ck_assert_str_eq(s, "default");
	ck_assert(n == 5 && b);
	config_free(c);
}
END_TEST

/* Reads a fixed form, to see what is said of files that do not have it. */
static struct config *
read_form(const char *json)
{
	struct config *c = text(json);
	struct config_node root, o, list;
	const char *s;
	int64_t n;
	bool b;

	config_root(c, &root);
	if (config_string(&root, "name", &s) && s[0] != 'n')
		config_bad(&root, "name", "something with n");
	config_integer(&root, "number", 1, 10, &n);
	config_bool(&root, "bool", &b);
	if (config_object(&root, "quotas", &o)) {
		config_integer(&o, "sessions", 0, 100, &n);
		config_end(&o);
	}
	if (config_list(&root, "users", &list)) {
		while (config_next(&list)) {
			if (!config_object(&list, NULL, &o))
				continue;
			if (!config_string(&o, "token", &s))
				config_bad(&o, "token", "a token");
			config_end(&o);
		}
	}
	config_end(&root);
	return c;
}

START_TEST(test_errors)
{
	static const struct {
		const char *json, *error;
	} cases[] = {
		{ "", "my.json:1: not JSON: '[' or '{' expected" },
		{ "{\n\"name\": \"secret,\n}", "my.json:2: not JSON: unexpected newline" },
		{ "{\"name\": \"n\"\n\"number\": 3}", "my.json:2: not JSON: '}' expected" },
		{ "{\"name\": \"n\"} x", "my.json:1: not JSON: end of file expected" },
		{ "{\"name\": \"n\",\n \"name\": \"n\"}", "my.json:2: name: this key is given twice" },
		{ "{\"name\": \"n\",\n\"a\": {\"\xc3\xa9\\\"b\\\\\":1,\n\"\xc3\xa9\\\"b\\\\\"\n:2}}",
		    "my.json:3: ??\\\"b\\\\: this key is given twice" },
		{ "{\"\":1,\"\":1}", "my.json:1: this key is given twice" },
		{ "[{\"a-key-longer-than-forty-letters-is-cut-short\":1,"
		    "\"a-key-longer-than-forty-letters-is-cut-short\":1}]",
		    "my.json:1: a-key-longer-than-forty-letters-is-cut-s...: this key is given twice" },
		{ "[1]", "my.json:1: expected an object, not a list" },
		{ "{\"name\": 5}", "my.json:1: name: expected a string, not a number" },
		{ "{\n\n\"name\":\n\"x\"}", "my.json:3: name: expected something with n" },
		{ "{\"number\": \"5\"}",
		    "my.json:1: number: expected a whole number from 1 to 10, not a string" },
		{ "{\"number\": 11}", "my.json:1: number: expected a whole number from 1 to 10" },
		{ "{\"number\": 1.5}", "my.json:1: number: expected a whole number from 1 to 10" },
		{ "{\"number\": 99999999999999999999}", "my.json:1: not JSON: too big integer" },
		{ "{\"bool\": null}", "my.json:1: bool: expected true or false, not null" },
		{ "{\"quotas\": []}", "my.json:1: quotas: expected an object, not a list" },
		{ "{\"users\": {}}", "my.json:1: users: expected a list, not an object" },
		{ "{\"name\": \"n{[\\\"\\\\\",\n\"quotas\": {\n\n \"sessions\": 101}}",
		    "my.json:4: quotas.sessions: expected a whole number from 0 to 100" },
		{ "{\"users\": [\n{\"token\": \"a\"},\n\n {\"token\": \"]}\"}, {\n\"token\": false}]}",
		    "my.json:5: users[2].token: expected a string, not true or false" },
		{ "{\"users\": [\n{\"token\": \"a\"},\n{\n}]}",
		    "my.json:3: users[1].token: missing: expected a token" },
		{ "{\"users\": [\n[[1,2],{\"a\":[]}],\n3]}",
		    "my.json:2: users[0]: expected an object, not a list" },
		{ "{\"name\": \"n\",\n\"numbr\": 3}",
		    "my.json:2: numbr: unknown key; did you mean \"number\"?" },
		{ "{\"quotas\": {\"session\": 3}}",
		    "my.json:1: quotas.session: unknown key; did you mean \"sessions\"?" },
		{ "{\"something\": 3}", "my.json:1: something: unknown key" },
		{ "{\"\\u001b[1m\\n\": 3}", "my.json:1: ?[1m?: unknown key" },
		{ "{\"xxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxx\": 3}",
		    "my.json:1: xxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxx...: unknown key" },
		/* An escaped key is the same key, and found. */
		{ "{\"\\u006eumber\":\n true}",
		    "my.json:1: number: expected a whole number from 1 to 10, not true or false" },
	};

	for (size_t i = 0; i < COUNT(cases); i++)
		expect(read_form(cases[i].json), cases[i].error);
}
END_TEST

/* The first error stays; nothing is written after it. */
START_TEST(test_first_error)
{
	struct config *c = text("{\"a\": 1, \"b\": \"text\", \"c\": [1], \"o\": {\"x\": 1}}");
	struct config_node root, in;
	const char *s = "untouched";
	int64_t n = 5;

	config_root(c, &root);
	ck_assert(!config_string(&root, "a", &s));
	ck_assert(!config_string(&root, "b", &s) && !config_integer(&root, "a", 0, 9, &n));
	ck_assert(!config_list(&root, "c", &in) && !config_object(&root, "o", &in));
	config_bad(&root, "b", "else");
	config_end(&root);
	ck_assert_str_eq(s, "untouched");
	ck_assert_int_eq(n, 5);
	expect(c, "my.json:1: a: expected a string, not a number");
}
END_TEST

/* Nothing that stands in the file but keys is ever in a message. */
START_TEST(test_no_values)
{
	static const char *const files[] = {
		"{\"name\": SECRET}", "{\"name\": \"n\" SECRET}", "{\"name\": [\"SECRET\"]}",
		"{\"name\": \"SECRET", "SECRET", "{\"name\": \"SECRET\"}", "{\"bool\": \"SECRET\"}",
	};

	for (size_t i = 0; i < COUNT(files); i++) {
		struct config *c = read_form(files[i]);

		ck_assert_ptr_nonnull(config_error(c));
		ck_assert_msg(strstr(config_error(c), "SECRET") == NULL, "%s", config_error(c));
		config_free(c);
	}
}
END_TEST

START_TEST(test_cut_everywhere)
{
	static const char json[] = "{\"name\": \"n\", \"quotas\": {\"sessions\": 5}, \"users\": "
	    "[{\"token\": \"a\\\"\"}, {\"token\": \"b\"}], \"bool\": true}";
	struct config *c = read_form(json);

	ck_assert_ptr_null(config_error(c));
	config_free(c);
	for (size_t n = 0; n < sizeof(json) - 1; n++) {
		char *cut = mem_alloc(n + 1);

		memcpy(cut, json, n);
		cut[n] = '\0';
		c = read_form(cut);
		ck_assert_msg(config_error(c) != NULL, "%s", cut);
		config_free(c);
		free(cut);
	}
}
END_TEST

START_TEST(test_files)
{
	char path[] = "/tmp/sultry-test-config-XXXXXX", *want;
	int fd = mkstemp(path);
	struct config_node root;
	const char *s = NULL;
	struct config *c;

	ck_assert_int_ge(fd, 0);
	ck_assert_int_eq(write(fd, "{\"s\": \"x\"}\n", 11), 11);
	c = config_read(path);
	config_root(c, &root);
	ck_assert(config_string(&root, "s", &s));
	ck_assert_str_eq(s, "x");
	config_free(c);

	ck_assert_int_eq(ftruncate(fd, CONFIG_SIZE_MAX + 1), 0);
	want = mem_printf("%s: larger than 1048576 bytes", path);
	expect(config_read(path), want);
	free(want);
	unlink(path);
	want = mem_printf("%s: No such file or directory", path);
	expect(config_read(path), want);
	free(want);
	close(fd);
	expect(config_read("/tmp"), "/tmp: Is a directory");
}
END_TEST

START_TEST(test_deep)
{
	enum { DEEP = 1000 };
	char *json = mem_alloc(2 * DEEP + 32);
	size_t n = (size_t)sprintf(json, "{\"name\":\"n\",\"x\":");
	struct config *c;

	memset(json + n, '[', DEEP);
	memset(json + n + DEEP, ']', DEEP);
	strcpy(json + n + 2 * DEEP, ",\n\"y\":1}");
	c = text(json);
	free(json);
	{
		struct config_node root, list;
		const char *s;

		config_root(c, &root);
		config_string(&root, "name", &s);
		ck_assert(config_list(&root, "x", &list));
		config_end(&root);
	}
	expect(c, "my.json:2: y: unknown key");
}
END_TEST

TEST_MAIN("config", test_values, test_absent, test_errors, test_first_error, test_no_values,
    test_cut_everywhere, test_files, test_deep)
