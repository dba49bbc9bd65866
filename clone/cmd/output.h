/* SPDX-License-Identifier: LGPL-2.1-or-later */
/* What a verb prints: JSON documents, tables, errors. */
#ifndef CLONE_CMD_OUTPUT_H
#define CLONE_CMD_OUTPUT_H

#include <jansson.h>
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "fs/util/err.h"

#define OUTPUT_PROGRAM "lazyclone"

/* Print a document on stdout and drop it. */
void output_json(json_t *document);

/* Text from outside as a JSON string: what is not UTF-8 becomes '?'. NULL gives null. */
json_t *output_text(const char *text);

/* {"code", "class", "message", "hint"}, or null while err is unset. */
json_t *output_error_object(const struct err *err);

/* Say err on stderr: two lines for people, one object for programs. Control
 * characters (a name may hold an escape sequence) are printed as '?'. */
void output_error(const struct err *err, bool json);

/* A line for people on stderr: "lazyclone: TEXT"; control characters as above. */
void output_notice(const char *text);

/* Tables: columns as rows of name and alignment, cells as texts. */
struct output_column {
	const char *name;
	bool right;
};

struct output_table;

/* columns ends with name NULL. NULL without memory. */
struct output_table *output_table_new(const struct output_column *columns);
int output_table_line(struct output_table *table, const char *const *cells);
int output_table_print(struct output_table *table); /* on stdout; frees */
void output_table_free(struct output_table *table); /* NULL allowed */

/* Print a table of a JSON array: add makes the line of each element. */
int output_table_of(const struct output_column *columns, const json_t *array,
	int (*add)(struct output_table *table, const json_t *element));

/* An array of strings as "a, b, c"; caller frees. NULL: none of them. */
char *output_join(const json_t *texts);

/* Members of JSON objects, as the verbs read them; absent and null are the same. */
const char *member_text(const json_t *object, const char *key, const char *otherwise);
uint64_t member_number(const json_t *object, const char *key);

#endif
