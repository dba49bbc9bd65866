/* SPDX-License-Identifier: LGPL-2.1-or-later */
/* Internal snapshots: found by id or name, their size, damaged tables. */
#include <errno.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

#include "fs/base/qcow2.h"
#include "tests/lib/cow.h"

#define KIB UINT64_C(1024)
#define MIB (KIB * 1024)
#define CLUSTER (64 * KIB)

static struct cow cow;

/* An empty table of snapshots at the end. */
static void begin(uint32_t version)
{
	cow_make(&cow, version, 16, MIB, 0);
	cow_header(&cow)->snapshots_off = be64_put(cow_add_cluster(&cow));
	cow.len -= CLUSTER;
}

/* The table grows at the end of the file; so nothing else may be added after. */
static void add(const char *id, const char *name, uint64_t l1_off, uint32_t l1_entries,
	uint32_t extra_len, uint64_t size_bytes)
{
	struct qcow2_disk_snapshot disk = {
		.l1_off = be64_put(l1_off),
		.l1_entries = be32_put(l1_entries),
		.id_len = be16_put((uint16_t)strlen(id)),
		.name_len = be16_put((uint16_t)strlen(name)),
		.extra_len = be32_put(extra_len),
	};
	be64 size = be64_put(size_bytes);
	uint8_t zeros[2048] = {0};
	struct qcow2_disk_header *header;

	cow_append(&cow, &disk, sizeof(disk));
	if (extra_len >= 16) {
		cow_append(&cow, zeros, 8);
		cow_append(&cow, &size, 8);
		extra_len -= 16;
	}
	cow_append(&cow, zeros, extra_len);
	cow_append(&cow, id, strlen(id));
	cow_append(&cow, name, strlen(name));
	cow_append(&cow, zeros, -cow.len & 7);
	header = cow_header(&cow);
	header->snapshots = be32_put(be32_get(header->snapshots) + 1);
}

static int open_snapshot(const char *snapshot, struct qcow2 **ret_qcow2, struct err *err)
{
	*ret_qcow2 = NULL;
	return qcow2_open(&cow.bytes, "x.qcow2", snapshot, ret_qcow2, err);
}

static uint64_t size_of(const char *snapshot)
{
	struct qcow2 *q;
	uint64_t size_bytes;

	assert_int_equal(open_snapshot(snapshot, &q, NULL), 0);
	size_bytes = qcow2_info(q)->size_bytes;
	qcow2_close(q);
	return size_bytes;
}

static void assert_refused(const char *snapshot, int code, const char *why)
{
	struct err err = {0};
	struct qcow2 *q;

	assert_int_equal(open_snapshot(snapshot, &q, &err), code);
	assert_string_equal(err.message, why);
	assert_null(q);
}

static uint64_t l1(void)
{
	return be64_get(cow_header(&cow)->l1_off);
}

/* Each way to an entry, told apart by the sizes. An id wins over a name. */
static void test_found(void **state)
{
	begin(3);
	add("1", "before", l1(), 1, 16, 512);
	add("2", "3", l1(), 1, 24, 1024);
	add("3", "1", l1(), 1, 1024, 1536);
	add("4", "before", l1(), 1, 16, 2048);
	assert_int_equal(size_of(NULL), MIB);
	assert_int_equal(size_of("1"), 512);
	assert_int_equal(size_of("2"), 1024);
	assert_int_equal(size_of("3"), 1536);
	assert_int_equal(size_of("before"), 512);
	assert_refused("after", -ENOENT, "x.qcow2: no snapshot after");
	assert_refused("", -ENOENT, "x.qcow2: no snapshot ");
	assert_refused("befor", -ENOENT, "x.qcow2: no snapshot befor");
	cow_free(&cow);
}

static void test_none(void **state)
{
	cow_make(&cow, 2, 16, MIB, 0);
	assert_refused("1", -ENOENT, "x.qcow2: no snapshot 1");
	cow_free(&cow);
}

