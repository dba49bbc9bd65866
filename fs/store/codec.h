/* SPDX-License-Identifier: LGPL-2.1-or-later */
/* One block's payload: zero test, lz4 in, lz4 out; the only user of lz4. */
#ifndef FS_STORE_CODEC_H
#define FS_STORE_CODEC_H

#include <stdbool.h>
#include <stdint.h>

/* Stored raw unless at least this much is saved: an eighth of a block, the
 * point below which decompression costs more than the space is worth. */
#define CODEC_SAVING_MIN 512u

/* Memory lz4 needs while compressing; alignment of uint64_t. */
#define CODEC_STATE_BYTES 16416u

bool codec_is_zero(const void *block);

/* Payload of a block that is not all zeros: at most 4096 bytes into out.
 * Returns its length; 4096 means the block itself. */
uint32_t codec_pack(void *state, const void *block, void *out);

/* len bytes of payload back into one block; -EIO if they are not one. */
int codec_unpack(const void *payload, uint32_t len, void *ret_block);

#endif
