/* SPDX-License-Identifier: LGPL-2.1-or-later */
/* qcow2 images in memory: see cow.h. */
#include "tests/lib/cow.h"

#include <assert.h>
#include <errno.h>
#include <stdlib.h>
#include <string.h>

#include "fs/util/round.h"

static int cow_read(void *of, void *buf, size_t len, uint64_t off, bool nowait)
{
	struct cow *cow = of;
	size_t inside = off < cow->len ? (size_t)min_u64(len, cow->len - off) : 0;

	atomic_fetch_add(&cow->reads, 1);
	if (atomic_load(&cow->fail))
		return atomic_load(&cow->fail);
	if (nowait && atomic_load(&cow->cold))
		return -EAGAIN;
	if (inside > 0)
		memcpy(buf, cow->data + off, inside);
	memset((uint8_t *)buf + inside, 0, len - inside);
	return 0;
}

static bool cow_hole(void *of, uint64_t off, uint64_t len, uint64_t *ret_run)
{
	*ret_run = len;
	return false;
}

static void grow(struct cow *cow, uint64_t len)
{
	if (len > cow->room) {
		cow->room = cow->room ? max_u64(len, 2 * cow->room) : len;
		cow->data = realloc(cow->data, cow->room);
	}
	assert(cow->data);
	memset(cow->data + cow->len, 0, len - cow->len);
	cow->len = len;
	cow->bytes.size_bytes = len;
}

static uint64_t cluster_bytes(const struct cow *cow)
{
	return UINT64_C(1) << cow->cluster_bits;
}

void cow_wrap(struct cow *cow, const void *data, uint64_t len)
{
	*cow = (struct cow){.bytes = {cow, 0, cow_read, cow_hole}};
	cow_append(cow, data, len);
}

void cow_free(struct cow *cow)
{
	free(cow->data);
	cow->data = NULL;
}

struct qcow2_disk_header *cow_header(struct cow *cow)
{
	return (struct qcow2_disk_header *)cow->data;
}

uint64_t cow_add_cluster(struct cow *cow)
{
	uint64_t off = round_up(cow->len, cluster_bytes(cow));

	grow(cow, off + cluster_bytes(cow));
	return off;
}

uint64_t cow_append(struct cow *cow, const void *data, uint64_t len)
{
	uint64_t off = cow->len;

	if (len == 0)
		return off;
	grow(cow, off + len);
	memcpy(cow->data + off, data, len);
	return off;
}

void cow_make(struct cow *cow, uint32_t version, uint32_t cluster_bits, uint64_t size_bytes,
	uint64_t incompatible)
{
	uint64_t mapped;
	uint32_t entries;
	uint64_t refcounts;
	uint64_t l1;

	*cow = (struct cow){.bytes = {cow, 0, cow_read, cow_hole},
		.cluster_bits = cluster_bits,
		.entry_bytes = incompatible & QCOW2_EXTENDED_L2 ? 16 : 8};
	mapped = cluster_bytes(cow) * (cluster_bytes(cow) / cow->entry_bytes);
	entries = (uint32_t)(round_up(size_bytes, mapped) / mapped);
	cow_add_cluster(cow);
	refcounts = cow_add_cluster(cow);
	l1 = cow_add_cluster(cow);
	while (cow->len - l1 < entries * sizeof(be64))
		cow_add_cluster(cow);
	*cow_header(cow) = (struct qcow2_disk_header){
		.magic = be32_put(QCOW2_MAGIC),
		.version = be32_put(version),
		.cluster_bits = be32_put(cluster_bits),
		.size_bytes = be64_put(size_bytes),
		.l1_entries = be32_put(entries),
		.l1_off = be64_put(l1),
		.refcount_off = be64_put(refcounts),
		.refcount_clusters = be32_put(1),
	};
	if (version == 2)
		return;
	cow_header(cow)->incompatible = be64_put(incompatible);
	cow_header(cow)->refcount_order = be32_put(4);
	cow_header(cow)->header_len = be32_put(sizeof(struct qcow2_disk_header));
	if (incompatible & QCOW2_COMPRESSION)
		cow_header(cow)->compression = QCOW2_ZSTD;
}

