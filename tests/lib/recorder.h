/* SPDX-License-Identifier: LGPL-2.1-or-later */
/* A gate that does what it is asked and records every change and every sync.
 *
 * The record is a list of operations on the tree below one root directory.
 * From it tests/lib/cuts.h builds what a power cut may leave. Calls are
 * passed to an inner gate (the kernel, or a saboteur) one at a time, and only
 * those that succeeded are recorded, a short write with what it wrote.
 */
#ifndef TESTS_LIB_RECORDER_H
#define TESTS_LIB_RECORDER_H

#include <stddef.h>
#include <stdint.h>

#include "fs/util/io.h"
#include "tests/lib/image.h"

enum op_kind {
	OP_CREATE, /* dir, name, node */
	OP_MKDIR,  /* dir, name, node */
	OP_LINK,   /* dir, name, node: another name for it */
	OP_RENAME, /* dir, name, to_dir, to_name */
	OP_UNLINK, /* dir, name; files and directories */
	OP_WRITE,  /* node, off, len, data */
	OP_ALLOC,  /* node, off, len, mode of fallocate */
	OP_RESIZE, /* node, off: the new size */
	OP_SYNC,   /* node; fsync and fdatasync */
};

struct op {
	enum op_kind kind;
	uint32_t node;
	uint32_t dir, to_dir;
	char *name, *to_name;
	uint64_t off, len;
	uint8_t *data;
	int mode;
};

struct recorder;

/* root: an existing directory whose tree is start (NULL: empty). */
struct recorder *recorder_new(const char *root, const struct image *start,
	const struct io_gate *inner);
void recorder_free(struct recorder *recorder); /* NULL allowed */

const struct io_gate *recorder_gate(struct recorder *recorder);

/* The root directory, opened through the gate; close it there. */
int recorder_open_root(struct recorder *recorder);

/* Operations so far: a mark to compare prefixes with. */
size_t recorder_length(struct recorder *recorder);
const struct op *recorder_op(const struct recorder *recorder, size_t i);
/* One line per operation below end, on standard error. */
void recorder_print(const struct recorder *recorder, size_t end);
const struct image *recorder_start(const struct recorder *recorder);

#endif
