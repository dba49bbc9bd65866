/* SPDX-License-Identifier: LGPL-2.1-or-later */
/* One delta: write, read, zero, reopen after a clean stop and after a kill, refusals, damage. */
#include <errno.h>
#include <fcntl.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include <cmocka.h>

#include "fs/store/delta.h"
#include "fs/store/format.h"
#include "fs/util/hash.h"
#include "fs/util/id.h"
#include "tests/lib/onedelta.h"

#define B DELTA_BLOCK_BYTES

static uint8_t buf[256 * B], got[256 * B];

/* Half compressible, different for each seed. */
static void fill(uint8_t *p, uint32_t blocks, unsigned int seed)
{
	srand(seed);
	for (uint32_t i = 0; i < blocks * B; i++)
		p[i] = i % 64 < 32 ? (uint8_t)rand() : (uint8_t)seed;
}

static void expect(struct delta *delta, uint64_t block, uint32_t count, const uint8_t *data)
{
	enum delta_owner owner;

	for (uint32_t done = 0; done < count;) {
		int n = delta_read(delta, got, count - done, block + done, false, &owner);

		assert_true(n > 0);
		assert_int_equal(owner, data ? DELTA_DATA : DELTA_ZERO);
		for (int i = 0; !data && i < n * (int)B; i++)
			assert_int_equal(got[i], 0);
		if (data)
			assert_memory_equal(got, data + (size_t)done * B, (size_t)n * B);
		done += (uint32_t)n;
	}
}

static void expect_absent(struct delta *delta, uint64_t block)
{
	uint64_t run;

	assert_int_equal(delta_map(delta, block, 1, &run), DELTA_ABSENT);
}

static void reads_what_was_written(void **state)
{
	struct delta *delta = onedelta_open(NULL);

	fill(buf, 256, 1);
	expect_absent(delta, 7);
	assert_int_equal(delta_write(delta, buf, 256, 100), 0);
	expect(delta, 100, 256, buf);
	fill(buf, 1, 2);
	assert_int_equal(delta_write(delta, buf, 1, 7), 0);
	expect(delta, 7, 1, buf);
	memset(buf, 0, 3 * B);
	assert_int_equal(delta_write(delta, buf, 3, 8), 0);
	expect(delta, 8, 3, NULL);
	assert_int_equal(delta_zero(delta, 100, 256), 0);
	expect(delta, 100, 256, NULL);
	expect_absent(delta, 356);
	assert_int_equal(delta_close(delta), 0);
}

static void refuses_what_is_outside(void **state)
{
	struct delta *delta = onedelta_open(NULL);
	enum delta_owner owner;

	assert_int_equal(delta_write(delta, buf, 1, ONEDELTA_BLOCKS), -EINVAL);
	assert_int_equal(delta_write(delta, buf, 2, ONEDELTA_BLOCKS - 1), -EINVAL);
	assert_int_equal(delta_write(delta, buf, 0, 0), -EINVAL);
	assert_int_equal(delta_write(delta, buf, 1, UINT64_MAX), -EINVAL);
	assert_int_equal(delta_zero(delta, 1, UINT64_MAX), -EINVAL);
	assert_int_equal(delta_read(delta, got, 257, 0, false, &owner), -EINVAL);
	assert_int_equal(delta_close(delta), 0);
}

/* Enough to run through all slot sizes, with requests cut at segment ends. */
static void survives(bool killed)
{
	struct delta *delta = onedelta_open(NULL);
	static uint8_t all[ONEDELTA_BLOCKS * B];

	fill(all, ONEDELTA_BLOCKS, 3);
	for (int round = 0; round < 2; round++)
		for (uint32_t b = 0; b < ONEDELTA_BLOCKS; b += 128)
			assert_int_equal(delta_write(delta, all + (size_t)b * B, 128, b), 0);
	assert_int_equal(delta_zero(delta, 1000, 500), 0);
	for (int life = 0; life < 3; life++) {
		if (killed)
			delta_abandon(delta);
		else
			assert_int_equal(delta_close(delta), 0);
		delta = onedelta_open(NULL);
		expect(delta, 0, 200, all);
		expect(delta, 1000, 256, NULL);
		expect(delta, 1500, 256, all + (size_t)1500 * B);
		expect(delta, ONEDELTA_BLOCKS - 256, 256, all + (size_t)(ONEDELTA_BLOCKS - 256) * B);
		assert_int_equal(delta_write(delta, all + (size_t)life * B, 1, (uint64_t)life), 0);
		assert_int_equal(delta_flush(delta), 0);
		assert_false(delta_unsynced(delta));
	}
	assert_int_equal(delta_close(delta), 0);
}

