/* SPDX-License-Identifier: LGPL-2.1-or-later */
/* Segment headers in memory, and the table that says which segment lies in which slot. */
#ifndef FS_STORE_SEGMENT_H
#define FS_STORE_SEGMENT_H

#include <stdint.h>

#include "fs/store/format.h"
#include "fs/store/slot.h"
#include "fs/store/super.h"
#include "fs/util/io.h"

struct segment {
	uint32_t slot;
	uint64_t seq; /* 0: no segment */
	uint64_t epoch;
	uint64_t first_lsn;
	uint64_t prev_seq, prev_end, prev_sum;
	uint64_t durable_lsn;
};

/* 0, or -EUCLEAN for bytes that are no header of this log in this slot. */
int segment_decode(const struct format_segment *raw, const struct super *super, uint32_t slot,
	struct segment *ret_segment);
void segment_encode(const struct segment *segment, const struct super *super,
	struct format_segment *ret_raw);

/* The table never moves what it holds: a reader may look at a segment that
 * an index entry points into without a lock, as the entry was published
 * after the segment was. Chunk c holds SEGMENT_FIRST << c segments. */
#define SEGMENT_FIRST 8u
#define SEGMENT_CHUNKS 19u /* 8 << 19 is more than SLOT_COUNT_MAX */

struct segment_table {
	uint32_t count; /* slots in use are below this; the appender's alone */
	struct segment *chunk[SEGMENT_CHUNKS];
};

/* Put a segment into its slot; -ENOMEM, -EFBIG beyond SLOT_COUNT_MAX. */
int segment_table_put(struct segment_table *table, const struct segment *segment);
/* NULL where no segment was put. */
const struct segment *segment_table_get(const struct segment_table *table, uint32_t slot);
void segment_table_release(struct segment_table *table);

#endif
