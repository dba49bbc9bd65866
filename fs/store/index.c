/* SPDX-License-Identifier: LGPL-2.1-or-later */
/* The index: sorted pages of entries. See index.h. */
#include "fs/store/index.h"

#include <assert.h>
#include <errno.h>
#include <stdlib.h>
#include <string.h>

#include "fs/store/index-entry.h"
#include "fs/util/round.h"

/* Pages kept for the next updates; a few batches' worth. */
#define SPARES_KEPT 16u

/* A position between entries: entry i of page p; i may be the page's n. */
struct cursor {
	size_t p;
	uint64_t i;
};

int index_init(struct index *index)
{
	memset(index, 0, sizeof(*index));
	return -pthread_mutex_init(&index->lock, NULL);
}

void index_clear(struct index *index)
{
	SCOPED_LOCK(&index->lock);

	for (size_t p = 0; p < index->pages; p++)
		free(index->page[p]);
	index->pages = 0;
	index->units = index->data_blocks = index->live_bytes = 0;
	if (index->slots)
		memset(index->slot_live, 0, index->slots * sizeof(*index->slot_live));
}

void index_release(struct index *index)
{
	index_clear(index);
	for (size_t p = 0; p < index->spares; p++)
		free(index->spare[p]);
	free(index->page);
	free(index->first);
	free(index->spare);
	free(index->slot_live);
	pthread_mutex_destroy(&index->lock);
	memset(index, 0, sizeof(*index));
}

/* Room for more pointers, in all three arrays' terms. */
static int grow_array(void **array, size_t *room, size_t want, size_t item)
{
	size_t n = *room ? *room : 16;
	void *bigger;

	while (n < want)
		n *= 2;
	if (n == *room)
		return 0;
	bigger = realloc(*array, n * item);
	if (!bigger)
		return -ENOMEM;
	*array = bigger;
	*room = n;
	return 0;
}

static int grow_pages(struct index *index, size_t want)
{
	size_t room = index->room, same = index->room;

	if (want <= index->room)
		return 0;
	if (grow_array((void **)&index->page, &room, want, sizeof(*index->page)) < 0 ||
		grow_array((void **)&index->first, &same, want, sizeof(*index->first)) < 0)
		return -ENOMEM;
	index->room = room;
	return 0;
}

int index_reserve(struct index *index, uint32_t pages)
{
	SCOPED_LOCK(&index->lock);
	size_t want = pages;

	while (index->spares > want + SPARES_KEPT)
		free(index->spare[--index->spares]);
	if (grow_array((void **)&index->spare, &index->spare_room, want + 2 * SPARES_KEPT,
		    sizeof(*index->spare)) < 0 ||
		grow_pages(index, index->pages + want) < 0)
		return -ENOMEM;
	while (index->spares < want) {
		struct index_page *page = malloc(sizeof(*page));

		if (!page)
			return -ENOMEM;
		index->spare[index->spares++] = page;
	}
	return 0;
}

int index_cover_slots(struct index *index, uint32_t n)
{
	SCOPED_LOCK(&index->lock);
	size_t room = index->slot_room;

	if (n <= index->slots)
		return 0;
	if (n > room && grow_array((void **)&index->slot_live, &room, n,
				sizeof(*index->slot_live)) < 0)
		return -ENOMEM;
	index->slot_room = room;
	memset(index->slot_live + index->slots, 0, (n - index->slots) * sizeof(*index->slot_live));
	index->slots = n;
	return 0;
}

uint64_t index_slot_live(struct index *index, uint32_t slot)
{
	SCOPED_LOCK(&index->lock);

	return slot < index->slots ? index->slot_live[slot] : 0;
}

static void drop_page(struct index *index, struct index_page *page)
{
	if (index->spares < SPARES_KEPT && index->spares < index->spare_room)
		index->spare[index->spares++] = page;
	else
		free(page);
}

/* Take pages [p, p + n) out of the sequence. */
static void remove_pages(struct index *index, size_t p, size_t n)
{
	size_t after = index->pages - p - n;

	if (n == 0)
		return;
	for (size_t i = p; i < p + n; i++)
		drop_page(index, index->page[i]);
	memmove(&index->page[p], &index->page[p + n], after * sizeof(*index->page));
	memmove(&index->first[p], &index->first[p + n], after * sizeof(*index->first));
	index->pages -= n;
}

