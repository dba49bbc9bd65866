/* SPDX-License-Identifier: LGPL-2.1-or-later */
/* The index against a plain array: random updates, every lookup and every sum compared. */
#include <errno.h>
#include <inttypes.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

#include "fs/store/index.h"
#include "fs/store/record.h"
#include "fs/store/slot.h"
#include "fs/util/round.h"
#include "tests/lib/rng.h"

#define BLOCKS 6000u
#define ROUNDS 60000
#define SLOTS 12u

struct model {
	enum delta_owner owner[BLOCKS];
	struct index_place place[BLOCKS];
};

static struct model model;
static uint64_t rng;
static uint64_t log_end = FORMAT_PAGE; /* where the next record goes */

static uint64_t below(uint64_t n)
{
	return rng_below(&rng, n);
}

/* Give n blocks of these lengths places as a record of the log has them; the
 * log begins again when all slots are full. */
static void lay_out(struct index_place *place, uint32_t n)
{
	uint64_t bytes = sizeof(struct format_record) + record_table_bytes(n), at;
	uint32_t slot = slot_of(log_end - 1); /* it may end there */

	for (uint32_t i = 0; i < n; i++)
		bytes += record_block_bytes(place[i].len);
	if (log_end - slot_start(slot) + bytes > slot_bytes(slot)) {
		do
			slot = (slot + 1) % SLOTS;
		while (FORMAT_PAGE + bytes > slot_bytes(slot));
		log_end = slot_start(slot) + FORMAT_PAGE;
	}
	at = log_end + sizeof(struct format_record) + record_table_bytes(n);
	for (uint32_t i = 0; i < n; i++) {
		place[i].pos = at;
		at += record_block_bytes(place[i].len);
	}
	log_end = round_up(at, 8);
}

static void init(struct index *index)
{
	assert_int_equal(index_init(index), 0);
	assert_int_equal(index_cover_slots(index, SLOTS), 0);
}

static void start(struct index *index)
{
	rng = rng_seed();
	print_message("SEED=%" PRIu64 "\n", rng);
	memset(&model, 0, sizeof(model));
	init(index);
}

static void put_places(struct index *index, uint64_t block, uint32_t n,
	const struct index_place *place)
{
	for (uint32_t i = 0; i < n; i++) {
		model.owner[block + i] = place[i].len ? DELTA_DATA : DELTA_ZERO;
		model.place[block + i] = place[i];
	}
	assert_int_equal(index_reserve(index, index_pages_for(n)), 0);
	index_put_data(index, block, n, place);
}

/* One record; of its blocks one of `zeros` is zero (0: none). */
static void put_data(struct index *index, uint64_t block, uint32_t n, uint32_t zeros)
{
	struct index_place place[FORMAT_RECORD_BLOCKS];

	for (uint32_t i = 0; i < n; i++)
		place[i].len = zeros && below(zeros) == 0 ? 0 : (uint16_t)(1 + below(4096));
	lay_out(place, n);
	put_places(index, block, n, place);
}

static void put_run(struct index *index, enum delta_owner owner, uint64_t block, uint64_t n)
{
	for (uint64_t i = block; i < block + n; i++)
		model.owner[i] = owner;
	assert_int_equal(index_reserve(index, index_pages_for(1)), 0);
	if (owner == DELTA_BAD)
		index_put_bad(index, block, n);
	else
		index_put_zero(index, block, n);
}

/* What cleaning does: the blocks of a range that are data, each with the
 * length it has, in one new record. */
static void move_blocks(struct index *index, uint64_t block, uint32_t n)
{
	struct index_place place[FORMAT_RECORD_BLOCKS];

	memcpy(place, &model.place[block], n * sizeof(place[0]));
	for (uint32_t i = 0; i < n; i++)
		if (model.owner[block + i] != DELTA_DATA)
			place[i].len = 0;
	lay_out(place, n);
	for (uint32_t i = 0; i < n; i++)
		if (place[i].len)
			put_places(index, block + i, 1, &place[i]);
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
	uint64_t data = 0, live = 0, slot_live[SLOTS] = {0};

	for (uint64_t b = 0; b < BLOCKS; b++) {
		compare_at(index, b, b + 256 <= BLOCKS ? 256 : BLOCKS - b);
		if (model.owner[b] == DELTA_DATA) {
			data++;
			live += model.place[b].len;
			slot_live[slot_of(model.place[b].pos)] +=
				record_block_bytes(model.place[b].len);
		}
	}
	for (uint32_t slot = 0; slot < SLOTS; slot++)
		assert_int_equal(index_slot_live(index, slot), slot_live[slot]);
	index_stats(index, &stats);
	assert_int_equal(stats.data_blocks, data);
	assert_int_equal(stats.live_bytes, live);
}

/* Load an image in pieces of at most `piece` entries, as from a file. */
static int load_pieces(struct index *index, const struct index_image *image, uint64_t piece)
{
	uint64_t done = 0, taken = 1;
	int rc = 0;

	while (rc == 0 && done < image->n && taken > 0) {
		uint64_t n = min_u64(piece, image->n - done);

		rc = index_load(index, image->entry + done, n, BLOCKS, &taken);
		done += taken;
	}
	return rc == 0 && done < image->n ? -EUCLEAN : rc;
}

