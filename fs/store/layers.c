/* SPDX-License-Identifier: LGPL-2.1-or-later */
/* Linking, checking and sweeping layers: see layers.h. */
#include "fs/store/layers.h"

#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <time.h>

#include "fs/store/copies.h"
#include "fs/store/delta.h"
#include "fs/store/directory.h"
#include "fs/util/cleanup.h"
#include "fs/util/clock.h"

#define NAME_TEXT (ID_TEXT + 8)
#define SWEEP_WAIT_MS 2000

/* The checkpoint is a cache and may be missing. */
static const char *const suffixes[] = {".super", ".log", ".ckpt"};
#define N_SUFFIXES 3
#define N_NEEDED 2

static void file_name(const struct id *id, const char *suffix, char name[static NAME_TEXT])
{
	char text[ID_TEXT];

	id_format(id, text);
	snprintf(name, NAME_TEXT, "%s%s", text, suffix);
}

/* ---- the lock ---- */

/* A sweep can wait for the next one; who holds the lock shared for long is a
 * daemon that does not know which manifest of a clone counts. */
int layers_lock_alone(int fd)
{
	const struct timespec pause = {.tv_nsec = 10 * 1000000};
	int64_t until = clock_now_ms() + SWEEP_WAIT_MS;
	int rc = io_lock(fd, true, 0, 1);

	while (rc == -EAGAIN && clock_now_ms() < until) {
		nanosleep(&pause, NULL);
		rc = io_lock(fd, true, 0, 1);
	}
	return rc == -EAGAIN ? -EBUSY : rc;
}

int layers_lock(const struct store *store, bool exclusive)
{
	const struct io_gate *io = store->io;
	int fd = io->openat(io, store->dirfd, DIRECTORY_LAYERS_LOCK,
		O_RDWR | O_CREAT | O_NOFOLLOW, 0600);
	int rc;

	if (fd < 0)
		return fd;
	rc = exclusive ? layers_lock_alone(fd) : io_lock_wait(fd, false, 0, 1);
	if (rc == 0)
		return fd;
	io->close(io, fd);
	return rc;
}

void layers_lock_share(int lock_fd)
{
	io_lock(lock_fd, false, 0, 1); /* giving up a part always works */
}

void layers_unlock(const struct store *store, int lock_fd)
{
	if (lock_fd >= 0)
		store->io->close(store->io, lock_fd);
}

/* ---- links ---- */

/* Is the name in layers/ free, or a link of ours from a freeze that did not
 * come to its end? That one goes; another file would be another's. */
static int make_free(const struct store *store, int fd, const char *name)
{
	struct stat ours, there;

	if (fstatat(store->layers_fd, name, &there, AT_SYMLINK_NOFOLLOW) < 0)
		return errno == ENOENT ? 0 : -errno;
	if (fstatat(fd, name, &ours, AT_SYMLINK_NOFOLLOW) < 0)
		return -errno;
	if (there.st_dev != ours.st_dev || there.st_ino != ours.st_ino)
		return -EEXIST;
	return store->io->unlinkat(store->io, store->layers_fd, name, 0);
}

int layers_link(const struct store *store, int fd, const struct id *id)
{
	const struct io_gate *io = store->io;

	for (int i = 0; i < N_SUFFIXES; i++) {
		char name[NAME_TEXT];
		int rc;

		file_name(id, suffixes[i], name);
		/* A checkpoint left there may be an older one: it is a cache. */
		if (i < N_NEEDED)
			rc = make_free(store, fd, name);
		else
			rc = io->unlinkat(io, store->layers_fd, name, 0);
		if (rc == 0 || (i >= N_NEEDED && rc == -ENOENT))
			rc = io->linkat(io, fd, name, store->layers_fd, name);
		if (rc < 0 && !(i >= N_NEEDED && rc == -ENOENT))
			return rc;
	}
	return 0;
}

int layers_unlink(const struct store *store, const struct id *id)
{
	int first = 0;

	for (int i = 0; i < N_SUFFIXES; i++) {
		char name[NAME_TEXT];
		int rc;

		file_name(id, suffixes[i], name);
		rc = store->io->unlinkat(store->io, store->layers_fd, name, 0);
		if (rc < 0 && rc != -ENOENT && first == 0)
			first = rc;
	}
	return first;
}

