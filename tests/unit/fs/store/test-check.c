/* SPDX-License-Identifier: LGPL-2.1-or-later */
/* Check and repair of a log: whatever was damaged, the repaired one is clean and nothing is wrong. */
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

#include "fs/store/format.h"
#include "fs/store/slot.h"
#include "tests/lib/onestore.h"
#include "tests/lib/rng.h"
#include "tests/lib/scratch.h"

/* Cleanly closed or not, with a checkpoint or without. */
#define EACH_STORE(kind) for (unsigned int kind = 0; kind < 4; kind++)

static void make(unsigned int kind)
{
	onestore_make(kind & 1 ? KILLED : CLEAN, kind & 2);
}

static bool is_killed(unsigned int kind)
{
	return kind & 1;
}

static unsigned int some_bit(void)
{
	return (unsigned int)rng_below(&onestore.rng, 8);
}

static void clean_store_is_clean(void **state)
{
	EACH_STORE(kind) {
		make(kind);
		assert_int_equal(onestore_check(NO, true), 0);
		assert_int_equal(onestore_check(NO, false), 0);
		onestore_expect(false);
	}
}

/* Opening one would wait for somebody who writes to it. */
static void fifos_are_not_waited_for(void **state)
{
	static const char *const suffixes[] = {"super", "log", "ckpt"};

	for (size_t i = 0; i < 3; i++) {
		onestore_make(CLEAN, true);
		assert_int_equal(scratch_run(NULL, "cd %s/store/clones/web && f=$(echo *.%s) && "
						   "rm $f && mkfifo $f", onestore.top, suffixes[i]), 0);
		assert_true(onestore_check(NO, true) > 0);
		onestore_check(YES, true);
	}
}

/* Every byte of both super blocks that has a meaning, and some that have none. */
static void super_fields(void **state)
{
	EACH_STORE(kind) {
		make(kind);
		for (unsigned int copy = 0; copy < 2; copy++)
			for (uint64_t at = 0; at < FORMAT_PAGE; at += at < 192 ? 3 : 479) {
				onestore_restore();
				onestore_flip("super", copy * FORMAT_PAGE + at, some_bit());
				onestore_repair(is_killed(kind));
				assert_int_equal(onestore_bad_blocks(), 0);
			}
	}
}

static void both_supers(void **state)
{
	onestore_make(CLEAN, false);
	onestore_flip("super", 100, 1);
	onestore_flip("super", FORMAT_PAGE + 100, 1);
	assert_true(onestore_check(PREEN, true) > 0);
	onestore_repair(false);
	assert_int_equal(onestore_bad_blocks(), ONESTORE_BLOCKS);
}

/* Slots that hold something. */
static uint64_t used_slots(void)
{
	uint64_t slots = 0;

	while (slot_start((uint32_t)slots) < onestore_file_bytes("log"))
		slots++;
	return slots;
}

static void header_fields(void **state)
{
	uint64_t slots;

	EACH_STORE(kind) {
		make(kind);
		slots = used_slots();
		for (uint32_t slot = 0; slot < slots; slot++)
			for (uint64_t at = 0; at < 512; at += at < 96 ? 5 : 83) {
				onestore_restore();
				onestore_flip("log", slot_start(slot) + at, some_bit());
				onestore_repair(is_killed(kind));
			}
	}
}

/* The log around it says what it was: also the first one, and the last. */
static void lost_header_loses_nothing(void **state)
{
	static const uint8_t zeros[512];
	unsigned int found;

	EACH_STORE(kind) {
		make(kind);
		for (uint32_t slot = 0; slot < used_slots(); slot++) {
			int fd;

			onestore_restore();
			fd = onestore_file("log");
			assert_int_equal(pwrite(fd, zeros, sizeof(zeros), (off_t)slot_start(slot)),
				sizeof(zeros));
			close(fd);
			snprintf(onestore.damage, sizeof(onestore.damage),
				"kind %u, header of slot %u", kind, slot);
			onestore_repair(false);
			found = (unsigned int)(onestore.found_codes >> PROBLEM_LOG_CUT & 3);
			if (found || onestore_bad_blocks() > 0)
				fail_msg("%s: lost", onestore.damage);
		}
	}
}

/* Bytes all over the log: heads, tables, sums, payloads, padding. */
static void record_bytes(void **state)
{
	EACH_STORE(kind) {
		make(kind);
		for (int i = 0; i < 100; i++) {
			uint32_t slot;
			uint64_t within;

			onestore_restore();
			slot = (uint32_t)rng_below(&onestore.rng, used_slots());
			within = i % 3 == 0 ? FORMAT_PAGE + rng_below(&onestore.rng, 200) :
					      rng_below(&onestore.rng, slot_bytes(slot));
			onestore_flip("log", slot_start(slot) + within, some_bit());
			onestore_repair(is_killed(kind));
		}
	}
}

