/* SPDX-License-Identifier: LGPL-2.1-or-later */
/* Making the leader combine: see batch.h.
 *
 * Threads: one per call. The first comes to a halt in the gate's hook, which
 * holds no lock of the log; the others wait in the log's queue, where we count
 * them. Nothing is timed, each step waits for its event.
 */
#include "tests/lib/batch.h"

#include <assert.h>
#include <sched.h>
#include <stdlib.h>

#include "fs/store/handle.h"
#include "fs/util/cleanup.h"
#include "tests/lib/image.h"
#include "tests/lib/stamps.h"

static void hold_pwritev(void *ctx, enum sabotaged_call call)
{
	struct batch *batch = ctx;

	while (call == CALL_PWRITEV && atomic_load(&batch->hold)) {
		atomic_store(&batch->there, true);
		sched_yield();
	}
}

static void *make_call(void *arg)
{
	struct batch_call *call = arg;

	call->fn(call->arg);
	atomic_store(&call->done, true);
	return NULL;
}

unsigned int batch_queued(struct delta *delta)
{
	SCOPED_LOCK(&delta->log.lock);
	unsigned int n = 0;

	for (const struct log_request *r = delta->log.queue; r; r = r->next)
		n++;
	return n;
}

void batch_begin(struct batch *batch, struct delta *delta, struct saboteur *gate)
{
	*batch = (struct batch){.delta = delta, .gate = gate, .hold = true};
	gate->hook_ctx = batch;
	gate->hook = hold_pwritev;
}

/* The first may fail before it comes to a pwritev: then nothing is combined. */
static bool waits(struct batch *batch, unsigned int i)
{
	if (atomic_load(&batch->calls[i].done) || atomic_load(&batch->calls[0].done))
		return true;
	return i == 0 ? atomic_load(&batch->there) : batch_queued(batch->delta) >= i;
}

void batch_add(struct batch *batch, batch_fn *fn, void *arg)
{
	unsigned int i = batch->count++;
	struct batch_call *call = &batch->calls[i];
	int rc;

	assert(i < BATCH_MAX);
	call->fn = fn;
	call->arg = arg;
	rc = pthread_create(&call->thread, NULL, make_call, call);
	assert(rc == 0);
	while (!waits(batch, i))
		sched_yield();
}

void batch_end(struct batch *batch)
{
	atomic_store(&batch->hold, false);
	for (unsigned int i = 0; i < batch->count; i++)
		pthread_join(batch->calls[i].thread, NULL);
	batch->gate->hook = NULL;
}

struct writing {
	struct delta *delta;
	struct batch_write *write;
};

static void write_one(void *arg)
{
	struct writing *writing = arg;
	struct batch_write *w = writing->write;
	uint8_t *buf = need_memory(malloc((size_t)w->count * DELTA_BLOCK_BYTES));

	stamps_fill(w->version, w->block, w->count, buf);
	w->rc = delta_write(writing->delta, buf, w->count, w->block);
	free(buf);
}

void batch_run(struct delta *delta, struct saboteur *gate, struct batch_write *writes,
	unsigned int n)
{
	struct writing writing[BATCH_MAX];
	struct batch batch;

	assert(n <= BATCH_MAX);
	batch_begin(&batch, delta, gate);
	for (unsigned int i = 0; i < n; i++) {
		writing[i] = (struct writing){.delta = delta, .write = &writes[i]};
		batch_add(&batch, write_one, &writing[i]);
	}
	batch_end(&batch);
}
