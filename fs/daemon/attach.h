/* SPDX-License-Identifier: LGPL-2.1-or-later */
/* The daemon's table: which clones are on the mount, on which bases.
 *
 * Every base of an attached clone is held from the attaching on, whether
 * anybody opens the disk or not: that is what keeps the original from being
 * started or written. A base that cannot be held keeps its disks from being
 * opened (EIO), nothing else; it is tried again at each open.
 *
 * The log and the layers of a disk change only while all disks of its clone
 * are open and in use (a snapshot), or all are suspended (a reset). So who opens a disk needs no lock to read them.
 *
 * Lock order: clone->verb_lock, a disk's change (fs/mount/load.h),
 * clone->change_lock, table->lock, clone->lock. The last two are not held while
 * a clone's requests are waited for, or while a disk is opened; the first and
 * change_lock are turns, not guards of memory: one verb at a time that works on
 * all disks of a clone (one would use a disk while it waits for another's
 * change, which the other verb has begun while it waits for the first to be
 * unused), and one change of the manifest at a time, its writing included.
 */
#ifndef FS_DAEMON_ATTACH_H
#define FS_DAEMON_ATTACH_H

#include <pthread.h>
#include <stdatomic.h>
#include <stdbool.h>
#include <stdint.h>

#include "fs/base/base.h"
#include "fs/daemon/keeper.h"
#include "fs/disk/layer.h"
#include "fs/mount/mount.h"
#include "fs/store/space.h"
#include "fs/store/store.h"

struct attached;

struct attached_disk {
	struct attached *clone;
	uint32_t index;    /* in the manifest and in the mount's clone */
	struct keeping keeping;
	uint64_t closed_bytes; /* of the log that usage.h counts while it is closed */
	struct base *base; /* clone->lock; NULL: could not be held, or there is none */
	int base_error;    /* clone->lock; -errno of the last try to hold it, or 0 */
	char *error;       /* clone->lock; why it cannot be opened, or NULL */
	char *told;        /* clone->lock; the trouble of its base that is in the log, or NULL */
};

struct attached {
	/* set once */
	struct table *table;
	struct mount_clone *shown;
	struct attached_disk *disks;
	struct space *space;

	bool leaving;   /* table->lock */
	uint32_t users; /* table->lock; verbs that work on it: it stays there */

	pthread_mutex_t verb_lock; /* snapshot, reset */

	pthread_mutex_t change_lock;
	bool settled; /* change_lock; the manifest that we know is durable */

	atomic_bool doubtful; /* nobody knows which of two manifests is durable */

	pthread_mutex_t lock;
	/* lock: owner, mode, size, logs, layers, snapshots and quota change, by
	 * whoever has change_lock; the rest is set once */
	struct manifest *manifest;
};

struct table {
	/* set once */
	struct store *store;
	struct mount *mount;
	bool force_takeover;
	struct layer_pool *layers;
	struct space_pool *pool;
	uint64_t clone_quota_bytes; /* of clones without a quota of their own; 0: none */

	pthread_mutex_t lock;
	pthread_cond_t unused;    /* a clone's users became 0 */
	struct attached **clones; /* lock; sorted by name */
	uint32_t count, size;     /* lock */
};

int table_init(struct table *table, struct store *store, struct mount *mount,
	bool force_takeover);
void table_release(struct table *table);

/* What the mount calls for a disk; ctx is its struct attached_disk. */
int attach_open_disk(void *ctx, struct disk **ret_disk);
int attach_close_disk(void *ctx, struct disk *opened);
void attach_drop_disk(void *ctx, struct disk *opened);

/* What the maintenance thread asks for. */
struct keeping *attach_keeping(void *ctx);
void attach_name(void *ctx, char *name, size_t size);

int attach_keep_attr(void *ctx, const struct mount_attr *attr);

/* Attach a clone of the store. strict: a base that cannot be held is an error
 * (its clone is being made), else it is remembered. 0 also if that very clone
 * is attached already. */
int table_attach(struct table *table, const char *name, bool strict, struct err *err);

/* Attach all clones of the store. What cannot be attached is logged. */
int table_attach_all(struct table *table, struct err *err);

/* id NULL: whichever has that name. -ENOENT: not attached; -EBUSY: in use. */
int table_detach(struct table *table, const char *name, const struct id *id, struct err *err);

/* A clone that a verb works on: it is not detached until attached_put(). */
int attached_get(struct table *table, const char *name, struct attached **ret_clone,
	struct err *err);
void attached_put(struct attached *clone);

/* Hold the base of a disk, unless it is held; what fails is remembered, logged
 * and returned. */
int attach_hold_base(struct attached_disk *disk, struct err *err);

/* next is the manifest now (a copy that was changed); takes it over. For who
 * has change_lock. */
void attached_take(struct attached *clone, struct manifest *next);

/* -EIO while nobody knows which manifest counts. */
int attached_check(struct attached *clone, struct err *err);

/* After mount_stop(): nothing is in use. */
void table_detach_all(struct table *table);

#endif
