/* SPDX-License-Identifier: LGPL-2.1-or-later */
/* Slices of L1 and L2 tables, read when they are needed: see qcow2-image.h.
 *
 * L1 slices stay until the image is closed, at most QCOW2_L1_MAX bytes: every
 * mapping needs one, so they are found without a lock. L2 slices are kept in
 * the cache.
 */
#include <errno.h>
#include <stdlib.h>

#include "fs/base/qcow2-image.h"
#include "fs/util/cleanup.h"
#include "fs/util/round.h"

#define L1_SLICE_ENTRIES (QCOW2_SLICE / sizeof(be64))

/* Two threads may read the same slice; the second one's copy goes. */
static be64 *keep(_Atomic(be64 *) *slot, be64 *slice)
{
	be64 *kept = NULL;

	if (atomic_compare_exchange_strong_explicit(
		    slot, &kept, slice, memory_order_acq_rel, memory_order_acquire))
		return slice;
	free(slice);
	return kept;
}

static int read_l1(struct qcow2 *q, uint64_t number, bool nowait, be64 **ret_slice)
{
	uint64_t off = q->l1.off + number * QCOW2_SLICE;
	uint64_t len = min_u64(QCOW2_SLICE, q->l1.off + q->l1.entries * sizeof(be64) - off);
	AUTO_FREE be64 *slice = malloc(len);
	int rc;

	if (!slice)
		return -ENOMEM;
	rc = q->file->read(q->file->of, slice, len, off, nowait);
	if (rc < 0)
		return rc;
	*ret_slice = keep(&q->l1_slices[number], steal_ptr(&slice));
	return 0;
}

int qcow2_l1_slice(
	struct qcow2 *qcow2, uint64_t index, bool nowait, const be64 **ret_entries, uint64_t *ret_n)
{
	uint64_t number = index / L1_SLICE_ENTRIES;
	uint64_t first = number * L1_SLICE_ENTRIES;
	be64 *slice = atomic_load_explicit(&qcow2->l1_slices[number], memory_order_acquire);

	if (!slice) {
		int rc = read_l1(qcow2, number, nowait, &slice);

		if (rc < 0)
			return rc;
	}
	*ret_entries = slice + (index - first);
	*ret_n = min_u64(L1_SLICE_ENTRIES, qcow2->l1.entries - first) - (index - first);
	return 0;
}

void qcow2_l1_free(struct qcow2 *qcow2)
{
	uint64_t slices = round_up(qcow2->l1.entries, L1_SLICE_ENTRIES) / L1_SLICE_ENTRIES;

	if (!qcow2->l1_slices)
		return;
	for (uint64_t i = 0; i < slices; i++)
		free(atomic_load_explicit(&qcow2->l1_slices[i], memory_order_relaxed));
	free(qcow2->l1_slices);
}

/* Writers write whole L2 tables: one that the file's end cuts was cut off. */
int qcow2_l2_off(const struct qcow2 *qcow2, uint64_t l1_entry, uint64_t *ret_off)
{
	uint64_t off = l1_entry & QCOW2_ENTRY_OFFSET;

	if (l1_entry & QCOW2_L1_RESERVED || qcow2_in_cluster(qcow2, off) != 0)
		return -EUCLEAN;
	if (off != 0 && outside(off, qcow2_cluster_bytes(qcow2), qcow2->file->size_bytes))
		return -EUCLEAN;
	*ret_off = off;
	return 0;
}

static int fetch_slice(void *with, void *buf, size_t len, uint64_t off, bool nowait)
{
	const struct qcow2 *q = with;

	return q->file->read(q->file->of, buf, len, off, nowait);
}

int qcow2_l2_slice(struct qcow2 *qcow2, uint64_t off, bool nowait, struct blob **ret_slice)
{
	struct cache_key key = {qcow2->owner, off};

	return cache_get(
		CACHE_TABLES, key, qcow2->slice_bytes, nowait, fetch_slice, qcow2, ret_slice);
}
