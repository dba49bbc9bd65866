/* SPDX-License-Identifier: LGPL-2.1-or-later */
/* Re-pointing manifests to a base that was moved: see relink.h. */
#include "clone/plan/relink.h"

#include <errno.h>
#include <inttypes.h>
#include <stdlib.h>
#include <string.h>

#include "clone/plan/base-notes.h"
#include "clone/plan/interrupt.h"
#include "clone/plan/ours.h"
#include "clone/state/record.h"
#include "fs/ctl/ctl.h"
#include "fs/util/cleanup.h"

struct relink {
	struct session *session;
	const struct verify_options *options;
	struct bases bases;
	char *from, *to;
	struct fingerprint *print; /* of the file at to */
	const char *compared;
	json_t *changed;
	uint32_t n_wanted, n_already;
};

/* ---- who needs it ---- */

/* By the name that stands in the manifest alone: another name of the same
 * file is not what the user wants changed. */
static const struct base_file *file_named(const struct bases_entry *entry, const char *path)
{
	for (uint32_t i = 0; i < entry->n_files; i++)
		if (!strcmp(entry->files[i].path, path))
			return &entry->files[i];
	return NULL;
}

/* Is it at its new place, and was it recorded as it is there? */
static bool is_settled(const struct relink *relink, const struct bases_entry *entry)
{
	const struct base_file *file = file_named(entry, relink->to);

	return file && base_file_check(file, NULL) == 0;
}

static bool is_wanted(const struct relink *relink, const struct bases_entry *entry)
{
	return file_named(entry, relink->from) &&
		(strcmp(relink->from, relink->to) != 0 || !is_settled(relink, entry));
}

static void count(struct relink *relink)
{
	for (uint32_t i = 0; i < relink->bases.n_entries; i++) {
		const struct bases_entry *entry = &relink->bases.entries[i];

		if (is_wanted(relink, entry))
			relink->n_wanted += entry->n_users;
		else if (file_named(entry, relink->to))
			relink->n_already += entry->n_users;
	}
}

/* Before the first is changed: which of its disks does a daemon say is open? */
static int check_shut(const struct relink *relink, const struct bases_entry *entry,
	struct err *err)
{
	for (uint32_t i = 0; i < entry->n_users; i++) {
		const struct bases_user *user = &entry->users[i];
		const struct bases_store *store = &relink->bases.stores[user->store];
		const json_t *shown = json_object_get(store->shown, user->clone), *disk;
		size_t k;

		json_array_foreach(json_object_get(shown, "disks"), k, disk) {
			if (json_integer_value(json_object_get(disk, "opens")) == 0)
				continue;
			err_set(err, -EBUSY, "clone %s (%s) is in use: its disk %s is open",
				user->clone, store->path,
				json_string_value(json_object_get(disk, "target")));
			err_hint(err, "shut off the machines that need the base first");
			return -EBUSY;
		}
	}
	return 0;
}

/* ---- is it the same? ---- */

static int refuse(const struct relink *relink, const char *why, struct err *err)
{
	err_set(err, -ESTALE, "%s does not hold what %s held: %s", relink->to, relink->from, why);
	err_hint(err, "only a copy of the very same content can take its place");
	return -ESTALE;
}

static int compare_prints(const struct relink *relink, const struct fingerprint *recorded,
	struct err *err)
{
	struct fingerprint_range range;
	char why[128];

	if (!fingerprint_differs(recorded, relink->print, &range))
		return 0;
	if (recorded->size_bytes != relink->print->size_bytes)
		snprintf(why, sizeof(why), "it had %" PRIu64 " bytes, this one has %" PRIu64,
			recorded->size_bytes, relink->print->size_bytes);
	else
		snprintf(why, sizeof(why), "it differs first between byte %" PRIu64
			" and %" PRIu64, range.start, range.end);
	return refuse(relink, why, err);
}

/* No fingerprint of it was ever taken: what the identity has of the content is
 * all there is, unless the old file can still be read. */
static int compare_unrecorded(const struct relink *relink, const struct base_file *file,
	struct err *err)
{
	AUTO_FREE struct fingerprint *old = NULL;
	int rc;

	if (base_file_check(file, NULL) == 0) {
		rc = verify_fingerprint(file->path, relink->options, &old, err);
		return rc < 0 ? rc : compare_prints(relink, old, err);
	}
	if (relink->options->full) {
		err_set(err, -EOPNOTSUPP, "%s was never read as a whole: there is nothing to "
			"compare %s with", relink->from, relink->to);
		err_hint(err, "without --full the sample that was recorded is compared");
		return -EOPNOTSUPP;
	}
	return base_file_same_sample(file, relink->to, err);
}

