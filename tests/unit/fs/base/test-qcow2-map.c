/* SPDX-License-Identifier: LGPL-2.1-or-later */
/* Where each guest byte lies: kinds, joined neighbours, subclusters, damaged entries. */
#include <errno.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <string.h>

#include <cmocka.h>

#include "fs/base/qcow2.h"
#include "tests/lib/cow.h"

#define KIB UINT64_C(1024)
#define MIB (KIB * 1024)
#define CLUSTER (64 * KIB)
#define SUB (2 * KIB) /* subcluster of 64 KiB clusters */

static struct qcow2 *open_cow(struct cow *cow)
{
	struct qcow2 *q;

	assert_int_equal(qcow2_open(&cow->bytes, "x", NULL, &q, NULL), 0);
	return q;
}

static struct extent map(struct qcow2 *q, uint64_t off, uint64_t len)
{
	struct extent extent;

	assert_int_equal(qcow2_map(q, off, len, false, &extent), 0);
	assert_in_range(extent.len, 1, len);
	return extent;
}

static void assert_extent(struct extent extent, enum extent_kind kind, uint64_t len)
{
	assert_int_equal(extent.kind, kind);
	assert_int_equal(extent.len, len);
}

static void assert_data(struct extent extent, uint64_t host_off, uint64_t len)
{
	assert_extent(extent, EXTENT_DATA, len);
	assert_int_equal(extent.host_off, host_off);
}

static int map_error(struct cow *cow, uint64_t off)
{
	struct qcow2 *q = open_cow(cow);
	struct extent extent;
	int rc = qcow2_map(q, off, 1, false, &extent);

	qcow2_close(q);
	return rc;
}

static void test_kinds(void **state)
{
	struct qcow2 *q;
	struct cow cow;
	uint64_t data, packed;

	cow_make(&cow, 3, 16, 10 * CLUSTER + 512, 0);
	data = cow_add_data(&cow, CLUSTER);
	cow_set(&cow, CLUSTER, data | QCOW2_ENTRY_HINT);
	cow_set(&cow, 2 * CLUSTER, QCOW2_ENTRY_ZERO);
	/* Set aside, but zeros. */
	cow_set(&cow, 3 * CLUSTER, data | QCOW2_ENTRY_ZERO);
	packed = cow_append(&cow, "packed", 6);
	cow_set(&cow, 4 * CLUSTER, cow_packed_entry(&cow, packed + 3, 2));
	q = open_cow(&cow);

	assert_extent(map(q, 0, 10), EXTENT_BELOW, 10);
	assert_extent(map(q, 10, 10 * CLUSTER), EXTENT_BELOW, CLUSTER - 10);
	assert_data(map(q, CLUSTER, 10 * CLUSTER - CLUSTER), data, CLUSTER);
	assert_data(map(q, CLUSTER + 5, 7), data + 5, 7);
	assert_data(map(q, 2 * CLUSTER - 1, 3), data + CLUSTER - 1, 1);
	assert_extent(map(q, 2 * CLUSTER, 8 * CLUSTER), EXTENT_ZERO, 2 * CLUSTER);
	assert_extent(map(q, 3 * CLUSTER + 9, CLUSTER), EXTENT_ZERO, CLUSTER - 9);
	assert_extent(map(q, 4 * CLUSTER + 1, 4 * CLUSTER), EXTENT_PACKED, CLUSTER - 1);
	assert_int_equal(map(q, 4 * CLUSTER, 1).host_off, packed + 3);
	assert_int_equal(map(q, 4 * CLUSTER, 1).packed_len, 3 * 512 - (packed + 3) % 512);
	assert_extent(map(q, 5 * CLUSTER, 5 * CLUSTER + 512), EXTENT_BELOW, 5 * CLUSTER + 512);
	qcow2_close(q);
	cow_free(&cow);
}

