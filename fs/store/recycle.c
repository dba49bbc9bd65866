/* SPDX-License-Identifier: LGPL-2.1-or-later */
/* Slots: taking one for a segment, freeing dead segments, giving space back. See recycle.h.
 *
 * What may be lost, crash point by crash point (tests: test-recycle.c, and
 * tests/crash/powercut.c, which cuts each of these):
 *
 *	slot taken, no header yet    nothing: it stays free or unused
 *	before the first flush       nothing: no free header is written yet
 *	some free headers written    nothing: what was in those segments is
 *	                             durable elsewhere; each is free or not
 *	before readers have left     nothing: the slots are not written to
 *	while space is given back    nothing: the slots are free
 *	while a slot is zeroed       nothing: it is free or unused
 */
#include "fs/store/recycle.h"

#include <errno.h>
#include <fcntl.h>
#include <stdlib.h>
#include <unistd.h>

#include "fs/store/log.h"
#include "fs/util/cleanup.h"
#include "fs/util/round.h"

/* Free space that is kept for the next segments. */
#define KEEP_BYTES (2 * SLOT_FULL_BYTES)
#define KEEP_FRACTION 10

/* Zeros written at once. */
#define ZERO_BYTES (UINT64_C(1) << 20)

static bool is_free(const struct segment_entry *entry)
{
	return entry->state == SLOT_UNUSED || entry->state == SLOT_FREE;
}

/* ---- taking ---- */

/* Covered; -ENOSPC at the largest log. */
static int find_free(struct log *log, struct segment_entry **ret_entry, uint32_t *ret_slot)
{
	SCOPED_LOCK(&log->lock);
	struct segment_entry *entry;
	int rc;

	while ((entry = segment_table_entry(&log->segments, log->lowest_free)) && !is_free(entry))
		log->lowest_free++;
	rc = segment_table_cover(&log->segments, log->lowest_free + 1);
	if (rc < 0)
		return log_space_error(rc);
	*ret_slot = log->lowest_free;
	*ret_entry = segment_table_entry(&log->segments, *ret_slot);
	return 0;
}

/* Bytes of the file system that a slot has not got yet. */
static uint64_t slot_lacks(struct log *log, uint32_t slot, const struct segment_entry *entry)
{
	SCOPED_LOCK(&log->lock);

	if (entry->space)
		return 0;
	return slot_bytes(slot) - (entry->state == SLOT_UNUSED ? 0 : FORMAT_PAGE);
}

static void count_granted(struct log *log, struct segment_entry *entry, uint64_t bytes)
{
	SCOPED_LOCK(&log->lock);

	entry->space = true;
	log->granted_bytes += bytes;
}

/* Also a slot that has its blocks is allocated: in a copy of the store they may
 * be holes. */
static int allocate_slot(struct log *log, uint32_t slot, struct segment_entry *entry, bool urgent)
{
	uint64_t lacks = slot_lacks(log, slot, entry);
	int rc = lacks ? space_take(log->space, lacks, urgent) : 0;

	if (rc < 0)
		return rc;
	rc = log->io->fallocate(log->io, log->log_fd, 0, slot_start(slot), slot_bytes(slot));
	if (rc < 0 && rc != -EOPNOTSUPP) { /* no allocation ahead there: doctor warns */
		space_give(log->space, lacks);
		return log_space_error(rc);
	}
	count_granted(log, entry, lacks);
	return 0;
}

int log_take_slot(struct log *log, bool urgent, uint32_t *ret_slot)
{
	struct segment_entry *entry = NULL;
	int rc = find_free(log, &entry, ret_slot);

	if (rc == 0)
		rc = allocate_slot(log, *ret_slot, entry, urgent);
	return rc < 0 ? rc : index_cover_slots(&log->index, *ret_slot + 1);
}

int log_put_header(struct log *log, const struct segment *segment)
{
	/* All of the page, so that it need not be read first. */
	union {
		struct format_segment header;
		uint8_t bytes[FORMAT_PAGE];
	} page = {.bytes = {0}};
	int rc;

	segment_encode(segment, &log->identity, &page.header);
	rc = io_write_full(
		log->io, log->log_fd, &page, sizeof(page), slot_start(segment->slot));
	if (rc == 0) {
		SCOPED_LOCK(&log->lock);
		log->headers_written++;
	}
	return rc;
}

