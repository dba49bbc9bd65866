/* SPDX-License-Identifier: LGPL-2.1-or-later */
/* The verb `rm`: remove clones. */
#include <stdio.h>

#include "clone/cmd/verb.h"
#include "clone/plan/base-notes.h"
#include "clone/plan/remove.h"
#include "clone/plan/session.h"

#define ARG(member) offsetof(struct args, member)

static const struct cli_option options[] = {
	{0, "force", NULL, "power a running clone off first", ARG(force)},
	{0, "dry-run", NULL, "say what would be removed, remove nothing", ARG(dry_run)},
	{.name = NULL},
};

static int remove_one(struct cmd *cmd, const char *name, json_t **ret_result, struct err *err)
{
	struct remove_options how = {.force = cmd->args.force, .dry_run = cmd->args.dry_run};
	int rc = remove_clone(cmd->session, name, &how, err);

	*ret_result = json_pack("{s:b}", "removed", !rc && !how.dry_run);
	if (!rc && !cmd->args.json)
		printf("%s: %s\n", name, how.dry_run ? "would be removed" : "removed");
	return rc;
}

static int run_rm(struct cmd *cmd, struct err *err)
{
	struct session *session;
	struct store *store;
	int rc;

	rc = cmd_session(cmd, &session, err);
	if (!rc && !cmd->args.dry_run)
		rc = session_recover(session, err);
	if (rc)
		return rc;
	rc = cmd_each(cmd, remove_one, err);
	if (!cmd->args.dry_run && !session_need_store(session, false, &store, NULL))
		base_notes_sweep(store);
	return rc;
}

const struct verb verb_rm = {
	.name = "rm",
	.summary = "remove clones: domain, NVRAM, disks",
	.usage = (const char *const[]){"[OPTION...] CLONE...", NULL},
	.detail = (const char *const[]){
		"Only what lazyclone made is removed. A running clone is refused (exit 4)",
		"unless --force. Hydrated clones are ordinary domains: virsh removes those.",
		NULL},
	.options = options,
	.min_words = 1,
	.max_words = WORDS_ANY,
	.missing = "CLONE",
	.run = run_rm,
};
