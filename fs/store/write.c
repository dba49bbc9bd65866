/* SPDX-License-Identifier: LGPL-2.1-or-later */
/* Writing blocks: pack them outside all locks, then append one record. */
#include <errno.h>

#include "fs/store/handle.h"
#include "fs/store/scratch.h"
#include "fs/util/hash.h"
#include "fs/util/round.h"

/* Payloads into scratch->body, each behind the room for its block sum. */
static void pack_blocks(struct scratch *scratch, const uint8_t *buf, uint32_t count)
{
	uint8_t *body = scratch->body;

	for (uint32_t i = 0; i < count; i++, buf += DELTA_BLOCK_BYTES) {
		uint32_t len;

		if (codec_is_zero(buf)) {
			scratch->len[i] = 0;
			continue;
		}
		len = codec_pack(scratch->lz4_state, buf, body + FORMAT_BLOCK_SUM);
		scratch->len[i] = (uint16_t)len;
		scratch->hash[i] = hash64(body + FORMAT_BLOCK_SUM, len, 0);
		body += FORMAT_BLOCK_SUM + len;
	}
}

int delta_write(struct delta *delta, const void *buf, uint32_t count, uint64_t block)
{
	struct scratch *scratch = scratch_get();
	struct log_request request = {
		.type = FORMAT_DATA,
		.block = block,
		.count = count,
	};

	if (count == 0 || count > DELTA_BLOCKS_MAX || outside(block, count, delta_blocks(delta)))
		return -EINVAL;
	if (!scratch)
		return -ENOMEM;
	pack_blocks(scratch, buf, count);
	request.len = scratch->len;
	request.hash = scratch->hash;
	request.body = scratch->body;
	clean_pace(&delta->log.cleaner);
	return log_append(&delta->log, &request);
}

/* A run of zeros is one entry of the index, while data are counted block by
 * block under its lock: so the first block is asked alone. */
static bool is_zero(struct delta *delta, uint64_t block, uint64_t count)
{
	uint64_t run;

	return delta_map(delta, block, 1, &run) == DELTA_ZERO &&
		delta_map(delta, block, count, &run) == DELTA_ZERO && run == count;
}

int delta_zero(struct delta *delta, uint64_t block, uint64_t count)
{
	struct log_request request = {
		.type = FORMAT_ZERO,
		.block = block,
		.count = count,
	};

	if (count == 0 || outside(block, count, delta_blocks(delta)))
		return -EINVAL;
	/* Guests trim the same free space again and again. */
	if (!atomic_load(&delta->log.frozen) && is_zero(delta, block, count))
		return atomic_load(&delta->log.broken);
	return log_append(&delta->log, &request);
}
