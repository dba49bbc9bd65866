/* SPDX-License-Identifier: LGPL-2.1-or-later */
/* The bases as JSON, for the verbs to print: see bases.h. */
#include <errno.h>
#include <inttypes.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>

#include "clone/plan/base-notes.h"
#include "clone/plan/bases.h"
#include "clone/state/base-record.h"
#include "fs/base/fingerprint.h"
#include "fs/store/copies.h"
#include "fs/util/cleanup.h"

#define STAT_BLOCK 512

static int set(json_t *object, const char *member, json_t *value)
{
	return json_object_set_new(object, member, value);
}

/* ---- files ---- */

static int set_fingerprint(json_t *object, const struct bases *bases, const struct base_file *file)
{
	AUTO_FREE struct fingerprint *print = NULL;
	struct base_record *record;
	int rc;

	if (base_notes_find(bases, file, &record) < 0)
		return set(object, "fingerprint", json_string("none"));
	rc = set(object, "taken", json_integer(record->taken_sec));
	if (fingerprint_parse(record->fingerprint, &print, NULL) < 0)
		rc |= set(object, "fingerprint", json_string("damaged"));
	else
		rc |= set(object, "fingerprint", json_string(print->full ? "full" : "sampled"));
	if (print && print->full)
		rc |= set(object, "root", json_sprintf("%016" PRIx64, print->root));
	base_record_free(record);
	return rc;
}

static json_t *file_object(const struct bases *bases, const struct base_file *file)
{
	json_t *object = json_pack("{s:s, s:s, s:s, s:s, s:b, s:I, s:n, s:n}", "path", file->path,
		"format", file->format, "role", file->data ? "data" : "image", "id", file->id,
		"device", (int)file->device, "size_bytes", (json_int_t)file->size_bytes, "root",
		"taken");

	if (object && set_fingerprint(object, bases, file) == 0)
		return object;
	json_decref(object);
	return NULL;
}

static json_t *files_array(const struct bases *bases, const struct bases_entry *entry)
{
	json_t *files = json_array();

	for (uint32_t i = 0; files && i < entry->n_files; i++)
		if (json_array_append_new(files, file_object(bases, &entry->files[i]))) {
			json_decref(files);
			files = NULL;
		}
	return files;
}

/* What the files take; null when one of them cannot be looked at. */
static json_t *allocated(const struct bases_entry *entry)
{
	json_int_t sum = 0;

	for (uint32_t i = 0; i < entry->n_files; i++) {
		struct stat st;

		if (stat(entry->files[i].path, &st) < 0)
			return json_null();
		sum += S_ISBLK(st.st_mode) ? (json_int_t)entry->files[i].size_bytes
					   : (json_int_t)st.st_blocks * STAT_BLOCK;
	}
	return json_integer(sum);
}

/* ---- clones ---- */

static json_t *clones_array(const struct bases *bases, const struct bases_entry *entry)
{
	json_t *clones = json_array(), *last = NULL;
	int rc = 0;

	for (uint32_t i = 0; rc == 0 && i < entry->n_users; i++) {
		const struct bases_user *user = &entry->users[i];
		const char *store = bases->stores[user->store].path;

		if (i == 0 || user->store != entry->users[i - 1].store ||
			strcmp(user->clone, entry->users[i - 1].clone) != 0) {
			last = json_pack("{s:s, s:s, s:[]}", "store", store, "clone", user->clone,
				"disks");
			rc = json_array_append_new(clones, last);
		}
		if (rc == 0)
			rc = json_array_append_new(
				json_object_get(last, "disks"), json_string(user->target));
	}
	if (rc == 0)
		return clones;
	json_decref(clones);
	return NULL;
}

static json_t *stores_array(const struct bases *bases, const struct bases_entry *entry)
{
	json_t *stores = json_array();

	for (uint32_t i = 0; i < entry->n_users; i++)
		if (i == 0 || entry->users[i].store != entry->users[i - 1].store)
			json_array_append_new(
				stores, json_string(bases->stores[entry->users[i].store].path));
	return stores;
}

/* ---- bases ---- */

static json_t *entry_object(const struct bases *bases, const struct bases_entry *entry)
{
	struct id copy;

	return json_pack("{s:s, s:b, s:s, s:s, s:I, s:o, s:o, s:o, s:o}", "path", entry->path,
		"reflinked", store_copy_of(entry->path, &copy), "format", entry->format, "state",
		bases_state(bases, entry), "size_bytes", (json_int_t)entry->size_bytes,
		"allocated_bytes", allocated(entry), "stores", stores_array(bases, entry),
		"clones", clones_array(bases, entry), "files", files_array(bases, entry));
}

/* path NULL: all of them. */
static json_t *entries_array(const struct bases *bases, const char *path)
{
	json_t *array = json_array();

	for (uint32_t i = 0; array && i < bases->n_entries; i++) {
		const struct bases_entry *entry = &bases->entries[i];

		if (path && bases_file_of(entry, path) < 0)
			continue;
		if (json_array_append_new(array, entry_object(bases, entry))) {
			json_decref(array);
			array = NULL;
		}
	}
	return array;
}

static int list(struct session *session, const char *path, json_t **ret_bases, struct err *err)
{
	struct bases bases;
	int rc = bases_load(session, &bases, err);

	if (rc < 0)
		return rc;
	bases_say_holes(session, &bases);
	*ret_bases = entries_array(&bases, path);
	bases_clear(&bases);
	return *ret_bases ? 0 : err_sys(err, -ENOMEM, "listing the bases");
}

int bases_list(struct session *session, json_t **ret_bases, struct err *err)
{
	return list(session, NULL, ret_bases, err);
}

int bases_info(struct session *session, const char *path, json_t **ret_bases, struct err *err)
{
	AUTO_FREE char *full = bases_path(path, err);
	int rc = full ? list(session, full, ret_bases, err) : err->code;

	if (rc < 0 || json_array_size(*ret_bases) > 0)
		return rc;
	json_decref(*ret_bases);
	return bases_not_found(full, err);
}