uint8_t cow_byte(uint64_t guest_off)
{
	return (uint8_t)(1 + (guest_off ^ (guest_off >> 9) * 7) % 255);
}

uint64_t cow_add_data(struct cow *cow, uint64_t guest_off)
{
	uint64_t off = cow_add_cluster(cow);

	for (uint64_t i = 0; i < cluster_bytes(cow); i++)
		cow->data[off + i] = cow_byte(guest_off + i);
	return off;
}

static uint64_t l1_at(struct cow *cow, uint64_t guest_off)
{
	uint64_t mapped = cluster_bytes(cow) * (cluster_bytes(cow) / cow->entry_bytes);

	return be64_get(cow_header(cow)->l1_off) + guest_off / mapped * sizeof(be64);
}

static uint64_t get(const struct cow *cow, uint64_t at)
{
	be64 v;

	memcpy(&v, cow->data + at, sizeof(v));
	return be64_get(v);
}

static void put(struct cow *cow, uint64_t at, uint64_t value)
{
	be64 v = be64_put(value);

	assert(at + sizeof(v) <= cow->len);
	memcpy(cow->data + at, &v, sizeof(v));
}

void cow_set_l1(struct cow *cow, uint64_t guest_off, uint64_t entry)
{
	put(cow, l1_at(cow, guest_off), entry);
}

static uint64_t entry_at(struct cow *cow, uint64_t guest_off)
{
	uint64_t entries = cluster_bytes(cow) / cow->entry_bytes;
	uint64_t l2;

	if (get(cow, l1_at(cow, guest_off)) == 0) {
		l2 = cow_add_cluster(cow);
		cow_set_l1(cow, guest_off, l2 | QCOW2_ENTRY_HINT);
	}
	l2 = get(cow, l1_at(cow, guest_off)) & QCOW2_ENTRY_OFFSET;
	return l2 + guest_off / cluster_bytes(cow) % entries * cow->entry_bytes;
}

void cow_set(struct cow *cow, uint64_t guest_off, uint64_t entry)
{
	uint64_t at = entry_at(cow, guest_off);

	put(cow, at, entry);
}

void cow_set_bitmap(struct cow *cow, uint64_t guest_off, uint64_t bitmap)
{
	uint64_t at = entry_at(cow, guest_off);

	put(cow, at + sizeof(be64), bitmap);
}

static uint64_t header_len(struct cow *cow)
{
	return be32_get(cow_header(cow)->version) == 2 ? QCOW2_V2_HEADER_LEN
						       : be32_get(cow_header(cow)->header_len);
}

void cow_add_extension(struct cow *cow, uint32_t type, const void *data, uint32_t len)
{
	struct qcow2_disk_extension ext;
	uint64_t at = header_len(cow);

	memcpy(&ext, cow->data + at, sizeof(ext));
	while (be32_get(ext.type) != QCOW2_EXT_END) {
		at = round_up(at + sizeof(ext) + be32_get(ext.len), 8);
		memcpy(&ext, cow->data + at, sizeof(ext));
	}
	ext = (struct qcow2_disk_extension){be32_put(type), be32_put(len)};
	assert(at + sizeof(ext) + len <= cluster_bytes(cow));
	memcpy(cow->data + at, &ext, sizeof(ext));
	memcpy(cow->data + at + sizeof(ext), data, len);
}

void cow_set_backing(struct cow *cow, const char *name)
{
	uint64_t at = cluster_bytes(cow) - strlen(name);

	cow_header(cow)->backing_off = be64_put(at);
	cow_header(cow)->backing_len = be32_put((uint32_t)strlen(name));
	memcpy(cow->data + at, name, strlen(name));
}

uint64_t cow_packed_entry(const struct cow *cow, uint64_t host_off, uint64_t more_sectors)
{
	return QCOW2_ENTRY_COMPRESSED | host_off | more_sectors << (62 - (cow->cluster_bits - 8));
}
