/* SPDX-License-Identifier: LGPL-2.1-or-later */
/* Freezing a disk in use: against writes, merges, flushes and reads; sharing layers. */
#include <assert.h>
#include <errno.h>
#include <pthread.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stdatomic.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <string.h>

#include <cmocka.h>

#include "tests/lib/saboteur.h"
#include "tests/unit/fs/disk/rig.h"

#define B DELTA_BLOCK_BYTES
#define BASE_BYTES (20 * B)
#define DISK_BYTES (32 * B)
#define SHORT_MS 20
#define LONG_MS 20000

static char base[BASE_BYTES];
static char one[DISK_BYTES], two[DISK_BYTES], got[DISK_BYTES];
static struct saboteur sab;
static struct rig rig;

/* The gate holds the next call of that kind until it is let go. */
static struct {
	atomic_int call; /* enum sabotaged_call, or -1 */
	atomic_bool held, go;
} stop;

static void hold_call(void *ctx, enum sabotaged_call call)
{
	unsigned int rounds = 0;

	if (atomic_load(&stop.call) != (int)call)
		return;
	atomic_store(&stop.call, -1);
	atomic_store(&stop.held, true);
	while (!atomic_load(&stop.go))
		assert(scratch_patience(&rounds));
}

static void hold_next(enum sabotaged_call call)
{
	atomic_store(&stop.held, false);
	atomic_store(&stop.go, false);
	atomic_store(&stop.call, (int)call);
}

static int set_up(void **state)
{
	scratch_fill(base, sizeof(base), 1);
	scratch_fill(one, sizeof(one), 2);
	scratch_fill(two, sizeof(two), 3);
	saboteur_init(&sab, &io_kernel);
	atomic_store(&stop.call, -1);
	sab.hook = hold_call;
	rig_start_with(&rig, &sab.gate, DISK_BYTES, base, sizeof(base), sizeof(base));
	return 0;
}

static int tear_down(void **state)
{
	rig_end(&rig);
	return 0;
}

static void expect(uint64_t off, uint64_t len, const char *content)
{
	memset(got, 'z', sizeof(got));
	assert_int_equal(disk_read(rig.disk, got, len, off, 0), 0);
	if (content)
		assert_memory_equal(got, content, len);
	else
		for (uint64_t i = 0; i < len; i++)
			assert_int_equal(got[i], 0);
}

/* A request of another thread. */
struct other {
	pthread_t thread;
	char op; /* 'w'rite, 'f'lush, 'r'ead, 'g'row, 's'top */
	char *buf;
	uint64_t len, off;
	int rc;
	atomic_bool begun, done;
};

static void *other_main(void *arg)
{
	struct other *o = arg;

	atomic_store(&o->begun, true);
	switch (o->op) {
	case 'w':
		o->rc = disk_write(rig.disk, o->buf, o->len, o->off, 0);
		break;
	case 'r':
		o->rc = disk_read(rig.disk, o->buf, o->len, o->off, 0);
		break;
	case 'f':
		o->rc = disk_flush(rig.disk);
		break;
	case 'g':
		o->rc = disk_grow(rig.disk, o->len);
		break;
	default:
		o->rc = disk_stop(rig.disk, LONG_MS);
	}
	atomic_store(&o->done, true);
	return NULL;
}

static void start(struct other *o, char op, char *buf, uint64_t len, uint64_t off)
{
	*o = (struct other){.op = op, .buf = buf, .len = len, .off = off};
	pthread_create(&o->thread, NULL, other_main, o);
	WAIT_UNTIL(atomic_load(&o->begun));
}

static int finish(struct other *o)
{
	pthread_join(o->thread, NULL);
	return o->rc;
}

/* Base, a layer that covers some of it, a delta that covers some of that; the
 * ends of each. */
