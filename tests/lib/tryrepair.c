/* SPDX-License-Identifier: LGPL-2.1-or-later */
/* Check a delta whatever it is made of: see tryrepair.h. */
#include "tests/lib/tryrepair.h"

#include <errno.h>

#include "fs/store/check.h"
#include "fs/store/look.h"

struct trying {
	struct id new_log;
	bool repaired, failed;
};

/* Yes to what makes a new log, and leaves the old one alone. */
static bool answer(void *ctx, const struct check_problem *problem, bool may_repair)
{
	switch (problem->kind->code) {
	case PROBLEM_SUPER:
	case PROBLEM_LOG_MISSING:
	case PROBLEM_PAYLOAD:
	case PROBLEM_HISTORY:
	case PROBLEM_LOG_CUT:
	case PROBLEM_LOG_LOST:
		return true;
	default:
		return false;
	}
}

static void see_repair(void *ctx, const struct check_problem *problem, int rc,
	const struct err *err)
{
	struct trying *trying = ctx;

	trying->failed = trying->failed || (rc < 0 && rc != -ENOSPC && rc != -ENOMEM);
}

static int adopt(void *ctx, const struct id *new_log, struct err *err)
{
	struct trying *trying = ctx;

	trying->new_log = *new_log;
	trying->repaired = true;
	return 0;
}

static int check_one(struct check *check, const struct io_gate *io, int dirfd, const struct id *id,
	struct trying *trying)
{
	struct check_target target = {
		.dirfd = dirfd, .id = id, .where = "it", .adopt = adopt, .ctx = trying};
	struct err err = {0};

	check->full = true;
	check->ask = answer;
	check->repaired = see_repair;
	check->ctx = trying;
	return check_delta(check, io, &target, &err);
}

static const char *look_at_new(const struct io_gate *io, int dirfd, const struct id *id)
{
	struct check check = {.repair = false};
	struct trying trying = {.repaired = false};

	if (check_one(&check, io, dirfd, id, &trying) < 0)
		return "the repaired log cannot be checked";
	return check.leftovers + check.damages + check.unknowns > 0
		? "the repaired log has problems" : NULL;
}

const char *try_repair(const struct io_gate *io, int dirfd, const char *name)
{
	struct check check = {.repair = true};
	struct trying trying = {.repaired = false};
	const char *broken = NULL;
	struct delta *view;
	struct err err = {0};
	struct id id;
	int rc;

	if (id_parse(name, &id) < 0)
		return "no name";
	rc = check_one(&check, io, dirfd, &id, &trying);
	if (rc < 0)
		return rc == -ENOMEM ? NULL : "it cannot be checked";
	if (trying.failed)
		broken = "a repair failed";
	rc = delta_look(io, dirfd, name, true, &view, &err);
	if (rc == 0)
		delta_abandon(view);
	if (!broken && rc == -EUCLEAN && check.damages + check.unknowns == 0)
		broken = "replay refuses it and the checker does not";
	if (trying.repaired) {
		char new_name[ID_TEXT];

		if (!broken)
			broken = look_at_new(io, dirfd, &trying.new_log);
		id_format(&trying.new_log, new_name);
		delta_remove(io, dirfd, new_name, NULL);
	}
	return broken;
}
