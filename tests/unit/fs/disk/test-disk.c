/* SPDX-License-Identifier: LGPL-2.1-or-later */
/* One disk: edges of blocks, of the base, of its limit and of the disk; figures; a base in trouble. */
#include <errno.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <string.h>
#include <sys/stat.h>

#include <cmocka.h>

#include "tests/unit/fs/disk/rig.h"

#define B DELTA_BLOCK_BYTES
#define BASE_BYTES 1234567u
#define DISK_BYTES (2u << 20)

static char content[BASE_BYTES];
static char buf[DISK_IO_MAX];
static char got[DISK_BYTES];
static struct rig rig;

static int set_up(void **state)
{
	scratch_fill(content, sizeof(content), 1);
	scratch_fill(buf, sizeof(buf), 2);
	rig_start(&rig, DISK_BYTES, content, BASE_BYTES, BASE_BYTES);
	return 0;
}

static int tear_down(void **state)
{
	rig_end(&rig);
	return 0;
}

/* Read it all, in requests of a size that fits nothing. */
static const char *read_all(void)
{
	uint64_t size = disk_size(rig.disk);
	size_t step = 300 * 512;

	assert_true(size <= sizeof(got));
	memset(got, 'z', sizeof(got));
	for (uint64_t off = 0; off < size; off += step) {
		size_t len = size - off < step ? (size_t)(size - off) : step;

		assert_int_equal(disk_read(rig.disk, got + off, len, off, 0), 0);
	}
	return got;
}

static void expect_zeros(const char *p, size_t len)
{
	for (size_t i = 0; i < len; i++)
		assert_int_equal(p[i], 0);
}

static void test_fresh(void **state)
{
	const char *all = read_all();

	assert_int_equal(disk_size(rig.disk), DISK_BYTES);
	assert_memory_equal(all, content, BASE_BYTES);
	expect_zeros(all + BASE_BYTES, DISK_BYTES - BASE_BYTES);
	assert_false(disk_unsynced(rig.disk));
	assert_non_null(disk_base(rig.disk));
}

/* A few bytes in a block keep what the base has around them. */
static void test_merge_with_base(void **state)
{
	const char *all;

	assert_int_equal(disk_write(rig.disk, buf, 5, B + 7, 0), 0);
	all = read_all();
	assert_memory_equal(all, content, B + 7);
	assert_memory_equal(all + B + 7, buf, 5);
	assert_memory_equal(all + B + 12, content + B + 12, BASE_BYTES - B - 12);
	assert_true(disk_unsynced(rig.disk));
	assert_int_equal(disk_flush(rig.disk), 0);
	assert_false(disk_unsynced(rig.disk));
}

/* The block in which the base ends: its bytes, then zeros. */
static void test_merge_at_base_end(void **state)
{
	uint64_t last = BASE_BYTES / B * B;
	const char *all;

	assert_int_equal(disk_write(rig.disk, buf, 1, last + B - 1, 0), 0);
	all = read_all();
	assert_memory_equal(all, content, BASE_BYTES);
	expect_zeros(all + BASE_BYTES, last + B - 1 - BASE_BYTES);
	assert_int_equal(all[last + B - 1], buf[0]);
	expect_zeros(all + last + B, DISK_BYTES - last - B);
}

static void test_merge_with_delta_and_zeros(void **state)
{
	const char *all;

	assert_int_equal(disk_write(rig.disk, buf, B, 0, 0), 0);
	assert_int_equal(disk_write(rig.disk, buf + B, 512, 512, 0), 0);
	assert_int_equal(disk_zero(rig.disk, B, B, 0), 0);
	assert_int_equal(disk_write(rig.disk, buf, 512, B + 1024, 0), 0);
	all = read_all();
	assert_memory_equal(all, buf, 512);
	assert_memory_equal(all + 512, buf + B, 512);
	assert_memory_equal(all + 1024, buf + 1024, B - 1024);
	expect_zeros(all + B, 1024);
	assert_memory_equal(all + B + 1024, buf, 512);
	expect_zeros(all + B + 1536, B - 1536);
	assert_memory_equal(all + 2 * B, content + 2 * B, BASE_BYTES - 2 * B);
}

/* 1 MiB that begins and ends within blocks touches 257 of them. */
static void test_large_unaligned(void **state)
{
	const char *all;

	assert_int_equal(disk_write(rig.disk, buf, DISK_IO_MAX, 1000, 0), 0);
	assert_int_equal(disk_read(rig.disk, got, DISK_IO_MAX, 1000, 0), 0);
	assert_memory_equal(got, buf, DISK_IO_MAX);
	all = read_all();
	assert_memory_equal(all, content, 1000);
	assert_memory_equal(all + 1000, buf, DISK_IO_MAX);
	assert_memory_equal(
		all + 1000 + DISK_IO_MAX, content + 1000 + DISK_IO_MAX, BASE_BYTES - 1000 - DISK_IO_MAX);
}

