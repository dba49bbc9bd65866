/* SPDX-License-Identifier: LGPL-2.1-or-later */
/* A store with one small clone "web" in a directory of its own, to damage, check, repair and read.
 *
 *	cmocka_run_group_tests(tests, onestore_setup, onestore_teardown)
 *	onestore_make(CLEAN) ... onestore_flip("log", ...) ... onestore_repair(false)
 *
 * What was written is known (stamps.h): after a repair each block is what it
 * was, or an error; or, where the log was cut, all blocks together are what they were
 * at one moment. Failures end the test by cmocka's assertions, so include
 * cmocka.h first. SEED= brings a failure back.
 */
#ifndef TESTS_LIB_ONESTORE_H
#define TESTS_LIB_ONESTORE_H

#include <stdbool.h>
#include <stdint.h>

#include "fs/store/check.h"
#include "fs/store/delta.h"
#include "tests/lib/stamps.h"
#include "tests/lib/temp.h"

#define ONESTORE_BLOCKS 96 /* of its disk */
#define ONESTORE_OPS 400

struct onestore {
	char top[TEMP_PATH_MAX]; /* the store is TOP/store, and unchanged TOP/pristine */
	uint64_t rng;
	struct stamp_op ops[ONESTORE_OPS];
	unsigned int n_ops;
	uint32_t last[ONESTORE_BLOCKS]; /* versions at the end */
	uint64_t asked[64];    /* by problem code, in the last check */
	uint64_t refused;      /* problems whose answer is no, a bit each; set by the test */
	const struct io_gate *io; /* of the check; set by the test. NULL: the kernel */
	bool may_fail;         /* check and repairs; set by the test */
	/* Called for each clone that is checked; set by the test. */
	void (*clone)(void *ctx, struct check *check, const struct manifest *m);
	/* of the last repair: */
	bool cut;              /* the log was cut */
	uint64_t found_codes;  /* the problems that were there, a bit each */
	char damage[128];      /* said when what is read is wrong */
};

extern struct onestore onestore;

enum ending { CLEAN, KILLED };
enum answer { NO, YES, PREEN };

int onestore_setup(void **state); /* prints the seed */
int onestore_teardown(void **state);

/* TOP/NAME, valid until the next call but one. */
const char *onestore_path(const char *name);
struct store *onestore_open(void);
void onestore_make_clone(struct store *store, const char *name);

/* Two lives, the first of several segments; flushed, then closed or not.
 * checkpoint: one is written in the middle of each. */
void onestore_make(enum ending ending, bool checkpoint);
/* The same with lives that overwrite, flush, clean and write checkpoints at
 * random moments; where segments are tiny most of them were reused. */
void onestore_make_busy(enum ending ending);
/* As it was made. */
void onestore_restore(void);

/* The disk's log becomes its newest layer, as a snapshot does it, and has that id. */
struct id onestore_freeze(void);

/* Of a clone to be, on web's layers; the caller frees it. */
struct manifest *onestore_manifest_beside(struct store *store, const char *name);

struct delta *onestore_delta(void);
void onestore_write(struct delta *delta, uint32_t count);

/* The file of the disk's log with that suffix. */
int onestore_file(const char *suffix);
uint64_t onestore_file_bytes(const char *suffix);
void onestore_flip(const char *suffix, uint64_t at, unsigned int bit);
void onestore_flip_layer(const struct id *layer, uint64_t at, unsigned int bit);
void onestore_unlink(const char *suffix);
bool onestore_has(const char *suffix);

/* Returns how many problems are left. */
unsigned int onestore_check(enum answer how, bool full);

/* Of each block, through the layers; ONESTORE_BAD: reading it is an error. */
#define ONESTORE_BAD UINT32_MAX
void onestore_read(uint32_t versions[static ONESTORE_BLOCKS]);

/* What is read is the end's state, but for errors; or, with earlier, that of one
 * moment before it. */
void onestore_expect(bool earlier);
unsigned int onestore_bad_blocks(void);

/* Repair with every answer yes; the second run is clean, and nothing that is
 * read is wrong. may_be_torn: the damage may look like the end of a killed life. */
void onestore_repair(bool may_be_torn);

#endif
