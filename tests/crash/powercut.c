/* SPDX-License-Identifier: LGPL-2.1-or-later */
/* Power cuts: every state that one may leave is opened, checked, lived on in and cut again.
 *
 * A life is: open a delta, check what is on it, work on it, and record all
 * changes and syncs. Then each state of cuts.h is the beginning of another
 * life, two deep (and now and then three). Checked at each begin:
 *
 *	it opens;
 *	every block is whole and says which write it came from;
 *	together they are what the first k operations gave, for some k that has
 *	all that was flushed, and after a mere kill all that was acknowledged.
 *
 * The tests of the test: a gate that lies about syncs or drops writes must be
 * caught by these very checks, else the program fails.
 *
 * usage: powercut [WORKLOAD]; SEED= brings a run back.
 */
#include <assert.h>
#include <errno.h>
#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "fs/store/delta.h"
#include "fs/util/id.h"
#include "tests/lib/batch.h"
#include "tests/lib/cuts.h"
#include "tests/lib/image.h"
#include "tests/lib/recorder.h"
#include "tests/lib/rng.h"
#include "tests/lib/saboteur.h"
#include "tests/lib/stamps.h"
#include "tests/lib/temp.h"
#include "tests/lib/thin.h"

#define NAME "00112233445566778899aabbccddeeff"
#define DEPTH_MAX 3
#define GROWTHS_MAX 4

/* What one life does, one letter per step:
 *	w  write 1 to 4 blocks       W  write 20 to 40 (crosses segment ends)
 *	1  write one block           z  zero some blocks
 *	f  flush                     c  close cleanly and open again
 *	b  four writes at once, three of them in one batch
 *	g  grow the disk             k  abandon and open again (a killed process) */
struct workload {
	const char *name;
	const char *steps;        /* of the first life */
	const char *second_steps; /* of each life in a state of the first */
	uint32_t n_blocks;
	unsigned int second_every; /* of how many states one gets a second life */
	unsigned int third_every;
	enum sabotage sabotage; /* in the first life */
	enum sabotaged_call call;
	uint64_t nth;
	int error;
	bool must_fail; /* a test of the test */
};

#define WORKLOAD(name_, blocks_, steps_, second_, every_, third_, ...)                             \
	{                                                                                          \
		.name = name_, .n_blocks = blocks_, .steps = steps_, .second_steps = second_,      \
		.second_every = every_, .third_every = third_, __VA_ARGS__                         \
	}
#define SABOTAGED(kind_, call_, nth_, error_)                                                      \
	.sabotage = SABOTAGE_##kind_, .call = CALL_##call_, .nth = nth_, .error = error_

static const struct workload workloads[] = {
	WORKLOAD("mixed", 24, "wwf1wgzf1w1fwz1wfgw11zw", "1wfz1", 1, 397),
	WORKLOAD("singles", 8, "1f1f11f1111f111111", "1f1", 1, 197),
	WORKLOAD("reopen", 16, "wfckw1fkzgkwcwzf1c", "wcgw", 1, 697),
	WORKLOAD("killed", 8, "1k1k1fk1k1", "1k1", 1, 397),
	WORKLOAD("zeros", 24, "zfwzzfzwzf", "zwfz", 1, 97),
	WORKLOAD("batches", 16, "bfb1bzbfb", "bfb", 8, 0),
	WORKLOAD("segments", 64, "WWfWWWfWzWWfW", "Wf1W", 12, 0),
	/* Three segments without a sync: a later header without an earlier one. */
	WORKLOAD("segments at once", 64, "WWWWWWWWWWWWWWWWWWWWWWWW", "Wf1", 200, 0),
	WORKLOAD("failed write", 16, "w1fw1w1fw", "1wf1", 1, 0, SABOTAGED(FAIL, PWRITEV, 7, -EIO)),
	WORKLOAD("short write", 16, "w1fw1w1cw", "1wf1", 1, 0, SABOTAGED(SHORT, PWRITEV, 7, -EIO)),
	WORKLOAD("short write, full", 64, "wfWwWwfw", "1wf1", 8, 0,
		SABOTAGED(SHORT, PWRITEV, 8, -ENOSPC)),
	WORKLOAD("failed batch", 16, "1fbbfb1", "1bf1", 2, 0, SABOTAGED(FAIL, PWRITEV, 5, -EIO)),
	WORKLOAD("short batch", 16, "1fbbfb1", "1bf1", 2, 0,
		SABOTAGED(SHORT, PWRITEV, 5, -ENOSPC)),
	WORKLOAD("short batch, last", 16, "1fb", "1bf1", 1, 0,
		SABOTAGED(SHORT, PWRITEV, 5, -ENOSPC)),
	WORKLOAD("no segment", 64, "WWWWWWWWfW1f1", "1wf1", 16, 0,
		SABOTAGED(FAIL, FALLOCATE, 2, -ENOSPC)),
	WORKLOAD("lie: syncs", 16, "wf1fwf", "1f", 1, 0, SABOTAGED(LIE, SYNC, 0, 0),
		.must_fail = true),
	WORKLOAD("lie: one sync", 16, "wf1fwf", "1f", 1, 0, SABOTAGED(LIE, SYNC, 4, 0),
		.must_fail = true),
	WORKLOAD("lie: one write", 16, "wf1fwf", "1f", 1, 0, SABOTAGED(LIE, PWRITEV, 4, 0),
		.must_fail = true),
};

