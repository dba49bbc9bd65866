/* SPDX-License-Identifier: LGPL-2.1-or-later */
/* The super block in memory: the one border between its raw form and the rest. */
#ifndef FS_STORE_SUPER_H
#define FS_STORE_SUPER_H

#include <stdbool.h>
#include <stdint.h>

#include "fs/store/format.h"
#include "fs/util/err.h"
#include "fs/util/id.h"
#include "fs/util/io.h"

struct super {
	struct id id;
	uint64_t key[FORMAT_KEY_WORDS];
	uint64_t generation;
	uint64_t size_bytes;
	uint64_t epoch;
	uint64_t life_seq;
	uint32_t life_slot; /* where it lies */
	struct id host;
	struct id boot;
	bool layer; /* frozen for ever */
	bool clean;
	uint64_t end_seq, end_off, end_sum; /* meaningful when clean */
	uint64_t durable_lsn;
	uint64_t written_sec;
};

/* Decode one raw copy. Any bytes may come: -EUCLEAN not valid, -EOPNOTSUPP
 * valid but with a version or features unknown here. err may be NULL. */
int super_decode(const struct format_super *raw, struct super *ret_super, struct err *err);
void super_encode(const struct super *super, struct format_super *ret_raw);

/* The valid copy with the higher generation. *ret_whole: the other copy is
 * valid too, so that no newer one can have been lost; may be NULL. -EUCLEAN:
 * none; -EOPNOTSUPP: too new, or too old. */
int super_read(const struct io_gate *io, int fd, struct super *ret_super, bool *ret_whole,
	struct err *err);

/* Write as the next generation over the older copy and sync. On success
 * super->generation has moved on. A failed sync is -EIO whatever its errno:
 * unlike a failed write it must not be tried again. -EOVERFLOW: no generation
 * is left. */
int super_write(const struct io_gate *io, int fd, struct super *super);

/* A new super block for a disk of size_bytes, both copies, synced. */
int super_create(const struct io_gate *io, int fd, const struct id *id, uint64_t size_bytes);

/* This machine and this boot. */
void super_self(struct id *ret_host, struct id *ret_boot);

#endif