/* Put a new, empty page at p. */
struct index_page *index_insert_page(struct index *index, size_t p)
{
	struct index_page *page;

	assert(index->spares > 0 && index->pages < index->room);
	page = index->spare[--index->spares];
	page->n = 0;
	memmove(&index->page[p + 1], &index->page[p], (index->pages - p) * sizeof(*index->page));
	memmove(&index->first[p + 1], &index->first[p],
		(index->pages - p) * sizeof(*index->first));
	index->page[p] = page;
	index->pages++;
	return page;
}

/* Number of leading items whose block is at or below block. */
static size_t upper_bound_pages(const struct index *index, uint64_t block)
{
	size_t low = 0, high = index->pages;

	while (low < high) {
		size_t mid = low + (high - low) / 2;

		if (index->first[mid] >> ENTRY_BLOCK_SHIFT <= block)
			low = mid + 1;
		else
			high = mid;
	}
	return low;
}

/* The head of the last entry that begins at or below block; the first one does. */
static uint64_t last_entry_at(const struct index_page *page, uint64_t block)
{
	const uint64_t beyond = (block + 1) << ENTRY_BLOCK_SHIFT;
	uint64_t low = 0, high = page->n;

	while (high - low > 1) {
		uint64_t mid = low + (high - low) / 2;

		while (unit_continues(&page->entry[mid]))
			mid--;
		if (mid == low) { /* it reaches from low beyond the middle */
			mid += entry_units(&page->entry[mid]);
			if (mid >= high || page->entry[mid].key >= beyond)
				break;
		}
		if (page->entry[mid].key < beyond)
			low = mid;
		else
			high = mid;
	}
	return low;
}

/* Where the first entry that ends beyond block is, or would be. The page is
 * the one that entries at block belong to. */
static struct cursor find_locked(const struct index *index, uint64_t block)
{
	struct cursor at = {0, 0};
	size_t p = upper_bound_pages(index, block);
	const struct index_page *page;

	if (p == 0)
		return at;
	at.p = p - 1;
	page = index->page[at.p];
	at.i = last_entry_at(page, block);
	if (entry_end(&page->entry[at.i]) <= block)
		at.i += entry_units(&page->entry[at.i]);
	return at;
}

/* The entry at or after the cursor, stepping over a page's end; NULL at the end. */
static struct index_entry *entry_at(const struct index *index, struct cursor *at)
{
	while (at->p < index->pages && at->i >= index->page[at->p]->n) {
		at->p++;
		at->i = 0;
	}
	return at->p < index->pages ? &index->page[at->p]->entry[at->i] : NULL;
}

static void step(struct cursor *at, const struct index_entry *e)
{
	at->i += entry_units(e);
}

void index_count(struct index *index, const struct entry_sums *sums, bool added)
{
	uint64_t bytes = sums->payload_bytes + sums->blocks * FORMAT_BLOCK_SUM;

	if (sums->blocks == 0)
		return;
	assert(sums->slot < index->slots);
	index->data_blocks += added ? sums->blocks : -sums->blocks;
	index->live_bytes += added ? sums->payload_bytes : -sums->payload_bytes;
	index->slot_live[sums->slot] += added ? bytes : -bytes;
}

static void count_place(struct index *index, const struct index_place *place)
{
	const struct entry_sums sums = {slot_of(place->pos), 1, place->len};

	index_count(index, &sums, true);
}

/* Blocks [from, to) of an entry are no more. */
static void discount(struct index *index, const struct index_entry *e, uint64_t from, uint64_t to)
{
	struct entry_sums sums;
	struct entry_walk w;

	if (entry_owner(e) != DELTA_DATA)
		return;
	w = entry_walk_to(e, from - entry_block(e));
	sums = (struct entry_sums){slot_of(w.pos), to - from, w.len};
	for (uint64_t i = from + 1; i < to; i++) {
		entry_walk_next(&w);
		sums.payload_bytes += w.len;
	}
	index_count(index, &sums, false);
}

/* Take the units from one cursor up to another one out. The page of `from`
 * stays, even if it is empty. */
