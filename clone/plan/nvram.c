/* SPDX-License-Identifier: LGPL-2.1-or-later */
/* Copies of NVRAM files, whole or not at all: see nvram.h. */
#include "clone/plan/nvram.h"

#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <sys/vfs.h>
#include <unistd.h>

#include "clone/state/record.h"
#include "fs/util/cleanup.h"
#include "fs/util/id.h"
#include "fs/util/io.h"

#define NVRAM_SUFFIX "_VARS.fd"
#define STEADY_TRIES 100

int nvram_path(const struct virt *virt, const char *name, char **ret_path, struct err *err)
{
	AUTO_FREE char *dir = NULL;
	int rc = virt_nvram_dir(virt, &dir);

	if (rc == 0 && asprintf(ret_path, "%s/%s" NVRAM_SUFFIX, dir, name) < 0)
		rc = -ENOMEM;
	return rc < 0 ? err_sys(err, rc, "cannot tell where NVRAM files belong") : 0;
}

/* A guest that runs may write its variables while they are read: the same
 * twice is a whole copy. */
static int read_steady(int dirfd, const char *path, char **ret_data, size_t *ret_len)
{
	AUTO_FREE char *data = NULL;
	size_t len;
	int rc = io_slurp(&io_kernel, dirfd, path, NVRAM_BYTES_MAX, &data, &len);

	for (int i = 0; rc == 0 && i < STEADY_TRIES; i++) {
		AUTO_FREE char *before = steal_ptr(&data);
		size_t before_len = len;

		rc = io_slurp(&io_kernel, dirfd, path, NVRAM_BYTES_MAX, &data, &len);
		if (rc == 0 && len == before_len && memcmp(before, data, len) == 0) {
			*ret_data = steal_ptr(&data);
			*ret_len = len;
			return 0;
		}
	}
	return rc < 0 ? rc : -EBUSY;
}

int nvram_keep(int from_dirfd, const char *original, int dirfd, const char *file,
	struct err *err)
{
	AUTO_FREE char *data = NULL;
	size_t len;
	int rc = read_steady(from_dirfd, original, &data, &len);

	if (rc == -ENOENT)
		return 0;
	if (rc == -EBUSY)
		return err_set(err, rc, "the NVRAM file %s is written all the time", original);
	if (rc < 0)
		return err_sys(err, rc, "cannot read the NVRAM file %s", original);
	rc = io_write_file(&io_kernel, dirfd, file, data, len, 0600);
	return rc < 0 ? err_sys(err, rc, "cannot keep a copy of the NVRAM") : 1;
}

uint64_t nvram_fsid(int fd)
{
	struct statfs fs;
	uint64_t id = 0;

	if (fstatfs(fd, &fs) == 0)
		memcpy(&id, &fs.f_fsid, sizeof(id));
	return id;
}

/* A name beside path that nobody else uses. */
static int temp_name(const char *path, char **ret_temp)
{
	struct id id = id_new();
	char text[ID_TEXT];

	id_format(&id, text);
	return asprintf(ret_temp, "%s.lazyclone-%s", path, text) < 0 ? -ENOMEM : 0;
}

/* One that is gone has no owner any more: ours, until libvirt labels it at the start. */
static int like_original(int fd, const char *original)
{
	struct stat st;

	if (stat(original, &st) < 0)
		return errno == ENOENT ? 0 : -errno;
	if (fchown(fd, st.st_uid, st.st_gid) < 0 || fchmod(fd, st.st_mode & 07777) < 0)
		return -errno;
	return 0;
}

static int write_temp(int fd, int clone_dirfd, const char *file, const char *original)
{
	AUTO_FREE char *data = NULL;
	size_t len;
	int rc = io_slurp(&io_kernel, clone_dirfd, file, NVRAM_BYTES_MAX, &data, &len);

	if (rc == 0)
		rc = io_write_full(&io_kernel, fd, data, len, 0);
	if (rc == 0)
		rc = like_original(fd, original);
	if (rc == 0)
		rc = fsync(fd) < 0 ? -errno : 0;
	return rc;
}

