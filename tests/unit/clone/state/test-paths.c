/* SPDX-License-Identifier: LGPL-2.1-or-later */
/* Where the store and its mount point are, by option, environment and user. */
#include <errno.h>
#include <limits.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/wait.h>
#include <unistd.h>

#include <cmocka.h>

#include "clone/state/paths.h"
#include "tests/lib/temp.h"

static char dir[TEMP_PATH_MAX];

static int setup(void **state)
{
	temp_dir("paths", dir);
	unsetenv("LAZYCLONE_STORE");
	unsetenv("XDG_DATA_HOME");
	return 0;
}

static int teardown(void **state)
{
	temp_dir_remove(dir);
	return 0;
}

static void store_is(const char *option, const char *expected)
{
	char *path;

	assert_int_equal(paths_store(option, &path, NULL), 0);
	assert_string_equal(path, expected);
	free(path);
}

static void mountpoint_is(const char *store, const char *expected)
{
	char *path;

	assert_int_equal(paths_mountpoint(store, &path, NULL), 0);
	assert_string_equal(path, expected);
	free(path);
}

static void test_option_before_environment(void **state)
{
	setenv("LAZYCLONE_STORE", "/from/environment/", 1);
	store_is(NULL, "/from/environment");
	store_is("/by/option//", "/by/option");
	setenv("LAZYCLONE_STORE", "", 1);
	store_is("/", "/");
}

static void test_relative_is_below_the_current_directory(void **state)
{
	char expected[PATH_MAX];
	char cwd[PATH_MAX];

	assert_non_null(getcwd(cwd, sizeof(cwd)));
	assert_int_equal(chdir(dir), 0);
	snprintf(expected, sizeof(expected), "%s/here", dir);
	store_is("here/", expected);
	assert_int_equal(chdir(cwd), 0);
}

static void test_what_is_no_path(void **state)
{
	char long_path[PATH_MAX + 2];
	char *path;

	assert_int_equal(paths_store("", &path, NULL), -EINVAL);
	assert_int_equal(paths_store("a\nb", &path, NULL), -EINVAL);
	assert_int_equal(paths_store("\xff", &path, NULL), -EINVAL);
	memset(long_path, '/', sizeof(long_path));
	long_path[sizeof(long_path) - 1] = '\0';
	assert_int_equal(paths_store(long_path, &path, NULL), -ENAMETOOLONG);
}

/* As an ordinary user, in a child: 0 if paths_store says expected. */
static int store_of_user(const char *expected)
{
	pid_t child = fork();
	int status;

	if (child == 0) {
		char *path = NULL;
		bool user = geteuid() != 0 || setresuid(65534, 65534, 65534) == 0;
		int rc = user ? paths_store(NULL, &path, NULL) : -EPERM;

		if (expected)
			_exit(rc < 0 || strcmp(path, expected) != 0);
		_exit(rc != -ENOENT);
	}
	assert_int_equal(waitpid(child, &status, 0), child);
	return status;
}

static void test_usual_places(void **state)
{
	if (geteuid() == 0)
		store_is(NULL, "/var/lib/lazyclone/store");
	setenv("HOME", "/home/u", 1);
	assert_int_equal(store_of_user("/home/u/.local/share/lazyclone/store"), 0);
	setenv("XDG_DATA_HOME", "/data", 1);
	assert_int_equal(store_of_user("/data/lazyclone/store"), 0);
	setenv("XDG_DATA_HOME", "relative/is/ignored", 1);
	assert_int_equal(store_of_user("/home/u/.local/share/lazyclone/store"), 0);
	unsetenv("HOME");
	unsetenv("XDG_DATA_HOME");
	assert_int_equal(store_of_user(NULL), 0);
}

static void test_mount_points(void **state)
{
	mountpoint_is("/var/lib/lazyclone/store", "/var/lib/lazyclone/mnt");
	mountpoint_is("/store", "/mnt");
	mountpoint_is("/srv/clones", "/srv/clones-mnt");
	mountpoint_is("/srv/restore", "/srv/restore-mnt");
}

static void put_mountpoint(const char *text)
{
	char path[TEMP_PATH_MAX + 16];
	FILE *f;

	snprintf(path, sizeof(path), "%s/mountpoint", dir);
	f = fopen(path, "w");
	assert_non_null(f);
	fputs(text, f);
	fclose(f);
}

static void test_a_remembered_mount_point(void **state)
{
	char expected[TEMP_PATH_MAX + 8];

	snprintf(expected, sizeof(expected), "%s-mnt", dir);
	mountpoint_is(dir, expected);
	assert_int_equal(paths_remember_mountpoint(dir, "/mnt/of \xc3\xa4 store", NULL), 0);
	mountpoint_is(dir, "/mnt/of \xc3\xa4 store");
	assert_int_equal(paths_remember_mountpoint(dir, "/other", NULL), 0);
	mountpoint_is(dir, "/other");
	assert_int_equal(paths_remember_mountpoint(dir, "relative", NULL), -EINVAL);
	assert_int_equal(paths_remember_mountpoint(dir, "/a\nb", NULL), -EINVAL);
	mountpoint_is(dir, "/other");
}

static void test_a_damaged_memory_is_refused(void **state)
{
	static const char *const bad[] = {"", "\n", "/no/newline", "relative\n", "/a\n/b\n", "/\x01\n"};
	char *path;

	for (size_t i = 0; i < sizeof(bad) / sizeof(bad[0]); i++) {
		struct err err = {0};

		put_mountpoint(bad[i]);
		assert_int_equal(paths_mountpoint(dir, &path, &err), -EUCLEAN);
		assert_non_null(strstr(err.message, dir));
		assert_true(err.hint[0]);
	}
}

#define TEST(name) cmocka_unit_test_setup_teardown(name, setup, teardown)

int main(void)
{
	const struct CMUnitTest tests[] = {
		TEST(test_option_before_environment),
		TEST(test_relative_is_below_the_current_directory),
		TEST(test_what_is_no_path),
		TEST(test_usual_places),
		TEST(test_mount_points),
		TEST(test_a_remembered_mount_point),
		TEST(test_a_damaged_memory_is_refused),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