static void cut_locked(struct index *index, struct cursor from, struct cursor to)
{
	struct index_page *page = index->page[from.p];
	size_t first_gone = from.p + 1;
	uint64_t start = 0;

	if (to.p == from.p) {
		start = from.i;
	} else {
		index->units -= page->n - from.i;
		page->n = from.i;
		for (size_t p = first_gone; p < to.p; p++)
			index->units -= index->page[p]->n;
		remove_pages(index, first_gone, to.p - first_gone);
		if (to.i == 0)
			return;
		page = index->page[first_gone];
	}
	index->units -= to.i - start;
	memmove(&page->entry[start], &page->entry[to.i],
		(page->n - to.i) * sizeof(page->entry[0]));
	page->n -= to.i - start;
	if (to.p == from.p)
		return;
	if (page->n == 0)
		remove_pages(index, first_gone, 1);
	else
		index->first[first_gone] = page->entry[0].key;
}

/* Cut all[0 .. n) into pages from page p on: p itself is refilled. Behind its
 * last entry (`appended`) pages are filled up, so that sequences leave full ones
 * behind; elsewhere they are left evenly filled. Entries stay whole. */
static void refill_locked(
	struct index *index, size_t p, const struct index_entry *all, uint64_t n, bool appended)
{
	const uint64_t most = INDEX_PAGE_ENTRIES - (INDEX_RUN_UNITS - 1);
	uint64_t pages = (n + most - 1) / most;
	uint64_t each = appended ? most : (n + pages - 1) / pages;

	for (uint64_t done = 0; done < n; p++) {
		struct index_page *page = done == 0 ? index->page[p] : index_insert_page(index, p);
		uint64_t end = min_u64(done + each, n);

		while (end < n && unit_continues(&all[end]))
			end++;
		page->n = end - done;
		memcpy(page->entry, all + done, page->n * sizeof(page->entry[0]));
		index->first[p] = page->entry[0].key;
		done = end;
	}
}

/* Put the row where the cursor is. */
static void insert_locked(struct index *index, struct cursor at, const struct row *row)
{
	struct index_entry all[INDEX_PAGE_ENTRIES + ROW_UNITS];
	struct index_page *page;
	uint64_t tail;

	if (index->pages == 0)
		index_insert_page(index, 0);
	page = index->page[at.p];
	tail = page->n - at.i;
	index->units += row->n;
	if (page->n + row->n <= INDEX_PAGE_ENTRIES) {
		memmove(&page->entry[at.i + row->n], &page->entry[at.i], tail * sizeof(all[0]));
		memcpy(&page->entry[at.i], row->unit, row->n * sizeof(all[0]));
		page->n += row->n;
		index->first[at.p] = page->entry[0].key;
		return;
	}
	memcpy(all, page->entry, at.i * sizeof(all[0]));
	memcpy(all + at.i, row->unit, row->n * sizeof(all[0]));
	memcpy(all + at.i + row->n, &page->entry[at.i], tail * sizeof(all[0]));
	refill_locked(index, at.p, all, at.i + row->n + tail, tail == 0);
}

/* Two neighbours that have become small become one page, so that memory goes
 * with the entries. Less than a page, or the next insert would split it. */
static void join_locked(struct index *index, size_t p)
{
	struct index_page *page, *next;

	if (p + 1 >= index->pages)
		return;
	page = index->page[p];
	next = index->page[p + 1];
	if (page->n + next->n > INDEX_PAGE_ENTRIES * 3 / 4)
		return;
	memcpy(&page->entry[page->n], next->entry, next->n * sizeof(next->entry[0]));
	page->n += next->n;
	remove_pages(index, p + 1, 1);
}

static void splice_locked(
	struct index *index, struct cursor from, struct cursor to, const struct row *row)
{
	uint64_t units = index->units;

	if (index->pages > 0)
		cut_locked(index, from, to);
	insert_locked(index, from, row);
	if (index->units >= units)
		return;
	join_locked(index, from.p);
	if (from.p > 0)
		join_locked(index, from.p - 1);
}

/* An entry to the left of block that goes up to it or covers it becomes the
 * begin of the row; the cursor says where the row will stand. */
static void take_left_locked(
	struct index *index, uint64_t block, struct row *row, struct cursor *ret_from)
{
	struct cursor at = *ret_from = find_locked(index, block ? block - 1 : 0);
	const struct index_entry *e = entry_at(index, &at);

	row->n = row->last = 0;
	if (!e || entry_block(e) >= block)
		return;
	*ret_from = at;
	row_push_left(row, e, block);
}

/* What the new entries in the row replace in [block, end) goes out of the
 * sums; what lies beyond end, of an entry that began before it, into the row.
 * *at moves on to what stays. */
