/* SPDX-License-Identifier: LGPL-2.1-or-later */
/* Door of the store: one disk's delta, an append-only log with an index.
 *
 * A delta holds what one clone disk wrote, in blocks of DELTA_BLOCK_BYTES.
 * A block is absent (never written: the base owns it), zero, or data.
 *
 *	delta_create(...)                   once, by whoever makes the clone
 *	delta_open(...)                     takes the disk's lock, replays the log
 *	delta_write / delta_zero / delta_read / delta_map / delta_flush
 *	delta_close(...)                    flushes, leaves a clean-stop mark
 *
 * What a return means
 *	delta_write, delta_zero: the blocks are in the kernel's page cache, in
 *	    a record that verifies: they survive SIGKILL of this process.
 *	delta_flush: everything acknowledged before the call survives power loss.
 *	After power loss the disk is a prefix of what was written.
 *
 * Errors of the data calls: -ENOSPC (also for a quota, and for a log that can
 * not become longer): a part of the request may be on the disk, nothing of it
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
};

struct delta;

struct delta_options {
	const struct io_gate *io; /* NULL: the kernel */
	bool force_takeover;      /* open although another host's daemon owned it */
};

struct delta_stats {
	uint64_t log_bytes;      /* allocated to the log file */
	uint64_t live_bytes;     /* payload that the index points at */
	uint64_t data_blocks;    /* blocks whose owner is DELTA_DATA */
	uint64_t index_bytes;    /* memory of the index */
	uint64_t last_write_sec; /* time of the last write, 0 if never; kept over restarts */
};

/* Make an empty delta called name (an id) in dirfd: NAME.super, synced, and
 * an empty NAME.log. Their directory is not synced: the caller does that
 * before a manifest names the delta. */
int delta_create(const struct io_gate *io, int dirfd, const char *name, uint64_t size_bytes,
	struct err *err);

/* Remove both files; missing ones are not an error. */
int delta_remove(const struct io_gate *io, int dirfd, const char *name);

/* Lock and replay. -EBUSY: another opener holds it, or another host's daemon
 * owned it (see force_takeover). -EUCLEAN: damaged, foreign or too new, with
 * what is wrong and where. dirfd may be closed afterwards; options is copied. */
int delta_open(int dirfd, const char *name, const struct delta_options *options,
	struct delta **ret_delta, struct err *err);

/* Flush, mark clean, unlock, free. Frees in any case and returns the flush's
 * result. NULL is allowed. */
int delta_close(struct delta *delta);

/* Unlock and free without flushing or marking: what SIGKILL would leave. For
 * tests and for a delta whose owner was lost. */
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

/* True if delta_flush would have to wait for the device. */
bool delta_unsynced(struct delta *delta);

/* Grow to size_bytes; smaller is -EINVAL. Durable when it returns. -ENOSPC
 * leaves the size as it was. */
int delta_grow(struct delta *delta, uint64_t size_bytes);

void delta_stats(struct delta *delta, struct delta_stats *ret_stats);

#endif
