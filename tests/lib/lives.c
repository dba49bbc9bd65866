/* SPDX-License-Identifier: LGPL-2.1-or-later */
/* Every state a power cut may leave of a life is opened, checked, lived on in and cut again: see life.h. */
#include <assert.h>
#include <errno.h>
#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "fs/store/format.h"
#include "fs/store/slot.h"
#include "tests/lib/cuts.h"
#include "tests/lib/fsck.h"
#include "tests/lib/image.h"
#include "tests/lib/life.h"
#include "tests/lib/rng.h"
#include "tests/lib/temp.h"
#include "tests/lib/thin.h"

static struct {
	uint64_t rng;
	uint32_t next_version;
	struct life_totals totals;
	char root[LIFE_DEPTH_MAX + 1][TEMP_PATH_MAX];
	bool quiet;
} run;

static int cut_and_go_on(void *ctx, const struct cut *cut);

/* Every state of this life's record. */
static int cut_life(struct life *life, size_t first_prefix)
{
	const struct life_plan *plan = life->plan;
	bool first = life->depth == 0;
	const struct cut_options options = {
		.first_prefix = first_prefix,
		.subset_max = first ? plan->subset_max : 3,
		.subsets_random = first ? 64 : 4,
		.tears_max = first ? plan->tears_max : 2,
		.scattered = first ? 8 : 1,
		.sample = first ? plan->sample : 0,
		.rng = &run.rng,
	};

	return cuts_each(life->rec, &options, cut_and_go_on, life,
		&run.totals.states[life->depth + 1]);
}

static bool has_next_life(const struct life *parent)
{
	const struct life_plan *plan = parent->plan;
	unsigned int every = parent->depth == 0 ? plan->second_every :
			     parent->depth == 1 ? plan->third_every : 0;

	return every > 0 && rng_below(&run.rng, every) == 0;
}

static void print_versions(const char *what, const uint32_t *versions, uint32_t n)
{
	fprintf(stderr, "  %-8s", what);
	for (uint32_t i = 0; i < n; i++)
		fprintf(stderr, " %u", versions[i]);
	fputc('\n', stderr);
}

/* For whoever has to find out. */
static void print_history(const struct stamps *stamps, const uint32_t *versions, size_t least,
	size_t most)
{
	print_versions("before", stamps->base, stamps->n_blocks);
	for (size_t i = 0; i < stamps->n_ops; i++) {
		const struct stamp_op *op = &stamps->ops[i];

		fprintf(stderr, "  write %u at %u+%u, operations %zu to %zu%s\n", op->version,
			op->block, op->count, op->begun, op->ended, op->failed ? ", failed" : "");
	}
	print_versions("found", versions, stamps->n_blocks);
	fprintf(stderr, "  %zu of these writes must be there, %zu may\n", least, most);
}

/* Grown as far as was promised, and no farther than was asked. */
static bool size_matches(const struct life *parent, uint64_t size_bytes, size_t prefix)
{
	uint64_t least = parent->size_bytes;
	uint64_t most = parent->size_bytes;

	for (unsigned int i = 0; i < parent->n_grown; i++) {
		if (parent->grown[i].ended <= prefix)
			least = parent->grown[i].size_bytes;
		if (parent->grown[i].begun < prefix)
			most = parent->grown[i].size_bytes;
	}
	return size_bytes >= least && size_bytes <= most;
}

/* What is on the disk now, against what the parent life promised. */
static int check_state(struct life *life, const struct life *parent, const struct cut *cut,
	uint32_t *versions)
{
	size_t least = stamps_least(parent->stamps, cut->prefix, cut->whole);
	size_t most = stamps_most(parent->stamps, cut->prefix);
	int rc = stamps_read(life->delta, parent->stamps->n_blocks, versions);

	if (rc < 0)
		return life_complain(parent, cut->what,
			rc == -EUCLEAN ? "a block is a mixture" : strerror(-rc));
	if (!size_matches(parent, delta_size(life->delta), cut->prefix))
		return life_complain(parent, cut->what, "the disk has another size");
	if (stamps_match(parent->stamps, versions, least, most))
		return 0;
	if (!run.quiet)
		print_history(parent->stamps, versions, least, most);
	return life_complain(parent, cut->what, "the disk is no prefix of what was written");
}

