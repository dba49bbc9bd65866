/* SPDX-License-Identifier: LGPL-2.1-or-later */
/* Does a file lie on a lazyclone mount? Originals and full images may not. */
#ifndef CLONE_PLAN_PLACE_H
#define CLONE_PLAN_PLACE_H

#include <stdbool.h>
#include <sys/types.h>

/* What the kernel's table of mounts calls ours. */
#define PLACE_MOUNT_TYPE "fuse.lazyclone"

/* dev: st_dev of the file. Any store's mount counts. */
bool place_is_mount(dev_t dev);

#endif
