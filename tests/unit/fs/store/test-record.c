/* SPDX-License-Identifier: LGPL-2.1-or-later */
/* Records of every type: what is written reads back, and nothing else does. */
#include <errno.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

#include "fs/store/delta.h"
#include "fs/store/record.h"
#include "fs/util/hash.h"
#include "fs/util/round.h"

#define DISK 1000u /* blocks */
#define LSN 50u

static const uint64_t key[FORMAT_KEY_WORDS] = {11, 22};
static const struct record_place place = {
	.key = key, .epoch = 3, .seq = 4, .pos = 8192, .prev_sum = 5};

static uint8_t bytes[RECORD_BYTES_MAX + 64];

/* The table's entry of n: what a test wants it to say. */
struct entry {
	uint64_t block, lsn, count;
	uint16_t len;
	uint8_t reserved;
};

/* Payloads for r behind its head; returns the record's length. */
static uint32_t put_body(struct record *r, uint64_t *sums, uint32_t *ret_n)
{
	uint32_t at = record_head_bytes(r->type, r->n);
	uint32_t n = 0;

	for (uint32_t i = 0; i < r->n; i++) {
		uint32_t len = r->moved ? le16_get(r->moved[i].len) : r->len[i];
		uint64_t block = r->moved ? le64_get(r->moved[i].block) : r->block + i;
		le64 sum;

		if (len == 0)
			continue;
		for (uint32_t j = 0; j < len; j++)
			bytes[at + FORMAT_BLOCK_SUM + j] = (uint8_t)(i * 31 + j * 7);
		sums[n] = record_block_sum(&place, place.pos + at, block,
			hash64(bytes + at + FORMAT_BLOCK_SUM, len, 0));
		sum = le64_put(sums[n++]);
		memcpy(bytes + at, &sum, sizeof(sum));
		at += record_block_bytes(len);
	}
	*ret_n = n;
	return (uint32_t)round_up(at, 8);
}

/* Into bytes, all sums right. */
static void put(struct record *r)
{
	uint64_t sums[FORMAT_RECORD_BLOCKS];
	uint32_t n;

	memset(bytes, 0, sizeof(bytes));
	r->length = put_body(r, sums, &n);
	record_encode(&place, r, sums, n, bytes);
}

static int get(struct record *r)
{
	return record_decode(&place, bytes, sizeof(bytes), DISK, LSN, r);
}

static void put_moved(const struct entry *e, uint32_t n)
{
	static struct format_moved table[FORMAT_RECORD_BLOCKS];
	struct record r = {.type = FORMAT_MOVED, .n = n, .lsn = LSN + 9, .moved = table};

	for (uint32_t i = 0; i < n; i++) {
		table[i] = (struct format_moved){
			.block = le64_put(e[i].block),
			.lsn = le64_put(e[i].lsn),
			.count = le64_put(e[i].count),
			.len = le16_put(e[i].len),
			.reserved = {e[i].reserved},
		};
	}
	put(&r);
}

static void put_data(void)
{
	struct record r = {.type = FORMAT_DATA, .n = 4, .lsn = LSN, .block = 7, .count = 4,
		.len = {100, 0, 4096, 1}};

	put(&r);
}

static const struct entry some_moved[] = {
	{.block = 999, .lsn = 1, .count = 1, .len = 4096},
	{.block = 0, .lsn = LSN + 8, .count = DISK, .len = 0},
	{.block = 5, .lsn = LSN, .count = 1, .len = 33},
};

static void put_bare(enum format_type type, uint64_t block, uint64_t count)
{
	static const struct format_moved nothing;
	struct record r = {.type = type, .lsn = LSN + 1, .block = block, .count = count,
		.moved = type == FORMAT_MOVED ? &nothing : NULL};

	put(&r);
}

static void data_reads_back(void **state)
{
	struct record r;

	put_data();
	assert_int_equal(get(&r), 0);
	assert_int_equal(r.type, FORMAT_DATA);
	assert_int_equal(r.n, 4);
	assert_int_equal(r.lsn, LSN);
	assert_int_equal(r.length, round_up(48 + 8 + 108 + 4104 + 9, 8));
	for (uint32_t i = 0; i < 4; i++) {
		struct record_entry e = record_entry(&r, i);

		assert_int_equal(e.block, 7 + i);
		assert_int_equal(e.count, 1);
		assert_int_equal(e.lsn, LSN);
		assert_int_equal(e.len, i == 0 ? 100 : i == 1 ? 0 : i == 2 ? 4096 : 1);
	}
	assert_true(record_others(&r) > 0);
}

