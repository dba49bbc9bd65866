/* SPDX-License-Identifier: LGPL-2.1-or-later */
/* What a disk is made of. Private to fs/disk; others see disk.h and layer.h. */
#ifndef FS_DISK_PRIVATE_H
#define FS_DISK_PRIVATE_H

#include <errno.h>
#include <stdatomic.h>
#include <stdbool.h>
#include <stdint.h>

#include "fs/base/base.h"
#include "fs/disk/disk.h"
#include "fs/disk/layer.h"
#include "fs/disk/rangelock.h"
#include "fs/store/delta.h"

#define BLOCK ((uint64_t)DELTA_BLOCK_BYTES)

struct layer {
	/* set once, before it is settled */
	struct layer_pool *pool;
	struct id id;
	struct delta *delta;
	uint64_t end_block;   /* from here on it is zeros, whatever lies below */
	uint64_t data_bytes;  /* that it owns */
	uint64_t index_bytes; /* memory */

	uint32_t holds; /* the pool's lock */
	bool settled;   /* the pool's lock; open, and not being closed */
};

/* Who owns a block: the delta, else the first of the layers that does, else
 * the base. A freeze puts a new stack in the place of the old one, whose delta
 * is the new one's first layer: a read that is under way goes on with what it
 * began with. */
struct stack {
	struct stack *older; /* what it replaced; freed with the disk */
	struct delta *delta;
	uint32_t n_layers;
	struct layer *layers[]; /* newest first */
};

struct disk {
	/* Replaced only while the changes are stopped (rangelock.h), at most
	 * once for each layer. */
	_Atomic(struct stack *) stack;

	/* Constant while open. */
	struct base *base;        /* may be NULL */
	uint64_t base_end;        /* bytes: the base owns nothing at or above; 0 without base */
	uint64_t base_data_bytes; /* what the base may hold below base_end */

	atomic_bool failed;  /* nobody knows which stack is the right one */
	struct stack *next;  /* of the one freeze under way: prepared */

	struct rangelock changes;

	pthread_mutex_t upkeep_lock; /* a leaf */
	pthread_cond_t upkeep_over;
	bool upkeep;                 /* upkeep_lock; somebody may write moved blocks */
};

/* Wait for the end of upkeep that is under way, and let none begin. */
void disk_stop_upkeep(struct disk *disk);

struct stack *stack_new(struct delta *delta, uint32_t n_layers);

static inline struct stack *disk_stack(const struct disk *disk)
{
	return atomic_load_explicit(&disk->stack, memory_order_acquire);
}

static inline int disk_state(const struct disk *disk)
{
	return atomic_load_explicit(&disk->failed, memory_order_relaxed) ? -EIO : 0;
}

/* The delta at a depth of the stack: 0 is the one that is written to. */
static inline struct delta *stack_delta(const struct stack *stack, uint32_t depth)
{
	return depth == 0 ? stack->delta : stack->layers[depth - 1]->delta;
}

/* Blocks from here on are zeros for who looks at that depth and below. */
static inline uint64_t stack_end_block(const struct stack *stack, uint32_t depth)
{
	return depth == 0 ? UINT64_MAX : stack->layers[depth - 1]->end_block;
}

/* The base's bytes below base_end, zeros above. */
int disk_read_base(struct disk *disk, void *buf, size_t len, uint64_t off, bool nowait);

/* Present content of one whole block; beyond the disk's end zeros. */
int disk_read_block(struct disk *disk, void *buf, uint64_t block, bool nowait);

#endif
