/* SPDX-License-Identifier: LGPL-2.1-or-later */
/* What stores have noted of base files: records made, found, and swept.
 *
 * A record is made when a clone first needs the file, and by `base verify`; it is found in whichever store has one of that very file.
 */
#ifndef CLONE_PLAN_BASE_NOTES_H
#define CLONE_PLAN_BASE_NOTES_H

#include "clone/plan/bases.h"
#include "clone/state/base-record.h"
#include "fs/base/files.h"
#include "fs/base/fingerprint.h"

/* Of all stores; one with a full fingerprint is preferred. -ENOENT. */
int base_notes_find(const struct bases *bases, const struct base_file *file,
	struct base_record **ret_record);

/* The fingerprint in it; NULL: none that can be used. Caller frees. */
struct fingerprint *base_notes_print(const struct bases *bases, const struct base_file *file);

/* Write the record of file with this fingerprint into a store. */
int base_notes_write(struct store *store, const struct base_file *file,
	const struct fingerprint *print, struct err *err);

/* The same in each store that has a clone of the entry. */
int base_notes_keep(const struct bases *bases, const struct bases_entry *entry,
	const struct base_file *file, const struct fingerprint *print, struct err *err);

/* Take a sample of what a base stands on, of files that have no record in the
 * session's store yet. A cache: what cannot be noted is said, and nothing else. */
void base_notes_take(struct session *session, const char *path, const char *identity);

/* Drop the records of a store that no clone in it needs. */
void base_notes_sweep(struct store *store);

#endif
