/* SPDX-License-Identifier: LGPL-2.1-or-later */
/* What is left of a damaged log: see survey.h. */
#include "fs/store/survey.h"

#include <errno.h>
#include <fcntl.h>
#include <stdlib.h>
#include <string.h>

#include "fs/store/handle.h"
#include "fs/store/look.h"
#include "fs/store/revive.h"
#include "fs/store/slot.h"
#include "fs/util/cleanup.h"
#include "fs/util/round.h"

static const struct segment *header_of(const struct survey *s, uint32_t step)
{
	return &s->scan->slots[s->steps[step].slot].header;
}

/* ---- the path ---- */

/* Was the segment that next names as the one before it freed? format.h,
 * "reading the log", 2. */
static bool was_freed(const struct scan *scan, const struct segment *next)
{
	const struct scan_slot *slot;

	if (next->prev_slot >= scan->n_slots)
		return false;
	slot = &scan->slots[next->prev_slot];
	if (slot->kind == SCAN_FREE)
		return slot->header.seq >= next->prev_seq;
	return slot->kind == SCAN_SEGMENT && slot->header.seq > next->prev_seq;
}

/* How the step before next has to end. */
static void join(const struct scan *scan, struct survey_step *step, struct survey_step *next)
{
	const struct segment *here = &scan->slots[step->slot].header;
	const struct segment *there = &scan->slots[next->slot].header;

	if (here->seq == there->prev_seq) {
		step->stop = there->prev_end;
		step->stop_chain = there->prev_sum;
	} else if (was_freed(scan, there)) {
		step->seals = true;
	} else {
		next->gap_before = true;
	}
}

static int by_seq(const void *a, const void *b)
{
	const struct segment *const *x = a, *const *y = b;

	return (*x)->seq < (*y)->seq ? -1 : (*x)->seq > (*y)->seq;
}

static uint32_t sort_segments(const struct scan *scan, const struct segment **sorted)
{
	uint32_t n = 0;

	for (uint32_t slot = 0; slot < scan->n_slots; slot++)
		if (scan->slots[slot].kind == SCAN_SEGMENT)
			sorted[n++] = &scan->slots[slot].header;
	qsort(sorted, n, sizeof(*sorted), by_seq);
	return n;
}

/* Nothing comes behind the end of a layer: what was begun there before it was
 * frozen has no records. */
static bool behind_layer(const struct scan *scan, const struct segment *segment)
{
	return scan->super->layer && segment->seq > scan->super->end_seq;
}

/* From the newest back to the oldest; what is skipped are lost tails. */
static int build_steps(struct survey *s)
{
	const struct scan *scan = s->scan;
	AUTO_FREE const struct segment **sorted = calloc(scan->n_slots + 1, sizeof(*sorted));
	uint32_t n = scan->n_slots;
	uint64_t wanted = UINT64_MAX;

	s->steps = calloc(n + 1, sizeof(*s->steps));
	if (!sorted || !s->steps)
		return -ENOMEM;
	for (uint32_t i = sort_segments(scan, sorted); i-- > 0;) {
		struct survey_step *step;

		if (sorted[i]->seq > wanted || behind_layer(scan, sorted[i]))
			continue;
		step = &s->steps[--n];
		*step = (struct survey_step){.slot = sorted[i]->slot, .stop = UINT64_MAX};
		if (++s->n_steps > 1)
			join(scan, step, step + 1);
		wanted = sorted[i]->prev_seq;
	}
	memmove(s->steps, s->steps + n, s->n_steps * sizeof(*s->steps));
	if (s->n_steps > 0 && wanted != 0 && !was_freed(scan, header_of(s, 0)))
		s->steps[0].gap_before = true;
	return 0;
}

static void find_witnesses(struct survey *s)
{
	s->witness = s->scan->super->durable_lsn;
	for (uint32_t slot = 0; slot < s->scan->n_slots; slot++) {
		const struct scan_slot *at = &s->scan->slots[slot];

		if (at->kind != SCAN_SEGMENT && at->kind != SCAN_FREE)
			continue;
		s->witness = max_u64(s->witness, at->header.durable_lsn);
		s->slots_witness =
			(uint32_t)max_u64(s->slots_witness, at->header.durable_slots);
	}
}

/* ---- views ---- */

int survey_nothing(const struct io_gate *io, uint64_t size_bytes, struct delta **ret_view)
{
	struct delta *view;
	int rc = delta_look_empty(io, size_bytes, &view);

	if (rc < 0)
		return rc;
	if (index_reserve(&view->log.index, index_pages_for(1)) < 0) {
		delta_abandon(view);
		return -ENOMEM;
	}
	index_put_bad(&view->log.index, 0, delta_blocks(view));
	*ret_view = view;
	return 0;
}

