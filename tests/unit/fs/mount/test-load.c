/* SPDX-License-Identifier: LGPL-2.1-or-later */
/* Disks that are closed while they are in use, or could be: nothing is lost, nobody sees it. */
#include <errno.h>
#include <pthread.h>
#include <semaphore.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stdatomic.h>
#include <stddef.h>
#include <stdint.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

#include "fs/mount/load.h"
#include "fs/mount/mount.h"
#include "fs/store/delta.h"
#include "tests/lib/onedelta.h"
#include "tests/lib/saboteur.h"
#include "tests/lib/scratch.h"

#define B ((uint64_t)DELTA_BLOCK_BYTES)
#define THREADS 4
#define CLOSES 40 /* while they work */

static struct mount *mount;
static struct mount_clone *web;
static struct mount_disk *disk;
static const struct io_gate *gate;
static atomic_uint opened, closed, dropped;
static int open_error; /* what opening returns */

/* ---- a backend of one delta ---- */

static int open_disk(void *ctx, struct disk **ret_disk)
{
	if (open_error)
		return open_error;
	atomic_fetch_add(&opened, 1);
	return disk_open(onedelta_open(gate), NULL, 0, NULL, 0, ret_disk);
}

static int close_disk(void *ctx, struct disk *opened_disk)
{
	atomic_fetch_add(&closed, 1);
	return disk_close(opened_disk);
}

static void drop_disk(void *ctx, struct disk *opened_disk)
{
	atomic_fetch_add(&dropped, 1);
	disk_abandon(opened_disk);
}

static int begin(void **state)
{
	const struct mount_options options = {.source = "test"};
	const struct mount_backend backend = {.open = open_disk, .close = close_disk,
		.drop = drop_disk};
	const struct mount_new_disk disks[] = {{.name = "vda.raw", .number = 1}};

	gate = NULL;
	open_error = 0;
	atomic_store(&opened, 0);
	atomic_store(&closed, 0);
	atomic_store(&dropped, 0);
	if (onedelta_create(state) < 0 || mount_new(&options, &backend, &mount, NULL) < 0 ||
		mount_add(mount, "web", 7, 1000, disks, 1, &web, NULL) < 0)
		return -1;
	disk = &web->disks[0];
	return 0;
}

static int end(void **state)
{
	int rc = mount_remove(mount, web, NULL);

	mount_free(mount);
	return rc | onedelta_remove(state);
}

/* ---- helpers ---- */

static void write_block(uint64_t block, uint32_t version)
{
	uint32_t data[B / sizeof(uint32_t)];
	struct disk *to;

	for (size_t i = 0; i < B / sizeof(uint32_t); i++)
		data[i] = version;
	assert_int_equal(load_open(mount, disk, &to), 0);
	assert_int_equal(disk_write(to, data, B, block * B, 0), 0);
	load_unuse(disk);
}

static uint32_t read_block(uint64_t block)
{
	uint32_t data[B / sizeof(uint32_t)];
	struct disk *from;

	assert_int_equal(load_open(mount, disk, &from), 0);
	assert_int_equal(disk_read(from, data, B, block * B, 0), 0);
	load_unuse(disk);
	for (size_t i = 1; i < B / sizeof(uint32_t); i++)
		assert_int_equal(data[i], data[0]);
	return data[0];
}

static int flush(void)
{
	struct disk *of;
	int rc = load_open(mount, disk, &of);

	if (rc == 0) {
		rc = disk_flush(of);
		load_unuse(disk);
	}
	return rc;
}

static bool is_open(void)
{
	bool open = load_look(disk);

	if (open)
		load_unuse(disk);
	return open;
}

static enum mount_verdict unload(void *ctx, const struct mount_visit *visit)
{
	int64_t *ret_idle_ms = ctx;

	assert_non_null(visit->disk);
	if (ret_idle_ms)
		*ret_idle_ms = visit->idle_ms;
	return MOUNT_UNLOAD;
}

static enum mount_verdict keep(void *ctx, const struct mount_visit *visit)
{
	*(int64_t *)ctx = visit->idle_ms;
	return MOUNT_KEEP;
}

