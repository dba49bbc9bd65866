/* SPDX-License-Identifier: LGPL-2.1-or-later */
/* The verbs `base list` and `base info`: which images clones need, and who needs them. */
#include <inttypes.h>
#include <stdio.h>
#include <string.h>

#include "clone/cmd/base.h"
#include "clone/cmd/output.h"
#include "clone/plan/bases.h"
#include "fs/util/cleanup.h"
#include "fs/util/size.h"

/* ---- list ---- */

static const char *state_of(const json_t *base)
{
	const char *state = member_text(base, "state", "?");

	return state[0] == 'u' ? "?" : state; /* unknown */
}

static const char *allocated_of(const json_t *base, char text[static SIZE_TEXT])
{
	return json_is_integer(json_object_get(base, "allocated_bytes"))
		? size_format(member_number(base, "allocated_bytes"), text) : "-";
}

static int add_base(struct output_table *table, const json_t *base)
{
	const json_t *stores = json_object_get(base, "stores");
	char size[SIZE_TEXT], allocated[SIZE_TEXT], clones[SIZE_TEXT], more[SIZE_TEXT] = "";
	AUTO_FREE char *store = NULL;
	const char *const first = json_string_value(json_array_get(stores, 0));

	snprintf(clones, sizeof(clones), "%zu", json_array_size(json_object_get(base, "clones")));
	if (json_array_size(stores) > 1)
		snprintf(more, sizeof(more), " +%zu", json_array_size(stores) - 1);
	if (asprintf(&store, "%s%s", first ? first : "-", more) < 0)
		store = NULL;
	return output_table_line(table, (const char *const[]){
		member_text(base, "path", "?"),
		member_text(base, "format", "?"),
		size_format(member_number(base, "size_bytes"), size),
		allocated_of(base, allocated),
		clones,
		state_of(base),
		store,
	});
}

/* Is there more than one store to tell apart? */
static bool many_stores(const json_t *bases)
{
	const char *first = NULL;
	const json_t *base, *store;
	size_t i, k;

	json_array_foreach(bases, i, base)
		json_array_foreach(json_object_get(base, "stores"), k, store) {
			if (first && strcmp(first, json_string_value(store)) != 0)
				return true;
			first = json_string_value(store);
		}
	return false;
}

static int print_bases(const json_t *bases)
{
	static const struct output_column columns[] = {{"PATH", false}, {"FORMAT", false},
		{"SIZE", true}, {"ALLOCATED", true}, {"CLONES", true}, {"STATE", false},
		{"STORE", false}, {NULL, false}};
	struct output_column shown[sizeof(columns) / sizeof(columns[0])];

	memcpy(shown, columns, sizeof(columns));
	if (!many_stores(bases))
		shown[6].name = NULL;
	return output_table_of(shown, bases, add_base);
}

static int run_list(struct cmd *cmd, struct err *err)
{
	struct session *session;
	json_t *bases;
	int rc = cmd_session(cmd, &session, err);

	if (!rc)
		rc = bases_list(session, &bases, err);
	if (rc)
		return rc;
	if (cmd->args.json) {
		output_json(bases);
		return 0;
	}
	if (!json_array_size(bases) && !cmd->args.quiet)
		output_notice("no bases yet");
	rc = print_bases(bases);
	json_decref(bases);
	return rc ? err_sys(err, rc, "printing the table") : 0;
}

const struct verb verb_base_list = {
	.name = "base list",
	.summary = "the bases that clones of this host's stores need",
	.usage = (const char *const[]){"", NULL},
	.detail = (const char *const[]){
		"STATE is ready; suspended (a program has it open for writing: reads wait); changed",
		"(reads fail); moved (it is not at its path any more, its clones go on until the",
		"daemon stops); missing; failed (it cannot be read); or ? (no daemon to ask).",
		NULL},
	.options = no_options,
	.run = run_list,
};

/* ---- info ---- */

static int add_file(struct output_table *table, const json_t *file)
{
	char size[SIZE_TEXT], taken[SIZE_TEXT];
	const char *root = member_text(file, "root", NULL);
	const char *print = member_text(file, "fingerprint", "none");

	return output_table_line(table, (const char *const[]){
		member_text(file, "path", "?"),
		member_text(file, "role", "?"),
		member_text(file, "format", "?"),
		size_format(member_number(file, "size_bytes"), size),
		root ? root : print,
		member_number(file, "taken")
			? date_format((int64_t)member_number(file, "taken"), taken) : "-",
	});
}

static int add_clone(struct output_table *table, const json_t *clone)
{
	const json_t *disks = json_object_get(clone, "disks");
	AUTO_FREE char *names = output_join(disks);

	return output_table_line(table, (const char *const[]){
		member_text(clone, "clone", "?"), names, member_text(clone, "store", "?")});
}

static int print_base(const json_t *base)
{
	static const struct output_column files[] = {{"FILE", false}, {"ROLE", false},
		{"FORMAT", false}, {"SIZE", true}, {"FINGERPRINT", false}, {"TAKEN", false},
		{NULL, false}};
	static const struct output_column clones[] = {
		{"CLONE", false}, {"DISKS", false}, {"STORE", false}, {NULL, false}};
	char size[SIZE_TEXT], allocated[SIZE_TEXT];
	int rc;

	printf("path       %s%s\n", member_text(base, "path", "?"),
		json_is_true(json_object_get(base, "reflinked")) ? " (a reflinked copy)" : "");
	printf("format     %s\n", member_text(base, "format", "?"));
	printf("state      %s\n", state_of(base));
	printf("size       %s\n", size_format(member_number(base, "size_bytes"), size));
	printf("allocated  %s\n\n", allocated_of(base, allocated));
	rc = output_table_of(files, json_object_get(base, "files"), add_file);
	if (!json_array_size(json_object_get(base, "clones")))
		return rc;
	putchar('\n');
	return rc ? rc : output_table_of(clones, json_object_get(base, "clones"), add_clone);
}

static int print_all(const json_t *bases)
{
	const json_t *base;
	int rc = 0;
	size_t i;

	json_array_foreach(bases, i, base) {
		if (i > 0)
			putchar('\n');
		rc = rc ? rc : print_base(base);
	}
	return rc;
}

static int run_info(struct cmd *cmd, struct err *err)
{
	struct session *session;
	json_t *bases;
	int rc = cmd_session(cmd, &session, err);

	if (!rc)
		rc = bases_info(session, cmd->words[0], &bases, err);
	if (rc)
		return rc;
	if (cmd->args.json) {
		output_json(bases);
		return 0;
	}
	rc = print_all(bases);
	json_decref(bases);
	return rc ? err_sys(err, rc, "printing the tables") : 0;
}

const struct verb verb_base_info = {
	.name = "base info",
	.summary = "the files of a base, and the clones that need it",
	.usage = (const char *const[]){"PATH", NULL},
	.detail = (const char *const[]){
		"PATH is any file of it: the image itself, one that it is stacked on, or a data file.",
		"A file's fingerprint is that of all its content (16 digits), or only sampled.",
		NULL},
	.options = no_options,
	.min_words = 1,
	.max_words = 1,
	.missing = "PATH",
	.run = run_info,
};
