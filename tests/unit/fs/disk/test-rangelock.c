/* SPDX-License-Identifier: LGPL-2.1-or-later */
/* The range lock: what waits for what, in which order, and that nobody starves. */
#include <assert.h>
#include <errno.h>
#include <pthread.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stdatomic.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>

#include <cmocka.h>

#include "fs/disk/rangelock.h"
#include "tests/lib/rng.h"
#include "tests/lib/scratch.h"

static struct rangelock rl;

static int set_up(void **state)
{
	rangelock_init(&rl);
	return 0;
}

static int tear_down(void **state)
{
	rangelock_destroy(&rl);
	return 0;
}

#define WHOLE(a, b) ((struct range){.first = (a), .last = (b)})
#define HEAD(a, b) ((struct range){.first = (a), .last = (b), .head_partial = true})
#define TAIL(a, b) ((struct range){.first = (a), .last = (b), .tail_partial = true})
#define BOTH(a, b)                                                                                 \
	((struct range){.first = (a), .last = (b), .head_partial = true, .tail_partial = true})

/* Does b wait while a runs? And the other way round: it must be the same. */
static bool excludes(struct range a, struct range b)
{
	struct range *order[2] = {&a, &b};
	int rc[2];

	for (int i = 0; i < 2; i++) {
		assert_int_equal(rangelock_enter(&rl, order[i], true), 0);
		rc[i] = rangelock_enter(&rl, order[1 - i], true);
		if (rc[i] == 0)
			rangelock_leave(&rl, order[1 - i]);
		rangelock_leave(&rl, order[i]);
	}
	assert_int_equal(rc[0], rc[1]);
	assert_true(rc[0] == 0 || rc[0] == -EAGAIN);
	return rc[0] == -EAGAIN;
}

static void test_who_excludes_whom(void **state)
{
	assert_false(excludes(WHOLE(0, 9), WHOLE(5, 5)));
	assert_true(excludes(HEAD(5, 5), WHOLE(0, 9)));
	assert_true(excludes(HEAD(5, 9), WHOLE(0, 5)));
	assert_false(excludes(HEAD(5, 9), WHOLE(0, 4)));
	assert_false(excludes(HEAD(5, 9), WHOLE(6, 9)));
	assert_true(excludes(TAIL(5, 9), WHOLE(9, 20)));
	assert_false(excludes(TAIL(5, 9), WHOLE(5, 8)));
	assert_true(excludes(HEAD(7, 7), TAIL(7, 7)));
	assert_true(excludes(TAIL(0, 7), HEAD(7, 9)));
	assert_true(excludes(BOTH(0, 9), HEAD(9, 9)));
	assert_true(excludes(BOTH(3, 9), WHOLE(0, UINT64_MAX)));
	assert_false(excludes(BOTH(0, 9), WHOLE(1, 8)));
	assert_true(excludes(BOTH(0, 9), TAIL(2, 5)));
}

struct visitor {
	struct range range;
	pthread_t thread;
	_Atomic bool in;
};

static void *visit(void *arg)
{
	struct visitor *v = arg;

	assert(rangelock_enter(&rl, &v->range, false) == 0);
	atomic_store(&v->in, true);
	return NULL;
}

static uint32_t waiting(void)
{
	uint32_t n;

	pthread_mutex_lock(&rl.lock);
	n = rl.waiting;
	pthread_mutex_unlock(&rl.lock);
	return n;
}

static void start(struct visitor *v, struct range range)
{
	v->range = range;
	atomic_store(&v->in, false);
	pthread_create(&v->thread, NULL, visit, v);
}

/* A whole-block change that comes after a waiting partial one waits as well:
 * else a stream of them would keep the partial one out for ever. */
static void test_order_of_arrival(void **state)
{
	struct range first = WHOLE(5, 5);
	struct visitor partial;
	struct visitor whole;
	struct range beside = WHOLE(6, 6);

	assert_int_equal(rangelock_enter(&rl, &first, false), 0);
	start(&partial, HEAD(5, 5));
	WAIT_UNTIL(waiting() == 1);
	start(&whole, WHOLE(5, 9));
	WAIT_UNTIL(waiting() == 2);
	assert_int_equal(rangelock_enter(&rl, &beside, true), 0);
	rangelock_leave(&rl, &beside);
	rangelock_leave(&rl, &first);
	WAIT_UNTIL(atomic_load(&partial.in));
	assert_false(atomic_load(&whole.in));
	assert_int_equal(waiting(), 1);
	pthread_join(partial.thread, NULL);
	rangelock_leave(&rl, &partial.range);
	WAIT_UNTIL(atomic_load(&whole.in));
	pthread_join(whole.thread, NULL);
	rangelock_leave(&rl, &whole.range);
	assert_null(rl.oldest);
	assert_null(rl.newest);
	assert_int_equal(rl.partial, 0);
}

/* ---- many threads: a partial range has its edge blocks for itself ---- */

#define BLOCKS 16
#define THREADS 4
#define ROUNDS 3000

static _Atomic int users[BLOCKS];   /* changes that touch the block */
static _Atomic int mergers[BLOCKS]; /* of them, those that cover it in part */

static bool is_partial(const struct range *r, uint64_t block)
{
	return (r->head_partial && block == r->first) || (r->tail_partial && block == r->last);
}

static void use(const struct range *r)
{
	for (uint64_t b = r->first; b <= r->last; b++) {
		atomic_fetch_add(&users[b], 1);
		atomic_fetch_add(&mergers[b], is_partial(r, b));
	}
	for (uint64_t b = r->first; b <= r->last; b++)
		assert(atomic_load(&mergers[b]) == 0 || atomic_load(&users[b]) == 1);
	for (uint64_t b = r->first; b <= r->last; b++) {
		atomic_fetch_sub(&mergers[b], is_partial(r, b));
		atomic_fetch_sub(&users[b], 1);
	}
}

static void *change(void *arg)
{
	uint64_t random = (uint64_t)(uintptr_t)arg;

	for (int i = 0; i < ROUNDS; i++) {
		uint64_t first = rng_below(&random, BLOCKS);
		uint64_t kind = rng_next(&random);
		struct range r = {
			.first = first,
			.last = first + rng_below(&random, BLOCKS - first),
			.head_partial = kind & 1,
			.tail_partial = kind & 2,
		};

		if (rangelock_enter(&rl, &r, kind & 4) < 0)
			continue;
		use(&r);
		rangelock_leave(&rl, &r);
	}
	return NULL;
}

static void test_threads(void **state)
{
	uint64_t seed = rng_seed();
	pthread_t threads[THREADS];

	print_message("SEED=%llu\n", (unsigned long long)seed);
	for (int i = 0; i < THREADS; i++)
		pthread_create(&threads[i], NULL, change, (void *)(uintptr_t)(seed + (uint64_t)i));
	for (int i = 0; i < THREADS; i++)
		pthread_join(threads[i], NULL);
	assert_null(rl.oldest);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test_setup_teardown(test_who_excludes_whom, set_up, tear_down),
		cmocka_unit_test_setup_teardown(test_order_of_arrival, set_up, tear_down),
		cmocka_unit_test_setup_teardown(test_threads, set_up, tear_down),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
