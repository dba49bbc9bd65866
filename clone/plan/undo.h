/* SPDX-License-Identifier: LGPL-2.1-or-later */
/* Undoing what a journal lists: by UUID, id and inode, never by name alone. */
#ifndef CLONE_PLAN_UNDO_H
#define CLONE_PLAN_UNDO_H

#include <stdint.h>

#include "clone/plan/session.h"
#include "clone/state/journal.h"
#include "fs/util/err.h"

/* Undo the entries from index `from` on: domains first, then all else in
 * reverse. What is gone already, or never came to be, is undone. Stops
 * at the first that cannot be: what it rests on must stay. -EBUSY: the domain
 * was started meanwhile, or a disk is in use. */
int undo_run(struct session *session, const struct journal *journal, uint32_t from,
	struct err *err);

#endif