/* Contiguous clusters are one extent, in one slice: 512 entries here. */
static void test_joined(void **state)
{
	struct qcow2 *q;
	struct cow cow;
	uint64_t host[4];

	cow_make(&cow, 3, 16, 600 * CLUSTER, 0);
	for (int i = 0; i < 4; i++)
		host[i] = cow_add_cluster(&cow);
	cow_set(&cow, 0, host[0]);
	cow_set(&cow, CLUSTER, host[1]);
	cow_set(&cow, 2 * CLUSTER, host[3]);
	cow_set(&cow, 510 * CLUSTER, host[1]);
	cow_set(&cow, 511 * CLUSTER, host[2]);
	cow_set(&cow, 512 * CLUSTER, host[3]);
	q = open_cow(&cow);
	assert_data(map(q, 0, MIB), host[0], 2 * CLUSTER);
	assert_data(map(q, 2 * CLUSTER, MIB), host[3], CLUSTER);
	assert_data(map(q, 510 * CLUSTER, MIB), host[1], 2 * CLUSTER);
	assert_data(map(q, 512 * CLUSTER, MIB), host[3], CLUSTER);
	qcow2_close(q);
	cow_free(&cow);
}

/* Where no L2 table is, one look covers all that the L1 slice at hand does. */
static void test_empty(void **state)
{
	struct qcow2 *q;
	struct cow cow;
	const uint64_t size = UINT64_C(2) << 40;

	cow_make(&cow, 3, 16, size, 0);
	cow_set(&cow, 3 * 512 * MIB, QCOW2_ENTRY_ZERO);
	q = open_cow(&cow);
	assert_extent(map(q, 7, size - 7), EXTENT_BELOW, 3 * 512 * MIB - 7);
	assert_extent(map(q, 3 * 512 * MIB, size - 3 * 512 * MIB), EXTENT_ZERO, CLUSTER);
	assert_extent(map(q, 4 * 512 * MIB, size - 4 * 512 * MIB), EXTENT_BELOW, 508 * 512 * MIB);
	assert_extent(map(q, size - 1, 1), EXTENT_BELOW, 1);
	qcow2_close(q);
	cow_free(&cow);
}

/* Each smallest cluster with its own table: 64 entries. */
static void test_small_clusters(void **state)
{
	struct qcow2 *q;
	struct cow cow;
	uint64_t host;

	cow_make(&cow, 3, 9, 512 * 64 * 3 + 512, 0);
	host = cow_add_data(&cow, 512 * 64 * 2);
	cow_set(&cow, 512 * 64 * 2, host);
	q = open_cow(&cow);
	assert_extent(map(q, 0, 512 * 64 * 3), EXTENT_BELOW, 512 * 64 * 2);
	assert_data(map(q, 512 * 64 * 2, 512 * 64), host, 512);
	qcow2_close(q);
	cow_free(&cow);
}

static void test_version_2(void **state)
{
	struct cow cow;
	uint64_t host;

	cow_make(&cow, 2, 16, MIB, 0);
	host = cow_add_data(&cow, 0);
	cow_set(&cow, 0, host);
	assert_int_equal(map_error(&cow, 0), 0);
	cow_set(&cow, 0, host | QCOW2_ENTRY_ZERO);
	assert_int_equal(map_error(&cow, 0), -EUCLEAN);
	cow_free(&cow);
}

