#include "pt-server/site.h"

#include <stdarg.h>
#include <stdio.h>
#include <sys/stat.h>
#include <unistd.h>

#include "common/mem.h"
#include "pt-server/decoy.h"
#include "tests/harness.h"

static char root[] = "/tmp/test_site.XXXXXX";
static char error[256];

static void shell(const char *format, ...) __attribute__((format(printf, 1, 2)));

/* Runs a command in the folder. */
static void
shell(const char *format, ...)
{
	va_list ap;
	char *command, *in_root;

	va_start(ap, format);
	ck_assert_int_gt(vasprintf(&command, format, ap), 0);
	va_end(ap);
	in_root = mem_printf("cd %s && %s", root, command);
	ck_assert_int_eq(system(in_root), 0);
	free(command);
	free(in_root);
}

/* An empty folder but for index.html. */
static void
start(void)
{
	strcpy(root, "/tmp/test_site.XXXXXX");
	ck_assert_ptr_nonnull(mkdtemp(root));
	shell("printf home > index.html");
}

static void
stop(void)
{
	shell("rm -r %s", root);
}

static struct site *
load(void)
{
	struct site *site;

	error[0] = '\0';
	site = site_new(root, "seed", error);
	ck_assert_msg(site != NULL, "%s", error);
	return site;
}

/* The folder as it is now is refused, with this message behind its name. */
static void
refused(const char *message)
{
	char want[256];

	snprintf(want, sizeof(want), "decoy %s: %s", root, message);
	ck_assert_ptr_null(site_new(root, "seed", error));
	ck_assert_str_eq(error, want);
}

static void
shows(const struct site *site, const char *path, const char *body)
{
	const struct site_page *page = site_find(site, path);

	ck_assert_msg(page != NULL, "%s is not there", path);
	ck_assert_uint_eq(page->len, strlen(body));
	ck_assert_mem_eq(page->body, body, page->len);
}

START_TEST(made_up)
{
	struct site *site = site_new(NULL, "a", error), *other = site_new(NULL, "b", error);
	const struct site_page *home = site_find(site, "/"), *lost = site_missing(site);
	char *html = decoy_home("a"), *missing = decoy_not_found("a");

	shows(site, "/", html);
	shows(site, "/index.html", html);
	ck_assert_str_eq(home->type, "text/html; charset=utf-8");
	ck_assert_uint_eq(lost->len, strlen(missing));
	ck_assert_mem_eq(lost->body, missing, lost->len);
	ck_assert_str_eq(lost->type, "text/html; charset=utf-8");
	ck_assert(home->etag[0] == '\0' && home->modified[0] == '\0' && lost->etag[0] == '\0');
	ck_assert_ptr_null(site_find(site, "/404.html"));
	ck_assert_ptr_null(site_find(site, "/favicon.ico"));
	ck_assert_str_ne(home->body, site_find(other, "/")->body);
	free(html);
	free(missing);
	site_free(site);
	site_free(other);
	site_free(NULL);
}
END_TEST

START_TEST(files_by_path)
{
	static const char *const absent[] = {
		"", "/a", "/a/b", "/A/", "/a//", "//", "//index.html", "/./", "/a/../", "/../", "index.html",
		"/.secret", "/%2esecret", "/.git/config", "/.git/", "/a/.b", "/b/", "/index.html/",
		"/404.html", "/x", "/index.htm", "/*", "/ ", "\\", "/..", "/.",
	};
	struct site *site;
	const struct site_page *page;

	start();
	shell("mkdir -p a/b empty .git && printf sub > a/index.html && printf x > a/b/c.txt && "
	      "printf s > .secret && printf s > .git/config && printf s > a/.b && "
	      "ln -s /etc/passwd .link && mkfifo .pipe && "
	      "printf '\\001\\000\\002' > a/bytes && : > nothing.css");
	site = load();
	shows(site, "/", "home");
	shows(site, "/index.html", "home");
	shows(site, "/a/", "sub");
	shows(site, "/a/index.html", "sub");
	shows(site, "/a/b/c.txt", "x");
	shows(site, "/nothing.css", "");
	page = site_find(site, "/a/bytes");
	ck_assert_uint_eq(page->len, 3);
	ck_assert_mem_eq(page->body, "\001\000\002", 3);
	for (size_t i = 0; i < sizeof(absent) / sizeof(absent[0]); i++)
		ck_assert_msg(site_find(site, absent[i]) == NULL, "%s", absent[i]);
	site_free(site);
	stop();
}
END_TEST

