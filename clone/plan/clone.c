/* SPDX-License-Identifier: LGPL-2.1-or-later */
/* Making clones: one after the other, each whole or not at all; see clone.h. */
#include "clone/plan/clone.h"

#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "clone/plan/allowed.h"
#include "clone/plan/base-notes.h"
#include "clone/plan/census.h"
#include "clone/plan/chain.h"
#include "clone/plan/interrupt.h"
#include "clone/plan/making.h"
#include "clone/plan/origin.h"
#include "clone/plan/protect.h"
#include "clone/plan/undo.h"
#include "clone/state/journal.h"
#include "clone/state/modes.h"
#include "fs/store/layers.h"
#include "clone/state/stores.h"
#include "fs/util/cleanup.h"
#include "fs/util/clock.h"

/* Somebody else took the name that was free a moment ago: try the next. */
#define NAME_TRIES 100

/* One call of clone_make. */
struct run {
	struct session *session;
	const struct clone_options *options;
	struct store *store; /* NULL: making nothing, and there is none */
	struct ctl *ctl;     /* NULL: making nothing */
	struct virt *virt;   /* NULL: disk_only */
	struct allowed allowed;
	struct origin *origin;
	struct census *census;
	struct journal *journal;
	uint32_t next_number; /* of SOURCE-cloneN */
	int modes_fd;       /* on the lock that keeps originals' modes as they are; -1 */
	bool protects;      /* write bits may have been taken */
	uint64_t begun_ns;
	struct clone_result *results;
};

static bool makes_nothing(const struct clone_options *options)
{
	return options->dry_run || options->print_xml;
}

void clone_results_free(struct clone_result *results, uint32_t count)
{
	for (uint32_t i = 0; results && i < count; i++) {
		struct clone_result *result = &results[i];

		for (uint32_t j = 0; result->disks && j < result->n_disks; j++) {
			free(result->disks[j].target);
			free(result->disks[j].path);
			free(result->disks[j].original);
			free(result->disks[j].base);
			json_decref(result->disks[j].images);
		}
		free(result->disks);
		free(result->name);
		free(result->uuid);
		free(result->xml);
		xml_changes_free(result->changes);
	}
	free(results);
}

/* ---- what is known before the first clone ---- */

static int find_origin(struct run *run, struct err *err)
{
	const struct clone_options *options = run->options;
	const struct origin_use use = {.snapshot = options->snapshot,
		.look = makes_nothing(options),
		.allowed = &run->allowed,
		.format = options->format,
		.image_snapshot = options->image_snapshot};
	int rc;

	if (options->disk_only)
		return origin_of_image(
			run->session, options->disk_only, &use, &run->origin, err);
	rc = session_need_virt(run->session, &run->virt, err);
	return rc < 0 ? rc
		      : origin_of_domain(run->session, run->virt, options->source, &use,
				&run->origin, err);
}

/* A file that was allowed and is not used is a mistake that nobody would see. */
static int find_allowed_origin(struct run *run, struct err *err)
{
	const struct clone_options *options = run->options;
	int rc = allowed_parse(options->backings, options->n_backings, options->data_files,
		options->n_data_files, &run->allowed, err);

	if (rc == 0)
		rc = find_origin(run, err);
	return rc < 0 ? rc : allowed_check_used(&run->allowed, err);
}

/* Store and daemon are started only when something is going to be made. */
static int find_store(struct run *run, struct err *err)
{
	int rc;

	if (makes_nothing(run->options)) {
		rc = session_need_store(run->session, false, &run->store, err);
		if (rc < 0 && rc != -ENOENT)
			return rc;
		return origin_look(run->origin, run->options->base, run->store, err);
	}
	rc = session_need_store(run->session, true, &run->store, err);
	if (rc == 0)
		rc = stores_note(store_id(run->store), store_path(run->store), err);
	if (rc == 0)
		rc = session_need_daemon(run->session, true, &run->ctl, err);
	return rc == 0
		? origin_hold(run->origin, run->options->base, run->store, run->ctl,
			session_mountpoint(run->session), err)
		: rc;
}

