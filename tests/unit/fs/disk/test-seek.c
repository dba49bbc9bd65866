/* SPDX-License-Identifier: LGPL-2.1-or-later */
/* SEEK_DATA and SEEK_HOLE over base and delta, also of a disk of 8 TiB. */
#include <errno.h>
#include <fcntl.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <string.h>
#include <sys/mount.h>
#include <time.h>
#include <unistd.h>

#include <cmocka.h>

#include "tests/unit/fs/disk/rig.h"

#define B DELTA_BLOCK_BYTES
#define TIB (UINT64_C(1) << 40)
#define GIB (UINT64_C(1) << 30)

static char content[1 << 20];
static struct rig rig;

static int set_up(void **state)
{
	scratch_fill(content, sizeof(content), 1);
	return 0;
}

static int tear_down(void **state)
{
	char mounted[SCRATCH_PATH_MAX];

	disk_abandon(rig.disk);
	rig.disk = NULL;
	umount2(scratch_path(mounted, "mnt"), MNT_DETACH);
	rig_end(&rig);
	return 0;
}

static void expect_data(uint64_t from, uint64_t at)
{
	uint64_t off = 0;

	assert_int_equal(disk_seek(rig.disk, from, true, &off), 0);
	assert_int_equal(off, at);
}

static void expect_hole(uint64_t from, uint64_t at)
{
	uint64_t off = 0;

	assert_int_equal(disk_seek(rig.disk, from, false, &off), 0);
	assert_int_equal(off, at);
}

static void expect_no_data(uint64_t from)
{
	uint64_t off = 7;

	assert_int_equal(disk_seek(rig.disk, from, true, &off), -ENXIO);
	assert_int_equal(off, 7);
}

/* Does the file system under the test tell holes? */
static void need_holes(void)
{
	uint64_t run;

	if (!base_hole(disk_base(rig.disk), sizeof(content), 1, &run))
		skip();
}

static void test_delta_over_holes(void **state)
{
	rig_start(&rig, 64 * B, NULL, 0, 0);
	expect_no_data(0);
	expect_hole(5, 5);
	assert_int_equal(disk_write(rig.disk, content, 2 * B, 10 * B, 0), 0);
	assert_int_equal(disk_write(rig.disk, content, 1, 13 * B + 77, 0), 0);
	expect_data(0, 10 * B);
	expect_data(10 * B + 5, 10 * B + 5);
	expect_hole(10 * B + 5, 12 * B);
	expect_data(12 * B, 13 * B);
	expect_hole(13 * B, 14 * B);
	expect_no_data(14 * B);
	expect_hole(14 * B + 1, 14 * B + 1);
	/* Discarded and written zeros are holes. */
	assert_int_equal(disk_zero(rig.disk, B, 10 * B, 0), 0);
	expect_data(0, 11 * B);
	assert_int_equal(disk_seek(rig.disk, 64 * B, true, &(uint64_t){0}), -ENXIO);
	assert_int_equal(disk_seek(rig.disk, 64 * B, false, &(uint64_t){0}), -ENXIO);
}

/* The base's odd end is data to the end of its block; discarding uncovers nothing. */
static void test_base_end(void **state)
{
	rig_start(&rig, 1 << 20, content, 100 * B + 567, 100 * B + 567);
	expect_data(0, 0);
	expect_hole(0, 101 * B);
	expect_no_data(101 * B);
	assert_int_equal(disk_zero(rig.disk, 50 * B, 51 * B, 0), 0);
	expect_hole(0, 51 * B);
	expect_no_data(51 * B);
}

/* A disk whose size is no multiple of a block ends where it ends. */
static void test_odd_end(void **state)
{
	rig_start(&rig, 3 * B + 512, content, 3 * B + 512, 3 * B + 512);
	expect_hole(0, 3 * B + 512);
	assert_int_equal(disk_zero(rig.disk, 512, 3 * B, 0), 0);
	expect_hole(0, 3 * B);
	expect_hole(3 * B + 100, 3 * B + 100);
}

static int64_t now_ms(void)
{
	struct timespec t;

	clock_gettime(CLOCK_MONOTONIC, &t);
	return t.tv_sec * 1000 + t.tv_nsec / 1000000;
}

