/* SPDX-License-Identifier: LGPL-2.1-or-later */
/* Entries of the index as units of 16 bytes: what the files of the index share, and nobody else.
 *
 * An entry says who owns some consecutive blocks. Its first unit, the head, has
 *
 *	key   block << 14 | owner << 12 | (payload length - 1)
 *	val   zero, bad: how many blocks
 *	      data: table << 50 | (blocks - 1) << 44 | position of the first
 *	      block's sum in the log
 *
 * An entry of data has up to INDEX_RUN_BLOCKS blocks that lie in the log one
 * behind the other. Units with the top bit of key set follow the head, with a
 * field of 16 bits for each block but the first, the lowest bits of key first:
 *
 *	bits 0-11  payload length - 1
 *	bit 12     the block begins another record than the one before it
 *
 * So a block's position is where the one before it ends; or, in another record,
 * that rounded up to 8, and the record's head behind that: its header and a
 * table of 8 * `table` bytes, the same in all records that the entry knows.
 * Whether these are really records does not matter: a block is put into an
 * entry only if its position comes out right.
 */
#ifndef FS_STORE_INDEX_ENTRY_H
#define FS_STORE_INDEX_ENTRY_H

#include <stdbool.h>
#include <stdint.h>

#include "fs/store/format.h"
#include "fs/store/index.h"
#include "fs/store/slot.h"
#include "fs/util/round.h"

#define ENTRY_OWNER_SHIFT 12
#define ENTRY_BLOCK_SHIFT 14
#define ENTRY_LEN_MASK 0xfffu
#define ENTRY_CONTINUES (UINT64_C(1) << 63)
#define ENTRY_BLOCKS_SHIFT 44
#define ENTRY_TABLE_SHIFT 50
#define ENTRY_TABLE_MAX 127u
#define ENTRY_POS_MASK (FORMAT_LOG_MAX - 1)
#define ENTRY_FIELDS 8u /* in one unit */
#define ENTRY_BORDER 0x1000u

static_assert(FORMAT_LOG_MAX == UINT64_C(1) << ENTRY_BLOCKS_SHIFT, "positions fit");
static_assert(INDEX_RUN_BLOCKS == 1u << (ENTRY_TABLE_SHIFT - ENTRY_BLOCKS_SHIFT), "counts fit");
static_assert(8 + sizeof(struct format_record) + 8 * ENTRY_TABLE_MAX < FORMAT_PAGE,
	"an entry never goes on in another slot");

static inline bool unit_continues(const struct index_entry *unit)
{
	return unit->key & ENTRY_CONTINUES;
}

/* What follows is asked of heads. */
static inline enum delta_owner entry_owner(const struct index_entry *e)
{
	return (enum delta_owner)(e->key >> ENTRY_OWNER_SHIFT & 3);
}

static inline uint64_t entry_block(const struct index_entry *e)
{
	return e->key >> ENTRY_BLOCK_SHIFT;
}

static inline uint64_t entry_blocks(const struct index_entry *e)
{
	if (entry_owner(e) != DELTA_DATA)
		return e->val;
	return (e->val >> ENTRY_BLOCKS_SHIFT & (INDEX_RUN_BLOCKS - 1)) + 1;
}

static inline uint64_t entry_end(const struct index_entry *e)
{
	return entry_block(e) + entry_blocks(e);
}

static inline uint32_t entry_table(const struct index_entry *e)
{
	return (uint32_t)(e->val >> ENTRY_TABLE_SHIFT & ENTRY_TABLE_MAX);
}

/* Units of a data entry with so many blocks. */
static inline uint32_t entry_units_of(uint64_t blocks)
{
	return 1 + (uint32_t)((blocks - 1 + ENTRY_FIELDS - 1) / ENTRY_FIELDS);
}

static inline uint32_t entry_units(const struct index_entry *e)
{
	return entry_owner(e) == DELTA_DATA ? entry_units_of(entry_blocks(e)) : 1;
}

/* From one block of a data entry to the next. */
struct entry_walk {
	const struct index_entry *head;
	uint32_t i;   /* block within the entry */
	uint32_t len; /* of its payload */
	uint64_t pos; /* of its block sum */
};

static inline struct entry_walk entry_walk(const struct index_entry *head)
{
	return (struct entry_walk){
		.head = head,
		.len = (uint32_t)(head->key & ENTRY_LEN_MASK) + 1,
		.pos = head->val & ENTRY_POS_MASK,
	};
}

/* Where a block lies that begins the next record behind a block's end. */
static inline uint64_t entry_next_record(uint64_t end, uint32_t table)
{
	return round_up(end, 8) + sizeof(struct format_record) + UINT64_C(8) * table;
}

/* The field of the block behind block i. */
static inline uint32_t entry_field(const struct index_entry *head, uint32_t i)
{
	const struct index_entry *unit = head + 1 + i / ENTRY_FIELDS;
	uint64_t word = i % ENTRY_FIELDS < 4 ? unit->key : unit->val;

	return (uint32_t)(word >> 16 * (i % 4)) & (ENTRY_BORDER | ENTRY_LEN_MASK);
}

static inline uint64_t entry_walk_end(const struct entry_walk *w)
{
	return w->pos + FORMAT_BLOCK_SUM + w->len;
}

/* There is a next one: the caller counts. */
static inline void entry_walk_next(struct entry_walk *w)
{
	uint32_t field = entry_field(w->head, w->i++);

	w->pos = entry_walk_end(w);
	if (field & ENTRY_BORDER)
		w->pos = entry_next_record(w->pos, entry_table(w->head));
	w->len = (field & ENTRY_LEN_MASK) + 1;
}

/* The walk that stands at block i. */
static inline struct entry_walk entry_walk_to(const struct index_entry *head, uint64_t i)
{
	struct entry_walk w = entry_walk(head);

	while (w.i < i)
		entry_walk_next(&w);
	return w;
}

/* Entries in the making: what was to the left, what is new, what is left over
 * to the right. What can be one entry becomes one. */
#define ROW_UNITS (FORMAT_RECORD_BLOCKS + 2 * INDEX_RUN_UNITS)

struct row {
	uint32_t n;
	uint32_t last;     /* the last entry's head, if n > 0 */
	uint64_t last_end; /* where its last block ends in the log, if it is data */
	struct index_entry unit[ROW_UNITS];
};

void row_push_data(struct row *row, uint64_t block, const struct index_place *place);
void row_push_run(struct row *row, enum delta_owner owner, uint64_t block, uint64_t count);
/* The part of an entry that lies in blocks below end, or from begin on. */
void row_push_left(struct row *row, const struct index_entry *e, uint64_t end);
void row_push_rest(struct row *row, const struct index_entry *e, uint64_t begin);

/* What the blocks of an entry take in the log; nothing if they are no data. */
struct entry_sums {
	uint32_t slot;
	uint64_t blocks, payload_bytes;
};

/* Could an index have made the entry of which n units are here? Returns its
 * units, 0 if n are not enough to tell, -EUCLEAN if not. slots bounds its place. */
int entry_check(const struct index_entry *head, uint64_t n, uint32_t slots,
	struct entry_sums *ret_sums);

/* Put a new, empty page at p; it was reserved. */
struct index_page *index_insert_page(struct index *index, size_t p);

/* Blocks come into the index's sums, or go out of them. */
void index_count(struct index *index, const struct entry_sums *sums, bool added);

#endif
