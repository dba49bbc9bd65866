/* SPDX-License-Identifier: LGPL-2.1-or-later */
/* Waiting for readers: those inside are waited for, later ones are not, and nothing is freed under one. */
#include <pthread.h>
#include <sched.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stdatomic.h>
#include <stddef.h>
#include <stdint.h>
#include <stdlib.h>

#include <cmocka.h>

#include "fs/store/grace.h"
#include "fs/util/clock.h"

#define READERS 3
#define ROUNDS 300

static struct grace grace;
static atomic_bool waited;

static void poll_once(uint64_t begin_ns)
{
	assert_true(clock_now_ns() - begin_ns < UINT64_C(60) * 1000000000);
	sched_yield();
}

static void *wait_it(void *arg)
{
	grace_wait(&grace);
	atomic_store(&waited, true);
	return NULL;
}

static void nobody_is_waited_for(void **state)
{
	grace_init(&grace);
	for (int i = 0; i < 5; i++) {
		grace_leave(&grace, grace_enter(&grace));
		grace_wait(&grace);
	}
	grace_release(&grace);
}

/* One from before, and one that loaded the generation before it moved on. */
static void those_inside_are_waited_for(void **state)
{
	for (unsigned int rounds = 0; rounds < 2; rounds++) {
		uint64_t begin = clock_now_ns();
		unsigned int ticket, later;
		pthread_t waiter;

		grace_init(&grace);
		for (unsigned int i = 0; i < rounds; i++)
			grace_wait(&grace);
		atomic_store(&waited, false);
		ticket = grace_enter(&grace);
		assert_int_equal(pthread_create(&waiter, NULL, wait_it, NULL), 0);
		while (atomic_load(&grace.generation) == rounds)
			poll_once(begin);
		later = grace_enter(&grace);
		assert_int_not_equal(ticket, later);
		assert_false(atomic_load(&waited));
		grace_leave(&grace, ticket);
		while (!atomic_load(&waited)) /* though the later one is inside */
			poll_once(begin);
		pthread_join(waiter, NULL);
		grace_leave(&grace, later);
		grace_release(&grace);
	}
}

static void straggler_is_waited_for(void **state)
{
	uint64_t begin = clock_now_ns();
	pthread_t waiter;

	grace_init(&grace);
	grace_wait(&grace); /* it has loaded the generation before that, */
	atomic_fetch_add(&grace.readers[0].inside, 1); /* and enters now */
	atomic_store(&waited, false);
	assert_int_equal(pthread_create(&waiter, NULL, wait_it, NULL), 0);
	while (!atomic_load(&grace.waiting))
		poll_once(begin);
	assert_false(atomic_load(&waited));
	assert_int_equal(atomic_load(&grace.generation), 1);
	grace_leave(&grace, 0);
	while (!atomic_load(&waited))
		poll_once(begin);
	pthread_join(waiter, NULL);
	grace_release(&grace);
}

/* What readers find by a pointer is freed once it is replaced and they left:
 * the sanitizers see whether one still looks. */
struct thing {
	uint64_t one, two;
};

static struct thing *_Atomic current;
static atomic_bool stop;
static atomic_uint mixtures;

static void *look(void *arg)
{
	while (!atomic_load(&stop)) {
		unsigned int ticket = grace_enter(&grace);
		const struct thing *thing = atomic_load(&current);

		if (thing->one != thing->two)
			atomic_fetch_add(&mixtures, 1);
		grace_leave(&grace, ticket);
	}
	return NULL;
}

static struct thing *make(uint64_t value)
{
	struct thing *thing = malloc(sizeof(*thing));

	assert_non_null(thing);
	*thing = (struct thing){value, value};
	return thing;
}

static void nothing_goes_under_a_reader(void **state)
{
	pthread_t reader[READERS];

	grace_init(&grace);
	atomic_store(&current, make(0));
	for (int i = 0; i < READERS; i++)
		assert_int_equal(pthread_create(&reader[i], NULL, look, NULL), 0);
	for (uint64_t round = 1; round <= ROUNDS; round++) {
		struct thing *old = atomic_exchange(&current, make(round));

		grace_wait(&grace);
		old->one = round; /* a reader that is left would see it */
		free(old);
	}
	atomic_store(&stop, true);
	for (int i = 0; i < READERS; i++)
		pthread_join(reader[i], NULL);
	assert_int_equal(atomic_load(&mixtures), 0);
	free(atomic_load(&current));
	grace_release(&grace);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(nobody_is_waited_for),
		cmocka_unit_test(those_inside_are_waited_for),
		cmocka_unit_test(straggler_is_waited_for),
		cmocka_unit_test(nothing_goes_under_a_reader),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
