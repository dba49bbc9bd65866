/* SPDX-License-Identifier: LGPL-2.1-or-later */
/* The pool: every job runs once, lanes do not starve each other, threads come and go. */
#include <errno.h>
#include <pthread.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stdatomic.h>
#include <stddef.h>
#include <stdint.h>
#include <stdlib.h>

#include <cmocka.h>

#include "fs/mount/pool.h"
#include "fs/util/cleanup.h"

/* A gate that jobs wait at. */
struct gate {
	pthread_mutex_t lock;
	pthread_cond_t change;
	bool open;           /* lock */
	unsigned int inside; /* lock; jobs that wait */
	atomic_uint done;
};

struct job {
	struct pool_job job;
	struct gate *gate;
	bool waits;
};

static void gate_init(struct gate *gate)
{
	*gate = (struct gate){0};
	pthread_mutex_init(&gate->lock, NULL);
	pthread_cond_init(&gate->change, NULL);
}

static void gate_open(struct gate *gate)
{
	SCOPED_LOCK(&gate->lock);

	gate->open = true;
	pthread_cond_broadcast(&gate->change);
}

static void gate_wait_inside(struct gate *gate, unsigned int n)
{
	SCOPED_LOCK(&gate->lock);

	while (gate->inside < n)
		pthread_cond_wait(&gate->change, &gate->lock);
}

static void run(struct pool_job *pool_job)
{
	struct job *job = (struct job *)pool_job;
	struct gate *gate = job->gate;

	if (job->waits) {
		SCOPED_LOCK(&gate->lock);

		gate->inside++;
		pthread_cond_broadcast(&gate->change);
		while (!gate->open)
			pthread_cond_wait(&gate->change, &gate->lock);
	}
	free(job);
	atomic_fetch_add(&gate->done, 1);
}

static void submit(struct pool *pool, struct pool_lane *lane, struct gate *gate, bool waits)
{
	struct job *job = calloc(1, sizeof(*job));

	assert_non_null(job);
	*job = (struct job){.job.run = run, .gate = gate, .waits = waits};
	assert_int_equal(pool_submit(pool, lane, &job->job), 0);
}

static void test_every_job_runs_once(void **state)
{
	enum { LANES = 7, JOBS = 5000 };
	struct pool_lane lane[LANES] = {0};
	struct gate gate;
	struct pool *pool;

	gate_init(&gate);
	assert_int_equal(pool_new(&pool), 0);
	for (int i = 0; i < JOBS; i++)
		submit(pool, &lane[i % LANES], &gate, false);
	pool_drain(pool);
	assert_int_equal(atomic_load(&gate.done), JOBS);
	pool_free(pool);
}

static void test_a_stuck_lane_stops_no_other(void **state)
{
	struct pool_lane stuck = {0}, lively = {0};
	struct gate closed, open;
	struct pool *pool;

	gate_init(&closed);
	gate_init(&open);
	assert_int_equal(pool_new(&pool), 0);
	/* Many more than its share. */
	for (int i = 0; i < 2 * POOL_THREADS_MAX; i++)
		submit(pool, &stuck, &closed, true);
	for (int i = 0; i < 100; i++)
		submit(pool, &lively, &open, false);
	pool_lane_drain(pool, &lively);
	assert_int_equal(atomic_load(&open.done), 100);
	assert_int_equal(atomic_load(&closed.done), 0);
	gate_open(&closed);
	pool_drain(pool);
	assert_int_equal(atomic_load(&closed.done), 2 * POOL_THREADS_MAX);
	pool_free(pool);
}

static void test_many_stuck_lanes_leave_threads(void **state)
{
	enum { LANES = POOL_SHARED_THREADS - 12, JOBS = 70 };
	struct pool_lane stuck[LANES] = {0}, lively = {0};
	struct gate closed, open;
	struct pool *pool;

	gate_init(&closed);
	gate_init(&open);
	assert_int_equal(pool_new(&pool), 0);
	for (int i = 0; i < LANES; i++)
		for (int j = 0; j < JOBS; j++)
			submit(pool, &stuck[i], &closed, true);
	gate_wait_inside(&closed, LANES);
	submit(pool, &lively, &open, false);
	pool_lane_drain(pool, &lively);
	assert_int_equal(atomic_load(&open.done), 1);
	gate_open(&closed);
	pool_free(pool);
	assert_int_equal(atomic_load(&closed.done), LANES * JOBS);
}

static void test_an_unused_pool_goes_quietly(void **state)
{
	struct pool_lane lane = {0};
	struct pool *pool;

	assert_int_equal(pool_new(&pool), 0);
	pool_lane_drain(pool, &lane);
	pool_drain(pool);
	pool_free(pool);
	pool_free(NULL);
}

struct submitter {
	struct pool *pool;
	struct gate *gate;
};

static void *submit_many(void *arg)
{
	const struct submitter *from = arg;
	/* A lane may go as soon as it is drained: it is on this stack. */
	for (int round = 0; round < 200; round++) {
		struct pool_lane lane = {0};

		for (int i = 0; i < 5; i++)
			submit(from->pool, &lane, from->gate, false);
		pool_lane_drain(from->pool, &lane);
	}
	return NULL;
}

static void test_lanes_come_and_go_under_load(void **state)
{
	pthread_t thread[4];
	struct gate gate;
	struct submitter from = {.gate = &gate};

	gate_init(&gate);
	assert_int_equal(pool_new(&from.pool), 0);
	for (int i = 0; i < 4; i++)
		assert_int_equal(pthread_create(&thread[i], NULL, submit_many, &from), 0);
	for (int i = 0; i < 4; i++)
		pthread_join(thread[i], NULL);
	pool_free(from.pool);
	assert_int_equal(atomic_load(&gate.done), 4 * 200 * 5);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(test_every_job_runs_once),
		cmocka_unit_test(test_a_stuck_lane_stops_no_other),
		cmocka_unit_test(test_many_stuck_lanes_leave_threads),
		cmocka_unit_test(test_an_unused_pool_goes_quietly),
		cmocka_unit_test(test_lanes_come_and_go_under_load),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
