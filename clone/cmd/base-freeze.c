/* SPDX-License-Identifier: LGPL-2.1-or-later */
/* The verb `base freeze`: let an original move on to a delta of its own. */
#include <stdio.h>

#include "clone/cmd/base.h"
#include "clone/cmd/output.h"
#include "clone/plan/freeze.h"

#define ARG(member) offsetof(struct args, member)

static const struct cli_option options[] = {
	{0, "backing", "FILE[:FORMAT]...", "a file that an image may have below it", ARG(backing)},
	{0, "data-file", "FILE...", "a file that an image may have its data in", ARG(data_file)},
	{.name = NULL},
};

static void print_result(const json_t *result)
{
	const json_t *disk;
	size_t i;

	printf("%s: frozen\n", member_text(result, "name", "?"));
	json_array_foreach(json_object_get(result, "disks"), i, disk)
		printf("  %s: %s, over %s\n", member_text(disk, "target", "?"),
			member_text(disk, "path", "?"), member_text(disk, "base", "?"));
}

static int run_freeze(struct cmd *cmd, struct err *err)
{
	const struct freeze_options how = {
		.backings = cmd->args.backing.text,
		.n_backings = cmd->args.backing.count,
		.data_files = cmd->args.data_file.text,
		.n_data_files = cmd->args.data_file.count,
	};
	struct session *session;
	json_t *result = NULL;
	int rc = cmd_session(cmd, &session, err);

	if (!rc)
		rc = session_recover(session, err);
	if (!rc)
		rc = freeze_domain(session, cmd->words[0], &how, &result, err);
	if (result && cmd->args.json)
		output_json(json_incref(result));
	else if (result)
		print_result(result);
	json_decref(result);
	return rc;
}

const struct verb verb_base_freeze = {
	.name = "base freeze",
	.summary = "let an original move on to a delta of its own, so that it can run",
	.usage = (const char *const[]){"[OPTION...] DOMAIN", NULL},
	.detail = (const char *const[]){
		"The domain, shut off, stays what it is: name, UUID, MAC addresses, NVRAM. What it",
		"writes from now on goes to the store, its images are not written any more. It can be",
		"cloned like a clone, but rm, reset and hydrate refuse it; base thaw ends it.",
		NULL},
	.options = options,
	.min_words = 1,
	.max_words = 1,
	.missing = "DOMAIN",
	.run = run_freeze,
};
