/* SPDX-License-Identifier: LGPL-2.1-or-later */
/* What a qcow2 header may say, and the reason of each refusal. */
#include <errno.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <string.h>

#include <cmocka.h>

#include "fs/base/qcow2.h"
#include "tests/lib/cow.h"

#define MIB (UINT64_C(1) << 20)
#define CLUSTER 65536u

static int open_cow(struct cow *cow, struct qcow2 **ret_qcow2, struct err *err)
{
	*ret_qcow2 = NULL;
	return qcow2_open(&cow->bytes, "x.qcow2", NULL, ret_qcow2, err);
}

static void assert_opens(struct cow *cow)
{
	struct err err = {0};
	struct qcow2 *q;

	if (open_cow(cow, &q, &err) != 0)
		fail_msg("refused: %s", err.message);
	qcow2_close(q);
}

static void assert_refused(struct cow *cow, int code, const char *why)
{
	struct err err = {0};
	struct qcow2 *q;
	char message[ERR_MESSAGE_MAX];

	snprintf(message, sizeof(message), "x.qcow2: %s", why);
	assert_int_equal(open_cow(cow, &q, &err), code);
	assert_null(q);
	assert_string_equal(err.message, message);
	cow_free(cow);
}

static void test_plain(void **state)
{
	for (uint32_t version = 2; version <= 3; version++) {
		for (uint32_t bits = QCOW2_CLUSTER_BITS_MIN; bits <= QCOW2_CLUSTER_BITS_MAX; bits++) {
			struct qcow2 *q;
			struct cow cow;

			cow_make(&cow, version, bits, 10 * MIB, 0);
			assert_int_equal(open_cow(&cow, &q, NULL), 0);
			assert_int_equal(qcow2_info(q)->version, version);
			assert_int_equal(qcow2_info(q)->cluster_bytes, 1u << bits);
			assert_int_equal(qcow2_info(q)->size_bytes, 10 * MIB);
			assert_false(qcow2_info(q)->extended_l2);
			assert_null(qcow2_info(q)->backing_name);
			assert_null(qcow2_info(q)->backing_format);
			assert_null(qcow2_info(q)->data_name);
			qcow2_close(q);
			cow_free(&cow);
		}
	}
}

/* QEMU's guests see whole sectors. */
static void test_size_rounds_down(void **state)
{
	struct qcow2 *q;
	struct cow cow;

	cow_make(&cow, 3, 16, MIB + 1000, 0);
	assert_int_equal(open_cow(&cow, &q, NULL), 0);
	assert_int_equal(qcow2_info(q)->size_bytes, MIB + 512);
	qcow2_close(q);
	cow_free(&cow);
}

static void test_names(void **state)
{
	struct qcow2 *q;
	struct cow cow;

	cow_make(&cow, 3, 16, MIB, 0);
	cow_add_extension(&cow, 0x12345678, "whatever", 8);
	cow_add_extension(&cow, QCOW2_EXT_BACKING_FORMAT, "raw", 3);
	/* Means nothing without its feature bit. */
	cow_add_extension(&cow, QCOW2_EXT_DATA_FILE, "x.raw", 5);
	cow_set_backing(&cow, "../base.img");
	assert_int_equal(open_cow(&cow, &q, NULL), 0);
	assert_string_equal(qcow2_info(q)->backing_name, "../base.img");
	assert_string_equal(qcow2_info(q)->backing_format, "raw");
	assert_null(qcow2_info(q)->data_name);
	qcow2_close(q);
	cow_free(&cow);
}

static void test_name_limits(void **state)
{
	char longest[QCOW2_NAME_MAX + 2];
	struct cow cow;

	memset(longest, 'a', sizeof(longest));
	longest[QCOW2_NAME_MAX] = '\0';
	cow_make(&cow, 3, 16, MIB, 0);
	cow_set_backing(&cow, longest);
	assert_opens(&cow);
	cow_free(&cow);

	longest[QCOW2_NAME_MAX] = 'a';
	longest[QCOW2_NAME_MAX + 1] = '\0';
	cow_make(&cow, 3, 16, MIB, 0);
	cow_set_backing(&cow, longest);
	assert_refused(&cow, -EUCLEAN, "name of the backing file of 1024 bytes (1023 at most)");

	cow_make(&cow, 3, 16, MIB, 0);
	cow_header(&cow)->backing_off = be64_put(CLUSTER - 4);
	cow_header(&cow)->backing_len = be32_put(5);
	assert_refused(
		&cow, -EUCLEAN, "name of the backing file outside of the header's cluster");

	cow_make(&cow, 3, 16, MIB, 0);
	cow_header(&cow)->backing_off = be64_put(UINT64_MAX - 2);
	cow_header(&cow)->backing_len = be32_put(5);
	assert_refused(
		&cow, -EUCLEAN, "name of the backing file outside of the header's cluster");

	cow_make(&cow, 3, 16, MIB, 0);
	cow_header(&cow)->backing_off = be64_put(8);
	cow_header(&cow)->backing_len = be32_put(5);
	assert_refused(
		&cow, -EUCLEAN, "name of the backing file outside of the header's cluster");

	cow_make(&cow, 3, 16, MIB, 0);
	cow_set_backing(&cow, "a-name");
	cow.data[CLUSTER - 3] = '\0';
	assert_refused(&cow, -EUCLEAN, "a NUL in the name of the backing file");
}

