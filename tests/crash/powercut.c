/* SPDX-License-Identifier: LGPL-2.1-or-later */
/* Power cuts in listed workloads on a delta of real segment sizes; see tests/lib/life.h.
 *
 * The tests of the test: a gate that lies about syncs or drops writes must be
 * caught by the checks of each state, else the program fails.
 *
 * Lives after a kill have by far the most states. Every first state of those
 * plans gets a second life with DEEP=1 only; otherwise one in so many, by the seed.
 *
 * usage: powercut [PLAN]; SEED= brings a run back.
 */
#include <errno.h>
#include <inttypes.h>
#include <stdio.h>
#include <string.h>

#include "tests/lib/life.h"
#include "tests/lib/rng.h"
#include "tests/lib/share.h"

#define PLAN(name_, blocks_, steps_, second_, every_, third_, ...)                             \
	{                                                                                          \
		.name = name_, .n_blocks = blocks_, .steps = steps_, .second_steps = second_,      \
		.second_every = every_, .third_every = third_, .subset_max = 12, .tears_max = 8,   \
		.fsck_every = 50,                                                                  \
		__VA_ARGS__                                                                        \
	}
#define SABOTAGED(kind_, call_, nth_, error_)                                                      \
	.sabotage = SABOTAGE_##kind_, .call = CALL_##call_, .nth = nth_, .error = error_

/* The longest first, so that all processors end together. */
static const struct life_plan plans[] = {
	PLAN("reopen", 16, "wfckw1fkzgkwcwzf1c", "wcgw", 1, 697),
	PLAN("killed", 8, "1k1k1fk1k1", "1k1", 1, 397),
	PLAN("mixed", 24, "wwf1wgzf1w1fwz1wfgw11zw", "1wfz1", 1, 397),
	PLAN("singles", 8, "1f1f11f1111f111111", "1f1", 1, 197),
	PLAN("zeros", 24, "zfwzzfzwzf", "zwfz", 1, 97),
	PLAN("batches", 16, "bfb1bzbfb", "bfb", 8, 0),
	PLAN("segments", 64, "WWfWWWfWzWWfW", "Wf1W", 12, 0),
	/* Three segments without a sync: a later header without an earlier one. */
	PLAN("segments at once", 64, "WWWWWWWWWWWWWWWWWWWWWWWW", "Wf1", 200, 0),
	PLAN("failed write", 16, "w1fw1w1fw", "1wf1", 1, 0, SABOTAGED(FAIL, PWRITEV, 7, -EIO)),
	PLAN("short write", 16, "w1fw1w1cw", "1wf1", 1, 0, SABOTAGED(SHORT, PWRITEV, 7, -EIO)),
	PLAN("short write, full", 64, "wfWwWwfw", "1wf1", 8, 0,
		SABOTAGED(SHORT, PWRITEV, 8, -ENOSPC)),
	PLAN("failed batch", 16, "1fbbfb1", "1bf1", 2, 0, SABOTAGED(FAIL, PWRITEV, 5, -EIO)),
	PLAN("short batch", 16, "1fbbfb1", "1bf1", 2, 0,
		SABOTAGED(SHORT, PWRITEV, 5, -ENOSPC)),
	PLAN("short batch, last", 16, "1fb", "1bf1", 1, 0,
		SABOTAGED(SHORT, PWRITEV, 5, -ENOSPC)),
	PLAN("no segment", 64, "WWWWWWWWfW1f1", "1wf1", 16, 0,
		SABOTAGED(FAIL, FALLOCATE, 2, -ENOSPC)),
	PLAN("lie: syncs", 16, "wf1fwf", "1f", 1, 0, SABOTAGED(LIE, SYNC, 0, 0),
		.must_fail = true),
	PLAN("lie: one sync", 16, "wf1fwf", "1f", 1, 0, SABOTAGED(LIE, SYNC, 4, 0),
		.must_fail = true),
	PLAN("lie: one write", 16, "wf1fwf", "1f", 1, 0, SABOTAGED(LIE, PWRITEV, 4, 0),
		.must_fail = true),
};

#define N_PLANS (sizeof(plans) / sizeof(plans[0]))

#define KILLED_PART 6 /* not DEEP: second lives tried, one in so many */

static int run_plan(const struct life_plan *plan)
{
	struct life_totals before = *lives_totals();
	const struct life_totals *now = lives_totals();
	int rc = lives_run(plan);

	printf("  %-20s %7" PRIu64 " states, %8" PRIu64 " of second lives, %7" PRIu64
	       " of third%s\n",
		plan->name, now->states[1] - before.states[1], now->states[2] - before.states[2],
		now->states[3] - before.states[3],
		plan->must_fail && rc < 0 ? " (the lie was found)" : "");
	fflush(stdout);
	if (plan->must_fail && rc == 0)
		fprintf(stderr, "powercut: %s: a lie was not found: this test is blind\n",
			plan->name);
	return (rc < 0) == plan->must_fail ? 0 : -1;
}

static struct {
	uint64_t seed;
	const char *only; /* NULL: all plans */
	bool deep;
} t;

static void begin(void)
{
	lives_begin(t.seed);
}

static int run_item(void *ctx, uint64_t item)
{
	struct life_plan plan;

	if (t.only && strcmp(t.only, plans[item].name) != 0)
		return 0;
	lives_seed(t.seed);
	plan = plans[item];
	if (!t.deep && strchr(plan.steps, 'k'))
		plan.second_every *= KILLED_PART;
	return run_plan(&plan);
}

int main(int argc, char **argv)
{
	const struct life_totals *now = lives_totals();
	const struct share_task task = {
		.fn = run_item,
		.begin = begin,
		.end = lives_end,
		.counters = (uint64_t *)(uintptr_t)now,
		.n_counters = sizeof(*now) / sizeof(uint64_t),
	};
	uint64_t failed;

	t.seed = rng_seed();
	t.only = argc > 1 ? argv[1] : NULL;
	t.deep = env_number("DEEP", 0);
	printf("powercut: SEED=%" PRIu64 "%s\n", t.seed, t.deep ? " DEEP=1" : "");
	failed = share_out(&task, N_PLANS);
	printf("powercut: %" PRIu64 " states in all\n",
		now->states[1] + now->states[2] + now->states[3]);
	printf("%" PRIu64 " passed, %" PRIu64 " failed\n", N_PLANS - failed, failed);
	return failed > 0;
}
