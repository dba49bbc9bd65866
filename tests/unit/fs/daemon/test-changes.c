/* SPDX-License-Identifier: LGPL-2.1-or-later */
/* Snapshots and resets of attached clones: against reads and writes, and when the manifest fails. */
#include <assert.h>
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
#include <time.h>
#include <unistd.h>

#include <cmocka.h>

#include "fs/base/base.h"
#include "fs/daemon/changes.h"
#include "fs/mount/load.h"
#include "fs/store/layers.h"
#include "tests/lib/rawbase.h"
#include "tests/lib/saboteur.h"
#include "tests/lib/scratch.h"

#define B ((uint64_t)DELTA_BLOCK_BYTES)
#define DISKS 2
#define DISK_BYTES (64 * B)

static struct saboteur sab; /* before the store: manifests, new logs, links */
static struct store *store;
static struct space_pool *pool;
static struct mount *mount;
static struct table table;
static struct attached *web;

static void make_clone(const char *name)
{
	char path[SCRATCH_PATH_MAX];
	struct store_stage *stage;
	struct manifest *m;
	uint64_t size;

	assert_int_equal(manifest_new(name, &m), 0);
	for (int i = 0; i < DISKS; i++) {
		struct store_disk *disk = manifest_add_disk(m, i ? "vdb" : "vda");

		disk->base_path = strdup(scratch_path(path, "base.raw"));
		disk->base_format = strdup("raw");
		assert_int_equal(rawbase_identify(path, &disk->base_identity, &size, NULL), 0);
		disk->size_bytes = DISK_BYTES;
		disk->base_limit_bytes = size;
		disk->mode = 0600;
	}
	assert_int_equal(store_stage(store, m, &stage, NULL), 0);
	assert_int_equal(store_commit(stage, NULL), 0);
	manifest_free(m);
}

static void attach(void)
{
	struct err err = {0};

	if (table_attach(&table, "web", true, &err) < 0)
		fail_msg("%s", err.message);
	web = table.clones[0];
}

/* Index of a disk that is slow to open. */
#define SLOW_NONE (-1)
#define SLOW_MET (-2) /* it is being opened */

static atomic_int slow_disk = SLOW_NONE;

static int open_disk(void *ctx, struct disk **ret_disk)
{
	const struct attached_disk *disk = ctx;
	int wanted = (int)disk->index;

	if (atomic_compare_exchange_strong(&slow_disk, &wanted, SLOW_MET))
		WAIT_UNTIL(atomic_load(&slow_disk) == SLOW_NONE);
	return attach_open_disk(ctx, ret_disk);
}

static int begin(void **state)
{
	const struct mount_options options = {.source = "test"};
	const struct mount_backend backend = {
		.open = open_disk, .close = attach_close_disk, .drop = attach_drop_disk,
		.keep = attach_keep_attr};
	char path[SCRATCH_PATH_MAX];
	char content[16 * B];

	scratch_make();
	scratch_fill(content, sizeof(content), 1);
	scratch_file(scratch_path(path, "base.raw"), content, sizeof(content), 32 * B);
	saboteur_init(&sab, &io_kernel);
	assert_int_equal(store_create(&sab.gate, scratch_path(path, "store"), NULL), 0);
	assert_int_equal(store_open(&sab.gate, path, &store, NULL), 0);
	assert_int_equal(store_lock(store, NULL), 0);
	assert_int_equal(space_pool_open(NULL, store_dirfd(store), 0, &pool, NULL), 0);
	make_clone("web");
	assert_int_equal(mount_new(&options, &backend, &mount, NULL), 0);
	assert_int_equal(table_init(&table, store, mount, false), 0);
	table.pool = pool;
	attach();
	return 0;
}

static int end(void **state)
{
	table_detach_all(&table);
	mount_free(mount);
	table_release(&table);
	space_pool_close(pool);
	store_close(store);
	scratch_remove();
	return 0;
}

/* ---- requests ---- */

