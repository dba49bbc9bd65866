/* SPDX-License-Identifier: LGPL-2.1-or-later */
/* Order of writes that touch the same block, one of them in part. Private to fs/disk.
 *
 * A partial write reads its block, merges and writes it back; whatever
 * touches that block in between would be lost. So each change of a disk
 * announces its blocks for as long as it runs. Changes of whole blocks run
 * side by side: the delta orders them. A change waits for an earlier one if
 * they meet in a block that one of them covers in part; only its first and
 * its last block can be such.
 *
 * The list is in order of arrival and each waits only for those before it, so
 * nobody starves and there is no deadlock: a change announces all its blocks
 * at once, and never a second range while it holds one. Entries live on their
 * owners' stacks; without conflict the cost is one short mutex each way and a
 * walk over the changes that run.
 *
 * A freeze needs a moment without changes: rangelock_stop() waits for those
 * that run, for a bounded time, and keeps later ones out until rangelock_go().
 */
#ifndef FS_DISK_RANGELOCK_H
#define FS_DISK_RANGELOCK_H

#include <pthread.h>
#include <stdbool.h>
#include <stdint.h>

struct range {
	uint64_t first; /* block */
	uint64_t last;  /* block, included */
	bool head_partial; /* the first block is covered in part */
	bool tail_partial; /* the last one is */

	struct range *prev;
	struct range *next;
};

struct rangelock {
	pthread_mutex_t lock;
	pthread_cond_t left; /* somebody left while others waited */
	/* Under lock. */
	struct range *oldest;
	struct range *newest;
	uint32_t partial; /* announced ranges with a partial block */
	uint32_t waiting;
	bool stopped; /* nobody enters; who is in the list finishes */
};

void rangelock_init(struct rangelock *rl);
void rangelock_destroy(struct rangelock *rl);

/* Announce range (its first four members are set) and wait for those before
 * it. With nowait: -EAGAIN instead of waiting, and it is not announced. */
int rangelock_enter(struct rangelock *rl, struct range *range, bool nowait);
void rangelock_leave(struct rangelock *rl, struct range *range);

/* Keep everybody out, and wait for those inside: for at most ms, then
 * -ETIMEDOUT, and all is as before. One caller at a time. */
int rangelock_stop(struct rangelock *rl, unsigned int ms);
void rangelock_go(struct rangelock *rl);

#endif
