/* SPDX-License-Identifier: LGPL-2.1-or-later */
/* Where the slots of a log lie: 256 KiB doubling to 8 MiB, then 8 MiB each. */
#ifndef FS_STORE_SLOT_H
#define FS_STORE_SLOT_H

#include <stdint.h>

#include "fs/store/format.h"

#ifdef SLOT_TINY /* in tests: a few writes fill, empty and reuse segments */
#define SLOT_FIRST_BYTES (UINT64_C(16) << 10)
#define SLOT_FULL_BYTES (UINT64_C(32) << 10)
#define SLOT_GROWING 1u
#else
#define SLOT_FIRST_BYTES (UINT64_C(256) << 10)
#define SLOT_FULL_BYTES (UINT64_C(8) << 20)
#define SLOT_GROWING 5u /* slots below this one are smaller than SLOT_FULL_BYTES */
#endif
#define SLOT_COUNT_MAX ((uint32_t)(FORMAT_LOG_MAX >> 23)) /* of 8 MiB each */

static inline uint64_t slot_bytes(uint32_t slot)
{
	return slot < SLOT_GROWING ? SLOT_FIRST_BYTES << slot : SLOT_FULL_BYTES;
}

/* Offset of a slot in the log file. */
static inline uint64_t slot_start(uint32_t slot)
{
	uint64_t growing = SLOT_FIRST_BYTES * ((UINT64_C(1) << SLOT_GROWING) - 1);

	if (slot < SLOT_GROWING)
		return SLOT_FIRST_BYTES * ((UINT64_C(1) << slot) - 1);
	return growing + (uint64_t)(slot - SLOT_GROWING) * SLOT_FULL_BYTES;
}

/* The slot that off lies in. */
static inline uint32_t slot_of(uint64_t off)
{
	uint64_t growing = slot_start(SLOT_GROWING);
	uint32_t slot = 0;

	if (off >= growing)
		return SLOT_GROWING + (uint32_t)((off - growing) / SLOT_FULL_BYTES);
	while (off >= slot_start(slot + 1))
		slot++;
	return slot;
}

#endif
