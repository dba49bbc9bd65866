/* SPDX-License-Identifier: LGPL-2.1-or-later */
/* The journal of one run: what it made, so that it can be undone.
 *
 * STORE/journal/RUNID.json, one JSON object per line, appended and synced
 * BEFORE each step makes the thing it names, and locked (OFD) by the run as
 * long as it lives. A journal that nobody holds belongs to a killed run: the
 * next command undoes it in reverse order, or finishes it where it had come
 * to the end, and says so.
 *
 *	group             all that follows is one whole: undone together, never
 *	                  finished
 *	stage NAME        staging/NAME is about to be made
 *	clone NAME ID     clones/NAME with that id is about to be published
 *	file PATH         about to be created with O_EXCL under this name, which
 *	                  holds a random number of this run: whoever finds it
 *	                  knows that it is ours
 *	file-made PATH DEV INO   a file is about to get this, its final name; only
 *	                  this inode is removed. DEV is the file-system id
 *	                  (f_fsid), which a reboot does not change
 *	domain URI UUID   about to be defined
 *	freeze URI UUID   an original is about to be defined on the disks of the clone
 *	                  before; what it was defined as lies there (RECORD_ORIGINAL)
 *	reset NAME ID BEFORE NVRAM   the deltas of clones/NAME with that id are about to
 *	                  be thrown away; BEFORE says which ones it has now, so that
 *	                  it can be told whether they were. NVRAM: what is to become of
 *	                  that file then (clone/plan/reset.c); a new one is the "file"
 *	                  that follows
 *	quiesce URI UUID  the file systems of a running guest are about to be frozen
 *	modes             write bits of originals are about to be taken, or a clone that
 *	                  needed them is about to go (clone/plan/protect.h)
 *	done              all before is whole: it is not undone
 *
 * One run may make many clones, each ended by "done": what is to be undone
 * are the entries behind the last one.
 *
 * A line cut short by a crash is ignored: its step had not begun.
 */
#ifndef CLONE_STATE_JOURNAL_H
#define CLONE_STATE_JOURNAL_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <sys/types.h>

#include "fs/util/err.h"

/* A run makes at most 10000 clones, each with seven lines below 1 KiB. */
#define JOURNAL_BYTES_MAX (80u << 20)

enum journal_kind {
	JOURNAL_GROUP,
	JOURNAL_STAGE,
	JOURNAL_CLONE,
	JOURNAL_FILE,
	JOURNAL_FILE_MADE,
	JOURNAL_DOMAIN,
	JOURNAL_FREEZE,
	JOURNAL_RESET,
	JOURNAL_QUIESCE,
	JOURNAL_MODES,
	JOURNAL_DONE,
};

struct journal_entry {
	enum journal_kind kind;
	char *name; /* stage, clone, path or uuid; NULL: group, modes, done */
	char *more; /* clone, reset: id; domain, freeze, quiesce: uri; else NULL */
	uint64_t dev, ino; /* file-made; reset: before, nvram */
};

struct journal;

/* Begin a journal in the store's journal/ directory, locked. */
int journal_begin(int store_dirfd, struct journal **ret_journal, struct err *err);

/* Note an entry; it is in the file, durably, once journal_sync() or the next
 * journal_add() returned. For several things that are about to be made. */
int journal_note(struct journal *journal, enum journal_kind kind, const char *name,
	const char *more, uint64_t dev, uint64_t ino, struct err *err);
int journal_sync(struct journal *journal, struct err *err);

/* Both: append, durable when it returns. */
int journal_add(struct journal *journal, enum journal_kind kind, const char *name,
	const char *more, uint64_t dev, uint64_t ino, struct err *err);

uint32_t journal_count(const struct journal *journal);
const struct journal_entry *journal_entry(const struct journal *journal, uint32_t i);

/* Index of the first entry that is to be undone: behind the last "done". */
uint32_t journal_undone(const struct journal *journal);

/* Delete the journal: all of it was done or undone. Frees. */
int journal_end(struct journal *journal, struct err *err);
void journal_close(struct journal *journal); /* leave it for the next run; NULL allowed */

/* The next journal of a dead run, locked by us now: 1, or 0 if there is none.
 * While it is open it is not found again. */
int journal_next_orphan(int store_dirfd, struct journal **ret_journal, struct err *err);

/* Lines to entries, for journal.c and its tests. Takes any bytes: -EUCLEAN
 * for a whole line that is no entry. *ret_good: length of the whole lines. */
int journal_parse(const char *text, size_t len, struct journal_entry **ret_entries,
	uint32_t *ret_count, size_t *ret_good, struct err *err);
void journal_entries_free(struct journal_entry *entries, uint32_t count);

#endif
