/* SPDX-License-Identifier: LGPL-2.1-or-later */
/* Building the states after a power cut: see cuts.h. */
#include "tests/lib/cuts.h"

#include <assert.h>
#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "fs/util/round.h"
#include "tests/lib/rng.h"

#define SECTOR_BYTES 512
#define PAGE_BYTES 4096

/* Left out of a state: operation op itself, and in its file [off, end) of all
 * writes from it on. */
struct gap {
	size_t op;
	uint32_t node; /* IMAGE_NONE: only the operation */
	uint64_t off, end;
	bool whole; /* the operation has no effect at all, not even on the size */
};

struct gaps {
	struct gap *gap;
	size_t count;
};

struct walk {
	const struct recorder *rec;
	const struct cut_options *options;
	cut_fn *fn;
	void *ctx;
	uint64_t states;
	size_t prefix;
	bool *covered; /* for each operation below prefix */
};

static void gaps_add(struct gaps *gaps, struct gap gap)
{
	gaps->gap = need_memory(
		reallocarray(gaps->gap, gaps->count + 1, sizeof(*gaps->gap)));
	gaps->gap[gaps->count++] = gap;
}

static bool sector_lost(const struct gaps *gaps, size_t i, uint32_t node, uint64_t off)
{
	for (size_t g = 0; g < gaps->count; g++) {
		const struct gap *gap = &gaps->gap[g];

		if (i >= gap->op && node == gap->node && off >= gap->off && off < gap->end)
			return true;
	}
	return false;
}

static void apply_write(
	struct image *image, const struct op *op, size_t i, const struct gaps *gaps)
{
	uint64_t off = op->off;
	uint64_t end = op->off + op->len;

	while (off < end) {
		uint64_t next = min_u64(round_down(off, SECTOR_BYTES) + SECTOR_BYTES, end);

		if (!sector_lost(gaps, i, op->node, off))
			image_write(image, op->node, op->data + (off - op->off), next - off, off);
		off = next;
	}
	if (image->nodes[op->node].size_bytes < end)
		image_resize(image, op->node, end);
}

static void apply_alloc(struct image *image, const struct op *op)
{
	if (op->mode & (FALLOC_FL_PUNCH_HOLE | FALLOC_FL_ZERO_RANGE))
		image_zero(image, op->node, op->off, op->len);
	if (!(op->mode & FALLOC_FL_KEEP_SIZE) &&
		image->nodes[op->node].size_bytes < op->off + op->len)
		image_resize(image, op->node, op->off + op->len);
}

/* A rename that is durable has taken its file along, whatever became of the
 * names that it had before. */
static void apply_rename(struct image *image, const struct op *op)
{
	image_unlink_node(image, op->node);
	image_link(image, op->to_dir, op->to_name, op->node);
}

static void apply(struct image *image, const struct op *op, size_t i, const struct gaps *gaps)
{
	switch (op->kind) {
	case OP_CREATE:
	case OP_MKDIR:
		image_link(image, op->dir, op->name, op->node);
		break;
	case OP_RENAME:
		apply_rename(image, op);
		break;
	case OP_UNLINK:
		image_unlink(image, op->dir, op->name);
		break;
	case OP_WRITE:
		apply_write(image, op, i, gaps);
		break;
	case OP_ALLOC:
		apply_alloc(image, op);
		break;
	case OP_RESIZE:
		image_resize(image, op->node, op->off);
		break;
	case OP_SYNC:
		break;
	}
}

static bool op_lost(const struct gaps *gaps, size_t i)
{
	for (size_t g = 0; g < gaps->count; g++) {
		if (gaps->gap[g].whole && gaps->gap[g].op == i)
			return true;
	}
	return false;
}

static int visit(struct walk *walk, const struct gaps *gaps, const char *what)
{
	struct image *image = image_copy(recorder_start(walk->rec));
	struct cut cut = {.prefix = walk->prefix, .whole = gaps->count == 0, .what = what};
	int rc;

	for (size_t i = 0; i < walk->prefix; i++) {
		const struct op *op = recorder_op(walk->rec, i);

		if (op->kind == OP_CREATE || op->kind == OP_MKDIR) {
			uint32_t node = image_add_node(image, op->kind == OP_MKDIR);

			assert(node == op->node);
		}
		assert(op->node != IMAGE_NONE);
		if (!op_lost(gaps, i))
			apply(image, op, i, gaps);
	}
	walk->states++;
	cut.image = image;
	rc = walk->fn(walk->ctx, &cut);
	image_free(image);
	return rc;
}

static void find_covered(struct walk *walk)
{
	for (size_t i = 0; i < walk->prefix; i++) {
		const struct op *op = recorder_op(walk->rec, i);
		bool is_name = op->kind <= OP_UNLINK;

		walk->covered[i] = op->kind == OP_SYNC;
		for (size_t k = i + 1; k < walk->prefix && !walk->covered[i]; k++) {
			const struct op *sync = recorder_op(walk->rec, k);

			if (sync->kind != OP_SYNC)
				continue;
			walk->covered[i] = is_name ? sync->node == op->dir : sync->node == op->node;
			if (op->kind == OP_RENAME && sync->node == op->to_dir)
				walk->covered[i] = true;
		}
	}
}

static struct gap gap_of(const struct walk *walk, size_t i)
{
	const struct op *op = recorder_op(walk->rec, i);
	struct gap gap = {.op = i, .node = IMAGE_NONE, .whole = true};

	if (op->kind == OP_WRITE) {
		gap.node = op->node;
		gap.off = op->off;
		gap.end = op->off + op->len;
	}
	return gap;
}

