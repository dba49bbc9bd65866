/* SPDX-License-Identifier: LGPL-2.1-or-later */
/* Making entries of the index, and checking those that come from a file. See index-entry.h. */
#include "fs/store/index-entry.h"

#include <assert.h>
#include <errno.h>
#include <string.h>

static struct index_entry *row_add(struct row *row)
{
	assert(row->n < ROW_UNITS);
	return &row->unit[row->n++];
}

/* One more block at the end of the last entry. */
static void append_block(struct row *row, uint32_t len, uint32_t border)
{
	struct index_entry *head = &row->unit[row->last], *unit;
	uint32_t i = (uint32_t)entry_blocks(head) - 1;
	uint64_t field = (uint64_t)(border | (len - 1)) << 16 * (i % 4);

	if (i % ENTRY_FIELDS == 0)
		*row_add(row) = (struct index_entry){.key = ENTRY_CONTINUES};
	unit = &row->unit[row->n - 1];
	if (i % ENTRY_FIELDS < 4)
		unit->key |= field;
	else
		unit->val |= field;
	head->val += UINT64_C(1) << ENTRY_BLOCKS_SHIFT;
}

/* Does the block go on where the last entry ends, in the log too? As the
 * record's next one, or as the first of a next record. */
static bool extend_data(struct row *row, uint64_t block, const struct index_place *place)
{
	struct index_entry *head = &row->unit[row->last];
	uint64_t first, table = 0;
	uint32_t border = 0;

	if (row->n == 0 || entry_owner(head) != DELTA_DATA || entry_end(head) != block ||
		entry_blocks(head) == INDEX_RUN_BLOCKS)
		return false;
	if (place->pos != row->last_end) {
		border = ENTRY_BORDER;
		table = entry_table(head);
		first = entry_next_record(row->last_end, 0);
		if (table == 0 && place->pos > first && place->pos % 8 == 0 &&
			place->pos - first <= 8 * ENTRY_TABLE_MAX)
			table = (place->pos - first) / 8;
		if (table == 0 || place->pos != first + 8 * table)
			return false;
		head->val &= ~((uint64_t)ENTRY_TABLE_MAX << ENTRY_TABLE_SHIFT);
		head->val |= table << ENTRY_TABLE_SHIFT;
	}
	append_block(row, place->len, border);
	return true;
}

void row_push_data(struct row *row, uint64_t block, const struct index_place *place)
{
	if (!extend_data(row, block, place)) {
		row->last = row->n;
		*row_add(row) = (struct index_entry){
			.key = block << ENTRY_BLOCK_SHIFT |
				(uint64_t)DELTA_DATA << ENTRY_OWNER_SHIFT |
				(uint64_t)(place->len - 1u),
			.val = place->pos,
		};
	}
	row->last_end = place->pos + FORMAT_BLOCK_SUM + place->len;
}

void row_push_run(struct row *row, enum delta_owner owner, uint64_t block, uint64_t count)
{
	struct index_entry *head = &row->unit[row->last];

	if (row->n > 0 && entry_owner(head) == owner && entry_end(head) == block) {
		head->val += count;
		return;
	}
	row->last = row->n;
	*row_add(row) = (struct index_entry){
		.key = block << ENTRY_BLOCK_SHIFT | (uint64_t)owner << ENTRY_OWNER_SHIFT,
		.val = count,
	};
}

void row_push_left(struct row *row, const struct index_entry *e, uint64_t end)
{
	uint64_t blocks = min_u64(entry_end(e), end) - entry_block(e);
	struct entry_walk w;

	if (entry_owner(e) != DELTA_DATA) {
		row_push_run(row, entry_owner(e), entry_block(e), blocks);
		return;
	}
	if (blocks == entry_blocks(e)) { /* as it is */
		row->last = row->n;
		row->n += entry_units(e);
		memcpy(&row->unit[row->last], e, entry_units(e) * sizeof(*e));
		w = entry_walk_to(e, blocks - 1);
		row->last_end = entry_walk_end(&w);
		return;
	}
	w = entry_walk(e);
	for (uint64_t i = 0;;) {
		struct index_place place = {.pos = w.pos, .len = (uint16_t)w.len};

		row_push_data(row, entry_block(e) + i, &place);
		if (++i == blocks)
			break;
		entry_walk_next(&w);
	}
}

void row_push_rest(struct row *row, const struct index_entry *e, uint64_t begin)
{
	struct entry_walk w;

	if (entry_owner(e) != DELTA_DATA) {
		row_push_run(row, entry_owner(e), begin, entry_end(e) - begin);
		return;
	}
	w = entry_walk_to(e, begin - entry_block(e));
	for (;;) {
		struct index_place place = {.pos = w.pos, .len = (uint16_t)w.len};

		row_push_data(row, begin, &place);
		if (++begin == entry_end(e))
			break;
		entry_walk_next(&w);
	}
}

/* Only fields that mean something have bits. */
static bool fields_valid(const struct index_entry *head)
{
	uint64_t blocks = entry_blocks(head), used = (ENTRY_BORDER | ENTRY_LEN_MASK);

	for (uint32_t u = 1, i = 0; u < entry_units_of(blocks); u++) {
		uint64_t key = ENTRY_CONTINUES, val = 0;

		for (uint32_t f = 0; f < ENTRY_FIELDS && i < blocks - 1; f++, i++) {
			if (f < 4)
				key |= used << 16 * f;
			else
				val |= used << 16 * (f - 4);
		}
		if (!unit_continues(&head[u]) || head[u].key & ~key || head[u].val & ~val)
			return false;
	}
	return true;
}

/* All blocks lie behind the header page of one slot. */
static bool place_valid(const struct index_entry *head, uint32_t slots, struct entry_sums *sums)
{
	struct entry_walk w = entry_walk(head);
	uint64_t begin = w.pos, in_slot;
	uint32_t slot = slot_of(begin);

	sums->slot = slot;
	sums->blocks = 1;
	sums->payload_bytes = w.len;
	for (uint64_t left = entry_blocks(head) - 1; left > 0; left--) {
		if (entry_field(head, w.i) & ENTRY_BORDER && entry_table(head) == 0)
			return false;
		entry_walk_next(&w);
		sums->blocks++;
		sums->payload_bytes += w.len;
	}
	in_slot = begin - slot_start(slot);
	return slot < slots && in_slot >= FORMAT_PAGE &&
		in_slot + (entry_walk_end(&w) - begin) <= slot_bytes(slot);
}

int entry_check(const struct index_entry *head, uint64_t n, uint32_t slots,
	struct entry_sums *ret_sums)
{
	ret_sums->blocks = 0;
	if (unit_continues(head) || entry_owner(head) == DELTA_ABSENT)
		return -EUCLEAN;
	if (entry_owner(head) != DELTA_DATA)
		return (head->key & ENTRY_LEN_MASK) == 0 && head->val > 0 ? 1 : -EUCLEAN;
	if (head->val >> ENTRY_TABLE_SHIFT > ENTRY_TABLE_MAX)
		return -EUCLEAN;
	if (n < entry_units(head))
		return 0;
	if (entry_blocks(head) > 1 && !fields_valid(head))
		return -EUCLEAN;
	return place_valid(head, slots, ret_sums) ? (int)entry_units(head) : -EUCLEAN;
}
