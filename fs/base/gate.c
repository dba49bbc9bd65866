/* SPDX-License-Identifier: LGPL-2.1-or-later */
/* Entering, leaving and closing the gate: see gate.h. */
#include "fs/base/gate.h"

#include <errno.h>
#include <time.h>

#include "fs/util/cleanup.h"

void gate_init(struct gate *gate, int64_t limit_ms)
{
	pthread_condattr_t attr;

	gate->limit_ms = limit_ms;
	atomic_init(&gate->reading, 0);
	atomic_init(&gate->state, BASE_READY);
	pthread_mutex_init(&gate->lock, NULL);
	pthread_condattr_init(&attr);
	pthread_condattr_setclock(&attr, CLOCK_MONOTONIC);
	pthread_cond_init(&gate->moved, &attr);
	pthread_condattr_destroy(&attr);
}

void gate_destroy(struct gate *gate)
{
	pthread_cond_destroy(&gate->moved);
	pthread_mutex_destroy(&gate->lock);
}

static struct timespec deadline_in(int64_t ms)
{
	struct timespec t;

	clock_gettime(CLOCK_MONOTONIC, &t);
	t.tv_sec += ms / 1000;
	t.tv_nsec += ms % 1000 * 1000000;
	if (t.tv_nsec >= 1000000000) {
		t.tv_sec++;
		t.tv_nsec -= 1000000000;
	}
	return t;
}

/* Wait while suspended. 0 when it is worth another try. */
static int wait_open(struct gate *gate, const struct timespec *deadline)
{
	SCOPED_LOCK(&gate->lock);
	while (atomic_load(&gate->state) == BASE_SUSPENDED) {
		if (pthread_cond_timedwait(&gate->moved, &gate->lock, deadline) == ETIMEDOUT)
			return -EIO;
	}
	return 0;
}

static int enter_closed(struct gate *gate, bool nowait)
{
	struct timespec deadline = deadline_in(gate->limit_ms);

	for (;;) {
		int rc = 0;

		atomic_fetch_add(&gate->reading, 1);
		switch (atomic_load(&gate->state)) {
		case BASE_READY:
			return 0;
		case BASE_SUSPENDED:
			rc = nowait ? -EAGAIN : 0;
			break;
		default:
			rc = -EIO;
		}
		/* The watcher looks again by itself within one poll. */
		atomic_fetch_sub(&gate->reading, 1);
		if (rc == 0)
			rc = wait_open(gate, &deadline);
		if (rc < 0)
			return rc;
	}
}

int gate_enter(struct gate *gate, bool nowait)
{
	atomic_fetch_add(&gate->reading, 1);
	if (atomic_load(&gate->state) == BASE_READY)
		return 0;
	atomic_fetch_sub(&gate->reading, 1);
	return enter_closed(gate, nowait);
}

bool gate_leave(struct gate *gate)
{
	bool last = atomic_fetch_sub(&gate->reading, 1) == 1;

	return last && atomic_load(&gate->state) != BASE_READY;
}

void gate_set(struct gate *gate, enum base_state state)
{
	SCOPED_LOCK(&gate->lock);
	atomic_store(&gate->state, state);
	pthread_cond_broadcast(&gate->moved);
}

enum base_state gate_state(struct gate *gate)
{
	return (enum base_state)atomic_load(&gate->state);
}

bool gate_idle(struct gate *gate)
{
	return atomic_load(&gate->reading) == 0;
}
