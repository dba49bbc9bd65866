/* SPDX-License-Identifier: LGPL-2.1-or-later */
/* The watcher's thread: see watch.h.
 *
 * Threads: one per base, started by watch_start() and joined by watch_stop().
 * It alone moves the gate and gives back or regains the lease. It is woken by
 * LEASE_SIGNAL: from the kernel (lease), from the last reader that leaves a
 * closed gate and from watch_stop(). It holds no lock while it reads.
 */
#include "fs/base/watch.h"

#include <errno.h>
#include <fcntl.h>
#include <signal.h>
#include <time.h>
#include <unistd.h>

#include "fs/base/lease.h"
#include "fs/base/locks.h"
#include "fs/util/cleanup.h"

#define WATCH_STACK_BYTES (128 * 1024) /* the deepest call holds some 10 KiB */
#define FOREVER (-1)

/* READY, CHANGED, or SUSPENDED when it cannot be told now. */
static enum base_state compare(struct watch *watch)
{
	char why[IDENTITY_WHY_MAX];

	switch (identity_compare(watch->identity, watch->raw, why)) {
	case 0:
		return BASE_READY;
	case -ESTALE: /* also what NFS says of a file that is gone */
		return BASE_CHANGED;
	default:
		return BASE_SUSPENDED;
	}
}

/* Put another descriptor of the file, with the same locks, in the place of
 * the one that holds the lease: closing that gives the lease back. */
static int change_descriptor(const struct raw *raw)
{
	AUTO_CLOSE int fd = raw_open_again(raw);
	int rc;

	if (fd < 0)
		return fd;
	rc = locks_take(fd, "", NULL);
	if (rc < 0 && rc != -EBUSY) /* busy is what we expect; ours are set all the same */
		return rc;
	return dup3(fd, raw->fd, O_CLOEXEC) < 0 ? -errno : 0;
}

static int give_back(struct watch *watch)
{
	int rc = lease_drop(watch->raw->fd);

	return rc == -EACCES ? change_descriptor(watch->raw) : rc;
}

static int take_lease(struct watch *watch)
{
	return watch->raw->device ? -EOPNOTSUPP : lease_take(watch->raw->fd, watch->tid);
}

/* SUSPENDED and nobody reads: give back, try again, compare. */
static int regain(struct watch *watch)
{
	enum base_state state;

	/* While that fails, the file is one that we may neither read nor guard
	 * any more: suspended until we may. */
	if (!watch->lease_dropped && give_back(watch) < 0)
		return WATCH_POLL_MS;
	watch->lease_dropped = true;
	switch (take_lease(watch)) {
	case 0:
		atomic_store(&watch->leased, true);
		watch->lease_dropped = false;
		break;
	case -EBUSY:
		return WATCH_POLL_MS;
	default: /* the file is another user's now, and we are not root */
		atomic_store(&watch->leased, false);
	}
	state = compare(watch);
	if (state == BASE_CHANGED)
		give_back(watch);
	/* A writer that came while we compared is still waiting for us: stay closed. */
	else if (atomic_load(&watch->leased) && !lease_intact(watch->raw->fd))
		return 0;
	if (state == BASE_SUSPENDED)
		return WATCH_POLL_MS;
	gate_set(watch->gate, state);
	return 0;
}

/* READY without a lease: perhaps there is one by now, as after a chown back. */
static int look_unleased(struct watch *watch)
{
	int rc = take_lease(watch);

	if (rc == -EBUSY) {
		gate_set(watch->gate, BASE_SUSPENDED);
		return 0;
	}
	if (compare(watch) == BASE_CHANGED) {
		give_back(watch);
		gate_set(watch->gate, BASE_CHANGED);
		return FOREVER;
	}
	if (rc < 0)
		return WATCH_CHECK_MS;
	watch->lease_dropped = false;
	atomic_store(&watch->leased, true);
	return 0;
}

/* READY: is all well? */
static int look(struct watch *watch)
{
	if (!atomic_load(&watch->leased))
		return look_unleased(watch);
	if (lease_intact(watch->raw->fd))
		return FOREVER;
	gate_set(watch->gate, BASE_SUSPENDED);
	return 0;
}

/* One step; returns how long to sleep. */
static int step(struct watch *watch)
{
	switch (gate_state(watch->gate)) {
	case BASE_READY:
		return look(watch);
	case BASE_SUSPENDED:
		return gate_idle(watch->gate) ? regain(watch) : WATCH_POLL_MS;
	default:
		return FOREVER;
	}
}

static void wait_signal(int timeout_ms)
{
	struct timespec t = {
		.tv_sec = timeout_ms / 1000, .tv_nsec = timeout_ms % 1000 * 1000000L};
	sigset_t set;

	sigemptyset(&set);
	sigaddset(&set, LEASE_SIGNAL);
	sigaddset(&set, SIGIO);
	if (timeout_ms == FOREVER)
		sigwaitinfo(&set, NULL);
	else
		sigtimedwait(&set, NULL, &t);
}

static void *watch_main(void *arg)
{
	struct watch *watch = arg;

	watch->tid = gettid();
	sem_post(&watch->born);
	while (sem_wait(&watch->armed) < 0)
		;
	while (!atomic_load(&watch->stop)) {
		int sleep_ms = step(watch);

		if (sleep_ms != 0)
			wait_signal(sleep_ms);
	}
	return NULL;
}

/* Born with every signal blocked: its own is fetched, others are not its. */
static int start_thread(struct watch *watch)
{
	pthread_attr_t attr;
	sigset_t all;
	sigset_t old;
	int rc;

	pthread_attr_init(&attr);
	pthread_attr_setstacksize(&attr, WATCH_STACK_BYTES);
	sigfillset(&all);
	pthread_sigmask(SIG_SETMASK, &all, &old);
	rc = pthread_create(&watch->thread, &attr, watch_main, watch);
	pthread_sigmask(SIG_SETMASK, &old, NULL);
	pthread_attr_destroy(&attr);
	return -rc;
}

static void destroy(struct watch *watch)
{
	sem_destroy(&watch->born);
	sem_destroy(&watch->armed);
}

int watch_start(struct watch *watch, struct gate *gate, const struct raw *raw,
	const struct identity *identity)
{
	int rc;

	*watch = (struct watch){.gate = gate, .raw = raw, .identity = identity};
	sem_init(&watch->born, 0, 0);
	sem_init(&watch->armed, 0, 0);
	rc = start_thread(watch);
	if (rc < 0) {
		destroy(watch);
		return rc;
	}
	while (sem_wait(&watch->born) < 0)
		;
	return 0;
}

int watch_lease(struct watch *watch)
{
	int rc = take_lease(watch);

	if (rc == -EBUSY)
		return rc;
	atomic_store(&watch->leased, rc == 0);
	return 0;
}

void watch_arm(struct watch *watch)
{
	sem_post(&watch->armed);
}

void watch_wake(struct watch *watch)
{
	pthread_kill(watch->thread, LEASE_SIGNAL);
}

void watch_stop(struct watch *watch)
{
	atomic_store(&watch->stop, true);
	sem_post(&watch->armed);
	watch_wake(watch);
	pthread_join(watch->thread, NULL);
	destroy(watch);
}
