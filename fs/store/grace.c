/* SPDX-License-Identifier: LGPL-2.1-or-later */
/* Waiting for readers: see grace.h.
 *
 * Why both counters. A reader may load the generation, be stopped, and enter
 * only after the generation has moved on: it then counts in what is the other
 * counter by now. That one is drained first, as nobody but such stragglers
 * comes to it; then the generation moves on and the one that all readers used
 * until then is drained, which new readers do not come to any more.
 */
#include "fs/store/grace.h"

#include "fs/util/cleanup.h"

void grace_init(struct grace *grace)
{
	atomic_init(&grace->generation, 0);
	atomic_init(&grace->readers[0].inside, 0);
	atomic_init(&grace->readers[1].inside, 0);
	atomic_init(&grace->waiting, false);
	pthread_mutex_init(&grace->lock, NULL);
	pthread_cond_init(&grace->gone, NULL);
}

void grace_release(struct grace *grace)
{
	pthread_cond_destroy(&grace->gone);
	pthread_mutex_destroy(&grace->lock);
}

void grace_wake(struct grace *grace)
{
	SCOPED_LOCK(&grace->lock);

	pthread_cond_broadcast(&grace->gone);
}

/* `waiting` is set before the counter is looked at, and a reader leaves before
 * it looks at `waiting`: one of the two sees the other. */
static void drain_locked(struct grace *grace, unsigned int which)
{
	while (atomic_load(&grace->readers[which].inside) > 0)
		pthread_cond_wait(&grace->gone, &grace->lock);
}

void grace_wait(struct grace *grace)
{
	SCOPED_LOCK(&grace->lock);
	unsigned int old = atomic_load(&grace->generation) & 1;

	atomic_store(&grace->waiting, true);
	drain_locked(grace, 1 - old);
	atomic_fetch_add(&grace->generation, 1);
	drain_locked(grace, old);
	atomic_store(&grace->waiting, false);
}
