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

#include "fs/store/clean.h"
#include "fs/store/delta.h"
#include "fs/store/format.h"
#include "fs/store/grace.h"
#include "fs/store/index.h"
#include "fs/store/move.h"
#include "fs/store/record.h"
#include "fs/store/segment.h"
#include "fs/store/space.h"
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
	uint64_t block, count; /* FORMAT_MOVED: count of moves */
	/* FORMAT_BAD: only the first run that is bad already; block and count come
	 * back as what was appended (count 0: nothing had to be). */
	bool keep;
	/* FORMAT_DATA, FORMAT_MOVED: payloads packed one after the other into
	 * body, each behind the 8 bytes where its block sum goes. */
	uint8_t *body; /* [leader] moves on with taken */
	/* FORMAT_DATA: hash is XXH3 of each payload; len 0: the block is zeros. */
	const uint16_t *len;
	const uint64_t *hash;
	/* FORMAT_MOVED: at most FORMAT_RECORD_BLOCKS; what does not count any more
	 * is dropped when the lead comes to it (move.h says how it comes back). */
	struct move *moves;
	uint8_t *head; /* RECORD_HEAD_MAX bytes */

	uint32_t taken; /* [leader] blocks or moves that are in a batch already */
	int rc;
	bool done;
};

struct log {
	const struct io_gate *io;
	struct space *space; /* who grants new slots, or NULL */
	int super_fd, log_fd;
	int dirfd; /* of its own */
	char name[ID_TEXT];
	bool read_only; /* opened as a layer */
	bool no_checkpoint; /* replay all of the log, whatever there is */
	struct super identity; /* as it was opened: for what never changes */
	uint64_t key[FORMAT_KEY_WORDS]; /* as in super; never changes */

	struct super super; /* [leader] */
	bool super_whole;   /* both copies were valid when it was opened */
	bool lives;         /* [leader] this life has begun: its first record may come */

	/* [leader] the log's end */
	struct segment tail; /* seq 0: this life has no segment yet */
	bool tail_sealed;    /* it ends with END: no room in it */
	bool tail_closed;    /* its successor may have been begun: no room in it */
	bool doubt;          /* so that a slot is SLOT_DOUBTFUL */
	uint64_t end;        /* offset within the tail segment */
	uint64_t chain;      /* sum of the last record there */
	uint64_t next_lsn;
	uint64_t max_seq;    /* highest sequence in the log */
	uint64_t prev_seq, prev_end; /* accepted end when this life began */
	uint32_t prev_slot;
	uint64_t epoch;      /* of this life */
	uint64_t writeback_from; /* position in the file */
	uint8_t *heads; /* LOG_BATCH_RECORDS headers and tables, RECORD_DATA_HEAD_MAX each */

	/* Sticky: -EIO once a sync failed or the owner was lost. */
	_Atomic int broken;
	atomic_bool frozen; /* a layer: nothing is written */
	struct grace grace; /* readers that may hold a place */

	pthread_mutex_t lock; /* all below */
	pthread_cond_t wake;  /* a batch or a sync is done, or the lead is free */
	struct log_request *queue, **queue_end;
	bool leading, syncing;
	uint64_t appended_lsn; /* in the page cache */
	uint64_t durable_lsn;  /* on the medium */
	uint64_t headers_written, headers_durable; /* counted */
	uint32_t durable_slots; /* all below have their headers on the medium */
	uint64_t syncs, tail_syncs; /* how many, and when the tail was begun */
	/* Segments are put by the leader or while opening; see segment.h. */
	struct segment_table segments;
	uint32_t lowest_free; /* no slot below can be taken */
	uint64_t granted_bytes; /* what log->space counts for us */
	uint64_t written_sec;
	uint64_t appended_bytes; /* of records, since it was opened: the guest's, */
	uint64_t moved_bytes;    /* and cleaning's */
	uint64_t damaged_blocks; /* that cleaning found not to verify */
	uint64_t tail_bytes;     /* of both, when the tail was begun, */
	uint64_t covered_bytes;  /* and what the last checkpoint covers of both */
	uint64_t replayed_bytes; /* by opening: they lie behind the checkpoint that was there */
	uint64_t checkpoint_lsn, checkpoint_bytes; /* of the last one: its file */
	uint64_t checkpoints_bytes; /* of all that were written since it was opened */

