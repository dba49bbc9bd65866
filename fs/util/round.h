/* SPDX-License-Identifier: LGPL-2.1-or-later */
/* Small pure arithmetic: rounding to powers of two, minimum, checked ends. */
#ifndef FS_UTIL_ROUND_H
#define FS_UTIL_ROUND_H

#include <stdbool.h>
#include <stdint.h>

static inline uint64_t round_down(uint64_t v, uint64_t power_of_two)
{
	return v & ~(power_of_two - 1);
}

static inline uint64_t round_up(uint64_t v, uint64_t power_of_two)
{
	return round_down(v + power_of_two - 1, power_of_two);
}

static inline uint64_t min_u64(uint64_t a, uint64_t b)
{
	return a < b ? a : b;
}

static inline uint64_t max_u64(uint64_t a, uint64_t b)
{
	return a > b ? a : b;
}

/* True if [off, off + len) does not lie within [0, size). */
static inline bool outside(uint64_t off, uint64_t len, uint64_t size)
{
	return off > size || len > size - off;
}

#endif
