/* SPDX-License-Identifier: LGPL-2.1-or-later */
/* The index as a row of units: copied for a checkpoint, loaded from one. */
#include <errno.h>
#include <string.h>

#include "fs/store/index-entry.h"
#include "fs/util/round.h"

/* Pages copied under the lock at a time: a lookup waits for 256 KiB. */
#define PAGES_AT_ONCE 64u

/* Copy pages from p on; returns how many. */
static size_t copy_pages(struct index *index, size_t p, struct index_image *image)
{
	SCOPED_LOCK(&index->lock);
	size_t n = min_u64(PAGES_AT_ONCE, index->pages - p);

	for (size_t i = p; i < p + n; i++) {
		const struct index_page *page = index->page[i];

		memcpy(image->entry + image->n, page->entry, page->n * sizeof(page->entry[0]));
		image->n += page->n;
	}
	return n;
}

static uint64_t count_units(struct index *index)
{
	SCOPED_LOCK(&index->lock);

	return index->units;
}

int index_image(struct index *index, struct index_image *ret_image)
{
	uint64_t units = count_units(index);
	size_t p = 0, n;

	ret_image->n = 0;
	ret_image->entry = malloc((units + 1) * sizeof(*ret_image->entry));
	if (!ret_image->entry)
		return -ENOMEM;
	do {
		n = copy_pages(index, p, ret_image);
		p += n;
	} while (n > 0);
	assert(ret_image->n == units);
	return 0;
}

/* The last entry that was loaded: it ends before the next one, and touches it
 * only if they are not one run. */
struct last {
	uint64_t end;
	enum delta_owner owner;
};

static struct last last_of(const struct index *index)
{
	const struct index_page *page;
	uint64_t i;

	if (index->pages == 0)
		return (struct last){0, DELTA_ABSENT};
	page = index->page[index->pages - 1];
	for (i = page->n - 1; unit_continues(&page->entry[i]);)
		i--;
	return (struct last){entry_end(&page->entry[i]), entry_owner(&page->entry[i])};
}

/* Units of the entry at head, or as entry_check(). */
static int check_next(const struct index *index, const struct index_entry *head, uint64_t n,
	uint64_t disk_blocks, struct last *last, struct entry_sums *ret_sums)
{
	int units = entry_check(head, n, index->slots, ret_sums);
	uint64_t block = entry_block(head);

	if (units <= 0)
		return units;
	if (block < last->end || block >= disk_blocks || entry_blocks(head) > disk_blocks - block)
		return -EUCLEAN;
	if (block == last->end && entry_owner(head) != DELTA_DATA &&
		entry_owner(head) == last->owner)
		return -EUCLEAN;
	*last = (struct last){entry_end(head), entry_owner(head)};
	return units;
}

/* Fill one page behind the others; how many units went into it, or -EUCLEAN. */
static int load_page(struct index *index, const struct index_entry *entry, uint64_t n,
	uint64_t disk_blocks)
{
	SCOPED_LOCK(&index->lock);
	struct last last = last_of(index);
	uint64_t taken = 0, most = min_u64(n, INDEX_PAGE_ENTRIES);
	struct index_page *page;

	while (taken < most) {
		const struct index_entry *head = entry + taken;
		struct entry_sums sums;
		int units = check_next(index, head, most - taken, disk_blocks, &last, &sums);

		if (units < 0)
			return units;
		if (units == 0)
			break;
		index_count(index, &sums, true);
		taken += (uint64_t)units;
	}
	if (taken == 0)
		return 0;
	page = index_insert_page(index, index->pages);
	memcpy(page->entry, entry, taken * sizeof(*entry));
	page->n = taken;
	index->first[index->pages - 1] = entry[0].key;
	index->units += taken;
	return (int)taken;
}

int index_load(struct index *index, const struct index_entry *entry, uint64_t n,
	uint64_t disk_blocks, uint64_t *ret_taken)
{
	uint64_t done = 0;

	while (done < n) {
		int taken = index_reserve(index, 1);

		if (taken == 0)
			taken = load_page(index, entry + done, n - done, disk_blocks);
		if (taken < 0)
			return taken;
		if (taken == 0)
			break;
		done += (uint64_t)taken;
	}
	*ret_taken = done;
	return 0;
}
