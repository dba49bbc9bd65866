/* SPDX-License-Identifier: LGPL-2.1-or-later */
/* Records of base files: see base-notes.h.
 *
 * A record is written after the manifest that needs it, and the sweep lists
 * the records before it reads the manifests: so it never takes one for
 * unneeded that a clone being made has just written. What a crash leaves is a
 * clone without a record (the next verify makes it) or a record without a
 * clone (the next sweep drops it).
 */
#include "clone/plan/base-notes.h"

#include <errno.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>

#include "fs/util/cleanup.h"

/* ---- finding ---- */

static bool is_full(const struct base_record *record)
{
	AUTO_FREE struct fingerprint *print = NULL;

	return fingerprint_parse(record->fingerprint, &print, NULL) == 0 && print->full;
}

int base_notes_find(const struct bases *bases, const struct base_file *file,
	struct base_record **ret_record)
{
	struct base_record *found = NULL;

	for (uint32_t i = 0; i < bases->n_stores; i++) {
		struct store *store = bases->stores[i].store;
		struct base_record *record;

		if (!store || base_record_read(store_dirfd(store), file->id, &record, NULL) < 0)
			continue;
		if (found && (is_full(found) || !is_full(record))) {
			base_record_free(record);
			continue;
		}
		base_record_free(found);
		found = record;
	}
	*ret_record = found;
	return found ? 0 : -ENOENT;
}

struct fingerprint *base_notes_print(const struct bases *bases, const struct base_file *file)
{
	struct fingerprint *print = NULL;
	struct base_record *record;

	if (base_notes_find(bases, file, &record) < 0)
		return NULL;
	if (fingerprint_parse(record->fingerprint, &print, NULL) < 0)
		print = NULL;
	base_record_free(record);
	return print;
}

/* ---- making ---- */

int base_notes_write(struct store *store, const struct base_file *file,
	const struct fingerprint *print, struct err *err)
{
	AUTO_FREE char *text = NULL;
	int rc = fingerprint_format(print, &text);
	const struct base_record record = {
		.path = file->path,
		.format = file->format,
		.identity = file->identity,
		.fingerprint = text,
		.taken_sec = time(NULL),
	};

	if (rc < 0)
		return err_sys(err, rc, "base %s", file->path);
	return base_record_write(store_dirfd(store), file->id, &record, err);
}

int base_notes_keep(const struct bases *bases, const struct bases_entry *entry,
	const struct base_file *file, const struct fingerprint *print, struct err *err)
{
	int rc = 0;

	for (uint32_t i = 0; rc == 0 && i < entry->n_users; i++)
		if (i == 0 || entry->users[i].store != entry->users[i - 1].store)
			rc = base_notes_write(bases->stores[entry->users[i].store].store, file,
				print, err);
	return rc;
}

static int take_file(struct store *store, const struct base_file *file, struct err *err)
{
	AUTO_FREE struct fingerprint *print = NULL;
	int rc;

	if (base_record_exists(store_dirfd(store), file->id))
		return 0;
	rc = fingerprint_sample(file->path, &print, err);
	/* Under the protection that its identity was recorded under, or not at all. */
	if (rc == 0)
		rc = base_file_check(file, err);
	return rc == 0 ? base_notes_write(store, file, print, err) : rc;
}

void base_notes_take(struct session *session, const char *path, const char *identity)
{
	struct err why = {.code = 0};
	struct base_file *files = NULL;
	struct store *store;
	uint32_t count = 0;
	int rc = session_need_store(session, false, &store, &why);

	if (rc == 0)
		rc = base_files(path, identity, &files, &count, &why);
	for (uint32_t i = 0; rc == 0 && i < count; i++)
		rc = take_file(store, &files[i], &why);
	base_files_free(files, count);
	if (rc < 0)
		session_notice(session, "no fingerprint of base %s was recorded: %s", path,
			why.message);
}

/* ---- sweeping ---- */

struct ids {
	char (*id)[BASE_RECORD_ID];
	bool *needed;
	uint32_t count;
};

static int compare_ids(const void *a, const void *b)
{
	return strcmp(a, b);
}

static void mark(struct ids *ids, const char *id)
{
	char (*found)[BASE_RECORD_ID] =
		bsearch(id, ids->id, ids->count, sizeof(*ids->id), compare_ids);

	if (found)
		ids->needed[found - ids->id] = true;
}

static int mark_manifest(struct ids *ids, const struct manifest *m)
{
	int rc = 0;

	for (uint32_t i = 0; rc == 0 && i < m->n_disks; i++) {
		struct base_file *files;
		uint32_t count;

		if (!m->disks[i].base_path)
			continue;
		rc = base_files(m->disks[i].base_path, m->disks[i].base_identity, &files, &count,
			NULL);
		for (uint32_t k = 0; rc == 0 && k < count; k++)
			mark(ids, files[k].id);
		if (rc == 0)
			base_files_free(files, count);
	}
	return rc;
}

/* All of them, or nobody knows what is needed. */
static int mark_needed(struct store *store, struct ids *ids)
{
	char **names;
	uint32_t count;
	int rc = store_list(store, &names, &count, NULL);

	if (rc < 0)
		return rc;
	for (uint32_t i = 0; rc == 0 && i < count; i++) {
		struct manifest *m;

		rc = store_manifest_read(store, names[i], &m, NULL);
		if (rc == -ENOENT) {
			rc = 0;
			continue;
		}
		if (rc == 0) {
			rc = mark_manifest(ids, m);
			manifest_free(m);
		}
	}
	store_names_free(names, count);
	return rc;
}

static void drop_unneeded(struct store *store, const struct ids *ids)
{
	for (uint32_t i = 0; i < ids->count; i++)
		if (!ids->needed[i])
			base_record_remove(store_dirfd(store), ids->id[i], NULL);
}

void base_notes_sweep(struct store *store)
{
	AUTO_FREE char (*list)[BASE_RECORD_ID] = NULL;
	AUTO_FREE bool *needed = NULL;
	struct ids ids;

	if (base_record_list(store_dirfd(store), &list, &ids.count, NULL) < 0)
		return;
	needed = calloc(ids.count + 1, sizeof(*needed));
	ids.id = list;
	ids.needed = needed;
	if (needed && ids.count > 0 && mark_needed(store, &ids) == 0)
		drop_unneeded(store, &ids);
	base_record_tidy(store_dirfd(store));
}
