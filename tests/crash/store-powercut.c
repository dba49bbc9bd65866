/* SPDX-License-Identifier: LGPL-2.1-or-later */
/* Power cuts while stores and clones are made, changed and removed.
 *
 * Each state is opened as the next command would: the store is there or can
 * be made, each clone in the list is whole and its deltas open, what was
 * acknowledged is there, what was removed is gone, leftovers can be swept, and
 * the names can be used again. What that next command does is recorded and cut
 * in turn: there, too, each clone in the list is whole. A run that syncs
 * nothing must be caught.
 */
#include <errno.h>
#include <fcntl.h>
#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "fs/store/delta.h"
#include "fs/store/store.h"
#include "tests/lib/cuts.h"
#include "tests/lib/image.h"
#include "tests/lib/recorder.h"
#include "tests/lib/rng.h"
#include "tests/lib/saboteur.h"
#include "tests/lib/temp.h"

#define CLONES 3
#define STORE "parent/store"
#define SECOND_EVERY 9 /* of the prefixes one gets a second life, which ones changes */

/* When, in marks of the record, each thing was begun and acknowledged. */
struct moment {
	size_t begun, ended;
};

struct history {
	const char *root;
	size_t offset; /* of the prefixes that get a second life */
	struct moment store_made;
	struct manifest *clone[CLONES];
	struct moment made[CLONES];
	struct moment changed[CLONES]; /* uid becomes 107 */
	struct moment removed[CLONES];
	bool is_removed[CLONES], is_changed[CLONES];
	bool quiet;
};

static char state_root[TEMP_PATH_MAX];
static char second_root[TEMP_PATH_MAX];
static uint64_t second_states;

static int complain(const struct history *h, const char *what, const char *why)
{
	if (!h->quiet)
		fprintf(stderr, "store-powercut: %s: %s\n", what, why);
	return -1;
}

static struct manifest *new_manifest(const char *name)
{
	struct manifest *m;

	if (manifest_new(name, &m) < 0)
		abort();
	for (int i = 0; i < 2; i++) {
		struct store_disk *disk = need_memory(manifest_add_disk(m, i ? "vdb" : "vda"));

		disk->size_bytes = 1 << 20;
		disk->base_path = need_memory(strdup("/images/a.img"));
		disk->base_format = need_memory(strdup("raw"));
		disk->base_identity = need_memory(strdup("ino=1"));
		disk->mode = 0600;
	}
	return m;
}

/* A record file as the cloning tool adds it: synced by whoever wrote it. */
static int make_clone(
	struct store *store, const struct io_gate *io, const struct manifest *m, struct err *err)
{
	struct store_stage *stage;
	int rc = store_stage(store, m, &stage, err);

	if (rc < 0)
		return rc;
	rc = io_write_file(io, store_stage_dirfd(stage), "record", m->name, strlen(m->name), 0600);
	if (rc < 0) {
		store_stage_abort(stage);
		return rc;
	}
	return store_commit(stage, err);
}

static int check_deltas(
	struct store *store, const struct manifest *m, const char *what, const struct history *h)
{
	int fd = store_clone_dirfd(store, m->name);
	char *record;
	size_t len;
	int rc = 0;

	for (uint32_t i = 0; rc == 0 && i < m->n_disks; i++) {
		struct delta *delta;
		char log[ID_TEXT];
		struct err err;

		id_format(&m->disks[i].log, log);
		if (delta_open(fd, log, NULL, &delta, &err) < 0)
			rc = complain(h, what, err.message);
		else if (delta_close(delta) < 0)
			rc = complain(h, what, "a delta does not close");
	}
	if (rc == 0 && io_slurp(&io_kernel, fd, "record", 1024, &record, &len) < 0)
		rc = complain(h, what, "a clone without its record");
	else if (rc == 0 && strcmp(record, m->name) != 0)
		rc = complain(h, what, "a clone with half a record");
	if (rc == 0)
		free(record);
	close(fd);
	return rc;
}

