/* SPDX-License-Identifier: LGPL-2.1-or-later */
/* A set of ids: filled, sorted, then asked. */
#ifndef FS_STORE_IDSET_H
#define FS_STORE_IDSET_H

#include <stdbool.h>
#include <stddef.h>

#include "fs/util/id.h"

/* Zeroed is empty. An id may be in it more than once. */
struct idset {
	struct id *id;
	size_t count, room;
};

int idset_add(struct idset *set, const struct id *id); /* -ENOMEM */

/* Between the last idset_add() and the first idset_has(). */
void idset_sort(struct idset *set);
bool idset_has(const struct idset *set, const struct id *id);

void idset_release(struct idset *set);

#endif