static void test_stack(void **state)
{
	char expected[DISK_BYTES] = {0};

	memcpy(expected, base, BASE_BYTES);
	assert_int_equal(disk_write(rig.disk, one, 4 * B, 2 * B, 0), 0);
	assert_int_equal(disk_zero(rig.disk, 2 * B, 8 * B, 0), 0);
	memcpy(expected + 2 * B, one, 4 * B);
	memset(expected + 8 * B, 0, 2 * B);
	assert_true(!disk_delta_empty(rig.disk));
	rig_freeze(&rig);
	assert_true(disk_delta_empty(rig.disk));
	assert_int_equal(disk_size(rig.disk), DISK_BYTES);
	assert_int_equal(disk_layers(rig.disk), 1);
	expect(0, DISK_BYTES, expected);

	/* Merges with the layer's data, its zeros, and the base. */
	assert_int_equal(disk_write(rig.disk, two, 100, 3 * B + 50, 0), 0);
	assert_int_equal(disk_write(rig.disk, two, 100, 8 * B + 50, 0), 0);
	assert_int_equal(disk_write(rig.disk, two, 100, 12 * B + 50, 0), 0);
	assert_int_equal(disk_zero(rig.disk, B, 4 * B, 0), 0);
	memcpy(expected + 3 * B + 50, two, 100);
	memcpy(expected + 8 * B + 50, two, 100);
	memcpy(expected + 12 * B + 50, two, 100);
	memset(expected + 4 * B, 0, B);
	expect(0, DISK_BYTES, expected);
	for (uint64_t off = 1; off < DISK_BYTES - 700; off += 333)
		expect(off, 700, expected + off);
	rig_reopen(&rig, true);
	expect(0, DISK_BYTES, expected);
	assert_int_equal(disk_data_bytes(rig.disk), (4 + 3 + 20) * B);

	/* Without the delta it is what was frozen. */
	rig_reset(&rig, 0);
	memcpy(expected, base, BASE_BYTES);
	memcpy(expected + 2 * B, one, 4 * B);
	memset(expected + 8 * B, 0, 2 * B);
	expect(0, DISK_BYTES, expected);
	rig_reset(&rig, 1);
	expect(0, BASE_BYTES, base);
}

/* What a disk grew by is zeros, whatever an older, larger layer or the base has there. */
static void test_growth_shows_zeros(void **state)
{
	uint64_t seek;

	assert_int_equal(disk_write(rig.disk, one, DISK_BYTES, 0, 0), 0);
	rig_freeze(&rig);
	/* As if the disk had been smaller when the layer was frozen. */
	rig_close(&rig, false);
	rig.n_layers = 0;
	rig_new_delta(&rig, 10 * B + 512);
	rig.limit_bytes = BASE_BYTES;
	rig_open(&rig);
	rig_freeze(&rig);
	assert_int_equal(disk_grow(rig.disk, DISK_BYTES), 0);
	expect(0, 11 * B, base); /* the block in which it ended is the base's */
	expect(11 * B, DISK_BYTES - 11 * B, NULL);
	assert_int_equal(disk_seek(rig.disk, 11 * B, true, &seek), -ENXIO);
	assert_int_equal(disk_seek(rig.disk, 0, false, &seek), 0);
	assert_int_equal(seek, 11 * B);
	assert_int_equal(disk_write(rig.disk, two, 512, 12 * B + 512, 0), 0);
	expect(12 * B, 512, NULL);
	expect(12 * B + 512, 512, two);
	expect(12 * B + 1024, B - 1024, NULL);
}

static void test_writes_wait(void **state)
{
	struct other writer, grower;

	assert_int_equal(disk_write(rig.disk, one, B, 0, 0), 0);
	assert_int_equal(disk_stop(rig.disk, SHORT_MS), 0);
	assert_int_equal(disk_write(rig.disk, two, B, 0, DISK_NOWAIT), -EAGAIN);
	assert_int_equal(disk_zero(rig.disk, B, 0, DISK_NOWAIT), -EAGAIN);
	start(&writer, 'w', two, B, 0);
	start(&grower, 'g', NULL, DISK_BYTES + 512, 0);
	/* Reads and flushes go on. */
	expect(0, B, one);
	assert_int_equal(disk_flush(rig.disk), 0);
	rig_swap(&rig);
	expect(0, B, one);
	assert_false(atomic_load(&writer.done));
	assert_false(atomic_load(&grower.done));
	disk_go_on(rig.disk);
	assert_int_equal(finish(&writer), 0);
	assert_int_equal(finish(&grower), 0);
	expect(0, B, two);
	assert_int_equal(disk_size(rig.disk), DISK_BYTES + 512);
	/* It went into the delta, not into the layer. */
	rig_reset(&rig, 0);
	expect(0, B, one);
}

/* A write that is under way is waited for, but not for ever; the failed stop
 * leaves the disk as it was. */
