/* SPDX-License-Identifier: LGPL-2.1-or-later */
/* The verb `snapshot`: take, list and delete snapshots of a clone. */
#include "clone/plan/snapshot.h"

#include <errno.h>
#include <stdio.h>

#include "clone/cmd/output.h"
#include "clone/cmd/verb.h"
#include "clone/plan/inventory.h"
#include "fs/util/size.h"

#define ARG(member) offsetof(struct args, member)

static const struct cli_option options[] = {
	{0, "quiesce", NULL, "freeze the guest's file systems meanwhile, through its agent",
		ARG(quiesce)},
	{0, "list", NULL, "list the clone's snapshots", ARG(list)},
	{0, "delete", "NAME", "delete that snapshot", ARG(delete)},
	{.name = NULL},
};

static int check_usage(const struct cmd *cmd, struct err *err)
{
	const struct args *args = &cmd->args;
	bool named = cmd->n_words == 2;
	const char *wrong = NULL;

	if (args->list && args->delete)
		wrong = "--list and --delete exclude each other";
	else if ((args->list || args->delete) && (named || args->quiesce))
		wrong = "--list and --delete take nothing but the CLONE";
	else if (!args->list && !args->delete && !named)
		wrong = "NAME is missing";
	return wrong ? cmd_usage(cmd, err_set(err, -EINVAL, "%s", wrong), err) : 0;
}

/* ---- list ---- */

static int add_line(struct output_table *table, const json_t *snapshot)
{
	char created[SIZE_TEXT];
	const char *const cells[] = {
		member_text(snapshot, "name", "?"),
		date_format((int64_t)member_number(snapshot, "created"), created),
	};

	return output_table_line(table, cells);
}

int cmd_print_snapshots(const json_t *snapshots)
{
	static const struct output_column columns[] = {
		{"SNAPSHOT", false}, {"CREATED", false}, {NULL, false}};

	return output_table_of(columns, snapshots, add_line);
}

static int run_list(struct cmd *cmd, struct err *err)
{
	json_t *clone;
	json_t *snapshots;
	int rc = inventory_info(cmd->session, cmd->words[0], &clone, err);

	if (rc)
		return rc;
	snapshots = json_object_get(clone, "snapshots");
	if (cmd->args.json)
		output_json(json_incref(snapshots));
	else
		rc = cmd_print_snapshots(snapshots);
	json_decref(clone);
	return rc ? err_sys(err, rc, "printing the table") : 0;
}

/* ---- take, delete ---- */

static int run_make(struct cmd *cmd, struct err *err)
{
	struct snapshot_result result;
	char time[SIZE_TEXT];
	int rc = snapshot_make(cmd->session, cmd->words[0], cmd->words[1], cmd->args.quiesce,
		&result, err);

	if (rc)
		return rc;
	if (cmd->args.json)
		output_json(json_pack("{s:o, s:o, s:i, s:b, s:I}", "name",
			output_text(cmd->words[0]), "snapshot", output_text(cmd->words[1]),
			"disks", (int)result.n_disks, "quiesced", result.quiesced, "total_ns",
			(json_int_t)result.total_ns));
	else
		printf("%s: snapshot %s of %u disk%s in %s%s\n", cmd->words[0], cmd->words[1],
			result.n_disks, result.n_disks == 1 ? "" : "s",
			duration_format(result.total_ns, time),
			result.quiesced ? ", quiesced" : "");
	return 0;
}

static int run_delete(struct cmd *cmd, struct err *err)
{
	int rc = snapshot_delete(cmd->session, cmd->words[0], cmd->args.delete, err);

	if (rc)
		return rc;
	if (cmd->args.json)
		output_json(json_pack("{s:o, s:o, s:b}", "name", output_text(cmd->words[0]),
			"snapshot", output_text(cmd->args.delete), "deleted", true));
	else
		printf("%s: snapshot %s deleted\n", cmd->words[0], cmd->args.delete);
	return 0;
}

static int run_snapshot(struct cmd *cmd, struct err *err)
{
	struct session *session;
	int rc = check_usage(cmd, err);

	if (!rc)
		rc = cmd_session(cmd, &session, err);
	if (!rc && cmd->args.list)
		return run_list(cmd, err);
	if (!rc)
		rc = session_recover(session, err);
	if (rc)
		return rc;
	return cmd->args.delete ? run_delete(cmd, err) : run_make(cmd, err);
}

const struct verb verb_snapshot = {
	.name = "snapshot",
	.summary = "keep the state of a clone's disks under a name",
	.usage = (const char *const[]){"[--quiesce] CLONE NAME", "CLONE --list",
		"CLONE --delete NAME", NULL},
	.detail = (const char *const[]){
		"All disks at one instant, and the NVRAM; also while the clone runs: then the disks",
		"are as a power cut would leave them, or with --quiesce as the guest's agent prepared",
		"them. 'clone CLONE --snapshot NAME' makes a machine of it, 'reset --to NAME' goes",
		"back to it. Each one adds a layer that reads go through, 32 at most.",
		NULL},
	.options = options,
	.min_words = 1,
	.max_words = 2,
	.missing = "CLONE",
	.run = run_snapshot,
};