static void test_two_blocks_both_partial(void **state)
{
	const char *all;

	assert_int_equal(disk_write(rig.disk, buf, B, B / 2, 0), 0);
	all = read_all();
	assert_memory_equal(all, content, B / 2);
	assert_memory_equal(all + B / 2, buf, B);
	assert_memory_equal(all + B / 2 + B, content + B / 2 + B, BASE_BYTES - B / 2 - B);
}

/* Everything discarded reads as zeros, never as base, edges included. */
static void test_zero(void **state)
{
	const char *all;

	assert_int_equal(disk_zero(rig.disk, 100, 50, 0), 0);
	assert_int_equal(disk_zero(rig.disk, 3 * B, 2 * B - 512, 0), 0);
	all = read_all();
	assert_memory_equal(all, content, 50);
	expect_zeros(all + 50, 100);
	assert_memory_equal(all + 150, content + 150, 2 * B - 512 - 150);
	expect_zeros(all + 2 * B - 512, 3 * B);
	assert_memory_equal(all + 5 * B - 512, content + 5 * B - 512, BASE_BYTES - 5 * B + 512);
	assert_int_equal(disk_zero(rig.disk, DISK_BYTES, 0, 0), 0);
	expect_zeros(read_all(), DISK_BYTES);
}

static void test_out_of_range(void **state)
{
	assert_int_equal(disk_read(rig.disk, got, 1, DISK_BYTES, 0), -EINVAL);
	assert_int_equal(disk_read(rig.disk, got, 2, DISK_BYTES - 1, 0), -EINVAL);
	assert_int_equal(disk_read(rig.disk, got, 0, DISK_BYTES, 0), 0);
	assert_int_equal(disk_write(rig.disk, buf, 2, DISK_BYTES - 1, 0), -EINVAL);
	assert_int_equal(disk_write(rig.disk, buf, 1, UINT64_MAX, 0), -EINVAL);
	assert_int_equal(disk_write(rig.disk, buf, 0, 0, 0), 0);
	assert_int_equal(disk_zero(rig.disk, UINT64_MAX, 1, 0), -EINVAL);
	assert_int_equal(disk_zero(rig.disk, 0, 0, 0), 0);
	assert_memory_equal(read_all(), content, BASE_BYTES);
}

static void test_reopen(void **state)
{
	for (int killed = 0; killed < 2; killed++) {
		const char *all;

		assert_int_equal(disk_write(rig.disk, buf + killed, 5000, 3000, 0), 0);
		assert_int_equal(disk_zero(rig.disk, B, 40960, 0), 0);
		rig_reopen(&rig, killed);
		all = read_all();
		assert_memory_equal(all, content, 3000);
		assert_memory_equal(all + 3000, buf + killed, 5000);
		assert_memory_equal(all + 8000, content + 8000, 40960 - 8000);
		expect_zeros(all + 40960, B);
	}
}

/* What growing uncovers is zeros, although the base has more to give. */
static void test_grow(void **state)
{
	const uint64_t small = 10 * B + 512;
	const char *all;

	rig_end(&rig);
	rig_start(&rig, small, content, BASE_BYTES, small);
	unlink(rig.base); /* made anew, longer than the disk and its limit */
	disk_abandon(rig.disk);
	scratch_file(rig.base, content, BASE_BYTES, BASE_BYTES);
	rig_open(&rig);
	assert_int_equal(disk_write(rig.disk, buf, 512, small - 512, 0), 0);
	assert_int_equal(disk_grow(rig.disk, small - 512), -EINVAL);
	assert_int_equal(disk_grow(rig.disk, small + 100), -EINVAL);
	assert_int_equal(disk_grow(rig.disk, DELTA_SIZE_MAX + 512), -EINVAL);
	assert_int_equal(disk_grow(rig.disk, DISK_BYTES), 0);
	for (int again = 0; again < 2; again++) {
		assert_int_equal(disk_size(rig.disk), DISK_BYTES);
		all = read_all();
		assert_memory_equal(all, content, small - 512);
		assert_memory_equal(all + small - 512, buf, 512);
		expect_zeros(all + small, DISK_BYTES - small);
		rig_reopen(&rig, again);
	}
}

/* Without the write: the base's own block at the limit is cut as well. */
static void test_base_limit(void **state)
{
	const char *all;

	disk_abandon(rig.disk);
	rig.limit_bytes = 5 * B + 100;
	rig_open(&rig);
	all = read_all();
	assert_memory_equal(all, content, rig.limit_bytes);
	expect_zeros(all + rig.limit_bytes, DISK_BYTES - rig.limit_bytes);
	assert_int_equal(disk_write(rig.disk, buf, 1, 5 * B + 200, 0), 0);
	all = read_all();
	assert_memory_equal(all, content, rig.limit_bytes);
	expect_zeros(all + rig.limit_bytes, 100);
	assert_int_equal(all[5 * B + 200], buf[0]);
	expect_zeros(all + 5 * B + 201, B - 201);
}

static void test_no_base(void **state)
{
	rig_end(&rig);
	rig_start(&rig, DISK_BYTES, NULL, 0, 0);
	assert_null(disk_base(rig.disk));
	expect_zeros(read_all(), DISK_BYTES);
	assert_int_equal(disk_data_bytes(rig.disk), 0);
	assert_int_equal(disk_write(rig.disk, buf, 1, DISK_BYTES - 1, 0), 0);
	assert_int_equal(read_all()[DISK_BYTES - 1], buf[0]);
	assert_int_equal(disk_data_bytes(rig.disk), B);
}

