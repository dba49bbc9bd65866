/* SPDX-License-Identifier: LGPL-2.1-or-later */
/* Reflinking, taking and sweeping of copies: see copies.h. */
#include "fs/store/copies.h"

#include <errno.h>
#include <fcntl.h>
#include <linux/fs.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/ioctl.h>
#include <sys/stat.h>
#include <unistd.h>

#include "fs/store/directory.h"
#include "fs/store/layers.h"
#include "fs/util/cleanup.h"

#define LOCK_NAME "lock"
#define NEW_PREFIX "new-"
#define NEW_NAME (sizeof(NEW_PREFIX) + ID_TEXT)

struct store_copy {
	char *path;
	int lock_fd;
};

/* ---- one file ---- */

/* btrfs shares blocks only between files that both have checksums or both
 * have none; the images of its pools often have none. */
static void take_nocow(int from_fd, int to_fd)
{
	int flags;

	if (ioctl(from_fd, FS_IOC_GETFLAGS, &flags) < 0 || !(flags & FS_NOCOW_FL))
		return;
	if (ioctl(to_fd, FS_IOC_GETFLAGS, &flags) == 0) {
		flags |= FS_NOCOW_FL;
		ioctl(to_fd, FS_IOC_SETFLAGS, &flags);
	}
}

static int reflink(int from_fd, int to_fd)
{
	take_nocow(from_fd, to_fd);
	return ioctl(to_fd, FICLONE, from_fd) < 0 ? -errno : 0;
}

int store_copy_try(const struct store *store, int fd)
{
	AUTO_CLOSE int to_fd = openat(store->dirfd, ".", O_TMPFILE | O_RDWR | O_CLOEXEC, 0600);

	return to_fd < 0 ? -errno : reflink(fd, to_fd);
}

static int copy_file(const struct store *store, int dirfd, const struct store_copy_file *file)
{
	const struct io_gate *io = store->io;
	int fd = io->openat(io, dirfd, file->name, O_WRONLY | O_CREAT | O_EXCL | O_NOFOLLOW, 0400);
	int rc;

	if (fd < 0)
		return fd;
	rc = reflink(file->fd, fd);
	if (rc == 0)
		rc = io->fsync(io, fd);
	io->close(io, fd);
	return rc;
}

/* ---- a copy ---- */

static int fill(const struct store *store, int dirfd, const struct store_copy_order *order,
	struct err *err)
{
	int rc = io_write_file(store->io, dirfd, LOCK_NAME, "", 0, 0600);

	if (rc < 0)
		return err_sys(err, rc, "store %s: cannot make a copy", store->path);
	for (uint32_t i = 0; i < order->n_files; i++) {
		rc = copy_file(store, dirfd, &order->files[i]);
		if (rc < 0)
			return err_sys(err, rc, "cannot reflink %s into the store %s",
				order->files[i].path, store->path);
	}
	rc = store->io->fsync(store->io, dirfd);
	if (rc < 0)
		return err_sys(err, rc, "store %s: cannot make a copy durable", store->path);
	return order->check(order->ctx, err);
}

static int make_whole(const struct store *store, int bases_fd, const char *new_name,
	const char *name, const struct store_copy_order *order, struct err *err)
{
	const struct io_gate *io = store->io;
	int dirfd = io->openat(io, bases_fd, new_name, O_RDONLY | O_DIRECTORY | O_NOFOLLOW, 0);
	int rc;

	if (dirfd < 0)
		return err_sys(err, dirfd, "store %s: cannot make a copy", store->path);
	rc = fill(store, dirfd, order, err);
	io->close(io, dirfd);
	if (rc < 0)
		return rc;
	rc = directory_move(io, bases_fd, new_name, bases_fd, name);
	if (rc == 0)
		rc = io->fsync(io, bases_fd);
	/* Somebody made the same at the same time: it is as good. */
	if (rc < 0 && rc != -EEXIST)
		err_sys(err, rc, "store %s: cannot name a copy", store->path);
	return rc;
}

