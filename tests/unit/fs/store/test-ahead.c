/* SPDX-License-Identifier: LGPL-2.1-or-later */
/* Slots between two segments: their space, zeros written ahead, and old records that stay in them. */
#include <errno.h>
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

#include "fs/util/hash.h"
#include "tests/lib/saboteur.h"
#include "tests/unit/fs/store/slots.h"

/* ---- space ---- */

static uint64_t allocated(void)
{
	struct stat st;
	int fd = onedelta_file("log");

	assert_int_equal(fsync(fd), 0);
	assert_int_equal(fstat(fd, &st), 0);
	close(fd);
	return (uint64_t)st.st_blocks * 512;
}

#define FILE_SYSTEM_BYTES (16 * FORMAT_PAGE)

static uint64_t granted(struct delta *delta)
{
	SCOPED_LOCK(&delta->log.lock);

	return delta->log.granted_bytes;
}

/* Free space that is not used again soon goes back; what is counted for the
 * log is what its slots take. */
static void space_is_given_back(void **state)
{
	struct delta *delta = onedelta_open(NULL);
	uint32_t slots[16], n = 0;
	uint64_t before, used;
	unsigned int version = write_until(delta, 8, 0);

	for (uint32_t slot = 0; slot < 8; slot++)
		slots[n++] = slot;
	assert_int_equal(granted(delta), slot_start(9));
	assert_int_equal(log_retire(&delta->log, slots, n), 0);
	before = allocated();
	assert_true(before >= slot_start(8));
	assert_int_equal(log_trim(&delta->log), 0);
	used = granted(delta);
	/* Slots 0 to 5 are two full slots nearly, and stay. */
	assert_int_equal(used, slot_start(9) - slot_bytes(6) - slot_bytes(7) + 2 * FORMAT_PAGE);
	/* A file system counts its own blocks for a file in more pieces, too. */
	assert_true(allocated() <=
		before - 2 * (SLOT_FULL_BYTES - FORMAT_PAGE) + FILE_SYSTEM_BYTES);
	delta = onedelta_again(delta, true);
	assert_int_equal(granted(delta), used);
	onedelta_expect(delta, version, 0, 8);
	while (delta->log.tail.slot != 7) {
		version++;
		onedelta_put(delta, version, 0, 8);
	}
	assert_int_equal(granted(delta), slot_start(9));
	delta = onedelta_again(delta, true);
	onedelta_expect(delta, version, 0, 8);
	assert_int_equal(delta_close(delta), 0);
}

/* An idle clone takes what lives in it: nothing is kept for writes that may never
 * come, after a clean stop or in a layer. */
static void nothing_is_kept_for_later(void **state)
{
	const uint32_t slots[] = {0, 1, 2, 3, 4, 5, 6, 7};
	const uint64_t least = slot_bytes(8) + 8 * FORMAT_PAGE;

	for (int freeze = 0; freeze < 2; freeze++) {
		struct delta *delta;
		unsigned int version;

		onedelta_remove(state);
		onedelta_create(state);
		delta = onedelta_open(NULL);
		version = write_until(delta, 8, 0);
		assert_int_equal(log_retire(&delta->log, slots, 8), 0);
		assert_true(allocated() > least + SLOT_FULL_BYTES);
		if (freeze) {
			assert_int_equal(delta_freeze(delta), 0);
		} else {
			delta = onedelta_again(delta, false);
			assert_int_equal(granted(delta), least);
		}
		assert_true(allocated() <= least + FILE_SYSTEM_BYTES);
		onedelta_expect(delta, version, 0, 8);
		if (!freeze) {
			onedelta_put(delta, version + 1, 0, 8);
			assert_int_equal(delta->log.tail.slot, 0);
			delta = onedelta_again(delta, true);
			onedelta_expect(delta, version + 1, 0, 8);
		}
		assert_int_equal(delta_close(delta), 0);
	}
}

static int no_punch(const struct io_gate *io, int fd, int mode, uint64_t off, uint64_t len)
{
	return mode ? -EOPNOTSUPP : io_kernel.fallocate(&io_kernel, fd, mode, off, len);
}

static void file_systems_without_holes_are_fine(void **state)
{
	struct io_gate gate = io_kernel;
	struct delta *delta;
	uint32_t slots[8] = {0, 1, 2, 3, 4, 5, 6, 7};

	gate.fallocate = no_punch;
	delta = onedelta_open(&gate);
	write_until(delta, 8, 0);
	assert_int_equal(log_retire(&delta->log, slots, 8), 0);
	assert_int_equal(log_trim(&delta->log), 0);
	assert_int_equal(granted(delta), slot_start(9));
	assert_int_equal(delta_close(delta), 0);
}

/* ---- ahead ---- */

/* Small writes, each flushed, until a slot ahead is due. */
static unsigned int flush_often(struct delta *delta, unsigned int version)
{
	for (int i = 0; i < 64 && !(delta_due(delta) & DELTA_DUE_PREPARE); i++) {
		onedelta_put(delta, ++version, 0, 1);
		assert_int_equal(delta_flush(delta), 0);
	}
	return version;
}

