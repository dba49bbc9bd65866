/* SPDX-License-Identifier: LGPL-2.1-or-later */
/* What must hold of any bytes as a qcow2 image: see cowwalk.h. */
#include "tests/lib/cowwalk.h"

#include <errno.h>
#include <stdint.h>
#include <stdlib.h>
#include <string.h>

#include "fs/base/qcow2.h"
#include "fs/util/round.h"

#define MAPS_MAX 512    /* extents looked at: a small file can map a huge disk */
#define UNPACKS_MAX 16
#define PART 4096u

static void require(bool ok)
{
	if (!ok)
		abort();
}

static void check_extent(const struct cow *cow, const struct qcow2_info *info,
	const struct extent *extent, uint64_t off)
{
	require(extent->len > 0 && !outside(off, extent->len, info->size_bytes));
	require((unsigned int)extent->kind <= EXTENT_BELOW);
	if (extent->kind == EXTENT_DATA && info->data_name)
		require(extent->host_off == off);
	else if (extent->kind == EXTENT_DATA)
		require(round_down(extent->host_off, info->cluster_bytes) < cow->len);
	if (extent->kind == EXTENT_PACKED)
		require(extent->host_off < cow->len && extent->packed_len > 0 &&
			extent->packed_len <= 2 * info->cluster_bytes &&
			extent->len <= info->cluster_bytes);
}

/* From the cache or not, a part or the whole: the same bytes. */
static void check_unpack(
	struct qcow2 *q, const struct qcow2_info *info, const struct extent *extent, uint64_t off)
{
	size_t len = (size_t)extent->len;
	size_t part = (size_t)min_u64(len, PART);
	uint8_t *a = malloc(len);
	uint8_t *b = malloc(part);

	if (a && b && qcow2_unpack(q, extent, off, a, len, false) == 0) {
		require(qcow2_unpack(q, extent, off, b, part, false) == 0);
		require(memcmp(a, b, part) == 0);
		require(qcow2_unpack(q, extent, off, b, part, true) == 0);
		require(memcmp(a, b, part) == 0);
	}
	free(a);
	free(b);
}

static void walk(struct cow *cow, struct qcow2 *q)
{
	const struct qcow2_info *info = qcow2_info(q);
	int unpacks = 0;
	uint64_t off = 0;

	require(info->size_bytes <= QCOW2_SIZE_MAX);
	for (int i = 0; i < MAPS_MAX && off < info->size_bytes; i++) {
		struct extent extent;
		int rc = qcow2_map(q, off, info->size_bytes - off, i % 2, &extent);

		require(rc == 0 || rc == -EUCLEAN);
		if (rc < 0) {
			off = round_down(off, info->cluster_bytes) + info->cluster_bytes;
			continue;
		}
		check_extent(cow, info, &extent, off);
		if (extent.kind == EXTENT_PACKED && unpacks++ < UNPACKS_MAX)
			check_unpack(q, info, &extent, off);
		off += extent.len;
	}
}

static bool open_and_walk(struct cow *cow, const char *snapshot)
{
	struct err err = {0};
	struct qcow2 *q = NULL;
	int rc = qcow2_open(&cow->bytes, "image", snapshot, &q, &err);

	require(rc == 0 || rc == -EUCLEAN || rc == -EOPNOTSUPP || (snapshot && rc == -ENOENT));
	require((rc == 0) == (q != NULL) && (rc == 0 || err.message[0]));
	if (q && qcow2_info(q)->data_name)
		qcow2_give_data(q, &cow->bytes);
	if (q)
		walk(cow, q);
	qcow2_close(q);
	return rc == 0;
}

bool cowwalk(struct cow *cow)
{
	bool opens = open_and_walk(cow, NULL);

	return open_and_walk(cow, "1") || opens;
}
