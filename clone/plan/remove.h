/* SPDX-License-Identifier: LGPL-2.1-or-later */
/* Removing clones: the domain, its NVRAM, its disks; only what is ours.
 *
 * Order: hide the disks, undefine the domain, remove the clone from the
 * store. Hiding comes first because a disk that somebody has open refuses it,
 * before anything is lost; should the domain not go, they are shown again.
 * Killed in between, the next rm of the same name goes on: a clone without a
 * domain is still a clone.
 */
#ifndef CLONE_PLAN_REMOVE_H
#define CLONE_PLAN_REMOVE_H

#include <stdbool.h>

#include "clone/plan/session.h"
#include "fs/util/err.h"

struct remove_options {
	bool force; /* a running clone is powered off first; else -EBUSY */
	bool dry_run;
};

/* -ENOENT: no such clone. -EPERM: a domain of that name is not ours. */
int remove_clone(struct session *session, const char *clone, const struct remove_options *options,
	struct err *err);

#endif
