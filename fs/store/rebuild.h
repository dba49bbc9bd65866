/* SPDX-License-Identifier: LGPL-2.1-or-later */
/* Repair of a delta: what is known of it, written into a new one, block by block.
 *
 * Nothing of the damaged files is changed: a log is a chain, of which no link
 * can be replaced. The new delta is written through the door that guests'
 * writes use, so there is one way to write a log. Blocks that do not verify
 * become FORMAT_BAD there: reading them is an error until they are written.
 *
 * What may be lost: nothing, at any crash point. The new delta belongs to
 * nobody until a manifest names it, which its caller does once this returned 0
 * and the directory was synced.
 */
#ifndef FS_STORE_REBUILD_H
#define FS_STORE_REBUILD_H

#include <stdbool.h>
#include <stdint.h>

#include "fs/store/delta.h"

struct rebuild {
	const struct io_gate *io;
	int dirfd;
	const char *name; /* of the new delta */
	bool layer;       /* freeze it */
	/* Called now and then with blocks done and in all; not 0 ends it. May be NULL. */
	int (*progress)(void *ctx, uint64_t done, uint64_t total);
	void *ctx;
	/* Out: what the new one has. */
	uint64_t data_blocks, bad_blocks;
};

/* Copy all that view shows. On failure nothing is left of the new delta. */
int rebuild_delta(struct rebuild *rebuild, struct delta *view, struct err *err);

#endif
