/* SPDX-License-Identifier: LGPL-2.1-or-later */
/* Opening from a checkpoint: what is read, when it counts, and that it is never trusted over the log. */
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

#include "fs/store/checkpoint.h"
#include "fs/store/handle.h"
#include "fs/store/recycle.h"
#include "fs/util/hash.h"
#include "tests/lib/onedelta.h"
#include "tests/lib/saboteur.h"

#define B DELTA_BLOCK_BYTES

/* Versions of blocks [0, 8), 8 blocks a write, up to slot. */
static unsigned int write_until(struct delta *delta, uint32_t slot, unsigned int version)
{
	for (int i = 0; delta->log.tail.slot != slot; i++) {
		assert_true(i < 5000);
		onedelta_put(delta, ++version, 0, 8);
	}
	onedelta_put(delta, ++version, 0, 8);
	return version;
}

static struct delta_stats stats_of(struct delta *delta)
{
	struct delta_stats stats;

	delta_stats(delta, &stats);
	return stats;
}

struct file {
	uint8_t *bytes;
	size_t len;
};

static struct file load(const char *suffix)
{
	struct file file;
	struct stat st;
	int fd = onedelta_file(suffix);

	assert_true(fd >= 0);
	assert_int_equal(fstat(fd, &st), 0);
	file.len = (size_t)st.st_size;
	file.bytes = malloc(file.len);
	assert_non_null(file.bytes);
	assert_int_equal(pread(fd, file.bytes, file.len, 0), (ssize_t)file.len);
	close(fd);
	return file;
}

static void store(const char *suffix, const struct file *file)
{
	int fd = onedelta_file(suffix);

	assert_true(fd >= 0);
	assert_int_equal(ftruncate(fd, 0), 0);
	assert_int_equal(pwrite(fd, file->bytes, file->len, 0), (ssize_t)file->len);
	assert_int_equal(fsync(fd), 0);
	close(fd);
}

static void remove_checkpoint(void)
{
	assert_int_equal(checkpoint_remove(&io_kernel, onedelta_dirfd(), onedelta_name()), 0);
}

/* Segments in use, as replaying all of the log finds them. */
static void expect_uses_of_whole_replay(struct delta **delta)
{
	struct segment_use *before, *after;
	uint32_t n, now;

	assert_int_equal(log_list_segments(&(*delta)->log, &before, &n), 0);
	delta_abandon(*delta);
	remove_checkpoint();
	*delta = onedelta_open(NULL);
	assert_int_equal(log_list_segments(&(*delta)->log, &after, &now), 0);
	assert_true(now >= n);
	if (n > 0)
		assert_memory_equal(after, before, n * sizeof(*before));
	free(before);
	free(after);
}

/* ---- what is read ---- */

static unsigned int log_reads;

static ssize_t count_log_reads(
	const struct io_gate *io, int fd, void *buf, size_t len, uint64_t off)
{
	struct stat log, st;
	int log_fd = onedelta_file("log");

	assert_int_equal(fstat(log_fd, &log), 0);
	assert_int_equal(fstat(fd, &st), 0);
	close(log_fd);
	log_reads += st.st_ino == log.st_ino;
	return io_kernel.pread(&io_kernel, fd, buf, len, off);
}

static void clean_stop_is_opened_without_reading_the_log(void **state)
{
	struct io_gate gate = io_kernel;
	struct delta *delta = onedelta_open(NULL);
	unsigned int version;
	uint32_t dead[] = {0, 2};

	onedelta_put(delta, 1, 100, 4);
	version = write_until(delta, 6, 0);
	assert_int_equal(log_retire(&delta->log, dead, 2), 0);
	assert_int_equal(delta_close(delta), 0);
	gate.pread = count_log_reads;
	log_reads = 0;
	delta = onedelta_open(&gate);
	assert_int_equal(log_reads, 0);
	assert_int_equal(stats_of(delta).replayed_bytes, 0);
	onedelta_expect(delta, version, 0, 8);
	onedelta_expect(delta, 1, 100, 4);
	onedelta_expect(delta, 0, 200, 1);
	assert_true(log_reads > 0);
	/* It lives on in the lowest free slot. */
	onedelta_put(delta, 9, 0, 1);
	assert_int_equal(delta->log.tail.slot, 2);
	expect_uses_of_whole_replay(&delta);
	onedelta_expect(delta, 9, 0, 1);
	onedelta_expect(delta, version, 1, 7);
	assert_int_equal(delta_close(delta), 0);
}