static int visit_lost(struct walk *walk)
{
	struct gaps gaps = {.count = 0};
	char what[80];
	int rc;

	for (size_t i = 0; i < walk->prefix; i++) {
		if (!walk->covered[i])
			gaps_add(&gaps, gap_of(walk, i));
	}
	snprintf(what, sizeof(what), "cut after %zu, all unsynced lost", walk->prefix);
	rc = gaps.count > 0 ? visit(walk, &gaps, what) : 0;
	free(gaps.gap);
	return rc;
}

static int visit_pages(struct walk *walk, size_t i)
{
	const struct op *op = recorder_op(walk->rec, i);
	uint64_t end = op->off + op->len;
	int rc = 0;

	if (round_down(op->off, PAGE_BYTES) == round_down(end - 1, PAGE_BYTES))
		return 0; /* one page: the same as missing whole */
	for (uint64_t page = round_down(op->off, PAGE_BYTES); rc == 0 && page < end;
		page += PAGE_BYTES) {
		struct gap gap = {
			.op = i, .node = op->node, .off = page, .end = page + PAGE_BYTES};
		struct gaps gaps = {.gap = &gap, .count = 1};
		char what[80];

		snprintf(what, sizeof(what), "cut after %zu, page at %llu of write %zu missing",
			walk->prefix, (unsigned long long)page, i);
		rc = visit(walk, &gaps, what);
	}
	return rc;
}

static int visit_missing(struct walk *walk)
{
	int rc = 0;

	for (size_t i = 0; rc == 0 && i < walk->prefix; i++) {
		struct gap gap;
		struct gaps gaps = {.gap = &gap, .count = 1};
		char what[80];

		if (walk->covered[i])
			continue;
		gap = gap_of(walk, i);
		snprintf(what, sizeof(what), "cut after %zu, operation %zu missing", walk->prefix,
			i);
		rc = visit(walk, &gaps, what);
		if (rc == 0 && recorder_op(walk->rec, i)->kind == OP_WRITE)
			rc = visit_pages(walk, i);
	}
	return rc;
}

/* Long writes are torn at evenly spread sectors. */
static int visit_torn(struct walk *walk)
{
	const struct op *op = recorder_op(walk->rec, walk->prefix - 1);
	uint64_t sectors;
	uint64_t step;
	int rc = 0;

	if (op->kind != OP_WRITE || walk->options->tears_max == 0)
		return 0;
	sectors = (op->off % SECTOR_BYTES + op->len + SECTOR_BYTES - 1) / SECTOR_BYTES;
	step = (sectors + walk->options->tears_max - 1) / walk->options->tears_max;
	for (uint64_t n = 1; rc == 0 && n < sectors; n += step) {
		struct gap gap = {.op = walk->prefix - 1,
			.node = op->node,
			.off = round_down(op->off, SECTOR_BYTES) + n * SECTOR_BYTES,
			.end = op->off + op->len};
		struct gaps gaps = {.gap = &gap, .count = 1};
		char what[80];

		snprintf(what, sizeof(what), "cut after %zu, last write torn after sector %llu",
			walk->prefix, (unsigned long long)n);
		rc = visit(walk, &gaps, what);
	}
	return rc;
}

static void scatter(struct walk *walk, size_t i, struct gaps *gaps)
{
	const struct op *op = recorder_op(walk->rec, i);
	uint64_t end = op->off + op->len;

	for (uint64_t page = round_down(op->off, PAGE_BYTES); page < end; page += PAGE_BYTES) {
		struct gap gap = {
			.op = i, .node = op->node, .off = page, .end = page + PAGE_BYTES};

		if (rng_below(walk->options->rng, 3) == 0)
			gaps_add(gaps, gap);
	}
}

static int visit_scattered(struct walk *walk)
{
	int rc = 0;

	for (unsigned int n = 0; rc == 0 && n < walk->options->scattered; n++) {
		struct gaps gaps = {.count = 0};
		char what[80];

		for (size_t i = 0; i < walk->prefix; i++) {
			if (!walk->covered[i] && recorder_op(walk->rec, i)->kind == OP_WRITE)
				scatter(walk, i, &gaps);
		}
		snprintf(what, sizeof(what), "cut after %zu, %zu random pages missing",
			walk->prefix, gaps.count);
		rc = gaps.count > 0 ? visit(walk, &gaps, what) : 0;
		free(gaps.gap);
	}
	return rc;
}

static int visit_prefix(struct walk *walk)
{
	const struct gaps none = {.count = 0};
	char what[80];
	int rc;

	find_covered(walk);
	snprintf(what, sizeof(what), "cut after %zu", walk->prefix);
	rc = visit(walk, &none, what);
	if (rc == 0 && walk->prefix > 0)
		rc = visit_torn(walk);
	if (rc == 0)
		rc = visit_lost(walk);
	if (rc == 0)
		rc = visit_missing(walk);
	if (rc == 0)
		rc = visit_scattered(walk);
	return rc;
}

int cuts_each(const struct recorder *rec, const struct cut_options *options, cut_fn *fn, void *ctx,
	uint64_t *ret_states)
{
	size_t length = recorder_length((struct recorder *)(uintptr_t)rec);
	struct walk walk = {.rec = rec, .options = options, .fn = fn, .ctx = ctx};
	int rc = 0;

	walk.covered = need_memory(calloc(length + 1, sizeof(*walk.covered)));
	for (walk.prefix = options->first_prefix; rc == 0 && walk.prefix <= length; walk.prefix++)
		rc = visit_prefix(&walk);
	free(walk.covered);
	*ret_states += walk.states;
	return rc;
}
