/* SPDX-License-Identifier: LGPL-2.1-or-later */
/* Replaying the log: from its files to an index and an end. Algorithm: format.h, "reading the log".
 *
 * Nothing is written here but the sync of an unclean log. What is refused is
 * named with segment and position, so that a person can look.
 */
#include <errno.h>
#include <fcntl.h>
#include <inttypes.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include "fs/store/checkpoint.h"
#include "fs/store/record.h"
#include "fs/store/replay.h"
#include "fs/util/cleanup.h"
#include "fs/util/round.h"

/* Where in a segment to begin: what lies before it is in the index already. */
struct resume {
	uint64_t off; /* 0: apply all */
	uint64_t chain, lsn;
};

static int apply_record(struct replay *r, const struct record *record, uint64_t pos)
{
	if (index_reserve(&r->log->index, log_index_pages(record)) < 0)
		return err_sys(r->err, -ENOMEM, "cannot build the index");
	log_index_record(r->log, record, pos);
	r->bytes += record->length;
	return 0;
}

/* The place of a checkpoint must be the end of just the record that it says. */
static int check_resume(struct replay *r, const struct segment *s, const struct resume *resume)
{
	bool first = r->log->end == FORMAT_PAGE; /* it lies in an earlier segment */

	if (r->log->end != resume->off || r->log->chain != resume->chain ||
		(first ? resume->lsn >= s->first_lsn : r->lsn != resume->lsn))
		return err_set(r->err, -EUCLEAN, "the checkpoint is not of this log");
	r->lsn = resume->lsn;
	return 0;
}

/* Where path[i] has to end: where the next one or the clean mark says. What a
 * failed append left behind that place was never acknowledged. */
static uint64_t stop_of(const struct replay *r, uint32_t i)
{
	const struct super *super = &r->log->super;

	if (i + 1 < r->n_path)
		return r->path[i + 1].prev_freed ? UINT64_MAX : r->path[i + 1].segment.prev_end;
	if (replay_counts_as_clean(r) && r->path[i].segment.seq == super->end_seq)
		return super->end_off;
	return UINT64_MAX;
}

/* Go through path[i]'s records up to where it has to end, END, or the first
 * invalid one, and apply those from resume on. The log's end and chain value follow. */
static int replay_segment(struct replay *r, uint32_t i, const struct resume *resume)
{
	struct log *log = r->log;
	const struct segment *s = &r->path[i].segment;
	uint64_t start = slot_start(s->slot), bytes = slot_bytes(s->slot);
	struct record record = {.type = FORMAT_DATA};
	uint64_t stop = stop_of(r, i);
	int rc = replay_read_slot(r, i);
	bool resumed = resume->off == 0;

	log->end = FORMAT_PAGE;
	log->chain = s->prev_sum;
	while (rc == 0) {
		struct record_place place = {
			.key = log->key,
			.epoch = s->epoch,
			.seq = s->seq,
			.pos = start + log->end,
			.prev_sum = log->chain,
		};

		if (!resumed && log->end >= resume->off) {
			rc = check_resume(r, s, resume);
			resumed = true;
			continue;
		}
		if (log->end >= stop || record.type == FORMAT_END ||
			record_decode(&place, r->buf + log->end, bytes - log->end,
				log_disk_blocks(log), max_u64(r->lsn + 1, s->first_lsn),
				&record) < 0)
			break;
		if (resumed)
			rc = apply_record(r, &record, place.pos);
		else
			segment_note(&log->segments, s->slot, record.type == FORMAT_END,
				record_others(&record));
		log->end += record.length;
		log->chain = record.sum;
		r->lsn = record.lsn;
	}
	return rc == 0 && !resumed ? check_resume(r, s, resume) : rc;
}

/* May the log end in path[i], before the segments after it? */
static bool is_torn_tail(const struct replay *r, uint32_t i)
{
	for (uint32_t later = i + 1; later < r->n_path; later++)
		if (r->path[later].segment.epoch != r->path[i].segment.epoch)
			return false;
	return true;
}

