/* SPDX-License-Identifier: LGPL-2.1-or-later */
/* Where a sample looks and how it adds up: see sample.h.
 *
 * 16 pieces of 4 KiB, evenly spaced from the first (boot sector, partition
 * table, qcow2 header) to the last (backup partition table). Pieces start at
 * multiples of 4 KiB so that one piece is one page and one device read; in an
 * image up to 64 KiB they overlap and cover all of it. The hash of each piece
 * seeds the next, and the size seeds the first.
 */
#include "fs/base/sample.h"

#include "fs/util/cleanup.h"
#include "fs/util/hash.h"
#include "fs/util/round.h"

#define PIECE_BYTES 4096u
#define PIECES 16u

static uint64_t piece_offset(uint64_t size_bytes, unsigned int i)
{
	uint64_t pages = round_up(size_bytes, PIECE_BYTES) / PIECE_BYTES;

	return (pages - 1) * i / (PIECES - 1) * PIECE_BYTES;
}

static int add_up(const struct raw *raw, uint64_t *ret_sample)
{
	_Alignas(RAW_DIRECT_BYTES) unsigned char piece[PIECE_BYTES];
	uint64_t sum = raw->size_bytes;

	for (unsigned int i = 0; i < PIECES; i++) {
		uint64_t off = piece_offset(raw->size_bytes, i);
		int rc = raw_read(raw, piece, sizeof(piece), off, false);

		if (rc < 0)
			return rc;
		sum = hash64(piece, sizeof(piece), sum);
	}
	*ret_sample = sum;
	return 0;
}

/* Of a file the times tell what the page cache may not know yet. */
int sample_take(const struct raw *raw, uint64_t *ret_sample)
{
	struct raw medium;
	int rc;

	if (!raw->device)
		return add_up(raw, ret_sample);
	rc = raw_open_medium(raw, &medium);
	if (rc < 0)
		return rc;
	rc = add_up(&medium, ret_sample);
	close_fd(&medium.fd);
	return rc;
}
