/* SPDX-License-Identifier: LGPL-2.1-or-later */
/* Files of full images: see image.h. */
#include "clone/plan/image.h"

#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <sys/statvfs.h>
#include <unistd.h>

#include "clone/plan/imagelock.h"
#include "clone/plan/place.h"
#include "clone/plan/protect.h"
#include "fs/util/cleanup.h"
#include "fs/util/id.h"
#include "fs/util/io.h"

#define IMAGE_SUFFIX ".raw"
#define THAW_NAMES_MAX 100 /* tried for the image of a frozen original */
#define TEMP_NAME_MAX 150 /* of the clone's name; with the rest it stays below NAME_MAX */

/* The file system's own blocks: pointers to the data, and what else it writes meanwhile. */
#define SPACE_MARGIN_BYTES (16u << 20)
#define SPACE_MARGIN_SHIFT 8 /* 1/256 of the data */

/* ---- names ---- */

static int original_dir(const struct record_disk *disk, char **ret_dir, struct err *err)
{
	const char *slash = strrchr(disk->source, '/');
	struct stat st;

	if ((stat(disk->source, &st) == 0 && S_ISBLK(st.st_mode)) ||
		strncmp(disk->source, "/dev/", 5) == 0) {
		err_set(err, -EINVAL, "disk %s: its original %s is a device, with no place beside it",
			disk->target, disk->source);
		err_hint(err, "say where the full image belongs: --to DIRECTORY");
		return -EINVAL;
	}
	*ret_dir = slash == disk->source ? strdup("/")
					 : strndup(disk->source, (size_t)(slash - disk->source));
	return *ret_dir ? 0 : err_sys(err, -ENOMEM, "disk %s", disk->target);
}

static int check_dir(const char *dir, struct err *err)
{
	struct stat st;

	if (stat(dir, &st) < 0)
		return err_sys(err, -errno, "the directory %s for the full image", dir);
	if (!S_ISDIR(st.st_mode))
		return err_sys(err, -ENOTDIR, "%s", dir);
	if (place_is_mount(st.st_dev))
		return err_set(err, -EINVAL, "%s lies on a lazyclone mount", dir);
	return 0;
}

static int choose_dir(const struct record_disk *disk, const char *to, char **ret_dir,
	struct err *err)
{
	AUTO_FREE char *dir = NULL;
	int rc = 0;

	if (!to)
		rc = original_dir(disk, &dir, err);
	else if (!(dir = realpath(to, NULL)))
		rc = err_sys(err, -errno, "the directory %s for the full image", to);
	if (rc == 0)
		rc = check_dir(dir, err);
	if (rc == 0)
		*ret_dir = steal_ptr(&dir);
	return rc;
}

static int name_files(struct record_disk *disk, const char *dir, const char *stem, bool only)
{
	const char *slash = strcmp(dir, "/") == 0 ? "" : "/";
	const char *hint = strlen(stem) <= TEMP_NAME_MAX ? stem : "";
	struct id id = id_new();
	char text[ID_TEXT];
	int n;

	id_format(&id, text);
	if (only)
		n = asprintf(&disk->image, "%s%s%s" IMAGE_SUFFIX, dir, slash, stem);
	else
		n = asprintf(&disk->image, "%s%s%s-%s" IMAGE_SUFFIX, dir, slash, stem,
			disk->target);
	if (n < 0) {
		disk->image = NULL;
		return -ENOMEM;
	}
	if (asprintf(&disk->temp, "%s%s.%s-%s" IMAGE_SUFFIX ".lazyclone-%s", dir, slash, hint,
		    disk->target, text) < 0) {
		disk->temp = NULL;
		return -ENOMEM;
	}
	return 0;
}

static int check_free_name(const struct record_disk *disk, struct err *err)
{
	struct stat st;

	if (lstat(disk->image, &st) < 0)
		return errno == ENOENT ? 0 : err_sys(err, -errno, "%s", disk->image);
	err_set(err, -EEXIST, "%s is there already", disk->image);
	err_hint(err, "move it away, or say another directory: --to DIRECTORY");
	return -EEXIST;
}

