/* SPDX-License-Identifier: LGPL-2.1-or-later */
/* Cleaning beside guests: interleavings that are forced. */
#include <pthread.h>
#include <sched.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stdatomic.h>
#include <stddef.h>
#include <stdint.h>
#include <string.h>
#include <unistd.h>

#include <cmocka.h>

#include "fs/store/handle.h"
#include "fs/util/cleanup.h"
#include "tests/lib/batch.h"
#include "tests/lib/churn.h"
#include "tests/lib/saboteur.h"

#define B DELTA_BLOCK_BYTES

/* ---- beside others ---- */

/* A cleaner of its own thread, which the gate stops at its nth call of a kind. */
struct held {
	struct saboteur sab;
	struct delta *delta;
	pthread_t thread;
	atomic_bool is_cleaner_known, there, go;
	enum sabotaged_call call;
	unsigned int nth;
	unsigned int seen; /* by the cleaner's thread alone */
	int rc;
};

static _Thread_local bool is_cleaner;

static void stop_cleaner(void *ctx, enum sabotaged_call call)
{
	struct held *held = ctx;

	if (!is_cleaner || call != held->call || ++held->seen != held->nth)
		return;
	atomic_store(&held->there, true);
	while (!atomic_load(&held->go))
		sched_yield();
}

static void *cleaner_main(void *arg)
{
	struct held *held = arg;
	uint64_t moved;

	is_cleaner = true;
	do
		held->rc = delta_clean(held->delta, CHURN_BUDGET, &moved);
	while (held->rc > 0);
	atomic_store(&held->there, true);
	return NULL;
}

static void held_open(struct held *held)
{
	saboteur_init(&held->sab, &io_kernel);
	held->sab.hook = stop_cleaner;
	held->sab.hook_ctx = held;
	held->delta = onedelta_open(&held->sab.gate);
}

static void held_begin(struct held *held, enum sabotaged_call call, unsigned int nth)
{
	held->call = call;
	held->nth = nth;
	held->seen = 0;
	atomic_store(&held->there, false);
	atomic_store(&held->go, false);
	churn_force(held->delta);
	assert_int_equal(pthread_create(&held->thread, NULL, cleaner_main, held), 0);
	while (!atomic_load(&held->there))
		sched_yield();
}

/* True if it was stopped, and did not merely end. */
static bool held_end(struct held *held)
{
	atomic_store(&held->go, true);
	pthread_join(held->thread, NULL);
	assert_true(held->rc >= 0);
	return held->seen >= held->nth;
}

static bool is_leading(struct delta *delta)
{
	SCOPED_LOCK(&delta->log.lock);

	return delta->log.leading;
}

/* What a guest may do while the cleaner is stopped. Whatever takes the lead
 * would wait for the cleaner where it has it itself (there it reads the super
 * block): then only reads. */
enum deed { OVERWRITE, ZERO_SOME, DISCARD_ALL, FLUSH, READ, CHECKPOINT, N_DEEDS };

static void meddle(struct delta *delta, enum deed deed)
{
	switch (deed) {
	case OVERWRITE:
		for (uint32_t block = 0; block < 1500; block += 2)
			churn_put(delta, 77, block, 1);
		break;
	case ZERO_SOME:
		for (uint32_t block = 0; block < 1500; block += 5)
			churn_zero(delta, block, 2);
		break;
	case DISCARD_ALL:
		churn_zero(delta, 0, ONEDELTA_BLOCKS);
		churn_put(delta, 5, 12, 1);
		break;
	case FLUSH:
		assert_int_equal(delta_flush(delta), 0);
		break;
	case READ:
		churn_check(delta);
		break;
	case CHECKPOINT:
		assert_int_equal(delta_checkpoint(delta), 0);
		break;
	case N_DEEDS:
		break;
	}
}

/* Stopped before each of its reads: what it has collected so far is stale by
 * the time it is appended. */
static void meddling_while_the_cleaner_reads(void **state)
{
	for (enum deed deed = OVERWRITE; deed < N_DEEDS; deed++) {
		for (unsigned int nth = 1;; nth++) {
			struct held held = {0};
			bool stopped;

			churn_forget();
			held_open(&held);
			churn_make_work(held.delta);
			held_begin(&held, CALL_PREAD, nth);
			meddle(held.delta, is_leading(held.delta) ? READ : deed);
			churn_check(held.delta);
			stopped = held_end(&held);
			assert_true(stopped || nth > 4);
			churn_check_and_close(held.delta);
			assert_int_equal(onedelta_remove(state), 0);
			assert_int_equal(onedelta_create(state), 0);
			if (!stopped)
				break;
		}
	}
}

/* A write of another thread, which waits for the lead that the cleaner has. */
static void *meddle_later(void *arg)
{
	struct held *held = arg;

	churn_put(held->delta, 88, 0, 64);
	return NULL;
}

