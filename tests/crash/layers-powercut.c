/* SPDX-License-Identifier: LGPL-2.1-or-later */
/* Power cuts while a clone of two disks is frozen, cloned, reset and removed.
 *
 * A history of phases: each says what both disks read as and how many layers
 * they have. A state after a cut must be one phase as a whole: the last one
 * that was acknowledged or a later one that was begun, never one disk of this
 * and one of that. The clone that stands on the layers reads as it always did.
 * After the sweep of the next daemon, every log and layer is one that a
 * manifest names. Then that daemon writes, freezes, resets, and is cut in turn.
 *
 * Second part: the process dies at each call of a freeze and of a reset, and
 * the next daemon goes on with what the kernel shows it, which need not be
 * durable: what it acknowledges has to survive the cuts that follow.
 *
 * A reset throws away an open delta that was not flushed, as the daemon does.
 *
 * The test of the test: a run that syncs nothing must be found out.
 *
 * SEED= brings a run back. DEEP=1: three times as many of the states.
 */
#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "fs/store/store.h"
#include "tests/lib/cuts.h"
#include "tests/lib/duo.h"
#include "tests/lib/image.h"
#include "tests/lib/recorder.h"
#include "tests/lib/rng.h"
#include "tests/lib/saboteur.h"
#include "tests/lib/temp.h"

#define SECOND_EVERY 61 /* of the prefixes one gets a second life */

static char work_root[TEMP_PATH_MAX], state_root[TEMP_PATH_MAX], second_root[TEMP_PATH_MAX];
static uint64_t second_states;
static unsigned int part = 3; /* of the states to try with DEEP=1, one in so many */

static int complain(const struct duo_history *h, const char *what, const char *why)
{
	if (!h->quiet)
		fprintf(stderr, "layers-powercut: %s: %s\n", what, why);
	return -1;
}

/* ---- what must be there ---- */

static bool is_phase(const struct duo_phase *phase, const struct manifest *m, const uint8_t *value)
{
	if (!m || !phase->there)
		return !m && !phase->there;
	for (int i = 0; i < DUO_DISKS; i++)
		if (value[i] != phase->value[i] || m->disks[i].n_layers != phase->layers)
			return false;
	return true;
}

/* The clone is what one phase says, which it may be after a cut at prefix. */
static int check_phase(const struct duo_history *h, const struct manifest *m, const uint8_t *value,
	const struct cut *cut)
{
	char why[120];
	int least = 0;

	for (int p = 0; p < h->n_phases; p++)
		if (h->phase[p].ended <= cut->prefix)
			least = p;
	for (int p = least; p < h->n_phases; p++)
		if ((p == least || h->phase[p].begun < cut->prefix) &&
			is_phase(&h->phase[p], m, value))
			return 0;
	snprintf(why, sizeof(why), "%s: layers %u and %u, values %u and %u; phase %d is the last "
		"acknowledged", m ? "there" : "not there", m ? m->disks[0].n_layers : 0,
		m ? m->disks[1].n_layers : 0, value[0], value[1], least);
	return complain(h, cut->what, why);
}

static int check_web(struct duo *life, const struct cut *cut)
{
	const struct duo_history *h = life->h;
	uint8_t value[DUO_DISKS] = {0};
	struct manifest *m = NULL;
	struct err err;
	int rc = store_manifest_read(life->store, "web", &m, &err);

	if (rc < 0 && rc != -ENOENT)
		return complain(h, cut->what, err.message);
	rc = 0;
	for (int i = 0; m && rc == 0 && i < DUO_DISKS; i++)
		if (duo_read(life, m, i, &value[i], &err) < 0)
			rc = complain(h, cut->what, err.message);
	if (rc == 0)
		rc = check_phase(h, m, value, cut);
	manifest_free(m);
	return rc;
}

