/* What the code alone can do, without sockets: sealing and opening by each AEAD provider,
 * and two sessions joined by memory. Part of tests/bench/run.sh. */
#include <stdio.h>
#include <stdlib.h>
#include <time.h>

#include "common/frame.h"
#include "common/mem.h"
#include "common/session.h"

#define RUN_S 0.7
#define SESSION_BYTES (512u << 20)
#define CHUNK 65536

static uint8_t rec[RECORD_MAX], other[RECORD_MAX], chunk[CHUNK];

static double
seconds(void)
{
	struct timespec t;

	clock_gettime(CLOCK_MONOTONIC, &t);
	return (double)t.tv_sec + (double)t.tv_nsec / 1e9;
}

static void
must(bool ok)
{
	if (!ok) {
		fprintf(stderr, "the benchmark does not hold together\n");
		exit(1);
	}
}

/* MB/s of one operation on records with n bytes of text. */
static double
rate(const struct aead_provider *p, size_t n, bool seal)
{
	static const uint8_t key[AEAD_KEY] = { 1 };
	double start = seconds(), took;
	uint64_t count = 0;

	p->seal(key, 0, rec, RECORD_HEADER, chunk, n, other);
	do {
		for (int i = 0; i < 64; i++, count++) {
			if (seal)
				p->seal(key, count, rec, RECORD_HEADER, chunk, n, other);
			else
				must(p->open(key, 0, rec, RECORD_HEADER, other, n + AEAD_TAG, chunk));
		}
		took = seconds() - start;
	} while (took < RUN_S);
	return (double)count * (double)n / took / 1e6;
}

static void
provider(const struct aead_provider *p)
{
	printf("  %-22s %6.0f %10.0f %14.0f %10.0f\n", p->name, rate(p, 16384, true),
	    rate(p, 16384, false), rate(p, 1200, true), rate(p, 1200, false));
}

struct end {
	struct session s;
	struct record_key out, in;
};

/* Moves all records that are due. */
static void
pump(struct end *from, struct end *to)
{
	while (session_direct_wants(&from->s)) {
		struct writer w = writer_of(rec + RECORD_HEADER, RECORD_TEXT_MAX);
		struct reader frames;
		size_t len;

		session_direct_fill(&from->s, &w);
		len = record_seal(&from->out, rec, w.n, NULL);
		must(record_open(&to->in, rec, len - RECORD_HEADER, false, NULL, &frames) == RECORD_OK);
		must(session_direct_frames(&to->s, &frames));
	}
}

static void
session_core(void)
{
	static struct end client, server;
	struct stream_budget budget = { .max = SESSION_BYTES };
	double start = seconds();
	uint64_t taken = 0;
	const uint8_t *p;

	session_init(&client.s, SESSION_CLIENT, &budget);
	session_init(&server.s, SESSION_SERVER, &budget);
	session_direct_start(&client.s);
	session_accept(&server.s, 0);
	while (taken < SESSION_BYTES) {
		size_t n = session_room(&client.s);

		session_put(&client.s, chunk, n < CHUNK ? n : CHUNK);
		pump(&client, &server);
		n = session_peek(&server.s, &p);
		session_take(&server.s, n, (uint64_t)(seconds() * 1000), 1);
		taken += n;
		pump(&server, &client);
	}
	printf("  %-22s %6.0f\n", "sealed by this build", (double)taken / (seconds() - start) / 1e6);
	session_clear(&client.s);
	session_clear(&server.s);
}

int
main(void)
{
	printf("AEAD, MB/s, on one core\n  %-22s %6s %10s %14s %10s\n", "", "seal", "open",
	    "1200 B: seal", "open");
	provider(&aead_wolfssl);
#ifdef HAVE_LIBCRYPTO
	provider(&aead_libcrypto);
#endif
	printf("\nTwo sessions joined by memory, MB/s, both on one core (%s)\n", aead->name);
	session_core();
	return 0;
}
