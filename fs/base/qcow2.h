/* SPDX-License-Identifier: LGPL-2.1-or-later */
/* Reader of qcow2 images, versions 2 and 3: where each guest byte lies. Private to fs/base.
 *
 *	qcow2_open      check the header and what hangs on it; read no table yet
 *	qcow2_info      sizes, and the names of other files that it asks for
 *	qcow2_give_data the external data file, once the caller allowed that very file
 *	qcow2_map       which extent owns a guest offset (tables are read on demand)
 *	qcow2_unpack    bytes of a compressed cluster
 *	qcow2_close
 *
 * The image is hostile input. Every offset, size and count is checked against
 * the file's size and a named limit before it is used; what the format
 * reserves must be zero. Nothing is allocated in proportion to a number in the
 * image beyond these limits. No other file is opened here: the names in the
 * image are handed out as text, and the caller opens what it allows.
 *
 * Refused by name (-EOPNOTSUPP): unknown incompatible features, encryption, an
 * unknown compression type, a version other than 2 and 3, a data file that
 * was not given. -EUCLEAN: damaged, or marked corrupt. Images whose
 * refcounts are not up to date (dirty bit, lazy refcounts) are read: reading
 * needs no refcounts. Stricter than QEMU: tables and data that lie wholly
 * behind the file's end are -EUCLEAN (the file was cut off), not zeros.
 *
 * Source: docs/interop/qcow2.txt of QEMU ("the specification").
 *
 * Threads: qcow2_map and qcow2_unpack from any thread; tables and unpacked
 * clusters are kept in caches (cache.h) that all users of the image share, one
 * fetch for many waiters. No lock is held while bytes are read or unpacked.
 */
#ifndef FS_BASE_QCOW2_H
#define FS_BASE_QCOW2_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "fs/base/bytes.h"
#include "fs/util/err.h"

/* Limits. QEMU's own where it has one. */
#define QCOW2_CLUSTER_BITS_MIN 9
#define QCOW2_CLUSTER_BITS_MAX 21
#define QCOW2_L1_MAX (32u << 20)      /* bytes of one L1 table */
#define QCOW2_NAME_MAX 1023           /* bytes of a backing or data file's name */
#define QCOW2_SNAPSHOTS_MAX 65536
#define QCOW2_SNAPSHOT_TABLE_MAX (16u << 20) /* bytes */
#define QCOW2_SNAPSHOT_EXTRA_MAX 1024        /* bytes of extra data of one snapshot */
#define QCOW2_EXTENSIONS_MAX 256      /* header extensions; the specification knows five */
#define QCOW2_FEATURES_MAX 512        /* entries of the feature name table */
#define QCOW2_REFCOUNT_MAX (8u << 20) /* bytes of the refcount table; it is not read */
#define QCOW2_SIZE_MAX (UINT64_C(1) << 46) /* virtual bytes, 64 TiB: as of any disk */

struct qcow2;

struct qcow2_info {
	uint32_t version;
	uint32_t cluster_bytes;
	bool extended_l2;          /* subclusters */
	uint64_t size_bytes;       /* virtual, whole sectors; the snapshot's own when one is open */
	const char *backing_name;  /* as in the image, may be relative; NULL: none */
	const char *backing_format; /* as declared; NULL: not declared */
	const char *data_name;     /* external data file, as in the image; NULL: none */
	bool data_raw;             /* the data file is a raw image of the whole */
};

/* snapshot: its id or name (ids win); NULL: the image as it is now. name is for
 * messages. file must live until qcow2_close(). -ENOENT: no such snapshot. */
int qcow2_open(const struct bytes *file, const char *name, const char *snapshot,
	struct qcow2 **ret_qcow2, struct err *err);
void qcow2_close(struct qcow2 *qcow2); /* NULL allowed */

/* Valid until qcow2_close(). */
const struct qcow2_info *qcow2_info(const struct qcow2 *qcow2);

/* The external data file of an image that has a data_name: data must live until
 * qcow2_close(). Before the first qcow2_map(), which fails without it. */
void qcow2_give_data(struct qcow2 *qcow2, const struct bytes *data);

enum extent_kind {
	EXTENT_DATA,   /* at host_off of the image, or of its data file */
	EXTENT_ZERO,
	EXTENT_PACKED, /* compressed: qcow2_unpack() */
	EXTENT_BELOW,  /* the backing image owns it; zeros if there is none */
};

struct extent {
	enum extent_kind kind;
	uint64_t len;      /* bytes from the asked offset on, at least 1 */
	uint64_t host_off; /* DATA: of the first byte asked for; PACKED: of the packed bytes */
	uint32_t packed_len; /* PACKED: at most this many bytes */
};

/* The extent at off; off + len must not pass the virtual size. Neighbours of one kind are
 * joined while that costs no further table read. -EAGAIN with nowait: a table
 * is not at hand. -EIO: unreadable; -EUCLEAN: damaged (no part of it is guessed). */
int qcow2_map(struct qcow2 *qcow2, uint64_t off, uint64_t len, bool nowait,
	struct extent *ret_extent);

/* len bytes at guest offset off, which lie in one packed extent. With nowait
 * only from the cache, else -EAGAIN. -EUCLEAN: they do not unpack to a cluster;
 * the format has no checksums, so other damage to them is not seen. */
int qcow2_unpack(struct qcow2 *qcow2, const struct extent *extent, uint64_t off, void *buf,
	size_t len, bool nowait);

#endif
