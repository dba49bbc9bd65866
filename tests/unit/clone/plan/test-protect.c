/* SPDX-License-Identifier: LGPL-2.1-or-later */
/* Write bits of originals: what their owner wants them to be, while they are taken. */
#include <errno.h>
#include <fcntl.h>
#include <limits.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/stat.h>
#include <unistd.h>

#include <cmocka.h>

#include "clone/plan/protect.h"
#include "clone/state/stores.h"
#include "fs/base/base.h"
#include "fs/util/io.h"
#include "tests/lib/temp.h"

static char dir[TEMP_PATH_MAX];
static char original[PATH_MAX];
static struct store *store, *other;

static void path_of(const char *name, char path[static PATH_MAX])
{
	snprintf(path, PATH_MAX, "%s/%s", dir, name);
}

static struct store *make_store(const char *name)
{
	struct store *made;
	char path[PATH_MAX];

	path_of(name, path);
	assert_int_equal(store_create(&io_kernel, path, NULL), 0);
	assert_int_equal(store_open(&io_kernel, path, &made, NULL), 0);
	assert_int_equal(stores_note(store_id(made), path, NULL), 0);
	return made;
}

static int setup(void **state)
{
	char path[PATH_MAX];
	int fd;

	temp_dir("protect", dir);
	path_of("stores", path);
	assert_int_equal(setenv("LAZYCLONE_STORES", path, 1), 0);
	store = make_store("store");
	other = make_store("other");
	path_of("original.raw", original);
	fd = open(original, O_RDWR | O_CREAT | O_CLOEXEC, 0600);
	assert_true(fd >= 0);
	assert_int_equal(ftruncate(fd, 4096), 0);
	assert_int_equal(fchmod(fd, 0662), 0);
	close(fd);
	return 0;
}

static int teardown(void **state)
{
	store_close(store);
	store_close(other);
	temp_dir_remove(dir);
	return 0;
}

static void take(struct store *from)
{
	struct base_source *source;
	uint64_t size_bytes;
	char *identity;

	assert_int_equal(base_source_raw(original, &source), 0);
	assert_int_equal(base_identify(source, &identity, &size_bytes, NULL), 0);
	assert_int_equal(protect_take(from, original, identity, NULL), 0);
	base_source_free(source);
	free(identity);
}

static mode_t mode_now(void)
{
	struct stat st;

	assert_int_equal(stat(original, &st), 0);
	return st.st_mode & 07777;
}

static mode_t mode_wanted(void)
{
	mode_t mode = 0;

	assert_int_equal(protect_mode(store, original, &mode), 0);
	return mode;
}

static void test_its_own_while_nothing_is_taken(void **state)
{
	assert_int_equal(mode_wanted(), 0662);
	assert_int_equal(chmod(original, 0440), 0);
	assert_int_equal(mode_wanted(), 0440);
}

static void test_with_what_this_store_has_taken(void **state)
{
	take(store);
	assert_int_equal(mode_now(), 0440);
	assert_int_equal(mode_wanted(), 0662);
	/* Its owner's word of today is heard, as to the rest. */
	assert_int_equal(chmod(original, 0444), 0);
	assert_int_equal(mode_wanted(), 0666);
}

static void test_with_what_another_store_has_taken(void **state)
{
	take(other);
	assert_int_equal(mode_now(), 0440);
	assert_int_equal(mode_wanted(), 0662);
}

/* At its path another file is, which nobody took a bit of. */
static void test_another_file_has_its_own(void **state)
{
	int fd;

	take(store);
	assert_int_equal(unlink(original), 0);
	fd = open(original, O_RDWR | O_CREAT | O_CLOEXEC, 0400);
	assert_true(fd >= 0);
	close(fd);
	assert_int_equal(mode_wanted(), 0400);
}

static void test_of_no_file(void **state)
{
	mode_t mode;

	assert_int_equal(unlink(original), 0);
	assert_int_equal(protect_mode(store, original, &mode), -ENOENT);
}

#define ALONE(name) cmocka_unit_test_setup_teardown(name, setup, teardown)

int main(void)
{
	const struct CMUnitTest tests[] = {
		ALONE(test_its_own_while_nothing_is_taken),
		ALONE(test_with_what_this_store_has_taken),
		ALONE(test_with_what_another_store_has_taken),
		ALONE(test_another_file_has_its_own),
		ALONE(test_of_no_file),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
