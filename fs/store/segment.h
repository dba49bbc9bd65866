/* SPDX-License-Identifier: LGPL-2.1-or-later */
/* Segment headers in memory, and the table that says what lies in which slot. */
#ifndef FS_STORE_SEGMENT_H
#define FS_STORE_SEGMENT_H

#include <stdbool.h>
#include <stdint.h>

#include "fs/store/format.h"
#include "fs/store/slot.h"
#include "fs/store/super.h"
#include "fs/util/io.h"

/* What a slot's header says. */
struct segment {
	uint32_t slot;
	bool free;    /* no segment: only seq and what is durable mean something */
	uint64_t seq; /* free: of the segment that was here, or 0 */
	uint64_t epoch;
	uint64_t first_lsn;
	uint64_t prev_seq, prev_end, prev_sum;
	uint32_t prev_slot;
	uint32_t durable_slots;
	uint64_t durable_lsn;
};

/* 0, or -EUCLEAN for bytes that are no header of this log in this slot: any may come. */
int segment_decode(const struct format_segment *raw, const struct super *super, uint32_t slot,
	struct segment *ret_segment);
void segment_encode(const struct segment *segment, const struct super *super,
	struct format_segment *ret_raw);

enum slot_state {
	SLOT_UNUSED,   /* no header was ever durable in it: to be used like a free one */
	SLOT_USED,     /* holds a segment */
	SLOT_LOST,     /* holds a segment of a lost tail: a life's begin frees it */
	SLOT_DOUBTFUL, /* so does one whose header was said to have failed: freed next */
	SLOT_RETIRING, /* dead; its free header is not durable yet */
	SLOT_RETIRED,  /* its free header is; readers may be in it */
	SLOT_AHEAD,    /* being zeroed, or its space being given back */
	SLOT_FREE,     /* to be used again */
};

struct segment_entry {
	struct segment segment;
	enum slot_state state; /* under log->lock, as the next */
	bool space;            /* it has blocks of the file system behind the header page */
	/* Set by the appender's leader, read by anybody. */
	_Atomic bool sealed; /* ends with END */
	/* Runs of zeros or BAD that its records name; 1 at least where they were not
	 * counted. */
	_Atomic uint32_t others;
	/* Cleaning leaves it alone: it holds what does not verify, or could not be freed. */
	_Atomic bool stuck;
};

/* The table never moves what it holds: a reader may look at a segment that
 * an index entry points into without a lock, as the entry was published
 * after the segment was, and a slot gets its next segment after grace_wait().
 * Chunk c holds SEGMENT_FIRST << c entries. */
#define SEGMENT_FIRST 8u
#define SEGMENT_CHUNKS 19u /* 8 << 19 is more than SLOT_COUNT_MAX */

struct segment_table {
	uint32_t count;  /* slots that are covered */
	uint32_t headed; /* all slots below have a header */
	struct segment_entry *chunk[SEGMENT_CHUNKS];
};

/* Make room for the entries of the first n slots, unused so far. -ENOMEM, -EFBIG. */
int segment_table_cover(struct segment_table *table, uint32_t n);

/* Put a header into its slot, which is covered, and used or free from then on. */
void segment_table_put(struct segment_table *table, const struct segment *segment);

/* A record that is END, or has runs of other blocks than data, lies in the slot.
 * That stays, until the slot is put anew. */
void segment_note(struct segment_table *table, uint32_t slot, bool end, uint32_t others);

/* NULL beyond what is covered. Under log->lock, as the appender covers more. */
struct segment_entry *segment_table_entry(const struct segment_table *table, uint32_t slot);

/* Of a slot that is known to be covered: no lock is needed for what is atomic, nor
 * for the segment while it is in use. */
struct segment_entry *segment_table_at(const struct segment_table *table, uint32_t slot);

/* The segment that an index entry points into: no lock, see above. */
const struct segment *segment_table_get(const struct segment_table *table, uint32_t slot);

void segment_table_release(struct segment_table *table);

#endif
