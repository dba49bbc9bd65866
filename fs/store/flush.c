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

/* Sync what is written now; called and returning with the lock held. */
static void sync_locked(struct log *log)
{
	uint64_t target = log->appended_lsn, headers = log->headers_written;
	uint32_t headed = log->segments.headed;
	int rc;

	log->syncing = true;
	pthread_mutex_unlock(&log->lock);
	rc = log->io->fdatasync(log->io, log->log_fd);
	pthread_mutex_lock(&log->lock);
	log->syncing = false;
	log->syncs++;
	if (rc < 0) {
		log_break(log);
	} else {
		log->durable_lsn = max_u64(log->durable_lsn, target);
		log->headers_durable = max_u64(log->headers_durable, headers);
		log->durable_slots = (uint32_t)max_u64(log->durable_slots, headed);
	}
	pthread_cond_broadcast(&log->wake);
}

static int flush_locked(struct log *log, uint64_t lsn, uint64_t headers)
{
	while (!atomic_load(&log->broken) &&
		(log->durable_lsn < lsn || log->headers_durable < headers)) {
		if (log->syncing)
			pthread_cond_wait(&log->wake, &log->lock);
		else
			sync_locked(log);
	}
	return atomic_load(&log->broken);
}

int log_flush(struct log *log)
{
	SCOPED_LOCK(&log->lock);

	return flush_locked(log, log->appended_lsn, 0);
}

int log_sync(struct log *log)
{
	SCOPED_LOCK(&log->lock);

	return flush_locked(log, log->appended_lsn, log->headers_written);
}
