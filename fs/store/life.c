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

/* Did another opener take the disk over? */
static int check_owner(struct log *log)
{
	struct super now;
	int rc = super_read(log->io, log->super_fd, &now, NULL);

	return rc < 0 || !is_ours(log, &now) ? log_break(log) : 0;
}

int log_put_super(struct log *log, const struct super *super)
{
	struct super next = *super;
	int rc = atomic_load(&log->broken);

	if (rc == 0)
		rc = check_owner(log);
	if (rc < 0)
		return rc;
	rc = log_space_error(super_write(log->io, log->super_fd, &next));
	if (rc < 0)
		return rc == -ENOSPC ? rc : log_break(log);
	log->super = next;
	return 0;
}

static uint64_t durable_lsn(struct log *log)
{
	SCOPED_LOCK(&log->lock);

	return log->durable_lsn;
}

/* Allocate the slot and write the header of a segment into it. */
static int write_header(struct log *log, const struct segment *segment)
{
	uint64_t start = slot_start(segment->slot);
	struct format_segment raw;
	int rc = log->io->fallocate(log->io, log->log_fd, 0, start, slot_bytes(segment->slot));

	if (rc < 0 && rc != -EOPNOTSUPP) /* no allocation ahead there: doctor warns */
		return rc;
	segment_encode(segment, &log->super, &raw);
	/* Told to have failed it may be there nevertheless, and with it the
	 * end of the tail that it names: the tail takes no more records. */
	log->tail_closed = true;
	return io_write_full(log->io, log->log_fd, &raw, sizeof(raw), start);
}

/* The tail moves to the next slot; nothing is synced. */
static int start_segment(struct log *log)
{
	struct segment next = {
		.slot = log->segments.count,
		.seq = log->max_seq + 1,
		.epoch = log->epoch,
		.first_lsn = log->next_lsn,
		.prev_seq = log->tail.seq ? log->tail.seq : log->prev_seq,
		.prev_end = log->tail.seq ? log->end : log->prev_end,
		.prev_sum = log->chain,
		.durable_lsn = durable_lsn(log),
	};
	int rc = check_owner(log);

	if (rc == 0 && next.slot >= SLOT_COUNT_MAX)
		rc = -ENOSPC;
	if (rc == 0)
		rc = write_header(log, &next);
	if (rc == 0)
		rc = segment_table_put(&log->segments, &next);
	if (rc < 0)
		return log_space_error(rc);
	log->tail = next;
	log->tail_closed = false;
	log->end = FORMAT_PAGE;
	log->max_seq = next.seq;
	return 0;
}

/* Its header is durable before the super block names it. */
static int start_first_segment(struct log *log)
{
	int rc = start_segment(log);

	if (rc == 0 && log->io->fdatasync(log->io, log->log_fd) < 0)
		return log_break(log);
	return rc;
}

/* Tried again by the next append when there was no space for the super block
 * (file systems that never write in place): then the segment is there already. */
int log_start_life(struct log *log)
{
	struct super next;
	int rc = log->tail.seq ? 0 : start_first_segment(log);

	if (rc < 0)
		return rc;
	next = log->super;
	next.clean = false;
	next.epoch = log->epoch;
	next.life_seq = log->tail.seq;
	next.durable_lsn = durable_lsn(log);
	super_self(&next.host, &next.boot);
	return log_put_super(log, &next);
}

int log_next_segment(struct log *log)
{
	return log_lives(log) ? start_segment(log) : log_start_life(log);
}

int log_end_life(struct log *log)
{
	struct super next = log->super;

	if (!log_lives(log)) /* nothing was written: what the super block says still holds */
		return 0;
	next.clean = true;
	next.end_seq = log->tail.seq;
	next.end_off = log->end;
	next.end_sum = log->chain;
	next.durable_lsn = log->durable_lsn;
	next.written_sec = log->written_sec;
	return log_put_super(log, &next);
}