static int make(const struct store *store, int bases_fd, const char *name,
	const struct store_copy_order *order, bool *ret_made, struct err *err)
{
	const struct io_gate *io = store->io;
	struct id id = id_new();
	char new_name[NEW_NAME] = NEW_PREFIX;
	int rc;

	id_format(&id, new_name + strlen(NEW_PREFIX));
	rc = io->mkdirat(io, bases_fd, new_name, 0700);
	if (rc < 0)
		return err_sys(err, rc, "store %s: cannot make a copy", store->path);
	rc = make_whole(store, bases_fd, new_name, name, order, err);
	*ret_made = rc == 0;
	if (rc < 0)
		directory_delete(io, bases_fd, new_name);
	return rc == -EEXIST ? 0 : rc;
}

static int open_bases(const struct store *store, bool create)
{
	const struct io_gate *io = store->io;
	int rc = create ? io->mkdirat(io, store->dirfd, DIRECTORY_BASES, 0700) : -EEXIST;

	if (rc == 0)
		rc = io->fsync(io, store->dirfd);
	if (rc < 0 && rc != -EEXIST)
		return rc;
	return io->openat(io, store->dirfd, DIRECTORY_BASES, O_RDONLY | O_DIRECTORY | O_NOFOLLOW, 0);
}

/* 0, *ret_fd locked; -ENOENT: there is none, or not all of it. */
static int lock_copy(const struct store *store, int bases_fd, const char *name, bool exclusive,
	int *ret_fd)
{
	char path[ID_TEXT + sizeof("/" LOCK_NAME)];
	int fd, rc;

	snprintf(path, sizeof(path), "%s/" LOCK_NAME, name);
	fd = store->io->openat(store->io, bases_fd, path, O_RDWR | O_NOFOLLOW, 0);
	if (fd < 0)
		return fd;
	rc = io_lock(fd, exclusive, 0, 1);
	if (rc < 0)
		store->io->close(store->io, fd);
	else
		*ret_fd = fd;
	return rc;
}

/* Under the layers' lock: no sweep. */
static int take_locked(struct store *store, const char *name,
	const struct store_copy_order *order, struct store_copy *copy, bool *ret_made,
	struct err *err)
{
	int bases_fd = open_bases(store, true);
	int rc = bases_fd < 0 ? bases_fd : lock_copy(store, bases_fd, name, false, &copy->lock_fd);

	*ret_made = false;
	if (rc == -ENOENT) {
		rc = make(store, bases_fd, name, order, ret_made, err);
		if (rc == 0)
			rc = lock_copy(store, bases_fd, name, false, &copy->lock_fd);
		else
			goto out;
	}
	if (rc < 0)
		err_sys(err, rc, "store %s: cannot use the copy %s", store->path, name);
out:
	if (bases_fd >= 0)
		store->io->close(store->io, bases_fd);
	return rc;
}

int store_copy_take(struct store *store, const struct store_copy_order *order,
	struct store_copy **ret_copy, bool *ret_made, struct err *err)
{
	struct store_copy *copy = calloc(1, sizeof(*copy));
	bool made = false;
	char name[ID_TEXT];
	int lock_fd, rc;

	id_format(&order->id, name);
	if (!copy || asprintf(&copy->path, "%s/" DIRECTORY_BASES "/%s", store->path, name) < 0) {
		free(copy);
		return err_sys(err, -ENOMEM, "store %s", store->path);
	}
	copy->lock_fd = -1;
	rc = directory_writable(store, err);
	lock_fd = rc < 0 ? rc : layers_lock(store, false);
	if (rc == 0 && lock_fd < 0)
		rc = err_sys(err, lock_fd, "store %s: %s", store->path, DIRECTORY_LAYERS_LOCK);
	if (rc == 0)
		rc = take_locked(store, name, order, copy, &made, err);
	layers_unlock(store, lock_fd);
	if (ret_made)
		*ret_made = made;
	if (rc < 0)
		store_copy_release(copy);
	else
		*ret_copy = copy;
	return rc;
}

const char *store_copy_path(const struct store_copy *copy)
{
	return copy->path;
}

void store_copy_release(struct store_copy *copy)
{
	if (!copy)
		return;
	close_fd(&copy->lock_fd);
	free(copy->path);
	free(copy);
}

/* ---- who needs which ---- */