/* Does path[i] end where the next one says? -EUCLEAN: damage; 1: the log ends
 * in it. */
static int check_end(struct replay *r, uint32_t i)
{
	struct log *log = r->log;
	const struct path_segment *next = &r->path[i + 1];
	const struct segment *s = &r->path[i].segment;
	bool sealed = atomic_load(&segment_table_entry(&log->segments, s->slot)->sealed);

	if (next->prev_freed ? sealed :
		(log->end == next->segment.prev_end && log->chain == next->segment.prev_sum))
		return 0;
	if (!next->prev_freed && log->end < next->segment.prev_end && is_torn_tail(r, i))
		return 1;
	return err_set(r->err, -EUCLEAN,
		"damaged record in segment %" PRIu64 " at offset %" PRIu64 " of the log", s->seq,
		slot_start(s->slot) + log->end);
}

/* The rest of the path is a lost tail. */
static void cut_path(struct replay *r, uint32_t n)
{
	for (uint32_t i = n; i < r->n_path; i++)
		segment_table_entry(&r->log->segments, r->path[i].segment.slot)->state = SLOT_LOST;
	r->n_path = n;
}

/* What a checkpoint says was in the slot is not there any more, and nothing
 * must be left that points there. */
static int check_reused(struct replay *r, const struct checkpoint *from, uint32_t slot)
{
	if (from && slot < from->n_slots && (from->slots[slot].flags & FORMAT_SLOT_USED) &&
		index_slot_live(&r->log->index, slot) > 0)
		return err_set(r->err, -EUCLEAN, "the checkpoint points into slot %" PRIu32
			", which was used again", slot);
	return 0;
}

static bool same_as_then(const struct checkpoint *from, const struct segment *s)
{
	return s->slot < from->n_slots && (from->slots[s->slot].flags & FORMAT_SLOT_USED) &&
		from->slots[s->slot].seq == s->seq && from->slots[s->slot].epoch == s->epoch;
}

/* Replay the path from path[i] on, and there from resume. */
static int replay_path(
	struct replay *r, const struct checkpoint *from, uint32_t i, struct resume resume)
{
	struct log *log = r->log;
	int rc = 0;

	replay_begin_ahead(r, i);
	for (; i < r->n_path && rc == 0; i++) {
		const struct segment *s = &r->path[i].segment;

		if (from && !same_as_then(from, s))
			rc = check_reused(r, from, s->slot);
		if (rc == 0)
			rc = replay_segment(r, i, &resume);
		resume = (struct resume){0};
		if (rc < 0)
			return rc;
		log->prev_seq = s->seq;
		log->prev_end = log->end;
		log->prev_slot = s->slot;
		if (i + 1 < r->n_path)
			rc = check_end(r, i);
		if (rc > 0)
			cut_path(r, i + 1);
	}
	return rc < 0 ? rc : 0;
}

/* On the path, or freed: its slot says so. */
static bool is_accounted(const struct replay *r, uint64_t seq, uint32_t slot)
{
	for (uint32_t i = 0; i < r->n_path; i++)
		if (r->path[i].segment.seq == seq)
			return true;
	return replay_was_freed(r, seq, slot);
}

static int check_witnesses(struct replay *r)
{
	struct log *log = r->log;
	const struct super *super = &log->super;

	if (super->life_seq && !is_accounted(r, super->life_seq, super->life_slot))
		return err_set(r->err, -EUCLEAN, "segment %" PRIu64 " of the log is missing",
			super->life_seq);
	if (r->lsn < max_u64(max_u64(r->witness, r->covered_lsn), super->durable_lsn))
		return err_set(r->err, -EUCLEAN,
			"damaged record %" PRIu64 " in segment %" PRIu64 ", which had been flushed",
			r->lsn + 1, log->prev_seq);
	if (replay_counts_as_clean(r) && super->end_seq &&
		(log->prev_seq != super->end_seq || log->prev_end != super->end_off ||
			log->chain != super->end_sum))
		return err_set(r->err, -EUCLEAN, "the log ends before its clean-stop mark");
	return 0;
}

