#include "pt-server/https.h"

#include <arpa/inet.h>
#include <errno.h>
#include <fcntl.h>
#include <netinet/in.h>
#include <netinet/tcp.h>
#include <signal.h>
#include <stdbool.h>
#include <stdio.h>
#include <sys/resource.h>
#include <sys/wait.h>
#include <unistd.h>

#include <event2/buffer.h>
#include <event2/bufferevent.h>
#include <event2/event.h>

#include "common/address.h"
#include "common/mem.h"
#include "common/net/tls_bev.h"
#include "pt-server/certificate.h"
#include "tests/harness.h"

/* The server runs in a process of its own, so that clients may block. It ends when
 * the test closes its pipe, by exit(), so that leaks count as failures. */
static pid_t server_pid;
static int server_pipe;
static int port;
static char *cert_pem, *key_pem;
static char folder[] = "/tmp/test_https.XXXXXX";
static char *decoy; /* a folder, or NULL */
static unsigned ticket_key_s;

/* --- the server process -------------------------------------------------- */

static struct event_base *base;
static struct https_request *held[1000];
static size_t n_held;
static unsigned n_known;

static void
answer_held(void)
{
	for (size_t i = 0; i < n_held; i++)
		https_reply_json(held[i], "\"released\"", 10);
	n_held = 0;
}

static void
on_later(evutil_socket_t fd, short what, void *arg)
{
	(void)fd;
	(void)what;
	https_reply_json(arg, "\"later\"", 7);
}

/* What a request does is in its session. */
static void
api(void *arg, struct https_request *req, const char *session, const char *body, size_t len)
{
	const struct timeval delay = { .tv_usec = 30000 };
	const struct sockaddr *sa = https_request_addr(req);
	char text[128] = "none";

	ck_assert_str_eq(arg, "arg");
	if (session == NULL) {
		https_reply_json(req, "\"open\"", 6);
	} else if (strcmp(session, "echo") == 0) {
		https_reply_json(req, body, len);
	} else if (strcmp(session, "later") == 0) {
		event_base_once(base, -1, EV_TIMEOUT, on_later, req, &delay);
	} else if (strcmp(session, "hold") == 0 && n_held < 1000) {
		held[n_held++] = req;
	} else if (strcmp(session, "held") == 0) {
		snprintf(text, sizeof(text), "%zu", n_held);
		https_reply_json(req, text, strlen(text));
	} else if (strcmp(session, "release") == 0) {
		answer_held();
		https_reply_json(req, "1", 1);
	} else if (strcmp(session, "known") == 0) {
		https_request_known(req);
		https_request_known(req);
		snprintf(text, sizeof(text), "%u", n_known);
		https_reply_json(req, text, strlen(text));
	} else if (strcmp(session, "stop") == 0) {
		answer_held();
		https_reply_json(req, "1", 1);
		event_base_loopbreak(base);
	} else if (strcmp(session, "addr") == 0) {
		if (sa->sa_family == AF_INET)
			inet_ntop(AF_INET, &((const struct sockaddr_in *)sa)->sin_addr, text, 128);
		else if (sa->sa_family == AF_INET6)
			inet_ntop(AF_INET6, &((const struct sockaddr_in6 *)sa)->sin6_addr, text,
				  128);
		https_reply_json(req, text, strlen(text));
	} else {
		https_reply_unknown(req);
	}
}

static struct sockaddr_storage peer_is; /* AF_UNSPEC: nobody is known */
static unsigned connections = 1000;

static int
peer(void *arg, const struct sockaddr_storage *from, uint16_t to_port, struct sockaddr_storage *addr)
{
	ck_assert_str_eq(arg, "arg");
	ck_assert_int_eq(from->ss_family, AF_INET);
	ck_assert_int_ne(address_port(from), 0);
	ck_assert_int_eq(to_port, port);
	*addr = peer_is;
	return peer_is.ss_family == AF_UNSPEC ? -1 : 0;
}

static void
known(void *arg, const struct sockaddr_storage *from, uint16_t to_port)
{
	ck_assert_str_eq(arg, "arg");
	ck_assert_int_eq(from->ss_family, AF_INET);
	ck_assert_int_ne(address_port(from), 0);
	ck_assert_int_eq(to_port, port);
	n_known++;
}

static void
on_pipe(evutil_socket_t fd, short what, void *arg)
{
	(void)fd;
	(void)what;
	event_base_loopbreak(arg);
}

static void
serve(const char *trusted_proxy, int ready, int stop)
{
	char arg[] = "arg", error[256];
	struct https_config config = { .cert_pem = cert_pem, .key_pem = key_pem, .base = "/api",
				       .api = api, .peer = peer, .known = known, .arg = arg,
				       .connections = connections,
				       .trusted_proxy = trusted_proxy, .decoy = decoy,
				       .ticket_key_s = ticket_key_s };
	struct sockaddr_storage loopback, bound;
	struct event *stopping;
	struct https *https;

	signal(SIGPIPE, SIG_IGN);
	base = event_base_new();
	https = https_new(base, &config, error);
	ck_assert_msg(https != NULL, "%s", error);
	address_parse(&loopback, "127.0.0.1", 0);
	ck_assert_int_eq(https_listen(https, &loopback, &bound, error), 0);
	port = address_port(&bound);
	ck_assert_int_eq(write(ready, &port, sizeof(port)), sizeof(port));
	stopping = event_new(base, stop, EV_READ, on_pipe, base);
	event_add(stopping, NULL);
	event_base_dispatch(base);
	event_free(stopping);
	https_free(https);
	answer_held(); /* they outlive the server */
	event_base_loop(base, EVLOOP_NONBLOCK);
	event_base_free(base);
	libevent_global_shutdown();
}

