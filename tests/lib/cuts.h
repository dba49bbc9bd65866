/* SPDX-License-Identifier: LGPL-2.1-or-later */
/* What a power cut may leave of a record: each state, as an image.
 *
 * For each prefix of the record (the cut comes after operation N), what no
 * sync covers is open:
 *
 *	whole      all N operations
 *	lost       all but the open ones
 *	subset     every choice of open operations is missing, up to subset_max
 *	           open ones; if there are more, each single one is, and each
 *	           alone is left, and subsets_random choices
 *	page       one 4 KiB page of a longer open write is missing
 *	torn       the last write ends at one of its sectors; or begins there
 *	scattered  a random choice of sectors or pages of open writes is missing
 *
 * A write, an allocation, a hole or a size is covered by a later sync of its
 * file, a name (create, mkdir, link, rename, unlink) by a later sync of its
 * directory, a rename by that of either directory. The page cache holds one
 * version of a sector, so a sector that misses an open write misses the later
 * ones as well. A sector is written whole or not at all. What an earlier
 * operation gave stays while a later one is missing: a hole that was not
 * punched has the bytes of before.
 */
#ifndef TESTS_LIB_CUTS_H
#define TESTS_LIB_CUTS_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "tests/lib/image.h"
#include "tests/lib/recorder.h"

struct cut_options {
	size_t first_prefix;         /* shortest prefix to cut at */
	unsigned int subset_max;     /* open operations of which all subsets are tried */
	unsigned int subsets_random; /* where there are more */
	unsigned int tears_max;      /* torn states per prefix and end; 0: none */
	unsigned int scattered;      /* scattered states per prefix */
	unsigned int sample;         /* one state in so many, but always whole and lost; 0: all */
	uint64_t *rng;
};

struct cut {
	const struct image *image; /* for the time of the call */
	size_t prefix;
	bool whole;       /* nothing of the prefix is missing: a killed process */
	const char *what; /* says which state it is */
};

typedef int cut_fn(void *ctx, const struct cut *cut);

/* Calls fn with each state. A result other than 0 ends it and is returned.
 * *ret_states grows by the number of calls. */
int cuts_each(const struct recorder *recorder, const struct cut_options *options, cut_fn *fn,
	void *ctx, uint64_t *ret_states);

#endif