/* ---- from a checkpoint ---- */

/* What was true of segments before the place still is. */
static int adopt_flags(struct replay *r, const struct checkpoint *from, uint32_t before)
{
	for (uint32_t i = 0; i < before; i++) {
		const struct segment *s = &r->path[i].segment;
		uint32_t flags = same_as_then(from, s) ? from->slots[s->slot].flags : 0;

		if (!flags)
			return err_set(r->err, -EUCLEAN, "the checkpoint does not know segment %"
				PRIu64, s->seq);
		segment_note(&r->log->segments, s->slot, flags & FORMAT_SLOT_SEALED,
			(flags & FORMAT_SLOT_OTHER) != 0);
	}
	return 0;
}

static int check_freed(struct replay *r, const struct checkpoint *from)
{
	int rc = 0;

	for (uint32_t slot = 0; slot < from->n_slots && rc == 0; slot++) {
		const struct segment_entry *entry =
			segment_table_entry(&r->log->segments, slot);

		if (!entry || entry->state != SLOT_USED)
			rc = check_reused(r, from, slot);
	}
	return rc;
}

/* Of the segment that the log went on in: it is there (checkpoint.c). */
static uint32_t slot_of_place(const struct checkpoint *from)
{
	uint32_t slot = 0;

	while (!(from->slots[slot].flags & FORMAT_SLOT_USED) ||
		from->slots[slot].seq != from->place.seq)
		slot++;
	return slot;
}

/* Was the segment that the checkpoint saw in the slot freed since? */
static bool is_gone(const struct replay *r, const struct checkpoint *from, uint32_t slot)
{
	const struct segment_entry *entry = segment_table_entry(&r->log->segments, slot);

	return !entry || entry->state != SLOT_USED || !same_as_then(from, &entry->segment);
}

static bool points_at_gone(const struct replay *r, const struct checkpoint *from)
{
	for (uint32_t slot = 0; slot < from->n_slots; slot++)
		if (index_slot_live(&r->log->index, slot) > 0 && is_gone(r, from, slot))
			return true;
	return false;
}

static bool has_bad(struct log *log)
{
	uint64_t blocks = log_disk_blocks(log), run;

	for (uint64_t block = 0; block < blocks; block += run)
		if (index_get(&log->index, block, blocks - block, &run, NULL) == DELTA_BAD)
			return true;
	return false;
}

/* Those of count data blocks (at most FORMAT_RECORD_BLOCKS) that lie in such a slot. */
static int mark_some(struct replay *r, const struct checkpoint *from, uint64_t block,
	uint64_t count)
{
	struct index_place place[FORMAT_RECORD_BLOCKS];
	struct index *index = &r->log->index;

	index_get(index, block, count, &count, place);
	for (uint64_t i = 0; i < count; i++) {
		if (!is_gone(r, from, slot_of(place[i].pos)))
			continue;
		if (index_reserve(index, index_pages_for(1)) < 0)
			return err_sys(r->err, -ENOMEM, "cannot build the index");
		index_put_bad(index, block + i, 1);
	}
	return 0;
}

/* What the checkpoint knows in segments that were freed since is bad until the
 * log behind it says what it is now: it was overwritten or moved. 1: such there is.
 * With blocks that are really bad the two could not be told apart. */
static int mark_gone(struct replay *r, const struct checkpoint *from)
{
	uint64_t blocks = log_disk_blocks(r->log), run;

	if (!points_at_gone(r, from))
		return 0;
	if (has_bad(r->log))
		return err_set(r->err, -EUCLEAN, "the checkpoint has bad blocks");
	for (uint64_t block = 0; block < blocks; block += run) {
		bool data = index_get(&r->log->index, block, blocks - block, &run, NULL) ==
			DELTA_DATA;

		for (uint64_t n, done = 0; data && done < run; done += n) {
			int rc;

			n = min_u64(run - done, FORMAT_RECORD_BLOCKS);
			rc = mark_some(r, from, block + done, n);
			if (rc < 0)
				return rc;
		}
	}
	return 1;
}

