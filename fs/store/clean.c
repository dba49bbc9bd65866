/* SPDX-License-Identifier: LGPL-2.1-or-later */
/* Cleaning: choosing segments, stepping, pacing. See clean.h.
 *
 * What may be lost: nothing here. Emptying (evacuate.c) leaves the old copies
 * in place, and log_retire() frees a segment only when the new ones are
 * durable, nothing points into it, and nobody reads it. What it needs to know
 * of a segment and cannot see in the index, zeros and damage, is decided here:
 * a segment goes to log_retire() only when all its records were read to the
 * end that was accepted, or when it never had anything but data.
 */
#include "fs/store/clean.h"

#include <errno.h>
#include <stdlib.h>
#include <string.h>

#include "fs/store/evacuate.h"
#include "fs/store/handle.h"
#include "fs/store/recycle.h"
#include "fs/util/cleanup.h"
#include "fs/util/clock.h"
#include "fs/util/round.h"

/* Of the bytes moved, so many may be read in a step. */
#define READ_FACTOR 8u

/* A victim gives back a sixth at least of what its slot can be filled with: all
 * but the header page, and a block that did not fit. Else segments of small
 * slots would be victims however full they are, and cleaning had no end. */
#define victim_cost_max(bytes) (((bytes) - FORMAT_PAGE - DELTA_BLOCK_BYTES) / 6 * 5)

/* Wholly dead segments freed at once. */
#define RETIRE_MAX 256u

/* What of the dead space's growth is worth another look. */
#define look_bytes(used) max_u64(SLOT_FIRST_BYTES, (used) / 128)

/* What a run of zeros in a segment may cost to move. */
#define RUN_BYTES sizeof(struct format_moved)

void cleaner_init(struct cleaner *cleaner)
{
	pthread_condattr_t monotonic;

	memset(cleaner, 0, sizeof(*cleaner));
	pthread_condattr_init(&monotonic);
	pthread_condattr_setclock(&monotonic, CLOCK_MONOTONIC);
	pthread_mutex_init(&cleaner->lock, NULL);
	pthread_cond_init(&cleaner->freed, &monotonic);
	pthread_condattr_destroy(&monotonic);
}

void cleaner_release(struct cleaner *cleaner)
{
	free(cleaner->victims);
	free(cleaner->runs);
	pthread_cond_destroy(&cleaner->freed);
	pthread_mutex_destroy(&cleaner->lock);
}

/* ---- what delta_due tells by ---- */

/* What all that counts would take if it were moved. */
static uint64_t counting_bytes(struct log *log)
{
	struct delta_stats stats;

	index_stats(&log->index, &stats);
	return stats.live_bytes +
		stats.data_blocks * (FORMAT_BLOCK_SUM + sizeof(struct format_moved));
}

static uint64_t start_bytes(uint64_t counting)
{
	return max_u64(CLEAN_DEAD_MIN, counting / 100 * CLEAN_START);
}

static uint64_t stop_bytes(uint64_t counting)
{
	return max_u64(CLEAN_DEAD_MIN / 8 * 7, counting / 100 * CLEAN_STOP);
}

static uint64_t limit_bytes(uint64_t counting)
{
	return max_u64(2 * CLEAN_DEAD_MIN, counting / 100 * CLEAN_LIMIT);
}

/* What is in use by now, as far as it can be told without listing. */
static uint64_t used_locked(const struct log *log)
{
	const struct cleaner *cleaner = &log->cleaner;

	return cleaner->used_bytes + log->appended_bytes + log->moved_bytes -
		cleaner->written_bytes;
}

static uint64_t dead_locked(struct log *log, uint64_t counting)
{
	uint64_t used = used_locked(log);

	return used > counting ? used - counting : 0;
}

bool clean_is_due(struct log *log)
{
	struct cleaner *cleaner = &log->cleaner;
	uint64_t counting = counting_bytes(log), dead;
	SCOPED_LOCK(&log->lock);

	if (!cleaner->looked || cleaner->busy || atomic_load(&cleaner->wanting))
		return true;
	dead = dead_locked(log, counting);
	cleaner->dead_bytes = min_u64(cleaner->dead_bytes, dead);
	return dead >= cleaner->dead_bytes + look_bytes(used_locked(log));
}

bool clean_is_urgent(struct log *log)
{
	uint64_t counting = counting_bytes(log);
	SCOPED_LOCK(&log->lock);

	return log->cleaner.looked && dead_locked(log, counting) > limit_bytes(counting);
}

/* ---- writers ---- */

void clean_check_limit(struct log *log)
{
	atomic_store(&log->cleaner.behind, clean_is_urgent(log));
}

