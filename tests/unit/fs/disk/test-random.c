/* SPDX-License-Identifier: LGPL-2.1-or-later */
/* Random requests of any size and place against a plain buffer; reopened, killed, frozen and
 * reset in between.
 *
 * SEED=N repeats a run, OPS=N makes it longer.
 */
#include <errno.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

#include "fs/util/round.h"
#include "tests/lib/rng.h"
#include "tests/unit/fs/disk/rig.h"

#define B DELTA_BLOCK_BYTES
#define DISK_MAX (3u << 20)
#define OPS_DEFAULT 1500
#define LAYERS_MAX 5

static uint8_t model[DISK_MAX]; /* what the disk must read as */
/* The same without the delta, and without each layer, oldest last. */
static uint8_t below[LAYERS_MAX + 1][DISK_MAX];
static uint8_t data[DISK_IO_MAX];
static uint64_t size;
static uint64_t rng;
static struct rig rig;

/* Mostly short, sometimes as long as can be; mostly not aligned. */
static uint64_t random_len(uint64_t max)
{
	uint64_t len;

	switch (rng_below(&rng, 8)) {
	case 0:
		len = 1 + rng_below(&rng, DISK_IO_MAX);
		break;
	case 1:
		len = DISK_IO_MAX;
		break;
	case 2:
	case 3:
		len = B * (1 + rng_below(&rng, 8));
		break;
	case 4:
		len = 512 * (1 + rng_below(&rng, 40));
		break;
	default:
		len = 1 + rng_below(&rng, 3 * B);
	}
	return min_u64(len, max);
}

static uint64_t random_off(void)
{
	uint64_t off = rng_below(&rng, size);

	switch (rng_below(&rng, 4)) {
	case 0:
		return round_down(off, B);
	case 1:
		return round_down(off, 512);
	default:
		return off;
	}
}

/* Now and then zeros, which the store keeps differently. */
static void random_data(uint64_t len)
{
	scratch_fill(data, len, rng_next(&rng));
	if (rng_below(&rng, 4) == 0)
		memset(data, 0, len);
	if (len > 2 * B && rng_below(&rng, 4) == 0)
		memset(data + len / 2, 0, len / 4);
}

static void check_range(uint64_t off, uint64_t len, unsigned int flags)
{
	int rc = disk_read(rig.disk, data, len, off, flags);

	if (rc == -EAGAIN && flags)
		rc = disk_read(rig.disk, data, len, off, 0);
	assert_int_equal(rc, 0);
	if (memcmp(data, model + off, len) != 0)
		fail_msg("differs within %llu+%llu", (unsigned long long)off,
			(unsigned long long)len);
}

static void check_all(void)
{
	for (uint64_t off = 0; off < size; off += DISK_IO_MAX)
		check_range(off, min_u64(DISK_IO_MAX, size - off), 0);
}

/* Data and holes cover the disk, and holes are zeros. */
static void check_seek(void)
{
	uint64_t from = random_off();
	uint64_t data_off = size;
	uint64_t hole_off;
	int rc = disk_seek(rig.disk, from, true, &data_off);

	assert_true(rc == 0 || (rc == -ENXIO && data_off == size));
	for (uint64_t off = from; off < data_off; off++)
		assert_int_equal(model[off], 0);
	assert_int_equal(disk_seek(rig.disk, from, false, &hole_off), 0);
	assert_true(from == data_off || hole_off == from);
	assert_true(hole_off <= size && (hole_off == from || hole_off % B == 0 || hole_off == size));
}

static void write_some(unsigned int flags)
{
	uint64_t off = random_off();
	uint64_t len = random_len(size - off);
	int rc;

	random_data(len);
	rc = disk_write(rig.disk, data, len, off, flags);
	if (rc == -EAGAIN && flags)
		rc = disk_write(rig.disk, data, len, off, 0);
	assert_int_equal(rc, 0);
	memcpy(model + off, data, len);
}

