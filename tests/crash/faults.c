/* SPDX-License-Identifier: LGPL-2.1-or-later */
/* The Nth call or allocation fails in the life of a delta, for each N until none does.
 *
 * A script of writes, flushes, checkpoints, cleaning, reopens and a freeze runs
 * again and again. Each time: the error was reported or made no difference,
 * nothing crashed, and the delta, opened again without faults, has all that was
 * acknowledged; after a failed sync, all that had been flushed before, and
 * until it is opened again every call fails.
 */
#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "fs/store/delta.h"
#include "tests/lib/faultloop.h"
#include "tests/lib/image.h"
#include "tests/lib/rng.h"
#include "tests/lib/stamps.h"

#define NAME "00112233445566778899aabbccddeeff"
#define BLOCKS 64
#define CLEAN_BYTES (UINT64_C(1) << 20)
#define CLEAN_STEPS_MAX 1000

struct script {
	struct saboteur saboteur;
	struct stamps *stamps;
	struct delta *delta;
	int dirfd;
	size_t flushed; /* operations */
	bool sync_failed;
	bool unseen; /* the last write failed, and nobody knows yet what of it is there */
	bool frozen, freeze_begun;
	uint64_t failed_writes;
	uint64_t rng;
};

/* A call returned rc; hits: how often the fault had struck before it. A failed
 * sync of the log or, unless for want of space, of the super block ends it. */
static void note_failure(struct script *s, uint64_t hits, int rc, const char *what)
{
	if (rc < 0 && faultloop_hits(&s->saboteur) == 0)
		faultloop_fail(what, "fails for no reason");
	if (faultloop_hits(&s->saboteur) == hits || faultloop_is_memory() ||
		faultloop.fault->call != CALL_SYNC)
		return;
	if (strstr(s->saboteur.hit_name, ".log") ||
		(strstr(s->saboteur.hit_name, "super") && faultloop.fault->error != -ENOSPC))
		s->sync_failed = true;
}

/* How much of a write that failed is there is seen before the next one; a read
 * may be what fails, once. */
static bool see_failed(struct script *s)
{
	struct stamp_op *op = &s->stamps->ops[s->stamps->n_ops - 1];

	if (stamps_see_failed(s->stamps, op, s->delta) < 0 &&
		stamps_see_failed(s->stamps, op, s->delta) < 0)
		return false;
	s->unseen = false;
	return true;
}

static bool is_open(struct script *s)
{
	struct err err = {.code = 0};
	int rc;

	if (s->delta)
		return true;
	rc = PRODUCT(delta_open(s->dirfd, NAME,
		&(struct delta_options){.io = &s->saboteur.gate}, &s->delta, &err));
	if (rc == 0) {
		s->sync_failed = false;
		if (s->unseen && !see_failed(s))
			faultloop_fail("open", "but no read succeeds");
	} else if (rc != err.code || !err.message[0]) {
		faultloop_fail("open", "an error without its message");
	} else if (faultloop_is_space()) {
		faultloop_fail("open", "refused, although reads need no space");
	}
	return rc == 0;
}

static void script_write(struct script *s, uint32_t count, bool zero)
{
	uint32_t version = zero ? STAMP_ZERO : STAMP_FIRST + (uint32_t)s->stamps->n_ops;
	uint32_t block = (uint32_t)rng_below(&s->rng, BLOCKS - count + 1);
	struct stamp_op *op;
	uint8_t *buf;
	int rc;

	if (!is_open(s))
		return;
	buf = need_memory(malloc((size_t)count * DELTA_BLOCK_BYTES));
	stamps_fill(version, block, count, buf);
	rc = PRODUCT(zero ? delta_zero(s->delta, block, count) :
			    delta_write(s->delta, buf, count, block));
	free(buf);
	if (rc == 0 && s->sync_failed)
		faultloop_fail("write", "accepted after a failed sync");
	if (s->frozen) {
		if (rc != -EROFS)
			faultloop_fail("write", "not refused by what is frozen");
		return;
	}
	if (rc < 0 && rc != -EIO && rc != -ENOSPC && !(rc == -ENOMEM && faultloop_is_memory()))
		faultloop_fail("write", "neither EIO nor ENOSPC nor ENOMEM");
	if (faultloop_is_space() && rc < 0 && rc != -ENOSPC)
		faultloop_fail("write", "no space, or a quota, is not ENOSPC");
	if (rc < 0 && !s->sync_failed && faultloop_hits(&s->saboteur) == 0)
		faultloop_fail("write", "fails for no reason");
	s->failed_writes += rc < 0;
	if (faultloop_is_space() && s->failed_writes > faultloop_hits(&s->saboteur))
		faultloop_fail("write", "still refused when there is space again");
	stamps_add(s->stamps, version, block, count);
	if (rc == 0)
		return;
	/* Until it is seen it counts as not there; after a failed sync nothing reads. */
	op = &s->stamps->ops[s->stamps->n_ops - 1];
	op->failed = true;
	op->kept = 0;
	s->unseen = true;
	if (s->sync_failed || !see_failed(s)) {
		delta_abandon(s->delta);
		s->delta = NULL;
	}
}

static void script_flush(struct script *s)
{
	size_t ops = s->stamps->n_ops;
	int rc;

	if (!is_open(s))
		return;
	rc = PRODUCT(delta_flush(s->delta));
	if (rc == 0 && s->sync_failed)
		faultloop_fail("flush", "succeeds after a failed one");
	if (rc == 0)
		s->flushed = ops;
	else if (faultloop_hits(&s->saboteur) == 0)
		faultloop_fail("flush", "fails for no reason");
	else
		s->sync_failed = true;
}

