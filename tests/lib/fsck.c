/* SPDX-License-Identifier: LGPL-2.1-or-later */
/* Asking the checker: see fsck.h. */
#include "tests/lib/fsck.h"

#include <stdio.h>
#include <string.h>

#include "fs/store/check.h"
#include "fs/store/problem.h"
#include "fs/util/io.h"

/* Remembers the first damage; repairs nothing. */
static bool remember(void *ctx, const struct check_problem *problem, bool may_repair)
{
	char *why = ctx;

	if (problem->kind->grade != GRADE_LEFTOVER && !why[0])
		snprintf(why, FSCK_TEXT, "%s: %s: %s", problem->where, problem->kind->what,
			problem->detail);
	return false;
}

static void begin(struct check *check, char *why)
{
	why[0] = '\0';
	*check = (struct check){.full = true, .ask = remember, .ctx = why};
}

static int end(const struct check *check, int rc, const struct err *err, char *why)
{
	if (rc < 0)
		snprintf(why, FSCK_TEXT, "the check gave up: %s", err->message);
	else if (check->damages + check->unknowns > 0)
		rc = -1;
	return rc < 0 ? -1 : 0;
}

int fsck_delta(int dirfd, const char *name, char why[static FSCK_TEXT])
{
	struct check check;
	struct id id;
	struct err err;
	const struct check_target target = {.dirfd = dirfd, .id = &id, .where = name};

	begin(&check, why);
	if (id_parse(name, &id) < 0)
		return -1;
	return end(&check, check_delta(&check, &io_kernel, &target, &err), &err, why);
}

int fsck_store(const char *path, char why[static FSCK_TEXT])
{
	struct check check;
	struct store *store;
	struct err err;
	int rc;

	begin(&check, why);
	rc = store_open(&io_kernel, path, &store, &err);
	if (rc == 0) {
		rc = check_store(&check, &io_kernel, store, NULL, 0, &err);
		store_close(store);
	}
	return end(&check, rc, &err, why);
}
