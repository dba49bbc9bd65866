/* SPDX-License-Identifier: LGPL-2.1-or-later */
/* The index against a plain array: random updates, every lookup compared. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

#include "fs/store/index.h"

#define BLOCKS 6000u
#define ROUNDS 60000

struct model {
	enum delta_owner owner[BLOCKS];
	struct index_place place[BLOCKS];
};

static struct model model;
static uint64_t next_pos;

static void put_data(struct index *index, uint64_t block, uint32_t n)
{
	struct index_place place[256];

	for (uint32_t i = 0; i < n; i++) {
		place[i].pos = next_pos++;
		place[i].len = rand() % 5 == 0 ? 0 : (uint16_t)(1 + rand() % 4096);
		model.owner[block + i] = place[i].len ? DELTA_DATA : DELTA_ZERO;
		model.place[block + i] = place[i];
	}
	assert_int_equal(index_reserve(index, index_pages_for(n)), 0);
	index_put_data(index, block, n, place);
}

static void put_zero(struct index *index, uint64_t block, uint64_t n)
{
	for (uint64_t i = block; i < block + n; i++)
		model.owner[i] = DELTA_ZERO;
	assert_int_equal(index_reserve(index, index_pages_for(1)), 0);
	index_put_zero(index, block, n);
}

static void compare_at(struct index *index, uint64_t block, uint64_t count)
{
	struct index_place place[256];
	uint64_t run, expected = 0;
	enum delta_owner owner = index_get(index, block, count, &run, place);

	assert_int_equal(owner, model.owner[block]);
	while (expected < count && model.owner[block + expected] == owner)
		expected++;
	assert_int_equal(run, expected);
	for (uint64_t i = 0; owner == DELTA_DATA && i < run; i++) {
		assert_int_equal(place[i].pos, model.place[block + i].pos);
		assert_int_equal(place[i].len, model.place[block + i].len);
	}
}

static void compare_all(struct index *index)
{
	struct delta_stats stats = {0};
	uint64_t data = 0, live = 0;

	for (uint64_t b = 0; b < BLOCKS; b++) {
		compare_at(index, b, b + 256 <= BLOCKS ? 256 : BLOCKS - b);
		if (model.owner[b] == DELTA_DATA) {
			data++;
			live += model.place[b].len;
		}
	}
	index_stats(index, &stats);
	assert_int_equal(stats.data_blocks, data);
	assert_int_equal(stats.live_bytes, live);
}

static void random_updates(void **state)
{
	const char *text = getenv("SEED");
	unsigned int seed = text ? (unsigned int)strtoul(text, NULL, 0) : 20261120u;
	struct index index;

	print_message("SEED=%u\n", seed);
	srand(seed);
	memset(&model, 0, sizeof(model));
	assert_int_equal(index_init(&index), 0);
	for (int i = 0; i < ROUNDS; i++) {
		uint64_t block = (uint64_t)rand() % BLOCKS;
		uint32_t n = 1 + (uint32_t)rand() % (rand() % 4 ? 4 : 256);

		if (block + n > BLOCKS)
			n = (uint32_t)(BLOCKS - block);
		if (rand() % 6 == 0)
			put_zero(&index, block, n);
		else
			put_data(&index, block, n);
		compare_at(&index, block, n);
		if (i % 6000 == 0)
			compare_all(&index);
	}
	put_zero(&index, 10, BLOCKS - 20);
	compare_all(&index);
	index_release(&index);
}

/* A discard of a terabyte is one entry, and so are many that touch. */
static void huge_zero_is_small(void **state)
{
	struct delta_stats stats = {0};
	struct index index;
	uint64_t run;

	assert_int_equal(index_init(&index), 0);
	assert_int_equal(index_reserve(&index, index_pages_for(1)), 0);
	index_put_zero(&index, 1000, UINT64_C(1) << 33);
	for (uint64_t i = 0; i < 5000; i++) {
		assert_int_equal(index_reserve(&index, index_pages_for(1)), 0);
		index_put_zero(&index, (UINT64_C(1) << 33) + i * 100, 1000);
	}
	assert_int_equal(index_get(&index, 1000, UINT64_MAX, &run, NULL), DELTA_ZERO);
	assert_true(run >= UINT64_C(1) << 33);
	assert_int_equal(index_get(&index, 0, UINT64_MAX, &run, NULL), DELTA_ABSENT);
	assert_int_equal(run, 1000);
	index_stats(&index, &stats);
	assert_true(stats.index_bytes < 256 << 10);
	index_release(&index);
}

