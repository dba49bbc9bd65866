/* SPDX-License-Identifier: LGPL-2.1-or-later */
/* Checks and guard of the mount point: see mountpoint.h. */
#include "fs/mount/mountpoint.h"

#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <linux/fs.h>
#include <string.h>
#include <sys/ioctl.h>
#include <sys/stat.h>
#include <sys/statfs.h>
#include <unistd.h>

#include "fs/mount/kernel.h"
#include "fs/util/cleanup.h"
#include "fs/util/mounts.h"

/* Dead mounts may be stacked (each start on top of the one before); more than
 * this many are somebody's mistake to look at. */
#define DEAD_MOUNTS_MAX 16

static int clear_dead(const char *path, struct err *err)
{
	struct mounts_entry entry;
	struct statfs fs;
	int rc;

	for (int i = 0; i < DEAD_MOUNTS_MAX; i++) {
		if (statfs(path, &fs) == 0 || (errno != ENOTCONN && errno != ECONNABORTED))
			return 0;
		rc = mounts_at(path, &entry);
		if (rc < 0)
			return err_sys(err, rc, "table of mounts");
		if (rc == 0 || strcmp(entry.type, KERNEL_FSTYPE) != 0)
			return err_set(err, -EBUSY, "mount point %s: a dead mount of something "
				"else lies on it", path);
		rc = kernel_unmount(path, true, err);
		if (rc < 0)
			return rc;
	}
	return err_set(err, -EBUSY, "mount point %s: too many dead mounts lie on it", path);
}

/* Is path the directory dir, or below it? Both canonical. */
static bool is_within(const char *path, const char *dir)
{
	size_t len = strcmp(dir, "/") == 0 ? 0 : strlen(dir);

	return strncmp(path, dir, len) == 0 && (path[len] == '/' || path[len] == '\0');
}

bool mountpoint_covers(const char *path)
{
	struct mounts_entry entry;
	struct stat st;

	return stat(path, &st) == 0 && mounts_of_dev(st.st_dev, &entry) == 1 &&
		strcmp(entry.type, KERNEL_FSTYPE) == 0;
}

static int check_places(const char *path, const char *store_path, struct err *err)
{
	struct mounts_entry entry;

	if (is_within(path, store_path))
		return err_set(err, -EINVAL, "mount point %s: it lies inside the store", path);
	if (is_within(store_path, path))
		return err_set(err, -EINVAL, "mount point %s: it would cover the store", path);
	if (mountpoint_covers(store_path))
		return err_set(err, -EINVAL, "store %s: it lies on a lazyclone mount", store_path);
	if (mounts_at(path, &entry) == 1 && strcmp(entry.type, KERNEL_FSTYPE) == 0)
		return err_set(err, -EBUSY, "mount point %s: the store %s is mounted there", path,
			entry.source);
	return 0;
}

static int open_dir(const char *path, int *ret_fd)
{
	int fd = open(path, O_RDONLY | O_DIRECTORY | O_CLOEXEC);

	/* Mode 0000 is how an earlier run of an ordinary user closed it. */
	if (fd < 0 && errno == EACCES && chmod(path, 0700) == 0)
		fd = open(path, O_RDONLY | O_DIRECTORY | O_CLOEXEC);
	if (fd < 0)
		return -errno;
	*ret_fd = fd;
	return 0;
}

/* 1 empty, 0 not, -errno. */
static int is_empty(int fd)
{
	int copy = openat(fd, ".", O_RDONLY | O_DIRECTORY | O_CLOEXEC);
	const struct dirent *entry;
	int empty = 1;
	DIR *dir;

	if (copy < 0)
		return -errno;
	dir = fdopendir(copy);
	if (!dir) {
		close(copy);
		return -ENOMEM;
	}
	while (empty && (entry = readdir(dir)))
		empty = strcmp(entry->d_name, ".") == 0 || strcmp(entry->d_name, "..") == 0;
	closedir(dir);
	return empty;
}

/* The helper mounts only on what its caller can write. */
static int make_usable(int fd)
{
	struct stat st;

	if (geteuid() == 0)
		return 0;
	if (fstat(fd, &st) < 0)
		return -errno;
	if ((st.st_mode & 0700) != 0700 && fchmod(fd, 0700) < 0)
		return -errno;
	return 0;
}

int mountpoint_prepare(const char *path, const char *store_path, struct mountpoint *ret_point,
	struct err *err)
{
	struct mountpoint point = {.fd = -1};
	AUTO_CLOSE int fd = -1;
	struct stat st;
	int rc = mounts_canonical(path, point.path);

	if (rc == 0)
		rc = clear_dead(point.path, err);
	else
		err_sys(err, rc, "mount point %s", path);
	if (rc == 0)
		rc = check_places(point.path, store_path, err);
	if (rc < 0)
		return rc;
	point.was_closed = stat(point.path, &st) == 0 && (st.st_mode & 0777) == 0;
	rc = open_dir(point.path, &fd);
	if (rc == -ENOTDIR)
		return err_set(err, -EINVAL, "mount point %s: not a directory", point.path);
	if (rc == 0)
		rc = make_usable(fd);
	if (rc < 0)
		return err_sys(err, rc, "mount point %s", point.path);
	rc = is_empty(fd);
	if (rc == 0)
		return err_set(err, -EBUSY, "mount point %s: it is not empty", point.path);
	if (rc < 0)
		return err_sys(err, rc, "mount point %s", point.path);
	point.fd = steal_fd(&fd);
	*ret_point = point;
	return 0;
}

static bool set_immutable(int fd)
{
	int flags;

	if (ioctl(fd, FS_IOC_GETFLAGS, &flags) < 0)
		return false;
	if (flags & FS_IMMUTABLE_FL)
		return true;
	flags |= FS_IMMUTABLE_FL;
	return ioctl(fd, FS_IOC_SETFLAGS, &flags) == 0;
}

void mountpoint_guard(struct mountpoint *point)
{
	if (set_immutable(point->fd))
		point->guard = MOUNTPOINT_IMMUTABLE;
	else if (fchmod(point->fd, 0) == 0)
		point->guard = MOUNTPOINT_MODE;
	else
		point->guard = MOUNTPOINT_OPEN;
}

const char *mountpoint_guard_name(enum mountpoint_guard guard)
{
	switch (guard) {
	case MOUNTPOINT_IMMUTABLE:
		return "immutable";
	case MOUNTPOINT_MODE:
		return "mode";
	case MOUNTPOINT_OPEN:
		break;
	}
	return "none";
}

void mountpoint_release(struct mountpoint *point)
{
	if (point->fd >= 0 && point->guard == MOUNTPOINT_OPEN && point->was_closed)
		fchmod(point->fd, 0);
	close_fd(&point->fd);
}
