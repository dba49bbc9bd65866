/* SPDX-License-Identifier: LGPL-2.1-or-later */
/* The open log of one delta: what append, flush, replay and read share.
 *
 * Threads. Any thread may append; the first one in the queue becomes the
 * leader and alone may touch what is marked [leader] until it passes the lead
 * on: it writes the whole queue with one pwritev (log_append in append.c).
 * So records lie in the log in LSN order without gaps, and I/O happens without
 * a lock. Opening and closing have the log to themselves.
 *
 * Lock order: lock, then index.lock. Neither is held across I/O.
 */
#ifndef FS_STORE_LOG_H
#define FS_STORE_LOG_H

#include <pthread.h>
#include <stdatomic.h>
#include <stdbool.h>
#include <stdint.h>

#include "fs/store/delta.h"
#include "fs/store/format.h"
#include "fs/store/index.h"
#include "fs/store/record.h"
#include "fs/store/segment.h"
#include "fs/store/super.h"
#include "fs/util/io.h"

/* Records that one pwritev takes, and their bytes, at most. */
#define LOG_BATCH_RECORDS 64u
#define LOG_BATCH_BYTES (UINT64_C(2) << 20)

/* Unsynced bytes after which write-back is started, so that a flush finds
 * little left to wait for. */
#define LOG_WRITEBACK_BYTES (UINT64_C(2) << 20)

/* A record waiting for the leader: on the stack of the thread that wants it. */
struct log_request {
	struct log_request *next;
	enum format_type type;
	uint64_t block, count;
	/* FORMAT_DATA: payloads packed one after the other into body, each
	 * behind the 8 bytes where its block sum goes; hash is XXH3 of each
	 * payload; len 0: the block is zeros. */
	const uint16_t *len;
	const uint64_t *hash;
	uint8_t *body;  /* [leader] moves on with taken */
	uint32_t taken; /* [leader] blocks that are in a batch already */
	int rc;
	bool done;
};

struct log {
	const struct io_gate *io;
	int super_fd, log_fd;
	uint64_t key[FORMAT_KEY_WORDS]; /* as in super; never changes */

	struct super super; /* [leader] */

	/* [leader] the log's end */
	struct segment tail; /* seq 0: this life has no segment yet */
	bool tail_closed;    /* its successor may have been begun: no room in it */
	uint64_t end;        /* offset within the tail segment */
	uint64_t chain;      /* sum of the last record there */
	uint64_t next_lsn;
	uint64_t max_seq;    /* highest sequence in the log */
	uint64_t prev_seq, prev_end; /* accepted end when this life began */
	uint64_t epoch;      /* of this life */
	uint64_t writeback_from; /* position in the file */
	struct segment_table segments;
	uint8_t *heads; /* LOG_BATCH_RECORDS headers and tables */

	/* Sticky: -EIO once a sync failed or the owner was lost. */
	_Atomic int broken;

	pthread_mutex_t lock; /* all below */
	pthread_cond_t wake;  /* a batch or a sync is done, or the lead is free */
	struct log_request *queue, **queue_end;
	bool leading, syncing;
	uint64_t appended_lsn; /* in the page cache */
	uint64_t durable_lsn;  /* on the medium */
	uint64_t written_sec;

	struct index index;
};

/* Append one record, cut at segment ends; returns when it is in the page
 * cache and in the index, or failed. */
int log_append(struct log *log, struct log_request *request);

/* Be the leader without a request, to change the super block. */
void log_take_lead(struct log *log);
void log_give_lead(struct log *log);

/* No data call succeeds from now on: a sync failed, nobody knows what is on
 * the medium, or the disk is another's. Returns -EIO. */
int log_break(struct log *log);

/* ENOSPC is what QEMU pauses a guest for; a quota and a file that can not
 * become longer are no different. */
int log_space_error(int rc);

/* Let the index point at the blocks of a record that lies at pos in the file;
 * its pages are reserved. [leader], or while opening. */
void log_index_record(struct log *log, const struct record *record, uint64_t pos);

/* All that was appended before the call is on the medium. */
int log_flush(struct log *log);

/* What follows (life.c) is [leader], or while opening and closing. Failures
 * other than -ENOSPC of what has to be durable break the log. */

/* Make this life's first segment and super block durable (format.h, "lives"). */
int log_start_life(struct log *log);

/* The segment after the tail, or the life's first one. -ENOSPC, -ENOMEM, -EIO. */
int log_next_segment(struct log *log);

/* The clean-stop mark, for what was flushed. */
int log_end_life(struct log *log);

/* Publish a changed super block, unless the disk is another's by now. */
int log_put_super(struct log *log, const struct super *super);

/* Build index and end from the file, log_name in dirfd. *ret_clean: it ended
 * with a clean stop, so that its end needs no new witness before serving. */
int log_replay(struct log *log, int dirfd, const char *log_name, bool *ret_clean,
	struct err *err);

/* Has this life been declared in the super block? */
static inline bool log_lives(const struct log *log)
{
	return log->super.epoch == log->epoch;
}

static inline uint64_t log_tail_pos(const struct log *log)
{
	return slot_start(log->tail.slot) + log->end;
}

static inline uint64_t log_disk_blocks(const struct log *log)
{
	return (log->super.size_bytes + DELTA_BLOCK_BYTES - 1) >> DELTA_BLOCK_SHIFT;
}

#endif
