/* SPDX-License-Identifier: LGPL-2.1-or-later */
/* Block versions that cleaning takes along: see move.h.
 *
 * This is where cleaning against overwriting is decided. Only the leader
 * changes the index, so what he finds here is still so when he has appended:
 * a version that was overwritten, zeroed or moved since the cleaner read it is
 * not appended behind its successor.
 */
#include "fs/store/move.h"

#include <string.h>

#include "fs/util/round.h"

/* Blocks asked for at once while a run is looked for: data are counted one by
 * one under the index's lock. */
#define SCAN_BLOCKS UINT64_C(4096)

void moves_cut_run(struct index *index, enum delta_owner owner, uint64_t *block, uint64_t *count)
{
	uint64_t end = *block + *count, run;

	for (*count = 0; *block < end; *block += run) {
		uint64_t some = min_u64(end - *block, SCAN_BLOCKS);

		if (index_get(index, *block, some, &run, NULL) == owner) {
			index_get(index, *block, end - *block, count, NULL);
			return;
		}
	}
}

static bool is_still_there(struct index *index, const struct move *move)
{
	struct index_place place;
	uint64_t run;

	return index_get(index, move->block, 1, &run, &place) == DELTA_DATA &&
		place.pos == move->pos;
}

uint32_t moves_drop_stale(struct index *index, struct move *moves, uint32_t n, uint8_t *body)
{
	uint8_t *to = body;
	uint32_t left = 0;

	for (uint32_t i = 0; i < n; i++) {
		struct move *move = &moves[i];
		uint32_t bytes = record_block_bytes(move->len);

		if (move->len == 0)
			moves_cut_run(index, DELTA_ZERO, &move->block, &move->count);
		else if (!is_still_there(index, move))
			move->count = 0;
		if (move->count > 0 && bytes > 0) {
			memmove(to, body, bytes);
			to += bytes;
		}
		body += bytes;
		left += move->count > 0;
	}
	return left;
}

struct format_moved move_encode(const struct move *move, uint64_t record_lsn)
{
	return (struct format_moved){
		.block = le64_put(move->block),
		.lsn = le64_put(move->len ? move->lsn : record_lsn - 1),
		.count = le64_put(move->count),
		.len = le16_put(move->len),
	};
}
