/* SPDX-License-Identifier: LGPL-2.1-or-later */
/* lazyclone-fsck: check a store, and repair it where the answer is yes. */
#include <errno.h>
#include <inttypes.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "fs/store/check.h"
#include "fs/util/progress.h"
#include "tools/bases.h"
#include "tools/tool.h"

/* As e2fsck: bits that are added up. */
enum fsck_exit {
	FSCK_CLEAN = 0,
	FSCK_CORRECTED = 1,
	FSCK_LEFT = 4,
	FSCK_FAILED = 8,
	FSCK_USAGE = 16,
	FSCK_CANCELLED = 32,
};

struct fsck_args {
	struct tool_args common;
	bool no, yes, preen, full, verbose;
};

#define ARG(letter_, name_, help_, member)                                                         \
	{.letter = (letter_), .name = (name_), .help = (help_),                                    \
		.offset = offsetof(struct fsck_args, member)}

static const struct cli_option options[] = {
	ARG('n', "no", "change nothing: every answer is no", no),
	ARG('y', "yes", "every answer is yes", yes),
	ARG('p', "preen", "repair what can be repaired without a question", preen),
	ARG('f', "force", "read all that is there, also of logs that are clean", full),
	ARG('v', "verbose", "say what is looked at", verbose),
	{.name = NULL},
};

static const struct tool tool = {
	.name = "lazyclone-fsck",
	.section = 8,
	.usage = "lazyclone-fsck [-n|-y|-p] [-f] [-v] STORE [CLONE...]",
	.summary = "Check a store that no daemon serves, and repair it.",
	.options = options,
	.min_words = 1,
	.max_words = STORE_CLONES_MAX,
};

struct fsck {
	struct fsck_args args;
	struct bases bases;
	struct progress progress;
	bool bar;        /* progress is under way */
	char what[512];  /* it is about */
};

static volatile sig_atomic_t cancelled;

static void cancel(int signal)
{
	(void)signal;
	cancelled = 1;
}

/* ---- what the check calls ---- */

static void end_bar(struct fsck *fsck)
{
	if (fsck->bar)
		progress_end(&fsck->progress);
	fsck->bar = false;
}

static void print_problem(const struct check_problem *problem)
{
	if (problem->where[0]) {
		tool_print_plain(problem->where);
		fputs(": ", stdout);
	}
	fputs(problem->kind->what, stdout);
	if (problem->detail[0]) {
		fputs(": ", stdout);
		tool_print_plain(problem->detail);
	}
	printf(" [%d]\n", (int)problem->kind->code);
}

/* A line from the terminal: yes or no. */
static bool ask_person(void)
{
	char line[16];

	for (;;) {
		fputs(" (y/n)? ", stdout);
		fflush(stdout);
		if (!fgets(line, sizeof(line), stdin)) {
			cancelled = 1;
			return false;
		}
		if (line[0] == 'y' || line[0] == 'Y' || line[0] == 'n' || line[0] == 'N')
			return line[0] == 'y' || line[0] == 'Y';
	}
}

static bool ask(void *ctx, const struct check_problem *problem, bool may_repair)
{
	struct fsck *fsck = ctx;
	const struct fsck_args *args = &fsck->args;
	bool yes = false;

	end_bar(fsck);
	print_problem(problem);
	if (!problem->kind->question || (!may_repair && !args->no))
		return false;
	printf("  %s", problem->kind->question);
	if (args->yes || args->no || args->preen)
		yes = args->yes || (args->preen && problem->kind->safe);
	else if (!cancelled)
		return ask_person();
	printf("? %s\n", yes ? "yes" : "no");
	return yes;
}

static void repaired(void *ctx, const struct check_problem *problem, int rc, const struct err *err)
{
	struct fsck *fsck = ctx;

	end_bar(fsck);
	if (rc == 0) {
		printf("  %s\n", problem->kind->done);
		return;
	}
	fputs("  not repaired: ", stdout);
	tool_print_plain(err->message);
	putchar('\n');
}

static void note(void *ctx, const char *where, const char *text)
{
	end_bar(ctx);
	if (where[0]) {
		tool_print_plain(where);
		fputs(": ", stdout);
	}
	tool_print_plain(text);
	putchar('\n');
}

static int progress(void *ctx, const char *where, uint64_t done, uint64_t total)
{
	struct fsck *fsck = ctx;

	if (!isatty(STDERR_FILENO))
		return cancelled;
	if (fsck->bar && strcmp(where, fsck->what) != 0)
		end_bar(fsck);
	if (!fsck->bar) {
		snprintf(fsck->what, sizeof(fsck->what), "%s", where);
		progress_begin(&fsck->progress, fsck->what, stderr, false);
		fsck->bar = true;
	}
	progress_update(&fsck->progress, done * 4096, total * 4096);
	return cancelled;
}

static void look_at_clone(void *ctx, struct check *check, const struct manifest *m)
{
	struct fsck *fsck = ctx;

	if (fsck->args.verbose) {
		end_bar(fsck);
		fputs("clone ", stdout);
		tool_print_plain(m->name);
		printf(": %" PRIu32 " disks\n", m->n_disks);
	}
	for (uint32_t i = 0; i < m->n_disks; i++) {
		const char *why = bases_problem(&fsck->bases, &m->disks[i]);
		char where[STORE_NAME_MAX + STORE_TARGET_MAX + 32];

		snprintf(where, sizeof(where), "clone %s: disk %s", m->name, m->disks[i].target);
		if (why)
			check_report(check, PROBLEM_BASE, where, why, NULL, NULL);
	}
}

