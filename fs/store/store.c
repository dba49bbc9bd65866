/* SPDX-License-Identifier: LGPL-2.1-or-later */
/* Making, opening and locking a store; its clones and manifests by name.
 *
 * Durability, in the order things are made:
 *
 *	store_create   parents and STORE are made; each new one's parent is
 *	               synced. Then the parts, then their directory entries
 *	               (fsync of STORE), then the label: temp file, fdatasync,
 *	               rename, fsync of STORE. The label comes last: a directory
 *	               without one is no store, and one that has nothing but our
 *	               empty parts in it is an unfinished one, which the next
 *	               store_create() finishes.
 *	store_manifest_write   io_publish(): the old or the new one. One that
 *	               names other logs or layers: freeze.c.
 *
 * For clones see stage.c, for their removal directory_retire().
 */
#include "fs/store/store.h"

#include <assert.h>
#include <errno.h>
#include <fcntl.h>
#include <limits.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include "fs/store/copies.h"
#include "fs/store/directory.h"
#include "fs/store/layers.h"
#include "fs/store/strays.h"
#include "fs/util/cleanup.h"

/* Temp names of the label are LABEL_FILE.ID.tmp: two may make a store at once. */
#define LABEL_TEMP_PREFIX LABEL_FILE "."

static const char *const store_parts[] = {
	DIRECTORY_CLONES, DIRECTORY_LAYERS, DIRECTORY_STAGING, DIRECTORY_TRASH,
	DIRECTORY_JOURNAL};

#define N_STORE_PARTS (sizeof(store_parts) / sizeof(store_parts[0]))

static int refuse_any(void *ctx, int fd, const char *entry)
{
	return -EUCLEAN;
}

static bool is_part(const char *entry)
{
	for (size_t i = 0; i < N_STORE_PARTS; i++) {
		if (strcmp(entry, store_parts[i]) == 0)
			return true;
	}
	return false;
}

static int check_entry(void *ctx, int fd, const char *entry)
{
	const struct io_gate *io = ctx;

	/* lost+found: a store may be a file system of its own. */
	if (strcmp(entry, DIRECTORY_LOCK) == 0 || strcmp(entry, DIRECTORY_LAYERS_LOCK) == 0 ||
		strcmp(entry, "lost+found") == 0 ||
		strncmp(entry, LABEL_TEMP_PREFIX, strlen(LABEL_TEMP_PREFIX)) == 0)
		return 0;
	if (!is_part(entry))
		return -EUCLEAN;
	return directory_each(io, fd, entry, refuse_any, NULL);
}

static bool has_label(int dirfd)
{
	struct stat st;

	return fstatat(dirfd, LABEL_FILE, &st, AT_SYMLINK_NOFOLLOW) == 0;
}

/* 1: a finished store, 0: empty or unfinished, -EUCLEAN: something else. */
static int content_kind(const struct io_gate *io, int dirfd)
{
	int rc;

	if (has_label(dirfd))
		return 1;
	rc = directory_each(io, dirfd, ".", check_entry, (void *)(uintptr_t)io);
	if (rc == -ENOTDIR || rc == -ELOOP)
		rc = -EUCLEAN;
	/* What looked foreign may be the store that somebody else finished
	 * meanwhile, with its label and its first clone. */
	return rc == -EUCLEAN && has_label(dirfd) ? 1 : rc;
}

static int make_empty(const struct io_gate *io, int dirfd, const char *name)
{
	int fd = io->openat(io, dirfd, name, O_RDWR | O_CREAT | O_NOFOLLOW, 0600);

	return fd < 0 ? fd : io->close(io, fd);
}

static int make_parts(const struct io_gate *io, int dirfd)
{
	int rc;

	for (size_t i = 0; i < N_STORE_PARTS; i++) {
		rc = io->mkdirat(io, dirfd, store_parts[i], 0700);
		if (rc < 0 && rc != -EEXIST)
			return rc;
	}
	rc = make_empty(io, dirfd, DIRECTORY_LOCK);
	if (rc == 0)
		rc = make_empty(io, dirfd, DIRECTORY_LAYERS_LOCK);
	return rc < 0 ? rc : io->fsync(io, dirfd);
}

/* The last step of making a store. Somebody else may be there first. */
static int make_label(const struct io_gate *io, int dirfd)
{
	struct id id = id_new();
	AUTO_FREE char *text = NULL;
	char digits[ID_TEXT];
	char temp[NAME_MAX];
	size_t len;
	int rc = label_new(&text, &len);

	if (rc < 0)
		return rc;
	id_format(&id, digits);
	snprintf(temp, sizeof(temp), "%s%s.tmp", LABEL_TEMP_PREFIX, digits);
	rc = io_write_file(io, dirfd, temp, text, len, 0600);
	if (rc == 0)
		rc = directory_move(io, dirfd, temp, dirfd, LABEL_FILE);
	if (rc < 0)
		io->unlinkat(io, dirfd, temp, 0);
	/* -ENOENT: a store_sweep() took it for a leftover, so there is a label. */
	if (rc < 0 && rc != -EEXIST && rc != -ENOENT)
		return rc;
	return io->fsync(io, dirfd);
}

