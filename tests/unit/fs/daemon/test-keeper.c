/* SPDX-License-Identifier: LGPL-2.1-or-later */
/* The maintenance thread on real deltas: idle disks, memory, checkpoints, cleaning, errors, its end. */
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
#include <string.h>
#include <unistd.h>

#include <cmocka.h>

#include "fs/daemon/keeper.h"
#include "fs/mount/load.h"
#include "fs/store/remains.h"
#include "fs/util/clock.h"
#include "fs/util/id.h"
#include "tests/lib/rng.h"
#include "tests/lib/saboteur.h"
#include "tests/lib/scratch.h"

#define B ((uint64_t)DELTA_BLOCK_BYTES)
#define BLOCKS (160u << 8) /* 160 MiB */
#define DISKS 3

struct one {
	char id[ID_TEXT];
	struct keeping keeping;
	atomic_uint opened;
};

static int dirfd_;
static struct one ones[DISKS];
static struct mount *mount;
static struct mount_clone *web;
static struct space_pool *pool;
static struct keeper *keeper;
static struct saboteur gate;

/* ---- a clone of three disks ---- */

static int open_disk(void *ctx, struct disk **ret_disk)
{
	const struct delta_options options = {.io = &gate.gate};
	struct one *one = ctx;
	struct delta *delta;
	int rc = delta_open(dirfd_, one->id, &options, &delta, NULL);

	if (rc < 0)
		return rc;
	atomic_fetch_add(&one->opened, 1);
	return disk_open(delta, NULL, 0, NULL, 0, ret_disk);
}

static int close_disk(void *ctx, struct disk *disk)
{
	return disk_close(disk);
}

static struct keeping *keeping_of(void *ctx)
{
	struct one *one = ctx;

	return &one->keeping;
}

static void name_of(void *ctx, char *name, size_t size)
{
	const struct one *one = ctx;

	snprintf(name, size, "disk %d", (int)(one - ones));
}

static _Atomic uint64_t layers_bytes;

static atomic_uint round_delay_ms;

/* Called at the start of each round. */
static uint64_t shared_bytes(void *ctx)
{
	usleep(atomic_load(&round_delay_ms) * 1000);
	return atomic_load(&layers_bytes);
}

static int begin(void **state)
{
	const struct mount_options options = {.source = "test"};
	const struct mount_backend backend = {.open = open_disk, .close = close_disk};
	struct mount_new_disk disks[DISKS];
	static const char *const names[DISKS] = {"vda.raw", "vdb.raw", "vdc.raw"};

	scratch_make();
	saboteur_init(&gate, &io_kernel);
	dirfd_ = io_kernel.openat(&io_kernel, AT_FDCWD, scratch_dir(), O_RDONLY | O_DIRECTORY, 0);
	assert_true(dirfd_ >= 0);
	for (uint32_t i = 0; i < DISKS; i++) {
		struct id id = id_new();

		ones[i] = (struct one){.opened = 0};
		id_format(&id, ones[i].id);
		assert_int_equal(delta_create(NULL, dirfd_, ones[i].id, BLOCKS * B, NULL), 0);
		disks[i] = (struct mount_new_disk){
			.name = names[i], .number = i + 1, .ctx = &ones[i]};
	}
	assert_int_equal(space_pool_open(NULL, dirfd_, 0, &pool, NULL), 0);
	assert_int_equal(mount_new(&options, &backend, &mount, NULL), 0);
	assert_int_equal(mount_add(mount, "web", 7, 1000, disks, DISKS, &web, NULL), 0);
	return 0;
}

static void start(const struct keeper_options *options)
{
	const struct keeper_backend backend = {.of = keeping_of, .name = name_of,
		.shared_bytes = shared_bytes};

	assert_int_equal(keeper_start(options, &backend, mount, pool, &keeper, NULL), 0);
}

static int end(void **state)
{
	keeper_stop(keeper);
	keeper = NULL;
	assert_int_equal(mount_remove(mount, web, NULL), 0);
	mount_free(mount);
	space_pool_close(pool);
	close(dirfd_);
	scratch_remove();
	return 0;
}

/* ---- helpers ---- */

