/* SPDX-License-Identifier: LGPL-2.1-or-later */
/* What the three programs share: their command line, names of deltas, tables. */
#ifndef TOOLS_TOOL_H
#define TOOLS_TOOL_H

#include <jansson.h>
#include <stdbool.h>

#include "fs/store/store.h"
#include "fs/util/cli.h"
#include "fs/util/err.h"

/* Begins the struct that a program's options are parsed into. */
struct tool_args {
	bool help, version;
};

struct tool {
	const char *name;
	int section; /* of its manual page */
	const char *usage;   /* words, a line each */
	const char *summary; /* a sentence or two */
	const struct cli_option *options;
	int min_words, max_words;
};

/* Parse argv into args, which begins with a struct tool_args; words are left in
 * argv[1 ...]. 0: go on, *ret_n_words of them; 1: help or version was printed;
 * -EINVAL: wrong usage. */
int tool_parse(const struct tool *tool, void *args, int argc, char **argv, int *ret_n_words,
	struct err *err);

/* Flush stdout; an answer that could not be written was not given. */
int tool_finish(struct err *err);

/* Text that comes from files, for a terminal: control characters become '?'. */
void tool_print_plain(const char *text); /* on stdout */
void tool_print_error(const struct tool *tool, const struct err *err);

/* ---- tables on stdout ---- */

struct tool_column {
	const char *name; /* NULL ends a list */
	bool right;
};

struct tool_table;

struct tool_table *tool_table_new(const struct tool_column *columns); /* NULL: no memory */
/* A cell for each column; NULL is "-". 0 or -ENOMEM. */
int tool_table_line(struct tool_table *table, const char *const *cells);
/* Print and free. */
int tool_table_print(struct tool_table *table);

#endif
