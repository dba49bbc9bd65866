/* SPDX-License-Identifier: LGPL-2.1-or-later */
/* Looking at a delta's files as they are: supers, slots, records; read-only and without an index.
 *
 * Replay (log.h) says what a log means and refuses one that is damaged; a
 * scan says what is there, also beside damage. It takes no lock and may look
 * at a delta that is being written: then what it sees may be moving.
 *
 *	scan_open ... scan_super, scan->slots, scan_records ... scan_close
 *
 * Threads: a scan belongs to one thread.
 */
#ifndef FS_STORE_SCAN_H
#define FS_STORE_SCAN_H

#include <stdbool.h>
#include <stdint.h>

#include "fs/store/format.h"
#include "fs/store/record.h"
#include "fs/store/segment.h"
#include "fs/store/super.h"
#include "fs/util/err.h"
#include "fs/util/io.h"

#define SCAN_COPIES 2 /* of the super block */

/* One copy of the super block. rc 0: valid. */
struct scan_copy {
	int rc;
	struct super super;
	struct err err; /* what is wrong with it */
};

enum scan_kind {
	SCAN_NEVER,   /* all zeros */
	SCAN_SEGMENT,
	SCAN_FREE,
	SCAN_DAMAGED, /* anything else */
};

struct scan_slot {
	enum scan_kind kind;
	struct segment header; /* SCAN_SEGMENT and SCAN_FREE */
};

struct scan {
	const struct io_gate *io;
	int log_fd; /* -1: there is no log */
	uint64_t log_bytes;
	struct scan_copy copy[SCAN_COPIES];
	const struct super *super; /* the copy that counts; NULL: none does */
	uint32_t n_slots;
	struct scan_slot *slots; /* NULL without a super block */
	uint8_t *buf;            /* one slot */
};

/* Read super blocks and headers of the delta called name. 0 also when they are
 * damaged or missing: what is there is in *ret_scan. -ENOENT: neither file is
 * there; other errors: -errno. */
int scan_open(const struct io_gate *io, int dirfd, const char *name, struct scan **ret_scan,
	struct err *err);
void scan_close(struct scan *scan); /* NULL allowed */

/* One record as it was found. */
struct scan_record {
	uint32_t slot;
	uint64_t seq;
	uint64_t off; /* in the slot */
	const struct record *record;
	const uint8_t *bytes; /* record->length of them */
	uint32_t n_bad;       /* blocks whose payload does not verify */
	bool bad[FORMAT_RECORD_BLOCKS]; /* by entry of the table */
};

/* A place between two records of a segment. */
struct scan_end {
	uint64_t off;   /* in the slot */
	uint64_t chain; /* record sum there */
	uint64_t lsn;   /* of the last record that was read; 0: none was */
	bool sealed;    /* by END */
};

/* The begin of the segment in slot. */
struct scan_end scan_begin(const struct scan *scan, uint32_t slot);

/* Call fn for the records of the segment in slot, in order, from *at on up to
 * the offset stop (UINT64_MAX: all), END or the first one that is no record;
 * without fn only the end is looked for. *at is where they end. A payload that
 * does not verify does not end them. Returns what fn returned if that was not
 * 0. No record has an LSN below min_lsn. */
int scan_records(struct scan *scan, uint32_t slot, uint64_t stop, uint64_t min_lsn,
	int (*fn)(void *ctx, const struct scan_record *record), void *ctx, struct scan_end *at);

#endif
