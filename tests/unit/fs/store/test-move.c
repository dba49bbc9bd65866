/* SPDX-License-Identifier: LGPL-2.1-or-later */
/* Appending what is moved: only what still counts, decided where everything is appended. */
#include <errno.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include <cmocka.h>

#include "fs/store/handle.h"
#include "fs/store/slot.h"
#include "fs/util/hash.h"
#include "tests/lib/batch.h"
#include "tests/lib/onedelta.h"
#include "tests/lib/saboteur.h"

#define B DELTA_BLOCK_BYTES

static uint8_t block[B];

/* A request to move, with all that it points to. */
struct moving {
	struct log_request request;
	struct move moves[FORMAT_RECORD_BLOCKS];
	uint8_t head[RECORD_HEAD_MAX];
	uint8_t body[FORMAT_RECORD_BLOCKS * (FORMAT_BLOCK_SUM + B)];
	size_t body_bytes;
};

static struct moving moving;

/* Content of a block: compressible or not, by its version. */
static const uint8_t *content(uint32_t version, uint32_t b)
{
	uint64_t state = version * 1000003u + b;

	for (size_t i = 0; i < B; i++) {
		state = state * UINT64_C(6364136223846793005) + 1;
		block[i] = version & 1 && i >= 64 + b % 1024 ? 7 : (uint8_t)(state >> 40);
	}
	return block;
}

static void write_version(struct delta *delta, uint32_t version, uint32_t b)
{
	assert_int_equal(delta_write(delta, content(version, b), 1, b), 0);
}

static void has_version(struct delta *delta, uint32_t version, uint32_t b)
{
	enum delta_owner owner;
	uint8_t buf[B];

	assert_int_equal(delta_read(delta, buf, 1, b, false, &owner), 1);
	assert_int_equal(owner, DELTA_DATA);
	assert_memory_equal(buf, content(version, b), B);
}

static struct index_place place_of(struct delta *delta, uint32_t b)
{
	struct index_place place;
	uint64_t run;

	assert_int_equal(index_get(&delta->log.index, b, 1, &run, &place), DELTA_DATA);
	return place;
}

static void moving_begin(void)
{
	moving.request = (struct log_request){
		.type = FORMAT_MOVED,
		.moves = moving.moves,
		.head = moving.head,
		.body = moving.body,
	};
	moving.body_bytes = 0;
}

/* Take block b along as it lies now. */
static void moving_data(struct delta *delta, uint32_t b, uint64_t lsn)
{
	struct index_place place = place_of(delta, b);
	uint8_t *body = moving.body + moving.body_bytes;
	size_t bytes = FORMAT_BLOCK_SUM + place.len;
	int fd = onedelta_file("log");

	assert_int_equal(pread(fd, body, bytes, (off_t)place.pos), bytes);
	close(fd);
	moving.moves[moving.request.count++] = (struct move){
		.block = b,
		.count = 1,
		.lsn = lsn,
		.pos = place.pos,
		.hash = hash64(body + FORMAT_BLOCK_SUM, place.len, 0),
		.len = place.len,
	};
	moving.body_bytes += bytes;
}

static void moving_zeros(uint64_t first, uint64_t count)
{
	moving.moves[moving.request.count++] =
		(struct move){.block = first, .count = count, .lsn = 1};
}

static uint64_t zero_run(struct delta *delta, uint64_t first)
{
	uint64_t run;

	assert_int_equal(delta_map(delta, first, ONEDELTA_BLOCKS - first, &run), DELTA_ZERO);
	return run;
}

static struct delta *again(struct delta *delta)
{
	delta_abandon(delta);
	return onedelta_open(NULL);
}

/* The record that was appended at pos behind one with sum prev_sum. */
static void read_record(struct delta *delta, uint64_t pos, uint64_t prev_sum, struct record *r)
{
	static uint8_t bytes[RECORD_BYTES_MAX];
	struct log *log = &delta->log;
	struct record_place place = {.key = log->key, .epoch = log->tail.epoch,
		.seq = log->tail.seq, .pos = pos, .prev_sum = prev_sum};
	ssize_t n = pread(log->log_fd, bytes, sizeof(bytes), (off_t)pos);

	assert_true(n > 0);
	assert_int_equal(record_decode(&place, bytes, (size_t)n, ONEDELTA_BLOCKS, 1, r), 0);
}