static int write_disk(uint32_t i, uint8_t value)
{
	uint8_t data[B];
	struct disk *disk;
	int rc = mount_use_disk(mount, web->shown, i, &disk);

	if (rc < 0)
		return rc;
	memset(data, value, sizeof(data));
	rc = disk_write(disk, data, sizeof(data), 3 * B, 0);
	if (rc == 0)
		rc = disk_flush(disk);
	mount_unuse_disk(web->shown, i);
	return rc;
}

/* The value of the block, or -errno. */
static int read_disk(uint32_t i)
{
	uint8_t data[B];
	struct disk *disk;
	int rc = mount_use_disk(mount, web->shown, i, &disk);

	if (rc < 0)
		return rc;
	rc = disk_read(disk, data, sizeof(data), 3 * B, 0);
	mount_unuse_disk(web->shown, i);
	return rc < 0 ? rc : data[0];
}

static void write_both(uint8_t value)
{
	for (uint32_t i = 0; i < DISKS; i++)
		assert_int_equal(write_disk(i, value), 0);
}

static void expect_both(int value)
{
	for (uint32_t i = 0; i < DISKS; i++)
		assert_int_equal(read_disk(i), value);
}

static int snapshot(const char *name)
{
	struct err err = {0};

	return table_snapshot(&table, "web", name, &err);
}

static int reset(const char *to)
{
	struct err err = {0};

	return table_reset(&table, "web", to, &err);
}

static uint32_t layers_of(uint32_t i)
{
	return web->manifest->disks[i].n_layers;
}

/* ---- tests ---- */

static void snapshots_and_resets(void **state)
{
	int base = read_disk(0);

	write_both(1);
	assert_int_equal(snapshot("a"), 0);
	write_both(2);
	assert_int_equal(snapshot(NULL), 0);
	assert_int_equal(snapshot(NULL), 0); /* nothing written */
	assert_int_equal(layers_of(0), 2);
	assert_int_equal(write_disk(1, 3), 0);
	assert_int_equal(reset(NULL), 0);
	expect_both(2);
	assert_int_equal(reset("a"), 0);
	expect_both(1);
	assert_int_equal(layers_of(1), 1);
	assert_int_equal(reset(""), -EEXIST);
	assert_int_equal(table_forget(&table, "web", "a", NULL), 0);
	assert_int_equal(table_forget(&table, "web", "a", NULL), -ENOENT);
	assert_int_equal(reset(""), 0);
	expect_both(base);
	assert_int_equal(layers_of(0), 0);
}

/* What a layer takes is its clone's no more; the quota counts deltas alone. */
static void space_of_layers(void **state)
{
	struct space_info before, after;

	write_both(1);
	space_info(web->space, &before);
	assert_true(before.used_bytes > 0);
	assert_int_equal(snapshot("a"), 0);
	space_info(web->space, &after);
	assert_true(after.used_bytes < before.used_bytes);
	assert_int_equal(table_quota(&table, "web", 1 << 20, NULL), 0);
	space_info(web->space, &after);
	assert_int_equal(after.quota_bytes, 1 << 20);
	/* Its clone may go while others have the layer open. */
	table_detach_all(&table);
	make_clone("other");
	attach();
	expect_both(1);
	write_both(2);
}

struct job {
	pthread_t thread;
	atomic_bool begun, done;
	int rc;
};

static void *reset_main(void *arg)
{
	struct job *job = arg;

	atomic_store(&job->begun, true);
	job->rc = reset(NULL);
	atomic_store(&job->done, true);
	return NULL;
}

static void *read_main(void *arg)
{
	struct job *job = arg;

	atomic_store(&job->begun, true);
	job->rc = read_disk(0);
	atomic_store(&job->done, true);
	return NULL;
}

static void start(struct job *job, void *(*fn)(void *arg))
{
	*job = (struct job){.rc = 0};
	pthread_create(&job->thread, NULL, fn, job);
	WAIT_UNTIL(atomic_load(&job->begun));
}

