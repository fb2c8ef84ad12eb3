/* An app's first steps, before its bridge has said anything. */
#include "common/mem.h"
#include "pt-client/app_internal.h"
#include "pt-client/http_proxy.h"
#include "tests/harness.h"
#include "tests/sockets.h"

#define KEY "CQAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAA"

static struct client cl;
static struct bridge *bridge;
static evutil_socket_t silent, far; /* the bridge, which only listens; the app */

static void
start(size_t budget)
{
	struct sockaddr_storage at;
	struct pt_args args = { 0 };
	char error[256] = "";

	memset(&cl, 0, sizeof(cl));
	cl.base = event_base_new();
	cl.oob = oob_new(cl.base, &cl.outbound);
	cl.budget.max = budget;
	silent = listen_tcp(&at);
	pt_args_add(&args, "key", KEY);
	bridge = bridge_get(&cl, &at, &args, error);
	ck_assert_msg(bridge != NULL, "%s", error);
	pt_args_clear(&args);
}

static void
stop(void)
{
	app_end_all(&cl);
	bridge_sweep(&cl, 1, true);
	oob_free(cl.oob);
	event_base_free(cl.base);
	ck_assert(cl.budget.held == 0 && cl.budget.given == 0);
	close(silent);
	close(far);
}

/* A plain HTTP request, whose head and body are the first n bytes of the pattern, and `more`
 * of the body to come. */
static struct app *
request(size_t n, size_t more)
{
	evutil_socket_t fd[2];
	struct request req = { .kind = REQUEST_HTTP, .host = "www.example.com", .port = 80, .n = n };
	uint8_t *early = mem_alloc(n);

	pair_tcp(fd);
	far = fd[0];
	req.fd = fd[1];
	fill_pattern(early, 0, n);
	req.early = early;
	http_body_init(&req.body, false, more);
	app_start(&cl, bridge, &req, "", NULL, NULL);
	free(early);
	return LIST_FIRST(&cl.apps);
}

/* The bridge takes what there is, until it has n bytes. */
static void
take_all(struct app *a, size_t n)
{
	uint64_t end = clock_ms() + DEADLINE_MS;

	while (stream_tx_end(&a->s.tx) < n || a->s.tx.held.n > 0) {
		if (a->s.tx.held.n > 0)
			check_pattern(buffer_data(&a->s.tx.held), a->s.tx.base, a->s.tx.held.n);
		ck_assert(stream_tx_ack(&a->s.tx, stream_tx_end(&a->s.tx), STREAM_CREDIT_START));
		app_pump(a);
		turn(cl.base);
		ck_assert(clock_ms() < end);
	}
	settle(cl.base);
	ck_assert_uint_eq(stream_tx_end(&a->s.tx), n);
}

/* The longest request that can be is more than what a stream may hold over budget: it goes
 * on in order as there is room, and what comes on the socket goes behind it. */
START_TEST(long_request_over_budget)
{
	size_t n = HTTP_PROXY_HEAD_MAX + 2000, more = 5000;
	uint8_t *rest = mem_alloc(more);

	fill_pattern(rest, n, more);
	for (unsigned warm = 0; warm < 2; warm++) {
		struct app *a;

		start(0);
		if (warm == 1)
			bridge_authentic(bridge, local_now());
		a = request(n, more);
		send_all(cl.base, far, rest, more);
		settle(cl.base);
		ck_assert_int_eq(a->state, APP_OPENING);
		ck_assert((a->s.tx.held.n > 0) == (warm == 1));
		if (warm == 0)
			app_accept(a);
		app_pump(a);
		take_all(a, n + more);
		stop();
	}
	free(rest);
}
END_TEST

/* Within the budget all of it is there for the open to take along. */
START_TEST(early_goes_at_once)
{
	struct app *a;

	start(STREAM_CREDIT_MAX);
	bridge_authentic(bridge, local_now());
	a = request(3000, 0);
	ck_assert_int_eq(a->state, APP_OPENING);
	ck_assert_uint_eq(a->s.tx.held.n, 3000);
	check_pattern(buffer_data(&a->s.tx.held), 0, 3000);
	stop();
}
END_TEST

/* What the app says behind its request stays out of the session. */
START_TEST(one_request)
{
	struct app *a;

	start(STREAM_CREDIT_MAX);
	bridge_authentic(bridge, local_now());
	a = request(100, 5);
	send_all(cl.base, far, (const uint8_t *)"12345GET", 8);
	UNTIL(cl.base, a->local.fd < 0);
	ck_assert_uint_eq(a->s.tx.held.n, 105);
	ck_assert_mem_eq(buffer_data(&a->s.tx.held) + 100, "12345", 5);
	ck_assert_int_eq(a->s.close_out, CLOSE_RESET);
	ck_assert_int_eq(read_end(cl.base, far), ECONNRESET);
	stop();
}
END_TEST

/* And the app is told so by the answer. */
START_TEST(told_to_close)
{
	static const char answer[] = "HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nok";
	static const char want[] = "HTTP/1.1 200 OK\r\nContent-Length: 2\r\nConnection: close\r\n\r\nok";
	uint8_t got[sizeof(want)];
	struct app *a;

	start(STREAM_CREDIT_MAX);
	bridge_authentic(bridge, local_now());
	a = request(100, 0);
	ck_assert_int_eq(session_receive(&a->s, 0, (const uint8_t *)answer, strlen(answer)),
	    STREAM_OK);
	app_pump(a);
	read_exactly(cl.base, far, got, strlen(want));
	ck_assert_mem_eq(got, want, strlen(want));
	ck_assert(is_silent(cl.base, far));
	stop();
}
END_TEST

TEST_MAIN("app", long_request_over_budget, early_goes_at_once, one_request, told_to_close)