static void forget_names(struct record_disk *disk)
{
	free(steal_ptr(&disk->image));
	free(steal_ptr(&disk->temp));
	disk->temp_ino = 0;
}

/* A frozen original has its own name on an image already: NAME-thawed, NAME-thawed2 ... */
static int compose_stem(const struct record *record, const char *name, uint32_t n,
	char **ret_stem)
{
	int rc;

	if (!record->frozen)
		rc = asprintf(ret_stem, "%s", name);
	else if (n == 1)
		rc = asprintf(ret_stem, "%s-thawed", name);
	else
		rc = asprintf(ret_stem, "%s-thawed%u", name, n);
	if (rc < 0)
		*ret_stem = NULL;
	return rc < 0 ? -ENOMEM : 0;
}

static int try_names(struct record *record, uint32_t i, const char *dir, const char *name,
	uint32_t n, struct err *err)
{
	struct record_disk *disk = &record->disks[i];
	AUTO_FREE char *stem = NULL;
	int rc = compose_stem(record, name, n, &stem);

	forget_names(disk);
	if (rc == 0)
		rc = name_files(disk, dir, stem, record->n_disks == 1);
	return rc < 0 ? err_sys(err, rc, "disk %s", disk->target) : check_free_name(disk, err);
}

int image_plan(struct record *record, uint32_t i, const struct manifest *manifest, const char *to,
	struct err *err)
{
	struct record_disk *disk = &record->disks[i];
	AUTO_FREE char *dir = NULL;
	int rc = choose_dir(disk, to, &dir, err);

	if (rc < 0)
		return rc;
	rc = try_names(record, i, dir, manifest->name, 1, err);
	for (uint32_t n = 2; rc == -EEXIST && record->frozen && n <= THAW_NAMES_MAX; n++)
		rc = try_names(record, i, dir, manifest->name, n, err);
	if (rc < 0)
		forget_names(disk);
	return rc;
}

/* ---- space ---- */

static int dir_of(const char *path, char **ret_dir)
{
	const char *slash = strrchr(path, '/');

	*ret_dir = slash == path ? strdup("/") : strndup(path, (size_t)(slash - path));
	return *ret_dir ? 0 : -ENOMEM;
}

static int file_system_of(const char *path, dev_t *ret_dev, uint64_t *ret_free_bytes)
{
	AUTO_FREE char *dir = NULL;
	struct statvfs fs;
	struct stat st;

	if (dir_of(path, &dir) < 0)
		return -ENOMEM;
	if (stat(dir, &st) < 0 || statvfs(dir, &fs) < 0)
		return -errno;
	*ret_dev = st.st_dev;
	*ret_free_bytes = (uint64_t)fs.f_bavail * fs.f_frsize;
	return 0;
}

/* What all images on the file system of image i need together. */
static int needed_beside(const struct record *record, const uint64_t *data_bytes, dev_t dev,
	uint64_t *ret_bytes)
{
	uint64_t sum = SPACE_MARGIN_BYTES;

	for (uint32_t i = 0; i < record->n_disks; i++) {
		uint64_t free_bytes;
		dev_t other;
		int rc = file_system_of(record->disks[i].image, &other, &free_bytes);

		if (rc < 0)
			return rc;
		if (other == dev)
			sum += data_bytes[i] + (data_bytes[i] >> SPACE_MARGIN_SHIFT);
	}
	*ret_bytes = sum;
	return 0;
}

int image_check_space(const struct record *record, const uint64_t *data_bytes, struct err *err)
{
	for (uint32_t i = 0; i < record->n_disks; i++) {
		uint64_t free_bytes, needed = 0;
		dev_t dev;
		int rc = file_system_of(record->disks[i].image, &dev, &free_bytes);

		if (rc == 0)
			rc = needed_beside(record, data_bytes, dev, &needed);
		if (rc < 0)
			return err_sys(err, rc, "cannot tell the free space for %s",
				record->disks[i].image);
		if (free_bytes >= needed)
			continue;
		err_set(err, -ENOSPC, "no space for %s: %llu MiB are needed there, %llu MiB are free",
			record->disks[i].image, (unsigned long long)(needed >> 20),
			(unsigned long long)(free_bytes >> 20));
		err_hint(err, "make room, or say another directory: --to DIRECTORY");
		return -ENOSPC;
	}
	return 0;
}

