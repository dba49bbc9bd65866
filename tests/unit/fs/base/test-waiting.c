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

	for (uint32_t i = 0; i < w->reads_max; i++) {
		assert_true(waiting_may_try(w));
		waiting_begin(w);
	}
	assert_false(waiting_may_try(w));
	assert_true(waiting_may_try(waiting_of(makedev(8, 2))));
	waiting_end(w);
	assert_true(waiting_may_try(w));
	for (uint32_t i = 1; i < w->reads_max; i++)
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
	assert_in_range(tries, w->missed_max, w->reads_max + w->missed_max);
	for (int request = 50; request < 400; request++)
		waiting_end(w);
	assert_true(waiting_may_try(w));
}

/* Tries that no read followed do not keep others from trying for ever. */
static void test_heals(void **state)
{
	struct waiting *w = waiting_of(makedev(8, 1));

	for (uint32_t i = 0; i < w->missed_max; i++)
		waiting_miss(w);
	assert_false(waiting_may_try(w));
	waiting_begin(w);
	waiting_end(w);
	assert_true(waiting_may_try(w));
	for (uint32_t i = 0; i < 2 * w->missed_max; i++) {
		waiting_begin(w);
		waiting_end(w);
	}
	for (uint32_t i = 0; i < w->missed_max; i++) {
		assert_true(waiting_may_try(w));
		waiting_miss(w);
	}
}

/* One device that hangs is not another's matter, whatever their numbers are. */
static void test_apart(void **state)
{
	struct waiting *disk = waiting_of(makedev(254, 0));

	for (unsigned int minor = 0; minor < 8; minor++)
		assert_ptr_not_equal(disk, waiting_of(makedev(7, minor)));
	assert_ptr_equal(disk, waiting_of(makedev(254, 0)));
	assert_in_range(disk->reads_max, WAITING_READS_MIN, 1u << 16);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(test_reads),
		cmocka_unit_test(test_missed),
		cmocka_unit_test(test_heals),
		cmocka_unit_test(test_apart),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
