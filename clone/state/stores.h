/* SPDX-License-Identifier: LGPL-2.1-or-later */
/* The stores of this host: where to look for clones that need a base.
 *
 * Each clone's manifest says what it needs; who is about to remove or move an
 * image must see the manifests of all stores. So every store that clones are
 * made in is noted in one directory (paths_stores()), as a file that has the
 * store's id as its name and holds its path. root's stores and each user's are
 * kept apart: neither may read the other's.
 *
 * An entry may be stale (the store was deleted, moved, or lies on a disk that
 * is not there now): whoever reads it opens the store and compares the id.
 * Moved stores are noted anew when they are used next.
 */
#ifndef CLONE_STATE_STORES_H
#define CLONE_STATE_STORES_H

#include <stdint.h>

#include "fs/util/err.h"
#include "fs/util/id.h"

#define STORES_MAX 4096

struct stores_entry {
	struct id id;
	char *path; /* absolute; NULL: the entry cannot be read */
};

/* Durable when it returns 0; nothing is written if it stands there already. */
int stores_note(const struct id *id, const char *path, struct err *err);

/* Sorted by id. No directory yet: none. */
int stores_list(struct stores_entry **ret_entries, uint32_t *ret_count, struct err *err);
void stores_free(struct stores_entry *entries, uint32_t count);

/* Take an entry out. 0 also if it is not there. */
int stores_forget(const struct id *id, struct err *err);

#endif
