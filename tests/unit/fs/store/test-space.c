/* SPDX-License-Identifier: LGPL-2.1-or-later */
/* Granting space: quotas, the reserve, full file systems; on a small file system in memory. */
#include <errno.h>
#include <fcntl.h>
#include <pthread.h>
#include <sched.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mount.h>
#include <sys/stat.h>
#include <sys/statvfs.h>
#include <unistd.h>

#include <cmocka.h>

#include "fs/store/remains.h"
#include "fs/store/slot.h"
#include "fs/store/space.h"
#include "fs/util/cleanup.h"
#include "tests/lib/saboteur.h"
#include "tests/lib/scratch.h"

#define MIB (UINT64_C(1) << 20)
#define FS_MIB 96
#define RESERVE SPACE_RESERVE_LEAST_BYTES /* of a file system of that size */

static int dirfd_ = -1;
static struct space_pool *pool;
static struct space *space;
static struct saboteur gate;

/* ---- the file system ---- */

static void write_text(const char *path, const char *text)
{
	AUTO_CLOSE int fd = open(path, O_WRONLY | O_CLOEXEC);

	assert_true(fd >= 0);
	assert_int_equal(write(fd, text, strlen(text)), strlen(text));
}

/* Mounts of our own, as root or not; they vanish with us. */
static bool enter_namespace(void)
{
	char map[64];

	snprintf(map, sizeof(map), "0 %u 1", (unsigned int)geteuid());
	if (unshare(CLONE_NEWNS) == 0)
		return mount("none", "/", NULL, MS_REC | MS_PRIVATE, NULL) == 0;
	if (unshare(CLONE_NEWNS | CLONE_NEWUSER) < 0)
		return false;
	write_text("/proc/self/uid_map", map);
	return true;
}

static int make_fs(void **state)
{
	char option[32];

	scratch_make();
	snprintf(option, sizeof(option), "size=%dm", FS_MIB);
	if (!enter_namespace() || mount("small", scratch_dir(), "tmpfs", 0, option) < 0) {
		print_message("cannot mount a small file system: %s\n", strerror(errno));
		return -1;
	}
	return 0;
}

static int remove_fs(void **state)
{
	umount2(scratch_dir(), MNT_DETACH);
	scratch_remove();
	return 0;
}

static uint64_t free_bytes(void)
{
	struct statvfs fs;

	assert_int_equal(fstatvfs(dirfd_, &fs), 0);
	return (uint64_t)fs.f_bavail * fs.f_frsize;
}

/* Another program takes all but leave bytes. */
static void hog(uint64_t leave)
{
	AUTO_CLOSE int fd = openat(dirfd_, "hog", O_RDWR | O_CREAT | O_CLOEXEC, 0600);
	struct stat st;

	assert_true(fd >= 0);
	assert_int_equal(fstat(fd, &st), 0);
	assert_true(free_bytes() > leave);
	assert_int_equal(fallocate(fd, 0, st.st_size, (off_t)(free_bytes() - leave)), 0);
}

static void unhog(void)
{
	assert_int_equal(unlinkat(dirfd_, "hog", 0), 0);
}

/* What a log does with a grant. */
static int allocate_slot(const char *name, uint64_t bytes)
{
	AUTO_CLOSE int fd = openat(dirfd_, name, O_RDWR | O_CREAT | O_CLOEXEC, 0600);
	struct stat st;

	assert_true(fd >= 0);
	assert_int_equal(fstat(fd, &st), 0);
	return fallocate(fd, 0, st.st_size, (off_t)bytes) < 0 ? -errno : 0;
}

static uint64_t allocated(const char *name)
{
	struct stat st;

	return fstatat(dirfd_, name, &st, 0) == 0 ? (uint64_t)st.st_blocks * 512 : 0;
}

/* ---- a pool with one clone ---- */

static void open_pool(const struct io_gate *io, uint64_t store_quota, uint64_t clone_quota)
{
	struct err err = {0};

	assert_int_equal(space_pool_open(io, dirfd_, store_quota, &pool, &err), 0);
	assert_int_equal(space_new(pool, clone_quota, &space), 0);
}

static void close_pool(void)
{
	space_free(space);
	space_pool_close(pool);
	space = NULL;
	pool = NULL;
}

static int begin(void **state)
{
	dirfd_ = open(scratch_dir(), O_RDONLY | O_DIRECTORY | O_CLOEXEC);
	return dirfd_ < 0;
}

