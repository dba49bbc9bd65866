/* SPDX-License-Identifier: LGPL-2.1-or-later */
/* Slots that are freed and used again, and what the log looks like to the next opener. */
#include <errno.h>
#include <pthread.h>
#include <sched.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stdatomic.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include <cmocka.h>

#include "fs/util/clock.h"
#include "tests/lib/saboteur.h"
#include "tests/unit/fs/store/slots.h"

#define B DELTA_BLOCK_BYTES

static struct segment_use uses[64];

/* The segments in use, without the tail. */
static uint32_t list(struct delta *delta)
{
	struct segment_use *all;
	uint32_t n;

	assert_int_equal(log_list_segments(&delta->log, &all, &n), 0);
	assert_true(n <= 64);
	if (n > 0)
		memcpy(uses, all, n * sizeof(*all));
	free(all);
	return n;
}

static const struct segment_use *use_of(struct delta *delta, uint32_t slot)
{
	uint32_t n = list(delta);

	for (uint32_t i = 0; i < n; i++)
		if (uses[i].slot == slot)
			return &uses[i];
	return NULL;
}

static void expect_refusal(const char *what)
{
	struct delta *delta = NULL;
	struct err err = {0};

	assert_int_equal(
		delta_open(onedelta_dirfd(), onedelta_name(), NULL, &delta, &err), -EUCLEAN);
	if (!strstr(err.message, what))
		fail_msg("%s", err.message);
}

/* What is in use is the same after a kill and after a clean stop, with and
 * without a checkpoint: live bytes, sealed, other, held. */
static struct delta *expect_same_uses(struct delta *delta)
{
	struct segment_use before[64];
	uint32_t n = list(delta), now;
	bool found = false;

	memcpy(before, uses, sizeof(uses));
	for (int way = 0; way < 4; way++) {
		if (way % 2)
			assert_int_equal(delta_checkpoint(delta), 0);
		delta = onedelta_again(delta, way < 2);
		now = list(delta);
		assert_true(now >= n);
		for (uint32_t i = 0; i < n; i++) {
			assert_memory_equal(&uses[i], &before[i], sizeof(uses[i]));
			found = true;
		}
	}
	assert_true(found);
	return delta;
}

static void dead_segments_are_freed_and_used_again(void **state)
{
	struct delta *delta = onedelta_open(NULL);
	struct delta_stats before, stats;
	struct segment header;
	unsigned int version = write_until(delta, 3, 0);

	assert_int_equal(list(delta), 3);
	for (uint32_t i = 0; i < 3; i++) {
		assert_int_equal(uses[i].slot, i);
		assert_int_equal(uses[i].live_bytes, 0);
		assert_true(uses[i].sealed && !uses[i].other && !uses[i].held);
	}
	delta_stats(delta, &before);
	retire(delta, 1);
	assert_int_equal(list(delta), 2);
	read_header(1, &header);
	assert_true(header.free);
	assert_int_equal(header.seq, 2);
	assert_int_equal(header.durable_lsn, delta->log.appended_lsn);
	delta_stats(delta, &stats);
	assert_int_equal(stats.used_bytes, before.used_bytes - slot_bytes(1));
	assert_int_equal(stats.free_bytes, before.free_bytes + slot_bytes(1));
	delta = expect_same_uses(delta);
	onedelta_expect(delta, version, 0, 8);
	next_segment(delta, 1);
	/* Opening began lives in the lowest free slots already. */
	read_header(1, &header);
	assert_false(header.free);
	assert_true(header.seq > 4);
	delta = onedelta_again(delta, true);
	onedelta_expect(delta, version, 0, 8);
	assert_int_equal(delta_close(delta), 0);
}

static void lowest_slot_is_taken_first(void **state)
{
	struct delta *delta = onedelta_open(NULL);
	uint32_t slots[] = {2, 0};

	write_until(delta, 3, 0);
	assert_int_equal(log_retire(&delta->log, slots, 2), 0);
	next_segment(delta, 1);
	assert_int_equal(delta->log.tail.slot, 0);
	next_segment(delta, 1);
	assert_int_equal(delta->log.tail.slot, 2);
	next_segment(delta, 1);
	assert_int_equal(delta->log.tail.slot, 4);
	assert_int_equal(delta_close(delta), 0);
}

