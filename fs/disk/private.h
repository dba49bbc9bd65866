/* SPDX-License-Identifier: LGPL-2.1-or-later */
/* What a disk is made of. Private to fs/disk; others see disk.h. */
#ifndef FS_DISK_PRIVATE_H
#define FS_DISK_PRIVATE_H

#include <stdbool.h>
#include <stdint.h>

#include "fs/base/base.h"
#include "fs/disk/disk.h"
#include "fs/disk/rangelock.h"
#include "fs/store/delta.h"

#define BLOCK ((uint64_t)DELTA_BLOCK_BYTES)

struct disk {
	/* Constant while open. */
	struct delta *delta;
	struct base *base;        /* may be NULL */
	uint64_t base_end;        /* bytes: the base owns nothing at or above; 0 without base */
	uint64_t base_data_bytes; /* what the base may hold below base_end */

	struct rangelock changes;
};

/* The base's bytes below base_end, zeros above. */
int disk_read_base(struct disk *disk, void *buf, size_t len, uint64_t off, bool nowait);

/* Present content of one whole block; beyond the disk's end zeros. */
int disk_read_block(struct disk *disk, void *buf, uint64_t block, bool nowait);

#endif
