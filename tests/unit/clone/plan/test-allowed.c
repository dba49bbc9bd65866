/* SPDX-License-Identifier: LGPL-2.1-or-later */
/* --backing and --data-file: how they are written, and what they match. */
#include <errno.h>
#include <fcntl.h>
#include <limits.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include <cmocka.h>

#include "clone/plan/allowed.h"
#include "tests/lib/temp.h"

static char dir[TEMP_PATH_MAX];
static char there[PATH_MAX]; /* where we were */

static void make(const char *name)
{
	int fd = open(name, O_WRONLY | O_CREAT | O_CLOEXEC, 0600);

	assert_true(fd >= 0);
	close(fd);
}

static int setup(void **state)
{
	(void)state;
	assert_non_null(getcwd(there, sizeof(there)));
	temp_dir("allowed", dir);
	assert_int_equal(chdir(dir), 0);
	make("base");
	make("base:raw");
	make("a,b c");
	assert_int_equal(symlink("base", "link"), 0);
	return 0;
}

static int teardown(void **state)
{
	(void)state;
	assert_int_equal(chdir(there), 0);
	temp_dir_remove(dir);
	return 0;
}

static void parsed(const char *text, const char *name, const char *format)
{
	struct allowed allowed;
	char path[PATH_MAX];
	struct err err = {0};

	snprintf(path, sizeof(path), "%s/%s", dir, name);
	if (allowed_parse(&text, 1, NULL, 0, &allowed, &err) < 0)
		fail_msg("%s", err.message);
	assert_int_equal(allowed.n_files, 1);
	assert_string_equal(allowed.files[0].path, path);
	if (format)
		assert_string_equal(allowed.files[0].format, format);
	else
		assert_null(allowed.files[0].format);
	allowed_clear(&allowed);
}

static void test_spelling(void **state)
{
	(void)state;
	parsed("base", "base", NULL);
	parsed("./base:qcow2", "base", "qcow2");
	parsed("link:raw", "base", "raw");
	/* A file whose own name ends like a format. */
	parsed("base:raw:raw", "base:raw", "raw");
	parsed("base:raw", "base", "raw");
	parsed("a,b c", "a,b c", NULL);
}

static void test_missing(void **state)
{
	const char *const text = "base:vmdk"; /* no format of ours: part of the name */
	struct allowed allowed;
	struct err err = {0};

	(void)state;
	assert_int_equal(allowed_parse(&text, 1, NULL, 0, &allowed, &err), -ENOENT);
	assert_non_null(strstr(err.message, "--backing base:vmdk"));
	assert_int_equal(allowed_parse(NULL, 0, &text, 1, &allowed, &err), -ENOENT);
	assert_non_null(strstr(err.message, "--data-file base:vmdk"));
}

/* By the file, not by the name; a backing file is no data file. */
static void test_found_by_file(void **state)
{
	const char *const backing = "link:raw", *const data = "a,b c";
	char path[PATH_MAX], other[PATH_MAX];
	struct allowed allowed;
	struct err err = {0};

	(void)state;
	snprintf(path, sizeof(path), "%s/../%s/base", dir, strrchr(dir, '/') + 1);
	snprintf(other, sizeof(other), "%s/a,b c", dir);
	assert_int_equal(allowed_parse(&backing, 1, &data, 1, &allowed, &err), 0);
	assert_null(allowed_find(&allowed, path, true));
	assert_null(allowed_find(&allowed, other, false));
	assert_int_equal(allowed_check_used(&allowed, &err), -EINVAL);
	assert_non_null(allowed_find(&allowed, path, false));
	assert_int_equal(allowed_check_used(&allowed, &err), -EINVAL);
	assert_non_null(strstr(err.message, "--data-file a,b c"));
	assert_non_null(allowed_find(&allowed, other, true));
	assert_int_equal(allowed_check_used(&allowed, &err), 0);
	allowed_clear(&allowed);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(test_spelling),
		cmocka_unit_test(test_missing),
		cmocka_unit_test(test_found_by_file),
	};

	return cmocka_run_group_tests(tests, setup, teardown);
}
