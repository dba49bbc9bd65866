/* SPDX-License-Identifier: LGPL-2.1-or-later */
/* Reading: cut a range into runs of one owner, ask each owner once.
 *
 * The delta says who owns the next run and fills it if it is its own. Runs
 * that the base owns are not read at once but collected, so that partial
 * blocks at the edges and what lies between them become one read.
 */
#include "fs/disk/private.h"

#include <errno.h>
#include <string.h>

#include "fs/util/round.h"

/* One disk_read under way. */
struct reading {
	struct disk *disk;
	char *buf;
	uint64_t off;      /* of buf in the disk */
	uint64_t done;     /* all below is decided: read, or collected */
	uint64_t from_base; /* [from_base, done) is the base's and not read yet */
	bool nowait;
};

int disk_read_base(struct disk *disk, void *buf, size_t len, uint64_t off, bool nowait)
{
	size_t below = 0;
	int rc = 0;

	if (off < disk->base_end)
		below = (size_t)min_u64(len, disk->base_end - off);
	if (below > 0)
		rc = base_read(disk->base, buf, below, off, nowait);
	if (rc == 0)
		memset((char *)buf + below, 0, len - below);
	return rc;
}

int disk_read_block(struct disk *disk, void *buf, uint64_t block, bool nowait)
{
	enum delta_owner owner;
	int n = delta_read(disk->delta, buf, 1, block, nowait, &owner);

	if (n < 0)
		return n;
	if (owner == DELTA_ABSENT)
		return disk_read_base(disk, buf, BLOCK, block * BLOCK, nowait);
	return 0;
}

static char *at(struct reading *r, uint64_t off)
{
	return r->buf + (off - r->off);
}

/* Read what is collected. */
static int read_collected(struct reading *r)
{
	int rc = 0;

	if (r->from_base < r->done)
		rc = disk_read_base(r->disk, at(r, r->from_base), r->done - r->from_base,
			r->from_base, r->nowait);
	r->from_base = r->done;
	return rc;
}

/* The next len bytes are decided. Collected are those the base owns. */
static int decide(struct reading *r, uint64_t len, enum delta_owner owner)
{
	int rc = 0;

	if (owner != DELTA_ABSENT) {
		rc = read_collected(r);
		r->from_base = r->done + len;
	}
	r->done += len;
	return rc;
}

/* Less than a block: through a block of our own. */
static int read_edge(struct reading *r, uint64_t end)
{
	char block[DELTA_BLOCK_BYTES];
	uint64_t skip = r->done % BLOCK;
	uint64_t len = min_u64(BLOCK - skip, end - r->done);
	enum delta_owner owner;
	int n = delta_read(r->disk->delta, block, 1, r->done / BLOCK, r->nowait, &owner);

	if (n < 0)
		return n;
	if (owner != DELTA_ABSENT)
		memcpy(at(r, r->done), block + skip, len);
	return decide(r, len, owner);
}

static int read_run(struct reading *r, uint64_t end)
{
	uint64_t count = min_u64((end - r->done) / BLOCK, DELTA_BLOCKS_MAX);
	enum delta_owner owner;
	int n = delta_read(r->disk->delta, at(r, r->done), (uint32_t)count, r->done / BLOCK,
		r->nowait, &owner);

	return n < 0 ? n : decide(r, (uint64_t)n * BLOCK, owner);
}

int disk_read(struct disk *disk, void *buf, size_t len, uint64_t off, unsigned int flags)
{
	struct reading r = {
		.disk = disk,
		.buf = buf,
		.off = off,
		.done = off,
		.from_base = off,
		.nowait = flags & DISK_NOWAIT,
	};
	uint64_t end = off + len;

	if (outside(off, len, disk_size(disk)))
		return -EINVAL;
	while (r.done < end) {
		bool whole = r.done % BLOCK == 0 && end - r.done >= BLOCK;
		int rc = whole ? read_run(&r, end) : read_edge(&r, end);

		if (rc < 0)
			return rc;
	}
	return read_collected(&r);
}
