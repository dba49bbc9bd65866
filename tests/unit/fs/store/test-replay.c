/* SPDX-License-Identifier: LGPL-2.1-or-later */
/* Replay when segment headers are missing: what a power cut may do, and what only damage does. */
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

#include "fs/store/delta.h"
#include "fs/store/slot.h"
#include "fs/util/id.h"
#include "tests/lib/onedelta.h"

#define B DELTA_BLOCK_BYTES
#define WRITE_BLOCKS 64u

static uint8_t buf[WRITE_BLOCKS * B];

static void expect_damage(const char *what)
{
	struct delta *delta = NULL;
	struct err err = {0};

	assert_int_equal(delta_open(onedelta_dirfd(), onedelta_name(), NULL, &delta, &err), -EUCLEAN);
	assert_non_null(strstr(err.message, what));
}

/* Incompressible, so that n writes fill as much of the log. */
static void write_some(struct delta *delta, unsigned int writes, unsigned int from)
{
	for (unsigned int i = from; i < from + writes; i++) {
		uint64_t state = i + 1;

		for (size_t k = 0; k < sizeof(buf); k++) {
			state = state * UINT64_C(6364136223846793005) + 1442695040888963407u;
			buf[k] = (uint8_t)(state >> 56);
		}
		assert_int_equal(delta_write(delta, buf, WRITE_BLOCKS, i * WRITE_BLOCKS), 0);
	}
}

/* Writes whose first block is there; those behind the first lost one must not be. */
static unsigned int count_writes(struct delta *delta, unsigned int writes)
{
	unsigned int there = 0;
	uint64_t run;

	while (there < writes &&
		delta_map(delta, there * WRITE_BLOCKS, 1, &run) == DELTA_DATA)
		there++;
	for (unsigned int i = there + 1; i < writes; i++)
		assert_int_equal(delta_map(delta, i * WRITE_BLOCKS, 1, &run), DELTA_ABSENT);
	return there;
}

static void lose_header(uint32_t slot)
{
	static const uint8_t nothing[FORMAT_PAGE];
	int fd = onedelta_file("log");

	assert_true(fd >= 0);
	assert_int_equal(pwrite(fd, nothing, sizeof(nothing), (off_t)slot_start(slot)),
		(ssize_t)sizeof(nothing));
	assert_int_equal(fsync(fd), 0);
	close(fd);
}

#define THREE_SEGMENTS 6u /* writes of 256 KiB: slots 0 to 2 have 1.75 MiB */

/* No sync covered the later segments: a device may keep the third one's
 * header and lose the second one's. The log ends in the first. */
static void unsynced_header_may_be_lost(void **state)
{
	struct delta *delta = onedelta_open(NULL);
	unsigned int there;

	write_some(delta, THREE_SEGMENTS, 0);
	delta_abandon(delta);
	lose_header(1);
	delta = onedelta_open(NULL);
	there = count_writes(delta, THREE_SEGMENTS);
	assert_true(there > 0 && there < THREE_SEGMENTS);
	/* The disk lives on, and what was lost stays lost. */
	write_some(delta, 4, 8);
	delta_abandon(delta);
	delta = onedelta_open(NULL);
	assert_int_equal(count_writes(delta, THREE_SEGMENTS), there);
	assert_int_equal(delta_close(delta), 0);
	delta = onedelta_open(NULL);
	assert_int_equal(count_writes(delta, THREE_SEGMENTS), there);
	assert_int_equal(delta_close(delta), 0);
}

/* The same header, but a flush was done before the third segment began. */
static void flushed_header_is_missed(void **state)
{
	struct delta *delta = onedelta_open(NULL);

	write_some(delta, 2, 0);
	assert_int_equal(delta_flush(delta), 0);
	write_some(delta, THREE_SEGMENTS - 2, 2);
	delta_abandon(delta);
	lose_header(1);
	expect_damage("flushed");
}

static void header_of_a_clean_log_is_missed(void **state)
{
	struct delta *delta = onedelta_open(NULL);

	write_some(delta, THREE_SEGMENTS, 0);
	assert_int_equal(delta_close(delta), 0);
	lose_header(1);
	expect_damage("segment 2 of the log is missing");
}

/* A life's first header was synced before the super block named it. */
static void first_header_of_a_life_is_missed(void **state)
{
	struct delta *delta = onedelta_open(NULL);

	write_some(delta, THREE_SEGMENTS, 0);
	delta_abandon(delta);
	lose_header(0);
	expect_damage("damaged header of slot 0");
}

/* A later life had accepted it. */
static void header_of_an_earlier_life_is_missed(void **state)
{
	struct delta *delta = onedelta_open(NULL);

	write_some(delta, THREE_SEGMENTS, 0);
	delta_abandon(delta);
	delta = onedelta_open(NULL);
	delta_abandon(delta);
	lose_header(1);
	expect_damage("damaged header of slot 1");
}

#define CASE(f) cmocka_unit_test_setup_teardown(f, onedelta_create, onedelta_remove)

int main(void)
{
	const struct CMUnitTest tests[] = {
		CASE(unsynced_header_may_be_lost),
		CASE(flushed_header_is_missed),
		CASE(header_of_a_clean_log_is_missed),
		CASE(first_header_of_a_life_is_missed),
		CASE(header_of_an_earlier_life_is_missed),
	};

	return cmocka_run_group_tests(tests, onedelta_make_dir, onedelta_remove_dir);
}
