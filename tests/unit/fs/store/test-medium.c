/* SPDX-License-Identifier: LGPL-2.1-or-later */
/* Opening a log that is long enough for several readers: all of it is found, and no failure is lost. */
#include <errno.h>
#include <inttypes.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <string.h>
#include <unistd.h>

#include <cmocka.h>

#include "fs/store/delta.h"
#include "fs/store/slot.h"
#include "tests/lib/onedelta.h"
#include "tests/lib/rng.h"
#include "tests/lib/saboteur.h"

#define WRITES 14000u /* of 4 KiB: a path of 56 MiB */

static uint32_t stamp[ONEDELTA_BLOCKS]; /* of the last write to a block; 0: none */

/* Does not compress, and says which write it is of. */
static void fill(uint8_t *block, uint32_t write)
{
	uint64_t rng = write;

	for (size_t at = 0; at < DELTA_BLOCK_BYTES; at += 8) {
		uint64_t word = rng_next(&rng);

		memcpy(block + at, &word, 8);
	}
}

/* A long log of a killed process, in a file that goes on behind it. */
static void make_long_log(void)
{
	struct delta *delta = onedelta_open(NULL);
	uint64_t rng = rng_seed();
	uint8_t block[DELTA_BLOCK_BYTES];
	int fd;

	print_message("SEED=%" PRIu64 "\n", rng);
	memset(stamp, 0, sizeof(stamp));
	for (uint32_t i = 1; i <= WRITES; i++) {
		uint64_t at = rng_below(&rng, ONEDELTA_BLOCKS);

		fill(block, i);
		assert_int_equal(delta_write(delta, block, 1, at), 0);
		stamp[at] = i;
	}
	assert_int_equal(delta_flush(delta), 0);
	delta_abandon(delta);
	fd = onedelta_file("log");
	assert_int_equal(ftruncate(fd, (off_t)slot_start(80) + 512), 0);
	close(fd);
}

static void compare(struct delta *delta)
{
	uint8_t found[DELTA_BLOCK_BYTES], expected[DELTA_BLOCK_BYTES];
	enum delta_owner owner;

	for (uint64_t at = 0; at < ONEDELTA_BLOCKS; at++) {
		assert_int_equal(delta_read(delta, found, 1, at, false, &owner), 1);
		assert_int_equal(owner, stamp[at] ? DELTA_DATA : DELTA_ABSENT);
		if (!stamp[at])
			continue;
		fill(expected, stamp[at]);
		assert_memory_equal(found, expected, sizeof(found));
	}
}

static void long_log_is_found(void **state)
{
	struct delta *delta;

	make_long_log();
	for (int i = 0; i < 3; i++) {
		delta = onedelta_open(NULL);
		compare(delta);
		delta_abandon(delta);
	}
}

/* Whichever read fails, opening says so, and later everything is there. */
static void failed_reads_are_said(void **state)
{
	struct delta *delta = NULL;
	struct saboteur saboteur;
	const struct delta_options options = {.io = &saboteur.gate};
	struct err err;
	uint64_t nth = 1;

	make_long_log();
	for (;; nth += 3) {
		int rc;

		saboteur_init(&saboteur, &io_kernel);
		saboteur.kind = SABOTAGE_FAIL;
		saboteur.call = CALL_PREAD;
		saboteur.nth = nth;
		saboteur.error = -EIO;
		rc = delta_open(onedelta_dirfd(), onedelta_name(), &options, &delta, &err);
		assert_int_equal(rc, saboteur.hits ? -EIO : 0);
		if (rc == 0)
			break;
	}
	saboteur.kind = SABOTAGE_NONE;
	assert_true(nth > 80); /* headers and slots were among them */
	compare(delta);
	delta_abandon(delta);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test_setup_teardown(long_log_is_found, onedelta_create,
			onedelta_remove),
		cmocka_unit_test_setup_teardown(failed_reads_are_said, onedelta_create,
			onedelta_remove),
	};

	return cmocka_run_group_tests(tests, onedelta_make_dir, onedelta_remove_dir);
}
