/* SPDX-License-Identifier: LGPL-2.1-or-later */
/* What reading a log works on: its file, its headers, and the path that they make. Private to replay. */
#ifndef FS_STORE_REPLAY_H
#define FS_STORE_REPLAY_H

#include <pthread.h>
#include <stdbool.h>
#include <stdint.h>

#include "fs/store/log.h"
#include "fs/util/err.h"

/* A segment on the path. */
struct path_segment {
	struct segment segment;
	bool prev_freed; /* the segment before it in the log's order was freed: the one
			  * before it on the path reaches END */
};

/* Slots of the path that a thread has read before it is their turn (medium.c). */
#define READAHEAD_SLOTS 2u

struct readahead {
	bool running;
	pthread_t thread;
	uint32_t first, end; /* on the path: what it reads */
	uint8_t *buf[READAHEAD_SLOTS];
	int rc[READAHEAD_SLOTS];

	pthread_mutex_t lock; /* all below */
	pthread_cond_t wake;
	uint32_t filled, taken; /* slots so far */
	bool stop;
};

struct replay {
	struct log *log;
	int fd;             /* to read by: bypasses the cache after an unclean end */
	uint64_t file_size;
	uint8_t *buf;       /* one slot, page-aligned */
	struct readahead ahead;

	/* From the headers (path.c). */
	uint64_t newest_seq;
	uint64_t max_seq;       /* also of freed segments */
	uint64_t witness;       /* no lower LSN may be the last */
	uint32_t slots_witness; /* slots below must have valid headers, */
	uint32_t headed;        /* and slots below have them */
	struct path_segment *path; /* oldest first */
	uint32_t n_path;

	/* From the records. */
	uint64_t lsn;   /* of the last accepted one */
	uint64_t covered_lsn; /* a checkpoint covers this, so it was durable; or 0 */
	uint64_t bytes; /* of those applied */
	struct err *err;
};

/* Sync the log, and read from the medium from now on, not from a cache that
 * may show what was lost. */
int replay_open_medium(struct replay *r, const char *log_name);

/* Header pages that fit into buf, and read those of n slots from first on into
 * it. What the file does not have is zeros; so below. */
#define REPLAY_HEADERS ((uint32_t)(SLOT_FULL_BYTES / FORMAT_PAGE))
int replay_read_headers(struct replay *r, uint32_t first, uint32_t n);

/* path[i]'s slot into buf, which may become another one. After begin_ahead(first)
 * they are asked for one after the other from first on. */
void replay_begin_ahead(struct replay *r, uint32_t first);
int replay_read_slot(struct replay *r, uint32_t i);
void replay_end_ahead(struct replay *r); /* also if it was not begun */

/* Read the headers of all slots into the log's table. */
int replay_scan(struct replay *r);

/* The clean mark counts only while nothing newer is there. */
bool replay_counts_as_clean(const struct replay *r);

/* Was segment seq, which lay in slot, freed? */
bool replay_was_freed(const struct replay *r, uint64_t seq, uint32_t slot);

/* Find the segments that make the log; others in use are lost tails. */
int replay_build_path(struct replay *r);

#endif