/* A checkpoint is a cache: nothing is lost whatever happens to it. */
static void checkpoint_bytes(void **state)
{
	for (int ending = CLEAN; ending <= KILLED; ending++) {
		onestore_make(ending, true);
		for (int i = 0; i < 60; i++) {
			uint64_t len, at;

			onestore_restore();
			len = onestore_file_bytes("ckpt");
			at = i % 2 ? rng_below(&onestore.rng, 96) : rng_below(&onestore.rng, len);
			onestore_flip("ckpt", at, some_bit());
			assert_int_equal(onestore_check(PREEN, true), 0);
			assert_int_equal(onestore.asked[PROBLEM_CHECKPOINT], 1);
			assert_int_equal(onestore_check(NO, true), 0);
			onestore_expect(false);
		}
	}
}

/* What the checkpoint knows is not lost with the records before it. */
static void checkpoint_stands_for_the_log_before_it(void **state)
{
	onestore_make(CLEAN, true);
	onestore_flip("log", FORMAT_PAGE + 20, 1);
	assert_int_equal(onestore_check(YES, false), 0);
	assert_int_equal(onestore.asked[PROBLEM_HISTORY], 0);
	onestore_expect(false);
	assert_int_equal(onestore_check(YES, true), 0);
	assert_int_equal(onestore.asked[PROBLEM_HISTORY], 1);
	assert_int_equal(onestore_check(NO, true), 0);
	assert_int_equal(onestore_bad_blocks(), 0);
	onestore_expect(false);
}

static void short_files(void **state)
{
	EACH_STORE(kind) {
		make(kind);
		for (int i = 0; i < 20; i++) {
			const char *suffix = i % 5 ? "log" : kind & 2 ? "ckpt" : "super";
			int fd;

			onestore_restore();
			fd = onestore_file(suffix);
			assert_int_equal(ftruncate(fd,
				(off_t)rng_below(&onestore.rng, onestore_file_bytes(suffix))), 0);
			close(fd);
			onestore_repair(is_killed(kind));
		}
	}
}

static void missing_files(void **state)
{
	onestore_make(CLEAN, false);
	onestore_unlink("log");
	onestore_repair(false);
	assert_true(onestore_bad_blocks() > 0);
	onestore_restore();
	onestore_unlink("super");
	onestore_repair(false);
	assert_int_equal(onestore_bad_blocks(), ONESTORE_BLOCKS);
	onestore_restore();
	onestore_unlink("super");
	onestore_unlink("log");
	assert_true(onestore_check(NO, true) > 0);
	onestore_repair(false);
	assert_int_equal(onestore_bad_blocks(), ONESTORE_BLOCKS);
}

/* A payload is the smallest of all damages: only its block is lost. */
static void one_payload_is_one_block(void **state)
{
	onestore_make(CLEAN, false);
	/* The last write of three blocks, in the last segment: find its payload. */
	for (uint64_t at = slot_start((uint32_t)used_slots() - 1) + FORMAT_PAGE + 200;; at += 997) {
		onestore_restore();
		onestore_flip("log", at, 3);
		if (onestore_check(YES, true) == 0 && onestore.asked[PROBLEM_PAYLOAD])
			break;
	}
	assert_int_equal(onestore_check(NO, true), 0);
	assert_int_equal(onestore_bad_blocks(), 1);
	onestore_expect(false);
	/* Written again it is as good as any. */
	{
		struct delta *delta = onestore_delta();

		onestore.n_ops = 0;
		onestore_write(delta, ONESTORE_BLOCKS);
		assert_int_equal(delta_close(delta), 0);
	}
	assert_int_equal(onestore_bad_blocks(), 0);
}

static void damaged_log_goes_to_lost_found(void **state)
{
	onestore_make(CLEAN, false);
	onestore_flip("log", FORMAT_PAGE + 20, 1);
	assert_int_equal(onestore_check(YES, true), 0);
	assert_int_equal(scratch_run(NULL, "test -f %s/store/lost+found/web.1/*.log", onestore.top), 0);
	assert_int_equal(scratch_run(NULL, "cmp %s/store/lost+found/web.1/*.log "
					   "%s/pristine/clones/web/*.log", onestore.top, onestore.top), 1);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(clean_store_is_clean),
		cmocka_unit_test(fifos_are_not_waited_for),
		cmocka_unit_test(super_fields),
		cmocka_unit_test(both_supers),
		cmocka_unit_test(header_fields),
		cmocka_unit_test(lost_header_loses_nothing),
		cmocka_unit_test(record_bytes),
		cmocka_unit_test(checkpoint_bytes),
		cmocka_unit_test(checkpoint_stands_for_the_log_before_it),
		cmocka_unit_test(short_files),
		cmocka_unit_test(missing_files),
		cmocka_unit_test(one_payload_is_one_block),
		cmocka_unit_test(damaged_log_goes_to_lost_found),
	};

	return cmocka_run_group_tests(tests, onestore_setup, onestore_teardown);
}
