/* SPDX-License-Identifier: LGPL-2.1-or-later */
/* Checking a store, and repairing what its owner says yes to: the library of lazyclone-fsck.
 *
 * Problems come one by one (problem.h says which there are) to a callback
 * that decides; what repairs them is here. Nothing is deleted but what
 * store.h calls garbage, and checkpoints, which are caches: what is replaced or taken out of
 * the store goes to STORE/lost+found.
 *
 * What may be lost at each crash point of a repair: nothing. A new log is
 * whole and durable before the manifest names it, and the damaged one has its
 * name in lost+found before that. The next check goes on from there.
 *
 * Who repairs is the store's one daemon for that time (store_lock). Without
 * repair nothing is written, and a store that is in use may be looked at: then
 * what is found may be no damage, only moving.
 */
#ifndef FS_STORE_CHECK_H
#define FS_STORE_CHECK_H

#include <stdbool.h>
#include <stdint.h>

#include "fs/store/problem.h"
#include "fs/store/store.h"

struct check_problem {
	const struct problem_kind *kind;
	const char *where;  /* "clone web1: disk vda", ...; "": the store */
	const char *detail; /* "": none */
};

struct check {
	bool repair; /* false: nothing is written, and every answer is no */
	bool full;   /* read all that is there, also behind a checkpoint */
	/* A problem is there; shall it be repaired? Not asked (may_repair false) when nothing can
	 * be done about it. */
	bool (*ask)(void *ctx, const struct check_problem *problem, bool may_repair);
	/* What came of it: rc 0, or why not. */
	void (*repaired)(void *ctx, const struct check_problem *problem, int rc,
		const struct err *err);
	/* Worth knowing, and no problem. NULL: not wanted. */
	void (*note)(void *ctx, const char *where, const char *text);
	/* How far one delta is; not 0 ends the check (-ECANCELED). NULL: not wanted. */
	int (*progress)(void *ctx, const char *where, uint64_t done, uint64_t total);
	/* A clone whose manifest is good, before its disks. NULL: not wanted. */
	void (*clone)(void *ctx, struct check *check, const struct manifest *m);
	void *ctx;

	/* Out, counted. */
	uint64_t leftovers, damages, unknowns; /* problems by grade */
	uint64_t n_repaired;
	uint64_t clones, deltas, layers;
	uint64_t data_blocks; /* read and verified */
	uint64_t marked_bad;  /* blocks that an earlier repair marked as lost */
};

/* Count a problem, ask, and say what came of it: fix(ctx) repairs it, NULL: it
 * can not be. 1: repaired; 0: left; -errno never. */
int check_report(struct check *check, enum problem_code code, const char *where,
	const char *detail, int (*fix)(void *ctx, struct err *err), void *ctx);

/* One delta or layer in dirfd. */
struct check_target {
	int dirfd;
	const struct id *id;
	const char *where;
	uint64_t size_bytes; /* as the manifest says; 0: not known */
	bool layer;
	/* A new, whole and durable log is in dirfd: let it take the place of the old
	 * one, and take that out of the store. One that fails before a manifest may name
	 * the new log removes it. NULL: damage cannot be repaired. */
	int (*adopt)(void *ctx, const struct id *new_log, struct err *err);
	void *ctx;
};

/* 0, also with problems; -ECANCELED; or -errno when it had to be given up. */
int check_delta(struct check *check, const struct io_gate *io, const struct check_target *target,
	struct err *err);

/* What store_open() needs: label and parts. path is a directory. */
int check_label(struct check *check, const struct io_gate *io, const char *path, struct err *err);

/* All of a store; names: only these clones and their layers (n 0: all). */
int check_store(struct check *check, const struct io_gate *io, struct store *store,
	char *const *names, uint32_t n, struct err *err);

#endif
