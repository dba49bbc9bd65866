/* SPDX-License-Identifier: LGPL-2.1-or-later */
/* Lives of a delta between power cuts: each state of one is the beginning of another.
 *
 * A life is: open a delta, check what is on it, work on it, and record all
 * changes and syncs. Then each state of cuts.h is the beginning of another
 * life, two deep (and now and then three). Checked at each begin:
 *
 *	it opens, in half of the cases without its checkpoint;
 *	every block is whole and says which write it came from;
 *	together they are what the first k operations gave, for some k that has
 *	all that was flushed, and after a mere kill all that was acknowledged;
 *	the library's checker finds nothing to complain of.
 */
#ifndef TESTS_LIB_LIFE_H
#define TESTS_LIB_LIFE_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "fs/store/delta.h"
#include "tests/lib/recorder.h"
#include "tests/lib/saboteur.h"
#include "tests/lib/stamps.h"

#define LIFE_DEPTH_MAX 3
#define LIFE_GROWTHS_MAX 8

/* What one life does, one letter per step:
 *	w  write 1 to 4 blocks       W  write 20 to 40 (crosses segment ends)
 *	1  write one block           z  zero some blocks
 *	o  write the same five blocks again, of noise
 *	f  flush                     c  close cleanly and open again
 *	b  four writes at once, three of them in one batch
 *	g  grow the disk             k  abandon and open again (a killed process)
 *	p  checkpoint                C  clean until nothing more is worth it
 *	a  prepare a slot ahead      F  freeze; what follows must be refused */
struct life_plan {
	const char *name;
	const char *setup;        /* steps that are not cut */
	const char *steps;        /* of the first life */
	const char *second_steps; /* of each life in a state of the first */
	uint32_t n_blocks;
	bool last_only;            /* cut in the last step only */
	unsigned int second_every; /* of how many states one gets a second life; 0: none */
	unsigned int third_every;
	unsigned int subset_max; /* see cuts.h */
	unsigned int tears_max;
	unsigned int sample;
	unsigned int fsck_every; /* of how many states one is checked by the library; 0: none */
	/* In the first life, after its setup; in all steps, or in those of one letter. */
	enum sabotage sabotage;
	enum sabotaged_call call;
	const char *suffix; /* of the file's name; NULL: any */
	char during;        /* 0: all */
	uint64_t nth;
	int error;
	bool must_fail; /* a test of the test: a state has to be wrong */
};

struct life_totals {
	uint64_t states[LIFE_DEPTH_MAX + 1]; /* tried at each depth; [0] is not used */
	uint64_t without_checkpoint; /* of them, opened after it was taken away */
	uint64_t checked;            /* of them, by the library's checker */
	uint64_t freed, reused;      /* headers written: free ones, and segments over those */
	uint64_t checkpoints;        /* published */
};

/* Directories to work in, made and removed; seed brings a run back. */
void lives_begin(uint64_t seed);
void lives_end(void);

/* Random numbers and versions begin again: a plan gives the same alone. */
void lives_seed(uint64_t seed);

/* 0, or -1 for a state that is not as it has to be, said on standard error
 * unless that was wanted. */
int lives_run(const struct life_plan *plan);

const struct life_totals *lives_totals(void);

/* ---- one life: life.c; its states: lives.c ---- */

struct growth {
	size_t begun, ended; /* marks in the record */
	uint64_t size_bytes;
};

struct life {
	const struct life_plan *plan;
	unsigned int depth; /* 0: the first */
	uint32_t n_blocks;
	struct recorder *rec;
	/* Before the recorder: a lie is told to the delta, not to the record. */
	struct saboteur saboteur;
	struct stamps *stamps;
	struct delta *delta;
	int dirfd;
	uint64_t size_bytes; /* of the disk when the life begins */
	struct growth grown[LIFE_GROWTHS_MAX];
	unsigned int n_grown;
	size_t frozen_begun, frozen_ended; /* marks; 0: not */
	bool is_layer;                     /* opened as one */
	uint64_t *rng;
	uint32_t *next_version;
	bool quiet; /* a failure is what we want */
	bool armed; /* the plan's sabotage may strike */
};

#define LIFE_NAME "00112233445566778899aabbccddeeff"

int life_complain(const struct life *life, const char *what, const char *why);
int life_open(struct life *life, const char *what);
int life_work(struct life *life, const char *steps);
/* Without closing; the record and the stamps are freed. */
void life_end(struct life *life);

#endif
