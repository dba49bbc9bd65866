/* SPDX-License-Identifier: LGPL-2.1-or-later */
/* The shape of a fingerprint's tree, which follows from the size. Private to fs/base. */
#ifndef FS_BASE_FINGERPRINT_TREE_H
#define FS_BASE_FINGERPRINT_TREE_H

#include <stdint.h>

#include "fs/base/fingerprint.h"
#include "fs/util/round.h"

static inline uint64_t fingerprint_leaf_count(uint64_t size_bytes)
{
	return round_up(size_bytes, FINGERPRINT_LEAF_BYTES) / FINGERPRINT_LEAF_BYTES;
}

static inline uint32_t fingerprint_sample_count(uint64_t size_bytes)
{
	return (uint32_t)min_u64(fingerprint_leaf_count(size_bytes), FINGERPRINT_SAMPLES_MAX);
}

/* Which leaf is the i-th of the sample. */
static inline uint64_t fingerprint_sample_number(uint64_t size_bytes, uint32_t i)
{
	uint64_t n_leaves = fingerprint_leaf_count(size_bytes);

	if (n_leaves <= FINGERPRINT_SAMPLES_MAX)
		return i;
	return (n_leaves - 1) * i / (FINGERPRINT_SAMPLES_MAX - 1);
}

static inline uint64_t fingerprint_span(uint64_t size_bytes)
{
	uint64_t span = FINGERPRINT_LEAF_BYTES;

	while (round_up(size_bytes, span) / span > FINGERPRINT_NODES_MAX)
		span *= 2;
	return span;
}

static inline uint32_t fingerprint_node_count(uint64_t size_bytes)
{
	uint64_t span = fingerprint_span(size_bytes);

	return (uint32_t)(round_up(size_bytes, span) / span);
}

uint64_t fingerprint_root(const struct fingerprint *print);

#endif
