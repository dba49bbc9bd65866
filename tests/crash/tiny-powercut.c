/* SPDX-License-Identifier: LGPL-2.1-or-later */
/* Power cuts in every workload of up to three operations, on a delta of tiny segments; see tests/lib/life.h.
 *
 * Operations: write, overwrite, discard, flush, checkpoint, clean, grow,
 * freeze, each sequence of one to three of them, after each of these setups:
 *
 *	new      nothing
 *	dead     several segments, most of what they hold overwritten
 *	cleaned  the same, cleaned: free slots to be reused, and a checkpoint
 *	killed   the same, ended twice by kills, which leave unsealed segments
 *
 * A sequence is cut in its last operation, its beginning is another sequence.
 * Tried are all subsets of up to twelve unsynced operations, the last write
 * torn at each sector from both sides, each page of a longer write missing,
 * and random sectors and pages beyond. Longer random workloads follow.
 *
 * That takes a quarter of an hour: DEEP=1. Otherwise a part of the sequences,
 * and of their states, is drawn from the seed.
 *
 * The tests of the test: orders that the format forbids must be caught.
 *
 * usage: tiny-powercut [STEPS | orders]; SEED= brings a run back, SEQUENCES= says how many.
 */
#include <errno.h>
#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/wait.h>
#include <unistd.h>

#include "tests/lib/image.h"
#include "tests/lib/life.h"
#include "tests/lib/rng.h"
#include "tests/lib/share.h"

#define BLOCKS 12
#define LONG_STEPS 16
#define SECOND_STEPS "oCwpfo1"

static const char letters[] = "wozfpCgF";

static const struct {
	const char *name, *steps;
} setups[] = {
	{"new", ""},
	{"dead", "owofowozowf"},
	{"cleaned", "owofowozowfCpoC"},
	{"killed", "owofowkowozkw"},
};

#define N_LETTERS (sizeof(letters) - 1)
#define N_SETUPS (sizeof(setups) / sizeof(setups[0]))
#define N_SEQUENCES (N_LETTERS + N_LETTERS * N_LETTERS + N_LETTERS * N_LETTERS * N_LETTERS)

/* Orders that format.h forbids. */
#define WRONG(name_, setup_, steps_, kind_, during_, nth_)                                         \
	{                                                                                          \
		.name = name_, .n_blocks = BLOCKS, .setup = setup_, .steps = steps_,               \
		.second_steps = SECOND_STEPS, .second_every = 8, .subset_max = 12,                 \
		.tears_max = 4, .sabotage = SABOTAGE_##kind_, .call = CALL_SYNC,                   \
		.suffix = ".log", .during = during_, .nth = nth_, .must_fail = true                \
	}

static const struct life_plan wrong_orders[] = {
	WRONG("a checkpoint before the log's sync", "owofowf", "wop", LIE, 'p', 1),
	WRONG("a free header before the moved copies are durable", "owofowozowf1", "wCo", LIE, 'C',
		1),
	WRONG("reuse before the free header is durable", "owofowozowf", "Coooo", LIE, 'C', 0),
};

#define N_WRONG (sizeof(wrong_orders) / sizeof(wrong_orders[0]))

static struct {
	uint64_t seed;
	bool deep;
} t;

/* Sequence number i, counted from 0, as letters. */
static void spell(uint64_t i, char steps[static 4])
{
	size_t len = 1;
	uint64_t many = N_LETTERS;

	while (i >= many) {
		i -= many;
		many *= N_LETTERS;
		len++;
	}
	memset(steps, 0, 4);
	for (size_t k = 0; k < len; k++) {
		steps[k] = letters[i % N_LETTERS];
		i /= N_LETTERS;
	}
}

static int run_sequence(size_t setup, const char *steps)
{
	char name[64];
	struct life_plan plan = {
		.name = name,
		.setup = setups[setup].steps,
		.steps = steps,
		.second_steps = SECOND_STEPS,
		.n_blocks = BLOCKS,
		.last_only = true,
		.second_every = t.deep ? 100 : 400,
		.subset_max = 12,
		.tears_max = 64,
		.sample = t.deep ? 0 : 2,
		.fsck_every = 4,
	};

	snprintf(name, sizeof(name), "%s %s", setups[setup].name, steps);
	return lives_run(&plan);
}

/* One of all sequences, or of the long ones behind them. */
static int run_one(void *ctx, uint64_t item)
{
	char steps[LONG_STEPS + 1] = "";

	lives_seed(t.seed + item);
	if (item < N_SETUPS * N_SEQUENCES) {
		spell(item / N_SETUPS, steps);
		return run_sequence(item % N_SETUPS, steps);
	}
	return 0;
}