/* After a kill what lies behind the checkpoint is replayed, and not more. */
static void killed_log_is_replayed_from_the_checkpoint(void **state)
{
	struct delta *delta = onedelta_open(NULL);
	unsigned int version;

	onedelta_put(delta, 1, 100, 4);
	version = write_until(delta, 4, 0);
	assert_int_equal(delta_checkpoint(delta), 0);
	onedelta_put(delta, 77, 0, 2);
	assert_int_equal(delta_zero(delta, 300, 10), 0);
	delta = onedelta_again(delta, true);
	assert_true(stats_of(delta).replayed_bytes > 2 * B);
	assert_true(stats_of(delta).replayed_bytes < 3 * B);
	onedelta_expect(delta, 77, 0, 2);
	onedelta_expect(delta, version, 2, 6);
	onedelta_expect(delta, 1, 100, 4);
	expect_uses_of_whole_replay(&delta);
	onedelta_expect(delta, 77, 0, 2);
	assert_int_equal(delta_close(delta), 0);
}

/* Taken at each point of a segment: at its begin, in it, after its END. */
static void place_may_be_anywhere(void **state)
{
	struct delta *delta = onedelta_open(NULL);

	assert_int_equal(delta_checkpoint(delta), 0); /* of an empty log */
	delta = onedelta_again(delta, true);
	for (unsigned int i = 1; i < 200; i++) {
		onedelta_put(delta, i, i % 7, 3);
		if (i % 5 == 0)
			assert_int_equal(delta_checkpoint(delta), 0);
		if (i % 20 == 0) {
			delta = onedelta_again(delta, i % 40 == 0);
			onedelta_expect(delta, i, i % 7, 3);
		}
		if (i % 30 == 0)
			assert_int_equal(delta_checkpoint(delta), 0);
	}
	expect_uses_of_whole_replay(&delta);
	onedelta_expect(delta, 199, 199 % 7, 3);
	assert_int_equal(delta_close(delta), 0);
}

/* Small logs replay in no time, and get none at a clean stop. */
static void small_logs_get_no_checkpoint(void **state)
{
	struct delta *delta = onedelta_open(NULL);
	int fd;

	onedelta_put(delta, 1, 0, 8);
	assert_int_equal(delta_close(delta), 0);
	fd = onedelta_file("ckpt");
	assert_int_equal(fd, -1);
}

static void checkpoint_is_due_after_much_log(void **state)
{
	struct delta *delta = onedelta_open(NULL);

	for (int i = 0; i < 300; i++)
		onedelta_put(delta, 1, (i % 16) * 256, 64);
	assert_true(delta_due(delta) & DELTA_DUE_CHECKPOINT);
	delta = onedelta_again(delta, true);
	assert_true(delta_due(delta) & DELTA_DUE_CHECKPOINT);
	assert_int_equal(delta_checkpoint(delta), 0);
	assert_false(delta_due(delta) & DELTA_DUE_CHECKPOINT);
	assert_int_equal(delta_close(delta), 0);
}

/* ---- when it does not count ---- */