/* Stopped in the middle of its appends and headers. What does not need the lead
 * goes on; what does comes right behind and wins. */
static void meddling_while_the_cleaner_writes(void **state)
{
	for (unsigned int nth = 1;; nth++) {
		struct held held = {0};
		pthread_t thread;
		bool stopped;

		churn_forget();
		held_open(&held);
		churn_make_work(held.delta);
		held_begin(&held, CALL_PWRITEV, nth);
		stopped = held.seen >= nth;
		if (stopped)
			churn_check(held.delta);
		assert_int_equal(pthread_create(&thread, NULL, meddle_later, &held), 0);
		while (stopped && is_leading(held.delta) && batch_queued(held.delta) == 0)
			sched_yield();
		stopped = held_end(&held);
		pthread_join(thread, NULL);
		churn_check_and_close(held.delta);
		assert_int_equal(onedelta_remove(state), 0);
		assert_int_equal(onedelta_create(state), 0);
		if (!stopped) {
			assert_true(nth > 4);
			break;
		}
	}
}

/* Stopped before each sync. */
static void meddling_while_the_cleaner_syncs(void **state)
{
	for (enum deed deed = OVERWRITE; deed < N_DEEDS; deed++) {
		struct held held = {0};

		/* One sync at a time: another would wait for the one that is held. */
		if (deed == FLUSH || deed == CHECKPOINT)
			continue;
		churn_forget();
		held_open(&held);
		churn_make_work(held.delta);
		held_begin(&held, CALL_SYNC, 1);
		meddle(held.delta, deed);
		churn_check(held.delta);
		assert_true(held_end(&held));
		churn_check_and_close(held.delta);
		assert_int_equal(onedelta_remove(state), 0);
		assert_int_equal(onedelta_create(state), 0);
	}
}

/* A writer that stops in its pwritev, and so keeps the lead. */
struct leader {
	struct held held;
	atomic_bool hold;
};

static _Thread_local bool is_leader;

static void stop_either(void *ctx, enum sabotaged_call call)
{
	struct leader *leader = ctx;

	stop_cleaner(&leader->held, call);
	while (is_leader && call == CALL_PWRITEV && atomic_load(&leader->hold))
		sched_yield();
}

static void *lead_on(void *arg)
{
	struct leader *leader = arg;

	is_leader = true;
	churn_put(leader->held.delta, 3, 4000, 1);
	return NULL;
}

static void *write_into_zeros(void *arg)
{
	struct leader *leader = arg;

	churn_put(leader->held.delta, 5, 1200, 1);
	return NULL;
}

static void wait_for_queue(struct delta *delta, unsigned int n)
{
	while (batch_queued(delta) < n)
		sched_yield();
}

/* The cleaner finds a run of zeros whole, and a write into its middle is
 * appended just before it is: both parts that are left have to be moved. */
static void write_into_zeros_that_are_moved(void **state)
{
	struct leader leader = {.hold = true};
	struct held *held = &leader.held;
	pthread_t first, second;

	held_open(held);
	held->sab.hook = stop_either;
	held->sab.hook_ctx = &leader;
	churn_put(held->delta, 2, 0, 32);
	churn_zero(held->delta, 1000, 500);
	for (int i = 0; i < 3; i++) /* and so the first segment has nothing else */
		churn_put(held->delta, 2, 0, 32);
	held_begin(held, CALL_PREAD, 2); /* its header was the first */
	assert_int_equal(pthread_create(&first, NULL, lead_on, &leader), 0);
	while (!is_leading(held->delta))
		sched_yield();
	assert_int_equal(pthread_create(&second, NULL, write_into_zeros, &leader), 0);
	wait_for_queue(held->delta, 1);
	atomic_store(&held->go, true);
	wait_for_queue(held->delta, 2);
	atomic_store(&leader.hold, false);
	assert_true(held_end(held));
	pthread_join(first, NULL);
	pthread_join(second, NULL);
	assert_false(churn_in_use(held->delta, 1));
	churn_check(held->delta);
	assert_int_equal(delta_flush(held->delta), 0);
	held->delta = churn_again(held->delta, true);
	churn_check_and_close(held->delta);
}

#define CASE(f) cmocka_unit_test_setup_teardown(f, churn_fresh, onedelta_remove)

int main(void)
{
	const struct CMUnitTest tests[] = {
		CASE(meddling_while_the_cleaner_reads),
		CASE(meddling_while_the_cleaner_writes),
		CASE(meddling_while_the_cleaner_syncs),
		CASE(write_into_zeros_that_are_moved),
	};

	return cmocka_run_group_tests(tests, onedelta_make_dir, onedelta_remove_dir);
}
