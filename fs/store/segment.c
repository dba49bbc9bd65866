/* SPDX-License-Identifier: LGPL-2.1-or-later */
/* Segment headers and the slot table. Format: format.h. */
#include "fs/store/segment.h"

#include <assert.h>
#include <errno.h>
#include <stddef.h>
#include <stdlib.h>
#include <string.h>

#include "fs/util/hash.h"
#include "fs/util/round.h"

static uint64_t segment_sum(const struct format_segment *raw, const struct super *super)
{
	return hash64(raw, offsetof(struct format_segment, sum), super->key[0]);
}

int segment_decode(const struct format_segment *raw, const struct super *super, uint32_t slot,
	struct segment *ret_segment)
{
	struct segment s;

	if (le64_get(raw->magic) != FORMAT_SEGMENT_MAGIC ||
		memcmp(raw->id, super->id.byte, ID_BYTES) != 0 ||
		le32_get(raw->slot) != slot || le64_get(raw->sum) != segment_sum(raw, super))
		return -EUCLEAN;
	s = (struct segment){
		.slot = slot,
		.seq = le64_get(raw->seq),
		.epoch = le64_get(raw->epoch),
		.first_lsn = le64_get(raw->first_lsn),
		.prev_seq = le64_get(raw->prev_seq),
		.prev_end = le64_get(raw->prev_end),
		.prev_sum = le64_get(raw->prev_sum),
		.durable_lsn = le64_get(raw->durable_lsn),
	};
	if (s.seq == 0 || s.seq >= FORMAT_COUNTER_MAX || s.prev_seq >= s.seq ||
		s.prev_end > SLOT_FULL_BYTES || s.first_lsn > FORMAT_COUNTER_MAX ||
		s.durable_lsn >= FORMAT_COUNTER_MAX)
		return -EUCLEAN;
	*ret_segment = s;
	return 0;
}

void segment_encode(const struct segment *segment, const struct super *super,
	struct format_segment *ret_raw)
{
	memset(ret_raw, 0, sizeof(*ret_raw));
	ret_raw->magic = le64_put(FORMAT_SEGMENT_MAGIC);
	memcpy(ret_raw->id, super->id.byte, ID_BYTES);
	ret_raw->seq = le64_put(segment->seq);
	ret_raw->epoch = le64_put(segment->epoch);
	ret_raw->first_lsn = le64_put(segment->first_lsn);
	ret_raw->prev_seq = le64_put(segment->prev_seq);
	ret_raw->prev_end = le64_put(segment->prev_end);
	ret_raw->prev_sum = le64_put(segment->prev_sum);
	ret_raw->durable_lsn = le64_put(segment->durable_lsn);
	ret_raw->slot = le32_put(segment->slot);
	ret_raw->sum = le64_put(segment_sum(ret_raw, super));
}

static_assert((uint64_t)SEGMENT_FIRST << SEGMENT_CHUNKS > SLOT_COUNT_MAX, "all slots fit");

/* Chunk c begins with slot SEGMENT_FIRST * (2^c - 1). */
static uint32_t chunk_of(uint32_t slot, uint32_t *ret_i)
{
	uint32_t c = 31 - (uint32_t)__builtin_clz(slot / SEGMENT_FIRST + 1);

	*ret_i = slot - SEGMENT_FIRST * ((1u << c) - 1);
	return c;
}

int segment_table_put(struct segment_table *table, const struct segment *segment)
{
	uint32_t i, c = chunk_of(segment->slot, &i);

	if (segment->slot >= SLOT_COUNT_MAX)
		return -EFBIG;
	if (!table->chunk[c])
		table->chunk[c] = calloc(SEGMENT_FIRST << c, sizeof(struct segment));
	if (!table->chunk[c])
		return -ENOMEM;
	table->chunk[c][i] = *segment;
	table->count = (uint32_t)max_u64(table->count, (uint64_t)segment->slot + 1);
	return 0;
}

const struct segment *segment_table_get(const struct segment_table *table, uint32_t slot)
{
	uint32_t i, c = chunk_of(slot, &i);

	return table->chunk[c] && table->chunk[c][i].seq ? &table->chunk[c][i] : NULL;
}

void segment_table_release(struct segment_table *table)
{
	for (uint32_t c = 0; c < SEGMENT_CHUNKS; c++) {
		free(table->chunk[c]);
		table->chunk[c] = NULL;
	}
	table->count = 0;
}
