/* Log lines to stderr, whoever reads it. */
#include "common/log.h"

#include <fcntl.h>
#include <signal.h>
#include <stdio.h>
#include <sys/socket.h>
#include <unistd.h>

#include "tests/harness.h"

static int pair[2], old_stderr;

/* Makes fd 2 the writing end. It blocks, as a service manager's does. */
static void
capture(void)
{
	old_stderr = dup(STDERR_FILENO);
	ck_assert_int_eq(dup2(pair[1], STDERR_FILENO), STDERR_FILENO);
	log_init(LOG_NOTICE, NULL);
}

static void
release(void)
{
	dup2(old_stderr, STDERR_FILENO);
	close(old_stderr);
	close(pair[0]);
	close(pair[1]);
}

/* Takes all that the pair has room for; the flag is away again afterwards. */
static void
fill(void)
{
	static const char line[] = "nobody reads this\n";

	ck_assert_int_eq(fcntl(pair[1], F_SETFL, O_NONBLOCK), 0);
	while (write(pair[1], line, sizeof(line) - 1) > 0)
		continue;
	while (write(pair[1], line, 1) > 0)
		continue;
	ck_assert_int_eq(fcntl(pair[1], F_SETFL, 0), 0);
}

static void
drain(void)
{
	char buf[4096];

	ck_assert_int_eq(fcntl(pair[0], F_SETFL, O_NONBLOCK), 0);
	while (read(pair[0], buf, sizeof(buf)) > 0)
		continue;
}

static void
check_line(const char *want)
{
	char text[256];
	ssize_t n = read(pair[0], text, sizeof(text) - 1);

	text[n > 0 ? n : 0] = '\0';
	ck_assert_str_eq(text, want);
}

/* One that blocks is ended by Check's own time-out. */
static void
check_full(void)
{
	capture();
	fill();
	for (int i = 0; i < 100; i++)
		log_error("line %d", i);
	drain();
	log_error("read again");
	check_line("sultry: error: read again\n");
	release();
}

START_TEST(a_full_pipe_stops_nobody)
{
	ck_assert_int_eq(pipe(pair), 0);
	check_full();
}
END_TEST

START_TEST(a_full_socket_stops_nobody)
{
	ck_assert_int_eq(socketpair(AF_UNIX, SOCK_STREAM, 0, pair), 0);
	check_full();
}
END_TEST

START_TEST(a_reader_that_is_gone_stops_nobody)
{
	signal(SIGPIPE, SIG_IGN); /* as process_start does */
	ck_assert_int_eq(pipe(pair), 0);
	capture();
	close(pair[0]);
	log_error("to nobody");
	release();
}
END_TEST

START_TEST(lines_above_the_level_are_dropped)
{
	ck_assert_int_eq(pipe(pair), 0);
	capture();
	log_info("too much detail");
	log_notice("%s", "said");
	check_line("sultry: notice: said\n");
	release();
}
END_TEST

TEST_MAIN("log", a_full_pipe_stops_nobody, a_full_socket_stops_nobody,
	  a_reader_that_is_gone_stops_nobody, lines_above_the_level_are_dropped)
