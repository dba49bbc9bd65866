/* SPDX-License-Identifier: LGPL-2.1-or-later */
/* Checking an open delta: see verify.h. Writes nothing. */
#include "fs/store/verify.h"

#include <errno.h>
#include <stdlib.h>

#include "fs/store/handle.h"
#include "fs/util/cleanup.h"
#include "fs/util/round.h"

/* Verify the data run at block: count blocks at most. A run that fails is
 * read again block by block, to know how many are bad. Returns the blocks that
 * are done with. */
static int verify_run(struct delta *delta, void *buf, uint32_t count, uint64_t block,
	struct delta_verified *v)
{
	enum delta_owner owner;
	int n = delta_read(delta, buf, count, block, false, &owner);

	if (n == -EIO && atomic_load(&delta->log.broken))
		return -EIO;
	if (n == -EIO && count > 1) {
		for (uint32_t i = 0; i < count; i++) {
			n = verify_run(delta, buf, 1, block + i, v);
			if (n < 0)
				return n;
		}
		return (int)count;
	}
	if (n == -EIO) {
		v->data_blocks++;
		v->bad_blocks++;
		v->first_bad = min_u64(v->first_bad, block);
		return 1;
	}
	if (n > 0 && owner == DELTA_DATA)
		v->data_blocks += (uint64_t)n;
	return n;
}

/* The next run of one owner. Returns the blocks that are done with. */
static int64_t verify_next(struct delta *delta, void *buf, uint64_t max_blocks,
	struct delta_verified *v)
{
	uint64_t run;
	enum delta_owner owner =
		delta_map(delta, v->next_block, v->end_block - v->next_block, &run);

	if (owner == DELTA_DATA) {
		run = min_u64(min_u64(run, max_blocks), DELTA_BLOCKS_MAX);
		return verify_run(delta, buf, (uint32_t)run, v->next_block, v);
	}
	if (owner == DELTA_BAD) {
		v->bad_blocks += run;
		v->marked_blocks += run;
	}
	return (int64_t)run;
}

int delta_verify(struct delta *delta, uint64_t from_block, uint64_t max_blocks,
	struct delta_verified *ret_verified)
{
	struct delta_verified v = {
		.next_block = from_block,
		.end_block = delta_blocks(delta),
		.first_bad = UINT64_MAX,
	};
	AUTO_FREE void *buf = NULL;

	if (from_block > v.end_block)
		return -EINVAL;
	if (atomic_load(&delta->log.broken))
		return -EIO;
	buf = malloc((size_t)DELTA_BLOCKS_MAX * DELTA_BLOCK_BYTES);
	if (!buf)
		return -ENOMEM;
	while (v.next_block < v.end_block && v.data_blocks < max_blocks) {
		int64_t n = verify_next(delta, buf, max_blocks - v.data_blocks, &v);

		if (n < 0)
			return (int)n;
		v.next_block += (uint64_t)n;
	}
	*ret_verified = v;
	return 0;
}
