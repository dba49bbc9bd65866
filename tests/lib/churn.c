/* SPDX-License-Identifier: LGPL-2.1-or-later */
/* A delta that is written to and cleaned: see churn.h. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <string.h>

#include <cmocka.h>

#include "fs/store/handle.h"
#include "fs/store/recycle.h"
#include "fs/util/cleanup.h"
#include "tests/lib/churn.h"
#include "tests/lib/rng.h"

#define B DELTA_BLOCK_BYTES

uint32_t churn_model[ONEDELTA_BLOCKS];

void churn_forget(void)
{
	memset(churn_model, 0, sizeof(churn_model));
}

int churn_fresh(void **state)
{
	churn_forget();
	return onedelta_create(state);
}

/* Odd versions are compressible, even ones are not. */
void churn_fill(uint8_t *buf, uint32_t version, uint32_t block)
{
	uint64_t state = version * UINT64_C(1000003) + block;
	size_t noise = version & 1 ? 64 + block % 128 * 8 : B;

	for (size_t i = 0; i < noise; i += sizeof(state)) {
		uint64_t word = rng_next(&state);

		memcpy(buf + i, &word, sizeof(word));
	}
	memset(buf + noise, 7, B - noise);
}

void churn_put(struct delta *delta, uint32_t version, uint32_t block, uint32_t count)
{
	static uint8_t buf[DELTA_BLOCKS_MAX * B];

	for (uint32_t i = 0; i < count; i++) {
		churn_fill(buf + i * B, version, block + i);
		churn_model[block + i] = version;
	}
	assert_int_equal(delta_write(delta, buf, count, block), 0);
}

void churn_zero(struct delta *delta, uint32_t block, uint32_t count)
{
	assert_int_equal(delta_zero(delta, block, count), 0);
	for (uint32_t i = 0; i < count; i++)
		churn_model[block + i] = 1;
}

void churn_check_block(struct delta *delta, uint32_t block)
{
	uint8_t buf[B], wanted[B];
	enum delta_owner owner;
	uint32_t version = churn_model[block];

	assert_int_equal(delta_read(delta, buf, 1, block, false, &owner), 1);
	assert_int_equal(owner, version == 0 ? DELTA_ABSENT : version == 1 ? DELTA_ZERO :
		DELTA_DATA);
	if (version == 0)
		return;
	memset(wanted, 0, B);
	if (version > 1)
		churn_fill(wanted, version, block);
	assert_memory_equal(buf, wanted, B);
}

void churn_check(struct delta *delta)
{
	for (uint32_t block = 0; block < ONEDELTA_BLOCKS; block++)
		churn_check_block(delta, block);
}

struct delta *churn_again(struct delta *delta, bool kill)
{
	if (kill)
		delta_abandon(delta);
	else
		assert_int_equal(delta_close(delta), 0);
	return onedelta_open(NULL);
}

/* As it is, after a kill, and after a clean stop. */
void churn_check_and_close(struct delta *delta)
{
	churn_check(delta);
	delta = churn_again(delta, true);
	churn_check(delta);
	delta = churn_again(delta, false);
	churn_check(delta);
	assert_int_equal(delta_close(delta), 0);
}

/* Let the next step take all that gives something back, as for a full disk:
 * 64 MiB of dead space would be waited for otherwise. */
void churn_force(struct delta *delta)
{
	atomic_store(&delta->log.cleaner.wanting, true);
}

/* Clean all there is; what was moved. */
uint64_t churn_clean_all(struct delta *delta)
{
	uint64_t moved, sum = 0;
	int rc;

	churn_force(delta);
	do {
		rc = delta_clean(delta, CHURN_BUDGET, &moved);
		sum += moved;
		assert_true(rc >= 0);
		assert_true(sum < CHURN_BUDGET);
	} while (rc > 0);
	return sum;
}

uint64_t churn_used(struct delta *delta)
{
	struct delta_stats stats;

	delta_stats(delta, &stats);
	return stats.used_bytes;
}

/* The first segment ends with only zeros that count: 60 raw blocks fill it. */
void churn_make_work(struct delta *delta)
{
	churn_put(delta, 2, 3000, 60);
	churn_zero(delta, 3500, 100);
	for (uint32_t block = 0; block < 1024; block += 64)
		churn_put(delta, 2 + block / 64, block, 64);
	churn_zero(delta, 1000, 500);
	churn_put(delta, 40, 1200, 16);
	for (uint32_t block = 0; block < 1000; block += 3)
		churn_put(delta, 101 + block % 2, block, 2);
	churn_zero(delta, 300, 3);
	churn_zero(delta, 1100, 1);
	churn_put(delta, 5, 3000, 60);
}

bool churn_in_use(struct delta *delta, uint64_t seq)
{
	AUTO_FREE struct segment_use *uses = NULL;
	uint32_t n;

	assert_int_equal(log_list_segments(&delta->log, &uses, &n), 0);
	for (uint32_t i = 0; i < n; i++)
		if (uses[i].seq == seq)
			return true;
	return false;
}
