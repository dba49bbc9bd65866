/* SPDX-License-Identifier: LGPL-2.1-or-later */
/* The journal of one run: what it made, so that it can be undone.
 *
 * STORE/journal/RUNID.json, one JSON object per line, appended and synced
 * BEFORE each step makes the thing it names, and locked (OFD) by the run as
 * long as it lives. A journal that nobody holds belongs to a killed run: the
 * next command undoes it in reverse order, or finishes it where it had
 * committed, and says so.
 *
 *	stage NAME            store_stage made staging/NAME
 *	clone NAME ID         store_commit published clones/NAME with that id
 *	file PATH             about to be created with O_EXCL
 *	file-made PATH DEV INO    it was, and this is it: only this inode is removed
 *	domain URI UUID       about to be defined
 *	done                  committed: nothing is to be undone
 *
 * A line cut short by a crash is ignored, its step had not begun.
 */
#ifndef CLONE_STATE_JOURNAL_H
#define CLONE_STATE_JOURNAL_H

#include <stdbool.h>
#include <stdint.h>
#include <sys/types.h>

#include "fs/util/err.h"

enum journal_kind {
	JOURNAL_STAGE,
	JOURNAL_CLONE,
	JOURNAL_FILE,
	JOURNAL_FILE_MADE,
	JOURNAL_DOMAIN,
	JOURNAL_DONE,
};

struct journal_entry {
	enum journal_kind kind;
	char *name; /* stage, clone, path or uuid */
	char *more; /* clone: id; domain: uri; else NULL */
	uint64_t dev, ino; /* file-made */
};

struct journal;

/* Begin a journal in the store's journal/ directory, locked. */
int journal_begin(int store_dirfd, struct journal **ret_journal, struct err *err);

/* Append, durable when it returns. */
int journal_add(struct journal *journal, enum journal_kind kind, const char *name,
	const char *more, uint64_t dev, uint64_t ino, struct err *err);

uint32_t journal_count(const struct journal *journal);
const struct journal_entry *journal_entry(const struct journal *journal, uint32_t i);

/* Delete the journal: all of it was done or undone. Frees. */
int journal_end(struct journal *journal, struct err *err);
void journal_close(struct journal *journal); /* leave it for the next run; NULL allowed */

/* The next journal of a dead run, locked by us now: 1, or 0 if there is none. */
int journal_next_orphan(int store_dirfd, struct journal **ret_journal, struct err *err);

#endif