/* Sequential writes leave full pages; random ones stay below 32 bytes a block. */
static void memory_is_in_proportion(void **state)
{
	struct delta_stats stats = {0};
	struct index index;

	assert_int_equal(index_init(&index), 0);
	for (uint64_t i = 0; i < 100000; i++) {
		struct index_place place = {.pos = i, .len = 100};
		uint64_t block = (i * UINT64_C(2654435761)) % (UINT64_C(1) << 31);

		assert_int_equal(index_reserve(&index, index_pages_for(1)), 0);
		index_put_data(&index, block, 1, &place);
	}
	index_stats(&index, &stats);
	print_message("random: %.1f bytes a block\n",
		(double)stats.index_bytes / (double)stats.data_blocks);
	assert_true(stats.index_bytes < 32 * stats.data_blocks);
	index_release(&index);
}

/* Reserve, and take away the spares kept from earlier updates: with too low a
 * bound insert_page() would find none. */
static void reserve_exactly(struct index *index, uint32_t blocks)
{
	uint32_t pages = index_pages_for(blocks);

	assert_int_equal(index_reserve(index, pages), 0);
	while (index->spares > pages)
		free(index->spare[--index->spares]);
}

/* n blocks of which every `period`th is data (0: all) and the others zeros. */
static void put_pattern(struct index *index, uint64_t block, uint32_t n, uint32_t period,
	uint32_t phase)
{
	struct index_place place[256];

	for (uint32_t i = 0; i < n; i++)
		place[i] = (struct index_place){
			.pos = next_pos++,
			.len = period == 0 || (i + phase) % period == 0 ? 100 : 0,
		};
	reserve_exactly(index, n);
	index_put_data(index, block, n, place);
}

/* Pages full to the last entry, made of single blocks `stride` apart: with
 * gaps (zeros or absent) into which entries go. */
static void fill_pages(struct index *index, uint32_t stride, bool zeros)
{
	if (zeros) {
		reserve_exactly(index, 1);
		index_put_zero(index, 0, BLOCKS);
	}
	for (uint64_t block = 0; block < BLOCKS; block += stride)
		put_pattern(index, block, 1, 0, 0);
}

/* The reservation is an upper bound: alternating zeros and data over full
 * pages, over cut zero runs, over gaps, at every place of a page. */
static void reservation_suffices(void **state)
{
	for (uint32_t round = 0; round < 4000; round++) {
		uint32_t stride = 1 + round % 5;
		uint64_t at = (uint64_t)round * 37 % (BLOCKS - 600);
		struct index index;

		assert_int_equal(index_init(&index), 0);
		fill_pages(&index, stride, round & 8);
		for (int i = 0; i < 3; i++)
			put_pattern(&index, at + (uint64_t)(rand() % 300),
				1 + (uint32_t)rand() % (rand() % 2 ? 8 : 256), 2 + round % 3,
				(uint32_t)rand() % 3);
		put_pattern(&index, at, 256, 2, round & 1);
		reserve_exactly(&index, 1);
		index_put_zero(&index, at + 3, 500);
		put_pattern(&index, at, 256, 2, round & 2);
		put_pattern(&index, at, 256, 0, 0);
		index_release(&index);
	}
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(random_updates),
		cmocka_unit_test(reservation_suffices),
		cmocka_unit_test(huge_zero_is_small),
		cmocka_unit_test(memory_is_in_proportion),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