	struct cleaner cleaner; /* see clean.h */
	struct index index;
};

/* Append one record, cut at segment ends; returns when it is in the page
 * cache and in the index, or failed. Guests' data may be refused space that
 * what makes room still gets (space.h). */
int log_append(struct log *log, struct log_request *request);

/* [leader], or while closing: END at the tail, which takes nothing afterwards.
 * At once if it is there, or if there is no tail. A failure leaves the tail as
 * it was. */
int log_seal(struct log *log);

/* Be the leader without a request, to change the super block. */
void log_take_lead(struct log *log);
void log_give_lead(struct log *log);

/* No data call succeeds from now on: a sync failed, nobody knows what is on
 * the medium, or the disk is another's. Returns -EIO. */
int log_break(struct log *log);

/* ENOSPC is what QEMU pauses a guest for; a quota and a file that can not
 * become longer are no different. */
int log_space_error(int rc);

/* Let the index say what a record that lies at pos in the file says; so many
 * pages are reserved. [leader], or while opening. */
void log_index_record(struct log *log, const struct record *record, uint64_t pos);
uint32_t log_index_pages(const struct record *record);

/* All that was appended before the call is on the medium. */
int log_flush(struct log *log);

/* The same, and all headers that were written. */
int log_sync(struct log *log);

/* What follows (life.c) is [leader], or while opening and closing. Failures
 * other than -ENOSPC of what has to be durable break the log. */

/* Begin this life (format.h, "lives"); at once if it has begun. */
int log_start_life(struct log *log);

/* The segment after the tail, or the life's first one. urgent: for what makes
 * room (space.h). -ENOSPC, -ENOMEM, -EIO. */
int log_next_segment(struct log *log, bool urgent);

/* END, durably. Then the log's end is what the clean-stop mark will name. */
int log_seal_life(struct log *log);

/* The clean-stop mark; after log_seal_life(). */
int log_end_life(struct log *log);

/* The clean-stop mark of a layer; after log_seal_life(). -ENOSPC: it is a delta
 * as before. */
int log_freeze(struct log *log);

/* Publish a changed super block, unless the disk is another's by now. */
int log_put_super(struct log *log, const struct super *super);

/* Is the disk still ours? -EIO and broken if not. */
int log_check_owner(struct log *log);

/* Build index and end from checkpoint and log. *ret_clean: it ended with a
 * clean stop, so that its end needs no new witness before serving. */
int log_replay(struct log *log, const char *log_name, bool *ret_clean, struct err *err);

/* Publish a checkpoint of what is appended, flushed before. Takes the lead.
 * A failure other than of that flush is none of the log's. */
int log_checkpoint(struct log *log);

/* The slots (recycle.c). */

/* [leader] The lowest slot that is free, with its space allocated. -ENOSPC, -ENOMEM. */
int log_take_slot(struct log *log, bool urgent, uint32_t *ret_slot);

/* Write a slot's header; counted for log_sync(), which has to follow. */
int log_put_header(struct log *log, const struct segment *segment);

/* [leader] Free the slots of lost tails, durably. */
bool log_has_lost(struct log *log);
int log_free_lost(struct log *log);

/* [leader] A segment's header was said to have failed: it may be there. Its slot
 * is freed, durably, before another segment begins or the log ends. */
void log_doubt(struct log *log, const struct segment *segment);
int log_free_doubtful(struct log *log);

/* Is there a free slot that needs no allocation? */
bool log_has_ready(struct log *log);

/* Allocate a slot ahead and fill it with zeros, durably. Takes the lead. */
int log_prepare(struct log *log);

/* Bytes of the slots in use, and of free ones that have their space. */
void log_slot_bytes(struct log *log, uint64_t *ret_used, uint64_t *ret_free);

/* Count for log->space what the slots take, or stop that. */
void log_adopt_space(struct log *log);
void log_disown_space(struct log *log);

static inline bool log_lives(const struct log *log)
{
	return log->lives;
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