/* What a power cut leaves is no damage to the checker either. */
static int check_files(const struct life *parent, const struct life *life, const struct cut *cut)
{
	unsigned int every = parent->plan->fsck_every;
	char why[FSCK_TEXT];

	if (every == 0 || rng_below(&run.rng, every) != 0)
		return 0;
	run.totals.checked++;
	return fsck_delta(life->dirfd, LIFE_NAME, why) < 0 ?
		life_complain(parent, cut->what, why) : 0;
}

/* The state, perhaps without its checkpoint: that is a cache. */
static struct image *take_image(const struct cut *cut)
{
	static const char name[] = LIFE_NAME ".ckpt";
	struct image *image = image_copy(cut->image);

	if (image_walk(image, IMAGE_ROOT, name) != IMAGE_NONE && rng_below(&run.rng, 2)) {
		image_unlink(image, IMAGE_ROOT, name);
		run.totals.without_checkpoint++;
	}
	return image;
}

static void begin_life(struct life *life, const struct image *image)
{
	const char *root = run.root[life->depth];

	image_clear(root);
	if (image)
		image_store(image, root);
	life->rec = recorder_new(root, image, io_thin);
	saboteur_init(&life->saboteur, recorder_gate(life->rec));
	life->dirfd = recorder_open_root(life->rec);
	life->rng = &run.rng;
	life->next_version = &run.next_version;
	life->quiet = run.quiet;
}

static int go_on(struct life *life, const uint32_t *versions, const char *steps)
{
	int rc;

	life->stamps = stamps_new(life->n_blocks, versions);
	life->size_bytes = delta_size(life->delta);
	rc = life_work(life, steps);
	return rc < 0 ? rc : cut_life(life, 0);
}

/* What began to be frozen may be a layer, and if that was done it is one. */
static void expect_frozen(struct life *life, const struct life *parent, const struct cut *cut)
{
	bool begun = parent->frozen_begun && parent->frozen_begun - 1 < cut->prefix;
	bool ended = begun && parent->frozen_ended - 1 <= cut->prefix;

	life->is_layer = ended || (begun && rng_below(&run.rng, 2));
	life->frozen_begun = life->is_layer;
}

static int cut_and_go_on(void *ctx, const struct cut *cut)
{
	struct life *parent = ctx;
	struct life life = {.plan = parent->plan, .depth = parent->depth + 1,
		.n_blocks = parent->n_blocks};
	uint32_t *versions = need_memory(calloc(life.n_blocks, sizeof(*versions)));
	struct image *image = take_image(cut);
	int rc;

	begin_life(&life, image);
	expect_frozen(&life, parent, cut);
	rc = check_files(parent, &life, cut);
	if (rc == 0)
		rc = life_open(&life, cut->what);
	if (rc == 0)
		rc = check_state(&life, parent, cut, versions);
	if (rc == 0 && has_next_life(parent)) {
		rc = go_on(&life, versions, parent->plan->second_steps);
		if (rc < 0)
			life_complain(parent, cut->what, "(this state came before it)");
	}
	life_end(&life);
	image_free(image);
	free(versions);
	return rc;
}

/* An empty delta, durably. */
static int make_delta(struct life *life)
{
	struct err err;
	const struct io_gate *io = recorder_gate(life->rec);
	int rc = delta_create(io, life->dirfd, LIFE_NAME, life->size_bytes, &err);

	if (rc == 0)
		rc = io->fsync(io, life->dirfd);
	return rc < 0 ? life_complain(life, "making the delta", err.message) : 0;
}