static void
start(const char *trusted_proxy)
{
	int ready[2], stop[2];

	signal(SIGPIPE, SIG_IGN);
	key_pem = certificate_new_key();
	cert_pem = certificate_self_signed(key_pem);
	ck_assert_ptr_nonnull(mkdtemp(folder));
	ck_assert_int_eq(pipe2(ready, O_CLOEXEC), 0);
	ck_assert_int_eq(pipe2(stop, O_CLOEXEC), 0);
	fflush(NULL);
	server_pid = fork();
	ck_assert_int_ge(server_pid, 0);
	if (server_pid == 0) {
		close(stop[1]);
		serve(trusted_proxy, ready[1], stop[0]);
		free(key_pem);
		free(cert_pem);
		exit(0);
	}
	close(ready[1]);
	close(stop[0]);
	server_pipe = stop[1];
	ck_assert_int_eq(read(ready[0], &port, sizeof(port)), sizeof(port));
	close(ready[0]);
}

static char *run(const char *format, ...) __attribute__((format(printf, 1, 2)));

static void
stop(void)
{
	int status;

	close(server_pipe);
	ck_assert_int_eq(waitpid(server_pid, &status, 0), server_pid);
	ck_assert_msg(WIFEXITED(status) && WEXITSTATUS(status) == 0, "the server ended with %#x",
		      (unsigned)status);
	free(run("rm -r %s", folder));
	free(key_pem);
	free(cert_pem);
}

/* --- clients ------------------------------------------------------------- */

/* The output of a shell command. */
static char *
run(const char *format, ...)
{
	static char out[1024 * 1024];
	char *command, *p;
	size_t n;
	va_list ap;
	FILE *f;

	va_start(ap, format);
	ck_assert_int_gt(vasprintf(&command, format, ap), 0);
	va_end(ap);
	f = popen(command, "r");
	ck_assert_ptr_nonnull(f);
	n = fread(out, 1, sizeof(out) - 1, f);
	out[n] = '\0';
	pclose(f);
	free(command);
	p = mem_alloc(n + 1);
	memcpy(p, out, n + 1);
	return p;
}

#define CURL "curl -sk --noproxy '*' --max-time 60 "
#define URL "https://127.0.0.1:%d"

/* Runs, compares, frees. */
#define EXPECT(expected, ...)                                \
	do {                                                 \
		char *out_ = run(__VA_ARGS__);               \
		ck_assert_str_eq(out_, expected);            \
		free(out_);                                  \
	} while (0)

/* Waits until n requests are held. */
static void
await_held(unsigned n)
{
	for (int i = 0; i < 3000; i++) {
		char *out = run(CURL "-X POST " URL "/api/held", port);
		unsigned have = (unsigned)strtoul(out, NULL, 10);

		free(out);
		if (have == n)
			return;
		usleep(10000);
	}
	ck_abort_msg("never saw %u held requests", n);
}

START_TEST(pages)
{
	char *home, *head, *missing, *other;

	start(NULL);
	home = run(CURL URL "/", port);
	ck_assert_ptr_nonnull(strstr(home, "<h1>"));
	/* HEAD says what GET would, and sends no body. */
	head = run(CURL "-I " URL "/ | tr -d '\\r' | sed 's/^Date: .*GMT$/Date/'", port);
	other = mem_printf("HTTP/1.1 200 OK\nDate\nContent-Type: text/html; charset=utf-8\n"
			   "Content-Length: %zu\n\n",
			   strlen(home));
	ck_assert_str_eq(head, other);
	free(head);
	free(other);
	free(home);
	missing = run(CURL "-i " URL "/nothing | sed 's/^Date: .*//'", port);
	ck_assert_ptr_nonnull(strstr(missing, "404 Not Found"));
	ck_assert_ptr_null(strstr(missing, "Server"));
	/* Whatever is refused looks like that. */
	static const char *const refused[] = {
		"/favicon.ico", "/robots.txt", "/api", "/api/echo", "/api/", "/apix", "/ap",
		"-X PUT /api", "-X DELETE /api/echo", "-X OPTIONS /", "-X POST /",
		"-d aaa /nothing", "-d aaa /api/", "-d aaa /api/a/b", "-d aaa /api/a%%62",
		"-d aaa /api//echo", "-d aaa /API/echo", "-d aaa /api/nobody", "-X BREW /",
		"-X TRACE /api", "-X PATCH -d a /api",
		"-d aaa /api/aaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaa",
	};
	for (size_t i = 0; i < sizeof(refused) / sizeof(refused[0]); i++) {
		const char *path = strrchr(refused[i], ' ');

		path = path != NULL ? path + 1 : refused[i];
		other = run(CURL "-i %.*s " URL "%s | sed 's/^Date: .*//'",
			    (int)(path - refused[i]), refused[i], port, path);
		ck_assert_msg(strcmp(other, missing) == 0, "%s: %s", refused[i], other);
		free(other);
	}
	free(missing);
	stop();
}
END_TEST

