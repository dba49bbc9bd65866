/* SPDX-License-Identifier: LGPL-2.1-or-later */
/* The table of mounts, read without touching what is mounted.
 *
 * stat() of a mount point hangs or fails when its server does; the kernel's
 * own table (/proc/self/mountinfo) always answers.
 */
#ifndef FS_UTIL_MOUNTS_H
#define FS_UTIL_MOUNTS_H

#include <limits.h>
#include <stddef.h>
#include <sys/types.h>

#define MOUNTS_TYPE_MAX 64

struct mounts_entry {
	dev_t dev;
	char type[MOUNTS_TYPE_MAX]; /* "ext4", "fuse.lazyclone" */
	char source[PATH_MAX];
};

/* The topmost mount exactly at path (canonical, absolute): 1, 0 none, -errno. */
int mounts_at(const char *path, struct mounts_entry *ret_entry);

/* The mount of a device number: 1, 0 none, -errno. */
int mounts_of_dev(dev_t dev, struct mounts_entry *ret_entry);

/* Canonical form of a path whose last component may be a mount whose server
 * died: only its parent is looked at. 0 or -errno. */
int mounts_canonical(const char *path, char canonical[static PATH_MAX]);

#endif
