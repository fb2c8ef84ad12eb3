/* The public port with a fake fallback, in one process. */
#include <malloc.h>
#include <sys/resource.h>

#include "common/address.h"
#include "common/log.h"
#include "common/mem.h"
#include "pt-server/conn.h"
#include "pt-server/front.h"
#include "tests/harness.h"
#include "tests/sockets.h"

static struct server srv;
static struct front *front;
static evutil_socket_t fallback;
static struct sockaddr_storage bound;

static void
start(void)
{
	struct sockaddr_storage at;
	struct sockaddr_in any = { .sin_family = AF_INET, .sin_addr.s_addr = htonl(INADDR_LOOPBACK) };
	char error[256] = "";

	srv.base = event_base_new();
	srv.sessions = sessions_new(4096, 600);
	srv.budget.max = 64 * 1024 * 1024;
	pad_scheme_init(&srv.pad, (const uint8_t[NOISE_KEY]){ 9 });
	fallback = listen_tcp(&at);
	front = front_new(&srv, (struct sockaddr *)&any, sizeof(any), &at, &bound, error);
	ck_assert_msg(front != NULL, "%s", error);
}

static void
stop(void)
{
	front_free(front);
	while (sessions_any(srv.sessions) != NULL)
		conn_free(sessions_any(srv.sessions));
	sessions_free(srv.sessions);
	event_base_free(srv.base);
	close(fallback);
}

/* A client's connection, and the one that reaches the fallback for it. */
static void
meet(evutil_socket_t *client, evutil_socket_t *far)
{
	*client = connect_tcp(&bound);
	UNTIL(srv.base, (*far = accept4(fallback, NULL, NULL, SOCK_NONBLOCK)) >= 0);
}

static void
part(evutil_socket_t client, evutil_socket_t far)
{
	close(client);
	close(far);
	settle(srv.base);
}

static void
arrives(evutil_socket_t fd, const uint8_t *p, size_t n)
{
	uint8_t *got = mem_alloc(n);

	read_exactly(srv.base, fd, got, n);
	ck_assert_mem_eq(got, p, n);
	free(got);
}

/* A session that is open and has no target, with its direct secret. */
static struct conn *
new_session(void)
{
	struct conn *c = mem_zalloc(sizeof(*c));

	c->srv = &srv;
	c->local.fd = -1;
	c->keyed = true;
	session_init(&c->s, SESSION_SERVER, &srv.budget);
	c->quiet = evtimer_new(srv.base, NULL, NULL);
	c->hold = evtimer_new(srv.base, NULL, NULL);
	c->allow = evtimer_new(srv.base, NULL, NULL);
	mem_random(c->keys.direct, sizeof(c->keys.direct));
	ck_assert(sessions_add(srv.sessions, &c->entry, c, 1));
	sessions_set_epochs(srv.sessions, &c->entry, c->keys.direct, 0);
	return c;
}

/* Writes the hello of an epoch and a second record, with n bytes of the pattern split
 * between them; returns the hello's length, and the length of both in *all. */
static size_t
write_hello(uint8_t *out, const struct conn *c, uint32_t epoch, size_t n, size_t *all)
{
	struct noise_epoch keys;
	struct record_key key = { .n = 0 };
	struct writer w = writer_of(out + RECORD_HEADER + EPOCH_TAG, 1000);
	uint8_t data[600];
	size_t len;

	fill_pattern(data, 0, n);
	noise_epoch(&keys, c->keys.direct, epoch);
	memcpy(key.key, keys.up, sizeof(key.key));
	frame_write(&w, &(struct frame){ .type = FRAME_HELLO, .limit = STREAM_CREDIT_START });
	if (n / 2 > 0)
		frame_write(&w, &(struct frame){ .type = FRAME_DATA, .p = data, .n = n / 2 });
	len = record_seal(&key, out, w.n, keys.tag);
	w = writer_of(out + len + RECORD_HEADER, 1000);
	frame_write(&w, &(struct frame){ .type = FRAME_DATA, .offset = n / 2, .p = data + n / 2,
		.n = n - n / 2 });
	*all = len + record_seal(&key, out + len, w.n, NULL);
	return len;
}

/* The start of a hello that would be authentic; returns its length. */
static size_t
begin_hello(uint8_t out[2048])
{
	size_t all;

	write_hello(out, new_session(), 0, 8, &all);
	return RECORD_HEADER + EPOCH_TAG + 9;
}

