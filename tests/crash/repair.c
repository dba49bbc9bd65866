/* SPDX-License-Identifier: LGPL-2.1-or-later */
/* Repairs that are cut, killed, or whose calls fail: the next one ends them, and nothing is lost.
 *
 * Each problem that can be repaired, and damage to a layer that two clones stand
 * on, is provoked and repaired. Then the same repair is recorded and cut
 * (tests/lib/cuts.h): from each state the next repair has to end clean, the disk
 * has to read as it does after a repair that was not cut, and every log that
 * was there has to be there, in its place or in lost+found. The same again
 * with each call of the repair that fails.
 *
 * DEEP=1: all states and all calls; otherwise a part of them, drawn from SEED=.
 */
#include <errno.h>
#include <fcntl.h>
#include <glob.h>
#include <inttypes.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include <cmocka.h>

#include "fs/store/format.h"
#include "tests/lib/cuts.h"
#include "tests/lib/image.h"
#include "tests/lib/onestore.h"
#include "tests/lib/problems.h"
#include "tests/lib/recorder.h"
#include "tests/lib/rng.h"
#include "tests/lib/saboteur.h"
#include "tests/lib/scratch.h"

static struct {
	const struct problem_case *c;
	struct image *start; /* damaged, not repaired */
	uint32_t wanted[ONESTORE_BLOCKS];
	uint64_t states, faults;
	bool deep;
	bool lie; /* nothing is synced */
} t;

static void restore(const struct image *image)
{
	image_clear(onestore_path("store"));
	image_store(image, onestore_path("store"));
}

/* ---- what must be there after all ---- */

static bool same_content(const char *path, const struct image_node *node)
{
	size_t len;
	char *data;
	bool same;

	assert_int_equal(io_slurp(&io_kernel, AT_FDCWD, path, IMAGE_FILE_MAX, &data, &len), 0);
	same = len == node->size_bytes && node->held >= len && memcmp(data, node->data, len) == 0;
	free(data);
	return same;
}

static void log_is_kept(const char *dir, const char *name, const struct image_node *node)
{
	char path[512];
	glob_t found;

	snprintf(path, sizeof(path), "%s/%s/%s", onestore_path("store"), dir, name);
	if (access(path, F_OK) == 0)
		return;
	snprintf(path, sizeof(path), "%s/lost+found/*/%s", onestore_path("store"), name);
	if (glob(path, 0, NULL, &found) != 0)
		fail_msg("%s: %s/%s is gone", onestore.damage, dir, name);
	if (!same_content(found.gl_pathv[0], node))
		fail_msg("%s: %s is not what was damaged", onestore.damage, found.gl_pathv[0]);
	globfree(&found);
}

static void logs_are_kept(const char *dir)
{
	const struct image *start = t.start;
	const struct image_node *from = &start->nodes[image_walk(start, IMAGE_ROOT, dir)];

	for (size_t i = 0; i < from->n_entries; i++) {
		const struct image_node *node = &start->nodes[from->entries[i].node];
		const char *dot = strrchr(from->entries[i].name, '.');

		if (dot && strcmp(dot, ".log") == 0 && node->size_bytes > 0)
			log_is_kept(dir, from->entries[i].name, node);
	}
}

/* The next repair, and what it leaves. lossy: a read failed, and what it should have
 * read may be marked as lost. */
static void repair_again(bool lossy)
{
	uint32_t versions[ONESTORE_BLOCKS];

	if (onestore_check(YES, true) != 0)
		fail_msg("%s: problems are left", onestore.damage);
	if (onestore_check(NO, true) != 0)
		fail_msg("%s: the repaired store has problems", onestore.damage);
	logs_are_kept("clones/web");
	logs_are_kept("layers");
	if (t.c->moves)
		return;
	onestore_read(versions);
	for (uint32_t b = 0; b < ONESTORE_BLOCKS; b++)
		if (versions[b] != t.wanted[b] && !(lossy && versions[b] == ONESTORE_BAD))
			fail_msg("%s: block %" PRIu32 " is %" PRIu32 ", not %" PRIu32,
				onestore.damage, b, versions[b], t.wanted[b]);
}

/* ---- cuts ---- */

static int check_state(void *ctx, const struct cut *cut)
{
	restore(cut->image);
	snprintf(onestore.damage, sizeof(onestore.damage), "problem %d, cut after %zu: %s",
		(int)t.c->code, cut->prefix, cut->what);
	repair_again(false);
	return 0;
}

