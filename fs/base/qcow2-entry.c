/* SPDX-License-Identifier: LGPL-2.1-or-later */
/* What one L2 table entry says: see qcow2-format.h.
 *
 * What the format reserves is 0, or the entry is damaged. So is a cluster that
 * begins at or beyond the file's end: the file was cut off. One that the end
 * cuts is the last; what is missing of it was never written and reads as zeros.
 */
#include <errno.h>

#include "fs/base/qcow2-image.h"
#include "fs/util/round.h"

static int packed_at(const struct qcow2 *q, uint64_t entry, struct extent *ret)
{
	uint64_t mask = (UINT64_C(1) << q->packed_bits) - 1;
	uint64_t sectors = (entry & ~QCOW2_ENTRY_COMPRESSED) >> q->packed_bits;
	uint64_t host_off = entry & mask;

	if (entry & QCOW2_ENTRY_HINT || host_off >> 56 || q->info.data_name)
		return -EUCLEAN;
	if (host_off < qcow2_cluster_bytes(q) || host_off >= q->file->size_bytes)
		return -EUCLEAN;
	ret->kind = EXTENT_PACKED;
	ret->host_off = host_off;
	ret->packed_len = (uint32_t)((sectors + 1) * QCOW2_SECTOR - host_off % QCOW2_SECTOR);
	return 0;
}

/* Is the host cluster where one can be? That of data must also be in the file;
 * one that is only set aside need not. */
static int check_place(
	const struct qcow2 *q, uint64_t host_off, uint64_t guest_off, enum extent_kind kind)
{
	if (qcow2_in_cluster(q, host_off) != 0)
		return -EUCLEAN;
	if (q->info.data_name)
		return host_off == guest_off ? 0 : -EUCLEAN;
	if (host_off == 0)
		return -EUCLEAN;
	return kind == EXTENT_DATA && host_off >= q->file->size_bytes ? -EUCLEAN : 0;
}

/* Bit 63 with offset 0 tells "at the start of the data file" from "nowhere". */
static bool is_allocated(const struct qcow2 *q, uint64_t entry)
{
	return (entry & QCOW2_ENTRY_OFFSET) != 0 || entry & QCOW2_ENTRY_HINT;
}

static int standard_at(const struct qcow2 *q, uint64_t entry, uint64_t off, struct extent *ret)
{
	uint64_t skip = qcow2_in_cluster(q, off);
	uint64_t host_off = entry & QCOW2_ENTRY_OFFSET;

	if (entry & QCOW2_L2_RESERVED || (entry & QCOW2_ENTRY_ZERO && q->info.version == 2))
		return -EUCLEAN;
	ret->kind = entry & QCOW2_ENTRY_ZERO ? EXTENT_ZERO
		    : is_allocated(q, entry) ? EXTENT_DATA
					     : EXTENT_BELOW;
	ret->host_off = host_off + skip;
	return is_allocated(q, entry) ? check_place(q, host_off, off - skip, ret->kind) : 0;
}

/* Subclusters from first on that are as the first is. */
static uint32_t alike(uint32_t allocated, uint32_t zero, uint32_t first)
{
	uint32_t differ = 0;

	differ |= allocated ^ (allocated >> first & 1 ? UINT32_MAX : 0);
	differ |= zero ^ (zero >> first & 1 ? UINT32_MAX : 0);
	differ >>= first;
	return differ ? (uint32_t)__builtin_ctz(differ) : QCOW2_SUBCLUSTERS - first;
}

static int subcluster_at(
	const struct qcow2 *q, uint64_t entry, uint64_t bitmap, uint64_t off, struct extent *ret)
{
	uint64_t skip = qcow2_in_cluster(q, off);
	uint64_t host_off = entry & QCOW2_ENTRY_OFFSET;
	uint32_t allocated = (uint32_t)bitmap;
	uint32_t zero = (uint32_t)(bitmap >> 32);
	uint32_t first = (uint32_t)(skip >> q->subcluster_bits);
	uint64_t end;

	if (entry & (QCOW2_L2_RESERVED | QCOW2_ENTRY_ZERO) || allocated & zero ||
		(allocated && !is_allocated(q, entry)))
		return -EUCLEAN;
	end = (uint64_t)(first + alike(allocated, zero, first)) << q->subcluster_bits;
	ret->len = end - skip;
	ret->host_off = host_off + skip;
	ret->kind = allocated >> first & 1 ? EXTENT_DATA
		    : zero >> first & 1    ? EXTENT_ZERO
					   : EXTENT_BELOW;
	return is_allocated(q, entry) ? check_place(q, host_off, off - skip, ret->kind) : 0;
}

int qcow2_entry_at(const struct qcow2 *qcow2, const void *slice, uint32_t index, uint64_t off,
	struct extent *ret_extent)
{
	bool extended = qcow2->info.extended_l2;
	const struct qcow2_disk_extended_entry *wide = slice;
	const be64 *narrow = slice;
	uint64_t entry = be64_get(extended ? wide[index].entry : narrow[index]);
	uint64_t bitmap = extended ? be64_get(wide[index].bitmap) : 0;

	*ret_extent =
		(struct extent){.len = qcow2_cluster_bytes(qcow2) - qcow2_in_cluster(qcow2, off)};
	if (entry & QCOW2_ENTRY_COMPRESSED)
		return bitmap ? -EUCLEAN : packed_at(qcow2, entry, ret_extent);
	if (extended)
		return subcluster_at(qcow2, entry, bitmap, off, ret_extent);
	return standard_at(qcow2, entry, off, ret_extent);
}
