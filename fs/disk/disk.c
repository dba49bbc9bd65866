/* SPDX-License-Identifier: LGPL-2.1-or-later */
/* A disk's life, its size and its figures. */
#include "fs/disk/private.h"

#include <errno.h>
#include <stdlib.h>

#include "fs/util/round.h"

static void take_base(struct disk *disk, struct base *base, uint64_t base_limit_bytes)
{
	struct base_info info;

	if (!base)
		return;
	base_info(base, &info);
	disk->base = base;
	disk->base_end = min_u64(base_limit_bytes, info.size_bytes);
	disk->base_data_bytes = min_u64(disk->base_end, info.allocated_bytes);
}

struct stack *stack_new(struct delta *delta, uint32_t n_layers)
{
	struct stack *stack = calloc(1, sizeof(*stack) + n_layers * sizeof(struct layer *));

	if (!stack)
		return NULL;
	stack->delta = delta;
	stack->n_layers = n_layers;
	return stack;
}

int disk_open(struct delta *delta, struct layer *const *layers, uint32_t n_layers,
	struct base *base, uint64_t base_limit_bytes, struct disk **ret_disk)
{
	struct disk *disk = calloc(1, sizeof(*disk));
	struct stack *stack = stack_new(delta, n_layers);

	if (!disk || !stack) {
		free(disk);
		free(stack);
		return -ENOMEM;
	}
	for (uint32_t i = 0; i < n_layers; i++)
		stack->layers[i] = layers[i];
	atomic_init(&disk->stack, stack);
	take_base(disk, base, base_limit_bytes);
	rangelock_init(&disk->changes);
	pthread_mutex_init(&disk->upkeep_lock, NULL);
	pthread_cond_init(&disk->upkeep_over, NULL);
	*ret_disk = disk;
	return 0;
}

static void release(struct disk *disk)
{
	struct stack *stack = disk_stack(disk);

	for (uint32_t i = 0; i < stack->n_layers; i++)
		layer_release(stack->layers[i]);
	while (stack) {
		struct stack *older = stack->older;

		free(stack);
		stack = older;
	}
	base_release(disk->base);
	pthread_cond_destroy(&disk->upkeep_over);
	pthread_mutex_destroy(&disk->upkeep_lock);
	rangelock_destroy(&disk->changes);
	free(disk);
}

int disk_close(struct disk *disk)
{
	int rc;

	if (!disk)
		return 0;
	rc = delta_close(disk_stack(disk)->delta);
	release(disk);
	return rc;
}

void disk_abandon(struct disk *disk)
{
	if (!disk)
		return;
	delta_abandon(disk_stack(disk)->delta);
	release(disk);
}

uint64_t disk_size(const struct disk *disk)
{
	return delta_size(disk_stack(disk)->delta);
}

uint32_t disk_layers(const struct disk *disk)
{
	return disk_stack(disk)->n_layers;
}

int disk_flush(struct disk *disk)
{
	int rc = disk_state(disk);

	return rc < 0 ? rc : delta_flush(disk_stack(disk)->delta);
}

bool disk_broken(const struct disk *disk)
{
	return disk_state(disk) < 0 || delta_broken(disk_stack(disk)->delta);
}

bool disk_unsynced(struct disk *disk)
{
	return delta_unsynced(disk_stack(disk)->delta);
}

/* The base ends where it ended, and so does each layer: what is uncovered is
 * zeros. A growth announces itself like a change, of no block that there is, so
 * that a freeze waits for it. */
int disk_grow(struct disk *disk, uint64_t size_bytes)
{
	struct range range = {.first = UINT64_MAX, .last = UINT64_MAX};
	int rc;

	if (size_bytes % 512 != 0 || size_bytes > DELTA_SIZE_MAX || size_bytes < disk_size(disk))
		return -EINVAL;
	rangelock_enter(&disk->changes, &range, false);
	rc = disk_state(disk);
	if (rc == 0)
		rc = delta_grow(disk_stack(disk)->delta, size_bytes);
	rangelock_leave(&disk->changes, &range);
	return rc;
}

uint64_t disk_data_bytes(struct disk *disk)
{
	const struct stack *stack = disk_stack(disk);
	struct delta_stats stats;
	uint64_t bytes;

	delta_stats(stack->delta, &stats);
	bytes = stats.data_blocks * BLOCK + disk->base_data_bytes;
	for (uint32_t i = 0; i < stack->n_layers; i++)
		bytes += stack->layers[i]->data_bytes;
	return min_u64(bytes, round_up(disk_size(disk), BLOCK));
}

bool disk_delta_empty(struct disk *disk)
{
	uint64_t blocks = round_up(disk_size(disk), BLOCK) / BLOCK;
	uint64_t run;

	return delta_map(disk_stack(disk)->delta, 0, blocks, &run) == DELTA_ABSENT &&
	       run == blocks;
}

void disk_delta_stats(struct disk *disk, struct delta_stats *ret_stats)
{
	delta_stats(disk_stack(disk)->delta, ret_stats);
}

struct base *disk_base(struct disk *disk)
{
	return disk->base;
}
