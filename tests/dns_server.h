/* A DNS server of the tests' own, over UDP on loopback, in the tests' event loop. What it says
 * about a name is a row of a table. */
#ifndef SULTRY_TESTS_DNS_SERVER_H
#define SULTRY_TESTS_DNS_SERVER_H

#include <arpa/inet.h>
#include <event2/event.h>
#include <stdio.h>
#include <strings.h>
#include <sys/queue.h>
#include <unistd.h>

#include "common/bytes.h"
#include "common/mem.h"
#include "tests/harness.h"

enum dns_say {
	SAY_ANSWER,    /* the addresses of the row; none: NOERROR without data */
	SAY_NXDOMAIN,
	SAY_SERVFAIL,
	SAY_NOTHING,
	SAY_TRUNCATED, /* the bit is set, and half of the last record is missing */
	SAY_WRONG_ID,  /* an answer to another query, and no other */
	SAY_WRONG_ID_FIRST, /* a forged one comes before the true one */
	SAY_CNAME,     /* a chain of three names in front of the addresses */
	SAY_GARBAGE,
};

struct dns_row {
	const char *name;      /* NULL ends the table */
	enum dns_say v4, v6;
	const char *a, *aaaa;  /* separated by spaces, or NULL */
	unsigned ttl;
	unsigned v6_late_ms;   /* the AAAA answer comes that much later */
	unsigned v4_late_ms;
};

struct dns_server {
	struct event_base *base;
	const struct dns_row *rows;
	evutil_socket_t fd;
	struct sockaddr_storage at;
	struct event *readable;
	LIST_HEAD(, dns_late) late; /* answers to come */
	unsigned queries; /* seen in all */
};

struct dns_late {
	LIST_ENTRY(dns_late) link;
	struct dns_server *s;
	struct event *due;
	uint8_t out[2048];
	size_t n;
	struct sockaddr_storage to;
};

static inline void
dns_put_name(struct writer *w, const char *name)
{
	while (*name != '\0') {
		size_t n = strcspn(name, ".");

		writer_u8(w, (uint8_t)n);
		writer_bytes(w, name, n);
		name += n + (name[n] == '.');
	}
	writer_u8(w, 0);
}

static inline void
dns_put_record(struct writer *w, const char *owner, uint16_t type, unsigned ttl, const void *data,
    size_t n)
{
	if (owner == NULL)
		writer_u16(w, 0xc00c); /* the question's name */
	else
		dns_put_name(w, owner);
	writer_u16(w, type);
	writer_u16(w, 1);
	writer_u32(w, ttl);
	writer_u16(w, (uint16_t)n);
	writer_bytes(w, data, n);
}

/* Appends the addresses; returns their number. */
static inline uint16_t
dns_put_addresses(struct writer *w, const char *owner, bool v6, const char *list, unsigned ttl)
{
	char copy[1024], *save = NULL;
	uint16_t n = 0;

	snprintf(copy, sizeof(copy), "%s", list == NULL ? "" : list);
	for (char *t = strtok_r(copy, " ", &save); t != NULL; t = strtok_r(NULL, " ", &save), n++) {
		uint8_t ip[16];

		ck_assert_int_eq(inet_pton(v6 ? AF_INET6 : AF_INET, t, ip), 1);
		dns_put_record(w, owner, v6 ? 28 : 1, ttl, ip, v6 ? 16 : 4);
	}
	return n;
}

static inline uint16_t
dns_put_chain(struct writer *w, unsigned ttl)
{
	static const char *const names[] = { NULL, "one.example", "two.example", "three.example" };

	for (size_t i = 0; i < 3; i++) {
		uint8_t target[64];
		struct writer t = writer_of(target, sizeof(target));

		dns_put_name(&t, names[i + 1]);
		dns_put_record(w, names[i], 5, ttl, target, t.n);
	}
	return 3;
}

static inline size_t
dns_reply(const struct dns_row *row, bool v6, const uint8_t *q, size_t question_n, uint8_t out[2048])
{
	enum dns_say say = row == NULL ? SAY_NXDOMAIN : v6 ? row->v6 : row->v4;
	struct writer w = writer_of(out, 2048);
	uint16_t n = 0, flags = 0x8180;

	if (say == SAY_NXDOMAIN)
		flags |= 3;
	else if (say == SAY_SERVFAIL)
		flags |= 2;
	else if (say == SAY_TRUNCATED)
		flags |= 0x0200;
	writer_bytes(&w, q, 2);
	writer_u16(&w, flags);
	writer_u16(&w, 1);
	writer_u16(&w, 0);
	writer_u32(&w, 0);
	writer_bytes(&w, q + 12, question_n);
	if (say == SAY_CNAME)
		n = dns_put_chain(&w, row->ttl + 5);
	if (say != SAY_NXDOMAIN && say != SAY_SERVFAIL)
		n = (uint16_t)(n + dns_put_addresses(&w, say == SAY_CNAME ? "three.example" : NULL, v6,
		    v6 ? row->aaaa : row->a, row->ttl));
	out[7] = (uint8_t)n;
	if (say == SAY_WRONG_ID)
		out[0] ^= 0x55;
	if (say == SAY_TRUNCATED)
		w.n -= v6 ? 8 : 2;
	if (say == SAY_GARBAGE)
		memset(out + 12, 0xff, w.n - 12);
	return w.n;
}

