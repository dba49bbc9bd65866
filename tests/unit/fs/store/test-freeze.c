/* SPDX-License-Identifier: LGPL-2.1-or-later */
/* Deltas that become layers: read-only for ever, read by several, whole whatever failed on the way. */
#include <errno.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include <cmocka.h>

#include "fs/store/checkpoint.h"
#include "tests/lib/saboteur.h"
#include "tests/unit/fs/store/slots.h"

#define B DELTA_BLOCK_BYTES

static struct delta *open_layer(const struct io_gate *io)
{
	const struct delta_options options = {.io = io, .layer = true};
	struct delta *delta = NULL;
	struct err err = {0};

	if (delta_open(onedelta_dirfd(), onedelta_name(), &options, &delta, &err) < 0)
		fail_msg("%s", err.message);
	return delta;
}

static void expect_read_only(struct delta *delta)
{
	static uint8_t buf[B];
	uint64_t size = delta_size(delta);
	uint32_t slot = 0;

	memset(buf, 1, sizeof(buf));
	assert_int_equal(delta_write(delta, buf, 1, 0), -EROFS);
	assert_int_equal(delta_zero(delta, 0, 1), -EROFS);
	assert_int_equal(delta_zero(delta, 50, 5), -EROFS); /* zeros already */
	assert_int_equal(delta_grow(delta, size + B), -EROFS);
	assert_int_equal(delta_checkpoint(delta), -EROFS);
	assert_int_equal(delta_prepare(delta), -EROFS);
	assert_int_equal(log_retire(&delta->log, &slot, 1), -EROFS);
	assert_int_equal(log_trim(&delta->log), -EROFS);
	assert_int_equal(delta_due(delta), 0);
	assert_int_equal(delta_flush(delta), 0);
	assert_int_equal(delta_freeze(delta), 0); /* it is */
	assert_int_equal(delta_size(delta), size);
}

static struct delta *make_some(const struct io_gate *io)
{
	struct delta *delta = onedelta_open(io);

	onedelta_put(delta, 1, 0, 8);
	onedelta_put(delta, 2, 4, 2);
	assert_int_equal(delta_zero(delta, 50, 5), 0);
	return delta;
}

static void expect_some(struct delta *delta)
{
	uint64_t run;

	onedelta_expect(delta, 1, 0, 4);
	onedelta_expect(delta, 2, 4, 2);
	onedelta_expect(delta, 1, 6, 2);
	assert_int_equal(delta_map(delta, 50, 9, &run), DELTA_ZERO);
	assert_int_equal(run, 5);
	onedelta_expect(delta, 0, 100, 1);
}

static void layer_is_read_by_several(void **state)
{
	struct delta *delta = make_some(NULL), *other, *third = NULL;
	struct err err = {0};

	assert_int_equal(delta_freeze(delta), 0);
	expect_read_only(delta);
	expect_some(delta);
	other = open_layer(NULL); /* beside the one that froze it */
	expect_read_only(other);
	expect_some(other);
	assert_int_equal(delta_close(delta), 0);
	delta = open_layer(NULL);
	expect_some(delta);
	/* Nobody gets it alone. */
	assert_int_equal(
		delta_open(onedelta_dirfd(), onedelta_name(), NULL, &third, &err), -EBUSY);
	assert_int_equal(delta_close(delta), 0);
	assert_int_equal(delta_close(other), 0);
	delta = onedelta_open(NULL); /* as a delta: it is a layer nevertheless */
	expect_read_only(delta);
	expect_some(delta);
	assert_int_equal(delta_close(delta), 0);
}

/* Frozen with its checkpoint: what is small has one, too, and needs none. */
static void layer_opens_with_and_without_checkpoint(void **state)
{
	struct delta *delta = make_some(NULL);
	struct delta_stats stats;

	assert_int_equal(delta_freeze(delta), 0);
	delta_abandon(delta);
	delta = open_layer(NULL);
	delta_stats(delta, &stats);
	assert_int_equal(stats.replayed_bytes, 0);
	expect_some(delta);
	assert_int_equal(delta_close(delta), 0);
	assert_int_equal(checkpoint_remove(&io_kernel, onedelta_dirfd(), onedelta_name()), 0);
	delta = open_layer(NULL);
	delta_stats(delta, &stats);
	assert_true(stats.replayed_bytes > 0);
	expect_some(delta);
	assert_int_equal(delta_close(delta), 0);
}

/* What is opened as a layer and was not marked becomes one: after a kill, after
 * a clean stop, and when nothing was ever written. */
