/* SPDX-License-Identifier: LGPL-2.1-or-later */
/* Random numbers that a seed brings back: splitmix64. */
#ifndef TESTS_LIB_RNG_H
#define TESTS_LIB_RNG_H

#include <stdint.h>
#include <stdlib.h>

#include "fs/util/id.h"

static inline uint64_t rng_next(uint64_t *state)
{
	uint64_t z = (*state += UINT64_C(0x9e3779b97f4a7c15));

	z = (z ^ (z >> 30)) * UINT64_C(0xbf58476d1ce4e5b9);
	z = (z ^ (z >> 27)) * UINT64_C(0x94d049bb133111eb);
	return z ^ (z >> 31);
}

/* 0 to n - 1. */
static inline uint64_t rng_below(uint64_t *state, uint64_t n)
{
	return rng_next(state) % n;
}

/* The environment's number called name, or fallback. */
static inline uint64_t env_number(const char *name, uint64_t fallback)
{
	const char *text = getenv(name);

	return text && *text ? strtoull(text, NULL, 0) : fallback;
}

/* SEED of the environment, or a new one of 32 bits; print it. */
static inline uint64_t rng_seed(void)
{
	return env_number("SEED", random_u64() >> 32);
}

#endif