/* Copied and loaded it is the same, and takes updates as before. */
static void compare_loaded(struct index *index)
{
	struct index_image image, again;
	struct index loaded;

	assert_int_equal(index_image(index, &image), 0);
	init(&loaded);
	assert_int_equal(load_pieces(&loaded, &image, 20 + below(2 * INDEX_PAGE_ENTRIES)), 0);
	compare_all(&loaded);
	assert_int_equal(index_image(&loaded, &again), 0);
	assert_int_equal(again.n, image.n);
	assert_memory_equal(again.entry, image.entry, image.n * sizeof(*image.entry));
	index_release(index);
	*index = loaded; /* nobody holds its lock */
	free(image.entry);
	free(again.entry);
}

static void update(struct index *index)
{
	uint64_t block = below(BLOCKS);
	uint32_t n = 1 + (uint32_t)below(below(4) ? 4 : 256);

	n = (uint32_t)min_u64(n, BLOCKS - block);
	switch (below(12)) {
	case 0:
		put_run(index, DELTA_ZERO, block, n);
		break;
	case 1:
		put_run(index, DELTA_BAD, block, n);
		break;
	case 2:
		move_blocks(index, block, n);
		break;
	case 3: /* some small writes in sequence */
		for (uint64_t i = 0; i < 40 && block + i * 3 + 3 <= BLOCKS; i++)
			put_data(index, block + i * 3, 3, 0);
		break;
	default:
		put_data(index, block, n, (uint32_t)below(6));
	}
	compare_at(index, block, n);
	compare_at(index, block ? block - 1 : 0, n);
}

static void random_updates(void **state)
{
	struct index index;

	start(&index);
	for (int i = 0; i < ROUNDS; i++) {
		update(&index);
		if (i % 6000 == 0)
			compare_all(&index);
		if (i % 6000 == 3000)
			compare_loaded(&index);
	}
	put_run(&index, DELTA_ZERO, 10, BLOCKS - 20);
	compare_all(&index);
	put_run(&index, DELTA_BAD, 0, BLOCKS);
	compare_all(&index);
	index_clear(&index);
	memset(&model, 0, sizeof(model));
	compare_all(&index);
	index_release(&index);
}