static int begin_journal(struct run *run, struct err *err)
{
	int rc;

	if (makes_nothing(run->options))
		return 0;
	rc = journal_begin(store_dirfd(run->store), &run->journal, err);
	if (rc == 0 && run->options->all_or_none)
		rc = journal_add(run->journal, JOURNAL_GROUP, NULL, NULL, 0, 0, err);
	return rc;
}

/* An original that is not copied stays as it is, also while no daemon runs. */
static int protect_originals(struct run *run, struct err *err)
{
	const struct origin *origin = run->origin;
	int rc = 0;

	if (makes_nothing(run->options))
		return 0;
	run->modes_fd = modes_keep(store_dirfd(run->store));
	if (run->modes_fd < 0)
		return err_sys(err, run->modes_fd, "the lock of the store's modes");
	for (uint32_t i = 0; rc == 0 && i < origin->n_disks; i++) {
		if (origin->disks[i].copied)
			continue;
		if (!run->protects)
			rc = journal_add(run->journal, JOURNAL_MODES, NULL, NULL, 0, 0, err);
		run->protects = true;
		if (rc == 0)
			rc = protect_take(run->store, origin->disks[i].path,
				origin->disks[i].identity, err);
	}
	return rc;
}

static int prepare(struct run *run, struct err *err)
{
	int rc = find_allowed_origin(run, err);

	if (rc == 0)
		rc = find_store(run, err);
	if (rc == 0)
		rc = census_take(run->virt, run->store, &run->census, err);
	if (rc == 0)
		rc = begin_journal(run, err);
	if (rc == 0)
		rc = protect_originals(run, err);
	return rc;
}

/* ---- names ---- */

static int check_free(const struct run *run, const char *name, struct err *err)
{
	if (!census_has_name(run->census, name))
		return 0;
	err_set(err, -EEXIST, "%s: a domain or clone of that name is there already", name);
	err_hint(err, "give another name, or none: lazyclone picks the first free one");
	return -EEXIST;
}

/* NAME, or NAMEi of several, i from 1. Caller frees. */
static int compose_name(const struct clone_options *options, uint32_t i, char **ret_name,
	struct err *err)
{
	AUTO_FREE char *name = NULL;

	if (options->count == 1)
		name = strdup(options->name);
	else if (asprintf(&name, "%s%u", options->name, i) < 0)
		name = NULL;
	if (!name)
		return err_sys(err, -ENOMEM, "clone %s", options->name);
	if (!store_name_valid(name)) {
		err_set(err, -EINVAL, "'%s' cannot be the name of a clone", name);
		err_hint(err, "a name has 1 to %d bytes of UTF-8, no '/', no control character, "
			"and does not begin with a dot", STORE_NAME_MAX);
		return -EINVAL;
	}
	*ret_name = steal_ptr(&name);
	return 0;
}

/* What can be refused before anything is looked at or started. */
static int check_options(const struct clone_options *options, struct err *err)
{
	AUTO_FREE char *longest = NULL;

	if (options->count == 0 || options->count > CLONE_COUNT_MAX)
		return err_set(err, -EINVAL, "a run makes 1 to %d clones", CLONE_COUNT_MAX);
	if (!options->source == !options->disk_only)
		return err_set(err, -EINVAL, "either a domain or an image is cloned");
	if (!options->name && options->disk_only)
		return err_set(err, -EINVAL, "a disk without a domain needs a name");
	if (!options->disk_only && (options->format || options->image_snapshot))
		return err_set(err, -EINVAL, "a domain says itself which images it has");
	if (options->snapshot && options->disk_only)
		return err_set(err, -EINVAL, "an image has no snapshots of lazyclone");
	return options->name ? compose_name(options, options->count, &longest, err) : 0;
}

/* The name of clone i, counted from 0. Caller frees. */
static int choose_name(struct run *run, uint32_t i, char **ret_name, struct err *err)
{
	AUTO_FREE char *name = NULL;
	int rc;

	if (!run->options->name)
		return census_next_name(run->census, run->origin->domain.name, &run->next_number,
			ret_name, err);
	rc = compose_name(run->options, i + 1, &name, err);
	if (rc == 0)
		rc = check_free(run, name, err);
	if (rc == 0)
		*ret_name = steal_ptr(&name);
	return rc;
}

