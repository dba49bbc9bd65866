/* SPDX-License-Identifier: LGPL-2.1-or-later */
/* A disk whose every block says which write it came from, and what may be on it.
 *
 * A history is a list of writes and zeros on a small delta. Each write has a
 * version; the content of a block follows from version and block number, so a
 * block that is read gives its version back or is a mixture. What the disk may
 * be after a cut is then: the first k operations of the history, for some k
 * between what was promised and what was begun.
 */
#ifndef TESTS_LIB_STAMPS_H
#define TESTS_LIB_STAMPS_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "fs/store/delta.h"

#define STAMP_ABSENT 0
#define STAMP_ZERO 1
#define STAMP_FIRST 2 /* the first version of a write */

struct stamp_op {
	uint32_t version; /* STAMP_ZERO: a zero operation */
	uint32_t block, count;
	size_t begun;  /* marks in the record: before the call, */
	size_t ended;  /* and after it */
	bool failed;   /* it returned an error, */
	uint32_t kept; /* and its first blocks were there afterwards; else all are */
	uint32_t *all; /* not NULL: the whole disk became this, at once (a reset) */
};

struct stamp_flush {
	size_t ended;
	size_t ops; /* history's length when it was begun */
};

struct stamps {
	uint32_t n_blocks;
	uint32_t *base; /* version of each block when the history begins */
	struct stamp_op *ops;
	size_t n_ops;
	struct stamp_flush *flushes;
	size_t n_flushes;
};

/* base NULL: all absent. */
struct stamps *stamps_new(uint32_t n_blocks, const uint32_t *base);
void stamps_free(struct stamps *stamps); /* NULL allowed */

struct stamp_op *stamps_add(
	struct stamps *stamps, uint32_t version, uint32_t block, uint32_t count);
/* The whole disk becomes versions (copied) by one operation. */
struct stamp_op *stamps_add_reset(struct stamps *stamps, const uint32_t *versions);
void stamps_add_flush(struct stamps *stamps, size_t ended, size_t ops);

/* What block reads as after version was written there: some blocks of some
 * writes are zeros. */
uint32_t stamps_value(uint32_t version, uint32_t block);

/* Content of count blocks from block. */
void stamps_fill(uint32_t version, uint32_t block, uint32_t count, uint8_t *buf);

/* Version of the block in buf, or -EUCLEAN: a mixture. */
int stamps_identify(const uint8_t *buf, uint32_t block, uint32_t *ret_version);

/* The version of each block of delta. */
int stamps_read(struct delta *delta, uint32_t n_blocks, uint32_t *ret_versions);

/* The operation returned an error: see how much of it delta has. */
int stamps_see_failed(const struct stamps *stamps, struct stamp_op *op, struct delta *delta);

/* Is versions what the first k operations give, for some k from least to most,
 * or k operations and the first blocks of the next? Those that failed last, one
 * after the other, may be there whole: nothing was written over them. */
bool stamps_match(
	const struct stamps *stamps, const uint32_t *versions, size_t least, size_t most);

/* How many operations must, and may, be there after a cut at prefix. */
size_t stamps_least(const struct stamps *stamps, size_t prefix, bool killed);
size_t stamps_most(const struct stamps *stamps, size_t prefix);

#endif
