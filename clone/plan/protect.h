/* SPDX-License-Identifier: LGPL-2.1-or-later */
/* Write bits of originals: taken while clones need them, and given back.
 *
 * The daemon's locks and leases keep an original from being written while it
 * runs. Without write bits QEMU's user, and every user but root, cannot write
 * it when no daemon runs either. The modification time stays, so to the
 * clones it is the same file.
 *
 * In the store that needs it first a file's mode is noted, then its bits are
 * taken; they are given back, then the note goes. What a crash leaves is a note
 * that nobody needs: the run's journal has an entry "modes", and whoever finds
 * that settles. Stores that share a file each have a note of what it was before
 * the first of them; the last one gives back.
 *
 * A file that is not ours to change, or lies on what is read-only, is left as
 * it is.
 */
#ifndef CLONE_PLAN_PROTECT_H
#define CLONE_PLAN_PROTECT_H

#include <stdbool.h>
#include <sys/types.h>

#include "clone/plan/session.h"
#include "clone/state/journal.h"
#include "fs/store/store.h"
#include "fs/util/err.h"

/* Take the write bits of all files of the base; devices have none to take. The
 * caller keeps them (modes_keep()) until a manifest needs them. */
int protect_take(struct store *store, const char *path, const char *identity, struct err *err);

/* The permission bits of the file as its owner wants them: those that it has, and
 * the write bits that this store or another one has taken. -errno: it is not there.
 * Where a store's notes cannot be read, its bits are missing. */
int protect_mode(struct store *store, const char *path, mode_t *ret_mode);

/* Remove the clone m from the store, and give back what only it needed. */
int protect_remove(struct session *session, struct store *store, const struct manifest *m,
	struct err *err);

/* Give back what no clone of the store needs any more. -EBUSY: somebody is
 * making clones; try again later. */
int protect_settle(struct session *session, struct store *store, struct err *err);

/* The same for one file by name, with or without clones, until it is undone. */
int protect_by_hand(struct session *session, const char *path, bool immutable, struct err *err);

/* -EBUSY, with the list: clones need it (not with force). -ENOENT: it has all its bits. */
int protect_undo(struct session *session, const char *path, bool force, struct err *err);

#endif
