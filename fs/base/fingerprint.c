/* SPDX-License-Identifier: LGPL-2.1-or-later */
/* Taking and comparing fingerprints: see fingerprint.h. */
#include "fs/base/fingerprint.h"

#include <errno.h>
#include <fcntl.h>
#include <stdlib.h>
#include <string.h>

#include "fs/base/fingerprint-tree.h"
#include "fs/base/raw.h"
#include "fs/util/cleanup.h"
#include "fs/util/hash.h"
#include "fs/util/le.h"
#include "fs/util/round.h"

#define READ_BYTES (16 * FINGERPRINT_LEAF_BYTES)
#define PROGRESS_LEAVES 64 /* between two words of progress */

/* ---- one pass over the file ---- */

struct pass {
	const char *path;
	bool (*progress)(void *ctx, uint64_t done_bytes, uint64_t total_bytes);
	void *ctx;
	struct raw raw;
	struct fingerprint *print;
	struct hash64_stream *node; /* of the leaves of the node at hand */
	uint64_t zeros;             /* hash of a whole leaf of zeros */
	uint64_t hole_start, hole_end; /* the last stretch that raw_hole() looked up */
	unsigned char *buf;         /* READ_BYTES at buf_off, buf_len of them read */
	uint64_t buf_off;
	size_t buf_len;
};

static void pass_clear(struct pass *pass)
{
	close_fd(&pass->raw.fd);
	hash64_free(pass->node);
	free(pass->buf);
	free(pass->print);
}

static int pass_begin(struct pass *pass, struct err *err)
{
	struct raw raw;
	int rc = raw_open(pass->path, &raw, err);

	if (rc < 0)
		return rc;
	rc = raw_open_medium(&raw, &pass->raw);
	close_fd(&raw.fd);
	if (rc < 0)
		return err_sys(err, rc, "%s", pass->path);
	pass->print = calloc(1, sizeof(*pass->print));
	pass->buf = aligned_alloc(RAW_DIRECT_BYTES, READ_BYTES);
	if (!pass->print || !pass->buf)
		return err_sys(err, -ENOMEM, "%s", pass->path);
	memset(pass->buf, 0, FINGERPRINT_LEAF_BYTES);
	pass->zeros = hash64(pass->buf, FINGERPRINT_LEAF_BYTES, 0);
	pass->print->size_bytes = pass->raw.size_bytes;
	return 0;
}

static size_t leaf_len(const struct pass *pass, uint64_t off)
{
	return (size_t)min_u64(FINGERPRINT_LEAF_BYTES, pass->raw.size_bytes - off);
}

/* A whole leaf in a hole: zeros, unread. */
static bool in_hole(struct pass *pass, uint64_t off)
{
	uint64_t end = off + FINGERPRINT_LEAF_BYTES;

	if (pass->raw.device || end > pass->raw.size_bytes)
		return false;
	if (off >= pass->hole_end) {
		bool hole = raw_hole(&pass->raw, off, &pass->hole_end);

		pass->hole_start = hole ? off : pass->hole_end;
	}
	return off >= pass->hole_start && end <= pass->hole_end;
}

/* The leaf's bytes in the buffer; ahead: those that follow it too. */
static int fetch(struct pass *pass, uint64_t off, bool ahead)
{
	size_t len = leaf_len(pass, off);
	int rc;

	if (off >= pass->buf_off && off + len <= pass->buf_off + pass->buf_len)
		return 0;
	if (ahead)
		len = (size_t)min_u64(READ_BYTES, pass->raw.size_bytes - off);
	rc = raw_read(&pass->raw, pass->buf, len, off, false);
	pass->buf_off = off;
	pass->buf_len = rc < 0 ? 0 : len;
	return rc;
}

static int hash_leaf(struct pass *pass, uint64_t number, bool ahead, uint64_t *ret_hash)
{
	uint64_t off = number * FINGERPRINT_LEAF_BYTES;
	int rc;

	if (in_hole(pass, off)) {
		*ret_hash = pass->zeros;
		return 0;
	}
	rc = fetch(pass, off, ahead);
	if (rc == 0)
		*ret_hash = hash64(pass->buf + (off - pass->buf_off), leaf_len(pass, off), 0);
	return rc;
}

/* ---- the sample ---- */

static int take_sample(struct pass *pass)
{
	struct fingerprint *print = pass->print;
	int rc = 0;

	print->n_leaves = fingerprint_sample_count(print->size_bytes);
	for (uint32_t i = 0; rc == 0 && i < print->n_leaves; i++) {
		struct fingerprint_leaf *leaf = &print->leaves[i];

		leaf->number = fingerprint_sample_number(print->size_bytes, i);
		rc = hash_leaf(pass, leaf->number, false, &leaf->hash);
	}
	return rc;
}

/* ---- all of it ---- */

static void add_hash(struct hash64_stream *stream, uint64_t hash)
{
	le64 word = le64_put(hash);

	hash64_add(stream, &word, sizeof(word));
}

static bool say_progress(const struct pass *pass, uint64_t n_done)
{
	uint64_t total = pass->print->size_bytes;

	return !pass->progress ||
		pass->progress(pass->ctx, min_u64(n_done * FINGERPRINT_LEAF_BYTES, total), total);
}