/* The index holds the checkpoint's image; add what lies behind it. If the
 * segment where it was taken has been freed since, what lay behind it there
 * is dead, and the next one on the path is where the rest begins. */
static int replay_from(struct replay *r, const struct checkpoint *from)
{
	struct resume resume = {from->place.off, from->place.chain, from->place.lsn};
	uint32_t i = 0;
	int rc, gone;

	while (i < r->n_path && r->path[i].segment.seq < from->place.seq)
		i++;
	if (i == r->n_path)
		return err_set(r->err, -EUCLEAN, "the checkpoint is ahead of the log");
	if (r->path[i].segment.seq > from->place.seq) {
		if (!replay_was_freed(r, from->place.seq, slot_of_place(from)))
			return err_set(r->err, -EUCLEAN, "the checkpoint's segment is lost");
		resume = (struct resume){0};
		r->lsn = from->place.lsn;
	}
	rc = adopt_flags(r, from, i);
	gone = rc == 0 ? mark_gone(r, from) : rc;
	rc = gone < 0 ? gone : replay_path(r, from, i, resume);
	if (rc == 0)
		rc = check_freed(r, from);
	if (rc == 0 && gone > 0 && has_bad(r->log))
		rc = err_set(r->err, -EUCLEAN, "the checkpoint points into freed segments");
	return rc < 0 ? rc : check_witnesses(r);
}

/* Is the log marked clean just where the checkpoint was taken? Then nothing
 * has to be read. With one copy of the super block gone, a newer mark may be. */
static bool is_at_mark(const struct log *log, const struct checkpoint *from)
{
	const struct super *super = &log->super;
	const struct checkpoint_place *place = &from->place;

	return super->clean && log->super_whole && place->seq && place->seq == super->end_seq &&
		place->off == super->end_off && place->chain == super->end_sum &&
		place->lsn == super->durable_lsn;
}

/* The table of slots as the checkpoint has it; it was right at the mark. */
static int adopt_slots(struct log *log, const struct checkpoint *from)
{
	int rc = segment_table_cover(&log->segments, from->n_slots);

	for (uint32_t slot = 0; slot < from->n_slots && rc == 0; slot++) {
		const struct checkpoint_slot *then = &from->slots[slot];
		struct segment s = {
			.slot = slot,
			.seq = then->seq,
			.epoch = then->epoch,
			.first_lsn = then->first_lsn,
			.free = then->flags & FORMAT_SLOT_FREE,
		};

		if (!then->flags)
			continue;
		segment_table_put(&log->segments, &s);
		segment_note(&log->segments, slot, then->flags & FORMAT_SLOT_SEALED,
			(then->flags & FORMAT_SLOT_OTHER) != 0);
	}
	return rc;
}

static int open_at_mark(struct replay *r, const struct checkpoint *from)
{
	struct log *log = r->log;
	int rc = adopt_slots(log, from);

	if (rc < 0)
		return err_sys(r->err, rc, "cannot open the log");
	log->prev_slot = slot_of_place(from);
	log->prev_seq = from->place.seq;
	log->prev_end = log->end = from->place.off;
	log->chain = from->place.chain;
	r->lsn = from->place.lsn;
	r->newest_seq = from->place.seq;
	for (uint32_t slot = 0; slot < from->n_slots; slot++)
		r->max_seq = max_u64(r->max_seq, from->slots[slot].seq);
	return 0;
}

/* ---- all of it ---- */

/* Forget all but what the headers said. */
static void begin_again(struct replay *r)
{
	struct segment_table *table = &r->log->segments;

	index_clear(&r->log->index);
	for (uint32_t slot = 0; slot < table->count; slot++) {
		struct segment_entry *entry = segment_table_entry(table, slot);

		atomic_store(&entry->sealed, false);
		atomic_store(&entry->others, 0);
		if (entry->state == SLOT_LOST)
			entry->state = SLOT_USED;
	}
	replay_end_ahead(r);
	free(r->path);
	r->path = NULL;
	r->lsn = r->bytes = 0;
}