static void test_subclusters(void **state)
{
	struct qcow2 *q;
	struct cow cow;
	uint64_t host;

	cow_make(&cow, 3, 16, MIB, QCOW2_EXTENDED_L2);
	host = cow_add_data(&cow, CLUSTER);
	cow_add_cluster(&cow);
	cow_set(&cow, CLUSTER, host);
	/* 0-1 below, 2-5 data, 6-7 zeros, 8-30 below, 31 data */
	cow_set_bitmap(&cow, CLUSTER, 0x8000003cu | UINT64_C(0xc0) << 32);
	/* 0 data, right behind; the rest below. */
	cow_set(&cow, 2 * CLUSTER, host + CLUSTER);
	cow_set_bitmap(&cow, 2 * CLUSTER, 1);
	/* No cluster, zeros in the first half. */
	cow_set_bitmap(&cow, 4 * CLUSTER, UINT64_C(0xffff) << 32);
	/* All data. */
	cow_set(&cow, 6 * CLUSTER, host);
	cow_set_bitmap(&cow, 6 * CLUSTER, UINT32_MAX);
	q = open_cow(&cow);
	assert_extent(map(q, 0, MIB), EXTENT_BELOW, CLUSTER + 2 * SUB);
	assert_extent(map(q, CLUSTER + 3, MIB / 2), EXTENT_BELOW, 2 * SUB - 3);
	assert_data(map(q, CLUSTER + 2 * SUB + 1, MIB / 2), host + 2 * SUB + 1, 4 * SUB - 1);
	assert_extent(map(q, CLUSTER + 6 * SUB, MIB / 2), EXTENT_ZERO, 2 * SUB);
	assert_extent(map(q, CLUSTER + 8 * SUB, MIB / 2), EXTENT_BELOW, 23 * SUB);
	assert_data(map(q, CLUSTER + 31 * SUB, MIB / 2), host + 31 * SUB, 2 * SUB);
	assert_data(map(q, 2 * CLUSTER, MIB / 2), host + CLUSTER, SUB);
	assert_extent(map(q, 2 * CLUSTER + SUB, MIB / 2), EXTENT_BELOW, 2 * CLUSTER - SUB);
	assert_extent(map(q, 4 * CLUSTER, MIB / 2), EXTENT_ZERO, CLUSTER / 2);
	assert_extent(map(q, 4 * CLUSTER + CLUSTER / 2, MIB / 2), EXTENT_BELOW, 3 * CLUSTER / 2);
	assert_data(map(q, 6 * CLUSTER, MIB / 2), host, CLUSTER);
	qcow2_close(q);
	cow_free(&cow);
}

static void test_bad_subclusters(void **state)
{
	struct cow cow;
	uint64_t host;

	cow_make(&cow, 3, 16, MIB, QCOW2_EXTENDED_L2);
	host = cow_add_data(&cow, 0);
	cow_set(&cow, 0, host);
	/* Both data and zeros, though not the one asked for. */
	cow_set_bitmap(&cow, 0, UINT64_C(1) << 63 | UINT64_C(1) << 31);
	assert_int_equal(map_error(&cow, 0), -EUCLEAN);
	/* Data in no cluster. */
	cow_set(&cow, 0, 0);
	cow_set_bitmap(&cow, 0, 2);
	assert_int_equal(map_error(&cow, 0), -EUCLEAN);
	/* The zero flag of other images. */
	cow_set(&cow, 0, QCOW2_ENTRY_ZERO);
	cow_set_bitmap(&cow, 0, 0);
	assert_int_equal(map_error(&cow, 0), -EUCLEAN);
	/* Subclusters of a compressed cluster. */
	cow_set(&cow, 0, cow_packed_entry(&cow, host, 0));
	assert_int_equal(map_error(&cow, 0), 0);
	cow_set_bitmap(&cow, 0, 1);
	assert_int_equal(map_error(&cow, 0), -EUCLEAN);
	cow_free(&cow);
}

static void test_bad_l1(void **state)
{
	const uint64_t wrong[] = {1, 0x100, UINT64_C(1) << 56, UINT64_C(1) << 62, 3 * CLUSTER + 512,
		UINT64_C(1) << 55, QCOW2_ENTRY_OFFSET & ~(CLUSTER - 1)};
	struct cow cow;

	cow_make(&cow, 3, 16, MIB, 0);
	for (size_t i = 0; i < sizeof(wrong) / sizeof(wrong[0]); i++) {
		cow_set_l1(&cow, 0, wrong[i]);
		assert_int_equal(map_error(&cow, 0), -EUCLEAN);
	}
	/* A hint alone: no table. */
	cow_set_l1(&cow, 0, QCOW2_ENTRY_HINT);
	assert_int_equal(map_error(&cow, 0), 0);
	/* A table that the file's end cuts. */
	cow_set_l1(&cow, 0, 0);
	cow_set(&cow, 0, QCOW2_ENTRY_ZERO);
	assert_int_equal(map_error(&cow, 0), 0);
	cow.len -= 8;
	cow.bytes.size_bytes -= 8;
	assert_int_equal(map_error(&cow, 0), -EUCLEAN);
	cow_free(&cow);
}

