/* SPDX-License-Identifier: LGPL-2.1-or-later */
/* Every problem that the checker knows, provoked in the store of onestore.h. */
#ifndef TESTS_LIB_PROBLEMS_H
#define TESTS_LIB_PROBLEMS_H

#include <stdbool.h>
#include <stdint.h>

#include "fs/store/problem.h"

#define PROBLEM_BIT(code) (UINT64_C(1) << (code))

struct problem_case {
	enum problem_code code;
	void (*provoke)(void);
	bool checkpoint;  /* the store has one */
	bool full;        /* found by reading all */
	bool repairing;   /* found by who repairs: looking takes no lock */
	bool moves;       /* the clone, out of the store */
	uint64_t refused; /* questions that come before it, and are answered no */
	uint64_t behind;  /* and that come when it is answered no */
};

/* The test fails when there is none. */
const struct problem_case *problems_case(enum problem_code code);

/* Make a store that has the problem. */
void problems_provoke(const struct problem_case *c);
void problems_undo(void);

/* The index counts wrong, in a program that wraps index_slot_live(). */
extern bool problems_miscounted;

#endif
