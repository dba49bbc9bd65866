/* SPDX-License-Identifier: LGPL-2.1-or-later */
/* Threads write while space and device fail at random; what was acknowledged is there afterwards.
 *
 * Each thread owns a range of blocks. A block's content says which write it is
 * of. After each life it may be of the last acknowledged write or of a later
 * one, which failed but left its record; never of an older one, and never a
 * mixture. SEED= brings the choices back, not the order of the threads.
 */
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

#include "fs/store/delta.h"
#include "fs/util/id.h"
#include "tests/lib/rng.h"
#include "tests/lib/stamps.h"
#include "tests/lib/temp.h"

#define B DELTA_BLOCK_BYTES
#define THREADS 4u
#define OWN_BLOCKS 200u
#define BLOCKS (THREADS * OWN_BLOCKS)
#define WRITE_MAX 60u
#define WRITES 100u
#define LIVES 5
#define ROUNDS 4

static char dir[TEMP_PATH_MAX];
static uint64_t seed;
static uint32_t acked[BLOCKS], tried[BLOCKS]; /* each thread's own part */
static _Atomic uint32_t next_version;
static atomic_uint failed;
static struct delta *delta;

/* Faults are drawn by whoever calls, so from the calling thread's numbers. */
static _Thread_local uint64_t rng;
static atomic_bool faulty;

static bool strikes(unsigned int one_in)
{
	return atomic_load(&faulty) && rng_below(&rng, one_in) == 0;
}

static ssize_t bad_pwritev(const struct io_gate *io, int fd, const struct iovec *iov, int count,
	uint64_t off)
{
	int error = rng_below(&rng, 2) ? -ENOSPC : -EDQUOT;

	if (!strikes(12))
		return io_kernel.pwritev(&io_kernel, fd, iov, count, off);
	switch (rng_below(&rng, 3)) {
	case 0:
		return error;
	case 1: /* done, and said to have failed */
		io_kernel.pwritev(&io_kernel, fd, iov, count, off);
		return error;
	default: /* short */
		return io_kernel.pwritev(
			&io_kernel, fd, iov, 1 + (int)rng_below(&rng, (uint64_t)count), off);
	}
}

static int bad_fallocate(const struct io_gate *io, int fd, int mode, uint64_t off, uint64_t len)
{
	return strikes(3) ? -ENOSPC : io_kernel.fallocate(&io_kernel, fd, mode, off, len);
}

static void write_once(uint32_t own, uint8_t *buf)
{
	uint32_t n = 1 + (uint32_t)rng_below(&rng, rng_below(&rng, 4) ? 4 : WRITE_MAX);
	uint32_t block = own + (uint32_t)rng_below(&rng, OWN_BLOCKS - n + 1);
	uint32_t version = atomic_fetch_add(&next_version, 1);
	int rc;

	stamps_fill(version, block, n, buf);
	rc = delta_write(delta, buf, n, block);
	if (rc < 0)
		atomic_fetch_add(&failed, 1);
	for (uint32_t b = block; b < block + n; b++) {
		tried[b] = version;
		if (rc == 0)
			acked[b] = version;
	}
}

static void *write_own(void *arg)
{
	uint32_t t = *(const uint32_t *)arg;
	uint8_t *buf = malloc((size_t)WRITE_MAX * B);

	rng = seed + t + (uint64_t)atomic_load(&next_version) * 8;
	for (uint32_t i = 0; buf && i < WRITES; i++) {
		write_once(t * OWN_BLOCKS, buf);
		if (rng_below(&rng, 40) == 0)
			delta_flush(delta);
	}
	free(buf);
	return NULL;
}

/* What block is of must lie between what was acknowledged and what was tried.
 * Some blocks of some writes are zeros: those tell no version. */
static void check_block(uint32_t block)
{
	static uint8_t got[B];
	enum delta_owner owner;
	uint32_t version = STAMP_ABSENT;

	assert_int_equal(delta_read(delta, got, 1, block, false, &owner), 1);
	if (owner == DELTA_ZERO) {
		assert_true(tried[block] >= STAMP_FIRST);
		return;
	}
	if (owner == DELTA_DATA)
		assert_int_equal(stamps_identify(got, block, &version), 0);
	assert_in_range(version, acked[block], tried[block]);
	acked[block] = version;
}

static void live(int dirfd, const char *name, const struct io_gate *gate, bool killed)
{
	const struct delta_options options = {.io = gate};
	pthread_t thread[THREADS];
	uint32_t number[THREADS];
	struct err err = {0};

	if (delta_open(dirfd, name, &options, &delta, &err) < 0)
		fail_msg("%s", err.message);
	for (uint32_t b = 0; b < BLOCKS; b++)
		check_block(b);
	atomic_store(&faulty, true);
	for (uint32_t t = 0; t < THREADS; t++) {
		number[t] = t;
		assert_int_equal(pthread_create(&thread[t], NULL, write_own, &number[t]), 0);
	}
	for (uint32_t t = 0; t < THREADS; t++)
		pthread_join(thread[t], NULL);
	atomic_store(&faulty, false);
	if (killed)
		delta_abandon(delta);
	else
		assert_int_equal(delta_close(delta), 0);
}

static void acknowledged_stays(void **state)
{
	struct io_gate gate = io_kernel;
	int dirfd = open(dir, O_RDONLY | O_DIRECTORY | O_CLOEXEC);
	char name[ID_TEXT];

	gate.pwritev = bad_pwritev;
	gate.fallocate = bad_fallocate;
	for (int round = 0; round < ROUNDS; round++) {
		struct id id = id_new();

		id_format(&id, name);
		memset(acked, 0, sizeof(acked));
		memset(tried, 0, sizeof(tried));
		atomic_store(&next_version, STAMP_FIRST);
		assert_int_equal(delta_create(NULL, dirfd, name, BLOCKS * (uint64_t)B, NULL), 0);
		for (int i = 0; i < LIVES; i++)
			live(dirfd, name, &gate, (round + i) % 2);
		assert_int_equal(delta_remove(NULL, dirfd, name, NULL), 0);
	}
	close(dirfd);
	print_message("%u writes failed\n", atomic_load(&failed));
	assert_true(atomic_load(&failed) > 0);
}

static int make_dir(void **state)
{
	const char *text = getenv("SEED");

	seed = text ? strtoull(text, NULL, 0) : (uint64_t)time(NULL);
	print_message("SEED=%llu\n", (unsigned long long)seed);
	temp_dir("test-faults", dir);
	return 0;
}

static int remove_dir(void **state)
{
	temp_dir_remove(dir);
	return 0;
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(acknowledged_stays),
	};

	return cmocka_run_group_tests(tests, make_dir, remove_dir);
}
