/* SPDX-License-Identifier: LGPL-2.1-or-later */
/* An elastic pool of threads for requests that have to wait.
 *
 * Jobs come in lanes, one per disk. A lane runs at most a few jobs at a time,
 * fewer when the pool is crowded, and lanes take turns; so a disk whose base
 * hangs takes its share of threads and no more. Order within a lane is not
 * kept: FUSE requests have none.
 */
#ifndef FS_MOUNT_POOL_H
#define FS_MOUNT_POOL_H

#include <stdbool.h>

/* Of a thread's stack only a few pages are ever touched. With every lane at
 * its smallest share, more than 500 disks may hang at the same time before
 * one that does not has to wait for a thread. */
#define POOL_THREADS_MAX 1024
#define POOL_STACK_BYTES (512u << 10)
#define POOL_LANE_MAX 16 /* jobs of one lane at a time, in an uncrowded pool */
#define POOL_IDLE_KEEP 2 /* threads that stay */
#define POOL_IDLE_SEC 10 /* after which others go */

struct pool;

struct pool_job {
	void (*run)(struct pool_job *job); /* frees the job */
	struct pool_job *next;             /* the pool's */
};

/* All the pool's. Starts zeroed; may go after pool_lane_drain(). */
struct pool_lane {
	struct pool_job *first, *last;
	unsigned int running;
	bool ready; /* in the pool's list */
	struct pool_lane *next;
};

int pool_new(struct pool **ret_pool);

/* Run job on a thread of the pool. -EAGAIN: there is no thread and none can be
 * made; the job is still the caller's. */
int pool_submit(struct pool *pool, struct pool_lane *lane, struct pool_job *job);

/* Wait until no job of the lane is queued or running. */
void pool_lane_drain(struct pool *pool, struct pool_lane *lane);

/* The same for all lanes. */
void pool_drain(struct pool *pool);

void pool_free(struct pool *pool); /* drains first; NULL allowed */

#endif
