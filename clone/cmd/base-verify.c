/* SPDX-License-Identifier: LGPL-2.1-or-later */
/* The verb `base verify`: are bases what they were? */
#include <errno.h>
#include <inttypes.h>
#include <stdio.h>
#include <string.h>

#include "clone/cmd/base.h"
#include "clone/cmd/output.h"
#include "clone/plan/verify.h"

#define ARG(member) offsetof(struct args, member)

static const struct cli_option options[] = {
	{0, "full", NULL, "read all of each file, not only a sample", ARG(full)},
	{.name = NULL},
};

static const char *extent_words(const char *extent)
{
	return !strcmp(extent, "full") ? "all of it" : "sampled";
}

static void print_result(const json_t *file)
{
	const char *path = member_text(file, "path", "?");
	const char *result = member_text(file, "result", "?");
	const char *compared = member_text(file, "compared", "none");
	const char *read = member_text(file, "read", "none");

	if (strcmp(result, "same") != 0)
		printf("%s: %s\n", path, result);
	else if (!strcmp(compared, "none"))
		printf("%s: nothing was recorded to compare it with; recorded now (%s)\n", path,
			extent_words(read));
	else
		printf("%s: same (%s)%s\n", path, extent_words(compared),
			json_is_true(json_object_get(file, "recorded"))
				? "; the rest was never read before, recorded now" : "");
}

/* The failure that the run ends with is printed last; others are said here. */
static void print_results(const struct cmd *cmd, const json_t *results, const struct err *err)
{
	const json_t *file;
	size_t i;

	if (cmd->args.json) {
		json_dumpf(results, stdout, JSON_INDENT(2));
		putchar('\n');
		return;
	}
	json_array_foreach(results, i, file) {
		const char *why = member_text(file, "why", NULL);

		print_result(file);
		if (why && strcmp(why, err->message) != 0)
			output_notice(why);
	}
	fflush(stdout);
}

static int verify(struct cmd *cmd, struct session *session, struct err *err)
{
	struct base_bars bars;
	struct verify_options how = {
		.full = cmd->args.full, .progress = base_bars_show, .ctx = &bars};
	json_t *results;
	int rc;

	base_bars_begin(&bars, cmd);
	rc = verify_bases(session, cmd->n_words ? cmd->words[0] : NULL, &how, &results, err);
	base_bars_end(&bars);
	if (results)
		print_results(cmd, results, err);
	json_decref(results);
	return rc;
}

static int run_verify(struct cmd *cmd, struct err *err)
{
	struct session *session;
	int rc = cmd_session(cmd, &session, err);

	return rc ? rc : verify(cmd, session, err);
}

const struct verb verb_base_verify = {
	.name = "base verify",
	.summary = "compare bases with what was recorded of them",
	.usage = (const char *const[]){"[--full] [PATH]", NULL},
	.detail = (const char *const[]){
		"Without PATH all bases. Of each file the identity is compared (size, modification",
		"time, file system ...), and its content: a sample of 4 MiB, which was recorded when",
		"it was first used, or all of it. What was not recorded yet is recorded now. A base",
		"that is not what it was: exit 11, with the file and the first bytes that differ.",
		NULL},
	.options = options,
	.max_words = 1,
	.run = run_verify,
};
