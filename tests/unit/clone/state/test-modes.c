/* SPDX-License-Identifier: LGPL-2.1-or-later */
/* STORE/modes.json: what is written comes back, what is not ours is refused, who waits for whom. */
#include <errno.h>
#include <fcntl.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include <cmocka.h>

#include "clone/state/modes.h"
#include "fs/util/io.h"
#include "tests/lib/temp.h"

#define ID_A "0123456789abcdef"
#define ID_B "fedcba9876543210"

static char top[TEMP_PATH_MAX];
static int dirfd;

static int setup(void **state)
{
	temp_dir("modes", top);
	dirfd = open(top, O_RDONLY | O_DIRECTORY);
	return dirfd < 0 ? -1 : 0;
}

static int teardown(void **state)
{
	close(dirfd);
	temp_dir_remove(top);
	return 0;
}

static void put(struct modes *modes, const char *id, const char *path, mode_t mode, bool by_hand)
{
	struct modes_entry *entry = modes_add(modes, id, path);

	assert_non_null(entry);
	entry->inode = INT64_MAX;
	entry->mode = mode;
	entry->by_hand = by_hand;
}

static void test_comes_back(void **state)
{
	struct modes modes = {0};
	struct modes_entry *entry;
	struct stat st;

	assert_int_equal(modes_read(dirfd, &modes, NULL), 0);
	assert_int_equal(modes.count, 0);
	put(&modes, ID_A, "/images/a \"\xc3\xa4\".raw", 0664, false);
	put(&modes, ID_B, "/images/b.raw", 0200, true);
	assert_int_equal(modes_write(dirfd, &modes, NULL), 0);
	modes_clear(&modes);

	assert_int_equal(modes_read(dirfd, &modes, NULL), 0);
	assert_int_equal(modes.count, 2);
	entry = modes_find(&modes, ID_A);
	assert_string_equal(entry->path, "/images/a \"\xc3\xa4\".raw");
	assert_int_equal(entry->mode, 0664);
	assert_true(entry->inode == INT64_MAX);
	assert_false(entry->by_hand || entry->immutable);
	modes_drop(&modes, entry);
	assert_null(modes_find(&modes, ID_A));
	entry = modes_find(&modes, ID_B);
	assert_true(entry->by_hand);
	modes_drop(&modes, entry);
	assert_int_equal(modes_write(dirfd, &modes, NULL), 0);
	modes_clear(&modes);
	assert_true(fstatat(dirfd, "modes.json", &st, 0) < 0);
}

/* A mode from here is set on a file: nothing but permission bits of a path and an inode. */
static void test_refused(void **state)
{
#define FILE_TEXT(id, path, mode) "{\"format\": 1, \"files\": [{\"id\": \"" id "\", \"path\": \"" path \
	"\", \"inode\": 5, \"mode\": " mode ", \"immutable\": false, \"by_hand\": false}]}"
	static const char *const texts[] = {
		"", "[]", "{}", "{\"format\": 2, \"files\": []}", "{\"format\": 1}",
		FILE_TEXT("0123456789abcde", "/a", "420"),
		FILE_TEXT("../0123456789abc", "/a", "420"),
		FILE_TEXT(ID_A, "a", "420"),
		FILE_TEXT(ID_A, "/a", "2541"),
		FILE_TEXT(ID_A, "/a", "-1"),
		FILE_TEXT(ID_A, "/a", "\"420\""),
	};
	struct modes modes;

	for (size_t i = 0; i < sizeof(texts) / sizeof(texts[0]); i++) {
		assert_int_equal(io_publish(&io_kernel, dirfd, "modes.json", texts[i],
			strlen(texts[i]), 0600), 0);
		assert_int_equal(modes_read(dirfd, &modes, NULL), -EUCLEAN);
	}
	assert_int_equal(io_publish(&io_kernel, dirfd, "modes.json",
		FILE_TEXT(ID_A, "/a", "420"), strlen(FILE_TEXT(ID_A, "/a", "420")), 0600), 0);
	assert_int_equal(modes_read(dirfd, &modes, NULL), 0);
	modes_clear(&modes);
}

static void test_lock(void **state)
{
	int one = modes_keep(dirfd), two = modes_keep(dirfd), file;

	assert_true(one >= 0 && two >= 0);
	file = modes_lock(dirfd);
	assert_true(file >= 0);
	assert_int_equal(modes_give_back(dirfd), -EBUSY);
	close(one);
	assert_int_equal(modes_give_back(dirfd), -EBUSY);
	close(two);
	one = modes_give_back(dirfd);
	assert_true(one >= 0);
	close(one);
	close(file);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test_setup_teardown(test_comes_back, setup, teardown),
		cmocka_unit_test_setup_teardown(test_refused, setup, teardown),
		cmocka_unit_test_setup_teardown(test_lock, setup, teardown),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
