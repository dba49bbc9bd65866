/* SPDX-License-Identifier: LGPL-2.1-or-later */
/* The index: sorted pages of entries. See index.h. */
#include "fs/store/index.h"

#include <assert.h>
#include <errno.h>
#include <stdlib.h>
#include <string.h>

#include "fs/store/format.h"
#include "fs/util/round.h"

#define OWNER_SHIFT 12
#define BLOCK_SHIFT 14
#define LEN_MASK ((1u << OWNER_SHIFT) - 1)

/* Pages kept for the next updates; a few batches' worth. */
#define SPARES_KEPT 16u

/* A position between entries: entry i of page p; i may be the page's n. */
struct cursor {
	size_t p;
	uint64_t i;
};

static struct index_entry data_entry(uint64_t block, const struct index_place *place)
{
	return (struct index_entry){
		.key = block << BLOCK_SHIFT | (uint64_t)DELTA_DATA << OWNER_SHIFT |
			(uint64_t)(place->len - 1u),
		.val = place->pos,
	};
}

static struct index_entry zero_entry(uint64_t block, uint64_t count)
{
	return (struct index_entry){
		.key = block << BLOCK_SHIFT | (uint64_t)DELTA_ZERO << OWNER_SHIFT,
		.val = count,
	};
}

static enum delta_owner entry_owner(const struct index_entry *e)
{
	return (enum delta_owner)(e->key >> OWNER_SHIFT & 3);
}

static uint64_t entry_block(const struct index_entry *e)
{
	return e->key >> BLOCK_SHIFT;
}

static uint32_t entry_len(const struct index_entry *e)
{
	return (uint32_t)(e->key & LEN_MASK) + 1;
}

static uint64_t entry_end(const struct index_entry *e)
{
	return entry_block(e) + (entry_owner(e) == DELTA_ZERO ? e->val : 1);
}

int index_init(struct index *index)
{
	memset(index, 0, sizeof(*index));
	return -pthread_mutex_init(&index->lock, NULL);
}

void index_release(struct index *index)
{
	for (size_t p = 0; p < index->pages; p++)
		free(index->page[p]);
	for (size_t p = 0; p < index->spares; p++)
		free(index->spare[p]);
	free(index->page);
	free(index->first);
	free(index->spare);
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
static struct index_page *insert_page(struct index *index, size_t p)
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

		if (index->first[mid] >> BLOCK_SHIFT <= block)
			low = mid + 1;
		else
			high = mid;
	}
	return low;
}

