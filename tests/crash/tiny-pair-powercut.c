/* SPDX-License-Identifier: LGPL-2.1-or-later */
/* Power cuts around freeze and reset: every workload of up to three operations on a clone with two disks.
 *
 * Operations: write, overwrite, discard, flush, checkpoint, clean and grow, of
 * one disk or the other, freeze and reset of both; each sequence of one to
 * three with a freeze or a reset in it, on a clone without layers, with one,
 * and with one after a reset. A sequence is cut in its last operation. Each
 * state is opened as a daemon that starts does it, and checked:
 *
 *	the manifest is that of a moment between what was promised and begun,
 *	so all disks are before a freeze or reset, or all after it;
 *	each disk is a prefix of what was done to it, on the same side;
 *	after the sweep no log is left that the manifest does not name;
 *	it lives on: writes, freezes, resets, is cut again and checked again.
 *
 * DEEP=1: all sequences, all states; otherwise a part drawn from the seed. The
 * test of the test: a directory that is not synced must be caught.
 *
 * usage: tiny-pair-powercut [STEPS]; SEED=, SEQUENCES=
 */
#include <assert.h>
#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "tests/lib/cuts.h"
#include "tests/lib/fsck.h"
#include "tests/lib/image.h"
#include "tests/lib/pair.h"
#include "tests/lib/recorder.h"
#include "tests/lib/rng.h"
#include "tests/lib/saboteur.h"
#include "tests/lib/share.h"
#include "tests/lib/stamps.h"
#include "tests/lib/temp.h"
#include "tests/lib/thin.h"

#define BLOCKS 8
#define AGAIN_BLOCKS 4u
#define MOMENTS_MAX 40
#define SECOND_STEPS "oFwR"
#define CLEAN_BYTES (UINT64_C(1) << 20)
#define CLEAN_STEPS_MAX 1000
#define STORE "store"

static const char letters[] = "wozfpCgFR";
static const char *const setups[] = {"", "wowofFwof", "wofFwRoof"};

#define N_LETTERS (sizeof(letters) - 1)
#define N_SETUPS (sizeof(setups) / sizeof(setups[0]))
#define N_SEQUENCES (N_LETTERS + N_LETTERS * N_LETTERS + N_LETTERS * N_LETTERS * N_LETTERS)

/* What the manifest says from one change to the next. */
struct moment {
	size_t begun, ended; /* marks of the change that led to it */
	struct id log[PAIR_DISKS];
	uint32_t n_layers;
	size_t ops[PAIR_DISKS]; /* of each history that lie before it */
	bool is_reset;          /* the last of them is what led to it */
};

struct life {
	const char *name;
	unsigned int depth;
	char path[TEMP_PATH_MAX + 16];
	struct recorder *rec;
	struct saboteur saboteur;
	struct pair pair;
	bool open;
	struct stamps *stamps[PAIR_DISKS];
	uint32_t frozen[PAIR_DISKS][BLOCKS]; /* what a reset goes back to */
	uint64_t size[PAIR_DISKS], grown[PAIR_DISKS]; /* at least, at most */
	struct moment moment[MOMENTS_MAX];
	uint32_t n_moments;
};

struct totals {
	uint64_t states, second;
};

static struct {
	uint64_t seed, rng;
	bool deep, quiet;
	uint32_t next_version;
	struct totals totals;
	char root[3][TEMP_PATH_MAX];
} t;

static int complain(const struct life *life, const char *what, const char *why)
{
	if (!t.quiet)
		fprintf(stderr, "tiny-pair-powercut: %s: life %u: %s: %s\n", life->name,
			life->depth, what, why);
	return -1;
}

/* ---- steps ---- */

static uint32_t other_or_one(void)
{
	return (uint32_t)rng_below(&t.rng, PAIR_DISKS);
}

static int do_write(struct life *life, uint32_t version, uint32_t block, uint32_t count)
{
	uint8_t buf[BLOCKS * DELTA_BLOCK_BYTES];
	uint32_t i = other_or_one();
	struct delta *delta = life->pair.disk[i].delta;
	size_t begun = recorder_length(life->rec);
	struct stamp_op *op;
	int rc;

	stamps_fill(version, block, count, buf);
	rc = version == STAMP_ZERO ? delta_zero(delta, block, count) :
				     delta_write(delta, buf, count, block);
	op = stamps_add(life->stamps[i], version, block, count);
	op->begun = begun;
	op->ended = recorder_length(life->rec);
	return rc < 0 ? complain(life, "a write", strerror(-rc)) : 0;
}