/* Its own L1 table; where that ends, the disk is empty. */
static void test_own_table(void **state)
{
	struct extent extent;
	struct qcow2 *q;
	uint64_t own;

	cow_make(&cow, 3, 16, 1024 * MIB, 0);
	cow_set(&cow, 0, QCOW2_ENTRY_ZERO);
	own = cow_add_cluster(&cow);
	cow_header(&cow)->snapshots_off = be64_put(cow_add_cluster(&cow));
	cow.len -= CLUSTER;
	add("1", "s", own, 1, 16, 2048 * MIB);
	assert_int_equal(open_snapshot("s", &q, NULL), 0);
	assert_int_equal(qcow2_map(q, 0, 2048 * MIB, false, &extent), 0);
	assert_int_equal(extent.kind, EXTENT_BELOW);
	assert_int_equal(extent.len, 512 * MIB);
	assert_int_equal(qcow2_map(q, 512 * MIB, 1536 * MIB, false, &extent), 0);
	assert_int_equal(extent.kind, EXTENT_BELOW);
	assert_int_equal(extent.len, 1536 * MIB);
	qcow2_close(q);
	cow_free(&cow);
}

/* Version 2 may not say the size; version 3 must. */
static void test_no_size(void **state)
{
	begin(2);
	add("1", "s", l1(), 1, 0, 0);
	assert_int_equal(size_of("s"), MIB);
	cow_free(&cow);
	begin(3);
	add("1", "s", l1(), 1, 8, 0);
	assert_refused("s", -EUCLEAN, "x.qcow2: damaged snapshot table");
	cow_free(&cow);
}

static void test_damaged(void **state)
{
	begin(3);
	add("1", "s", l1(), 1, 16, MIB);
	add("2", "t", l1() + 512, 1, 16, MIB);
	add("3", "u", UINT64_C(1) << 40, 1, 16, MIB);
	add("4", "v", l1(), UINT32_MAX, 16, MIB);
	add("5", "w", 0, 1, 16, MIB);
	add("6", "x", l1(), 1, 16, UINT64_MAX);
	assert_int_equal(size_of("s"), MIB);
	assert_refused("t", -EUCLEAN,
		"x.qcow2: L1 table of the snapshot at offset 131584, not at a cluster's start");
	assert_refused(
		"u", -EUCLEAN, "x.qcow2: L1 table of the snapshot beyond the end of the file");
	assert_refused(
		"v", -EUCLEAN, "x.qcow2: L1 table of the snapshot of more than 32 MiB");
	assert_refused("w", -EUCLEAN,
		"x.qcow2: L1 table of the snapshot at offset 0, not at a cluster's start");
	assert_refused("x", -EUCLEAN, "x.qcow2: damaged snapshot table");
	/* Too much extra data, in the way to all behind it. */
	add("7", "y", l1(), 1, 1032, MIB);
	add("8", "z", l1(), 1, 16, MIB);
	assert_refused("y", -EUCLEAN, "x.qcow2: damaged snapshot table");
	assert_refused("z", -EUCLEAN, "x.qcow2: damaged snapshot table");
	cow_free(&cow);
}

/* More entries announced than the file has; a table longer than its limit. */
static void test_too_long(void **state)
{
	static char name[65536];

	begin(3);
	add("1", "s", l1(), 1, 16, MIB);
	cow_header(&cow)->snapshots = be32_put(2);
	assert_refused("none", -EUCLEAN, "x.qcow2: damaged snapshot table");
	cow_free(&cow);

	begin(3);
	memset(name, 'n', sizeof(name) - 1);
	for (uint64_t used = 0; used < QCOW2_SNAPSHOT_TABLE_MAX; used += sizeof(name))
		add("1", name, l1(), 1, 16, MIB);
	add("2", "last", l1(), 1, 16, MIB);
	assert_refused("last", -EUCLEAN, "x.qcow2: damaged snapshot table");
	cow_free(&cow);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(test_found),
		cmocka_unit_test(test_none),
		cmocka_unit_test(test_own_table),
		cmocka_unit_test(test_no_size),
		cmocka_unit_test(test_damaged),
		cmocka_unit_test(test_too_long),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
