/* SPDX-License-Identifier: LGPL-2.1-or-later */
/* The daemon: one store, one mount, one control socket, from start to stop.
 *
 * Threads: the main thread starts everything, waits for a reason to stop, and
 * stops everything; the mount's threads (fs/mount/mount.c), one thread per
 * control connection (fs/ctl/server.c), the bases' watchers (fs/base), the
 * maintenance thread (keeper.h).
 *
 * A stop that is asked for is carried out by the main thread alone: the
 * connection's thread that asked waits for its outcome.
 */
#ifndef FS_DAEMON_DAEMON_H
#define FS_DAEMON_DAEMON_H

#include <pthread.h>
#include <stdbool.h>
#include <stdint.h>

#include "fs/ctl/server.h"
#include "fs/daemon/attach.h"
#include "fs/daemon/keeper.h"
#include "fs/daemon/options.h"
#include "fs/mount/mountpoint.h"

/* Requests to stop and their outcomes, in order. */
struct stop {
	pthread_mutex_t lock;
	pthread_cond_t answered_more;
	unsigned int asked, answered; /* lock */
	bool over;                    /* lock; stopped: nothing will be answered any more */
	int rc;                       /* lock; outcome of the one answered last */
	struct err err;
};

struct daemon {
	/* set once, before any verb is admitted */
	const struct options *options;
	struct store *store;
	struct space_pool *pool;
	struct mountpoint point;
	struct mount *mount;
	struct keeper *keeper;
	struct ctl_server *server;
	struct table table;
	int64_t started_sec;
	int signal_fd;
	int wake_fd; /* eventfd: a stop was asked for, or the mount is gone */

	/* Verbs hold it shared while they work; taken once, to end them. */
	pthread_rwlock_t admission;
	bool closed; /* admission; no more verbs */

	struct stop stop;
};

/* Serve until asked to stop; then 0 or the first error of a last flush. Reports
 * to ready_fd (fs/daemon/process.h) when the mount is served, or why not. */
int daemon_run(const struct options *options, int ready_fd, struct err *err);

/* Ask for a stop and wait for its outcome. -EBUSY: a disk is open. */
int daemon_ask_stop(struct daemon *daemon, struct err *err);

#endif
