/* SPDX-License-Identifier: LGPL-2.1-or-later */
/* A clone as the original of another: its layers are shared, what it wrote becomes one.
 *
 *	1 what the source wrote is frozen (or was, in a snapshot): from here on it
 *	  is a layer below the source, which reads and writes as before
 *	2 the new clone's manifest names that layer and all below it, and the base
 *
 * The source is locked against other commands until the new clones are there:
 * a layer that its manifest names cannot go meanwhile, and afterwards theirs
 * name it too. Killed between 1 and 2, the source has one layer more, and
 * nothing else changed.
 */
#ifndef CLONE_PLAN_STACKED_H
#define CLONE_PLAN_STACKED_H

#include <stdbool.h>

#include "clone/plan/origin.h"
#include "clone/plan/ours.h"
#include "clone/plan/session.h"
#include "clone/xml/domain.h"
#include "fs/util/err.h"

/* A source that is a clone of this store. */
struct stacked {
	struct ours ours;
	const char *snapshot; /* the instant to clone; NULL: now */
};

/* Is the domain a clone of this store? *ret_stacked is NULL if not. take:
 * lock it, for who is going to clone it. */
int stacked_find(struct session *session, const struct virt_domain *domain, const char *snapshot,
	bool take, struct stacked **ret_stacked, struct err *err);
void stacked_free(struct stacked *stacked); /* NULL allowed */

/* Fill in what is known before a freeze. 1: done; 0: this disk of the domain
 * is none of the clone's. */
int stacked_take_disk(const struct stacked *stacked, const struct xml_disk *from,
	struct origin_disk *disk, struct err *err);

/* Freeze, unless it is a snapshot that is cloned, and share the layers.
 * mountpoint: where the daemon shows the disks. */
int stacked_share(struct stacked *stacked, struct origin *origin, struct ctl *ctl,
	const char *mountpoint, struct err *err);

/* The same without freezing: for a dry run. */
int stacked_look(const struct stacked *stacked, struct origin *origin, struct err *err);

/* The NVRAM of that instant into the stage of a clone, and that of the base,
 * for a reset that goes further back. */
int stacked_keep_nvram(const struct origin *origin, int stage_dirfd, struct err *err);

#endif
