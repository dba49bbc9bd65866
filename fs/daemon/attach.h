/* SPDX-License-Identifier: LGPL-2.1-or-later */
/* The daemon's table: which clones are on the mount, on which bases.
 *
 * Every base of an attached clone is held from the attaching on, whether
 * anybody opens the disk or not: that is what keeps the original from being
 * started or written. A base that cannot be held keeps its disks from being
 * opened (EIO), nothing else; it is tried again at each open.
 *
 * Lock order: table->lock, then clone->lock. Neither is held while a clone's
 * requests are waited for, or while a disk is opened.
 */
#ifndef FS_DAEMON_ATTACH_H
#define FS_DAEMON_ATTACH_H

#include <pthread.h>
#include <stdbool.h>
#include <stdint.h>

#include "fs/base/base.h"
#include "fs/mount/mount.h"
#include "fs/store/store.h"

struct attached;

struct attached_disk {
	struct attached *clone;
	uint32_t index;    /* in the manifest and in the mount's clone */
	struct base *base; /* clone->lock; NULL: could not be held, or there is none */
	char *error;       /* clone->lock; why it cannot be opened, or NULL */
};

struct attached {
	/* set once */
	struct table *table;
	struct mount_clone *shown;
	struct attached_disk *disks;

	bool leaving; /* table->lock */

	pthread_mutex_t lock;
	struct manifest *manifest; /* lock: owner, mode and size change */
};

struct table {
	/* set once */
	struct store *store;
	struct mount *mount;
	bool force_takeover;

	pthread_mutex_t lock;
	struct attached **clones; /* lock; sorted by name */
	uint32_t count, size;     /* lock */
};

void table_init(struct table *table, struct store *store, struct mount *mount,
	bool force_takeover);
void table_release(struct table *table);

/* What the mount calls for a disk; ctx is its struct attached_disk. */
int attach_open_disk(void *ctx, struct disk **ret_disk);
int attach_keep_attr(void *ctx, const struct mount_attr *attr);

/* Attach a clone of the store. strict: a base that cannot be held is an error
 * (its clone is being made), else it is remembered. 0 also if that very clone
 * is attached already. */
int table_attach(struct table *table, const char *name, bool strict, struct err *err);

/* Attach all clones of the store. What cannot be attached is logged. */
int table_attach_all(struct table *table, struct err *err);

/* id NULL: whichever has that name. -ENOENT: not attached; -EBUSY: in use. */
int table_detach(struct table *table, const char *name, const struct id *id, struct err *err);

/* After mount_stop(): nothing is in use. */
void table_detach_all(struct table *table);

#endif
