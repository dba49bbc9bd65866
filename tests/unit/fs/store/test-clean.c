/* SPDX-License-Identifier: LGPL-2.1-or-later */
/* Cleaning by itself: what is moved, freed, found futile; and what writers do meanwhile. */
#include <errno.h>
#include <pthread.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stdatomic.h>
#include <stddef.h>
#include <stdint.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include <cmocka.h>

#include "fs/store/handle.h"
#include "fs/store/recycle.h"
#include "fs/store/slot.h"
#include "fs/util/cleanup.h"
#include "fs/util/clock.h"
#include "tests/lib/churn.h"
#include "tests/lib/saboteur.h"

#define B DELTA_BLOCK_BYTES

/* ---- alone ---- */

static void moving_changes_nothing(void **state)
{
	struct delta *delta = onedelta_open(NULL);
	struct delta_stats stats;
	uint64_t before;

	churn_make_work(delta);
	before = churn_used(delta);
	assert_true(churn_clean_all(delta) > 0);
	assert_true(churn_used(delta) < before);
	delta_stats(delta, &stats);
	assert_true(stats.moved_bytes > 0);
	churn_check_and_close(delta);
}

/* What was moved is moved again, beside new writes, over reopenings. */
static void cleaning_again_and_again(void **state)
{
	struct delta *delta = onedelta_open(NULL);

	churn_make_work(delta);
	for (uint32_t round = 0; round < 8; round++) {
		churn_clean_all(delta);
		churn_check(delta);
		for (uint32_t block = round; block < 1500; block += 7)
			churn_put(delta, 200 + round, block, 1);
		churn_zero(delta, 100 * round, 50);
		if (round % 2)
			delta = churn_again(delta, round % 4 == 1);
	}
	churn_clean_all(delta);
	assert_true(churn_used(delta) <= UINT64_C(24) << 20);
	churn_check_and_close(delta);
}

/* Call f for each record of each segment in use but the tail. */
static void each_record(struct delta *delta, void (*f)(const struct record *r, void *ctx), void *ctx)
{
	static uint8_t bytes[SLOT_FULL_BYTES];
	AUTO_FREE struct segment_use *uses = NULL;
	struct log *log = &delta->log;
	uint32_t n;

	assert_int_equal(log_list_segments(log, &uses, &n), 0);
	for (uint32_t i = 0; i < n; i++) {
		const struct segment *s =
			&segment_table_entry(&log->segments, uses[i].slot)->segment;
		uint64_t start = slot_start(s->slot), off = FORMAT_PAGE;
		struct record r;
		struct record_place place = {.key = log->key, .epoch = s->epoch, .seq = s->seq,
			.prev_sum = s->prev_sum};

		assert_true(pread(log->log_fd, bytes, uses[i].bytes, (off_t)start) > 0);
		do {
			place.pos = start + off;
			if (record_decode(&place, bytes + off, uses[i].bytes - off,
				    ONEDELTA_BLOCKS, 1, &r) < 0)
				break;
			f(&r, ctx);
			off += r.length;
			place.prev_sum = r.sum;
		} while (r.type != FORMAT_END);
	}
}

struct lsns {
	uint64_t written[ONEDELTA_BLOCKS]; /* of the guest's last write */
	uint64_t moved[ONEDELTA_BLOCKS];   /* the last that a record of moved ones says */
	uint32_t n_moved;
};

static void note_lsns(const struct record *r, void *ctx)
{
	struct lsns *lsns = ctx;

	for (uint32_t i = 0; i < r->n; i++) {
		struct record_entry e = record_entry(r, i);

		if (e.len > 0 && r->type == FORMAT_DATA)
			lsns->written[e.block] = e.lsn;
		if (e.len > 0 && r->type == FORMAT_MOVED) {
			lsns->moved[e.block] = e.lsn;
			lsns->n_moved++;
		}
	}
}

/* Begin another segment, as one that is full is followed. */
static void next_segment(struct delta *delta)
{
	log_take_lead(&delta->log);
	assert_int_equal(log_next_segment(&delta->log, true), 0);
	log_give_lead(&delta->log);
}

