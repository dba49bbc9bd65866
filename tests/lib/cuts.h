/* SPDX-License-Identifier: LGPL-2.1-or-later */
/* What a power cut may leave of a record: each state, as an image.
 *
 * For each prefix of the record (the cut comes after operation N):
 *
 *	whole      all N operations
 *	lost       all but those that no sync covers
 *	missing    all but one that no sync covers
 *	page       the same, but only one 4 KiB page of a longer write is missing
 *	torn       the last write ends at one of its 512-byte sectors
 *	scattered  a random choice of pages of uncovered writes is missing
 *
 * A write is covered by a later sync of its file, a name (create, mkdir,
 * rename, unlink) by a later sync of its directory, a rename by that of
 * either directory. The page cache holds one version of a page, so a page
 * that misses an uncovered write misses the later uncovered ones as well. A
 * sector is written whole or not at all.
 */
#ifndef TESTS_LIB_CUTS_H
#define TESTS_LIB_CUTS_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "tests/lib/image.h"
#include "tests/lib/recorder.h"

struct cut_options {
	size_t first_prefix;    /* shortest prefix to cut at */
	unsigned int tears_max; /* torn states per prefix; 0: none */
	unsigned int scattered; /* scattered states per prefix */
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