/* Incompressible, and its own for each version. */
static void fill(void *data, size_t len, uint64_t version)
{
	uint64_t *word = data;

	for (size_t i = 0; i < len / sizeof(*word); i++)
		word[i] = rng_next(&version);
}

static void write_blocks(uint32_t i, uint64_t block, uint32_t count, uint64_t version)
{
	static uint8_t data[DISK_IO_MAX];
	struct disk *disk;
	int rc;

	fill(data, count * B, version);
	assert_int_equal(load_open(mount, &web->disks[i], &disk), 0);
	rc = disk_write(disk, data, count * B, block * B, 0);
	load_unuse(&web->disks[i]);
	assert_int_equal(rc, 0);
}

static void expect_blocks(uint32_t i, uint64_t block, uint32_t count, uint64_t version)
{
	static uint8_t data[DISK_IO_MAX], got[DISK_IO_MAX];
	struct disk *disk;
	int rc;

	fill(data, count * B, version);
	assert_int_equal(load_open(mount, &web->disks[i], &disk), 0);
	rc = disk_read(disk, got, count * B, block * B, 0);
	load_unuse(&web->disks[i]);
	assert_int_equal(rc, 0);
	assert_memory_equal(got, data, count * B);
}

static struct mount_disk_info info(uint32_t i)
{
	struct mount_disk_info ret;

	mount_disk_info(web, i, &ret);
	return ret;
}

static bool is_open(uint32_t i)
{
	return info(i).opened;
}

/* ---- tests ---- */

static void idle_disks_are_closed(void **state)
{
	write_blocks(0, 1, 1, 11);
	write_blocks(2, 1, 1, 13);
	start(&(struct keeper_options){.idle_sec = 1, .memory_bytes = UINT64_MAX});
	WAIT_UNTIL(!is_open(0) && !is_open(2));
	assert_int_equal(atomic_load(&ones[1].opened), 0);
	expect_blocks(0, 1, 1, 11);
	expect_blocks(2, 1, 1, 13);
	WAIT_UNTIL(!is_open(0) && !is_open(2));
	assert_int_equal(atomic_load(&ones[0].opened), 2);
}

static bool went_round(void)
{
	return keeper_memory_bytes(keeper) > 0;
}

/* Blocks far apart, so that each has an entry of its own. */
static void scatter(uint32_t i, uint64_t version)
{
	for (uint64_t block = 0; block < 8192; block += 3)
		write_blocks(i, block * 7919 % BLOCKS, 1, version + block);
}

static void memory_is_taken_from_the_longest_idle(void **state)
{
	uint64_t bytes;

	scatter(0, 100);
	bytes = info(0).stats.index_bytes;
	assert_true(bytes > 16384);
	start(&(struct keeper_options){.idle_sec = 86400, .memory_bytes = 2 * bytes + bytes / 2});
	WAIT_UNTIL(went_round());
	scatter(1, 200);
	WAIT_UNTIL(keeper_memory_bytes(keeper) >= 2 * bytes - bytes / 4);
	assert_true(is_open(0) && is_open(1));
	scatter(2, 300);
	WAIT_UNTIL(!is_open(0));
	WAIT_UNTIL(keeper_memory_bytes(keeper) <= 2 * bytes + bytes / 2);
	assert_true(is_open(1) && is_open(2));
	/* What layers take is not there for disks. */
	atomic_store(&layers_bytes, bytes + bytes / 4);
	WAIT_UNTIL(!is_open(1));
	assert_true(is_open(2));
	atomic_store(&layers_bytes, 0);
	expect_blocks(0, 3 * 7919 % BLOCKS, 1, 103);
}

/* Also when the round that closes comes so long after the one that planned that
 * a disk visited earlier is idle by then as long as the planned one was. */
static void a_late_round_takes_it_from_the_same(void **state)
{
	uint64_t bytes;

	scatter(2, 100);
	bytes = info(2).stats.index_bytes;
	start(&(struct keeper_options){.idle_sec = 86400, .memory_bytes = 2 * bytes + bytes / 2});
	WAIT_UNTIL(went_round());
	scatter(0, 200);
	WAIT_UNTIL(keeper_memory_bytes(keeper) >= 2 * bytes - bytes / 4);
	atomic_store(&round_delay_ms, 5 * KEEPER_ROUND_MS / 2);
	atomic_store(&layers_bytes, bytes);
	WAIT_UNTIL(!is_open(0) || !is_open(2));
	atomic_store(&round_delay_ms, 0);
	atomic_store(&layers_bytes, 0);
	assert_true(is_open(0));
}