static void zero_some(unsigned int flags)
{
	uint64_t off = random_off();
	uint64_t len = rng_below(&rng, 4) ? random_len(size - off) : rng_below(&rng, size - off + 1);
	int rc = disk_zero(rig.disk, len, off, flags);

	if (rc == -EAGAIN && flags)
		rc = disk_zero(rig.disk, len, off, 0);
	assert_int_equal(rc, 0);
	memset(model + off, 0, len);
}

static void grow(void)
{
	uint64_t more = 512 * rng_below(&rng, 100);

	if (size + more > DISK_MAX)
		return;
	assert_int_equal(disk_grow(rig.disk, size + more), 0);
	size += more;
}

static void freeze(void)
{
	uint32_t n = rig.n_layers;

	if (n == LAYERS_MAX)
		return;
	rig_freeze(&rig);
	memmove(below[1], below[0], (n + 1) * sizeof(below[0]));
	memcpy(below[0], model, sizeof(model));
}

static void reset(void)
{
	uint32_t dropped = (uint32_t)rng_below(&rng, rig.n_layers + 1);

	rig_reset(&rig, dropped);
	memmove(below[0], below[dropped], (rig.n_layers + 1) * sizeof(below[0]));
	memcpy(model, below[0], sizeof(model));
	check_all();
}

static void step(void)
{
	unsigned int flags = rng_below(&rng, 2) ? DISK_NOWAIT : 0;
	uint64_t off;

	switch (rng_below(&rng, 64)) {
	case 0:
		rig_reopen(&rig, rng_below(&rng, 2));
		break;
	case 1:
		assert_int_equal(disk_flush(rig.disk), 0);
		break;
	case 2:
		grow();
		break;
	case 3:
		if (rng_below(&rng, 4) == 0)
			freeze();
		break;
	case 4:
		if (rng_below(&rng, 16) == 0)
			reset();
		break;
	case 5 ... 9:
		check_seek();
		break;
	case 10 ... 19:
		zero_some(flags);
		break;
	case 20 ... 39:
		write_some(flags);
		break;
	default:
		off = random_off();
		check_range(off, random_len(size - off), flags);
	}
}

/* base_bytes of base, a third of it holes, below a disk of disk_bytes. */
static void run(uint64_t disk_bytes, uint64_t base_bytes, uint64_t ops)
{
	static uint8_t base[DISK_MAX];
	uint64_t seed = rng_seed();

	print_message("SEED=%llu\n", (unsigned long long)seed);
	rng = seed;
	scratch_fill(base, base_bytes, seed);
	memset(base + base_bytes / 3, 0, base_bytes / 3);
	memset(model, 0, sizeof(model));
	memcpy(model, base, min_u64(base_bytes, disk_bytes));
	memcpy(below[0], model, sizeof(model));
	size = disk_bytes;
	rig_start(&rig, disk_bytes, base, base_bytes, base_bytes);
	if (base_bytes > disk_bytes) {
		disk_abandon(rig.disk);
		rig.limit_bytes = disk_bytes;
		rig_open(&rig);
	}
	for (uint64_t i = 0; i < ops; i++)
		step();
	check_all();
	rig_reopen(&rig, true);
	check_all();
}

static int tear_down(void **state)
{
	rig_end(&rig);
	return 0;
}

static void test_odd_base(void **state)
{
	run(2 << 20, 1234567, env_number("OPS", OPS_DEFAULT));
}

static void test_odd_disk_smaller_than_base(void **state)
{
	run((1 << 20) + 512, 1234567, env_number("OPS", OPS_DEFAULT));
}

static void test_without_base(void **state)
{
	run(1 << 20, 0, env_number("OPS", OPS_DEFAULT));
}

static void test_tiny(void **state)
{
	run(512, 3, env_number("OPS", OPS_DEFAULT) / 4);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test_teardown(test_odd_base, tear_down),
		cmocka_unit_test_teardown(test_odd_disk_smaller_than_base, tear_down),
		cmocka_unit_test_teardown(test_without_base, tear_down),
		cmocka_unit_test_teardown(test_tiny, tear_down),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
