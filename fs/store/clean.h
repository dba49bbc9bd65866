/* SPDX-License-Identifier: LGPL-2.1-or-later */
/* Cleaning: when it is worth it, which segments, and what writers do when it falls behind.
 *
 * What a segment would take if all that counts in it were moved, against what
 * its slot takes, says what cleaning it gives back. The sum of that over all
 * segments is the dead space.
 *
 *	nothing counts, nothing but data was in it	freed at once, unread
 *	dead space above CLEAN_START of what counts	the best segments are emptied, by
 *	    and CLEAN_DEAD_MIN				cost and benefit, down to CLEAN_STOP
 *	a write found no space				all that give back a sixth are
 *	above CLEAN_LIMIT				delta_due says so: no pauses. Writers
 *							wait for a segment to be freed, but
 *							not longer than CLEAN_WAIT_MS each
 *
 * Writers never fail because of it, nor wait while nobody cleans, that is when
 * no step began within CLEAN_WAIT_MS of the end of the last one.
 *
 * For the one who calls delta_clean(): a step takes about CLEAN_STEP_MS at most,
 * and the flushes that freeing needs. Pausing between steps and a limit of
 * *ret_moved_bytes per second are his, while DELTA_DUE_CLEAN_URGENT is not set.
 */
#ifndef FS_STORE_CLEAN_H
#define FS_STORE_CLEAN_H

#include <pthread.h>
#include <stdatomic.h>
#include <stdbool.h>
#include <stdint.h>

#include "fs/store/slot.h"

struct log;

#ifdef SLOT_TINY /* in tests: whatever the machine does, a seed brings a run back */
#define CLEAN_DEAD_MIN SLOT_FULL_BYTES
#define CLEAN_STEP_MS 60000
#else
#define CLEAN_STEP_MS 30
#define CLEAN_DEAD_MIN (8 * SLOT_FULL_BYTES) /* 64 MiB: below, only what is wholly dead */
#endif
#define CLEAN_START 60 /* percent of what counts */
#define CLEAN_STOP 50
#define CLEAN_LIMIT 80
#define CLEAN_WAIT_MS 20
#define CLEAN_VICTIMS 4u /* emptied before they are freed by one flush */

struct victim;
struct zero_run;

struct cleaner {
	/* The maintenance thread's. */
	struct victim *victims; /* CLEAN_VICTIMS, of which n are in hand, */
	struct zero_run *runs;  /* and the zeros that were appended for them */
	uint32_t n, next;
	bool running;           /* moving is worth it, */
	bool thorough;          /* also what gives back little */
	uint64_t rest_until;    /* appended bytes: nothing is worth it before */

	/* Under log->lock: what delta_due tells by. */
	bool looked;            /* segments were listed since it was opened */
	bool busy;              /* there are victims in hand */
	uint64_t used_bytes;    /* of slots, when they were listed, */
	uint64_t written_bytes; /* appended and moved by then */
	uint64_t dead_bytes;    /* when nothing was worth it */

	/* For writers, and by them. */
	atomic_bool behind;
	_Atomic uint64_t active_until_ns; /* somebody cleans: a step is going on, or was just now */
	atomic_bool wanting;    /* a write found no space */
	pthread_mutex_t lock;   /* of the wait alone, the innermost */
	pthread_cond_t freed;   /* a segment was */
	uint64_t frees;
};

void cleaner_init(struct cleaner *cleaner);
void cleaner_release(struct cleaner *cleaner);

/* Cheap; any thread. */
bool clean_is_due(struct log *log);
bool clean_is_urgent(struct log *log); /* above CLEAN_LIMIT */

/* [leader] A segment was begun: are writers to wait? */
void clean_check_limit(struct log *log);

/* The slow half of clean_pace(): wait for a segment to be freed. */
void clean_wait(struct cleaner *cleaner);

/* A writer, holding nothing, before it appends. */
static inline void clean_pace(struct cleaner *cleaner)
{
	if (atomic_load_explicit(&cleaner->behind, memory_order_relaxed))
		clean_wait(cleaner);
}

#endif