void layers_take_checkpoint(const struct store *store, int fd, const struct id *id)
{
	char name[NAME_TEXT];
	struct stat newer, there;

	file_name(id, ".ckpt", name);
	if (fstatat(fd, name, &newer, AT_SYMLINK_NOFOLLOW) < 0)
		return;
	/* A rename onto another link of the same file does nothing. */
	if (fstatat(store->layers_fd, name, &there, AT_SYMLINK_NOFOLLOW) == 0 &&
		there.st_dev == newer.st_dev && there.st_ino == newer.st_ino)
		return;
	store->io->renameat(store->io, fd, name, store->layers_fd, name, 0);
}

int layers_sync(const struct store *store)
{
	return store->io->fsync(store->io, store->layers_fd);
}

static bool layer_there(const struct store *store, const struct id *id)
{
	for (int i = 0; i < N_NEEDED; i++) {
		char name[NAME_TEXT];
		struct stat st;

		file_name(id, suffixes[i], name);
		if (fstatat(store->layers_fd, name, &st, AT_SYMLINK_NOFOLLOW) < 0 ||
			!S_ISREG(st.st_mode))
			return false;
	}
	return true;
}

int layers_check(const struct store *store, const struct manifest *m, struct err *err)
{
	for (uint32_t i = 0; i < m->n_disks; i++) {
		for (uint32_t k = 0; k < m->disks[i].n_layers; k++) {
			char text[ID_TEXT];

			if (layer_there(store, &m->disks[i].layers[k].id))
				continue;
			id_format(&m->disks[i].layers[k].id, text);
			return err_set(err, -ENOENT, "clone %s: disk %s: layer %s is not there",
				m->name, m->disks[i].target, text);
		}
	}
	return 0;
}

/* ---- the sweep ---- */

struct sweep {
	struct store *store;
	struct remains *remains; /* or NULL */
	struct idset there;  /* in layers/, each at least once */
	struct idset needed; /* by manifests */
	struct idset unused;
	struct idset needed_copies; /* of bases, by manifests */
	bool unused_copies;
	struct err *err;
};

bool layers_file_id(const char *entry, struct id *ret_id)
{
	char text[ID_TEXT];

	if (strlen(entry) < ID_TEXT || entry[ID_TEXT - 1] != '.')
		return false;
	memcpy(text, entry, ID_TEXT - 1);
	text[ID_TEXT - 1] = '\0';
	return id_parse(text, ret_id) == 0;
}

static int add_there(void *ctx, int fd, const char *entry)
{
	struct sweep *sweep = ctx;
	struct id id;

	return layers_file_id(entry, &id) ? idset_add(&sweep->there, &id) : 0;
}

int layers_add_needed(const struct manifest *m, struct idset *needed)
{
	for (uint32_t i = 0; i < m->n_disks; i++) {
		for (uint32_t k = 0; k < m->disks[i].n_layers; k++) {
			int rc = idset_add(needed, &m->disks[i].layers[k].id);

			if (rc < 0)
				return rc;
		}
	}
	return 0;
}

/* The manifest in fd/entry; a stage without one names nothing. */
static int read_needed(struct sweep *sweep, int fd, const char *entry, bool may_be_missing)
{
	const struct io_gate *io = sweep->store->io;
	AUTO_FREE char *text = NULL;
	struct manifest *m = NULL;
	size_t len;
	int dirfd = io->openat(io, fd, entry, O_RDONLY | O_DIRECTORY | O_NOFOLLOW, 0);
	int rc;

	if (dirfd < 0) /* gone since it was listed, or nothing of ours */
		return dirfd == -ENOENT || dirfd == -ENOTDIR || dirfd == -ELOOP ? 0 : dirfd;
	rc = io_slurp(io, dirfd, DIRECTORY_MANIFEST, STORE_MANIFEST_MAX, &text, &len);
	io->close(io, dirfd);
	if (rc == -ENOENT && may_be_missing)
		return 0;
	if (rc == 0)
		rc = manifest_parse(text, len, &m, NULL);
	if (rc == 0) {
		rc = layers_add_needed(m, &sweep->needed);
		if (rc == 0)
			rc = copies_add_needed(m, &sweep->needed_copies);
	} else if (rc != -ENOMEM) {
		rc = err_set(sweep->err, -EUCLEAN,
			"cannot read the manifest of %s, which may name layers", entry);
	}
	manifest_free(m);
	return rc;
}

