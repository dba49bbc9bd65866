/* SPDX-License-Identifier: LGPL-2.1-or-later */
/* The path: which segments make the log, by their headers. Rules: format.h, "reading the log", 2.
 *
 * Nothing is written here. What is refused is named with segment and place, so
 * that a person can look.
 */
#include <errno.h>
#include <inttypes.h>
#include <stdlib.h>
#include <string.h>

#include "fs/store/replay.h"
#include "fs/util/round.h"

/* What a valid header tells beside its own slot. */
static void note_header(struct replay *r, const struct segment *s)
{
	r->witness = max_u64(r->witness, s->durable_lsn);
	r->slots_witness = (uint32_t)max_u64(r->slots_witness, s->durable_slots);
	r->max_seq = max_u64(r->max_seq, s->seq);
	if (!s->free)
		r->newest_seq = max_u64(r->newest_seq, s->seq);
}

/* Nothing comes behind the mark of a layer: what a daemon began there before
 * it was frozen has no records. */
static bool behind_layer(const struct replay *r, const struct segment *s)
{
	return r->log->super.layer && !s->free && s->seq > r->log->super.end_seq;
}

static int cover(struct replay *r, uint32_t slots)
{
	int rc = segment_table_cover(&r->log->segments, slots);

	if (rc == 0)
		rc = index_cover_slots(&r->log->index, slots);
	return rc < 0 ? err_sys(r->err, rc, "cannot read the log") : 0;
}

static int note_slot(struct replay *r, uint32_t slot, const void *raw)
{
	struct segment s;
	int rc;

	if (segment_decode(raw, &r->log->super, slot, &s) < 0)
		return 0;
	if (slot == r->headed)
		r->headed++;
	if (behind_layer(r, &s))
		return 0;
	note_header(r, &s);
	rc = cover(r, slot + 1);
	if (rc == 0)
		segment_table_put(&r->log->segments, &s);
	return rc;
}

/* Slots of which the file has the begin. */
static uint32_t slots_in(uint64_t file_size)
{
	uint64_t size = min_u64(file_size, FORMAT_LOG_MAX);

	return size ? (uint32_t)min_u64(slot_of(size - 1) + 1, SLOT_COUNT_MAX) : 0;
}

/* A slot without a valid header is unused: its header did not reach the
 * medium, unless somebody witnesses that it did. */
int replay_scan(struct replay *r)
{
	uint32_t slots = slots_in(r->file_size);

	for (uint32_t first = 0; first < slots; first += REPLAY_HEADERS) {
		uint32_t n = (uint32_t)min_u64(slots - first, REPLAY_HEADERS);
		int rc = replay_read_headers(r, first, n);

		for (uint32_t i = 0; i < n && rc == 0; i++)
			rc = note_slot(r, first + i, r->buf + (uint64_t)i * FORMAT_PAGE);
		if (rc < 0)
			return rc;
	}
	if (r->headed < r->slots_witness)
		return err_set(r->err, -EUCLEAN,
			"damaged header of slot %" PRIu32 " at offset %" PRIu64
			" of the log, which had been flushed",
			r->headed, slot_start(r->headed));
	return 0;
}

bool replay_counts_as_clean(const struct replay *r)
{
	const struct super *super = &r->log->super;

	return super->clean && r->newest_seq <= super->end_seq;
}

static int by_seq(const void *a, const void *b)
{
	const struct path_segment *x = a, *y = b;

	return x->segment.seq < y->segment.seq ? -1 : x->segment.seq > y->segment.seq;
}

