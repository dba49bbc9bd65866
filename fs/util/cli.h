/* SPDX-License-Identifier: LGPL-2.1-or-later */
/* Command line options from a table: parsing, and the same table as help text.
 *
 * A row says letter, name, value and help; where the value goes is an offset
 * into a struct of the caller, so that tables are constant and one struct
 * serves several of them. Options and words may be mixed; "--" ends the
 * options; "-N5", "-N 5", "--count=5" and "--count 5" are the same; letters of
 * flags may be joined ("-qv"). Given twice, the last one counts, unless the row's
 * value ends with "...": then all do, in their order. Names are not abbreviated:
 * a script must not break when an option is added.
 */
#ifndef FS_UTIL_CLI_H
#define FS_UTIL_CLI_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>

#include "fs/util/err.h"

#define CLI_TEXTS_MAX 64

/* What an option that may be given several times was given. */
struct cli_texts {
	uint32_t count;
	const char *text[CLI_TEXTS_MAX];
};

struct cli_option {
	char letter;       /* 0: it has none */
	const char *name;  /* without the dashes; NULL ends a table */
	const char *value; /* what stands for the value in help; NULL: a flag */
	const char *help;
	size_t offset; /* in the target: of a bool (flag), a struct cli_texts ("..."),
			* else a const char * */
};

/* Parse argv[0 .. argc) by the tables (ends with NULL) into target. Words are
 * moved to the front of argv, *ret_n_words of them. With stop_at_word the
 * first word and all that follows it stay as they are and count as words.
 * -EINVAL: message names the argument. */
int cli_parse(const struct cli_option *const *tables, void *target, bool stop_at_word, int argc,
	char **argv, int *ret_n_words, struct err *err);

/* A whole decimal number from min to max; what names it in the message. */
int cli_number(const char *what, const char *text, uint64_t min, uint64_t max, uint64_t *ret_value,
	struct err *err);

/* One line per option. */
void cli_print_options(FILE *out, const struct cli_option *table);

#endif
