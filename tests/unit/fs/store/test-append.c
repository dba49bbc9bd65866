/* SPDX-License-Identifier: LGPL-2.1-or-later */
/* Appending when calls fail: a new segment's header, the owner's check in mid-queue, the super block. */
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

#include "fs/store/handle.h"
#include "fs/store/recycle.h"
#include "fs/store/slot.h"
#include "fs/util/hash.h"
#include "fs/util/id.h"
#include "tests/lib/batch.h"
#include "tests/lib/saboteur.h"
#include "tests/lib/onedelta.h"

#define B DELTA_BLOCK_BYTES

static uint8_t buf[256 * B];

static int make_dir(void **state)
{
	/* Incompressible. */
	srand(1);
	for (size_t i = 0; i < sizeof(buf); i++)
		buf[i] = (uint8_t)(rand() >> 7);
	return onedelta_make_dir(state);
}

/* Write block by block until one fails; its result. */
static int write_until_failure(struct delta *delta)
{
	int rc = 0;

	for (uint32_t b = 0; b < 200 && rc == 0; b++)
		rc = delta_write(delta, buf, 1, b);
	return rc;
}

static atomic_bool lie;
static uint32_t lying_slot = 1;

/* NFS does this: the data is there, and the error of an earlier write-back is told. */
static ssize_t write_and_complain(const struct io_gate *io, int fd, const struct iovec *iov,
	int count, uint64_t off)
{
	ssize_t n = io_kernel.pwritev(&io_kernel, fd, iov, count, off);

	return atomic_load(&lie) && off == slot_start(lying_slot) ? -ENOSPC : n;
}

/* The header of the next segment names the end of this one: nothing may be
 * appended there any more, though the call that wrote the header failed. */
static void header_that_failed_may_be_there(void **state)
{
	struct io_gate gate = io_kernel;
	struct delta *delta;
	uint64_t run;

	gate.pwritev = write_and_complain;
	delta = onedelta_open(&gate);
	atomic_store(&lie, true);
	assert_int_equal(write_until_failure(delta), -ENOSPC);
	/* 48 bytes: there is room for them in the old segment. */
	assert_int_equal(delta_zero(delta, 1000, 5), -ENOSPC);
	atomic_store(&lie, false);
	assert_int_equal(delta_zero(delta, 2000, 5), 0);
	delta_abandon(delta);
	delta = onedelta_open(NULL);
	assert_int_equal(delta_map(delta, 0, 1, &run), DELTA_DATA);
	assert_int_equal(delta_map(delta, 2000, 5, &run), DELTA_ZERO);
	assert_int_equal(delta_close(delta), 0);
}

/* Then slots below are freed, and the next try takes one of them: the log has
 * no number twice, whatever is freed later. */
static void failed_header_is_there_once(uint32_t more_blocks, bool clean)
{
	struct io_gate gate = io_kernel;
	struct delta *delta;
	uint32_t dead[] = {0, 1}, later[] = {0, 2};
	int rc;

	gate.pwritev = write_and_complain;
	lying_slot = 3;
	delta = onedelta_open(&gate);
	while (delta->log.tail.slot < 2)
		assert_int_equal(delta_write(delta, buf, 32, 0), 0);
	assert_int_equal(delta_write(delta, buf, 32, 0), 0);
	atomic_store(&lie, true);
	do
		rc = delta_write(delta, buf, 32, 0);
	while (rc == 0);
	assert_int_equal(rc, -ENOSPC);
	assert_int_equal(log_retire(&delta->log, dead, 2), 0);
	atomic_store(&lie, false);
	lying_slot = 1;
	for (uint32_t i = 0; i < more_blocks; i++)
		assert_int_equal(delta_write(delta, buf, 1, 1000), 0);
	assert_int_equal(delta_zero(delta, 0, 32), 0);
	assert_int_equal(log_retire(&delta->log, later, 2), 0);
	if (clean)
		assert_int_equal(delta_close(delta), 0);
	else
		delta_abandon(delta);
	for (int i = 0; i < 3; i++) {
		uint64_t run;

		delta = onedelta_open(NULL);
		assert_int_equal(delta_map(delta, 0, 32, &run), DELTA_ZERO);
		assert_int_equal(delta_map(delta, 1000, 1, &run), DELTA_DATA);
		assert_int_equal(delta_write(delta, buf, 1, 2000), 0);
		delta_abandon(delta);
	}
}