static void cut_repair(void)
{
	const struct cut_options options = {
		.subset_max = 4,
		.tears_max = 2,
		.scattered = 1,
		.sample = t.deep ? 0 : 12,
		.rng = &onestore.rng,
	};
	struct recorder *rec = recorder_new(onestore_path("store"), t.start, &io_kernel);
	struct saboteur saboteur;

	saboteur_init(&saboteur, recorder_gate(rec));
	saboteur.kind = t.lie ? SABOTAGE_LIE : SABOTAGE_NONE;
	saboteur.call = CALL_SYNC;
	restore(t.start);
	onestore.io = &saboteur.gate;
	assert_int_equal(onestore_check(YES, true), 0);
	onestore.io = NULL;
	assert_true(recorder_length(rec) > 0);
	if (!t.c->moves)
		onestore_read(t.wanted);
	assert_int_equal(cuts_each(rec, &options, check_state, NULL, &t.states), 0);
	recorder_free(rec);
}

/* ---- failing calls ---- */

static uint64_t fail_call(enum sabotaged_call call, uint64_t nth)
{
	struct saboteur saboteur;

	saboteur_init(&saboteur, &io_kernel);
	saboteur.kind = SABOTAGE_FAIL;
	saboteur.call = call;
	saboteur.nth = nth;
	saboteur.error = rng_below(&onestore.rng, 2) ? -EIO : -ENOSPC;
	snprintf(onestore.damage, sizeof(onestore.damage), "problem %d, %s number %" PRIu64,
		(int)t.c->code, saboteur_call_names[call], nth);
	restore(t.start);
	onestore.io = &saboteur.gate;
	onestore.may_fail = true;
	onestore_check(YES, true);
	onestore.io = NULL;
	onestore.may_fail = false;
	repair_again(call == CALL_PREAD);
	t.faults += saboteur.hits;
	return saboteur.hits;
}

static void fail_calls(void)
{
	for (enum sabotaged_call call = 0; call < N_CALLS; call++) {
		uint64_t nth = 0, stride = t.deep ? 1 : 12;

		do
			nth += 1 + rng_below(&onestore.rng, stride);
		while (fail_call(call, nth) > 0);
	}
}

/* ---- all ---- */

static void begin_case(const struct problem_case *c)
{
	t.c = c;
	problems_provoke(c);
	t.start = image_load(onestore_path("store"));
	cut_repair();
}

static void run_case(const struct problem_case *c)
{
	begin_case(c);
	fail_calls();
	image_free(t.start);
	problems_undo();
}

static void each_problem(void **state)
{
	for (const struct problem_kind *kind = problem_kinds; kind->what; kind++)
		if (kind->question)
			run_case(problems_case(kind->code));
}

/* A layer of two clones. */
static void damage_layer(void)
{
	struct id layer = onestore_freeze();
	struct store *store = onestore_open();
	struct manifest *m = onestore_manifest_beside(store, "other");
	struct store_stage *stage;

	assert_int_equal(store_stage(store, m, &stage, NULL), 0);
	assert_int_equal(store_commit(stage, NULL), 0);
	manifest_free(m);
	store_close(store);
	onestore_flip_layer(&layer, FORMAT_PAGE + 20, 0);
}

static void layer_of_two_clones(void **state)
{
	const struct problem_case c = {.code = PROBLEM_LOG_CUT, .provoke = damage_layer};

	run_case(&c);
	print_message("%" PRIu64 " states after cuts, %" PRIu64 " failed calls\n", t.states,
		t.faults);
	assert_true(t.states > 0 && t.faults > 0);
}

/* The test of the test, in a program of its own, as it has to fail. */
static void nothing_is_synced(void **state)
{
	t.lie = true;
	t.deep = true;
	begin_case(problems_case(PROBLEM_PAYLOAD));
}

static void a_repair_that_syncs_nothing_is_caught(void **state)
{
	char self[256];
	char *said;
	ssize_t n = readlink("/proc/self/exe", self, sizeof(self) - 1);

	assert_true(n > 0);
	self[n] = '\0';
	assert_int_equal(scratch_run(&said, "SEED=%" PRIu64 " '%s' lie 2>&1", onestore.rng, self), 1);
	assert_non_null(strstr(said, "problem 36, cut after"));
	free(said);
}

int main(int argc, char **argv)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(each_problem),
		cmocka_unit_test(layer_of_two_clones),
		cmocka_unit_test(a_repair_that_syncs_nothing_is_caught),
	};
	const struct CMUnitTest lies[] = {
		cmocka_unit_test(nothing_is_synced),
	};

	if (argc > 1)
		return cmocka_run_group_tests(lies, onestore_setup, onestore_teardown);
	t.deep = env_number("DEEP", 0);
	return cmocka_run_group_tests(tests, onestore_setup, onestore_teardown);
}