/* The clone numbered i, which the list has or has not. */
static int check_clone(struct store *store, const struct history *h, const struct cut *cut, int i,
	bool listed)
{
	struct manifest *m;
	struct err err;
	bool must = h->made[i].ended <= cut->prefix &&
		    !(h->is_removed[i] && h->removed[i].begun < cut->prefix);
	bool may = h->made[i].begun < cut->prefix &&
		   !(h->is_removed[i] && h->removed[i].ended <= cut->prefix);
	bool changed;
	int rc = 0;

	if (must && !listed)
		return complain(h, cut->what, "a clone is missing");
	if (!may && listed)
		return complain(h, cut->what, "a clone that was removed is there");
	if (!listed)
		return 0;
	if (store_manifest_read(store, h->clone[i]->name, &m, &err) < 0)
		return complain(h, cut->what, err.message);
	changed = m->disks[0].uid == 107;
	if (!id_equal(&m->id, &h->clone[i]->id))
		rc = complain(h, cut->what, "another clone has its name");
	else if (h->is_changed[i] && h->changed[i].ended <= cut->prefix && !changed)
		rc = complain(h, cut->what, "a change is lost");
	else if (changed && !(h->is_changed[i] && h->changed[i].begun < cut->prefix))
		rc = complain(h, cut->what, "a change that was not made");
	else
		rc = check_deltas(store, m, cut->what, h);
	manifest_free(m);
	return rc;
}

static int check_clones(struct store *store, const struct history *h, const struct cut *cut)
{
	char **names;
	uint32_t count;
	uint32_t known = 0;
	int rc = 0;

	if (store_list(store, &names, &count, NULL) < 0)
		return complain(h, cut->what, "cannot list");
	for (int i = 0; rc == 0 && i < CLONES; i++) {
		bool listed = false;

		for (uint32_t k = 0; h->clone[i] && k < count; k++)
			listed |= strcmp(names[k], h->clone[i]->name) == 0;
		known += listed;
		if (h->clone[i])
			rc = check_clone(store, h, cut, i, listed);
	}
	if (rc == 0 && known != count)
		rc = complain(h, cut->what, "a clone nobody made");
	store_names_free(names, count);
	return rc;
}

/* As the next commands would: sweep, then make and remove what was there. */
static int go_on(struct store *store, const struct io_gate *io, const struct history *h,
	const struct cut *cut)
{
	struct err err = {.code = 0};
	int rc = store_sweep(store, &err);

	for (int i = 0; rc == 0 && i < CLONES && h->clone[i]; i++) {
		struct manifest *m;
		char stage[ID_TEXT];

		id_format(&h->clone[i]->id, stage);
		rc = store_stage_sweep(store, stage, &err);
		if (rc == 0 && store_manifest_read(store, h->clone[i]->name, &m, NULL) == 0) {
			rc = store_remove(store, m->name, &m->id, &err);
			manifest_free(m);
		}
		if (rc == 0) {
			m = new_manifest(h->clone[i]->name);
			rc = make_clone(store, io, m, &err);
			manifest_free(m);
		}
	}
	return rc < 0 ? complain(h, cut->what, err.message) : 0;
}

/* The store below root, made or its making finished if it may be missing. */
static int open_store(const struct io_gate *io, const char *root, bool may_be_missing,
	const struct history *h, const char *what, struct store **ret_store)
{
	char path[TEMP_PATH_MAX + 32];
	struct err err;
	int rc;

	snprintf(path, sizeof(path), "%s/%s", root, STORE);
	rc = store_open(io, path, ret_store, &err);
	if (rc == -ENOENT && may_be_missing) {
		rc = store_create(io, path, &err);
		if (rc == 0)
			rc = store_open(io, path, ret_store, &err);
	}
	return rc < 0 ? complain(h, what, err.message) : 0;
}

/* A state of a second life: whatever is there is whole. */
static int check_second_state(void *ctx, const struct cut *cut)
{
	const struct history *h = ctx;
	struct store *store;
	char **names;
	uint32_t count;
	int rc;

	image_clear(second_root);
	image_store(cut->image, second_root);
	if (open_store(&io_kernel, second_root, true, h, cut->what, &store) < 0)
		return -1;
	rc = store_list(store, &names, &count, NULL);
	for (uint32_t i = 0; rc == 0 && i < count; i++) {
		struct manifest *m;
		struct err err;

		if (store_manifest_read(store, names[i], &m, &err) < 0) {
			rc = complain(h, cut->what, err.message);
			break;
		}
		rc = check_deltas(store, m, cut->what, h);
		manifest_free(m);
	}
	store_names_free(names, count);
	store_close(store);
	return rc;
}

