/* SPDX-License-Identifier: LGPL-2.1-or-later */
/* Making the leader combine: see batch.h.
 *
 * Threads: one per write. The first comes to a halt in the gate's hook, which
 * holds no lock of the log; the others wait in the log's queue, where we count
 * them. Nothing is timed, each step waits for its event.
 */
#include "tests/lib/batch.h"

#include <assert.h>
#include <pthread.h>
#include <sched.h>
#include <stdatomic.h>
#include <stdlib.h>

#include "fs/store/handle.h"
#include "fs/util/cleanup.h"
#include "tests/lib/image.h"
#include "tests/lib/stamps.h"

struct held {
	atomic_bool hold;  /* pwritev waits while it is true */
	atomic_bool there; /* one does */
};

struct thread {
	pthread_t thread;
	struct delta *delta;
	struct batch_write *write;
	atomic_bool done;
};

static void hold_pwritev(void *ctx, enum sabotaged_call call)
{
	struct held *held = ctx;

	if (call != CALL_PWRITEV)
		return;
	while (atomic_load(&held->hold)) {
		atomic_store(&held->there, true);
		sched_yield();
	}
}

static void *write_one(void *arg)
{
	struct thread *t = arg;
	struct batch_write *w = t->write;
	uint8_t *buf = need_memory(malloc((size_t)w->count * DELTA_BLOCK_BYTES));

	stamps_fill(w->version, w->block, w->count, buf);
	w->rc = delta_write(t->delta, buf, w->count, w->block);
	free(buf);
	atomic_store(&t->done, true);
	return NULL;
}

static unsigned int queued(struct delta *delta)
{
	SCOPED_LOCK(&delta->log.lock);
	unsigned int n = 0;

	for (const struct log_request *r = delta->log.queue; r; r = r->next)
		n++;
	return n;
}

static void start(struct thread *t)
{
	int rc = pthread_create(&t->thread, NULL, write_one, t);

	assert(rc == 0);
}

void batch_run(struct delta *delta, struct saboteur *gate, struct batch_write *writes,
	unsigned int n)
{
	struct thread threads[BATCH_MAX];
	struct held held = {.hold = true};

	assert(n >= 1 && n <= BATCH_MAX);
	for (unsigned int i = 0; i < n; i++)
		threads[i] = (struct thread){.delta = delta, .write = &writes[i]};
	gate->hook_ctx = &held;
	gate->hook = hold_pwritev;
	start(&threads[0]);
	/* It may fail before it comes to a pwritev: then nothing is combined. */
	while (!atomic_load(&held.there) && !atomic_load(&threads[0].done))
		sched_yield();
	for (unsigned int i = 1; i < n; i++) {
		start(&threads[i]);
		while (queued(delta) < i && !atomic_load(&threads[i].done) &&
			!atomic_load(&threads[0].done))
			sched_yield();
	}
	atomic_store(&held.hold, false);
	for (unsigned int i = 0; i < n; i++)
		pthread_join(threads[i].thread, NULL);
	gate->hook = NULL;
}
