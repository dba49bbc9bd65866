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

int disk_open(struct delta *delta, struct base *base, uint64_t base_limit_bytes,
	struct disk **ret_disk)
{
	struct disk *disk = calloc(1, sizeof(*disk));

	if (!disk)
		return -ENOMEM;
	disk->delta = delta;
	take_base(disk, base, base_limit_bytes);
	rangelock_init(&disk->changes);
	*ret_disk = disk;
	return 0;
}

static void release(struct disk *disk)
{
	base_release(disk->base);
	rangelock_destroy(&disk->changes);
	free(disk);
}

int disk_close(struct disk *disk)
{
	int rc;

	if (!disk)
		return 0;
	rc = delta_close(disk->delta);
	release(disk);
	return rc;
}

void disk_abandon(struct disk *disk)
{
	if (!disk)
		return;
	delta_abandon(disk->delta);
	release(disk);
}

uint64_t disk_size(const struct disk *disk)
{
	return delta_size(disk->delta);
}

int disk_flush(struct disk *disk)
{
	return delta_flush(disk->delta);
}

bool disk_unsynced(struct disk *disk)
{
	return delta_unsynced(disk->delta);
}

/* The base ends where it ended: base_end stays, so what is uncovered is zeros. */
int disk_grow(struct disk *disk, uint64_t size_bytes)
{
	if (size_bytes % 512 != 0 || size_bytes > DELTA_SIZE_MAX || size_bytes < disk_size(disk))
		return -EINVAL;
	return delta_grow(disk->delta, size_bytes);
}

uint64_t disk_data_bytes(struct disk *disk)
{
	struct delta_stats stats;

	delta_stats(disk->delta, &stats);
	return min_u64(stats.data_blocks * BLOCK + disk->base_data_bytes,
		round_up(disk_size(disk), BLOCK));
}

void disk_delta_stats(struct disk *disk, struct delta_stats *ret_stats)
{
	delta_stats(disk->delta, ret_stats);
}

struct base *disk_base(struct disk *disk)
{
	return disk->base;
}
