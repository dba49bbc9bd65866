/* SPDX-License-Identifier: LGPL-2.1-or-later */
/* NVRAM files: kept, installed under a journal, never over somebody else's. */
#include <errno.h>
#include <fcntl.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include <cmocka.h>

#include "clone/plan/nvram.h"
#include "clone/state/record.h"
#include "fs/util/cleanup.h"
#include "fs/util/io.h"
#include "tests/lib/temp.h"

#define CONTENT "variables of the firmware"

static char dir[TEMP_PATH_MAX];
static char original[TEMP_PATH_MAX + 16];
static char path[TEMP_PATH_MAX + 32];
static int dirfd_of_clone;
static struct journal *journal;

static int setup(void **state)
{
	temp_dir("nvram", dir);
	snprintf(original, sizeof(original), "%s/original.fd", dir);
	snprintf(path, sizeof(path), "%s/clone_VARS.fd", dir);
	dirfd_of_clone = open(dir, O_RDONLY | O_DIRECTORY | O_CLOEXEC);
	assert_int_equal(io_write_file(&io_kernel, dirfd_of_clone, "original.fd", CONTENT,
				 strlen(CONTENT), 0600), 0);
	assert_int_equal(chmod(original, 0640), 0);
	return journal_begin(dirfd_of_clone, &journal, NULL);
}

static int teardown(void **state)
{
	journal_close(journal);
	close(dirfd_of_clone);
	temp_dir_remove(dir);
	return 0;
}

static void content_is(const char *name, const char *expected)
{
	AUTO_FREE char *data = NULL;
	size_t len;

	assert_int_equal(io_slurp(&io_kernel, AT_FDCWD, name, 4096, &data, &len), 0);
	assert_string_equal(data, expected);
}

static void test_kept_and_installed(void **state)
{
	struct stat made, like;

	assert_int_equal(nvram_keep(AT_FDCWD, original, dirfd_of_clone, RECORD_NVRAM, NULL), 1);
	/* The original may be written from now on: the kept copy counts. */
	assert_int_equal(truncate(original, 3), 0);
	assert_int_equal(nvram_install(dirfd_of_clone, original, path, journal, NULL), 0);
	content_is(path, CONTENT);
	assert_int_equal(stat(path, &made), 0);
	assert_int_equal(stat(original, &like), 0);
	assert_int_equal(made.st_mode, like.st_mode);
	assert_int_equal(made.st_uid, like.st_uid);
	assert_int_equal(made.st_gid, like.st_gid);
	assert_true(made.st_ino != like.st_ino);
}

/* What the journal says is what is there: its undoing needs nothing else. */
static void test_the_journal_names_both(void **state)
{
	const struct journal_entry *entry;
	AUTO_CLOSE int fd = -1;
	struct stat st;

	assert_int_equal(nvram_keep(AT_FDCWD, original, dirfd_of_clone, RECORD_NVRAM, NULL), 1);
	assert_int_equal(nvram_install(dirfd_of_clone, original, path, journal, NULL), 0);
	assert_int_equal(journal_count(journal), 2);
	entry = journal_entry(journal, 0);
	assert_int_equal(entry->kind, JOURNAL_FILE);
	assert_int_equal(strncmp(entry->name, path, strlen(path)), 0);
	assert_true(strlen(entry->name) > strlen(path) + 32);
	assert_int_equal(access(entry->name, F_OK), -1);
	entry = journal_entry(journal, 1);
	assert_int_equal(entry->kind, JOURNAL_FILE_MADE);
	assert_string_equal(entry->name, path);
	fd = open(path, O_RDONLY | O_CLOEXEC);
	assert_int_equal(fstat(fd, &st), 0);
	assert_true(entry->ino == st.st_ino);
	assert_true(entry->dev == nvram_fsid(fd));
}

static void test_none_yet(void **state)
{
	assert_int_equal(unlink(original), 0);
	assert_int_equal(nvram_keep(AT_FDCWD, original, dirfd_of_clone, RECORD_NVRAM, NULL), 0);
	assert_int_equal(faccessat(dirfd_of_clone, RECORD_NVRAM, F_OK, 0), -1);
}

static void test_somebody_elses_stays(void **state)
{
	struct err err = {0};
	int fd = open(path, O_WRONLY | O_CREAT | O_CLOEXEC, 0600);

	assert_int_equal(write(fd, "theirs", 6), 6);
	close(fd);
	assert_int_equal(nvram_keep(AT_FDCWD, original, dirfd_of_clone, RECORD_NVRAM, NULL), 1);
	assert_int_equal(nvram_install(dirfd_of_clone, original, path, journal, &err), -EEXIST);
	assert_non_null(strstr(err.message, path));
	content_is(path, "theirs");
}

static void test_what_is_no_nvram(void **state)
{
	struct err err = {0};

	assert_int_equal(truncate(original, NVRAM_BYTES_MAX + 1), 0);
	assert_int_equal(nvram_keep(AT_FDCWD, original, dirfd_of_clone, RECORD_NVRAM, &err), -EFBIG);
	assert_non_null(strstr(err.message, original));
	assert_int_equal(unlink(original), 0);
	assert_int_equal(mkfifo(original, 0600), 0);
	assert_int_equal(nvram_keep(AT_FDCWD, original, dirfd_of_clone, RECORD_NVRAM, NULL), -EINVAL);
}

/* reset: the file is replaced whole, and has the owner and mode it had. */
static void test_prepared_and_put_back(void **state)
{
	AUTO_FREE char *temp = NULL;
	struct stat before, after;

	assert_int_equal(nvram_keep(AT_FDCWD, original, dirfd_of_clone, "kept", NULL), 1);
	assert_int_equal(io_write_file(&io_kernel, dirfd_of_clone, "clone_VARS.fd", "changed", 7,
				 0604), 0);
	assert_int_equal(chmod(path, 0604), 0);
	assert_int_equal(stat(path, &before), 0);
	assert_int_equal(nvram_prepare(dirfd_of_clone, "kept", path, journal, &temp, NULL), 0);
	content_is(path, "changed");
	content_is(temp, CONTENT);
	assert_int_equal(journal_count(journal), 1);
	assert_string_equal(journal_entry(journal, 0)->name, temp);
	assert_int_equal(nvram_replace(temp, path, NULL), 0);
	content_is(path, CONTENT);
	assert_int_equal(stat(path, &after), 0);
	assert_int_equal(after.st_mode, before.st_mode);
	assert_int_equal(after.st_uid, before.st_uid);
	assert_int_equal(access(temp, F_OK), -1);
	/* A killed run had got as far. */
	assert_int_equal(nvram_replace(temp, path, NULL), 0);
	content_is(path, CONTENT);
}

static void test_removed(void **state)
{
	assert_int_equal(io_write_file(&io_kernel, dirfd_of_clone, "clone_VARS.fd", "x", 1, 0600), 0);
	assert_int_equal(nvram_remove(path, NULL), 0);
	assert_int_equal(access(path, F_OK), -1);
	assert_int_equal(nvram_remove(path, NULL), 0);
}

#define TEST(name) cmocka_unit_test_setup_teardown(name, setup, teardown)

int main(void)
{
	const struct CMUnitTest tests[] = {
		TEST(test_kept_and_installed),
		TEST(test_the_journal_names_both),
		TEST(test_none_yet),
		TEST(test_prepared_and_put_back),
		TEST(test_removed),
		TEST(test_somebody_elses_stays),
		TEST(test_what_is_no_nvram),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
