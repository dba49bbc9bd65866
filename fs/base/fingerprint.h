/* SPDX-License-Identifier: LGPL-2.1-or-later */
/* Door of fingerprints: what a file of a base holds, whatever it is called and wherever it lies.
 *
 * The identity (base.h) says that a file is still the same one, untouched; a
 * fingerprint says that two files hold the same bytes. It outlives what the
 * identity does not: a move to another file system, a copy, a restored backup.
 * And it looks where the identity does not: at content that was changed under
 * an unchanged modification time.
 *
 * It is a tree of XXH3 hashes over leaves of FINGERPRINT_LEAF_BYTES (the last
 * one may be shorter):
 *
 *	leaf    hash of its bytes
 *	node    hash of the hashes of its leaves; span_bytes of the file, the
 *	        smallest power of two times a leaf that leaves NODES_MAX nodes
 *	root    hash of the hashes of all nodes, seeded with the size
 *
 * The sample is the leaves themselves, SAMPLES_MAX of them at most, evenly
 * spread from the first to the last: 4 MiB of reading for any image. The full
 * one has the nodes and the root as well, and needs all of the file read
 * (holes are known to be zeros). It depends on content and size only.
 *
 * Errors: -errno of the file system; -EINTR the caller stopped it; -EUCLEAN not
 * a fingerprint. Threads: any; nothing is shared.
 */
#ifndef FS_BASE_FINGERPRINT_H
#define FS_BASE_FINGERPRINT_H

#include <stdbool.h>
#include <stdint.h>

#include "fs/util/err.h"

#define FINGERPRINT_LEAF_BYTES 65536u
#define FINGERPRINT_SAMPLES_MAX 64u
#define FINGERPRINT_NODES_MAX 1024u
#define FINGERPRINT_TEXT_MAX 65536u /* a whole one has some 23 KiB */

struct fingerprint_leaf {
	uint64_t number;
	uint64_t hash;
};

struct fingerprint {
	uint64_t size_bytes;
	uint32_t n_leaves;
	struct fingerprint_leaf leaves[FINGERPRINT_SAMPLES_MAX];
	bool full; /* the rest is there */
	uint64_t span_bytes;
	uint32_t n_nodes;
	uint64_t nodes[FINGERPRINT_NODES_MAX];
	uint64_t root;
};

struct fingerprint_range {
	uint64_t start, end; /* in bytes of the file, end not included */
};

/* Take the sample of the file or device at path, or all of it. *ret is the
 * caller's to free(). progress may be NULL; when it says false, it ends. */
int fingerprint_sample(const char *path, struct fingerprint **ret, struct err *err);
int fingerprint_full(const char *path,
	bool (*progress)(void *ctx, uint64_t done_bytes, uint64_t total_bytes), void *ctx,
	struct fingerprint **ret, struct err *err);

/* The first range in which they differ, as far as both know: true, and where.
 * Of different sizes, what is in one only: the rest is not compared then. */
bool fingerprint_differs(const struct fingerprint *a, const struct fingerprint *b,
	struct fingerprint_range *ret_range);

/* One line of JSON. -ENOMEM. Caller frees. */
int fingerprint_format(const struct fingerprint *print, char **ret_text);
int fingerprint_parse(const char *text, struct fingerprint **ret, struct err *err);

#endif
