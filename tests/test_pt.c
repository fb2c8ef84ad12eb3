/* What we say to a PT parent. The numbers in names are items of PT-CHECKLIST.md. */
#include "common/pt.h"

#include <errno.h>
#include <fcntl.h>
#include <netinet/in.h>
#include <signal.h>
#include <stdio.h>
#include <sys/resource.h>
#include <sys/socket.h>
#include <sys/time.h>
#include <sys/wait.h>
#include <unistd.h>

#include "common/mem.h"
#include "tests/harness.h"

static int reader, old_stdout;

/* Makes fd 1 the writing end of a pair. */
static void
capture(const int pair[2])
{
	reader = pair[0];
	old_stdout = dup(STDOUT_FILENO);
	ck_assert_int_eq(dup2(pair[1], STDOUT_FILENO), STDOUT_FILENO);
	close(pair[1]);
	ck_assert_int_eq(fcntl(reader, F_SETFL, O_NONBLOCK), 0);
}

/* A pipe that keeps writes apart: a read returns one write. */
static void
capture_packets(void)
{
	int pair[2];

	ck_assert_int_eq(pipe2(pair, O_DIRECT), 0);
	capture(pair);
}

static void
capture_end(void)
{
	dup2(old_stdout, STDOUT_FILENO);
	close(old_stdout);
	close(reader);
}

/* The next write to fd 1, "" if there was none. */
static const char *
next_write(void)
{
	static char text[PT_LINE_MAX + 1];
	ssize_t n = read(reader, text, PT_LINE_MAX);

	text[n > 0 ? n : 0] = '\0';
	return text;
}

START_TEST(line_is_one_write_6)
{
	capture_packets();
	ck_assert(pt_line("VERSION", "%d", 1));
	ck_assert(pt_line("CMETHOD", "%s socks5 %s", "sultry", "127.0.0.1:1"));
	ck_assert(pt_line("CMETHODS", "DONE"));
	ck_assert_str_eq(next_write(), "VERSION 1\n");
	ck_assert_str_eq(next_write(), "CMETHOD sultry socks5 127.0.0.1:1\n");
	ck_assert_str_eq(next_write(), "CMETHODS DONE\n");
	ck_assert_str_eq(next_write(), "");
	capture_end();
}
END_TEST

START_TEST(line_is_one_write_to_a_socket_6)
{
	int pair[2];

	ck_assert_int_eq(socketpair(AF_UNIX, SOCK_SEQPACKET, 0, pair), 0);
	capture(pair);
	ck_assert(pt_line("SMETHODS", "DONE"));
	ck_assert(pt_line("LOG", "x"));
	ck_assert_str_eq(next_write(), "SMETHODS DONE\n");
	ck_assert_str_eq(next_write(), "LOG x\n");
	capture_end();
}
END_TEST

START_TEST(line_bytes_and_spaces_5_6)
{
	capture_packets();
	pt_line("SMETHOD", "sultry %s %s", "1.2.3.4:5", "");
	ck_assert_str_eq(next_write(), "SMETHOD sultry 1.2.3.4:5\n");
	pt_line("SMETHOD", "  a%sb   c  ", "  ");
	ck_assert_str_eq(next_write(), "SMETHOD a b c\n");
	pt_line("ENV-ERROR", "%s", "");
	ck_assert_str_eq(next_write(), "ENV-ERROR\n");
	pt_line("ENV-ERROR", "a\nVERSION 1\r\t\x01\x7f\xc3\xa9~");
	ck_assert_str_eq(next_write(), "ENV-ERROR a?VERSION 1??????~\n");
	capture_end();
}
END_TEST

START_TEST(line_is_cut_at_4096_6)
{
	char text[PT_LINE_MAX * 2];
	const char *line;

	memset(text, 'x', sizeof(text));
	text[sizeof(text) - 1] = '\0';
	capture_packets();
	ck_assert(pt_line("ENV-ERROR", "%s", text));
	line = next_write();
	ck_assert_uint_eq(strlen(line), PT_LINE_MAX);
	ck_assert_str_eq(line + PT_LINE_MAX - 2, "x\n");
	ck_assert_str_eq(next_write(), "");
	capture_end();
}
END_TEST

