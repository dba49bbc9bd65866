/* SPDX-License-Identifier: LGPL-2.1-or-later */
/* Data of a held base: which image owns a run, its bytes, its holes.
 *
 * A range is cut into runs of one owner. The top image is asked first; what it
 * does not own is put to the image below as a whole, and so on. An image that
 * ends before the one above it reads as zeros from there, whatever lies below.
 * Runs that lie one after the other in the same file become one read.
 *
 * One raw image is the common case and goes to its file at once.
 */
#include "fs/base/chain.h"

#include <errno.h>
#include <string.h>

#include "fs/util/round.h"

/* base_hole() joins neighbours of one kind, but goes on for so many only:
 * each may cost the read of a table. */
#define HOLE_STEPS_MAX 256

/* What a cached table says of a file that has changed since is not to be
 * told. Suspended files need no look: what is cached is what was there before,
 * and what is not waits at the gate. */
static bool has_changed(const struct base *base)
{
	for (uint32_t i = 0; i < base->n_files; i++) {
		if (gate_state(&base->files[i]->gate) == BASE_CHANGED)
			return true;
	}
	return false;
}

/* The run at off, of at most len bytes, and its owner. EXTENT_ZERO where
 * nobody has it; never EXTENT_BELOW. */
static int find_owner(const struct base *base, uint64_t off, uint64_t len, bool nowait,
	struct image **ret_image, struct extent *ret_extent)
{
	for (uint32_t i = 0; i < base->n_images; i++) {
		struct image *image = base->images[i];
		int rc;

		if (off >= image->size_bytes)
			break;
		len = min_u64(len, image->size_bytes - off);
		rc = image_map(image, off, len, nowait, ret_extent);
		if (rc < 0)
			return rc;
		len = ret_extent->len;
		*ret_image = image;
		if (ret_extent->kind != EXTENT_BELOW)
			return 0;
	}
	*ret_extent = (struct extent){.kind = EXTENT_ZERO, .len = len};
	return 0;
}

/* ---- reading ---- */

/* One read of a base under way. */
struct reading {
	struct base *base;
	char *buf; /* of what is not decided yet */
	bool nowait;

	/* Decided and not read yet: the bytes before buf, from one file. */
	struct file *file;
	uint64_t host_off;
	size_t collected;
};

static int read_collected(struct reading *r)
{
	int rc = 0;

	if (r->collected > 0)
		rc = file_read(r->file, r->buf - r->collected, r->collected, r->host_off, r->nowait);
	r->collected = 0;
	return rc;
}

static int collect(struct reading *r, struct file *file, const struct extent *extent)
{
	int rc = 0;

	if (r->file != file || r->host_off + r->collected != extent->host_off)
		rc = read_collected(r);
	if (r->collected == 0)
		r->host_off = extent->host_off;
	r->file = file;
	r->collected += extent->len;
	return rc;
}

static int read_extent(struct reading *r, struct image *image, const struct extent *extent,
	uint64_t off)
{
	int rc;

	if (extent->kind == EXTENT_DATA)
		return collect(r, image_data_file(image), extent);
	rc = read_collected(r);
	if (rc == 0 && extent->kind == EXTENT_PACKED)
		rc = qcow2_unpack(image->qcow2, extent, off, r->buf, extent->len, r->nowait);
	else if (rc == 0)
		memset(r->buf, 0, extent->len);
	return rc;
}

static int read_chain(struct base *base, void *buf, size_t len, uint64_t off, bool nowait)
{
	struct reading r = {.base = base, .buf = buf, .nowait = nowait};
	uint64_t end = off + len;

	if (has_changed(base))
		return -EIO;
	while (off < end) {
		struct image *image = NULL;
		struct extent extent;
		int rc = find_owner(base, off, end - off, nowait, &image, &extent);

		if (rc == 0)
			rc = read_extent(&r, image, &extent, off);
		if (rc < 0)
			return rc == -EUCLEAN ? -EIO : rc;
		off += extent.len;
		r.buf += extent.len;
	}
	return read_collected(&r);
}

int base_read(struct base *base, void *buf, size_t len, uint64_t off, bool nowait)
{
	if (base->only)
		return file_read(base->only, buf, len, off, nowait);
	return read_chain(base, buf, len, off, nowait);
}

/* ---- holes ---- */

/* The run at off: a hole? What cannot be told is data. */
static bool hole_at(struct base *base, uint64_t off, uint64_t len, uint64_t *ret_run)
{
	struct image *image = NULL;
	struct extent extent;

	*ret_run = len;
	if (find_owner(base, off, len, false, &image, &extent) < 0)
		return false;
	if (extent.kind == EXTENT_DATA)
		return file_hole(image_data_file(image), extent.host_off, extent.len, ret_run);
	*ret_run = extent.len;
	return extent.kind == EXTENT_ZERO;
}

static bool chain_hole(struct base *base, uint64_t off, uint64_t len, uint64_t *ret_run)
{
	uint64_t run;
	bool hole = hole_at(base, off, len, &run);

	for (unsigned int i = 1; i < HOLE_STEPS_MAX && run < len; i++) {
		uint64_t more;

		if (hole_at(base, off + run, len - run, &more) != hole)
			break;
		run += more;
	}
	*ret_run = run;
	/* Last, for what became of the tables while we looked. */
	return hole && !has_changed(base);
}

bool base_hole(struct base *base, uint64_t off, uint64_t len, uint64_t *ret_run)
{
	if (base->only)
		return file_hole(base->only, off, len, ret_run);
	return chain_hole(base, off, len, ret_run);
}
