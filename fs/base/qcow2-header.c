/* SPDX-License-Identifier: LGPL-2.1-or-later */
/* The header of a qcow2 image, each field checked: see qcow2-image.h. */
#include <errno.h>
#include <inttypes.h>
#include <string.h>

#include "fs/base/qcow2-image.h"
#include "fs/util/round.h"

static int read_fields(const struct bytes *file, const char *name,
	struct qcow2_disk_header *ret_disk, struct err *err)
{
	int rc;

	memset(ret_disk, 0, sizeof(*ret_disk));
	if (file->size_bytes < QCOW2_V2_HEADER_LEN)
		return err_set(err, -EUCLEAN, "%s: too short for a qcow2 header", name);
	rc = file->read(file->of, ret_disk, QCOW2_V2_HEADER_LEN, 0, false);
	if (rc < 0)
		return err_sys(err, rc, "%s: cannot read the header", name);
	if (be32_get(ret_disk->magic) != QCOW2_MAGIC)
		return err_set(err, -EUCLEAN, "%s: not a qcow2 image", name);
	if (be32_get(ret_disk->version) != 2 && be32_get(ret_disk->version) != 3)
		return err_set(err, -EOPNOTSUPP,
			"%s: qcow2 version %" PRIu32 " (2 and 3 are known)", name,
			be32_get(ret_disk->version));
	if (be32_get(ret_disk->version) == 2)
		return 0;
	if (file->size_bytes < QCOW2_V3_HEADER_LEN)
		return err_set(err, -EUCLEAN, "%s: too short for a qcow2 header", name);
	rc = file->read(file->of, ret_disk, sizeof(*ret_disk), 0, false);
	return rc < 0 ? err_sys(err, rc, "%s: cannot read the header", name) : 0;
}

/* Fields behind the end that the header names are not there: they count as 0. */
static void decode(const struct qcow2_disk_header *disk, struct qcow2_header *h)
{
	*h = (struct qcow2_header){
		.version = be32_get(disk->version),
		.cluster_bits = be32_get(disk->cluster_bits),
		/* A guest of QEMU sees whole sectors. */
		.size_bytes = round_down(be64_get(disk->size_bytes), QCOW2_SECTOR),
		.l1 = {.off = be64_get(disk->l1_off), .entries = be32_get(disk->l1_entries)},
		.snapshots_off = be64_get(disk->snapshots_off),
		.snapshots = be32_get(disk->snapshots),
		.len = QCOW2_V2_HEADER_LEN,
		.backing_off = be64_get(disk->backing_off),
		.backing_len = be32_get(disk->backing_len),
	};
	if (h->version == 2)
		return;
	h->len = be32_get(disk->header_len);
	h->incompatible = be64_get(disk->incompatible);
	h->raw_data = be64_get(disk->autoclear) & QCOW2_AUTOCLEAR_RAW;
	if (h->len > QCOW2_V3_HEADER_LEN)
		h->compression = disk->compression;
}

static int check_shape(const struct qcow2_header *h, const char *name, struct err *err)
{
	if (h->cluster_bits < QCOW2_CLUSTER_BITS_MIN || h->cluster_bits > QCOW2_CLUSTER_BITS_MAX)
		return err_set(err, -EUCLEAN,
			"%s: cluster size of 2^%" PRIu32 " bytes (2^%d to 2^%d)", name,
			h->cluster_bits, QCOW2_CLUSTER_BITS_MIN, QCOW2_CLUSTER_BITS_MAX);
	if (h->version == 3 &&
		(h->len < QCOW2_V3_HEADER_LEN || h->len % 8 != 0 || h->len > 1u << h->cluster_bits))
		return err_set(err, -EUCLEAN, "%s: header length %" PRIu32, name, h->len);
	if (h->size_bytes > QCOW2_SIZE_MAX)
		return err_set(err, -EOPNOTSUPP, "%s: virtual size of more than 64 TiB", name);
	return 0;
}

static int check_encryption(uint32_t method, const char *name, struct err *err)
{
	static const char *const methods[] = {NULL, "AES", "LUKS"};

	if (method == 0)
		return 0;
	if (method > 2)
		return err_set(
			err, -EOPNOTSUPP, "%s: unknown encryption method %" PRIu32, name, method);
	err_set(err, -EOPNOTSUPP, "%s: encrypted (%s)", name, methods[method]);
	err_hint(err, "qemu-img convert makes a copy without encryption");
	return -EOPNOTSUPP;
}

static int refuse_unknown(
	const struct bytes *file, const struct qcow2_header *h, const char *name, struct err *err)
{
	char text[sizeof(((struct qcow2_disk_feature *)0)->name) + 1];
	int bit = __builtin_ctzll(h->incompatible & ~(uint64_t)QCOW2_KNOWN);

	qcow2_feature_name(file, h, (uint8_t)bit, text);
	return err_set(err, -EOPNOTSUPP, "%s: unknown incompatible feature, bit %d%s%s", name, bit,
		text[0] ? ": " : "", text);
}

static int check_features(
	const struct bytes *file, const struct qcow2_header *h, const char *name, struct err *err)
{
	if (h->incompatible & ~(uint64_t)QCOW2_KNOWN)
		return refuse_unknown(file, h, name, err);
	if (h->incompatible & QCOW2_CORRUPT) {
		err_set(err, -EUCLEAN, "%s: marked corrupt", name);
		err_hint(err, "qemu-img check -r all repairs what can be repaired");
		return -EUCLEAN;
	}
	if (h->raw_data && !(h->incompatible & QCOW2_DATA_FILE))
		return err_set(err, -EUCLEAN, "%s: a raw data file, but no data file", name);
	if (h->incompatible & QCOW2_EXTENDED_L2 &&
		h->cluster_bits < QCOW2_SUBCLUSTER_CLUSTER_BITS_MIN)
		return err_set(err, -EUCLEAN, "%s: subclusters in clusters below 16 KiB", name);
	return 0;
}