/* ---- freeing ---- */

static struct segment free_header(struct log *log, uint32_t slot, uint64_t seq)
{
	SCOPED_LOCK(&log->lock);

	return (struct segment){
		.slot = slot,
		.free = true,
		.seq = seq,
		.durable_lsn = log->durable_lsn,
		.durable_slots = log->durable_slots,
	};
}

static void make_free_locked(struct log *log, uint32_t slot, uint64_t seq)
{
	struct segment segment = {.slot = slot, .free = true, .seq = seq};

	segment_table_put(&log->segments, &segment);
	log->lowest_free = (uint32_t)min_u64(log->lowest_free, slot);
}

/* The lowest slot at or above slot in that state; false: none. */
static bool next_in_state(struct log *log, enum slot_state state, uint32_t *slot, uint64_t *ret_seq)
{
	SCOPED_LOCK(&log->lock);

	for (; *slot < log->segments.count; (*slot)++) {
		const struct segment_entry *entry = segment_table_entry(&log->segments, *slot);

		if (entry->state == state) {
			*ret_seq = entry->segment.seq;
			return true;
		}
	}
	return false;
}

bool log_has_lost(struct log *log)
{
	uint32_t slot = 0;
	uint64_t seq;

	return next_in_state(log, SLOT_LOST, &slot, &seq);
}

/* Durably. */
static int free_all_in(struct log *log, enum slot_state state)
{
	bool any = false;
	uint64_t seq;

	for (uint32_t slot = 0; next_in_state(log, state, &slot, &seq); slot++) {
		struct segment header = free_header(log, slot, seq);
		int rc = log_put_header(log, &header);

		if (rc < 0)
			return log_space_error(rc);
		any = true;
	}
	if (any && log_sync(log) < 0)
		return -EIO;
	for (uint32_t slot = 0; any && next_in_state(log, state, &slot, &seq); slot++) {
		SCOPED_LOCK(&log->lock);
		make_free_locked(log, slot, seq);
	}
	return 0;
}

int log_free_lost(struct log *log)
{
	return free_all_in(log, SLOT_LOST);
}

void log_doubt(struct log *log, const struct segment *segment)
{
	SCOPED_LOCK(&log->lock);
	struct segment_entry *entry = segment_table_entry(&log->segments, segment->slot);

	entry->segment = *segment;
	entry->state = SLOT_DOUBTFUL;
	log->doubt = true;
}

int log_free_doubtful(struct log *log)
{
	int rc = log->doubt ? free_all_in(log, SLOT_DOUBTFUL) : 0;

	log->doubt = log->doubt && rc < 0;
	return rc;
}

/* A segment in use, in the log's order, on its way to freedom. */
struct candidate {
	uint64_t seq;
	uint32_t slot;
	bool sealed;
	enum { IN_USE, DEAD, WRITTEN, GONE } state;
};

static int by_seq(const void *a, const void *b)
{
	const struct candidate *x = a, *y = b;

	return x->seq < y->seq ? -1 : x->seq > y->seq;
}

/* Those in use and those dead, oldest first. */
static int list_candidates(struct log *log, struct candidate **ret_list, uint32_t *ret_n)
{
	SCOPED_LOCK(&log->lock);
	struct candidate *list = malloc((log->segments.count + 1) * sizeof(*list));
	uint32_t n = 0;

	if (!list)
		return -ENOMEM;
	for (uint32_t slot = 0; slot < log->segments.count; slot++) {
		const struct segment_entry *entry = segment_table_entry(&log->segments, slot);

		if (entry->state != SLOT_USED && entry->state != SLOT_RETIRING)
			continue;
		list[n++] = (struct candidate){
			.seq = entry->segment.seq,
			.slot = slot,
			.sealed = atomic_load(&entry->sealed),
			.state = entry->state == SLOT_RETIRING ? DEAD : IN_USE,
		};
	}
	qsort(list, n, sizeof(*list), by_seq);
	*ret_list = list;
	*ret_n = n;
	return 0;
}