static int check_child(struct duo *life, const struct cut *cut)
{
	const struct duo_history *h = life->h;
	bool must = h->child_ended <= cut->prefix && h->child_gone_begun >= cut->prefix;
	bool may = h->child_begun < cut->prefix && h->child_gone_ended > cut->prefix;
	struct manifest *m = NULL;
	struct err err;
	int rc = store_manifest_read(life->store, "child", &m, &err);

	if (rc == -ENOENT)
		return must ? complain(h, cut->what, "the clone on the layers is gone") : 0;
	if (rc < 0)
		return complain(h, cut->what, err.message);
	if (!may)
		rc = complain(h, cut->what, "the clone on the layers is there");
	for (int i = 0; rc == 0 && i < DUO_DISKS; i++) {
		uint8_t value;

		if (duo_read(life, m, i, &value, &err) < 0)
			rc = complain(h, cut->what, err.message);
		else if (value != 1)
			rc = complain(h, cut->what, "the clone on the layers reads otherwise");
	}
	manifest_free(m);
	return rc;
}

/* ---- names ---- */

struct names {
	struct store *store;
	struct id *layer;
	size_t n_layers;
	const char *why;
};

static bool is_log(const char *entry, struct id *ret_id)
{
	char text[ID_TEXT] = "";

	if (strlen(entry) < ID_TEXT)
		return false;
	memcpy(text, entry, ID_TEXT - 1);
	return id_parse(text, ret_id) == 0;
}

static void each_log(int dirfd, void (*fn)(void *ctx, const struct id *id), void *ctx)
{
	DIR *dir = fdopendir(dup(dirfd));
	const struct dirent *entry;
	struct id id;

	rewinddir(dir);
	while ((entry = readdir(dir)))
		if (is_log(entry->d_name, &id))
			fn(ctx, &id);
	closedir(dir);
}

static void check_layer_name(void *ctx, const struct id *id)
{
	struct names *names = ctx;
	bool named = false;

	for (size_t i = 0; i < names->n_layers; i++)
		named |= id_equal(&names->layer[i], id);
	if (!named)
		names->why = "a layer that nobody names is left";
}

struct clone_names {
	const struct manifest *m;
	struct names *names;
};

static void check_log_name(void *ctx, const struct id *id)
{
	struct clone_names *clone = ctx;
	bool named = false;

	for (int i = 0; i < DUO_DISKS; i++)
		named |= id_equal(&clone->m->disks[i].log, id);
	if (!named)
		clone->names->why = "a log that its manifest does not name is left";
}

static int check_clone_names(struct names *names, const char *name)
{
	struct clone_names clone = {.names = names};
	struct manifest *m;
	int fd;
	int rc = store_manifest_read(names->store, name, &m, NULL);

	if (rc < 0)
		return rc == -ENOENT ? 0 : rc;
	clone.m = m;
	fd = store_clone_dirfd(names->store, name);
	each_log(fd, check_log_name, &clone);
	close(fd);
	for (int i = 0; i < DUO_DISKS; i++)
		for (uint32_t k = 0; k < m->disks[i].n_layers; k++)
			names->layer[names->n_layers++] = m->disks[i].layers[k].id;
	manifest_free(m);
	return 0;
}

/* Nothing lies there that nobody names. */
static int check_names(struct store *store, const struct duo_history *h, const char *what)
{
	struct id layer[2 * DUO_DISKS * DUO_LAYERS_MAX];
	struct names names = {.store = store, .layer = layer};

	if (check_clone_names(&names, "web") < 0 || check_clone_names(&names, "child") < 0)
		return complain(h, what, "a manifest cannot be read");
	each_log(store_layers_dirfd(store), check_layer_name, &names);
	return names.why ? complain(h, what, names.why) : 0;
}

/* ---- the states ---- */

static int sweep_stages(struct store *store)
{
	DIR *dir = fdopendir(openat(store_dirfd(store), "staging",
		O_RDONLY | O_DIRECTORY | O_CLOEXEC));
	const struct dirent *entry;
	int rc = 0;

	while (rc == 0 && (entry = readdir(dir)))
		if (entry->d_name[0] != '.')
			rc = store_stage_sweep(store, entry->d_name, NULL);
	closedir(dir);
	return rc;
}