/* The leaves of one node; those of the sample are kept on the way. */
static int take_node(struct pass *pass, uint64_t first, uint64_t end, uint32_t *next_sample)
{
	struct fingerprint *print = pass->print;

	hash64_free(pass->node);
	pass->node = hash64_begin(0);
	if (!pass->node)
		return -ENOMEM;
	for (uint64_t i = first; i < end; i++) {
		uint64_t hash;
		int rc = hash_leaf(pass, i, true, &hash);

		if (rc < 0)
			return rc;
		add_hash(pass->node, hash);
		if (*next_sample < print->n_leaves &&
			fingerprint_sample_number(print->size_bytes, *next_sample) == i)
			print->leaves[(*next_sample)++] =
				(struct fingerprint_leaf){.number = i, .hash = hash};
		if ((i + 1) % PROGRESS_LEAVES == 0 && !say_progress(pass, i + 1))
			return -EINTR;
	}
	print->nodes[print->n_nodes++] = hash64_so_far(pass->node);
	return 0;
}

uint64_t fingerprint_root(const struct fingerprint *print)
{
	le64 words[FINGERPRINT_NODES_MAX];

	for (uint32_t i = 0; i < print->n_nodes; i++)
		words[i] = le64_put(print->nodes[i]);
	return hash64(words, print->n_nodes * sizeof(*words), print->size_bytes);
}

static int take_all(struct pass *pass)
{
	struct fingerprint *print = pass->print;
	uint64_t n_leaves = fingerprint_leaf_count(print->size_bytes), per_node;
	uint32_t next_sample = 0;
	int rc = 0;

	print->span_bytes = fingerprint_span(print->size_bytes);
	print->n_leaves = fingerprint_sample_count(print->size_bytes);
	per_node = print->span_bytes / FINGERPRINT_LEAF_BYTES;
	posix_fadvise(pass->raw.fd, 0, 0, POSIX_FADV_DONTNEED); /* what the medium holds */
	posix_fadvise(pass->raw.fd, 0, 0, POSIX_FADV_SEQUENTIAL);
	for (uint64_t i = 0; rc == 0 && i < n_leaves; i += per_node)
		rc = take_node(pass, i, min_u64(i + per_node, n_leaves), &next_sample);
	print->root = fingerprint_root(print);
	print->full = true;
	return rc;
}

/* ---- the door's two ways to take one ---- */

static int take(struct pass *pass, int (*how)(struct pass *pass), struct fingerprint **ret,
	struct err *err)
{
	int rc = pass_begin(pass, err);

	if (rc == 0) {
		rc = how(pass);
		if (rc < 0)
			err_sys(err, rc, "reading %s", pass->path);
	}
	if (rc == 0)
		*ret = steal_ptr(&pass->print);
	pass_clear(pass);
	return rc;
}

int fingerprint_sample(const char *path, struct fingerprint **ret, struct err *err)
{
	struct pass pass = {.path = path, .raw = {.fd = -1}};

	return take(&pass, take_sample, ret, err);
}

int fingerprint_full(const char *path,
	bool (*progress)(void *ctx, uint64_t done_bytes, uint64_t total_bytes), void *ctx,
	struct fingerprint **ret, struct err *err)
{
	struct pass pass = {
		.path = path, .progress = progress, .ctx = ctx, .raw = {.fd = -1}};

	return take(&pass, take_all, ret, err);
}

/* ---- comparing ---- */

static struct fingerprint_range range_of(const struct fingerprint *print, uint64_t start,
	uint64_t len)
{
	return (struct fingerprint_range){start, min_u64(start + len, print->size_bytes)};
}

static bool leaf_differs(const struct fingerprint *a, const struct fingerprint *b,
	struct fingerprint_range *ret_range)
{
	for (uint32_t i = 0; i < a->n_leaves; i++) {
		if (a->leaves[i].hash == b->leaves[i].hash)
			continue;
		*ret_range = range_of(a, a->leaves[i].number * FINGERPRINT_LEAF_BYTES,
			FINGERPRINT_LEAF_BYTES);
		return true;
	}
	return false;
}

static bool node_differs(const struct fingerprint *a, const struct fingerprint *b,
	struct fingerprint_range *ret_range)
{
	for (uint32_t i = 0; a->full && b->full && i < a->n_nodes; i++) {
		if (a->nodes[i] == b->nodes[i])
			continue;
		*ret_range = range_of(a, i * a->span_bytes, a->span_bytes);
		return true;
	}
	return false;
}

/* Of the same size, so that leaves and nodes lie at the same places. A leaf
 * says more precisely where than the node that it lies in. */
static bool content_differs(const struct fingerprint *a, const struct fingerprint *b,
	struct fingerprint_range *ret_range)
{
	struct fingerprint_range leaf, node;
	bool leaves = leaf_differs(a, b, &leaf), nodes = node_differs(a, b, &node);

	if (leaves || nodes)
		*ret_range = leaves && (!nodes || leaf.start < node.end) ? leaf : node;
	return leaves || nodes;
}

bool fingerprint_differs(const struct fingerprint *a, const struct fingerprint *b,
	struct fingerprint_range *ret_range)
{
	uint64_t small = min_u64(a->size_bytes, b->size_bytes);
	uint64_t large = max_u64(a->size_bytes, b->size_bytes);

	if (small == large)
		return content_differs(a, b, ret_range);
	*ret_range = (struct fingerprint_range){small, large};
	return true;
}
