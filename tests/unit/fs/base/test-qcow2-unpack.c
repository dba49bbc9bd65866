/* SPDX-License-Identifier: LGPL-2.1-or-later */
/* Compressed clusters: any part, from the cache and not, damaged ones. */
#include <errno.h>
#include <pthread.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

#include "fs/base/cache.h"
#include "fs/base/qcow2.h"
#include "tests/lib/cow.h"
#include "tests/lib/packed.h"
#include "tests/lib/rng.h"

#define KIB UINT64_C(1024)
#define MIB (KIB * 1024)
#define CLUSTER (64 * KIB)

static uint8_t plain[CLUSTER];

/* An image whose cluster 1 is packed: plain. */
static struct qcow2 *make(struct cow *cow, bool zstd)
{
	uint8_t packed[2 * CLUSTER];
	struct qcow2 *q;
	uint64_t rng = 5;
	uint64_t off;
	size_t len;

	for (size_t i = 0; i < CLUSTER; i++)
		plain[i] = (uint8_t)(i < CLUSTER / 2 ? rng_next(&rng) : i * i >> 7);
	cow_make(cow, 3, 16, MIB, zstd ? QCOW2_COMPRESSION : 0);
	cow_set(cow, 0, QCOW2_ENTRY_ZERO);
	cow_append(cow, "odd", 3);
	len = (zstd ? packed_zstd : packed_deflate)(plain, CLUSTER, packed, sizeof(packed));
	off = cow_append(cow, packed, len);
	/* cow_set adds nothing: the table is there. */
	cow_set(cow, CLUSTER, cow_packed_entry(cow, off, (off % 512 + len - 1) / 512));
	assert_int_equal(qcow2_open(&cow->bytes, "x", NULL, &q, NULL), 0);
	return q;
}

static int unpack(struct qcow2 *q, uint64_t off, void *buf, size_t len, bool nowait)
{
	struct extent extent;

	assert_int_equal(qcow2_map(q, off, len, false, &extent), 0);
	assert_int_equal(extent.kind, EXTENT_PACKED);
	assert_int_equal(extent.len, len);
	return qcow2_unpack(q, &extent, off, buf, len, nowait);
}

static void assert_unpacks(struct qcow2 *q, uint64_t skip, size_t len)
{
	uint8_t buf[CLUSTER];

	memset(buf, 0xee, len);
	assert_int_equal(unpack(q, CLUSTER + skip, buf, len, false), 0);
	assert_memory_equal(buf, plain + skip, len);
}

static void any_part(bool zstd)
{
	uint64_t rng = 1;
	struct cow cow;

	for (int i = 0; i < 30; i++) {
		struct qcow2 *q = make(&cow, zstd);
		uint64_t skip = rng_below(&rng, CLUSTER);

		/* First a part, then a whole, then a part of what is kept. */
		assert_unpacks(q, skip, 1 + rng_below(&rng, CLUSTER - skip));
		assert_unpacks(q, 0, CLUSTER);
		assert_unpacks(q, skip, 1);
		qcow2_close(q);
		cow_free(&cow);
	}
}

static void test_deflate(void **state)
{
	any_part(false);
}

static void test_zstd(void **state)
{
	any_part(true);
}

/* Asked for once: not kept. Twice: kept, and no read any more. */
static void test_kept(void **state)
{
	uint8_t buf[512];
	struct qcow2 *q;
	struct cow cow;
	uint64_t before = cache_bytes(CACHE_CLUSTERS);

	q = make(&cow, false);
	assert_int_equal(unpack(q, CLUSTER, buf, sizeof(buf), true), -EAGAIN);
	assert_unpacks(q, 512, 512);
	assert_int_equal(unpack(q, CLUSTER, buf, sizeof(buf), true), -EAGAIN);
	assert_int_equal(cache_bytes(CACHE_CLUSTERS), before);
	assert_unpacks(q, 1024, 512);
	assert_int_equal(cache_bytes(CACHE_CLUSTERS), before + CLUSTER);
	cow.fail = -EIO;
	assert_int_equal(unpack(q, CLUSTER, buf, sizeof(buf), true), 0);
	assert_memory_equal(buf, plain, sizeof(buf));
	qcow2_close(q);
	assert_int_equal(cache_bytes(CACHE_CLUSTERS), before);
	cow_free(&cow);
}

static void test_unreadable(void **state)
{
	uint8_t buf[512];
	struct extent extent;
	struct qcow2 *q;
	struct cow cow;

	q = make(&cow, false);
	assert_int_equal(qcow2_map(q, CLUSTER, sizeof(buf), false, &extent), 0);
	cow.fail = -EIO;
	for (int i = 0; i < 3; i++)
		assert_int_equal(
			qcow2_unpack(q, &extent, CLUSTER, buf, sizeof(buf), false), -EIO);
	cow.fail = 0;
	assert_unpacks(q, 0, 512);
	qcow2_close(q);
	cow_free(&cow);
}

/* Packed bytes that end too early, or are something else. The format has no
 * checksums: other damage is not seen. */
