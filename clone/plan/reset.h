/* SPDX-License-Identifier: LGPL-2.1-or-later */
/* Reset: throw away what a clone wrote, and put back the NVRAM of that instant.
 *
 *	0 refuse what cannot be reset; --force: power the machine off
 *	1 journal: the clone, the deltas it has now, what becomes of its NVRAM
 *	2 a copy of that instant's NVRAM beside the NVRAM file: whole, durable
 *	3 --force: snapshots that are newer are forgotten, newest first;
 *	  the daemon replaces the deltas by empty ones: the manifest is the commit
 *	4 the copy is renamed over the NVRAM file (or the file removed), durably
 *	5 journal: done
 *
 * Killed before 3, or failing there: the clone is as it was (but for the
 * snapshots that --force forgot), and the next command removes the copy.
 * Killed behind 3: the next command does 4 and 5; the manifest tells which,
 * as every reset makes new deltas. (A machine that
 * was started in between keeps the NVRAM it runs on, and a notice says so.)
 * What the deltas held is lost from 3 on: that is what was asked for.
 * tests/vm/reset.bats kills at each of these.
 */
#ifndef CLONE_PLAN_RESET_H
#define CLONE_PLAN_RESET_H

#include <stdbool.h>
#include <stdint.h>

#include "clone/plan/session.h"
#include "clone/state/journal.h"
#include "fs/util/err.h"

struct reset_options {
	const char *to; /* a snapshot; "": the base; NULL: the newest layer */
	bool force; /* power a running clone off; drop snapshots newer than TO. Else -EBUSY */
	bool start;
};

struct reset_result {
	bool reset;        /* also when it could not be started then */
	bool started;
	uint64_t reset_ns; /* steps 1 to 5 */
};

/* -EREMOTEIO: it was reset, but does not start. */
int reset_clone(struct session *session, const char *clone, const struct reset_options *options,
	struct reset_result *ret_result, struct err *err);

/* A killed run's journal: entries from `from` on are those of a reset, the
 * first of them that of step 1. */
int reset_settle(struct session *session, const struct journal *journal, uint32_t from,
	struct err *err);

#endif