static int end(void **state)
{
	static const char *const names[] = {"hog", "log", "reserve"};

	close_pool();
	for (size_t i = 0; i < sizeof(names) / sizeof(names[0]); i++)
		unlinkat(dirfd_, names[i], 0);
	close_fd(&dirfd_);
	return 0;
}

static struct space_info info(void)
{
	struct space_info ret;

	space_info(space, &ret);
	return ret;
}

/* ---- tests ---- */

static void nobody_asked_grants_all(void **state)
{
	assert_int_equal(space_take(NULL, UINT64_MAX, false), 0);
	space_give(NULL, UINT64_MAX);
	space_adopt(NULL, -1);
}

static void reserve_is_allocated(void **state)
{
	open_pool(NULL, 0, 0);
	assert_int_equal(info().reserve_bytes, RESERVE);
	assert_int_equal(info().reserve_filled_bytes, RESERVE);
	assert_int_equal(allocated("reserve"), RESERVE);
	assert_int_equal(info().free_bytes, free_bytes());
	assert_false(info().reserve_counted);
	close_pool();
	/* It stays, so that a full store can be emptied by the next daemon. */
	assert_int_equal(allocated("reserve"), RESERVE);
}

/* A copy of the store may have left the blocks away, a larger file system a
 * larger reserve. */
static void reserve_of_a_copy_is_filled(void **state)
{
	AUTO_CLOSE int fd = openat(dirfd_, "reserve", O_RDWR | O_CREAT | O_CLOEXEC, 0600);

	assert_int_equal(ftruncate(fd, (off_t)RESERVE - 4096), 0);
	open_pool(NULL, 0, 0);
	assert_int_equal(allocated("reserve"), RESERVE);
	close_pool();
	assert_int_equal(fallocate(fd, 0, 0, (off_t)(2 * RESERVE)), 0);
	open_pool(NULL, 0, 0);
	assert_int_equal(allocated("reserve"), RESERVE);
}

static void reserve_that_is_no_file_is_refused(void **state)
{
	struct err err = {0};

	assert_int_equal(symlinkat("/dev/null", dirfd_, "reserve"), 0);
	assert_int_equal(space_pool_open(NULL, dirfd_, 0, &pool, &err), -ELOOP);
	assert_int_equal(unlinkat(dirfd_, "reserve", 0), 0);
	assert_int_equal(mkdirat(dirfd_, "reserve", 0700), 0);
	assert_true(space_pool_open(NULL, dirfd_, 0, &pool, &err) < 0);
	assert_non_null(strstr(err.message, "reserve"));
	assert_int_equal(unlinkat(dirfd_, "reserve", AT_REMOVEDIR), 0);
}

static void clone_quota_ends_growth(void **state)
{
	open_pool(NULL, 0, 20 * MIB);
	space_adopt(space, 5 * MIB);
	assert_int_equal(space_take(space, 8 * MIB, false), 0);
	assert_int_equal(info().free_bytes, 7 * MIB);
	assert_int_equal(space_take(space, 8 * MIB, false), -ENOSPC);
	assert_int_equal(space_take(space, 7 * MIB, false), 0);
	assert_int_equal(info().free_bytes, 0);
	/* What makes room may exceed it, and then guests wait until all is back. */
	assert_int_equal(space_take(space, 8 * MIB, true), 0);
	assert_int_equal(info().used_bytes, 28 * MIB);
	space_give(space, 8 * MIB);
	assert_int_equal(space_take(space, 1, false), -ENOSPC);
	space_give(space, 8 * MIB);
	assert_int_equal(space_take(space, 8 * MIB, false), 0);
	space_set_quota(space, 40 * MIB);
	assert_int_equal(info().free_bytes, 20 * MIB);
	space_set_quota(space, 0);
	assert_int_equal(space_take(space, 30 * MIB, false), 0);
}

static void store_quota_is_of_all_clones(void **state)
{
	struct space *other;

	open_pool(NULL, 16 * MIB, 0);
	assert_int_equal(space_new(pool, 0, &other), 0);
	assert_int_equal(space_take(space, 8 * MIB, false), 0);
	assert_int_equal(space_take(other, 8 * MIB, false), 0);
	assert_int_equal(space_take(other, 1, false), -ENOSPC);
	assert_int_equal(info().store_used_bytes, 16 * MIB);
	assert_int_equal(info().free_bytes, 0);
	space_free(other); /* a clone that went: what it had is free */
	assert_int_equal(info().free_bytes, 8 * MIB);
	assert_int_equal(space_take(space, 8 * MIB, false), 0);
}