static inline void
dns_drop_late(struct dns_late *l)
{
	LIST_REMOVE(l, link);
	event_free(l->due);
	free(l);
}

static inline void
dns_send_late(evutil_socket_t fd, short what, void *arg)
{
	struct dns_late *l = arg;

	(void)fd;
	(void)what;
	sendto(l->s->fd, l->out, l->n, 0, (struct sockaddr *)&l->to, sizeof(l->to));
	dns_drop_late(l);
}

static inline void
dns_send(struct dns_server *s, const uint8_t *out, size_t n, const struct sockaddr_storage *to,
    unsigned late_ms)
{
	struct dns_late *l;

	if (late_ms == 0) {
		sendto(s->fd, out, n, 0, (const struct sockaddr *)to, sizeof(*to));
		return;
	}
	l = mem_zalloc(sizeof(*l));
	l->s = s;
	memcpy(l->out, out, n);
	l->n = n;
	l->to = *to;
	l->due = evtimer_new(s->base, dns_send_late, l);
	event_add(l->due, &(struct timeval){ .tv_sec = late_ms / 1000, .tv_usec = late_ms % 1000 * 1000 });
	LIST_INSERT_HEAD(&s->late, l, link);
}

static inline void
dns_on_query(evutil_socket_t fd, short what, void *arg)
{
	struct dns_server *s = arg;
	struct sockaddr_storage from = { 0 };
	socklen_t len = sizeof(from);
	uint8_t q[512], out[2048], label;
	ssize_t got = recvfrom(fd, q, sizeof(q), 0, (struct sockaddr *)&from, &len);
	struct reader r, part;
	char name[256] = "";
	uint16_t type = 0;
	size_t n;
	const struct dns_row *row;

	(void)what;
	if (got < 12)
		return;
	r = reader_of(q + 12, (size_t)got - 12);
	while (reader_u8(&r, &label) && label > 0 && reader_sub(&r, &part, label)) {
		if (name[0] != '\0')
			strcat(name, ".");
		strncat(name, (const char *)part.p, part.n);
	}
	if (!reader_u16(&r, &type) || !reader_skip(&r, 2))
		return;
	s->queries++;
	for (row = s->rows; row->name != NULL && strcasecmp(row->name, name) != 0; row++)
		;
	if (row->name == NULL)
		row = NULL;
	if (row != NULL && (type == 28 ? row->v6 : row->v4) == SAY_NOTHING)
		return;
	n = dns_reply(row, type == 28, q, (size_t)got - 12 - r.n, out);
	if (row != NULL && (type == 28 ? row->v6 : row->v4) == SAY_WRONG_ID_FIRST) {
		uint8_t forged[2048];

		memcpy(forged, out, n);
		forged[1] ^= 1;
		memset(forged + n - 4, 6, 4); /* another address */
		dns_send(s, forged, n, &from, 0);
	}
	dns_send(s, out, n, &from, row == NULL ? 0 : type == 28 ? row->v6_late_ms : row->v4_late_ms);
}

static inline void
dns_start_at(struct dns_server *s, struct event_base *base, const struct dns_row *rows, uint16_t port)
{
	struct sockaddr_in any = { .sin_family = AF_INET, .sin_port = htons(port),
		.sin_addr.s_addr = htonl(INADDR_LOOPBACK) };
	socklen_t len = sizeof(s->at);

	*s = (struct dns_server){ .base = base, .rows = rows };
	LIST_INIT(&s->late);
	s->fd = socket(AF_INET, SOCK_DGRAM | SOCK_NONBLOCK, 0);
	ck_assert_int_eq(bind(s->fd, (struct sockaddr *)&any, sizeof(any)), 0);
	ck_assert_int_eq(getsockname(s->fd, (struct sockaddr *)&s->at, &len), 0);
	s->readable = event_new(base, s->fd, EV_READ | EV_PERSIST, dns_on_query, s);
	event_add(s->readable, NULL);
}

static inline void
dns_start(struct dns_server *s, struct event_base *base, const struct dns_row *rows)
{
	dns_start_at(s, base, rows, 0);
}

static inline void
dns_stop(struct dns_server *s)
{
	while (!LIST_EMPTY(&s->late))
		dns_drop_late(LIST_FIRST(&s->late));
	event_free(s->readable);
	close(s->fd);
}

#endif