START_TEST(types_by_ending)
{
	static const char *const types[][2] = {
		{ "a.html", "text/html; charset=utf-8" }, { "a.css", "text/css" },
		{ "a.js", "text/javascript" }, { "a.txt", "text/plain; charset=utf-8" },
		{ "a.png", "image/png" }, { "a.jpg", "image/jpeg" }, { "a.jpeg", "image/jpeg" },
		{ "a.gif", "image/gif" }, { "a.svg", "image/svg+xml" }, { "a.ico", "image/x-icon" },
		{ "a.webp", "image/webp" }, { "a.woff2", "font/woff2" }, { "a.pdf", "application/pdf" },
		{ "a.xml", "text/xml" }, { "a.json", "application/json" },
		{ "A.PNG", "image/png" }, { "a.min.js", "text/javascript" },
		{ "png", "application/octet-stream" }, { "a.", "application/octet-stream" },
		{ "a.zip", "application/octet-stream" }, { "a.html~", "application/octet-stream" },
		{ "dir.css/file", "application/octet-stream" },
	};
	struct site *site;

	start();
	shell("mkdir dir.css");
	for (size_t i = 0; i < sizeof(types) / sizeof(types[0]); i++)
		shell("printf x > %s", types[i][0]);
	site = load();
	for (size_t i = 0; i < sizeof(types) / sizeof(types[0]); i++) {
		char *path = mem_printf("/%s", types[i][0]);

		ck_assert_str_eq(site_find(site, path)->type, types[i][1]);
		free(path);
	}
	site_free(site);
	stop();
}
END_TEST

/* Each byte has two spellings, and %XX is not read twice. */
START_TEST(percent_signs)
{
	static const char *const present[][2] = {
		{ "/a b", "space" }, { "/a%20b", "space" }, { "/%61%20%62", "space" },
		{ "/%41%2520", "percent" }, { "/A%2520", "percent" }, { "/%2f", NULL },
		{ "/%C3%A4", "umlaut" }, { "/%c3%a4", "umlaut" }, { "/\xc3\xa4", "umlaut" },
		{ "/d%2Ffile", "file" }, { "%2Fd/file", "file" }, { "/d%2f", NULL },
		{ "/q?", "question" }, { "/q%3F", "question" }, { "/a+b", NULL }, { "/%69ndex.html", "home" },
		{ "%2f", "home" }, { "/%", NULL }, { "/%4", NULL }, { "/%4g", NULL }, { "/%g4", NULL },
		{ "/% 1", NULL }, { "/%+1", NULL }, { "/%-1", NULL }, { "/%0x", NULL }, { "/%%20", NULL },
		{ "/%u0061", NULL }, { "/a%20b%00", NULL }, { "/%00", NULL }, { "/index.html%00.css", NULL },
		{ "/%2e%2e/index.html", NULL }, { "/..%2findex.html", NULL }, { "/d/%2e%2e/", NULL },
		{ "/%252e%252e/", NULL }, { "/%c0%ae%c0%ae/", NULL },
	};
	static const char encoded[] = "/%61%20%62";
	char cut[sizeof(encoded)];
	struct site *site;

	start();
	shell("printf space > 'a b' && printf percent > 'A%%20' && printf umlaut > '\xc3\xa4' && "
	      "mkdir d && printf file > d/file && printf question > 'q?'");
	site = load();
	for (size_t i = 0; i < sizeof(present) / sizeof(present[0]); i++) {
		if (present[i][1] != NULL)
			shows(site, present[i][0], present[i][1]);
		else
			ck_assert_msg(site_find(site, present[i][0]) == NULL, "%s", present[i][0]);
	}
	for (size_t n = 2; n < sizeof(encoded) - 1; n++) {
		memcpy(cut, encoded, n);
		cut[n] = '\0';
		ck_assert_msg(site_find(site, cut) == NULL, "%s", cut);
	}
	site_free(site);
	stop();
}
END_TEST