static int compare(struct relink *relink, const struct base_file *file, struct err *err)
{
	AUTO_FREE struct fingerprint *recorded = base_notes_print(&relink->bases, file);

	if (recorded && (recorded->full || !relink->options->full))
		return compare_prints(relink, recorded, err);
	if (!recorded && !relink->options->full)
		relink->compared = "identity";
	return compare_unrecorded(relink, file, err);
}

/* All that is going to be changed is looked at before anything is. */
static int check_all(struct relink *relink, struct err *err)
{
	int rc = verify_fingerprint(relink->to, relink->options, &relink->print, err);

	relink->compared = relink->options->full ? "full" : "sampled";
	for (uint32_t i = 0; rc == 0 && i < relink->bases.n_entries; i++) {
		const struct bases_entry *entry = &relink->bases.entries[i];

		if (!is_wanted(relink, entry))
			continue;
		rc = check_shut(relink, entry, err);
		if (rc == 0)
			rc = compare(relink, file_named(entry, relink->from), err);
	}
	return rc;
}

/* ---- one disk ---- */

static const struct store_disk *find_disk(const struct manifest *m, const char *target)
{
	for (uint32_t i = 0; i < m->n_disks; i++)
		if (!strcmp(m->disks[i].target, target))
			return &m->disks[i];
	return NULL;
}

/* What its manifest has to say from now on. 1: nothing new, as somebody else
 * was at it between our look and our lock. */
static int move_base(const struct relink *relink, const struct manifest *m, const char *target,
	char **ret_path, char **ret_identity, struct err *err)
{
	const struct store_disk *disk = find_disk(m, target);
	int rc;

	if (!disk || !disk->base_path)
		return 1;
	rc = base_files_move(disk->base_path, disk->base_identity, relink->from, relink->to,
		ret_path, ret_identity, err);
	return rc == -ENOENT ? 1 : rc;
}

static int change_by_daemon(const struct relink *relink, struct ctl *ctl, struct store *store,
	const struct bases_user *user, struct err *err)
{
	AUTO_FREE char *path = NULL, *identity = NULL;
	struct manifest *m;
	int rc = store_manifest_read(store, user->clone, &m, err);

	if (rc < 0)
		return rc;
	rc = move_base(relink, m, user->target, &path, &identity, err);
	manifest_free(m);
	return rc == 0 ? ctl_relink(ctl, user->clone, user->target, path, identity, err) : rc;
}

static int write_manifest(const struct relink *relink, struct store *store,
	const struct bases_user *user, struct err *err)
{
	struct manifest *m;
	char *path, *identity;
	struct store_disk *disk;
	int rc = store_manifest_read(store, user->clone, &m, err);

	if (rc < 0)
		return rc;
	rc = move_base(relink, m, user->target, &path, &identity, err);
	if (rc == 0) {
		disk = (struct store_disk *)find_disk(m, user->target);
		free(disk->base_path);
		free(disk->base_identity);
		disk->base_path = path;
		disk->base_identity = identity;
		rc = store_manifest_write(store, m, err);
	}
	manifest_free(m);
	return rc;
}

/* Where no daemon runs: as the store's one writer of manifests. */
static int change_alone(const struct relink *relink, const char *store_path,
	const struct bases_user *user, struct err *err)
{
	struct store *store;
	int rc = store_open(&io_kernel, store_path, &store, err);

	if (rc < 0)
		return rc;
	rc = store_lock(store, err);
	if (rc == 0)
		rc = write_manifest(relink, store, user, err);
	store_close(store);
	return rc;
}

/* The record has the original's path too: hydrate makes its image beside it.
 * Before the manifest, so that a second run finds what is left to be done. */
static int change_record(const struct relink *relink, int dirfd, const char *target,
	struct err *err)
{
	struct record *record;
	struct record_disk *disk;
	int rc = record_read(dirfd, &record, err);

	if (rc < 0)
		return rc == -ENOENT ? 0 : rc; /* a clone that no command made */
	disk = record_disk_find(record, target);
	if (disk && disk->source && !strcmp(disk->source, relink->from) &&
		strcmp(relink->from, relink->to) != 0) {
		free(disk->source);
		disk->source = strdup(relink->to);
		rc = disk->source ? record_write(dirfd, record, err)
				  : err_sys(err, -ENOMEM, "%s", relink->to);
	}
	record_free(record);
	return rc;
}

static int change_locked(struct relink *relink, const struct bases_user *user, int dirfd,
	struct err *err)
{
	const struct bases_store *noted = &relink->bases.stores[user->store];
	struct ctl *ctl;
	int rc = change_record(relink, dirfd, user->target, err);

