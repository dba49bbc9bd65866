/* SPDX-License-Identifier: LGPL-2.1-or-later */
/* Records: sums, encoding, verification. Format: format.h. */
#include "fs/store/record.h"

#include <assert.h>
#include <errno.h>
#include <stddef.h>
#include <string.h>

#include "fs/store/delta.h"
#include "fs/util/hash.h"
#include "fs/util/round.h"

#define CONTEXT_WORDS 5

uint64_t record_block_sum(const struct record_place *place, uint64_t pos, uint64_t block,
	uint64_t payload_hash)
{
	le64 in[6] = {
		le64_put(place->key[1]),
		le64_put(place->epoch),
		le64_put(place->seq),
		le64_put(pos),
		le64_put(block),
		le64_put(payload_hash),
	};

	return hash64(in, sizeof(in), place->key[0]);
}

struct record_entry record_entry(const struct record *r, uint32_t i)
{
	const struct format_moved *m;

	if (r->type != FORMAT_MOVED)
		return (struct record_entry){
			.block = r->block + i, .count = 1, .lsn = r->lsn, .len = r->len[i]};
	m = &r->moved[i];
	return (struct record_entry){
		.block = le64_get(m->block),
		.count = le64_get(m->count),
		.lsn = le64_get(m->lsn),
		.len = le16_get(m->len),
	};
}

uint32_t record_others(const struct record *r)
{
	uint32_t n = r->type == FORMAT_ZERO || r->type == FORMAT_BAD;

	for (uint32_t i = 0; i < r->n; i++)
		n += r->len[i] == 0;
	return n;
}

/* Context, header with sum 0, table, block sums: in one piece, hashed once. */
static uint64_t record_sum(const struct record_place *place, const void *head, size_t head_len,
	const uint64_t *sums, uint32_t n_sums)
{
	uint8_t in[CONTEXT_WORDS * 8 + RECORD_HEAD_MAX + 8 * FORMAT_RECORD_BLOCKS];
	le64 context[CONTEXT_WORDS] = {
		le64_put(place->key[1]),
		le64_put(place->epoch),
		le64_put(place->seq),
		le64_put(place->pos),
		le64_put(place->prev_sum),
	};
	uint8_t *p = in;

	memcpy(p, context, sizeof(context));
	p += sizeof(context);
	memcpy(p, head, head_len);
	memset(p + offsetof(struct format_record, sum), 0, 8);
	p += head_len;
	for (uint32_t i = 0; i < n_sums; i++, p += 8) {
		le64 sum = le64_put(sums[i]);

		memcpy(p, &sum, 8);
	}
	return hash64(in, (size_t)(p - in), place->key[0]);
}

static void encode_table(const struct record *r, uint8_t *table)
{
	memset(table, 0, record_table_bytes(r->n));
	for (uint32_t i = 0; i < r->n; i++) {
		le16 len = le16_put(r->len[i]);

		memcpy(table + 2 * i, &len, 2);
	}
}

/* The table may lie in place already. */
static void encode_moved(struct record *r, uint8_t *table)
{
	memmove(table, r->moved, r->n * sizeof(*r->moved));
	r->moved = (const struct format_moved *)table;
	for (uint32_t i = 0; i < r->n; i++)
		r->len[i] = le16_get(r->moved[i].len);
}

size_t record_encode(const struct record_place *place, struct record *r, const uint64_t *sums,
	uint32_t n_sums, void *head)
{
	struct format_record raw = {
		.magic = le32_put(FORMAT_RECORD_MAGIC),
		.type = le16_put((uint16_t)r->type),
		.n = le16_put((uint16_t)r->n),
		.length = le32_put(r->length),
		.lsn = le64_put(r->lsn),
		.block = le64_put(r->block),
		.count = le64_put(r->count),
	};
	size_t head_len = record_head_bytes(r->type, r->n);

	assert(r->n <= FORMAT_RECORD_BLOCKS && n_sums <= r->n);
	if (r->type == FORMAT_MOVED)
		encode_moved(r, (uint8_t *)head + sizeof(raw));
	else
		encode_table(r, (uint8_t *)head + sizeof(raw));
	memcpy(head, &raw, sizeof(raw));
	r->sum = record_sum(place, head, head_len, sums, n_sums);
	r->body = (uint32_t)head_len;
	raw.sum = le64_put(r->sum);
	memcpy(head, &raw, sizeof(raw));
	return head_len;
}

/* Table and count, block and length agree with the type. */
static bool shape_is_right(const struct record *r, uint64_t disk_blocks)
{
	bool within = r->count > 0 && !outside(r->block, r->count, disk_blocks);

	switch (r->type) {
	case FORMAT_DATA:
		return within && r->n > 0 && r->count == r->n;
	case FORMAT_ZERO:
	case FORMAT_BAD:
		return within && r->n == 0 && r->length == RECORD_BARE_BYTES;
	case FORMAT_MOVED:
		return r->n > 0 && r->block == 0 && r->count == 0;
	case FORMAT_END:
		return r->n == 0 && r->block == 0 && r->count == 0 &&
			r->length == RECORD_BARE_BYTES;
	}
	return false;
}