static int write_somewhere(struct life *life, bool zero)
{
	uint32_t count = 1 + (uint32_t)rng_below(&t.rng, 3);
	uint32_t block = (uint32_t)rng_below(&t.rng, BLOCKS - count + 1);

	return do_write(life, zero ? STAMP_ZERO : t.next_version++, block, count);
}

static int write_again(struct life *life)
{
	while (t.next_version % 3 != 0 || t.next_version % 5 == 0)
		t.next_version++;
	return do_write(life, t.next_version++, 1, AGAIN_BLOCKS);
}

static int flushed(struct life *life, uint32_t i, size_t ops, int rc, const char *what)
{
	if (rc < 0)
		return complain(life, what, strerror(-rc));
	stamps_add_flush(life->stamps[i], recorder_length(life->rec), ops);
	return 0;
}

static int do_clean(struct life *life)
{
	struct delta *delta = life->pair.disk[other_or_one()].delta;
	uint64_t moved;
	int rc = 1;

	for (int i = 0; rc > 0; i++) {
		if (i == CLEAN_STEPS_MAX)
			return complain(life, "cleaning", "does not end");
		rc = delta_clean(delta, CLEAN_BYTES, &moved);
	}
	return rc < 0 ? complain(life, "cleaning", strerror(-rc)) : 0;
}

static int do_grow(struct life *life)
{
	uint32_t i = other_or_one();
	struct err err;
	int rc;

	life->grown[i] = delta_size(life->pair.disk[i].delta) + DELTA_BLOCK_BYTES;
	rc = pair_grow(&life->pair, i, life->grown[i], &err);
	return rc < 0 ? complain(life, "growing", err.message) : 0;
}

static void add_moment(struct life *life, size_t begun, bool is_reset)
{
	struct moment *moment = &life->moment[life->n_moments++];

	assert(life->n_moments <= MOMENTS_MAX);
	moment->begun = begun;
	moment->is_reset = is_reset;
	moment->ended = recorder_length(life->rec);
	for (uint32_t i = 0; i < PAIR_DISKS; i++) {
		moment->log[i] = life->pair.m->disks[i].log;
		moment->n_layers = life->pair.m->disks[i].n_layers;
		moment->ops[i] = life->stamps[i]->n_ops;
	}
}

static int do_freeze(struct life *life)
{
	size_t begun = recorder_length(life->rec);
	size_t ops[PAIR_DISKS];
	struct err err;
	int rc = pair_freeze(&life->pair, NULL, &err);

	if (rc < 0)
		return complain(life, "freezing", err.message);
	for (uint32_t i = 0; i < PAIR_DISKS; i++) {
		ops[i] = life->stamps[i]->n_ops;
		stamps_add_flush(life->stamps[i], recorder_length(life->rec), ops[i]);
		if (pair_read(&life->pair, i, life->frozen[i]) < 0)
			return complain(life, "reading what was frozen", "fails");
	}
	add_moment(life, begun, false);
	return 0;
}

static int do_reset(struct life *life)
{
	size_t begun = recorder_length(life->rec);
	struct err err;
	int rc = pair_reset(&life->pair, NULL, &err);

	if (rc < 0)
		return complain(life, "resetting", err.message);
	for (uint32_t i = 0; i < PAIR_DISKS; i++) {
		struct stamp_op *op = stamps_add_reset(life->stamps[i], life->frozen[i]);

		op->begun = begun;
		op->ended = recorder_length(life->rec);
		stamps_add_flush(life->stamps[i], op->ended, life->stamps[i]->n_ops);
	}
	add_moment(life, begun, true);
	return 0;
}