/* A refused take counts nothing. */
static void refusal_costs_nothing(void **state)
{
	open_pool(NULL, 0, 0);
	hog(2 * MIB);
	for (int i = 0; i < 3; i++)
		assert_int_equal(space_take(space, 8 * MIB, false), -ENOSPC);
	assert_int_equal(info().used_bytes, 0);
	assert_int_equal(info().free_bytes, 2 * MIB);
	assert_int_equal(space_take(space, 2 * MIB, false), 0);
}

static void full_store_can_be_emptied(void **state)
{
	open_pool(NULL, 0, 0);
	hog(0);
	assert_int_equal(space_take(space, SLOT_FULL_BYTES, false), -ENOSPC);
	assert_int_equal(allocate_slot("log", SLOT_FULL_BYTES), -ENOSPC);
	unlinkat(dirfd_, "log", 0);

	assert_int_equal(space_take(space, SLOT_FULL_BYTES, true), 0);
	assert_int_equal(allocate_slot("log", SLOT_FULL_BYTES), 0);
	assert_int_equal(info().reserve_filled_bytes,
		RESERVE - SLOT_FULL_BYTES - SPACE_MARGIN_BYTES);
	/* Not whole: what is left, and more, belongs to the reserve. */
	assert_int_equal(info().free_bytes, 0);
	assert_int_equal(space_take(space, 1, false), -ENOSPC);

	unhog();
	assert_int_equal(space_take(space, MIB, false), 0);
	assert_int_equal(info().reserve_filled_bytes, RESERVE);
	assert_int_equal(allocated("reserve"), RESERVE);
}

/* What cleaning gave back goes to the reserve first, whoever else wants it. */
static void freed_space_fills_the_reserve(void **state)
{
	open_pool(NULL, 0, 0);
	hog(0);
	assert_int_equal(space_take(space, SLOT_FULL_BYTES, true), 0);
	assert_int_equal(allocate_slot("log", SLOT_FULL_BYTES), 0);
	unlinkat(dirfd_, "log", 0);
	space_give(space, SLOT_FULL_BYTES);
	assert_int_equal(info().used_bytes, 0);
	assert_int_equal(info().reserve_filled_bytes, RESERVE);
	assert_int_equal(space_take(space, 1, false), -ENOSPC); /* and nothing is left */
}

/* A guest that writes right after its reset must not be paused for want of what
 * the reset threw away. */
static void what_was_thrown_away_is_room(void **state)
{
	open_pool(NULL, 0, 0);
	assert_int_equal(allocate_slot("log", SLOT_FULL_BYTES), 0);
	hog(0);
	assert_int_equal(remains_unlink(space_pool_remains(pool), &io_kernel, dirfd_, "log"), 0);
	assert_int_equal(free_bytes(), 0);
	assert_int_equal(space_take(space, SLOT_FULL_BYTES, false), 0);
	assert_int_equal(allocate_slot("log", SLOT_FULL_BYTES), 0);
	assert_int_equal(space_take(space, 1, false), -ENOSPC);
	/* At the latest when the daemon ends. */
	assert_int_equal(remains_unlink(space_pool_remains(pool), &io_kernel, dirfd_, "log"), 0);
	assert_int_equal(free_bytes(), 0);
	close_pool();
	assert_int_equal(free_bytes(), SLOT_FULL_BYTES);
}

/* More than there is: the file system has the last word. */
static void urgent_is_always_granted(void **state)
{
	open_pool(NULL, 0, 0);
	hog(0);
	assert_int_equal(space_take(space, SLOT_FULL_BYTES, true), 0);
	assert_int_equal(allocate_slot("log", SLOT_FULL_BYTES), 0);
	assert_int_equal(space_take(space, SLOT_FULL_BYTES, true), 0);
	assert_int_equal(info().reserve_filled_bytes, 0);
	assert_int_equal(allocate_slot("log", SLOT_FULL_BYTES), -ENOSPC);
}

static void others_may_spend(void **state)
{
	assert_int_equal(space_spend(NULL, dirfd_, MIB), -ENOSPC);
	open_pool(NULL, 0, 0);
	hog(0);
	assert_int_equal(space_spend(NULL, dirfd_, MIB), 0);
	assert_int_equal(free_bytes(), MIB);
	assert_int_equal(info().reserve_filled_bytes, RESERVE - MIB);
	assert_int_equal(space_spend(NULL, dirfd_, RESERVE), -ENOSPC);
	space_pool_refill(pool);
	assert_int_equal(info().reserve_filled_bytes, RESERVE);
	assert_int_equal(free_bytes(), 0);
}