static void failed_header_is_there_once_after_a_kill(void **state)
{
	failed_header_is_there_once(30, false);
}

static void failed_header_is_there_once_after_a_clean_stop(void **state)
{
	failed_header_is_there_once(30, true);
}

static void failed_header_is_not_on_the_path_later(void **state)
{
	failed_header_is_there_once(100, false);
}

static ssize_t write_super_and_complain(const struct io_gate *io, int fd, const struct iovec *iov,
	int count, uint64_t off)
{
	ssize_t n = io_kernel.pwritev(&io_kernel, fd, iov, count, off);
	struct stat st;

	assert_int_equal(fstat(fd, &st), 0);
	return atomic_load(&lie) && st.st_size == 2 * FORMAT_PAGE ? -ENOSPC : n;
}

/* Our own super block, of a write that was said to have failed, is not taken
 * for another owner's. */
static void super_that_failed_may_be_there(void **state)
{
	struct io_gate gate = io_kernel;
	struct delta *delta;

	gate.pwritev = write_super_and_complain;
	delta = onedelta_open(&gate);
	atomic_store(&lie, true);
	assert_int_equal(delta_grow(delta, (ONEDELTA_BLOCKS + 8) * (uint64_t)B), -ENOSPC);
	assert_int_equal(delta_write(delta, buf, 1, 0), -ENOSPC);
	assert_int_equal(delta_write(delta, buf, 1, 0), -ENOSPC);
	atomic_store(&lie, false);
	assert_int_equal(delta_write(delta, buf, 1, 0), 0);
	assert_int_equal(delta_size(delta), ONEDELTA_BLOCKS * (uint64_t)B);
	atomic_store(&lie, true);
	assert_int_equal(delta_grow(delta, (ONEDELTA_BLOCKS + 8) * (uint64_t)B), -ENOSPC);
	atomic_store(&lie, false);
	assert_int_equal(delta_write(delta, buf, 256, 0), 0);
	assert_int_equal(delta_close(delta), 0);
	delta = onedelta_open(NULL);
	assert_int_equal(delta_size(delta), ONEDELTA_BLOCKS * (uint64_t)B);
	assert_int_equal(delta_close(delta), 0);
}

static int too_large(const struct io_gate *io, int fd, int mode, uint64_t off, uint64_t len)
{
	return off >= slot_start(1) ? -EFBIG : io_kernel.fallocate(&io_kernel, fd, mode, off, len);
}

/* A log that cannot become longer is full like a disk. */
static void largest_log_is_full(void **state)
{
	struct io_gate gate = io_kernel;
	struct delta *delta;

	gate.fallocate = too_large;
	delta = onedelta_open(&gate);
	assert_int_equal(write_until_failure(delta), -ENOSPC);
	assert_int_equal(delta_close(delta), 0);
}

/* One of three calls that wait for each other. */
struct call {
	struct delta *delta;
	uint32_t count;
	bool zero;
	int rc;
};

static void make_call(void *arg)
{
	struct call *call = arg;

	call->rc = call->zero ? delta_zero(call->delta, 3000, call->count) :
				delta_write(call->delta, buf, call->count, 1000);
}

/* The second call in the queue finds the owner's check failing; the third one
 * would fit into the old segment, but the log is broken by then. */
static void broken_in_mid_queue(void **state)
{
	struct batch batch;
	struct saboteur sab;
	struct call call[3] = {{.count = 1}, {.count = 256}, {.count = 3, .zero = true}};
	struct delta *delta;

	saboteur_init(&sab, &io_kernel);
	delta = onedelta_open(&sab.gate);
	assert_int_equal(delta_write(delta, buf, 1, 0), 0);
	sab.call = CALL_PREAD;
	sab.nth = sab.count[CALL_PREAD] + 1;
	sab.kind = SABOTAGE_FAIL;
	batch_begin(&batch, delta, &sab);
	for (unsigned int i = 0; i < 3; i++) {
		call[i].delta = delta;
		batch_add(&batch, make_call, &call[i]);
	}
	batch_end(&batch);
	assert_int_equal(sab.hits, 1);
	assert_int_equal(call[0].rc, 0);
	assert_int_equal(call[1].rc, -EIO);
	assert_int_equal(call[2].rc, -EIO);
	assert_int_equal(delta_zero(delta, 3000, 3), -EIO);
	assert_int_equal(delta_close(delta), -EIO);
}

