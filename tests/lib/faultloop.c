/* SPDX-License-Identifier: LGPL-2.1-or-later */
/* Turns of a scenario with one fault each: see faultloop.h. */
#include "tests/lib/faultloop.h"

#include <errno.h>
#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#define NTH_MAX 100000 /* more calls than any scenario makes */

#define FAIL_CALL(call_, error_) {FAULT_CALL, SABOTAGE_FAIL, CALL_##call_, error_}

static const struct fault faults[] = {
	FAIL_CALL(PWRITEV, -EIO),
	FAIL_CALL(PWRITEV, -ENOSPC),
	FAIL_CALL(PWRITEV, -EDQUOT),
	{FAULT_CALL, SABOTAGE_SHORT, CALL_PWRITEV, -ENOSPC},
	FAIL_CALL(FALLOCATE, -ENOSPC),
	FAIL_CALL(FALLOCATE, -EIO),
	FAIL_CALL(SYNC, -EIO),
	FAIL_CALL(SYNC, -ENOSPC),
	FAIL_CALL(OPENAT, -EMFILE),
	FAIL_CALL(PREAD, -EIO),
	FAIL_CALL(MKDIRAT, -ENOSPC),
	FAIL_CALL(LINKAT, -EMLINK),
	FAIL_CALL(RENAMEAT, -ENOSPC),
	FAIL_CALL(RENAMEAT, -EIO),
	FAIL_CALL(UNLINKAT, -EIO),
	FAIL_CALL(FTRUNCATE, -ENOSPC),
	{FAULT_MEMORY, .error = -ENOMEM},
	{FAULT_NO_MEMORY_LEFT, .error = -ENOMEM},
};

#define N_FAULTS (sizeof(faults) / sizeof(faults[0]))

struct faultloop faultloop;

static const char *name_of(const struct fault *fault)
{
	return fault->what == FAULT_CALL ? saboteur_call_names[fault->call] :
	       fault->what == FAULT_MEMORY ? "malloc" : "malloc on";
}

void faultloop_fail(const char *what, const char *why)
{
	fprintf(stderr, "%s number %" PRIu64 " gives %s%s: %s: %s\n", name_of(faultloop.fault),
		faultloop.nth, strerror(-faultloop.fault->error),
		faultloop.fault->kind == SABOTAGE_SHORT ? " after a short one" : "", what, why);
	temp_dir_remove(faultloop.dir);
	exit(1);
}

bool faultloop_is_memory(void)
{
	return faultloop.fault->what != FAULT_CALL;
}

bool faultloop_is_space(void)
{
	return !faultloop_is_memory() &&
	       (faultloop.fault->call == CALL_PWRITEV || faultloop.fault->call == CALL_FALLOCATE) &&
	       faultloop.fault->error != -EIO;
}

void faultloop_arm(struct saboteur *saboteur)
{
	const struct fault *fault = faultloop.fault;

	saboteur_init(saboteur, &io_kernel);
	if (faultloop_is_memory()) {
		nomem_arm(faultloop.nth, fault->what == FAULT_NO_MEMORY_LEFT);
		return;
	}
	saboteur->kind = fault->kind;
	saboteur->call = fault->call;
	saboteur->nth = faultloop.nth;
	saboteur->error = fault->error;
}

void faultloop_disarm(struct saboteur *saboteur)
{
	uint64_t hits = nomem_hits();

	if (faultloop_is_memory()) {
		nomem_arm(0, false);
		saboteur->hits = hits;
	}
	saboteur->kind = SABOTAGE_NONE;
}

uint64_t faultloop_hits(const struct saboteur *saboteur)
{
	return saboteur->hits + nomem_hits();
}

/* Each N until the fault does not strike any more. */
static uint64_t each_nth(fault_fn *scenario)
{
	bool struck = true;
	uint64_t runs = 0;

	for (faultloop.nth = 1; struck; faultloop.nth++, runs++) {
		if (faultloop.nth == NTH_MAX)
			faultloop_fail("looping", "no end of calls");
		struck = scenario();
	}
	return runs;
}

int faultloop_main(const char *program, fault_fn *const *scenarios, size_t count)
{
	uint64_t all = 0;

	temp_dir_fast("faults", faultloop.dir);
	nomem_init();
	for (size_t i = 0; i < N_FAULTS; i++) {
		uint64_t runs = 0;

		faultloop.fault = &faults[i];
		for (size_t k = 0; k < count; k++)
			runs += each_nth(scenarios[k]);
		all += runs;
		printf("  %-10s %-32s %5" PRIu64 " runs\n", name_of(faultloop.fault),
			strerror(-faultloop.fault->error), runs);
		fflush(stdout);
	}
	temp_dir_remove(faultloop.dir);
	printf("%s: %" PRIu64 " runs\n%zu passed, 0 failed\n", program, all, N_FAULTS);
	return 0;
}
