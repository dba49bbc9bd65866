/* SPDX-License-Identifier: LGPL-2.1-or-later */
/* What the maintenance thread does to a delta beside cleaning: checkpoints, zeroing ahead, freezing.
 *
 * What may be lost: nothing. A checkpoint is a cache (checkpoint.c says what
 * its crash points leave), and names only what was flushed before. A slot
 * that is zeroed is free. Freezing is one write of the super block, after END
 * and everything before it are durable: before it a delta, after it a layer.
 */
#include <errno.h>
#include <stdlib.h>

#include "fs/store/checkpoint.h"
#include "fs/store/handle.h"
#include "fs/store/recycle.h"
#include "fs/util/cleanup.h"
#include "fs/util/round.h"

/* Log behind the last checkpoint that is worth another one: replaying that
 * much takes a fraction of a second, and writing one costs little against it. */
#define CHECKPOINT_BYTES (UINT64_C(64) << 20)
#define CHECKPOINT_RATIO 16

/* Flushes are frequent: so many of the tail segment, one for no more than so
 * many bytes. Then a third of their time goes into allocating (measured on
 * ext4), which a slot that was written before spares. */
#define FREQUENT_SYNCS 16
#define FREQUENT_BYTES (UINT64_C(64) << 10)

static uint64_t behind_locked(const struct log *log)
{
	return log->replayed_bytes + log->appended_bytes + log->moved_bytes - log->covered_bytes;
}

static bool checkpoint_is_due(struct log *log)
{
	SCOPED_LOCK(&log->lock);

	return behind_locked(log) >
		max_u64(CHECKPOINT_BYTES, CHECKPOINT_RATIO * log->checkpoint_bytes);
}

static bool flushes_are_frequent(struct log *log)
{
	SCOPED_LOCK(&log->lock);
	uint64_t syncs = log->syncs - log->tail_syncs;
	uint64_t bytes = log->appended_bytes + log->moved_bytes - log->tail_bytes;

	return syncs >= FREQUENT_SYNCS && bytes <= syncs * FREQUENT_BYTES;
}

unsigned int delta_due(struct delta *delta)
{
	struct log *log = &delta->log;
	unsigned int due = 0;

	if (atomic_load(&log->broken) || atomic_load(&log->frozen))
		return 0;
	if (checkpoint_is_due(log))
		due |= DELTA_DUE_CHECKPOINT;
	if (clean_is_due(log))
		due |= DELTA_DUE_CLEAN;
	if (clean_is_urgent(log))
		due |= DELTA_DUE_CLEAN_URGENT;
	if (flushes_are_frequent(log) && !log_has_ready(log))
		due |= DELTA_DUE_PREPARE;
	return due;
}

/* ---- checkpoints ---- */

static uint32_t slot_flags(const struct segment_entry *entry)
{
	switch (entry->state) {
	case SLOT_UNUSED:
	case SLOT_LOST: /* there is none: see take_checkpoint() */
	case SLOT_DOUBTFUL: /* freed before the log goes on */
		return 0;
	case SLOT_USED:
	case SLOT_RETIRING:
		return FORMAT_SLOT_USED |
			(atomic_load(&entry->sealed) ? FORMAT_SLOT_SEALED : 0) |
			(atomic_load(&entry->others) ? FORMAT_SLOT_OTHER : 0);
	case SLOT_RETIRED:
	case SLOT_FREE:
		return FORMAT_SLOT_FREE;
	case SLOT_AHEAD: /* free or unused: either will do */
		return entry->segment.free ? FORMAT_SLOT_FREE : 0;
	}
	return 0;
}

static int copy_slots(struct log *log, struct checkpoint *checkpoint)
{
	SCOPED_LOCK(&log->lock);
	uint32_t n = log->segments.count;

	checkpoint->slots = calloc((size_t)n + 1, sizeof(*checkpoint->slots));
	if (!checkpoint->slots)
		return -ENOMEM;
	checkpoint->n_slots = n;
	for (uint32_t slot = 0; slot < n; slot++) {
		const struct segment_entry *entry = segment_table_entry(&log->segments, slot);
		uint32_t flags = slot_flags(entry);

		if (flags)
			checkpoint->slots[slot] = (struct checkpoint_slot){
				.seq = entry->segment.seq,
				.epoch = entry->segment.epoch,
				.first_lsn = entry->segment.first_lsn,
				.flags = flags,
			};
	}
	return 0;
}

