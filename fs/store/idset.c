/* SPDX-License-Identifier: LGPL-2.1-or-later */
/* A sorted array of ids: see idset.h. */
#include "fs/store/idset.h"

#include <errno.h>
#include <stdlib.h>
#include <string.h>

int idset_add(struct idset *set, const struct id *id)
{
	if (set->count == set->room) {
		size_t room = set->room ? 2 * set->room : 64;
		struct id *more = reallocarray(set->id, room, sizeof(*more));

		if (!more)
			return -ENOMEM;
		set->id = more;
		set->room = room;
	}
	set->id[set->count++] = *id;
	return 0;
}

static int compare(const void *a, const void *b)
{
	return memcmp(a, b, sizeof(struct id));
}

void idset_sort(struct idset *set)
{
	if (set->count > 0)
		qsort(set->id, set->count, sizeof(*set->id), compare);
}

bool idset_has(const struct idset *set, const struct id *id)
{
	return set->count > 0 &&
	       bsearch(id, set->id, set->count, sizeof(*set->id), compare) != NULL;
}

void idset_release(struct idset *set)
{
	free(set->id);
	memset(set, 0, sizeof(*set));
}
