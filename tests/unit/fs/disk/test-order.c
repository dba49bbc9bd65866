/* SPDX-License-Identifier: LGPL-2.1-or-later */
/* Many threads on the same blocks: no partial write is lost, none tears another's sector. */
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

#include "tests/lib/rng.h"
#include "tests/unit/fs/disk/rig.h"

#define B DELTA_BLOCK_BYTES
#define SECTOR 512
#define THREADS 4
#define BLOCKS 6
#define SECTORS (BLOCKS * B / SECTOR)

static char content[BLOCKS * B];
static struct rig rig;

static int set_up(void **state)
{
	scratch_fill(content, sizeof(content), 1);
	rig_start(&rig, BLOCKS * B, content, sizeof(content), sizeof(content));
	return 0;
}

static int tear_down(void **state)
{
	rig_end(&rig);
	return 0;
}

static void run_threads(void *(*main_of)(void *))
{
	pthread_t threads[THREADS];

	for (intptr_t i = 0; i < THREADS; i++)
		pthread_create(&threads[i], NULL, main_of, (void *)i);
	for (int i = 0; i < THREADS; i++)
		pthread_join(threads[i], NULL);
}

/* ---- each thread owns every THREADS-th sector: neighbours in one block ---- */

#define ROUNDS 250

static void fill_sector(char *sector, uint64_t number, uint64_t version)
{
	scratch_fill(sector, SECTOR, number << 32 | version);
}

/* Its sectors, again and again; what it wrote must be there when it looks. */
static void *own_sectors(void *arg)
{
	uint64_t me = (uint64_t)(intptr_t)arg;
	char sector[SECTOR];
	char got[SECTOR];

	for (uint64_t round = 1; round <= ROUNDS; round++) {
		for (uint64_t s = me; s < SECTORS; s += THREADS) {
			fill_sector(sector, s, round);
			assert(disk_write(rig.disk, sector, SECTOR, s * SECTOR, 0) == 0);
			assert(disk_read(rig.disk, got, SECTOR, s * SECTOR, 0) == 0);
			assert(memcmp(sector, got, SECTOR) == 0);
		}
	}
	return NULL;
}

static void test_no_lost_update(void **state)
{
	char sector[SECTOR];
	char got[SECTOR];

	run_threads(own_sectors);
	for (uint64_t s = 0; s < SECTORS; s++) {
		fill_sector(sector, s, ROUNDS);
		assert_int_equal(disk_read(rig.disk, got, SECTOR, s * SECTOR, 0), 0);
		assert_memory_equal(got, sector, SECTOR);
	}
}

/* ---- whole blocks and zeros beside partial writes ---- */

static _Atomic bool over;
static _Atomic unsigned int merges;

/* Owns the first sector of block 0; others change the rest of it, in part. */
static void *first_sector(void)
{
	char sector[SECTOR];
	char got[SECTOR];

	for (uint64_t round = 1; !atomic_load(&over); round++) {
		fill_sector(sector, 0, round);
		assert(disk_write(rig.disk, sector, SECTOR, 0, 0) == 0);
		assert(disk_read(rig.disk, got, SECTOR, 0, 0) == 0);
		assert(memcmp(sector, got, SECTOR) == 0);
		atomic_fetch_add(&merges, 1);
	}
	return NULL;
}

/* Owns all of blocks 1 to 5: whole writes and zeros, checked each time. An
 * unaligned zero ends within block 0, whose edge is merged. */
static void *whole_blocks(void)
{
	static char blocks[(BLOCKS - 1) * B];
	static char got[(BLOCKS - 1) * B];

	for (uint64_t round = 1; round <= ROUNDS || atomic_load(&merges) < ROUNDS; round++) {
		scratch_fill(blocks, sizeof(blocks), round);
		assert(disk_write(rig.disk, blocks, sizeof(blocks), B, 0) == 0);
		assert(disk_read(rig.disk, got, sizeof(got), B, 0) == 0);
		assert(memcmp(blocks, got, sizeof(got)) == 0);
		assert(disk_zero(rig.disk, sizeof(blocks) + SECTOR, B - SECTOR, 0) == 0);
		assert(disk_read(rig.disk, got, sizeof(got), B, 0) == 0);
		for (size_t i = 0; i < sizeof(got); i++)
			assert(got[i] == 0);
	}
	atomic_store(&over, true);
	return NULL;
}

/* Writes the second sector of block 0 and the first ones of the others' with
 * DISK_NOWAIT: refused or done, never half. */
static void *impatient(void)
{
	char sector[SECTOR];
	char got[SECTOR];

	for (uint64_t round = 1; !atomic_load(&over); round++) {
		int rc;

		fill_sector(sector, 1, round);
		rc = disk_write(rig.disk, sector, SECTOR, SECTOR, DISK_NOWAIT);
		assert(rc == 0 || rc == -EAGAIN);
		if (rc < 0)
			continue;
		assert(disk_read(rig.disk, got, SECTOR, SECTOR, 0) == 0);
		assert(memcmp(sector, got, SECTOR) == 0);
	}
	return NULL;
}

static void *flusher(void)
{
	while (!atomic_load(&over))
		assert(disk_flush(rig.disk) == 0);
	return NULL;
}

static void *mixed(void *arg)
{
	static void *(*const part[THREADS])(void) = {
		first_sector, whole_blocks, impatient, flusher};

	return part[(intptr_t)arg]();
}

static void test_mixed(void **state)
{
	char got[B];

	atomic_store(&over, false);
	atomic_store(&merges, 0);
	run_threads(mixed);
	assert_int_equal(disk_read(rig.disk, got, B, 0, 0), 0);
	assert_memory_equal(got + 2 * SECTOR, content + 2 * SECTOR, B - 3 * SECTOR);
	for (size_t i = B - SECTOR; i < B; i++)
		assert_int_equal(got[i], 0);
}

/* ---- two that write the same range: it is the one or the other, per block ---- */

static void *same_blocks(void *arg)
{
	static char data[THREADS][BLOCKS * B];
	char *mine = data[(intptr_t)arg];
	char got[B];

	memset(mine, 'A' + (int)(intptr_t)arg, BLOCKS * B);
	for (int round = 0; round < ROUNDS; round++) {
		assert(disk_write(rig.disk, mine, BLOCKS * B - 10, 5, 0) == 0);
		assert(disk_read(rig.disk, got, B, 2 * B, 0) == 0);
		for (size_t i = 1; i < B; i++)
			assert(got[i] == got[0]);
	}
	return NULL;
}

static void test_same_range(void **state)
{
	char got[BLOCKS * B];

	run_threads(same_blocks);
	assert_int_equal(disk_read(rig.disk, got, sizeof(got), 0, 0), 0);
	assert_memory_equal(got, content, 5);
	assert_memory_equal(got + sizeof(got) - 5, content + sizeof(got) - 5, 5);
	for (size_t i = 5; i < sizeof(got) - 5; i++)
		assert_in_range(got[i], 'A', 'A' + THREADS - 1);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test_setup_teardown(test_no_lost_update, set_up, tear_down),
		cmocka_unit_test_setup_teardown(test_mixed, set_up, tear_down),
		cmocka_unit_test_setup_teardown(test_same_range, set_up, tear_down),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
