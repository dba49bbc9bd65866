/* SPDX-License-Identifier: LGPL-2.1-or-later */
/* The opened disk behind a file: opening it, using it, closing it when it is idle.
 *
 * A guest that has the file open does not notice: the disk is opened again by
 * the first request that needs it. Requests count themselves as its users
 * before they look for the disk; who closes it takes it away before he looks
 * at the users, and puts it back if there are any. One of the two always sees
 * the other, so a disk is never closed under a request.
 *
 * Opening and closing are "changes" of a disk, one at a time; who wants
 * another one waits, and must not use the disk while waiting. Only pool and control threads make changes: workers never
 * wait for them.
 */
#ifndef FS_MOUNT_LOAD_H
#define FS_MOUNT_LOAD_H

#include "fs/mount/mount.h"
#include "fs/mount/tree.h"

/* The opened disk, for a request: NULL while it is closed, else it stays open
 * until load_unuse(). */
struct disk *load_use(struct mount_disk *disk);

/* The same for who only looks at figures: that is no use that keeps it open
 * for longer. */
struct disk *load_look(struct mount_disk *disk);
void load_unuse(struct mount_disk *disk);

/* Open it if it is not, and use it. Waits. 0 or -EIO. */
int load_open(struct mount *mount, struct mount_disk *disk, struct disk **ret_disk);

/* The same for who has begun a change of it. */
int load_open_changing(struct mount *mount, struct mount_disk *disk, struct disk **ret_disk);

/* Flush it, opened if it is not. Waits. -EIO also, once, if it was closed since
 * and its last flush failed: nobody else would say that something is lost. */
int load_flush(struct mount *mount, struct mount_disk *disk);

/* False: there is nothing to flush, and nothing to say. opened: as load_use(). */
bool load_must_wait_to_flush(struct mount_disk *disk, struct disk *opened);

/* Nothing succeeds any more, and no guest has it open to whom that is to be said:
 * opened again it is verified, and whole but for what was not flushed. */
bool load_is_hopeless(struct mount_disk *disk, struct disk *opened);

/* Close it if nobody uses or changes it and all of it is durable, or it is hopeless: else nobody would
 * hear of a flush that fails then. Does not wait for others. 0 also if it was
 * closed; -EBUSY. */
int load_close_idle(struct mount *mount, struct mount_disk *disk);

/* Close it: nobody can use it any more, or its change has been begun and no
 * file of it is open (users are waited for). The last flush's result, which the
 * next load_flush() tells, too. */
int load_close(struct mount *mount, struct mount_disk *disk);

/* Keep it from requests without closing it, for who has begun a change of it; then
 * one of these ends that. Nothing happens to one that is not open. */
void load_set_aside(struct mount_disk *disk);
void load_put_back(struct mount_disk *disk);
int load_close_aside(struct mount *mount, struct mount_disk *disk); /* as load_close() */
void load_drop_aside(struct mount *mount, struct mount_disk *disk); /* backend's drop */

/* No opening, closing or changing of attributes by anybody else meanwhile. */
void load_begin_change(struct mount_disk *disk);
void load_end_change(struct mount_disk *disk);

#endif
