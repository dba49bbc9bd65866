/* SPDX-License-Identifier: LGPL-2.1-or-later */
/* The delta of a disk in use becomes its newest layer: see disk.h, "freezing".
 *
 * What may be lost: nothing. Between stop and go on the disk does not change,
 * and which delta takes the changes after that is decided by whether the
 * manifest was replaced. When nobody knows, the disk serves nothing.
 * tests/unit/fs/disk/test-freeze.c, tests/crash/store-powercut.c.
 */
#include <errno.h>
#include <stdlib.h>

#include "fs/disk/private.h"

int disk_stop(struct disk *disk, unsigned int ms)
{
	int rc = disk_state(disk);

	if (rc < 0)
		return rc;
	disk_stop_upkeep(disk);
	rc = rangelock_stop(&disk->changes, ms);
	if (rc < 0)
		disk_end_upkeep(disk);
	return rc;
}

int disk_prepare(struct disk *disk, struct delta *fresh, struct layer *layer)
{
	struct stack *now = disk_stack(disk);
	struct stack *next = stack_new(fresh, now->n_layers + 1);

	if (!next)
		return -ENOMEM;
	next->layers[0] = layer;
	for (uint32_t i = 0; i < now->n_layers; i++)
		next->layers[i + 1] = now->layers[i];
	next->older = now;
	disk->next = next;
	return 0;
}

void disk_freeze(struct disk *disk)
{
	struct stack *next = disk->next;

	/* The layer first: whoever sees the new stack reads it. */
	layer_adopt(next->layers[0], next->older->delta);
	disk->next = NULL;
	atomic_store_explicit(&disk->stack, next, memory_order_release);
}

void disk_go_on(struct disk *disk)
{
	free(disk->next);
	disk->next = NULL;
	rangelock_go(&disk->changes);
	disk_end_upkeep(disk);
}

void disk_fail(struct disk *disk)
{
	atomic_store(&disk->failed, true);
}
