/* SPDX-License-Identifier: LGPL-2.1-or-later */
/* The files of a base: taken apart, compared, put together after a move. */
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

#include "fs/base/files.h"
#include "fs/util/cleanup.h"
#include "tests/lib/scratch.h"

#define SIZE (5u << 20)

/* A chain of two: top is stacked on low. */
static char top[SCRATCH_PATH_MAX], low[SCRATCH_PATH_MAX], away[SCRATCH_PATH_MAX];
static char *identity;
static struct base_file *files;
static uint32_t count;

static void identify(void)
{
	struct base_image images[] = {
		{.path = top, .format = (char[]){"qcow2"}}, {.path = low, .format = (char[]){"raw"}}};
	struct base_source source = {.n_images = 2, .images = images};
	uint64_t size_bytes;

	free(identity);
	assert_int_equal(base_identify(&source, &identity, &size_bytes, NULL), 0);
}

static void take_apart(const char *path, const char *text)
{
	base_files_free(files, count);
	assert_int_equal(base_files(path, text, &files, &count, NULL), 0);
}

static int set_up(void **state)
{
	static char content[SIZE];

	scratch_make();
	scratch_path(top, "top.qcow2");
	scratch_path(low, "low.raw");
	scratch_path(away, "away.raw");
	scratch_fill(content, SIZE, 7);
	scratch_file(low, content, SIZE, SIZE);
	assert_int_equal(scratch_run(NULL, "qemu-img create -q -f qcow2 -b %s -F raw %s", low, top),
		0);
	identify();
	take_apart(top, identity);
	return 0;
}

static int tear_down(void **state)
{
	base_files_free(files, count);
	files = NULL;
	count = 0;
	free(identity);
	identity = NULL;
	scratch_remove();
	return 0;
}

static void test_each_file(void **state)
{
	assert_int_equal(count, 2);
	assert_string_equal(files[0].path, top);
	assert_string_equal(files[0].format, "qcow2");
	assert_string_equal(files[1].path, low);
	assert_string_equal(files[1].format, "raw");
	assert_int_equal(files[1].size_bytes, SIZE);
	assert_string_not_equal(files[0].id, files[1].id);
	assert_int_equal(strlen(files[0].id), BASE_FILE_ID - 1);
	for (uint32_t i = 0; i < count; i++)
		assert_int_equal(base_file_check(&files[i], NULL), 0);
}

/* The id stays with the file, whatever is said about it; not with its content. */
static void test_id(void **state)
{
	char id[BASE_FILE_ID];

	strcpy(id, files[1].id);
	assert_int_equal(chmod(low, 0600), 0);
	identify();
	take_apart(top, identity);
	assert_string_equal(files[1].id, id);
	assert_int_equal(truncate(low, SIZE + 4096), 0);
	identify();
	take_apart(top, identity);
	assert_string_not_equal(files[1].id, id);
}

static void test_changed_or_gone(void **state)
{
	struct err err = {0};

	assert_int_equal(truncate(low, SIZE + 4096), 0);
	assert_int_equal(base_file_check(&files[1], &err), -ESTALE);
	assert_non_null(strstr(err.message, low));
	assert_int_equal(base_file_check(&files[0], NULL), 0);
	assert_int_equal(unlink(top), 0);
	assert_int_equal(base_file_check(&files[0], &err), -ESTALE);
	assert_non_null(strstr(err.message, "not there any more"));
}

/* Another inode with the same content: not the same file, the same sample. */
static void copy_away(void)
{
	assert_int_equal(scratch_run(NULL, "cp %s %s && rm %s", low, away, low), 0);
}

static void test_move(void **state)
{
	AUTO_FREE char *path = NULL, *moved = NULL;
	struct base *base;

	copy_away();
	assert_int_equal(base_file_same_sample(&files[1], away, NULL), 0);
	assert_int_equal(base_hold_known(top, identity, &base, NULL), -ESTALE);
	assert_int_equal(base_files_move(top, identity, low, away, &path, &moved, NULL), 0);
	assert_string_equal(path, top);
	assert_false(base_identity_equal(identity, moved));
	take_apart(path, moved);
	assert_int_equal(count, 2);
	assert_string_equal(files[1].path, away);
	assert_int_equal(base_file_check(&files[1], NULL), 0);
	/* The top still names the old one; what was recorded counts. */
	assert_int_equal(base_hold_known(path, moved, &base, NULL), 0);
	base_release(base);
}

static void test_move_top(void **state)
{
	char there[SCRATCH_PATH_MAX];
	AUTO_FREE char *path = NULL, *moved = NULL;

	scratch_path(there, "there.qcow2");
	assert_int_equal(rename(top, there), 0);
	assert_int_equal(base_files_move(top, identity, top, there, &path, &moved, NULL), 0);
	assert_string_equal(path, there);
	take_apart(path, moved);
	assert_string_equal(files[0].path, there);
	assert_string_equal(files[1].path, low);
}

/* While others still hold it by its old name: what is said of it now, and what
 * a new clone would write into its manifest, is the new one. */
static void test_move_held(void **state)
{
	AUTO_FREE char *path = NULL, *moved = NULL;
	struct base *before, *after;
	struct base_info info;

	assert_int_equal(base_hold_known(top, identity, &before, NULL), 0);
	assert_int_equal(rename(low, away), 0);
	base_info(before, &info);
	assert_true(info.moved || !info.leased);
	assert_int_equal(base_files_move(top, identity, low, away, &path, &moved, NULL), 0);
	assert_int_equal(base_hold_known(path, moved, &after, NULL), 0);
	base_info(after, &info);
	assert_false(info.moved);
	assert_string_equal(base_identity(after), moved);
	base_release(before);
	base_release(after);
}

static void test_no_move(void **state)
{
	char *path, *moved;
	struct err err = {0};

	assert_int_equal(base_files_move(top, identity, away, low, &path, &moved, &err), -ENOENT);
	assert_non_null(strstr(err.message, away));
	assert_int_equal(base_files_move(top, identity, low, away, &path, &moved, &err), -ENOENT);
	assert_int_equal(base_files_move(top, "{}", low, low, &path, &moved, &err), -EUCLEAN);
	assert_int_equal(base_files(top, "", &files, &count, &err), -EUCLEAN);
	assert_int_equal(base_file_same_sample(&files[1], top, &err), -ESTALE);
}

#define TEST(fn) cmocka_unit_test_setup_teardown(fn, set_up, tear_down)

int main(void)
{
	const struct CMUnitTest tests[] = {
		TEST(test_each_file),
		TEST(test_id),
		TEST(test_changed_or_gone),
		TEST(test_move),
		TEST(test_move_top),
		TEST(test_move_held),
		TEST(test_no_move),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