/* A reset waits for the reads under way, which see what was; those that come
 * meanwhile wait for the reset and see what it brought back. */
static void reset_against_read(void **state)
{
	struct job resetter, reader;
	uint8_t data[B];
	struct disk *disk;

	write_both(1);
	assert_int_equal(snapshot("a"), 0);
	write_both(2);
	assert_int_equal(mount_use_disk(mount, web->shown, 0, &disk), 0);
	start(&resetter, reset_main);
	/* It has begun to close: the disk is taken away from whoever comes. */
	WAIT_UNTIL(({
		struct mount_disk_info info;
		mount_disk_info(web->shown, 0, &info);
		!info.opened;
	}));
	start(&reader, read_main);
	assert_int_equal(disk_read(disk, data, B, 3 * B, 0), 0);
	assert_int_equal(data[0], 2);
	assert_false(atomic_load(&resetter.done));
	assert_false(atomic_load(&reader.done));
	mount_unuse_disk(web->shown, 0);
	pthread_join(resetter.thread, NULL);
	pthread_join(reader.thread, NULL);
	assert_int_equal(resetter.rc, 0);
	assert_int_equal(reader.rc, 1);
	expect_both(1);
}

static void *snapshot_main(void *arg)
{
	struct job *job = arg;

	atomic_store(&job->begun, true);
	job->rc = snapshot("b");
	atomic_store(&job->done, true);
	return NULL;
}

static void *read_other_main(void *arg)
{
	struct job *job = arg;

	job->rc = read_disk(1);
	atomic_store(&job->done, true);
	return NULL;
}

static void reset_and_snapshot(void)
{
	const struct timespec pause = {.tv_nsec = 5 * 1000000};
	struct job opener, resetter, snapshooter;

	assert_int_equal(mount_suspend(mount, web->shown, NULL), 0);
	mount_resume(mount, web->shown, MOUNT_CLOSED, NULL);
	assert_int_equal(read_disk(0), 1);
	/* The second is slow to open, and both wait for that. */
	atomic_store(&slow_disk, 1);
	opener = (struct job){.rc = 0};
	pthread_create(&opener.thread, NULL, read_other_main, &opener);
	WAIT_UNTIL(atomic_load(&slow_disk) == SLOW_MET);
	start(&resetter, reset_main);
	nanosleep(&pause, NULL);
	start(&snapshooter, snapshot_main);
	nanosleep(&pause, NULL);
	atomic_store(&slow_disk, SLOW_NONE);
	WAIT_UNTIL(atomic_load(&resetter.done) && atomic_load(&snapshooter.done));
	pthread_join(opener.thread, NULL);
	pthread_join(resetter.thread, NULL);
	pthread_join(snapshooter.thread, NULL);
	assert_int_equal(opener.rc, 1);
	assert_int_equal(resetter.rc, 0);
	assert_int_equal(snapshooter.rc, 0);
	expect_both(1);
}

/* Both work on all disks: one must not use the first while it waits for the
 * second, which the other keeps closed while it waits for the first. Who comes
 * first is not ours to say: several times. */
static void reset_against_snapshot(void **state)
{
	write_both(1);
	assert_int_equal(snapshot("a"), 0);
	for (int i = 0; i < 10; i++) {
		reset_and_snapshot();
		assert_int_equal(table_forget(&table, "web", "b", NULL), 0);
	}
}

static uint64_t shown_size(uint32_t i)
{
	return web->shown->disks[i].attr.size_bytes;
}

/* As a change of attributes does it. */
static int keep_size(uint64_t size_bytes)
{
	const struct mount_attr attr = {.mode = 0640, .size_bytes = size_bytes};

	return attach_keep_attr(&web->disks[0], &attr);
}