static void full_file_system_is_no_failure_to_open(void **state)
{
	hog(3 * MIB);
	open_pool(NULL, 0, 0);
	assert_int_equal(info().reserve_filled_bytes, 3 * MIB);
	assert_int_equal(info().free_bytes, 0);
	assert_int_equal(space_take(space, 1, false), -ENOSPC);
	unhog();
	assert_int_equal(space_take(space, 1, false), 0);
	assert_int_equal(info().reserve_filled_bytes, RESERVE);
}

/* No room for the very name: an inode, a block of the directory. */
static void no_room_for_the_file_itself(void **state)
{
	saboteur_init(&gate, &io_kernel);
	gate.kind = SABOTAGE_FAIL;
	gate.call = CALL_OPENAT;
	gate.error = -ENOSPC;
	open_pool(&gate.gate, 0, 0);
	assert_int_equal(space_take(space, 1, false), -ENOSPC);
	assert_int_equal(space_take(space, 1, true), 0);
	gate.kind = SABOTAGE_NONE;
	assert_int_equal(space_take(space, 1, false), 0);
	assert_int_equal(info().reserve_filled_bytes, RESERVE);
}

static void quota_of_the_file_system_is_no_space(void **state)
{
	saboteur_init(&gate, &io_kernel);
	gate.kind = SABOTAGE_FAIL;
	gate.call = CALL_FALLOCATE;
	gate.error = -EDQUOT;
	open_pool(&gate.gate, 0, 0);
	assert_int_equal(space_take(space, 1, false), -ENOSPC);
	assert_int_equal(info().used_bytes, 0);
}

static void without_fallocate_the_reserve_is_counted(void **state)
{
	saboteur_init(&gate, &io_kernel);
	gate.kind = SABOTAGE_FAIL;
	gate.call = CALL_FALLOCATE;
	gate.error = -EOPNOTSUPP;
	open_pool(&gate.gate, 0, 0);
	assert_true(info().reserve_counted);
	assert_int_equal(info().reserve_filled_bytes, 0);
	assert_int_equal(info().free_bytes, free_bytes() - RESERVE);
	hog(RESERVE + MIB);
	assert_int_equal(space_take(space, MIB, false), 0);
	assert_int_equal(space_take(space, MIB + 1, false), -ENOSPC);
	hog(RESERVE - MIB);
	assert_int_equal(info().free_bytes, 0);
	assert_int_equal(space_take(space, 1, false), -ENOSPC);
	assert_int_equal(space_take(space, RESERVE, true), 0);
}

/* Takers, givers and makers of room together: counts agree at the end. */
static void *take_and_give(void *arg)
{
	bool urgent = arg != NULL;

	for (int i = 0; i < 200; i++) {
		if (space_take(space, MIB, urgent) == 0)
			space_give(space, MIB);
		info();
	}
	return NULL;
}

static void any_thread_may_call(void **state)
{
	pthread_t thread[4];

	open_pool(NULL, 3 * MIB, 3 * MIB);
	hog(MIB);
	for (size_t i = 0; i < 4; i++)
		assert_int_equal(pthread_create(&thread[i], NULL, take_and_give,
			i % 2 ? &thread : NULL), 0);
	for (size_t i = 0; i < 4; i++)
		pthread_join(thread[i], NULL);
	space_pool_refill(pool);
	assert_int_equal(info().used_bytes, 0);
	assert_int_equal(info().store_used_bytes, 0);
	assert_int_equal(info().reserve_filled_bytes, RESERVE);
}

#define TEST(f) cmocka_unit_test_setup_teardown(f, begin, end)

int main(void)
{
	const struct CMUnitTest tests[] = {
		TEST(nobody_asked_grants_all),
		TEST(reserve_is_allocated),
		TEST(reserve_of_a_copy_is_filled),
		TEST(reserve_that_is_no_file_is_refused),
		TEST(clone_quota_ends_growth),
		TEST(store_quota_is_of_all_clones),
		TEST(refusal_costs_nothing),
		TEST(full_store_can_be_emptied),
		TEST(freed_space_fills_the_reserve),
		TEST(what_was_thrown_away_is_room),
		TEST(urgent_is_always_granted),
		TEST(others_may_spend),
		TEST(full_file_system_is_no_failure_to_open),
		TEST(no_room_for_the_file_itself),
		TEST(quota_of_the_file_system_is_no_space),
		TEST(without_fallocate_the_reserve_is_counted),
		TEST(any_thread_may_call),
	};

	return cmocka_run_group_tests(tests, make_fs, remove_fs);
}