/* However they are cut, and however much like a hello: none waits for more. */
START_TEST(strangers_pass_at_once)
{
	uint8_t texts[6][90];
	evutil_socket_t client, far;

	start();
	new_session();
	for (size_t i = 0; i < 6; i++)
		fill_pattern(texts[i], i, sizeof(texts[i]));
	memcpy(texts[0], "\x16\x03\x01\x02\x00\x01\x00\x01\xfc\x03\x03", 11);
	memcpy(texts[1], "GET / HTTP/1.1\r\n", 16);
	memcpy(texts[2], "\x17\x03\x03\x00\x55", 5);
	memcpy(texts[3], "\x17\x03\x03\x04\xb0", 5);
	memcpy(texts[4], "\x17\x03\x03\x00\x20", 5);
	memset(texts[5], 0, sizeof(texts[5]));
	for (size_t i = 0; i < 6; i++) {
		for (size_t cut = 1; cut < sizeof(texts[i]); cut++) {
			meet(&client, &far);
			send_all(srv.base, client, texts[i], cut);
			arrives(far, texts[i], cut);
			send_all(srv.base, client, texts[i] + cut, sizeof(texts[i]) - cut);
			arrives(far, texts[i] + cut, sizeof(texts[i]) - cut);
			send_all(srv.base, far, texts[i], 33);
			arrives(client, texts[i], 33);
			part(client, far);
		}
	}
	stop();
}
END_TEST

/* What is torn before the end of its tag cannot be told from a stranger's, and burns nothing. */
START_TEST(torn_hellos_are_strangers)
{
	uint8_t out[2048];
	evutil_socket_t client, far;
	struct conn *c;
	size_t all, hello;

	start();
	c = new_session();
	hello = write_hello(out, c, 0, 8, &all);
	for (size_t cut = 1; cut < RECORD_HEADER + EPOCH_TAG; cut++) {
		meet(&client, &far);
		send_all(srv.base, client, out, cut);
		arrives(far, out, cut);
		send_all(srv.base, client, out + cut, hello - cut);
		arrives(far, out + cut, hello - cut);
		part(client, far);
	}
	meet(&client, &far);
	send_all(srv.base, client, out, hello);
	UNTIL(srv.base, c->direct != NULL);
	part(client, far);
	stop();
}
END_TEST

/* Waits for the whole hello once its tag is there, then takes it: the fallback hears nothing
 * but an end, and bytes behind the hello are not lost. */
START_TEST(hellos_at_every_split)
{
	uint8_t out[2048], reply[RECORD_HEADER];
	size_t all = 0, n = 100;
	evutil_socket_t client, far;

	start();
	for (size_t cut = RECORD_HEADER + EPOCH_TAG; all == 0 || cut < all; cut++) {
		struct conn *c = new_session();
		size_t hello = write_hello(out, c, 0, n, &all);

		meet(&client, &far);
		send_all(srv.base, client, out, cut);
		settle(srv.base);
		ck_assert_uint_eq(c->s.rx.held.n, cut < hello ? 0 : n / 2);
		if (cut < hello)
			ck_assert(is_silent(srv.base, far));
		send_all(srv.base, client, out + cut, all - cut);
		UNTIL(srv.base, c->s.rx.held.n == n);
		check_pattern(buffer_data(&c->s.rx.held), 0, n);
		ck_assert_int_eq(read_end(srv.base, far), 0);
		/* The ACCEPT comes back. */
		read_exactly(srv.base, client, reply, sizeof(reply));
		ck_assert_mem_eq(reply, "\x17\x03\x03", 3);
		ck_assert_uint_eq(c->s.epoch, 1);
		part(client, far);
		UNTIL(srv.base, c->direct == NULL);
		conn_free(c);
	}
	stop();
}
END_TEST

