/* SPDX-License-Identifier: LGPL-2.1-or-later */
/* Conflicts and waiting of the range lock: see rangelock.h. */
#include "fs/disk/rangelock.h"

#include <assert.h>
#include <errno.h>
#include <stddef.h>

#include "fs/util/cleanup.h"

void rangelock_init(struct rangelock *rl)
{
	*rl = (struct rangelock){0};
	pthread_mutex_init(&rl->lock, NULL);
	pthread_cond_init(&rl->left, NULL);
}

void rangelock_destroy(struct rangelock *rl)
{
	assert(!rl->oldest);
	pthread_cond_destroy(&rl->left);
	pthread_mutex_destroy(&rl->lock);
}

static bool partial(const struct range *r)
{
	return r->head_partial || r->tail_partial;
}

static bool holds(const struct range *r, uint64_t block)
{
	return block >= r->first && block <= r->last;
}

/* Does b touch a block that a covers in part? */
static bool disturbs(const struct range *a, const struct range *b)
{
	return (a->head_partial && holds(b, a->first)) || (a->tail_partial && holds(b, a->last));
}

/* Must range wait for somebody who came before it? */
static bool blocked_locked(const struct rangelock *rl, const struct range *range)
{
	if (rl->partial == 0)
		return false;
	for (const struct range *r = rl->oldest; r && r != range; r = r->next) {
		if (disturbs(r, range) || disturbs(range, r))
			return true;
	}
	return false;
}

static void append_locked(struct rangelock *rl, struct range *range)
{
	range->next = NULL;
	range->prev = rl->newest;
	if (rl->newest)
		rl->newest->next = range;
	else
		rl->oldest = range;
	rl->newest = range;
	rl->partial += partial(range);
}

static void remove_locked(struct rangelock *rl, struct range *range)
{
	if (range->prev)
		range->prev->next = range->next;
	else
		rl->oldest = range->next;
	if (range->next)
		range->next->prev = range->prev;
	else
		rl->newest = range->prev;
	rl->partial -= partial(range);
}

int rangelock_enter(struct rangelock *rl, struct range *range, bool nowait)
{
	assert(range->first <= range->last);
	SCOPED_LOCK(&rl->lock);
	append_locked(rl, range);
	if (nowait && blocked_locked(rl, range)) {
		remove_locked(rl, range);
		return -EAGAIN;
	}
	rl->waiting++;
	while (blocked_locked(rl, range))
		pthread_cond_wait(&rl->left, &rl->lock);
	rl->waiting--;
	return 0;
}

void rangelock_leave(struct rangelock *rl, struct range *range)
{
	SCOPED_LOCK(&rl->lock);
	remove_locked(rl, range);
	if (rl->waiting > 0)
		pthread_cond_broadcast(&rl->left);
}