static void moved_data_keeps_content_and_lsn(void **state)
{
	struct delta *delta = onedelta_open(NULL);
	struct index_place old[3];
	struct record r;
	uint64_t pos, chain;

	for (uint32_t b = 0; b < 3; b++) {
		write_version(delta, b, b);
		old[b] = place_of(delta, b);
	}
	moving_begin();
	for (uint32_t b = 3; b-- > 0;)
		moving_data(delta, b, b + 1);
	pos = log_tail_pos(&delta->log);
	chain = delta->log.chain;
	assert_int_equal(log_append(&delta->log, &moving.request), 0);
	read_record(delta, pos, chain, &r);
	assert_int_equal(r.type, FORMAT_MOVED);
	assert_int_equal(r.n, 3);
	for (uint32_t i = 0; i < 3; i++) {
		assert_int_equal(record_entry(&r, i).block, 2 - i);
		assert_int_equal(record_entry(&r, i).lsn, 3 - i);
	}
	for (uint32_t b = 0; b < 3; b++) {
		assert_true(place_of(delta, b).pos > old[b].pos);
		assert_int_equal(place_of(delta, b).len, old[b].len);
		has_version(delta, b, b);
	}
	delta = again(delta);
	for (uint32_t b = 0; b < 3; b++)
		has_version(delta, b, b);
	assert_int_equal(delta_close(delta), 0);
}

/* Overwritten, zeroed, moved by somebody else: what lay at the source is dropped. */
static void stale_data_are_dropped(void **state)
{
	struct delta *delta = onedelta_open(NULL);
	uint64_t end;

	for (uint32_t b = 0; b < 4; b++)
		write_version(delta, 1, b);
	moving_begin();
	for (uint32_t b = 0; b < 4; b++)
		moving_data(delta, b, b + 1);
	write_version(delta, 2, 0);
	assert_int_equal(delta_zero(delta, 2, 1), 0);
	assert_int_equal(log_append(&delta->log, &moving.request), 0);
	for (uint32_t i = 0; i < 4; i++)
		assert_int_equal(moving.moves[i].count, i % 2);
	/* The same again: nothing is at its source any more. */
	moving_begin();
	moving.request.count = 4;
	for (uint32_t i = 0; i < 4; i++)
		moving.moves[i].count = 1;
	end = delta->log.end;
	assert_int_equal(log_append(&delta->log, &moving.request), 0);
	assert_int_equal(delta->log.end, end);
	for (int round = 0; round < 2; round++) {
		has_version(delta, 2, 0);
		has_version(delta, 1, 1);
		assert_int_equal(zero_run(delta, 2), 1);
		has_version(delta, 1, 3);
		delta = again(delta);
	}
	assert_int_equal(delta_close(delta), 0);
}

/* A run of zeros comes back as its first part that is zeros still. */
static void zeros_are_cut_to_what_is_zero(void **state)
{
	struct delta *delta = onedelta_open(NULL);
	struct record r;
	uint64_t pos, chain;

	assert_int_equal(delta_zero(delta, 100, 101), 0);
	write_version(delta, 1, 100);
	write_version(delta, 1, 150);
	moving_begin();
	moving_zeros(100, 101);
	moving_zeros(150, 1);
	moving_zeros(160, 41);
	pos = log_tail_pos(&delta->log);
	chain = delta->log.chain;
	assert_int_equal(log_append(&delta->log, &moving.request), 0);
	assert_int_equal(moving.moves[0].block, 101);
	assert_int_equal(moving.moves[0].count, 49);
	assert_int_equal(moving.moves[1].count, 0);
	assert_int_equal(moving.moves[2].block, 160);
	assert_int_equal(moving.moves[2].count, 41);
	read_record(delta, pos, chain, &r);
	assert_int_equal(r.n, 2);
	assert_int_equal(record_entry(&r, 0).lsn, r.lsn - 1);
	assert_int_equal(record_entry(&r, 1).count, 41);
	for (int round = 0; round < 2; round++) {
		has_version(delta, 1, 100);
		has_version(delta, 1, 150);
		assert_int_equal(zero_run(delta, 101), 49);
		assert_int_equal(zero_run(delta, 151), 50);
		delta = again(delta);
	}
	assert_int_equal(delta_close(delta), 0);
}

/* 256 raw blocks are more than the first two segments hold. */
static void moves_are_cut_at_segment_ends(void **state)
{
	struct delta *delta = onedelta_open(NULL);

	for (uint32_t b = 0; b < FORMAT_RECORD_BLOCKS; b++)
		write_version(delta, 2, b);
	for (int round = 0; round < 4; round++) {
		uint64_t seq = delta->log.tail.seq;

		moving_begin();
		for (uint32_t b = 0; b < FORMAT_RECORD_BLOCKS; b++)
			moving_data(delta, b, b + 1);
		write_version(delta, 2, 17);
		assert_int_equal(log_append(&delta->log, &moving.request), 0);
		assert_int_equal(moving.moves[17].count, 0);
		if (round == 0)
			assert_true(delta->log.tail.seq > seq);
		for (uint32_t b = 0; b < FORMAT_RECORD_BLOCKS; b++)
			has_version(delta, 2, b);
		delta = again(delta);
		for (uint32_t b = 0; b < FORMAT_RECORD_BLOCKS; b++)
			has_version(delta, 2, b);
	}
	assert_int_equal(delta_close(delta), 0);
}