/* Somebody took the disk over: neither a clean mark nor a new size may be
 * written over his super block. */
static void lost_owner_writes_no_super(bool grow)
{
	struct delta *delta = onedelta_open(NULL);
	struct format_super raw[2], now[2];
	int fd = onedelta_file("super"), rc;

	assert_int_equal(delta_write(delta, buf, 1, 0), 0);
	assert_int_equal(pread(fd, raw, sizeof(raw), 0), sizeof(raw));
	raw[1].generation = le64_put(le64_get(raw[0].generation) + 1);
	raw[1].epoch = le64_put(1);
	raw[1].sum = le64_put(hash64(&raw[1], offsetof(struct format_super, sum), 0));
	assert_int_equal(pwrite(fd, raw, sizeof(raw), 0), sizeof(raw));
	rc = grow ? delta_grow(delta, (ONEDELTA_BLOCKS + 8) * (uint64_t)B) : delta_close(delta);
	assert_int_equal(rc, -EIO);
	assert_int_equal(pread(fd, now, sizeof(now), 0), sizeof(now));
	assert_memory_equal(now, raw, sizeof(raw));
	close(fd);
	if (grow)
		delta_abandon(delta);
}

static void lost_owner_marks_nothing_clean(void **state)
{
	lost_owner_writes_no_super(false);
}

static void lost_owner_grows_nothing(void **state)
{
	lost_owner_writes_no_super(true);
}

/* A disk that cannot grow for want of space goes on as it was. */
static void growing_without_space_breaks_nothing(void **state)
{
	struct saboteur sab;
	struct delta *delta;

	saboteur_init(&sab, &io_kernel);
	delta = onedelta_open(&sab.gate);
	assert_int_equal(delta_write(delta, buf, 1, 0), 0);
	sab.call = CALL_PWRITEV;
	sab.error = -EDQUOT;
	sab.kind = SABOTAGE_FAIL;
	assert_int_equal(delta_grow(delta, (ONEDELTA_BLOCKS + 8) * (uint64_t)B), -ENOSPC);
	assert_int_equal(delta_size(delta), ONEDELTA_BLOCKS * (uint64_t)B);
	sab.kind = SABOTAGE_NONE;
	assert_int_equal(delta_write(delta, buf, 1, 1), 0);
	assert_int_equal(delta_grow(delta, (ONEDELTA_BLOCKS + 8) * (uint64_t)B), 0);
	assert_int_equal(delta_write(delta, buf, 1, ONEDELTA_BLOCKS + 7), 0);
	assert_int_equal(delta_close(delta), 0);
}

/* Sealed, the tail takes nothing; sealing again does nothing. */
static void sealed_tail_takes_nothing(void **state)
{
	struct delta *delta = onedelta_open(NULL);
	struct log *log = &delta->log;
	uint64_t end, seq;

	assert_int_equal(log_seal(log), 0); /* no tail yet */
	assert_int_equal(delta_write(delta, buf, 3, 0), 0);
	end = log->end;
	seq = log->tail.seq;
	log_take_lead(log);
	assert_int_equal(log_seal(log), 0);
	assert_int_equal(log->end, end + RECORD_BARE_BYTES);
	assert_int_equal(log_seal(log), 0);
	assert_int_equal(log->end, end + RECORD_BARE_BYTES);
	log_give_lead(log);
	assert_true(delta_unsynced(delta));
	assert_int_equal(delta_zero(delta, 3000, 5), 0);
	assert_true(log->tail.seq > seq);
	delta_abandon(delta);
	delta = onedelta_open(NULL);
	assert_int_equal(delta_map(delta, 0, 3, &end), DELTA_DATA);
	assert_int_equal(delta_map(delta, 3000, 5, &end), DELTA_ZERO);
	assert_int_equal(delta_close(delta), 0);
}