static void test_extensions(void **state)
{
	struct cow cow;

	/* Larger than the room before the backing file's name. */
	cow_make(&cow, 3, 16, MIB, 0);
	cow_add_extension(&cow, 0x12345678, "whatever", 8);
	cow_set_backing(&cow, "b");
	cow.data[112 + 7] = 0xff;
	cow.data[112 + 6] = 0xff;
	assert_refused(&cow, -EUCLEAN, "damaged header extensions");

	cow_make(&cow, 3, 16, MIB, 0);
	for (int i = 0; i <= QCOW2_EXTENSIONS_MAX; i++)
		cow_add_extension(&cow, 0x12345678, "", 0);
	assert_refused(&cow, -EUCLEAN, "damaged header extensions");

	cow_make(&cow, 3, 16, MIB, 0);
	cow_add_extension(&cow, QCOW2_EXT_BACKING_FORMAT, "raw", 3);
	cow_add_extension(&cow, QCOW2_EXT_BACKING_FORMAT, "qcow2", 5);
	assert_refused(&cow, -EUCLEAN, "two names of the backing file's format");
}

static void test_data_file(void **state)
{
	struct extent extent;
	struct qcow2 *q;
	struct cow cow;

	cow_make(&cow, 3, 16, MIB, QCOW2_DATA_FILE);
	assert_refused(&cow, -EOPNOTSUPP,
		"its clusters lie in another file, which it does not name");

	cow_make(&cow, 3, 16, MIB, QCOW2_DATA_FILE);
	cow_header(&cow)->autoclear = be64_put(QCOW2_AUTOCLEAR_RAW);
	cow_add_extension(&cow, QCOW2_EXT_DATA_FILE, "/etc/shadow", 11);
	assert_int_equal(open_cow(&cow, &q, NULL), 0);
	assert_string_equal(qcow2_info(q)->data_name, "/etc/shadow");
	assert_true(qcow2_info(q)->data_raw);
	/* Nothing is read of it before the caller gave it. */
	assert_int_equal(qcow2_map(q, 0, 1, false, &extent), -EOPNOTSUPP);
	qcow2_close(q);

	cow_set_backing(&cow, "b");
	assert_refused(&cow, -EUCLEAN, "both a backing file and a raw data file");

	cow_make(&cow, 3, 16, MIB, 0);
	cow_header(&cow)->autoclear = be64_put(QCOW2_AUTOCLEAR_RAW);
	assert_refused(&cow, -EUCLEAN, "a raw data file, but no data file");
}

static void test_features(void **state)
{
	struct qcow2_disk_feature feature = {.word = 0, .bit = 9, .name = "time travel"};
	struct cow cow;

	cow_make(&cow, 3, 16, MIB, QCOW2_DIRTY);
	cow_header(&cow)->compatible = be64_put(UINT64_MAX);
	cow_header(&cow)->autoclear = be64_put(~(uint64_t)QCOW2_AUTOCLEAR_RAW);
	assert_opens(&cow);
	cow_free(&cow);

	cow_make(&cow, 3, 16, MIB, QCOW2_CORRUPT);
	assert_refused(&cow, -EUCLEAN, "marked corrupt");

	for (int bit = 5; bit < 64; bit++) {
		char why[64];

		snprintf(why, sizeof(why), "unknown incompatible feature, bit %d", bit);
		cow_make(&cow, 3, 16, MIB, UINT64_C(1) << bit);
		assert_refused(&cow, -EOPNOTSUPP, why);
	}

	cow_make(&cow, 3, 16, MIB, 1 << 9);
	cow_add_extension(&cow, QCOW2_EXT_FEATURE_NAMES, &feature, sizeof(feature));
	assert_refused(&cow, -EOPNOTSUPP, "unknown incompatible feature, bit 9: time travel");

	/* A name is shown only if it can be. */
	feature.name[4] = '\033';
	cow_make(&cow, 3, 16, MIB, 1 << 9);
	cow_add_extension(&cow, QCOW2_EXT_FEATURE_NAMES, &feature, sizeof(feature));
	assert_refused(&cow, -EOPNOTSUPP, "unknown incompatible feature, bit 9");
}