static void script_reopen(struct script *s)
{
	size_t ops = s->stamps->n_ops;

	if (s->delta && PRODUCT(delta_close(s->delta)) == 0)
		s->flushed = ops;
	s->delta = NULL;
	is_open(s);
}

static void script_checkpoint(struct script *s)
{
	size_t ops = s->stamps->n_ops;
	uint64_t hits = faultloop_hits(&s->saboteur);
	bool failed = s->sync_failed;
	int rc;

	if (!is_open(s))
		return;
	rc = PRODUCT(delta_checkpoint(s->delta));
	if (rc == 0 && failed)
		faultloop_fail("checkpoint", "succeeds after a failed sync");
	if (rc == 0)
		s->flushed = ops;
	note_failure(s, hits, rc, "checkpoint");
}

static void script_clean(struct script *s)
{
	uint64_t hits = faultloop_hits(&s->saboteur), moved;
	int rc = 1;

	if (!is_open(s))
		return;
	for (int i = 0; rc > 0 && i < CLEAN_STEPS_MAX; i++)
		rc = PRODUCT(delta_clean(s->delta, CLEAN_BYTES, &moved));
	if (rc > 0)
		faultloop_fail("cleaning", "does not end");
	note_failure(s, hits, rc, "cleaning");
}

static void script_prepare(struct script *s)
{
	uint64_t hits = faultloop_hits(&s->saboteur);

	if (is_open(s))
		note_failure(s, hits, PRODUCT(delta_prepare(s->delta)), "preparing");
}

static void script_grow(struct script *s)
{
	uint64_t hits = faultloop_hits(&s->saboteur);

	if (is_open(s))
		note_failure(s, hits, PRODUCT(delta_grow(s->delta,
			delta_size(s->delta) + DELTA_BLOCK_BYTES)), "growing");
}

static void script_freeze(struct script *s)
{
	size_t ops = s->stamps->n_ops;
	uint64_t hits = faultloop_hits(&s->saboteur);
	int rc;

	if (!is_open(s))
		return;
	s->freeze_begun = true;
	rc = PRODUCT(delta_freeze(s->delta));
	if (rc == 0 && s->sync_failed)
		faultloop_fail("freezing", "succeeds after a failed sync");
	note_failure(s, hits, rc, "freezing");
	if (rc == 0) {
		s->frozen = true;
		s->flushed = ops;
	}
}

static void run_step(struct script *s, char step)
{
	switch (step) {
	case '1':
		script_write(s, 1, false);
		break;
	case 'w':
		script_write(s, 7, false);
		break;
	case 'W':
		script_write(s, 60, false);
		break;
	case 'z':
		script_write(s, 30, true);
		break;
	case 'f':
		script_flush(s);
		break;
	case 'p':
		script_checkpoint(s);
		break;
	case 'C':
		script_clean(s);
		break;
	case 'a':
		script_prepare(s);
		break;
	case 'g':
		script_grow(s);
		break;
	case 'F':
		script_freeze(s);
		break;
	case 'r':
		if (s->delta)
			delta_abandon(s->delta);
		s->delta = NULL;
		break;
	default:
		script_reopen(s);
	}
}

static void run_script(struct script *s)
{
	const char *steps = "1w1f1WpWzC1fcaw1fW1gWrWCp1f1cWCwF1";

	while (*steps)
		run_step(s, *steps++);
}

/* Without faults: is all there that was promised? */
static void check_script(struct script *s)
{
	uint32_t versions[BLOCKS];
	uint8_t block[DELTA_BLOCK_BYTES];
	bool killed_only = faultloop_is_memory() || faultloop.fault->call != CALL_SYNC;
	bool layer = s->frozen;
	size_t least = killed_only ? s->stamps->n_ops : s->flushed;
	struct err err;

	if (delta_open(s->dirfd, NAME, &(struct delta_options){.layer = layer}, &s->delta, &err) < 0)
		faultloop_fail("opening it again", err.message);
	if (stamps_read(s->delta, BLOCKS, versions) < 0)
		faultloop_fail("reading it again", "a block is unreadable or a mixture");
	if (!stamps_match(s->stamps, versions, least, s->stamps->n_ops))
		faultloop_fail("reading it again", "not what was acknowledged");
	memset(block, 7, sizeof(block));
	if (delta_write(s->delta, block, 1, 0) < 0)
		layer = s->freeze_begun; /* it was done, and said to have failed */
	else
		layer = false;
	if (layer != s->frozen && !(layer && s->freeze_begun))
		faultloop_fail("writing again", s->frozen ? "not refused" : "refused");
	if (delta_flush(s->delta) < 0 || delta_close(s->delta) < 0)
		faultloop_fail("closing it again", "fails");
}

/* true: the fault struck. */
static bool delta_run(void)
{
	struct script s = {.rng = 1};
	bool struck;
	struct err err;

	image_clear(faultloop.dir);
	s.dirfd = open(faultloop.dir, O_RDONLY | O_DIRECTORY | O_CLOEXEC);
	s.stamps = stamps_new(BLOCKS, NULL);
	if (delta_create(NULL, s.dirfd, NAME, BLOCKS * DELTA_BLOCK_BYTES, &err) < 0)
		faultloop_fail("create", err.message);
	faultloop_arm(&s.saboteur);
	run_script(&s);
	struck = faultloop_hits(&s.saboteur) > 0;
	faultloop_disarm(&s.saboteur);
	if (s.delta)
		delta_abandon(s.delta);
	check_script(&s);
	stamps_free(s.stamps);
	close(s.dirfd);
	return struck;
}

int main(void)
{
	fault_fn *const scenarios[] = {delta_run};

	return faultloop_main("faults", scenarios, 1);
}