/* Without END the tail goes on as it was. */
static void failed_seal_changes_nothing(void **state)
{
	struct saboteur sab;
	struct delta *delta;
	uint64_t end, seq;

	saboteur_init(&sab, &io_kernel);
	delta = onedelta_open(&sab.gate);
	assert_int_equal(delta_write(delta, buf, 1, 0), 0);
	end = delta->log.end;
	seq = delta->log.tail.seq;
	sab.call = CALL_PWRITEV;
	sab.error = -EDQUOT;
	sab.kind = SABOTAGE_FAIL;
	assert_int_equal(log_seal(&delta->log), -ENOSPC);
	sab.kind = SABOTAGE_NONE;
	assert_int_equal(delta->log.end, end);
	assert_int_equal(delta_write(delta, buf, 1, 1), 0);
	assert_int_equal(delta->log.tail.seq, seq);
	assert_int_equal(log_seal(&delta->log), 0);
	assert_int_equal(delta_close(delta), 0);
	delta = onedelta_open(NULL);
	assert_int_equal(delta_map(delta, 0, 2, &end), DELTA_DATA);
	assert_int_equal(end, 2);
	assert_int_equal(delta_close(delta), 0);
}

/* However a segment is filled, END fits behind. */
static void room_for_the_end_is_left(void **state)
{
	struct delta *delta = onedelta_open(NULL);
	struct log *log = &delta->log;
	uint64_t filled = 0;

	assert_int_equal(delta_write(delta, buf, 1, 0), 0);
	for (uint32_t b = 0; log->tail.slot == 0; b = 1 - b) {
		filled = log->end;
		assert_true(filled + RECORD_BARE_BYTES <= slot_bytes(0));
		if (filled + 3 * B < slot_bytes(0))
			assert_int_equal(delta_write(delta, buf, 1, b), 0);
		else /* 48 bytes each */
			assert_int_equal(log_append(log, &(struct log_request){
				.type = FORMAT_ZERO, .block = 1000, .count = 1}), 0);
	}
	/* And not more than that was left. */
	assert_true(filled + 3 * RECORD_BARE_BYTES > slot_bytes(0));
	assert_int_equal(delta_close(delta), 0);
}

/* No reader takes what is numbered higher: it must not be acknowledged. */
static void numbers_end_before_they_are_invalid(void **state)
{
	struct delta *delta = onedelta_open(NULL);

	onedelta_put(delta, 1, 0, 1);
	delta->log.next_lsn = FORMAT_COUNTER_MAX - 2;
	onedelta_put(delta, 2, 0, 1);
	onedelta_put(delta, 3, 0, 1);
	assert_int_equal(delta_write(delta, buf, 1, 0), -EIO);
	assert_int_equal(delta_flush(delta), -EIO);
	delta = onedelta_again(delta, true);
	onedelta_expect(delta, 3, 0, 1);
	assert_int_equal(delta_write(delta, buf, 1, 0), -EIO);
	delta_abandon(delta);
}

static void segments_end_before_they_are_invalid(void **state)
{
	struct delta *delta = onedelta_open(NULL);

	onedelta_put(delta, 1, 0, 1);
	delta->log.max_seq = FORMAT_COUNTER_MAX - 2;
	for (uint32_t b = 0; delta->log.tail.slot == 0; b++)
		onedelta_put(delta, 2, b, 1);
	assert_int_equal(delta->log.tail.seq, FORMAT_COUNTER_MAX - 1);
	assert_int_equal(write_until_failure(delta), -EIO);
	delta_abandon(delta);
}

#define CASE(f) cmocka_unit_test_setup_teardown(f, onedelta_create, onedelta_remove)

int main(void)
{
	const struct CMUnitTest tests[] = {
		CASE(header_that_failed_may_be_there),
		CASE(failed_header_is_there_once_after_a_kill),
		CASE(failed_header_is_not_on_the_path_later),
		CASE(failed_header_is_there_once_after_a_clean_stop),
		CASE(super_that_failed_may_be_there),
		CASE(largest_log_is_full),
		CASE(broken_in_mid_queue),
		CASE(lost_owner_marks_nothing_clean),
		CASE(lost_owner_grows_nothing),
		CASE(growing_without_space_breaks_nothing),
		CASE(sealed_tail_takes_nothing),
		CASE(failed_seal_changes_nothing),
		CASE(room_for_the_end_is_left),
		CASE(numbers_end_before_they_are_invalid),
		CASE(segments_end_before_they_are_invalid),
	};

	return cmocka_run_group_tests(tests, make_dir, onedelta_remove_dir);
}