/* There was no room to keep the new size of a disk: it is the delta's alone. */
static void grow_unkept(void)
{
	struct disk *disk;

	assert_int_equal(mount_use_disk(mount, web->shown, 0, &disk), 0);
	assert_int_equal(disk_grow(disk, 2 * DISK_BYTES), 0);
	mount_unuse_disk(web->shown, 0);
	memset(sab.count, 0, sizeof(sab.count));
	sab.call = CALL_RENAMEAT;
	sab.nth = 1;
	sab.error = -ENOSPC;
	sab.kind = SABOTAGE_FAIL;
	assert_int_equal(keep_size(2 * DISK_BYTES), -ENOSPC);
	sab.kind = SABOTAGE_NONE;
}

static void unkept_size(void **state)
{
	grow_unkept();
	/* With the delta it is gone, for who looks at the file, too: the next
	 * change of its mode must not keep a size that the delta has not. */
	assert_int_equal(reset(NULL), 0);
	assert_int_equal(shown_size(0), DISK_BYTES);
	expect_both(read_disk(1));
	/* A layer has it: the manifest says so from then on. */
	grow_unkept();
	write_both(1);
	assert_int_equal(snapshot("a"), 0);
	assert_int_equal(keep_size(DISK_BYTES), 0);
	assert_int_equal(web->manifest->disks[0].size_bytes, 2 * DISK_BYTES);
	expect_both(1);
}

/* A disk may be opened meanwhile, which reads them. */
static void other_changes_keep_layers(void **state)
{
	const struct store_layer *layers[DISKS];

	write_both(1);
	assert_int_equal(snapshot("a"), 0);
	for (uint32_t i = 0; i < DISKS; i++)
		layers[i] = web->manifest->disks[i].layers;
	assert_int_equal(table_quota(&table, "web", 1 << 20, NULL), 0);
	assert_int_equal(table_forget(&table, "web", "a", NULL), 0);
	for (uint32_t i = 0; i < DISKS; i++)
		assert_ptr_equal(web->manifest->disks[i].layers, layers[i]);
	expect_both(1);
}

static atomic_bool writing;

static void *write_main(void *arg)
{
	struct job *job = arg;

	atomic_store(&job->begun, true);
	for (uint8_t value = 10; job->rc == 0 && atomic_load(&writing); value ^= 1)
		job->rc = write_disk(1, value);
	return NULL;
}

/* Detaching waits for a verb at work; verbs at once on one clone take turns. */
static void snapshots_beside_each_other(void **state)
{
	struct job writer;
	char name[8];

	atomic_store(&writing, true);
	start(&writer, write_main);
	for (int i = 0; i < 10; i++) {
		snprintf(name, sizeof(name), "s%d", i);
		assert_int_equal(snapshot(name), 0);
		assert_int_equal(table_quota(&table, "web", (uint64_t)i << 30, NULL), 0);
	}
	atomic_store(&writing, false);
	pthread_join(writer.thread, NULL);
	assert_int_equal(writer.rc, 0);
	assert_int_equal(web->manifest->n_snapshots, 10);
	assert_int_equal(table_detach(&table, "web", NULL, NULL), 0);
	attach();
	assert_int_equal(web->manifest->n_snapshots, 10);
	assert_int_equal(web->manifest->quota_bytes, UINT64_C(9) << 30);
	assert_true(read_disk(1) == 10 || read_disk(1) == 11);
}

/* The call before the manifest is there fails: all is as before, and goes on. */
static void failed_before(void **state)
{
	static const enum sabotaged_call calls[] = {CALL_LINKAT, CALL_RENAMEAT, CALL_PWRITEV};

	write_both(1);
	for (size_t c = 0; c < sizeof(calls) / sizeof(calls[0]); c++) {
		memset(sab.count, 0, sizeof(sab.count));
		sab.call = calls[c];
		sab.nth = 1;
		sab.error = -ENOSPC;
		sab.kind = SABOTAGE_FAIL;
		assert_int_equal(snapshot("a"), -ENOSPC);
		sab.kind = SABOTAGE_NONE;
		assert_int_equal(layers_of(0), 0);
		expect_both(1 + (int)c);
		write_both((uint8_t)(2 + c));
	}
	assert_int_equal(snapshot("a"), 0);
	assert_int_equal(layers_of(0), 1);
}