/* What is served is what lies in the folder; all else is its 404.html. */
START_TEST(a_folder)
{
	char *missing, *tag, *date, *out;

	decoy = run("d=$(mktemp -d /tmp/test_https.XXXXXX); cd $d; mkdir a .git; echo home > index.html; "
		    "echo sub > a/index.html; : > empty.txt; echo '<b>lost</b>' > 404.html; "
		    "echo secret > .git/config; echo 'a b' > 'a b%%.css'; echo post > api; "
		    "head -c 1048576 /dev/urandom > big.png; printf $d");
	start(NULL);
	EXPECT("home\n", CURL URL "/", port);
	EXPECT("home\n", CURL "'" URL "/?a=%%2f&b#c'", port);
	EXPECT("home\n", CURL URL "/%%69ndex.html", port);
	EXPECT("sub\n", CURL URL "/a/", port);
	EXPECT("a b\n", CURL URL "/a%%20b%%25.css", port);
	EXPECT("text/css 4 200", CURL "-o /dev/null -w '%%{content_type} %%{size_download} %%{http_code}' "
	       URL "/a%%20b%%25.css", port);
	EXPECT("text/plain; charset=utf-8 0 200", CURL
	       "-o /dev/null -w '%%{content_type} %%{size_download} %%{http_code}' " URL "/empty.txt", port);
	EXPECT("same", CURL URL "/big.png | cmp - %s/big.png && printf same", port, decoy);
	EXPECT("same", CURL "-H 'Connection: close' --limit-rate 2M " URL
	       "/big.png | cmp - %s/big.png && printf same", port, decoy);
	/* The API's own path is not shadowed, nor does it shadow. */
	EXPECT("post\n", CURL URL "/api", port);
	EXPECT("\"open\"", CURL "-d x " URL "/api", port);
	free(run("rm %s/api", decoy));
	EXPECT("post\n", CURL URL "/api", port); /* read at the start */

	missing = run(CURL "-i " URL "/nothing | sed 's/^Date: .*//'", port);
	EXPECT("HTTP/1.1 404 Not Found\n\nContent-Type: text/html; charset=utf-8\n"
	       "Content-Length: 12\n\n<b>lost</b>\n", "printf '%s' | tr -d '\r'", missing);
	static const char *const paths[] = {
		"/a", "/b/", "/.git/config", "/A/", "/%00", "/%2", "/%zz", "/index.html/", "//",
		"/../index.html", "/a/../index.html", "/%2e%2e/index.html", "/a/%2e%2e%2findex.html",
		"/../../../../etc/passwd", "-X POST /big.png", "-X PUT /index.html", "-X DELETE /",
		"-d aaa /api/nobody", "-d aaa /api/", "-X OPTIONS /a/", "-H 'If-None-Match: *' /b",
	};
	for (size_t i = 0; i < sizeof(paths) / sizeof(paths[0]); i++) {
		const char *path = strrchr(paths[i], ' ');

		path = path != NULL ? path + 1 : paths[i];
		out = run(CURL "--path-as-is -i %.*s '" URL "%s' | sed 's/^Date: .*//'",
			  (int)(path - paths[i]), paths[i], port, path);
		ck_assert_msg(strcmp(out, missing) == 0, "%s: %s", paths[i], out);
		free(out);
	}
	free(missing);

	/* Validators: GET and HEAD say the same, and either of them spares the body. */
	tag = run(CURL "-D - -o /dev/null " URL "/ | tr -d '\r' | sed -n 's/^ETag: //p' | tr -d '\n'", port);
	date = run(CURL "-I " URL "/ | tr -d '\r' | sed -n 's/^Last-Modified: //p' | tr -d '\n'", port);
	out = run("TZ=GMT LC_ALL=C date -r %s/index.html '+%%a, %%d %%b %%Y %%H:%%M:%%S GMT' | tr -d '\n'", decoy);
	ck_assert_str_eq(date, out);
	free(out);
	out = mem_printf("HTTP/1.1 200 OK\nContent-Type: text/html; charset=utf-8\nContent-Length: 5\n"
			 "Last-Modified: %s\nETag: %s\n\n", date, tag);
	EXPECT(out, CURL "-I " URL "/ | tr -d '\r' | grep -v ^Date", port);
	free(out);
	out = mem_printf("HTTP/1.1 304 Not Modified\nLast-Modified: %s\nETag: %s\n\n", date, tag);
	EXPECT(out, CURL "-i -H 'If-None-Match: \"x\", W/%s' " URL "/ | tr -d '\r' | grep -v ^Date", tag, port);
	EXPECT(out, CURL "-I -H 'If-None-Match: *' " URL "/ | tr -d '\r' | grep -v ^Date", port);
	EXPECT(out, CURL "-i -H 'If-Modified-Since: %s' " URL "/ | tr -d '\r' | grep -v ^Date", date, port);
	free(out);
	EXPECT("home\n", CURL "-H 'If-None-Match: \"x\"' -H 'If-Modified-Since: %s' " URL "/", date, port);
	/* The connection goes on behind a 304. */
	EXPECT("304 1 304 0 ", CURL "-H 'If-None-Match: %s' -o /dev/null -o /dev/null "
	       "-w '%%{http_code} %%{num_connects} ' " URL "/ " URL "/", tag, port, port);
	free(tag);
	free(date);

	/* Some leave in the middle, and one is being served when the server ends. */
	for (int i = 0; i < 5; i++)
		free(run(CURL "--max-time 0.2 --limit-rate 50K -o /dev/null " URL "/big.png", port));
	free(run("(" CURL "--limit-rate 50K " URL "/big.png > %s/big) > /dev/null &", port, folder));
	free(run("for i in $(seq 500); do [ -s %s/big ] && break; sleep 0.05; done", folder));
	stop();
	free(run("rm -r %s", decoy));
	free(decoy);
}
END_TEST

START_TEST(the_api)
{
	start(NULL);
	EXPECT("\"open\"", CURL "-d x " URL "/api", port);
	EXPECT("\"open\"", CURL "-X POST " URL "/api", port);
	EXPECT("{\"a\":1}", CURL "-d '{\"a\":1}' " URL "/api/echo", port);
	EXPECT("\"later\"", CURL "-d x " URL "/api/later", port);
	EXPECT("application/json", CURL "-d x -o /dev/null -w '%%{content_type}' " URL "/api",
	       port);
	/* HTTP/1.0, Connection: close, Expect: 100-continue, chunked */
	EXPECT("abc", CURL "-0 -d abc " URL "/api/echo", port);
	EXPECT("abc", CURL "-H 'Connection: close' -d abc " URL "/api/echo", port);
	EXPECT("abc", CURL "-H 'Expect: 100-continue' -d abc " URL "/api/echo", port);
	EXPECT("abc", CURL "-H 'Transfer-Encoding: chunked' -d abc " URL "/api/echo", port);
	/* One connection for all of them. */
	EXPECT("abcabc1 0 ",
	       CURL "-d abc " URL "/api/echo " URL "/api/echo -o - -o - | tr -d '\\n'; " CURL
		    "-d x -o /dev/null -o /dev/null -w '%%{num_connects} ' " URL "/api " URL
		    "/api",
	       port, port, port, port);
	stop();
}
END_TEST

