/* SPDX-License-Identifier: LGPL-2.1-or-later */
/* Door of the store: one disk's delta, an append-only log with an index.
 *
 * A delta holds what one clone disk wrote, in blocks of DELTA_BLOCK_BYTES.
 * A block is absent (never written: the layers and the base below own it),
 * zero, data, or bad (repair found its content lost: reading it is -EIO).
 *
 *	delta_create(...)                   once, by whoever makes the clone
 *	delta_open(...)                     takes the disk's lock, loads the checkpoint,
 *	                                    replays the log behind it
 *	delta_write / delta_zero / delta_read / delta_map / delta_flush
 *	delta_due / delta_checkpoint / delta_clean / delta_prepare
 *	                                    by one maintenance thread at a time,
 *	                                    beside all of the above
 *	delta_freeze(...)                   ends its life as a delta: a layer
 *	delta_close(...)                    flushes, writes a checkpoint, leaves a
 *	                                    clean-stop mark
 *
 * What a return means
 *	delta_write, delta_zero: the blocks are in the kernel's page cache, in
 *	    a record that verifies: they survive SIGKILL of this process.
 *	delta_flush: everything acknowledged before the call survives power loss.
 *	After power loss the disk is a prefix of what was written.
 *
 * Errors of the data calls: -EROFS for a layer. -ENOSPC (also for a quota, and
 * for a log that can not become longer): a part of the request may be on the disk, nothing of it
 * was acknowledged. -EIO for a block that does not verify, and for every call
 * after a failed flush or once another opener took the disk over (sticky until
 * the delta is opened again and verified from the medium). -ENOMEM.
 *
 * Threads: all data calls may be made from any thread at the same time. Two
 * overlapping writes are ordered once, in the log; a read beside a write
 * sees either the old or the new block. Read-modify-write of a block is the
 * caller's to serialise (fs/disk does it).
 *
 * Format: fs/store/format.h and lazyclone-store(5).
 */
#ifndef FS_STORE_DELTA_H
#define FS_STORE_DELTA_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "fs/util/err.h"
#include "fs/util/io.h"

#define DELTA_BLOCK_SHIFT 12
#define DELTA_BLOCK_BYTES (1u << DELTA_BLOCK_SHIFT)

/* Blocks in one delta_write or delta_read: one FUSE request of 1 MiB. */
#define DELTA_BLOCKS_MAX 256

/* A disk's largest size: 64 TiB, so that a block number fits 34 bits. */
#define DELTA_SIZE_MAX (UINT64_C(1) << 46)

enum delta_owner {
	DELTA_ABSENT, /* never written: ask the base */
	DELTA_ZERO,   /* written as zeros or discarded */
	DELTA_DATA,   /* in the log */
	DELTA_BAD,    /* its content is lost: -EIO until it is written again */
};

struct delta;
struct remains;

struct delta_options {
	const struct io_gate *io; /* NULL: the kernel */
	struct space *space;      /* who grants new slots (space.h); NULL: everybody */
	bool force_takeover;      /* open although another host's daemon owned it */
	bool layer; /* open read-only, for several disks; one that was not frozen yet is now */
};

struct delta_stats {
	uint64_t log_bytes;      /* allocated to the log file */
	uint64_t live_bytes;     /* payload that the index points at */
	uint64_t data_blocks;    /* blocks whose owner is DELTA_DATA */
	uint64_t index_bytes;    /* memory of the index */
	uint64_t last_write_sec; /* time of the last write, 0 if never; kept over restarts */
	/* of the log's slots, in bytes: in use = live_bytes + overhead + dead */
	uint64_t used_bytes;     /* slots that hold a segment */
	uint64_t free_bytes;     /* allocated slots that can be reused */
	/* since it was opened */
	uint64_t replayed_bytes; /* of the log, by opening it */
	uint64_t appended_bytes; /* for writes and zeros */
	uint64_t moved_bytes;    /* for cleaning */
	uint64_t checkpoint_bytes;
	uint64_t damaged_blocks; /* that cleaning found not to verify, and left */
};

/* Make an empty delta called name (an id) in dirfd: NAME.super, synced, and
 * an empty NAME.log. Their directory is not synced: the caller does that
 * before a manifest names the delta. */
int delta_create(const struct io_gate *io, int dirfd, const char *name, uint64_t size_bytes,
	struct err *err);

/* Remove its files; missing ones are not an error. remains: remains.h, or NULL. */
int delta_remove(const struct io_gate *io, int dirfd, const char *name, struct remains *remains);