/* ---- the run ---- */

static int open_store(const struct fsck *fsck, const char *path, struct store **ret_store,
	struct err *err)
{
	int rc = store_open(&io_kernel, path, ret_store, err);

	if (rc < 0)
		return rc;
	rc = store_lock(*ret_store, err);
	if (rc == 0)
		return 0;
	if (fsck->args.no && rc == -EBUSY) {
		puts("warning: a daemon serves the store: what is found may be no damage");
		return 0;
	}
	if (rc == -EBUSY)
		err_hint(err, "stop it first (lazyclone umount), or look with -n");
	store_close(*ret_store);
	return rc;
}

static void print_count(uint64_t n, const char *what, const char *after)
{
	printf("%" PRIu64 " %s%s%s", n, what, n == 1 ? "" : "s", after);
}

static uint64_t problems_of(const struct check *check)
{
	return check->leftovers + check->damages + check->unknowns;
}

static void print_sum(const struct fsck *fsck, const struct check *check, const char *path)
{
	uint64_t problems = problems_of(check);

	tool_print_plain(path);
	fputs(": ", stdout);
	print_count(check->clones, "clone", ", ");
	print_count(check->deltas, "disk", ", ");
	print_count(check->layers, "layer", "");
	if (fsck->args.full)
		printf(", %" PRIu64 " blocks verified", check->data_blocks);
	if (fsck->args.full && check->marked_bad > 0)
		printf(", %" PRIu64 " are marked as lost", check->marked_bad);
	if (problems == 0) {
		puts(fsck->args.full ? ": clean" : ": clean (blocks are verified with -f)");
	} else {
		fputs(": ", stdout);
		print_count(problems, "problem", ", ");
		printf("%" PRIu64 " repaired\n", check->n_repaired);
	}
	if (problems > check->n_repaired && fsck->args.preen)
		puts("there are questions: run lazyclone-fsck without -p");
}

static unsigned int exit_bits(const struct check *check, int rc)
{
	unsigned int bits = check->n_repaired > 0 ? FSCK_CORRECTED : FSCK_CLEAN;

	if (problems_of(check) > check->n_repaired)
		bits |= FSCK_LEFT;
	if (check->unknowns > 0)
		bits |= FSCK_FAILED;
	if (cancelled || rc == -ECANCELED)
		bits |= FSCK_CANCELLED;
	else if (rc < 0 && rc != -EUCLEAN)
		bits |= FSCK_FAILED;
	return bits;
}

static int check_all(struct fsck *fsck, struct check *check, char **words, int n_words,
	struct err *err)
{
	struct store *store = NULL;
	int rc = check_label(check, &io_kernel, words[0], err);

	if (rc == 0)
		rc = open_store(fsck, words[0], &store, err);
	else if (rc == -EUCLEAN)
		return rc;
	if (rc == -EUCLEAN) /* what check_label() does not know */
		rc = -EINVAL;
	if (rc < 0)
		return rc;
	rc = check_store(check, &io_kernel, store, words + 1, (uint32_t)(n_words - 1), err);
	store_close(store);
	return rc;
}

static unsigned int run(struct fsck *fsck, char **words, int n_words, struct err *err)
{
	struct check check = {
		.repair = !fsck->args.no,
		.full = fsck->args.full,
		.ask = ask,
		.repaired = repaired,
		.note = note,
		.progress = progress,
		.clone = look_at_clone,
		.ctx = fsck,
	};
	int rc = check_all(fsck, &check, words, n_words, err);

	end_bar(fsck);
	bases_release(&fsck->bases);
	if (rc < 0 && rc != -ECANCELED && err->code != 0)
		tool_print_error(&tool, err);
	if (rc == 0)
		print_sum(fsck, &check, words[0]);
	return exit_bits(&check, rc);
}

static int check_args(const struct fsck_args *args, struct err *err)
{
	if (args->no + args->yes + args->preen > 1)
		return err_set(err, -EINVAL, "only one of -n, -y and -p");
	if (!args->no && !args->yes && !args->preen && !isatty(STDIN_FILENO)) {
		err_set(err, -EINVAL, "there is nobody to ask");
		err_hint(err, "say -n, -p or -y");
		return -EINVAL;
	}
	return 0;
}

int main(int argc, char **argv)
{
	struct sigaction action = {.sa_handler = cancel};
	struct fsck fsck = {0};
	struct err err = {0};
	unsigned int status;
	int n_words, rc = tool_parse(&tool, &fsck.args, argc, argv, &n_words, &err);

	if (rc == 1)
		return tool_finish(&err) < 0 ? FSCK_FAILED : FSCK_CLEAN;
	if (rc == 0)
		rc = check_args(&fsck.args, &err);
	if (rc < 0) {
		tool_print_error(&tool, &err);
		return FSCK_USAGE;
	}
	sigaction(SIGINT, &action, NULL);
	sigaction(SIGTERM, &action, NULL);
	status = run(&fsck, argv + 1, n_words, &err);
	if (tool_finish(&err) < 0)
		status |= FSCK_FAILED;
	return (int)status;
}