static void test_stop_is_bounded(void **state)
{
	struct other writer, stopper, late;

	hold_next(CALL_PWRITEV);
	start(&writer, 'w', one, B, 0);
	WAIT_UNTIL(atomic_load(&stop.held));
	assert_int_equal(disk_stop(rig.disk, SHORT_MS), -ETIMEDOUT);
	start(&stopper, 's', NULL, 0, 0);
	WAIT_UNTIL(disk_write(rig.disk, two, 512, 5 * B, DISK_NOWAIT) == -EAGAIN);
	start(&late, 'w', two, B, 0);
	assert_false(atomic_load(&stopper.done));
	atomic_store(&stop.go, true);
	assert_int_equal(finish(&writer), 0);
	assert_int_equal(finish(&stopper), 0);
	assert_int_equal(disk_flush(rig.disk), 0);
	rig_swap(&rig);
	assert_false(atomic_load(&late.done));
	expect(0, B, one);
	disk_go_on(rig.disk);
	assert_int_equal(finish(&late), 0);
	expect(0, B, two);
	rig_reset(&rig, 0);
	expect(0, B, one);
}

/* A flush that began before the freeze ends with the delta that it began with. */
static void test_flush_across(void **state)
{
	struct other flusher;

	assert_int_equal(disk_write(rig.disk, one, B, 0, 0), 0);
	hold_next(CALL_SYNC);
	start(&flusher, 'f', NULL, 0, 0);
	WAIT_UNTIL(atomic_load(&stop.held));
	assert_int_equal(disk_stop(rig.disk, SHORT_MS), 0);
	atomic_store(&stop.go, true);
	assert_int_equal(disk_flush(rig.disk), 0); /* waits for the one under way */
	rig_swap(&rig);
	disk_go_on(rig.disk);
	assert_int_equal(finish(&flusher), 0);
	assert_false(disk_unsynced(rig.disk));
	assert_int_equal(disk_write(rig.disk, two, B, B, 0), 0);
	assert_true(disk_unsynced(rig.disk));
	assert_int_equal(disk_flush(rig.disk), 0);
	rig_reopen(&rig, true);
	expect(0, B, one);
	expect(B, B, two);
}

/* A read that began before the freeze sees what was there when it began, also
 * when that is overwritten meanwhile. */
static void test_read_across(void **state)
{
	char buf[2 * B];
	struct other reader;

	assert_int_equal(disk_write(rig.disk, one, 2 * B, 0, 0), 0);
	hold_next(CALL_PREAD);
	start(&reader, 'r', buf, 2 * B, 0);
	WAIT_UNTIL(atomic_load(&stop.held));
	rig_freeze(&rig);
	assert_int_equal(disk_write(rig.disk, two, 2 * B, 0, 0), 0);
	atomic_store(&stop.go, true);
	assert_int_equal(finish(&reader), 0);
	assert_memory_equal(buf, one, 2 * B);
	expect(0, 2 * B, two);
}

/* Prepared, but the manifest was not replaced. */
static void test_not_swapped(void **state)
{
	struct delta *fresh;
	struct layer *layer;
	char name[ID_TEXT];
	struct id id;

	assert_int_equal(disk_write(rig.disk, one, B, 0, 0), 0);
	assert_int_equal(disk_stop(rig.disk, SHORT_MS), 0);
	memcpy(name, rig.name, sizeof(name));
	assert_int_equal(id_parse(name, &id), 0);
	assert_int_equal(layer_expect(rig.pool, &id, &layer), 0);
	rig_new_delta(&rig, DISK_BYTES);
	fresh = rig_open_delta(&rig);
	assert_int_equal(disk_prepare(rig.disk, fresh, layer), 0);
	disk_go_on(rig.disk);
	layer_release(layer);
	assert_int_equal(delta_close(fresh), 0);
	memcpy(rig.name, name, sizeof(name));
	assert_int_equal(disk_write(rig.disk, two, B, B, 0), 0);
	assert_int_equal(disk_layers(rig.disk), 0);
	rig_reopen(&rig, true);
	expect(0, B, one);
	expect(B, B, two);
}

/* Nobody knows which delta is the right one: nothing is served. */
static void test_failed(void **state)
{
	struct other writer;
	uint64_t off;

	assert_int_equal(disk_stop(rig.disk, SHORT_MS), 0);
	start(&writer, 'w', one, B, 0);
	disk_fail(rig.disk);
	disk_go_on(rig.disk);
	assert_int_equal(finish(&writer), -EIO);
	assert_int_equal(disk_read(rig.disk, got, B, 0, 0), -EIO);
	assert_int_equal(disk_zero(rig.disk, B, 0, 0), -EIO);
	assert_int_equal(disk_flush(rig.disk), -EIO);
	assert_int_equal(disk_grow(rig.disk, DISK_BYTES + 512), -EIO);
	assert_int_equal(disk_seek(rig.disk, 0, true, &off), -EIO);
	assert_int_equal(disk_stop(rig.disk, SHORT_MS), -EIO);
	rig_reopen(&rig, true);
	expect(0, BASE_BYTES, base);
}

