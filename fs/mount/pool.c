/* SPDX-License-Identifier: LGPL-2.1-or-later */
/* Elastic pool of threads: see pool.h.
 *
 * A lane is in the ready list exactly when it has a queued job that its share
 * lets run; a thread takes the first lane, one job of it, and puts the lane
 * at the end if it still is ready. When the share shrinks (the pool filled
 * up), a lane may be found in the list with all its share running: it is
 * dropped from the list, and comes back when one of its jobs ends.
 */
#include "fs/mount/pool.h"

#include <errno.h>
#include <pthread.h>
#include <stdlib.h>
#include <time.h>

#include "fs/util/cleanup.h"

struct pool {
	pthread_attr_t thread_attr;
	pthread_mutex_t lock;
	pthread_cond_t work;   /* a lane became ready, or stopping */
	pthread_cond_t change; /* a lane, the jobs or the threads became none */
	struct pool_lane *first, *last; /* ready lanes; all from here under lock */
	unsigned int n_ready;
	unsigned int jobs; /* queued or running */
	unsigned int running;
	unsigned int idle;
	unsigned int threads;
	bool stopping;
};

static unsigned int share(const struct pool *pool)
{
	if (pool->running >= POOL_SHARED_THREADS)
		return 1;
	return 1 + (POOL_SHARED_THREADS - pool->running) / POOL_SHARE_DIVISOR;
}

static void make_ready_locked(struct pool *pool, struct pool_lane *lane)
{
	if (lane->ready || !lane->first || lane->running >= share(pool))
		return;
	lane->ready = true;
	lane->next = NULL;
	if (pool->last)
		pool->last->next = lane;
	else
		pool->first = lane;
	pool->last = lane;
	pool->n_ready++;
}

static struct pool_lane *next_lane_locked(struct pool *pool)
{
	struct pool_lane *lane;

	while ((lane = pool->first)) {
		pool->first = lane->next;
		if (!pool->first)
			pool->last = NULL;
		pool->n_ready--;
		lane->ready = false;
		if (lane->running < share(pool))
			return lane;
	}
	return NULL;
}

static void push_locked(struct pool_lane *lane, struct pool_job *job)
{
	job->next = NULL;
	if (lane->last)
		lane->last->next = job;
	else
		lane->first = job;
	lane->last = job;
}

static struct pool_job *pop_locked(struct pool_lane *lane)
{
	struct pool_job *job = lane->first;

	lane->first = job->next;
	if (!lane->first)
		lane->last = NULL;
	return job;
}

static void *run_thread(void *arg);

/* A thread for the ready lane nobody is idle to take. */
static void grow_locked(struct pool *pool)
{
	pthread_t thread;

	if (pool->n_ready <= pool->idle || pool->threads >= POOL_THREADS_MAX)
		return;
	if (pthread_create(&thread, &pool->thread_attr, run_thread, pool) == 0)
		pool->threads++;
}

static void run_job_locked(struct pool *pool, struct pool_lane *lane)
{
	struct pool_job *job = pop_locked(lane);

	lane->running++;
	pool->running++;
	make_ready_locked(pool, lane);
	grow_locked(pool);
	if (pool->first)
		pthread_cond_signal(&pool->work);
	pthread_mutex_unlock(&pool->lock);
	job->run(job);
	pthread_mutex_lock(&pool->lock);
	pool->jobs--;
	pool->running--;
	lane->running--;
	make_ready_locked(pool, lane);
	if (lane->running == 0)
		pthread_cond_broadcast(&pool->change);
}

/* False: nothing came for long enough, this thread may go. */
static bool wait_locked(struct pool *pool)
{
	struct timespec until;
	int rc;

	clock_gettime(CLOCK_MONOTONIC, &until);
	until.tv_sec += POOL_IDLE_SEC;
	pool->idle++;
	rc = pthread_cond_timedwait(&pool->work, &pool->lock, &until);
	pool->idle--;
	return rc != ETIMEDOUT || pool->first || pool->idle < POOL_IDLE_KEEP;
}

static void *run_thread(void *arg)
{
	struct pool *pool = arg;
	SCOPED_LOCK(&pool->lock);

	for (;;) {
		struct pool_lane *lane = next_lane_locked(pool);

		if (lane)
			run_job_locked(pool, lane);
		else if (pool->stopping || !wait_locked(pool))
			break;
	}
	if (--pool->threads == 0)
		pthread_cond_broadcast(&pool->change);
	return NULL;
}

int pool_new(struct pool **ret_pool)
{
	struct pool *pool = calloc(1, sizeof(*pool));
	pthread_condattr_t monotonic;

	if (!pool)
		return -ENOMEM;
	pthread_mutex_init(&pool->lock, NULL);
	pthread_cond_init(&pool->change, NULL);
	pthread_condattr_init(&monotonic);
	pthread_condattr_setclock(&monotonic, CLOCK_MONOTONIC);
	pthread_cond_init(&pool->work, &monotonic);
	pthread_condattr_destroy(&monotonic);
	pthread_attr_init(&pool->thread_attr);
	pthread_attr_setstacksize(&pool->thread_attr, POOL_STACK_BYTES);
	pthread_attr_setdetachstate(&pool->thread_attr, PTHREAD_CREATE_DETACHED);
	*ret_pool = pool;
	return 0;
}

int pool_submit(struct pool *pool, struct pool_lane *lane, struct pool_job *job)
{
	SCOPED_LOCK(&pool->lock);

	push_locked(lane, job);
	pool->jobs++;
	make_ready_locked(pool, lane);
	grow_locked(pool);
	if (pool->threads == 0) {
		/* Without a thread nothing else is queued: ours is the only job. */
		pop_locked(lane);
		next_lane_locked(pool);
		pool->jobs--;
		return -EAGAIN;
	}
	pthread_cond_signal(&pool->work);
	return 0;
}

void pool_lane_drain(struct pool *pool, struct pool_lane *lane)
{
	SCOPED_LOCK(&pool->lock);

	while (lane->first || lane->running > 0)
		pthread_cond_wait(&pool->change, &pool->lock);
}

void pool_drain(struct pool *pool)
{
	SCOPED_LOCK(&pool->lock);

	while (pool->jobs > 0)
		pthread_cond_wait(&pool->change, &pool->lock);
}

static void end_threads(struct pool *pool)
{
	SCOPED_LOCK(&pool->lock);

	pool->stopping = true;
	pthread_cond_broadcast(&pool->work);
	while (pool->threads > 0)
		pthread_cond_wait(&pool->change, &pool->lock);
}

void pool_free(struct pool *pool)
{
	if (!pool)
		return;
	pool_drain(pool);
	end_threads(pool);
	pthread_attr_destroy(&pool->thread_attr);
	pthread_cond_destroy(&pool->work);
	pthread_cond_destroy(&pool->change);
	pthread_mutex_destroy(&pool->lock);
	free(pool);
}
