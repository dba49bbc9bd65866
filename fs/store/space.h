/* SPDX-License-Identifier: LGPL-2.1-or-later */
/* Who may take new space: the store's reserve, its quota, and each clone's quota.
 *
 * A log asks before it allocates a slot, so that a full disk or quota is
 * ENOSPC at the write that needs the room, before anything was acknowledged.
 *
 * The reserve is a file of allocated blocks in the store. Guests' writes are
 * granted only while it is whole; what makes room (cleaning, checkpoints,
 * discards, removal) may take from it, so that a full store can always be
 * emptied. It is filled again as soon as the file system has room. Its length
 * is what is filled, so other processes may spend it (space_spend), too. Where
 * the file system cannot allocate ahead it is only counted: guests are granted
 * what lies above it.
 *
 *	space_pool_open(store directory) ... one per daemon
 *	    space_new(pool, quota) ... one per clone; its deltas share it
 *
 * A grant is a permission: the file system still may say ENOSPC to the
 * allocation that follows, and what was taken is given back then.
 *
 * What may be lost: nothing at any point; the reserve holds no data, its
 * content and its length need not survive, they are made again at opening.
 *
 * Threads: every call from any thread; takes and gives wait for no more than
 * the file system's fallocate, or when it is full its commit and the deletion of
 * what was thrown away; the others for nothing.
 */
#ifndef FS_STORE_SPACE_H
#define FS_STORE_SPACE_H

#include <stdbool.h>
#include <stdint.h>

#include "fs/util/err.h"
#include "fs/util/io.h"

/* The reserve: 1/64 of the file system within these limits. Less than a slot
 * and a checkpoint would serve nobody, but never more than a quarter. */
#define SPACE_RESERVE_BYTES (UINT64_C(64) << 20)
#define SPACE_RESERVE_LEAST_BYTES (UINT64_C(10) << 20)
#define SPACE_RESERVE_FRACTION 64
#define SPACE_RESERVE_SMALL_FRACTION 4

/* A full file system is asked to commit what was deleted at most this often. */
#define SPACE_SETTLE_MS 1000

/* Beside what an urgent take asks for, for the file system's own needs. */
#define SPACE_MARGIN_BYTES (UINT64_C(1) << 20)

struct remains;
struct space_pool;
struct space;

/* quota_bytes 0: none. A reserve that cannot be filled is no failure: the pool
 * says so, and refuses guests' growth until it can. io NULL: the kernel.
 * store_dirfd stays the caller's, for as long as the pool lives. */
int space_pool_open(const struct io_gate *io, int store_dirfd, uint64_t quota_bytes,
	struct space_pool **ret_pool, struct err *err);
void space_pool_close(struct space_pool *pool); /* all spaces are freed before; NULL allowed */

int space_new(struct space_pool *pool, uint64_t quota_bytes, struct space **ret_space);
void space_free(struct space *space); /* NULL allowed */
void space_set_quota(struct space *space, uint64_t quota_bytes);

/* What a log has already: counted, never refused. bytes may be negative. While
 * a log is open it counts itself: delta_open adopts what its slots take,
 * delta_close and delta_abandon take that back (for a layer nothing is
 * counted). For one that is closed the daemon does. */
void space_adopt(struct space *space, int64_t bytes);

/* May the log grow by bytes? 0 (and counted), or -ENOSPC. urgent: for what makes
 * room; always granted, it may exceed the quotas, and what the file system
 * lacks comes from the reserve. space NULL: yes. */
int space_take(struct space *space, uint64_t bytes, bool urgent);

/* Slots given back to the file system, or a log removed. */
void space_give(struct space *space, uint64_t bytes);

/* Fill the reserve again if it is not whole and there is room. Done by takes
 * and gives, too. */
void space_pool_refill(struct space_pool *pool);

/* Where to leave files that are thrown away (remains.h): a take for which there
 * is no room lets them go first. */
struct remains *space_pool_remains(const struct space_pool *pool);

/* For a process that makes room in a full store without being its daemon:
 * make bytes of the file system free, from the reserve. 0, -ENOSPC when the
 * reserve has not that much, -errno. io NULL: the kernel. */
int space_spend(const struct io_gate *io, int store_dirfd, uint64_t bytes);

struct space_info {
	uint64_t used_bytes, quota_bytes;           /* of this clone; 0: none */
	uint64_t store_used_bytes, store_quota_bytes;
	uint64_t free_bytes;    /* that guests can still write: the least of the limits */
	uint64_t reserve_bytes, reserve_filled_bytes;
	bool reserve_counted;   /* no fallocate here: nothing is filled */
};

void space_info(struct space *space, struct space_info *ret_info);
void space_pool_info(struct space_pool *pool, struct space_info *ret_info); /* no clone's */

#endif
