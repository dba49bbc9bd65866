/* SPDX-License-Identifier: LGPL-2.1-or-later */
/* Check and repair of a store: what crashes leave, damaged manifests and labels. */
#include <errno.h>
#include <fcntl.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include <cmocka.h>

#include "tests/lib/onestore.h"
#include "tests/lib/scratch.h"

static void leftovers_go(void **state)
{
	onestore_make(CLEAN, false);
	scratch_run(NULL, "cd %s/store && mkdir trash/0 staging/%032d && touch trash/0/a "
			  "lazyclone-store.x.tmp lazyclone-store.bak clones/web/manifest.tmp "
			  "clones/web/%032d.log clones/web/%032d.super clones/web/keep "
			  "layers/%032d.log layers/%032d.super", onestore.top, 1, 2, 2, 3, 3);
	/* While there is a stage nobody knows which layers are needed. */
	assert_int_equal(onestore_check(NO, false), 4);
	assert_int_equal(onestore_check(PREEN, false), 0);
	assert_int_equal(onestore.asked[PROBLEM_TEMP], 1);
	assert_int_equal(onestore.asked[PROBLEM_TRASH], 1);
	assert_int_equal(onestore.asked[PROBLEM_STAGE], 1);
	assert_int_equal(onestore.asked[PROBLEM_STRAY], 1);
	assert_int_equal(onestore.asked[PROBLEM_LAYER_UNUSED], 1);
	assert_int_equal(onestore_check(NO, true), 0);
	/* A file of somebody's in the clone's directory is nobody's leftover. */
	assert_int_equal(scratch_run(NULL, "test -f %s/store/clones/web/keep", onestore.top), 0);
	onestore_expect(false);
}

static void stage_with_a_journal_stays(void **state)
{
	onestore_make(CLEAN, false);
	scratch_run(NULL, "cd %s/store && mkdir staging/%032d && touch journal/x.json", onestore.top, 1);
	assert_int_equal(onestore_check(PREEN, false), 0);
	assert_int_equal(scratch_run(NULL, "test -d %s/store/staging/%032d", onestore.top, 1), 0);
}

static void damaged_manifest_moves_its_clone(void **state)
{
	onestore_make(CLEAN, false);
	scratch_run(NULL, "cd %s/store && echo x >>clones/web/manifest && "
			  "touch layers/%032d.log layers/%032d.super", onestore.top, 3, 3);
	assert_int_equal(onestore_check(PREEN, false), 1);
	/* What it may need is not deleted, */
	assert_int_equal(scratch_run(NULL, "test -f %s/store/layers/%032d.log", onestore.top, 3), 0);
	assert_int_equal(onestore_check(YES, false), 0);
	/* and is found with it. */
	assert_int_equal(
		scratch_run(NULL, "cd %s/store/lost+found/web.1 && test -f manifest && "
				  "test -f %032d.log && ! test -e %s/store/clones/web",
			onestore.top, 3, onestore.top), 0);
	assert_int_equal(onestore_check(NO, true), 0);
}

static void damaged_label_is_written_again(void **state)
{
	struct store *store;
	struct id id;

	onestore_make(CLEAN, false);
	store = onestore_open();
	id = *store_id(store);
	store_close(store);
	scratch_run(NULL, "cd %s/store && sed -i 's/\"checksum\": \"./\"checksum\": \"z/' "
			  "lazyclone-store && rmdir trash", onestore.top);
	assert_int_equal(onestore_check(NO, false), 1);
	assert_int_equal(onestore_check(YES, false), 0);
	assert_int_equal(onestore_check(NO, true), 0);
	store = onestore_open();
	assert_true(id_equal(&id, store_id(store)));
	store_close(store);
	scratch_run(NULL, "rm %s/store/lazyclone-store", onestore.top);
	assert_int_equal(onestore_check(YES, false), 0);
	assert_int_equal(onestore_check(NO, true), 0);
}

static bool no_question(void *ctx, const struct check_problem *problem, bool may_repair)
{
	fail_msg("asked: %s", problem->kind->what);
	return false;
}

static void newer_label_and_other_directories_are_left(void **state)
{
	struct check c = {.repair = true, .ask = no_question};
	struct err err = {0};

	onestore_make(CLEAN, false);
	scratch_run(NULL, "cd %s/store && sed -i 's/\"version\": 1/\"version\": 2/' "
			  "lazyclone-store && mkdir ../other", onestore.top);
	assert_int_equal(check_label(&c, &io_kernel, onestore_path("store"), &err), -EOPNOTSUPP);
	assert_int_equal(check_label(&c, &io_kernel, onestore_path("other"), &err), -EINVAL);
	scratch_run(NULL, "rmdir %s/other", onestore.top);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(leftovers_go),
		cmocka_unit_test(stage_with_a_journal_stays),
		cmocka_unit_test(damaged_manifest_moves_its_clone),
		cmocka_unit_test(damaged_label_is_written_again),
		cmocka_unit_test(newer_label_and_other_directories_are_left),
	};

	return cmocka_run_group_tests(tests, onestore_setup, onestore_teardown);
}