START_TEST(forged_hellos_are_strangers)
{
	uint8_t out[2048];
	size_t all, hello;
	evutil_socket_t client, far;
	struct conn *c;

	start();
	c = new_session();
	hello = write_hello(out, c, 2, 8, &all);
	for (size_t i = 0; i < hello; i++) {
		out[i] ^= 0x80;
		meet(&client, &far);
		send_all(srv.base, client, out, hello);
		/* A longer length waits for the rest of the record. */
		if (i == 3 || i == 4) {
			uint8_t more[1300] = { 0 };

			ck_assert(i == 3 || is_silent(srv.base, far));
			send_all(srv.base, client, more, sizeof(more));
			arrives(far, out, hello);
			arrives(far, more, sizeof(more));
		} else {
			arrives(far, out, hello);
		}
		part(client, far);
		out[i] ^= 0x80;
		ck_assert_ptr_null(c->direct);
	}
	/* None of them has burnt the epoch. */
	meet(&client, &far);
	send_all(srv.base, client, out, hello);
	UNTIL(srv.base, c->direct != NULL);
	part(client, far);
	UNTIL(srv.base, c->direct == NULL);
	/* But now it is, and so are those before it; later ones are not. */
	for (uint32_t epoch = 0; epoch < 3; epoch++) {
		hello = write_hello(out, c, epoch, 8, &all);
		meet(&client, &far);
		send_all(srv.base, client, out, hello);
		arrives(far, out, hello);
		part(client, far);
	}
	hello = write_hello(out, c, 2 + SESSION_EPOCHS, 8, &all);
	meet(&client, &far);
	send_all(srv.base, client, out, hello);
	UNTIL(srv.base, c->direct != NULL);
	part(client, far);
	hello = write_hello(out, c, 11 + SESSION_EPOCHS, 8, &all);
	meet(&client, &far);
	send_all(srv.base, client, out, hello);
	arrives(far, out, hello);
	part(client, far);
	stop();
}
END_TEST

/* Authentic, but nonsense inside: the connection ends, the session lives. */
START_TEST(hello_with_bad_frames)
{
	uint8_t out[256];
	struct noise_epoch keys;
	struct record_key key = { .n = 0 };
	evutil_socket_t client, far;
	struct conn *c;
	size_t n;

	start();
	c = new_session();
	noise_epoch(&keys, c->keys.direct, 0);
	memcpy(key.key, keys.up, sizeof(key.key));
	memset(out + RECORD_HEADER + EPOCH_TAG, 0xee, 64);
	n = record_seal(&key, out, 64, keys.tag);
	meet(&client, &far);
	send_all(srv.base, client, out, n);
	ck_assert_int_eq(read_end(srv.base, client), 0);
	ck_assert_ptr_null(c->direct);
	ck_assert_uint_eq(sessions_count(srv.sessions), 1);
	ck_assert_int_eq(c->entry.age, AGE_LONG);
	part(client, far);
	stop();
}
END_TEST

START_TEST(newer_hello_replaces_older)
{
	uint8_t out[2048];
	size_t all, n;
	evutil_socket_t client[2], far[2];
	struct conn *c;

	start();
	c = new_session();
	for (uint32_t i = 0; i < 2; i++) {
		meet(&client[i], &far[i]);
		n = write_hello(out, c, i, 100, &all);
		send_all(srv.base, client[i], out, n);
		UNTIL(srv.base, c->s.epoch == i + 1);
		ck_assert_ptr_nonnull(c->direct);
	}
	ck_assert_uint_eq(c->s.rx.held.n, 50);
	read_exactly(srv.base, client[0], out, RECORD_HEADER + c->srv->pad.down[0]);
	ck_assert_int_eq(read_end(srv.base, client[0]), 0);
	/* The session ends under it. */
	conn_free(c);
	read_exactly(srv.base, client[1], out, RECORD_HEADER + srv.pad.down[0]);
	ck_assert_int_eq(read_end(srv.base, client[1]), 0);
	part(client[0], far[0]);
	part(client[1], far[1]);
	stop();
}
END_TEST

