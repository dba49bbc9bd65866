/* SPDX-License-Identifier: LGPL-2.1-or-later */
/* Sets of ids: empty, with ids more than once, and as many as make it grow. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <string.h>

#include <cmocka.h>

#include "fs/store/idset.h"

#define MANY 1000u

static struct id nth(uint32_t n)
{
	struct id id = {{0}};

	/* Neither rising nor falling. */
	n *= 2654435761u;
	memcpy(id.byte, &n, sizeof(n));
	return id;
}

static void empty(void **state)
{
	struct idset set = {0};
	struct id id = nth(1);

	idset_sort(&set);
	assert_false(idset_has(&set, &id));
	idset_release(&set);
}

static void has_what_was_added(void **state)
{
	struct idset set = {0};

	for (uint32_t i = 0; i < MANY; i++) {
		struct id id = nth(2 * i);

		assert_int_equal(idset_add(&set, &id), 0);
		if (i % 7 == 0)
			assert_int_equal(idset_add(&set, &id), 0);
	}
	idset_sort(&set);
	for (uint32_t i = 0; i < 2 * MANY; i++) {
		struct id id = nth(i);

		assert_int_equal(idset_has(&set, &id), i % 2 == 0);
	}
	idset_release(&set);
	assert_int_equal(set.count, 0);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(empty),
		cmocka_unit_test(has_what_was_added),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