static void test_bad_l2(void **state)
{
	struct cow cow;
	uint64_t host;

	cow_make(&cow, 3, 16, MIB, 0);
	host = cow_add_data(&cow, 0);
	cow_set(&cow, 0, host);
	assert_int_equal(map_error(&cow, 0), 0);
	{
		const uint64_t wrong[] = {
			host | 2, host | 0x100, host | UINT64_C(1) << 56, host | UINT64_C(1) << 61,
			host + 512,                    /* not at a cluster's start */
			(host + 512) | QCOW2_ENTRY_ZERO,
			QCOW2_ENTRY_HINT,              /* at 0: the header */
			16 * MIB,                      /* behind the end */
			QCOW2_ENTRY_OFFSET & ~(CLUSTER - 1),
			cow_packed_entry(&cow, host, 0) | QCOW2_ENTRY_HINT,
			cow_packed_entry(&cow, 100, 0), /* in the header's cluster */
			cow_packed_entry(&cow, 16 * MIB, 0),
			UINT64_MAX,
		};

		for (size_t i = 0; i < sizeof(wrong) / sizeof(wrong[0]); i++) {
			cow_set(&cow, 0, wrong[i]);
			assert_int_equal(map_error(&cow, 0), -EUCLEAN);
		}
	}
	cow_free(&cow);

	/* With small clusters a compressed entry has offset bits that must be 0. */
	cow_make(&cow, 3, 9, MIB, 0);
	host = cow_add_data(&cow, 0);
	cow_set(&cow, 0, cow_packed_entry(&cow, host, 0) | UINT64_C(1) << 57);
	assert_int_equal(map_error(&cow, 0), -EUCLEAN);
	cow_free(&cow);
}

/* A damaged entry ends what is before it, and hides nothing. */
static void test_damage_behind(void **state)
{
	struct extent extent;
	struct qcow2 *q;
	struct cow cow;

	cow_make(&cow, 3, 16, MIB, 0);
	cow_set(&cow, 2 * CLUSTER, 512);
	q = open_cow(&cow);
	assert_extent(map(q, 0, MIB), EXTENT_BELOW, 2 * CLUSTER);
	assert_int_equal(qcow2_map(q, 2 * CLUSTER, MIB / 2, false, &extent), -EUCLEAN);
	assert_extent(map(q, 3 * CLUSTER, MIB / 2), EXTENT_BELOW, MIB / 2);
	qcow2_close(q);
	cow_free(&cow);
}

/* The last cluster may be shorter in the file: only one that is not there at all is lost. */
static void test_cut_cluster(void **state)
{
	struct cow cow;
	uint64_t host;

	cow_make(&cow, 3, 16, MIB, 0);
	cow_set(&cow, 0, QCOW2_ENTRY_ZERO);
	host = cow_add_data(&cow, 0);
	cow_set(&cow, 0, host);
	cow.bytes.size_bytes = cow.len = host + 1;
	assert_int_equal(map_error(&cow, 0), 0);
	cow.bytes.size_bytes = cow.len = host;
	assert_int_equal(map_error(&cow, 0), -EUCLEAN);
	/* Set aside and zeros: it need not be there. */
	cow_set(&cow, 0, host | QCOW2_ENTRY_ZERO);
	assert_int_equal(map_error(&cow, 0), 0);
	cow_free(&cow);
}