/* An old checkpoint whose segments were freed since, and used again. */
static void stale_checkpoint(bool clean)
{
	struct delta *delta = onedelta_open(NULL);
	uint32_t dead[] = {0, 1, 2};
	struct file old;
	unsigned int version;

	onedelta_put(delta, 1, 100, 4);
	onedelta_put(delta, 1, 200, 4);
	write_until(delta, 1, 0);
	assert_int_equal(delta_checkpoint(delta), 0);
	old = load("ckpt");
	onedelta_put(delta, 2, 100, 4);
	onedelta_put(delta, 2, 200, 4);
	version = write_until(delta, 3, 0);
	onedelta_put(delta, 3, 200, 4);
	onedelta_put(delta, 2, 100, 4);
	assert_int_equal(log_retire(&delta->log, dead, 3), 0);
	version = write_until(delta, 0, version);
	onedelta_put(delta, 4, 200, 4);
	if (clean)
		assert_int_equal(delta_close(delta), 0);
	else
		delta_abandon(delta);
	store("ckpt", &old);
	delta = onedelta_open(NULL);
	onedelta_expect(delta, version, 0, 8);
	onedelta_expect(delta, 2, 100, 4);
	onedelta_expect(delta, 4, 200, 4);
	expect_uses_of_whole_replay(&delta);
	onedelta_expect(delta, 4, 200, 4);
	assert_int_equal(delta_close(delta), 0);
	free(old.bytes);
}

static void stale_checkpoint_after_a_kill(void **state)
{
	stale_checkpoint(false);
}

static void stale_checkpoint_after_a_clean_stop(void **state)
{
	stale_checkpoint(true);
}

/* Between two checkpoints a segment is written, emptied and freed, and in the slot
 * of what it overwrote another one begins: that is still replayed from there. */
static void hot_blocks_do_not_cost_the_checkpoint(void **state)
{
	struct delta *delta = onedelta_open(NULL);
	unsigned int version;
	uint32_t first = 0, second = 1;
	uint64_t behind;

	onedelta_put(delta, 1, 100, 4);
	version = write_until(delta, 1, 0);
	assert_int_equal(delta_checkpoint(delta), 0);
	behind = stats_of(delta).appended_bytes;
	onedelta_put(delta, 2, 100, 4);
	version = write_until(delta, 2, version);
	assert_int_equal(log_retire(&delta->log, &first, 1), 0);
	version = write_until(delta, 0, version);
	version = write_until(delta, 3, version);
	onedelta_put(delta, 3, 100, 4);
	assert_int_equal(log_retire(&delta->log, &second, 1), 0);
	behind = stats_of(delta).appended_bytes - behind;
	delta_abandon(delta);
	delta = onedelta_open(NULL);
	assert_true(delta->log.checkpoint_lsn > 0);
	assert_true(stats_of(delta).replayed_bytes < behind);
	onedelta_expect(delta, version, 0, 8);
	onedelta_expect(delta, 3, 100, 4);
	expect_uses_of_whole_replay(&delta);
	onedelta_expect(delta, 3, 100, 4);
	assert_int_equal(delta_close(delta), 0);
}

/* Write a checkpoint with right sums that says what somebody thought of. */
static void forge(const struct checkpoint_place *place, const struct checkpoint *slots,
	struct index *index)
{
	struct checkpoint forged = *slots;
	struct index_image image;
	struct super super;
	int fd = onedelta_file("super");

	assert_int_equal(super_read(&io_kernel, fd, &super, NULL, NULL), 0);
	close(fd);
	forged.place = *place;
	assert_int_equal(index_image(index, &image), 0);
	assert_int_equal(checkpoint_write(&io_kernel, onedelta_dirfd(), onedelta_name(), &super,
		&forged, &image), 0);
	free(image.entry);
}

static void read_back(struct checkpoint *checkpoint, struct index *index)
{
	struct super super;
	int fd = onedelta_file("super");

	assert_int_equal(super_read(&io_kernel, fd, &super, NULL, NULL), 0);
	close(fd);
	index_init(index);
	assert_int_equal(checkpoint_read(&io_kernel, onedelta_dirfd(), onedelta_name(), &super,
		checkpoint, index), 0);
}