START_TEST(sizes)
{
	char *header;

	start(NULL);
	free(run("head -c 200000 /dev/zero | tr '\\0' q > %s/body", folder));
	EXPECT("same", CURL "-d @%s/body " URL "/api/echo | cmp - %s/body && printf same", folder,
	       port, folder);
	EXPECT("same", CURL "-H 'Connection: close' --limit-rate 2M -d @%s/body " URL
		       "/api/echo | cmp - %s/body && printf same",
	       folder, port, folder);
	/* The caps, and one byte more. */
	free(run("head -c %u /dev/zero | tr '\\0' q > %s/body", HTTPS_BODY_MAX, folder));
	EXPECT("same", CURL "-d @%s/body " URL "/api/echo | cmp - %s/body && printf same", folder,
	       port, folder);
	free(run("printf q >> %s/body", folder));
	EXPECT("413", CURL "-H 'Expect: 100-continue' --expect100-timeout 30 -d @%s/body -o /dev/null "
			   "-w '%%{http_code}' " URL "/api/echo",
	       folder, port);
	/* Whoever goes on sending may lose the answer to the reset behind it. */
	EXPECT("413", CURL "-d @%s/body -o /dev/null -w '%%{http_code}' " URL "/api/echo | sed s/000/413/",
	       folder, port);
	EXPECT("413", CURL "-H 'Transfer-Encoding: chunked' -d @%s/body -o /dev/null "
			   "-w '%%{http_code}' " URL "/api/echo | sed s/000/413/",
	       folder, port);
	header = mem_alloc(HTTPS_HEADERS_MAX + 1);
	memset(header, 'h', HTTPS_HEADERS_MAX);
	header[HTTPS_HEADERS_MAX] = '\0';
	EXPECT("400", CURL "-H 'A: %s' -o /dev/null -w '%%{http_code}' " URL "/", header, port);
	header[HTTPS_HEADERS_MAX - 1024] = '\0';
	EXPECT("200", CURL "-H 'A: %s' -o /dev/null -w '%%{http_code}' " URL "/", header, port);
	free(header);
	stop();
}
END_TEST

/* What openssl computes of the certificate, RFC 7469's form. */
START_TEST(pins)
{
	char *pin;
	FILE *f;

	start(NULL);
	pin = mem_printf("%s/cert.pem", folder);
	f = fopen(pin, "w");
	fputs(cert_pem, f);
	fclose(f);
	free(pin);
	pin = run("openssl x509 -in %s/cert.pem -noout -pubkey | openssl pkey -pubin -outform der"
		  " | openssl dgst -sha256 -binary | base64 | tr -d '\\n'",
		  folder);
	ck_assert_uint_eq(strlen(pin), 44);
	EXPECT("\"open\"0", CURL "--pinnedpubkey sha256//%s -d x " URL "/api; printf $?", pin,
	       port);
	pin[3] = pin[3] == 'A' ? 'B' : 'A';
	EXPECT("90", CURL "--pinnedpubkey sha256//%s -d x " URL "/api; printf $?", pin, port);
	free(pin);
	stop();
}
END_TEST

START_TEST(versions_and_resumption)
{
	static const char *const versions[] = { "tls1_2", "tls1_3" };

	start(NULL);
	EXPECT("\"open\"", CURL "--tls-max 1.2 -d x " URL "/api", port);
	EXPECT("\"open\"", CURL "--tlsv1.3 -d x " URL "/api", port);
	EXPECT("35", CURL "--ciphers DEFAULT@SECLEVEL=0 --tlsv1.0 --tls-max 1.1 " URL
			  "/; printf $?",
	       port);
	for (int i = 0; i < 2; i++) {
		/* The answer must be read for TLS 1.3's ticket to be seen. */
#define S_CLIENT "(printf 'GET / HTTP/1.1\\r\\nConnection: close\\r\\n\\r\\n'; sleep 1) | " \
		 "openssl s_client -ign_eof -connect 127.0.0.1:%d -%s "
		EXPECT("New\n", S_CLIENT "-sess_out %s/session 2>&1 | grep -oE '^(New|Reused)'",
		       port, versions[i], folder);
		EXPECT("Reused\n", S_CLIENT "-sess_in %s/session 2>&1 | grep -oE '^(New|Reused)'",
		       port, versions[i], folder);
	}
	EXPECT("ALPN protocol: http/1.1\n",
	       "openssl s_client -alpn h2,http/1.1 -connect 127.0.0.1:%d </dev/null 2>&1 | "
	       "grep 'ALPN proto'",
	       port);
	/* Only h2 offered: not refused. */
	EXPECT("No ALPN negotiated\n",
	       "openssl s_client -alpn h2 -connect 127.0.0.1:%d </dev/null 2>&1 | grep ALPN", port);
	stop();
}
END_TEST

/* Nobody calls for it: old tickets end by themselves. (s_client leaves -sess_in alone.) */
START_TEST(ticket_keys_are_rotated)
{
	ticket_key_s = 1;
	start(NULL);
	free(run(S_CLIENT "-sess_out %s/session 2>&1", port, "tls1_3", folder));
	EXPECT("New\n",
	       "for i in $(seq 25); do " S_CLIENT "-sess_in %s/session 2>&1 | "
	       "grep -oE '^(New|Reused)' > %s/said; grep New %s/said && break; done",
	       port, "tls1_3", folder, folder, folder);
	stop();
}
END_TEST

