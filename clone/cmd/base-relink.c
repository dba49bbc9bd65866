/* SPDX-License-Identifier: LGPL-2.1-or-later */
/* The verb `base relink`: a base was moved. */
#include <errno.h>
#include <stdio.h>

#include "clone/cmd/base.h"
#include "clone/cmd/output.h"
#include "clone/plan/relink.h"

#define ARG(member) offsetof(struct args, member)

static const struct cli_option options[] = {
	{0, "full", NULL, "compare all of it, not only what was sampled", ARG(full)},
	{.name = NULL},
};

static void print_result(const json_t *result)
{
	const json_t *changed = json_object_get(result, "changed"), *disk;
	size_t i;

	json_array_foreach(changed, i, disk)
		printf("%s %s (%s): now on %s\n", member_text(disk, "clone", "?"),
			member_text(disk, "disk", "?"), member_text(disk, "store", "?"),
			member_text(result, "to", "?"));
	if (!json_array_size(changed))
		printf("nothing to change: %d disks are on %s already\n",
			(int)member_number(result, "already"), member_text(result, "to", "?"));
	fflush(stdout);
}

static int run_relink(struct cmd *cmd, struct err *err)
{
	struct base_bars bars;
	struct verify_options how = {
		.full = cmd->args.full, .progress = base_bars_show, .ctx = &bars};
	struct session *session;
	json_t *result = NULL;
	int rc = cmd_session(cmd, &session, err);

	if (rc)
		return rc;
	base_bars_begin(&bars, cmd);
	rc = relink_base(session, cmd->words[0], cmd->words[1], &how, &result, err);
	base_bars_end(&bars);
	if (result && cmd->args.json)
		output_json(json_incref(result));
	else if (result)
		print_result(result);
	json_decref(result);
	return rc;
}

const struct verb verb_base_relink = {
	.name = "base relink",
	.summary = "say where a base is that was moved",
	.usage = (const char *const[]){"[--full] OLD NEW", NULL},
	.detail = (const char *const[]){
		"From now on the clones that need the file OLD, in all stores of this host, read it",
		"at NEW. It has to hold the same: its size and the sample that was recorded are",
		"compared, with --full all of it. The machines must be shut off. OLD may be NEW, for",
		"a file that was restored in place. Cut short, the same command again goes on.",
		NULL},
	.options = options,
	.min_words = 2,
	.max_words = 2,
	.missing = "OLD or NEW",
	.run = run_relink,
};
