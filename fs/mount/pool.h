/* SPDX-License-Identifier: LGPL-2.1-or-later */
/* An elastic pool of threads for requests that have to wait.
 *
 * Jobs come in lanes, some per disk: what waits for a base must not stand in
 * the way of what does not. A lane runs at most its share of jobs at a time,
 * which shrinks to one as half of the threads get busy; the other half is
 * kept for one job of a lane each. So a lane alone has some sixty threads, and
 * more than 500 lanes may hang before one that does not has to wait. Lanes
 * take turns. Order within a lane is not kept: FUSE requests have none.
 */
#ifndef FS_MOUNT_POOL_H
#define FS_MOUNT_POOL_H

#include <stdbool.h>

#define POOL_THREADS_MAX 1024
#define POOL_STACK_BYTES (512u << 10) /* of which a few pages are ever touched */
#define POOL_SHARED_THREADS (POOL_THREADS_MAX / 2)
#define POOL_SHARE_DIVISOR 8
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