static atomic_bool renamed;

/* The sync of the directory after the manifest's rename. */
static void fail_after_rename(void *ctx, enum sabotaged_call call)
{
	if (call == CALL_RENAMEAT)
		atomic_store(&renamed, true);
	sab.call = CALL_SYNC;
	sab.nth = 0;
	sab.error = -EIO;
	sab.kind = call == CALL_SYNC && atomic_load(&renamed) ? SABOTAGE_FAIL : SABOTAGE_NONE;
}

/* Nobody knows which manifest is on the medium: the disks serve nothing until
 * they are opened again, and then all of them by the same one. */
static void failed_in_between(void **state)
{
	struct err err = {0};

	write_both(1);
	atomic_store(&renamed, false);
	sab.hook = fail_after_rename;
	assert_int_equal(snapshot("a"), -ENOTRECOVERABLE);
	sab.hook = NULL;
	sab.kind = SABOTAGE_NONE;
	expect_both(-EIO);
	assert_int_equal(write_disk(0, 9), -EIO);
	assert_int_equal(snapshot("b"), -EIO);
	assert_int_equal(table_quota(&table, "web", 1, &err), -EIO);
	assert_non_null(strstr(err.message, "maybe half"));
	/* Nobody has them open: close them all, as their machine's end does. */
	assert_int_equal(mount_suspend(mount, web->shown, NULL), 0);
	mount_resume(mount, web->shown, MOUNT_CLOSED, NULL);
	expect_both(1);
	assert_int_equal(layers_of(0), layers_of(1));
	write_both(2);
	assert_int_equal(snapshot("b"), 0);
	expect_both(2);
}

static uint64_t used_bytes(void)
{
	struct space_info info;

	space_info(web->space, &info);
	return info.used_bytes;
}

/* All is as before, and nothing is counted twice. */
static void failed_reset_goes_on(void **state)
{
	uint64_t used;

	write_both(1);
	used = used_bytes();
	memset(sab.count, 0, sizeof(sab.count));
	sab.call = CALL_RENAMEAT;
	sab.nth = 1;
	sab.error = -ENOSPC;
	sab.kind = SABOTAGE_FAIL;
	assert_int_equal(reset(NULL), -ENOSPC);
	sab.kind = SABOTAGE_NONE;
	assert_int_equal(used_bytes(), used);
	assert_non_null(load_look(&web->shown->disks[0]));
	load_unuse(&web->shown->disks[0]);
	expect_both(1);
	/* This one happens: of what it throws away nothing is counted any more. */
	assert_int_equal(reset(NULL), 0);
	assert_int_equal(used_bytes(), 0);
	expect_both(read_disk(0));
}

/* Nobody knows which logs count: none of those that were open is served on. */
static void reset_in_doubt(void **state)
{
	write_both(1);
	assert_int_equal(snapshot("a"), 0);
	write_both(2);
	atomic_store(&renamed, false);
	sab.hook = fail_after_rename;
	assert_int_equal(reset(NULL), -ENOTRECOVERABLE);
	sab.hook = NULL;
	sab.kind = SABOTAGE_NONE;
	assert_null(load_look(&web->shown->disks[0]));
	/* The one that is read is made to count. */
	expect_both(1);
	write_both(3);
	assert_int_equal(reset(NULL), 0);
	expect_both(1);
}

#define TEST(f) cmocka_unit_test_setup_teardown(f, begin, end)

int main(void)
{
	const struct CMUnitTest tests[] = {
		TEST(snapshots_and_resets),
		TEST(space_of_layers),
		TEST(reset_against_read),
		TEST(reset_against_snapshot),
		TEST(unkept_size),
		TEST(other_changes_keep_layers),
		TEST(snapshots_beside_each_other),
		TEST(failed_before),
		TEST(failed_in_between),
		TEST(failed_reset_goes_on),
		TEST(reset_in_doubt),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
