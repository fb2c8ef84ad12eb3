#include "pt-server/decoy.h"

#include <stddef.h>
#include <stdint.h>
#include <stdlib.h>

#include "common/mem.h"

#define COUNT(a) (sizeof(a) / sizeof((a)[0]))
#define PICK(dice, a) ((a)[roll(dice, COUNT(a))])

/* What the two pages have in common. */
struct style {
	uint64_t dice;
	const char *name;
	const char *font;
	unsigned width; /* em */
	unsigned grey;
};

static const char *const first_names[] = {
	"Anna", "Ben", "Carla", "David", "Eva", "Felix", "Greta", "Hugo", "Irene", "Jonas",
	"Klara", "Leo", "Marta", "Nils", "Olga", "Paul", "Rosa", "Simon", "Tessa", "Victor",
};

static const char *const fonts[] = {
	"sans-serif", "serif", "Georgia, serif", "Helvetica, Arial, sans-serif",
	"Verdana, sans-serif", "system-ui, sans-serif", "monospace", "Palatino, serif",
};

/* Before and after the name. */
static const char *const sites[][2] = {
	{ "", "'s notes" }, { "", "'s page" }, { "", "'s workshop" }, { "Photos by ", "" },
	{ "", " at home" }, { "The garden of ", "" }, { "", "'s recipes" }, { "Letters from ", "" },
};

static const char *const openings[] = {
	"This page is being rebuilt. The old posts come back one by one.",
	"Welcome. There is not much here yet, but I am working on it.",
	"I keep a few things here for friends and family.",
	"A place for my projects. If you know me, you know where to look.",
	"Most of the archive is private. Write to me if you need access.",
	"Hello! I moved to a new server, and some pages are still missing.",
	"Nothing to sell, nothing to sign up for. Just a page.",
	"Pictures of the last trip will follow when I find the time.",
};

static const char *const closings[] = {
	"Last change: spring cleaning.", "Come back in a while.", "Thank you for the visit.",
	"Made by hand.", "More to come.", "Questions? You have my address.",
	"No cookies, no tracking.", "Best read with a cup of tea.",
};

static const char *const lost[] = {
	"The page you asked for does not exist.", "There is nothing at this address.",
	"This page is gone or never was.", "Sorry, nothing here.",
	"The address may be mistyped.", "No such page.",
};

/* splitmix64 */
static unsigned
roll(uint64_t *dice, size_t sides)
{
	uint64_t z = *dice += 0x9e3779b97f4a7c15;

	z = (z ^ (z >> 30)) * 0xbf58476d1ce4e5b9;
	z = (z ^ (z >> 27)) * 0x94d049bb133111eb;
	return (unsigned)((z ^ (z >> 31)) % sides);
}

static struct style
style_of(const char *seed)
{
	struct style s = { .dice = 0xcbf29ce484222325 };

	for (; *seed != '\0'; seed++) /* FNV-1a */
		s.dice = (s.dice ^ (uint8_t)*seed) * 0x100000001b3;
	s.name = PICK(&s.dice, first_names);
	s.font = PICK(&s.dice, fonts);
	s.width = 30 + roll(&s.dice, 20);
	s.grey = 1 + roll(&s.dice, 5);
	return s;
}

static char *
page(const struct style *s, const char *title, const char *heading, const char *text,
     const char *more)
{
	return mem_printf("<!DOCTYPE html>\n<html lang=\"en\">\n<head>\n<meta charset=\"utf-8\">\n"
			  "<title>%s</title>\n"
			  "<style>body { max-width: %uem; margin: 2em auto; font-family: %s; "
			  "color: #%u%u%u }</style>\n"
			  "</head>\n<body>\n<h1>%s</h1>\n<p>%s</p>\n%s</body>\n</html>\n",
			  title, s->width, s->font, s->grey, s->grey, s->grey, heading, text,
			  more);
}

char *
decoy_home(const char *seed)
{
	struct style s = style_of(seed);
	const char *const *site = PICK(&s.dice, sites);
	const char *opening = PICK(&s.dice, openings);
	char *more = mem_printf("<p>%s</p>\n", PICK(&s.dice, closings));
	char *title = mem_printf("%s%s%s", site[0], s.name, site[1]);
	char *html = page(&s, title, title, opening, more);

	free(title);
	free(more);
	return html;
}

char *
decoy_not_found(const char *seed)
{
	struct style s = style_of(seed);

	return page(&s, "404 Not Found", "Not Found", PICK(&s.dice, lost), "");
}
