/* SPDX-License-Identifier: LGPL-2.1-or-later */
/* Upkeep of a disk's delta beside its freezes, and checking all of a stack. */
#include <errno.h>

#include "fs/disk/private.h"
#include "fs/store/verify.h"
#include "fs/util/cleanup.h"
#include "fs/util/round.h"

struct delta *disk_begin_upkeep(struct disk *disk)
{
	SCOPED_LOCK(&disk->upkeep_lock);

	if (disk->upkeep || disk_state(disk) < 0)
		return NULL;
	disk->upkeep = true;
	return disk_stack(disk)->delta;
}

void disk_end_upkeep(struct disk *disk)
{
	SCOPED_LOCK(&disk->upkeep_lock);

	disk->upkeep = false;
	pthread_cond_broadcast(&disk->upkeep_over);
}

void disk_stop_upkeep(struct disk *disk)
{
	SCOPED_LOCK(&disk->upkeep_lock);

	while (disk->upkeep)
		pthread_cond_wait(&disk->upkeep_over, &disk->upkeep_lock);
	disk->upkeep = true;
}

/* A freeze or a growth between two slices only moves a place back. */
int disk_verify(struct disk *disk, uint64_t from, uint64_t max_blocks,
	struct disk_verified *ret_verified)
{
	const struct stack *stack = disk_stack(disk);
	uint64_t span = round_up(disk_size(disk), BLOCK) / BLOCK;
	uint32_t depth = (uint32_t)min_u64(from / span, stack->n_layers + 1);
	struct delta_verified slice = {.next_block = 0};
	struct delta *delta;
	uint64_t block = from - depth * span;
	int rc = disk_state(disk);

	if (depth > stack->n_layers)
		rc = -EINVAL;
	if (rc < 0)
		return rc;
	delta = stack_delta(stack, depth);
	*ret_verified = (struct disk_verified){.next = (depth + 1) * span,
		.end = (stack->n_layers + 1) * span};
	if (block >= round_up(delta_size(delta), BLOCK) / BLOCK)
		return 0;
	rc = delta_verify(delta, block, max_blocks, &slice);
	if (rc < 0)
		return rc;
	ret_verified->data_blocks = slice.data_blocks;
	ret_verified->bad_blocks = slice.bad_blocks;
	if (slice.next_block < slice.end_block)
		ret_verified->next = depth * span + slice.next_block;
	return 0;
}
