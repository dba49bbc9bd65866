/* SPDX-License-Identifier: LGPL-2.1-or-later */
/* Flushing the log: one fdatasync at a time serves all who wait.
 *
 * A failed fdatasync is never tried again: the kernel has marked the lost
 * pages clean, and the next call would report success without the data. The
 * log is broken until it is opened again and verified from the medium.
 */
#include <errno.h>

#include "fs/store/log.h"
#include "fs/util/cleanup.h"
#include "fs/util/round.h"

/* Sync what is appended now; called and returning with the lock held. */
static void sync_locked(struct log *log)
{
	uint64_t target = log->appended_lsn;
	int rc;

	log->syncing = true;
	pthread_mutex_unlock(&log->lock);
	rc = log->io->fdatasync(log->io, log->log_fd);
	pthread_mutex_lock(&log->lock);
	log->syncing = false;
	if (rc < 0)
		log_break(log);
	else
		log->durable_lsn = max_u64(log->durable_lsn, target);
	pthread_cond_broadcast(&log->wake);
}

int log_flush(struct log *log)
{
	SCOPED_LOCK(&log->lock);
	uint64_t wanted = log->appended_lsn;

	while (!atomic_load(&log->broken) && log->durable_lsn < wanted) {
		if (log->syncing)
			pthread_cond_wait(&log->wake, &log->lock);
		else
			sync_locked(log);
	}
	return atomic_load(&log->broken);
}
