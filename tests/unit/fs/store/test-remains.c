/* SPDX-License-Identifier: LGPL-2.1-or-later */
/* Files that lose their names at once and their space later. */
#include <errno.h>
#include <fcntl.h>
#include <pthread.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stdatomic.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/stat.h>
#include <unistd.h>

#include <cmocka.h>

#include "fs/store/remains.h"
#include "fs/util/cleanup.h"
#include "tests/lib/scratch.h"

#define LARGE REMAINS_LEAST_BYTES

static struct io_gate gate;
static atomic_uint closes;
static atomic_bool slow; /* closing waits until it is false */
static int dirfd_ = -1;
static struct remains *remains;

static int count_close(const struct io_gate *io, int fd)
{
	atomic_fetch_add(&closes, 1);
	WAIT_UNTIL(!atomic_load(&slow));
	return io_kernel.close(&io_kernel, fd);
}

static int begin(void **state)
{
	scratch_make();
	gate = io_kernel;
	gate.close = count_close;
	atomic_store(&closes, 0);
	atomic_store(&slow, false);
	dirfd_ = open(scratch_dir(), O_RDONLY | O_DIRECTORY | O_CLOEXEC);
	remains = remains_new();
	return dirfd_ < 0 || !remains;
}

static int end(void **state)
{
	remains_free(remains);
	close_fd(&dirfd_);
	scratch_remove();
	return 0;
}

static void make(const char *name, uint64_t bytes)
{
	AUTO_CLOSE int fd = openat(dirfd_, name, O_RDWR | O_CREAT | O_CLOEXEC, 0600);

	assert_true(fd >= 0);
	assert_int_equal(fallocate(fd, 0, 0, (off_t)bytes), 0);
}

static bool is_there(const char *name)
{
	return faccessat(dirfd_, name, F_OK, 0) == 0;
}

static int unlink_it(struct remains *to, const char *name)
{
	int rc = remains_unlink(to, &gate, dirfd_, name);

	assert_false(is_there(name));
	return rc;
}

/* ---- tests ---- */

static void large_ones_are_let_go_later(void **state)
{
	assert_false(remains_let_go(remains));
	make("a", LARGE);
	make("b", LARGE);
	assert_int_equal(unlink_it(remains, "a"), 0);
	assert_int_equal(unlink_it(remains, "b"), 0);
	assert_int_equal(atomic_load(&closes), 0);
	assert_true(remains_let_go(remains));
	assert_int_equal(atomic_load(&closes), 2);
	assert_false(remains_let_go(remains));
}

static void small_ones_and_those_with_another_name_are_not_kept(void **state)
{
	make("small", LARGE / 2);
	make("linked", LARGE);
	assert_int_equal(linkat(dirfd_, "linked", dirfd_, "other", 0), 0);
	assert_int_equal(unlink_it(remains, "small"), 0);
	assert_int_equal(unlink_it(remains, "linked"), 0);
	assert_int_equal(atomic_load(&closes), 2);
	assert_false(remains_let_go(remains));
	assert_true(is_there("other"));
}

static void nowhere_to_keep_them(void **state)
{
	make("a", LARGE);
	assert_int_equal(unlink_it(NULL, "a"), 0);
	assert_int_equal(unlink_it(remains, "a"), -ENOENT);
	assert_int_equal(atomic_load(&closes), 0);
}

static void a_name_that_cannot_go(void **state)
{
	assert_int_equal(mkdirat(dirfd_, "directory", 0700), 0);
	assert_int_equal(remains_unlink(remains, &gate, dirfd_, "directory"), -EISDIR);
	assert_int_equal(symlinkat("directory", dirfd_, "link"), 0);
	assert_int_equal(unlink_it(remains, "link"), 0);
	assert_int_equal(mkfifoat(dirfd_, "fifo", 0600), 0);
	assert_int_equal(unlink_it(remains, "fifo"), 0);
	assert_false(remains_let_go(remains));
	assert_true(is_there("directory"));
}

static void no_more_than_so_many(void **state)
{
	for (unsigned int i = 0; i < REMAINS_MAX + 2; i++) {
		make("a", LARGE);
		assert_int_equal(unlink_it(remains, "a"), 0);
	}
	assert_int_equal(atomic_load(&closes), 2);
	remains_free(remains);
	assert_int_equal(atomic_load(&closes), REMAINS_MAX + 2);
	remains = NULL;
}

static void *let_go(void *arg)
{
	*(bool *)arg = remains_let_go(remains);
	return NULL;
}

/* Who lacks the room has it when his call returns, whoever is at work on it. */
static void what_another_lets_go_is_waited_for(void **state)
{
	pthread_t first, second;
	bool was_first = false, was_second = false;

	make("a", LARGE);
	assert_int_equal(unlink_it(remains, "a"), 0);
	atomic_store(&slow, true);
	assert_int_equal(pthread_create(&first, NULL, let_go, &was_first), 0);
	WAIT_UNTIL(atomic_load(&closes) == 1);
	assert_int_equal(pthread_create(&second, NULL, let_go, &was_second), 0);
	atomic_store(&slow, false);
	pthread_join(first, NULL);
	pthread_join(second, NULL);
	assert_true(was_first);
	assert_int_equal(atomic_load(&closes), 1);
	assert_false(remains_let_go(remains));
}

#define TEST(f) cmocka_unit_test_setup_teardown(f, begin, end)

int main(void)
{
	const struct CMUnitTest tests[] = {
		TEST(large_ones_are_let_go_later),
		TEST(small_ones_and_those_with_another_name_are_not_kept),
		TEST(nowhere_to_keep_them),
		TEST(a_name_that_cannot_go),
		TEST(no_more_than_so_many),
		TEST(what_another_lets_go_is_waited_for),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