/* .../bases/ID/FILE */
bool store_copy_of(const char *path, struct id *ret_id)
{
	const char *file = strrchr(path, '/');
	const size_t parent = strlen("/" DIRECTORY_BASES "/");
	char id[ID_TEXT];

	if (!file || (size_t)(file - path) < parent + ID_TEXT - 1)
		return false;
	memcpy(id, file - (ID_TEXT - 1), ID_TEXT - 1);
	id[ID_TEXT - 1] = '\0';
	return memcmp(file - (ID_TEXT - 1) - parent, "/" DIRECTORY_BASES "/", parent) == 0 &&
		id_parse(id, ret_id) == 0;
}

int copies_add_needed(const struct manifest *m, struct idset *needed)
{
	struct id id;

	for (uint32_t i = 0; i < m->n_disks; i++) {
		const char *path = m->disks[i].base_path;
		int rc = path && store_copy_of(path, &id) ? idset_add(needed, &id) : 0;

		if (rc < 0)
			return rc;
	}
	return 0;
}

int copies_check(const struct store *store, const struct manifest *m, struct err *err)
{
	for (uint32_t i = 0; i < m->n_disks; i++) {
		const char *path = m->disks[i].base_path;
		char name[sizeof(DIRECTORY_BASES "/") + ID_TEXT] = DIRECTORY_BASES "/";
		struct stat st;
		struct id id;

		if (!path || !store_copy_of(path, &id))
			continue;
		id_format(&id, name + strlen(name));
		if (fstatat(store->dirfd, name, &st, AT_SYMLINK_NOFOLLOW) < 0)
			return err_set(err, -ENOENT, "clone %s: disk %s: its base %s is not in the "
				"store", m->name, m->disks[i].target, path);
	}
	return 0;
}

static bool is_new(const char *entry)
{
	struct id id;

	return strncmp(entry, NEW_PREFIX, strlen(NEW_PREFIX)) == 0 &&
		id_parse(entry + strlen(NEW_PREFIX), &id) == 0;
}

struct sweep {
	const struct store *store;
	const struct idset *needed;
};

static bool is_unused(const struct sweep *sweep, const char *entry)
{
	struct id id;

	return is_new(entry) || (id_parse(entry, &id) == 0 && !idset_has(sweep->needed, &id));
}

static int find_unused(void *ctx, int fd, const char *entry)
{
	return is_unused(ctx, entry);
}

static int each_entry(struct sweep *sweep, int (*fn)(void *ctx, int fd, const char *entry))
{
	int rc = directory_each(
		sweep->store->io, sweep->store->dirfd, DIRECTORY_BASES, fn, sweep);

	return rc == -ENOENT ? 0 : rc;
}

int copies_any_unused(const struct store *store, const struct idset *needed, bool *ret_any)
{
	struct sweep sweep = {.store = store, .needed = needed};
	int rc = each_entry(&sweep, find_unused);

	*ret_any = rc == 1;
	return rc < 0 ? rc : 0;
}

/* Somebody has taken it: his manifest is about to be. */
static bool is_taken(const struct store *store, int bases_fd, const char *entry)
{
	int lock_fd;
	int rc = lock_copy(store, bases_fd, entry, true, &lock_fd);

	if (rc == 0)
		store->io->close(store->io, lock_fd);
	return rc < 0 && rc != -ENOENT;
}

static int sweep_entry(void *ctx, int fd, const char *entry)
{
	const struct sweep *sweep = ctx;
	const struct store *store = sweep->store;
	int rc;

	if (is_new(entry))
		return directory_delete(store->io, fd, entry);
	if (!is_unused(sweep, entry) || is_taken(store, fd, entry))
		return 0;
	/* One of that name, from another time, may not be all deleted yet. */
	rc = directory_delete(store->io, store->trash_fd, entry);
	if (rc == 0)
		rc = directory_move(store->io, fd, entry, store->trash_fd, entry);
	if (rc == 0)
		rc = store->io->fsync(store->io, fd);
	/* What cannot be deleted now waits for store_sweep(). */
	if (rc == 0)
		directory_delete(store->io, store->trash_fd, entry);
	return rc;
}

int copies_sweep(const struct store *store, const struct idset *needed)
{
	struct sweep sweep = {.store = store, .needed = needed};

	return each_entry(&sweep, sweep_entry);
}