static void bad_stays_bad(void **state)
{
	struct delta *delta = onedelta_open(NULL);
	struct log_request bad = {.type = FORMAT_BAD, .block = 10, .count = 20};
	uint64_t run;

	assert_int_equal(log_append(&delta->log, &bad), 0);
	assert_int_equal(delta_map(delta, 10, 100, &run), DELTA_BAD);
	assert_int_equal(run, 20);
	write_version(delta, 1, 10);
	assert_int_equal(delta_zero(delta, 15, 1), 0);
	bad = (struct log_request){.type = FORMAT_BAD, .block = 10, .count = 20, .keep = true};
	assert_int_equal(log_append(&delta->log, &bad), 0);
	assert_int_equal(bad.block, 11);
	assert_int_equal(bad.count, 4);
	bad = (struct log_request){.type = FORMAT_BAD, .block = 15, .count = 15, .keep = true};
	assert_int_equal(log_append(&delta->log, &bad), 0);
	assert_int_equal(bad.block, 16);
	assert_int_equal(bad.count, 14);
	bad = (struct log_request){.type = FORMAT_BAD, .block = 0, .count = 11, .keep = true};
	assert_int_equal(log_append(&delta->log, &bad), 0);
	assert_int_equal(bad.count, 0);
	delta = again(delta);
	has_version(delta, 1, 10);
	assert_int_equal(delta_map(delta, 11, 100, &run), DELTA_BAD);
	assert_int_equal(run, 4);
	assert_int_equal(zero_run(delta, 15), 1);
	assert_int_equal(delta_map(delta, 16, 100, &run), DELTA_BAD);
	assert_int_equal(run, 14);
	assert_int_equal(delta_close(delta), 0);
}

/* Requests that queue behind a held pwritev, in order. */
struct call {
	struct delta *delta;
	struct log_request *moved; /* or a write of version to block 5 */
	uint32_t version;
	int rc;
};

static void make_call(void *arg)
{
	struct call *call = arg;
	uint8_t buf[B];

	if (call->moved) {
		call->rc = log_append(&call->delta->log, call->moved);
		return;
	}
	for (size_t i = 0; i < B; i++)
		buf[i] = (uint8_t)(call->version + i / 64);
	call->rc = delta_write(call->delta, buf, 1, 5);
}

/* A write and a move of the same block in one queue, in both orders; with
 * fail, the write that goes before the move fails and changes nothing. */
static void queue_decides(bool write_first, bool fail)
{
	struct batch batch;
	struct call call[3] = {{.version = 50}, {.version = 60}, {.version = 60}};
	struct saboteur sab;
	struct delta *delta;
	enum delta_owner owner;
	uint8_t buf[B];
	uint64_t pos;
	int first;

	saboteur_init(&sab, &io_kernel);
	delta = onedelta_open(&sab.gate);
	write_version(delta, 1, 5);
	moving_begin();
	moving_data(delta, 5, 1);
	pos = moving.moves[0].pos;
	call[write_first ? 2 : 1].moved = &moving.request;
	/* The first call keeps the lead with a write elsewhere. */
	call[0].moved = &(struct log_request){.type = FORMAT_ZERO, .block = 900, .count = 1};
	batch_begin(&batch, delta, &sab);
	for (unsigned int i = 0; i < 3; i++) {
		call[i].delta = delta;
		batch_add(&batch, make_call, &call[i]);
	}
	if (fail) {
		sab.call = CALL_PWRITEV;
		sab.nth = sab.count[CALL_PWRITEV] + 2;
		sab.error = -ENOSPC;
		sab.kind = SABOTAGE_FAIL;
	}
	batch_end(&batch);
	assert_int_equal(call[0].rc, 0);
	assert_int_equal(call[1].rc, fail ? -ENOSPC : 0);
	assert_int_equal(call[2].rc, 0);
	assert_int_equal(moving.moves[0].count, !write_first || fail);
	assert_true(place_of(delta, 5).pos > pos);
	first = fail ? content(1, 5)[0] : 60;
	for (int round = 0; round < 2; round++) {
		assert_int_equal(delta_read(delta, buf, 1, 5, false, &owner), 1);
		assert_int_equal(buf[0], first);
		delta = again(delta);
	}
	assert_int_equal(delta_close(delta), 0);
}

static void write_before_move_wins(void **state)
{
	queue_decides(true, false);
}

static void write_behind_move_wins(void **state)
{
	queue_decides(false, false);
}

static void failed_write_before_move_changes_nothing(void **state)
{
	queue_decides(true, true);
}

#define CASE(f) cmocka_unit_test_setup_teardown(f, onedelta_create, onedelta_remove)

int main(void)
{
	const struct CMUnitTest tests[] = {
		CASE(moved_data_keeps_content_and_lsn),
		CASE(stale_data_are_dropped),
		CASE(zeros_are_cut_to_what_is_zero),
		CASE(moves_are_cut_at_segment_ends),
		CASE(bad_stays_bad),
		CASE(write_before_move_wins),
		CASE(write_behind_move_wins),
		CASE(failed_write_before_move_changes_nothing),
	};

	return cmocka_run_group_tests(tests, onedelta_make_dir, onedelta_remove_dir);
}