/* A discard of a terabyte is one entry, and so are many that touch. */
static void huge_zero_is_small(void **state)
{
	struct delta_stats stats = {0};
	struct index index;
	uint64_t run;

	init(&index);
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

/* Write n blocks in records of `blocks`, one behind the other or at random in
 * a span of 2^31; bytes of memory per block. */
static double memory_of(uint32_t n, uint32_t blocks, bool sequential)
{
	struct delta_stats stats = {0};
	struct index index;

	init(&index);
	log_end = FORMAT_PAGE;
	for (uint64_t i = 0; i < n; i += blocks) {
		uint64_t block = sequential ? i : i * UINT64_C(2654435761) % (UINT64_C(1) << 31);
		struct index_place place[FORMAT_RECORD_BLOCKS];

		for (uint32_t k = 0; k < blocks; k++)
			place[k].len = (uint16_t)(1 + below(300));
		lay_out(place, blocks);
		assert_int_equal(index_reserve(&index, index_pages_for(blocks)), 0);
		index_put_data(&index, block, blocks, place);
	}
	index_stats(&index, &stats);
	index_release(&index);
	return (double)stats.index_bytes / (double)stats.data_blocks;
}

/* 8 MiB per written GiB for random blocks, 1 MiB for sequences, whatever the
 * size of the writes. */
static void memory_is_in_proportion(void **state)
{
	const uint32_t sizes[] = {1, 2, 3, 4, 5, 8, 15, 16, 32, 63, 100, 256};
	double bytes = memory_of(100000, 1, false);

	print_message("random: %.1f bytes a block\n", bytes);
	assert_true(bytes <= 32);
	for (size_t i = 0; i < sizeof(sizes) / sizeof(sizes[0]); i++) {
		bytes = memory_of(200000, sizes[i], true);
		print_message("sequential by %u: %.2f bytes a block\n", sizes[i], bytes);
		assert_true(bytes <= 4);
	}
}

/* Most of random blocks are discarded, here and there: memory goes with them. */
static void memory_comes_back(void **state)
{
	struct delta_stats before = {0}, after = {0};
	struct index index;

	rng = rng_seed();
	print_message("SEED=%" PRIu64 "\n", rng);
	init(&index);
	for (uint32_t i = 0; i < 100000; i++) {
		struct index_place place = {.len = 1};

		lay_out(&place, 1);
		assert_int_equal(index_reserve(&index, index_pages_for(1)), 0);
		index_put_data(&index, below(1 << 20) * 64, 1, &place);
	}
	index_stats(&index, &before);
	for (uint64_t i = 0; i < 1 << 14; i++) {
		assert_int_equal(index_reserve(&index, index_pages_for(1)), 0);
		index_put_zero(&index, i << 12, (1 << 12) - 64);
	}
	index_stats(&index, &after);
	print_message("%" PRIu64 " blocks in %" PRIu64 " bytes, then %" PRIu64 " in %" PRIu64 "\n",
		before.data_blocks, before.index_bytes, after.data_blocks, after.index_bytes);
	assert_true(after.index_bytes < before.index_bytes / 2);
	assert_true(after.index_bytes < 48 * (after.data_blocks + (1 << 14)));
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
	struct index_place place[FORMAT_RECORD_BLOCKS];

	for (uint32_t i = 0; i < n; i++)
		place[i].len = period == 0 || (i + phase) % period == 0 ? 100 : 0;
	lay_out(place, n);
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
	rng = rng_seed();
	print_message("SEED=%" PRIu64 "\n", rng);
	for (uint32_t round = 0; round < 4000; round++) {
		uint32_t stride = 1 + round % 5;
		uint64_t at = (uint64_t)round * 37 % (BLOCKS - 600);
		struct index index;

		init(&index);
		fill_pages(&index, stride, round & 8);
		for (int i = 0; i < 3; i++)
			put_pattern(&index, at + below(300),
				1 + (uint32_t)below(below(2) ? 8 : 256), 2 + round % 3,
				(uint32_t)below(3));
		put_pattern(&index, at, 256, 2, round & 1);
		reserve_exactly(&index, 1);
		index_put_zero(&index, at + 3, 500);
		put_pattern(&index, at, 256, 2, round & 2);
		put_pattern(&index, at, 256, 0, 0);
		index_release(&index);
	}
}

/* Units, as index-entry.h says them. */
#define ZERO(block, count) {(uint64_t)(block) << 14 | UINT64_C(1) << 12, count}
#define DATA(block, blocks, table, pos)                                                            \
	{(uint64_t)(block) << 14 | UINT64_C(2) << 12 | 99,                                         \
		(uint64_t)(table) << 50 | (uint64_t)((blocks) - 1) << 44 | (pos)}
#define MORE(key, val) {UINT64_C(1) << 63 | (key), val}

/* Bytes that no index wrote are refused, and the index is whole afterwards. */
static void bad_images_are_refused(void **state)
{
	const uint64_t pos = FORMAT_PAGE + 64;
	static const struct index_entry good[] = {
		DATA(0, 3, 1, FORMAT_PAGE + 64), MORE(0x10991099, 0), ZERO(3, 1)};
	const struct index_entry bad[][3] = {
		{{0, 0}},                                      /* nobody's */
		{ZERO(0, 0)},
		{ZERO(0, BLOCKS + 1)},                         /* beyond the disk */
		{ZERO(BLOCKS, 1)},
		{{UINT64_C(1) << 12 | 1, 1}},                  /* zeros with a length */
		{DATA(0, 1, 0, 0)},                            /* in a header page */
		{DATA(0, 1, 0, SLOT_FIRST_BYTES - 8)},         /* across a slot's end */
		{DATA(0, 2, 0, SLOT_FIRST_BYTES - 120), MORE(99, 0)},
		{DATA(0, 1, 0, slot_start(SLOTS) + FORMAT_PAGE)}, /* in no slot of ours */
		{DATA(0, 1, 128, pos)},                        /* a bit too many */
		{ZERO(0, 2), ZERO(1, 1)},                      /* over the one before */
		{ZERO(0, 2), ZERO(2, 1)},                      /* should be one */
		{DATA(2, 1, 0, pos), DATA(1, 1, 0, pos)},
		{DATA(0, 1, 0, pos), DATA(0, 1, 0, pos)},
		{DATA(0, 2, 0, pos)},                          /* ends too early */
		{DATA(0, 2, 0, pos), DATA(2, 1, 0, pos)},
		{DATA(BLOCKS - 1, 2, 0, pos), MORE(99, 0)},
		{MORE(99, 0), DATA(0, 1, 0, pos)},
		{DATA(0, 2, 0, pos), MORE(0x1099, 0)},         /* border of no table */
		{DATA(0, 2, 0, pos), MORE(0x2099, 0)},         /* bits that mean nothing */
		{DATA(0, 2, 0, pos), MORE(0x990099, 0)},
		{DATA(0, 2, 0, pos), MORE(0x99, 1)},
	};
	struct index_image image = {.entry = (struct index_entry *)good, .n = 3};
	struct index index;

	init(&index);
	assert_int_equal(load_pieces(&index, &image, 3), 0);
	index_release(&index);
	for (size_t i = 0; i < sizeof(bad) / sizeof(bad[0]); i++) {
		image.entry = (struct index_entry *)bad[i];
		image.n = bad[i][1].key ? 2 : 1;
		init(&index);
		if (load_pieces(&index, &image, 3) != -EUCLEAN)
			fail_msg("image %zu was accepted", i);
		index_clear(&index);
		memset(&model, 0, sizeof(model));
		compare_all(&index);
		index_release(&index);
	}
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(random_updates),
		cmocka_unit_test(reservation_suffices),
		cmocka_unit_test(bad_images_are_refused),
		cmocka_unit_test(huge_zero_is_small),
		cmocka_unit_test(memory_is_in_proportion),
		cmocka_unit_test(memory_comes_back),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
