/* SPDX-License-Identifier: LGPL-2.1-or-later */
/* Command line options from a table: see cli.h. */
#include "fs/util/cli.h"

#include <errno.h>
#include <inttypes.h>
#include <stdlib.h>
#include <string.h>

#define HELP_COLUMN 26 /* where the text of an option's line begins */

struct parser {
	const struct cli_option *const *tables;
	void *target;
	int argc;
	char **argv;
	int next; /* argument to look at */
	struct err *err;
};

static void store_flag(struct parser *p, const struct cli_option *option)
{
	*(bool *)((char *)p->target + option->offset) = true;
}

static bool takes_several(const struct cli_option *option)
{
	size_t len = strlen(option->value);

	return len > 3 && !strcmp(option->value + len - 3, "...");
}

static int store_text(struct parser *p, const struct cli_option *option, const char *text)
{
	void *to = (char *)p->target + option->offset;
	struct cli_texts *texts = to;

	if (!takes_several(option)) {
		*(const char **)to = text;
		return 0;
	}
	if (texts->count == CLI_TEXTS_MAX)
		return err_set(p->err, -EINVAL, "option --%s is given more than %d times",
			option->name, CLI_TEXTS_MAX);
	texts->text[texts->count++] = text;
	return 0;
}

static const struct cli_option *find_name(const struct parser *p, const char *name, size_t len)
{
	for (const struct cli_option *const *table = p->tables; *table; table++)
		for (const struct cli_option *o = *table; o->name; o++)
			if (strlen(o->name) == len && !memcmp(o->name, name, len))
				return o;
	return NULL;
}

static const struct cli_option *find_letter(const struct parser *p, char letter)
{
	for (const struct cli_option *const *table = p->tables; *table; table++)
		for (const struct cli_option *o = *table; o->name; o++)
			if (o->letter == letter)
				return o;
	return NULL;
}

/* The value of an option: inline, if not NULL, else the next argument. */
static int take_value(struct parser *p, const struct cli_option *option, const char *inline_text)
{
	if (!inline_text) {
		if (p->next >= p->argc)
			return err_set(p->err, -EINVAL, "option --%s needs a value: %s",
				option->name, option->value);
		inline_text = p->argv[p->next++];
	}
	return store_text(p, option, inline_text);
}

static int parse_long(struct parser *p, const char *arg)
{
	const char *name = arg + 2;
	const char *equals = strchr(name, '=');
	size_t len = equals ? (size_t)(equals - name) : strlen(name);
	const struct cli_option *option = find_name(p, name, len);

	if (!option)
		return err_set(p->err, -EINVAL, "unknown option '--%.*s'", (int)len, name);
	if (option->value)
		return take_value(p, option, equals ? equals + 1 : NULL);
	if (equals)
		return err_set(p->err, -EINVAL, "option --%s takes no value", option->name);
	store_flag(p, option);
	return 0;
}

static int parse_letters(struct parser *p, const char *arg)
{
	for (const char *letter = arg + 1; *letter; letter++) {
		const struct cli_option *option = find_letter(p, *letter);

		if (!option)
			return err_set(p->err, -EINVAL, "unknown option '-%c'", *letter);
		if (option->value)
			return take_value(p, option, letter[1] ? letter + 1 : NULL);
		store_flag(p, option);
	}
	return 0;
}

static void keep_rest(struct parser *p, int *n_words)
{
	while (p->next < p->argc)
		p->argv[(*n_words)++] = p->argv[p->next++];
}

int cli_parse(const struct cli_option *const *tables, void *target, bool stop_at_word, int argc,
	char **argv, int *ret_n_words, struct err *err)
{
	struct parser p = {.tables = tables, .target = target, .argc = argc, .argv = argv, .err = err};
	int n_words = 0;
	int rc = 0;

	while (p.next < argc && !rc) {
		char *arg = argv[p.next];
		bool word = arg[0] != '-' || !arg[1];

		if (word && stop_at_word)
			break;
		p.next++;
		if (word)
			argv[n_words++] = arg;
		else if (!strcmp(arg, "--"))
			break;
		else
			rc = arg[1] == '-' ? parse_long(&p, arg) : parse_letters(&p, arg);
	}
	if (rc)
		return rc;
	keep_rest(&p, &n_words);
	*ret_n_words = n_words;
	return 0;
}

int cli_number(const char *what, const char *text, uint64_t min, uint64_t max, uint64_t *ret_value,
	struct err *err)
{
	unsigned long long value;
	char *end;

	/* strtoull takes signs and spaces; a count has neither. */
	errno = 0;
	value = strtoull(text, &end, 10);
	if (text[0] < '0' || text[0] > '9' || *end)
		return err_set(err, -EINVAL, "%s: '%s' is not a whole number", what, text);
	if (errno || value < min || value > max)
		return err_set(err, -EINVAL, "%s: %s is not between %" PRIu64 " and %" PRIu64, what,
			text, min, max);
	*ret_value = value;
	return 0;
}

static void print_option(FILE *out, const struct cli_option *option)
{
	char spelled[64];
	int width;

	width = snprintf(spelled, sizeof(spelled), "%c%c%s--%s%s%s", option->letter ? '-' : ' ',
		option->letter ? option->letter : ' ', option->letter ? ", " : "  ", option->name,
		option->value ? " " : "", option->value ? option->value : "");
	if (width < HELP_COLUMN - 3)
		fprintf(out, "  %-*s %s\n", HELP_COLUMN - 3, spelled, option->help);
	else
		fprintf(out, "  %s\n%*s%s\n", spelled, HELP_COLUMN, "", option->help);
}

void cli_print_options(FILE *out, const struct cli_option *table)
{
	for (; table->name; table++)
		print_option(out, table);
}