static int fill_view(const struct scan *scan, struct delta *view)
{
	struct log *log = &view->log;

	log->super = *scan->super;
	memcpy(log->key, scan->super->key, sizeof(log->key));
	atomic_store(&view->size_bytes, scan->super->size_bytes);
	log->log_fd = fcntl(scan->log_fd, F_DUPFD_CLOEXEC, 0);
	if (log->log_fd < 0)
		return -errno;
	if (segment_table_cover(&log->segments, scan->n_slots) < 0)
		return -ENOMEM;
	for (uint32_t slot = 0; slot < scan->n_slots; slot++)
		if (scan->slots[slot].kind == SCAN_SEGMENT)
			segment_table_put(&log->segments, &scan->slots[slot].header);
	return index_cover_slots(&log->index, scan->n_slots);
}

/* Empty, over this log. */
static int new_view(const struct survey *s, struct delta **ret_view)
{
	struct delta *view = delta_new_view(s->scan->io, s->dirfd, s->name);
	int rc = view ? fill_view(s->scan, view) : -ENOMEM;

	if (rc < 0 && view)
		delta_abandon(view);
	else if (rc == 0)
		*ret_view = view;
	return rc;
}

static int apply(void *ctx, const struct scan_record *found)
{
	struct log *log = ctx;

	if (index_reserve(&log->index, log_index_pages(found->record)) < 0)
		return -ENOMEM;
	log_index_record(log, found->record, slot_start(found->slot) + found->off);
	return 0;
}

/* ---- the checkpoint to begin from ---- */

/* Do all entries point into segments that are still there? */
static bool slots_hold(const struct scan *scan, const struct checkpoint *checkpoint,
	struct index *index)
{
	for (uint32_t slot = 0; slot < checkpoint->n_slots; slot++) {
		if (index_slot_live(index, slot) == 0)
			continue;
		if (slot >= scan->n_slots || scan->slots[slot].kind != SCAN_SEGMENT ||
			scan->slots[slot].header.seq != checkpoint->slots[slot].seq)
			return false;
	}
	return true;
}

/* Load it into an empty index; false: it does not count, and the index is empty.
 * What it covers was durable in any case. */
static bool load_checkpoint(struct survey *s, struct index *index,
	struct checkpoint_place *ret_place)
{
	const struct scan *scan = s->scan;
	struct checkpoint checkpoint = {0};
	int rc = checkpoint_read(scan->io, s->dirfd, s->name, scan->super, &checkpoint, index);
	bool holds = rc == 0 && slots_hold(scan, &checkpoint, index);

	*ret_place = checkpoint.place;
	if (rc == 0)
		s->witness = max_u64(s->witness, checkpoint.place.lsn);
	checkpoint_release(&checkpoint);
	if (!holds)
		index_clear(index);
	return holds;
}

/* Where on the path it was taken. */
static bool find_place(struct survey *s)
{
	for (uint32_t i = 0; i < s->n_steps; i++) {
		const struct segment *header = header_of(s, i);

		if (header->seq != s->place.seq)
			continue;
		s->begin = i;
		return s->place.off >= FORMAT_PAGE &&
			s->place.off <= min_u64(s->steps[i].stop, slot_bytes(header->slot));
	}
	return false;
}

static int find_checkpoint(struct survey *s)
{
	struct index index;
	int rc = index_init(&index);

	if (rc < 0)
		return rc;
	s->from_checkpoint = load_checkpoint(s, &index, &s->place) && find_place(s);
	if (!s->from_checkpoint)
		s->begin = 0;
	index_release(&index);
	return 0;
}

/* ---- reading ---- */

static int read_step(struct survey *s, uint32_t i, uint64_t stop, uint64_t min_lsn,
	int (*fn)(void *ctx, const struct scan_record *record), void *ctx,
	struct scan_end *ret_end)
{
	const struct survey_step *step = &s->steps[i];

	*ret_end = scan_begin(s->scan, step->slot);
	if (s->from_checkpoint && i == s->begin) {
		ret_end->off = s->place.off;
		ret_end->chain = s->place.chain;
	}
	return scan_records(
		s->scan, step->slot, min_u64(stop, step->stop), min_lsn, fn, ctx, ret_end);
}

