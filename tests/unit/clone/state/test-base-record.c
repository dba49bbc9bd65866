/* SPDX-License-Identifier: LGPL-2.1-or-later */
/* Records of base files: written, read, listed, damaged. */
#include <errno.h>
#include <fcntl.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include <cmocka.h>

#include "clone/state/base-record.h"
#include "fs/util/cleanup.h"
#include "tests/lib/temp.h"

#define ID_A "0123456789abcdef"
#define ID_B "fedcba9876543210"

static char dir[TEMP_PATH_MAX];
static int dirfd = -1;

static int setup(void **state)
{
	temp_dir("base-record", dir);
	dirfd = open(dir, O_RDONLY | O_DIRECTORY | O_CLOEXEC);
	return 0;
}

static int teardown(void **state)
{
	close_fd(&dirfd);
	temp_dir_remove(dir);
	return 0;
}

static char path[] = "/images/\"golden\".raw", format[] = "raw", identity[] = "{\"a\": 1}",
	    fingerprint[] = "{\"b\": [2]}";
static const struct base_record sample = {
	.path = path, .format = format, .identity = identity, .fingerprint = fingerprint,
	.taken_sec = 1234567890};

static void write_it(const char *id)
{
	assert_int_equal(base_record_write(dirfd, id, &sample, NULL), 0);
}

static uint32_t count(void)
{
	char (*ids)[BASE_RECORD_ID];
	uint32_t n;

	assert_int_equal(base_record_list(dirfd, &ids, &n, NULL), 0);
	if (n > 1)
		assert_true(strcmp(ids[0], ids[1]) < 0);
	free(ids);
	return n;
}

static void test_none(void **state)
{
	struct base_record *record;

	assert_int_equal(count(), 0);
	assert_false(base_record_exists(dirfd, ID_A));
	assert_int_equal(base_record_read(dirfd, ID_A, &record, NULL), -ENOENT);
	assert_int_equal(base_record_remove(dirfd, ID_A, NULL), 0);
}

static void test_life(void **state)
{
	struct base_record *record;

	write_it(ID_B);
	write_it(ID_A);
	assert_int_equal(count(), 2);
	assert_true(base_record_exists(dirfd, ID_A));
	assert_int_equal(base_record_read(dirfd, ID_A, &record, NULL), 0);
	assert_string_equal(record->path, path);
	assert_string_equal(record->format, format);
	assert_string_equal(record->identity, identity);
	assert_string_equal(record->fingerprint, fingerprint);
	assert_int_equal(record->taken_sec, 1234567890);
	base_record_free(record);
	assert_int_equal(base_record_remove(dirfd, ID_A, NULL), 0);
	assert_false(base_record_exists(dirfd, ID_A));
	assert_int_equal(count(), 1);
	base_record_tidy(dirfd);
	assert_int_equal(count(), 1);
	assert_int_equal(base_record_remove(dirfd, ID_B, NULL), 0);
	close(openat(dirfd, BASE_RECORD_DIR "/" ID_B ".json.tmp", O_CREAT | O_WRONLY | O_CLOEXEC,
		0600));
	base_record_tidy(dirfd);
	assert_int_equal(faccessat(dirfd, BASE_RECORD_DIR, F_OK, 0), -1);
	base_record_tidy(dirfd);
}

/* Whatever of the file is missing: damaged, never half a record. */
static void test_cut(void **state)
{
	char whole[4096];
	AUTO_CLOSE int fd = -1;
	ssize_t len;

	write_it(ID_A);
	fd = openat(dirfd, BASE_RECORD_DIR "/" ID_A ".json", O_RDWR | O_CLOEXEC);
	len = read(fd, whole, sizeof(whole));
	assert_in_range(len, 100, sizeof(whole) - 1);
	for (off_t cut = 0; cut < len; cut++) {
		struct base_record *record;
		struct err err = {0};

		assert_int_equal(ftruncate(fd, 0), 0);
		assert_int_equal(pwrite(fd, whole, (size_t)cut, 0), cut);
		assert_int_equal(base_record_read(dirfd, ID_A, &record, &err), -EUCLEAN);
		assert_non_null(strstr(err.message, ID_A));
	}
}

/* What others put there is not counted. */
static void test_strangers(void **state)
{
	static const char *const names[] = {"README", ID_B, ID_B ".json.tmp", "0123.json"};

	write_it(ID_A);
	for (size_t i = 0; i < sizeof(names) / sizeof(names[0]); i++) {
		char name[64];

		snprintf(name, sizeof(name), BASE_RECORD_DIR "/%s", names[i]);
		close(openat(dirfd, name, O_CREAT | O_WRONLY | O_CLOEXEC, 0600));
	}
	assert_int_equal(count(), 1);
}

#define TEST(fn) cmocka_unit_test_setup_teardown(fn, setup, teardown)

int main(void)
{
	const struct CMUnitTest tests[] = {
		TEST(test_none),
		TEST(test_life),
		TEST(test_cut),
		TEST(test_strangers),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