static void survives_clean_stop(void **state)
{
	survives(false);
}

static void survives_kill(void **state)
{
	survives(true);
}

static void second_opener_is_refused(void **state)
{
	struct delta *delta = onedelta_open(NULL), *second = NULL;
	struct err err = {0};

	assert_int_equal(delta_open(onedelta_dirfd(), onedelta_name(), NULL, &second, &err), -EBUSY);
	assert_int_equal(delta_close(delta), 0);
	delta = onedelta_open(NULL);
	assert_int_equal(delta_close(delta), 0);
}

static void growing_shows_nothing_old(void **state)
{
	struct delta *delta = onedelta_open(NULL);
	uint64_t size = (uint64_t)(ONEDELTA_BLOCKS + 100) * B;

	assert_int_equal(delta_grow(delta, size - 1), -EINVAL);
	assert_int_equal(delta_grow(delta, size), 0);
	assert_int_equal(delta_grow(delta, size - B), -EINVAL);
	fill(buf, 1, 4);
	assert_int_equal(delta_write(delta, buf, 1, ONEDELTA_BLOCKS + 99), 0);
	delta_abandon(delta);
	delta = onedelta_open(NULL);
	assert_int_equal(delta_size(delta), size);
	expect(delta, ONEDELTA_BLOCKS + 99, 1, buf);
	assert_int_equal(delta_close(delta), 0);
}

/* Flip each byte of the used log: the log is refused or the block is gone with
 * the tail, but never wrong; flushed records are never lost silently. */
static void flipped_bits_are_noticed(void **state)
{
	struct delta *delta = onedelta_open(NULL);
	int refused = 0, fd, end = 4096 + 3 * 2200;
	struct err err;

	fill(buf, 3, 5);
	for (uint32_t b = 0; b < 3; b++)
		assert_int_equal(delta_write(delta, buf + b * B, 1, b), 0);
	assert_int_equal(delta_close(delta), 0);
	fd = onedelta_file("log");
	for (int off = 0; off < end; off += 37) {
		uint8_t byte, flipped;

		assert_int_equal(pread(fd, &byte, 1, off), 1);
		flipped = byte ^ 0x10;
		assert_int_equal(pwrite(fd, &flipped, 1, off), 1);
		delta = NULL;
		if (delta_open(onedelta_dirfd(), onedelta_name(), NULL, &delta, &err) < 0)
			refused++;
		else
			expect(delta, 0, 3, buf);
		if (delta)
			assert_int_equal(delta_close(delta), 0);
		assert_int_equal(pwrite(fd, &byte, 1, off), 1);
	}
	close(fd);
	print_message("%d positions refused\n", refused);
	assert_true(refused > 150);
	delta = onedelta_open(NULL);
	expect(delta, 0, 3, buf);
	assert_int_equal(delta_close(delta), 0);
}

static void newer_format_is_refused(void **state)
{
	struct format_super raw;
	struct delta *delta;
	struct err err = {0};
	int fd = onedelta_file("super");

	for (int copy = 0; copy < 2; copy++) {
		assert_int_equal(pread(fd, &raw, sizeof(raw), copy * 4096), sizeof(raw));
		raw.incompat = le64_put(UINT64_C(1) << 40);
		raw.sum = le64_put(hash64(&raw, offsetof(struct format_super, sum), 0));
		assert_int_equal(pwrite(fd, &raw, sizeof(raw), copy * 4096), sizeof(raw));
	}
	close(fd);
	assert_int_equal(delta_open(onedelta_dirfd(), onedelta_name(), NULL, &delta, &err), -EUCLEAN);
	assert_non_null(strstr(err.message, "0x10000000000"));
	assert_non_null(strstr(err.hint, "newer"));
}

