/* SPDX-License-Identifier: LGPL-2.1-or-later */
/* Emptying one segment: what still counts in it is verified and appended anew, as it is.
 *
 * A segment that is not appended to any more never changes while it is in use,
 * so it is read without any lock, in slices. Which of its block versions still
 * count is asked of the index here, so that little is carried in vain, and
 * decided by the leader when they are appended (move.h).
 *
 * Threads: the maintenance thread's.
 */
#ifndef FS_STORE_EVACUATE_H
#define FS_STORE_EVACUATE_H

#include <stdatomic.h>
#include <stdbool.h>
#include <stdint.h>

#include "fs/store/log.h"

/* A segment being emptied, and how far that is. */
struct victim {
	uint32_t slot;
	uint64_t seq;
	bool sealed;        /* its records end at END, */
	uint32_t next_slot; /* else where the segment in there says */
	bool begun;      /* its header was read, and what follows is known */
	uint64_t epoch;
	uint64_t end;    /* where its records end, 0: at END */
	uint64_t off;    /* the next record, */
	uint64_t chain;  /* the sum of the one before it, */
	uint64_t lsn;    /* and the least that it may have */
	uint32_t entry;  /* in its table */
	uint64_t done;   /* blocks of that entry's run */
	uint64_t moved_bytes;
	uint64_t damaged_blocks; /* that count and do not verify: they stay */
	bool damaged;    /* so, or its records cannot be read to their end: never free */
};

/* Runs of zeros that were appended lately: what is in one need not be again. */
#define EVACUATE_RUNS 64u

struct zero_run {
	uint64_t block, end;
};

#define EVACUATE_SLICE_BYTES (UINT64_C(2) << 20)

/* The working memory of a step: about 3 MiB. */
struct evacuation {
	struct log *log;
	const _Atomic uint64_t *size_bytes; /* of the disk, which may grow */
	uint64_t disk_blocks;
	uint64_t moved_bytes, read_bytes; /* by this step */
	uint64_t moved_max, read_max, deadline_ns;
	/* what of the victim's slot is in memory */
	uint32_t slice_slot;
	uint64_t slice_off, slice_len;
	/* the request that is being filled */
	uint32_t n;
	uint64_t body_bytes;
	struct move moves[FORMAT_RECORD_BLOCKS];
	uint64_t wanted_end[FORMAT_RECORD_BLOCKS]; /* of runs of zeros */
	uint8_t head[RECORD_HEAD_MAX];
	uint8_t body[FORMAT_RECORD_BLOCKS * (FORMAT_BLOCK_SUM + DELTA_BLOCK_BYTES)];
	uint8_t slice[EVACUATE_SLICE_BYTES];
};

/* Has this step done what it may? */
bool evacuation_spent(const struct evacuation *e);

/* Go on emptying; runs are those of all segments that are freed together. 1: all
 * that counts was appended (or stays, see damaged). 0: the step is over.
 * -errno: begin the victim anew. */
int evacuate(struct evacuation *e, struct victim *victim, struct zero_run runs[EVACUATE_RUNS]);

#endif
