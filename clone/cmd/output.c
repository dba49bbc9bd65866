/* SPDX-License-Identifier: LGPL-2.1-or-later */
/* What a verb prints: see output.h. */
#include "clone/cmd/output.h"

#include <ctype.h>
#include <errno.h>
#include <libsmartcols/libsmartcols.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "fs/util/cleanup.h"

void output_json(json_t *document)
{
	json_dumpf(document, stdout, JSON_INDENT(2));
	putchar('\n');
	json_decref(document);
}

json_t *output_text(const char *text)
{
	AUTO_FREE char *clean = NULL;
	json_t *string;

	if (!text)
		return json_null();
	string = json_string(text);
	if (string)
		return string;
	clean = strdup(text);
	for (char *c = clean; c && *c; c++)
		if ((unsigned char)*c >= 0x80)
			*c = '?';
	return clean ? json_string(clean) : NULL;
}

/* The class of a failure in one word: the exit status for those who read. */
static const char *class_name(enum exit_status status)
{
	static const char *const name[] = {
		[EXIT_DONE] = "done",
		[EXIT_FAILED] = "failed",
		[EXIT_USAGE] = "usage",
		[EXIT_NOT_FOUND] = "not-found",
		[EXIT_EXISTS] = "exists-or-in-use",
		[EXIT_NOT_PERMITTED] = "not-permitted",
		[EXIT_TIMED_OUT] = "timed-out",
		[EXIT_UNREACHABLE] = "not-reachable",
		[EXIT_PARTLY] = "partly-done",
		[EXIT_NO_SPACE] = "no-space",
		[EXIT_NOT_SUPPORTED] = "not-supported",
		[EXIT_BASE_CHANGED] = "base-changed",
		[EXIT_DAMAGED] = "store-damaged",
	};

	return name[status];
}

json_t *output_error_object(const struct err *err)
{
	enum exit_status status = err_exit_status(err->code);

	if (!err->code)
		return json_null();
	return json_pack("{s:i, s:s, s:o, s:o}", "code", status, "class", class_name(status),
		"message", output_text(err->message), "hint",
		output_text(err->hint[0] ? err->hint : NULL));
}

static void blank_controls(char *text)
{
	for (; *text; text++)
		if (iscntrl((unsigned char)*text))
			*text = '?';
}

void output_error(const struct err *err, bool json)
{
	struct err shown = *err;
	json_t *object;

	if (!json) {
		blank_controls(shown.message);
		blank_controls(shown.hint);
		err_print(OUTPUT_PROGRAM, &shown);
		return;
	}
	object = json_pack("{s:o}", "error", output_error_object(err));
	json_dumpf(object, stderr, JSON_COMPACT);
	fputc('\n', stderr);
	json_decref(object);
}

void output_notice(const char *text)
{
	AUTO_FREE char *shown = strdup(text);

	if (shown)
		blank_controls(shown);
	fprintf(stderr, "%s: %s\n", OUTPUT_PROGRAM, shown ? shown : "?");
}

struct output_table *output_table_new(const struct output_column *columns)
{
	struct libscols_table *table = scols_new_table();

	if (!table)
		return NULL;
	for (; columns->name; columns++) {
		int flags = columns->right ? SCOLS_FL_RIGHT : 0;

		if (!scols_table_new_column(table, columns->name, 0, flags)) {
			scols_unref_table(table);
			return NULL;
		}
	}
	return (struct output_table *)table;
}

int output_table_line(struct output_table *table, const char *const *cells)
{
	struct libscols_line *line = scols_table_new_line((struct libscols_table *)table, NULL);
	size_t n = scols_table_get_ncols((struct libscols_table *)table);
	int rc = line ? 0 : -ENOMEM;

	for (size_t i = 0; !rc && i < n; i++)
		rc = scols_line_set_data(line, i, cells[i] ? cells[i] : "-");
	return rc;
}

int output_table_print(struct output_table *table)
{
	int rc = scols_print_table((struct libscols_table *)table);

	output_table_free(table);
	return rc;
}

void output_table_free(struct output_table *table)
{
	scols_unref_table((struct libscols_table *)table);
}

int output_table_of(const struct output_column *columns, const json_t *array,
	int (*add)(struct output_table *table, const json_t *element))
{
	struct output_table *table = output_table_new(columns);
	int rc = table ? 0 : -ENOMEM;
	const json_t *element;
	size_t i;

	json_array_foreach(array, i, element)
		if (!rc)
			rc = add(table, element);
	if (!rc)
		return output_table_print(table);
	output_table_free(table);
	return rc;
}

char *output_join(const json_t *names)
{
	AUTO_FREE char *text = NULL;
	const json_t *name;
	size_t i;

	json_array_foreach(names, i, name) {
		char *longer;

		if (asprintf(&longer, "%s%s%s", text ? text : "", text ? ", " : "",
			    json_string_value(name)) < 0)
			return NULL;
		free(text);
		text = longer;
	}
	return steal_ptr(&text);
}

const char *member_text(const json_t *object, const char *key, const char *otherwise)
{
	const char *text = json_string_value(json_object_get(object, key));

	return text ? text : otherwise;
}

uint64_t member_number(const json_t *object, const char *key)
{
	return (uint64_t)json_integer_value(json_object_get(object, key));
}
