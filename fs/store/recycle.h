/* SPDX-License-Identifier: LGPL-2.1-or-later */
/* The slots of a log and their reuse: what is in use, what is dead, what is free.
 *
 * Order and reasons: format.h, "reuse". The cleaner asks log_list_segments()
 * what is worth emptying, moves what lives there, and hands the dead ones to
 * log_retire(), which makes them durable as free; the appender takes the
 * lowest free slot for the next segment.
 *
 * What may be lost, whatever is cut: nothing. A slot is written to only after
 * everything that made it dead, and then its free header, are durable and no
 * reader is left that may have looked up a place in it.
 *
 * Threads: log_list_segments, log_retire, log_trim and log_prepare are the
 * maintenance thread's (one at a time, beside all data calls), which must
 * not be inside grace_enter(); log_trim_all is for who closes or freezes. Lock order: nothing held while calling; inside,
 * the lead before log->lock before index.lock.
 */
#ifndef FS_STORE_RECYCLE_H
#define FS_STORE_RECYCLE_H

#include <stdbool.h>
#include <stdint.h>

struct log;

/* A segment in use, but not the one that is appended to. */
struct segment_use {
	uint32_t slot;
	uint64_t seq, epoch;
	uint64_t first_lsn;  /* no record in it has a lower one; its age */
	uint64_t bytes;      /* of its slot */
	uint64_t live_bytes; /* payloads and block sums that the index points at */
	bool sealed; /* ends with END: read it to there; otherwise to the first invalid record */
	bool other;  /* holds zeros or BAD, which live_bytes does not count: dead only
		      * once they were moved or found overwritten */
	bool held;   /* the end of an unsealed segment in use is witnessed here: not
		      * freed before that one */
};

/* By rising sequence. Caller frees *ret_uses (NULL with *ret_n 0). -ENOMEM. */
int log_list_segments(struct log *log, struct segment_use **ret_uses, uint32_t *ret_n);

/* Free these dead segments: all block versions in them are overwritten or moved
 * (appended; not necessarily flushed). Flushes, writes free headers, flushes
 * them, and waits for readers that may be in there: when it returns 0 the
 * slots can be reused. Slots that are not in use, that the index still points
 * into, or that are held by a segment not freed here are left as they are.
 * Errors as the data calls; then some may be free already. */
int log_retire(struct log *log, const uint32_t *slots, uint32_t n);

/* Give free slots' space beyond what will be reused soon, max(two full slots,
 * a tenth of those in use), back to the file system. A file system that
 * cannot is no failure. */
int log_trim(struct log *log);

/* Give all of it back: nothing is appended for a while, if ever. */
int log_trim_all(struct log *log);

#endif
