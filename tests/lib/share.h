/* SPDX-License-Identifier: LGPL-2.1-or-later */
/* Independent pieces of a test, shared out to as many processes as there are processors. */
#ifndef TESTS_LIB_SHARE_H
#define TESTS_LIB_SHARE_H

#include <stddef.h>
#include <stdint.h>

/* In a process of its own: 0, or -1 for a failure that was said. */
typedef int share_fn(void *ctx, uint64_t item);

struct share_task {
	share_fn *fn;
	void *ctx;
	void (*begin)(void); /* of each process; NULL: nothing */
	void (*end)(void);
	uint64_t *counters; /* n_counters: those of all processes are added up here */
	size_t n_counters;
};

/* Calls fn with each item below items, in whatever order, and goes on after a
 * failure. Returns how many items failed; a process that dies fails what is
 * left of its share. */
uint64_t share_out(const struct share_task *task, uint64_t items);

#endif