/* Has a slot's header been a free one already in this record? */
static bool was_free(const struct recorder *rec, size_t before, uint32_t node, uint64_t off)
{
	while (before-- > 0) {
		const struct op *op = recorder_op(rec, before);
		const struct format_segment *head = (const struct format_segment *)op->data;

		if (op->kind == OP_WRITE && op->node == node && op->off == off)
			return le32_get(head->flags) & FORMAT_SEGMENT_FREE;
	}
	return false;
}

/* How often did what these tests are about happen at all? */
static void count_record(const struct life *life)
{
	size_t length = recorder_length(life->rec);

	for (size_t i = 0; i < length; i++) {
		const struct op *op = recorder_op(life->rec, i);
		const struct format_segment *head = (const struct format_segment *)op->data;

		if (op->kind == OP_RENAME && strstr(op->to_name, ".ckpt"))
			run.totals.checkpoints++;
		if (op->kind != OP_WRITE || op->len < sizeof(*head) ||
			op->off != slot_start(slot_of(op->off)) ||
			le64_get(head->magic) != FORMAT_SEGMENT_MAGIC)
			continue;
		if (le32_get(head->flags) & FORMAT_SEGMENT_FREE)
			run.totals.freed++;
		else if (was_free(life->rec, i, op->node, op->off))
			run.totals.reused++;
	}
}

/* Setup and steps; *ret_cut: where the states of interest begin. */
static int live_first(struct life *life, size_t *ret_cut)
{
	const struct life_plan *plan = life->plan;
	size_t last = strlen(plan->steps);
	char step[2] = "";
	int rc = life_work(life, plan->setup ? plan->setup : "");

	if (plan->setup)
		*ret_cut = recorder_length(life->rec);
	life->armed = plan->sabotage != SABOTAGE_NONE;
	for (size_t i = 0; rc == 0 && i < last; i++) {
		if (plan->last_only && i + 1 == last)
			*ret_cut = recorder_length(life->rec) + 1;
		step[0] = plan->steps[i];
		rc = life_work(life, step);
	}
	return rc;
}

int lives_run(const struct life_plan *plan)
{
	struct life life = {.plan = plan, .n_blocks = plan->n_blocks,
		.size_bytes = (uint64_t)plan->n_blocks * DELTA_BLOCK_BYTES};
	size_t first_prefix;
	int rc;

	run.quiet = plan->must_fail;
	begin_life(&life, NULL);
	life.stamps = stamps_new(plan->n_blocks, NULL);
	life.saboteur.call = plan->call;
	life.saboteur.error = plan->error;
	life.saboteur.suffix = plan->suffix;
	rc = make_delta(&life);
	first_prefix = recorder_length(life.rec);
	if (rc == 0)
		rc = life_open(&life, "the new delta");
	if (rc == 0)
		rc = live_first(&life, &first_prefix);
	if (rc == 0 && plan->sabotage != SABOTAGE_NONE && life.saboteur.hits == 0) {
		fprintf(stderr, "%s: the call to fail never came\n", plan->name);
		rc = plan->must_fail ? 0 : -1;
	} else if (rc == 0) {
		rc = cut_life(&life, first_prefix);
	}
	count_record(&life);
	if (rc < 0 && !run.quiet)
		recorder_print(life.rec, recorder_length(life.rec));
	life_end(&life);
	return rc;
}

void lives_seed(uint64_t seed)
{
	run.rng = seed;
	run.next_version = STAMP_FIRST;
}

void lives_begin(uint64_t seed)
{
	thin_keep_memory();
	for (unsigned int depth = 0; depth <= LIFE_DEPTH_MAX; depth++)
		temp_dir_fast("lives", run.root[depth]);
	lives_seed(seed);
}

void lives_end(void)
{
	for (unsigned int depth = 0; depth <= LIFE_DEPTH_MAX; depth++)
		temp_dir_remove(run.root[depth]);
}

const struct life_totals *lives_totals(void)
{
	return &run.totals;
}