/* Longer than ms, although somebody looks at it. */
static bool looks_idle_for(int64_t ms)
{
	struct mount_disk_info info;
	int64_t now_ms = -1;

	mount_disk_info(web, 0, &info);
	assert_true(info.opened);
	mount_each_opened(mount, keep, &now_ms);
	return now_ms > ms;
}

/* ---- tests ---- */

static void opened_by_use_closed_by_visit(void **state)
{
	int64_t idle_ms = -1;

	mount_each_opened(mount, keep, &idle_ms);
	assert_int_equal(idle_ms, -1); /* nothing was open */
	write_block(1, 11);
	assert_true(is_open());
	mount_each_opened(mount, keep, &idle_ms);
	assert_int_equal(idle_ms, 0); /* it was used since */
	WAIT_UNTIL(looks_idle_for(0));
	mount_each_opened(mount, unload, NULL);
	assert_false(is_open());
	assert_int_equal(read_block(1), 11);
	assert_int_equal(atomic_load(&opened), 2);
	assert_int_equal(atomic_load(&closed), 1);
}

static void looking_is_no_use(void **state)
{
	struct mount_disk_info info;
	int64_t before;

	write_block(1, 11);
	mount_each_opened(mount, keep, &before);
	WAIT_UNTIL(looks_idle_for(before));
	mount_each_opened(mount, unload, NULL);
	mount_disk_info(web, 0, &info);
	assert_false(info.opened);
	assert_int_equal(info.attr.size_bytes, ONEDELTA_BLOCKS * B);
	assert_int_equal(atomic_load(&opened), 1);
}

static void a_used_disk_stays_open(void **state)
{
	struct disk *used;

	assert_int_equal(load_open(mount, disk, &used), 0);
	mount_each_opened(mount, unload, NULL);
	assert_true(is_open());
	assert_int_equal(load_close_idle(mount, disk), -EBUSY);
	load_unuse(disk);
	/* Nor is one closed that somebody changes; he is not waited for. */
	load_begin_change(disk);
	assert_int_equal(load_close_idle(mount, disk), -EBUSY);
	load_end_change(disk);
	assert_int_equal(load_close_idle(mount, disk), 0);
	assert_false(is_open());
	assert_int_equal(load_close_idle(mount, disk), 0);
}

static void failed_opening_is_tried_again(void **state)
{
	struct disk *to;

	write_block(3, 33);
	mount_each_opened(mount, unload, NULL);
	open_error = -EUCLEAN;
	assert_int_equal(load_open(mount, disk, &to), -EIO);
	assert_int_equal(load_open(mount, disk, &to), -EIO);
	open_error = 0;
	assert_int_equal(read_block(3), 33);
}

/* Who closed it then would open it again without what was lost, and the
 * guest's next flush would succeed. */
static void failed_flush_keeps_it_open(void **state)
{
	static struct saboteur saboteur;
	struct mount_disk *guest;
	int64_t idle_ms;

	saboteur_init(&saboteur, &io_kernel);
	gate = &saboteur.gate;
	write_block(1, 11);
	guest = tree_disk_pin_open(web->tree, disk->ino);
	assert_int_equal(flush(), 0);
	write_block(2, 22);
	assert_int_equal(load_close_idle(mount, disk), -EBUSY); /* unsynced */
	saboteur.kind = SABOTAGE_FAIL;
	saboteur.call = CALL_SYNC;
	saboteur.error = -EIO;
	mount_each_opened(mount, unload, NULL);
	saboteur.kind = SABOTAGE_NONE;
	assert_true(is_open());
	assert_int_equal(flush(), -EIO);
	mount_each_opened(mount, unload, NULL);
	assert_true(is_open());
	assert_int_equal(flush(), -EIO);
	/* Once the guest has closed it, it is opened anew and verified; that
	 * something is lost was not said yet as a guest would hear it. */
	tree_disk_closed(guest);
	tree_disk_unpin(guest);
	mount_each_opened(mount, keep, &idle_ms);
	assert_false(is_open());
	assert_int_equal(load_flush(mount, disk), -EIO);
	assert_int_equal(load_flush(mount, disk), 0);
	assert_int_equal(read_block(1), 11);
	write_block(2, 23);
	assert_int_equal(load_flush(mount, disk), 0);
	assert_int_equal(atomic_load(&opened), 2);
	gate = NULL;
}

