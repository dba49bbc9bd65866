/* SPDX-License-Identifier: LGPL-2.1-or-later */
/* The verb `check`: verify what clones hold, with the exit status of qemu-img check. */
#include "clone/plan/check.h"

#include <errno.h>
#include <inttypes.h>
#include <signal.h>
#include <stdio.h>
#include <unistd.h>

#include "clone/cmd/output.h"
#include "clone/cmd/verb.h"
#include "clone/plan/session.h"
#include "fs/util/progress.h"
#include "fs/util/size.h"

/* As qemu-img(1) says of its check. */
enum {
	CHECK_FINE = 0,
	CHECK_FAILED = 1, /* it was not completed */
	CHECK_CORRUPT = 2,
	CHECK_LEAKS = 3,
	CHECK_UNSUPPORTED = 63,
};

static int status_of(int rc)
{
	return rc == -EOPNOTSUPP ? CHECK_UNSUPPORTED : CHECK_FAILED;
}

/* Corruptions are the worst that can be found, leaks the least. */
static void note_found(struct cmd *cmd, const struct check_result *result)
{
	if (result->bad_blocks > 0)
		cmd->status = CHECK_CORRUPT;
	else if (result->leaks > 0 && cmd->status == CHECK_FINE)
		cmd->status = CHECK_LEAKS;
}

static json_t *result_object(const struct check_result *result)
{
	json_t *disks = json_array();

	for (uint32_t i = 0; i < result->n_disks; i++)
		json_array_append_new(disks, json_pack("{s:o, s:I, s:I}", "target",
			output_text(result->disks[i].target), "data_blocks",
			(json_int_t)result->disks[i].data_blocks, "bad_blocks",
			(json_int_t)result->disks[i].bad_blocks));
	return json_pack("{s:o, s:I, s:I, s:I, s:I}", "disks", disks, "bad_blocks",
		(json_int_t)result->bad_blocks, "leaks", (json_int_t)result->leaks,
		"leaked_bytes", (json_int_t)result->leaked_bytes, "total_ns",
		(json_int_t)result->total_ns);
}

static void print_result(const char *name, const struct check_result *result)
{
	char size[SIZE_TEXT], time[SIZE_TEXT];

	for (uint32_t i = 0; i < result->n_disks; i++) {
		const struct check_disk *disk = &result->disks[i];

		printf("%s %s: %" PRIu64 " blocks read, %" PRIu64 " bad\n", name, disk->target,
			disk->data_blocks, disk->bad_blocks);
	}
	if (result->leaks > 0)
		printf("%s: %u files of no use take %s\n", name, result->leaks,
			size_format(result->leaked_bytes, size));
	printf("%s: %s (%s)\n", name, result->bad_blocks ? "DAMAGED: reads of the bad blocks fail"
		: result->leaks ? "no damage, but leaks: the daemon's next start removes them"
				: "no damage", duration_format(result->total_ns, time));
}

/* A block is whole again once it is written; what else is damaged, the store's own checker says. */
static void hint_damage(struct cmd *cmd)
{
	if (!cmd->args.quiet)
		fprintf(stderr, "hint: go back to before it (lazyclone reset), or see more of it: "
			"lazyclone umount; lazyclone-fsck -n -f %s\n",
			session_store_path(cmd->session));
}

static void show_progress(void *ctx, uint64_t done_bytes, uint64_t total_bytes)
{
	progress_update(ctx, done_bytes, total_bytes);
}

static int check_one(struct cmd *cmd, const char *name, json_t **ret_result, struct err *err)
{
	struct progress progress;
	struct check_options how = {.progress = show_progress, .progress_ctx = &progress};
	struct check_result result;
	int rc;

	progress_begin(&progress, name, stderr, cmd->args.quiet || !isatty(STDERR_FILENO));
	rc = check_clone(cmd->session, name, &how, &result, err);
	progress_end(&progress);
	if (!rc) {
		note_found(cmd, &result);
		*ret_result = result_object(&result);
		if (!cmd->args.json)
			print_result(name, &result);
		if (!cmd->args.json && result.bad_blocks > 0)
			hint_damage(cmd);
	}
	check_result_clear(&result);
	return rc;
}

static int run_check(struct cmd *cmd, struct err *err)
{
	struct session *session;
	int rc;

	signal(SIGUSR1, SIG_IGN);
	rc = cmd_session(cmd, &session, err);
	if (!rc)
		rc = cmd_each(cmd, check_one, err);
	/* What was found in one is worse than that another could not be checked. */
	if (rc && cmd->status == CHECK_CORRUPT) {
		output_error(err, cmd->args.json);
		return 0;
	}
	return rc;
}

const struct verb verb_check = {
	.name = "check",
	.summary = "verify every block that clones hold, also while they run",
	.usage = (const char *const[]){"CLONE...", NULL},
	.detail = (const char *const[]){
		"Reads and verifies the data of each disk and of the layers below it; bases are not",
		"read. The exit status is that of qemu-img check: 0 fine, 1 not completed, 2 damage,",
		"3 leaks (space that nothing needs), 63 not supported. A store that is not mounted",
		"is checked, and repaired, by lazyclone-fsck -f.",
		NULL},
	.options = no_options,
	.min_words = 1,
	.max_words = WORDS_ANY,
	.missing = "CLONE",
	.run = run_check,
	.status_of = status_of,
};
