/* SPDX-License-Identifier: LGPL-2.1-or-later */
/* Comparing bases with what was recorded of them: see verify.h.
 *
 * The identity is looked at before and after the reading: what is compared,
 * and what is recorded, was read of the file that the clones know.
 */
#include "clone/plan/verify.h"

#include <errno.h>
#include <inttypes.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "clone/plan/base-notes.h"
#include "clone/plan/interrupt.h"
#include "fs/util/cleanup.h"

struct reading {
	const char *path;
	const struct verify_options *options;
};

static bool say_progress(void *ctx, uint64_t done_bytes, uint64_t total_bytes)
{
	const struct reading *reading = ctx;

	if (reading->options->progress)
		reading->options->progress(
			reading->options->ctx, reading->path, done_bytes, total_bytes);
	return !interrupt_pending();
}

int verify_fingerprint(const char *path, const struct verify_options *options,
	struct fingerprint **ret, struct err *err)
{
	struct reading reading = {path, options};

	if (!options->full)
		return fingerprint_sample(path, ret, err);
	return fingerprint_full(path, say_progress, &reading, ret, err);
}

/* ---- one file ---- */

struct verdict {
	const char *result;
	const char *read, *compared;
	bool recorded;
	bool differs;
	struct fingerprint_range range;
	struct err why;
};

static const char *extent_of(const struct fingerprint *print)
{
	return !print ? "none" : print->full ? "full" : "sampled";
}

static void compare(const struct base_file *file, const struct fingerprint *before,
	const struct fingerprint *now, struct verdict *verdict)
{
	verdict->compared = now->full ? extent_of(before) : before ? "sampled" : "none";
	if (!before || !fingerprint_differs(before, now, &verdict->range))
		return;
	verdict->differs = true;
	err_set(&verdict->why, -ESTALE, "base %s: its content is another than was recorded, first "
		"between byte %" PRIu64 " and %" PRIu64, file->path, verdict->range.start,
		verdict->range.end);
}

static int read_and_compare(const struct bases *bases, const struct bases_entry *entry,
	const struct base_file *file, const struct verify_options *options,
	struct verdict *verdict)
{
	AUTO_FREE struct fingerprint *before = base_notes_print(bases, file), *now = NULL;
	int rc = verify_fingerprint(file->path, options, &now, &verdict->why);

	if (rc < 0)
		return rc;
	verdict->read = extent_of(now);
	compare(file, before, now, verdict);
	if (!verdict->differs)
		rc = base_file_check(file, &verdict->why);
	if (rc < 0 || verdict->differs || (before && (before->full || !now->full)))
		return verdict->differs ? -ESTALE : rc;
	rc = base_notes_keep(bases, entry, file, now, &verdict->why);
	verdict->recorded = rc == 0;
	return rc;
}

static bool is_gone(const char *path)
{
	return access(path, F_OK) < 0 && (errno == ENOENT || errno == ENOTDIR);
}

/* One that is not the file it was is read all the same, as far as it goes:
 * where its content differs, or that it does not, says what to do about it. */
static int verify_file(const struct bases *bases, const struct bases_entry *entry,
	const struct base_file *file, const struct verify_options *options,
	struct verdict *verdict)
{
	struct err identity = {.code = 0};
	int rc = base_file_check(file, &identity);

	if (rc == -ESTALE && is_gone(file->path))
		verdict->result = "missing";
	else if (rc == 0 || rc == -ESTALE)
		read_and_compare(bases, entry, file, options, verdict);
	if (rc < 0 && verdict->why.code != -EINTR && !verdict->differs) {
		verdict->why = identity;
		if (strcmp(verdict->compared, "none") != 0)
			err_hint(&verdict->why, "what was recorded of its content (%s) is the same: "
				"if it was only copied or restored, lazyclone base relink %s %s",
				verdict->compared, file->path, file->path);
	}
	rc = verdict->why.code;
	if (!verdict->result)
		verdict->result = rc == 0 ? "same" : rc == -ESTALE ? "changed" : "unread";
	return rc;
}

static json_t *range_object(const struct verdict *verdict)
{
	if (!verdict->differs)
		return json_null();
	return json_pack("{s:I, s:I}", "start", (json_int_t)verdict->range.start, "end",
		(json_int_t)verdict->range.end);
}

static json_t *verdict_object(const struct bases_entry *entry, const struct base_file *file,
	const struct verdict *verdict)
{
	return json_pack("{s:s, s:s, s:s, s:s, s:s, s:b, s:o, s:s?}", "path", file->path, "base",
		entry->path, "result", verdict->result, "read", verdict->read, "compared",
		verdict->compared, "recorded", (int)verdict->recorded, "differs",
		range_object(verdict), "why", verdict->why.code ? verdict->why.message : NULL);
}

/* ---- all of them ---- */

/* Several bases may be stacked on the same file: once is enough. */
static bool is_seen(const struct bases *bases, uint32_t entry, const struct base_file *file)
{
	for (uint32_t i = 0; i < entry; i++)
		for (uint32_t k = 0; k < bases->entries[i].n_files; k++)
			if (!strcmp(bases->entries[i].files[k].id, file->id) &&
				!strcmp(bases->entries[i].files[k].path, file->path))
				return true;
	return false;
}

static int verify_entry(const struct bases *bases, uint32_t i,
	const struct verify_options *options, json_t *results, struct err *err)
{
	const struct bases_entry *entry = &bases->entries[i];
	int worst = 0;

	for (uint32_t k = 0; worst != -EINTR && k < entry->n_files; k++) {
		const struct base_file *file = &entry->files[k];
		struct verdict verdict = {.read = "none", .compared = "none"};
		int rc;

		if (is_seen(bases, i, file))
			continue;
		rc = verify_file(bases, entry, file, options, &verdict);
		/* A base that changed is worse news than one that cannot be read. */
		if (rc < 0 && (worst == 0 || rc == -EINTR || (rc == -ESTALE && worst != -ESTALE))) {
			worst = rc;
			*err = verdict.why;
		}
		json_array_append_new(results, verdict_object(entry, file, &verdict));
	}
	return worst;
}

static int verify_all(const struct bases *bases, const char *path,
	const struct verify_options *options, json_t *results, struct err *err)
{
	bool found = false;
	int worst = 0;

	for (uint32_t i = 0; worst != -EINTR && i < bases->n_entries; i++) {
		struct err why = {.code = 0};
		int rc;

		if (path && bases_file_of(&bases->entries[i], path) < 0)
			continue;
		found = true;
		rc = verify_entry(bases, i, options, results, &why);
		if (rc < 0 && (worst == 0 || rc == -EINTR || (rc == -ESTALE && worst != -ESTALE))) {
			worst = rc;
			*err = why;
		}
	}
	return path && !found ? bases_not_found(path, err) : worst;
}

int verify_bases(struct session *session, const char *path, const struct verify_options *options,
	json_t **ret_results, struct err *err)
{
	AUTO_FREE char *full = path ? bases_path(path, err) : NULL;
	struct bases bases;
	int rc;

	*ret_results = NULL;
	if (path && !full)
		return err->code;
	rc = bases_load(session, &bases, err);
	if (rc < 0)
		return rc;
	bases_say_holes(session, &bases);
	*ret_results = json_array();
	interrupt_catch();
	rc = verify_all(&bases, full, options, *ret_results, err);
	interrupt_restore();
	bases_clear(&bases);
	return rc;
}
