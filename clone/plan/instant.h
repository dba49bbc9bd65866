/* SPDX-License-Identifier: LGPL-2.1-or-later */
/* Instants of a clone, and the NVRAM that belongs to each.
 *
 * The disks of an instant are layers, and the manifest's; its NVRAM is a file
 * in the clone's directory, found by clone/state/kept.h. Order of a freeze:
 *
 *	1 instant_keep: the copy, then kept.json that names it, both durable
 *	2 the daemon freezes the disks: its manifest is the commit
 *	3 instant_sweep
 *
 * Killed between 1 and 2, the copy belongs to no instant, and the next 1 or 3
 * drops it. (tests/vm/snapshot.bats kills at each step.)
 *
 * All of it under the clone's lock (ours_take).
 */
#ifndef CLONE_PLAN_INSTANT_H
#define CLONE_PLAN_INSTANT_H

#include <stdint.h>

#include "clone/plan/ours.h"
#include "clone/state/kept.h"
#include "fs/util/err.h"

/* Before a freeze; name NULL: one without a name. Nothing to do for a clone
 * without NVRAM of its own. */
int instant_keep(const struct ours *ours, const char *name, struct err *err);

/* Drop the copies that belong to no instant any more. */
int instant_sweep(const struct ours *ours, struct err *err);

/* What going back does to the NVRAM file. The numbers stand in journals. */
enum instant_nvram {
	INSTANT_NVRAM_LEAVE = 0, /* it has none of its own */
	INSTANT_NVRAM_PUT = 1,   /* a copy is put back */
	INSTANT_NVRAM_DROP = 2,  /* it had no file yet: libvirt makes it from the template */
};

/* to: a snapshot's name, "" for the base, NULL for the newest layer. file:
 * the copy in the clone's directory, for INSTANT_NVRAM_PUT. */
int instant_find(const struct ours *ours, const char *to, enum instant_nvram *ret_what,
	char file[static KEPT_TEXT_MAX + 1], struct err *err);

/* Which deltas and layers the clone has: another number after any freeze or reset. */
uint64_t instant_mark(const struct manifest *manifest);

#endif