static void moved_reads_back(void **state)
{
	struct record r;

	put_moved(some_moved, 3);
	assert_int_equal(get(&r), 0);
	assert_int_equal(r.type, FORMAT_MOVED);
	assert_int_equal(r.body, 48 + 3 * 32);
	for (uint32_t i = 0; i < 3; i++) {
		struct record_entry e = record_entry(&r, i);

		assert_int_equal(e.block, some_moved[i].block);
		assert_int_equal(e.lsn, some_moved[i].lsn);
		assert_int_equal(e.count, some_moved[i].count);
		assert_int_equal(e.len, some_moved[i].len);
		assert_int_equal(r.len[i], some_moved[i].len);
	}
	assert_true(record_others(&r) > 0);
	put_moved(some_moved, 1);
	assert_int_equal(get(&r), 0);
	assert_int_equal(record_others(&r), 0);
}

static void largest_record_reads_back(void **state)
{
	struct entry e[FORMAT_RECORD_BLOCKS];
	struct record r;

	for (uint32_t i = 0; i < FORMAT_RECORD_BLOCKS; i++)
		e[i] = (struct entry){.block = i, .lsn = 1 + i, .count = 1, .len = 4096};
	e[1].lsn = LSN;
	for (uint32_t i = LSN; i < FORMAT_RECORD_BLOCKS; i++)
		e[i].lsn = LSN;
	put_moved(e, FORMAT_RECORD_BLOCKS);
	assert_int_equal(get(&r), 0);
	assert_int_equal(r.length, RECORD_BYTES_MAX);
}

static void bare_records_read_back(void **state)
{
	struct record r;

	put_bare(FORMAT_ZERO, 3, DISK - 3);
	assert_int_equal(get(&r), 0);
	assert_int_equal(r.count, DISK - 3);
	assert_true(record_others(&r) > 0);
	put_bare(FORMAT_BAD, 0, 1);
	assert_int_equal(get(&r), 0);
	assert_int_equal(r.type, FORMAT_BAD);
	assert_true(record_others(&r) > 0);
	put_bare(FORMAT_END, 0, 0);
	assert_int_equal(get(&r), 0);
	assert_int_equal(r.type, FORMAT_END);
	assert_int_equal(r.length, 48);
	assert_int_equal(record_others(&r), 0);
}

/* Every sum is right, and one thing in it cannot be. */
static void impossible_ranges_are_refused(void **state)
{
	static const struct {
		enum format_type type;
		uint64_t block, count;
	} bad[] = {
		{FORMAT_ZERO, 0, 0}, {FORMAT_ZERO, 0, DISK + 1}, {FORMAT_ZERO, DISK, 1},
		{FORMAT_ZERO, 2, UINT64_MAX}, {FORMAT_BAD, 0, 0}, {FORMAT_BAD, 1, DISK},
		{FORMAT_BAD, UINT64_MAX, 1}, {FORMAT_END, 1, 0}, {FORMAT_END, 0, 1},
		{FORMAT_MOVED, 0, 0}, {FORMAT_DATA, 0, 0}, {(enum format_type)0, 0, 0},
		{(enum format_type)6, 0, 0}, {(enum format_type)6, 0, 1},
	};
	struct record r;

	for (size_t i = 0; i < sizeof(bad) / sizeof(*bad); i++) {
		put_bare(bad[i].type, bad[i].block, bad[i].count);
		assert_int_equal(get(&r), -EUCLEAN);
	}
}

static void impossible_moves_are_refused(void **state)
{
	static const struct entry bad[] = {
		{.block = DISK, .lsn = 1, .count = 1, .len = 9},
		{.block = DISK - 1, .lsn = 1, .count = 2, .len = 0},
		{.block = 0, .lsn = 1, .count = 0, .len = 0},
		{.block = 0, .lsn = 1, .count = 0, .len = 9},
		{.block = 0, .lsn = 1, .count = 2, .len = 9},
		{.block = 0, .lsn = 1, .count = 1, .len = 4097},
		{.block = 0, .lsn = 0, .count = 1, .len = 9},
		{.block = 0, .lsn = LSN + 9, .count = 1, .len = 9},
		{.block = 0, .lsn = UINT64_MAX, .count = 1, .len = 9},
		{.block = 0, .lsn = 1, .count = 1, .len = 9, .reserved = 1},
	};
	struct entry two[2] = {some_moved[0]};
	struct record r;

	for (size_t i = 0; i < sizeof(bad) / sizeof(*bad); i++) {
		two[1] = bad[i];
		put_moved(two, 2);
		assert_int_equal(get(&r), -EUCLEAN);
	}
}

