/* SPDX-License-Identifier: LGPL-2.1-or-later */
/* The one user of the xxhash library: see hash.h. */
#include "fs/util/hash.h"

#include <xxhash.h>

uint64_t hash64(const void *data, size_t len, uint64_t seed)
{
	return XXH3_64bits_withSeed(data, len, seed);
}

/* XXH3's state wants more alignment than malloc gives: its own allocator. */
struct hash64_stream *hash64_begin(uint64_t seed)
{
	XXH3_state_t *state = XXH3_createState();

	if (state)
		XXH3_64bits_reset_withSeed(state, seed);
	return (struct hash64_stream *)state;
}

void hash64_add(struct hash64_stream *stream, const void *data, size_t len)
{
	XXH3_64bits_update((XXH3_state_t *)stream, data, len);
}

uint64_t hash64_so_far(const struct hash64_stream *stream)
{
	return XXH3_64bits_digest((const XXH3_state_t *)stream);
}

void hash64_free(struct hash64_stream *stream)
{
	XXH3_freeState((XXH3_state_t *)stream);
}
