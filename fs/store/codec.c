/* SPDX-License-Identifier: LGPL-2.1-or-later */
/* One block's payload: see codec.h. */
#include "fs/store/codec.h"

#include <assert.h>
#include <errno.h>
#include <lz4.h>
#include <string.h>

#include "fs/store/delta.h"

static_assert(CODEC_STATE_BYTES >= sizeof(LZ4_stream_t), "lz4 state fits");

bool codec_is_zero(const void *block)
{
	uint64_t first[2];

	/* Most blocks that are not zero show it at once. */
	memcpy(first, block, sizeof(first));
	if (first[0] | first[1])
		return false;
	return memcmp(block, (const char *)block + 8, DELTA_BLOCK_BYTES - 8) == 0;
}

uint32_t codec_pack(void *state, const void *block, void *out)
{
	int n = LZ4_compress_fast_extState(state, block, out, (int)DELTA_BLOCK_BYTES,
		(int)(DELTA_BLOCK_BYTES - CODEC_SAVING_MIN), 1);

	if (n > 0)
		return (uint32_t)n;
	memcpy(out, block, DELTA_BLOCK_BYTES);
	return DELTA_BLOCK_BYTES;
}

int codec_unpack(const void *payload, uint32_t len, void *ret_block)
{
	if (len == DELTA_BLOCK_BYTES) {
		memcpy(ret_block, payload, DELTA_BLOCK_BYTES);
		return 0;
	}
	if (LZ4_decompress_safe(payload, ret_block, (int)len, (int)DELTA_BLOCK_BYTES) !=
		(int)DELTA_BLOCK_BYTES)
		return -EIO;
	return 0;
}
