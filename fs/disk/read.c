/* SPDX-License-Identifier: LGPL-2.1-or-later */
/* Reading: cut a range into runs of one owner, ask each owner once.
 *
 * The delta says who owns the next run and fills it if it is its own; a run
 * that it does not own is put to the layer below as a whole, and so on. Runs
 * that the base owns are not read at once but collected, so that partial
 * blocks at the edges and what lies between them become one read.
 */
#include "fs/disk/private.h"

#include <errno.h>
#include <string.h>

#include "fs/util/round.h"

/* One disk_read under way. */
struct reading {
	struct disk *disk;
	const struct stack *stack;
	char *buf;
	uint64_t off;      /* of buf in the disk */
	uint64_t done;     /* all below is decided: read, or collected */
	uint64_t from_base; /* [from_base, done) is the base's and not read yet */
	bool nowait;
};

int disk_read_base(struct disk *disk, void *buf, size_t len, uint64_t off, bool nowait)
{
	size_t below = 0;
	int rc = 0;

	if (off < disk->base_end)
		below = (size_t)min_u64(len, disk->base_end - off);
	if (below > 0)
		rc = base_read(disk->base, buf, below, off, nowait);
	if (rc == 0)
		memset((char *)buf + below, 0, len - below);
	return rc;
}

/* The run at block, of at most count blocks, as the delta at that depth has it:
 * its length, or -errno. What lies beyond the end of a layer is zeros. */
static int read_depth(const struct stack *stack, uint32_t depth, char *buf, uint64_t count,
	uint64_t block, bool nowait, enum delta_owner *ret_owner)
{
	uint64_t end = stack_end_block(stack, depth);
	int n;

	if (block >= end) {
		memset(buf, 0, count * BLOCK);
		*ret_owner = DELTA_ZERO;
		return (int)count;
	}
	n = delta_read(stack_delta(stack, depth), buf, (uint32_t)min_u64(count, end - block),
		block, nowait, ret_owner);
	return n > 0 && *ret_owner == DELTA_BAD ? -EIO : n;
}

/* One block: the first of the stack that owns it. DELTA_ABSENT: the base. */
static int read_stacked(const struct stack *stack, char *buf, uint64_t block, bool nowait,
	enum delta_owner *ret_owner)
{
	int n = 0;

	*ret_owner = DELTA_ABSENT;
	for (uint32_t depth = 0; *ret_owner == DELTA_ABSENT && depth <= stack->n_layers; depth++) {
		n = read_depth(stack, depth, buf, 1, block, nowait, ret_owner);
		if (n < 0)
			return n;
	}
	return 0;
}

int disk_read_block(struct disk *disk, void *buf, uint64_t block, bool nowait)
{
	enum delta_owner owner;
	int rc = read_stacked(disk_stack(disk), buf, block, nowait, &owner);

	if (rc < 0)
		return rc;
	if (owner == DELTA_ABSENT)
		return disk_read_base(disk, buf, BLOCK, block * BLOCK, nowait);
	return 0;
}

static char *at(struct reading *r, uint64_t off)
{
	return r->buf + (off - r->off);
}

/* Read what is collected. */
static int read_collected(struct reading *r)
{
	int rc = 0;

	if (r->from_base < r->done)
		rc = disk_read_base(r->disk, at(r, r->from_base), r->done - r->from_base,
			r->from_base, r->nowait);
	r->from_base = r->done;
	return rc;
}

/* The next len bytes are decided. Collected are those the base owns. */
static int decide(struct reading *r, uint64_t len, enum delta_owner owner)
{
	int rc = 0;

	if (owner != DELTA_ABSENT) {
		rc = read_collected(r);
		r->from_base = r->done + len;
	}
	r->done += len;
	return rc;
}

/* Less than a block: through a block of our own. */
static int read_edge(struct reading *r, uint64_t end)
{
	char block[DELTA_BLOCK_BYTES];
	uint64_t skip = r->done % BLOCK;
	uint64_t len = min_u64(BLOCK - skip, end - r->done);
	enum delta_owner owner;
	int rc = read_stacked(r->stack, block, r->done / BLOCK, r->nowait, &owner);

	if (rc < 0)
		return rc;
	if (owner != DELTA_ABSENT)
		memcpy(at(r, r->done), block + skip, len);
	return decide(r, len, owner);
}

/* The next count blocks, which nobody above that depth owns. */
static int read_below(struct reading *r, uint32_t depth, uint64_t count)
{
	if (depth > r->stack->n_layers)
		return decide(r, count * BLOCK, DELTA_ABSENT);
	while (count > 0) {
		enum delta_owner owner;
		int n = read_depth(r->stack, depth, at(r, r->done), count, r->done / BLOCK,
			r->nowait, &owner);
		int rc = n;

		if (n > 0)
			rc = owner == DELTA_ABSENT ? read_below(r, depth + 1, (uint64_t)n)
						   : decide(r, (uint64_t)n * BLOCK, owner);
		if (rc < 0)
			return rc;
		count -= (uint64_t)n;
	}
	return 0;
}

static int read_blocks(struct reading *r, uint64_t end)
{
	return read_below(r, 0, min_u64((end - r->done) / BLOCK, DELTA_BLOCKS_MAX));
}

int disk_read(struct disk *disk, void *buf, size_t len, uint64_t off, unsigned int flags)
{
	struct reading r = {
		.disk = disk,
		.stack = disk_stack(disk),
		.buf = buf,
		.off = off,
		.done = off,
		.from_base = off,
		.nowait = flags & DISK_NOWAIT,
	};
	uint64_t end = off + len;
	int rc = disk_state(disk);

	if (outside(off, len, disk_size(disk)))
		rc = -EINVAL;
	if (rc < 0)
		return rc;
	while (r.done < end) {
		bool whole = r.done % BLOCK == 0 && end - r.done >= BLOCK;

		rc = whole ? read_blocks(&r, end) : read_edge(&r, end);
		if (rc < 0)
			return rc;
	}
	return read_collected(&r);
}
