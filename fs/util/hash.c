/* SPDX-License-Identifier: LGPL-2.1-or-later */
/* The one user of the xxhash library: see hash.h. */
#include "fs/util/hash.h"

#include <xxhash.h>

uint64_t hash64(const void *data, size_t len, uint64_t seed)
{
	return XXH3_64bits_withSeed(data, len, seed);
}
