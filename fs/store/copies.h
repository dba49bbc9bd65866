/* SPDX-License-Identifier: LGPL-2.1-or-later */
/* Door of the copies: originals reflinked into the store, so that they may change.
 *
 *	STORE/bases/ID/    one copy: a file for each of the base's, read-only, and "lock"
 *	STORE/bases/new-ID/    one being made
 *
 * A copy shares its blocks with the original (FICLONE): it is made at once and
 * takes space only as the original is overwritten. Clones have its files as
 * their base; like any base it is held, compared, and never written.
 *
 *	store_copy_take     make it, or use the one that is there
 *	store_copy_path     where its files are
 *	store_copy_release  once a manifest names it, or nobody is going to
 *
 * A copy is needed while a manifest in clones/ or staging/ has a base in its
 * directory, wherever the store was when that was written: the id decides.
 * It is also needed while somebody has taken it. What is not needed goes with
 * the sweep of layers (layers.h), under the same lock: the one who makes a copy
 * or takes one holds the layers' lock shared until it has locked the copy.
 *
 * What may be lost: nothing at any crash point.
 *
 *	1 mkdir bases/new-ID, reflink, sync each file   garbage
 *	2 fsync of bases/new-ID; a last look at the     garbage
 *	  originals
 *	3 rename to bases/ID, no replace                garbage or a whole copy
 *	4 fsync of bases/                               a whole copy that nobody needs
 *	5 (a manifest that names it)                    a base
 *
 * and when it goes, having been found needed by nobody:
 *
 *	1 fsync of clones/ and all in it    no power cut brings back who needed it
 *	2 rename to trash/, fsync of bases/ a copy, or in the trash: never half of one
 *	3 delete it                         trash, which any sweep deletes
 */
#ifndef FS_STORE_COPIES_H
#define FS_STORE_COPIES_H

#include <stdint.h>

#include "fs/store/idset.h"
#include "fs/store/store.h"
#include "fs/util/err.h"

#define STORE_COPY_FILES_MAX 64 /* of one base: images, each with a data file */

struct store_copy;

/* A file to be copied: open for reading, and what its copy is called. */
struct store_copy_file {
	int fd;
	const char *path; /* for messages */
	const char *name;
};

/* Could the file be reflinked into this store? Nothing is made. 0 or -errno:
 * -EXDEV, -EOPNOTSUPP ...: not here. */
int store_copy_try(const struct store *store, int fd);

struct store_copy_order {
	struct id id;
	uint32_t n_files;
	const struct store_copy_file *files;
	/* Are the files still what the id stands for? Asked before the copy gets
	 * its name. 0 or -errno. */
	int (*check)(void *ctx, struct err *err);
	void *ctx;
};

/* The copy called id, of these files if it is not there yet; ours until it is
 * released. *ret_made (may be NULL): it was not there. */
int store_copy_take(struct store *store, const struct store_copy_order *order,
	struct store_copy **ret_copy, bool *ret_made, struct err *err);
const char *store_copy_path(const struct store_copy *copy); /* of its directory, absolute */
void store_copy_release(struct store_copy *copy); /* NULL allowed */

/* Does path lie in a copy's directory, of whatever store? Then its id. Text only. */
bool store_copy_of(const char *path, struct id *ret_id);

/* 0 if all copies that m names are there. -ENOENT, with the message, if not. */
int copies_check(const struct store *store, const struct manifest *m, struct err *err);

/* For the sweep: add those that m needs to a set. -ENOMEM. */
int copies_add_needed(const struct manifest *m, struct idset *needed);
/* Is there one, be it half made, that is not in needed, which is sorted? */
int copies_any_unused(const struct store *store, const struct idset *needed, bool *ret_any);
/* Delete those, under the exclusive lock of layers. */
int copies_sweep(const struct store *store, const struct idset *needed);

#endif