/* The range of a MOVED record is its table's, its header's is empty. */
static void moved_header_names_no_range(void **state)
{
	static const struct format_moved one = {.block = {{1}}, .lsn = {{1}}, .count = {{1}}};
	struct record r = {.type = FORMAT_MOVED, .n = 1, .lsn = LSN, .moved = &one};

	put(&r);
	assert_int_equal(get(&r), 0);
	for (int block = 0; block < 2; block++) {
		r = (struct record){.type = FORMAT_MOVED, .n = 1, .lsn = LSN, .moved = &one,
			.block = block, .count = !block};
		put(&r);
		assert_int_equal(get(&r), -EUCLEAN);
	}
}

static void lsn_is_bounded(void **state)
{
	struct record r;

	put_data();
	assert_int_equal(record_decode(&place, bytes, sizeof(bytes), DISK, LSN + 1, &r), -EUCLEAN);
	r = (struct record){.type = FORMAT_END, .lsn = FORMAT_COUNTER_MAX};
	put(&r);
	assert_int_equal(get(&r), -EUCLEAN);
	r = (struct record){.type = FORMAT_END, .lsn = FORMAT_COUNTER_MAX - 1};
	put(&r);
	assert_int_equal(get(&r), 0);
}

/* It ends within its segment, and no read goes beyond what is given. */
static void room_is_bounded(void **state)
{
	struct record r;

	put_moved(some_moved, 3);
	assert_int_equal(get(&r), 0);
	for (uint32_t avail = 0; avail < r.length; avail += avail < 200 ? 1 : 97) {
		uint8_t *exact = malloc(avail ? avail : 1);
		struct record other;

		memcpy(exact, bytes, avail);
		assert_int_equal(
			record_decode(&place, exact, avail, DISK, LSN, &other), -EUCLEAN);
		free(exact);
	}
}

static void elsewhere_it_is_invalid(void **state)
{
	struct record_place other[4] = {place, place, place, place};
	struct record r;

	put_moved(some_moved, 3);
	other[0].epoch++;
	other[1].seq++;
	other[2].pos += 8;
	other[3].prev_sum++;
	for (int i = 0; i < 4; i++)
		assert_int_equal(record_decode(
			&other[i], bytes, sizeof(bytes), DISK, LSN, &r), -EUCLEAN);
}

/* What is put in, of every type, with any bit changed. But for the padding
 * behind the last payload, every bit counts. */
static void every_bit_counts(void **state)
{
	for (int type = FORMAT_DATA; type <= FORMAT_END; type++) {
		struct record r, other;
		uint32_t padding;

		if (type == FORMAT_DATA)
			put_data();
		else if (type == FORMAT_MOVED)
			put_moved(some_moved, 3);
		else
			put_bare((enum format_type)type, 0, type == FORMAT_END ? 0 : 3);
		assert_int_equal(get(&r), 0);
		padding = r.length - r.body;
		for (uint32_t i = 0; i < r.n; i++)
			padding -= record_block_bytes(r.len[i]);
		for (uint32_t bit = 0; bit < 8 * (r.length - padding); bit++) {
			bytes[bit / 8] ^= (uint8_t)(1u << bit % 8);
			assert_int_equal(get(&other), -EUCLEAN);
			bytes[bit / 8] ^= (uint8_t)(1u << bit % 8);
		}
	}
}

/* A damaged payload takes nothing else with it. */
static void payloads_are_verified_one_by_one(void **state)
{
	struct record r;
	uint32_t at;

	put_moved(some_moved, 3);
	bytes[48 + 3 * 32 + 8 + 1000] ^= 4;
	assert_int_equal(get(&r), -EUCLEAN);
	assert_int_equal(record_decode_head(&place, bytes, sizeof(bytes), DISK, LSN, &r), 0);
	at = r.body;
	for (uint32_t i = 0; i < r.n; i++) {
		struct record_entry e = record_entry(&r, i);
		uint64_t hash;

		if (e.len > 0)
			assert_int_equal(record_verify_block(&place, place.pos + at, e.block,
				bytes + at, e.len, &hash), i == 0 ? -EUCLEAN : 0);
		at += record_block_bytes(e.len);
	}
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(data_reads_back),
		cmocka_unit_test(moved_reads_back),
		cmocka_unit_test(largest_record_reads_back),
		cmocka_unit_test(bare_records_read_back),
		cmocka_unit_test(impossible_ranges_are_refused),
		cmocka_unit_test(impossible_moves_are_refused),
		cmocka_unit_test(moved_header_names_no_range),
		cmocka_unit_test(lsn_is_bounded),
		cmocka_unit_test(room_is_bounded),
		cmocka_unit_test(elsewhere_it_is_invalid),
		cmocka_unit_test(every_bit_counts),
		cmocka_unit_test(payloads_are_verified_one_by_one),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
