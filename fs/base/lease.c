/* SPDX-License-Identifier: LGPL-2.1-or-later */
/* The fcntl calls of a lease: see lease.h. */
#include "fs/base/lease.h"

#include <errno.h>
#include <fcntl.h>
#include <linux/magic.h>
#include <sys/vfs.h>

/* NFS says EAGAIN where it has no delegation, not because of a writer. */
static bool on_nfs(int fd)
{
	struct statfs fs;

	return fstatfs(fd, &fs) == 0 && fs.f_type == NFS_SUPER_MAGIC;
}

int lease_take(int fd, pid_t tid)
{
	struct f_owner_ex owner = {.type = F_OWNER_TID, .pid = tid};

	/* The owner comes first: F_SETLEASE makes the whole process the owner
	 * when there is none, and the signal would end it. */
	if (fcntl(fd, F_SETOWN_EX, &owner) < 0 || fcntl(fd, F_SETSIG, LEASE_SIGNAL) < 0)
		return -EOPNOTSUPP;
	if (fcntl(fd, F_SETLEASE, F_RDLCK) == 0)
		return 0;
	return errno == EAGAIN && !on_nfs(fd) ? -EBUSY : -EOPNOTSUPP;
}

int lease_drop(int fd)
{
	if (fcntl(fd, F_SETLEASE, F_UNLCK) == 0 || errno == EAGAIN) /* EAGAIN: there was none */
		return 0;
	return -errno;
}

bool lease_intact(int fd)
{
	return fcntl(fd, F_GETLEASE) == F_RDLCK;
}
