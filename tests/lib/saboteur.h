/* SPDX-License-Identifier: LGPL-2.1-or-later */
/* A gate that fails or lies on request, in front of another gate. */
#ifndef TESTS_LIB_SABOTEUR_H
#define TESTS_LIB_SABOTEUR_H

#include <pthread.h>
#include <stdbool.h>
#include <stdint.h>

#include "fs/util/io.h"

enum sabotage {
	SABOTAGE_NONE,
	SABOTAGE_FAIL,  /* the call fails with error and does nothing */
	SABOTAGE_SHORT, /* pwritev writes half of it and says so; the next one fails with error */
	SABOTAGE_LIE,   /* the call says that it did it and does nothing */
};

enum sabotaged_call {
	CALL_OPENAT,
	CALL_MKDIRAT,
	CALL_UNLINKAT,
	CALL_RENAMEAT,
	CALL_LINKAT,
	CALL_PREAD,
	CALL_PWRITEV,
	CALL_FALLOCATE,
	CALL_FTRUNCATE,
	CALL_SYNC, /* fdatasync and fsync */
	N_CALLS,
};

#define SABOTEUR_FDS 1024
#define SABOTEUR_NAME_END 8 /* a suffix is shorter */

struct saboteur {
	struct io_gate gate; /* first: a gate is its saboteur */
	const struct io_gate *inner;
	enum sabotage kind;
	enum sabotaged_call call;
	uint64_t nth; /* of that call, from 1; 0: every one */
	int error;    /* -errno */
	const char *suffix; /* of the file's name: only calls on such files count; NULL: all */
	/* Called before each call, without the lock; may wait. NULL: nothing. */
	void (*hook)(void *ctx, enum sabotaged_call call);
	void *hook_ctx;

	pthread_mutex_t lock; /* all below */
	uint64_t count[N_CALLS];
	uint64_t hits;
	bool fail_next; /* after a short write */
	char hit_name[SABOTEUR_NAME_END]; /* end of the last struck file's name */
	char name_end[SABOTEUR_FDS][SABOTEUR_NAME_END]; /* of what each descriptor opened */
};

void saboteur_init(struct saboteur *saboteur, const struct io_gate *inner);

extern const char *const saboteur_call_names[N_CALLS];

#endif