/* A label that is there must be one we could open. */
static int check_label(const struct io_gate *io, const char *path, struct err *err)
{
	struct store *store;
	int rc = store_open(io, path, &store, err);

	if (rc == 0)
		store_close(store);
	return rc;
}

/* Records and journals name files and domains that commands remove: those of
 * another user are not acted on, nor what anybody may put there. */
static int check_owner(int dirfd, struct err *err)
{
	struct stat st;

	if (fstat(dirfd, &st) < 0)
		return err_sys(err, -errno, "cannot look at it");
	if (st.st_uid != geteuid() && st.st_uid != 0) {
		err_set(err, -EPERM, "it belongs to another user (%u)", (unsigned int)st.st_uid);
		err_hint(err, "run this as that user");
		return -EPERM;
	}
	if (st.st_mode & S_IWOTH) {
		err_set(err, -EPERM, "everybody can write to it");
		err_hint(err, "it must be its owner's alone: chmod 0700");
		return -EPERM;
	}
	return 0;
}

int store_create(const struct io_gate *io, const char *path, struct err *err)
{
	int dirfd;
	int kind;
	int rc = io_make_dirs(io, path, 0700);

	if (rc < 0)
		return err_sys(err, rc, "store %s: cannot make the directory", path);
	dirfd = io->openat(io, AT_FDCWD, path, O_RDONLY | O_DIRECTORY, 0);
	if (dirfd == -ENOTDIR)
		return err_set(err, -EUCLEAN, "store %s: not a directory", path);
	if (dirfd < 0)
		return err_sys(err, dirfd, "store %s", path);
	rc = check_owner(dirfd, err);
	if (rc < 0) {
		err_prefix(err, "store %s", path);
		io->close(io, dirfd);
		return rc;
	}
	kind = content_kind(io, dirfd);
	if (kind == 0)
		rc = make_parts(io, dirfd);
	if (kind == 0 && rc == 0)
		rc = make_label(io, dirfd);
	io->close(io, dirfd);
	if (kind == 1)
		return check_label(io, path, err);
	if (kind == -EUCLEAN) {
		err_set(err, kind, "store %s: not empty, and not a lazyclone store", path);
		err_hint(err, "name an empty or a new directory");
		return kind;
	}
	rc = kind < 0 ? kind : rc;
	return rc < 0 ? err_sys(err, rc, "store %s: cannot make it", path) : 0;
}

static int open_part(const struct store *store, const char *name)
{
	return store->io->openat(store->io, store->dirfd, name, O_RDONLY | O_DIRECTORY, 0);
}

/* Opens the directory, reads the label and opens the parts. */
static int open_parts(struct store *store, struct err *err)
{
	const struct io_gate *io = store->io;
	AUTO_FREE char *text = NULL;
	size_t len;
	int rc = io_slurp(io, store->dirfd, LABEL_FILE, LABEL_BYTES_MAX, &text, &len);

	if (rc == -ENOENT && content_kind(io, store->dirfd) == 0)
		return err_set(err, -ENOENT, "nothing there");
	if (rc == -ENOENT || rc == -EFBIG || rc == -EINVAL || rc == -ELOOP)
		return err_set(err, -EUCLEAN, "not a lazyclone store");
	if (rc < 0)
		return err_sys(err, rc, "cannot read %s", LABEL_FILE);
	rc = label_parse(text, len, &store->label, err);
	if (rc < 0) {
		err_prefix(err, LABEL_FILE);
		return rc;
	}
	store->clones_fd = open_part(store, DIRECTORY_CLONES);
	store->layers_fd = open_part(store, DIRECTORY_LAYERS);
	store->staging_fd = open_part(store, DIRECTORY_STAGING);
	store->trash_fd = open_part(store, DIRECTORY_TRASH);
	if (store->clones_fd < 0 || store->layers_fd < 0 || store->staging_fd < 0 ||
		store->trash_fd < 0)
		return err_set(err, -EUCLEAN,
			"damaged: clones, layers, staging or trash is missing");
	return 0;
}

int store_open(const struct io_gate *io, const char *path, struct store **ret_store,
	struct err *err)
{
	struct store *store = calloc(1, sizeof(*store));
	int rc;

