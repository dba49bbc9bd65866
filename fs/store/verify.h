/* SPDX-License-Identifier: LGPL-2.1-or-later */
/* Checking an open delta: every block that it owns is read and verified, a slice at a time.
 *
 * Beside guests' reads and writes: a block is checked as it is when its turn
 * comes. What is read comes from the page cache where it is there; what the
 * medium has is read by opening the delta anew, or by lazyclone-fsck -f.
 */
#ifndef FS_STORE_VERIFY_H
#define FS_STORE_VERIFY_H

#include <stdint.h>

#include "fs/store/delta.h"

struct delta_verified {
	uint64_t next_block;  /* where to go on; the disk's end: all is checked */
	uint64_t end_block;   /* of the disk, now */
	uint64_t data_blocks; /* read in this slice */
	uint64_t bad_blocks;  /* that did not verify, or that repair marked as lost */
	uint64_t marked_blocks; /* the latter of these */
	uint64_t first_bad;   /* that did not verify; UINT64_MAX: none */
};

/* Check from from_block on until max_blocks data blocks were read; blocks that
 * the delta does not own or that are zeros cost nothing. A bad block is counted and no
 * failure. -EIO: the delta is broken (delta.h); -EINVAL: from_block is beyond
 * the end; -ENOMEM. */
int delta_verify(struct delta *delta, uint64_t from_block, uint64_t max_blocks,
	struct delta_verified *ret_verified);

#endif
