/* SPDX-License-Identifier: LGPL-2.1-or-later */
/* Door of the mount point: fit to be mounted on, and closed while nothing is.
 *
 *	mountpoint_prepare()   before mounting: clears a dead mount, checks, opens
 *	mountpoint_guard()     after mounting: closes the covered directory
 *	mountpoint_release()   closes it again when it never came to that
 *
 * The guard stays when the mount is gone: what the domains of clones point at
 * must not become ordinary files of the file system below by accident. It is
 * the immutable attribute where the file system has it and we may set it
 * (root; `chattr -i` undoes it), else mode 0000, which stops everybody but
 * root.
 */
#ifndef FS_MOUNT_MOUNTPOINT_H
#define FS_MOUNT_MOUNTPOINT_H

#include <limits.h>
#include <stdbool.h>

#include "fs/util/err.h"

enum mountpoint_guard {
	MOUNTPOINT_OPEN, /* neither could be set */
	MOUNTPOINT_IMMUTABLE,
	MOUNTPOINT_MODE,
};

struct mountpoint {
	char path[PATH_MAX]; /* canonical */
	int fd;              /* the directory itself, below what is mounted on it */
	enum mountpoint_guard guard;
	bool was_closed; /* by mode, before it was prepared */
};

/* store_path: canonical; neither may lie within the other, nor the store on a
 * mount of ours. -ENOENT; -EINVAL no directory; -EBUSY not empty, or mounted
 * on already. */
int mountpoint_prepare(const char *path, const char *store_path, struct mountpoint *ret_point,
	struct err *err);
void mountpoint_guard(struct mountpoint *point);
const char *mountpoint_guard_name(enum mountpoint_guard guard); /* as in status */
void mountpoint_release(struct mountpoint *point);

/* Does path lie on a lazyclone mount (any)? */
bool mountpoint_covers(const char *path);

#endif
