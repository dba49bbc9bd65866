/* SPDX-License-Identifier: LGPL-2.1-or-later */
/* The verb `hydrate`: turn shut-off clones into ordinary machines. */
#include "clone/plan/hydrate.h"

#include <signal.h>
#include <stdio.h>

#include "clone/cmd/output.h"
#include "clone/cmd/verb.h"
#include "clone/plan/session.h"
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

static json_t *result_object(const struct hydrate_result *result)
{
	json_t *images = json_array();

	for (uint32_t i = 0; i < result->n_images; i++)
		json_array_append_new(images, output_text(result->images[i]));
	return json_pack("{s:o, s:I, s:I}", "images", images, "copied_bytes",
		(json_int_t)result->copied_bytes, "total_ns", (json_int_t)result->total_ns);
}

static void print_result(const char *name, const struct hydrate_result *result)
{
	char size[SIZE_TEXT], time[SIZE_TEXT];

	printf("%s: independent, %s copied in %s\n", name,
		size_format(result->copied_bytes, size), duration_format(result->total_ns, time));
	for (uint32_t i = 0; i < result->n_images; i++)
		printf("  %s\n", result->images[i]);
}

static int hydrate_one(struct cmd *cmd, const char *name, json_t **ret_result, struct err *err)
{
	struct progress progress;
	struct hydrate_options how = {
		.to = cmd->args.to,
		.progress = show_progress,
		.progress_ctx = &progress,
	};
	struct hydrate_result result = {.n_images = 0};
	int rc;

	progress_begin(&progress, name, stderr, cmd->args.quiet);
	rc = hydrate_clone(cmd->session, name, &how, &result, err);
	progress_end(&progress);
	if (!rc) {
		*ret_result = result_object(&result);
		if (!cmd->args.json)
			print_result(name, &result);
	}
	hydrate_result_clear(&result);
	return rc;
}

static int run_hydrate(struct cmd *cmd, struct err *err)
{
	struct session *session;
	int rc;

	/* Who asks how far it is, a moment too early or too late, must not end it. */
	signal(SIGUSR1, SIG_IGN);
	rc = cmd_session(cmd, &session, err);
	if (!rc)
		rc = session_recover(session, err);
	return rc ? rc : cmd_each(cmd, hydrate_one, err);
}

const struct verb verb_hydrate = {
	.name = "hydrate",
	.summary = "make shut-off clones independent: full images, nothing of lazyclone left",
	.usage = (const char *const[]){"[OPTION...] CLONE...", NULL},
	.detail = (const char *const[]){
		"Copies each disk to a full, sparse raw image beside the original one, defines",
		"the domain on the images, and only then drops what the clone wrote. Killed at",
		"any point, it goes on when it is run again. SIGUSR1 prints how far it is.",
		NULL},
	.options = options,
	.min_words = 1,
	.max_words = WORDS_ANY,
	.missing = "CLONE",
	.run = run_hydrate,
};
