/* SPDX-License-Identifier: LGPL-2.1-or-later */
/* The verb `reset`: throw away what clones wrote. */
#include "clone/plan/reset.h"

#include <errno.h>
#include <stdio.h>

#include "clone/cmd/output.h"
#include "clone/cmd/verb.h"
#include "clone/plan/session.h"
#include "fs/util/size.h"

#define ARG(member) offsetof(struct args, member)

static const struct cli_option options[] = {
	{0, "to", "NAME", "back to that snapshot", ARG(to)},
	{0, "to-base", NULL, "back to the original's disks", ARG(to_base)},
	{0, "force", NULL, "power a running clone off first; drop newer snapshots", ARG(force)},
	{0, "start", NULL, "start the clones again", ARG(start)},
	{.name = NULL},
};

static int reset_one(struct cmd *cmd, const char *name, json_t **ret_result, struct err *err)
{
	struct reset_options how = {
		.to = cmd->args.to_base ? "" : cmd->args.to,
		.force = cmd->args.force,
		.start = cmd->args.start,
	};
	struct reset_result result;
	char time[SIZE_TEXT];
	int rc = reset_clone(cmd->session, name, &how, &result, err);

	*ret_result = json_pack("{s:b, s:b, s:I}", "reset", result.reset, "started",
		result.started, "reset_ns", (json_int_t)result.reset_ns);
	if (result.reset && !cmd->args.json)
		printf("%s: reset in %s%s\n", name, duration_format(result.reset_ns, time),
			result.started ? ", started" : "");
	return rc;
}

static int run_reset(struct cmd *cmd, struct err *err)
{
	struct session *session;
	int rc = 0;

	if (cmd->args.to && cmd->args.to_base)
		rc = err_set(err, -EINVAL, "--to and --to-base exclude each other");
	else if (cmd->args.to && !cmd->args.to[0])
		rc = err_set(err, -EINVAL, "--to: the snapshot's NAME is empty");
	if (rc)
		return cmd_usage(cmd, rc, err);
	rc = cmd_session(cmd, &session, err);
	if (!rc)
		rc = session_recover(session, err);
	return rc ? rc : cmd_each(cmd, reset_one, err);
}

const struct verb verb_reset = {
	.name = "reset",
	.summary = "throw away what clones wrote, since their newest layer or all",
	.usage = (const char *const[]){"[OPTION...] CLONE...", NULL},
	.detail = (const char *const[]){
		"Without an option back to the newest layer: the last snapshot, the last time that it",
		"was cloned in its turn, or the original. The NVRAM of that instant is put back. A",
		"running clone is refused (exit 4) unless --force, and so is going back beyond a",
		"snapshot. Killed, it is finished or undone by the next command.",
		NULL},
	.options = options,
	.min_words = 1,
	.max_words = WORDS_ANY,
	.missing = "CLONE",
	.run = run_reset,
};