	if (rc < 0)
		return rc;
	rc = ctl_connect(&noted->id, &ctl, err);
	if (rc == 0) {
		rc = change_by_daemon(relink, ctl, noted->store, user, err);
		ctl_close(ctl);
	} else if (rc == -ECONNREFUSED) {
		rc = change_alone(relink, noted->path, user, err);
	}
	if (rc == 0)
		json_array_append_new(relink->changed, json_pack("{s:s, s:s, s:s}", "store",
			noted->path, "clone", user->clone, "disk", user->target));
	return rc < 0 ? rc : 0;
}

static int change_user(struct relink *relink, const struct bases_user *user, struct err *err)
{
	struct store *store = relink->bases.stores[user->store].store;
	AUTO_CLOSE int dirfd = store_clone_dirfd(store, user->clone);
	AUTO_CLOSE int lock_fd = -1;
	int rc;

	if (dirfd == -ENOENT)
		return 0; /* removed meanwhile */
	rc = dirfd < 0 ? err_sys(err, dirfd, "clone %s", user->clone)
		       : ours_lock(store, dirfd, user->clone, &lock_fd, err);
	return rc == 0 ? change_locked(relink, user, dirfd, err) : rc;
}

/* ---- all of them ---- */

static int change_entry(struct relink *relink, const struct bases_entry *entry, struct err *err)
{
	int rc = 0;

	for (uint32_t i = 0; rc == 0 && i < entry->n_users; i++) {
		rc = interrupt_check(err);
		if (rc == 0)
			rc = change_user(relink, &entry->users[i], err);
	}
	return rc;
}

/* What is known of the file is true at its new place, where it has another
 * identity. Best effort, as all records are. */
static void note_moved(struct relink *relink, const struct bases_entry *entry)
{
	AUTO_FREE struct fingerprint *recorded =
		base_notes_print(&relink->bases, file_named(entry, relink->from));
	AUTO_FREE char *path = NULL, *identity = NULL;
	struct base_file *files;
	uint32_t n_files;

	if (base_files_move(entry->path, entry->identity, relink->from, relink->to, &path,
		    &identity, NULL) < 0 ||
		base_files(path, identity, &files, &n_files, NULL) < 0)
		return;
	for (uint32_t i = 0; i < n_files; i++)
		if (!strcmp(files[i].path, relink->to))
			base_notes_keep(&relink->bases, entry, &files[i],
				recorded ? recorded : relink->print, NULL);
	base_files_free(files, n_files);
}

static int change_all(struct relink *relink, struct err *err)
{
	int rc = 0;

	for (uint32_t i = 0; rc == 0 && i < relink->bases.n_entries; i++) {
		const struct bases_entry *entry = &relink->bases.entries[i];

		if (!is_wanted(relink, entry))
			continue;
		note_moved(relink, entry);
		rc = change_entry(relink, entry, err);
	}
	if (rc < 0 && json_array_size(relink->changed) > 0) {
		struct err why = *err;

		err_set(err, -EREMOTEIO, "%zu of %u disks are on %s now; then: %s",
			json_array_size(relink->changed), relink->n_wanted, relink->to,
			why.message);
		err_hint(err, "the same command again changes the rest");
		return -EREMOTEIO;
	}
	return rc;
}

static int run(struct relink *relink, json_t **ret_result, struct err *err)
{
	int rc = 0;

	count(relink);
	if (relink->n_wanted + relink->n_already == 0)
		return bases_not_found(relink->from, err);
	relink->compared = "identity";
	if (relink->n_wanted > 0) {
		rc = check_all(relink, err);
		if (rc == 0)
			rc = change_all(relink, err);
	}
	if (rc == 0 || rc == -EREMOTEIO)
		*ret_result = json_pack("{s:s, s:s, s:s, s:O, s:i}", "from", relink->from, "to",
			relink->to, "compared", relink->compared, "changed", relink->changed,
			"already", (int)relink->n_already);
	return rc;
}

int relink_base(struct session *session, const char *from, const char *to,
	const struct verify_options *options, json_t **ret_result, struct err *err)
{
	struct relink relink = {.session = session, .options = options};
	int rc;

	*ret_result = NULL;
	relink.from = bases_path(from, err);
	relink.to = relink.from ? bases_path(to, err) : NULL;
	relink.changed = json_array();
	rc = relink.to ? bases_load(session, &relink.bases, err) : err->code;
	if (rc == 0) {
		bases_say_holes(session, &relink.bases);
		interrupt_catch();
		rc = run(&relink, ret_result, err);
		interrupt_restore();
		for (uint32_t i = 0; i < relink.bases.n_stores; i++)
			if (relink.bases.stores[i].store)
				base_notes_sweep(relink.bases.stores[i].store);
		bases_clear(&relink.bases);
	}
	json_decref(relink.changed);
	free(relink.print);
	free(relink.from);
	free(relink.to);
	return rc;
}