/* Neither the tail, nor what the index points into, nor what is free. */
static void only_the_dead_are_freed(void **state)
{
	struct delta *delta = onedelta_open(NULL);
	uint32_t slots[] = {0, 1, 2, 3, 77};

	onedelta_put(delta, 1, 100, 1);
	write_until(delta, 2, 0);
	assert_int_equal(log_retire(&delta->log, slots, 5), 0);
	assert_int_equal(state_of(delta, 0), SLOT_USED);
	assert_int_equal(state_of(delta, 1), SLOT_FREE);
	assert_int_equal(state_of(delta, 2), SLOT_USED);
	assert_int_equal(log_retire(&delta->log, slots, 5), 0);
	assert_int_equal(state_of(delta, 1), SLOT_FREE);
	onedelta_expect(delta, 1, 100, 1);
	assert_int_equal(delta_close(delta), 0);
}

/* A segment whose successor was freed ends with END, or it is damaged. */
static void predecessor_of_a_freed_one_must_be_whole(void **state)
{
	struct delta *delta = onedelta_open(NULL);
	uint8_t page[FORMAT_PAGE];
	uint64_t end;

	onedelta_put(delta, 1, 100, 8);
	write_until(delta, 2, 0);
	end = segment_table_get(&delta->log.segments, 1)->prev_end;
	retire(delta, 1);
	assert_int_equal(delta_close(delta), 0);
	delta = onedelta_open(NULL);
	onedelta_expect(delta, 1, 100, 8);
	assert_int_equal(delta_close(delta), 0);
	read_page((end - 8) & ~(uint64_t)(FORMAT_PAGE - 1), page);
	page[(end - 8) % FORMAT_PAGE] ^= 1; /* the record sum of END */
	write_page((end - 8) & ~(uint64_t)(FORMAT_PAGE - 1), page);
	expect_refusal("damaged record in segment 1");
}

/* A free header is a header: it is missed where it is damaged. */
static void damaged_free_header_is_missed(void **state)
{
	struct delta *delta = onedelta_open(NULL);
	uint8_t page[FORMAT_PAGE];

	write_until(delta, 3, 0);
	retire(delta, 1);
	retire(delta, 0); /* whose header witnesses the other's */
	delta_abandon(delta);
	read_page(slot_start(1), page);
	page[33] ^= 1;
	write_page(slot_start(1), page);
	expect_refusal("damaged header of slot 1");
}

/* The end of a segment without END is known from its successor alone. */
static void witness_of_an_unsealed_end_is_kept(void **state)
{
	struct delta *delta = onedelta_open(NULL);
	uint32_t both[] = {1, 0};

	onedelta_put(delta, 1, 100, 8);
	delta = onedelta_again(delta, true);
	write_until(delta, 2, 0);
	assert_non_null(use_of(delta, 0));
	assert_false(use_of(delta, 0)->sealed);
	assert_true(use_of(delta, 1)->held);
	assert_int_equal(use_of(delta, 1)->live_bytes, 0);
	retire(delta, 1);
	assert_int_equal(state_of(delta, 1), SLOT_USED);
	delta = expect_same_uses(delta);
	onedelta_expect(delta, 1, 100, 8);
	onedelta_put(delta, 2, 100, 8);
	assert_int_equal(log_retire(&delta->log, both, 2), 0);
	assert_int_equal(state_of(delta, 0), SLOT_FREE);
	assert_int_equal(state_of(delta, 1), SLOT_FREE);
	delta = onedelta_again(delta, true);
	onedelta_expect(delta, 2, 100, 8);
	assert_int_equal(delta_close(delta), 0);
}

struct order {
	unsigned int syncs, free_at[4];
};

static struct order order;

static int count_sync(const struct io_gate *io, int fd)
{
	order.syncs++;
	return io_kernel.fdatasync(&io_kernel, fd);
}

static ssize_t note_header(const struct io_gate *io, int fd, const struct iovec *iov, int count,
	uint64_t off)
{
	const struct format_segment *raw = iov[0].iov_base;

	for (uint32_t slot = 0; slot < 4; slot++)
		if (off == slot_start(slot) && iov[0].iov_len == FORMAT_PAGE &&
			le64_get(raw->magic) == FORMAT_SEGMENT_MAGIC && le32_get(raw->flags))
			order.free_at[slot] = order.syncs;
	return io_kernel.pwritev(&io_kernel, fd, iov, count, off);
}

/* The free header of an unsealed segment is durable before that of its witness
 * is written; and all of them after what made them dead. */
static void freeing_keeps_its_order(void **state)
{
	struct io_gate gate = io_kernel;
	struct delta *delta = onedelta_open(NULL);
	uint32_t slots[] = {2, 1, 0};
	unsigned int begin;

	onedelta_put(delta, 1, 0, 8);
	delta_abandon(delta);
	gate.fdatasync = count_sync;
	gate.pwritev = note_header;
	delta = onedelta_open(&gate);
	write_until(delta, 3, 1);
	begin = order.syncs;
	assert_int_equal(log_retire(&delta->log, slots, 3), 0);
	assert_true(order.free_at[0] == begin + 1); /* after the flush of what is in slot 3 */
	assert_true(order.free_at[1] > order.free_at[0]);
	assert_int_equal(order.free_at[2], order.free_at[0]);
	assert_true(order.syncs > order.free_at[1]);
	assert_int_equal(delta_close(delta), 0);
}

