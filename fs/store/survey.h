/* SPDX-License-Identifier: LGPL-2.1-or-later */
/* What is left of a damaged log: where it is broken, and what is known in spite of it.
 *
 * For the checker alone: replay refuses such a log (format.h, "reading the
 * log"). A survey follows the same path, but goes on behind a place where
 * records that were durable are missing: a loss. What lay there may have
 * changed any block, so behind a loss only that is known which was written
 * later. (A segment whose header alone is gone is no loss where the header can be
 * made again: revive.h.) Two states are offered, neither of which mixes:
 *
 *	survey_cut     the disk as it was before the first loss; only where all
 *	               its blocks are there: the log was never cleaned, or a
 *	               checkpoint before the loss counts
 *	survey_known   what was written behind the last loss; every other block
 *	               of the disk is bad, also one that was never written
 *
 * Without a loss both are the whole log. A checkpoint that counts stands for
 * all that lies before it.
 *
 * Threads: a survey belongs to one thread. It reads, and writes nothing.
 */
#ifndef FS_STORE_SURVEY_H
#define FS_STORE_SURVEY_H

#include "fs/store/checkpoint.h"
#include "fs/store/delta.h"
#include "fs/store/scan.h"

/* One segment on the log's path. */
struct survey_step {
	uint32_t slot;
	bool gap_before; /* a segment that belongs before it is missing */
	bool seals;      /* has to reach END: its successor was freed */
	uint64_t stop, stop_chain; /* where it has to end, UINT64_MAX: not known */
};

struct survey_loss {
	uint32_t step; /* what follows it begins with this one */
	uint32_t slot;
	uint64_t off;  /* in that slot: where records were expected; 0: a whole segment */
	uint64_t lsn;  /* of the last record before it */
};

struct survey {
	struct scan *scan; /* the caller's */
	int dirfd;         /* the caller's */
	const char *name;  /* the caller's */
	uint64_t witness;  /* highest LSN that was durable */
	uint32_t slots_witness; /* slots below had valid headers */

	uint32_t n_steps;
	struct survey_step *steps; /* oldest first */
	uint32_t begin;            /* where reading begins, */
	bool from_checkpoint;      /* or in there, at the place of the checkpoint */
	struct checkpoint_place place;

	uint32_t n_losses;
	struct survey_loss first, last; /* of them */
	uint64_t end_lsn;        /* highest that is known to have been used */
	uint64_t records_behind; /* that can be read behind the first loss */
	bool may_cut;
};

/* Find the losses; 0 whether there are any or not, or what reading failed
 * with. checkpoint: begin behind one, if it counts. The scan has a super block
 * and a log; scan, dirfd and name have to stay. */
int survey_open(struct scan *scan, int dirfd, const char *name, bool checkpoint,
	struct survey **ret_survey, struct err *err);
void survey_close(struct survey *survey); /* NULL allowed */

/* Call fn for all records that were read, in order; the first that does not return
 * 0 ends it, and that is returned. */
int survey_each(struct survey *survey, int (*fn)(void *ctx, const struct scan_record *record),
	void *ctx);

/* A delta to look into (delta_map, delta_read, delta_verify), in that state. It
 * has no lock and must not be written to; end it with delta_abandon(). */
int survey_cut(struct survey *survey, struct delta **ret_view);
int survey_known(struct survey *survey, struct delta **ret_view);

/* The same for a disk of which nothing is left: all of it is bad. */
int survey_nothing(const struct io_gate *io, uint64_t size_bytes, struct delta **ret_view);

#endif