/* Write free headers over the dead ones, but for one that witnesses the end of
 * an unsealed segment whose own is not durable yet. */
static int write_round(struct log *log, struct candidate *list, uint32_t n, uint32_t *ret_written)
{
	bool held = false;

	*ret_written = 0;
	for (uint32_t i = 0; i < n; i++) {
		struct segment header;
		int rc;

		if (list[i].state == GONE)
			continue;
		if (list[i].state == DEAD && !held) {
			header = free_header(log, list[i].slot, list[i].seq);
			rc = log_put_header(log, &header);
			if (rc < 0)
				return log_space_error(rc);
			list[i].state = WRITTEN;
			(*ret_written)++;
		}
		held = !list[i].sealed;
	}
	return 0;
}

static void end_round(struct log *log, struct candidate *list, uint32_t n)
{
	SCOPED_LOCK(&log->lock);

	for (uint32_t i = 0; i < n; i++) {
		if (list[i].state != WRITTEN)
			continue;
		segment_table_entry(&log->segments, list[i].slot)->state = SLOT_RETIRED;
		list[i].state = GONE;
	}
}

/* Readers that hold a place are waited for; what was not freed is in use. */
static void settle(struct log *log, const struct candidate *list, uint32_t n)
{
	grace_wait(&log->grace);
	SCOPED_LOCK(&log->lock);
	for (uint32_t i = 0; i < n; i++) {
		if (list[i].state == GONE)
			make_free_locked(log, list[i].slot, list[i].seq);
		else if (list[i].state != IN_USE)
			segment_table_entry(&log->segments, list[i].slot)->state = SLOT_USED;
	}
}

static int retire_dead(struct log *log, struct candidate *list, uint32_t n)
{
	uint32_t written;
	int rc = log_sync(log);

	if (rc == 0)
		rc = write_round(log, list, n, &written);
	while (rc == 0 && written > 0) {
		rc = log_sync(log);
		if (rc == 0) {
			end_round(log, list, n);
			rc = write_round(log, list, n, &written);
		}
	}
	settle(log, list, n);
	return rc;
}

/* [leader] Nothing is appended to a segment that is not the tail: if no entry
 * points into it now, none ever will. */
static void mark_dead(struct log *log, const uint32_t *slots, uint32_t n)
{
	SCOPED_LOCK(&log->lock);

	for (uint32_t i = 0; i < n; i++) {
		struct segment_entry *entry = segment_table_entry(&log->segments, slots[i]);

		if (entry && entry->state == SLOT_USED &&
			!(log->tail.seq && log->tail.slot == slots[i]) &&
			index_slot_live(&log->index, slots[i]) == 0)
			entry->state = SLOT_RETIRING;
	}
}

int log_retire(struct log *log, const uint32_t *slots, uint32_t n)
{
	AUTO_FREE struct candidate *list = NULL;
	uint32_t in_list = 0;
	int rc;

	if (atomic_load(&log->frozen))
		return -EROFS;
	log_take_lead(log);
	rc = atomic_load(&log->broken);
	if (rc == 0)
		rc = log_check_owner(log);
	if (rc == 0)
		rc = log_start_life(log);
	if (rc == 0)
		mark_dead(log, slots, n);
	log_give_lead(log);
	if (rc == 0)
		rc = list_candidates(log, &list, &in_list);
	return rc < 0 ? rc : retire_dead(log, list, in_list);
}