static void test_data_file(void **state)
{
	struct extent extent;
	struct qcow2 *q;
	struct cow data;
	struct cow cow;

	cow_wrap(&data, "guest", 5);
	cow_make(&cow, 3, 16, MIB, QCOW2_DATA_FILE);
	cow_add_extension(&cow, QCOW2_EXT_DATA_FILE, "d", 1);
	cow_set(&cow, 0, QCOW2_ENTRY_HINT);
	cow_set(&cow, CLUSTER, CLUSTER | QCOW2_ENTRY_HINT);
	cow_set(&cow, 2 * CLUSTER, 2 * CLUSTER | QCOW2_ENTRY_ZERO);
	cow_set(&cow, 4 * CLUSTER, 5 * CLUSTER);
	cow_set(&cow, 5 * CLUSTER, cow_packed_entry(&cow, 2 * CLUSTER, 0));
	q = open_cow(&cow);
	qcow2_give_data(q, &data.bytes);
	assert_data(map(q, 0, MIB), 0, 2 * CLUSTER);
	assert_extent(map(q, 2 * CLUSTER, MIB / 2), EXTENT_ZERO, CLUSTER);
	assert_extent(map(q, 3 * CLUSTER, MIB / 2), EXTENT_BELOW, CLUSTER);
	assert_int_equal(qcow2_map(q, 4 * CLUSTER, 1, false, &extent), -EUCLEAN);
	assert_int_equal(qcow2_map(q, 5 * CLUSTER, 1, false, &extent), -EUCLEAN);
	qcow2_close(q);
	cow_free(&cow);
	cow_free(&data);
}

/* Tables come from the cache: one read of each slice. Without waiting only
 * what the file has at hand. */
static void test_reads(void **state)
{
	struct extent extent;
	struct qcow2 *q;
	struct cow cow;
	uint64_t reads;

	cow_make(&cow, 3, 16, 1024 * MIB, 0);
	cow_set(&cow, 0, QCOW2_ENTRY_ZERO);
	q = open_cow(&cow);
	cow.cold = true;
	assert_int_equal(qcow2_map(q, 0, 1, true, &extent), -EAGAIN);
	reads = cow.reads;
	assert_extent(map(q, 0, 1), EXTENT_ZERO, 1);
	assert_int_equal(cow.reads, reads + 2); /* a slice of L1, one of L2 */
	assert_int_equal(qcow2_map(q, 0, 1, true, &extent), 0);
	assert_int_equal(qcow2_map(q, 31 * MIB, 1, true, &extent), 0);
	assert_int_equal(cow.reads, reads + 2);
	/* Another slice. */
	assert_int_equal(qcow2_map(q, 32 * MIB, 1, true, &extent), -EAGAIN);
	cow.cold = false;
	assert_int_equal(qcow2_map(q, 32 * MIB, 1, true, &extent), 0);
	cow.fail = -EIO;
	assert_int_equal(qcow2_map(q, 32 * MIB, 1, true, &extent), 0);
	assert_int_equal(qcow2_map(q, 64 * MIB, 1, false, &extent), -EIO);
	/* What failed once is tried again. */
	cow.fail = 0;
	assert_int_equal(qcow2_map(q, 64 * MIB, 1, false, &extent), 0);
	qcow2_close(q);
	cow_free(&cow);
}

/* An image that was closed leaves nothing for the next one. */
static void test_owners(void **state)
{
	struct qcow2 *q;
	struct cow cow;

	cow_make(&cow, 3, 16, MIB, 0);
	cow_set(&cow, 0, QCOW2_ENTRY_ZERO);
	q = open_cow(&cow);
	assert_extent(map(q, 0, 1), EXTENT_ZERO, 1);
	qcow2_close(q);
	cow_set(&cow, 0, 0);
	q = open_cow(&cow);
	assert_extent(map(q, 0, 1), EXTENT_BELOW, 1);
	qcow2_close(q);
	cow_free(&cow);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(test_kinds),
		cmocka_unit_test(test_joined),
		cmocka_unit_test(test_empty),
		cmocka_unit_test(test_small_clusters),
		cmocka_unit_test(test_version_2),
		cmocka_unit_test(test_subclusters),
		cmocka_unit_test(test_bad_subclusters),
		cmocka_unit_test(test_bad_l1),
		cmocka_unit_test(test_bad_l2),
		cmocka_unit_test(test_damage_behind),
		cmocka_unit_test(test_cut_cluster),
		cmocka_unit_test(test_data_file),
		cmocka_unit_test(test_reads),
		cmocka_unit_test(test_owners),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