/* A guest that heard of it and is gone need not hear of it again at its next start. */
static void failed_flush_is_told_once(void **state)
{
	static struct saboteur saboteur;
	int64_t idle_ms;

	saboteur_init(&saboteur, &io_kernel);
	gate = &saboteur.gate;
	write_block(1, 11);
	saboteur.kind = SABOTAGE_FAIL;
	saboteur.call = CALL_SYNC;
	saboteur.error = -EIO;
	assert_int_equal(load_flush(mount, disk), -EIO);
	saboteur.kind = SABOTAGE_NONE;
	mount_each_opened(mount, keep, &idle_ms);
	assert_false(is_open());
	assert_int_equal(load_flush(mount, disk), 0);
	assert_int_equal(atomic_load(&opened), 2);
	gate = NULL;
}

/* Closed for a reset of which nobody knows whether it came about; one that did
 * has nothing to tell. */
static void failed_flush_is_told_after_closing(void **state)
{
	static struct saboteur saboteur;
	uint64_t size = ONEDELTA_BLOCKS * B;

	saboteur_init(&saboteur, &io_kernel);
	saboteur.call = CALL_SYNC;
	saboteur.error = -EIO;
	gate = &saboteur.gate;
	for (int reset = 0; reset < 2; reset++) {
		write_block(1, 11);
		assert_int_equal(load_flush(mount, disk), 0);
		write_block(2, 22);
		saboteur.kind = SABOTAGE_FAIL;
		assert_int_equal(mount_suspend(mount, web, NULL), 0);
		mount_resume(mount, web, reset ? MOUNT_REPLACED : MOUNT_CLOSED,
			reset ? &size : NULL);
		saboteur.kind = SABOTAGE_NONE;
		assert_int_equal(load_flush(mount, disk), reset ? 0 : -EIO);
		assert_int_equal(load_flush(mount, disk), 0);
		assert_int_equal(read_block(1), 11);
	}
	assert_int_equal(mount_suspend(mount, web, NULL), 0);
	mount_resume(mount, web, MOUNT_CLOSED, NULL);
	assert_int_equal(load_flush(mount, disk), 0);
	gate = NULL;
}

static atomic_bool working;
static sem_t rounds; /* that the workers may begin */

static void *work(void *arg)
{
	unsigned int nth = (unsigned int)(uintptr_t)arg;

	for (uint32_t round = 1; sem_wait(&rounds) == 0 && atomic_load(&working); round++) {
		uint64_t block = THREADS * (round % 64) + nth;

		write_block(block, round);
		assert_int_equal(read_block(block), round);
		if (round % 4 == 0)
			assert_int_equal(flush(), 0);
	}
	return NULL;
}

static void allow_rounds(unsigned int n)
{
	while (n-- > 0)
		assert_int_equal(sem_post(&rounds), 0);
}

static bool closed_by_visit(unsigned int n)
{
	mount_each_opened(mount, unload, NULL);
	return atomic_load(&closed) >= n;
}

/* Visits beside some rounds of work, until one of them closed the disk: at the
 * latest when the rounds are over. */
static void closed_under_load(void **state)
{
	static struct saboteur no_waiting;
	pthread_t thread[THREADS];

	saboteur_init(&no_waiting, &io_kernel);
	no_waiting.kind = SABOTAGE_LIE;
	no_waiting.call = CALL_SYNC;
	gate = &no_waiting.gate;
	sem_init(&rounds, 0, 0);
	atomic_store(&working, true);
	for (unsigned int i = 0; i < THREADS; i++)
		assert_int_equal(pthread_create(&thread[i], NULL, work, (void *)(uintptr_t)i), 0);
	for (unsigned int n = 1; n <= CLOSES; n++) {
		allow_rounds(3 * THREADS);
		WAIT_UNTIL(closed_by_visit(n));
	}
	atomic_store(&working, false);
	allow_rounds(THREADS);
	for (unsigned int i = 0; i < THREADS; i++)
		pthread_join(thread[i], NULL);
	sem_destroy(&rounds);
	assert_true(atomic_load(&opened) >= CLOSES);
}

static void *use_once(void *arg)
{
	atomic_store(&working, true);
	write_block(5, 55);
	atomic_store(&working, false);
	return NULL;
}