/* ---- files ---- */

int image_create(struct record_disk *disk, uint64_t size_bytes, int *ret_fd, struct err *err)
{
	AUTO_CLOSE int fd =
		open(disk->temp, O_RDWR | O_CREAT | O_EXCL | O_NOFOLLOW | O_CLOEXEC, 0600);
	struct stat st;

	if (fd < 0 || fstat(fd, &st) < 0 || ftruncate(fd, (off_t)size_bytes) < 0)
		return err_sys(err, -errno, "cannot make the full image %s", disk->temp);
	disk->temp_ino = st.st_ino;
	*ret_fd = steal_fd(&fd);
	return 0;
}

/* A user may not give files away: then it stays his, as he made it. */
static int like_original(int fd, const char *original, struct store *store)
{
	struct stat st;
	mode_t mode;

	if (stat(original, &st) < 0 || !S_ISREG(st.st_mode) ||
		protect_mode(store, original, &mode) < 0)
		return 0; /* moved away: 0600 of ours, and libvirt labels it at start */
	if (fchown(fd, st.st_uid, st.st_gid) < 0 && errno != EPERM)
		return -errno;
	/* Writable by its owner, even where the original never was. */
	return fchmod(fd, mode | S_IRUSR | S_IWUSR) < 0 ? -errno : 0;
}

int image_publish(const struct record_disk *disk, struct store *store, int fd, struct err *err)
{
	AUTO_FREE char *dir = NULL;
	int rc = like_original(fd, disk->source, store);

	if (rc == 0)
		rc = fsync(fd) < 0 ? -errno : 0;
	if (rc == 0)
		rc = dir_of(disk->image, &dir);
	if (rc < 0)
		return err_sys(err, rc, "cannot make the full image %s", disk->image);
	if (renameat2(AT_FDCWD, disk->temp, AT_FDCWD, disk->image, RENAME_NOREPLACE) < 0)
		return err_sys(err, -errno, "cannot name the full image %s", disk->image);
	rc = io_fsync_dir(&io_kernel, AT_FDCWD, dir);
	return rc < 0 ? err_sys(err, rc, "cannot make %s durable", disk->image) : 0;
}

bool image_there(const struct record_disk *disk)
{
	struct stat st;

	return disk->image && disk->temp_ino && lstat(disk->image, &st) == 0 &&
		st.st_ino == disk->temp_ino;
}

static int drop_temp(const struct record_disk *disk)
{
	struct stat st;

	if (lstat(disk->temp, &st) < 0)
		return errno == ENOENT ? 0 : -errno;
	/* 0: killed before the inode was recorded; the name alone is ours. */
	if (disk->temp_ino && st.st_ino != disk->temp_ino)
		return 0;
	return unlink(disk->temp) < 0 ? -errno : 0;
}

/* Somebody may have begun to use it: QEMU's locks tell. */
static int drop_final(const struct record_disk *disk)
{
	AUTO_CLOSE int fd =
		open(disk->image, O_RDONLY | O_NOFOLLOW | O_NONBLOCK | O_CLOEXEC);
	struct stat st;
	int rc;

	if (fd < 0)
		return errno == ENOENT || errno == ELOOP ? 0 : -errno;
	if (fstat(fd, &st) < 0)
		return -errno;
	if (!disk->temp_ino || st.st_ino != disk->temp_ino)
		return 0;
	rc = imagelock_take(fd);
	if (rc == -EBUSY)
		return rc;
	return unlink(disk->image) < 0 ? -errno : 0;
}

int image_drop(struct record_disk *disk, struct err *err)
{
	int rc;

	if (!disk->image)
		return 0;
	rc = drop_temp(disk);
	if (rc == 0)
		rc = drop_final(disk);
	if (rc < 0)
		return err_sys(err, rc, "cannot remove the unfinished image %s", disk->image);
	forget_names(disk);
	return 0;
}
