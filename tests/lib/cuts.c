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
	size_t *open;  /* those that are not */
	size_t n_open;
	/* The first settled operations, all covered, applied to the start. */
	struct image *image;
	size_t settled;
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
		uint64_t next = gaps->count == 0 ? end :
			min_u64(round_down(off, SECTOR_BYTES) + SECTOR_BYTES, end);

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

/* Take away the name that operation i, a rename, moves; if that is missing
 * because an earlier rename of the file is, then the name before that. */
static void drop_source(struct image *image, const struct recorder *rec, size_t i)
{
	const struct op *op = recorder_op(rec, i);

	if (image_walk(image, op->dir, op->name) == op->node) {
		image_unlink(image, op->dir, op->name);
		return;
	}
	while (i-- > 0) {
		const struct op *earlier = recorder_op(rec, i);

		if (earlier->kind == OP_RENAME && earlier->node == op->node &&
			earlier->to_dir == op->dir && strcmp(earlier->to_name, op->name) == 0) {
			drop_source(image, rec, i);
			return;
		}
	}
}

static void apply(struct image *image, const struct recorder *rec, size_t i,
	const struct gaps *gaps)
{
	const struct op *op = recorder_op(rec, i);

	switch (op->kind) {
	case OP_CREATE:
	case OP_MKDIR:
	case OP_LINK:
		image_link(image, op->dir, op->name, op->node);
		break;
	case OP_RENAME:
		drop_source(image, rec, i);
		image_link(image, op->to_dir, op->to_name, op->node);
		break;
	case OP_UNLINK:
		/* The name may be another file's, if what came between is missing. */
		if (image_walk(image, op->dir, op->name) == op->node)
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

static void apply_range(struct walk *walk, struct image *image, size_t from, size_t end,
	const struct gaps *gaps)
{
	for (size_t i = from; i < end; i++) {
		const struct op *op = recorder_op(walk->rec, i);

		if (op->kind == OP_CREATE || op->kind == OP_MKDIR) {
			uint32_t node = image_add_node(image, op->kind == OP_MKDIR);

			assert(node == op->node);
		}
		assert(op->node != IMAGE_NONE);
		if (!op_lost(gaps, i))
			apply(image, walk->rec, i, gaps);
	}
}

static int visit(struct walk *walk, const struct gaps *gaps, const char *what)
{
	struct image *image = image_copy(walk->image);
	struct cut cut = {.image = image, .prefix = walk->prefix, .whole = gaps->count == 0};
	int rc;

	apply_range(walk, image, walk->settled, walk->prefix, gaps);
	walk->states++;
	cut.what = what;
	rc = walk->fn(walk->ctx, &cut);
	image_free(image);
	return rc;
}

static bool left_out(const struct walk *walk)
{
	return walk->options->sample > 1 &&
	       rng_below(walk->options->rng, walk->options->sample) != 0;
}

static int visit_some(struct walk *walk, const struct gaps *gaps, const char *what)
{
	return gaps->count == 0 || left_out(walk) ? 0 : visit(walk, gaps, what);
}

static bool is_name(const struct op *op)
{
	return op->kind <= OP_UNLINK;
}

static bool covers(const struct op *sync, const struct op *op)
{
	if (sync->kind != OP_SYNC)
		return false;
	if (!is_name(op))
		return sync->node == op->node;
	return sync->node == op->dir || (op->kind == OP_RENAME && sync->node == op->to_dir);
}

/* The last operation below prefix is new: what does it cover? */
static void find_covered(struct walk *walk)
{
	const struct op *last = walk->prefix > 0 ? recorder_op(walk->rec, walk->prefix - 1) : NULL;
	const struct gaps none = {.count = 0};
	size_t first;

	walk->n_open = 0;
	for (size_t i = 0; i < walk->prefix; i++) {
		const struct op *op = recorder_op(walk->rec, i);

		if (op->kind == OP_SYNC || (i + 1 < walk->prefix && covers(last, op)))
			walk->covered[i] = true;
		if (!walk->covered[i])
			walk->open[walk->n_open++] = i;
	}
	first = walk->n_open > 0 ? walk->open[0] : walk->prefix;
	apply_range(walk, walk->image, walk->settled, first, &none);
	walk->settled = first;
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

/* The open operations whose bit is set are missing. */
static int visit_subset(struct walk *walk, uint64_t missing)
{
	struct gaps gaps = {.count = 0};
	char what[80];
	int rc;

	for (size_t n = 0; n < walk->n_open && n < 64; n++) {
		if (missing >> n & 1)
			gaps_add(&gaps, gap_of(walk, walk->open[n]));
	}
	snprintf(what, sizeof(what), "cut after %zu, without %#llx of %zu open operations",
		walk->prefix, (unsigned long long)missing, walk->n_open);
	rc = visit_some(walk, &gaps, what);
	free(gaps.gap);
	return rc;
}

static int visit_lost(struct walk *walk)
{
	struct gaps gaps = {.count = 0};
	char what[80];
	int rc;

	for (size_t n = 0; n < walk->n_open; n++)
		gaps_add(&gaps, gap_of(walk, walk->open[n]));
	snprintf(what, sizeof(what), "cut after %zu, all unsynced lost", walk->prefix);
	rc = gaps.count > 0 ? visit(walk, &gaps, what) : 0;
	free(gaps.gap);
	return rc;
}

/* All subsets but none and all; or, where they are too many, single ones and
 * random ones. */
static int visit_subsets(struct walk *walk)
{
	size_t n = walk->n_open < 64 ? walk->n_open : 64;
	uint64_t all = n == 64 ? UINT64_MAX : (UINT64_C(1) << n) - 1;
	int rc = 0;

	if (n <= walk->options->subset_max) {
		for (uint64_t missing = 1; rc == 0 && missing < all; missing++)
			rc = visit_subset(walk, missing);
		return rc;
	}
	for (size_t i = 0; rc == 0 && i < n; i++)
		rc = visit_subset(walk, UINT64_C(1) << i);
	for (size_t i = 0; rc == 0 && i < n; i++)
		rc = visit_subset(walk, all & ~(UINT64_C(1) << i));
	for (unsigned int i = 0; rc == 0 && i < walk->options->subsets_random; i++)
		rc = visit_subset(walk, rng_next(walk->options->rng) & all);
	return rc;
}

static int visit_pages_of(struct walk *walk, size_t i)
{
	const struct op *op = recorder_op(walk->rec, i);
	uint64_t end = op->off + op->len;
	int rc = 0;

	if (op->kind != OP_WRITE ||
		round_down(op->off, PAGE_BYTES) == round_down(end - 1, PAGE_BYTES))
		return 0; /* one page: the same as missing whole */
	for (uint64_t page = round_down(op->off, PAGE_BYTES); rc == 0 && page < end;
		page += PAGE_BYTES) {
		struct gap gap = {
			.op = i, .node = op->node, .off = page, .end = page + PAGE_BYTES};
		struct gaps gaps = {.gap = &gap, .count = 1};
		char what[80];

		snprintf(what, sizeof(what), "cut after %zu, page at %llu of write %zu missing",
			walk->prefix, (unsigned long long)page, i);
		rc = visit_some(walk, &gaps, what);
	}
	return rc;
}

static int visit_pages(struct walk *walk)
{
	int rc = 0;

	for (size_t n = 0; rc == 0 && n < walk->n_open; n++)
		rc = visit_pages_of(walk, walk->open[n]);
	return rc;
}

/* The last write without what is before, or from, its nth sector. */
static int visit_tear(struct walk *walk, uint64_t n, bool from)
{
	const struct op *op = recorder_op(walk->rec, walk->prefix - 1);
	uint64_t at = round_down(op->off, SECTOR_BYTES) + n * SECTOR_BYTES;
	struct gap gap = {.op = walk->prefix - 1,
		.node = op->node,
		.off = from ? at : op->off,
		.end = from ? op->off + op->len : at};
	struct gaps gaps = {.gap = &gap, .count = 1};
	char what[80];

	snprintf(what, sizeof(what), "cut after %zu, last write torn %s sector %llu",
		walk->prefix, from ? "from" : "before", (unsigned long long)n);
	return visit_some(walk, &gaps, what);
}

/* Long writes are torn at evenly spread sectors, and at no page twice. */
static int visit_torn(struct walk *walk)
{
	const struct op *op = walk->prefix > 0 ? recorder_op(walk->rec, walk->prefix - 1) : NULL;
	uint64_t sectors;
	uint64_t step;
	int rc = 0;

	if (!op || op->kind != OP_WRITE || walk->options->tears_max == 0)
		return 0;
	sectors = (op->off % SECTOR_BYTES + op->len + SECTOR_BYTES - 1) / SECTOR_BYTES;
	step = (sectors + walk->options->tears_max - 1) / walk->options->tears_max;
	for (uint64_t n = 1; rc == 0 && n < sectors; n += step) {
		rc = visit_tear(walk, n, true);
		if (rc == 0)
			rc = visit_tear(walk, n, false);
	}
	return rc;
}

/* Sectors, or pages, of write i are lost with the odds of one in `odds`, or
 * but one in `odds`. */
static void scatter(struct walk *walk, size_t i, uint64_t unit, uint64_t odds, bool most,
	struct gaps *gaps)
{
	const struct op *op = recorder_op(walk->rec, i);
	uint64_t end = op->off + op->len;

	for (uint64_t at = round_down(op->off, unit); at < end; at += unit) {
		struct gap gap = {.op = i, .node = op->node, .off = at, .end = at + unit};

		if ((rng_below(walk->options->rng, odds) == 0) != most)
			gaps_add(gaps, gap);
	}
}

static int visit_scattered(struct walk *walk)
{
	int rc = 0;

	for (unsigned int n = 0; rc == 0 && n < walk->options->scattered; n++) {
		uint64_t unit = rng_below(walk->options->rng, 2) ? SECTOR_BYTES : PAGE_BYTES;
		uint64_t odds = 2 + rng_below(walk->options->rng, 7);
		bool most = rng_below(walk->options->rng, 4) == 0;
		struct gaps gaps = {.count = 0};
		char what[80];

		for (size_t k = 0; k < walk->n_open; k++) {
			size_t i = walk->open[k];

			if (recorder_op(walk->rec, i)->kind == OP_WRITE)
				scatter(walk, i, unit, odds, most, &gaps);
			else if (rng_below(walk->options->rng, 3) == 0)
				gaps_add(&gaps, gap_of(walk, i));
		}
		snprintf(what, sizeof(what), "cut after %zu, %zu random parts of %llu missing",
			walk->prefix, gaps.count, (unsigned long long)unit);
		rc = visit_some(walk, &gaps, what);
		free(gaps.gap);
	}
	return rc;
}

static int visit_prefix(struct walk *walk)
{
	const struct gaps none = {.count = 0};
	char what[80];
	int rc;

	snprintf(what, sizeof(what), "cut after %zu", walk->prefix);
	rc = visit(walk, &none, what);
	if (rc == 0)
		rc = visit_lost(walk);
	if (rc == 0)
		rc = visit_torn(walk);
	if (rc == 0)
		rc = visit_subsets(walk);
	if (rc == 0)
		rc = visit_pages(walk);
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
	walk.open = need_memory(calloc(length + 1, sizeof(*walk.open)));
	walk.image = image_copy(recorder_start(rec));
	for (walk.prefix = 0; rc == 0 && walk.prefix <= length; walk.prefix++) {
		find_covered(&walk);
		if (walk.prefix >= options->first_prefix)
			rc = visit_prefix(&walk);
	}
	image_free(walk.image);
	free(walk.open);
	free(walk.covered);
	*ret_states += walk.states;
	return rc;
}