/* Lock and replay. -EBUSY: another opener holds it, or another host's daemon
 * owned it (see force_takeover). -EUCLEAN: damaged, foreign or too new, with
 * what is wrong and where. dirfd may be closed afterwards; options is copied. */
int delta_open(int dirfd, const char *name, const struct delta_options *options,
	struct delta **ret_delta, struct err *err);

/* Flush, write a checkpoint and give free slots' space back (a failure of these is
 * no failure), mark clean, unlock, free. Frees in any case and returns the flush's
 * result. NULL is allowed. */
int delta_close(struct delta *delta);

/* Unlock and free without flushing or marking: what SIGKILL would leave. For
 * tests, and for a delta whose owner was lost or that is thrown away. */
void delta_abandon(struct delta *delta);

uint64_t delta_size(const struct delta *delta); /* bytes */

/* Who owns block, and how many blocks from there (at most count, at least 1)
 * have the same owner. count may be as large as the disk. */
enum delta_owner delta_map(struct delta *delta, uint64_t block, uint64_t count,
	uint64_t *ret_run);

/* Read the run that starts at block: as many of the count blocks (1 to
 * DELTA_BLOCKS_MAX) as have one owner. *ret_owner says which. buf is filled
 * for DELTA_DATA and DELTA_ZERO and untouched for DELTA_ABSENT.
 * Returns the run's length in blocks, or -errno. With nowait, -EAGAIN when
 * the log is not in the page cache; call again without. */
int delta_read(struct delta *delta, void *buf, uint32_t count, uint64_t block, bool nowait,
	enum delta_owner *ret_owner);

/* Write count (1 to DELTA_BLOCKS_MAX) whole blocks. Zero blocks cost no payload. */
int delta_write(struct delta *delta, const void *buf, uint32_t count, uint64_t block);

/* Make any number of whole blocks read as zeros: one record, O(1) memory. */
int delta_zero(struct delta *delta, uint64_t block, uint64_t count);

/* See "what a return means". Returns at once if nothing is unsynced. */
int delta_flush(struct delta *delta);

/* True if every call fails until it is opened again, and verified. */
bool delta_broken(const struct delta *delta);

/* True if delta_flush would have to wait for the device. */
bool delta_unsynced(struct delta *delta);

/* Grow to size_bytes; smaller is -EINVAL. Durable when it returns. -ENOSPC
 * leaves the size as it was. */
int delta_grow(struct delta *delta, uint64_t size_bytes);

/* ---- maintenance: none is needed for data to be safe ---- */

enum delta_due {
	DELTA_DUE_CHECKPOINT = 1, /* the log behind the last one is long: max(64 MiB, 16 times its size) */
	DELTA_DUE_CLEAN = 2,      /* cleaning is worth it */
	DELTA_DUE_CLEAN_URGENT = 8, /* above the limit of clean.h: clean without pauses */
	DELTA_DUE_PREPARE = 4,    /* flushes are frequent, and no slot is ready to be reused */
};

/* What is due: a set of enum delta_due. Cheap; any thread. */
unsigned int delta_due(struct delta *delta);

/* Flush and publish a checkpoint. Appends wait only while the index is copied.
 * -ENOSPC and other failures of writing it leave the one before, and the delta
 * as good as it was. */
int delta_checkpoint(struct delta *delta);

/* One step of cleaning: about budget_bytes of live payload moved at most, dead
 * segments freed. 1: more is worth doing, 0: nothing more now, -errno: as the
 * data calls; a payload that does not verify is left where it is and counted
 * (-EIO is never returned for it). *ret_moved_bytes: what was moved, to pace by. */
int delta_clean(struct delta *delta, uint64_t budget_bytes, uint64_t *ret_moved_bytes);

/* Allocate a slot ahead and write zeros over it, durably, so that flushes of
 * what is appended there need no allocation of the file system's. */
int delta_prepare(struct delta *delta);

/* Flush and turn into a layer for good: read-only, with a checkpoint, marked in
 * the super block. The handle stays open and readable; writes are -EROFS. The
 * caller has ended all writes. On failure nothing was frozen, or (-EIO) the
 * delta is broken. */
int delta_freeze(struct delta *delta);

/* The space of this delta counts for nobody from now on (options->space may go
 * away before it is closed). Nobody writes to it, nor does maintenance. */
void delta_disown(struct delta *delta);

void delta_stats(struct delta *delta, struct delta_stats *ret_stats);

#endif
