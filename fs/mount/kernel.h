/* SPDX-License-Identifier: LGPL-2.1-or-later */
/* Mounting and unmounting: mount(2) for root, fusermount3 for everybody else. */
#ifndef FS_MOUNT_KERNEL_H
#define FS_MOUNT_KERNEL_H

#include <stdbool.h>

#include "fs/util/err.h"

#define KERNEL_FSTYPE "fuse.lazyclone"

/* Mount at path; *ret_fd is the connection to the kernel. */
int kernel_mount(const char *path, const char *source, bool allow_other, int *ret_fd,
	struct err *err);

/* Unmount path; detach: at once, whoever uses it. */
int kernel_unmount(const char *path, bool detach, struct err *err);

#endif
