/* SPDX-License-Identifier: LGPL-2.1-or-later */
/* Stamped blocks and histories of them: see stamps.h. */
#include "tests/lib/stamps.h"

#include <errno.h>
#include <stdlib.h>
#include <string.h>

#include "fs/util/round.h"
#include "tests/lib/image.h"
#include "tests/lib/rng.h"

#define STAMP_MAGIC UINT64_C(0x504d41545353454c)

struct stamp_head {
	uint64_t magic;
	uint32_t version;
	uint32_t block;
};

struct stamps *stamps_new(uint32_t n_blocks, const uint32_t *base)
{
	struct stamps *stamps = need_memory(calloc(1, sizeof(*stamps)));

	stamps->n_blocks = n_blocks;
	stamps->base = need_memory(calloc(n_blocks, sizeof(*stamps->base)));
	if (base)
		memcpy(stamps->base, base, n_blocks * sizeof(*base));
	return stamps;
}

void stamps_free(struct stamps *stamps)
{
	if (!stamps)
		return;
	for (size_t i = 0; i < stamps->n_ops; i++)
		free(stamps->ops[i].all);
	free(stamps->base);
	free(stamps->ops);
	free(stamps->flushes);
	free(stamps);
}

struct stamp_op *stamps_add(
	struct stamps *stamps, uint32_t version, uint32_t block, uint32_t count)
{
	struct stamp_op *op;

	stamps->ops = need_memory(
		reallocarray(stamps->ops, stamps->n_ops + 1, sizeof(*stamps->ops)));
	op = &stamps->ops[stamps->n_ops++];
	*op = (struct stamp_op){
		.version = version, .block = block, .count = count, .kept = count};
	return op;
}

struct stamp_op *stamps_add_reset(struct stamps *stamps, const uint32_t *versions)
{
	struct stamp_op *op = stamps_add(stamps, STAMP_ABSENT, 0, 0);

	op->all = need_memory(malloc(stamps->n_blocks * sizeof(*op->all)));
	memcpy(op->all, versions, stamps->n_blocks * sizeof(*op->all));
	return op;
}

void stamps_add_flush(struct stamps *stamps, size_t ended, size_t ops)
{
	stamps->flushes = need_memory(reallocarray(
		stamps->flushes, stamps->n_flushes + 1, sizeof(*stamps->flushes)));
	stamps->flushes[stamps->n_flushes++] = (struct stamp_flush){.ended = ended, .ops = ops};
}

uint32_t stamps_value(uint32_t version, uint32_t block)
{
	return version > STAMP_ZERO && version % 5 == 0 && block % 3 == 0 ? STAMP_ZERO : version;
}

/* A third each: incompressible, half of it, nearly all of it. */
static void fill_block(uint32_t version, uint32_t block, uint8_t *buf)
{
	struct stamp_head head = {STAMP_MAGIC, version, block};
	uint64_t rng = (uint64_t)version << 32 | block;
	size_t noise = version % 3 == 0 ? DELTA_BLOCK_BYTES : version % 3 == 1 ? 2048 : 64;

	memset(buf, (int)(version & 0xff), DELTA_BLOCK_BYTES);
	if (stamps_value(version, block) == STAMP_ZERO) {
		memset(buf, 0, DELTA_BLOCK_BYTES);
		return;
	}
	for (size_t off = 0; off < noise; off += 8) {
		uint64_t word = rng_next(&rng);

		memcpy(buf + off, &word, 8);
	}
	memcpy(buf, &head, sizeof(head));
}

void stamps_fill(uint32_t version, uint32_t block, uint32_t count, uint8_t *buf)
{
	for (uint32_t i = 0; i < count; i++)
		fill_block(version, block + i, buf + (size_t)i * DELTA_BLOCK_BYTES);
}

int stamps_identify(const uint8_t *buf, uint32_t block, uint32_t *ret_version)
{
	uint8_t expected[DELTA_BLOCK_BYTES];
	struct stamp_head head;

	memcpy(&head, buf, sizeof(head));
	if (head.magic == 0) {
		memset(expected, 0, sizeof(expected));
		head.version = STAMP_ZERO;
	} else if (head.magic != STAMP_MAGIC || head.block != block ||
		   head.version < STAMP_FIRST) {
		return -EUCLEAN;
	} else {
		fill_block(head.version, block, expected);
	}
	if (memcmp(buf, expected, sizeof(expected)) != 0)
		return -EUCLEAN;
	*ret_version = head.version;
	return 0;
}

