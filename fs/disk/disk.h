/* SPDX-License-Identifier: LGPL-2.1-or-later */
/* Door of the disks: base, layers and delta seen as one raw disk.
 *
 * For each run of blocks the disk asks who owns it: the delta (data or
 * zeros), else the first of the layers below it that does, newest first, else
 * the base below its limit, else zeros. Blocks at or above the size that a
 * layer had when it was frozen are zeros for it and all below. Reads and writes of any
 * offset and length are served; a write that covers a block in part is merged
 * with the block's present content, once, under a range lock.
 *
 *	disk_open(delta, layers, base, limit) ... disk_close
 *
 * Buffers come as (buf, len, off) in bytes; the range must lie within the
 * disk (-EINVAL otherwise; the mount clamps reads at the end itself).
 * Everything returns 0 or -errno and is all or nothing for the caller; what
 * an acknowledged write survives is said in fs/store/delta.h. Errors: -ENOSPC,
 * -EIO. With DISK_NOWAIT: -EAGAIN when the call would have to wait for a
 * device or for a base in trouble; nothing was done, call again without.
 *
 * Threads: any call from any thread. Overlapping writes are ordered by the
 * delta; a partial write and anything else that touches its block are ordered
 * by the range lock, which is never held while a guest reply is awaited, and
 * is held across the base read of a merge (that block only). A freeze is one
 * thread's at a time.
 *
 * Freezing. The delta becomes the newest layer, a new one takes its place, and
 * both the disk's content and its readers stay as they were:
 *
 *	disk_stop        no change begins, those that run have ended
 *	disk_flush
 *	disk_prepare     takes what memory is needed
 *	    (the manifest is replaced: fs/store/freeze.h)
 *	disk_freeze      cannot fail; or not, if the manifest was not replaced;
 *	                 or disk_fail, if nobody knows
 *	disk_go_on
 *	layer_freeze     of what was the delta (layer.h)
 *
 * From stop to go on, changes wait (with DISK_NOWAIT: -EAGAIN), reads and
 * flushes do not: a flush in between finds what was acknowledged before.
 * Several disks are frozen at one instant by stopping them all first.
 */
#ifndef FS_DISK_DISK_H
#define FS_DISK_DISK_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "fs/base/base.h"
#include "fs/disk/layer.h"
#include "fs/store/delta.h"

/* Largest single read or write: one FUSE request. */
#define DISK_IO_MAX (1u << 20)

enum disk_flags {
	DISK_NOWAIT = 1,
};

struct disk;

/* Takes over delta (closed by disk_close), one hold of each of layers (newest
 * first; the array stays the caller's) and of base, released by disk_close; base may be
 * NULL (nothing below: reads zeros). On failure all stay the caller's.
 * base_limit_bytes: the base owns nothing at or above. */
int disk_open(struct delta *delta, struct layer *const *layers, uint32_t n_layers,
	struct base *base, uint64_t base_limit_bytes, struct disk **ret_disk);
int disk_close(struct disk *disk);    /* as delta_close; NULL allowed */
void disk_abandon(struct disk *disk); /* as delta_abandon */

uint64_t disk_size(const struct disk *disk); /* bytes, a multiple of 512 */
uint32_t disk_layers(const struct disk *disk); /* how many lie between delta and base */

int disk_read(struct disk *disk, void *buf, size_t len, uint64_t off, unsigned int flags);
int disk_write(struct disk *disk, const void *buf, size_t len, uint64_t off, unsigned int flags);

/* Discard and write-zeroes are the same: the range reads as zeros. Any
 * length; partial blocks at the edges are merged. */
int disk_zero(struct disk *disk, uint64_t len, uint64_t off, unsigned int flags);

int disk_flush(struct disk *disk);

/* True if disk_flush would have to wait for the device. */
bool disk_broken(const struct disk *disk); /* as delta_broken, or after disk_fail */
bool disk_unsynced(struct disk *disk);

/* First data (data = true) or hole at or after off, as SEEK_DATA and
 * SEEK_HOLE: -ENXIO when off is at or beyond the end, or no data follows. */
int disk_seek(struct disk *disk, uint64_t off, bool data, uint64_t *ret_off);

/* Grow; smaller is -EINVAL. What is uncovered reads as zeros, never base. */
int disk_grow(struct disk *disk, uint64_t size_bytes);

/* Bytes that read as data, for st_blocks: never 0 while any block may be
 * non-zero; cheap (an estimate from above where blocks overlap). */
uint64_t disk_data_bytes(struct disk *disk);

/* See "freezing". -ETIMEDOUT: a change did not end for ms (it waits for a base
 * in trouble), and all is as before. */
int disk_stop(struct disk *disk, unsigned int ms);

/* fresh: an empty delta of the disk's size, layer: layer_expect()ed for the
 * present one. Taken over by disk_freeze(), else they stay the caller's. */
int disk_prepare(struct disk *disk, struct delta *fresh, struct layer *layer);
void disk_freeze(struct disk *disk);
void disk_go_on(struct disk *disk);

/* Upkeep of the delta (delta.h, "maintenance"), by one thread at a time: the
 * delta, which stays the disk's until disk_end_upkeep(); NULL while the disk is
 * being frozen, or has failed. disk_stop() waits for its end before it stops
 * anything, so upkeep comes in short steps. */
struct delta *disk_begin_upkeep(struct disk *disk);
void disk_end_upkeep(struct disk *disk);

/* A slice of checking delta and layers: see fs/store/verify.h. Places count
 * through the delta, then through each layer. -EINVAL: from is beyond the end. */
struct disk_verified {
	uint64_t next, end;   /* next == end: all is checked */
	uint64_t data_blocks; /* read in this slice */
	uint64_t bad_blocks;
};

int disk_verify(struct disk *disk, uint64_t from, uint64_t max_blocks,
	struct disk_verified *ret_verified);

/* Every call is -EIO from now on, until it is closed and opened again. */
void disk_fail(struct disk *disk);

/* Nothing was ever written to the delta: there is nothing to freeze. */
bool disk_delta_empty(struct disk *disk);

void disk_delta_stats(struct disk *disk, struct delta_stats *ret_stats);
struct base *disk_base(struct disk *disk); /* may be NULL; no new reference */

#endif