static int do_step(struct life *life, char step)
{
	uint32_t i = other_or_one();
	size_t ops = life->stamps[i]->n_ops;
	struct delta *delta = life->pair.disk[i].delta;

	switch (step) {
	case 'w':
	case 'z':
		return write_somewhere(life, step == 'z');
	case 'o':
		return write_again(life);
	case 'f':
		return flushed(life, i, ops, delta_flush(delta), "flush");
	case 'p':
		return flushed(life, i, ops, delta_checkpoint(delta), "checkpoint");
	case 'C':
		return do_clean(life);
	case 'g':
		return do_grow(life);
	case 'F':
		return do_freeze(life);
	case 'R':
		return do_reset(life);
	default:
		fprintf(stderr, "no step is called %c\n", step);
		exit(2);
	}
}

static int work(struct life *life, const char *steps)
{
	int rc = 0;

	for (; rc == 0 && *steps; steps++)
		rc = do_step(life, *steps);
	return rc;
}

/* ---- states ---- */

/* Which moment is the manifest's? */
static const struct moment *moment_of(const struct life *parent, const struct manifest *m,
	const struct cut *cut, const struct moment **ret_next)
{
	for (uint32_t k = parent->n_moments; k-- > 0;) {
		const struct moment *moment = &parent->moment[k];
		bool may = k == 0 || moment->begun < cut->prefix;

		*ret_next = k + 1 < parent->n_moments ? moment + 1 : NULL;
		if (may && id_equal(&m->disks[0].log, &moment->log[0]) &&
			id_equal(&m->disks[1].log, &moment->log[1]) &&
			m->disks[0].n_layers == moment->n_layers &&
			m->disks[1].n_layers == moment->n_layers)
			return moment;
		if (moment->ended <= cut->prefix)
			break; /* an earlier one cannot come back */
	}
	return NULL;
}

static int check_disk(struct life *life, const struct life *parent, const struct cut *cut,
	uint32_t i, const struct moment *moment, const struct moment *next, uint32_t *versions)
{
	const struct stamps *stamps = parent->stamps[i];
	size_t least = stamps_least(stamps, cut->prefix, cut->whole);
	size_t most = stamps_most(stamps, cut->prefix);
	uint64_t size;
	int rc = pair_read(&life->pair, i, versions);

	if (rc < 0)
		return complain(parent, cut->what,
			rc == -EUCLEAN ? "a block is a mixture" : strerror(-rc));
	if (least < moment->ops[i])
		least = moment->ops[i];
	/* What comes with the next moment is not there, and nothing after it. */
	if (next && most >= next->ops[i])
		most = next->ops[i] - next->is_reset;
	if (least > most || !stamps_match(stamps, versions, least, most)) {
		if (!t.quiet)
			fprintf(stderr, "disk %u: not %zu to %zu operations\n", i, least, most);
		return complain(parent, cut->what, "a disk is no prefix of what was done to it");
	}
	size = delta_size(life->pair.disk[i].delta);
	return size < parent->size[i] || size > parent->grown[i] ?
		complain(parent, cut->what, "a disk has another size") : 0;
}

/* Logs in dir of the store; every delta is one. */
static int count_logs(const char *path, const char *dir)
{
	char name[TEMP_PATH_MAX + 64];
	struct dirent *entry;
	int n = 0;
	DIR *d;

	snprintf(name, sizeof(name), "%s/%s", path, dir);
	d = opendir(name);
	while (d && (entry = readdir(d)))
		n += strstr(entry->d_name, ".log") != NULL;
	if (d)
		closedir(d);
	return n;
}

/* The sweep of opening left what the manifest names, and nothing else. */
static int check_garbage(struct life *life, const struct life *parent, const struct cut *cut)
{
	int layers = count_logs(life->path, "layers");
	int wanted = (int)(life->pair.m->disks[0].n_layers + life->pair.m->disks[1].n_layers);

	if (count_logs(life->path, "clones/" PAIR_NAME) != PAIR_DISKS)
		return complain(parent, cut->what, "garbage in the clone's directory");
	return layers != wanted ? complain(parent, cut->what, "garbage in layers/") : 0;
}

static int cut_and_go_on(void *ctx, const struct cut *cut);

static int cut_life(struct life *life, size_t first_prefix, uint64_t *ret_states)
{
	const struct cut_options options = {
		.first_prefix = first_prefix,
		.subset_max = life->depth == 0 ? 12 : 2,
		.subsets_random = life->depth == 0 ? 64 : 2,
		.tears_max = life->depth == 0 ? 64 : 1,
		.scattered = life->depth == 0 ? 8 : 1,
		.sample = life->depth > 0 ? 32 : t.deep ? 0 : 8,
		.rng = &t.rng,
	};

	return cuts_each(life->rec, &options, cut_and_go_on, life, ret_states);
}

