/* SPDX-License-Identifier: LGPL-2.1-or-later */
/* The bases of this host: which images clones need, in all stores, and who needs them.
 *
 * Manifests are the truth; all of them are read, of every store that is noted
 * (clone/state/stores.h) and of the session's own. What the daemons say of a
 * base's state is added where one runs. A store that cannot be read leaves a
 * hole in the picture: it is there with its error, and who is about to remove
 * something asks bases_check_whole().
 *
 * Threads: one.
 */
#ifndef CLONE_PLAN_BASES_H
#define CLONE_PLAN_BASES_H

#include <jansson.h>
#include <stdbool.h>
#include <stdint.h>

#include "clone/plan/session.h"
#include "fs/base/files.h"
#include "fs/store/store.h"
#include "fs/util/err.h"

struct bases_store {
	struct id id;
	char *path;          /* NULL: its entry in the register cannot be read */
	struct store *store; /* NULL: not opened */
	bool gone;           /* there is no such store at that path now */
	struct err err;      /* why it, or a manifest in it, cannot be read */
	json_t *daemon;      /* as ctl_status says; NULL: not reachable */
	json_t *shown;       /* its clones by name; NULL too */
};

/* A clone's disk on a base. */
struct bases_user {
	uint32_t store; /* index */
	char *clone;
	char target[STORE_TARGET_MAX + 1];
};

/* The same top image at the same path in the same state. */
struct bases_entry {
	char *path;
	char *format;
	char *identity;
	uint64_t size_bytes; /* what a guest sees of it */
	uint32_t n_files;
	struct base_file *files; /* the top first */
	uint32_t n_users;
	struct bases_user *users; /* by store, then by clone */
};

struct bases {
	uint32_t n_stores;
	struct bases_store *stores; /* by path */
	uint32_t n_entries;
	struct bases_entry *entries; /* by path */
};

int bases_load(struct session *session, struct bases *ret_bases, struct err *err);
/* The same without asking daemons: states are "unknown". */
int bases_load_manifests(struct session *session, struct bases *ret_bases, struct err *err);
void bases_clear(struct bases *bases);

/* Has every store been read? -EUCLEAN, -EACCES ...: one of them could not.
 * -ENOENT: one is gone, and gone_is_well is not said. */
int bases_check_whole(const struct bases *bases, bool gone_is_well, struct err *err);

/* Notices about the stores that could not be read. */
void bases_say_holes(struct session *session, const struct bases *bases);

/* Is path (as it stands, or by another name of the same file) a file of the
 * entry? Its index, or -1. */
int bases_file_of(const struct bases_entry *entry, const char *path);

/* "ready", "suspended", "changed", "moved", "missing", "failed"; "unknown":
 * no daemon says. The worst of what the daemons of all its users say. */
const char *bases_state(const struct bases *bases, const struct bases_entry *entry);

/* Array, sorted by path:
 *	{"path", "reflinked": BOOL (a copy of an original, in a store), "format", "state",
 *	 "size_bytes", "allocated_bytes": of all files | null, "stores": [PATHS],
 *	 "clones": [{"store", "clone", "disks": [TARGETS]}],
 *	 "files": [{"path", "format", "role": "image" | "data", "id", "device": BOOL, "size_bytes",
 *	     "fingerprint": "none" | "sampled" | "full" | "damaged", "root": TEXT | null,
 *	     "taken": SEC | null}]} */
int bases_list(struct session *session, json_t **ret_bases, struct err *err);

/* Those elements of it that have the file at path. -ENOENT. */
int bases_info(struct session *session, const char *path, json_t **ret_bases, struct err *err);

/* The clones that need the entry: "a, b, c and 5 more". Caller frees; NULL without memory. */
char *bases_users_text(const struct bases *bases, const struct bases_entry *entry);

/* Absolute, from the user's words; links in it are kept. NULL: err says why. Caller frees. */
char *bases_path(const char *path, struct err *err);

/* -ENOENT, in the words of all verbs. */
int bases_not_found(const char *path, struct err *err);

#endif