/* All names that will be wanted, before the first is made. Of several, the
 * free ones can be made all the same, unless it is all or none. */
static int check_names(struct run *run, struct err *err)
{
	uint32_t count = run->options->name ? run->options->count : 0;

	for (uint32_t i = 0; i < count; i++) {
		char *name;
		int rc = choose_name(run, i, &name, err);

		if (rc == -EEXIST && count > 1 && !run->options->all_or_none)
			continue;
		if (rc < 0)
			return rc;
		free(name);
	}
	return 0;
}

/* ---- one clone ---- */

static int take_disks(struct clone_result *result, const struct making *making)
{
	uint32_t n_disks = making->manifest->n_disks;

	result->disks = calloc((size_t)n_disks + 1, sizeof(*result->disks));
	if (!result->disks)
		return -ENOMEM;
	result->n_disks = n_disks;
	for (uint32_t i = 0; i < n_disks; i++) {
		const struct store_disk *from = &making->manifest->disks[i];

		result->disks[i].target = strdup(from->target);
		result->disks[i].path = strdup(making->paths[i]);
		result->disks[i].original = strdup(making->record->disks[i].source);
		result->disks[i].base = strdup(from->base_path);
		result->disks[i].copied = making->origin->disks[i].copied;
		result->disks[i].size_bytes = from->size_bytes;
		result->disks[i].images = chain_images(from->base_path, from->base_identity);
		if (!result->disks[i].target || !result->disks[i].path ||
			!result->disks[i].original || !result->disks[i].base)
			return -ENOMEM;
	}
	return 0;
}

static int take_result(struct clone_result *result, struct making *making, struct err *err)
{
	if (making->virt && !result->uuid)
		result->uuid = strdup(making->uuid);
	if ((making->virt && !result->uuid) || take_disks(result, making) < 0)
		return err_sys(err, -ENOMEM, "clone %s", making->name);
	result->xml = steal_ptr(&making->xml);
	result->changes = steal_ptr(&making->changes);
	result->store_ns = making->store_ns;
	return 0;
}

/* All up to here is whole, or undone. A group is whole only at its end. */
static int note_done(struct run *run, struct err *err)
{
	if (run->options->all_or_none)
		return 0;
	return journal_add(run->journal, JOURNAL_DONE, NULL, NULL, 0, 0, err);
}

/* Run the steps; what a failure leaves is undone at once. */
static int make_planned(struct run *run, struct making *making, struct err *err)
{
	uint32_t from = journal_count(run->journal);
	struct err undo_err = {0};
	int rc = making_run(making, err);

	if (rc == 0)
		rc = note_done(run, err);
	if (rc == 0)
		return 0;
	if (undo_run(run->session, run->journal, from, &undo_err) == 0 &&
		note_done(run, &undo_err) == 0)
		return rc;
	err_hint(err, "not all could be undone (%s); the next lazyclone command tries again",
		undo_err.message);
	journal_close(steal_ptr(&run->journal));
	return rc;
}

static int plan_and_make(struct run *run, char *name, struct clone_result *result,
	struct err *err)
{
	struct making making = {
		.origin = run->origin,
		.store = run->store,
		.ctl = run->ctl,
		.virt = run->virt,
		.journal = run->journal,
		.store_path = session_store_path(run->session),
		.mountpoint = session_mountpoint(run->session),
		.quota_bytes = run->options->quota_bytes,
		.lock_fd = -1,
	};
	int rc = making_plan(&making, name, run->census, err);

	if (rc == 0 && !makes_nothing(run->options)) {
		rc = make_planned(run, &making, err);
		result->made = rc == 0;
	}
	if (rc == 0)
		rc = take_result(result, &making, err);
	making_clear(&making);
	return rc;
}