int stamps_read(struct delta *delta, uint32_t n_blocks, uint32_t *ret_versions)
{
	uint8_t *buf = need_memory(malloc((size_t)DELTA_BLOCKS_MAX * DELTA_BLOCK_BYTES));
	int rc = 0;

	for (uint32_t block = 0; rc >= 0 && block < n_blocks; block += (uint32_t)rc) {
		enum delta_owner owner = DELTA_ABSENT;
		uint32_t count = (uint32_t)min_u64(n_blocks - block, DELTA_BLOCKS_MAX);
		int run = rc = delta_read(delta, buf, count, block, false, &owner);

		for (uint32_t b = block; rc > 0 && b < block + (uint32_t)run; b++) {
			const uint8_t *at = buf + (size_t)(b - block) * DELTA_BLOCK_BYTES;

			ret_versions[b] = STAMP_ABSENT;
			if (owner != DELTA_ABSENT && stamps_identify(at, b, &ret_versions[b]) < 0)
				rc = -EUCLEAN;
		}
	}
	free(buf);
	return rc < 0 ? rc : 0;
}

static void apply(const struct stamps *stamps, uint32_t *versions, const struct stamp_op *op,
	uint32_t count)
{
	if (op->all)
		memcpy(versions, op->all, stamps->n_blocks * sizeof(*versions));
	for (uint32_t i = 0; i < count; i++)
		versions[op->block + i] = stamps_value(op->version, op->block + i);
}

/* versions is before, or before and the first blocks of op. */
static bool match_within(const struct stamps *stamps, const uint32_t *before,
	const struct stamp_op *op, const uint32_t *versions)
{
	uint32_t *model = need_memory(malloc(stamps->n_blocks * sizeof(*model)));
	bool same = false;

	for (uint32_t count = 0; !same && count <= (op ? op->count : 0); count++) {
		memcpy(model, before, stamps->n_blocks * sizeof(*model));
		if (op && !op->all)
			apply(stamps, model, op, count);
		same = memcmp(model, versions, stamps->n_blocks * sizeof(*model)) == 0;
	}
	free(model);
	return same;
}

int stamps_see_failed(const struct stamps *stamps, struct stamp_op *op, struct delta *delta)
{
	uint32_t *versions = need_memory(calloc(stamps->n_blocks, sizeof(*versions)));
	int rc = stamps_read(delta, stamps->n_blocks, versions);

	op->failed = true;
	op->kept = 0;
	while (op->kept < op->count && versions[op->block + op->kept] ==
			stamps_value(op->version, op->block + op->kept))
		op->kept++;
	free(versions);
	return rc;
}

/* k operations, of which those from whole on are there whole although they
 * failed, and perhaps the first blocks of the next. */
static bool match_state(const struct stamps *stamps, const uint32_t *versions, size_t whole,
	size_t k, size_t most)
{
	uint32_t *model = need_memory(malloc(stamps->n_blocks * sizeof(*model)));
	bool same;

	memcpy(model, stamps->base, stamps->n_blocks * sizeof(*model));
	for (size_t i = 0; i < k; i++) {
		const struct stamp_op *op = &stamps->ops[i];

		apply(stamps, model, op, i < whole ? op->kept : op->count);
	}
	same = match_within(stamps, model, k < most ? &stamps->ops[k] : NULL, versions);
	free(model);
	return same;
}

bool stamps_match(
	const struct stamps *stamps, const uint32_t *versions, size_t least, size_t most)
{
	/* What failed was promised to nobody. */
	while (least > 0 && stamps->ops[least - 1].failed)
		least--;
	for (size_t k = least; k <= most; k++) {
		size_t whole = k;

		for (;;) {
			if (match_state(stamps, versions, whole, k, most))
				return true;
			if (whole == 0 || !stamps->ops[whole - 1].failed)
				break;
			whole--;
		}
	}
	return false;
}

size_t stamps_least(const struct stamps *stamps, size_t prefix, bool killed)
{
	size_t least = 0;

	for (size_t i = 0; i < stamps->n_flushes; i++) {
		if (stamps->flushes[i].ended <= prefix && stamps->flushes[i].ops > least)
			least = stamps->flushes[i].ops;
	}
	for (size_t i = least; killed && i < stamps->n_ops && stamps->ops[i].ended <= prefix; i++)
		least = i + 1;
	return least;
}

size_t stamps_most(const struct stamps *stamps, size_t prefix)
{
	size_t most = 0;

	/* One that changed nothing left no record: it counts when it is over. */
	while (most < stamps->n_ops && (stamps->ops[most].begun < prefix ||
						stamps->ops[most].ended <= prefix))
		most++;
	return most;
}