static void begin_life(struct life *life, const struct image *image)
{
	const char *root = t.root[life->depth];

	image_clear(root);
	if (image)
		image_store(image, root);
	life->rec = recorder_new(root, image, io_thin);
	saboteur_init(&life->saboteur, recorder_gate(life->rec));
	snprintf(life->path, sizeof(life->path), "%s/%s", root, STORE);
}

static void end_life(struct life *life)
{
	if (life->open)
		pair_abandon(&life->pair);
	recorder_free(life->rec);
	for (uint32_t i = 0; i < PAIR_DISKS; i++)
		stamps_free(life->stamps[i]);
}

/* What is there now is where the life begins. */
static int start_history(struct life *life)
{
	for (uint32_t i = 0; i < PAIR_DISKS; i++) {
		uint32_t versions[BLOCKS];
		uint32_t absent[BLOCKS] = {0};
		struct pair below = life->pair;

		if (pair_read(&life->pair, i, versions) < 0)
			return -1;
		life->stamps[i] = stamps_new(BLOCKS, versions);
		life->size[i] = life->grown[i] = delta_size(life->pair.disk[i].delta);
		memcpy(life->frozen[i], absent, sizeof(absent));
		/* A reset goes back to the newest layer, and what lies below. */
		if (below.disk[i].n_layers > 0) {
			below.disk[i].delta = below.disk[i].layer[0];
			if (pair_read(&below, i, life->frozen[i]) < 0)
				return -1;
		}
	}
	add_moment(life, 0, false);
	return 0;
}

static int open_life(struct life *life, const char *what)
{
	struct err err;
	int rc = pair_open(&life->saboteur.gate, life->path, BLOCKS, &life->pair, &err);

	life->open = rc == 0;
	return rc < 0 ? complain(life, what, err.message) : 0;
}

static int check_state(struct life *life, const struct life *parent, const struct cut *cut)
{
	const struct moment *next;
	const struct moment *moment = moment_of(parent, life->pair.m, cut, &next);
	uint32_t versions[BLOCKS];
	int rc = 0;

	if (!moment)
		return complain(parent, cut->what, "a manifest of another moment");
	for (uint32_t i = 0; rc == 0 && i < PAIR_DISKS; i++)
		rc = check_disk(life, parent, cut, i, moment, next, versions);
	return rc < 0 ? rc : check_garbage(life, parent, cut);
}

/* What a power cut leaves is no damage to the checker either. */
static int check_files(const struct life *parent, const struct life *life, const struct cut *cut)
{
	char why[FSCK_TEXT];

	if (rng_below(&t.rng, 4) != 0)
		return 0;
	return fsck_store(life->path, why) < 0 ? complain(parent, cut->what, why) : 0;
}

static int cut_and_go_on(void *ctx, const struct cut *cut)
{
	struct life *parent = ctx;
	struct life life = {.name = parent->name, .depth = parent->depth + 1};
	bool goes_on = parent->depth == 0 && rng_below(&t.rng, t.deep ? 200 : 600) == 0;
	int rc;

	begin_life(&life, cut->image);
	rc = check_files(parent, &life, cut);
	if (rc == 0)
		rc = open_life(&life, cut->what);
	if (rc == 0)
		rc = check_state(&life, parent, cut);
	if (rc == 0 && goes_on) {
		rc = start_history(&life);
		if (rc == 0)
			rc = work(&life, SECOND_STEPS);
		if (rc == 0)
			rc = cut_life(&life, 0, &t.totals.second);
		if (rc < 0)
			complain(parent, cut->what, "(this state came before it)");
	}
	end_life(&life);
	return rc;
}

