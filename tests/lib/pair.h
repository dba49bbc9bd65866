/* SPDX-License-Identifier: LGPL-2.1-or-later */
/* A clone with two disks, opened as stacks of delta and layers, for tests that freeze and reset it.
 *
 * The order of the calls is the daemon's (fs/store/freeze.h), without guests.
 * Content is stamped blocks (tests/lib/stamps.h).
 */
#ifndef TESTS_LIB_PAIR_H
#define TESTS_LIB_PAIR_H

#include <stdbool.h>
#include <stdint.h>

#include "fs/store/delta.h"
#include "fs/store/store.h"

#define PAIR_DISKS 2
#define PAIR_LAYERS_MAX 8
#define PAIR_NAME "web"

struct pair_disk {
	struct delta *delta;
	struct delta *layer[PAIR_LAYERS_MAX]; /* newest first */
	uint32_t n_layers;
};

struct pair {
	const struct io_gate *io;
	struct store *store;
	struct manifest *m;
	struct pair_disk disk[PAIR_DISKS];
	uint32_t n_blocks; /* of each disk */
};

/* Make a store at path with a clone called PAIR_NAME in it, durably. */
int pair_make(const struct io_gate *io, const char *path, uint32_t n_blocks, struct err *err);

/* As a daemon that starts: settle, sweep, open all. *pair need not be
 * initialised; after a failure it is as after pair_abandon(). */
int pair_open(const struct io_gate *io, const char *path, uint32_t n_blocks, struct pair *pair,
	struct err *err);

int pair_close(struct pair *pair);
void pair_abandon(struct pair *pair); /* as a kill does */

/* The version of each block of disk i. */
int pair_read(struct pair *pair, uint32_t i, uint32_t *ret_versions);

/* Both disks at one instant; the old deltas become layers. -ENOTRECOVERABLE: it
 * has to be opened again. Other failures: nothing changed, but a delta may be
 * broken. */
int pair_freeze(struct pair *pair, const char *snapshot, struct err *err);

/* Back to the newest layer, or as to says (freeze.h). */
int pair_reset(struct pair *pair, const char *to, struct err *err);

int pair_grow(struct pair *pair, uint32_t i, uint64_t size_bytes, struct err *err);

#endif
