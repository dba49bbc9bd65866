/* SPDX-License-Identifier: LGPL-2.1-or-later */
/* The index of one delta: which block lies where in the log, in memory only.
 *
 * A sorted sequence of 16-byte entries, one per data block, one per run of
 * zero blocks however long, nothing for absent blocks; cut into pages of
 * INDEX_PAGE_ENTRIES so that an insert moves at most one page. Memory is in
 * proportion to what was written.
 *
 * Updates cannot fail: index_reserve() takes the memory they may need before
 * the record is appended, since a record in the log whose index update failed
 * would be acknowledged and not found.
 *
 * Threads: every call locks the index for itself; the lock is the innermost
 * of the store and is never held across I/O.
 */
#ifndef FS_STORE_INDEX_H
#define FS_STORE_INDEX_H

#include <pthread.h>
#include <stddef.h>
#include <stdint.h>

#include "fs/store/delta.h"
#include "fs/util/cleanup.h"

#define INDEX_PAGE_ENTRIES 255u

struct index_entry {
	uint64_t key; /* block << 14 | owner << 12 | (payload length - 1) */
	uint64_t val; /* data: position of its block sum in the log; zero: blocks in the run */
};

struct index_page {
	uint64_t n;
	struct index_entry entry[INDEX_PAGE_ENTRIES];
};

struct index {
	pthread_mutex_t lock; /* all below */
	struct index_page **page;
	uint64_t *first; /* key of each page's first entry */
	size_t pages, room;
	struct index_page **spare;
	size_t spares, spare_room;
	uint64_t data_blocks, live_bytes;
};

/* One block's place. */
struct index_place {
	uint64_t pos;  /* of its block sum in the log file */
	uint16_t len;  /* payload bytes, 0: the block is zeros */
};

int index_init(struct index *index);
void index_release(struct index *index);

/* Pages that an update by one record of so many blocks may need (a zero run
 * counts as one block): its runs touch at most three full pages, each of which
 * may split, and add at most one entry and one cut remainder per block. */
static inline uint32_t index_pages_for(uint32_t blocks)
{
	return (blocks < 3 ? blocks : 3) + 2 * blocks / (INDEX_PAGE_ENTRIES / 2) + 1;
}

/* Make sure that updates needing so many pages cannot fail. -ENOMEM. Only
 * the appender's leader updates, so one reservation is outstanding at a time. */
int index_reserve(struct index *index, uint32_t pages);

/* Blocks [block, block + n) are where place says. */
void index_put_data(struct index *index, uint64_t block, uint32_t n,
	const struct index_place *place);
void index_put_zero(struct index *index, uint64_t block, uint64_t count);

/* Owner of block, and the run from there (at most count) that has it. For
 * data fills place[], as many as the run (count bounds both). place may be
 * NULL when only the run is wanted: then a run may be any length. */
enum delta_owner index_get(struct index *index, uint64_t block, uint64_t count,
	uint64_t *ret_run, struct index_place *place);

void index_stats(struct index *index, struct delta_stats *ret_stats);

#endif