int log_list_segments(struct log *log, struct segment_use **ret_uses, uint32_t *ret_n)
{
	AUTO_FREE struct candidate *list = NULL;
	struct segment_use *uses;
	uint32_t in_list, n = 0, tail_slot;
	uint64_t tail_seq;
	bool held = false;
	int rc;

	*ret_uses = NULL;
	*ret_n = 0;
	log_take_lead(log);
	tail_seq = log->tail.seq;
	tail_slot = log->tail.slot;
	rc = list_candidates(log, &list, &in_list);
	log_give_lead(log);
	if (rc < 0 || in_list == 0)
		return rc;
	uses = calloc(in_list, sizeof(*uses));
	if (!uses)
		return -ENOMEM;
	for (uint32_t i = 0; i < in_list; i++) {
		const struct segment_entry *entry =
			segment_table_at(&log->segments, list[i].slot);

		if (list[i].state == IN_USE && !(tail_seq && list[i].slot == tail_slot))
			uses[n++] = (struct segment_use){
				.slot = list[i].slot,
				.seq = list[i].seq,
				.epoch = entry->segment.epoch,
				.first_lsn = entry->segment.first_lsn,
				.bytes = slot_bytes(list[i].slot),
				.live_bytes = index_slot_live(&log->index, list[i].slot),
				.sealed = list[i].sealed,
				.other = atomic_load(&entry->others),
				.held = held,
			};
		held = !list[i].sealed;
	}
	*ret_uses = uses;
	*ret_n = n;
	return 0;
}

/* ---- space ---- */

/* Has a slot no blocks behind its header page? Allocated and never written
 * counts as that, too: then they are counted twice once it is taken. */
static bool is_hole(const struct log *log, uint32_t slot)
{
	uint64_t start = slot_start(slot);
	off_t data = lseek(log->log_fd, (off_t)(start + FORMAT_PAGE), SEEK_DATA);

	return data < 0 ? errno == ENXIO : (uint64_t)data >= start + slot_bytes(slot);
}

void log_adopt_space(struct log *log)
{
	for (uint32_t slot = 0; slot < log->segments.count; slot++) {
		struct segment_entry *entry = segment_table_entry(&log->segments, slot);

		if (entry->state == SLOT_UNUSED)
			continue;
		entry->space = entry->state != SLOT_FREE || !is_hole(log, slot);
		log->granted_bytes += entry->space ? slot_bytes(slot) : FORMAT_PAGE;
	}
	space_adopt(log->space, (int64_t)log->granted_bytes);
}

void log_disown_space(struct log *log)
{
	SCOPED_LOCK(&log->lock);

	space_adopt(log->space, -(int64_t)log->granted_bytes);
	log->granted_bytes = 0;
}

void log_slot_bytes(struct log *log, uint64_t *ret_used, uint64_t *ret_free)
{
	SCOPED_LOCK(&log->lock);

	*ret_used = *ret_free = 0;
	for (uint32_t slot = 0; slot < log->segments.count; slot++) {
		const struct segment_entry *entry = segment_table_entry(&log->segments, slot);

		if (!is_free(entry))
			*ret_used += slot_bytes(slot);
		else if (entry->space)
			*ret_free += slot_bytes(slot);
	}
}

/* The next slot, at or above *slot, whose space is beyond what is kept; it
 * is taken from the free ones. */
static bool next_to_punch(struct log *log, uint64_t keep, uint64_t *kept, uint32_t *slot)
{
	SCOPED_LOCK(&log->lock);

	for (; *slot < log->segments.count; (*slot)++) {
		struct segment_entry *entry = segment_table_entry(&log->segments, *slot);

		if (entry->state != SLOT_FREE || !entry->space)
			continue;
		if (*kept + slot_bytes(*slot) > keep) {
			entry->state = SLOT_AHEAD;
			return true;
		}
		*kept += slot_bytes(*slot);
	}
	return false;
}

static void end_punch(struct log *log, uint32_t slot, bool punched)
{
	SCOPED_LOCK(&log->lock);
	struct segment_entry *entry = segment_table_entry(&log->segments, slot);

	entry->state = SLOT_FREE;
	log->lowest_free = (uint32_t)min_u64(log->lowest_free, slot);
	if (!punched)
		return;
	entry->space = false;
	log->granted_bytes -= slot_bytes(slot) - FORMAT_PAGE;
}

/* 1: it is not ours to write to yet. */
static int may_trim(struct log *log)
{
	int rc;

	log_take_lead(log);
	if (log_lives(log))
		rc = log_check_owner(log);
	else
		rc = atomic_load(&log->broken) ? -EIO : 1;
	log_give_lead(log);
	return rc;
}