static void opening_as_a_layer_freezes(void **state)
{
	for (int how = 0; how < 3; how++) {
		struct delta *delta = NULL;

		onedelta_remove(state);
		onedelta_create(state);
		if (how < 2)
			delta = make_some(NULL);
		if (how == 0)
			delta_abandon(delta);
		if (how == 1)
			assert_int_equal(delta_close(delta), 0);
		for (int again = 0; again < 2; again++) {
			delta = open_layer(NULL);
			expect_read_only(delta);
			if (how < 2)
				expect_some(delta);
			assert_int_equal(delta_close(delta), 0);
		}
	}
}

/* Not before its one owner is gone. */
static void delta_in_use_is_no_layer(void **state)
{
	const struct delta_options options = {.layer = true};
	struct delta *delta = make_some(NULL), *other = NULL;
	struct err err = {0};

	assert_int_equal(
		delta_open(onedelta_dirfd(), onedelta_name(), &options, &other, &err), -EBUSY);
	assert_int_equal(delta_close(delta), 0);
}

/* Each call on the way fails once: it is a delta as before and goes on, or it
 * is broken; opened again nothing is missing. */
static void freezing_fails_safely(void **state)
{
	static const enum sabotaged_call calls[] = {CALL_PWRITEV, CALL_PREAD, CALL_SYNC,
		CALL_OPENAT, CALL_RENAMEAT};
	unsigned int failed = 0, went_on = 0;

	for (size_t c = 0; c < 5; c++) {
		for (uint64_t nth = 1; nth < 9; nth++) {
			struct delta *delta;
			struct saboteur sab;
			bool wrote = false;
			int rc;

			onedelta_remove(state);
			onedelta_create(state);
			saboteur_init(&sab, &io_kernel);
			delta = make_some(&sab.gate);
			sab.call = calls[c];
			sab.kind = SABOTAGE_FAIL;
			sab.error = calls[c] == CALL_PWRITEV ? -ENOSPC : -EIO;
			sab.nth = sab.count[calls[c]] + nth;
			rc = delta_freeze(delta);
			sab.kind = SABOTAGE_NONE;
			failed += rc < 0;
			assert_true(rc == 0 || rc == -ENOSPC || rc == -EIO);
			if (rc == -ENOSPC) {
				onedelta_put(delta, 9, 200, 1);
				assert_int_equal(delta_flush(delta), 0);
				wrote = true;
				went_on++;
			}
			delta_abandon(delta);
			delta = onedelta_open(NULL);
			expect_some(delta);
			if (wrote)
				onedelta_expect(delta, 9, 200, 1);
			if (rc == 0)
				expect_read_only(delta);
			assert_int_equal(delta_close(delta), 0);
		}
	}
	assert_true(failed >= 4 && went_on >= 2);
}

/* What a delta's daemon began and did not declare before it was frozen has no
 * records: nothing comes behind a layer's mark. */
static void undeclared_life_is_no_part_of_a_layer(void **state)
{
	struct delta *delta = make_some(NULL);
	struct format_super raw[2];
	uint8_t page[FORMAT_PAGE];
	int fd;

	assert_int_equal(delta_close(delta), 0);
	fd = onedelta_file("super");
	assert_int_equal(pread(fd, raw, sizeof(raw), 0), sizeof(raw));
	delta = onedelta_open(NULL);
	onedelta_put(delta, 5, 0, 1);
	delta_abandon(delta);
	read_page(slot_start(1), page);
	assert_int_equal(pwrite(fd, raw, sizeof(raw), 0), sizeof(raw));
	close(fd);
	memset(page + FORMAT_PAGE / 2, 0, FORMAT_PAGE / 2);
	write_page(slot_start(1), (uint8_t[FORMAT_PAGE]){0});
	delta = onedelta_open(NULL);
	assert_int_equal(delta_freeze(delta), 0);
	delta_abandon(delta);
	write_page(slot_start(1), page);
	assert_int_equal(checkpoint_remove(&io_kernel, onedelta_dirfd(), onedelta_name()), 0);
	delta = open_layer(NULL);
	expect_some(delta);
	assert_int_equal(delta_close(delta), 0);
}

#define CASE(f) cmocka_unit_test_setup_teardown(f, onedelta_create, onedelta_remove)

int main(void)
{
	const struct CMUnitTest tests[] = {
		CASE(layer_is_read_by_several),
		CASE(layer_opens_with_and_without_checkpoint),
		CASE(opening_as_a_layer_freezes),
		CASE(delta_in_use_is_no_layer),
		CASE(freezing_fails_safely),
		CASE(undeclared_life_is_no_part_of_a_layer),
	};

	return cmocka_run_group_tests(tests, onedelta_make_dir, onedelta_remove_dir);
}
