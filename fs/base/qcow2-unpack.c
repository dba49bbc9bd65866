/* SPDX-License-Identifier: LGPL-2.1-or-later */
/* Bytes of compressed clusters.
 *
 * A cluster that is asked for the first time in a while is unpacked only as
 * far as it is needed, and not kept: random reads of a large image seldom
 * come back, and need half a cluster on average. Asked for again, it is
 * unpacked as a whole, once for all who ask, and kept in the cache.
 */
#include <assert.h>
#include <errno.h>
#include <string.h>

#include "fs/base/inflate.h"
#include "fs/base/qcow2-image.h"

/* Unpack the first len bytes of the cluster to out. */
static int unpack_with(const struct qcow2 *q, struct inflater *inflater,
	const struct extent *extent, void *out, size_t len)
{
	void *packed = inflater_packed(inflater, extent->packed_len);
	int rc;

	if (!packed)
		return -ENOMEM;
	rc = q->file->read(q->file->of, packed, extent->packed_len, extent->host_off, false);
	if (rc < 0)
		return rc;
	if (q->compression == QCOW2_ZSTD)
		return inflate_zstd(inflater, packed, extent->packed_len, out, len);
	return inflate_deflate(inflater, packed, extent->packed_len, out, len);
}

struct request {
	const struct qcow2 *q;
	const struct extent *extent;
};

static int fetch_cluster(void *with, void *buf, size_t len, uint64_t off, bool nowait)
{
	struct request *request = with;
	struct inflater *inflater = inflater_get();
	int rc;

	assert(!nowait);
	if (!inflater)
		return -ENOMEM;
	rc = unpack_with(request->q, inflater, request->extent, buf, len);
	inflater_put(inflater);
	return rc;
}

static int unpack_prefix(
	const struct qcow2 *q, const struct extent *extent, size_t skip, void *buf, size_t len)
{
	struct inflater *inflater = inflater_get();
	void *out;
	int rc;

	if (!inflater)
		return -ENOMEM;
	out = skip == 0 ? buf : inflater_prefix(inflater, skip + len);
	rc = out ? unpack_with(q, inflater, extent, out, skip + len) : -ENOMEM;
	if (rc == 0 && skip > 0)
		memcpy(buf, (const char *)out + skip, len);
	inflater_put(inflater);
	return rc;
}

/* Was this cluster asked for lately? Now it was. */
static bool seen(struct qcow2 *q, uint64_t host_off)
{
	uint64_t slot = (host_off * UINT64_C(0x9e3779b97f4a7c15)) >> 32;

	return atomic_exchange_explicit(
		       &q->recent[slot % QCOW2_RECENT], host_off, memory_order_relaxed) == host_off;
}

static void copy_out(struct blob *blob, size_t skip, void *buf, size_t len)
{
	memcpy(buf, (const char *)blob_bytes(blob) + skip, len);
	blob_put(blob);
}

int qcow2_unpack(struct qcow2 *qcow2, const struct extent *extent, uint64_t off, void *buf,
	size_t len, bool nowait)
{
	struct cache_key key = {qcow2->owner, extent->host_off};
	struct request request = {qcow2, extent};
	size_t skip = qcow2_in_cluster(qcow2, off);
	struct blob *blob = cache_peek(CACHE_CLUSTERS, key);
	int rc;

	assert(extent->kind == EXTENT_PACKED && len <= qcow2_cluster_bytes(qcow2) - skip);
	if (blob) {
		copy_out(blob, skip, buf, len);
		return 0;
	}
	if (nowait)
		return -EAGAIN;
	if (!seen(qcow2, extent->host_off))
		return unpack_prefix(qcow2, extent, skip, buf, len);
	rc = cache_get(CACHE_CLUSTERS, key, qcow2_cluster_bytes(qcow2), false, fetch_cluster,
		&request, &blob);
	if (rc < 0)
		return rc;
	copy_out(blob, skip, buf, len);
	return 0;
}
