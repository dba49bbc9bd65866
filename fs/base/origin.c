/* SPDX-License-Identifier: LGPL-2.1-or-later */
/* Where file systems and block devices keep a lasting id: see origin.h. */
#include "fs/base/origin.h"

#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <limits.h>
#include <linux/magic.h>
#include <stdio.h>
#include <string.h>
#include <sys/ioctl.h>
#include <sys/stat.h>
#include <sys/sysmacros.h>
#include <sys/vfs.h>
#include <unistd.h>

#include "fs/util/cleanup.h"
#include "fs/util/hash.h"

/* What XFS tells about itself; the kernel's header for it is not installed by
 * default. Only the uuid is used, the rest is its place. */
struct xfs_geometry {
	uint32_t before[8];
	uint64_t blocks[4];
	uint8_t uuid[16];
	uint32_t after[7];
};
_Static_assert(sizeof(struct xfs_geometry) == 112, "XFS_IOC_FSGEOMETRY_V1 carries its size");
#define XFS_GEOMETRY _IOR('X', 100, struct xfs_geometry)

static uint64_t xfs_id(int fd)
{
	struct xfs_geometry geometry;

	if (ioctl(fd, XFS_GEOMETRY, &geometry) < 0)
		return 0;
	return hash64(geometry.uuid, sizeof(geometry.uuid), XFS_SUPER_MAGIC);
}

/* f_fsid is used where it is made from the file system's uuid. XFS makes it
 * from the device's number, which is another after mounting in another order
 * (measured: loop0 against loop5), so it is asked for its uuid. Elsewhere
 * (overlay, tmpfs, FUSE, NFS, ...) f_fsid is the mount's or nothing at all:
 * there inode, times and sample must do. */
uint64_t origin_file_system(int fd)
{
	struct statfs fs;
	uint64_t id;

	if (fstatfs(fd, &fs) < 0)
		return 0;
	if (fs.f_type == XFS_SUPER_MAGIC)
		return xfs_id(fd);
	if (fs.f_type != EXT4_SUPER_MAGIC && fs.f_type != BTRFS_SUPER_MAGIC)
		return 0;
	_Static_assert(sizeof(fs.f_fsid) == sizeof(id), "two 32-bit words");
	memcpy(&id, &fs.f_fsid, sizeof(id));
	return id;
}

static bool printable(char c)
{
	return c > ' ' && c <= '~';
}

/* First line of a sysfs attribute, made printable; false if it is not there. */
static bool attribute(
	const char *root, dev_t device, const char *name, char ret_id[static IDENTITY_DEVICE_MAX])
{
	char path[PATH_MAX];
	char raw[IDENTITY_DEVICE_MAX];
	AUTO_CLOSE int fd = -1;
	ssize_t n;
	size_t len = 0;

	if (snprintf(path, sizeof(path), "%s/sys/dev/block/%u:%u/%s", root, major(device),
		    minor(device), name) >= (int)sizeof(path))
		return false;
	fd = open(path, O_RDONLY | O_CLOEXEC);
	if (fd < 0)
		return false;
	n = read(fd, raw, sizeof(raw) - 1);
	for (ssize_t i = 0; i < n && raw[i] != '\n' && raw[i] != '\0'; i++)
		ret_id[len++] = printable(raw[i]) ? raw[i] : '_';
	ret_id[len] = '\0';
	return len > 0;
}

static bool usable_name(const char *name)
{
	size_t len = strlen(name);

	for (size_t i = 0; i < len; i++) {
		if (!printable(name[i]))
			return false;
	}
	return len < IDENTITY_DEVICE_MAX && name[0] != '.';
}

/* The smallest of the names udev gave it in /dev/disk/by-id. */
static void by_id(const char *root, dev_t device, char ret_id[static IDENTITY_DEVICE_MAX])
{
	char path[PATH_MAX];
	struct dirent *entry;
	struct stat st;
	DIR *dir;

	snprintf(path, sizeof(path), "%s/dev/disk/by-id", root);
	dir = opendir(path);
	while (dir && (entry = readdir(dir))) {
		if (!usable_name(entry->d_name) ||
			fstatat(dirfd(dir), entry->d_name, &st, 0) < 0 ||
			!S_ISBLK(st.st_mode) || st.st_rdev != device)
			continue;
		if (ret_id[0] == '\0' || strcmp(entry->d_name, ret_id) < 0)
			strcpy(ret_id, entry->d_name);
	}
	if (dir)
		closedir(dir);
}

/* A partition has no id of its own: its disk's and its number make one. */
static bool partition_id(
	const char *root, dev_t device, char ret_id[static IDENTITY_DEVICE_MAX])
{
	static const char *const disk[] = {"../wwid", "../device/wwid", "../serial", "../md/uuid"};
	char number[IDENTITY_DEVICE_MAX];
	char id[IDENTITY_DEVICE_MAX];

	if (!attribute(root, device, "partition", number))
		return false;
	for (size_t i = 0; i < sizeof(disk) / sizeof(disk[0]); i++) {
		if (attribute(root, device, disk[i], id) && strlen(id) + strlen(number) + 6 < sizeof(id))
			return snprintf(ret_id, IDENTITY_DEVICE_MAX, "%s-part%s", id, number) > 0;
	}
	return false;
}

/* From the kernel first: it is there as soon as the device is, and needs no
 * udev. A loop device has none: the file behind it is not its identity. */
void origin_device_id_below(
	const char *root, dev_t device, char ret_id[static IDENTITY_DEVICE_MAX])
{
	static const char *const whole[] = {
		"dm/uuid", "wwid", "device/wwid", "md/uuid", "serial", "device/serial"};

	ret_id[0] = '\0';
	if (partition_id(root, device, ret_id))
		return;
	for (size_t i = 0; i < sizeof(whole) / sizeof(whole[0]); i++) {
		if (attribute(root, device, whole[i], ret_id))
			return;
	}
	ret_id[0] = '\0';
	by_id(root, device, ret_id);
}

void origin_device_id(dev_t device, char ret_id[static IDENTITY_DEVICE_MAX])
{
	origin_device_id_below("", device, ret_id);
}
