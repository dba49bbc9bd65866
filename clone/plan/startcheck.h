/* SPDX-License-Identifier: LGPL-2.1-or-later */
/* May this domain start? Asked by libvirt's hook, with the definition that is about to run.
 *
 * QEMU's locks refuse it anyway as long as the daemon runs, in words of locks.
 * Here it is refused in words of clones, and without a daemon as well. On a
 * block device no lock refuses it (device.h): there this is all that does.
 *
 * libvirt waits for the answer: no libvirt, no daemon and no mount is asked.
 */
#ifndef CLONE_PLAN_STARTCHECK_H
#define CLONE_PLAN_STARTCHECK_H

#include "clone/plan/session.h"
#include "fs/util/err.h"

/* -EBUSY: a disk that it would write is what clones read; err names the disk,
 * the clones and the way out. Another -errno: it cannot be told. */
int startcheck(struct session *session, const char *xml, struct err *err);

#endif
