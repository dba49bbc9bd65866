/* SPDX-License-Identifier: LGPL-2.1-or-later */
/* The gate: who may enter in which state, how long one waits, who is the last out. */
#include <assert.h>
#include <errno.h>
#include <pthread.h>
#include <sched.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stdatomic.h>
#include <stddef.h>
#include <stdint.h>
#include <time.h>

#include <cmocka.h>

#include "fs/base/gate.h"
#include "tests/lib/scratch.h"

#define LIMIT_MS 60

static struct gate gate;

static int set_up(void **state)
{
	gate_init(&gate, LIMIT_MS);
	return 0;
}

static int tear_down(void **state)
{
	gate_destroy(&gate);
	return 0;
}

static void test_open(void **state)
{
	assert_int_equal(gate_state(&gate), BASE_READY);
	assert_int_equal(gate_enter(&gate, false), 0);
	assert_int_equal(gate_enter(&gate, true), 0);
	assert_false(gate_idle(&gate));
	assert_false(gate_leave(&gate));
	assert_false(gate_leave(&gate));
	assert_true(gate_idle(&gate));
}

static void test_last_out(void **state)
{
	assert_int_equal(gate_enter(&gate, false), 0);
	assert_int_equal(gate_enter(&gate, false), 0);
	gate_set(&gate, BASE_SUSPENDED);
	assert_false(gate_idle(&gate));
	assert_false(gate_leave(&gate));
	assert_true(gate_leave(&gate));
	assert_true(gate_idle(&gate));
}

static void test_changed(void **state)
{
	gate_set(&gate, BASE_CHANGED);
	assert_int_equal(gate_enter(&gate, false), -EIO);
	assert_int_equal(gate_enter(&gate, true), -EIO);
	assert_true(gate_idle(&gate));
}

static int64_t now_ms(void)
{
	struct timespec t;

	clock_gettime(CLOCK_MONOTONIC, &t);
	return t.tv_sec * 1000 + t.tv_nsec / 1000000;
}

static void test_suspended_too_long(void **state)
{
	int64_t start = now_ms();

	gate_set(&gate, BASE_SUSPENDED);
	assert_int_equal(gate_enter(&gate, true), -EAGAIN);
	assert_int_equal(gate_enter(&gate, false), -EIO);
	assert_true(now_ms() - start >= LIMIT_MS);
	assert_true(gate_idle(&gate));
	gate_set(&gate, BASE_READY);
	assert_int_equal(gate_enter(&gate, false), 0);
	gate_leave(&gate);
}

static _Atomic bool closed, stop;
static _Atomic unsigned int entered;

/* Nobody is inside while the gate is closed and idle. */
static void *go_in_and_out(void *arg)
{
	while (!atomic_load(&stop)) {
		if (gate_enter(&gate, arg != NULL) < 0) {
			sched_yield();
			continue;
		}
		assert(!atomic_load(&closed));
		atomic_fetch_add(&entered, 1);
		gate_leave(&gate);
	}
	return NULL;
}

static void test_closed_is_closed(void **state)
{
	pthread_t threads[3];
	unsigned int before;

	for (intptr_t i = 0; i < 3; i++)
		pthread_create(&threads[i], NULL, go_in_and_out, (void *)i);
	for (int i = 0; i < 50; i++) {
		gate_set(&gate, BASE_SUSPENDED);
		WAIT_UNTIL(gate_idle(&gate));
		atomic_store(&closed, true);
		for (int pause = 0; pause < 10; pause++)
			sched_yield();
		atomic_store(&closed, false);
		before = atomic_load(&entered);
		gate_set(&gate, BASE_READY);
		WAIT_UNTIL(atomic_load(&entered) > before);
	}
	atomic_store(&stop, true);
	for (int i = 0; i < 3; i++)
		pthread_join(threads[i], NULL);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test_setup_teardown(test_open, set_up, tear_down),
		cmocka_unit_test_setup_teardown(test_last_out, set_up, tear_down),
		cmocka_unit_test_setup_teardown(test_changed, set_up, tear_down),
		cmocka_unit_test_setup_teardown(test_suspended_too_long, set_up, tear_down),
		cmocka_unit_test_setup_teardown(test_closed_is_closed, set_up, tear_down),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
