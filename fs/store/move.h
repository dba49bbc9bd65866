/* SPDX-License-Identifier: LGPL-2.1-or-later */
/* Block versions that cleaning takes along: which of them still count, decided by the one who appends. */
#ifndef FS_STORE_MOVE_H
#define FS_STORE_MOVE_H

#include <stdint.h>

#include "fs/store/index.h"
#include "fs/store/record.h"

/* One version, or a run of zeros. */
struct move {
	uint64_t block;
	uint64_t count; /* afterwards: what was taken along; 0: it does not count any more */
	uint64_t lsn;   /* of the guest's write */
	uint64_t pos;   /* of its block sum, where it lies now */
	uint64_t hash;  /* XXH3 of the payload */
	uint16_t len;   /* 0: zeros */
};

/* Give up what the index does not point at any more: data that lies elsewhere
 * by now, and of zeros all but the first run that still is zeros. Payloads in
 * body, packed each behind the room for its block sum, close up. [leader],
 * with an index that knows all that was appended. Returns how many are left. */
uint32_t moves_drop_stale(struct index *index, struct move *moves, uint32_t n, uint8_t *body);

/* What [*block, *block + *count) still has of owner: its first run; count 0: nothing. */
void moves_cut_run(struct index *index, enum delta_owner owner, uint64_t *block, uint64_t *count);

/* The table's entry of one, in a record with that LSN. Zeros get the LSN before
 * it: at that moment they were zeros, whatever wrote them. */
struct format_moved move_encode(const struct move *move, uint64_t record_lsn);

#endif
