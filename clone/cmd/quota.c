/* SPDX-License-Identifier: LGPL-2.1-or-later */
/* The verb `quota`: show or change what a clone may take of the store. */
#include "clone/plan/quota.h"

#include <stdio.h>

#include "clone/cmd/output.h"
#include "clone/cmd/verb.h"
#include "clone/plan/inventory.h"
#include "fs/util/size.h"

static int print_quota(const struct cmd *cmd, uint64_t bytes, uint64_t used_bytes)
{
	char quota[SIZE_TEXT], used[SIZE_TEXT];

	if (cmd->args.json)
		output_json(json_pack("{s:o, s:o, s:I}", "name", output_text(cmd->words[0]),
			"quota_bytes", bytes ? json_integer((json_int_t)bytes) : json_null(),
			"delta_bytes", (json_int_t)used_bytes));
	else
		printf("%s: quota %s, %s taken\n", cmd->words[0],
			bytes ? size_format(bytes, quota) : "none", size_format(used_bytes, used));
	return 0;
}

static int run_show(struct cmd *cmd, struct err *err)
{
	json_t *clone;
	int rc = inventory_info(cmd->session, cmd->words[0], &clone, err);

	if (rc)
		return rc;
	rc = print_quota(cmd, member_number(clone, "quota_bytes"),
		member_number(clone, "delta_bytes"));
	json_decref(clone);
	return rc;
}

static int run_quota(struct cmd *cmd, struct err *err)
{
	struct session *session;
	uint64_t bytes = 0;
	int rc = 0;

	if (cmd->n_words == 2)
		rc = quota_parse("SIZE", cmd->words[1], &bytes, err);
	if (rc)
		return cmd_usage(cmd, rc, err);
	rc = cmd_session(cmd, &session, err);
	if (!rc && cmd->n_words == 2)
		rc = session_recover(session, err);
	if (!rc && cmd->n_words == 2)
		rc = quota_set(session, cmd->words[0], bytes, err);
	return rc ? rc : run_show(cmd, err);
}

const struct verb verb_quota = {
	.name = "quota",
	.summary = "show or change how much of the store a clone may take",
	.usage = (const char *const[]){"CLONE [SIZE|none]", NULL},
	.detail = (const char *const[]){
		"Its deltas count, layers do not. A guest that reaches it pauses with 'no space',",
		"and goes on after the quota was raised: virsh resume.",
		NULL},
	.options = no_options,
	.min_words = 1,
	.max_words = 2,
	.missing = "CLONE",
	.run = run_quota,
};