#define N_WORKLOADS (sizeof(workloads) / sizeof(workloads[0]))

static struct {
	uint64_t rng;
	uint32_t next_version;
	uint64_t states[DEPTH_MAX + 1]; /* tried at each depth */
	char root[DEPTH_MAX + 1][TEMP_PATH_MAX];
	bool quiet; /* a failure is what we want */
} run;

struct growth {
	size_t begun, ended; /* marks in the record */
	uint64_t size_bytes;
};

struct life {
	const struct workload *workload;
	unsigned int depth; /* 0: the first */
	struct recorder *rec;
	/* Before the recorder: a lie is told to the delta, not to the record. */
	struct saboteur saboteur;
	struct stamps *stamps;
	struct delta *delta;
	int dirfd;
	uint64_t size_bytes; /* of the disk when the life begins */
	struct growth grown[GROWTHS_MAX];
	unsigned int n_grown;
};

static int complain(const struct life *life, const char *what, const char *why)
{
	if (!run.quiet)
		fprintf(stderr, "powercut: %s: life %u: %s: %s\n", life->workload->name,
			life->depth, what, why);
	return -1;
}

static int open_delta(struct life *life, const char *what)
{
	const struct delta_options options = {.io = &life->saboteur.gate};
	struct err err;
	int rc = delta_open(life->dirfd, NAME, &options, &life->delta, &err);

	return rc < 0 ? complain(life, what, err.message) : 0;
}

static void account(struct life *life, const struct batch_write *write, size_t begun)
{
	struct stamp_op *op =
		stamps_add(life->stamps, write->version, write->block, write->count);

	op->begun = begun;
	op->ended = recorder_length(life->rec);
	if (write->rc < 0 && stamps_see_failed(life->stamps, op, life->delta) < 0)
		complain(life, "after a failed write", "cannot read");
}

static uint32_t pick_block(const struct life *life, uint32_t count)
{
	return (uint32_t)rng_below(&run.rng, life->stamps->n_blocks - count + 1);
}

static void do_write(struct life *life, uint32_t version, uint32_t count)
{
	struct batch_write write = {version, pick_block(life, count), count, 0};
	uint8_t *buf = need_memory(malloc((size_t)count * DELTA_BLOCK_BYTES));
	size_t begun = recorder_length(life->rec);

	stamps_fill(version, write.block, count, buf);
	if (version == STAMP_ZERO)
		write.rc = delta_zero(life->delta, write.block, count);
	else
		write.rc = delta_write(life->delta, buf, count, write.block);
	account(life, &write, begun);
	free(buf);
}

/* Operations of one kind since begun. */
static unsigned int count_ops(const struct life *life, enum op_kind kind, size_t begun)
{
	unsigned int n = 0;

	for (size_t i = begun; i < recorder_length(life->rec); i++)
		n += recorder_op(life->rec, i)->kind == kind;
	return n;
}

/* One write, and three that wait for it and are combined. */
static int do_batch(struct life *life)
{
	struct batch_write writes[4];
	size_t begun = recorder_length(life->rec);

	for (int i = 0; i < 4; i++) {
		uint32_t count = 1 + (uint32_t)rng_below(&run.rng, 3);

		writes[i] = (struct batch_write){
			run.next_version++, pick_block(life, count), count, 0};
	}
	batch_run(life->delta, &life->saboteur, writes, 4);
	for (int i = 0; i < 4; i++)
		account(life, &writes[i], begun);
	if (life->saboteur.kind == SABOTAGE_NONE && count_ops(life, OP_ALLOC, begun) == 0 &&
		count_ops(life, OP_WRITE, begun) != 2)
		return complain(life, "a batch", "the leader did not combine");
	return 0;
}