static int make_one(struct run *run, uint32_t i, struct clone_result *result, struct err *err)
{
	uint64_t begun_ns = i == 0 ? run->begun_ns : clock_now_ns();
	int rc;

	for (int try = 0;; try++) {
		char *name;

		rc = choose_name(run, i, &name, err);
		if (rc < 0)
			break;
		free(result->name);
		result->name = strdup(name);
		rc = result->name && census_add_name(run->census, name) == 0
			? plan_and_make(run, name, result, err)
			: err_sys(err, -ENOMEM, "clone");
		if (rc != -EEXIST || run->options->name || try == NAME_TRIES || !run->journal)
			break;
	}
	result->total_ns = clock_now_ns() - begun_ns;
	return rc;
}

/* ---- all of them ---- */

/* What one clone could not do the others cannot either. */
static bool stops_the_run(const struct run *run, int rc)
{
	if (rc < 0 && !run->journal && !makes_nothing(run->options))
		return true;
	switch (rc) {
	case -EINTR:
	case -ENOSPC:
	case -EDQUOT:
	case -ENOMEM:
	case -ECONNREFUSED:
	case -ENOTCONN:
	case -ETIMEDOUT:
	case -ESTALE:
		return true;
	default:
		return rc < 0 && run->options->all_or_none;
	}
}

/* Number of clones that failed; results[i].err says how each did. */
static uint32_t make_all(struct run *run)
{
	uint32_t failed = 0;
	bool stopped = false;

	for (uint32_t i = 0; i < run->options->count; i++) {
		struct clone_result *result = &run->results[i];
		int rc;

		if (stopped) {
			err_set(&result->err, -ECANCELED, "not tried: an earlier one failed");
			failed++;
			continue;
		}
		rc = make_one(run, i, result, &result->err);
		if (rc == 0) {
			/* What a name taken in the last moment had said. */
			result->err = (struct err){0};
			continue;
		}
		result->err.code = rc;
		failed++;
		stopped = stops_the_run(run, rc);
	}
	return failed;
}

static const struct err *first_error(const struct run *run)
{
	for (uint32_t i = 0; i < run->options->count; i++)
		if (run->results[i].err.code)
			return &run->results[i].err;
	return NULL;
}

/* The group failed: none stays. */
static void undo_group(struct run *run)
{
	struct err undo_err;

	for (uint32_t i = 0; i < run->options->count; i++)
		run->results[i].made = false;
	close_fd(&run->modes_fd); /* else our own keeping keeps them from being given back */
	if (undo_run(run->session, run->journal, 0, &undo_err) == 0)
		return;
	session_notice(run->session, "not all could be undone (%s); the next command tries again",
		undo_err.message);
	journal_close(steal_ptr(&run->journal));
}

static int end_journal(struct run *run, uint32_t failed, struct err *err)
{
	if (run->journal && run->options->all_or_none && failed > 0)
		undo_group(run);
	if (run->journal && run->options->all_or_none && failed == 0 &&
		journal_add(run->journal, JOURNAL_DONE, NULL, NULL, 0, 0, err) < 0) {
		undo_group(run);
		return -EIO;
	}
	return run->journal ? journal_end(steal_ptr(&run->journal), err) : 0;
}

/* A clone that does not start stays defined. Number that did not. */
static uint32_t start_all(struct run *run)
{
	uint32_t failed = 0;

	for (uint32_t i = 0; run->virt && i < run->options->count; i++) {
		struct clone_result *result = &run->results[i];

		if (!result->made)
			continue;
		if (interrupt_check(&result->err) == 0 &&
			virt_start(run->virt, result->uuid, &result->err) == 0)
			result->started = true;
		else
			failed++;
	}
	return failed;
}

static int sum_up(const struct run *run, uint32_t failed, uint32_t unstarted, struct err *err)
{
	uint32_t count = run->options->count;
	bool none = failed == count || (failed > 0 && run->options->all_or_none);

	if (none) {
		*err = *first_error(run);
		return err->code;
	}
	if (failed > 0)
		return err_set(err, -EREMOTEIO, "%u of %u clones were made; the first failure: %s",
			count - failed, count, first_error(run)->message);
	if (unstarted > 0)
		return err_set(err, -EREMOTEIO, "%u of %u clones did not start; the first failure: %s",
			unstarted, count, first_error(run)->message);
	return 0;
}

