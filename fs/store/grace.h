/* SPDX-License-Identifier: LGPL-2.1-or-later */
/* Readers that may hold a place in the log, and waiting until they are gone.
 *
 * A reader looks a block up, then reads the place that it found. Between the
 * two the block may be moved and the place's slot be reused. So it is inside
 * for both, and a slot is reused only after grace_wait(), which returns when
 * every reader that was inside at its call has left. Readers that come later
 * are not waited for: they find the new place.
 *
 *	unsigned int ticket = grace_enter(&grace);
 *	... look up, read, verify ...
 *	grace_leave(&grace, ticket);
 *
 * Threads: readers any number; grace_wait() one at a time, and never inside.
 */
#ifndef FS_STORE_GRACE_H
#define FS_STORE_GRACE_H

#include <pthread.h>
#include <stdatomic.h>
#include <stdbool.h>

struct grace {
	_Atomic unsigned int generation; /* its last bit says which counter */
	/* Each on a cache line of its own. */
	struct {
		_Alignas(64) _Atomic unsigned int inside;
	} readers[2];
	atomic_bool waiting;
	pthread_mutex_t lock; /* of the wait alone */
	pthread_cond_t gone;
};

void grace_init(struct grace *grace);
void grace_release(struct grace *grace);

/* The slow half of leaving: wake who waits. */
void grace_wake(struct grace *grace);

static inline unsigned int grace_enter(struct grace *grace)
{
	unsigned int ticket = atomic_load(&grace->generation) & 1;

	atomic_fetch_add(&grace->readers[ticket].inside, 1);
	return ticket;
}

static inline void grace_leave(struct grace *grace, unsigned int ticket)
{
	if (atomic_fetch_sub(&grace->readers[ticket].inside, 1) == 1 &&
		atomic_load(&grace->waiting))
		grace_wake(grace);
}

void grace_wait(struct grace *grace);

#endif