static void do_flush(struct life *life)
{
	size_t ops = life->stamps->n_ops;

	if (delta_flush(life->delta) == 0)
		stamps_add_flush(life->stamps, recorder_length(life->rec), ops);
}

static int do_grow(struct life *life)
{
	struct growth *growth = &life->grown[life->n_grown++];

	assert(life->n_grown <= GROWTHS_MAX);
	growth->size_bytes = delta_size(life->delta) + 8 * DELTA_BLOCK_BYTES;
	growth->begun = recorder_length(life->rec);
	if (delta_grow(life->delta, growth->size_bytes) < 0)
		return complain(life, "growing", "refused");
	growth->ended = recorder_length(life->rec);
	return 0;
}

static int do_reopen(struct life *life, bool clean)
{
	size_t ops = life->stamps->n_ops;

	if (!clean)
		delta_abandon(life->delta);
	else if (delta_close(life->delta) == 0)
		stamps_add_flush(life->stamps, recorder_length(life->rec), ops);
	life->delta = NULL;
	if (open_delta(life, clean ? "after a clean close" : "after a kill") < 0)
		return -1;
	/* An unclean open makes durable what it accepted. */
	stamps_add_flush(life->stamps, recorder_length(life->rec), ops);
	return 0;
}

static int do_step(struct life *life, char step)
{
	uint32_t few = 1 + (uint32_t)rng_below(&run.rng, 4);

	switch (step) {
	case 'w':
		do_write(life, run.next_version++, few);
		return 0;
	case '1':
		do_write(life, run.next_version++, 1);
		return 0;
	case 'W':
		do_write(life, run.next_version++, 20 + (uint32_t)rng_below(&run.rng, 21));
		return 0;
	case 'z':
		do_write(life, STAMP_ZERO, 1 + (uint32_t)rng_below(&run.rng,
					       life->stamps->n_blocks / 2));
		return 0;
	case 'b':
		return do_batch(life);
	case 'f':
		do_flush(life);
		return 0;
	case 'g':
		return do_grow(life);
	case 'c':
	case 'k':
		return do_reopen(life, step == 'c');
	default:
		fprintf(stderr, "powercut: no step is called %c\n", step);
		exit(2);
	}
}

static int cut_and_go_on(void *ctx, const struct cut *cut);

/* Every state of this life's record. */
static int cut_life(struct life *life, size_t first_prefix)
{
	const struct cut_options options = {
		.first_prefix = first_prefix,
		.tears_max = life->depth == 0 ? 8 : 2,
		.scattered = life->depth == 0 ? 2 : 1,
		.rng = &run.rng,
	};

	return cuts_each(life->rec, &options, cut_and_go_on, life, &run.states[life->depth + 1]);
}

static int work(struct life *life, const char *steps)
{
	int rc = 0;

	for (; rc == 0 && *steps; steps++)
		rc = do_step(life, *steps);
	return rc;
}

static void end_life(struct life *life)
{
	if (life->delta)
		delta_abandon(life->delta);
	if (life->dirfd >= 0)
		recorder_gate(life->rec)->close(recorder_gate(life->rec), life->dirfd);
	recorder_free(life->rec);
	stamps_free(life->stamps);
}

static bool has_next_life(const struct life *parent)
{
	const struct workload *w = parent->workload;
	unsigned int every = parent->depth == 0 ? w->second_every :
			     parent->depth == 1 ? w->third_every : 0;

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
	if (run.quiet)
		return;
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
		return complain(parent, cut->what, rc == -EUCLEAN ? "a block is a mixture" :
					       strerror(-rc));
	if (!size_matches(parent, delta_size(life->delta), cut->prefix))
		return complain(parent, cut->what, "the disk has another size");
	if (stamps_match(parent->stamps, versions, least, most))
		return 0;
	print_history(parent->stamps, versions, least, most);
	return complain(parent, cut->what, "the disk is no prefix of what was written");
}

