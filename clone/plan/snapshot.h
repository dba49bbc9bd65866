/* SPDX-License-Identifier: LGPL-2.1-or-later */
/* Snapshots of a clone: all its disks at one instant, with its NVRAM, under a name.
 *
 *	1 the NVRAM is copied (instant_keep)
 *	2 quiesce: the guest's file systems are frozen; the journal knows, so
 *	  that the next command thaws them should this one be killed
 *	3 the daemon freezes the disks and writes the manifest: the commit
 *	4 the guest's file systems are thawed
 *
 * Killed before 3 there is no snapshot, behind it there is.
 */
#ifndef CLONE_PLAN_SNAPSHOT_H
#define CLONE_PLAN_SNAPSHOT_H

#include <stdbool.h>
#include <stdint.h>

#include "clone/plan/session.h"
#include "fs/util/err.h"

struct snapshot_result {
	uint32_t n_disks;
	bool quiesced;
	uint64_t total_ns;
};

/* quiesce: -EOPNOTSUPP when the agent of the running guest does not answer; a
 * machine that is off has nothing to freeze. -EEXIST: the name is taken.
 * -EMLINK: too many layers. */
int snapshot_make(struct session *session, const char *clone, const char *name, bool quiesce,
	struct snapshot_result *ret_result, struct err *err);

/* Its name goes; its layer stays as long as a clone needs it. */
int snapshot_delete(struct session *session, const char *clone, const char *name,
	struct err *err);

/* -ENOENT with the way to see them. */
struct ours;
int snapshot_need(const struct ours *ours, const char *name, struct err *err);

/* Freeze under no name, so that the clone can be cloned: the manifest is read
 * again. */
struct ctl;
int snapshot_freeze(struct ours *ours, struct ctl *ctl, const char *name, struct err *err);

#endif