START_TEST(fins_are_mirrored)
{
	static const char *const starts[] = { "", "17", "1703030100aabb", "160301", "00", NULL };
	uint8_t p[2048], answer[5000];
	evutil_socket_t client, far;
	unsigned before;

	start();
	fill_pattern(answer, 7, sizeof(answer));
	before = open_descriptors();
	for (size_t i = 0; i < sizeof(starts) / sizeof(starts[0]); i++) {
		size_t n = starts[i] != NULL ? unhex(p, starts[i]) : begin_hello(p);

		/* The client ends first; the answer comes all the same. */
		meet(&client, &far);
		send_all(srv.base, client, p, n);
		shutdown(client, SHUT_WR);
		arrives(far, p, n);
		ck_assert_int_eq(read_end(srv.base, far), 0);
		ck_assert(is_silent(srv.base, client));
		send_all(srv.base, far, answer, sizeof(answer));
		arrives(client, answer, sizeof(answer));
		shutdown(far, SHUT_WR);
		ck_assert_int_eq(read_end(srv.base, client), 0);
		part(client, far);
		ck_assert_uint_eq(open_descriptors(), before);

		/* The fallback ends first, and still listens. */
		meet(&client, &far);
		send_all(srv.base, client, p, n);
		settle(srv.base);
		send_all(srv.base, far, answer, sizeof(answer));
		shutdown(far, SHUT_WR);
		arrives(client, answer, sizeof(answer));
		ck_assert_int_eq(read_end(srv.base, client), 0);
		send_all(srv.base, client, answer, 99);
		arrives(far, p, n);
		arrives(far, answer, 99);
		shutdown(client, SHUT_WR);
		ck_assert_int_eq(read_end(srv.base, far), 0);
		part(client, far);
		ck_assert_uint_eq(open_descriptors(), before);
	}
	stop();
}
END_TEST

START_TEST(resets_are_mirrored)
{
	static const char *const starts[] = { "", "17030301", "160301", NULL };
	uint8_t p[2048], answer[40000];
	evutil_socket_t client, far;
	unsigned before;

	start();
	fill_pattern(answer, 3, sizeof(answer));
	before = open_descriptors();
	for (size_t i = 0; i < sizeof(starts) / sizeof(starts[0]); i++) {
		size_t n = starts[i] != NULL ? unhex(p, starts[i]) : begin_hello(p);

		meet(&client, &far);
		send_all(srv.base, client, p, n);
		settle(srv.base);
		reset_tcp(client);
		if (starts[i] != NULL)
			arrives(far, p, n);
		ck_assert_int_eq(read_end(srv.base, far), ECONNRESET);
		close(far);
		ck_assert_uint_eq(open_descriptors(), before);

		meet(&client, &far);
		send_all(srv.base, client, p, n);
		settle(srv.base);
		reset_tcp(far);
		ck_assert_int_eq(read_end(srv.base, client), ECONNRESET);
		close(client);
		ck_assert_uint_eq(open_descriptors(), before);
	}
	/* What was said before the reset is heard: an error page, an alert. */
	meet(&client, &far);
	send_all(srv.base, client, (const uint8_t *)"x", 1);
	arrives(far, (const uint8_t *)"x", 1);
	send_all(srv.base, far, answer, sizeof(answer));
	reset_tcp(far);
	arrives(client, answer, sizeof(answer));
	ck_assert_int_eq(read_end(srv.base, client), ECONNRESET);
	close(client);
	ck_assert_uint_eq(open_descriptors(), before);
	stop();
}
END_TEST

/* The fallback gives up, as on its own timeouts. */
START_TEST(silent_clients_hear_the_fallback)
{
	uint8_t p[2048];
	evutil_socket_t client, far;

	start();
	for (size_t i = 0; i < 2; i++) {
		size_t n = i == 0 ? 0 : begin_hello(p);

		meet(&client, &far);
		send_all(srv.base, client, p, n);
		ck_assert(is_silent(srv.base, far));
		close(far);
		ck_assert_int_eq(read_end(srv.base, client), 0);
		close(client);
		meet(&client, &far);
		send_all(srv.base, client, p, n);
		settle(srv.base);
		send_all(srv.base, far, (const uint8_t *)"alert", 5);
		shutdown(far, SHUT_WR);
		arrives(client, (const uint8_t *)"alert", 5);
		ck_assert_int_eq(read_end(srv.base, client), 0);
		arrives(far, p, n);
		part(client, far);
	}
	/* It speaks before the verdict, and then waits for an answer. */
	meet(&client, &far);
	send_all(srv.base, far, (const uint8_t *)"220 hi", 6);
	settle(srv.base);
	send_all(srv.base, client, (const uint8_t *)"EHLO", 4);
	arrives(client, (const uint8_t *)"220 hi", 6);
	arrives(far, (const uint8_t *)"EHLO", 4);
	part(client, far);
	stop();
}
END_TEST

