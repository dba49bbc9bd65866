/* SPDX-License-Identifier: LGPL-2.1-or-later */
/* Reading a qcow2 image's disk: see cowread.h. */
#include "tests/lib/cowread.h"

#include <errno.h>
#include <string.h>

static int read_extent(
	struct cowread *read, const struct extent *extent, uint8_t *buf, uint64_t off)
{
	const struct bytes *from = extent->kind == EXTENT_DATA ? read->data : read->backing;

	switch (extent->kind) {
	case EXTENT_PACKED:
		return qcow2_unpack(read->qcow2, extent, off, buf, extent->len, false);
	case EXTENT_DATA:
		return from->read(from->of, buf, extent->len, extent->host_off, false);
	case EXTENT_BELOW:
		if (from)
			return from->read(from->of, buf, extent->len, off, false);
		break;
	case EXTENT_ZERO:
		break;
	}
	memset(buf, 0, extent->len);
	return 0;
}

int cowread(struct cowread *read, void *buf, size_t len, uint64_t off)
{
	while (len > 0) {
		struct extent extent;
		int rc = qcow2_map(read->qcow2, off, len, false, &extent);

		if (rc < 0)
			return rc;
		if (extent.len == 0 || extent.len > len)
			return -EPROTO;
		read->extents[extent.kind]++;
		rc = read_extent(read, &extent, buf, off);
		if (rc < 0)
			return rc;
		buf = (uint8_t *)buf + extent.len;
		off += extent.len;
		len -= extent.len;
	}
	return 0;
}
