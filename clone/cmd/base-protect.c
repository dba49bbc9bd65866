/* SPDX-License-Identifier: LGPL-2.1-or-later */
/* The verbs `base protect` and `base unprotect`: an image's write bits. */
#include <stddef.h>
#include <stdio.h>

#include "clone/cmd/base.h"
#include "clone/cmd/output.h"
#include "clone/plan/protect.h"

#define ARG(member) offsetof(struct args, member)

static void print_done(const struct cmd *cmd, const char *what)
{
	if (cmd->args.json)
		output_json(json_pack("{s:o, s:s}", "path", output_text(cmd->words[0]), "result",
			what));
	else
		printf("%s: %s\n", cmd->words[0], what);
}

static int begin(struct cmd *cmd, struct session **ret_session, struct err *err)
{
	int rc = cmd_session(cmd, ret_session, err);

	return rc ? rc : session_recover(*ret_session, err);
}

static int run_protect(struct cmd *cmd, struct err *err)
{
	struct session *session;
	int rc = begin(cmd, &session, err);

	if (!rc)
		rc = protect_by_hand(session, cmd->words[0], cmd->args.immutable, err);
	if (!rc)
		print_done(cmd, "protected");
	return rc;
}

static int run_unprotect(struct cmd *cmd, struct err *err)
{
	struct session *session;
	int rc = begin(cmd, &session, err);

	if (!rc)
		rc = protect_undo(session, cmd->words[0], cmd->args.force, err);
	if (!rc)
		print_done(cmd, "unprotected");
	return rc;
}

static const struct cli_option protect_options[] = {
	{0, "immutable", NULL, "set the file's immutable attribute too (chattr +i)", ARG(immutable)},
	{.name = NULL},
};

static const struct cli_option unprotect_options[] = {
	{0, "force", NULL, "although clones need it", ARG(force)},
	{.name = NULL},
};

const struct verb verb_base_protect = {
	.name = "base protect",
	.summary = "take the write bits of an image file",
	.usage = (const char *const[]){"[--immutable] PATH", NULL},
	.detail = (const char *const[]){
		"Its mode is remembered, and given back by base unprotect. Of the originals of clones",
		"the write bits are taken anyway, and given back with the last clone; what is",
		"protected by hand stays so. With --immutable not even root writes, renames or",
		"deletes it.",
		NULL},
	.options = protect_options,
	.min_words = 1,
	.max_words = 1,
	.missing = "PATH",
	.run = run_protect,
};

const struct verb verb_base_unprotect = {
	.name = "base unprotect",
	.summary = "give the write bits of an image file back",
	.usage = (const char *const[]){"[--force] PATH", NULL},
	.detail = (const char *const[]){
		"Refused (exit 4), with the list, while clones of this host's stores need it. With",
		"--force it is done all the same: a running daemon keeps QEMU from writing it, but",
		"without one whoever has the right can, and its clones fail once it was changed.",
		NULL},
	.options = unprotect_options,
	.min_words = 1,
	.max_words = 1,
	.missing = "PATH",
	.run = run_unprotect,
};