/* Sends until it has been refused for a while; returns how much went. */
static size_t
push(evutil_socket_t fd)
{
	static uint8_t chunk[4096];
	size_t sent = 0;

	for (int refused = 0; refused < 50;) {
		fill_pattern(chunk, sent, sizeof(chunk));
		ssize_t w = send(fd, chunk, sizeof(chunk), MSG_NOSIGNAL);

		if (w > 0) {
			sent += (size_t)w;
			refused = 0;
		} else {
			refused++;
		}
		turn(srv.base);
		if (sent > 256u * 1024 * 1024)
			ck_abort_msg("there is no end to it");
	}
	return sent;
}

static void
pull(evutil_socket_t fd, size_t n)
{
	static uint8_t chunk[65536];

	for (size_t got = 0; got < n;) {
		size_t want = n - got < sizeof(chunk) ? n - got : sizeof(chunk);

		read_exactly(srv.base, fd, chunk, want);
		check_pattern(chunk, got, want);
		got += want;
	}
}

/* The heap in use; 0 where the allocator does not tell (sanitizers). */
static size_t
heap(void)
{
	return mallinfo2().uordblks;
}

START_TEST(slow_ends_are_bounded)
{
	evutil_socket_t client, far;
	size_t before, n;

	start();
	meet(&client, &far);
	send_all(srv.base, client, (const uint8_t *)"x", 1);
	arrives(far, (const uint8_t *)"x", 1);
	before = heap();
	n = push(far);
	ck_assert_uint_lt(heap() - before, 512 * 1024);
	pull(client, n);
	n = push(client);
	ck_assert_uint_lt(heap() - before, 512 * 1024);
	pull(far, n);
	/* Both at once, and an end that waits behind all of it. */
	n = push(far);
	shutdown(far, SHUT_WR);
	pull(client, n);
	ck_assert_int_eq(read_end(srv.base, client), 0);
	part(client, far);

	/* Before the verdict. */
	meet(&client, &far);
	before = heap();
	n = push(far);
	ck_assert_uint_lt(heap() - before, 512 * 1024);
	send_all(srv.base, client, (const uint8_t *)"x", 1);
	pull(client, n);
	arrives(far, (const uint8_t *)"x", 1);
	part(client, far);
	stop();
}
END_TEST

START_TEST(peers)
{
	struct sockaddr_storage a, b, from, found;
	socklen_t len = sizeof(a);
	evutil_socket_t client, far, client2, far2;

	start();
	meet(&client, &far);
	meet(&client2, &far2);
	memset(&a, 0, sizeof(a));
	memset(&from, 0, sizeof(from));
	getsockname(client, (struct sockaddr *)&a, &len);
	len = sizeof(from);
	getpeername(far, (struct sockaddr *)&from, &len);
	ck_assert_int_eq(front_peer(front, &from, &found), 0);
	ck_assert(address_equal(&found, &a));
	memset(&b, 0, sizeof(b));
	len = sizeof(b);
	getsockname(client2, (struct sockaddr *)&b, &len);
	ck_assert_int_eq(front_peer(front, &b, &found), -1);
	part(client, far);
	ck_assert_int_eq(front_peer(front, &from, &found), -1);
	part(client2, far2);
	stop();
}
END_TEST

/* To be refused is a reset, for who has spoken and for who has not. */
START_TEST(no_fallback)
{
	evutil_socket_t client;
	unsigned before;

	start();
	before = open_descriptors();
	close(fallback);
	for (int i = 0; i < 4; i++) {
		client = connect_tcp(&bound);
		if (i % 2 == 0)
			send(client, "x", 1, MSG_NOSIGNAL);
		ck_assert_int_eq(read_end(srv.base, client), ECONNRESET);
		close(client);
	}
	ck_assert_uint_eq(open_descriptors(), before - 1);
	fallback = dup(0);
	stop();
}
END_TEST

#define FEW 16

static void
make_known(evutil_socket_t far)
{
	struct sockaddr_storage from = { 0 };
	socklen_t len = sizeof(from);

	ck_assert_int_eq(getpeername(far, (struct sockaddr *)&from, &len), 0);
	front_known(front, &from);
}

/* The one that comes next, and whom it costs the place. */
static void
one_for(evutil_socket_t *client, evutil_socket_t *far)
{
	evutil_socket_t next, next_far;

	meet(&next, &next_far);
	ck_assert_int_eq(read_end(srv.base, *client), 0);
	ck_assert_int_eq(read_end(srv.base, *far), 0);
	part(*client, *far);
	*client = next;
	*far = next_far;
}