/* The log's end is where the clean mark says. */
static bool at_clean_mark(const struct survey *s, uint32_t i, const struct scan_end *end)
{
	const struct super *super = s->scan->super;

	return super->clean && header_of(s, i)->seq == super->end_seq &&
		end->off == super->end_off && end->chain == super->end_sum;
}

static uint64_t mark_stop(const struct survey *s, uint32_t i)
{
	const struct super *super = s->scan->super;
	bool marked = super->clean && i + 1 == s->n_steps &&
		header_of(s, i)->seq == super->end_seq;

	return marked ? super->end_off : UINT64_MAX;
}

/* Is it known what the header was: of the segment that a gap misses? */
static bool explained(const struct survey *s, uint32_t slot)
{
	for (uint32_t i = 0; i < s->n_steps; i++)
		if (s->steps[i].gap_before && header_of(s, i)->prev_slot == slot)
			return true;
	return false;
}

/* A header is gone that may have been of a segment newer than all that are left. */
static bool header_unknown(const struct survey *s)
{
	const struct scan *scan = s->scan;

	for (uint32_t slot = 0; slot < scan->n_slots; slot++)
		if (revive_is_gone(scan, slot, s->slots_witness) && !explained(s, slot))
			return true;
	return scan->n_slots < s->slots_witness;
}

static bool life_is_there(const struct survey *s)
{
	const struct super *super = s->scan->super;
	struct segment named = {.prev_seq = super->life_seq, .prev_slot = super->life_slot};

	for (uint32_t i = 0; i < s->n_steps; i++)
		if (header_of(s, i)->seq == super->life_seq)
			return true;
	return super->life_seq == 0 || was_freed(s->scan, &named);
}

/* May the log end here, in what is its last step now? */
static bool may_end(const struct survey *s, uint32_t i, const struct scan_end *end, uint64_t lsn)
{
	const struct super *super = s->scan->super;

	if (at_clean_mark(s, i, end))
		return true;
	if (super->clean && header_of(s, s->n_steps - 1)->seq <= super->end_seq)
		return false;
	return lsn >= s->witness && !header_unknown(s) && life_is_there(s);
}

/* Does the step end as what follows it says? */
static bool ends_right(const struct survey *s, uint32_t i, const struct scan_end *end)
{
	const struct survey_step *step = &s->steps[i];

	if (step->stop != UINT64_MAX)
		return end->off == step->stop && end->chain == step->stop_chain;
	return !step->seals || end->sealed;
}

/* Is the rest of the path a tail that a power cut took, from behind step i on? */
static bool is_lost_tail(const struct survey *s, uint32_t i, uint64_t lsn)
{
	const struct super *super = s->scan->super;

	if (lsn < s->witness || super->clean)
		return false;
	if (s->steps[i + 1].gap_before && header_of(s, i + 1)->prev_seq <= super->life_seq)
		return false;
	for (uint32_t later = i + 1; later < s->n_steps; later++)
		if (header_of(s, later)->epoch != super->epoch)
			return false;
	return s->steps[i + 1].gap_before || header_of(s, i)->epoch == super->epoch;
}

static void note_loss(struct survey *s, uint32_t next, uint32_t slot, uint64_t off, uint64_t lsn)
{
	s->last = (struct survey_loss){.step = next, .slot = slot, .off = off, .lsn = lsn};
	if (s->n_losses++ == 0)
		s->first = s->last;
}

static int count_record(void *ctx, const struct scan_record *found)
{
	struct survey *s = ctx;

	if (s->n_losses > 0 && found->record->type != FORMAT_END)
		s->records_behind++;
	return 0;
}

/* Read one step and see what is missing at its end. Sets *ret_over when the
 * log ends there. */
static int survey_step(struct survey *s, uint32_t i, uint64_t *lsn, bool *ret_over)
{
	struct scan_end end;
	bool last = i + 1 == s->n_steps, gap;
	int rc = read_step(s, i, mark_stop(s, i), *lsn + 1, count_record, s, &end);

	if (rc < 0)
		return rc;
	*lsn = max_u64(*lsn, end.lsn);
	s->end_lsn = max_u64(s->end_lsn, *lsn);
	if (last) {
		if (!may_end(s, i, &end, *lsn))
			note_loss(s, i + 1, s->steps[i].slot, end.off, *lsn);
		return 0;
	}
	gap = s->steps[i + 1].gap_before;
	if (ends_right(s, i, &end) && !gap)
		return 0;
	if (is_lost_tail(s, i, *lsn)) {
		*ret_over = true;
		s->n_steps = i + 1;
		return 0;
	}
	note_loss(s, i + 1, gap ? header_of(s, i + 1)->prev_slot : s->steps[i].slot,
		gap ? 0 : end.off, *lsn);
	return 0;
}