/* However often a block is moved, it keeps the LSN of the guest's write. */
static void moved_blocks_keep_their_lsn(void **state)
{
	struct lsns *lsns = calloc(2, sizeof(*lsns));
	struct delta *delta = onedelta_open(NULL);

	churn_make_work(delta);
	churn_put(delta, 7, 4000, 64);
	next_segment(delta);
	each_record(delta, note_lsns, &lsns[0]);
	for (int round = 0; round < 3; round++) {
		churn_clean_all(delta);
		next_segment(delta);
		each_record(delta, note_lsns, &lsns[1]);
	}
	assert_true(lsns[1].n_moved > 500);
	for (uint32_t block = 0; block < ONEDELTA_BLOCKS; block++)
		if (lsns[1].moved[block])
			assert_int_equal(lsns[1].moved[block], lsns[0].written[block]);
	free(lsns);
	churn_check_and_close(delta);
}

/* Runs of zeros of which nothing else tells any more, in one piece and in many. */
static void zeros_are_moved(void **state)
{
	struct delta *delta = onedelta_open(NULL);

	for (uint32_t block = 0; block < 1024; block += 256)
		churn_put(delta, 2, block, 256);
	for (uint32_t block = 0; block < 900; block++)
		churn_zero(delta, block, 1);
	for (uint32_t block = 2000; block < 2600; block += 2)
		churn_zero(delta, block, 1);
	churn_put(delta, 3, 450, 1);
	for (int round = 0; round < 3; round++) {
		churn_put(delta, 4, 3000, 256);
		churn_put(delta, 4, 3000, 256);
		churn_clean_all(delta);
		churn_check(delta);
		delta = churn_again(delta, true);
		churn_check(delta);
	}
	churn_check_and_close(delta);
}

/* A run that fell into more pieces than one record takes, between blocks of
 * data in one table: the step ends within it, and the next one goes on there. */
static void step_ends_within_a_run(void **state)
{
	struct delta *delta = onedelta_open(NULL);
	uint64_t seq, moved;
	int rc, steps = 0;

	churn_put(delta, 2, 0, 10);
	churn_zero(delta, 1000, 900);
	churn_put(delta, 2, 20, 10);
	churn_put(delta, 2, 100, 30);
	churn_put(delta, 3, 100, 30);
	next_segment(delta);
	seq = delta->log.tail.seq;
	assert_true(churn_clean_all(delta) > 0); /* all of it is one record now */
	churn_put(delta, 2, 100, 30);
	assert_int_equal(delta->log.tail.seq, seq);
	next_segment(delta);
	for (uint32_t block = 1000; block < 1900; block += 2)
		churn_put(delta, 3, block, 1);
	churn_put(delta, 4, 100, 30);
	next_segment(delta);
	assert_true(churn_in_use(delta, seq));
	churn_force(delta);
	do {
		rc = delta_clean(delta, 1, &moved);
		assert_true(rc >= 0);
	} while (rc > 0 && ++steps < 100);
	assert_in_range(steps, 3, 99);
	assert_false(churn_in_use(delta, seq));
	churn_check_and_close(delta);
}

/* A block that repair gave up stays so, as long as nobody writes it. */
static void bad_blocks_are_moved(void **state)
{
	struct delta *delta = onedelta_open(NULL);
	uint64_t run;

	churn_put(delta, 2, 0, 256);
	assert_int_equal(log_append(&delta->log,
		&(struct log_request){.type = FORMAT_BAD, .block = 600, .count = 100}), 0);
	churn_put(delta, 3, 650, 1);
	for (int round = 0; round < 3; round++) {
		for (int i = 0; i < 4; i++)
			churn_put(delta, 2 + i, 0, 256);
		churn_clean_all(delta);
		assert_int_equal(delta_map(delta, 600, 100, &run), DELTA_BAD);
		assert_int_equal(run, 50);
		assert_int_equal(delta_map(delta, 651, 100, &run), DELTA_BAD);
		assert_int_equal(run, 49);
		churn_check_block(delta, 650);
		delta = churn_again(delta, round == 1);
	}
	assert_int_equal(delta_close(delta), 0);
}

