/* SPDX-License-Identifier: LGPL-2.1-or-later */
/* Segment headers and the slot table. Format: format.h. */
#include "fs/store/segment.h"

#include <assert.h>
#include <errno.h>
#include <stdatomic.h>
#include <stddef.h>
#include <stdlib.h>
#include <string.h>

#include "fs/util/hash.h"
#include "fs/util/round.h"

static uint64_t segment_sum(const struct format_segment *raw, const struct super *super)
{
	return hash64(raw, offsetof(struct format_segment, sum), super->key[0]);
}

/* Fields agree with each other and can be counted on. */
static bool plausible(const struct segment *s)
{
	if (s->seq >= FORMAT_COUNTER_MAX || s->durable_lsn >= FORMAT_COUNTER_MAX ||
		s->durable_slots > SLOT_COUNT_MAX)
		return false;
	if (s->free)
		return true;
	return s->seq > 0 && s->prev_seq < s->seq && s->prev_end <= SLOT_FULL_BYTES &&
		s->prev_slot < SLOT_COUNT_MAX && s->first_lsn <= FORMAT_COUNTER_MAX;
}

int segment_decode(const struct format_segment *raw, const struct super *super, uint32_t slot,
	struct segment *ret_segment)
{
	struct segment s;

	if (le64_get(raw->magic) != FORMAT_SEGMENT_MAGIC ||
		memcmp(raw->id, super->id.byte, ID_BYTES) != 0 ||
		(le32_get(raw->flags) & ~FORMAT_SEGMENT_FREE) != 0 ||
		le32_get(raw->slot) != slot || le64_get(raw->sum) != segment_sum(raw, super))
		return -EUCLEAN;
	s = (struct segment){
		.slot = slot,
		.free = le32_get(raw->flags) & FORMAT_SEGMENT_FREE,
		.seq = le64_get(raw->seq),
		.epoch = le64_get(raw->epoch),
		.first_lsn = le64_get(raw->first_lsn),
		.prev_seq = le64_get(raw->prev_seq),
		.prev_end = le64_get(raw->prev_end),
		.prev_sum = le64_get(raw->prev_sum),
		.prev_slot = le32_get(raw->prev_slot),
		.durable_slots = le32_get(raw->durable_slots),
		.durable_lsn = le64_get(raw->durable_lsn),
	};
	if (!plausible(&s))
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
	ret_raw->prev_slot = le32_put(segment->prev_slot);
	ret_raw->durable_slots = le32_put(segment->durable_slots);
	ret_raw->durable_lsn = le64_put(segment->durable_lsn);
	ret_raw->slot = le32_put(segment->slot);
	ret_raw->flags = le32_put(segment->free ? FORMAT_SEGMENT_FREE : 0);
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

int segment_table_cover(struct segment_table *table, uint32_t n)
{
	if (n > SLOT_COUNT_MAX)
		return -EFBIG;
	while (table->count < n) {
		uint32_t i, c = chunk_of(table->count, &i);

		if (!table->chunk[c])
			table->chunk[c] = calloc(SEGMENT_FIRST << c, sizeof(*table->chunk[c]));
		if (!table->chunk[c])
			return -ENOMEM;
		table->count = (uint32_t)min_u64(n, (uint64_t)table->count - i + (SEGMENT_FIRST << c));
	}
	return 0;
}

void segment_table_put(struct segment_table *table, const struct segment *segment)
{
	struct segment_entry *entry = segment_table_entry(table, segment->slot);

	entry->segment = *segment;
	entry->state = segment->free ? SLOT_FREE : SLOT_USED;
	atomic_store(&entry->sealed, false);
	atomic_store(&entry->others, 0);
	atomic_store(&entry->stuck, false);
	while ((entry = segment_table_entry(table, table->headed)) &&
		entry->state != SLOT_UNUSED && entry->state != SLOT_DOUBTFUL)
		table->headed++;
}

struct segment_entry *segment_table_at(const struct segment_table *table, uint32_t slot)
{
	uint32_t i, c = chunk_of(slot, &i);

	return &table->chunk[c][i];
}

void segment_note(struct segment_table *table, uint32_t slot, bool end, uint32_t others)
{
	struct segment_entry *entry = segment_table_at(table, slot);

	if (end)
		atomic_store(&entry->sealed, true);
	if (others)
		atomic_fetch_add(&entry->others, others);
}

struct segment_entry *segment_table_entry(const struct segment_table *table, uint32_t slot)
{
	return slot < table->count ? segment_table_at(table, slot) : NULL;
}

const struct segment *segment_table_get(const struct segment_table *table, uint32_t slot)
{
	return &segment_table_at(table, slot)->segment;
}

void segment_table_release(struct segment_table *table)
{
	for (uint32_t c = 0; c < SEGMENT_CHUNKS; c++) {
		free(table->chunk[c]);
		table->chunk[c] = NULL;
	}
	table->count = table->headed = 0;
}
