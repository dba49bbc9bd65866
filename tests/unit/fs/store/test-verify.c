/* SPDX-License-Identifier: LGPL-2.1-or-later */
/* delta_verify: counts what is bad, in slices, and changes nothing. */
#include <errno.h>
#include <fcntl.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <string.h>
#include <unistd.h>

#include <cmocka.h>

#include "fs/store/slot.h"
#include "fs/store/verify.h"
#include "tests/lib/onedelta.h"
#include "tests/lib/saboteur.h"

#define B DELTA_BLOCK_BYTES
#define WRITE_BLOCKS 32u

static uint8_t buf[WRITE_BLOCKS * B];

/* Blocks that do not shrink, so that their places in the log are known. */
static void write_blocks(struct delta *delta, uint64_t block, uint32_t count, uint64_t state)
{
	for (size_t i = 0; i < (size_t)count * B; i++) {
		state = state * UINT64_C(6364136223846793005) + 1442695040888963407u;
		buf[i] = (uint8_t)(state >> 56);
	}
	assert_int_equal(delta_write(delta, buf, count, block), 0);
}

/* Where payload i of the first record of a log lies, if it has n blocks. */
static off_t payload_at(uint32_t i, uint32_t n)
{
	return (off_t)(slot_start(0) + FORMAT_PAGE + sizeof(struct format_record) +
		((2 * n + 7) & ~7u) + (uint64_t)i * (8 + B) + 8);
}

static void flip(off_t at)
{
	int fd = onedelta_file("log");
	uint8_t byte;

	assert_true(fd >= 0);
	assert_int_equal(pread(fd, &byte, 1, at), 1);
	byte ^= 4;
	assert_int_equal(pwrite(fd, &byte, 1, at), 1);
	close(fd);
}

static void counts_all_that_is_there(void **state)
{
	struct delta *delta = onedelta_open(NULL);
	struct delta_verified v;

	assert_int_equal(delta_verify(delta, 0, UINT64_MAX, &v), 0);
	assert_int_equal(v.next_block, ONEDELTA_BLOCKS);
	assert_int_equal(v.data_blocks + v.bad_blocks, 0);
	write_blocks(delta, 10, 20, 1);
	write_blocks(delta, ONEDELTA_BLOCKS - 5, 5, 2);
	assert_int_equal(delta_zero(delta, 12, 3), 0);
	assert_int_equal(delta_verify(delta, 0, UINT64_MAX, &v), 0);
	assert_int_equal(v.next_block, ONEDELTA_BLOCKS);
	assert_int_equal(v.end_block, ONEDELTA_BLOCKS);
	assert_int_equal(v.data_blocks, 22);
	assert_int_equal(v.bad_blocks, 0);
	assert_int_equal(delta_verify(delta, ONEDELTA_BLOCKS + 1, 1, &v), -EINVAL);
	assert_int_equal(delta_close(delta), 0);
}

static void counts_each_bad_block(void **state)
{
	struct delta *delta = onedelta_open(NULL);
	struct delta_verified v;

	write_blocks(delta, 0, WRITE_BLOCKS, 1);
	assert_int_equal(delta_flush(delta), 0);
	flip(payload_at(7, WRITE_BLOCKS));
	flip(payload_at(31, WRITE_BLOCKS));
	assert_int_equal(delta_verify(delta, 0, UINT64_MAX, &v), 0);
	assert_int_equal(v.data_blocks, WRITE_BLOCKS);
	assert_int_equal(v.bad_blocks, 2);
	assert_int_equal(v.marked_blocks, 0);
	assert_int_equal(v.first_bad, 7);
	/* Written again it is good, and the other one still is not. */
	write_blocks(delta, 7, 1, 3);
	assert_int_equal(delta_verify(delta, 0, UINT64_MAX, &v), 0);
	assert_int_equal(v.bad_blocks, 1);
	delta_abandon(delta);
}

static void slices_add_up(void **state)
{
	struct delta *delta = onedelta_open(NULL);
	struct delta_verified v = {0};
	uint64_t data = 0, bad = 0;
	unsigned int slices = 0;

	for (uint32_t i = 0; i < 4; i++)
		write_blocks(delta, i * 100, WRITE_BLOCKS, i + 1);
	assert_int_equal(delta_flush(delta), 0);
	flip(payload_at(5, WRITE_BLOCKS));
	do {
		assert_int_equal(delta_verify(delta, v.next_block, 10, &v), 0);
		assert_true(v.data_blocks <= 10);
		data += v.data_blocks;
		bad += v.bad_blocks;
		assert_true(++slices < 100);
	} while (v.next_block < v.end_block);
	assert_int_equal(data, 4 * WRITE_BLOCKS);
	assert_int_equal(bad, 1);
	delta_abandon(delta);
}

static void broken_delta_is_no_bad_block(void **state)
{
	struct saboteur saboteur;
	struct delta_verified v;
	struct delta *delta;

	saboteur_init(&saboteur, &io_kernel);
	delta = onedelta_open(&saboteur.gate);
	write_blocks(delta, 0, 4, 1);
	saboteur.kind = SABOTAGE_FAIL;
	saboteur.call = CALL_SYNC;
	saboteur.error = -EIO;
	assert_int_equal(delta_flush(delta), -EIO);
	assert_int_equal(delta_verify(delta, 0, UINT64_MAX, &v), -EIO);
	delta_abandon(delta);
}

#define CASE(f) cmocka_unit_test_setup_teardown(f, onedelta_create, onedelta_remove)

int main(void)
{
	const struct CMUnitTest tests[] = {
		CASE(counts_all_that_is_there),
		CASE(counts_each_bad_block),
		CASE(slices_add_up),
		CASE(broken_delta_is_no_bad_block),
	};

	return cmocka_run_group_tests(tests, onedelta_make_dir, onedelta_remove_dir);
}
