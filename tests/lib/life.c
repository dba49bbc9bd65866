/* SPDX-License-Identifier: LGPL-2.1-or-later */
/* One life of a delta, step by step, with what it promises: see life.h. */
#include "tests/lib/life.h"

#include <assert.h>
#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "tests/lib/batch.h"
#include "tests/lib/image.h"
#include "tests/lib/rng.h"

#define CLEAN_BYTES (UINT64_C(1) << 20)
#define CLEAN_STEPS_MAX 1000 /* more than there are segments */
#define AGAIN_BLOCKS 5u      /* of step o */

int life_complain(const struct life *life, const char *what, const char *why)
{
	if (!life->quiet)
		fprintf(stderr, "%s: life %u: %s: %s\n", life->plan->name, life->depth, what, why);
	return -1;
}

int life_open(struct life *life, const char *what)
{
	const struct delta_options options = {
		.io = &life->saboteur.gate, .layer = life->is_layer};
	struct err err;
	int rc = delta_open(life->dirfd, LIFE_NAME, &options, &life->delta, &err);

	return rc < 0 ? life_complain(life, what, err.message) : 0;
}

static void account(struct life *life, const struct batch_write *write, size_t begun)
{
	struct stamp_op *op =
		stamps_add(life->stamps, write->version, write->block, write->count);

	op->begun = begun;
	op->ended = recorder_length(life->rec);
	if (write->rc < 0 && stamps_see_failed(life->stamps, op, life->delta) < 0)
		life_complain(life, "after a failed write", "cannot read");
}

static uint32_t pick_block(const struct life *life, uint32_t count)
{
	return (uint32_t)rng_below(life->rng, life->stamps->n_blocks - count + 1);
}

static int write_at(struct life *life, uint32_t version, uint32_t block, uint32_t count)
{
	struct batch_write write = {version, block, count, 0};
	uint8_t *buf = need_memory(malloc((size_t)count * DELTA_BLOCK_BYTES));
	size_t begun = recorder_length(life->rec);

	stamps_fill(version, write.block, count, buf);
	if (version == STAMP_ZERO)
		write.rc = delta_zero(life->delta, write.block, count);
	else
		write.rc = delta_write(life->delta, buf, count, write.block);
	free(buf);
	if (life->frozen_begun && write.rc != -EROFS)
		return life_complain(life, "a write to what is frozen", "not refused");
	if (life->frozen_begun)
		return 0;
	account(life, &write, begun);
	return write.rc < 0 && life->saboteur.hits == 0 ?
		life_complain(life, "a write", strerror(-write.rc)) : 0;
}

static int do_write(struct life *life, uint32_t version, uint32_t count)
{
	return write_at(life, version, pick_block(life, count), count);
}

/* The same blocks, incompressible and no zeros: what lay there is dead. */
static int write_again(struct life *life)
{
	while (*life->next_version % 3 != 0 || *life->next_version % 5 == 0)
		(*life->next_version)++;
	return write_at(life, (*life->next_version)++, 1, AGAIN_BLOCKS);
}

/* Operations of one kind since begun. */
static unsigned int count_ops(const struct life *life, enum op_kind kind, size_t begun)
{
	unsigned int n = 0;

	for (size_t i = begun; i < recorder_length(life->rec); i++)
		n += recorder_op(life->rec, i)->kind == kind;
	return n;
}

/* One write, and three that wait for it and are combined. */
static int do_batch(struct life *life)
{
	struct batch_write writes[4];
	size_t begun = recorder_length(life->rec);

	for (int i = 0; i < 4; i++) {
		uint32_t count = 1 + (uint32_t)rng_below(life->rng, 3);

		writes[i] = (struct batch_write){
			(*life->next_version)++, pick_block(life, count), count, 0};
	}
	batch_run(life->delta, &life->saboteur, writes, 4);
	for (int i = 0; i < 4; i++)
		account(life, &writes[i], begun);
	if (life->saboteur.kind == SABOTAGE_NONE && count_ops(life, OP_ALLOC, begun) == 0 &&
		count_ops(life, OP_WRITE, begun) != 2)
		return life_complain(life, "a batch", "the leader did not combine");
	return 0;
}

/* A call that flushes returned rc. Only sabotage excuses a failure. */
static int flushed(struct life *life, size_t ops, int rc, const char *what)
{
	if (rc == 0)
		stamps_add_flush(life->stamps, recorder_length(life->rec), ops);
	else if (life->saboteur.hits == 0)
		return life_complain(life, what, strerror(-rc));
	return 0;
}

static int do_flush(struct life *life)
{
	size_t ops = life->stamps->n_ops;

	return flushed(life, ops, delta_flush(life->delta), "flush");
}

static int do_checkpoint(struct life *life)
{
	size_t ops = life->stamps->n_ops;
	int rc = delta_checkpoint(life->delta);

	/* What is frozen has its last one. */
	return life->frozen_begun && rc == -EROFS ? 0 : flushed(life, ops, rc, "checkpoint");
}

