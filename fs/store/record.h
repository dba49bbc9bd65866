/* SPDX-License-Identifier: LGPL-2.1-or-later */
/* One record: sums, encoding, and the functions that say "valid". Format: format.h. */
#ifndef FS_STORE_RECORD_H
#define FS_STORE_RECORD_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "fs/store/format.h"
#include "fs/store/super.h"

/* A record without table: zeros, bad, end. */
#define RECORD_BARE_BYTES ((uint32_t)sizeof(struct format_record))

/* Header and largest table: of data, and of any type. */
#define RECORD_DATA_HEAD_MAX (sizeof(struct format_record) + 2 * FORMAT_RECORD_BLOCKS)
#define RECORD_HEAD_MAX                                                                            \
	(sizeof(struct format_record) + sizeof(struct format_moved) * FORMAT_RECORD_BLOCKS)

/* The longest record that decodes. */
#define RECORD_BYTES_MAX                                                                           \
	(RECORD_HEAD_MAX + FORMAT_RECORD_BLOCKS * (FORMAT_BLOCK_SUM + (UINT64_C(1) << 12)))

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
	uint16_t len[FORMAT_RECORD_BLOCKS]; /* DATA and MOVED */
	const struct format_moved *moved;   /* MOVED: the table, in the record's own bytes */
	uint32_t body; /* offset of the first block sum within the record */
};

/* What one entry of a table says, DATA's or MOVED's. */
struct record_entry {
	uint64_t block, count;
	uint64_t lsn; /* of the guest's write */
	uint16_t len; /* 0: zeros */
};

/* Bytes of DATA's table of n lengths with its padding. */
static inline uint32_t record_table_bytes(uint32_t n)
{
	return (2 * n + 7) & ~7u;
}

/* Bytes before the first block sum. */
static inline uint32_t record_head_bytes(enum format_type type, uint32_t n)
{
	return RECORD_BARE_BYTES + (type == FORMAT_MOVED ?
		(uint32_t)sizeof(struct format_moved) * n : record_table_bytes(n));
}

/* Bytes a block of len payload bytes takes in the body. */
static inline uint32_t record_block_bytes(uint32_t len)
{
	return len ? (uint32_t)FORMAT_BLOCK_SUM + len : 0;
}

/* Entry i (below n) of a DATA or MOVED record. */
struct record_entry record_entry(const struct record *r, uint32_t i);

/* How many runs of anything else than data it makes. (A segment with such is not
 * dead merely because no data block is left in it.) */
uint32_t record_others(const struct record *r);

/* Sum of the block whose block sum lies at pos. */
uint64_t record_block_sum(const struct record_place *place, uint64_t pos, uint64_t block,
	uint64_t payload_hash);

/* Do block sum and payload at pos, both at body, belong to each other and to the
 * place? 0 and the payload's hash, or -EUCLEAN. */
int record_verify_block(const struct record_place *place, uint64_t pos, uint64_t block,
	const uint8_t *body, uint32_t len, uint64_t *ret_hash);

/* Write header and table of r to head (room for them); sums are the block sums
 * of its blocks with payload, in order. The table comes from r->len, or from
 * r->moved (which may be in head already). Sets r->sum, r->body, r->moved, and
 * r->len of MOVED; r->length is the caller's. Returns the bytes written. */
size_t record_encode(const struct record_place *place, struct record *r, const uint64_t *sums,
	uint32_t n_sums, void *head);

/* Parse and verify what lies at place but for the payloads; bytes up to the
 * segment's end are given. disk_blocks and min_lsn bound what it may say. 0 or
 * -EUCLEAN. r->moved points into bytes. */
int record_decode_head(const struct record_place *place, const uint8_t *bytes, size_t avail,
	uint64_t disk_blocks, uint64_t min_lsn, struct record *ret_record);

/* All of it: what format.h calls valid. */
int record_decode(const struct record_place *place, const uint8_t *bytes, size_t avail,
	uint64_t disk_blocks, uint64_t min_lsn, struct record *ret_record);

#endif
