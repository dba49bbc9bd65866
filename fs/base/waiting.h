/* SPDX-License-Identifier: LGPL-2.1-or-later */
/* How many reads wait for a device, so that no more are begun that must not wait. Private to fs/base.
 *
 * A read that says RWF_NOWAIT returns when the bytes are not cached, but the
 * kernel begins to read them first, and that waits when the device's queue is
 * full: on a device that hangs, for as long as it hangs. Requests of all
 * disks go through the threads that try such reads. So while many reads of a
 * device wait already, or have just missed the cache and will, none is tried.
 *
 * How many are enough depends on how many requests the device takes (its tags):
 * what is begun by tries is at most its reads_max + missed_max, which is below
 * that. The fewest that a device has are 32 (SATA).
 */
#ifndef FS_BASE_WAITING_H
#define FS_BASE_WAITING_H

#include <stdatomic.h>
#include <stdbool.h>
#include <stdint.h>
#include <sys/types.h>

#define WAITING_READS_MIN 16
#define WAITING_MISSED_MIN 8

struct waiting {
	uint32_t reads_max;      /* constant */
	uint32_t missed_max;     /* constant */
	_Atomic uint32_t reads;  /* under way that may wait */
	_Atomic uint32_t missed; /* tries that found nothing, whose reads have not begun */
};

/* Of a file system's device, or of a device. Lives for ever. Beyond the first
 * few dozens, devices share: the counts only decide who tries. */
struct waiting *waiting_of(dev_t number);

/* May a read be tried that must not wait? */
static inline bool waiting_may_try(struct waiting *waiting)
{
	return atomic_load_explicit(&waiting->reads, memory_order_relaxed) < waiting->reads_max &&
		atomic_load_explicit(&waiting->missed, memory_order_relaxed) < waiting->missed_max;
}

/* It was tried in vain. */
void waiting_miss(struct waiting *waiting);

/* Around a read that may wait. */
void waiting_begin(struct waiting *waiting);
void waiting_end(struct waiting *waiting);

#endif