static int cut_and_go_on(void *ctx, const struct cut *cut)
{
	struct life *parent = ctx;
	uint32_t n_blocks = parent->stamps->n_blocks;
	uint32_t *versions = need_memory(calloc(n_blocks, sizeof(*versions)));
	const char *root = run.root[parent->depth + 1];
	struct life life = {.workload = parent->workload, .depth = parent->depth + 1};
	int rc;

	image_clear(root);
	image_store(cut->image, root);
	life.rec = recorder_new(root, cut->image, io_thin);
	saboteur_init(&life.saboteur, recorder_gate(life.rec));
	life.dirfd = recorder_open_root(life.rec);
	rc = open_delta(&life, cut->what);
	if (rc == 0)
		rc = check_state(&life, parent, cut, versions);
	if (rc == 0 && has_next_life(parent)) {
		life.stamps = stamps_new(n_blocks, versions);
		life.size_bytes = delta_size(life.delta);
		rc = work(&life, parent->workload->second_steps);
		if (rc == 0)
			rc = cut_life(&life, 0);
		if (rc < 0)
			complain(parent, cut->what, "(this state came before it)");
	}
	end_life(&life);
	free(versions);
	return rc;
}

/* An empty delta, durably. */
static int make_delta(struct life *life)
{
	struct err err;
	const struct io_gate *io = recorder_gate(life->rec);
	int rc = delta_create(io, life->dirfd, NAME,
		(uint64_t)life->workload->n_blocks * DELTA_BLOCK_BYTES, &err);

	if (rc == 0)
		rc = io->fsync(io, life->dirfd);
	return rc < 0 ? complain(life, "making the delta", err.message) : 0;
}

static void arm(struct saboteur *saboteur, const struct workload *w)
{
	memset(saboteur->count, 0, sizeof(saboteur->count));
	saboteur->kind = w->sabotage;
	saboteur->call = w->call;
	saboteur->nth = w->nth;
	saboteur->error = w->error;
}

static int first_life(const struct workload *w)
{
	struct life life = {.workload = w};
	size_t created;
	int rc;

	image_clear(run.root[0]);
	life.rec = recorder_new(run.root[0], NULL, io_thin);
	life.dirfd = recorder_open_root(life.rec);
	life.stamps = stamps_new(w->n_blocks, NULL);
	life.size_bytes = (uint64_t)w->n_blocks * DELTA_BLOCK_BYTES;
	saboteur_init(&life.saboteur, recorder_gate(life.rec));
	rc = make_delta(&life);
	created = recorder_length(life.rec);
	if (rc == 0)
		rc = open_delta(&life, "the new delta");
	arm(&life.saboteur, w);
	if (rc == 0)
		rc = work(&life, w->steps);
	if (rc == 0 && w->sabotage != SABOTAGE_NONE && life.saboteur.hits == 0)
		rc = complain(&life, "sabotage", "the call to fail never came");
	if (rc == 0)
		rc = cut_life(&life, created);
	end_life(&life);
	return rc;
}

static int run_workload(const struct workload *w)
{
	uint64_t before[DEPTH_MAX + 1];
	int rc;

	memcpy(before, run.states, sizeof(before));
	run.quiet = w->must_fail;
	rc = first_life(w);
	run.quiet = false;
	printf("  %-20s %7" PRIu64 " states, %8" PRIu64 " of second lives, %7" PRIu64
	       " of third%s\n",
		w->name, run.states[1] - before[1], run.states[2] - before[2],
		run.states[3] - before[3],
		w->must_fail && rc < 0 ? " (the lie was found)" : "");
	fflush(stdout);
	if (w->must_fail && rc == 0)
		fprintf(stderr, "powercut: %s: a lie was not found: this test is blind\n", w->name);
	return (rc < 0) == w->must_fail ? 0 : -1;
}

int main(int argc, char **argv)
{
	uint64_t seed = rng_seed();
	unsigned int failed = 0;
	unsigned int passed = 0;

	printf("powercut: SEED=%" PRIu64 "\n", seed);
	thin_keep_memory();
	for (unsigned int depth = 0; depth <= DEPTH_MAX; depth++)
		temp_dir_fast("powercut", run.root[depth]);
	for (size_t i = 0; i < N_WORKLOADS; i++) {
		if (argc > 1 && strcmp(argv[1], workloads[i].name) != 0)
			continue;
		run.rng = seed;
		run.next_version = STAMP_FIRST;
		if (run_workload(&workloads[i]) < 0)
			failed++;
		else
			passed++;
	}
	for (unsigned int depth = 0; depth <= DEPTH_MAX; depth++)
		temp_dir_remove(run.root[depth]);
	printf("powercut: %" PRIu64 " states in all\n",
		run.states[1] + run.states[2] + run.states[3]);
	printf("%u passed, %u failed\n", passed, failed);
	return failed > 0;
}