static int trim(struct log *log, uint64_t keep)
{
	uint64_t kept = 0;
	int rc = may_trim(log);

	if (rc != 0)
		return rc < 0 ? rc : 0;
	for (uint32_t slot = 0; next_to_punch(log, keep, &kept, &slot); slot++) {
		uint64_t bytes = slot_bytes(slot) - FORMAT_PAGE;

		rc = log->io->fallocate(log->io, log->log_fd,
			FALLOC_FL_PUNCH_HOLE | FALLOC_FL_KEEP_SIZE, slot_start(slot) + FORMAT_PAGE,
			bytes);
		end_punch(log, slot, rc == 0);
		if (rc < 0)
			break;
		space_give(log->space, bytes);
	}
	return rc == -EOPNOTSUPP ? 0 : log_space_error(rc);
}

int log_trim(struct log *log)
{
	uint64_t used, idle;

	if (atomic_load(&log->frozen))
		return -EROFS;
	log_slot_bytes(log, &used, &idle);
	return trim(log, max_u64(KEEP_BYTES, used / KEEP_FRACTION));
}

int log_trim_all(struct log *log)
{
	return trim(log, 0);
}

/* ---- ahead ---- */

bool log_has_ready(struct log *log)
{
	SCOPED_LOCK(&log->lock);

	for (uint32_t slot = log->lowest_free; slot < log->segments.count; slot++) {
		const struct segment_entry *entry = segment_table_entry(&log->segments, slot);

		if (entry->state == SLOT_FREE && entry->space)
			return true;
	}
	return false;
}

static void set_state(struct log *log, uint32_t slot, enum slot_state state)
{
	SCOPED_LOCK(&log->lock);

	segment_table_entry(&log->segments, slot)->state = state;
	if (state == SLOT_UNUSED || state == SLOT_FREE)
		log->lowest_free = (uint32_t)min_u64(log->lowest_free, slot);
}

/* [leader] The next slot that the appender would take, taken from it. */
static int take_ahead(struct log *log, uint32_t *ret_slot, struct segment_entry *ret_was)
{
	int rc = log_check_owner(log);

	if (rc == 0)
		rc = log_take_slot(log, false, ret_slot);
	if (rc < 0)
		return rc;
	SCOPED_LOCK(&log->lock);
	ret_was->state = segment_table_entry(&log->segments, *ret_slot)->state;
	ret_was->segment.seq = segment_table_entry(&log->segments, *ret_slot)->segment.seq;
	segment_table_entry(&log->segments, *ret_slot)->state = SLOT_AHEAD;
	return 0;
}

static int fill_with_zeros(struct log *log, uint32_t slot)
{
	uint64_t pos = slot_start(slot) + FORMAT_PAGE, end = slot_start(slot) + slot_bytes(slot);
	AUTO_FREE uint8_t *zeros = calloc(1, ZERO_BYTES);
	int rc = zeros ? 0 : -ENOMEM;

	while (rc == 0 && pos < end) {
		uint64_t len = min_u64(ZERO_BYTES, end - pos);

		rc = io_write_full(log->io, log->log_fd, zeros, len, pos);
		if (rc == 0)
			log->io->start_writeback(log->io, log->log_fd, pos, len);
		pos += len;
	}
	return log_space_error(rc);
}

int log_prepare(struct log *log)
{
	struct segment_entry was = {.state = SLOT_UNUSED};
	struct segment header;
	uint32_t slot = 0;
	bool taken;
	int rc;

	log_take_lead(log);
	rc = atomic_load(&log->broken);
	taken = rc == 0 && log_lives(log) && !log_has_ready(log);
	if (taken)
		rc = take_ahead(log, &slot, &was);
	log_give_lead(log);
	if (rc < 0 || !taken)
		return rc;
	rc = fill_with_zeros(log, slot);
	header = free_header(log, slot, was.segment.seq);
	if (rc == 0)
		rc = log_space_error(log_put_header(log, &header));
	if (rc == 0)
		rc = log_sync(log);
	if (rc < 0) {
		set_state(log, slot, was.state);
		return rc;
	}
	SCOPED_LOCK(&log->lock);
	make_free_locked(log, slot, was.segment.seq);
	return 0;
}