static int check_all(struct duo *life, const struct cut *cut)
{
	int rc = check_web(life, cut);

	if (rc == 0 && !life->h->second)
		rc = check_child(life, cut);
	/* The stage that a journal would sweep. */
	if (rc == 0 && sweep_stages(life->store) == 0 && store_sweep(life->store, NULL) == 0)
		rc = check_names(life->store, life->h, cut->what);
	return rc;
}

static int check_second_state(void *ctx, const struct cut *cut)
{
	struct duo life = {.io = &io_kernel, .h = ctx};
	struct err err;
	int rc;

	image_clear(second_root);
	image_store(cut->image, second_root);
	rc = duo_start(&life, second_root, &err);
	rc = rc < 0 ? complain(life.h, cut->what, err.message) : check_all(&life, cut);
	duo_end(&life);
	return rc;
}

/* What the next daemon does: one more of everything. */
static int go_on(struct duo *life, struct err *err)
{
	int rc = 0;

	if (!life->m)
		return 0;
	rc = duo_write(life, 7, err);
	if (rc == 0)
		rc = duo_freeze(life, "second", err);
	if (rc == 0)
		rc = duo_write(life, 8, err);
	if (rc == 0)
		rc = duo_reset(life, NULL, duo_now(life->h)->layers, 7, err);
	return rc;
}

/* The history of a second life begins with what the first one left. */
static int begin_history(struct duo *life, struct duo_history *h, struct err *err)
{
	*h = (struct duo_history){.second = true, .quiet = h->quiet, .n_phases = 1};
	h->phase[0].there = life->m;
	life->h = h;
	if (!life->m)
		return 0;
	h->phase[0].layers = life->m->disks[0].n_layers;
	for (int i = 0; i < DUO_DISKS; i++) {
		int rc = duo_read(life, life->m, i, &h->phase[0].value[i], err);

		if (rc < 0)
			return rc;
	}
	return 0;
}

static int check_state(void *ctx, const struct cut *cut)
{
	struct duo_history *h = ctx;
	struct duo_history second = {.quiet = h->quiet};
	const struct cut_options options = {.tears_max = 0, .subset_max = 1};
	struct duo life = {.h = h, .rec = recorder_new(state_root, cut->image, &io_kernel)};
	bool lives_on = cut->whole && !h->second;
	struct err err;
	int rc;

	life.io = recorder_gate(life.rec);
	image_clear(state_root);
	image_store(cut->image, state_root);
	rc = duo_start(&life, state_root, &err);
	rc = rc < 0 ? complain(h, cut->what, err.message) : check_all(&life, cut);
	if (rc == 0 && lives_on &&
		(begin_history(&life, &second, &err) < 0 || go_on(&life, &err) < 0))
		rc = complain(h, cut->what, err.message);
	duo_end(&life);
	if (rc == 0 && lives_on && cut->prefix % SECOND_EVERY == 0)
		rc = cuts_each(life.rec, &options, check_second_state, &second, &second_states);
	recorder_free(life.rec);
	return rc;
}

/* ---- the runs ---- */

static void fail(const char *what, const struct err *err)
{
	fprintf(stderr, "layers-powercut: %s: %s\n", what, err->message);
	temp_dir_remove(work_root);
	temp_dir_remove(state_root);
	temp_dir_remove(second_root);
	exit(1);
}

/* A store with the clone "web", both disks 1, not cut yet. */
static void begin(struct duo *life)
{
	char path[TEMP_PATH_MAX + 8];
	struct duo_phase *phase;
	struct err err;
	int rc;

	snprintf(path, sizeof(path), "%s/store", work_root);
	rc = store_create(life->io, path, &err);
	if (rc == 0)
		rc = store_open(life->io, path, &life->store, &err);
	life->m = duo_new_manifest("web", NULL);
	phase = duo_begin_phase(life);
	phase->there = true;
	if (rc == 0)
		rc = duo_make_clone(life, life->m, &err);
	if (rc == 0)
		rc = duo_end_phase(life, duo_write(life, 1, &err));
	if (rc < 0)
		fail("beginning", &err);
	life->h->first_prefix = recorder_length(life->rec);
	life->h->child_begun = life->h->child_ended = SIZE_MAX;
	life->h->child_gone_begun = life->h->child_gone_ended = SIZE_MAX;
}

