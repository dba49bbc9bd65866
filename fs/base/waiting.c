/* SPDX-License-Identifier: LGPL-2.1-or-later */
/* Counting the reads of each device: see waiting.h. */
#include "fs/base/waiting.h"

#include <sys/sysmacros.h>

#define SLOTS 64

static struct {
	_Alignas(64) struct waiting waiting; /* a cache line each */
} slots[SLOTS];

struct waiting *waiting_of(dev_t number)
{
	return &slots[(major(number) * 7 + minor(number)) % SLOTS].waiting;
}

void waiting_miss(struct waiting *waiting)
{
	atomic_fetch_add_explicit(&waiting->missed, 1, memory_order_relaxed);
}

/* Most reads that begin were tried before: each makes good for one miss. Those
 * that were not make the count too low, never too high for long. */
void waiting_begin(struct waiting *waiting)
{
	uint32_t missed = atomic_load_explicit(&waiting->missed, memory_order_relaxed);

	atomic_fetch_add_explicit(&waiting->reads, 1, memory_order_relaxed);
	while (missed > 0 && !atomic_compare_exchange_weak_explicit(&waiting->missed, &missed,
				     missed - 1, memory_order_relaxed, memory_order_relaxed))
		;
}

void waiting_end(struct waiting *waiting)
{
	atomic_fetch_sub_explicit(&waiting->reads, 1, memory_order_relaxed);
}