static int check_compression(const struct qcow2_header *h, const char *name, struct err *err)
{
	bool declared = h->incompatible & QCOW2_COMPRESSION;

	if (declared != (h->compression != QCOW2_ZLIB))
		return err_set(
			err, -EUCLEAN, "%s: compression type and its feature bit disagree", name);
	if (h->compression != QCOW2_ZLIB && h->compression != QCOW2_ZSTD)
		return err_set(err, -EOPNOTSUPP, "%s: unknown compression type %d", name,
			(int)h->compression);
	return 0;
}

int qcow2_table_check(const struct bytes *file, uint32_t cluster_bits,
	const struct qcow2_table *table, const char *name, const char *what, struct err *err)
{
	uint64_t cluster_bytes = UINT64_C(1) << cluster_bits;

	if (table->entries > QCOW2_L1_MAX / sizeof(be64))
		return err_set(err, -EUCLEAN, "%s: %s of more than 32 MiB", name, what);
	if (table->entries == 0)
		return 0;
	if (table->off % cluster_bytes != 0 || table->off == 0)
		return err_set(err, -EUCLEAN,
			"%s: %s at offset %" PRIu64 ", not at a cluster's start", name, what,
			table->off);
	if (outside(table->off, table->entries * sizeof(be64), file->size_bytes))
		return err_set(err, -EUCLEAN, "%s: %s beyond the end of the file", name, what);
	return 0;
}

uint64_t qcow2_l1_needed(uint32_t cluster_bits, bool extended_l2, uint64_t size_bytes)
{
	uint32_t bits = 2 * cluster_bits - (extended_l2 ? 4 : 3);

	return (size_bytes >> bits) + ((size_bytes & ((UINT64_C(1) << bits) - 1)) != 0);
}

static int check_l1(
	const struct bytes *file, const struct qcow2_header *h, const char *name, struct err *err)
{
	bool extended = h->incompatible & QCOW2_EXTENDED_L2;
	int rc = qcow2_table_check(file, h->cluster_bits, &h->l1, name, "L1 table", err);

	if (rc < 0)
		return rc;
	if (h->l1.entries < qcow2_l1_needed(h->cluster_bits, extended, h->size_bytes))
		return err_set(err, -EUCLEAN, "%s: L1 table too small for the virtual size", name);
	return 0;
}

/* Reading needs no refcounts; wrong ones (dirty bit, lazy refcounts) are no
 * obstacle. A header that places them nowhere is damaged all the same. */
static int check_refcounts(const struct bytes *file, const struct qcow2_disk_header *disk,
	uint32_t cluster_bits, const char *name, struct err *err)
{
	uint64_t off = be64_get(disk->refcount_off);
	uint64_t bytes = (uint64_t)be32_get(disk->refcount_clusters) << cluster_bits;

	if (be32_get(disk->version) == 3 && be32_get(disk->refcount_order) > 6)
		return err_set(err, -EUCLEAN, "%s: refcounts of 2^%" PRIu32 " bits", name,
			be32_get(disk->refcount_order));
	if (bytes == 0 || bytes > max_u64(QCOW2_REFCOUNT_MAX, UINT64_C(1) << cluster_bits))
		return err_set(
			err, -EUCLEAN, "%s: refcount table of %" PRIu64 " bytes", name, bytes);
	if (off == 0 || off % (UINT64_C(1) << cluster_bits) != 0 || off >= file->size_bytes)
		return err_set(err, -EUCLEAN, "%s: refcount table at offset %" PRIu64, name, off);
	return 0;
}

static int check_snapshots(
	const struct bytes *file, const struct qcow2_header *h, const char *name, struct err *err)
{
	if (h->snapshots > QCOW2_SNAPSHOTS_MAX)
		return err_set(err, -EUCLEAN, "%s: %" PRIu32 " snapshots (%d at most)", name,
			h->snapshots, QCOW2_SNAPSHOTS_MAX);
	if (h->snapshots > 0 && (h->snapshots_off == 0 || h->snapshots_off >= file->size_bytes ||
					h->snapshots_off % (UINT64_C(1) << h->cluster_bits) != 0))
		return err_set(err, -EUCLEAN, "%s: snapshot table at offset %" PRIu64, name,
			h->snapshots_off);
	return 0;
}

int qcow2_header_read(const struct bytes *file, const char *name, struct qcow2_header *ret_header,
	struct err *err)
{
	struct qcow2_disk_header disk;
	int rc = read_fields(file, name, &disk, err);

	if (rc < 0)
		return rc;
	decode(&disk, ret_header);
	rc = check_shape(ret_header, name, err);
	if (rc == 0)
		rc = check_encryption(be32_get(disk.encryption), name, err);
	if (rc == 0)
		rc = check_features(file, ret_header, name, err);
	if (rc == 0)
		rc = check_compression(ret_header, name, err);
	if (rc == 0)
		rc = check_refcounts(file, &disk, ret_header->cluster_bits, name, err);
	if (rc == 0)
		rc = check_l1(file, ret_header, name, err);
	return rc < 0 ? rc : check_snapshots(file, ret_header, name, err);
}