static int make_child(struct duo *life, struct err *err)
{
	struct manifest *child = duo_new_manifest("child", life->m);
	int rc;

	life->h->child_begun = recorder_length(life->rec);
	rc = duo_make_clone(life, child, err);
	life->h->child_ended = recorder_length(life->rec);
	manifest_free(child);
	return rc;
}

static int remove_child(struct duo *life, struct err *err)
{
	struct manifest *m;
	int rc = store_manifest_read(life->store, "child", &m, err);

	if (rc < 0)
		return rc;
	life->h->child_gone_begun = recorder_length(life->rec);
	rc = store_remove(life->store, "child", &m->id, err);
	life->h->child_gone_ended = recorder_length(life->rec);
	manifest_free(m);
	return rc;
}

static void work(struct duo *life)
{
	struct err err = {.code = 0};
	int rc = duo_freeze(life, "clean", &err);

	if (rc == 0)
		rc = make_child(life, &err);
	if (rc == 0)
		rc = duo_write(life, 2, &err);
	if (rc == 0)
		rc = duo_write_loose(life, 4, &err);
	if (rc == 0)
		rc = duo_reset(life, NULL, 1, 1, &err);
	if (rc == 0)
		rc = duo_write(life, 3, &err);
	if (rc == 0)
		rc = duo_freeze(life, NULL, &err);
	if (rc == 0)
		rc = duo_reset(life, "clean", 1, 1, &err);
	if (rc == 0)
		rc = duo_forget(life, &err);
	if (rc == 0)
		rc = duo_reset(life, "", 0, 0, &err);
	if (rc == 0)
		rc = duo_remove(life, &err);
	if (rc == 0)
		rc = remove_child(life, &err);
	if (rc < 0)
		fail("work", &err);
}

static int run(uint64_t *rng, bool lie, uint64_t *states)
{
	struct duo_history h = {.quiet = lie};
	const struct cut_options base = {
		.tears_max = 2, .subset_max = 3, .subsets_random = 4, .scattered = 1, .sample = 2 * part,
		.rng = rng};
	struct cut_options options = base;
	struct duo life = {.h = &h, .rec = recorder_new(work_root, NULL, &io_kernel)};
	struct saboteur saboteur;
	int rc;

	image_clear(work_root);
	saboteur_init(&saboteur, recorder_gate(life.rec));
	life.io = &saboteur.gate;
	begin(&life);
	saboteur.kind = lie ? SABOTAGE_LIE : SABOTAGE_NONE;
	saboteur.call = CALL_SYNC;
	work(&life);
	duo_end(&life);
	options.first_prefix = h.first_prefix;
	rc = cuts_each(life.rec, &options, check_state, &h, states);
	if (rc < 0 && !lie)
		recorder_print(life.rec, recorder_length(life.rec));
	recorder_free(life.rec);
	return rc;
}

/* ---- dying at each call ---- */

struct death {
	struct saboteur saboteur;
	uint64_t left; /* calls until it happens */
	bool armed, dead;
};

static void count_call(void *ctx, enum sabotaged_call call)
{
	struct death *death = ctx;

	if (!death->armed)
		return;
	if (death->left == 0) {
		death->dead = true;
		/* From now on no call does anything. */
		death->saboteur.kind = SABOTAGE_FAIL;
		death->saboteur.call = call;
		death->saboteur.nth = 0;
	} else {
		death->left--;
	}
}

/* A change with an unknown end keeps the layers' lock until its process ends. */
static void close_locks(void)
{
	for (int fd = 3; fd < 1024; fd++) {
		char link[32], path[512] = "";

		snprintf(link, sizeof(link), "/proc/self/fd/%d", fd);
		if (readlink(link, path, sizeof(path) - 1) > 0 && strstr(path, "/layers.lock"))
			close(fd);
	}
}

/* What the next daemon finds, it goes on from. Not acknowledged by that alone. */
static int decide(struct duo *life, struct err *err)
{
	struct duo_phase *phase = duo_begin_phase(life);
	int rc = 0;

	phase->layers = life->m->disks[0].n_layers;
	for (int i = 0; rc == 0 && i < DUO_DISKS; i++)
		rc = duo_read(life, life->m, i, &phase->value[i], err);
	return rc;
}

