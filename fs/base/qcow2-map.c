/* SPDX-License-Identifier: LGPL-2.1-or-later */
/* The extent at a guest offset: entries that go on where the first one ends. */
#include <assert.h>
#include <errno.h>

#include "fs/base/qcow2-image.h"
#include "fs/util/round.h"

/* A packed cluster stays alone: its bytes follow nothing. */
static bool continues(const struct extent *extent, const struct extent *next)
{
	if (extent->kind != next->kind || extent->kind == EXTENT_PACKED)
		return false;
	return extent->kind != EXTENT_DATA || extent->host_off + extent->len == next->host_off;
}

/* Damage behind the first entry ends the extent; it shows when it is asked for. */
static int run_in_slice(
	struct qcow2 *q, const void *slice, uint64_t off, uint64_t len, struct extent *ret)
{
	uint32_t n = q->slice_bytes / q->entry_bytes;
	uint64_t slice_off = off >> q->cluster_bits & ~(uint64_t)(n - 1);
	int rc = qcow2_entry_at(q, slice, (off >> q->cluster_bits) & (n - 1), off, ret);

	while (rc == 0 && ret->len < len) {
		uint64_t index = ((off + ret->len) >> q->cluster_bits) - slice_off;
		struct extent next;

		if (index >= n ||
			qcow2_entry_at(q, slice, (uint32_t)index, off + ret->len, &next) < 0 ||
			!continues(ret, &next))
			break;
		ret->len += next.len;
	}
	ret->len = min_u64(ret->len, len);
	return rc;
}

static int map_l2(struct qcow2 *q, uint64_t l2_off, uint64_t off, uint64_t len, bool nowait,
	struct extent *ret)
{
	uint64_t index = off >> q->cluster_bits & ((1u << (q->l1_bits - q->cluster_bits)) - 1);
	uint64_t slice_off = l2_off + round_down(index * q->entry_bytes, q->slice_bytes);
	struct blob *slice;
	int rc = qcow2_l2_slice(q, slice_off, nowait, &slice);

	if (rc < 0)
		return rc;
	rc = run_in_slice(q, blob_bytes(slice), off, len, ret);
	blob_put(slice);
	return rc;
}

/* No L2 table, nor for the entries behind it: n of them are at hand. */
static void run_without_l2(struct qcow2 *q, const be64 *entries, uint64_t n, uint64_t off,
	uint64_t len, struct extent *ret)
{
	uint64_t first = off >> q->l1_bits;
	uint64_t i = 1;

	while (i < n && (first + i) << q->l1_bits < off + len && be64_get(entries[i]) == 0)
		i++;
	*ret = (struct extent){
		.kind = EXTENT_BELOW, .len = min_u64(len, ((first + i) << q->l1_bits) - off)};
}

int qcow2_map(
	struct qcow2 *qcow2, uint64_t off, uint64_t len, bool nowait, struct extent *ret_extent)
{
	uint64_t index = off >> qcow2->l1_bits;
	const be64 *entries;
	uint64_t l2_off;
	uint64_t n;
	int rc;

	assert(len > 0 && !outside(off, len, qcow2->info.size_bytes));
	if (!qcow2->data)
		return -EOPNOTSUPP;
	/* A snapshot's L1 table may end before the disk does. */
	if (index >= qcow2->l1.entries) {
		*ret_extent = (struct extent){.kind = EXTENT_BELOW, .len = len};
		return 0;
	}
	rc = qcow2_l1_slice(qcow2, index, nowait, &entries, &n);
	if (rc == 0)
		rc = qcow2_l2_off(qcow2, be64_get(entries[0]), &l2_off);
	if (rc < 0)
		return rc;
	if (l2_off != 0)
		return map_l2(qcow2, l2_off, off, len, nowait, ret_extent);
	run_without_l2(qcow2, entries, n, off, len, ret_extent);
	return 0;
}
