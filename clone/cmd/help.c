/* SPDX-License-Identifier: LGPL-2.1-or-later */
/* Help, made from the rows of the verbs: `lazyclone help [VERB]` and --help. */
#include "clone/cmd/help.h"

#include <errno.h>
#include <string.h>

static void print_verbs(FILE *out, const struct verb *const *v, size_t skip)
{
	for (; *v; v++)
		fprintf(out, "  %-10s%s\n", (*v)->name + skip, (*v)->summary);
}

void help_overview(FILE *out)
{
	fputs("lazyclone: instant, thin, crash-safe clones of libvirt virtual machines\n\n"
	      "usage: lazyclone [OPTION...] VERB [ARGUMENT...]\n\n"
	      "Verbs\n", out);
	print_verbs(out, verbs, 0);
	fputs("\nOptions, before or after the verb\n", out);
	cli_print_options(out, global_options);
	fputs("\nExit status\n"
	      "  0 done   1 failed   2 wrong usage   3 not found   4 exists or in use\n"
	      "  5 not permitted   6 timed out   7 daemon or libvirt not reachable\n"
	      "  8 partly done   9 no space   10 source not supported\n"
	      "  11 base changed or missing   12 store damaged, foreign or too new\n\n"
	      "'lazyclone VERB --help' says more about a verb, lazyclone(1) about everything.\n",
		out);
}

void help_verb(FILE *out, const struct verb *verb)
{
	const char *lead = "usage:";

	for (const char *const *usage = verb->usage; *usage; usage++, lead = "      ")
		fprintf(out, "%s lazyclone %s%s%s\n", lead, verb->name, **usage ? " " : "", *usage);
	fprintf(out, "\n%s\n", verb->summary);
	if (verb->detail)
		fputc('\n', out);
	for (const char *const *line = verb->detail; line && *line; line++)
		fprintf(out, "%s\n", *line);
	if (verb->verbs) {
		fputs("\nVerbs\n", out);
		print_verbs(out, verb->verbs, strlen(verb->name) + 1);
		fprintf(out, "\n'lazyclone %s VERB --help' says more about one.\n", verb->name);
		return;
	}
	if (verb->options->name) {
		fputs("\nOptions\n", out);
		cli_print_options(out, verb->options);
	}
	fputs("\nOptions of every verb\n", out);
	cli_print_options(out, global_options);
}

static int run_help(struct cmd *cmd, struct err *err)
{
	const struct verb *verb = NULL;

	if (!cmd->n_words) {
		help_overview(stdout);
		return 0;
	}
	for (int i = 0; i < cmd->n_words; i++) {
		const char *word = cmd->words[i];

		verb = i == 0 || verb->verbs ? verb_find(verb, word) : NULL;
		if (verb)
			continue;
		err_set(err, -EINVAL, "unknown verb '%s'", word);
		err_hint(err, "try 'lazyclone --help'");
		return -EINVAL;
	}
	help_verb(stdout, verb);
	return 0;
}

const struct verb verb_help = {
	.name = "help",
	.summary = "say what a verb does",
	.usage = (const char *const[]){"[VERB [VERB]]", NULL},
	.options = no_options,
	.max_words = 2,
	.run = run_help,
};