/* Fields agree with each other and with the room there is. */
static int decode_header(const struct format_record *raw, size_t avail, uint64_t disk_blocks,
	uint64_t min_lsn, struct record *r)
{
	if (le32_get(raw->magic) != FORMAT_RECORD_MAGIC || le32_get(raw->flags) != 0)
		return -EUCLEAN;
	r->type = (enum format_type)le16_get(raw->type);
	r->n = le16_get(raw->n);
	r->length = le32_get(raw->length);
	r->lsn = le64_get(raw->lsn);
	r->block = le64_get(raw->block);
	r->count = le64_get(raw->count);
	r->sum = le64_get(raw->sum);
	r->moved = NULL;
	if (r->n > FORMAT_RECORD_BLOCKS || r->lsn < min_lsn || r->lsn >= FORMAT_COUNTER_MAX)
		return -EUCLEAN;
	r->body = record_head_bytes(r->type, r->n);
	if (r->length > avail || r->length % 8 != 0 || r->length < r->body)
		return -EUCLEAN;
	return shape_is_right(r, disk_blocks) ? 0 : -EUCLEAN;
}

/* One entry of a table of moved blocks. */
static bool moved_is_right(const struct record *r, uint32_t i, uint64_t disk_blocks)
{
	static const uint8_t zeros[sizeof(r->moved->reserved)];
	struct record_entry e = record_entry(r, i);

	return memcmp(r->moved[i].reserved, zeros, sizeof(zeros)) == 0 && e.count > 0 &&
		!outside(e.block, e.count, disk_blocks) && (e.len == 0 || e.count == 1) &&
		e.lsn > 0 && e.lsn < r->lsn;
}

/* Its entries are right, and their lengths fill the record exactly. */
static int decode_table(const uint8_t *bytes, uint64_t disk_blocks, struct record *r)
{
	const uint8_t *table = bytes + sizeof(struct format_record);
	uint64_t end = r->body;

	if (r->type == FORMAT_MOVED)
		r->moved = (const struct format_moved *)table;
	for (uint32_t i = 0; i < r->n; i++) {
		le16 raw;

		if (r->moved && !moved_is_right(r, i, disk_blocks))
			return -EUCLEAN;
		memcpy(&raw, r->moved ? r->moved[i].len.byte : table + 2 * i, sizeof(raw));
		r->len[i] = le16_get(raw);
		if (r->len[i] > DELTA_BLOCK_BYTES)
			return -EUCLEAN;
		end += record_block_bytes(r->len[i]);
	}
	return round_up(end, 8) == r->length ? 0 : -EUCLEAN;
}

int record_decode_head(const struct record_place *place, const uint8_t *bytes, size_t avail,
	uint64_t disk_blocks, uint64_t min_lsn, struct record *ret_record)
{
	uint64_t sums[FORMAT_RECORD_BLOCKS];
	struct format_record raw;
	uint32_t n_sums = 0, at;

	if (avail < sizeof(raw))
		return -EUCLEAN;
	memcpy(&raw, bytes, sizeof(raw));
	if (decode_header(&raw, avail, disk_blocks, min_lsn, ret_record) < 0 ||
		decode_table(bytes, disk_blocks, ret_record) < 0)
		return -EUCLEAN;
	at = ret_record->body;
	for (uint32_t i = 0; i < ret_record->n; i++) {
		le64 sum;

		if (ret_record->len[i] == 0)
			continue;
		memcpy(&sum, bytes + at, sizeof(sum));
		sums[n_sums++] = le64_get(sum);
		at += record_block_bytes(ret_record->len[i]);
	}
	if (ret_record->sum != record_sum(place, bytes, ret_record->body, sums, n_sums))
		return -EUCLEAN;
	return 0;
}

int record_verify_block(const struct record_place *place, uint64_t pos, uint64_t block,
	const uint8_t *body, uint32_t len, uint64_t *ret_hash)
{
	le64 sum;

	memcpy(&sum, body, sizeof(sum));
	*ret_hash = hash64(body + FORMAT_BLOCK_SUM, len, 0);
	return le64_get(sum) == record_block_sum(place, pos, block, *ret_hash) ? 0 : -EUCLEAN;
}

int record_decode(const struct record_place *place, const uint8_t *bytes, size_t avail,
	uint64_t disk_blocks, uint64_t min_lsn, struct record *ret_record)
{
	uint32_t at;
	int rc = record_decode_head(place, bytes, avail, disk_blocks, min_lsn, ret_record);

	if (rc < 0)
		return rc;
	at = ret_record->body;
	for (uint32_t i = 0; i < ret_record->n; i++) {
		struct record_entry e = record_entry(ret_record, i);
		uint64_t hash;

		if (e.len == 0)
			continue;
		if (record_verify_block(place, place->pos + at, e.block, bytes + at, e.len, &hash) < 0)
			return -EUCLEAN;
		at += record_block_bytes(e.len);
	}
	return 0;
}