static int survey_path(struct survey *s)
{
	uint64_t lsn = s->from_checkpoint ? s->place.lsn : 0;
	bool over = false;
	int rc = 0;

	s->end_lsn = s->witness;
	if (s->n_steps == 0) {
		if (s->witness > 0 || header_unknown(s) || s->scan->super->life_seq > 0)
			note_loss(s, 0, 0, 0, 0);
		return 0;
	}
	if (s->steps[0].gap_before && !s->from_checkpoint)
		note_loss(s, 0, header_of(s, 0)->prev_slot, 0, 0);
	for (uint32_t i = s->begin; rc == 0 && !over && i < s->n_steps; i++)
		rc = survey_step(s, i, &lsn, &over);
	return rc;
}

/* Is all there that the disk was made of before the first loss? Behind a
 * checkpoint that counts, yes: its blocks lie in segments that are still there.
 * Else the log must never have been cleaned: a block may have had its place in
 * a segment that was freed when a copy was behind the loss. */
static bool is_whole_before_loss(const struct survey *s)
{
	if (s->n_losses == 0)
		return false;
	if (s->from_checkpoint)
		return true;
	if (s->n_steps == 0 || header_of(s, 0)->prev_seq != 0)
		return false;
	for (uint32_t i = 0; i < s->first.step && i < s->n_steps; i++)
		if (s->steps[i].seals)
			return false;
	return s->first.step > 0;
}

/* ---- the door ---- */

int survey_open(struct scan *scan, int dirfd, const char *name, bool checkpoint,
	struct survey **ret_survey, struct err *err)
{
	struct survey *s = calloc(1, sizeof(*s));
	int rc = s ? 0 : -ENOMEM;

	if (rc == 0) {
		s->scan = scan;
		s->dirfd = dirfd;
		s->name = name;
		find_witnesses(s);
		rc = revive_headers(scan, s->slots_witness);
	}
	if (rc == 0)
		rc = build_steps(s);
	if (rc == 0 && checkpoint)
		rc = find_checkpoint(s);
	if (rc == 0)
		rc = survey_path(s);
	if (rc < 0) {
		survey_close(s);
		return err_sys(err, rc, "delta %s: cannot look at the log", name);
	}
	s->may_cut = is_whole_before_loss(s);
	*ret_survey = s;
	return 0;
}

void survey_close(struct survey *survey)
{
	if (!survey)
		return;
	free(survey->steps);
	free(survey);
}

/* The records of the steps [from, end). */
static int each_record(struct survey *s, uint32_t from, uint32_t end,
	int (*fn)(void *ctx, const struct scan_record *record), void *ctx)
{
	uint64_t lsn = s->from_checkpoint && from == s->begin ? s->place.lsn : 0;
	int rc = 0;

	for (uint32_t i = from; rc == 0 && i < end; i++) {
		struct scan_end at;

		rc = read_step(s, i, mark_stop(s, i), lsn + 1, fn, ctx, &at);
		lsn = max_u64(lsn, at.lsn);
	}
	return rc;
}

int survey_each(struct survey *s, int (*fn)(void *ctx, const struct scan_record *record),
	void *ctx)
{
	return each_record(s, s->begin, s->n_steps, fn, ctx);
}

/* What lies before the first loss. */
int survey_cut(struct survey *s, struct delta **ret_view)
{
	struct checkpoint_place place;
	struct delta *view;
	int rc = new_view(s, &view);

	if (rc < 0)
		return rc;
	if (s->from_checkpoint && !load_checkpoint(s, &view->log.index, &place))
		rc = -ENOMEM; /* it was there before */
	if (rc == 0)
		rc = each_record(s, s->begin, s->n_losses > 0 ? s->first.step : s->n_steps, apply,
			&view->log);
	if (rc < 0)
		delta_abandon(view);
	else
		*ret_view = view;
	return rc;
}

int survey_known(struct survey *s, struct delta **ret_view)
{
	struct delta *view;
	int rc;

	if (s->n_losses == 0)
		return survey_cut(s, ret_view);
	rc = new_view(s, &view);
	if (rc < 0)
		return rc;
	rc = index_reserve(&view->log.index, index_pages_for(1));
	if (rc == 0) {
		index_put_bad(&view->log.index, 0, delta_blocks(view));
		rc = each_record(s, s->last.step, s->n_steps, apply, &view->log);
	}
	if (rc < 0)
		delta_abandon(view);
	else
		*ret_view = view;
	return rc;
}
