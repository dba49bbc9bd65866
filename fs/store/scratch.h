/* SPDX-License-Identifier: LGPL-2.1-or-later */
/* Per-thread working memory of the data path, so that it never allocates. */
#ifndef FS_STORE_SCRATCH_H
#define FS_STORE_SCRATCH_H

#include <assert.h>
#include <stdint.h>

#include "fs/store/codec.h"
#include "fs/store/delta.h"
#include "fs/store/format.h"
#include "fs/store/index.h"

/* What a read takes along between two blocks rather than read twice: padding
 * and head of a record of up to four blocks. */
#define SCRATCH_GAP 64u

#define SCRATCH_BODY (DELTA_BLOCKS_MAX * (FORMAT_BLOCK_SUM + DELTA_BLOCK_BYTES + SCRATCH_GAP))

static_assert(SCRATCH_GAP < FORMAT_PAGE, "never across a segment's header");

struct scratch {
	uint64_t lz4_state[CODEC_STATE_BYTES / 8];
	uint64_t hash[DELTA_BLOCKS_MAX];
	uint16_t len[DELTA_BLOCKS_MAX];
	struct index_place place[DELTA_BLOCKS_MAX];
	uint8_t body[SCRATCH_BODY]; /* block sums and payloads, as in the log */
};

/* This thread's; made at its first call, freed when the thread ends. NULL
 * without memory. */
struct scratch *scratch_get(void);

#endif