#define WAIT_NS (CLEAN_WAIT_MS * UINT64_C(1000000))

/* Until a segment is freed; then it may be enough or not: the next write asks. */
void clean_wait(struct cleaner *cleaner)
{
	uint64_t now_ns = clock_now_ns(), until_ns = now_ns + WAIT_NS, frees;
	const struct timespec until = {
		.tv_sec = (time_t)(until_ns / 1000000000),
		.tv_nsec = (long)(until_ns % 1000000000),
	};
	SCOPED_LOCK(&cleaner->lock);

	if (now_ns >= atomic_load(&cleaner->active_until_ns))
		return;
	frees = cleaner->frees;
	while (cleaner->frees == frees && atomic_load(&cleaner->behind))
		if (pthread_cond_timedwait(&cleaner->freed, &cleaner->lock, &until) == ETIMEDOUT)
			break;
}

static void wake_writers(struct cleaner *cleaner)
{
	SCOPED_LOCK(&cleaner->lock);

	cleaner->frees++;
	pthread_cond_broadcast(&cleaner->freed);
}

/* ---- choosing ---- */

/* The segments, and what is known of them all. */
struct census {
	struct segment_use *uses;
	uint32_t n;
	uint64_t now_lsn;
	uint64_t counting;     /* bytes */
	uint64_t cost_permille; /* of moving live bytes, a little more than 1000 */
	uint64_t used, dead;
};

static const struct segment_entry *entry_of(const struct log *log, const struct segment_use *use)
{
	return segment_table_at(&log->segments, use->slot);
}

static bool is_stuck(const struct log *log, const struct segment_use *use)
{
	return atomic_load(&entry_of(log, use)->stuck);
}

/* What moving it would append, at most. */
static uint64_t move_cost(const struct log *log, const struct census *census,
	const struct segment_use *use)
{
	return use->live_bytes / 1000 * census->cost_permille +
		use->live_bytes % 1000 * census->cost_permille / 1000 +
		atomic_load(&entry_of(log, use)->others) * RUN_BYTES;
}

/* Its dead space, as far as cleaning can give it back. */
static uint64_t gain(const struct log *log, const struct census *census,
	const struct segment_use *use)
{
	uint64_t cost = move_cost(log, census, use);

	return is_stuck(log, use) || cost > use->bytes ? 0 : use->bytes - cost;
}

static int take_census(struct log *log, struct census *census)
{
	struct delta_stats stats;
	uint64_t sums;
	int rc = log_list_segments(log, &census->uses, &census->n);

	if (rc < 0)
		return rc;
	index_stats(&log->index, &stats);
	sums = stats.live_bytes + stats.data_blocks * FORMAT_BLOCK_SUM;
	census->counting = sums + stats.data_blocks * sizeof(struct format_moved);
	census->cost_permille = sums ? census->counting * 1000 / sums + 1 : 1000;
	for (uint32_t i = 0; i < census->n; i++) {
		census->used += census->uses[i].bytes;
		census->dead += gain(log, census, &census->uses[i]);
	}
	SCOPED_LOCK(&log->lock);
	census->now_lsn = log->appended_lsn;
	log->cleaner.looked = true;
	log->cleaner.used_bytes = census->used;
	log->cleaner.written_bytes = log->appended_bytes + log->moved_bytes;
	return 0;
}

static bool is_in_hand(const struct cleaner *cleaner, const struct segment_use *use)
{
	for (uint32_t i = 0; i < cleaner->n; i++)
		if (cleaner->victims[i].seq == use->seq)
			return true;
	return false;
}

/* One that is held is freed only after the segment whose end it witnesses, the
 * one before it: that one is to be emptied first, whatever lives in it. NULL: it
 * cannot be. */
static const struct segment_use *first_to_free(const struct log *log, const struct census *census,
	const struct segment_use *use)
{
	while (use->held && use > census->uses)
		use--;
	return use->held || is_stuck(log, use) || is_in_hand(&log->cleaner, use) ? NULL : use;
}

/* The segment behind it in the log's order, which is there at least as long. */
static uint32_t next_slot(struct log *log, const struct segment_use *use)
{
	uint64_t next_seq = UINT64_MAX;
	uint32_t next = use->slot;
	SCOPED_LOCK(&log->lock);

	for (uint32_t slot = 0; slot < log->segments.count; slot++) {
		const struct segment_entry *e = segment_table_entry(&log->segments, slot);

		if (e->state == SLOT_USED && e->segment.seq > use->seq &&
			e->segment.seq < next_seq) {
			next_seq = e->segment.seq;
			next = slot;
		}
	}
	return next;
}

