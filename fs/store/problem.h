/* SPDX-License-Identifier: LGPL-2.1-or-later */
/* What can be wrong with a store: one table of codes, words, questions and repairs. */
#ifndef FS_STORE_PROBLEM_H
#define FS_STORE_PROBLEM_H

#include <stdbool.h>

/* Numbers are printed, and documented in lazyclone-fsck(8): they do not change. */
enum problem_code {
	/* the store */
	PROBLEM_LABEL = 1,
	PROBLEM_PART = 2,
	PROBLEM_TEMP = 3,
	PROBLEM_TRASH = 4,
	PROBLEM_STAGE = 5,
	/* a clone */
	PROBLEM_MANIFEST = 10,
	PROBLEM_STRAY = 11,
	PROBLEM_BASE = 12,
	PROBLEM_NODE = 13,
	/* layers */
	PROBLEM_LAYER_UNUSED = 20,
	/* a delta or layer */
	PROBLEM_SUPER_COPY = 30,
	PROBLEM_SUPER = 31,
	PROBLEM_LOG_MISSING = 32,
	PROBLEM_SIZE = 33,
	PROBLEM_CHECKPOINT = 34,
	PROBLEM_CHECKPOINT_WRONG = 35,
	PROBLEM_PAYLOAD = 36,
	PROBLEM_HISTORY = 37,
	PROBLEM_LOG_CUT = 38,
	PROBLEM_LOG_LOST = 39,
	PROBLEM_ORDER = 40,
	PROBLEM_BUSY = 41,
	PROBLEM_READ = 42,
	PROBLEM_ACCOUNT = 43,
};

/* What it means for the data in the store. */
enum problem_grade {
	GRADE_LEFTOVER, /* what a crash may leave: nothing is lost, everything works */
	GRADE_DAMAGE,   /* what no crash leaves */
	GRADE_UNKNOWN,  /* it could not be looked at */
};

struct problem_kind {
	enum problem_code code;
	enum problem_grade grade;
	const char *what;     /* is wrong; details follow it */
	const char *question; /* NULL: nothing can be done about it here */
	const char *done;     /* what was done, when it was */
	bool safe;            /* may be done without asking: nothing can be lost by it */
};

/* All kinds, by code; ends with one whose what is NULL. */
extern const struct problem_kind problem_kinds[];

const struct problem_kind *problem_kind(enum problem_code code);

#endif