static int sync_dir_of(const char *path)
{
	AUTO_FREE char *dir = strdup(path);

	if (!dir)
		return -ENOMEM;
	*strrchr(dir, '/') = '\0';
	return io_fsync_dir(&io_kernel, AT_FDCWD, dir[0] ? dir : "/");
}

/* A whole, durable copy beside path, under a name that the journal knows. */
static int make_temp(int clone_dirfd, const char *file, const char *original, const char *path,
	struct journal *journal, char **ret_temp, int *ret_fd, struct err *err)
{
	AUTO_FREE char *temp = NULL;
	AUTO_CLOSE int fd = -1;
	int rc = temp_name(path, &temp);

	if (rc < 0)
		return err_sys(err, rc, "cannot make the NVRAM file %s", path);
	rc = journal_add(journal, JOURNAL_FILE, temp, NULL, 0, 0, err);
	if (rc < 0)
		return rc;
	fd = open(temp, O_WRONLY | O_CREAT | O_EXCL | O_NOFOLLOW | O_CLOEXEC, 0600);
	rc = fd < 0 ? -errno : write_temp(fd, clone_dirfd, file, original);
	if (rc < 0)
		return err_sys(err, rc, "cannot make the NVRAM file %s", path);
	*ret_temp = steal_ptr(&temp);
	*ret_fd = steal_fd(&fd);
	return 0;
}

/* The final name is journaled with the inode that is about to get it. */
static int publish(int fd, const char *temp, const char *path, struct journal *journal,
	struct err *err)
{
	struct stat st;
	int rc;

	if (fstat(fd, &st) < 0)
		return err_sys(err, -errno, "%s", path);
	rc = journal_add(journal, JOURNAL_FILE_MADE, path, NULL, nvram_fsid(fd), st.st_ino, err);
	if (rc < 0)
		return rc;
	if (renameat2(AT_FDCWD, temp, AT_FDCWD, path, RENAME_NOREPLACE) < 0) {
		rc = errno == EEXIST
			? err_set(err, -EEXIST, "the NVRAM file %s is there already", path)
			: err_sys(err, -errno, "cannot make the NVRAM file %s", path);
		if (rc == -EEXIST)
			err_hint(err, "no domain of that name uses it: move it away");
		return rc;
	}
	rc = sync_dir_of(path);
	return rc < 0 ? err_sys(err, rc, "cannot make the NVRAM file %s durable", path) : 0;
}

int nvram_install(int clone_dirfd, const char *original, const char *path,
	struct journal *journal, struct err *err)
{
	AUTO_FREE char *temp = NULL;
	AUTO_CLOSE int fd = -1;
	int rc = make_temp(
		clone_dirfd, RECORD_NVRAM, original, path, journal, &temp, &fd, err);

	return rc == 0 ? publish(fd, temp, path, journal, err) : rc;
}

int nvram_prepare(int clone_dirfd, const char *file, const char *path, struct journal *journal,
	char **ret_temp, struct err *err)
{
	AUTO_FREE char *temp = NULL;
	AUTO_CLOSE int fd = -1;
	int rc = make_temp(clone_dirfd, file, path, path, journal, &temp, &fd, err);

	if (rc < 0)
		return rc;
	rc = sync_dir_of(path);
	if (rc < 0)
		return err_sys(err, rc, "cannot make the NVRAM file %s durable", temp);
	*ret_temp = steal_ptr(&temp);
	return 0;
}

int nvram_replace(const char *temp, const char *path, struct err *err)
{
	int rc = rename(temp, path) < 0 && errno != ENOENT ? -errno : 0;

	if (rc == 0)
		rc = sync_dir_of(path);
	return rc < 0 ? err_sys(err, rc, "cannot put back the NVRAM file %s", path) : 0;
}

int nvram_remove(const char *path, struct err *err)
{
	int rc = unlink(path) < 0 && errno != ENOENT ? -errno : 0;

	if (rc == 0)
		rc = sync_dir_of(path);
	return rc < 0 ? err_sys(err, rc, "cannot remove the NVRAM file %s", path) : 0;
}