/* A checkpoint that does not know what was overwritten before its place: its
 * entries point into a segment that was freed behind it, and its slot used again
 * or not. It does not count. */
static void stale_entries(bool used_again)
{
	struct delta *delta = onedelta_open(NULL);
	struct checkpoint old, now;
	struct index old_index, now_index;
	uint32_t dead = 0;
	unsigned int version;

	onedelta_put(delta, 1, 100, 4);
	assert_int_equal(delta_checkpoint(delta), 0);
	read_back(&old, &old_index);
	write_until(delta, 1, 0);
	onedelta_put(delta, 2, 100, 4);
	assert_int_equal(delta_checkpoint(delta), 0);
	read_back(&now, &now_index);
	version = write_until(delta, 2, 500);
	assert_int_equal(log_retire(&delta->log, &dead, 1), 0);
	if (used_again)
		version = write_until(delta, 0, version);
	delta_abandon(delta);
	forge(&now.place, &now, &old_index);
	delta = onedelta_open(NULL);
	onedelta_expect(delta, version, 0, 8);
	onedelta_expect(delta, 2, 100, 4);
	assert_int_equal(delta_close(delta), 0);
	checkpoint_release(&old);
	checkpoint_release(&now);
	index_release(&old_index);
	index_release(&now_index);
}

static void entries_into_a_reused_slot_do_not_count(void **state)
{
	stale_entries(true);
}

static void entries_into_a_freed_slot_do_not_count(void **state)
{
	stale_entries(false);
}

/* Each field of the place a little off: passed over, and all is there. */
static void wrong_places_do_not_count(void **state)
{
	struct delta *delta = onedelta_open(NULL);
	struct checkpoint right;
	struct index empty, index;
	unsigned int version;

	onedelta_put(delta, 1, 100, 4);
	version = write_until(delta, 3, 0);
	assert_int_equal(delta_checkpoint(delta), 0);
	read_back(&right, &index);
	onedelta_put(delta, 2, 0, 1);
	delta_abandon(delta);
	index_init(&empty);
	assert_int_equal(index_cover_slots(&empty, right.n_slots), 0);
	for (int field = 0; field < 8; field++) {
		struct checkpoint_place place = right.place;

		place.lsn += field == 0;
		place.lsn -= field == 1;
		place.seq -= field == 2;
		place.off += field == 3 ? 8 : 0;
		place.off -= field == 4 ? 8 : 0;
		place.chain += field == 5;
		place.seq = field == 6 ? 1 : place.seq;
		place.off = field == 7 ? FORMAT_PAGE : place.off;
		/* Its index holds nothing: were it taken, blocks would be missing. */
		forge(&place, &right, &empty);
		delta = onedelta_open(NULL);
		onedelta_expect(delta, 2, 0, 1);
		onedelta_expect(delta, version, 1, 7);
		onedelta_expect(delta, 1, 100, 4);
		delta_abandon(delta);
	}
	checkpoint_release(&right);
	index_release(&index);
	index_release(&empty);
}

/* Each byte of it flipped: the log alone says the same. */
static void damaged_checkpoint_is_passed_over(void **state)
{
	struct delta *delta = onedelta_open(NULL);
	unsigned int version;
	struct file whole;

	onedelta_put(delta, 1, 100, 4);
	version = write_until(delta, 2, 0);
	assert_int_equal(delta_checkpoint(delta), 0);
	onedelta_put(delta, 2, 0, 1);
	delta_abandon(delta);
	whole = load("ckpt");
	for (size_t at = 0; at < whole.len; at += at < 96 || at >= whole.len - 64 ? 1 : 61) {
		whole.bytes[at] ^= 0x20;
		store("ckpt", &whole);
		whole.bytes[at] ^= 0x20;
		delta = onedelta_open(NULL);
		assert_true(stats_of(delta).replayed_bytes > 256 << 10);
		onedelta_expect(delta, 2, 0, 1);
		onedelta_expect(delta, version, 1, 7);
		delta_abandon(delta);
	}
	for (size_t len = 0; len < whole.len; len += 1 + len / 2) {
		struct file cut = {whole.bytes, len};

		store("ckpt", &cut);
		delta = onedelta_open(NULL);
		onedelta_expect(delta, version, 1, 7);
		delta_abandon(delta);
	}
	free(whole.bytes);
}