	if (!store)
		return err_sys(err, -ENOMEM, "store %s", path);
	store->io = io;
	store->dirfd = store->clones_fd = store->layers_fd = -1;
	store->staging_fd = store->trash_fd = store->lock_fd = -1;
	store->path = realpath(path, NULL);
	if (store->path)
		store->dirfd =
			io->openat(io, AT_FDCWD, store->path, O_RDONLY | O_DIRECTORY, 0);
	else
		store->dirfd = -errno;
	if (store->dirfd == -ENOTDIR) {
		rc = err_set(err, -EUCLEAN, "store %s: not a directory", path);
	} else if (store->dirfd < 0) {
		rc = err_sys(err, store->dirfd, "store %s", path);
	} else {
		rc = check_owner(store->dirfd, err);
		if (rc == 0)
			rc = open_parts(store, err);
		if (rc < 0)
			err_prefix(err, "store %s", path);
	}
	if (rc < 0) {
		store_close(store);
		return rc;
	}
	*ret_store = store;
	return 0;
}

static void close_part(const struct store *store, int fd)
{
	if (fd >= 0)
		store->io->close(store->io, fd);
}

void store_close(struct store *store)
{
	if (!store)
		return;
	close_part(store, store->lock_fd);
	close_part(store, store->trash_fd);
	close_part(store, store->staging_fd);
	close_part(store, store->layers_fd);
	close_part(store, store->clones_fd);
	close_part(store, store->dirfd);
	free(store->path);
	free(store);
}

const char *store_path(const struct store *store)
{
	return store->path;
}

const struct id *store_id(const struct store *store)
{
	return &store->label.id;
}

int store_dirfd(const struct store *store)
{
	return store->dirfd;
}

int store_layers_dirfd(const struct store *store)
{
	return store->layers_fd;
}

static int open_lock(const struct store *store)
{
	return store->io->openat(
		store->io, store->dirfd, DIRECTORY_LOCK, O_RDWR | O_CREAT | O_NOFOLLOW, 0600);
}

int store_lock(struct store *store, struct err *err)
{
	int rc = directory_writable(store, err);
	int fd;

	assert(store->lock_fd < 0);
	if (rc < 0)
		return rc;
	fd = open_lock(store);
	if (fd < 0)
		return err_sys(err, fd, "store %s: %s", store->path, DIRECTORY_LOCK);
	rc = io_lock(fd, true, 0, 1);
	/* A lock that does not keep out a second opener is none. */
	if (rc == 0 && store_locked(store) != 1)
		rc = -ENOLCK;
	if (rc == 0) {
		store->lock_fd = fd;
		return 0;
	}
	store->io->close(store->io, fd);
	if (rc == -EAGAIN) {
		err_set(err, -EBUSY, "store %s: a daemon serves it already", store->path);
		err_hint(err, "lazyclone status shows it");
		return -EBUSY;
	}
	return err_set(err, -EOPNOTSUPP,
		"store %s: its file system has no working file locks (%s)", store->path,
		strerror(-rc));
}

int store_locked(struct store *store)
{
	int fd = open_lock(store);
	int rc;

	if (fd < 0)
		return fd;
	rc = io_lock_test(fd, 0, 1);
	store->io->close(store->io, fd);
	return rc;
}

struct names {
	char **name;
	uint32_t count;
	uint32_t room;
};

static int add_name(void *ctx, int fd, const char *entry)
{
	struct names *names = ctx;

	if (!store_name_valid(entry))
		return 0; /* an editor's or a file system's, never a clone's */
	if (names->count == STORE_CLONES_MAX)
		return -E2BIG;
	if (names->count == names->room) {
		uint32_t room = names->room ? 2 * names->room : 64;
		char **name = reallocarray(names->name, room, sizeof(*name));

		if (!name)
			return -ENOMEM;
		names->name = name;
		names->room = room;
	}
	names->name[names->count] = strdup(entry);
	if (!names->name[names->count])
		return -ENOMEM;
	names->count++;
	return 0;
}

static int compare_names(const void *a, const void *b)
{
	return strcmp(*(char *const *)a, *(char *const *)b);
}

int store_list(struct store *store, char ***ret_names, uint32_t *ret_count, struct err *err)
{
	struct names names = {.count = 0};
	int rc = directory_each(store->io, store->clones_fd, ".", add_name, &names);

	if (rc < 0) {
		store_names_free(names.name, names.count);
		if (rc == -E2BIG)
			return err_set(err, -EUCLEAN, "store %s: more than %d clones", store->path,
				STORE_CLONES_MAX);
		return err_sys(err, rc, "store %s: cannot list its clones", store->path);
	}
	if (names.count > 0)
		qsort(names.name, names.count, sizeof(*names.name), compare_names);
	*ret_names = names.name;
	*ret_count = names.count;
	return 0;
}

