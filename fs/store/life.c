/* SPDX-License-Identifier: LGPL-2.1-or-later */
/* A life of the log: its first segment, those that follow, and what the super block says of it.
 *
 * What may be lost: nothing. A segment has no records while its header is
 * written; the super block's other copy says the same, less the newest life,
 * size or clean mark. All of this is the leader's, or done while opening and
 * closing.
 */
#include "fs/store/log.h"

#include <errno.h>

#include "fs/store/recycle.h"
#include "fs/util/cleanup.h"

int log_space_error(int rc)
{
	return rc == -EDQUOT || rc == -EFBIG ? -ENOSPC : rc;
}

int log_break(struct log *log)
{
	atomic_store(&log->broken, -EIO);
	return -EIO;
}

/* Is it the super block that we know, or the one after it, of a write of ours
 * that was said to have failed? Another opener's has another epoch. */
static bool is_ours(const struct log *log, const struct super *now)
{
	return (now->epoch == log->super.epoch || now->epoch == log->epoch) &&
		now->generation - log->super.generation <= 1;
}

int log_check_owner(struct log *log)
{
	struct super now;
	int rc = super_read(log->io, log->super_fd, &now, NULL, NULL);

	return rc < 0 || !is_ours(log, &now) ? log_break(log) : 0;
}

int log_put_super(struct log *log, const struct super *super)
{
	struct super next = *super;
	int rc = atomic_load(&log->broken);

	if (rc == 0)
		rc = log_check_owner(log);
	if (rc < 0)
		return rc;
	rc = log_space_error(super_write(log->io, log->super_fd, &next));
	if (rc < 0)
		return rc == -ENOSPC ? rc : log_break(log);
	log->super = next;
	return 0;
}

/* What a header witnesses. */
static void fill_durable(struct log *log, struct segment *segment)
{
	SCOPED_LOCK(&log->lock);

	segment->durable_lsn = log->durable_lsn;
	segment->durable_slots = log->durable_slots;
}

static void put_segment(struct log *log, const struct segment *segment)
{
	SCOPED_LOCK(&log->lock);

	segment_table_put(&log->segments, segment);
	log->tail_syncs = log->syncs;
	log->tail_bytes = log->appended_bytes + log->moved_bytes;
}

/* Its number is not used again: the next try may find another slot free, and
 * there would be two of it. (Before a life has begun nothing is freed: its first
 * segment is tried again in the same slot.) */
static void give_up_segment(struct log *log, const struct segment *segment)
{
	log_doubt(log, segment);
	log->max_seq = segment->seq;
}

/* The tail ends where it ends now, and its slot has been taken: its successor's
 * header goes into slot. */
static int begin_segment(struct log *log, uint32_t slot)
{
	struct segment next = {
		.slot = slot,
		.seq = log->max_seq + 1,
		.epoch = log->epoch,
		.first_lsn = log->next_lsn,
		.prev_seq = log->tail.seq ? log->tail.seq : log->prev_seq,
		.prev_end = log->tail.seq ? log->end : log->prev_end,
		.prev_slot = log->tail.seq ? log->tail.slot : log->prev_slot,
		.prev_sum = log->chain,
	};
	int rc;

	if (next.seq >= FORMAT_COUNTER_MAX) /* nobody could read it */
		return log_break(log);
	fill_durable(log, &next);
	/* Told to have failed it may be there nevertheless, and with it the
	 * end of the tail that it names: the tail takes no more records. */
	log->tail_closed = true;
	rc = log_put_header(log, &next);
	if (rc < 0 && log->lives)
		give_up_segment(log, &next);
	if (rc < 0)
		return log_space_error(rc);
	put_segment(log, &next);
	log->tail = next;
	log->tail_closed = log->tail_sealed = false;
	log->end = FORMAT_PAGE;
	log->max_seq = next.seq;
	return 0;
}

/* The tail moves to the next slot; nothing is synced. Without a slot it stays
 * open: what still fits may be appended. */
static int start_segment(struct log *log, bool urgent)
{
	uint32_t slot;
	int rc = log_check_owner(log);

	if (rc == 0)
		rc = log_free_doubtful(log);
	if (rc == 0)
		rc = log_take_slot(log, urgent, &slot);
	if (rc == 0)
		rc = log_seal(log);
	return rc < 0 ? rc : begin_segment(log, slot);
}

static int declare_life(struct log *log)
{
	struct super next = log->super;

	next.clean = false;
	next.epoch = log->epoch;
	next.life_seq = log->tail.seq;
	next.life_slot = log->tail.slot;
	next.durable_lsn = log->tail.durable_lsn;
	super_self(&next.host, &next.boot);
	return log_put_super(log, &next);
}

/* Its header is durable before the super block names it. Each step is tried
 * again by the next append when there was no space for it (file systems that
 * never write in place); what is done already is not done again. */
int log_start_life(struct log *log)
{
	int rc = 0;

	if (log->lives)
		return 0;
	if (!log->tail.seq)
		rc = start_segment(log, true);
	if (rc == 0)
		rc = log_sync(log);
	if (rc == 0 && log->super.epoch != log->epoch)
		rc = declare_life(log);
	if (rc == 0)
		rc = log_free_lost(log);
	log->lives = rc == 0;
	return rc;
}

int log_next_segment(struct log *log, bool urgent)
{
	return log->lives ? start_segment(log, urgent) : log_start_life(log);
}

static void fill_end(struct log *log, struct super *next)
{
	SCOPED_LOCK(&log->lock);

	next->clean = true;
	next->end_seq = log->tail.seq;
	next->end_off = log->end;
	next->end_sum = log->chain;
	next->durable_lsn = log->durable_lsn;
	next->written_sec = log->written_sec;
}

int log_seal_life(struct log *log)
{
	int rc = log->lives ? log_seal(log) : 0;

	if (rc == 0)
		rc = log_free_doubtful(log);
	return rc < 0 ? rc : log_sync(log);
}

int log_end_life(struct log *log)
{
	struct super next = log->super;

	if (!log->lives) /* nothing was written: what the super block says still holds */
		return 0;
	fill_end(log, &next);
	return log_put_super(log, &next);
}

/* A mark that was said to have failed may be there, and says that nothing
 * comes any more: then it is written over before anything does. */
int log_freeze(struct log *log)
{
	struct super now = log->super, next = log->super;
	int rc;

	if (log->lives)
		fill_end(log, &next);
	next.layer = true;
	rc = log_put_super(log, &next);
	if (rc < 0 && log_put_super(log, &now) < 0)
		return log_break(log);
	return rc;
}
