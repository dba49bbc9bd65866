/* SPDX-License-Identifier: LGPL-2.1-or-later */
/* Every problem of the table: provoked, shown without a change, repaired or said to be beyond it.
 *
 * The table of cases is compared with problem_kinds: a number without a case fails.
 */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include <cmocka.h>

#include "fs/store/index.h"
#include "tests/lib/onestore.h"
#include "tests/lib/problems.h"
#include "tests/lib/scratch.h"

uint64_t __real_index_slot_live(struct index *index, uint32_t slot);
uint64_t __wrap_index_slot_live(struct index *index, uint32_t slot);

uint64_t __wrap_index_slot_live(struct index *index, uint32_t slot)
{
	return __real_index_slot_live(index, slot) + problems_miscounted;
}

/* Names and contents; the caller frees it. */
static char *content(void)
{
	char *text;

	assert_int_equal(scratch_run(&text,
				 "cd %s/store && find . ! -name layers.lock -printf '%%p %%y\\n' | sort && "
				 "find . -type f | sort | xargs md5sum", onestore.top), 0);
	return text;
}

/* Check; what is found is the problem alone, and once. */
static unsigned int check(const struct problem_case *c, enum answer how)
{
	unsigned int left = onestore_check(how, c->full);

	for (unsigned int code = 0; code < 64; code++) {
		bool other = code != c->code && !((c->refused | c->behind) >> code & 1);

		if (other && onestore.asked[code])
			fail_msg("problem %u is found with %d", code, (int)c->code);
	}
	if (how == NO && c->repairing)
		return left;
	if (onestore.asked[c->code] != 1)
		fail_msg("problem %d is found %u times", (int)c->code,
			(unsigned int)onestore.asked[c->code]);
	assert_true(left == 1 || how != NO);
	return left;
}

static void leaves_all_as_it_is(const struct problem_case *c, enum answer how)
{
	char *before = content(), *after;

	assert_int_equal(check(c, how), how == NO && c->repairing ? 0 : 1);
	after = content();
	assert_string_equal(before, after);
	free(before);
	free(after);
}

static void is_repaired(const struct problem_case *c, enum answer how)
{
	bool cut;

	assert_int_equal(check(c, how), 0);
	cut = onestore.cut;
	assert_int_equal(cut, c->code == PROBLEM_LOG_CUT);
	onestore.refused = 0;
	assert_int_equal(onestore_check(NO, true), 0);
	if (!c->moves)
		onestore_expect(cut);
}

static void run_case(const struct problem_kind *kind)
{
	const struct problem_case *c = problems_case(kind->code);

	problems_provoke(c);
	leaves_all_as_it_is(c, NO);
	if (!kind->safe)
		leaves_all_as_it_is(c, PREEN);
	if (kind->question)
		is_repaired(c, kind->safe ? PREEN : YES);
	else
		leaves_all_as_it_is(c, YES);
	problems_undo();
}

static void each_problem(void **state)
{
	for (const struct problem_kind *kind = problem_kinds; kind->what; kind++)
		run_case(kind);
}

/* Where all is read they are not seen without that. */
static void what_a_short_look_misses(void **state)
{
	for (const struct problem_kind *kind = problem_kinds; kind->what; kind++) {
		const struct problem_case *c = problems_case(kind->code);

		if (!c->full)
			continue;
		problems_provoke(c);
		if (onestore_check(NO, false) != 0)
			fail_msg("problem %d is found", (int)c->code);
		problems_undo();
	}
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(each_problem),
		cmocka_unit_test(what_a_short_look_misses),
	};

	return cmocka_run_group_tests(tests, onestore_setup, onestore_teardown);
}
