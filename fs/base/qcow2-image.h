/* SPDX-License-Identifier: LGPL-2.1-or-later */
/* An open qcow2 image. Private to the qcow2 reader; others see qcow2.h.
 *
 *	qcow2-header      the header's fields, checked
 *	qcow2-extension   header extensions and the names of other files
 *	qcow2-snapshot    one snapshot's L1 table in place of the active one
 *	qcow2-table       slices of the L1 and of L2 tables
 *	qcow2-entry       what one table entry says
 *	qcow2-map         the run of entries at an offset
 *	qcow2-unpack      bytes of compressed clusters
 */
#ifndef FS_BASE_QCOW2_IMAGE_H
#define FS_BASE_QCOW2_IMAGE_H

#include <stdatomic.h>
#include <stdbool.h>
#include <stdint.h>

#include "fs/base/cache.h"
#include "fs/base/qcow2-format.h"
#include "fs/base/qcow2.h"

/* Tables are read and kept in pieces of this size (or of a cluster, if that
 * is smaller): what is read to map one offset does not grow with the cluster. */
#define QCOW2_SLICE 4096u

/* Packed clusters that somebody asked for lately (see qcow2-unpack.c). */
#define QCOW2_RECENT 1024

struct qcow2_table {
	uint64_t off;
	uint64_t entries;
};

/* The header as it is used. */
struct qcow2_header {
	uint32_t version;
	uint32_t cluster_bits;
	uint64_t size_bytes;
	struct qcow2_table l1;
	uint64_t snapshots_off;
	uint32_t snapshots;
	uint64_t incompatible;
	bool raw_data;
	enum qcow2_compression compression;
	uint32_t len;
	uint64_t backing_off;
	uint32_t backing_len;
};

/* No locks: all is constant after open but the atomics. */
struct qcow2 {
	const struct bytes *file;
	const struct bytes *data; /* where clusters lie: file, or the data file once given */
	struct qcow2_info info;
	char *backing_name;
	char *backing_format;
	char *data_name;

	uint64_t owner; /* of cached slices and clusters */
	uint32_t cluster_bits;
	uint32_t entry_bytes;  /* of one L2 entry: 8, extended 16 */
	uint32_t slice_bytes;  /* of an L2 table */
	uint32_t l1_bits;      /* virtual bytes that one L1 entry maps, as a power of two */
	uint32_t packed_bits;  /* of the host offset in a compressed entry */
	uint32_t subcluster_bits;
	enum qcow2_compression compression;

	struct qcow2_table l1;
	_Atomic(be64 *) *l1_slices; /* each NULL until it is needed */
	_Atomic uint64_t recent[QCOW2_RECENT];
};

/* Read and check the header. */
int qcow2_header_read(const struct bytes *file, const char *name, struct qcow2_header *ret_header,
	struct err *err);

/* Does a table of these entries lie in the file, aligned, behind the header? what names it. */
int qcow2_table_check(const struct bytes *file, uint32_t cluster_bits,
	const struct qcow2_table *table, const char *name, const char *what, struct err *err);

/* L1 entries that map size_bytes. */
uint64_t qcow2_l1_needed(uint32_t cluster_bits, bool extended_l2, uint64_t size_bytes);

/* The name that the image's feature name table has for an incompatible bit; "" if none. */
void qcow2_feature_name(const struct bytes *file, const struct qcow2_header *header, uint8_t bit,
	char text[static sizeof(((struct qcow2_disk_feature *)0)->name) + 1]);

/* Fill in the names: backing file and its format, data file. */
int qcow2_names_read(struct qcow2 *qcow2, const struct qcow2_header *header, const char *name,
	struct err *err);

/* The L1 table and the disk's size of the snapshot with this id or name. */
int qcow2_snapshot_find(const struct bytes *file, const struct qcow2_header *header,
	const char *name, const char *snapshot, struct qcow2_table *ret_l1, uint64_t *ret_size_bytes,
	struct err *err);

/* L1 entries from index on, up to the end of their slice; valid until close. */
int qcow2_l1_slice(struct qcow2 *qcow2, uint64_t index, bool nowait, const be64 **ret_entries,
	uint64_t *ret_n);
void qcow2_l1_free(struct qcow2 *qcow2);

/* Where the L2 table lies that an L1 entry leads to; 0: there is none. -EUCLEAN. */
int qcow2_l2_off(const struct qcow2 *qcow2, uint64_t l1_entry, uint64_t *ret_off);

/* The slice of an L2 table at off of the file. The caller puts the blob back. */
int qcow2_l2_slice(struct qcow2 *qcow2, uint64_t off, bool nowait, struct blob **ret_slice);

/* What entry number index of a slice says of the guest offset off, up to the
 * cluster's end or, with subclusters, as far as they are alike. -EUCLEAN. */
int qcow2_entry_at(const struct qcow2 *qcow2, const void *slice, uint32_t index, uint64_t off,
	struct extent *ret_extent);

static inline uint64_t qcow2_cluster_bytes(const struct qcow2 *qcow2)
{
	return UINT64_C(1) << qcow2->cluster_bits;
}

static inline uint64_t qcow2_in_cluster(const struct qcow2 *qcow2, uint64_t off)
{
	return off & (qcow2_cluster_bytes(qcow2) - 1);
}

#endif