START_TEST(two_hundred_at_once)
{
	start(NULL);
	EXPECT("200\n",
	       "for i in $(seq 200); do " CURL "-d x " URL
	       "/api/later & done | grep -o later | wc -l",
	       port);
	stop();
}
END_TEST

START_TEST(held_requests)
{
	start(NULL);
	/* Three that wait for their answer. */
	free(run(": > %s/done; for i in 1 2 3; do (" CURL "-d x " URL "/api/hold > %s/$i; "
		 "echo >> %s/done) > /dev/null & done",
		 folder, port, folder, folder));
	await_held(3);
	EXPECT("1", CURL "-d x " URL "/api/release", port);
	EXPECT("\"released\"\"released\"\"released\"",
	       "while [ $(wc -l < %s/done) != 3 ]; do sleep 0.05; done; cat %s/[123]", folder,
	       folder);
	/* One whose client leaves, one whose client says goodbye first. */
	EXPECT("", CURL "--max-time 0.3 -d x " URL "/api/hold", port);
	await_held(1);
	free(run("(printf 'POST /api/hold HTTP/1.1\\r\\nContent-Length: 1\\r\\n\\r\\nx'; sleep 0.3) "
		 "| openssl s_client -quiet -no_ign_eof -connect 127.0.0.1:%d 2>&1",
		 port));
	await_held(2);
	EXPECT("1", CURL "-d x " URL "/api/release", port);
	EXPECT("\"open\"", CURL "-d x " URL "/api", port);
	/* One that the server's end finds. */
	EXPECT("", CURL "--max-time 0.3 -d x " URL "/api/hold", port);
	await_held(1);
	free(run("(" CURL "-d x " URL "/api/hold > %s/last) > /dev/null &", port, folder));
	await_held(2);
	stop();
}
END_TEST

#define POST(path, body) \
	"POST " path " HTTP/1.1\\r\\nHost: a\\r\\nContent-Length: 1\\r\\n\\r\\n" body

/* Requests that arrive behind one that is held, in one piece and later. */
START_TEST(pipelining)
{
	char *out, *first, *second, *third;

	start(NULL);
	out = run("(printf '" POST("/api/later", "a") POST("/api/echo", "b") "GET / HTTP/1.1\\r\\n"
		  "Connection: close\\r\\n\\r\\n'; sleep 1) | openssl s_client -quiet "
		  "-connect 127.0.0.1:%d 2>/dev/null",
		  port);
	first = strstr(out, "\"later\"");
	ck_assert_ptr_nonnull(first);
	second = strstr(first, "\r\n\r\nb");
	ck_assert_ptr_nonnull(second);
	third = strstr(second, "<h1>");
	ck_assert_ptr_nonnull(third);
	free(out);
	free(run("((printf '" POST("/api/hold", "a") "'; sleep 0.3; printf '" POST("/api/echo", "b")
		 "'; while [ ! -e %s/enough ]; do sleep 0.05; done) | openssl s_client -quiet "
		 "-connect 127.0.0.1:%d > %s/out) > /dev/null 2>&1 &",
		 folder, port, folder));
	await_held(1);
	usleep(600000);
	EXPECT("1", CURL "-d x " URL "/api/release", port);
	EXPECT("2", "for i in $(seq 200); do n=$(grep -c 'HTTP/1.1 200' %s/out); [ $n = 2 ] && break; "
		    "sleep 0.05; done; touch %s/enough; printf $n",
	       folder, folder);
	stop();
}
END_TEST

/* --- clients that break off ---------------------------------------------- */

static int
dial(void)
{
	struct sockaddr_in sin = { .sin_family = AF_INET, .sin_port = htons((uint16_t)port),
				   .sin_addr.s_addr = htonl(INADDR_LOOPBACK) };
	int fd = socket(AF_INET, SOCK_STREAM, 0);

	ck_assert_int_eq(connect(fd, (struct sockaddr *)&sin, sizeof(sin)), 0);
	return fd;
}

static void
on_client_event(struct bufferevent *bev, short what, void *arg)
{
	(void)bev;
	*(short *)arg |= what;
}

/* Sends `sent` bytes, takes at least `taken` bytes, leaves: by a reset or not. */
static void
visit(struct event_base *loop, struct tls_ctx *ctx, const char *bytes, size_t sent, size_t taken,
      bool reset)
{
	struct linger hard = { .l_onoff = 1 };
	int fd = dial();
	struct bufferevent *bev;
	short what = 0;

	evutil_make_socket_nonblocking(fd);
	bev = tls_bev_new(loop, ctx, fd);
	bufferevent_setcb(bev, NULL, NULL, on_client_event, &what);
	bufferevent_enable(bev, EV_READ | EV_WRITE);
	bufferevent_write(bev, bytes, sent);
	while (what == 0 && (evbuffer_get_length(bufferevent_get_output(bev)) > 0 ||
			     evbuffer_get_length(bufferevent_get_input(bev)) < taken))
		event_base_loop(loop, EVLOOP_ONCE);
	ck_assert_int_eq(what, 0);
	if (reset)
		setsockopt(fd, SOL_SOCKET, SO_LINGER, &hard, sizeof(hard));
	bufferevent_free(bev);
	event_base_loop(loop, EVLOOP_NONBLOCK);
}

START_TEST(clients_that_break_off)
{
	static const char request[] = "POST /api/echo HTTP/1.1\r\nHost: a\r\nA: b\r\n"
				      "Content-Length: 10\r\n\r\n0123456789";
	struct event_base *loop = event_base_new();
	char error[256], *big;
	struct tls_ctx *ctx = tls_ctx_client(error);
	size_t n;

	start(NULL);
	for (n = 1; n < sizeof(request); n++)
		visit(loop, ctx, request, n, 0, n % 2 == 1);
	big = mem_alloc(201000);
	n = (size_t)snprintf(big, 1000,
			     "POST /api/echo HTTP/1.1\r\nContent-Length: 200000\r\n\r\n");
	memset(big + n, 'q', 200000);
	for (size_t taken = 1; taken < 200000; taken += 13337)
		visit(loop, ctx, big, n + 200000, taken, taken % 2 == 1);
	EXPECT("\"open\"", CURL "-d x " URL "/api", port);
	free(big);
	tls_ctx_free(ctx);
	event_base_free(loop);
	stop();
}
END_TEST

