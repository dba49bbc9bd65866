/* SPDX-License-Identifier: LGPL-2.1-or-later */
/* Are the bases of clones what they were? Each is looked at once. */
#ifndef TOOLS_BASES_H
#define TOOLS_BASES_H

#include <stddef.h>

#include "fs/store/store.h"

struct bases {
	struct known_base *known;
	size_t n, room;
};

/* What is wrong with the base of disk; NULL: nothing. Stays until the release. */
const char *bases_problem(struct bases *bases, const struct store_disk *disk);
void bases_release(struct bases *bases);

#endif
