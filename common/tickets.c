#include "common/tickets.h"

#include <string.h>

#include "common/mem.h"
#include "common/noise.h"

void
tickets_init(struct tickets *t)
{
	/* Both at random: a key before that nobody has sealed with opens nothing. */
	mem_random(t, sizeof(*t));
}

void
tickets_rotate(struct tickets *t)
{
	t->before = t->now;
	mem_random(&t->now, sizeof(t->now));
}

void
tickets_clear(struct tickets *t)
{
	mem_wipe(t, sizeof(*t));
}

/* Each ticket has a key of its own, so that no nonce has to be counted: a counter would
 * tell everybody how many tickets there are. */
static void
ticket_key(uint8_t key[AEAD_KEY], const struct ticket_key *k, const struct ticket_head *head)
{
	static const char label[] = "sultry ticket v1";

	noise_hkdf(key, AEAD_KEY, head->salt, sizeof(head->salt), k->secret, sizeof(k->secret),
	    label, sizeof(label) - 1);
}

void
tickets_seal(const struct tickets *t, struct ticket_head *head, uint8_t *ticket, size_t n)
{
	uint8_t key[AEAD_KEY];

	memcpy(head->name, t->now.name, sizeof(head->name));
	mem_random(head->salt, sizeof(head->salt));
	ticket_key(key, &t->now, head);
	aead->seal(key, 0, head->name, sizeof(head->name), ticket, n, ticket);
	mem_wipe(key, sizeof(key));
}

enum ticket_result
tickets_open(const struct tickets *t, const struct ticket_head *head, uint8_t *ticket, size_t n)
{
	/* Names are public: no need to compare them in constant time. */
	bool now = memcmp(head->name, t->now.name, sizeof(head->name)) == 0;
	bool before = memcmp(head->name, t->before.name, sizeof(head->name)) == 0;
	uint8_t key[AEAD_KEY];
	bool ok;

	if (!now && !before)
		return TICKET_BAD;
	ticket_key(key, now ? &t->now : &t->before, head);
	ok = aead->open(key, 0, head->name, sizeof(head->name), ticket, n, ticket);
	mem_wipe(key, sizeof(key));
	if (!ok)
		return TICKET_BAD;
	return now ? TICKET_OK : TICKET_OLD;
}
