/* SPDX-License-Identifier: LGPL-2.1-or-later */
/* One record: sums, encoding, and the one function that says "valid". Format: format.h. */
#ifndef FS_STORE_RECORD_H
#define FS_STORE_RECORD_H

#include <stddef.h>
#include <stdint.h>

#include "fs/store/format.h"
#include "fs/store/super.h"

/* Header and largest table. */
#define RECORD_HEAD_MAX (sizeof(struct format_record) + 2 * FORMAT_RECORD_BLOCKS)

/* Where a record is, or is about to be: all that its sums depend on. */
struct record_place {
	const uint64_t *key; /* of the super block */
	uint64_t epoch, seq; /* of the segment */
	uint64_t pos;        /* in the log file */
	uint64_t prev_sum;   /* of the record before it in the segment */
};

struct record {
	enum format_type type;
	uint32_t n;
	uint32_t length;
	uint64_t lsn;
	uint64_t block;
	uint64_t count;
	uint64_t sum;
	uint16_t len[FORMAT_RECORD_BLOCKS];
	uint32_t body; /* offset of the first block sum within the record */
};

static inline uint32_t record_table_bytes(uint32_t n)
{
	return (2 * n + 7) & ~7u;
}

/* Bytes a block of len payload bytes takes in the body. */
static inline uint32_t record_block_bytes(uint32_t len)
{
	return len ? (uint32_t)FORMAT_BLOCK_SUM + len : 0;
}

/* Sum of the block whose block sum lies at pos. */
uint64_t record_block_sum(const struct record_place *place, uint64_t pos, uint64_t block,
	uint64_t payload_hash);

/* Write header and table of r to head (RECORD_HEAD_MAX bytes); sums are the
 * block sums of its blocks with payload, in order. Sets r->sum, r->body;
 * r->length is the caller's. Returns the bytes written. */
size_t record_encode(const struct record_place *place, struct record *r, const uint64_t *sums,
	uint32_t n_sums, void *head);

/* Parse and verify what lies at place; bytes up to the segment's end are
 * given. disk_blocks and min_lsn bound what it may say. 0 or -EUCLEAN. */
int record_decode(const struct record_place *place, const uint8_t *bytes, size_t avail,
	uint64_t disk_blocks, uint64_t min_lsn, struct record *ret_record);

#endif
