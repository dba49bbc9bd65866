/* SPDX-License-Identifier: LGPL-2.1-or-later */
/* Records: sums, encoding, verification. Format: format.h. */
#include "fs/store/record.h"

#include <assert.h>
#include <errno.h>
#include <stddef.h>
#include <string.h>

#include "fs/store/delta.h"
#include "fs/util/hash.h"

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
	size_t head_len = sizeof(raw) + record_table_bytes(r->n);
	uint8_t *table = (uint8_t *)head + sizeof(raw);

	assert(r->n <= FORMAT_RECORD_BLOCKS && n_sums <= r->n);
	memset(table, 0, record_table_bytes(r->n));
	for (uint32_t i = 0; i < r->n; i++) {
		le16 len = le16_put(r->len[i]);

		memcpy(table + 2 * i, &len, 2);
	}
	memcpy(head, &raw, sizeof(raw));
	r->sum = record_sum(place, head, head_len, sums, n_sums);
	r->body = (uint32_t)head_len;
	raw.sum = le64_put(r->sum);
	memcpy(head, &raw, sizeof(raw));
	return head_len;
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
	r->body = (uint32_t)sizeof(*raw) + record_table_bytes(r->n);
	if (r->length > avail || r->length % 8 != 0 || r->lsn < min_lsn ||
		r->lsn >= FORMAT_COUNTER_MAX || r->count == 0 ||
		r->block >= disk_blocks || r->count > disk_blocks - r->block)
		return -EUCLEAN;
	if (r->type == FORMAT_ZERO)
		return r->n == 0 && r->length == sizeof(*raw) ? 0 : -EUCLEAN;
	if (r->type != FORMAT_DATA || r->n == 0 || r->n > FORMAT_RECORD_BLOCKS ||
		r->count != r->n || r->length < r->body)
		return -EUCLEAN;
	return 0;
}

/* The table's lengths fill the record exactly. */
static int decode_table(const uint8_t *bytes, struct record *r)
{
	uint64_t end = r->body;

	for (uint32_t i = 0; i < r->n; i++) {
		le16 raw;

		memcpy(&raw, bytes + sizeof(struct format_record) + 2 * i, 2);
		r->len[i] = le16_get(raw);
		if (r->len[i] > DELTA_BLOCK_BYTES)
			return -EUCLEAN;
		end += record_block_bytes(r->len[i]);
	}
	return ((end + 7) & ~UINT64_C(7)) == r->length ? 0 : -EUCLEAN;
}

int record_decode(const struct record_place *place, const uint8_t *bytes, size_t avail,
	uint64_t disk_blocks, uint64_t min_lsn, struct record *ret_record)
{
	uint64_t sums[FORMAT_RECORD_BLOCKS];
	struct format_record raw;
	uint32_t n_sums = 0, at;

	if (avail < sizeof(raw))
		return -EUCLEAN;
	memcpy(&raw, bytes, sizeof(raw));
	if (decode_header(&raw, avail, disk_blocks, min_lsn, ret_record) < 0 ||
		decode_table(bytes, ret_record) < 0)
		return -EUCLEAN;
	at = ret_record->body;
	for (uint32_t i = 0; i < ret_record->n; i++) {
		uint32_t len = ret_record->len[i];
		le64 sum;

		if (len == 0)
			continue;
		memcpy(&sum, bytes + at, sizeof(sum));
		sums[n_sums] = le64_get(sum);
		if (sums[n_sums] != record_block_sum(place, place->pos + at,
				ret_record->block + i, hash64(bytes + at + FORMAT_BLOCK_SUM, len, 0)))
			return -EUCLEAN;
		n_sums++;
		at += record_block_bytes(len);
	}
	if (ret_record->sum != record_sum(place, bytes, ret_record->body, sums, n_sums))
		return -EUCLEAN;
	return 0;
}
