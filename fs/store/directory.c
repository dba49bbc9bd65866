/* SPDX-License-Identifier: LGPL-2.1-or-later */
/* Walking, moving and deleting directories of the store: see directory.h.
 *
 * What a crash leaves: a move is one rename, so a directory is at the old
 * place or at the new one, whole. Deleting is only done in trash/ and
 * staging/, where half a tree means nothing to anybody.
 */
#include "fs/store/directory.h"

#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <limits.h>
#include <stdio.h>
#include <string.h>
#include <unistd.h>

#include "fs/store/space.h"
#include "fs/util/cleanup.h"

static int each_entry(DIR *dir, int fd, int (*fn)(void *ctx, int fd, const char *entry), void *ctx)
{
	for (;;) {
		struct dirent *entry;
		int rc;

		errno = 0;
		entry = readdir(dir);
		if (!entry)
			return -errno;
		if (strcmp(entry->d_name, ".") == 0 || strcmp(entry->d_name, "..") == 0)
			continue;
		rc = fn(ctx, fd, entry->d_name);
		if (rc != 0)
			return rc;
	}
}

int directory_each(const struct io_gate *io, int dirfd, const char *name,
	int (*fn)(void *ctx, int fd, const char *entry), void *ctx)
{
	DIR *dir;
	int copy;
	int rc;
	int fd = io->openat(io, dirfd, name, O_RDONLY | O_DIRECTORY | O_NOFOLLOW, 0);

	if (fd < 0)
		return fd;
	/* closedir() closes behind the gate's back, so it gets a copy. */
	copy = fcntl(fd, F_DUPFD_CLOEXEC, 0);
	dir = copy >= 0 ? fdopendir(copy) : NULL;
	if (dir) {
		rc = each_entry(dir, fd, fn, ctx);
		closedir(dir);
	} else {
		rc = -errno;
		close_fd(&copy);
	}
	io->close(io, fd);
	return rc;
}

struct deletion {
	const struct io_gate *io;
	int depth;
};

static int delete_entry(void *ctx, int fd, const char *entry)
{
	struct deletion *deletion = ctx;
	const struct io_gate *io = deletion->io;
	int rc = io->unlinkat(io, fd, entry, 0);

	if (rc != -EISDIR && rc != -EPERM)
		return rc == -ENOENT ? 0 : rc;
	if (deletion->depth >= DIRECTORY_DEPTH_MAX)
		return -ELOOP;
	deletion->depth++;
	rc = directory_each(io, fd, entry, delete_entry, deletion);
	deletion->depth--;
	if (rc == -ENOTDIR) /* EPERM was about a file: immutable, or not ours */
		return -EPERM;
	if (rc == 0)
		rc = io->unlinkat(io, fd, entry, AT_REMOVEDIR);
	return rc == -ENOENT ? 0 : rc;
}

int directory_delete(const struct io_gate *io, int dirfd, const char *name)
{
	struct deletion deletion = {.io = io};

	return delete_entry(&deletion, dirfd, name);
}

int directory_move(
	const struct io_gate *io, int fromfd, const char *from, int tofd, const char *to)
{
	int rc = io->renameat(io, fromfd, from, tofd, to, RENAME_NOREPLACE);

	/* Where the file system cannot do it (NFS) a plain rename is as good:
	 * it does not replace a directory that has anything in it, and ours do. */
	if (rc == -EINVAL || rc == -ENOSYS || rc == -EOPNOTSUPP)
		rc = io->renameat(io, fromfd, from, tofd, to, 0);
	return rc == -ENOTEMPTY ? -EEXIST : rc;
}

int directory_writable(const struct store *store, struct err *err)
{
	if (!store->label.unknown_ro_compat)
		return 0;
	return err_set(err, -EUCLEAN,
		"store %s: made by a newer lazyclone: may only be read (unknown features 0x%llx)",
		store->path, (unsigned long long)store->label.unknown_ro_compat);
}