/* Blocks that were written only in what a power cut took, and before it. */
static void make_lost_tail(unsigned int *ret_kept)
{
	static const uint8_t nothing[FORMAT_PAGE];
	struct delta *delta = onedelta_open(NULL);

	onedelta_put(delta, 1, 100, 8);
	assert_int_equal(delta_flush(delta), 0);
	*ret_kept = 1;
	write_until(delta, 2, 100);
	onedelta_put(delta, 2, 100, 8);
	delta_abandon(delta);
	write_page(slot_start(1), nothing); /* its header did not get there */
}

/* A tail that was dropped stays so, also when the segment is freed that said so. */
static void lost_tail_is_not_revived(void **state)
{
	struct delta *delta;
	struct segment header;
	unsigned int version;

	make_lost_tail(&version);
	delta = onedelta_open(NULL);
	onedelta_expect(delta, version, 100, 8);
	read_header(2, &header);
	assert_true(header.free);
	assert_int_equal(delta->log.tail.slot, 1);
	next_segment(delta, 5);
	next_segment(delta, 5);
	retire(delta, 1);
	assert_int_equal(state_of(delta, 1), SLOT_FREE);
	for (int i = 0; i < 3; i++) {
		delta = onedelta_again(delta, i < 2);
		onedelta_expect(delta, version, 100, 8);
	}
	assert_int_equal(delta_close(delta), 0);
}

/* The same tail, lost once more before its free header got there. */
static void lost_tail_is_freed_by_any_life(void **state)
{
	struct delta *delta;
	struct segment header;
	uint8_t page[FORMAT_PAGE];
	unsigned int version;

	make_lost_tail(&version);
	read_page(slot_start(2), page);
	delta = onedelta_open(NULL);
	delta_abandon(delta);
	write_page(slot_start(2), page);
	delta = onedelta_open(NULL);
	onedelta_expect(delta, version, 100, 8);
	read_header(2, &header);
	assert_true(header.free);
	assert_int_equal(delta_close(delta), 0);
}

/* Slots 0 and 2 were freed and are used again, without a flush; a power cut
 * keeps the second one's header and the first one's free header. */
static void reused_slot_in_a_lost_tail(void **state)
{
	struct delta *delta = onedelta_open(NULL);
	uint32_t slots[] = {0, 2};
	uint8_t page[FORMAT_PAGE];
	unsigned int version = write_until(delta, 3, 0);
	uint64_t seq;

	assert_int_equal(log_retire(&delta->log, slots, 2), 0);
	read_page(slot_start(0), page);
	while (delta->log.tail.slot != 0)
		onedelta_put(delta, version, 0, 8);
	write_until(delta, 2, 800);
	seq = delta->log.tail.seq;
	onedelta_put(delta, 901, 0, 8);
	delta_abandon(delta);
	write_page(slot_start(0), page);
	delta = onedelta_open(NULL);
	onedelta_expect(delta, version, 0, 8);
	assert_true(delta->log.tail.seq > seq);
	assert_int_equal(state_of(delta, 2), SLOT_FREE);
	delta = onedelta_again(delta, false);
	onedelta_expect(delta, version, 0, 8);
	assert_int_equal(delta_close(delta), 0);
}

/* ---- failures ---- */

/* Each call on the way fails once: an error, or nothing but delay. Nothing is
 * lost, and it works afterwards. */
static void freeing_fails_safely(void **state)
{
	static const enum sabotaged_call calls[] = {CALL_PWRITEV, CALL_PREAD, CALL_SYNC};
	unsigned int failed = 0;

	for (size_t c = 0; c < 3; c++) {
		for (uint64_t nth = 1; nth < 12; nth++) {
			struct delta *delta;
			struct saboteur sab;
			uint32_t slots[] = {0, 1, 2};
			unsigned int version;
			int rc;

			onedelta_remove(state);
			onedelta_create(state);
			saboteur_init(&sab, &io_kernel);
			delta = onedelta_open(&sab.gate);
			onedelta_put(delta, 7, 500, 8);
			version = write_until(delta, 3, 0);
			onedelta_put(delta, 8, 500, 8);
			sab.call = calls[c];
			sab.kind = SABOTAGE_FAIL;
			sab.error = calls[c] == CALL_PWRITEV ? -ENOSPC : -EIO;
			sab.nth = sab.count[calls[c]] + nth;
			rc = log_retire(&delta->log, slots, 3);
			sab.kind = SABOTAGE_NONE;
			assert_true(rc == 0 || rc == (calls[c] == CALL_PWRITEV ? -ENOSPC : -EIO));
			failed += rc < 0;
			if (calls[c] == CALL_PWRITEV) {
				assert_int_equal(log_retire(&delta->log, slots, 3), 0);
				next_segment(delta, 1);
			}
			delta_abandon(delta);
			delta = onedelta_open(NULL);
			onedelta_expect(delta, version, 0, 8);
			onedelta_expect(delta, 8, 500, 8);
			assert_int_equal(delta_close(delta), 0);
		}
	}
	assert_true(failed >= 5);
}

