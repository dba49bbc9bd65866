/* SPDX-License-Identifier: LGPL-2.1-or-later */
/* The index of one delta: which block lies where in the log, in memory only.
 *
 * A sorted sequence of entries, each a few units of 16 bytes (index-entry.h):
 * one per run of zero or bad blocks however long, nothing for absent blocks;
 * data that was written in sequence lies in the log in sequence and takes one
 * entry per INDEX_RUN_BLOCKS blocks with little more than their lengths, other
 * data an entry of one unit per block. The units are cut into pages of
 * INDEX_PAGE_ENTRIES, so that an insert moves at most one page (and, when it
 * splits, the table of pages). Memory is in proportion to what was written:
 * per GiB 6 MiB for single blocks, 0.6 MiB for sequences.
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

#include <assert.h>
#include <pthread.h>
#include <stddef.h>
#include <stdint.h>

#include "fs/store/delta.h"
#include "fs/util/cleanup.h"

#define INDEX_PAGE_ENTRIES 255u
#define INDEX_RUN_BLOCKS 64u /* in one entry of data */
#define INDEX_RUN_UNITS 9u   /* that it takes at most */

/* One unit. */
struct index_entry {
	uint64_t key, val;
};

struct index_page {
	uint64_t n;
	struct index_entry entry[INDEX_PAGE_ENTRIES];
};

struct index {
	pthread_mutex_t lock; /* all below */
	struct index_page **page;
	uint64_t *first; /* key of each page's first unit */
	size_t pages, room;
	struct index_page **spare;
	size_t spares, spare_room;
	uint64_t units; /* in all pages */
	uint64_t data_blocks, live_bytes;
	uint64_t *slot_live; /* see index_slot_live() */
	uint32_t slots;
	size_t slot_room;
};

/* One block's place. */
struct index_place {
	uint64_t pos;  /* of its block sum in the log file */
	uint16_t len;  /* payload bytes, 0: the block is zeros */
};

/* A copy of the index, to be written out while it goes on changing. */
struct index_image {
	struct index_entry *entry; /* caller frees */
	uint64_t n;
};

static_assert(sizeof(struct index_entry) == 16, "entries are written to checkpoints");

int index_init(struct index *index);
void index_release(struct index *index);
void index_clear(struct index *index); /* empty again */

/* From now on entries may point into the first n slots of the log; before the
 * first of them is appended there. -ENOMEM. */
int index_cover_slots(struct index *index, uint32_t n);

/* Bytes of a slot that entries point at: payloads and their block sums. 0: no
 * block lives there. */
uint64_t index_slot_live(struct index *index, uint32_t slot);

/* Pages that an update by one record of so many blocks may add (a zero run
 * counts as one block). It puts at most a unit per block and two cut entries
 * into one page that may be full, and pages are left filled but for an entry. */
static inline uint32_t index_pages_for(uint32_t blocks)
{
	return (INDEX_PAGE_ENTRIES + blocks + 2 * INDEX_RUN_UNITS) /
		(INDEX_PAGE_ENTRIES - INDEX_RUN_UNITS + 1);
}

/* Make sure that updates needing so many pages cannot fail. -ENOMEM. Only
 * the appender's leader updates, so one reservation is outstanding at a time. */
int index_reserve(struct index *index, uint32_t pages);

/* Blocks [block, block + n) are where place says. */
void index_put_data(struct index *index, uint64_t block, uint32_t n,
	const struct index_place *place);
void index_put_zero(struct index *index, uint64_t block, uint64_t count);
void index_put_bad(struct index *index, uint64_t block, uint64_t count);

/* Owner of block, and the run from there (at most count) that has it. For
 * data fills place[], as many as the run (count bounds both). place may be
 * NULL when only the run is wanted: then a run may be any length. */
enum delta_owner index_get(struct index *index, uint64_t block, uint64_t count,
	uint64_t *ret_run, struct index_place *place);

/* Copy all of it. -ENOMEM. The caller keeps updates away (it has the lead);
 * lookups go on. */
int index_image(struct index *index, struct index_image *ret_image);

/* Append n entries of an image to an index that holds only what earlier calls
 * loaded before them; its slots are covered. Any bytes may come: -EUCLEAN if
 * they are not in order or say what cannot be on a disk of so many blocks.
 * -ENOMEM. *ret_taken may be less than n: the others come again at the next
 * call, with more behind them. After a failure only index_clear() is left. */
int index_load(struct index *index, const struct index_entry *entry, uint64_t n,
	uint64_t disk_blocks, uint64_t *ret_taken);

void index_stats(struct index *index, struct delta_stats *ret_stats);

#endif