/* After a first answer, a request and what follows it in one segment: a close_notify, or bytes
 * that are no TLS. Then the end, as far as the server tells it. */
static void
last_words(struct event_base *loop, struct tls_ctx *ctx, const char *request, bool notify,
	   bool half_close)
{
	static const char first[] = "GET / HTTP/1.1\r\nHost: a\r\n\r\n";
	int fd = dial(), cork = 1;
	struct bufferevent *bev;
	char rest[65536];
	short what = 0;

	evutil_make_socket_nonblocking(fd);
	bev = tls_bev_new(loop, ctx, fd);
	bufferevent_setcb(bev, NULL, NULL, on_client_event, &what);
	bufferevent_enable(bev, EV_READ | EV_WRITE);
	bufferevent_write(bev, first, sizeof(first) - 1);
	while (what == 0 && evbuffer_get_length(bufferevent_get_input(bev)) == 0)
		event_base_loop(loop, EVLOOP_ONCE);
	setsockopt(fd, IPPROTO_TCP, TCP_CORK, &cork, sizeof(cork));
	bufferevent_write(bev, request, strlen(request));
	if (notify)
		bufferevent_flush(bev, EV_WRITE, BEV_FINISHED);
	else
		ck_assert_int_eq(send(fd, "no TLS at all", 13, MSG_NOSIGNAL), 13);
	cork = 0;
	setsockopt(fd, IPPROTO_TCP, TCP_CORK, &cork, sizeof(cork));
	if (half_close)
		shutdown(fd, SHUT_WR);
	bufferevent_disable(bev, EV_READ | EV_WRITE);
	fcntl(fd, F_SETFL, 0);
	while (recv(fd, rest, sizeof(rest), 0) > 0)
		;
	bufferevent_free(bev);
	event_base_loop(loop, EVLOOP_NONBLOCK);
}

/* The answer is written, and asks for the connection to be closed, while the client's end of
 * it closes it already: once is enough. */
START_TEST(last_requests)
{
	static const char *const requests[] = {
		"GET / HTTP/1.0\r\n\r\n",
		"GET / HTTP/1.1\r\nHost: a\r\nConnection: close\r\n\r\n",
		"GET / HTTP/1.1\r\nHost: a\r\n\r\n",
		"GET /big.png HTTP/1.0\r\n\r\n",
		"GET /big.png HTTP/1.1\r\nHost: a\r\n\r\n",
		"POST /api/echo HTTP/1.0\r\nContent-Length: 1\r\n\r\nx",
		"POST /api/later HTTP/1.0\r\nContent-Length: 1\r\n\r\nx",
	};
	struct event_base *loop = event_base_new();
	char error[256];
	struct tls_ctx *ctx = tls_ctx_client(error);

	decoy = run("d=$(mktemp -d /tmp/test_https.XXXXXX); cd $d; echo home > index.html; "
		    "head -c 1048576 /dev/urandom > big.png; printf $d");
	start(NULL);
	for (size_t i = 0; i < 2 * sizeof(requests) / sizeof(requests[0]); i++)
		for (int k = 0; k < 2; k++)
			last_words(loop, ctx, requests[i / 2], i % 2 == 0, k == 1);
	EXPECT("\"later\"", CURL "-d x " URL "/api/later", port);
	tls_ctx_free(ctx);
	event_base_free(loop);
	stop();
	free(run("rm -r %s", decoy));
	free(decoy);
	decoy = NULL;
}
END_TEST

/* The server ends with answers that are queued but not written. */
START_TEST(ends_while_it_answers)
{
	static const char *const versions[] = { "-0", "" };

	for (size_t i = 0; i < 2; i++) {
		start(NULL);
		free(run("(" CURL "%s -d x " URL "/api/hold) > /dev/null 2>&1 &", versions[i], port));
		await_held(1);
		free(run(CURL "%s -d x " URL "/api/stop", versions[i], port));
		stop();
		strcpy(folder, "/tmp/test_https.XXXXXX");
	}
}
END_TEST

/* Rubbish below and above TLS; whatever comes back, the server lives. */
START_TEST(rubbish)
{
	uint8_t junk[512];

	start(NULL);
	for (int i = 0; i < 50; i++) {
		int fd = dial();

		mem_random(junk, sizeof(junk));
		if (i % 2 == 1)
			memcpy(junk, "\x16\x03\x01\x01\xfb\x01\x00\x01\xf7\x03\x03", 11);
		ck_assert_int_eq(write(fd, junk, sizeof(junk)), sizeof(junk));
		shutdown(fd, SHUT_WR);
		while (read(fd, junk, sizeof(junk)) > 0)
			;
		close(fd);
	}
	EXPECT("HTTP/1.1 400 Bad Request\r\n",
	       "(printf '\\001\\002garbage that is no request line\\r\\n\\r\\n'; sleep 1) | openssl "
	       "s_client -quiet -connect 127.0.0.1:%d 2>/dev/null | head -1",
	       port);
	EXPECT("\"open\"", CURL "-d x " URL "/api", port);
	stop();
}
END_TEST

/* --- strangers ----------------------------------------------------------- */