static void a_disk_at_rest_gets_a_checkpoint(void **state)
{
	uint64_t bytes;
	int64_t from_ms;

	for (uint32_t i = 0; i < 8; i++)
		write_blocks(0, 256 * i, 256, i);
	write_blocks(1, 0, 1, 77); /* not worth one */
	start(&(struct keeper_options){
		.idle_sec = 86400, .memory_bytes = UINT64_MAX, .rest_ms = 50});
	WAIT_UNTIL(info(0).stats.checkpoint_bytes > 0);
	assert_int_equal(info(1).stats.checkpoint_bytes, 0);
	/* One is enough: nothing was written since. */
	bytes = info(0).stats.checkpoint_bytes;
	from_ms = clock_now_ms();
	WAIT_UNTIL(clock_now_ms() > from_ms + 2 * KEEPER_ROUND_MS + 100);
	assert_int_equal(info(0).stats.checkpoint_bytes, bytes);
}

/* Overwritten again and again, beside reads: the log stays near what lives. */
static void overwritten_space_is_used_again(void **state)
{
	const uint64_t live = 32 * 256 * B;

	start(&(struct keeper_options){
		.idle_sec = 86400, .memory_bytes = UINT64_MAX, .clean = true});
	for (uint64_t round = 1; round <= 8; round++)
		for (uint32_t i = 0; i < 32; i++)
			write_blocks(0, 256 * i, 256, 1000 * round + i);
	WAIT_UNTIL(info(0).stats.used_bytes <= 3 * live);
	for (uint32_t i = 0; i < 32; i++)
		expect_blocks(0, 256 * i, 256, 8000 + i);
}

#define RATE (UINT64_C(2) << 20) /* moved per second */

/* Two thirds of what lives are dead, here and there: enough to be moved, not so
 * much that writers would wait for it. */
static void make_holes(void)
{
	uint64_t seed = rng_seed();

	print_message("seed %llu\n", (unsigned long long)seed);
	for (uint32_t i = 0; i < 120; i++)
		write_blocks(0, 256 * i, 256, i);
	for (uint32_t i = 0; i < 80 * 256 / 8; i++)
		write_blocks(0, 8 * rng_below(&seed, 120 * 32), 8, seed);
}

static void a_rate_of_cleaning_is_kept(void **state)
{
	uint64_t first, moved;
	int64_t from_ms, ms;

	make_holes();
	start(&(struct keeper_options){.idle_sec = 86400, .memory_bytes = UINT64_MAX,
		.clean = true, .clean_rate_bytes = RATE});
	WAIT_UNTIL(info(0).stats.moved_bytes > 2 * KEEPER_RATE_STEP_BYTES);
	from_ms = clock_now_ms();
	first = info(0).stats.moved_bytes;
	WAIT_UNTIL(clock_now_ms() >= from_ms + 2000);
	moved = info(0).stats.moved_bytes - first;
	ms = clock_now_ms() - from_ms;
	print_message("moved %llu bytes in %lld ms\n", (unsigned long long)moved, (long long)ms);
	assert_true(moved > 0);
	/* A step may be under way at either end, and records have heads. */
	assert_true(moved <= RATE * (uint64_t)ms / 1000 * 5 / 4 + 2 * RATE / KEEPER_RATE_STEPS);
}

static atomic_bool reading;

static void *read_on(void *arg)
{
	uint8_t data[B];
	struct disk *disk;

	while (atomic_load(&reading)) {
		assert_int_equal(load_open(mount, &web->disks[0], &disk), 0);
		assert_int_equal(disk_read(disk, data, B, 0, 0), 0);
		load_unuse(&web->disks[0]);
	}
	return NULL;
}

