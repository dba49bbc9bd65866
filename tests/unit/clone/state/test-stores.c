/* SPDX-License-Identifier: LGPL-2.1-or-later */
/* The register of stores: entries, what is none, what cannot be read. */
#include <errno.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include <cmocka.h>

#include "clone/state/stores.h"
#include "tests/lib/temp.h"

static char dir[TEMP_PATH_MAX];
static char place[TEMP_PATH_MAX + 16];
static struct stores_entry *entries;
static uint32_t count;

static int setup(void **state)
{
	temp_dir("stores", dir);
	snprintf(place, sizeof(place), "%s/deep/register", dir);
	setenv("LAZYCLONE_STORES", place, 1);
	return 0;
}

static int teardown(void **state)
{
	stores_free(entries, count);
	entries = NULL;
	count = 0;
	temp_dir_remove(dir);
	return 0;
}

static void list(void)
{
	stores_free(entries, count);
	assert_int_equal(stores_list(&entries, &count, NULL), 0);
}

static void put(const char *name, const char *text)
{
	char path[sizeof(place) + 64];
	FILE *file;

	snprintf(path, sizeof(path), "%s/%s", place, name);
	file = fopen(path, "w");
	assert_non_null(file);
	fputs(text, file);
	assert_int_equal(fclose(file), 0);
}

static void test_none(void **state)
{
	list();
	assert_int_equal(count, 0);
	assert_int_equal(access(place, F_OK), -1);
}

static void test_note_and_forget(void **state)
{
	struct id a = id_new(), b = id_new();

	assert_int_equal(stores_note(&a, "/var/lib/a", NULL), 0);
	assert_int_equal(stores_note(&b, "/var/lib/b", NULL), 0);
	list();
	assert_int_equal(count, 2);
	assert_true(memcmp(&entries[0].id, &entries[1].id, sizeof(a)) < 0);
	assert_string_equal(entries[id_equal(&entries[0].id, &a) ? 0 : 1].path, "/var/lib/a");
	assert_int_equal(stores_forget(&a, NULL), 0);
	assert_int_equal(stores_forget(&a, NULL), 0);
	list();
	assert_int_equal(count, 1);
	assert_string_equal(entries[0].path, "/var/lib/b");
}

/* A store that was moved is noted at its new place, and only then written. */
static void test_noted_again(void **state)
{
	char path[sizeof(place) + 64], text[ID_TEXT];
	struct stat before, after;
	struct id a = id_new();

	id_format(&a, text);
	snprintf(path, sizeof(path), "%s/%s", place, text);
	assert_int_equal(stores_note(&a, "/old", NULL), 0);
	assert_int_equal(stat(path, &before), 0);
	assert_int_equal(stores_note(&a, "/old", NULL), 0);
	assert_int_equal(stat(path, &after), 0);
	assert_int_equal(before.st_ino, after.st_ino);
	assert_int_equal(stores_note(&a, "/new", NULL), 0);
	list();
	assert_int_equal(count, 1);
	assert_string_equal(entries[0].path, "/new");
}

static void test_what_is_no_entry(void **state)
{
	static const char *const bad[] = {"", "/x", "relative\n", "/x\n/y\n", "/tab\t\n", "\n"};
	struct id a = id_new();
	char text[ID_TEXT];

	id_format(&a, text);
	assert_int_equal(stores_note(&a, "/x", NULL), 0);
	put("README", "/x\n");
	for (size_t i = 0; i < sizeof(bad) / sizeof(bad[0]); i++) {
		put(text, bad[i]);
		list();
		assert_int_equal(count, 1);
		assert_null(entries[0].path);
	}
}

static void test_refused(void **state)
{
	struct err err = {0};
	struct id a = id_new();

	assert_int_equal(stores_note(&a, "relative", NULL), -EINVAL);
	assert_int_equal(stores_note(&a, "/new\nline", NULL), -EINVAL);
	setenv("LAZYCLONE_STORES", "/dev/null/register", 1);
	assert_int_equal(stores_note(&a, "/x", &err), -ENOTDIR);
	assert_non_null(strstr(err.hint, "LAZYCLONE_STORES"));
	assert_int_equal(stores_list(&entries, &count, &err), -ENOTDIR);
}

#define TEST(fn) cmocka_unit_test_setup_teardown(fn, setup, teardown)

int main(void)
{
	const struct CMUnitTest tests[] = {
		TEST(test_none),
		TEST(test_note_and_forget),
		TEST(test_noted_again),
		TEST(test_what_is_no_entry),
		TEST(test_refused),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
