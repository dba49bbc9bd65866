/* SPDX-License-Identifier: LGPL-2.1-or-later */
/* The verb `info`: everything about one clone. */
#include <errno.h>
#include <inttypes.h>
#include <stdio.h>

#include "clone/cmd/output.h"
#include "clone/cmd/verb.h"
#include "clone/plan/inventory.h"
#include "fs/util/cleanup.h"
#include "fs/util/size.h"

static void print_field(const char *name, const char *text)
{
	if (text)
		printf("%-11s%s\n", name, text);
}

static void print_clone(const json_t *clone)
{
	char created[SIZE_TEXT], size[SIZE_TEXT], delta[SIZE_TEXT], quota[SIZE_TEXT];
	char depth[SIZE_TEXT];

	print_field("name", member_text(clone, "name", "?"));
	print_field("domain", member_text(clone, "domain", NULL));
	print_field("state", member_text(clone, "state", "?"));
	if (json_is_true(json_object_get(clone, "frozen")))
		print_field("frozen", "an original on a delta of its own; base thaw ends that");
	print_field("uuid", member_text(clone, "uuid", NULL));
	print_field("connection", member_text(clone, "uri", NULL));
	print_field("source", member_text(clone, "source", NULL));
	print_field("created", date_format((int64_t)member_number(clone, "created"), created));
	print_field("size", size_format(member_number(clone, "size_bytes"), size));
	print_field("delta", size_format(member_number(clone, "delta_bytes"), delta));
	if (member_number(clone, "quota_bytes"))
		print_field("quota", size_format(member_number(clone, "quota_bytes"), quota));
	snprintf(depth, sizeof(depth), "%" PRIu64 " of %d", member_number(clone, "depth"),
		INVENTORY_DEPTH_MAX);
	print_field("layers", member_number(clone, "depth") ? depth : NULL);
	print_field("hydrate", member_text(clone, "hydrate", NULL));
}

static int add_line(struct output_table *table, const json_t *disk)
{
	char size[SIZE_TEXT], delta[SIZE_TEXT];
	const char *const cells[] = {
		member_text(disk, "target", "?"),
		size_format(member_number(disk, "size_bytes"), size),
		size_format(member_number(disk, "delta_bytes"), delta),
		json_is_true(json_object_get(disk, "open")) ? "open" : "closed",
		member_text(disk, "path", "-"),
		member_text(disk, "base", "-"),
	};

	return output_table_line(table, cells);
}

static int print_disks(const json_t *disks)
{
	static const struct output_column columns[] = {{"DISK", false}, {"SIZE", true},
		{"DELTA", true}, {"USE", false}, {"PATH", false}, {"BASE", false}, {NULL, false}};

	return output_table_of(columns, disks, add_line);
}

static int add_layer(struct output_table *table, const json_t *layer)
{
	AUTO_FREE char *users = output_join(json_object_get(layer, "needed_by"));
	char size[SIZE_TEXT];
	const char *const cells[] = {
		member_text(layer, "target", "?"),
		member_text(layer, "id", "?"),
		size_format(member_number(layer, "bytes"), size),
		member_text(layer, "snapshot", "-"),
		users,
	};

	return output_table_line(table, cells);
}

static int print_layers(const json_t *layers)
{
	static const struct output_column columns[] = {{"DISK", false}, {"LAYER", false},
		{"TAKES", true}, {"SNAPSHOT", false}, {"ALSO NEEDED BY", false}, {NULL, false}};

	if (!json_array_size(layers))
		return 0;
	putchar('\n');
	return output_table_of(columns, layers, add_layer);
}

static void print_chains(const json_t *disks)
{
	const json_t *disk;
	size_t i;

	json_array_foreach(disks, i, disk)
		cmd_print_chain(member_text(disk, "target", "?"), json_object_get(disk, "images"));
}

static void print_trouble(const json_t *clone)
{
	const json_t *disk;
	size_t i;

	json_array_foreach(json_object_get(clone, "disks"), i, disk) {
		const char *trouble = member_text(disk, "error", NULL);

		if (trouble)
			printf("\n%s: %s\n", member_text(disk, "target", "?"), trouble);
	}
	if (member_text(clone, "error", NULL))
		printf("\nerror: %s\n", member_text(clone, "error", NULL));
	if (member_text(clone, "hint", NULL))
		printf("\nhint: %s\n", member_text(clone, "hint", NULL));
}

static int run_info(struct cmd *cmd, struct err *err)
{
	struct session *session;
	json_t *clone = NULL;
	int rc;

	rc = cmd_session(cmd, &session, err);
	if (!rc)
		rc = inventory_info(session, cmd->words[0], &clone, err);
	if (rc)
		return rc;
	if (cmd->args.json) {
		output_json(clone);
		return 0;
	}
	print_clone(clone);
	putchar('\n');
	rc = print_disks(json_object_get(clone, "disks"));
	print_chains(json_object_get(clone, "disks"));
	if (!rc)
		rc = print_layers(json_object_get(clone, "layers"));
	if (!rc && json_array_size(json_object_get(clone, "snapshots"))) {
		putchar('\n');
		rc = cmd_print_snapshots(json_object_get(clone, "snapshots"));
	}
	print_trouble(clone);
	json_decref(clone);
	return rc ? err_sys(err, rc, "printing the table") : 0;
}

const struct verb verb_info = {
	.name = "info",
	.summary = "everything about one clone",
	.usage = (const char *const[]){"CLONE", NULL},
	.options = no_options,
	.min_words = 1,
	.max_words = 1,
	.missing = "CLONE",
	.run = run_info,
};