static void take_in_hand(struct log *log, const struct segment_use *use)
{
	log->cleaner.victims[log->cleaner.n++] = (struct victim){
		.slot = use->slot,
		.seq = use->seq,
		.sealed = use->sealed,
		.next_slot = use->sealed ? 0 : next_slot(log, use),
	};
}

/* Benefit over cost: what it gives back, weighed with how long it has been so,
 * for reading it and writing what lives in it. */
static double score(const struct log *log, const struct census *census,
	const struct segment_use *use)
{
	double bytes = (double)use->bytes, back = (double)gain(log, census, use);
	double age = (double)(census->now_lsn - min_u64(census->now_lsn, use->first_lsn)) + 1;

	return back * age / (2 * bytes - back);
}

/* Is it worth emptying? What has no data left costs little more than reading;
 * the rest must have been found due. */
static bool is_candidate(const struct log *log, const struct census *census,
	const struct segment_use *use)
{
	uint64_t cost = move_cost(log, census, use);

	if (is_stuck(log, use) || is_in_hand(&log->cleaner, use))
		return false;
	if (use->live_bytes == 0 && cost <= use->bytes / 2)
		return true;
	return (log->cleaner.running || log->cleaner.thorough) &&
		cost <= victim_cost_max(use->bytes);
}

/* The best one, or what has to go before it; NULL: none is worth it. */
static const struct segment_use *best(const struct log *log, const struct census *census)
{
	const struct segment_use *found = NULL;
	double found_score = 0;

	for (uint32_t i = 0; i < census->n; i++) {
		const struct segment_use *use = &census->uses[i];
		double its;

		if (!is_candidate(log, census, use))
			continue;
		its = score(log, census, use);
		use = first_to_free(log, census, use);
		if (!use || its <= found_score)
			continue;
		found = use;
		found_score = its;
	}
	return found;
}

/* Is moving worth it? From CLEAN_START down to CLEAN_STOP; and when a write found
 * no space, all that gives back something is. */
static void decide(struct log *log, const struct census *census)
{
	struct cleaner *cleaner = &log->cleaner;

	if (atomic_exchange(&cleaner->wanting, false))
		cleaner->thorough = true;
	if (census->dead > start_bytes(census->counting))
		cleaner->running = true;
	else if (census->dead <= stop_bytes(census->counting))
		cleaner->running = false;
	SCOPED_LOCK(&log->lock);
	if (log->appended_bytes < cleaner->rest_until)
		cleaner->running = cleaner->thorough = false;
}

/* Segments to be freed. */
struct dead {
	uint32_t n;
	uint32_t slot[RETIRE_MAX];
	uint64_t seq[RETIRE_MAX];
};

static void dead_add(struct dead *dead, uint32_t slot, uint64_t seq)
{
	dead->slot[dead->n] = slot;
	dead->seq[dead->n++] = seq;
}

/* What is in use now; what could not be freed though nothing lives there is left
 * alone from now on. */
static void count_freed(struct log *log, const struct dead *dead)
{
	SCOPED_LOCK(&log->lock);

	for (uint32_t i = 0; i < dead->n; i++) {
		struct segment_entry *entry = segment_table_entry(&log->segments, dead->slot[i]);

		if (entry->state == SLOT_USED && entry->segment.seq == dead->seq[i])
			atomic_store(&entry->stuck, true);
		else
			log->cleaner.used_bytes -= slot_bytes(dead->slot[i]);
	}
}

static int free_slots(struct log *log, const struct dead *dead)
{
	int rc = log_retire(log, dead->slot, dead->n);

	if (rc == 0) {
		count_freed(log, dead);
		rc = log_trim(log);
	}
	clean_check_limit(log);
	wake_writers(&log->cleaner);
	return rc;
}

/* Free what is wholly dead, unread. 1: some was. */
static int free_dead(struct log *log, const struct census *census)
{
	struct dead dead = {.n = 0};
	int rc;

	for (uint32_t i = 0; i < census->n && dead.n < RETIRE_MAX; i++) {
		const struct segment_use *use = &census->uses[i];

		if (use->live_bytes == 0 && !use->other && !use->held && !is_stuck(log, use))
			dead_add(&dead, use->slot, use->seq);
	}
	if (dead.n == 0)
		return 0;
	rc = free_slots(log, &dead);
	return rc < 0 ? rc : 1;
}

static int make_hands(struct cleaner *cleaner)
{
	if (!cleaner->victims)
		cleaner->victims = calloc(CLEAN_VICTIMS, sizeof(*cleaner->victims));
	if (!cleaner->runs)
		cleaner->runs = calloc(EVACUATE_RUNS, sizeof(*cleaner->runs));
	return cleaner->victims && cleaner->runs ? 0 : -ENOMEM;
}