/* All segments in use, oldest first. */
static int list_used(struct replay *r, struct path_segment **ret_list, uint32_t *ret_n)
{
	const struct segment_table *table = &r->log->segments;
	struct path_segment *list = calloc((size_t)table->count + 1, sizeof(*list));
	uint32_t n = 0;

	if (!list)
		return err_sys(r->err, -ENOMEM, "cannot replay the log");
	for (uint32_t slot = 0; slot < table->count; slot++) {
		const struct segment_entry *entry = segment_table_entry(table, slot);

		if (entry->state == SLOT_USED)
			list[n++].segment = entry->segment;
	}
	qsort(list, n, sizeof(*list), by_seq);
	*ret_list = list;
	*ret_n = n;
	for (uint32_t i = 1; i < n; i++)
		if (list[i].segment.seq == list[i - 1].segment.seq)
			return err_set(r->err, -EUCLEAN, "segment %" PRIu64 " is there twice",
				list[i].segment.seq);
	return 0;
}

/* Was segment seq, which lay in slot, freed? The slot says so itself, or has
 * been used again since. */
bool replay_was_freed(const struct replay *r, uint64_t seq, uint32_t slot)
{
	const struct segment_entry *entry = segment_table_entry(&r->log->segments, slot);

	if (!entry || entry->state == SLOT_UNUSED)
		return false;
	return entry->segment.seq > seq || (entry->segment.free && entry->segment.seq == seq);
}

/* May a power cut have taken the header of a segment that a later one names?
 * Only in the last life, behind its first segment: those headers are written
 * without a sync, in whatever order the device likes. What came before the
 * life, and all of a cleanly stopped one, was durable. */
static bool may_be_lost(const struct replay *r, const struct path_segment *newest, uint64_t seq)
{
	const struct super *super = &r->log->super;

	return !super->clean && seq > super->life_seq && newest->segment.epoch == super->epoch;
}

/* Walk from the newest segment back to where the log begins, filling the path
 * from its end. Behind a lost header all is a lost tail: then the newest
 * before it is where the walk begins. */
static int walk_back(struct replay *r, struct path_segment *used, uint32_t n)
{
	uint32_t i = n, kept = n;
	uint64_t wanted = r->newest_seq;
	uint32_t wanted_slot = 0;

	while (wanted != 0) {
		struct path_segment *next;
		bool there;

		while (i > 0 && used[i - 1].segment.seq > wanted)
			i--; /* skipped: a lost tail */
		there = i > 0 && used[i - 1].segment.seq == wanted;
		if (!there && replay_was_freed(r, wanted, wanted_slot))
			r->path[kept].prev_freed = true;
		else if (!there && i > 0 && may_be_lost(r, &used[n - 1], wanted))
			kept = n;
		else if (!there || (kept < n && used[i - 1].segment.slot != wanted_slot))
			return err_set(r->err, -EUCLEAN,
				"segment %" PRIu64 " of the log is missing", wanted);
		if (i == 0)
			break;
		next = &used[--i];
		r->path[--kept] = *next;
		wanted = next->segment.prev_seq;
		wanted_slot = next->segment.prev_slot;
	}
	r->n_path = n - kept;
	memmove(r->path, r->path + kept, r->n_path * sizeof(*r->path));
	return 0;
}

/* What is in use and not on the path. */
static void mark_lost(struct replay *r, const struct path_segment *used, uint32_t n)
{
	uint32_t p = 0;

	for (uint32_t i = 0; i < n; i++) {
		if (p < r->n_path && r->path[p].segment.seq == used[i].segment.seq)
			p++;
		else
			segment_table_entry(&r->log->segments, used[i].segment.slot)->state =
				SLOT_LOST;
	}
}

int replay_build_path(struct replay *r)
{
	struct path_segment *used = NULL;
	uint32_t n = 0;
	int rc = list_used(r, &used, &n);

	r->n_path = 0;
	r->path = rc == 0 ? calloc((size_t)n + 1, sizeof(*r->path)) : NULL;
	if (rc == 0 && !r->path)
		rc = err_sys(r->err, -ENOMEM, "cannot replay the log");
	if (rc == 0)
		rc = walk_back(r, used, n);
	if (rc == 0)
		mark_lost(r, used, n);
	free(used);
	return rc;
}