START_TEST(line_keyword_is_exact_9)
{
	static const char *const foreign[] = { "CMETHODX", "SMETHODSDONE", "cmethod", "" };

	for (size_t i = 0; i < sizeof(foreign) / sizeof(foreign[0]); i++) {
		int status;
		pid_t pid = fork();

		if (pid == 0) {
			signal(SIGABRT, SIG_DFL);
			close(STDERR_FILENO);
			pt_line(foreign[i], "DONE");
			_exit(0);
		}
		ck_assert_int_eq(waitpid(pid, &status, 0), pid);
		ck_assert(WIFSIGNALED(status) && WTERMSIG(status) == SIGABRT);
	}
}
END_TEST

/* Fills the pipe behind fd 1 to the last byte, with '.'. */
static void
fill_stdout(void)
{
	int flags = fcntl(STDOUT_FILENO, F_GETFL);
	char dots[4096];

	memset(dots, '.', sizeof(dots));
	ck_assert_int_eq(fcntl(STDOUT_FILENO, F_SETFL, flags | O_NONBLOCK), 0);
	for (size_t n = sizeof(dots); n > 0;)
		if (write(STDOUT_FILENO, dots, n) < 0)
			n /= 2;
	ck_assert_int_eq(fcntl(STDOUT_FILENO, F_SETFL, flags), 0);
}

static void
drain_reader(void)
{
	char dots[4096];

	while (read(reader, dots, sizeof(dots)) > 0)
		continue;
}

static void
on_alarm(int sig)
{
	int err = errno;

	(void)sig;
	drain_reader();
	errno = err;
}

/* A parent that does not read must neither hang us nor see half a line. */
START_TEST(line_never_blocks_7)
{
	int pair[2], flags;

	for (int nonblock = 0; nonblock < 2; nonblock++) {
		ck_assert_int_eq(pipe2(pair, nonblock ? O_NONBLOCK : 0), 0);
		capture(pair);
		flags = fcntl(STDOUT_FILENO, F_GETFL);
		fill_stdout();
		ck_assert(!pt_line("LOG", "SEVERITY=notice MESSAGE=\"lost\""));
		ck_assert(!pt_status("sultry", "version", NULL));
		ck_assert(!pt_line("CMETHODS", "DONE")); /* after its second */
		drain_reader();
		ck_assert(pt_line("LOG", "SEVERITY=notice MESSAGE=\"kept\""));
		ck_assert_str_eq(next_write(), "LOG SEVERITY=notice MESSAGE=\"kept\"\n");
		ck_assert_int_eq(fcntl(STDOUT_FILENO, F_GETFL), flags);
		capture_end();
	}
}
END_TEST

START_TEST(protocol_line_waits_for_room_7)
{
	struct itimerval soon = { .it_value = { .tv_usec = 20000 } };
	struct sigaction act = { .sa_handler = on_alarm };
	int pair[2];

	ck_assert_int_eq(pipe(pair), 0);
	capture(pair);
	fill_stdout();
	ck_assert_int_eq(sigaction(SIGALRM, &act, NULL), 0);
	ck_assert_int_eq(setitimer(ITIMER_REAL, &soon, NULL), 0);
	ck_assert(pt_line("CMETHODS", "DONE"));
	ck_assert_str_eq(next_write(), "CMETHODS DONE\n");
	capture_end();
}
END_TEST