/* A guest that discards everything gets the space back, but for what is kept
 * for its next writes. */
static void emptied_disk_gives_space_back(void **state)
{
	struct delta *delta = onedelta_open(NULL);
	struct delta_stats stats;
	uint64_t moved;
	int rc;

	for (uint32_t round = 0; round < 4; round++)
		for (uint32_t block = 0; block < ONEDELTA_BLOCKS; block += 256)
			churn_put(delta, 2, block, 256);
	churn_zero(delta, 17, 1);
	churn_zero(delta, 0, ONEDELTA_BLOCKS);
	delta_stats(delta, &stats);
	assert_true(stats.log_bytes > UINT64_C(60) << 20);
	assert_true(delta_due(delta) & DELTA_DUE_CLEAN);
	do {
		rc = delta_clean(delta, CHURN_BUDGET, &moved);
		assert_true(rc >= 0);
	} while (rc > 0);
	assert_false(delta_due(delta) & DELTA_DUE_CLEAN);
	delta_stats(delta, &stats);
	assert_int_equal(stats.live_bytes, 0);
	assert_true(stats.used_bytes <= SLOT_FULL_BYTES);
	assert_true(stats.log_bytes <= 4 * SLOT_FULL_BYTES);
	churn_check_and_close(delta);
}

/* Payloads far smaller than what tells of them: moving gives nothing back, and
 * cleaning sees that. */
static void futile_cleaning_ends(void **state)
{
	static uint8_t buf[B];
	struct delta *delta = onedelta_open(NULL);
	uint64_t moved, sum = 0;
	int rc, steps = 0;

	for (uint32_t i = 0; i < 60000; i++) {
		memset(buf, 1 + (int)(i % 250), B);
		assert_int_equal(delta_write(delta, buf, 1, i % ONEDELTA_BLOCKS), 0);
	}
	for (uint32_t block = 0; block < ONEDELTA_BLOCKS; block += 2)
		assert_int_equal(delta_zero(delta, block, 1), 0);
	do {
		churn_force(delta);
		rc = delta_clean(delta, CHURN_BUDGET, &moved);
		assert_true(rc >= 0);
		sum += moved;
	} while (rc > 0 && ++steps < 100);
	assert_true(steps < 100);
	assert_true(sum < UINT64_C(8) << 20);
	assert_int_equal(delta_close(delta), 0);
}

/* A segment in which a life was killed, and the one that tells where it ended. */
static void ends_of_killed_lives_are_freed_in_order(void **state)
{
	struct delta *delta = onedelta_open(NULL);

	for (uint32_t life = 0; life < 6; life++) {
		churn_put(delta, 2 + life, 0, 200);
		churn_put(delta, 2 + life, 1000 + 40 * life, 30);
		churn_zero(delta, 2000 + 10 * life, 5);
		delta = churn_again(delta, true);
	}
	churn_clean_all(delta);
	churn_check(delta);
	assert_true(churn_used(delta) <= SLOT_FULL_BYTES);
	churn_check_and_close(delta);
}

/* ---- writers ---- */

/* A dead segment that witnesses where a killed life ended in one full of live
 * data: that one has to be emptied, though it is not worth it by itself. */
static void full_segment_makes_way_for_its_witness(void **state)
{
	struct delta *delta = onedelta_open(NULL);
	uint64_t seq;

	churn_put(delta, 2, 0, 60); /* all of 256 KiB */
	delta = churn_again(delta, true);
	churn_put(delta, 2, 1000, 120); /* of 512 KiB */
	seq = delta->log.tail.seq;
	next_segment(delta);
	churn_put(delta, 4, 1000, 120);
	next_segment(delta);
	churn_clean_all(delta);
	assert_false(churn_in_use(delta, seq));
	churn_check_and_close(delta);
}