START_TEST(long_paths)
{
	char path[3 * SITE_PATH_MAX + 64], deep[SITE_PATH_MAX + 1];
	struct site *site;
	size_t n = 0;

	start();
	/* A folder and a file whose path is as long as it may be. */
	for (int i = 0; i < 5; i++) {
		memset(deep + n, 'a' + i, 99);
		deep[n + 99] = '/';
		n += 100;
	}
	deep[n] = '\0';
	shell("mkdir -p %s && printf deep > %s/$(printf %%0%zud 0)", deep, deep, SITE_PATH_MAX - n - 1);
	site = load();
	snprintf(path, sizeof(path), "/%s%0*d", deep, (int)(SITE_PATH_MAX - n - 1), 0);
	ck_assert_uint_eq(strlen(path), SITE_PATH_MAX);
	shows(site, path, "deep");
	path[SITE_PATH_MAX - 1] = '/'; /* index.html would not fit */
	ck_assert_ptr_null(site_find(site, path));
	for (n = 0; n < sizeof(path) - 3; n += 3) {
		memcpy(path + n, "%2f", 4);
		ck_assert_msg((site_find(site, path) != NULL) == (n == 0), "%zu", n);
	}
	for (n = 0; n < sizeof(path) - 1; n++)
		path[n] = 'x';
	path[n] = '\0';
	ck_assert_ptr_null(site_find(site, path));
	site_free(site);
	shell("printf x > %s/$(printf %%0%zud 0)", deep, (size_t)SITE_PATH_MAX - 500);
	ck_assert_ptr_null(site_new(root, "seed", error));
	ck_assert_ptr_nonnull(strstr(error, ": /aaaaaaaa"));
	ck_assert_ptr_nonnull(strstr(error, ": its path is too long"));
	stop();
}
END_TEST

START_TEST(the_missing_page)
{
	struct site *site;
	const struct site_page *lost;
	char *made = decoy_not_found("seed");

	start();
	shell("mkdir a && printf no > a/404.html");
	site = load();
	lost = site_missing(site);
	ck_assert_uint_eq(lost->len, strlen(made));
	ck_assert_mem_eq(lost->body, made, lost->len);
	site_free(site);
	shell("printf lost > 404.html");
	site = load();
	lost = site_missing(site);
	ck_assert_uint_eq(lost->len, 4);
	ck_assert_mem_eq(lost->body, "lost", 4);
	ck_assert_str_eq(lost->type, "text/html; charset=utf-8");
	ck_assert(lost->etag[0] == '\0' && lost->modified[0] == '\0');
	shows(site, "/404.html", "lost");
	ck_assert(site_find(site, "/404.html")->etag[0] != '\0');
	site_free(site);
	free(made);
	stop();
}
END_TEST

START_TEST(what_is_not_shown)
{
	start();
	shell("mkdir -p a/b && ln -s /etc/passwd a/b/out.txt");
	refused("/a/b/out.txt: a symbolic link");
	shell("ln -sf ../../index.html a/b/out.txt");
	refused("/a/b/out.txt: a symbolic link");
	shell("ln -sfn / a/b/out.txt");
	refused("/a/b/out.txt: a symbolic link");
	shell("ln -sfn nowhere a/b/out.txt");
	refused("/a/b/out.txt: a symbolic link");
	shell("rm a/b/out.txt && mkfifo a/pipe");
	refused("/a/pipe: neither a file nor a folder");
	shell("rm a/pipe && mv index.html a");
	refused("/index.html: there is none");
	shell("mkdir index.html");
	refused("/index.html: there is none");
	shell("rmdir index.html && mv a/index.html .");
	site_free(load());
	if (geteuid() != 0) {
		shell("chmod 0 a");
		refused("/a: Permission denied");
		shell("chmod 700 a");
	}
	shell("mkdir -p $(printf 'd/%%.0s' $(seq %d))", SITE_DEPTH_MAX);
	site_free(load());
	shell("mkdir -p $(printf 'd/%%.0s' $(seq %d))", SITE_DEPTH_MAX + 1);
	ck_assert_ptr_null(site_new(root, "seed", error));
	ck_assert_ptr_nonnull(strstr(error, "/d/d/d/: too many folders in each other"));

	ck_assert_ptr_null(site_new("/nonexistent", "seed", error));
	ck_assert_str_eq(error, "decoy /nonexistent: /: No such file or directory");
	ck_assert_ptr_null(site_new("", "seed", error));
	ck_assert_ptr_null(site_new("/etc/passwd", "seed", error));
	ck_assert_str_eq(error, "decoy /etc/passwd: /: Not a directory");
	stop();
}
END_TEST

/* The folder itself may be a link, as a release that is switched often is. */
START_TEST(a_link_to_the_folder)
{
	char *link;
	struct site *site;

	start();
	link = mem_printf("%s.link", root);
	ck_assert_int_eq(symlink(root, link), 0);
	site = site_new(link, "seed", error);
	ck_assert_msg(site != NULL, "%s", error);
	shows(site, "/", "home");
	site_free(site);
	unlink(link);
	free(link);
	stop();
}
END_TEST