START_TEST(line_survives_a_parent_that_left_7)
{
	int pair[2];

	signal(SIGPIPE, SIG_DFL);
	ck_assert_int_eq(pipe(pair), 0);
	capture(pair);
	close(reader);
	ck_assert(!pt_line("VERSION", "1"));
	ck_assert(!pt_line("LOG", "x"));
	ck_assert_int_eq(close(STDOUT_FILENO), 0);
	ck_assert(!pt_line("VERSION", "1")); /* EBADF */
	ck_assert_int_eq(socketpair(AF_UNIX, SOCK_STREAM, 0, pair), 0);
	if (pair[1] != STDOUT_FILENO)
		ck_assert_int_eq(dup2(pair[1], STDOUT_FILENO), STDOUT_FILENO);
	close(pair[0]);
	ck_assert(!pt_line("VERSION", "1"));
	dup2(old_stdout, STDOUT_FILENO);
}
END_TEST

/* A file that takes only the first bytes of a line, as a full disk does. */
START_TEST(line_taken_in_part_is_finished_first_6)
{
	struct rlimit old, low;
	FILE *f = tmpfile();
	char got[256] = "";
	bool first, second, third;

	ck_assert_ptr_nonnull(f);
	signal(SIGXFSZ, SIG_IGN);
	old_stdout = dup(STDOUT_FILENO);
	ck_assert_int_eq(dup2(fileno(f), STDOUT_FILENO), STDOUT_FILENO);
	ck_assert_int_eq(getrlimit(RLIMIT_FSIZE, &old), 0);
	low = (struct rlimit){ .rlim_cur = 20, .rlim_max = old.rlim_max };
	/* No assertion until the limit is lifted: Check itself writes to a file. */
	setrlimit(RLIMIT_FSIZE, &low);
	first = pt_line("LOG", "the first of the lines");
	second = pt_line("LOG", "the second, lost");
	setrlimit(RLIMIT_FSIZE, &old);
	third = pt_line("SMETHODS", "DONE");
	ck_assert(!first && !second && third);
	ck_assert_int_gt(pread(fileno(f), got, sizeof(got) - 1, 0), 0);
	ck_assert_str_eq(got, "LOG the first of the lines\nSMETHODS DONE\n");
	dup2(old_stdout, STDOUT_FILENO);
	fclose(f);
}
END_TEST

START_TEST(quote_71_72)
{
	static const char *const good[][2] = {
		{ "", "" },
		{ "plain text ~!", "plain text ~!" },
		{ "say \"hi\" \\ there", "say \\\"hi\\\" \\\\ there" },
		{ "a\nb\rc\td", "a\\nb\\rc\\td" },
		{ "\x01\x1f\x7f\x80\xff", "?????" },
		{ "caf\xc3\xa9", "caf??" },
	};
	static const char all[] = "a\"b\\c\n\xff";
	char out[64];

	for (size_t i = 0; i < sizeof(good) / sizeof(good[0]); i++) {
		ck_assert_uint_eq(pt_quote(out, sizeof(out), good[i][0]), strlen(good[i][1]));
		ck_assert_str_eq(out, good[i][1]);
	}
	/* Never half an escape. */
	for (size_t cap = 1; cap < 12; cap++) {
		static const size_t len[] = { 0, 0, 1, 1, 3, 4, 4, 6, 7, 7, 9, 10 };
		char *exact = mem_alloc(cap);

		ck_assert_uint_eq(pt_quote(exact, cap, all), len[cap]);
		ck_assert_int_eq(strncmp(exact, "a\\\"b\\\\c\\n?", len[cap]), 0);
		free(exact);
	}
}
END_TEST