/* One open delta for all who hold a layer; the last closes it. */
static void test_shared_layer(void **state)
{
	struct layer *again, *third;
	struct err err = {0};
	uint64_t opens;

	assert_int_equal(disk_write(rig.disk, one, DISK_BYTES, 0, 0), 0);
	rig_freeze(&rig);
	opens = sab.count[CALL_OPENAT];
	assert_int_equal(layer_hold(rig.pool, &rig.layers[0].id, DISK_BYTES, &again, &err), 0);
	assert_int_equal(sab.count[CALL_OPENAT], opens);
	assert_int_equal(layer_hold(rig.pool, &rig.layers[0].id, DISK_BYTES + 512, &third, &err),
		-EUCLEAN);
	assert_non_null(strstr(err.message, "another size"));
	assert_true(id_equal(layer_id(again), &rig.layers[0].id));
	assert_true(layer_pool_index_bytes(rig.pool) > 0);
	rig_close(&rig, false);
	assert_true(layer_pool_index_bytes(rig.pool) > 0);
	layer_release(again);
	assert_int_equal(layer_pool_index_bytes(rig.pool), 0);
	rig_open(&rig);
	assert_true(sab.count[CALL_OPENAT] > opens);
	expect(0, DISK_BYTES, one);
}

/* Killed before the layer was marked, on a file system that is full by now. */
static void test_unmarked_on_full_disk(void **state)
{
	struct delta *delta;
	struct layer *layer;
	struct err err = {0};
	struct id id;

	rig_close(&rig, false);
	delta = rig_open_delta(&rig);
	assert_int_equal(delta_write(delta, one, 2, 0), 0);
	assert_int_equal(delta_flush(delta), 0);
	delta_abandon(delta);
	assert_int_equal(id_parse(rig.name, &id), 0);
	sab.call = CALL_FALLOCATE;
	sab.error = -ENOSPC;
	sab.kind = SABOTAGE_FAIL;
	if (layer_hold(rig.pool, &id, DISK_BYTES, &layer, &err) < 0)
		fail_msg("%s", err.message);
	assert_true(sab.hits > 0);
	layer_release(layer);
	sab.kind = SABOTAGE_NONE;
	rig.layers[0] = (struct rig_layer){.id = id, .size_bytes = DISK_BYTES};
	rig.n_layers = 1;
	rig_new_delta(&rig, DISK_BYTES);
	rig_open(&rig);
	expect(0, 2 * B, one);
}

static struct id shared_id;
static atomic_uint held;

static void *hold_and_release(void *arg)
{
	for (int i = 0; i < 50; i++) {
		struct layer *layer;
		struct err err = {0};
		int rc = layer_hold(rig.pool, &shared_id, DISK_BYTES, &layer, &err);

		if (rc < 0) {
			fprintf(stderr, "%s\n", err.message);
			return NULL;
		}
		atomic_fetch_add(&held, 1);
		layer_release(layer);
	}
	return NULL;
}

/* Opening and closing beside each other: whoever comes while it is closed waits. */
static void test_hold_and_release(void **state)
{
	pthread_t threads[4];

	assert_int_equal(disk_write(rig.disk, one, B, 0, 0), 0);
	rig_freeze(&rig);
	shared_id = rig.layers[0].id;
	rig_close(&rig, false);
	atomic_store(&held, 0);
	for (int i = 0; i < 4; i++)
		pthread_create(&threads[i], NULL, hold_and_release, NULL);
	for (int i = 0; i < 4; i++)
		pthread_join(threads[i], NULL);
	assert_int_equal(atomic_load(&held), 200);
	rig_open(&rig);
	expect(0, B, one);
}

/* Upkeep is not begun while a freeze is under way, and a freeze waits for it. */
static void test_upkeep(void **state)
{
	struct other stopper;
	struct delta *delta = disk_begin_upkeep(rig.disk);

	assert_non_null(delta);
	assert_null(disk_begin_upkeep(rig.disk));
	start(&stopper, 's', NULL, 0, 0);
	/* Writes go on as long as it lasts. */
	assert_int_equal(disk_write(rig.disk, one, B, 0, 0), 0);
	assert_false(atomic_load(&stopper.done));
	disk_end_upkeep(rig.disk);
	assert_int_equal(finish(&stopper), 0);
	assert_null(disk_begin_upkeep(rig.disk));
	assert_int_equal(disk_flush(rig.disk), 0);
	rig_swap(&rig);
	disk_go_on(rig.disk);
	assert_ptr_not_equal(disk_begin_upkeep(rig.disk), delta);
	disk_end_upkeep(rig.disk);
}

