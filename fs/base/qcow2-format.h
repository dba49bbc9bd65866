/* SPDX-License-Identifier: LGPL-2.1-or-later */
/* The qcow2 format as far as a reader needs it. Private to the qcow2 reader.
 *
 * All numbers are big-endian. A file is cut into clusters of 2^cluster_bits
 * bytes (9 to 21); the virtual disk into clusters of the same size.
 *
 *	cluster 0   header, header extensions, the backing file's name
 *	elsewhere   L1 table (contiguous), L2 tables (one cluster each), data,
 *	            refcounts, snapshot table, bitmaps: anywhere, cluster-aligned
 *
 * L1 entry: the offset of an L2 table, 0 if all it maps is unallocated.
 *
 *	63     a hint for writers
 *	56-62  reserved, 0
 *	9-55   offset, cluster-aligned
 *	0-8    reserved, 0
 *
 * L2 entry: one virtual cluster.
 *
 *	63     a hint for writers; 0 in a compressed entry
 *	62     compressed
 *	standard:
 *	56-61  reserved, 0
 *	9-55   host offset, cluster-aligned; 0: unallocated (with an external
 *	       data file and bit 63 set: allocated at 0)
 *	1-8    reserved, 0
 *	0      reads as zeros; always 0 in version 2 and with extended entries
 *	compressed, x = 62 - (cluster_bits - 8):
 *	x-61   512-byte sectors that the packed bytes reach into beyond the first
 *	0-x-1  host offset of the packed bytes, any byte; bits above 55 are 0
 *
 * Extended L2 entry: 16 bytes, a standard or compressed one and a bitmap of 32
 * subclusters: bits 0-31 allocated, bits 32-63 reads as zeros, never both. All
 * 0 beside a compressed entry.
 *
 * Unallocated clusters and subclusters belong to the backing image. Packed
 * bytes are a raw deflate stream (window 2^12) or zstd frames; unpacking ends
 * when a cluster is full, what follows in the last sector is anything.
 */
#ifndef FS_BASE_QCOW2_FORMAT_H
#define FS_BASE_QCOW2_FORMAT_H

#include <assert.h>
#include <stdint.h>

#include "fs/util/be.h"

#define QCOW2_MAGIC 0x514649fbu /* "QFI" 0xfb */

struct qcow2_disk_header {
	be32 magic;
	be32 version;
	be64 backing_off; /* 0: none */
	be32 backing_len;
	be32 cluster_bits;
	be64 size_bytes;
	be32 encryption; /* 0 none, 1 AES, 2 LUKS */
	be32 l1_entries;
	be64 l1_off;
	be64 refcount_off;
	be32 refcount_clusters;
	be32 snapshots;
	be64 snapshots_off;
	/* Version 2 ends here. */
	be64 incompatible; /* feature bits that a reader must know */
	be64 compatible;
	be64 autoclear;
	be32 refcount_order;
	be32 header_len;
	/* Present if header_len says so, else as if 0. */
	uint8_t compression;
	uint8_t padding[7];
};
static_assert(sizeof(struct qcow2_disk_header) == 112, "header");

#define QCOW2_V2_HEADER_LEN 72
#define QCOW2_V3_HEADER_LEN 104 /* at least */

enum qcow2_incompatible {
	QCOW2_DIRTY = 1 << 0,       /* refcounts may be wrong */
	QCOW2_CORRUPT = 1 << 1,
	QCOW2_DATA_FILE = 1 << 2,   /* clusters lie in another file, at their own offset */
	QCOW2_COMPRESSION = 1 << 3, /* the field compression is not 0 */
	QCOW2_EXTENDED_L2 = 1 << 4,
	QCOW2_KNOWN = (1 << 5) - 1,
};

#define QCOW2_AUTOCLEAR_RAW 2u /* bit 1: the data file is a raw image */

enum qcow2_compression { QCOW2_ZLIB = 0, QCOW2_ZSTD = 1 };

/* Then len bytes, padded to a multiple of 8. */
struct qcow2_disk_extension {
	be32 type;
	be32 len;
};
static_assert(sizeof(struct qcow2_disk_extension) == 8, "extension");

#define QCOW2_EXT_END 0u
#define QCOW2_EXT_BACKING_FORMAT 0xe2792acau
#define QCOW2_EXT_FEATURE_NAMES 0x6803f857u
#define QCOW2_EXT_DATA_FILE 0x44415441u

/* One of the feature name table. */
struct qcow2_disk_feature {
	uint8_t word; /* 0: incompatible */
	uint8_t bit;
	char name[46]; /* padded with zeros */
};
static_assert(sizeof(struct qcow2_disk_feature) == 48, "feature");

/* Then extra_len bytes (the first 16: VM state's and the disk's size, 8 each),
 * the id, the name, padding to a multiple of 8. */
struct qcow2_disk_snapshot {
	be64 l1_off;
	be32 l1_entries;
	be16 id_len;
	be16 name_len;
	be32 sec;
	be32 nsec;
	be64 run_nsec;
	be32 state_len;
	be32 extra_len;
};
static_assert(sizeof(struct qcow2_disk_snapshot) == 40, "snapshot");

#define QCOW2_SNAPSHOT_SIZE_AT 8  /* of the disk's size in the extra data */
#define QCOW2_SNAPSHOT_EXTRA_MIN 16 /* in version 3 */

#define QCOW2_ENTRY_OFFSET UINT64_C(0x00fffffffffffe00)
#define QCOW2_ENTRY_HINT (UINT64_C(1) << 63)
#define QCOW2_ENTRY_COMPRESSED (UINT64_C(1) << 62)
#define QCOW2_ENTRY_ZERO UINT64_C(1)
#define QCOW2_L1_RESERVED UINT64_C(0x7f000000000001ff)
#define QCOW2_L2_RESERVED UINT64_C(0x3f000000000001fe)

struct qcow2_disk_extended_entry {
	be64 entry;
	be64 bitmap;
};
static_assert(sizeof(struct qcow2_disk_extended_entry) == 16, "extended entry");

#define QCOW2_SUBCLUSTERS 32
#define QCOW2_SUBCLUSTER_CLUSTER_BITS_MIN 14
#define QCOW2_SECTOR 512u /* unit of a compressed entry's length */

#endif
