/* SPDX-License-Identifier: LGPL-2.1-or-later */
/* Door of the store: freezing the deltas of a clone into layers, and throwing them away.
 *
 * Both put new, empty logs in the place of deltas, of all disks of a clone at
 * once: the manifest's rename is the one commit point. The online freeze of a
 * clone that is in use (fs/daemon/snapshot.c) is
 *
 *	all its disks: no more writes; flush
 *	freeze_plan()            the manifest to be
 *	store_change_begin()     new logs, and links in layers/, durable
 *	delta_open() of the new logs in store_change_dirfd()
 *	store_change_commit()    the manifest
 *	all its disks: take the new deltas; write on
 *	delta_freeze() of the old ones
 *	store_change_end()       their names in the clone's directory go
 *
 * What may be lost at each crash point: nothing. Power cut or kill
 *
 *	before the commit   all disks are as they were, every delta where it
 *	                    was. The new logs and the links are garbage: the
 *	                    daemon sweeps the former at its next start, any
 *	                    store_sweep() the latter.
 *	in the commit       old or new manifest, so all disks old or all new.
 *	                    What either names is durable.
 *	after the commit    all disks are new. A layer that was not marked as
 *	                    frozen is when it is opened (delta.h); old names in
 *	                    the clone's directory are swept.
 *
 * A reset needs no flush of what it throws away, and makes no checkpoint of it: a
 * delta that was not flushed is, until the commit, what a power cut would leave of
 * it without the reset, and gone after the commit. Its files lose their names then,
 * before the reset is answered; their space is given back later (remains.h). A kill
 * or a power cut in between leaves files with a name that no manifest names,
 * swept like those of a freeze, or files without one, which are the file
 * system's to delete.
 */
#ifndef FS_STORE_FREEZE_H
#define FS_STORE_FREEZE_H

#include <stdint.h>

#include "fs/store/store.h"
#include "fs/util/err.h"

/* The manifest after a freeze. size_bytes: for each disk the size of its delta,
 * which becomes its newest layer, or 0: its delta stays (nothing was written).
 * snapshot: the name under which that instant is kept, or NULL.
 * -EEXIST: there is one of that name; -EMLINK: STORE_LAYERS_MAX layers, or
 * STORE_SNAPSHOTS_MAX snapshots, are there; -EINVAL: no name. */
int freeze_plan(const struct manifest *now, const uint64_t *size_bytes, const char *snapshot,
	struct manifest **ret_next, struct err *err);

/* The manifest after a reset: every disk has an empty delta on its newest
 * layer, on the top of the snapshot to, or, with to "", on the base. Sizes stay:
 * a disk that grew reads as zeros there. Snapshots stay, and -EEXIST says which
 * of them would lose layers: they have to be forgotten first. -ENOENT: no
 * snapshot of that name. */
int reset_plan(const struct manifest *now, const char *to, struct manifest **ret_next,
	struct err *err);

struct remains;
struct store_change;

/* Prepare the change of a clone from manifest now to next: the empty logs that
 * only next names are made, the logs of now that next has as layers are linked
 * in layers/ (they are flushed, and nothing is appended to them), all durable.
 * Of one clone one change at a time. */
int store_change_begin(struct store *store, const struct manifest *now,
	const struct manifest *next, struct store_change **ret_change, struct err *err);

/* The clone's directory, where the new logs lie. */
int store_change_dirfd(const struct store_change *change);

/* Make next the manifest. -ENOTRECOVERABLE: nobody knows which of the two is on
 * the medium, and nothing must be served until the clone was opened again
 * (store_clone_settle()); any other error: now still is. */
int store_change_commit(struct store_change *change, struct err *err);

/* Delete what nobody needs: after the commit the old logs' names, before it the
 * new logs and links; nothing when nobody knows. Frees change. NULL allowed. */
void store_change_end(struct store_change *change);

/* Throw the deltas of a clone away: reset_plan() and all of the change. Nobody
 * writes to its disks meanwhile, who has a delta open abandons it when this
 * returned 0, and goes on with it when it failed. Then sweep what layers nobody
 * needs. Large files only lose their names: their space goes to remains (NULL:
 * is given back before this returns). */
int store_reset(struct store *store, const struct manifest *now, const char *to,
	struct remains *remains, struct manifest **ret_next, struct err *err);

/* Make durable which manifest the clone has, before anything is acknowledged
 * on the ground of it: a killed change may have left one that is not. */
int store_clone_settle(struct store *store, const char *name, struct err *err);

#endif
