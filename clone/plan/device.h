/* SPDX-License-Identifier: LGPL-2.1-or-later */
/* Block devices that a running machine writes to. */
#ifndef CLONE_PLAN_DEVICE_H
#define CLONE_PLAN_DEVICE_H

#include <stdbool.h>

#include "clone/virt/virt.h"
#include "fs/util/err.h"

bool device_is(const char *path);

/* Is path a block device that a running domain has as a writable disk? -EBUSY
 * names the domain. What is no block device is not asked for: QEMU's locks on
 * a file tell more. On a device they tell nothing, because each machine of
 * libvirt's has a node of its own (its namespace), and locks are of the node. */
int device_check_idle(struct virt *virt, const char *path, struct err *err);

#endif
