/* SPDX-License-Identifier: LGPL-2.1-or-later */
/* The verb `base rm`: delete an image that nobody needs any more. */
#include <errno.h>
#include <stdio.h>
#include <unistd.h>

#include "clone/cmd/base.h"
#include "clone/cmd/output.h"
#include "clone/plan/discard.h"

#define ARG(member) offsetof(struct args, member)

static const struct cli_option options[] = {
	{0, "yes", NULL, "do not ask", ARG(yes)},
	{0, "forget-missing", NULL, "stores that are not there now are gone for good",
		ARG(forget_missing)},
	{.name = NULL},
};

static bool confirm(void *ctx, const char *path, const json_t *remaining)
{
	const struct cmd *cmd = ctx;
	char answer[16];

	if (cmd->args.yes)
		return true;
	if (!isatty(STDIN_FILENO))
		return false;
	fprintf(stderr, "Delete the image %s? [y/N] ", path);
	fflush(stderr);
	return fgets(answer, sizeof(answer), stdin) && (answer[0] == 'y' || answer[0] == 'Y');
}

static void print_result(const json_t *result)
{
	const json_t *remaining = json_object_get(result, "remaining"), *path;
	size_t i;

	printf("%s: removed\n", member_text(result, "path", "?"));
	json_array_foreach(remaining, i, path)
		printf("%s: stays; it was stacked on it\n", json_string_value(path));
}

static int run_rm(struct cmd *cmd, struct err *err)
{
	struct discard_options how = {
		.forget_missing = cmd->args.forget_missing, .confirm = confirm, .ctx = cmd};
	struct session *session;
	json_t *result = NULL;
	int rc = cmd_session(cmd, &session, err);

	if (!rc)
		rc = discard_base(session, cmd->words[0], &how, &result, err);
	if (rc == -ECANCELED && !isatty(STDIN_FILENO)) {
		rc = err_set(err, -EINVAL, "base rm: nobody is there to be asked");
		err_hint(err, "--yes deletes it without asking");
	}
	if (result && cmd->args.json)
		output_json(json_incref(result));
	else if (result)
		print_result(result);
	json_decref(result);
	return rc;
}

const struct verb verb_base_rm = {
	.name = "base rm",
	.summary = "delete an image that no clone and no domain needs",
	.usage = (const char *const[]){"[--yes] [--forget-missing] PATH", NULL},
	.detail = (const char *const[]){
		"Refused (exit 4), with the list, while a clone in any store of this host needs the",
		"file, a domain of the connection has it as an image or is stacked on it, or a",
		"program has it locked. What it is stacked on itself stays. A store that cannot be",
		"read may need it: refused, unless it is gone and --forget-missing is given.",
		NULL},
	.options = options,
	.min_words = 1,
	.max_words = 1,
	.missing = "PATH",
	.run = run_rm,
};
