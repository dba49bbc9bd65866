/* SPDX-License-Identifier: LGPL-2.1-or-later */
/* Freezing an original: it moves on to a delta of its own, its images stay as they are.
 *
 * A frozen original is an entry of the store under the domain's name, made in
 * the steps of a clone (making.h) and under a journal; but its domain is the
 * original itself: name, UUID, MAC addresses, NVRAM and all else stay, only
 * its disks are those of the mount, and its mark is <lazyclone:frozen>. The
 * images are not written any more (protect.h), so that any number of clones can
 * be made of them while it runs.
 *
 *	killed                       what is there             the next command
 *	before the commit            the original, perhaps     removes the stage, gives
 *	                             without write bits        the bits back
 *	after it, before the define  the original, which       removes the entry; its
 *	                             cannot be started; an     delta is empty, nothing
 *	                             entry nobody uses         could write it; gives
 *	                                                       the bits back
 *	after the define             the frozen original       finishes it
 *
 * The definition comes last and is one call: libvirt has the old one or the
 * new one. Nothing that a guest wrote is ever moved, so there is nothing to
 * lose. What was defined before is kept beside the record (RECORD_ORIGINAL).
 *
 * The way back is thaw.h.
 */
#ifndef CLONE_PLAN_FREEZE_H
#define CLONE_PLAN_FREEZE_H

#include <jansson.h>
#include <stdbool.h>
#include <stdint.h>

#include "clone/plan/session.h"
#include "clone/virt/virt.h"
#include "fs/util/err.h"

struct freeze_options {
	/* Files that the domain's images may use (allowed.h). */
	uint32_t n_backings, n_data_files;
	const char *const *backings, *const *data_files;
	bool once; /* frozen already: nothing to do; else -EEXIST */
};

/* Refused as a source of a clone is (origin.h), and: -EEXIST a clone, a frozen
 * original, or one whose name an entry of the store has.
 *
 * *ret_result (NULL: it was frozen already): {"name", "uuid", "disks": [{"target", "path", "base"}]} */
int freeze_domain(struct session *session, const char *domain,
	const struct freeze_options *options, json_t **ret_result, struct err *err);

/* Is it the frozen original of that name in the store? */
bool freeze_is_of(const struct virt_domain *domain, const char *name);

/* For undo_run(): define it as it was. Done already, or gone: 0. -EBUSY: it runs. */
int freeze_undo(struct session *session, const char *uri, const char *uuid, struct err *err);

#endif
