/* SPDX-License-Identifier: LGPL-2.1-or-later */
/* Segment headers that are gone, made again: see revive.h. */
#include "fs/store/revive.h"

/* Segments that may lie before one: lost tails come between. */
#define BEFORE_MAX 4

/* One header to be. */
struct revival {
	struct scan *scan;
	uint32_t slot;
	uint64_t seq;
	const struct segment *next; /* the segment behind it; NULL: none is known */
};

static const struct segment *segment_at(const struct scan *scan, uint32_t slot)
{
	return scan->slots[slot].kind == SCAN_SEGMENT ? &scan->slots[slot].header : NULL;
}

static const struct segment *find_seq(const struct scan *scan, uint64_t seq)
{
	for (uint32_t slot = 0; slot < scan->n_slots; slot++) {
		const struct segment *s = segment_at(scan, slot);

		if (s && s->seq == seq)
			return s;
	}
	return NULL;
}

/* The one with the highest sequence number below; NULL: there is none. */
static const struct segment *newest_below(const struct scan *scan, uint64_t seq)
{
	const struct segment *newest = NULL;

	for (uint32_t slot = 0; slot < scan->n_slots; slot++) {
		const struct segment *s = segment_at(scan, slot);

		if (s && s->seq < seq && (!newest || s->seq > newest->seq))
			newest = s;
	}
	return newest;
}

/* ---- the proof ---- */

static int stop_at_first(void *ctx, const struct scan_record *found)
{
	return 1;
}

/* 1: it is the header that was there, and is in its place now; 0: it is not. */
static int try_header(const struct revival *r, const struct segment *header)
{
	struct scan_slot *at = &r->scan->slots[r->slot], before = *at;
	struct scan_end begin;
	int rc;

	*at = (struct scan_slot){.kind = SCAN_SEGMENT, .header = *header};
	begin = scan_begin(r->scan, r->slot);
	rc = scan_records(r->scan, r->slot, UINT64_MAX, 0, stop_at_first, NULL, &begin);
	if (rc != 1)
		*at = before;
	return rc;
}

static int try_epochs(const struct revival *r, struct segment *header, const struct segment *prev)
{
	const uint64_t epochs[] = {
		r->next ? r->next->epoch : 0, prev ? prev->epoch : 0, r->scan->super->epoch};
	int rc = 0;

	for (size_t i = 0; rc == 0 && i < sizeof(epochs) / sizeof(epochs[0]); i++) {
		header->epoch = epochs[i];
		if (header->epoch != 0)
			rc = try_header(r, header);
	}
	return rc;
}

/* It follows where the records of prev end; NULL: the log begins with it. */
static int try_behind(const struct revival *r, const struct segment *prev)
{
	struct segment header = {.slot = r->slot, .seq = r->seq};
	struct scan_end end;
	int rc;

	if (!prev)
		return try_epochs(r, &header, NULL);
	end = scan_begin(r->scan, prev->slot);
	rc = scan_records(r->scan, prev->slot, UINT64_MAX, 0, NULL, NULL, &end);
	if (rc < 0)
		return rc;
	header.prev_seq = prev->seq;
	header.prev_slot = prev->slot;
	header.prev_end = end.off;
	header.prev_sum = end.chain;
	return try_epochs(r, &header, prev);
}

static int revive(const struct revival *r)
{
	const struct segment *prev = newest_below(r->scan, r->seq);
	int rc = prev ? 0 : try_behind(r, NULL);

	for (int i = 0; rc == 0 && prev && i < BEFORE_MAX; i++) {
		rc = try_behind(r, prev);
		prev = newest_below(r->scan, prev->seq);
	}
	return rc;
}

/* ---- which ones ---- */

/* Named by a segment that is there. */
static int revive_named(struct scan *scan, uint32_t slot)
{
	int rc = 0;

	for (uint32_t i = 0; rc == 0 && i < scan->n_slots; i++) {
		const struct segment *next = segment_at(scan, i);
		struct revival r = {.scan = scan, .slot = slot, .next = next};

		if (!next || next->prev_slot != slot || next->prev_seq == 0 ||
			find_seq(scan, next->prev_seq))
			continue;
		r.seq = next->prev_seq;
		rc = revive(&r);
	}
	return rc;
}

/* The newest: by the clean mark, as the first of the last life, or as the
 * successor of the newest that is there. */
static int revive_newest(struct scan *scan, uint32_t slot)
{
	const struct super *super = scan->super;
	const struct segment *newest = newest_below(scan, UINT64_MAX);
	const uint64_t seqs[] = {
		super->clean ? super->end_seq : 0,
		super->life_slot == slot ? super->life_seq : 0,
		newest ? newest->seq + 1 : 0,
	};
	int rc = 0;

	for (size_t i = 0; rc == 0 && i < sizeof(seqs) / sizeof(seqs[0]); i++) {
		struct revival r = {.scan = scan, .slot = slot, .seq = seqs[i]};

		if (r.seq > 0 && !find_seq(scan, r.seq))
			rc = revive(&r);
	}
	return rc;
}

int revive_headers(struct scan *scan, uint32_t slots_witness)
{
	uint32_t left = 0, last = 0;
	int rc = 0;

	for (uint32_t slot = 0; rc >= 0 && slot < scan->n_slots; slot++) {
		if (!revive_is_gone(scan, slot, slots_witness))
			continue;
		rc = revive_named(scan, slot);
		if (rc == 0) {
			left++;
			last = slot;
		}
	}
	/* Of several nobody knows which was the newest. */
	if (rc >= 0 && left == 1)
		rc = revive_newest(scan, last);
	return rc < 0 ? rc : 0;
}