/* All of delta and layers is checked, in slices of any length. */
static void test_verify(void **state)
{
	struct disk_verified slice;
	uint64_t from = 0, blocks = 0;

	assert_int_equal(disk_write(rig.disk, one, 5 * B, 3 * B, 0), 0);
	rig_freeze(&rig);
	assert_int_equal(disk_grow(rig.disk, DISK_BYTES + B), 0);
	assert_int_equal(disk_write(rig.disk, two, 2 * B, 4 * B, 0), 0);
	rig_freeze(&rig);
	assert_int_equal(disk_write(rig.disk, two, B, 0, 0), 0);
	do {
		assert_int_equal(disk_verify(rig.disk, from, 2, &slice), 0);
		assert_true(slice.next > from && slice.next <= slice.end);
		assert_int_equal(slice.bad_blocks, 0);
		blocks += slice.data_blocks;
		from = slice.next;
	} while (slice.next < slice.end);
	assert_int_equal(blocks, 5 + 2 + 1);
	assert_int_equal(disk_verify(rig.disk, slice.end, 1, &slice), -EINVAL);
}

static atomic_bool enough;
static atomic_uint rounds_written;

/* Each round writes one version to all of a block, again and again. */
static void *write_versions(void *arg)
{
	static uint32_t block[B / 4];

	for (uint32_t version = 1; !atomic_load(&enough); version++) {
		for (size_t i = 0; i < B / 4; i++)
			block[i] = version;
		assert(disk_write(rig.disk, block, B, 7 * B, 0) == 0);
		assert(disk_write(rig.disk, block, 512, 9 * B + 512, 0) == 0);
		atomic_fetch_add(&rounds_written, 1);
	}
	return NULL;
}

/* Whole, and never back to what was overwritten before the read began. */
static void *read_versions(void *arg)
{
	uint32_t block[B / 4], last = 0;

	while (!atomic_load(&enough)) {
		assert(disk_read(rig.disk, block, B, 7 * B, 0) == 0);
		for (size_t i = 1; i < B / 4; i++)
			assert(block[i] == block[0]);
		assert(block[0] >= last);
		last = block[0];
	}
	return NULL;
}

/* Freezes beside a writer, readers and a flusher. */
static void test_under_load(void **state)
{
	pthread_t writer, readers[2];
	struct other flusher;
	unsigned int at;

	atomic_store(&enough, false);
	atomic_store(&rounds_written, 0);
	assert_int_equal(disk_zero(rig.disk, B, 7 * B, 0), 0);
	pthread_create(&writer, NULL, write_versions, NULL);
	WAIT_UNTIL(atomic_load(&rounds_written) > 2);
	for (int i = 0; i < 2; i++)
		pthread_create(&readers[i], NULL, read_versions, NULL);
	for (int i = 0; i < 20; i++) {
		at = atomic_load(&rounds_written);
		WAIT_UNTIL(atomic_load(&rounds_written) > at + 2);
		start(&flusher, 'f', NULL, 0, 0);
		rig_freeze(&rig);
		assert_int_equal(finish(&flusher), 0);
	}
	atomic_store(&enough, true);
	pthread_join(writer, NULL);
	for (int i = 0; i < 2; i++)
		pthread_join(readers[i], NULL);
	assert_int_equal(disk_layers(rig.disk), 20);
	expect(9 * B, 512, base + 9 * B);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test_setup_teardown(test_stack, set_up, tear_down),
		cmocka_unit_test_setup_teardown(test_growth_shows_zeros, set_up, tear_down),
		cmocka_unit_test_setup_teardown(test_writes_wait, set_up, tear_down),
		cmocka_unit_test_setup_teardown(test_stop_is_bounded, set_up, tear_down),
		cmocka_unit_test_setup_teardown(test_flush_across, set_up, tear_down),
		cmocka_unit_test_setup_teardown(test_read_across, set_up, tear_down),
		cmocka_unit_test_setup_teardown(test_not_swapped, set_up, tear_down),
		cmocka_unit_test_setup_teardown(test_failed, set_up, tear_down),
		cmocka_unit_test_setup_teardown(test_shared_layer, set_up, tear_down),
		cmocka_unit_test_setup_teardown(test_unmarked_on_full_disk, set_up, tear_down),
		cmocka_unit_test_setup_teardown(test_hold_and_release, set_up, tear_down),
		cmocka_unit_test_setup_teardown(test_upkeep, set_up, tear_down),
		cmocka_unit_test_setup_teardown(test_verify, set_up, tear_down),
		cmocka_unit_test_setup_teardown(test_under_load, set_up, tear_down),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