static void take_right_locked(
	struct index *index, uint64_t block, uint64_t end, struct row *row, struct cursor *at)
{
	struct cursor next = *at;
	const struct index_entry *e, *last;

	while ((e = entry_at(index, &next)) && entry_block(e) < end) {
		if (entry_end(e) > block)
			discount(index, e, max_u64(entry_block(e), block),
				min_u64(entry_end(e), end));
		if (entry_end(e) > end)
			row_push_rest(row, e, end);
		step(&next, e);
		*at = next;
	}
	last = &row->unit[row->last];
	if (!e || entry_block(e) != entry_end(last) || entry_owner(e) == DELTA_DATA ||
		entry_owner(e) != entry_owner(last))
		return;
	row_push_run(row, entry_owner(e), entry_block(e), entry_blocks(e));
	step(&next, e);
	*at = next;
}

static void put_run(struct index *index, enum delta_owner owner, uint64_t block, uint64_t count)
{
	SCOPED_LOCK(&index->lock);
	struct cursor from, to;
	struct row row;

	take_left_locked(index, block, &row, &from);
	row_push_run(&row, owner, block, count);
	to = from;
	take_right_locked(index, block, block + count, &row, &to);
	splice_locked(index, from, to, &row);
}

void index_put_zero(struct index *index, uint64_t block, uint64_t count)
{
	put_run(index, DELTA_ZERO, block, count);
}

void index_put_bad(struct index *index, uint64_t block, uint64_t count)
{
	put_run(index, DELTA_BAD, block, count);
}

void index_put_data(
	struct index *index, uint64_t block, uint32_t n, const struct index_place *place)
{
	SCOPED_LOCK(&index->lock);
	struct cursor from, to;
	struct row row;

	assert(n > 0 && n <= FORMAT_RECORD_BLOCKS);
	take_left_locked(index, block, &row, &from);
	for (uint32_t i = 0; i < n; i++) {
		if (place[i].len == 0) {
			row_push_run(&row, DELTA_ZERO, block + i, 1);
			continue;
		}
		row_push_data(&row, block + i, &place[i]);
		count_place(index, &place[i]);
	}
	to = from;
	take_right_locked(index, block, block + n, &row, &to);
	splice_locked(index, from, to, &row);
}

/* Places of n blocks of a data entry from block on. */
static void fill_places(const struct index_entry *e, uint64_t block, uint64_t n,
	struct index_place *place)
{
	struct entry_walk w = entry_walk_to(e, block - entry_block(e));

	for (;;) {
		*place++ = (struct index_place){.pos = w.pos, .len = (uint16_t)w.len};
		if (--n == 0)
			break;
		entry_walk_next(&w);
	}
}

static uint64_t data_run_locked(const struct index *index, struct cursor at, uint64_t block,
	uint64_t count, struct index_place *place)
{
	uint64_t run = 0;

	while (run < count) {
		const struct index_entry *e = entry_at(index, &at);
		uint64_t n;

		if (!e || entry_block(e) > block + run || entry_owner(e) != DELTA_DATA)
			break;
		n = min_u64(count - run, entry_end(e) - block - run);
		if (place)
			fill_places(e, block + run, n, place + run);
		run += n;
		step(&at, e);
	}
	return run;
}

enum delta_owner index_get(struct index *index, uint64_t block, uint64_t count,
	uint64_t *ret_run, struct index_place *place)
{
	SCOPED_LOCK(&index->lock);
	struct cursor at = find_locked(index, block);
	const struct index_entry *e = entry_at(index, &at);

	if (!e || entry_block(e) > block) {
		*ret_run = e ? min_u64(count, entry_block(e) - block) : count;
		return DELTA_ABSENT;
	}
	if (entry_owner(e) != DELTA_DATA) {
		*ret_run = min_u64(count, entry_end(e) - block);
		return entry_owner(e);
	}
	*ret_run = data_run_locked(index, at, block, count, place);
	return DELTA_DATA;
}

void index_stats(struct index *index, struct delta_stats *ret_stats)
{
	SCOPED_LOCK(&index->lock);

	ret_stats->data_blocks = index->data_blocks;
	ret_stats->live_bytes = index->live_bytes;
	ret_stats->index_bytes = (index->pages + index->spares) * sizeof(struct index_page) +
		index->room * 2 * sizeof(void *) + index->spare_room * sizeof(void *) +
		index->slot_room * sizeof(*index->slot_live);
}
