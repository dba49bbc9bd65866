/* SPDX-License-Identifier: LGPL-2.1-or-later */
/* The verb `base thaw`: give a frozen original full images of its own again. */
#include <signal.h>
#include <stdio.h>

#include "clone/cmd/base.h"
#include "clone/cmd/output.h"
#include "clone/plan/thaw.h"
#include "fs/util/progress.h"
#include "fs/util/size.h"

#define ARG(member) offsetof(struct args, member)

static const struct cli_option options[] = {
	{0, "to", "DIR", "put the full images there, not beside the originals", ARG(to)},
	{.name = NULL},
};

static void show_progress(void *ctx, uint64_t done_bytes, uint64_t total_bytes)
{
	progress_update(ctx, done_bytes, total_bytes);
}

static void print_result(const json_t *result)
{
	char size[SIZE_TEXT], time[SIZE_TEXT];
	const json_t *one;
	size_t i;

	printf("%s: thawed, %s copied in %s\n", member_text(result, "name", "?"),
		size_format(member_number(result, "copied_bytes"), size),
		duration_format(member_number(result, "total_ns"), time));
	json_array_foreach(json_object_get(result, "images"), i, one)
		printf("  %s\n", json_string_value(one));
	json_array_foreach(json_object_get(result, "removed"), i, one)
		printf("%s: removed\n", json_string_value(one));
	json_array_foreach(json_object_get(result, "kept"), i, one)
		printf("%s: kept: %s\n", member_text(one, "path", "?"),
			member_text(one, "why", "?"));
}

static int thaw(struct cmd *cmd, struct session *session, json_t **ret_result, struct err *err)
{
	struct progress progress;
	const struct hydrate_options how = {
		.to = cmd->args.to,
		.progress = show_progress,
		.progress_ctx = &progress,
	};
	int rc;

	progress_begin(&progress, cmd->words[0], stderr, cmd->args.quiet);
	rc = thaw_domain(session, cmd->words[0], &how, ret_result, err);
	progress_end(&progress);
	return rc;
}

static int run_thaw(struct cmd *cmd, struct err *err)
{
	struct session *session;
	json_t *result = NULL;
	int rc = cmd_session(cmd, &session, err);

	/* Who asks how far it is, a moment too early or too late, must not end it. */
	signal(SIGUSR1, SIG_IGN);
	if (!rc)
		rc = session_recover(session, err);
	if (!rc)
		rc = thaw(cmd, session, &result, err);
	if (result && cmd->args.json)
		output_json(json_incref(result));
	else if (result)
		print_result(result);
	json_decref(result);
	return rc;
}

const struct verb verb_base_thaw = {
	.name = "base thaw",
	.summary = "give a frozen original full images of its own again",
	.usage = (const char *const[]){"[--to DIR] DOMAIN", NULL},
	.detail = (const char *const[]){
		"Copies each disk of the domain, shut off, to a new raw image, defines it on the",
		"images, drops the delta, and only then removes the old images: those that no clone",
		"and no other domain needs. The rest are kept, and it says why. Killed at any point,",
		"it goes on when it is run again.",
		NULL},
	.options = options,
	.min_words = 1,
	.max_words = 1,
	.missing = "DOMAIN",
	.run = run_thaw,
};
