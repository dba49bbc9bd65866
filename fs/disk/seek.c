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

/* count blocks from block on that the delta does not own: data or hole, and
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

/* Is block data, and how many from there are alike? The delta finds a run of
 * zeros or of nothing in one step, but counts data blocks one by one under its
 * lock: so not at all when data is what is sought, else so many at a time. */
static bool run_at(
	struct disk *disk, uint64_t block, uint64_t count, bool data_sought, uint64_t *ret_run)
{
	enum delta_owner owner = delta_map(disk->delta, block, 1, ret_run);

	if (owner == DELTA_DATA && data_sought)
		return true;
	if (owner == DELTA_DATA)
		count = min_u64(count, DATA_STEP_BLOCKS);
	owner = delta_map(disk->delta, block, count, ret_run);
	if (owner == DELTA_ABSENT)
		return base_run(disk, block, *ret_run, ret_run);
	return owner == DELTA_DATA;
}

int disk_seek(struct disk *disk, uint64_t off, bool data, uint64_t *ret_off)
{
	uint64_t size = disk_size(disk);
	uint64_t blocks = round_up(size, BLOCK) / BLOCK;
	uint64_t run;

	if (off >= size)
		return -ENXIO;
	for (uint64_t block = off / BLOCK; block < blocks; block += run) {
		if (run_at(disk, block, blocks - block, data, &run) == data) {
			*ret_off = max_u64(off, block * BLOCK);
			return 0;
		}
	}
	if (data)
		return -ENXIO;
	*ret_off = size;
	return 0;
}