static int replay_whole(struct replay *r)
{
	int rc = replay_build_path(r);

	if (rc == 0)
		rc = replay_path(r, NULL, 0, (struct resume){0});
	return rc < 0 ? rc : check_witnesses(r);
}

/* From the checkpoint if it counts; from the log alone if there is any doubt. */
static int replay_records(struct replay *r, struct checkpoint *from)
{
	int rc = -EUCLEAN;

	if (from->slots && from->place.seq) {
		rc = replay_build_path(r);
		if (rc == 0)
			rc = replay_from(r, from);
		if (rc == 0)
			return 0;
		begin_again(r);
	}
	if (rc != -EUCLEAN)
		return rc;
	checkpoint_release(from);
	rc = index_cover_slots(&r->log->index, r->log->segments.count);
	return rc < 0 ? err_sys(r->err, rc, "cannot replay the log") : replay_whole(r);
}

/* Look at the headers first: they tell whether the clean mark counts. If not,
 * sync, and begin again from the medium. */
static int read_headers(struct replay *r, const char *log_name, bool *ret_clean)
{
	int rc = 0;

	*ret_clean = false;
	if (r->log->super.clean) {
		rc = replay_scan(r);
		*ret_clean = replay_counts_as_clean(r);
	}
	if (rc < 0 || *ret_clean)
		return rc;
	rc = replay_open_medium(r, log_name);
	segment_table_release(&r->log->segments);
	r->newest_seq = r->max_seq = r->witness = 0;
	r->slots_witness = r->headed = 0;
	return rc < 0 ? rc : replay_scan(r);
}

static int replay_log(struct replay *r, const char *log_name, struct checkpoint *from,
	bool *ret_clean)
{
	int rc;

	if (from->slots && is_at_mark(r->log, from)) {
		*ret_clean = true;
		return open_at_mark(r, from);
	}
	if (posix_memalign((void **)&r->buf, FORMAT_PAGE, SLOT_FULL_BYTES))
		return err_sys(r->err, -ENOMEM, "cannot replay the log");
	rc = read_headers(r, log_name, ret_clean);
	return rc < 0 ? rc : replay_records(r, from);
}

/* Where the next records go, and what is known durable. */
static void fill_log(struct replay *r, const struct checkpoint *from, bool clean, uint64_t mtime)
{
	struct log *log = r->log;

	log->max_seq = r->max_seq;
	log->next_lsn = max_u64(r->lsn, r->witness) + 1;
	log->appended_lsn = log->durable_lsn = r->lsn;
	log->durable_slots = log->segments.headed;
	log->written_sec = clean ? log->super.written_sec : mtime;
	log->replayed_bytes = r->bytes;
	log->checkpoint_lsn = from->place.lsn;
	log->checkpoint_bytes = from->bytes;
}

int log_replay(struct log *log, const char *log_name, bool *ret_clean, struct err *err)
{
	struct replay r = {.log = log, .fd = log->log_fd, .err = err};
	struct checkpoint from = {0};
	struct stat st;
	int rc;

	if (fstat(log->log_fd, &st) < 0)
		return err_sys(err, -errno, "cannot stat the log");
	r.file_size = (uint64_t)st.st_size;
	rc = log->no_checkpoint ? -ENOENT :
		checkpoint_read(log->io, log->dirfd, log->name, &log->super, &from, &log->index);
	if (rc == 0)
		r.covered_lsn = from.place.lsn;
	rc = rc == -ENOMEM ? err_sys(err, rc, "cannot load the checkpoint") : 0;
	if (rc == 0)
		rc = replay_log(&r, log_name, &from, ret_clean);
	if (rc == 0)
		fill_log(&r, &from, *ret_clean, (uint64_t)st.st_mtime);
	replay_end_ahead(&r);
	if (r.fd != log->log_fd && r.fd >= 0)
		log->io->close(log->io, r.fd);
	checkpoint_release(&from);
	free(r.path);
	free(r.buf);
	return rc;
}