static void test_compression(void **state)
{
	struct cow cow;

	cow_make(&cow, 3, 16, MIB, QCOW2_COMPRESSION);
	assert_opens(&cow);
	cow_header(&cow)->compression = 2;
	assert_refused(&cow, -EOPNOTSUPP, "unknown compression type 2");

	cow_make(&cow, 3, 16, MIB, 0);
	cow_header(&cow)->compression = QCOW2_ZSTD;
	assert_refused(&cow, -EUCLEAN, "compression type and its feature bit disagree");

	cow_make(&cow, 3, 16, MIB, QCOW2_COMPRESSION);
	cow_header(&cow)->compression = 0;
	assert_refused(&cow, -EUCLEAN, "compression type and its feature bit disagree");

	/* The field is not there. */
	cow_make(&cow, 3, 16, MIB, QCOW2_COMPRESSION);
	cow_header(&cow)->header_len = be32_put(QCOW2_V3_HEADER_LEN);
	assert_refused(&cow, -EUCLEAN, "compression type and its feature bit disagree");
}

/* One field of a good image, and what is said of it. */
struct wrong {
	size_t at;
	size_t bytes;
	uint64_t value;
	int code;
	const char *why;
};

#define FIELD(name)                                                                                \
	offsetof(struct qcow2_disk_header, name), sizeof(((struct qcow2_disk_header *)0)->name)

static const struct wrong wrongs[] = {
	{FIELD(magic), 0x514649fa, -EUCLEAN, "not a qcow2 image"},
	{FIELD(version), 0, -EOPNOTSUPP, "qcow2 version 0 (2 and 3 are known)"},
	{FIELD(version), 1, -EOPNOTSUPP, "qcow2 version 1 (2 and 3 are known)"},
	{FIELD(version), 4, -EOPNOTSUPP, "qcow2 version 4 (2 and 3 are known)"},
	{FIELD(cluster_bits), 8, -EUCLEAN, "cluster size of 2^8 bytes (2^9 to 2^21)"},
	{FIELD(cluster_bits), 22, -EUCLEAN, "cluster size of 2^22 bytes (2^9 to 2^21)"},
	{FIELD(cluster_bits), UINT32_MAX, -EUCLEAN,
		"cluster size of 2^4294967295 bytes (2^9 to 2^21)"},
	{FIELD(size_bytes), UINT64_MAX, -EOPNOTSUPP, "virtual size of more than 64 TiB"},
	{FIELD(size_bytes), QCOW2_SIZE_MAX + 512, -EOPNOTSUPP, "virtual size of more than 64 TiB"},
	{FIELD(size_bytes), QCOW2_SIZE_MAX, -EUCLEAN, "L1 table too small for the virtual size"},
	{FIELD(size_bytes), UINT64_C(1) << 30, -EUCLEAN, "L1 table too small for the virtual size"},
	{FIELD(encryption), 1, -EOPNOTSUPP, "encrypted (AES)"},
	{FIELD(encryption), 2, -EOPNOTSUPP, "encrypted (LUKS)"},
	{FIELD(encryption), 3, -EOPNOTSUPP, "unknown encryption method 3"},
	{FIELD(encryption), UINT32_MAX, -EOPNOTSUPP, "unknown encryption method 4294967295"},
	{FIELD(l1_entries), 0, -EUCLEAN, "L1 table too small for the virtual size"},
	{FIELD(l1_entries), UINT32_MAX, -EUCLEAN, "L1 table of more than 32 MiB"},
	{FIELD(l1_entries), 4 * MIB + 1, -EUCLEAN, "L1 table of more than 32 MiB"},
	{FIELD(l1_entries), 4 * MIB, -EUCLEAN, "L1 table beyond the end of the file"},
	{FIELD(l1_off), 0, -EUCLEAN, "L1 table at offset 0, not at a cluster's start"},
	{FIELD(l1_off), CLUSTER + 512, -EUCLEAN,
		"L1 table at offset 66048, not at a cluster's start"},
	{FIELD(l1_off), UINT64_C(1) << 62, -EUCLEAN, "L1 table beyond the end of the file"},
	{FIELD(l1_off), UINT64_MAX - CLUSTER + 1, -EUCLEAN, "L1 table beyond the end of the file"},
	{FIELD(refcount_off), 0, -EUCLEAN, "refcount table at offset 0"},
	{FIELD(refcount_off), 512, -EUCLEAN, "refcount table at offset 512"},
	{FIELD(refcount_off), UINT64_C(1) << 40, -EUCLEAN,
		"refcount table at offset 1099511627776"},
	{FIELD(refcount_clusters), 0, -EUCLEAN, "refcount table of 0 bytes"},
	{FIELD(refcount_clusters), 129, -EUCLEAN, "refcount table of 8454144 bytes"},
	{FIELD(refcount_clusters), UINT32_MAX, -EUCLEAN, "refcount table of 281474976645120 bytes"},
	{FIELD(refcount_order), 7, -EUCLEAN, "refcounts of 2^7 bits"},
	{FIELD(snapshots), 65537, -EUCLEAN, "65537 snapshots (65536 at most)"},
	{FIELD(snapshots), 1, -EUCLEAN, "snapshot table at offset 0"},
	{FIELD(header_len), 0, -EUCLEAN, "header length 0"},
	{FIELD(header_len), 96, -EUCLEAN, "header length 96"},
	{FIELD(header_len), 110, -EUCLEAN, "header length 110"},
	{FIELD(header_len), CLUSTER + 8, -EUCLEAN, "header length 65544"},
};

