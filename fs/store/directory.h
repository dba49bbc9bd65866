/* SPDX-License-Identifier: LGPL-2.1-or-later */
/* The store directory from inside: its parts' names, the open store, deleting a tree. */
#ifndef FS_STORE_DIRECTORY_H
#define FS_STORE_DIRECTORY_H

#include "fs/store/label.h"
#include "fs/store/store.h"

#define DIRECTORY_BASES "bases" /* made when the first copy or record of a base is */
#define DIRECTORY_CLONES "clones"
#define DIRECTORY_LAYERS "layers"
#define DIRECTORY_LAYERS_LOCK "layers.lock"
#define DIRECTORY_STAGING "staging"
#define DIRECTORY_TRASH "trash"
#define DIRECTORY_JOURNAL "journal"
#define DIRECTORY_LOCK "daemon.lock"
#define DIRECTORY_MANIFEST "manifest"

/* A clone holds files; a tool may add a folder or two (TPM state). */
#define DIRECTORY_DEPTH_MAX 8

/* Read-only after store_open(), but for lock_fd: store_lock() sets it once. */
struct store {
	const struct io_gate *io;
	char *path;
	struct label label;
	int dirfd;
	int clones_fd;
	int layers_fd;
	int staging_fd;
	int trash_fd;
	int lock_fd; /* -1: we are not its daemon */
};

/* 0, or -EUCLEAN when a newer lazyclone forbids us to change this store. */
int directory_writable(const struct store *store, struct err *err);

/* Call fn for each entry of dirfd/name but "." and ".."; the first one that
 * does not return 0 ends it, and that is returned. */
int directory_each(const struct io_gate *io, int dirfd, const char *name,
	int (*fn)(void *ctx, int fd, const char *entry), void *ctx);

/* Delete name below dirfd with all that is in it; links are not followed.
 * 0 also when there is nothing. Not synced. */
int directory_delete(const struct io_gate *io, int dirfd, const char *name);

/* Rename a directory to where no other may be: -EEXIST if there is one. */
int directory_move(
	const struct io_gate *io, int fromfd, const char *from, int tofd, const char *to);

/* The manifest in the directory fd, whose clone is called name. */
int directory_manifest(const struct store *store, int fd, const char *name,
	struct manifest **ret_manifest, struct err *err);

/* The directory of a clone and its manifest. id (may be NULL): -ENOENT if
 * another clone has that name by now. */
int directory_clone(const struct store *store, const char *name, const struct id *id, int *ret_fd,
	struct manifest **ret_manifest, struct err *err);

/* Take the directory fd, which is clones/name, out of the store: gone for
 * readers and durably so when this returns 0; then delete it. */
int directory_retire(const struct store *store, int fd, const char *name, const struct id *id,
	struct err *err);

#endif
