/* SPDX-License-Identifier: LGPL-2.1-or-later */
/* lazyclone-info: what is in a store, and in a log. */
#include <errno.h>
#include <fcntl.h>
#include <inttypes.h>
#include <locale.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "fs/store/dump.h"
#include "fs/util/cleanup.h"
#include "fs/util/size.h"
#include "tools/describe.h"
#include "tools/tool.h"

struct info_args {
	struct tool_args common;
	bool json, dump;
};

#define ARG(letter_, name_, help_, member)                                                         \
	{.letter = (letter_), .name = (name_), .help = (help_),                                    \
		.offset = offsetof(struct info_args, member)}

static const struct cli_option options[] = {
	ARG(0, "json", "as JSON", json),
	ARG(0, "dump", "the headers and records of a log, a line each", dump),
	{.name = NULL},
};

static const struct tool tool = {
	.name = "lazyclone-info",
	.section = 8,
	.usage = "lazyclone-info [--json] STORE [CLONE [DISK]]\n"
		 "       lazyclone-info --dump STORE CLONE DISK\n"
		 "       lazyclone-info --dump LOGFILE",
	.summary = "Show what is in a store, also beside its daemon. Nothing is changed.",
	.options = options,
	.min_words = 1,
	.max_words = 3,
};

/* ---- members of the document ---- */

static const char *text_of(const json_t *object, const char *key)
{
	return json_string_value(json_object_get(object, key));
}

/* A number's text in bytes; "-" where it is not known. */
static const char *size_of(const json_t *object, const char *key, char text[static SIZE_TEXT])
{
	const json_t *value = json_object_get(object, key);

	if (!json_is_integer(value))
		return "-";
	return size_format((uint64_t)json_integer_value(value), text);
}

static uint64_t number_of(const json_t *object, const char *key)
{
	return (uint64_t)json_integer_value(json_object_get(object, key));
}

/* What the slots hold beside what counts. */
static const char *dead_of(const json_t *delta, char text[static SIZE_TEXT])
{
	uint64_t used = number_of(delta, "used_bytes"), live = number_of(delta, "live_bytes");

	if (!json_is_integer(json_object_get(delta, "live_bytes")))
		return "-";
	return size_format(used > live ? used - live : 0, text);
}

/* ---- tables ---- */

static int add_delta_line(struct tool_table *table, const json_t *delta, const char *first,
	const char *second, const char *last)
{
	char size[SIZE_TEXT], log[SIZE_TEXT], live[SIZE_TEXT], dead[SIZE_TEXT], unused[SIZE_TEXT];
	const char *const cells[] = {first, second, size_of(delta, "size_bytes", size),
		size_of(delta, "log_bytes", log), size_of(delta, "live_bytes", live),
		dead_of(delta, dead), size_of(delta, "free_bytes", unused), text_of(delta, "state"),
		last};

	return tool_table_line(table, cells);
}

static int add_clone_lines(struct tool_table *table, const json_t *clone)
{
	const json_t *disk;
	size_t i;
	int rc = 0;

	json_array_foreach(json_object_get(clone, "disks"), i, disk) {
		char below[32] = "";
		AUTO_FREE char *base = NULL;
		size_t layers = json_array_size(json_object_get(disk, "layers"));

		if (layers > 0)
			snprintf(below, sizeof(below), "%zu layer%s on ", layers,
				layers > 1 ? "s" : "");
		if (asprintf(&base, "%s%s", below, text_of(disk, "base") ?: "nothing") < 0)
			return -ENOMEM;
		rc = rc < 0 ? rc : add_delta_line(table, disk, text_of(clone, "name"),
					   text_of(disk, "target"), base);
	}
	return rc;
}

static int print_disks(const json_t *document)
{
	static const struct tool_column columns[] = {{"CLONE", false}, {"DISK", false},
		{"SIZE", true}, {"LOG", true}, {"LIVE", true}, {"DEAD", true}, {"FREE", true},
		{"STATE", false}, {"ON", false}, {NULL, false}};
	struct tool_table *table = tool_table_new(columns);
	const json_t *clone;
	size_t i;
	int rc = table ? 0 : -ENOMEM;

	json_array_foreach(json_object_get(document, "clones"), i, clone)
		rc = rc < 0 ? rc : add_clone_lines(table, clone);
	return rc < 0 ? rc : tool_table_print(table);
}

static char *join_users(const json_t *users)
{
	char *text = strdup("");
	const json_t *user;
	size_t i;

	json_array_foreach(users, i, user) {
		char *longer = NULL;

		if (!text || asprintf(&longer, "%s%s%s", text, i ? ", " : "",
				     json_string_value(user)) < 0)
			longer = NULL;
		free(text);
		text = longer;
	}
	return text;
}

static int print_layers(const json_t *document)
{
	static const struct tool_column columns[] = {{"LAYER", false}, {"", false}, {"SIZE", true},
		{"LOG", true}, {"LIVE", true}, {"DEAD", true}, {"FREE", true}, {"STATE", false},
		{"USED BY", false}, {NULL, false}};
	const json_t *layers = json_object_get(document, "layers"), *layer;
	struct tool_table *table;
	size_t i;
	int rc = 0;

	if (json_array_size(layers) == 0)
		return 0;
	table = tool_table_new(columns);
	if (!table)
		return -ENOMEM;
	putchar('\n');
	json_array_foreach(layers, i, layer) {
		AUTO_FREE char *users = join_users(json_object_get(layer, "users"));

		rc = rc < 0 ? rc : add_delta_line(table, layer, text_of(layer, "log"), "", users);
	}
	return rc < 0 ? rc : tool_table_print(table);
}