static void set_busy(struct log *log, bool nothing_due)
{
	uint64_t counting = counting_bytes(log);
	SCOPED_LOCK(&log->lock);

	log->cleaner.busy = !nothing_due;
	if (nothing_due)
		log->cleaner.dead_bytes = dead_locked(log, counting);
}

/* What to do next. 1: there is something, some of it perhaps done; 0: nothing. */
static int choose(struct log *log)
{
	struct cleaner *cleaner = &log->cleaner;
	struct census census = {0};
	int rc = make_hands(cleaner);

	if (rc == 0)
		rc = take_census(log, &census);
	if (rc == 0)
		rc = free_dead(log, &census);
	if (rc == 0) {
		decide(log, &census);
		memset(cleaner->runs, 0, EVACUATE_RUNS * sizeof(*cleaner->runs));
		for (uint32_t i = 0; i < CLEAN_VICTIMS; i++) {
			const struct segment_use *use = best(log, &census);

			if (use)
				take_in_hand(log, use);
		}
		rc = cleaner->n > 0;
		cleaner->thorough = cleaner->thorough && rc;
	}
	free(census.uses);
	return rc < 0 ? rc : rc > 0;
}

/* ---- stepping ---- */

/* One that had to be moved nearly whole says that the others are no better:
 * what they hold is smaller than its own administration. */
static void judge(struct log *log, const struct victim *victim)
{
	SCOPED_LOCK(&log->lock);

	if (victim->moved_bytes > slot_bytes(victim->slot) / 8 * 7)
		log->cleaner.rest_until =
			log->appended_bytes + max_u64(SLOT_FIRST_BYTES, used_locked(log) / 64);
	log->damaged_blocks += victim->damaged_blocks;
}

/* Free what was emptied, and empty the hands. */
static int retire(struct log *log)
{
	struct cleaner *cleaner = &log->cleaner;
	struct dead dead = {.n = 0};

	for (uint32_t i = 0; i < cleaner->next; i++) {
		const struct victim *victim = &cleaner->victims[i];

		if (victim->damaged)
			atomic_store(
				&segment_table_at(&log->segments, victim->slot)->stuck, true);
		else
			dead_add(&dead, victim->slot, victim->seq);
	}
	cleaner->n = cleaner->next = 0;
	return dead.n > 0 ? free_slots(log, &dead) : 0;
}

static int work(struct log *log, struct evacuation *e)
{
	struct cleaner *cleaner = &log->cleaner;
	int rc = 1;

	while (rc > 0 && !evacuation_spent(e)) {
		if (cleaner->next < cleaner->n) {
			struct victim *victim = &cleaner->victims[cleaner->next];

			rc = evacuate(e, victim, cleaner->runs);
			if (rc > 0) {
				judge(log, victim);
				cleaner->next++;
			}
			rc = rc < 0 ? rc : 1;
			continue;
		}
		rc = cleaner->n > 0 ? retire(log) : 0;
		if (rc == 0)
			rc = choose(log);
	}
	if (rc < 0) /* what was emptied is as good as before */
		retire(log);
	return rc;
}

static struct evacuation *new_evacuation(struct delta *delta, uint64_t budget_bytes)
{
	struct evacuation *e = malloc(sizeof(*e));

	if (!e)
		return NULL;
	memset(e, 0, offsetof(struct evacuation, moves));
	e->log = &delta->log;
	e->size_bytes = &delta->size_bytes;
	e->moved_max = max_u64(budget_bytes, 1);
	e->read_max = max_u64(e->moved_max, SLOT_FULL_BYTES) * READ_FACTOR;
	e->deadline_ns = clock_now_ns() + CLEAN_STEP_MS * UINT64_C(1000000);
	return e;
}

int delta_clean(struct delta *delta, uint64_t budget_bytes, uint64_t *ret_moved_bytes)
{
	struct log *log = &delta->log;
	struct evacuation *e;
	int rc = atomic_load(&log->broken);

	*ret_moved_bytes = 0;
	if (rc < 0 || atomic_load(&log->frozen))
		return rc;
	e = new_evacuation(delta, budget_bytes);
	if (!e)
		return -ENOMEM;
	atomic_store(&log->cleaner.active_until_ns, UINT64_MAX);
	rc = work(log, e);
	set_busy(log, rc <= 0);
	atomic_store(&log->cleaner.active_until_ns, clock_now_ns() + WAIT_NS);
	*ret_moved_bytes = e->moved_bytes;
	free(e);
	return rc;
}
