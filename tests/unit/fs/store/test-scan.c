/* SPDX-License-Identifier: LGPL-2.1-or-later */
/* Scan and dump: what lies in a delta's files, whole and damaged, as one line each. */
#include <errno.h>
#include <fcntl.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include <cmocka.h>

#include "fs/store/dump.h"
#include "fs/store/scan.h"
#include "fs/store/slot.h"
#include "tests/lib/onedelta.h"

#define B DELTA_BLOCK_BYTES

static uint8_t buf[64 * B];

/* Blocks that do not shrink. */
static void write_blocks(struct delta *delta, uint64_t block, uint32_t count)
{
	uint64_t state = block + 1;

	for (size_t i = 0; i < (size_t)count * B; i++) {
		state = state * UINT64_C(6364136223846793005) + 1442695040888963407u;
		buf[i] = (uint8_t)(state >> 56);
	}
	assert_int_equal(delta_write(delta, buf, count, block), 0);
}

static void flip(const char *suffix, off_t at)
{
	int fd = onedelta_file(suffix);
	uint8_t byte;

	assert_true(fd >= 0);
	assert_int_equal(pread(fd, &byte, 1, at), 1);
	byte ^= 4;
	assert_int_equal(pwrite(fd, &byte, 1, at), 1);
	close(fd);
}

/* The dump's text; the caller frees it. */
static char *dump(void)
{
	char *text = NULL;
	size_t len;
	FILE *out = open_memstream(&text, &len);
	struct err err = {0};
	int rc = dump_delta(&io_kernel, onedelta_dirfd(), onedelta_name(), out, &err);

	if (rc < 0)
		print_message("%s\n", err.message);
	assert_int_equal(rc, 0);
	assert_int_equal(fclose(out), 0);
	return text;
}

static void expect_dump(const char *wanted)
{
	char *text = dump();

	assert_string_equal(text, wanted);
	free(text);
}

static void expect_line(const char *line)
{
	char *text = dump();

	if (!strstr(text, line))
		print_message("%s", text);
	assert_non_null(strstr(text, line));
	free(text);
}

static void an_empty_log_is_two_supers(void **state)
{
	expect_dump("super 0 ok generation 0 size 16777216 life 0 slot 0 clean 0+0 durable 0\n"
		"super 1 ok generation 1 size 16777216 life 0 slot 0 clean 0+0 durable 0\n");
}

/* Data, raw and compressed and zero; a discard. */
static void write_a_little(struct delta *delta)
{
	write_blocks(delta, 7, 2);
	memset(buf, 'x', B);
	memset(buf + B, 0, B);
	assert_int_equal(delta_write(delta, buf, 2, 20), 0);
	assert_int_equal(delta_zero(delta, 100, 1000), 0);
}

static void each_record_is_a_line(void **state)
{
	struct delta *delta = onedelta_open(NULL);

	write_a_little(delta);
	assert_int_equal(delta_flush(delta), 0);
	expect_line("\nslot 0 segment 1 header first 1 prev 0+0 durable 0 life 1 ok\n"
		"slot 0 segment 1 at 4096 data lsn 1 block 7 count 2 length 8264 "
		"payload 4096,4096 ok\n"
		"slot 0 segment 1 at 12360 data lsn 2 block 20 count 2 length 96 "
		"payload 26,0 ok\n"
		"slot 0 segment 1 at 12456 zero lsn 3 block 100 count 1000 length 48 ok\n"
		"slot 0 segment 1 ends at 12504\n");
	assert_int_equal(delta_close(delta), 0);
}

static void the_same_work_is_the_same_text(void **state)
{
	struct delta *delta = onedelta_open(NULL);
	char *first, *second;

	write_a_little(delta);
	assert_int_equal(delta_close(delta), 0);
	first = dump();
	assert_int_equal(onedelta_remove(state), 0);
	assert_int_equal(onedelta_create(state), 0);
	delta = onedelta_open(NULL);
	write_a_little(delta);
	assert_int_equal(delta_close(delta), 0);
	second = dump();
	assert_string_equal(first, second);
	free(first);
	free(second);
}