/* A write that finds no space makes all that gives something back worth it. */
static void want_of_space_is_due(void **state)
{
	struct saboteur sab;
	struct delta *delta;
	uint64_t moved, before;
	uint8_t buf[B];
	int rc;

	saboteur_init(&sab, &io_kernel);
	delta = onedelta_open(&sab.gate);
	for (uint32_t block = 0; block < ONEDELTA_BLOCKS; block += 256)
		churn_put(delta, 2, block, 256);
	for (uint32_t block = 0; block < ONEDELTA_BLOCKS; block += 2)
		churn_put(delta, 4, block, 1);
	do
		rc = delta_clean(delta, CHURN_BUDGET, &moved);
	while (rc > 0);
	assert_int_equal(rc, 0);
	assert_false(delta_due(delta) & DELTA_DUE_CLEAN);
	before = churn_used(delta);
	sab.call = CALL_FALLOCATE;
	sab.error = -ENOSPC;
	sab.kind = SABOTAGE_FAIL;
	churn_fill(buf, 2, 4000);
	do
		rc = delta_write(delta, buf, 1, 4000);
	while (rc == 0);
	assert_int_equal(rc, -ENOSPC);
	sab.kind = SABOTAGE_NONE;
	churn_model[4000] = 2;
	assert_true(delta_due(delta) & DELTA_DUE_CLEAN);
	do
		rc = delta_clean(delta, CHURN_BUDGET, &moved);
	while (rc > 0);
	assert_int_equal(rc, 0);
	assert_true(churn_used(delta) < before);
	assert_false(delta_due(delta) & DELTA_DUE_CLEAN);
	churn_check_and_close(delta);
}

static void *free_one(void *arg)
{
	struct cleaner *cleaner = arg;

	SCOPED_LOCK(&cleaner->lock);
	cleaner->frees++;
	pthread_cond_broadcast(&cleaner->freed);
	return NULL;
}

/* Writers wait only while somebody cleans, and never for long. */
static void writers_wait_a_bounded_moment(void **state)
{
	struct delta *delta = onedelta_open(NULL);
	struct cleaner *cleaner = &delta->log.cleaner;
	pthread_t thread;
	uint64_t began;

	churn_put(delta, 2, 0, 1);
	atomic_store(&cleaner->behind, true);
	began = clock_now_ns();
	for (uint32_t i = 0; i < 50; i++) /* one segment: a new one would look again */
		churn_put(delta, 2, i, 1); /* nobody cleans */
	assert_true(clock_now_ns() - began < CLEAN_WAIT_MS * UINT64_C(50) * 1000000);
	atomic_store(&cleaner->active_until_ns, UINT64_MAX);
	began = clock_now_ns();
	churn_put(delta, 3, 0, 1);
	assert_true(clock_now_ns() - began >= (CLEAN_WAIT_MS - 1) * UINT64_C(1000000));
	/* Freed meanwhile, or no more behind: at once, or as soon as said. */
	assert_int_equal(pthread_create(&thread, NULL, free_one, cleaner), 0);
	churn_put(delta, 4, 0, 1);
	pthread_join(thread, NULL);
	atomic_store(&cleaner->behind, false);
	churn_put(delta, 5, 0, 1);
	churn_check_and_close(delta);
}

#define CASE(f) cmocka_unit_test_setup_teardown(f, churn_fresh, onedelta_remove)

int main(void)
{
	const struct CMUnitTest tests[] = {
		CASE(moving_changes_nothing),
		CASE(cleaning_again_and_again),
		CASE(moved_blocks_keep_their_lsn),
		CASE(zeros_are_moved),
		CASE(step_ends_within_a_run),
		CASE(bad_blocks_are_moved),
		CASE(emptied_disk_gives_space_back),
		CASE(futile_cleaning_ends),
		CASE(ends_of_killed_lives_are_freed_in_order),
		CASE(full_segment_makes_way_for_its_witness),
		CASE(want_of_space_is_due),
		CASE(writers_wait_a_bounded_moment),
	};

	return cmocka_run_group_tests(tests, onedelta_make_dir, onedelta_remove_dir);
}
