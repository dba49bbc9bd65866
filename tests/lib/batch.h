/* SPDX-License-Identifier: LGPL-2.1-or-later */
/* Calls that the log's leader combines: threads that wait behind a held pwritev.
 *
 *	batch_begin(&batch, delta, &gate);
 *	batch_add(&batch, call, &args[i]);    any number up to BATCH_MAX
 *	batch_end(&batch);
 *
 * The first call goes alone; its pwritev is held by gate, the delta's own,
 * until the others have queued, one after the other. They are then the next
 * batch, in this order.
 */
#ifndef TESTS_LIB_BATCH_H
#define TESTS_LIB_BATCH_H

#include <pthread.h>
#include <stdatomic.h>
#include <stdint.h>

#include "fs/store/delta.h"
#include "tests/lib/saboteur.h"

#define BATCH_MAX 8

typedef void batch_fn(void *arg);

struct batch_call {
	pthread_t thread;
	batch_fn *fn;
	void *arg;
	atomic_bool done;
};

struct batch {
	struct delta *delta;
	struct saboteur *gate;
	atomic_bool hold;  /* pwritev waits while it is true */
	atomic_bool there; /* one does */
	struct batch_call calls[BATCH_MAX];
	unsigned int count;
};

void batch_begin(struct batch *batch, struct delta *delta, struct saboteur *gate);
/* Returns when the call waits, in its pwritev or in the queue, or is done. */
void batch_add(struct batch *batch, batch_fn *fn, void *arg);
/* Let them go on, and wait for their ends. */
void batch_end(struct batch *batch);

/* Requests that wait for the lead. */
unsigned int batch_queued(struct delta *delta);

struct batch_write {
	uint32_t version, block, count; /* as in stamps.h */
	int rc;
};

/* A batch of such writes, from begin to end. */
void batch_run(struct delta *delta, struct saboteur *gate, struct batch_write *writes,
	unsigned int n);

#endif