static void lives_are_counted(void **state)
{
	struct delta *delta = onedelta_open(NULL);

	write_a_little(delta);
	delta_abandon(delta);
	delta = onedelta_open(NULL);
	write_a_little(delta);
	delta_abandon(delta);
	expect_line("slot 1 segment 2 header first 4 prev 1+12504 durable 3 life 2 ok\n");
}

static void damage_is_shown_where_it_is(void **state)
{
	struct delta *delta = onedelta_open(NULL);

	write_blocks(delta, 0, 32);
	write_a_little(delta);
	assert_int_equal(delta_flush(delta), 0);
	delta_abandon(delta);
	/* A payload: that block alone. */
	flip("log", FORMAT_PAGE + 48 + 64 + 3 * (8 + B) + 100);
	expect_line(" data lsn 1 block 0 count 32 ");
	expect_line(" bad 3\n");
	expect_line(" data lsn 2 block 7 count 2 ");
	/* A record's header: what follows cannot be read. */
	flip("log", FORMAT_PAGE + 24);
	expect_line("slot 0 segment 1 ends at 4096\n");
	flip("log", 40);
	expect_line("\nslot 0 damaged\n");
	flip("super", 90);
	expect_line("super 0 damaged: wrong checksum\n");
}

static void missing_files_are_said(void **state)
{
	struct err err = {0};
	struct scan *scan;
	char file[64];

	snprintf(file, sizeof(file), "%s.log", onedelta_name());
	assert_int_equal(unlinkat(onedelta_dirfd(), file, 0), 0);
	assert_int_equal(scan_open(&io_kernel, onedelta_dirfd(), onedelta_name(), &scan, &err), 0);
	assert_int_equal(scan->log_fd, -1);
	assert_non_null(scan->super);
	scan_close(scan);
	snprintf(file, sizeof(file), "%s.super", onedelta_name());
	assert_int_equal(unlinkat(onedelta_dirfd(), file, 0), 0);
	assert_int_equal(
		scan_open(&io_kernel, onedelta_dirfd(), onedelta_name(), &scan, &err), -ENOENT);
}

struct lsns {
	uint64_t n, last;
};

static int count_record(void *ctx, const struct scan_record *found)
{
	struct lsns *lsns = ctx;

	lsns->n++;
	lsns->last = found->record->lsn;
	return lsns->n == 2 ? 7 : 0;
}

static void walking_ends_where_it_is_told(void **state)
{
	struct delta *delta = onedelta_open(NULL);
	struct lsns lsns = {0};
	struct scan_end end;
	struct scan *scan;

	write_a_little(delta);
	assert_int_equal(delta_close(delta), 0);
	assert_int_equal(scan_open(&io_kernel, onedelta_dirfd(), onedelta_name(), &scan, NULL), 0);
	end = scan_begin(scan, 0);
	assert_int_equal(scan_records(scan, 0, UINT64_MAX, 0, count_record, &lsns, &end), 7);
	assert_int_equal(lsns.last, 2);
	end = scan_begin(scan, 0);
	assert_int_equal(scan_records(scan, 0, 12456, 0, NULL, NULL, &end), 0);
	assert_int_equal(end.off, 12456);
	assert_int_equal(end.lsn, 2);
	/* On from there. */
	assert_int_equal(scan_records(scan, 0, UINT64_MAX, 0, NULL, NULL, &end), 0);
	assert_int_equal(end.lsn, 4);
	assert_true(end.sealed);
	end = scan_begin(scan, 0);
	assert_int_equal(scan_records(scan, 0, UINT64_MAX, 2, NULL, NULL, &end), 0);
	assert_int_equal(end.off, FORMAT_PAGE);
	assert_int_equal(end.lsn, 0);
	scan_close(scan);
}

#define CASE(f) cmocka_unit_test_setup_teardown(f, onedelta_create, onedelta_remove)

int main(void)
{
	const struct CMUnitTest tests[] = {
		CASE(an_empty_log_is_two_supers),
		CASE(each_record_is_a_line),
		CASE(the_same_work_is_the_same_text),
		CASE(lives_are_counted),
		CASE(damage_is_shown_where_it_is),
		CASE(missing_files_are_said),
		CASE(walking_ends_where_it_is_told),
	};

	return cmocka_run_group_tests(tests, onedelta_make_dir, onedelta_remove_dir);
}