void store_names_free(char **names, uint32_t count)
{
	for (uint32_t i = 0; i < count; i++)
		free(names[i]);
	free(names);
}

int store_clone_dirfd(struct store *store, const char *name)
{
	if (!store_name_valid(name))
		return -ENOENT;
	return store->io->openat(
		store->io, store->clones_fd, name, O_RDONLY | O_DIRECTORY | O_NOFOLLOW, 0);
}

int store_manifest_read(struct store *store, const char *name, struct manifest **ret_manifest,
	struct err *err)
{
	int fd = -1;
	int rc = directory_clone(store, name, NULL, &fd, ret_manifest, err);

	if (rc == 0)
		store->io->close(store->io, fd);
	return rc;
}

int store_manifest_write(struct store *store, const struct manifest *m, struct err *err)
{
	AUTO_FREE char *text = NULL;
	struct manifest *there = NULL;
	size_t len;
	int fd = -1;
	int rc = directory_writable(store, err);

	if (rc == 0)
		rc = directory_clone(store, m->name, &m->id, &fd, &there, err);
	manifest_free(there);
	if (rc < 0)
		return rc;
	rc = manifest_format(m, &text, &len);
	if (rc == 0)
		rc = io_publish(store->io, fd, DIRECTORY_MANIFEST, text, len, 0600);
	store->io->close(store->io, fd);
	return rc < 0 ? err_sys(err, rc, "clone %s: cannot write its manifest", m->name) : 0;
}

/* Layers, or a copy of its base: what may be needed by nobody else. */
static bool has_shared(const struct manifest *m)
{
	struct id id;

	for (uint32_t i = 0; i < m->n_disks; i++) {
		const char *base = m->disks[i].base_path;

		if (m->disks[i].n_layers > 0 || (base && store_copy_of(base, &id)))
			return true;
	}
	return false;
}

/* Under the layers' lock: what retiring takes away by mistake and puts back
 * must not be missed by a sweep of layers. */
static int retire(struct store *store, int fd, const char *name, const struct id *id,
	struct err *err)
{
	int lock_fd = layers_lock(store, false);
	int rc = lock_fd < 0 ? err_sys(err, lock_fd, "store %s: %s", store->path,
				       DIRECTORY_LAYERS_LOCK)
			     : directory_retire(store, fd, name, id, err);

	layers_unlock(store, lock_fd);
	return rc;
}

int store_remove(struct store *store, const char *name, const struct id *id, struct err *err)
{
	struct manifest *m = NULL;
	bool shared;
	int fd = -1;
	int rc = directory_writable(store, err);

	if (rc == 0)
		rc = directory_clone(store, name, id, &fd, &m, err);
	if (rc < 0)
		return rc;
	shared = has_shared(m);
	manifest_free(m);
	rc = retire(store, fd, name, id, err);
	store->io->close(store->io, fd);
	/* What cannot be swept now is by the next sweep. */
	if (rc == 0 && shared)
		store_layers_sweep(store, NULL, NULL);
	return rc;
}

static int sweep_entry(void *ctx, int fd, const char *entry)
{
	return directory_delete(ctx, fd, entry);
}

static int sweep_label_temp(void *ctx, int fd, const char *entry)
{
	if (!label_is_temp(entry))
		return 0;
	return directory_delete(ctx, fd, entry);
}

static int sweep_clone(void *ctx, int fd, const char *entry)
{
	struct store *store = ctx;
	struct manifest *m;
	int clone_fd;
	int rc = 0;

	/* What is damaged stays as it is. */
	if (directory_clone(store, entry, NULL, &clone_fd, &m, NULL) < 0)
		return 0;
	rc = strays_sweep(store->io, clone_fd, m);
	store->io->close(store->io, clone_fd);
	manifest_free(m);
	return rc;
}

int store_sweep(struct store *store, struct err *err)
{
	void *io = (void *)(uintptr_t)store->io;
	int rc = directory_writable(store, err);

	if (rc < 0)
		return rc;
	rc = directory_each(store->io, store->trash_fd, ".", sweep_entry, io);
	if (rc == 0)
		rc = directory_each(store->io, store->dirfd, ".", sweep_label_temp, io);
	if (rc == 0 && store->lock_fd >= 0) /* the daemon's are the clones' directories */
		rc = directory_each(store->io, store->clones_fd, ".", sweep_clone, store);
	if (rc == 0)
		store_layers_sweep(store, NULL, NULL); /* a clone that is damaged keeps them */
	return rc < 0 ? err_sys(err, rc, "store %s: cannot sweep it", store->path) : 0;
}
