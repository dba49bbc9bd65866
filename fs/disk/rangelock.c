/* SPDX-License-Identifier: LGPL-2.1-or-later */
/* Conflicts and waiting of the range lock: see rangelock.h. */
#include "fs/disk/rangelock.h"

#include <assert.h>
#include <errno.h>
#include <stddef.h>
#include <time.h>

#include "fs/util/cleanup.h"

void rangelock_init(struct rangelock *rl)
{
	pthread_condattr_t monotonic;

	*rl = (struct rangelock){0};
	pthread_mutex_init(&rl->lock, NULL);
	pthread_condattr_init(&monotonic);
	pthread_condattr_setclock(&monotonic, CLOCK_MONOTONIC);
	pthread_cond_init(&rl->left, &monotonic);
	pthread_condattr_destroy(&monotonic);
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
	if (nowait && rl->stopped)
		return -EAGAIN;
	rl->waiting++;
	while (rl->stopped)
		pthread_cond_wait(&rl->left, &rl->lock);
	append_locked(rl, range);
	if (nowait && blocked_locked(rl, range)) {
		rl->waiting--;
		remove_locked(rl, range);
		return -EAGAIN;
	}
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

static struct timespec after_ms(unsigned int ms)
{
	struct timespec until;

	clock_gettime(CLOCK_MONOTONIC, &until);
	until.tv_sec += ms / 1000;
	until.tv_nsec += (long)(ms % 1000) * 1000000;
	until.tv_sec += until.tv_nsec / 1000000000;
	until.tv_nsec %= 1000000000;
	return until;
}

int rangelock_stop(struct rangelock *rl, unsigned int ms)
{
	const struct timespec until = after_ms(ms);
	int rc = 0;
	SCOPED_LOCK(&rl->lock);

	assert(!rl->stopped);
	rl->stopped = true;
	rl->waiting++;
	while (rl->oldest && rc != ETIMEDOUT)
		rc = pthread_cond_timedwait(&rl->left, &rl->lock, &until);
	rl->waiting--;
	if (!rl->oldest)
		return 0;
	rl->stopped = false;
	pthread_cond_broadcast(&rl->left);
	return -ETIMEDOUT;
}

void rangelock_go(struct rangelock *rl)
{
	SCOPED_LOCK(&rl->lock);

	assert(rl->stopped);
	rl->stopped = false;
	pthread_cond_broadcast(&rl->left);
}
