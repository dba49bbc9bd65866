/* SPDX-License-Identifier: LGPL-2.1-or-later */
/* The verb `list`: a line per clone. */
#include <errno.h>
#include <inttypes.h>
#include <stdio.h>

#include "clone/cmd/output.h"
#include "clone/cmd/verb.h"
#include "clone/plan/inventory.h"
#include "fs/util/cleanup.h"
#include "fs/util/size.h"

#define STATE_TEXT 64

/* Why it is damaged, or its first disk cannot be served; or NULL. */
static const char *trouble_of(const json_t *clone)
{
	const json_t *disk;
	size_t i;

	json_array_foreach(json_object_get(clone, "disks"), i, disk)
		if (member_text(disk, "error", NULL))
			return member_text(disk, "error", NULL);
	return member_text(clone, "error", NULL);
}

/* The state, and how far a hydrate has come that did not come to its end. */
static const char *state_of(const json_t *clone, char text[static STATE_TEXT])
{
	const char *state = member_text(clone, "state", "?");
	const char *hydrate = member_text(clone, "hydrate", NULL);
	bool frozen = json_is_true(json_object_get(clone, "frozen"));

	if (member_text(clone, "error", NULL) || (!frozen && !hydrate && !trouble_of(clone)))
		return state;
	snprintf(text, STATE_TEXT, "%s%s%s%s%s", state, frozen ? ", frozen" : "", hydrate ? ", hydrate: " : "",
		hydrate ? hydrate : "", trouble_of(clone) ? ", disk error" : "");
	return text;
}

/* The domain it was cloned from; of a disk alone, the image. */
static const char *source_of(const json_t *clone)
{
	const json_t *disk = json_array_get(json_object_get(clone, "disks"), 0);

	return member_text(clone, "source", member_text(disk, "base", "-"));
}

static const char *number_format(uint64_t number, char text[static SIZE_TEXT])
{
	snprintf(text, SIZE_TEXT, "%" PRIu64, number);
	return text;
}

static int add_line(struct output_table *table, const json_t *clone)
{
	char size[SIZE_TEXT], delta[SIZE_TEXT], created[SIZE_TEXT], state[STATE_TEXT];
	char depth[SIZE_TEXT], snapshots[SIZE_TEXT];
	const char *const cells[] = {
		member_text(clone, "name", "?"),
		state_of(clone, state),
		size_format(member_number(clone, "size_bytes"), size),
		size_format(member_number(clone, "delta_bytes"), delta),
		number_format(member_number(clone, "depth"), depth),
		number_format(json_array_size(json_object_get(clone, "snapshots")), snapshots),
		date_format((int64_t)member_number(clone, "created"), created),
		source_of(clone),
	};

	return output_table_line(table, cells);
}

static int print_table(const json_t *clones)
{
	static const struct output_column columns[] = {{"NAME", false}, {"STATE", false},
		{"SIZE", true}, {"DELTA", true}, {"LAYERS", true}, {"SNAPSHOTS", true},
		{"CREATED", false}, {"SOURCE", false}, {NULL, false}};

	return output_table_of(columns, clones, add_line);
}

static void say_trouble(const char *name, const char *trouble)
{
	AUTO_FREE char *text = NULL;

	if (asprintf(&text, "clone %s: %s", name, trouble) < 0)
		text = NULL;
	output_notice(text ? text : trouble);
}

/* Disks that cannot be served come with the reason, guests that hang with the way out. */
static void say_hints(const json_t *clones)
{
	const json_t *clone;
	size_t i;

	if (!json_array_size(clones))
		output_notice("no clones yet");
	json_array_foreach(clones, i, clone) {
		const char *hint = member_text(clone, "hint", NULL);
		const char *trouble = trouble_of(clone);

		if (trouble)
			say_trouble(member_text(clone, "name", "?"), trouble);
		if (hint)
			output_notice(hint);
	}
}

static int run_list(struct cmd *cmd, struct err *err)
{
	struct session *session;
	json_t *clones = NULL;
	int rc;

	rc = cmd_session(cmd, &session, err);
	if (!rc)
		rc = inventory_list(session, &clones, err);
	if (rc)
		return rc;
	if (cmd->args.json) {
		output_json(clones);
		return 0;
	}
	rc = print_table(clones);
	if (!cmd->args.quiet)
		say_hints(clones);
	json_decref(clones);
	return rc ? err_sys(err, rc, "printing the table") : 0;
}

const struct verb verb_list = {
	.name = "list",
	.summary = "the clones of the store, with state and size",
	.usage = (const char *const[]){"", NULL},
	.options = no_options,
	.run = run_list,
};