static int check_state(void *ctx, const struct cut *cut)
{
	const struct history *h = ctx;
	const struct cut_options options = {.tears_max = 0};
	struct recorder *rec = recorder_new(state_root, cut->image, &io_kernel);
	struct store *store;
	int rc;

	image_clear(state_root);
	image_store(cut->image, state_root);
	rc = open_store(recorder_gate(rec), state_root, h->store_made.ended > cut->prefix, h,
		cut->what, &store);
	if (rc == 0) {
		rc = check_clones(store, h, cut);
		if (rc == 0)
			rc = go_on(store, recorder_gate(rec), h, cut);
		store_close(store);
	}
	/* A second life has hundreds of states: some first ones will do. */
	if (rc == 0 && cut->whole && cut->prefix % SECOND_EVERY == h->offset)
		rc = cuts_each(rec, &options, check_second_state, ctx, &second_states);
	recorder_free(rec);
	return rc;
}

static void work(struct history *h, struct recorder *rec, const struct io_gate *io)
{
	static const char *const names[CLONES] = {"web", "db", "mail"};
	char path[TEMP_PATH_MAX + 32];
	struct store *store;
	struct err err;
	int rc;

	snprintf(path, sizeof(path), "%s/%s", h->root, STORE);
	h->store_made.begun = recorder_length(rec);
	rc = store_create(io, path, &err);
	h->store_made.ended = recorder_length(rec);
	if (rc == 0)
		rc = store_open(io, path, &store, &err);
	for (int i = 0; rc == 0 && i < CLONES; i++) {
		h->clone[i] = new_manifest(names[i]);
		h->made[i].begun = recorder_length(rec);
		rc = make_clone(store, io, h->clone[i], &err);
		h->made[i].ended = recorder_length(rec);
	}
	if (rc == 0) {
		h->clone[1]->disks[0].uid = 107;
		h->is_changed[1] = true;
		h->changed[1].begun = recorder_length(rec);
		rc = store_manifest_write(store, h->clone[1], &err);
		h->changed[1].ended = recorder_length(rec);
	}
	if (rc == 0) {
		h->is_removed[0] = true;
		h->removed[0].begun = recorder_length(rec);
		rc = store_remove(store, h->clone[0]->name, &h->clone[0]->id, &err);
		h->removed[0].ended = recorder_length(rec);
	}
	if (rc < 0) {
		fprintf(stderr, "store-powercut: %s\n", err.message);
		temp_dir_remove(h->root);
		exit(1);
	}
	store_close(store);
}

/* 0 if every state was as it must be. */
static int run(const char *root, uint64_t *rng, bool lie, uint64_t *states)
{
	const struct cut_options options = {.subset_max = 6, .tears_max = 8, .scattered = 2, .rng = rng};
	struct history h = {.root = root, .quiet = lie, .offset = rng_below(rng, SECOND_EVERY)};
	struct recorder *rec = recorder_new(root, NULL, &io_kernel);
	struct saboteur saboteur;
	int rc;

	image_clear(root);
	saboteur_init(&saboteur, recorder_gate(rec));
	saboteur.kind = lie ? SABOTAGE_LIE : SABOTAGE_NONE;
	saboteur.call = CALL_SYNC;
	work(&h, rec, &saboteur.gate);
	rc = cuts_each(rec, &options, check_state, &h, states);
	if (rc < 0 && !lie)
		recorder_print(rec, recorder_length(rec));
	for (int i = 0; i < CLONES; i++)
		manifest_free(h.clone[i]);
	recorder_free(rec);
	return rc;
}

int main(void)
{
	char root[TEMP_PATH_MAX];
	uint64_t seed = rng_seed();
	uint64_t rng = seed;
	uint64_t states = 0;
	uint64_t lie_states = 0;
	int failed = 0;

	printf("store-powercut: SEED=%" PRIu64 "\n", seed);
	fflush(stdout);
	temp_dir_fast("store", root);
	temp_dir_fast("store-cut", state_root);
	temp_dir_fast("store-second", second_root);
	if (run(root, &rng, false, &states) < 0)
		failed++;
	if (run(root, &rng, true, &lie_states) == 0) {
		fprintf(stderr, "store-powercut: a store that syncs nothing was not found out\n");
		failed++;
	}
	temp_dir_remove(root);
	temp_dir_remove(state_root);
	temp_dir_remove(second_root);
	printf("store-powercut: %" PRIu64 " states, %" PRIu64
	       " of second lives; the lie was tried for %" PRIu64 "\n",
		states, second_states, lie_states);
	printf("%d passed, %d failed\n", 2 - failed, failed);
	return failed > 0;
}