/* A checkpoint of right sum witnesses what had been flushed: without the log
 * there, and nothing else that tells, opening is refused. */
static void records_that_a_checkpoint_covers_are_not_a_torn_tail(void **state)
{
	struct delta *delta = onedelta_open(NULL);
	struct err err = {0};
	uint8_t page[FORMAT_PAGE];
	int fd;

	onedelta_put(delta, 1, 100, 4);
	onedelta_put(delta, 1, 200, 4);
	assert_int_equal(delta_checkpoint(delta), 0);
	onedelta_put(delta, 2, 100, 1);
	delta_abandon(delta);
	fd = onedelta_file("log");
	assert_int_equal(pread(fd, page, sizeof(page), FORMAT_PAGE), sizeof(page));
	page[sizeof(struct format_record)] ^= 1;
	assert_int_equal(pwrite(fd, page, sizeof(page), FORMAT_PAGE), sizeof(page));
	assert_int_equal(fsync(fd), 0);
	close(fd);
	assert_int_equal(
		delta_open(onedelta_dirfd(), onedelta_name(), NULL, &delta, &err), -EUCLEAN);
	assert_non_null(strstr(err.message, "had been flushed"));
}

/* The newer copy of the super block is damaged, the older one marks a clean
 * stop, and there is a checkpoint of just that: what came later is not lost. */
static void lost_super_copy_hides_no_life(void **state)
{
	struct delta *delta = onedelta_open(NULL);
	unsigned int version = write_until(delta, 6, 0);
	struct format_super raw[2];
	int newer, fd;

	assert_int_equal(delta_close(delta), 0);
	delta = onedelta_open(NULL);
	assert_int_equal(stats_of(delta).replayed_bytes, 0);
	onedelta_put(delta, 999, 3, 1);
	assert_int_equal(delta_flush(delta), 0);
	delta_abandon(delta);
	fd = onedelta_file("super");
	assert_int_equal(pread(fd, raw, sizeof(raw), 0), sizeof(raw));
	newer = le64_get(raw[1].generation) > le64_get(raw[0].generation);
	raw[newer].reserved[7] ^= 1;
	assert_int_equal(pwrite(fd, raw, sizeof(raw), 0), sizeof(raw));
	close(fd);
	delta = onedelta_open(NULL);
	onedelta_expect(delta, 999, 3, 1);
	onedelta_expect(delta, version, 4, 4);
	assert_int_equal(delta_close(delta), 0);
}

/* A life that was begun and never declared, seen by an opener that does not
 * read the headers, is written over by the next one. */
static void undeclared_life_is_written_over(void **state)
{
	struct delta *delta = onedelta_open(NULL);
	unsigned int version = write_until(delta, 6, 0);
	struct format_super raw[2];
	int fd;

	assert_int_equal(delta_close(delta), 0);
	fd = onedelta_file("super");
	assert_int_equal(pread(fd, raw, sizeof(raw), 0), sizeof(raw));
	for (int i = 0; i < 3; i++) {
		delta = onedelta_open(NULL);
		onedelta_put(delta, 888, 3, 1); /* its header is there; */
		delta_abandon(delta);
		assert_int_equal(pwrite(fd, raw, sizeof(raw), 0), sizeof(raw)); /* no more */
	}
	close(fd);
	delta = onedelta_open(NULL);
	assert_int_equal(stats_of(delta).replayed_bytes, 0);
	onedelta_expect(delta, version, 0, 8);
	onedelta_put(delta, 777, 3, 1);
	expect_uses_of_whole_replay(&delta);
	onedelta_expect(delta, 777, 3, 1);
	onedelta_expect(delta, version, 4, 4);
	assert_int_equal(delta_close(delta), 0);
}

