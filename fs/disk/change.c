/* SPDX-License-Identifier: LGPL-2.1-or-later */
/* Writing and zeroing: whole blocks go to the delta as they are, partial ones are merged.
 *
 * Only the first and the last block can be partial. Both are read before
 * anything is written, so that a base that cannot be read, or must be waited
 * for, leaves the disk as it was. What lies between goes from the caller's
 * buffer straight to the delta: nothing is allocated, little is copied.
 */
#include "fs/disk/private.h"

#include <errno.h>
#include <string.h>

#include "fs/util/round.h"

/* One change under way: len bytes of data, or of zeros if data is NULL. */
struct change {
	struct disk *disk;
	struct delta *delta; /* stays the disk's as long as the change is announced */
	const char *data;
	uint64_t len;
	uint64_t off;
	struct range range;
	/* Merged content of the head and, right behind it, of the tail. */
	char edge[2][DELTA_BLOCK_BYTES];
};

static int put_blocks(struct delta *delta, const char *data, uint64_t block, uint64_t count)
{
	int rc = 0;

	if (!data)
		return count > 0 ? delta_zero(delta, block, count) : 0;
	while (rc == 0 && count > 0) {
		uint32_t n = (uint32_t)min_u64(count, DELTA_BLOCKS_MAX);

		rc = delta_write(delta, data, n, block);
		data += n * BLOCK;
		block += n;
		count -= n;
	}
	return rc;
}

/* Read block and lay over it what of the change falls into it. */
static int merge(struct change *c, char *edge, uint64_t block, bool nowait)
{
	uint64_t from = max_u64(c->off, block * BLOCK);
	uint64_t end = min_u64(c->off + c->len, (block + 1) * BLOCK);
	int rc = disk_read_block(c->disk, edge, block, nowait);

	if (rc < 0)
		return rc;
	if (c->data)
		memcpy(edge + from % BLOCK, c->data + (from - c->off), end - from);
	else
		memset(edge + from % BLOCK, 0, end - from);
	return 0;
}

/* First block partial, last block partial or both, and not the same block. */
static int put_with_edges(struct change *c)
{
	const struct range *r = &c->range;
	uint64_t first = r->first + r->head_partial;
	uint64_t limit = r->last + 1 - r->tail_partial;
	const char *middle = c->data ? c->data + (first * BLOCK - c->off) : NULL;
	int rc = 0;

	if (r->head_partial && r->tail_partial && first == limit)
		return delta_write(c->delta, c->edge, 2, r->first);
	if (r->head_partial)
		rc = delta_write(c->delta, c->edge[0], 1, r->first);
	if (rc == 0)
		rc = put_blocks(c->delta, middle, first, limit - first);
	if (rc == 0 && r->tail_partial)
		rc = delta_write(c->delta, c->edge[1], 1, r->last);
	return rc;
}

static int make_partial(struct change *c, bool nowait)
{
	const struct range *r = &c->range;
	int rc = 0;

	if (r->first == r->last) {
		rc = merge(c, c->edge[0], r->first, nowait);
		return rc < 0 ? rc : delta_write(c->delta, c->edge[0], 1, r->first);
	}
	if (r->head_partial)
		rc = merge(c, c->edge[0], r->first, nowait);
	if (rc == 0 && r->tail_partial)
		rc = merge(c, c->edge[1], r->last, nowait);
	return rc < 0 ? rc : put_with_edges(c);
}

static int make_change(struct disk *disk, const char *data, uint64_t len, uint64_t off, bool nowait)
{
	struct change c;
	bool partial;
	int rc;

	if (outside(off, len, disk_size(disk)))
		return -EINVAL;
	if (len == 0)
		return 0;
	c.disk = disk;
	c.data = data;
	c.len = len;
	c.off = off;
	c.range.first = off / BLOCK;
	c.range.last = (off + len - 1) / BLOCK;
	c.range.head_partial = off % BLOCK != 0;
	c.range.tail_partial = (off + len) % BLOCK != 0;
	partial = c.range.head_partial || c.range.tail_partial;
	rc = rangelock_enter(&disk->changes, &c.range, nowait);
	if (rc < 0)
		return rc;
	/* Both only now: a freeze may just have ended. */
	c.delta = disk_stack(disk)->delta;
	rc = disk_state(disk);
	if (rc == 0)
		rc = partial ? make_partial(&c, nowait)
			     : put_blocks(c.delta, data, c.range.first, len / BLOCK);
	rangelock_leave(&disk->changes, &c.range);
	return rc;
}

int disk_write(struct disk *disk, const void *buf, size_t len, uint64_t off, unsigned int flags)
{
	return make_change(disk, buf, len, off, flags & DISK_NOWAIT);
}

int disk_zero(struct disk *disk, uint64_t len, uint64_t off, unsigned int flags)
{
	return make_change(disk, NULL, len, off, flags & DISK_NOWAIT);
}