/* A POST to the API on a connection that stays; the answer's body must be this. */
static void
ask_again(struct event_base *loop, struct bufferevent *bev, const char *path, const char *expected)
{
	struct evbuffer *in = bufferevent_get_input(bev);
	char *request = mem_printf("POST %s HTTP/1.1\r\nHost: a\r\nContent-Length: 1\r\n\r\nx", path);
	char *end = mem_printf("\r\n\r\n%s", expected);

	bufferevent_write(bev, request, strlen(request));
	while (evbuffer_search(in, end, strlen(end), NULL).pos < 0)
		ck_assert_int_eq(event_base_loop(loop, EVLOOP_ONCE), 0);
	evbuffer_drain(in, evbuffer_get_length(in));
	free(request);
	free(end);
}

/* Its connections are full: the oldest of whom nothing is known goes. */
START_TEST(the_oldest_stranger_makes_room)
{
	struct event_base *loop = event_base_new();
	char error[256], byte;
	struct tls_ctx *ctx = tls_ctx_client(error);
	struct bufferevent *regular;
	int strangers[4];
	short what = 0;

	connections = 4;
	start(NULL);
	regular = tls_bev_new(loop, ctx, dial());
	evutil_make_socket_nonblocking(bufferevent_getfd(regular));
	bufferevent_setcb(regular, NULL, NULL, on_client_event, &what);
	bufferevent_enable(regular, EV_READ | EV_WRITE);
	strangers[0] = dial();
	ask_again(loop, regular, "/api/known", "1");
	/* Who has left does not count. */
	for (int i = 0; i < 8; i++)
		EXPECT("\"open\"", CURL "-d x " URL "/api", port);
	ck_assert(recv(strangers[0], &byte, 1, MSG_DONTWAIT) < 0 && errno == EAGAIN);
	for (int i = 1; i < 4; i++)
		strangers[i] = dial();
	ck_assert_int_eq(recv(strangers[0], &byte, 1, 0), 0);
	EXPECT("\"open\"", CURL "-d x " URL "/api", port);
	ck_assert_int_eq(recv(strangers[1], &byte, 1, 0), 0);
	for (int i = 2; i < 4; i++)
		ck_assert(recv(strangers[i], &byte, 1, MSG_DONTWAIT) < 0 && errno == EAGAIN);
	ask_again(loop, regular, "/api/known", "1");
	ck_assert_int_eq(what, 0);
	for (int i = 0; i < 4; i++)
		close(strangers[i]);
	bufferevent_free(regular);
	event_base_loop(loop, EVLOOP_NONBLOCK);
	tls_ctx_free(ctx);
	event_base_free(loop);
	stop();
}
END_TEST

#define BODY 200000
#define ALIVE (HTTPS_STRANGERS_MAX / BODY) /* may be */

/* Bodies that do not end, to whatever path, take no more memory than this. */
START_TEST(bodies_that_strangers_begin)
{
	static struct bufferevent *bevs[ALIVE + 20];
	static short what[ALIVE + 20];
	struct event_base *loop = event_base_new();
	char error[256], *request = mem_zalloc(BODY);
	struct tls_ctx *ctx = tls_ctx_client(error);

	snprintf(request, 100, "POST / HTTP/1.1\r\nContent-Length: %u\r\n\r\n", HTTPS_BODY_MAX);
	start(NULL);
	for (size_t i = 0; i < ALIVE + 20; i++) {
		bevs[i] = tls_bev_new(loop, ctx, dial());
		evutil_make_socket_nonblocking(bufferevent_getfd(bevs[i]));
		bufferevent_setcb(bevs[i], NULL, NULL, on_client_event, &what[i]);
		bufferevent_enable(bevs[i], EV_READ | EV_WRITE);
		bufferevent_write(bevs[i], request, BODY);
		while (what[i] == 0 && evbuffer_get_length(bufferevent_get_output(bevs[i])) > 0)
			event_base_loop(loop, EVLOOP_ONCE);
	}
	for (size_t i = 0; i < 20; i++)
		while (what[i] == 0)
			event_base_loop(loop, EVLOOP_ONCE);
	ck_assert_int_eq(what[ALIVE + 19], 0);
	EXPECT("\"open\"", CURL "-d x " URL "/api", port);
	for (size_t i = 0; i < ALIVE + 20; i++)
		bufferevent_free(bevs[i]);
	event_base_loop(loop, EVLOOP_NONBLOCK);
	tls_ctx_free(ctx);
	event_base_free(loop);
	free(request);
	stop();
}
END_TEST

/* --- who is asking ------------------------------------------------------- */

static void
set_peer(const char *ip)
{
	int len = sizeof(peer_is);

	ck_assert_int_eq(evutil_parse_sockaddr_port(ip, (struct sockaddr *)&peer_is, &len), 0);
}

