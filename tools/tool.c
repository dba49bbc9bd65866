/* SPDX-License-Identifier: LGPL-2.1-or-later */
/* What the three programs share: see tool.h. */
#include "tools/tool.h"

#include <ctype.h>
#include <errno.h>
#include <libsmartcols/libsmartcols.h>
#include <stdio.h>

#define COMMON_OPTION(letter_, name_, help_, member)                                               \
	{.letter = (letter_), .name = (name_), .help = (help_),                                    \
		.offset = offsetof(struct tool_args, member)}

static const struct cli_option common_options[] = {
	COMMON_OPTION('h', "help", "this text", help),
	COMMON_OPTION('V', "version", "print the version", version),
	{.name = NULL},
};

static void print_help(const struct tool *tool)
{
	printf("usage: %s\n\n%s\n\n", tool->usage, tool->summary);
	cli_print_options(stdout, tool->options);
	cli_print_options(stdout, common_options);
	printf("\n%s(%d) says more.\n", tool->name, tool->section);
}

int tool_parse(const struct tool *tool, void *args, int argc, char **argv, int *ret_n_words,
	struct err *err)
{
	const struct cli_option *const tables[] = {tool->options, common_options, NULL};
	const struct tool_args *common = args;
	int rc = cli_parse(tables, args, false, argc - 1, argv + 1, ret_n_words, err);

	if (rc == 0 && common->help) {
		print_help(tool);
		return 1;
	}
	if (rc == 0 && common->version) {
		printf("%s %s\n", tool->name, LAZYCLONE_VERSION);
		return 1;
	}
	if (rc == 0 && *ret_n_words < tool->min_words)
		rc = err_set(err, -EINVAL, "an argument is missing");
	if (rc == 0 && *ret_n_words > tool->max_words)
		rc = err_set(err, -EINVAL, "one argument too many: '%s'",
			argv[1 + tool->max_words]);
	if (rc < 0)
		err_hint(err, "try '%s --help'", tool->name);
	return rc;
}

int tool_finish(struct err *err)
{
	if (fflush(stdout) == 0 && !ferror(stdout))
		return 0;
	return err_sys(err, errno ? -errno : -EIO, "writing the result");
}

static char plain(char c)
{
	return iscntrl((unsigned char)c) ? '?' : c;
}

static void blank_controls(char *text)
{
	for (; *text; text++)
		*text = plain(*text);
}

void tool_print_plain(const char *text)
{
	for (; *text; text++)
		putchar(plain(*text));
}

void tool_print_error(const struct tool *tool, const struct err *err)
{
	struct err shown = *err;

	blank_controls(shown.message);
	blank_controls(shown.hint);
	err_print(tool->name, &shown);
}

struct tool_table *tool_table_new(const struct tool_column *columns)
{
	struct libscols_table *table = scols_new_table();

	for (; table && columns->name; columns++) {
		if (scols_table_new_column(
			    table, columns->name, 0, columns->right ? SCOLS_FL_RIGHT : 0))
			continue;
		scols_unref_table(table);
		table = NULL;
	}
	return (struct tool_table *)table;
}

int tool_table_line(struct tool_table *table, const char *const *cells)
{
	struct libscols_line *line = scols_table_new_line((struct libscols_table *)table, NULL);
	size_t n = scols_table_get_ncols((struct libscols_table *)table);
	int rc = line ? 0 : -ENOMEM;

	for (size_t i = 0; rc == 0 && i < n; i++)
		rc = scols_line_set_data(line, i, cells[i] ? cells[i] : "-");
	return rc;
}

int tool_table_print(struct tool_table *table)
{
	int rc = scols_print_table((struct libscols_table *)table);

	scols_unref_table((struct libscols_table *)table);
	return rc;
}
