/* SPDX-License-Identifier: LGPL-2.1-or-later */
/* Where data and holes begin, found by runs of one owner, never block by block.
 *
 * Answers are in whole blocks: a block with one byte of data is data. QEMU
 * gives up on a hole that begins inside a sector anywhere but at the end.
 */
#include "fs/disk/private.h"

#include <errno.h>

#include "fs/util/round.h"

#define DATA_STEP_BLOCKS 16384

/* count blocks from block on that nobody above the base owns: data or hole, and
 * for how many of them? */
static bool base_run(struct disk *disk, uint64_t block, uint64_t count, uint64_t *ret_run)
{
	uint64_t off = block * BLOCK;
	uint64_t len;
	uint64_t run;

	*ret_run = count;
	if (off >= disk->base_end)
		return false;
	len = min_u64(count * BLOCK, disk->base_end - off);
	if (!base_hole(disk->base, off, len, &run)) {
		*ret_run = min_u64(count, round_up(run, BLOCK) / BLOCK);
		return true;
	}
	if (run >= len) /* nothing but a hole; what lies above base_end is its own run */
		*ret_run = round_up(len, BLOCK) / BLOCK;
	else if (run < BLOCK) /* data begins within this block */
		*ret_run = 1;
	else
		*ret_run = run / BLOCK;
	return run < len && run < BLOCK;
}

/* Who owns block in one delta, and how many from there. It finds a run of zeros
 * or of nothing in one step, but counts data blocks one by one under its lock:
 * so not at all when data is what is sought, else so many at a time. */
static enum delta_owner map_at(struct delta *delta, uint64_t block, uint64_t count,
	bool data_sought, uint64_t *ret_run)
{
	enum delta_owner owner = delta_map(delta, block, 1, ret_run);
	bool data = owner == DELTA_DATA || owner == DELTA_BAD;

	if (data && data_sought)
		return owner;
	return delta_map(delta, block, data ? min_u64(count, DATA_STEP_BLOCKS) : count, ret_run);
}

/* Is block data, and how many from there are alike? */
static bool run_at(struct disk *disk, const struct stack *stack, uint64_t block, uint64_t count,
	bool data_sought, uint64_t *ret_run)
{
	for (uint32_t depth = 0; depth <= stack->n_layers; depth++) {
		uint64_t end = stack_end_block(stack, depth);
		enum delta_owner owner;

		*ret_run = count;
		if (block >= end)
			return false;
		owner = map_at(stack_delta(stack, depth), block, min_u64(count, end - block),
			data_sought, ret_run);
		if (owner != DELTA_ABSENT)
			return owner != DELTA_ZERO;
		count = *ret_run;
	}
	return base_run(disk, block, count, ret_run);
}

int disk_seek(struct disk *disk, uint64_t off, bool data, uint64_t *ret_off)
{
	uint64_t size = disk_size(disk);
	uint64_t blocks = round_up(size, BLOCK) / BLOCK;
	const struct stack *stack = disk_stack(disk);
	uint64_t run;

	if (disk_state(disk) < 0)
		return -EIO;
	if (off >= size)
		return -ENXIO;
	for (uint64_t block = off / BLOCK; block < blocks; block += run) {
		if (run_at(disk, stack, block, blocks - block, data, &run) == data) {
			*ret_off = max_u64(off, block * BLOCK);
			return 0;
		}
	}
	if (data)
		return -ENXIO;
	*ret_off = size;
	return 0;
}