START_TEST(addresses)
{
	static const struct {
		const char *peer, *trusted, *headers, *expected;
	} cases[] = {
		{ NULL, NULL, "", "127.0.0.1" },
		{ NULL, NULL, "-H 'X-Forwarded-For: 192.0.2.1'", "127.0.0.1" },
		{ "192.0.2.7", NULL, "", "192.0.2.7" },
		{ "[2001:db8::7]", NULL, "", "2001:db8::7" },
		{ "192.0.2.7", "192.0.2.8", "-H 'X-Forwarded-For: 198.51.100.1'", "192.0.2.7" },
		{ "192.0.2.7", "192.0.2.7", "-H 'X-Forwarded-For: 198.51.100.1'", "198.51.100.1" },
		{ "192.0.2.7", "192.0.2.0/24", "-H 'X-Forwarded-For: 10.0.0.1, 198.51.100.1'",
		  "198.51.100.1" },
		{ "192.0.2.7", "192.0.2.0/29", "-H 'X-Forwarded-For: 2001:db8::1'",
		  "2001:db8::1" },
		{ "192.0.2.8", "192.0.2.0/29", "-H 'X-Forwarded-For: 2001:db8::1'", "192.0.2.8" },
		{ "192.0.2.7", "192.0.2.0/29",
		  "-H 'X-Forwarded-For: 198.51.100.1' -H 'X-Forwarded-For: 198.51.100.2:99'",
		  "198.51.100.2" },
		{ "[2001:db8::7]", "2001:db8::/32", "-H 'x-forwarded-for: [2001:db9::1]:80'",
		  "2001:db9::1" },
		{ "192.0.2.7", "192.0.2.7", "-H 'X-Forwarded-For: ::ffff:198.51.100.1'", "198.51.100.1" },
		{ "192.0.2.7", "192.0.2.7", "-H 'X-Forwarded-For: 198.51.100.1:70000'", "none" },
		{ "192.0.2.7", "192.0.2.7", "", "none" },
		{ "192.0.2.7", "192.0.2.7", "-H 'X-Forwarded-For: 198.51.100.1, unknown'", "none" },
		{ NULL, "127.0.0.1", "-H 'X-Forwarded-For: 198.51.100.1'", "198.51.100.1" },
		{ NULL, "0.0.0.0/0", "-H 'X-Forwarded-For: 198.51.100.1'", "198.51.100.1" },
	};

	for (size_t i = 0; i < sizeof(cases) / sizeof(cases[0]); i++) {
		memset(&peer_is, 0, sizeof(peer_is));
		if (cases[i].peer != NULL)
			set_peer(cases[i].peer);
		start(cases[i].trusted);
		EXPECT(cases[i].expected, CURL "%s -d x " URL "/api/addr", cases[i].headers, port);
		stop();
		strcpy(folder, "/tmp/test_https.XXXXXX");
	}
}
END_TEST

/* No descriptors left: it waits, neither spins nor speaks without TLS, and goes on. */
START_TEST(out_of_descriptors)
{
	struct rlimit before;
	char byte[64], log[] = "/tmp/test_https.XXXXXX";
	int fds[80], out = dup(STDERR_FILENO);

	ck_assert_int_eq(dup2(mkstemp(log), STDERR_FILENO), STDERR_FILENO);
	getrlimit(RLIMIT_NOFILE, &before);
	ck_assert_int_eq(setrlimit(RLIMIT_NOFILE, &(struct rlimit){ 40, before.rlim_max }), 0);
	start(NULL); /* inherits the limit */
	ck_assert_int_eq(setrlimit(RLIMIT_NOFILE, &before), 0);
	ck_assert_int_eq(dup2(out, STDERR_FILENO), STDERR_FILENO);
	for (int i = 0; i < 80; i++)
		fds[i] = dial();
	usleep(2500000); /* it has tried again, and said nothing more */
	EXPECT("1\n", "grep -c 'cannot accept' %s", log);
	for (int i = 0; i < 80; i++) {
		struct timeval timeout = { .tv_usec = 20000 };

		setsockopt(fds[i], SOL_SOCKET, SO_RCVTIMEO, &timeout, sizeof(timeout));
		(void)!write(fds[i], "GET / HTTP/1.0\r\n\r\n", 18);
		ck_assert_int_le(read(fds[i], byte, sizeof(byte)), 0);
		close(fds[i]);
	}
	/* Some of the 80 may still be waiting for accept(). Who comes behind them and gets the
	 * last descriptor is closed, since wolfSSL opens /dev/urandom: a client asks again. */
	EXPECT("\"open\"", CURL "--retry 20 --retry-all-errors --retry-delay 1 -d x " URL "/api",
	       port);
	unlink(log);
	stop();
}
END_TEST

START_TEST(bad_configurations)
{
	struct https_config good, bad;
	struct sockaddr_storage elsewhere, bound;
	char error[256] = "";
	struct https *https;
	static const char *const prefixes[] = { "", "x", "1.2.3.4/33", "::1/129", "1.2.3.4/",
						"1.2.3.4/-1", "1.2.3.4/8x", "1.2.3/8",
						"192.0.2.10/24" };
	static const char *const paths[] = { "", "/", "api", "/api/" };

	base = event_base_new();
	key_pem = certificate_new_key();
	cert_pem = certificate_self_signed(key_pem);
	good = (struct https_config){ .cert_pem = cert_pem, .key_pem = key_pem, .base = "/a",
				      .api = api };
	for (size_t i = 0; i < sizeof(prefixes) / sizeof(prefixes[0]); i++) {
		bad = good;
		bad.trusted_proxy = prefixes[i];
		ck_assert_ptr_null(https_new(base, &bad, error));
		ck_assert_ptr_nonnull(strstr(error, "trusted_proxy"));
	}
	for (size_t i = 0; i < sizeof(paths) / sizeof(paths[0]); i++) {
		bad = good;
		bad.base = paths[i];
		ck_assert_ptr_null(https_new(base, &bad, error));
		ck_assert_ptr_nonnull(strstr(error, "path"));
	}
	bad = good;
	bad.decoy = "/nonexistent/site";
	ck_assert_ptr_null(https_new(base, &bad, error));
	ck_assert_str_eq(error, "decoy /nonexistent/site: /: No such file or directory");
	bad = good;
	bad.key_pem = "";
	ck_assert_ptr_null(https_new(base, &bad, error));
	https = https_new(base, &good, error);
	ck_assert_ptr_nonnull(https);
	address_parse(&elsewhere, "192.0.2.1", 443);
	ck_assert_int_eq(https_listen(https, &elsewhere, &bound, error), -1);
	ck_assert_str_eq(error, "192.0.2.1:443: listen: Cannot assign requested address");
	https_free(https);
	event_base_free(base);
	free(key_pem);
	free(cert_pem);
}
END_TEST

TEST_MAIN("https", pages, a_folder, the_api, sizes, pins, versions_and_resumption,
	  ticket_keys_are_rotated, two_hundred_at_once, held_requests, pipelining,
	  clients_that_break_off, last_requests, ends_while_it_answers, rubbish,
	  the_oldest_stranger_makes_room, bodies_that_strangers_begin, addresses,
	  out_of_descriptors, bad_configurations)