static uint64_t upper_bound_entries(const struct index_page *page, uint64_t block)
{
	uint64_t low = 0, high = page->n;

	while (low < high) {
		uint64_t mid = low + (high - low) / 2;

		if (entry_block(&page->entry[mid]) <= block)
			low = mid + 1;
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

	if (p == 0)
		return at;
	at.p = p - 1;
	at.i = upper_bound_entries(index->page[at.p], block);
	if (at.i > 0 && entry_end(&index->page[at.p]->entry[at.i - 1]) > block)
		at.i--;
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

static void count_entry(struct index *index, const struct index_entry *e, bool added)
{
	if (entry_owner(e) != DELTA_DATA)
		return;
	index->data_blocks += added ? 1 : UINT64_MAX;
	index->live_bytes += added ? entry_len(e) : UINT64_MAX - entry_len(e) + 1;
}

/* Delete from the cursor on all entries that begin below end. What the last
 * of them covers beyond end comes back as *ret_rest (its val 0 if nothing). */
static void delete_below_locked(
	struct index *index, struct cursor at, uint64_t end, struct index_entry *ret_rest)
{
	size_t p = at.p, first_empty = at.p + 1, n_empty = 0;

	*ret_rest = zero_entry(end, 0);
	for (; p < index->pages; p++) {
		struct index_page *page = index->page[p];
		uint64_t from = p == at.p ? at.i : 0, to = from;

		while (to < page->n && entry_block(&page->entry[to]) < end) {
			count_entry(index, &page->entry[to], false);
			if (entry_end(&page->entry[to]) > end)
				ret_rest->val = entry_end(&page->entry[to]) - end;
			to++;
		}
		memmove(&page->entry[from], &page->entry[to],
			(page->n - to) * sizeof(page->entry[0]));
		page->n -= to - from;
		if (page->n > from)
			break;
		if (p != at.p)
			n_empty++;
	}
	if (first_empty + n_empty < index->pages && p != at.p)
		index->first[p] = index->page[p]->entry[0].key;
	remove_pages(index, first_empty, n_empty);
}

/* Cut all[0 .. n) into pages from page p on: p itself is refilled. Appended
 * entries fill pages up, so that sequential writes leave full pages behind;
 * otherwise pages are left evenly filled. */
static void refill_locked(
	struct index *index, size_t p, const struct index_entry *all, uint64_t n, bool appended)
{
	uint64_t pages = (n + INDEX_PAGE_ENTRIES - 1) / INDEX_PAGE_ENTRIES;
	uint64_t each = appended ? INDEX_PAGE_ENTRIES : (n + pages - 1) / pages;

	for (uint64_t done = 0; done < n; p++) {
		struct index_page *page =
			done == 0 ? index->page[p] : insert_page(index, p);

		page->n = min_u64(each, n - done);
		memcpy(page->entry, all + done, page->n * sizeof(page->entry[0]));
		index->first[p] = page->entry[0].key;
		done += page->n;
	}
}

static void insert_locked(
	struct index *index, struct cursor at, const struct index_entry *e, uint64_t n)
{
	struct index_entry all[INDEX_PAGE_ENTRIES + FORMAT_RECORD_BLOCKS + 1];
	struct index_page *page;
	uint64_t tail;

	if (index->pages == 0)
		insert_page(index, 0);
	page = index->page[at.p];
	tail = page->n - at.i;
	for (uint64_t i = 0; i < n; i++)
		count_entry(index, &e[i], true);
	if (page->n + n <= INDEX_PAGE_ENTRIES) {
		memmove(&page->entry[at.i + n], &page->entry[at.i], tail * sizeof(*e));
		memcpy(&page->entry[at.i], e, n * sizeof(*e));
		page->n += n;
		index->first[at.p] = page->entry[0].key;
		return;
	}
	memcpy(all, page->entry, at.i * sizeof(*e));
	memcpy(all + at.i, e, n * sizeof(*e));
	memcpy(all + at.i + n, &page->entry[at.i], tail * sizeof(*e));
	refill_locked(index, at.p, all, at.i + n + tail, tail == 0);
}

/* Replace whatever covers [block, end) by the n entries e, which cover it. */
static void replace_locked(struct index *index, uint64_t block, uint64_t end,
	const struct index_entry *e, uint64_t n)
{
	struct index_entry all[FORMAT_RECORD_BLOCKS + 1];
	struct cursor at = find_locked(index, block);
	struct index_entry rest = zero_entry(end, 0);

	if (index->pages > 0 && at.i < index->page[at.p]->n) {
		struct index_entry *over = &index->page[at.p]->entry[at.i];

		if (entry_block(over) < block) { /* a zero run: cut it */
			if (entry_end(over) > end)
				rest.val = entry_end(over) - end;
			over->val = block - entry_block(over);
			at.i++;
		}
	}
	if (rest.val == 0 && index->pages > 0)
		delete_below_locked(index, at, end, &rest);
	memcpy(all, e, n * sizeof(*e));
	if (rest.val > 0)
		all[n++] = rest;
	insert_locked(index, at, all, n);
}

/* Widen a zero range over the zero runs that touch it, so that a sequence of
 * discards stays one entry. */
static void put_zero_locked(struct index *index, uint64_t block, uint64_t count)
{
	struct cursor at = find_locked(index, block ? block - 1 : 0);
	uint64_t end = block + count;
	struct index_entry *e = entry_at(index, &at);
	struct index_entry zero;

	if (e && entry_owner(e) == DELTA_ZERO && entry_block(e) < block)
		block = entry_block(e);
	at = find_locked(index, end);
	e = entry_at(index, &at);
	if (e && entry_owner(e) == DELTA_ZERO && entry_block(e) <= end)
		end = entry_end(e);
	zero = zero_entry(block, end - block);
	replace_locked(index, block, end, &zero, 1);
}

void index_put_zero(struct index *index, uint64_t block, uint64_t count)
{
	SCOPED_LOCK(&index->lock);

	put_zero_locked(index, block, count);
}

void index_put_data(
	struct index *index, uint64_t block, uint32_t n, const struct index_place *place)
{
	struct index_entry e[FORMAT_RECORD_BLOCKS];
	SCOPED_LOCK(&index->lock);

	assert(n <= FORMAT_RECORD_BLOCKS);
	for (uint32_t i = 0; i < n;) {
		uint32_t run = 0;

		while (i + run < n && !place[i + run].len)
			run++;
		if (run) {
			put_zero_locked(index, block + i, run);
			i += run;
			continue;
		}
		while (i + run < n && place[i + run].len) {
			e[run] = data_entry(block + i + run, &place[i + run]);
			run++;
		}
		replace_locked(index, block + i, block + i + run, e, run);
		i += run;
	}
}

static uint64_t data_run_locked(const struct index *index, struct cursor at, uint64_t block,
	uint64_t count, struct index_place *place)
{
	uint64_t run = 0;

	while (run < count) {
		const struct index_entry *e = entry_at(index, &at);

		if (!e || entry_block(e) != block + run || entry_owner(e) != DELTA_DATA)
			break;
		if (place)
			place[run] = (struct index_place){e->val, (uint16_t)entry_len(e)};
		run++;
		at.i++;
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
	if (entry_owner(e) == DELTA_ZERO) {
		*ret_run = min_u64(count, entry_end(e) - block);
		return DELTA_ZERO;
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
		index->room * 2 * sizeof(void *) + index->spare_room * sizeof(void *);
}
