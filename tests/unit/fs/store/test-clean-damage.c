/* SPDX-License-Identifier: LGPL-2.1-or-later */
/* Cleaning when bits flip, calls fail, space lacks, the process is killed. */
#include <errno.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <string.h>
#include <sys/wait.h>
#include <unistd.h>

#include <cmocka.h>

#include "fs/store/handle.h"
#include "fs/store/slot.h"
#include "tests/lib/churn.h"
#include "tests/lib/saboteur.h"

#define B DELTA_BLOCK_BYTES

/* ---- damage ---- */

static void flip(uint64_t pos)
{
	int fd = onedelta_file("log");
	uint8_t byte;

	assert_int_equal(pread(fd, &byte, 1, (off_t)pos), 1);
	byte ^= 0x10;
	assert_int_equal(pwrite(fd, &byte, 1, (off_t)pos), 1);
	close(fd);
}

static uint64_t pos_of(struct delta *delta, uint32_t block)
{
	struct index_place place;
	uint64_t run;

	assert_int_equal(
		index_get(&delta->log.index, block, 1, &run, &place), DELTA_DATA);
	return place.pos;
}

static uint64_t seq_at(struct delta *delta, uint64_t pos)
{
	return segment_table_entry(&delta->log.segments, slot_of(pos))->segment.seq;
}

/* A payload that does not verify stays, and its segment; all else is moved. */
static void damaged_payload_stays(void **state)
{
	struct delta *delta = onedelta_open(NULL);
	struct delta_stats stats;
	enum delta_owner owner;
	uint8_t buf[B];
	uint64_t pos, neighbour, seq;

	churn_make_work(delta);
	pos = pos_of(delta, 5);
	neighbour = pos_of(delta, 8);
	assert_int_equal(seq_at(delta, pos), seq_at(delta, neighbour));
	seq = seq_at(delta, pos);
	flip(pos + FORMAT_BLOCK_SUM + 3);
	churn_clean_all(delta);
	assert_true(churn_in_use(delta, seq));
	assert_int_equal(pos_of(delta, 5), pos);
	assert_int_not_equal(pos_of(delta, 8), neighbour);
	delta_stats(delta, &stats);
	assert_int_equal(stats.damaged_blocks, 1);
	assert_int_equal(delta_read(delta, buf, 1, 5, false, &owner), -EIO);
	/* And a second time it is not even tried. */
	churn_clean_all(delta);
	delta_stats(delta, &stats);
	assert_int_equal(stats.damaged_blocks, 1);
	for (uint32_t block = 0; block < ONEDELTA_BLOCKS; block++)
		if (block != 5)
			churn_check_block(delta, block);
	/* The medium has it right after all. */
	flip(pos + FORMAT_BLOCK_SUM + 3);
	churn_check_and_close(delta);
}

/* Where a record cannot be read, nobody knows what follows: all of it stays. */
static void damaged_record_keeps_its_segment(void **state)
{
	struct delta *delta = onedelta_open(NULL);
	uint64_t pos, seq;

	churn_make_work(delta);
	pos = pos_of(delta, 5);
	seq = seq_at(delta, pos);
	flip(slot_start(slot_of(pos)) + FORMAT_PAGE + 17);
	churn_clean_all(delta);
	assert_true(churn_in_use(delta, seq));
	churn_check(delta);
	flip(slot_start(slot_of(pos)) + FORMAT_PAGE + 17);
	churn_check_and_close(delta);
}

/* Only zeros are left in a segment, and the record that says so is damaged. */
static void damaged_zeros_keep_their_segment(void **state)
{
	struct delta *delta = onedelta_open(NULL);
	uint64_t pos, seq;

	churn_put(delta, 2, 0, 1);
	pos = log_tail_pos(&delta->log);
	churn_zero(delta, 500, 20);
	seq = delta->log.tail.seq;
	churn_put(delta, 2, 0, 256);
	churn_put(delta, 2, 0, 256);
	flip(pos + 24);
	churn_clean_all(delta);
	assert_true(churn_in_use(delta, seq));
	flip(pos + 24);
	churn_check_and_close(delta);
}

/* What does not count may rot. */
static void damage_in_dead_payload_does_not_matter(void **state)
{
	struct delta *delta = onedelta_open(NULL);
	struct delta_stats stats;
	uint64_t pos, seq;

	churn_put(delta, 2, 0, 32);
	pos = pos_of(delta, 5);
	seq = seq_at(delta, pos);
	churn_put(delta, 4, 5, 1);
	churn_put(delta, 4, 1000, 128);
	churn_put(delta, 4, 1000, 128);
	flip(pos + FORMAT_BLOCK_SUM + 3);
	churn_clean_all(delta);
	assert_false(churn_in_use(delta, seq));
	delta_stats(delta, &stats);
	assert_int_equal(stats.damaged_blocks, 0);
	churn_check_and_close(delta);
}

/* A segment that the device does not give any more is left alone. */
static void unreadable_segment_stays(void **state)
{
	struct saboteur sab;
	struct delta *delta;

	saboteur_init(&sab, &io_kernel);
	delta = onedelta_open(&sab.gate);
	churn_make_work(delta);
	sab.call = CALL_PREAD;
	sab.nth = sab.count[CALL_PREAD] + 3;
	sab.kind = SABOTAGE_FAIL;
	churn_clean_all(delta);
	sab.kind = SABOTAGE_NONE;
	churn_check_and_close(delta);
}

/* ---- failing ---- */

/* Each call of each kind fails once, or writes a half: the step says so or goes
 * on, and nothing is lost. */
