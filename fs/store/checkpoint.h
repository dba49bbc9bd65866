/* SPDX-License-Identifier: LGPL-2.1-or-later */
/* The checkpoint of one delta: the index as a file, so that opening replays little.
 *
 * Format and what it promises: format.h, "checkpoint". The index comes as an
 * image that index_image() copied while nothing was appended; writing it out
 * needs no lock. Whoever writes one has flushed the log up to place.lsn first.
 *
 * Threads: writing is one thread's at a time. Errors: -errno; reading says
 * -EUCLEAN for a file that does not count, -ENOENT for none: both mean that
 * the whole log is replayed, and are no damage.
 */
#ifndef FS_STORE_CHECKPOINT_H
#define FS_STORE_CHECKPOINT_H

#include <stdint.h>

#include "fs/store/format.h"
#include "fs/store/index.h"
#include "fs/store/super.h"
#include "fs/util/io.h"

/* Where in the log it was taken. */
struct checkpoint_place {
	uint64_t lsn;   /* of the last record that the index covers */
	uint64_t seq;   /* segment in which the log goes on; 0: it is empty */
	uint64_t off;   /* offset there */
	uint64_t chain; /* record sum there */
	uint64_t size_bytes;
	uint64_t written_sec;
};

/* What a slot held, as struct format_slot says it. */
struct checkpoint_slot {
	uint64_t seq, epoch, first_lsn;
	uint32_t flags; /* FORMAT_SLOT_* */
};

struct checkpoint {
	struct checkpoint_place place;
	uint32_t n_slots;
	struct checkpoint_slot *slots;
	uint64_t bytes; /* of the file */
};

void checkpoint_release(struct checkpoint *checkpoint); /* its slots; zeroed is fine */

/* Publish checkpoint and index image as NAME.ckpt in dirfd; sets
 * checkpoint->bytes. The one before stays until this one is durable. */
int checkpoint_write(const struct io_gate *io, int dirfd, const char *name,
	const struct super *super, struct checkpoint *checkpoint,
	const struct index_image *image);

/* Read NAME.ckpt into an index that is empty, and is so again after a failure:
 * -ENOENT, -EUCLEAN, -ENOMEM and no other. Covers its slots in the index. It is
 * for the caller to see whether the slots still hold those segments. */
int checkpoint_read(const struct io_gate *io, int dirfd, const char *name,
	const struct super *super, struct checkpoint *ret_checkpoint, struct index *index);

/* Parse the bytes of a file; any may come (it is fuzzed). */
int checkpoint_decode(const uint8_t *bytes, size_t len, const struct super *super,
	struct checkpoint *ret_checkpoint, struct index *index);

/* Also a temporary file that a crash left; missing ones are no error. */
int checkpoint_remove(const struct io_gate *io, int dirfd, const char *name);

#endif
