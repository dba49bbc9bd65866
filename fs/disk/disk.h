/* SPDX-License-Identifier: LGPL-2.1-or-later */
/* Door of the disks: base and delta seen as one raw disk.
 *
 * For each run of blocks the disk asks who owns it: the delta (data or
 * zeros), else the base below its limit, else zeros. Reads and writes of any
 * offset and length are served; a write that covers a block in part is merged
 * with the block's present content, once, under a range lock.
 *
 *	disk_open(delta, base, limit) ... disk_close
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
 * is held across the base read of a merge (that block only).
 */
#ifndef FS_DISK_DISK_H
#define FS_DISK_DISK_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "fs/base/base.h"
#include "fs/store/delta.h"

/* Largest single read or write: one FUSE request. */
#define DISK_IO_MAX (1u << 20)

enum disk_flags {
	DISK_NOWAIT = 1,
};

struct disk;

/* Takes over delta (closed by disk_close) and one hold of base (released by
 * disk_close); base may be NULL (nothing below: reads zeros). On failure both
 * stay the caller's. base_limit_bytes: the base owns nothing at or above. */
int disk_open(struct delta *delta, struct base *base, uint64_t base_limit_bytes,
	struct disk **ret_disk);
int disk_close(struct disk *disk);    /* as delta_close; NULL allowed */
void disk_abandon(struct disk *disk); /* as delta_abandon */

uint64_t disk_size(const struct disk *disk); /* bytes, a multiple of 512 */

int disk_read(struct disk *disk, void *buf, size_t len, uint64_t off, unsigned int flags);
int disk_write(struct disk *disk, const void *buf, size_t len, uint64_t off, unsigned int flags);

/* Discard and write-zeroes are the same: the range reads as zeros. Any
 * length; partial blocks at the edges are merged. */
int disk_zero(struct disk *disk, uint64_t len, uint64_t off, unsigned int flags);

int disk_flush(struct disk *disk);

/* True if disk_flush would have to wait for the device. */
bool disk_unsynced(struct disk *disk);

/* First data (data = true) or hole at or after off, as SEEK_DATA and
 * SEEK_HOLE: -ENXIO when off is at or beyond the end, or no data follows. */
int disk_seek(struct disk *disk, uint64_t off, bool data, uint64_t *ret_off);

/* Grow; smaller is -EINVAL. What is uncovered reads as zeros, never base. */
int disk_grow(struct disk *disk, uint64_t size_bytes);

/* Bytes that read as data, for st_blocks: never 0 while any block may be
 * non-zero; cheap (an estimate from above where blocks overlap). */
uint64_t disk_data_bytes(struct disk *disk);

void disk_delta_stats(struct disk *disk, struct delta_stats *ret_stats);
struct base *disk_base(struct disk *disk); /* may be NULL; no new reference */

#endif