static void failing_calls_lose_nothing(void **state)
{
	static const enum sabotaged_call calls[] = {CALL_PWRITEV, CALL_FALLOCATE, CALL_PREAD};

	for (size_t c = 0; c < 3; c++) {
		bool hit = true;

		for (uint64_t nth = 1; hit; nth++) {
			struct saboteur sab;
			struct delta *delta;
			uint64_t moved;
			int rc;

			churn_forget();
			saboteur_init(&sab, &io_kernel);
			delta = onedelta_open(&sab.gate);
			churn_make_work(delta);
			sab.call = calls[c];
			sab.nth = sab.count[calls[c]] + nth;
			sab.error = calls[c] == CALL_PREAD ? -EIO : -ENOSPC;
			sab.kind = nth % 2 && c == 0 ? SABOTAGE_SHORT : SABOTAGE_FAIL;
			churn_force(delta);
			do
				rc = delta_clean(delta, CHURN_BUDGET, &moved);
			while (rc > 0);
			hit = sab.hits > 0;
			sab.kind = SABOTAGE_NONE;
			sab.fail_next = false;
			assert_true(rc == 0 || rc == -ENOSPC || rc == -EIO);
			/* The owner's check failed: this life is over. */
			if (rc != -EIO) {
				churn_clean_all(delta);
				churn_check(delta);
				churn_put(delta, 99, 3, 5);
			}
			delta = churn_again(delta, true);
			churn_check(delta);
			assert_int_equal(delta_close(delta), 0);
			assert_int_equal(onedelta_remove(state), 0);
			assert_int_equal(onedelta_create(state), 0);
		}
	}
}

/* A failed sync: nothing is freed that might be needed. */
static void failed_sync_frees_nothing(void **state)
{
	for (uint64_t nth = 1; nth <= 3; nth++) {
		struct saboteur sab;
		struct delta *delta;
		uint64_t moved;
		int rc;

		churn_forget();
		saboteur_init(&sab, &io_kernel);
		delta = onedelta_open(&sab.gate);
		churn_make_work(delta);
		sab.call = CALL_SYNC;
		sab.nth = sab.count[CALL_SYNC] + nth;
		sab.kind = SABOTAGE_FAIL;
		churn_force(delta);
		do
			rc = delta_clean(delta, CHURN_BUDGET, &moved);
		while (rc > 0);
		assert_int_equal(rc, sab.hits ? -EIO : 0);
		assert_true(sab.hits || nth > 2);
		delta = churn_again(delta, true);
		churn_check(delta);
		assert_int_equal(delta_close(delta), 0);
		assert_int_equal(onedelta_remove(state), 0);
		assert_int_equal(onedelta_create(state), 0);
	}
}

static void die(void *ctx, enum sabotaged_call call)
{
	uint64_t *left = ctx;

	if (call != CALL_PREAD && --*left == 0)
		_exit(0);
}

/* A process that is killed before its nth call, after it wrote and while it
 * cleans; or between a checkpoint that names what is freed then, and the next. */
static bool killed_at(uint64_t nth, bool checkpoints)
{
	pid_t pid = fork();
	int status;

	assert_true(pid >= 0);
	if (pid == 0) {
		uint64_t left = UINT64_MAX;
		struct saboteur sab;
		struct delta *delta;

		saboteur_init(&sab, &io_kernel);
		sab.hook = die;
		sab.hook_ctx = &left;
		delta = onedelta_open(&sab.gate);
		churn_make_work(delta);
		if (checkpoints)
			assert_int_equal(delta_checkpoint(delta), 0);
		left = nth;
		churn_clean_all(delta);
		if (checkpoints)
			assert_int_equal(delta_checkpoint(delta), 0);
		_exit(1);
	}
	assert_int_equal(waitpid(pid, &status, 0), pid);
	assert_true(WIFEXITED(status));
	return WEXITSTATUS(status) == 0;
}

/* What churn_make_work() makes of an empty disk. */
static void model_work(void)
{
	struct delta *delta = onedelta_open(NULL);

	churn_forget();
	churn_make_work(delta);
	delta_abandon(delta);
}

static void killed_at_every_call(void **state)
{
	unsigned int kills = 0;

	model_work();
	for (int checkpoints = 0; checkpoints < 2; checkpoints++) {
		for (uint64_t nth = 1;; nth++, kills++) {
			struct delta *delta;

			assert_int_equal(onedelta_remove(state), 0);
			assert_int_equal(onedelta_create(state), 0);
			if (!killed_at(nth, checkpoints))
				break;
			assert_true(nth < 1000);
			delta = onedelta_open(NULL);
			churn_check(delta);
			/* And it is cleaned in its next life. */
			churn_clean_all(delta);
			churn_check_and_close(delta);
		}
	}
	print_message("killed at %u calls\n", kills);
	assert_in_range(kills, 20, 2000);
}

#define CASE(f) cmocka_unit_test_setup_teardown(f, churn_fresh, onedelta_remove)

int main(void)
{
	const struct CMUnitTest tests[] = {
		CASE(damaged_payload_stays),
		CASE(damaged_record_keeps_its_segment),
		CASE(damaged_zeros_keep_their_segment),
		CASE(damage_in_dead_payload_does_not_matter),
		CASE(unreadable_segment_stays),
		CASE(failing_calls_lose_nothing),
		CASE(failed_sync_frees_nothing),
		CASE(killed_at_every_call),
	};

	return cmocka_run_group_tests(tests, onedelta_make_dir, onedelta_remove_dir);
}