/* Damage under an open delta is an error, not a guess. */
static void read_verifies(void **state)
{
	struct delta *delta = onedelta_open(NULL);
	enum delta_owner owner;
	off_t middle = 4096 + 48 + 8 + 8 + 1000; /* of the payload */
	uint8_t byte;
	int fd;

	fill(buf, 1, 6);
	assert_int_equal(delta_write(delta, buf, 1, 9), 0);
	fd = onedelta_file("log");
	assert_int_equal(pread(fd, &byte, 1, middle), 1);
	byte ^= 1;
	assert_int_equal(pwrite(fd, &byte, 1, middle), 1);
	close(fd);
	assert_int_equal(delta_read(delta, got, 1, 9, false, &owner), -EIO);
	delta_abandon(delta);
}

/* Somebody else wrote the super block: the next segment is not begun, and no
 * call succeeds from then on, not even one that the old segment has room for. */
static void lost_owner_goes_eio(void **state)
{
	struct delta *delta = onedelta_open(NULL);
	struct format_super raw;
	int fd = onedelta_file("super"), rc = 0;

	fill(buf, 256, 7);
	assert_int_equal(delta_write(delta, buf, 1, 0), 0);
	assert_int_equal(pread(fd, &raw, sizeof(raw), 0), sizeof(raw));
	raw.generation = le64_put(le64_get(raw.generation) + 8);
	raw.epoch = le64_put(1);
	raw.sum = le64_put(hash64(&raw, offsetof(struct format_super, sum), 0));
	assert_int_equal(pwrite(fd, &raw, sizeof(raw), 0), sizeof(raw));
	close(fd);
	for (int i = 0; i < 64 && rc == 0; i++)
		rc = delta_write(delta, buf, 256, 0);
	assert_int_equal(rc, -EIO);
	assert_int_equal(delta_zero(delta, 0, 1), -EIO);
	assert_int_equal(delta_flush(delta), -EIO);
	delta_abandon(delta);
}

/* The last blocks of the largest disk; a discard of all of it is one record. */
static void largest_disk(void **state)
{
	const uint64_t blocks = DELTA_SIZE_MAX / B;
	struct delta_stats stats;
	struct delta *delta = onedelta_open(NULL);
	uint64_t run;

	assert_int_equal(delta_grow(delta, DELTA_SIZE_MAX + 512), -EINVAL);
	assert_int_equal(delta_grow(delta, DELTA_SIZE_MAX), 0);
	fill(buf, 4, 8);
	assert_int_equal(delta_zero(delta, 0, blocks), 0);
	assert_int_equal(delta_write(delta, buf, 4, blocks - 4), 0);
	assert_int_equal(delta_write(delta, buf, 1, blocks), -EINVAL);
	for (int i = 0; i < 2; i++) {
		expect(delta, blocks - 4, 4, buf);
		assert_int_equal(delta_map(delta, 0, blocks, &run), DELTA_ZERO);
		assert_int_equal(run, blocks - 4);
		delta_stats(delta, &stats);
		assert_int_equal(stats.data_blocks, 4);
		assert_true(stats.index_bytes < 256 << 10);
		delta_abandon(delta);
		delta = onedelta_open(NULL);
	}
	assert_int_equal(delta_close(delta), 0);
}

int main(void)
{
#define CASE(f) cmocka_unit_test_setup_teardown(f, onedelta_create, onedelta_remove)
	const struct CMUnitTest tests[] = {
		CASE(reads_what_was_written),
		CASE(refuses_what_is_outside),
		CASE(survives_clean_stop),
		CASE(survives_kill),
		CASE(second_opener_is_refused),
		CASE(growing_shows_nothing_old),
		CASE(flipped_bits_are_noticed),
		CASE(newer_format_is_refused),
		CASE(read_verifies),
		CASE(lost_owner_goes_eio),
		CASE(largest_disk),
	};

	return cmocka_run_group_tests(tests, onedelta_make_dir, onedelta_remove_dir);
}