static int do_clean(struct life *life)
{
	uint64_t moved;
	int rc = 1;

	for (int i = 0; rc > 0; i++) {
		if (i == CLEAN_STEPS_MAX)
			return life_complain(life, "cleaning", "does not end");
		rc = delta_clean(life->delta, CLEAN_BYTES, &moved);
	}
	if (rc < 0 && life->saboteur.hits == 0 && !(life->frozen_begun && rc == -EROFS))
		return life_complain(life, "cleaning", strerror(-rc));
	return 0;
}

static int do_prepare(struct life *life)
{
	int rc = delta_prepare(life->delta);

	if (rc < 0 && life->saboteur.hits == 0 && !(life->frozen_begun && rc == -EROFS))
		return life_complain(life, "preparing a slot", strerror(-rc));
	return 0;
}

static int do_freeze(struct life *life)
{
	size_t ops = life->stamps->n_ops;
	int rc;

	if (life->frozen_begun)
		return 0;
	life->frozen_begun = recorder_length(life->rec) + 1;
	rc = delta_freeze(life->delta);
	life->frozen_ended = recorder_length(life->rec) + 1;
	return flushed(life, ops, rc, "freezing");
}

static int do_grow(struct life *life)
{
	struct growth *growth = &life->grown[life->n_grown];
	int rc;

	if (life->frozen_begun)
		return delta_grow(life->delta, delta_size(life->delta) + DELTA_BLOCK_BYTES) == 0 ?
			life_complain(life, "growing what is frozen", "not refused") : 0;
	assert(life->n_grown < LIFE_GROWTHS_MAX);
	growth->size_bytes = delta_size(life->delta) + 8 * DELTA_BLOCK_BYTES;
	growth->begun = recorder_length(life->rec);
	rc = delta_grow(life->delta, growth->size_bytes);
	growth->ended = recorder_length(life->rec);
	life->n_grown++;
	if (rc < 0) /* nobody knows */
		growth->ended = SIZE_MAX;
	return rc < 0 && life->saboteur.hits == 0 ?
		life_complain(life, "growing", strerror(-rc)) : 0;
}

static int do_reopen(struct life *life, bool clean)
{
	size_t ops = life->stamps->n_ops;

	if (!clean)
		delta_abandon(life->delta);
	else if (delta_close(life->delta) == 0)
		stamps_add_flush(life->stamps, recorder_length(life->rec), ops);
	life->delta = NULL;
	life->is_layer = life->frozen_begun > 0;
	if (life_open(life, clean ? "after a clean close" : "after a kill") < 0)
		return -1;
	/* An unclean open makes durable what it accepted. */
	stamps_add_flush(life->stamps, recorder_length(life->rec), ops);
	return 0;
}

static int do_step(struct life *life, char step)
{
	uint32_t n_blocks = life->stamps->n_blocks;
	uint32_t few = 1 + (uint32_t)rng_below(life->rng, 4);

	switch (step) {
	case 'w':
		return do_write(life, (*life->next_version)++, few);
	case '1':
		return do_write(life, (*life->next_version)++, 1);
	case 'W':
		return do_write(life, (*life->next_version)++,
			20 + (uint32_t)rng_below(life->rng, 21));
	case 'o':
		return write_again(life);
	case 'z':
		return do_write(
			life, STAMP_ZERO, 1 + (uint32_t)rng_below(life->rng, n_blocks / 2));
	case 'b':
		return do_batch(life);
	case 'f':
		return do_flush(life);
	case 'g':
		return do_grow(life);
	case 'p':
		return do_checkpoint(life);
	case 'C':
		return do_clean(life);
	case 'a':
		return do_prepare(life);
	case 'F':
		return do_freeze(life);
	case 'c':
	case 'k':
		return do_reopen(life, step == 'c');
	default:
		fprintf(stderr, "no step is called %c\n", step);
		exit(2);
	}
}

/* The plan's sabotage strikes in the first life's own steps. */
static void arm(struct life *life, char step)
{
	const struct life_plan *plan = life->plan;
	struct saboteur *saboteur = &life->saboteur;
	bool aimed = life->armed && (!plan->during || plan->during == step);

	if (aimed && plan->nth && (plan->during || saboteur->kind == SABOTAGE_NONE))
		saboteur->nth = saboteur->count[plan->call] + plan->nth;
	saboteur->kind = aimed ? plan->sabotage : SABOTAGE_NONE;
}

int life_work(struct life *life, const char *steps)
{
	int rc = 0;

	for (; rc == 0 && *steps; steps++) {
		arm(life, *steps);
		rc = do_step(life, *steps);
	}
	return rc;
}

void life_end(struct life *life)
{
	if (life->delta)
		delta_abandon(life->delta);
	if (life->dirfd >= 0)
		recorder_gate(life->rec)->close(recorder_gate(life->rec), life->dirfd);
	recorder_free(life->rec);
	stamps_free(life->stamps);
}