static bool some_stay(const struct run *run, uint32_t failed)
{
	return failed < (run->options->all_or_none ? 1 : run->options->count);
}

/* Once, when it begins: later QEMU itself says no, in words of locks. On a
 * device it does not (device.h), so the hook has to, or people. A clone is
 * kept only by images that were added to it, and cannot be frozen. */
static void notice_held(const struct run *run, uint32_t failed)
{
	const char *name = run->origin->domain.name;

	if (!run->virt || !run->origin->newly_held || !some_stay(run, failed) ||
		makes_nothing(run->options))
		return;
	if (run->origin->on_device)
		session_notice(run->session, "do not start %s as long as its clones need its block "
			"device: nothing but libvirt's hook prevents it, and it would ruin them",
			name);
	else if (run->origin->stacked)
		session_notice(run->session, "%s cannot be started as long as its clones need its "
			"images: start a clone instead", name);
	else
		session_notice(run->session, "%s cannot be started as long as its clones need its "
			"images: start a clone instead, or freeze it first (lazyclone base "
			"freeze %s)", name, name);
}

/* After the manifests, which need them: base-notes.c. */
static void note_bases(const struct run *run, uint32_t failed)
{
	if (!some_stay(run, failed) || makes_nothing(run->options))
		return;
	for (uint32_t i = 0; i < run->origin->n_disks; i++)
		base_notes_take(run->session, run->origin->disks[i].path,
			run->origin->disks[i].identity);
}

static int run_all(struct run *run, struct err *err)
{
	uint32_t failed, unstarted = 0;
	int rc;

	run->results = calloc(run->options->count, sizeof(*run->results));
	if (!run->results)
		return err_sys(err, -ENOMEM, "cannot make clones");
	rc = check_names(run, err);
	if (rc < 0)
		return rc;
	failed = make_all(run);
	notice_held(run, failed);
	rc = end_journal(run, failed, err);
	if (rc < 0)
		return rc;
	note_bases(run, failed);
	if (run->options->start)
		unstarted = start_all(run);
	return sum_up(run, failed, unstarted, err);
}

/* A copy of the original is kept by the manifests from here on, or by nothing. */
static void drop_origin(struct run *run, bool whole)
{
	bool copied = run->origin && run->origin->reflink;

	origin_free(run->origin);
	if (copied && !whole)
		store_layers_sweep(run->store, NULL, NULL);
}

/* Nothing is to be undone but what was settled? */
static bool only_modes(const struct journal *journal)
{
	for (uint32_t i = journal ? journal_undone(journal) : 0;
		journal && i < journal_count(journal); i++)
		if (journal_entry(journal, i)->kind != JOURNAL_GROUP &&
			journal_entry(journal, i)->kind != JOURNAL_MODES)
			return false;
	return journal;
}

static void run_clear(struct run *run, bool whole)
{
	clone_results_free(run->results, run->results ? run->options->count : 0);
	close_fd(&run->modes_fd);
	if (run->protects && !whole && protect_settle(run->session, run->store, NULL) == 0 &&
		only_modes(run->journal))
		journal_end(steal_ptr(&run->journal), NULL);
	if (run->journal && journal_undone(run->journal) == journal_count(run->journal))
		journal_end(steal_ptr(&run->journal), NULL);
	journal_close(run->journal);
	census_free(run->census);
	drop_origin(run, whole);
	allowed_clear(&run->allowed);
}

int clone_make(struct session *session, const struct clone_options *options,
	struct clone_result **ret_results, uint32_t *ret_count, struct err *err)
{
	struct run run = {
		.session = session, .options = options, .next_number = 1, .modes_fd = -1, .begun_ns = clock_now_ns()};
	struct err failure = {0};
	int rc = check_options(options, err);

	if (rc < 0)
		return rc;
	interrupt_catch();
	rc = prepare(&run, &failure);
	if (rc == 0)
		rc = run_all(&run, &failure);
	if (rc == 0 || rc == -EREMOTEIO) {
		*ret_results = steal_ptr(&run.results);
		*ret_count = options->count;
	}
	run_clear(&run, rc == 0);
	interrupt_restore();
	if (rc < 0 && err)
		*err = failure;
	return rc;
}