/* [leader] Where the log ends now. */
static void fill_place(struct log *log, struct checkpoint_place *place)
{
	SCOPED_LOCK(&log->lock);

	*place = (struct checkpoint_place){
		.lsn = log->appended_lsn,
		.seq = log->tail.seq ? log->tail.seq : log->prev_seq,
		.off = log->tail.seq ? log->end : log->prev_end,
		.chain = log->chain,
		.size_bytes = log->super.size_bytes,
		.written_sec = log->written_sec,
	};
}

/* What was appended up to here is what the checkpoint covers. */
struct taken {
	struct checkpoint checkpoint;
	struct index_image image;
	uint64_t log_bytes;
};

static void release_taken(struct taken *taken)
{
	checkpoint_release(&taken->checkpoint);
	free(taken->image.entry);
}

/* [leader] Lost tails are freed first, as the table of slots does not know
 * them and might be all that the next opening looks at. */
static int take_checkpoint(struct log *log, struct taken *taken)
{
	int rc = atomic_load(&log->broken);

	if (rc == 0 && log_has_lost(log))
		rc = log_start_life(log);
	if (rc < 0)
		return rc;
	fill_place(log, &taken->checkpoint.place);
	{
		SCOPED_LOCK(&log->lock);
		taken->log_bytes = log->appended_bytes + log->moved_bytes + log->replayed_bytes;
	}
	rc = copy_slots(log, &taken->checkpoint);
	return rc < 0 ? rc : index_image(&log->index, &taken->image);
}

static bool is_covered(struct log *log)
{
	SCOPED_LOCK(&log->lock);

	return log->checkpoint_bytes > 0 && log->checkpoint_lsn == log->appended_lsn;
}

static void count_checkpoint(struct log *log, const struct taken *taken)
{
	SCOPED_LOCK(&log->lock);

	log->checkpoint_lsn = taken->checkpoint.place.lsn;
	log->checkpoint_bytes = taken->checkpoint.bytes;
	log->checkpoints_bytes += taken->checkpoint.bytes;
	log->covered_bytes = taken->log_bytes;
}

/* The reserve lends the room until the old one is gone. */
static int write_checkpoint(struct log *log, struct taken *taken)
{
	uint64_t bytes = sizeof(struct format_checkpoint) + FORMAT_PAGE +
		taken->checkpoint.n_slots * sizeof(struct format_slot) +
		taken->image.n * sizeof(struct index_entry);
	int rc = space_take(log->space, bytes, true);

	if (rc < 0)
		return rc;
	rc = checkpoint_write(log->io, log->dirfd, log->name, &log->identity, &taken->checkpoint,
		&taken->image);
	space_give(log->space, bytes);
	if (rc == 0)
		count_checkpoint(log, taken);
	return log_space_error(rc);
}

int log_checkpoint(struct log *log)
{
	struct taken taken = {0};
	int rc;

	if (is_covered(log))
		return atomic_load(&log->broken);
	log_take_lead(log);
	rc = take_checkpoint(log, &taken);
	log_give_lead(log);
	if (rc == 0)
		rc = log_sync(log);
	if (rc == 0)
		rc = write_checkpoint(log, &taken);
	release_taken(&taken);
	return rc;
}

int delta_checkpoint(struct delta *delta)
{
	if (atomic_load(&delta->log.frozen))
		return -EROFS;
	return log_checkpoint(&delta->log);
}

/* ---- ahead ---- */

int delta_prepare(struct delta *delta)
{
	if (atomic_load(&delta->log.frozen))
		return -EROFS;
	return log_prepare(&delta->log);
}

/* ---- freezing ---- */

/* [leader] All that was written is durable, and the end is known. */
static int end_writing(struct log *log)
{
	int rc = atomic_load(&log->broken);

	/* An unclean end that could not be settled for want of space. */
	if (rc == 0 && !log->super.clean)
		rc = log_start_life(log);
	return rc < 0 ? rc : log_seal_life(log);
}

int delta_freeze(struct delta *delta)
{
	struct log *log = &delta->log;
	int rc;

	if (atomic_load(&log->frozen))
		return 0;
	log_take_lead(log);
	rc = end_writing(log);
	log_give_lead(log);
	if (rc == 0)
		log_checkpoint(log); /* only a cache: what breaks the log is found next */
	if (rc == 0)
		log_trim_all(log);
	log_take_lead(log);
	if (rc == 0)
		rc = end_writing(log);
	if (rc == 0)
		rc = log_freeze(log);
	if (rc == 0) {
		atomic_store(&log->frozen, true);
		io_lock(log->super_fd, false, 0, 1);
	}
	log_give_lead(log);
	return rc;
}