START_TEST(log_lines_71_72)
{
	char text[PT_LINE_MAX * 2];
	const char *line;

	capture_packets();
	log_init(LOG_DEBUG, pt_log);
	log_error("e %d", 1);
	log_warning("\"w\"\n");
	log_notice("n");
	log_info("i");
	log_debug("d");
	ck_assert_str_eq(next_write(), "LOG SEVERITY=error MESSAGE=\"e 1\"\n");
	ck_assert_str_eq(next_write(), "LOG SEVERITY=warning MESSAGE=\"\\\"w\\\"\\n\"\n");
	ck_assert_str_eq(next_write(), "LOG SEVERITY=notice MESSAGE=\"n\"\n");
	ck_assert_str_eq(next_write(), "LOG SEVERITY=info MESSAGE=\"i\"\n");
	ck_assert_str_eq(next_write(), "LOG SEVERITY=debug MESSAGE=\"d\"\n");
	pt_log(LOG_NOTICE, "");
	ck_assert_str_eq(next_write(), "LOG SEVERITY=notice MESSAGE=\"\"\n");
	memset(text, '"', sizeof(text));
	text[sizeof(text) - 1] = '\0';
	pt_log(LOG_WARNING, text);
	line = next_write();
	ck_assert_uint_le(strlen(line), PT_LINE_MAX);
	ck_assert_str_eq(line + strlen(line) - 4, "\\\"\"\n"); /* closed behind a whole escape */
	capture_end();
}
END_TEST

START_TEST(status_lines_73_74)
{
	char big[512];

	capture_packets();
	ck_assert(pt_status("sultry", "version", "IMPLEMENTATION", "sultry", "VERSION", "1.2.3", NULL));
	ck_assert_str_eq(next_write(), "STATUS TRANSPORT=sultry TYPE=version "
	    "IMPLEMENTATION=\"sultry\" VERSION=\"1.2.3\"\n");
	ck_assert(pt_status("sultry", "error", "MESSAGE", "no \"way\"", "EMPTY", "", NULL));
	ck_assert_str_eq(next_write(), "STATUS TRANSPORT=sultry TYPE=error "
	    "MESSAGE=\"no_\\\"way\\\"\" EMPTY=\"\"\n");
	memset(big, 'x', sizeof(big));
	big[sizeof(big) - 1] = '\0';
	/* Too much for a line: nothing, rather than an open quote. */
	ck_assert(!pt_status("sultry", "x", "A", big, "B", big, "C", big, "D", big, "E", big,
	    "F", big, "G", big, "H", big, NULL));
	ck_assert_str_eq(next_write(), "");
	capture_end();
}
END_TEST

START_TEST(hello_lines_11_13_14_30_32)
{
	struct pt_env env = { .client = true };

	capture_packets();
	ck_assert_int_eq(pt_hello(&env, PT_VERSION_ERROR, "no-version"), 78);
	ck_assert_str_eq(next_write(), "VERSION-ERROR no-version\n");
	ck_assert_int_eq(pt_hello(&env, PT_ENV_ERROR, "bad\nthing"), 64);
	ck_assert_str_eq(next_write(), "ENV-ERROR bad?thing\n");
	ck_assert_int_eq(pt_hello(&env, PT_PROXY_ERROR, "what %s"), 69);
	ck_assert_str_eq(next_write(), "VERSION 1\n");
	ck_assert_str_eq(next_write(), "PROXY-ERROR what %s\n");
	ck_assert_int_eq(pt_hello(&env, PT_OK, ""), 0);
	ck_assert_str_eq(next_write(), "VERSION 1\n");
	ck_assert_str_eq(next_write(), "");
	env.out.proxy = PROXY_SOCKS5;
	ck_assert_int_eq(pt_hello(&env, PT_OK, ""), 0);
	ck_assert_str_eq(next_write(), "VERSION 1\n");
	ck_assert_str_eq(next_write(), "PROXY DONE\n");
	ck_assert_str_eq(next_write(), "");
	capture_end();
}
END_TEST

TEST_MAIN("pt", line_is_one_write_6, line_is_one_write_to_a_socket_6, line_bytes_and_spaces_5_6,
    line_is_cut_at_4096_6, line_keyword_is_exact_9, line_never_blocks_7,
    protocol_line_waits_for_room_7, line_survives_a_parent_that_left_7,
    line_taken_in_part_is_finished_first_6, quote_71_72, log_lines_71_72, status_lines_73_74,
    hello_lines_11_13_14_30_32)