static int run_long(void *ctx, uint64_t item)
{
	static const char all[] = "wwoo1zfpCCgckabfoo";
	char steps[LONG_STEPS + 1] = "";
	uint64_t rng = t.seed ^ item << 32;
	struct life_plan plan = {
		.name = steps,
		.steps = steps,
		.second_steps = SECOND_STEPS,
		.n_blocks = BLOCKS,
		.second_every = t.deep ? 100 : 400,
		.subset_max = 5,
		.tears_max = 8,
		.sample = t.deep ? 2 : 12,
		.fsck_every = 4,
	};
	int grown = 0;

	for (int i = 0; i < LONG_STEPS; i++) {
		do
			steps[i] = all[rng_below(&rng, sizeof(all) - 1)];
		while (steps[i] == 'g' && ++grown > LIFE_GROWTHS_MAX / 2);
	}
	lives_seed(rng);
	return lives_run(&plan);
}

static void begin(void)
{
	lives_begin(t.seed);
}

/* Which items of the enumeration are drawn? All, or every so many-th. */
struct draw {
	uint64_t first, step;
};

static int run_drawn(void *ctx, uint64_t item)
{
	const struct draw *draw = ctx;

	return run_one(NULL, draw->first + item * draw->step);
}

static uint64_t share(share_fn *fn, void *ctx, uint64_t items, struct life_totals *totals)
{
	const struct share_task task = {
		.fn = fn,
		.ctx = ctx,
		.begin = begin,
		.end = lives_end,
		.counters = (uint64_t *)(uintptr_t)lives_totals(),
		.n_counters = sizeof(struct life_totals) / sizeof(uint64_t),
	};
	uint64_t failed = share_out(&task, items);

	*totals = *lives_totals();
	return failed;
}

static void print_totals(const char *what, uint64_t items, const struct life_totals *now,
	const struct life_totals *before)
{
	printf("  %" PRIu64 " %s: %" PRIu64 " states, %" PRIu64 " of second lives (%" PRIu64
	       " without checkpoint, %" PRIu64 " checked); %" PRIu64 " segments freed, %" PRIu64 " reused, %" PRIu64
	       " checkpoints\n",
		items, what, now->states[1] - before->states[1], now->states[2] - before->states[2],
		now->without_checkpoint - before->without_checkpoint,
		now->checked - before->checked, now->freed - before->freed,
		now->reused - before->reused, now->checkpoints - before->checkpoints);
	fflush(stdout);
}

/* The sequences, then the long workloads. Returns failures. */
static uint64_t run_all(struct life_totals *totals)
{
	uint64_t all = N_SETUPS * N_SEQUENCES;
	uint64_t wanted = env_number("SEQUENCES", t.deep ? all : 300);
	uint64_t longs = env_number("LONGS", t.deep ? 200 : 12);
	struct draw draw = {.step = wanted < all ? all / wanted : 1};
	uint64_t rng = t.seed, items, failed;
	struct life_totals before = {.states = {0}};

	draw.first = rng_below(&rng, draw.step);
	items = (all - draw.first + draw.step - 1) / draw.step;
	failed = share(run_drawn, &draw, items, totals);
	print_totals("sequences", items, totals, &before);
	before = *totals;
	failed += share(run_long, NULL, longs, totals);
	print_totals("longer workloads", longs, totals, &before);
	return failed;
}

static uint64_t run_wrong_orders(void)
{
	uint64_t failed = 0;

	lives_begin(t.seed);
	for (size_t i = 0; i < N_WRONG; i++) {
		lives_seed(t.seed);
		if (lives_run(&wrong_orders[i]) < 0) {
			printf("  found: %s\n", wrong_orders[i].name);
			continue;
		}
		fprintf(stderr, "tiny-powercut: not found: %s: this test is blind\n",
			wrong_orders[i].name);
		failed++;
	}
	lives_end();
	return failed;
}

/* One workload alone, to look into. */
static uint64_t run_steps(const char *steps)
{
	uint64_t failed = 0;

	lives_begin(t.seed);
	for (size_t setup = 0; setup < N_SETUPS; setup++) {
		lives_seed(t.seed);
		failed += run_sequence(setup, steps) < 0;
	}
	lives_end();
	return failed;
}

int main(int argc, char **argv)
{
	struct life_totals totals = {.states = {0}};
	uint64_t failed;

	t.seed = rng_seed();
	t.deep = env_number("DEEP", 0);
	printf("tiny-powercut: SEED=%" PRIu64 "%s\n", t.seed, t.deep ? " DEEP=1" : "");
	fflush(stdout);
	if (argc > 1 && strcmp(argv[1], "orders") == 0) {
		failed = run_wrong_orders();
	} else if (argc > 1) {
		failed = run_steps(argv[1]);
	} else {
		failed = run_all(&totals) + run_wrong_orders();
		/* Without these nothing of what this is about was tried. */
		if (!totals.freed || !totals.reused || !totals.checkpoints)
			failed += !!fprintf(stderr,
				"tiny-powercut: nothing was freed, reused, or checkpointed\n");
		printf("tiny-powercut: %" PRIu64 " states in all\n",
			totals.states[1] + totals.states[2] + totals.states[3]);
	}
	printf("%d passed, %" PRIu64 " failed\n", failed == 0, failed);
	return failed > 0;
}