static void slot_is_zeroed_ahead(void **state)
{
	struct delta *delta = onedelta_open(NULL);
	static uint8_t slot[512 << 10];
	struct segment header;
	unsigned int version = flush_often(delta, 0);
	int fd;

	assert_true(delta_due(delta) & DELTA_DUE_PREPARE);
	assert_int_equal(delta_prepare(delta), 0);
	assert_false(delta_due(delta) & DELTA_DUE_PREPARE);
	read_header(1, &header);
	assert_true(header.free);
	assert_int_equal(header.seq, 0);
	fd = onedelta_file("log");
	assert_int_equal(
		pread(fd, slot, slot_bytes(1), (off_t)slot_start(1)), (ssize_t)slot_bytes(1));
	close(fd);
	for (size_t i = FORMAT_PAGE; i < slot_bytes(1); i++)
		assert_int_equal(slot[i], 0);
	assert_int_equal(delta_prepare(delta), 0); /* one is enough */
	assert_int_equal(state_of(delta, 2), SLOT_UNUSED);
	next_segment(delta, 1);
	assert_int_equal(delta->log.tail.slot, 1);
	delta = onedelta_again(delta, true);
	onedelta_expect(delta, version, 0, 1);
	assert_int_equal(delta_close(delta), 0);
}

static void seldom_flushed_needs_nothing_ahead(void **state)
{
	struct delta *delta = onedelta_open(NULL);

	for (unsigned int i = 1; i < 30; i++) {
		onedelta_put(delta, i, 0, 40);
		assert_int_equal(delta_flush(delta), 0);
	}
	assert_false(delta_due(delta) & DELTA_DUE_PREPARE);
	assert_int_equal(delta_close(delta), 0);
}

static void zeroing_fails_safely(void **state)
{
	unsigned int failed = 0;

	for (uint64_t nth = 1; nth < 5; nth++) {
		struct saboteur sab;
		struct delta *delta;
		unsigned int version;
		int rc;

		onedelta_remove(state);
		onedelta_create(state);
		saboteur_init(&sab, &io_kernel);
		delta = onedelta_open(&sab.gate);
		version = flush_often(delta, 0);
		sab.call = CALL_PWRITEV;
		sab.kind = SABOTAGE_FAIL;
		sab.error = -ENOSPC;
		sab.nth = sab.count[CALL_PWRITEV] + nth;
		rc = delta_prepare(delta);
		sab.kind = SABOTAGE_NONE;
		failed += rc < 0;
		assert_int_equal(state_of(delta, 1), rc < 0 ? SLOT_UNUSED : SLOT_FREE);
		next_segment(delta, 1);
		assert_int_equal(delta->log.tail.slot, 1);
		delta_abandon(delta);
		delta = onedelta_open(NULL);
		onedelta_expect(delta, version, 0, 1);
		assert_int_equal(delta_close(delta), 0);
	}
	assert_true(failed >= 2);
}

/* ---- sums ---- */

/* What lay in a slot before verifies nowhere else, and at no other time. */
static void block_sums_know_their_place(void **state)
{
	const uint64_t key[2] = {5, 6}, other_key[2] = {5, 7}, other_seed[2] = {4, 6};
	struct record_place place = {.key = key, .epoch = 7, .seq = 8};
	struct record_place other[4] = {place, place, place, place};
	uint8_t body[FORMAT_BLOCK_SUM + 100] = {0};
	uint64_t hash;
	le64 sum;

	memset(body + FORMAT_BLOCK_SUM, 9, 100);
	sum = le64_put(record_block_sum(
		&place, 4096, 33, hash64(body + FORMAT_BLOCK_SUM, 100, 0)));
	memcpy(body, &sum, sizeof(sum));
	assert_int_equal(record_verify_block(&place, 4096, 33, body, 100, &hash), 0);
	assert_int_equal(record_verify_block(&place, 4104, 33, body, 100, &hash), -EUCLEAN);
	assert_int_equal(record_verify_block(&place, 4096, 34, body, 100, &hash), -EUCLEAN);
	other[0].epoch++;
	other[1].seq++;
	other[2].key = other_key;
	other[3].key = other_seed;
	for (int i = 0; i < 4; i++)
		assert_int_equal(
			record_verify_block(&other[i], 4096, 33, body, 100, &hash), -EUCLEAN);
}

/* A slot is full of records of an earlier segment. Those of the new one end
 * just where an old one begins: it is none of the new ones. */
static void old_records_are_not_taken_up(void **state)
{
	struct delta *delta = onedelta_open(NULL);
	uint64_t lsn;

	for (unsigned int i = 1; delta->log.tail.slot == 0; i++)
		onedelta_put(delta, i, 0, 1);
	for (unsigned int i = 1; delta->log.tail.slot == 1; i++)
		onedelta_put(delta, 500 + i, 0, 1);
	retire(delta, 0);
	while (delta->log.tail.slot != 0)
		onedelta_put(delta, 800, 0, 1);
	for (unsigned int i = 0; i < 4; i++)
		onedelta_put(delta, 900 + i, 0, 1);
	lsn = delta->log.appended_lsn;
	delta = onedelta_again(delta, true);
	assert_int_equal(delta->log.next_lsn, lsn + 1);
	onedelta_expect(delta, 903, 0, 1);
	assert_int_equal(delta_close(delta), 0);
}

#define CASE(f) cmocka_unit_test_setup_teardown(f, onedelta_create, onedelta_remove)

int main(void)
{
	const struct CMUnitTest tests[] = {
		CASE(space_is_given_back),
		CASE(nothing_is_kept_for_later),
		CASE(file_systems_without_holes_are_fine),
		CASE(slot_is_zeroed_ahead),
		CASE(seldom_flushed_needs_nothing_ahead),
		CASE(zeroing_fails_safely),
		CASE(block_sums_know_their_place),
		CASE(old_records_are_not_taken_up),
	};

	return cmocka_run_group_tests(tests, onedelta_make_dir, onedelta_remove_dir);
}