static void put(uint8_t *at, size_t bytes, uint64_t value)
{
	for (size_t i = 0; i < bytes; i++)
		at[i] = (uint8_t)(value >> 8 * (bytes - 1 - i));
}

static void test_wrong_fields(void **state)
{
	for (size_t i = 0; i < sizeof(wrongs) / sizeof(wrongs[0]); i++) {
		struct cow cow;

		cow_make(&cow, 3, 16, MIB, 0);
		put(cow.data + wrongs[i].at, wrongs[i].bytes, wrongs[i].value);
		assert_refused(&cow, wrongs[i].code, wrongs[i].why);
	}
}

static void test_subclusters(void **state)
{
	struct qcow2 *q;
	struct cow cow;

	cow_make(&cow, 3, 14, MIB, QCOW2_EXTENDED_L2);
	assert_int_equal(open_cow(&cow, &q, NULL), 0);
	assert_true(qcow2_info(q)->extended_l2);
	qcow2_close(q);
	cow_free(&cow);

	cow_make(&cow, 3, 13, MIB, QCOW2_EXTENDED_L2);
	assert_refused(&cow, -EUCLEAN, "subclusters in clusters below 16 KiB");
}

/* Every length that a file can be cut to: refused with a reason, or whole. */
static void test_cut(void **state)
{
	struct cow cow;

	cow_make(&cow, 3, 9, 16 * 1024, 0);
	for (uint64_t len = 0; len < cow.len; len++) {
		struct err err = {0};
		struct cow cut;
		struct qcow2 *q;
		int rc;

		cow_wrap(&cut, cow.data, len);
		rc = open_cow(&cut, &q, &err);
		assert_int_equal(rc, len < 2 * 512 + 8 ? -EUCLEAN : 0);
		assert_true(rc == 0 || err.message[0] != '\0');
		qcow2_close(q);
		cow_free(&cut);
	}
	cow_free(&cow);
}

/* A read that fails is no damage. */
static void test_unreadable(void **state)
{
	struct cow cow;

	cow_make(&cow, 3, 16, MIB, 0);
	cow.fail = -EIO;
	assert_refused(&cow, -EIO, "cannot read the header: Input/output error");
}

/* 2 TiB open by a few small reads. */
static void test_reads_little(void **state)
{
	struct cow cow;

	cow_make(&cow, 3, 16, UINT64_C(2) << 40, 0);
	assert_opens(&cow);
	assert_true(cow.reads <= 4);
	cow_free(&cow);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(test_plain),
		cmocka_unit_test(test_size_rounds_down),
		cmocka_unit_test(test_names),
		cmocka_unit_test(test_name_limits),
		cmocka_unit_test(test_extensions),
		cmocka_unit_test(test_data_file),
		cmocka_unit_test(test_features),
		cmocka_unit_test(test_compression),
		cmocka_unit_test(test_wrong_fields),
		cmocka_unit_test(test_subclusters),
		cmocka_unit_test(test_cut),
		cmocka_unit_test(test_unreadable),
		cmocka_unit_test(test_reads_little),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