int directory_manifest(const struct store *store, int fd, const char *name,
	struct manifest **ret_manifest, struct err *err)
{
	AUTO_FREE char *text = NULL;
	struct manifest *m = NULL;
	size_t len;
	int rc = io_slurp(store->io, fd, DIRECTORY_MANIFEST, STORE_MANIFEST_MAX, &text, &len);

	if (rc == -ENOENT || rc == -EFBIG || rc == -EINVAL || rc == -ELOOP)
		return err_set(err, -EUCLEAN, "clone %s: damaged: its manifest is %s", name,
			rc == -ENOENT ? "missing" : "no manifest");
	if (rc < 0)
		return err_sys(err, rc, "clone %s: cannot read its manifest", name);
	rc = manifest_parse(text, len, &m, err);
	if (rc == 0 && strcmp(m->name, name) != 0) {
		rc = err_set(err, -EUCLEAN, "damaged: its manifest is that of %s", m->name);
		manifest_free(m);
	}
	if (rc < 0) {
		err_prefix(err, "clone %s", name);
		return rc;
	}
	*ret_manifest = m;
	return 0;
}

int directory_clone(const struct store *store, const char *name, const struct id *id, int *ret_fd,
	struct manifest **ret_manifest, struct err *err)
{
	struct manifest *m = NULL;
	int fd = store_name_valid(name)
		? store->io->openat(store->io, store->clones_fd, name,
			O_RDONLY | O_DIRECTORY | O_NOFOLLOW, 0) : -ENOENT;
	int rc;

	if (fd == -ENOENT)
		return err_set(err, -ENOENT, "clone %s: not in the store %s", name, store->path);
	if (fd < 0)
		return err_sys(err, fd, "clone %s", name);
	rc = directory_manifest(store, fd, name, &m, err);
	if (rc == 0 && id && !id_equal(&m->id, id)) {
		manifest_free(m);
		rc = err_set(err, -ENOENT, "clone %s: another clone has that name now", name);
	}
	if (rc < 0) {
		store->io->close(store->io, fd);
		return rc;
	}
	*ret_fd = fd;
	*ret_manifest = m;
	return 0;
}

/* Is name below dirfd another directory than fd? Somebody may have put one
 * there since. If it is gone already, a sweep was as quick as that. */
static bool is_other_directory(int dirfd, const char *name, int fd)
{
	struct stat there;
	struct stat here;

	if (fstatat(dirfd, name, &there, AT_SYMLINK_NOFOLLOW) < 0)
		return errno != ENOENT;
	return fstat(fd, &here) < 0 || there.st_dev != here.st_dev || there.st_ino != here.st_ino;
}

/* A move may need a block for the directory's entry: where there is none, the
 * store's reserve lends it. */
static int move_to_trash(const struct store *store, const char *name, const char *trash)
{
	const struct io_gate *io = store->io;
	int rc = directory_move(io, store->clones_fd, name, store->trash_fd, trash);

	if ((rc == -ENOSPC || rc == -EDQUOT) &&
		space_spend(io, store->dirfd, SPACE_MARGIN_BYTES) == 0)
		rc = directory_move(io, store->clones_fd, name, store->trash_fd, trash);
	return rc;
}

int directory_retire(const struct store *store, int fd, const char *name, const struct id *id,
	struct err *err)
{
	const struct io_gate *io = store->io;
	char trash[ID_TEXT];
	int rc;

	id_format(id, trash);
	rc = move_to_trash(store, name, trash);
	if (rc == 0 && is_other_directory(store->trash_fd, trash, fd)) {
		directory_move(io, store->trash_fd, trash, store->clones_fd, name);
		rc = -ENOENT;
	}
	if (rc == 0)
		rc = io->fsync(io, store->clones_fd);
	if (rc < 0)
		return err_sys(err, rc, "clone %s: cannot remove it", name);
	/* It is gone. What cannot be deleted now waits for store_sweep(). */
	directory_delete(io, store->trash_fd, trash);
	return 0;
}