START_TEST(limits)
{
	struct site *site;

	start();
	for (int i = 0; i < 8; i++)
		shell("truncate -s %u big%d", i < 7 ? SITE_FILE_MAX : SITE_FILE_MAX - 4, i);
	site = load();
	ck_assert_uint_eq(site_find(site, "/big0")->len, SITE_FILE_MAX);
	site_free(site);
	shell("printf 1 > one");
	ck_assert_ptr_null(site_new(root, "seed", error));
	ck_assert_ptr_nonnull(strstr(error, ": the files are larger than 8 MiB together"));
	shell("rm big? one && truncate -s %u a", SITE_FILE_MAX + 1);
	refused("/a: larger than 1 MiB");
	shell("truncate -s 100G a");
	refused("/a: larger than 1 MiB");
	shell("rm a && mkdir d e && touch $(seq 99) $(seq -f d/%%.0f 100)");
	site_free(load());
	shell("touch e/one");
	ck_assert_ptr_null(site_new(root, "seed", error));
	ck_assert_ptr_nonnull(strstr(error, ": there are more than 200 files"));
	stop();
}
END_TEST

START_TEST(a_long_name_fits_the_message)
{
	char name[3000];

	memset(name, 'n', sizeof(name) - 1);
	name[sizeof(name) - 1] = '\0';
	ck_assert_ptr_null(site_new(name, "seed", error));
	ck_assert_uint_lt(strnlen(error, sizeof(error)), sizeof(error));
	ck_assert_ptr_nonnull(strstr(error, ": /: File name too long"));
}
END_TEST

START_TEST(validators)
{
	static const struct {
		const char *none_match, *since;
		bool same;
	} cases[] = {
		{ NULL, NULL, false }, { "\"499602d2-4\"", NULL, true }, { "W/\"499602d2-4\"", NULL, true },
		{ "*", NULL, true }, { "\"x\", \"499602d2-4\"", NULL, true },
		{ " ,\"x\",W/\"y\"\t, W/\"499602d2-4\"", NULL, true }, { "\"499602d2-4\"junk", NULL, true },
		{ "", NULL, false }, { "499602d2-4", NULL, false }, { "\"499602d2-4", NULL, false },
		{ "\"499602d2-5\"", NULL, false }, { "\"499602d2-44\"", NULL, false }, { "\"\"", NULL, false },
		{ "\"", NULL, false }, { "W", NULL, false }, { "W/", NULL, false }, { "w/\"499602d2-4\"", NULL, false },
		{ "**", NULL, false }, { ",,,", NULL, false }, { "\"x\" ", NULL, false },
		{ NULL, "Fri, 13 Feb 2009 23:31:30 GMT", true }, { NULL, "Fri, 13 Feb 2009 23:31:31 GMT", false },
		{ NULL, "", false }, { "\"x\"", "Fri, 13 Feb 2009 23:31:30 GMT", false },
		{ "\"499602d2-4\"", "Fri, 13 Feb 2009 23:31:31 GMT", true },
	};
	const struct site_page *page;
	struct site *site;

	start();
	shell("touch -d @1234567890 index.html");
	site = load();
	page = site_find(site, "/");
	ck_assert_str_eq(page->etag, "\"499602d2-4\"");
	ck_assert_str_eq(page->modified, "Fri, 13 Feb 2009 23:31:30 GMT");
	for (size_t i = 0; i < sizeof(cases) / sizeof(cases[0]); i++)
		ck_assert_msg(site_not_modified(page, cases[i].none_match, cases[i].since) == cases[i].same,
		    "%zu", i);
	ck_assert(!site_not_modified(site_missing(site), "*", ""));
	site_free(site);
	stop();
}
END_TEST

START_TEST(held_pages_outlive_the_site)
{
	struct site *site;
	const struct site_page *page;

	start();
	site = load();
	page = site_find(site, "/");
	site_hold(site);
	site_hold(site);
	site_free(site);
	site_free(site);
	ck_assert_mem_eq(page->body, "home", 4);
	site_free(site);
	stop();
}
END_TEST

TEST_MAIN("site", made_up, files_by_path, types_by_ending, percent_signs, long_paths, the_missing_page,
    what_is_not_shown, a_link_to_the_folder, limits, a_long_name_fits_the_message, validators,
    held_pages_outlive_the_site)