static void suspended_stays_closed_until_resumed(void **state)
{
	const uint64_t size = 123 * B;
	struct mount_disk_info info;
	pthread_t thread;

	write_block(5, 50);
	atomic_store(&working, false);
	assert_int_equal(mount_suspend(mount, web, NULL), 0);
	assert_false(is_open());
	assert_int_equal(pthread_create(&thread, NULL, use_once, NULL), 0);
	WAIT_UNTIL(atomic_load(&working));
	assert_false(is_open());
	assert_int_equal(atomic_load(&opened), 1);
	mount_resume(mount, web, MOUNT_REPLACED, &size);
	pthread_join(thread, NULL);
	assert_int_equal(read_block(5), 55);
	assert_int_equal(load_close_idle(mount, disk), -EBUSY); /* unsynced */
	mount_each_opened(mount, unload, NULL);
	assert_int_equal(mount_suspend(mount, web, NULL), 0); /* closed already */
	mount_resume(mount, web, MOUNT_REPLACED, &size);
	mount_disk_info(web, 0, &info);
	assert_int_equal(info.attr.size_bytes, size);
}

/* Nothing of it is worth a flush. */
static void replaced_is_dropped_unflushed(void **state)
{
	const uint64_t size = ONEDELTA_BLOCKS * B;
	static struct saboteur saboteur;

	saboteur_init(&saboteur, &io_kernel);
	gate = &saboteur.gate;
	write_block(1, 11);
	saboteur.count[CALL_SYNC] = 0;
	assert_int_equal(mount_suspend(mount, web, NULL), 0);
	mount_resume(mount, web, MOUNT_REPLACED, &size);
	assert_int_equal(saboteur.count[CALL_SYNC], 0);
	assert_int_equal(atomic_load(&dropped), 1);
	assert_int_equal(atomic_load(&closed), 0);
	assert_false(is_open());
	gate = NULL;
}

/* What was to replace it did not come about. */
static void as_before_goes_on(void **state)
{
	write_block(1, 11);
	assert_int_equal(mount_suspend(mount, web, NULL), 0);
	assert_false(is_open());
	mount_resume(mount, web, MOUNT_AS_BEFORE, NULL);
	assert_true(is_open());
	assert_int_equal(load_close_idle(mount, disk), -EBUSY); /* unsynced, as it was */
	assert_int_equal(read_block(1), 11);
	assert_int_equal(flush(), 0);
	assert_int_equal(atomic_load(&opened), 1);
	/* One that is closed stays it. */
	mount_each_opened(mount, unload, NULL);
	assert_int_equal(mount_suspend(mount, web, NULL), 0);
	mount_resume(mount, web, MOUNT_AS_BEFORE, NULL);
	assert_false(is_open());
	assert_int_equal(read_block(1), 11);
}

static void what_somebody_has_open_is_not_suspended(void **state)
{
	struct err err = {0};
	struct mount_disk *pinned;

	write_block(1, 11);
	pinned = tree_disk_pin_open(web->tree, disk->ino);
	assert_ptr_equal(pinned, disk);
	assert_int_equal(mount_suspend(mount, web, &err), -EBUSY);
	assert_string_equal(err.message, "clone web: its disk vda.raw is open");
	assert_int_equal(read_block(1), 11);
	tree_disk_closed(pinned);
	tree_disk_unpin(pinned);
	assert_int_equal(mount_suspend(mount, web, NULL), 0);
	mount_resume(mount, web, MOUNT_CLOSED, NULL);
	assert_int_equal(read_block(1), 11);
}

#define TEST(f) cmocka_unit_test_setup_teardown(f, begin, end)

int main(void)
{
	const struct CMUnitTest tests[] = {
		TEST(opened_by_use_closed_by_visit),
		TEST(looking_is_no_use),
		TEST(a_used_disk_stays_open),
		TEST(failed_opening_is_tried_again),
		TEST(failed_flush_keeps_it_open),
		TEST(failed_flush_is_told_once),
		TEST(failed_flush_is_told_after_closing),
		TEST(closed_under_load),
		TEST(suspended_stays_closed_until_resumed),
		TEST(replaced_is_dropped_unflushed),
		TEST(as_before_goes_on),
		TEST(what_somebody_has_open_is_not_suspended),
	};

	return cmocka_run_group_tests(tests, onedelta_make_dir, onedelta_remove_dir);
}