static int read_stage(void *ctx, int fd, const char *entry)
{
	return read_needed(ctx, fd, entry, true);
}

static int read_clone(void *ctx, int fd, const char *entry)
{
	return read_needed(ctx, fd, entry, !store_name_valid(entry));
}

static int sync_clone(void *ctx, int fd, const char *entry)
{
	const struct sweep *sweep = ctx;
	int rc = io_fsync_dir(sweep->store->io, fd, entry);

	return rc == -ENOENT || rc == -ENOTDIR || rc == -ELOOP ? 0 : rc;
}

/* What the manifests say now, is what they say after a power cut. */
static int make_durable(struct sweep *sweep)
{
	const struct store *store = sweep->store;
	int rc = directory_each(store->io, store->clones_fd, ".", sync_clone, sweep);

	return rc < 0 ? rc : store->io->fsync(store->io, store->clones_fd);
}

static int find_unused(struct sweep *sweep)
{
	const struct store *store = sweep->store;
	int rc = directory_each(store->io, store->layers_fd, ".", add_there, sweep);

	if (rc == 0)
		rc = copies_any_unused(store, &sweep->needed_copies, &sweep->unused_copies);
	if (rc == 0 && sweep->there.count == 0 && !sweep->unused_copies)
		return 0;
	if (rc == 0)
		rc = directory_each(store->io, store->staging_fd, ".", read_stage, sweep);
	if (rc == 0)
		rc = directory_each(store->io, store->clones_fd, ".", read_clone, sweep);
	idset_sort(&sweep->needed);
	idset_sort(&sweep->needed_copies);
	for (size_t i = 0; rc == 0 && i < sweep->there.count; i++) {
		if (!idset_has(&sweep->needed, &sweep->there.id[i]))
			rc = idset_add(&sweep->unused, &sweep->there.id[i]);
	}
	return rc < 0 ? rc : copies_any_unused(
		store, &sweep->needed_copies, &sweep->unused_copies);
}

static int sweep_unused(void *ctx, int fd, const char *entry)
{
	const struct sweep *sweep = ctx;
	struct id id;
	int rc;

	if (!layers_file_id(entry, &id) || !idset_has(&sweep->unused, &id))
		return 0;
	rc = remains_unlink(sweep->remains, sweep->store->io, fd, entry);
	return rc == -ENOENT ? 0 : rc;
}

static int sweep_locked(struct sweep *sweep)
{
	const struct store *store = sweep->store;
	int rc = find_unused(sweep);

	if (rc < 0 || (sweep->unused.count == 0 && !sweep->unused_copies))
		return rc;
	idset_sort(&sweep->unused);
	rc = make_durable(sweep);
	if (rc == 0)
		rc = directory_each(store->io, store->layers_fd, ".", sweep_unused, sweep);
	if (rc == 0 && sweep->unused_copies)
		rc = copies_sweep(store, &sweep->needed_copies);
	return rc;
}

int store_layers_sweep(struct store *store, struct remains *remains, struct err *err)
{
	struct sweep sweep = {.store = store, .remains = remains};
	struct err why = {.code = 0};
	int rc = directory_writable(store, err);
	int lock_fd;

	if (rc < 0)
		return rc;
	sweep.err = &why;
	lock_fd = layers_lock(store, true);
	rc = lock_fd < 0 ? lock_fd : sweep_locked(&sweep);
	layers_unlock(store, lock_fd);
	idset_release(&sweep.there);
	idset_release(&sweep.needed);
	idset_release(&sweep.unused);
	idset_release(&sweep.needed_copies);
	if (rc == -EUCLEAN && why.code)
		return err_set(err, rc, "store %s: %s", store->path, why.message);
	return rc < 0 ? err_sys(err, rc, "store %s: cannot sweep its layers", store->path) : 0;
}
