/* SPDX-License-Identifier: LGPL-2.1-or-later */
/* The Nth call fails, for each N until none does: the loop around a scenario.
 *
 * A scenario runs again and again; each time one more call of one kind, or one
 * more allocation, goes through before one fails. It says whether the fault
 * still struck. What it finds wrong ends the program.
 */
#ifndef TESTS_LIB_FAULTLOOP_H
#define TESTS_LIB_FAULTLOOP_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "tests/lib/nomem.h"
#include "tests/lib/saboteur.h"
#include "tests/lib/temp.h"

struct fault {
	enum { FAULT_CALL, FAULT_MEMORY, FAULT_NO_MEMORY_LEFT } what;
	enum sabotage kind;
	enum sabotaged_call call;
	int error;
};

struct faultloop {
	char dir[TEMP_PATH_MAX]; /* emptied by the scenario */
	const struct fault *fault;
	uint64_t nth;
};

extern struct faultloop faultloop;

typedef bool fault_fn(void); /* true: the fault struck */

/* Set up the saboteur, in front of the kernel, for this turn. */
void faultloop_arm(struct saboteur *saboteur);
void faultloop_disarm(struct saboteur *saboteur);
uint64_t faultloop_hits(const struct saboteur *saboteur);

bool faultloop_is_memory(void);
/* No space for a moment: QEMU pauses the guest, and goes on when there is some. */
bool faultloop_is_space(void);

_Noreturn void faultloop_fail(const char *what, const char *why);

/* All faults, each with every scenario; main()'s return value. */
int faultloop_main(const char *program, fault_fn *const *scenarios, size_t count);

/* A call of the product, in which an allocation may fail. */
#define PRODUCT(call)                                                                              \
	({                                                                                         \
		int product_rc_;                                                                   \
		nomem_enter();                                                                     \
		product_rc_ = (call);                                                              \
		nomem_leave();                                                                     \
		product_rc_;                                                                       \
	})

#endif
