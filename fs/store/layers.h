/* SPDX-License-Identifier: LGPL-2.1-or-later */
/* The directory layers/: hard links of frozen logs, who names them, and what nobody does.
 *
 * A layer is needed while a manifest in clones/ or staging/ names it. Whoever
 * makes, changes or removes a clone holds the layers' lock shared, from before
 * the first link or manifest that matters until that manifest is there (a
 * stage: until it saw that all its layers are). Whoever deletes holds it
 * exclusively and reads every manifest under it, staging/ before clones/, so
 * that one on its way from there to here is seen. One that cannot be read may
 * name anything: then nothing is deleted.
 *
 * What may be lost: nothing at any crash point. What a manifest was before it
 * was replaced or removed can come back in a power cut until its directory is
 * synced; so before a layer is deleted all those directories are. A half
 * deleted layer is deleted by the next sweep.
 *
 * The lock is an open file description lock: it ends with its process.
 */
#ifndef FS_STORE_LAYERS_H
#define FS_STORE_LAYERS_H

#include <stdbool.h>

#include "fs/store/idset.h"
#include "fs/store/remains.h"
#include "fs/store/store.h"
#include "fs/util/err.h"

/* Take the layers' lock, waiting for it: shared as long as it takes, exclusive for
 * a moment (-EBUSY). A descriptor, to be closed by layers_unlock(), or -errno. */
int layers_lock(const struct store *store, bool exclusive);
/* From shared to exclusive, and back. Waiting and -EBUSY as above, and then it is
 * shared as before. */
int layers_lock_alone(int lock_fd);
void layers_lock_share(int lock_fd);
void layers_unlock(const struct store *store, int lock_fd); /* < 0 allowed */

/* Link the files of the log id, in the clone's directory fd, into layers/. Not
 * synced. Under the shared lock; no manifest names that layer yet. */
int layers_link(const struct store *store, int fd, const struct id *id);

/* Delete those links, whichever are there. As layers_link(). */
int layers_unlink(const struct store *store, const struct id *id);

/* The clone's directory has a checkpoint of the layer that is newer than the
 * link: it goes to layers/. A cache, so not synced, and no failure. */
void layers_take_checkpoint(const struct store *store, int fd, const struct id *id);

/* Sync layers/. */
int layers_sync(const struct store *store);

/* 0 if all layers that m names are there. -ENOENT, with the message, if not. */
int layers_check(const struct store *store, const struct manifest *m, struct err *err);

/* Of a file in layers/: ID.super, ID.log, ID.ckpt and the checkpoint's temporary;
 * false: nothing of ours. */
bool layers_file_id(const char *entry, struct id *ret_id);

/* Add the layers that m names to a set. -ENOMEM. */
int layers_add_needed(const struct manifest *m, struct idset *needed);

/* Delete the layers that no manifest names, and so the copies of bases
 * (copies.h). -EUCLEAN: a manifest cannot be read, -EBUSY: somebody is making
 * layers needed; nothing was deleted. remains: remains.h, or NULL. */
int store_layers_sweep(struct store *store, struct remains *remains, struct err *err);

#endif
