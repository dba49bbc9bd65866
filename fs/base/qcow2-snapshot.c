/* SPDX-License-Identifier: LGPL-2.1-or-later */
/* Internal snapshots: finding one in the snapshot table. See qcow2-image.h.
 *
 * The table is read entry by entry, and only when a snapshot is asked for. A
 * snapshot is another L1 table on the same clusters; where that ends before
 * the disk does, nothing is allocated.
 */
#include <errno.h>
#include <inttypes.h>
#include <stdlib.h>
#include <string.h>

#include "fs/base/qcow2-image.h"
#include "fs/util/cleanup.h"
#include "fs/util/round.h"

/* One entry: its fixed part, and where the parts of variable length lie. */
struct entry {
	struct qcow2_table l1;
	uint64_t extra_off;
	uint32_t extra_len;
	uint64_t id_off;
	uint16_t id_len;
	uint64_t name_off;
	uint16_t name_len;
	uint64_t end;
};

static int read_entry(const struct bytes *file, uint64_t off, struct entry *ret_entry)
{
	struct qcow2_disk_snapshot disk;
	int rc;

	if (outside(off, sizeof(disk), file->size_bytes))
		return -EUCLEAN;
	rc = file->read(file->of, &disk, sizeof(disk), off, false);
	if (rc < 0)
		return rc;
	*ret_entry = (struct entry){
		.l1 = {.off = be64_get(disk.l1_off), .entries = be32_get(disk.l1_entries)},
		.extra_off = off + sizeof(disk),
		.extra_len = be32_get(disk.extra_len),
		.id_len = be16_get(disk.id_len),
		.name_len = be16_get(disk.name_len),
	};
	if (ret_entry->extra_len > QCOW2_SNAPSHOT_EXTRA_MAX)
		return -EUCLEAN;
	ret_entry->id_off = ret_entry->extra_off + ret_entry->extra_len;
	ret_entry->name_off = ret_entry->id_off + ret_entry->id_len;
	ret_entry->end = round_up(ret_entry->name_off + ret_entry->name_len, 8);
	/* The last entry's padding may be missing. */
	return outside(off, ret_entry->name_off + ret_entry->name_len - off, file->size_bytes)
		       ? -EUCLEAN
		       : 0;
}

/* 1: the bytes at off are this text. */
static int is_text(const struct bytes *file, uint64_t off, size_t len, const char *text)
{
	char buf[256];

	if (strlen(text) != len)
		return 0;
	while (len > 0) {
		size_t n = (size_t)min_u64(len, sizeof(buf));
		int rc = file->read(file->of, buf, n, off, false);

		if (rc < 0)
			return rc;
		if (memcmp(buf, text, n) != 0)
			return 0;
		text += n;
		off += n;
		len -= n;
	}
	return 1;
}

/* Walk the table for the first entry with this id and the first with this
 * name. 1: *ret_entry is the one; 0: there is none. */
static int search(const struct bytes *file, const struct qcow2_header *header, const char *snapshot,
	struct entry *ret_entry)
{
	uint64_t off = header->snapshots_off;
	struct entry entry;
	bool named = false;

	for (uint32_t i = 0; i < header->snapshots; i++) {
		int rc = read_entry(file, off, &entry);

		if (rc == 0)
			rc = is_text(file, entry.id_off, entry.id_len, snapshot);
		if (rc == 1)
			*ret_entry = entry;
		if (rc != 0)
			return rc;
		rc = named ? 0 : is_text(file, entry.name_off, entry.name_len, snapshot);
		if (rc < 0)
			return rc;
		if (rc == 1)
			*ret_entry = entry;
		named |= rc == 1;
		off = entry.end;
		if (off - header->snapshots_off > QCOW2_SNAPSHOT_TABLE_MAX)
			return -EUCLEAN;
	}
	return named;
}

/* The disk's size when the snapshot was taken. Version 2 may not say: then a
 * disk with snapshots could not be resized. */
static int read_size(const struct bytes *file, const struct qcow2_header *header,
	const struct entry *entry, uint64_t *ret_size_bytes)
{
	be64 size;
	int rc;

	if (entry->extra_len < QCOW2_SNAPSHOT_EXTRA_MIN) {
		*ret_size_bytes = header->size_bytes;
		return header->version == 2 ? 0 : -EUCLEAN;
	}
	rc = file->read(
		file->of, &size, sizeof(size), entry->extra_off + QCOW2_SNAPSHOT_SIZE_AT, false);
	if (rc < 0)
		return rc;
	*ret_size_bytes = round_down(be64_get(size), QCOW2_SECTOR);
	return *ret_size_bytes > QCOW2_SIZE_MAX ? -EUCLEAN : 0;
}

static int not_found(const char *name, const char *snapshot, struct err *err)
{
	err_set(err, -ENOENT, "%s: no snapshot %s", name, snapshot);
	err_hint(err, "qemu-img snapshot -l lists them");
	return -ENOENT;
}

int qcow2_snapshot_find(const struct bytes *file, const struct qcow2_header *header,
	const char *name, const char *snapshot, struct qcow2_table *ret_l1,
	uint64_t *ret_size_bytes, struct err *err)
{
	struct entry entry;
	int rc = search(file, header, snapshot, &entry);

	if (rc == 0)
		return not_found(name, snapshot, err);
	if (rc > 0)
		rc = read_size(file, header, &entry, ret_size_bytes);
	if (rc == -EUCLEAN)
		return err_set(err, rc, "%s: damaged snapshot table", name);
	if (rc < 0)
		return err_sys(err, rc, "%s: cannot read the snapshot table", name);
	*ret_l1 = entry.l1;
	return qcow2_table_check(
		file, header->cluster_bits, &entry.l1, name, "L1 table of the snapshot", err);
}