static void damaged(bool zstd)
{
	uint8_t buf[CLUSTER];
	struct extent extent;
	struct qcow2 *q;
	struct cow cow;

	q = make(&cow, zstd);
	assert_int_equal(qcow2_map(q, CLUSTER, CLUSTER, false, &extent), 0);
	extent.packed_len -= 1024;
	assert_int_equal(qcow2_unpack(q, &extent, CLUSTER, buf, CLUSTER, false), -EUCLEAN);
	assert_int_equal(qcow2_unpack(q, &extent, CLUSTER, buf, CLUSTER, false), -EUCLEAN);
	extent.packed_len += 1024;
	assert_int_equal(qcow2_unpack(q, &extent, CLUSTER, buf, CLUSTER, false), 0);
	qcow2_close(q);
	memset(cow.data + extent.host_off, 0xff, 8);
	assert_int_equal(qcow2_open(&cow.bytes, "x", NULL, &q, NULL), 0);
	assert_int_equal(unpack(q, CLUSTER, buf, CLUSTER, false), -EUCLEAN);
	assert_int_equal(unpack(q, CLUSTER + 9, buf, 1, false), -EUCLEAN);
	qcow2_close(q);
	cow_free(&cow);
}

static void test_damaged_deflate(void **state)
{
	damaged(false);
}

static void test_damaged_zstd(void **state)
{
	damaged(true);
}

/* The stream may hold less than a cluster: that is damage, not zeros. More is ignored. */
static void test_wrong_length(void **state)
{
	uint8_t packed[2 * CLUSTER];
	uint8_t longer[CLUSTER + 512] = {1, 2, 3};
	uint8_t buf[CLUSTER];
	struct qcow2 *q;
	struct cow cow;
	uint64_t off;
	size_t len;

	cow_make(&cow, 3, 16, MIB, 0);
	cow_set(&cow, 0, QCOW2_ENTRY_ZERO);
	len = packed_deflate(longer, CLUSTER - 1, packed, sizeof(packed));
	off = cow_append(&cow, packed, len);
	cow_set(&cow, 0, cow_packed_entry(&cow, off, (off % 512 + len - 1) / 512));
	len = packed_deflate(longer, sizeof(longer), packed, sizeof(packed));
	off = cow_append(&cow, packed, len);
	cow_set(&cow, CLUSTER, cow_packed_entry(&cow, off, (off % 512 + len - 1) / 512));
	assert_int_equal(qcow2_open(&cow.bytes, "x", NULL, &q, NULL), 0);
	assert_int_equal(unpack(q, 0, buf, CLUSTER, false), -EUCLEAN);
	assert_int_equal(unpack(q, 0, buf, CLUSTER, false), -EUCLEAN);
	assert_int_equal(unpack(q, 5, buf, 10, false), -EUCLEAN);
	assert_int_equal(unpack(q, CLUSTER, buf, CLUSTER, false), 0);
	assert_memory_equal(buf, longer, CLUSTER);
	qcow2_close(q);
	cow_free(&cow);
}

/* A zstd frame that asks for a window of 128 MiB is not given it. */
static void test_zstd_window(void **state)
{
	uint8_t packed[2 * CLUSTER];
	uint8_t buf[CLUSTER];
	struct qcow2 *q;
	struct cow cow;
	uint64_t off;
	size_t len;

	cow_make(&cow, 3, 16, MIB, QCOW2_COMPRESSION);
	cow_set(&cow, 0, QCOW2_ENTRY_ZERO);
	len = packed_zstd_window(plain, CLUSTER, 27, packed, sizeof(packed));
	off = cow_append(&cow, packed, len);
	cow_set(&cow, 0, cow_packed_entry(&cow, off, (off % 512 + len - 1) / 512));
	assert_int_equal(qcow2_open(&cow.bytes, "x", NULL, &q, NULL), 0);
	assert_int_equal(unpack(q, 0, buf, CLUSTER, false), -EUCLEAN);
	qcow2_close(q);
	cow_free(&cow);
}

struct reader {
	pthread_t thread;
	struct qcow2 *q;
	uint64_t rng;
};

static void *read_parts(void *arg)
{
	struct reader *reader = arg;

	for (int i = 0; i < 200; i++) {
		uint64_t skip = rng_below(&reader->rng, CLUSTER);
		size_t len = 1 + rng_below(&reader->rng, CLUSTER - skip);
		struct extent extent;
		uint8_t buf[CLUSTER];

		if (qcow2_map(reader->q, CLUSTER + skip, len, false, &extent) < 0 ||
			qcow2_unpack(reader->q, &extent, CLUSTER + skip, buf, len, false) < 0 ||
			memcmp(buf, plain + skip, len) != 0)
			return reader;
	}
	return NULL;
}

static void test_threads(void **state)
{
	struct reader readers[4];
	struct cow cow;
	struct qcow2 *q = make(&cow, false);

	for (int i = 0; i < 4; i++) {
		readers[i].q = q;
		readers[i].rng = (uint64_t)i;
		pthread_create(&readers[i].thread, NULL, read_parts, &readers[i]);
	}
	for (int i = 0; i < 4; i++) {
		void *failed;

		pthread_join(readers[i].thread, &failed);
		assert_null(failed);
	}
	qcow2_close(q);
	cow_free(&cow);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(test_deflate),
		cmocka_unit_test(test_zstd),
		cmocka_unit_test(test_kept),
		cmocka_unit_test(test_unreadable),
		cmocka_unit_test(test_damaged_deflate),
		cmocka_unit_test(test_damaged_zstd),
		cmocka_unit_test(test_wrong_length),
		cmocka_unit_test(test_zstd_window),
		cmocka_unit_test(test_threads),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