static void test_data_bytes(void **state)
{
	struct delta_stats stats;
	uint64_t fresh = disk_data_bytes(rig.disk);

	assert_true(fresh > BASE_BYTES - B && fresh <= BASE_BYTES);
	assert_int_equal(disk_write(rig.disk, buf, 10 * B, 0, 0), 0);
	assert_int_equal(disk_data_bytes(rig.disk), fresh + 10 * B);
	disk_delta_stats(rig.disk, &stats);
	assert_int_equal(stats.data_blocks, 10);
	assert_int_equal(disk_write(rig.disk, buf, DISK_IO_MAX, 0, 0), 0);
	assert_int_equal(disk_write(rig.disk, buf, DISK_IO_MAX, DISK_IO_MAX, 0), 0);
	assert_int_equal(disk_data_bytes(rig.disk), DISK_BYTES);
}

/* ---- a base that cannot be read ---- */

/* Make it fail for ever: it is cut short under the disk. */
static void break_base(void)
{
	struct base_info info;

	assert_int_equal(truncate(rig.base, 512), 0);
	WAIT_UNTIL((base_info(disk_base(rig.disk), &info), info.state == BASE_CHANGED));
}

/* Reads of what the base owns fail, merges with it leave the disk as it was;
 * everything else goes on. */
static void test_broken_base(void **state)
{
	assert_int_equal(disk_write(rig.disk, buf, 4 * B, 0, 0), 0);
	break_base();
	assert_int_equal(disk_read(rig.disk, got, 4 * B, 0, 0), 0);
	assert_memory_equal(got, buf, 4 * B);
	assert_int_equal(disk_read(rig.disk, got, 4 * B + 1, 0, 0), -EIO);
	assert_int_equal(disk_read(rig.disk, got, 4 * B + 1, 0, DISK_NOWAIT), -EIO);
	assert_int_equal(disk_read(rig.disk, got, B, DISK_BYTES - B, 0), 0);
	expect_zeros(got, B);
	/* Head in the delta, tail in the base: nothing of it is written. */
	assert_int_equal(disk_write(rig.disk, buf + B, 3 * B, 2 * B + 512, 0), -EIO);
	assert_int_equal(disk_zero(rig.disk, 3 * B, 2 * B + 512, 0), -EIO);
	assert_int_equal(disk_read(rig.disk, got, 4 * B, 0, 0), 0);
	assert_memory_equal(got, buf, 4 * B);
	assert_int_equal(disk_write(rig.disk, buf, B, 8 * B, 0), 0);
	assert_int_equal(disk_write(rig.disk, buf, 100, 8 * B + 50, 0), 0);
}

/* A request that need not wait is done at once; one that must changes nothing. */
static void test_nowait(void **state)
{
	assert_int_equal(disk_read(rig.disk, got, BASE_BYTES / 2, 100, 0), 0);
	assert_int_equal(disk_read(rig.disk, got, BASE_BYTES / 2, 100, DISK_NOWAIT), 0);
	assert_memory_equal(got, content + 100, BASE_BYTES / 2);
	assert_int_equal(disk_write(rig.disk, buf, 100, 100, DISK_NOWAIT), 0);
	assert_int_equal(disk_zero(rig.disk, 10, 150, DISK_NOWAIT), 0);
	assert_int_equal(disk_read(rig.disk, got, 100, 100, DISK_NOWAIT), 0);
	assert_memory_equal(got, buf, 50);
	expect_zeros(got + 50, 10);
	assert_memory_equal(got + 60, buf + 60, 40);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test_setup_teardown(test_fresh, set_up, tear_down),
		cmocka_unit_test_setup_teardown(test_merge_with_base, set_up, tear_down),
		cmocka_unit_test_setup_teardown(test_merge_at_base_end, set_up, tear_down),
		cmocka_unit_test_setup_teardown(test_merge_with_delta_and_zeros, set_up, tear_down),
		cmocka_unit_test_setup_teardown(test_large_unaligned, set_up, tear_down),
		cmocka_unit_test_setup_teardown(test_two_blocks_both_partial, set_up, tear_down),
		cmocka_unit_test_setup_teardown(test_zero, set_up, tear_down),
		cmocka_unit_test_setup_teardown(test_out_of_range, set_up, tear_down),
		cmocka_unit_test_setup_teardown(test_reopen, set_up, tear_down),
		cmocka_unit_test_setup_teardown(test_grow, set_up, tear_down),
		cmocka_unit_test_setup_teardown(test_base_limit, set_up, tear_down),
		cmocka_unit_test_setup_teardown(test_no_base, set_up, tear_down),
		cmocka_unit_test_setup_teardown(test_data_bytes, set_up, tear_down),
		cmocka_unit_test_setup_teardown(test_broken_base, set_up, tear_down),
		cmocka_unit_test_setup_teardown(test_nowait, set_up, tear_down),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
