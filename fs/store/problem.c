/* SPDX-License-Identifier: LGPL-2.1-or-later */
/* What can be wrong with a store: the table. */
#include "fs/store/problem.h"

#include <assert.h>
#include <stddef.h>

#define SAFE true

const struct problem_kind problem_kinds[] = {
	{PROBLEM_LABEL, GRADE_DAMAGE, "the store's label is damaged",
		"Write a new one, with a new id", "written", false},
	{PROBLEM_PART, GRADE_DAMAGE, "a directory of the store is missing", "Make it", "made",
		SAFE},
	{PROBLEM_TEMP, GRADE_LEFTOVER, "a temporary file was left", "Remove it", "removed", SAFE},
	{PROBLEM_TRASH, GRADE_LEFTOVER, "a removed clone waits in the trash", "Delete it",
		"deleted", SAFE},
	{PROBLEM_STAGE, GRADE_LEFTOVER, "a clone was not made to its end", "Delete it", "deleted",
		SAFE},
	{PROBLEM_MANIFEST, GRADE_DAMAGE, "the manifest cannot be read",
		"Move the clone to lost+found", "moved", false},
	{PROBLEM_STRAY, GRADE_LEFTOVER, "logs that no manifest names", "Remove them", "removed",
		SAFE},
	{PROBLEM_BASE, GRADE_DAMAGE, "the base cannot be used", NULL, NULL, false},
	{PROBLEM_NODE, GRADE_DAMAGE, "its inode numbers are those of another clone",
		"Draw new ones", "drawn", SAFE},
	{PROBLEM_LAYER_UNUSED, GRADE_LEFTOVER, "layers that no manifest names", "Delete them",
		"deleted", SAFE},
	{PROBLEM_SUPER_COPY, GRADE_LEFTOVER, "a copy of the super block is not valid",
		"Write it again", "written", SAFE},
	{PROBLEM_SUPER, GRADE_DAMAGE, "the super block is lost",
		"Make a new log in which all blocks of the disk are marked as lost", "made",
		false},
	{PROBLEM_LOG_MISSING, GRADE_DAMAGE, "the log is missing",
		"Make a new log in which all blocks of the disk are marked as lost", "made",
		false},
	{PROBLEM_SIZE, GRADE_DAMAGE, "it is smaller than its manifest says", "Grow it", "grown",
		false},
	{PROBLEM_CHECKPOINT, GRADE_LEFTOVER, "the checkpoint cannot be used", "Remove it",
		"removed", SAFE},
	{PROBLEM_CHECKPOINT_WRONG, GRADE_DAMAGE, "the checkpoint says other than the log",
		"Remove it", "removed", SAFE},
	{PROBLEM_PAYLOAD, GRADE_DAMAGE, "blocks do not verify",
		"Mark them as lost, in a new log", "marked", false},
	{PROBLEM_HISTORY, GRADE_DAMAGE, "the log is damaged, but no block of the disk is lost",
		"Write it anew", "written", false},
	{PROBLEM_LOG_CUT, GRADE_DAMAGE, "the log is damaged, and whole before that",
		"Go back to the disk as it was then, and lose what was written later",
		"gone back", false},
	{PROBLEM_LOG_LOST, GRADE_DAMAGE,
		"the log is damaged, and any block may have been written there",
		"Make a new log in which all blocks that were not written since are marked as lost",
		"made", false},
	{PROBLEM_ORDER, GRADE_DAMAGE, "an older version of a block counts", NULL, NULL, false},
	{PROBLEM_ACCOUNT, GRADE_DAMAGE, "the live bytes of a slot are counted wrong", NULL, NULL,
		false},
	{PROBLEM_BUSY, GRADE_UNKNOWN, "somebody has it open", NULL, NULL, false},
	{PROBLEM_READ, GRADE_UNKNOWN, "it cannot be read", NULL, NULL, false},
	{.what = NULL},
};

const struct problem_kind *problem_kind(enum problem_code code)
{
	const struct problem_kind *kind = problem_kinds;

	while (kind->what && kind->code != code)
		kind++;
	assert(kind->what);
	return kind;
}
