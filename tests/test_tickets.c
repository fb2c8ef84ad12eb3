#include "common/tickets.h"

#include <stdbool.h>
#include <string.h>

#include "common/mem.h"
#include "tests/harness.h"

#define TEXT "the secret of a session, as long as it likes"
#define N sizeof(TEXT)

struct ticket {
	struct ticket_head head;
	uint8_t body[N + TICKET_OVERHEAD];
};

static struct ticket
seal(const struct tickets *keys)
{
	struct ticket t = { .body = TEXT };

	tickets_seal(keys, &t.head, t.body, N);
	ck_assert(memmem(t.body, sizeof(t.body), "secret", 6) == NULL);
	return t;
}

/* Opens a copy. */
static enum ticket_result
open_copy(const struct tickets *keys, struct ticket t)
{
	enum ticket_result r = tickets_open(keys, &t.head, t.body, sizeof(t.body));

	ck_assert(r == TICKET_BAD || memcmp(t.body, TEXT, N) == 0);
	return r;
}

START_TEST(test_rotation)
{
	struct tickets keys;
	struct ticket first, second;

	tickets_init(&keys);
	first = seal(&keys);
	ck_assert_int_eq(open_copy(&keys, first), TICKET_OK);
	tickets_rotate(&keys);
	second = seal(&keys);
	ck_assert_int_eq(open_copy(&keys, first), TICKET_OLD);
	ck_assert_int_eq(open_copy(&keys, second), TICKET_OK);
	tickets_rotate(&keys);
	ck_assert_int_eq(open_copy(&keys, first), TICKET_BAD);
	ck_assert_int_eq(open_copy(&keys, second), TICKET_OLD);
	tickets_clear(&keys);
}
END_TEST

/* Forward secrecy: what opens a ticket is nowhere any more. */
START_TEST(test_old_keys_are_wiped)
{
	static const struct tickets zero;
	struct tickets keys;
	struct ticket_key key;

	tickets_init(&keys);
	key = keys.now;
	tickets_rotate(&keys);
	ck_assert(memmem(&keys, sizeof(keys), key.secret, sizeof(key.secret)) != NULL);
	tickets_rotate(&keys);
	ck_assert(memmem(&keys, sizeof(keys), key.secret, sizeof(key.secret)) == NULL);
	ck_assert(memmem(&keys, sizeof(keys), key.name, sizeof(key.name)) == NULL);
	tickets_clear(&keys);
	ck_assert(memcmp(&keys, &zero, sizeof(keys)) == 0);
}
END_TEST

START_TEST(test_any_bit_changed)
{
	struct tickets keys;
	struct ticket t;

	tickets_init(&keys);
	tickets_rotate(&keys); /* a name may then turn into the other one */
	t = seal(&keys);
	for (size_t i = 0; i < 8 * sizeof(t); i++) {
		((uint8_t *)&t)[i / 8] ^= (uint8_t)(1 << i % 8);
		ck_assert_int_eq(open_copy(&keys, t), TICKET_BAD);
		((uint8_t *)&t)[i / 8] ^= (uint8_t)(1 << i % 8);
	}
	memcpy(t.head.name, keys.before.name, sizeof(t.head.name));
	ck_assert_int_eq(open_copy(&keys, t), TICKET_BAD);
	tickets_clear(&keys);
}
END_TEST

START_TEST(test_truncation_at_every_length)
{
	struct tickets keys;

	tickets_init(&keys);
	for (size_t n = 0; n < sizeof(((struct ticket *)0)->body); n++) {
		struct ticket t = seal(&keys);
		uint8_t *p = mem_alloc(n); /* of that size, for the sanitizer */

		memcpy(p, t.body, n);
		ck_assert_int_eq(tickets_open(&keys, &t.head, p, n), TICKET_BAD);
		free(p);
	}
	tickets_clear(&keys);
}
END_TEST

/* A watcher cannot count tickets, nor tell who has which: only the name repeats. */
START_TEST(test_no_two_are_alike)
{
	struct tickets keys, others;
	struct ticket a, b;

	tickets_init(&keys);
	tickets_init(&others);
	a = seal(&keys);
	b = seal(&keys);
	ck_assert(memcmp(a.head.name, b.head.name, TICKET_NAME) == 0);
	for (size_t i = 0; i + 8 <= TICKET_SALT; i += 8)
		ck_assert(memcmp(a.head.salt + i, b.head.salt + i, 8) != 0);
	for (size_t i = 0; i + 8 <= sizeof(a.body); i += 8)
		ck_assert(memcmp(a.body + i, b.body + i, 8) != 0);
	ck_assert_int_eq(open_copy(&others, a), TICKET_BAD);
	tickets_clear(&keys);
	tickets_clear(&others);
}
END_TEST

TEST_MAIN("tickets", test_rotation, test_old_keys_are_wiped, test_any_bit_changed,
    test_truncation_at_every_length, test_no_two_are_alike)