/* Die after so many calls of the step; 1: it came to its end before. */
static int run_death(uint64_t *rng, bool resets, uint64_t calls, uint64_t *states)
{
	struct duo_history h = {.n_phases = 0};
	struct cut_options options = {.tears_max = 0, .subset_max = 2, .subsets_random = 2,
		.sample = 8 * part, .rng = rng};
	struct duo life = {.h = &h, .rec = recorder_new(work_root, NULL, &io_kernel)};
	struct death death = {.left = calls};
	struct err err = {.code = 0};
	int rc;

	image_clear(work_root);
	saboteur_init(&death.saboteur, recorder_gate(life.rec));
	death.saboteur.hook = count_call;
	death.saboteur.hook_ctx = &death;
	life.io = &death.saboteur.gate;
	begin(&life);
	if (resets && (duo_freeze(&life, NULL, &err) < 0 || duo_write(&life, 2, &err) < 0 ||
		duo_write_loose(&life, 4, &err) < 0))
		fail("before the reset", &err);
	death.armed = true;
	if (resets)
		duo_reset(&life, NULL, 1, 1, &err);
	else
		duo_freeze(&life, "clean", &err);
	death.armed = false;
	/* What a cut before it leaves is the first part's. */
	h.first_prefix = recorder_length(life.rec);
	death.saboteur.kind = SABOTAGE_NONE;
	duo_end(&life);
	close_locks();
	rc = duo_start(&life, work_root, &err);
	if (rc == 0)
		rc = decide(&life, &err);
	if (rc == 0)
		rc = duo_write(&life, 7, &err);
	if (rc < 0)
		fail("after the death", &err);
	duo_end(&life);
	options.first_prefix = h.first_prefix;
	h.second = true;
	rc = cuts_each(life.rec, &options, check_state, &h, states);
	if (rc < 0) {
		fprintf(stderr, "layers-powercut: died before call %" PRIu64 " of a %s\n", calls,
			resets ? "reset" : "freeze");
		recorder_print(life.rec, recorder_length(life.rec));
	}
	recorder_free(life.rec);
	return rc < 0 ? rc : !death.dead;
}

static int run_deaths(uint64_t *rng, uint64_t *ret_deaths, uint64_t *states)
{
	for (int resets = 0; resets < 2; resets++) {
		int rc = 0;

		for (uint64_t calls = 0; rc == 0; calls++) {
			rc = run_death(rng, resets, calls, states);
			*ret_deaths += rc == 0;
		}
		if (rc < 0)
			return rc;
	}
	return 0;
}

int main(void)
{
	uint64_t seed = rng_seed();
	uint64_t rng = seed;
	uint64_t states = 0, lie_states = 0, death_states = 0, deaths = 0;
	int failed = 0;

	if (env_number("DEEP", 0))
		part = 1;
	printf("layers-powercut: SEED=%" PRIu64 "%s\n", seed, part == 1 ? " DEEP=1" : "");
	fflush(stdout);
	temp_dir_fast("layers", work_root);
	temp_dir_fast("layers-cut", state_root);
	temp_dir_fast("layers-second", second_root);
	if (run(&rng, false, &states) < 0)
		failed++;
	if (run(&rng, true, &lie_states) == 0) {
		fprintf(stderr, "layers-powercut: a run that syncs nothing was not found out\n");
		failed++;
	}
	if (run_deaths(&rng, &deaths, &death_states) < 0)
		failed++;
	temp_dir_remove(work_root);
	temp_dir_remove(state_root);
	temp_dir_remove(second_root);
	printf("layers-powercut: %" PRIu64 " states, %" PRIu64 " of second lives, %" PRIu64
	       " after %" PRIu64 " deaths; the lie was tried for %" PRIu64 "\n",
		states, second_states, death_states, deaths, lie_states);
	printf("%d passed, %d failed\n", 3 - failed, failed);
	return failed > 0;
}