/* ---- readers ---- */

struct reader {
	pthread_t thread;
	struct delta *delta;
	atomic_bool hold, there, done;
	uint8_t buf[B];
	int rc;
};

static struct reader reader;

/* Let others go on; a minute of that is too much. */
static void poll_once(uint64_t begin_ns)
{
	assert_true(clock_now_ns() - begin_ns < UINT64_C(60) * 1000000000);
	sched_yield();
}

static ssize_t hold_pread(const struct io_gate *io, int fd, void *buf, size_t len, uint64_t off)
{
	while (atomic_load(&reader.hold) && off >= slot_start(1) && off < slot_start(2)) {
		atomic_store(&reader.there, true);
		sched_yield();
	}
	return io_kernel.pread(&io_kernel, fd, buf, len, off);
}

static void *read_it(void *arg)
{
	enum delta_owner owner;

	reader.rc = delta_read(reader.delta, reader.buf, 1, 700, false, &owner);
	atomic_store(&reader.done, true);
	return NULL;
}

static void *retire_it(void *arg)
{
	retire(arg, 1);
	return NULL;
}

/* A reader that has looked a block up, and is slow to read it, gets that block
 * whatever happens to its segment: the slot is not used again until it left. */
static void reader_is_waited_for(void **state)
{
	struct io_gate gate = io_kernel;
	struct delta *delta;
	uint8_t now[B];
	enum delta_owner owner;
	pthread_t retirer;
	uint64_t begin = clock_now_ns();

	gate.pread = hold_pread;
	delta = onedelta_open(&gate);
	write_until(delta, 1, 0);
	onedelta_put(delta, 1, 700, 1);
	write_until(delta, 2, 0);
	reader.delta = delta;
	atomic_store(&reader.hold, true);
	assert_int_equal(pthread_create(&reader.thread, NULL, read_it, NULL), 0);
	while (!atomic_load(&reader.there))
		poll_once(begin);
	onedelta_put(delta, 2, 700, 1);
	write_until(delta, 3, 0);
	assert_int_equal(pthread_create(&retirer, NULL, retire_it, delta), 0);
	while (state_of(delta, 1) != SLOT_RETIRED)
		poll_once(begin);
	next_segment(delta, 1);
	assert_int_equal(delta->log.tail.slot, 4);
	assert_int_equal(state_of(delta, 1), SLOT_RETIRED);
	assert_false(atomic_load(&reader.done));
	atomic_store(&reader.hold, false);
	pthread_join(reader.thread, NULL);
	pthread_join(retirer, NULL);
	assert_int_equal(reader.rc, 1);
	onedelta_expect(delta, 2, 700, 1);
	assert_int_equal(delta_read(delta, now, 1, 700, false, &owner), 1);
	assert_memory_not_equal(now, reader.buf, B);
	assert_int_equal(state_of(delta, 1), SLOT_FREE);
	assert_int_equal(delta_close(delta), 0);
}

#define CASE(f) cmocka_unit_test_setup_teardown(f, onedelta_create, onedelta_remove)

int main(void)
{
	const struct CMUnitTest tests[] = {
		CASE(dead_segments_are_freed_and_used_again),
		CASE(lowest_slot_is_taken_first),
		CASE(only_the_dead_are_freed),
		CASE(predecessor_of_a_freed_one_must_be_whole),
		CASE(damaged_free_header_is_missed),
		CASE(witness_of_an_unsealed_end_is_kept),
		CASE(freeing_keeps_its_order),
		CASE(lost_tail_is_not_revived),
		CASE(lost_tail_is_freed_by_any_life),
		CASE(reused_slot_in_a_lost_tail),
		CASE(freeing_fails_safely),
		CASE(reader_is_waited_for),
	};

	return cmocka_run_group_tests(tests, onedelta_make_dir, onedelta_remove_dir);
}