static void cleaning_pauses_for_a_guest_at_work(void **state)
{
	pthread_t thread;

	make_holes();
	atomic_store(&reading, true);
	assert_int_equal(pthread_create(&thread, NULL, read_on, NULL), 0);
	start(&(struct keeper_options){
		.idle_sec = 86400, .memory_bytes = UINT64_MAX, .clean = true});
	WAIT_UNTIL(atomic_load(&ones[0].keeping.pauses) >= 3);
	assert_true(info(0).stats.moved_bytes > 0);
	atomic_store(&reading, false);
	pthread_join(thread, NULL);
	/* And goes on without them. */
	WAIT_UNTIL(info(0).stats.moved_bytes >= 4 * KEEPER_BUSY_STEP_BYTES);
}

static void without_cleaning_nothing_is_moved(void **state)
{
	start(&(struct keeper_options){.idle_sec = 86400, .memory_bytes = UINT64_MAX});
	for (uint64_t round = 1; round <= 4; round++)
		for (uint32_t i = 0; i < 32; i++)
			write_blocks(0, 256 * i, 256, 1000 * round + i);
	WAIT_UNTIL(went_round());
	assert_true(info(0).stats.moved_bytes < 64 * B); /* ends of segments */
	assert_true(info(0).stats.used_bytes >= 4 * 32 * 256 * B);
}

static void a_failed_step_is_told_and_tried_later(void **state)
{
	for (uint32_t i = 0; i < 8; i++)
		write_blocks(0, 256 * i, 256, i);
	gate.kind = SABOTAGE_FAIL;
	gate.call = CALL_RENAMEAT; /* the checkpoint's last step but one */
	gate.error = -EACCES;
	start(&(struct keeper_options){
		.idle_sec = 86400, .memory_bytes = UINT64_MAX, .rest_ms = 50});
	WAIT_UNTIL(atomic_load(&ones[0].keeping.error) == -EACCES);
	expect_blocks(0, 256, 256, 1);
	write_blocks(0, 256, 256, 99);
	expect_blocks(0, 256, 256, 99);
	keeper_stop(keeper);
	keeper = NULL;
	assert_int_equal(ones[0].keeping.told, -EACCES);
	gate.kind = SABOTAGE_NONE;
}

/* Stopped in the midst of its work, again and again. */
static atomic_uint closes;

static int count_close(const struct io_gate *io, int fd)
{
	atomic_fetch_add(&closes, 1);
	return io_kernel.close(&io_kernel, fd);
}

static void what_was_thrown_away_is_let_go(void **state)
{
	struct io_gate counting = io_kernel;
	int fd = openat(dirfd_, "log", O_RDWR | O_CREAT | O_CLOEXEC, 0600);

	counting.close = count_close;
	assert_true(fd >= 0);
	assert_int_equal(fallocate(fd, 0, 0, REMAINS_LEAST_BYTES), 0);
	close(fd);
	start(&(struct keeper_options){.idle_sec = 600, .memory_bytes = UINT64_MAX});
	assert_int_equal(
		remains_unlink(space_pool_remains(pool), &counting, dirfd_, "log"), 0);
	WAIT_UNTIL(atomic_load(&closes) == 1);
	keeper_stop(keeper);
	keeper = NULL;
}

static void it_ends_when_told_to(void **state)
{
	for (int i = 0; i < 50; i++) {
		write_blocks((uint32_t)i % DISKS, (uint64_t)i, 256, (uint64_t)i);
		start(&(struct keeper_options){.idle_sec = 1, .memory_bytes = 0, .clean = true,
			.rest_ms = 1});
		keeper_stop(keeper);
		keeper = NULL;
	}
	expect_blocks(49 % DISKS, 49, 256, 49);
}

#define TEST(f) cmocka_unit_test_setup_teardown(f, begin, end)

int main(void)
{
	const struct CMUnitTest tests[] = {
		TEST(idle_disks_are_closed),
		TEST(memory_is_taken_from_the_longest_idle),
		TEST(a_late_round_takes_it_from_the_same),
		TEST(a_disk_at_rest_gets_a_checkpoint),
		TEST(overwritten_space_is_used_again),
		TEST(a_rate_of_cleaning_is_kept),
		TEST(cleaning_pauses_for_a_guest_at_work),
		TEST(without_cleaning_nothing_is_moved),
		TEST(a_failed_step_is_told_and_tried_later),
		TEST(what_was_thrown_away_is_let_go),
		TEST(it_ends_when_told_to),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