/* lie: directories are not synced during the steps. */
static int run_steps(const char *setup, const char *steps, bool lie)
{
	char name[64];
	struct life life = {.name = name};
	char last[2] = {steps[strlen(steps) - 1]};
	char before[8] = "";
	struct err err;
	size_t cut_from;
	int rc;

	snprintf(name, sizeof(name), "\"%s\" %s", setup, steps);
	memcpy(before, steps, strlen(steps) - 1);
	begin_life(&life, NULL);
	rc = pair_make(recorder_gate(life.rec), life.path, BLOCKS, &err);
	if (rc < 0)
		complain(&life, "making the clone", err.message);
	if (rc == 0)
		rc = open_life(&life, "the new clone");
	if (rc == 0)
		rc = start_history(&life);
	if (rc == 0)
		rc = work(&life, setup);
	cut_from = recorder_length(life.rec);
	if (lie) {
		life.saboteur.kind = SABOTAGE_LIE;
		life.saboteur.call = CALL_SYNC;
		life.saboteur.suffix = PAIR_NAME;
	}
	if (rc == 0)
		rc = work(&life, before);
	if (!lie)
		cut_from = recorder_length(life.rec) + 1;
	if (rc == 0)
		rc = work(&life, last);
	if (rc == 0)
		rc = cut_life(&life, cut_from, &t.totals.states);
	if (rc < 0 && !t.quiet)
		recorder_print(life.rec, recorder_length(life.rec));
	end_life(&life);
	return rc;
}

/* ---- which sequences ---- */

/* Sequence number i, counted from 0, as letters. */
static void spell(uint64_t i, char steps[static 4])
{
	uint64_t many = N_LETTERS;
	size_t len = 1;

	for (; i >= many; len++) {
		i -= many;
		many *= N_LETTERS;
	}
	memset(steps, 0, 4);
	for (size_t k = 0; k < len; k++, i /= N_LETTERS)
		steps[k] = letters[i % N_LETTERS];
}

struct draw {
	uint64_t first, step;
};

static int run_drawn(void *ctx, uint64_t item)
{
	const struct draw *draw = ctx;
	uint64_t number = draw->first + item * draw->step;
	char steps[4];

	spell(number / N_SETUPS, steps);
	if (!strpbrk(steps, "FR"))
		return 0; /* tiny-powercut's */
	t.rng = t.seed + number;
	t.next_version = STAMP_FIRST;
	return run_steps(setups[number % N_SETUPS], steps, false);
}

static void begin(void)
{
	thin_keep_memory();
	for (int i = 0; i < 3; i++)
		temp_dir_fast("pair", t.root[i]);
	t.rng = t.seed;
	t.next_version = STAMP_FIRST;
}

static void end(void)
{
	for (int i = 0; i < 3; i++)
		temp_dir_remove(t.root[i]);
}

static uint64_t run_all(void)
{
	const struct share_task task = {
		.fn = run_drawn,
		.ctx = &(struct draw){0},
		.begin = begin,
		.end = end,
		.counters = (uint64_t *)&t.totals,
		.n_counters = sizeof(t.totals) / sizeof(uint64_t),
	};
	struct draw *draw = task.ctx;
	uint64_t all = N_SETUPS * N_SEQUENCES;
	uint64_t wanted = env_number("SEQUENCES", t.deep ? all : 200);
	uint64_t rng = t.seed;

	draw->step = wanted < all ? all / wanted : 1;
	draw->first = rng_below(&rng, draw->step);
	return share_out(&task, (all - draw->first + draw->step - 1) / draw->step);
}

static uint64_t run_lie(void)
{
	int rc;

	begin();
	t.quiet = true;
	rc = run_steps(setups[1], "wF", true);
	t.quiet = false;
	end();
	if (rc == 0)
		fprintf(stderr, "tiny-pair-powercut: a directory that is not synced was not "
				"found out: this test is blind\n");
	return rc == 0;
}

int main(int argc, char **argv)
{
	uint64_t failed = 0;

	t.seed = rng_seed();
	t.deep = env_number("DEEP", 0);
	printf("tiny-pair-powercut: SEED=%" PRIu64 "%s\n", t.seed, t.deep ? " DEEP=1" : "");
	fflush(stdout);
	if (argc > 1) {
		begin();
		for (size_t i = 0; i < N_SETUPS; i++)
			failed += run_steps(setups[i], argv[1], false) < 0;
		end();
	} else {
		failed = run_all();
		failed += run_lie();
	}
	printf("tiny-pair-powercut: %" PRIu64 " states, %" PRIu64 " of second lives\n",
		t.totals.states, t.totals.second);
	printf("%d passed, %" PRIu64 " failed\n", failed == 0, failed);
	return failed > 0;
}