/* Guests may be a quarter of the descriptors. Then the oldest goes of whom nothing is known.
 * Whoever leaves makes room, and so does a hello: its session counts elsewhere. */
START_TEST(the_oldest_stranger_makes_room)
{
	struct rlimit before;
	evutil_socket_t client[FEW], far[FEW];
	uint8_t out[2048];
	struct conn *c;
	size_t hello, all;
	unsigned fds;

	getrlimit(RLIMIT_NOFILE, &before);
	ck_assert_int_eq(setrlimit(RLIMIT_NOFILE, &(struct rlimit){ 4 * FEW + 3, before.rlim_max }), 0);
	start();
	ck_assert_int_eq(setrlimit(RLIMIT_NOFILE, &before), 0);
	for (int i = 0; i < FEW; i++)
		meet(&client[i], &far[i]);
	fds = open_descriptors();
	make_known(far[0]);
	make_known(far[2]);
	make_known(far[0]);
	send_all(srv.base, client[1], (const uint8_t *)"GET / HTTP/1.1\r\n", 16);
	arrives(far[1], (const uint8_t *)"GET / HTTP/1.1\r\n", 16);
	one_for(&client[1], &far[1]);
	one_for(&client[3], &far[3]);
	ck_assert_uint_eq(open_descriptors(), fds);

	part(client[1], far[1]);
	meet(&client[1], &far[1]);
	c = new_session();
	hello = write_hello(out, c, 0, 8, &all);
	send_all(srv.base, client[5], out, hello);
	UNTIL(srv.base, c->direct != NULL);
	close(far[5]);
	meet(&client[5], &far[5]);
	for (int i = 0; i < FEW; i++) {
		ck_assert(is_silent(srv.base, far[i]));
		make_known(far[i]);
	}
	/* The one that has been known for the longest. */
	one_for(&client[0], &far[0]);
	one_for(&client[0], &far[0]);
	for (int i = 0; i < FEW; i++)
		part(client[i], far[i]);
	stop();
}
END_TEST

static unsigned n_logged;

static void
count_log(enum log_level level, const char *text)
{
	(void)level;
	(void)text;
	n_logged++;
}

START_TEST(an_accept_that_fails_is_told_once)
{
	evutil_socket_t client, far;
	struct rlimit before;
	int next;

	start();
	log_init(LOG_NOTICE, count_log);
	client = connect_tcp(&bound);
	getrlimit(RLIMIT_NOFILE, &before);
	next = dup(0);
	close(next);
	ck_assert_int_eq(setrlimit(RLIMIT_NOFILE, &(struct rlimit){ (rlim_t)next, before.rlim_max }), 0);
	for (uint64_t end = clock_ms() + 500; clock_ms() < end;)
		turn(srv.base);
	ck_assert_int_eq(setrlimit(RLIMIT_NOFILE, &before), 0);
	ck_assert_uint_eq(n_logged, 1);
	UNTIL(srv.base, (far = accept4(fallback, NULL, NULL, SOCK_NONBLOCK)) >= 0);
	part(client, far);
	stop();
}
END_TEST

START_TEST(ends_with_all_its_splices)
{
	evutil_socket_t client[3], far[3];
	uint8_t hello[2048];

	start();
	for (int i = 0; i < 3; i++)
		meet(&client[i], &far[i]);
	send_all(srv.base, client[1], (const uint8_t *)"x", 1);
	send_all(srv.base, client[2], hello, begin_hello(hello));
	arrives(far[1], (const uint8_t *)"x", 1);
	front_free(front);
	front = NULL;
	for (int i = 0; i < 3; i++) {
		ck_assert_int_eq(read_end(srv.base, client[i]), 0);
		ck_assert_int_eq(read_end(srv.base, far[i]), 0);
		part(client[i], far[i]);
	}
	stop();
}
END_TEST

TEST_MAIN("front", slow_ends_are_bounded, strangers_pass_at_once, torn_hellos_are_strangers, hellos_at_every_split,
    forged_hellos_are_strangers, hello_with_bad_frames,
    newer_hello_replaces_older, fins_are_mirrored, resets_are_mirrored,
    silent_clients_hear_the_fallback, peers, no_fallback,
    the_oldest_stranger_makes_room, an_accept_that_fails_is_told_once, ends_with_all_its_splices)