static int print_snapshots(const json_t *document)
{
	static const struct tool_column columns[] = {
		{"CLONE", false}, {"SNAPSHOT", false}, {"CREATED", false}, {NULL, false}};
	struct tool_table *table = NULL;
	const json_t *clone, *snapshot;
	size_t i, k;
	int rc = 0;

	json_array_foreach(json_object_get(document, "clones"), i, clone)
		json_array_foreach(json_object_get(clone, "snapshots"), k, snapshot) {
			char created[SIZE_TEXT];
			const char *const cells[] = {text_of(clone, "name"),
				text_of(snapshot, "name"),
				date_format((int64_t)number_of(snapshot, "created"), created)};

			if (!table)
				table = tool_table_new(columns);
			rc = table ? tool_table_line(table, cells) : -ENOMEM;
			if (rc < 0)
				return rc;
		}
	if (!table)
		return 0;
	putchar('\n');
	return tool_table_print(table);
}

static void print_trouble(const char *what, const char *name, const char *error)
{
	if (error)
		printf("%s %s: %s\n", what, name, error);
}

static void print_troubles(const json_t *document)
{
	const json_t *clone, *disk, *layer;
	size_t i, k;

	json_array_foreach(json_object_get(document, "clones"), i, clone) {
		print_trouble("clone", text_of(clone, "name"), text_of(clone, "error"));
		json_array_foreach(json_object_get(clone, "disks"), k, disk)
			print_trouble("disk", text_of(disk, "target"), text_of(disk, "error"));
	}
	json_array_foreach(json_object_get(document, "layers"), i, layer)
		print_trouble("layer", text_of(layer, "log"), text_of(layer, "error"));
}

static int print_tables(const json_t *document)
{
	int rc;

	printf("store   %s\n", text_of(document, "store"));
	printf("id      %s\n", text_of(document, "id"));
	printf("daemon  %s\n\n", json_is_true(json_object_get(document, "served"))
			? "serves it now: what is shown may be moving" : "none");
	rc = print_disks(document);
	if (rc == 0)
		rc = print_layers(document);
	if (rc == 0)
		rc = print_snapshots(document);
	if (rc == 0)
		print_troubles(document);
	return rc;
}

/* ---- the runs ---- */

static int show(const struct info_args *args, char **words, int n_words, struct err *err)
{
	struct store *store;
	json_t *document;
	int rc = store_open(&io_kernel, words[0], &store, err);

	if (rc < 0)
		return rc;
	rc = describe_store(store, n_words > 1 ? words[1] : NULL, n_words > 2 ? words[2] : NULL,
		&document, err);
	store_close(store);
	if (rc < 0)
		return rc;
	if (args->json) {
		json_dumpf(document, stdout, JSON_INDENT(2));
		putchar('\n');
	} else {
		rc = print_tables(document);
	}
	json_decref(document);
	return rc < 0 ? err_sys(err, rc, "printing") : 0;
}

/* A log by the path of any of its files. */
static int dump_file(char *path, struct err *err)
{
	char *slash = strrchr(path, '/'), *base = slash ? slash + 1 : path;
	char name[ID_TEXT] = "";
	AUTO_CLOSE int dirfd = -1;
	struct id id;

	if (strlen(base) >= ID_TEXT - 1)
		memcpy(name, base, ID_TEXT - 1);
	if (id_parse(name, &id) < 0)
		return err_set(err, -EINVAL, "%s: the name of no log", path);
	if (slash)
		*slash = '\0';
	dirfd = open(!slash ? "." : slash == path ? "/" : path, O_RDONLY | O_DIRECTORY | O_CLOEXEC);
	if (dirfd < 0)
		return err_sys(err, -errno, "%s", path);
	return dump_delta(&io_kernel, dirfd, name, stdout, err);
}

static int dump_disk(struct store *store, const char *clone, const char *target, struct err *err)
{
	AUTO_CLOSE int dirfd = -1;
	struct manifest *m;
	char name[ID_TEXT] = "";
	int rc = store_manifest_read(store, clone, &m, err);

	if (rc < 0)
		return rc;
	for (uint32_t i = 0; i < m->n_disks; i++)
		if (strcmp(m->disks[i].target, target) == 0)
			id_format(&m->disks[i].log, name);
	manifest_free(m);
	if (!name[0])
		return err_set(err, -ENOENT, "clone %s: it has no disk %s", clone, target);
	dirfd = store_clone_dirfd(store, clone);
	if (dirfd < 0)
		return err_sys(err, dirfd, "clone %s", clone);
	return dump_delta(&io_kernel, dirfd, name, stdout, err);
}

static int dump(char **words, int n_words, struct err *err)
{
	struct store *store;
	int rc;

	if (n_words == 1)
		return dump_file(words[0], err);
	if (n_words != 3)
		return err_set(err, -EINVAL, "--dump needs a log's file, or STORE CLONE DISK");
	rc = store_open(&io_kernel, words[0], &store, err);
	if (rc < 0)
		return rc;
	rc = dump_disk(store, words[1], words[2], err);
	store_close(store);
	return rc;
}

int main(int argc, char **argv)
{
	struct info_args args = {.json = false};
	struct err err = {0};
	int n_words, rc;

	setlocale(LC_CTYPE, ""); /* tables measure names in characters */
	rc = tool_parse(&tool, &args, argc, argv, &n_words, &err);
	if (rc == 0)
		rc = args.dump ? dump(argv + 1, n_words, &err)
			       : show(&args, argv + 1, n_words, &err);
	if (rc >= 0)
		rc = tool_finish(&err);
	if (rc < 0)
		tool_print_error(&tool, &err);
	return err_exit_status(rc);
}
