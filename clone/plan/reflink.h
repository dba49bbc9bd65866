/* SPDX-License-Identifier: LGPL-2.1-or-later */
/* Originals copied into the store by reflink, so that they may go on (fs/store/copies.h).
 *
 * All images that one clone needs are of one instant: they are held, by QEMU's
 * locks and leases, from before the first is copied until all were looked at
 * again after the last. Then the originals are let go for good.
 *
 *	reflink_can     could this one be?
 *	reflink_add     hold it
 *	reflink_run     copy what was added, look again, let go
 *	reflink_free    once the manifests name the copies, or never will
 *
 * An original that is the same as when it was copied last is not copied again.
 */
#ifndef CLONE_PLAN_REFLINK_H
#define CLONE_PLAN_REFLINK_H

#include <stdint.h>

#include "fs/base/base.h"
#include "fs/store/store.h"
#include "fs/util/err.h"

struct reflink;

struct reflink_copy {
	const char *path;     /* of the top image in the store */
	const char *identity; /* of the base that the copies are */
	uint64_t size_bytes;  /* what a guest sees */
};

/* -EOPNOTSUPP, and the way out: not on these file systems, or a device. */
int reflink_can(struct store *store, const struct base_source *source, struct err *err);

int reflink_new(struct store *store, struct reflink **ret_reflink);
void reflink_free(struct reflink *reflink); /* NULL allowed */

/* *ret_number: which one it is. -EBUSY: somebody writes it. */
int reflink_add(struct reflink *reflink, const struct base_source *source, uint32_t *ret_number,
	struct err *err);
int reflink_run(struct reflink *reflink, struct err *err);

/* After the run; good as long as reflink is. */
struct reflink_copy reflink_copy(const struct reflink *reflink, uint32_t number);

#endif
