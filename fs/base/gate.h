/* SPDX-License-Identifier: LGPL-2.1-or-later */
/* The gate that reads of a base pass: open, closed for a while, or closed for ever.
 * Private to fs/base.
 *
 *	state      meaning                      leaves to
 *	READY      reads enter                  SUSPENDED, CHANGED
 *	SUSPENDED  reads wait, for a while      READY, CHANGED
 *	CHANGED    reads fail with -EIO         -
 *
 * Only one thread (the base's watcher) calls gate_set. Once it has set another
 * state than READY and then sees gate_idle(), no read is under way or can
 * start: a reader counts itself first and looks at the state afterwards, both
 * sequentially consistent.
 */
#ifndef FS_BASE_GATE_H
#define FS_BASE_GATE_H

#include <pthread.h>
#include <stdatomic.h>
#include <stdbool.h>
#include <stdint.h>

#include "fs/base/base.h"

struct gate {
	int64_t limit_ms; /* constant: how long a read waits in SUSPENDED */
	_Atomic uint32_t reading;
	_Atomic int state; /* enum base_state; written under lock */
	pthread_mutex_t lock;
	pthread_cond_t moved; /* the state is another */
};

void gate_init(struct gate *gate, int64_t limit_ms);
void gate_destroy(struct gate *gate);

/* Enter for one read. -EAGAIN: suspended and nowait. -EIO: suspended for
 * longer than limit_ms, or changed. */
int gate_enter(struct gate *gate, bool nowait);

/* Leave. True: the last one out of a closed gate; the watcher waits for it. */
bool gate_leave(struct gate *gate);

void gate_set(struct gate *gate, enum base_state state);
enum base_state gate_state(struct gate *gate);
bool gate_idle(struct gate *gate);

#endif