/* One block of the base's last stretch and one of the delta's, 8 TiB apart. */
static void test_huge(void **state)
{
	int64_t start;
	int fd;

	rig_start(&rig, 8 * TIB, content, sizeof(content), 8 * TIB);
	need_holes();
	disk_abandon(rig.disk);
	fd = open(rig.base, O_WRONLY | O_CLOEXEC);
	assert_int_equal(pwrite(fd, content, B, (off_t)(7 * TIB)), B);
	close(fd);
	rig_open(&rig);
	assert_int_equal(disk_write(rig.disk, content, B, 3 * TIB, 0), 0);
	assert_int_equal(disk_write(rig.disk, content, B, 8 * TIB - B, 0), 0);
	assert_int_equal(disk_zero(rig.disk, 2 * TIB, TIB, 0), 0);
	start = now_ms();
	for (int i = 0; i < 100; i++) {
		expect_hole(0, sizeof(content));
		expect_data(sizeof(content), 3 * TIB);
		expect_hole(3 * TIB, 3 * TIB + B);
		expect_data(3 * TIB + B, 7 * TIB);
		expect_hole(7 * TIB, 7 * TIB + B);
		expect_data(7 * TIB + B, 8 * TIB - B);
		expect_hole(8 * TIB - B, 8 * TIB);
	}
	/* By runs it takes milliseconds, block by block it would take minutes. */
	assert_true(now_ms() - start < 5000);
	/* All of it discarded in one record: one hole. */
	assert_int_equal(disk_zero(rig.disk, 8 * TIB, 0, 0), 0);
	expect_no_data(0);
	assert_true(disk_data_bytes(rig.disk) < GIB);
}

/* A data run of the delta that is longer than one look: the hole is behind it. */
static void test_long_data(void **state)
{
	const uint64_t len = 160 << 20;

	rig_start(&rig, GIB, NULL, 0, 0);
	for (uint64_t off = 0; off < len; off += sizeof(content))
		assert_int_equal(disk_write(rig.disk, content, sizeof(content), off, 0), 0);
	expect_data(0, 0);
	expect_hole(0, len);
	expect_no_data(len);
}

/* ---- a base whose file system has blocks of 1 KiB ---- */

/* A 4 KiB block with data anywhere in it is data. */
static void test_small_extents(void **state)
{
	int fd;

	if (geteuid() != 0)
		skip();
	rig_start(&rig, 32 * B, content, 32 * B, 32 * B);
	disk_abandon(rig.disk);
	rig.disk = NULL;
	if (scratch_run(NULL, "cd %s && truncate -s 8M fs && mkfs.ext4 -q -b 1024 fs && mkdir mnt && "
			      "mount -o loop fs mnt >/dev/null 2>&1",
		    scratch_dir()) != 0)
		skip();
	scratch_file(scratch_path(rig.base, "mnt/base.raw"), "", 0, 32 * B);
	fd = open(rig.base, O_WRONLY | O_CLOEXEC);
	assert_int_equal(pwrite(fd, content, 1024, 3 * B + 2048), 1024);
	assert_int_equal(pwrite(fd, content, 1024, 9 * B - 1024), 1024);
	assert_int_equal(pwrite(fd, content, 1024, 9 * B), 1024);
	assert_int_equal(fsync(fd), 0);
	close(fd);
	rig_open(&rig);
	expect_data(0, 3 * B);
	expect_data(3 * B + 10, 3 * B + 10);
	expect_hole(3 * B, 4 * B);
	expect_data(4 * B, 8 * B);
	expect_hole(8 * B, 10 * B);
	expect_no_data(10 * B);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test_setup_teardown(test_delta_over_holes, set_up, tear_down),
		cmocka_unit_test_setup_teardown(test_base_end, set_up, tear_down),
		cmocka_unit_test_setup_teardown(test_odd_end, set_up, tear_down),
		cmocka_unit_test_setup_teardown(test_huge, set_up, tear_down),
		cmocka_unit_test_setup_teardown(test_long_data, set_up, tear_down),
		cmocka_unit_test_setup_teardown(test_small_extents, set_up, tear_down),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
