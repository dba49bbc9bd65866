/* SPDX-License-Identifier: LGPL-2.1-or-later */
/* When a read that must not wait is tried: not while a device has enough to do. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <sys/sysmacros.h>

#include <cmocka.h>

#include "fs/base/waiting.h"

/* Reads that wait keep others from trying, until enough of them have ended. */
static void test_reads(void **state)
{
	struct waiting *w = waiting_of(makedev(8, 1));

	for (int i = 0; i < WAITING_READS; i++) {
		assert_true(waiting_may_try(w));
		waiting_begin(w);
	}
	assert_false(waiting_may_try(w));
	assert_true(waiting_may_try(waiting_of(makedev(8, 2))));
	waiting_end(w);
	assert_true(waiting_may_try(w));
	for (int i = 1; i < WAITING_READS; i++)
		waiting_end(w);
}

/* A burst: each try misses before any of its reads has begun. */
static void test_missed(void **state)
{
	struct waiting *w = waiting_of(makedev(8, 1));
	unsigned int tries = 0;

	/* Then one read begins for each further request. */
	for (int request = 0; request < 400; request++) {
		if (waiting_may_try(w)) {
			waiting_miss(w);
			tries++;
		}
		if (request >= 50)
			waiting_begin(w);
	}
	assert_in_range(tries, WAITING_MISSED, WAITING_READS + WAITING_MISSED);
	for (int request = 50; request < 400; request++)
		waiting_end(w);
	assert_true(waiting_may_try(w));
}

/* Tries that no read followed do not keep others from trying for ever. */
static void test_heals(void **state)
{
	struct waiting *w = waiting_of(makedev(8, 1));

	for (int i = 0; i < WAITING_MISSED; i++)
		waiting_miss(w);
	assert_false(waiting_may_try(w));
	waiting_begin(w);
	waiting_end(w);
	assert_true(waiting_may_try(w));
	for (int i = 0; i < 2 * WAITING_MISSED; i++) {
		waiting_begin(w);
		waiting_end(w);
	}
	for (int i = 0; i < WAITING_MISSED; i++) {
		assert_true(waiting_may_try(w));
		waiting_miss(w);
	}
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(test_reads),
		cmocka_unit_test(test_missed),
		cmocka_unit_test(test_heals),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
