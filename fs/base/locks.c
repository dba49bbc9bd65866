/* SPDX-License-Identifier: LGPL-2.1-or-later */
/* Which bytes are locked and looked at: see locks.h. */
#include "fs/base/locks.h"

#include <errno.h>
#include <stddef.h>

#include "fs/util/io.h"

enum {
	USES_CONSISTENT_READ = 100,
	USES_WRITE = 101,
	USES_RESIZE = 103,
	DENIES_CONSISTENT_READ = 200,
	DENIES_WRITE = 201,
	DENIES_RESIZE = 203,
};

static int no_locks(int rc, const char *path, struct err *err)
{
	err_sys(err, rc, "%s: its file system keeps no locks", path);
	err_hint(err, "without them nothing stops a machine from writing to it; use a copy elsewhere");
	return rc == -ENOMEM ? rc : -EOPNOTSUPP;
}

int locks_test(int fd, const char *path, struct err *err)
{
	static const int in_the_way[] = {USES_WRITE, USES_RESIZE, DENIES_CONSISTENT_READ};

	for (size_t i = 0; i < sizeof(in_the_way) / sizeof(in_the_way[0]); i++) {
		int rc = io_lock_test(fd, (uint64_t)in_the_way[i], 1);

		if (rc < 0)
			return no_locks(rc, path, err);
		if (rc == 0)
			continue;
		err_set(err, -EBUSY, "%s: open for writing by a running machine", path);
		err_hint(err, "shut that machine down (virsh shutdown), or end the qemu program "
			      "that uses the image");
		return -EBUSY;
	}
	return 0;
}

/* First lock, then look, as QEMU does: of two that come at the same time at
 * least one sees the other. */
int locks_take(int fd, const char *path, struct err *err)
{
	static const int ours[] = {USES_CONSISTENT_READ, DENIES_WRITE, DENIES_RESIZE};

	for (size_t i = 0; i < sizeof(ours) / sizeof(ours[0]); i++) {
		int rc = io_lock(fd, false, (uint64_t)ours[i], 1);

		if (rc == -EAGAIN)
			return err_set(err, -EBUSY, "%s: locked by another program", path);
		if (rc < 0)
			return no_locks(rc, path, err);
	}
	return locks_test(fd, path, err);
}
