/* SPDX-License-Identifier: LGPL-2.1-or-later */
/* The watcher: one thread per held base that keeps its lease and its identity. Private to fs/base.
 *
 * What it does in which state of the gate:
 *	READY, leased      sleeps until the kernel asks for the lease
 *	READY, no lease    tries for the lease and compares the identity every
 *	                   WATCH_CHECK_MS
 *	SUSPENDED          once no read is under way, gives the lease back so that
 *	                   the writer goes on; then tries every WATCH_POLL_MS to
 *	                   get it again, which succeeds when the last writer has
 *	                   closed the file; then compares the identity
 *	CHANGED            sleeps
 *
 * A thread of its own for each base, because comparing reads the image: one
 * on a server that does not answer must not keep another base's writer
 * waiting past the kernel's patience, after which it would write under reads.
 *
 * A process must not fork without exec while it holds a base: threads do not
 * follow.
 */
#ifndef FS_BASE_WATCH_H
#define FS_BASE_WATCH_H

#include <pthread.h>
#include <semaphore.h>
#include <stdatomic.h>
#include <stdbool.h>
#include <sys/types.h>

#include "fs/base/gate.h"
#include "fs/base/identity.h"
#include "fs/base/raw.h"

#define WATCH_POLL_MS 50
#define WATCH_CHECK_MS 1000

struct watch {
	pthread_t thread;
	sem_t born;         /* tid is set */
	sem_t armed;        /* go: the lease is taken and the identity known */
	_Atomic bool stop;
	_Atomic bool leased;
	pid_t tid;          /* constant after born */
	bool lease_dropped; /* the thread's own */
	struct gate *gate;
	const struct raw *raw;       /* constant after armed */
	const struct identity *identity; /* constant after armed */
};

/* Start the thread; it watches nothing before watch_arm(). */
int watch_start(struct watch *watch, struct gate *gate, const struct raw *raw,
	const struct identity *identity);

/* Take the lease for the thread. 0, also where no lease is to be had;
 * -EBUSY: open for writing by somebody. */
int watch_lease(struct watch *watch);

void watch_arm(struct watch *watch);

/* From any thread: look now. */
void watch_wake(struct watch *watch);

/* End the thread, whether armed or not, and wait for it. The lease goes with
 * the descriptor. */
void watch_stop(struct watch *watch);

#endif