/* The segment in which it was taken is freed before the next opening. */
static void place_in_a_freed_segment(void **state)
{
	struct delta *delta = onedelta_open(NULL);
	unsigned int version = write_until(delta, 2, 0);
	uint32_t dead[] = {0, 1, 2};

	onedelta_put(delta, 1, 100, 4);
	assert_int_equal(delta_checkpoint(delta), 0);
	onedelta_put(delta, 2, 100, 4);
	version = write_until(delta, 3, version);
	onedelta_put(delta, 3, 100, 2);
	onedelta_put(delta, 2, 102, 2);
	assert_int_equal(log_retire(&delta->log, dead, 3), 0);
	delta = onedelta_again(delta, true);
	assert_true(stats_of(delta).replayed_bytes < slot_bytes(3));
	onedelta_expect(delta, version, 0, 8);
	onedelta_expect(delta, 3, 100, 2);
	onedelta_expect(delta, 2, 102, 2);
	expect_uses_of_whole_replay(&delta);
	onedelta_expect(delta, 3, 100, 2);
	assert_int_equal(delta_close(delta), 0);
}

/* ---- failures of writing it ---- */

static void failed_checkpoint_changes_nothing(void **state)
{
	static const enum sabotaged_call calls[] = {
		CALL_OPENAT, CALL_PWRITEV, CALL_RENAMEAT, CALL_SYNC};

	for (size_t c = 0; c < 4; c++) {
		struct saboteur sab;
		struct delta *delta;
		unsigned int version;

		onedelta_remove(state);
		onedelta_create(state);
		saboteur_init(&sab, &io_kernel);
		delta = onedelta_open(&sab.gate);
		version = write_until(delta, 1, 0);
		assert_int_equal(delta_flush(delta), 0);
		sab.call = calls[c];
		sab.kind = SABOTAGE_FAIL;
		sab.error = -ENOSPC;
		sab.nth = sab.count[calls[c]] + 1;
		assert_int_equal(delta_checkpoint(delta), -ENOSPC);
		sab.kind = SABOTAGE_NONE;
		onedelta_put(delta, 55, 0, 1);
		assert_int_equal(delta_flush(delta), 0);
		assert_int_equal(delta_checkpoint(delta), 0);
		delta_abandon(delta);
		delta = onedelta_open(NULL);
		onedelta_expect(delta, 55, 0, 1);
		onedelta_expect(delta, version, 1, 7);
		assert_int_equal(delta_close(delta), 0);
	}
}

#define CASE(f) cmocka_unit_test_setup_teardown(f, onedelta_create, onedelta_remove)

int main(void)
{
	const struct CMUnitTest tests[] = {
		CASE(clean_stop_is_opened_without_reading_the_log),
		CASE(killed_log_is_replayed_from_the_checkpoint),
		CASE(place_may_be_anywhere),
		CASE(small_logs_get_no_checkpoint),
		CASE(hot_blocks_do_not_cost_the_checkpoint),
		CASE(records_that_a_checkpoint_covers_are_not_a_torn_tail),
		CASE(checkpoint_is_due_after_much_log),
		CASE(stale_checkpoint_after_a_kill),
		CASE(stale_checkpoint_after_a_clean_stop),
		CASE(entries_into_a_reused_slot_do_not_count),
		CASE(entries_into_a_freed_slot_do_not_count),
		CASE(wrong_places_do_not_count),
		CASE(damaged_checkpoint_is_passed_over),
		CASE(lost_super_copy_hides_no_life),
		CASE(undeclared_life_is_written_over),
		CASE(place_in_a_freed_segment),
		CASE(failed_checkpoint_changes_nothing),
	};

	return cmocka_run_group_tests(tests, onedelta_make_dir, onedelta_remove_dir);
}
