/* SPDX-License-Identifier: LGPL-2.1-or-later */
/* A delta on a file system whose device is watched, cut off, or fails.
 *
 *	tiny-device write DIR RECORD BLOCKLOG OPS
 *	    makes the delta if there is none, works on it in several lives, and
 *	    appends to RECORD (elsewhere): each operation before it is made, and after
 *	    each flush that returned how many operations it covered and how long
 *	    BLOCKLOG was then: all that is on the device from there on
 *	tiny-device check DIR RECORD BYTES
 *	    opens what is there after the first BYTES of BLOCKLOG reached the
 *	    device: all flushed by then, no mixture, nothing that fsck finds
 *	tiny-device look DIR RECORD BYTES
 *	    the same, but for what fsck finds: of a file system whose device failed, and
 *	    which was not mounted anew since. (ext4 without a journal, 6.18: an
 *	    fdatasync of later writes succeeds, and they are not on the device.)
 *	tiny-device fail DIR RECORD COMMAND
 *	    COMMAND makes the device refuse new blocks: a flush soon is EIO, and so is
 *	    all that follows
 *
 * Built with small segments, so that a short run checkpoints, cleans and reuses
 * them. SEED brings a run back. The delta is 00112233445566778899aabbccddeeff
 * in DIR.
 */
#include <errno.h>
#include <fcntl.h>
#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include "fs/store/check.h"
#include "fs/store/delta.h"
#include "tests/lib/image.h"
#include "tests/lib/rng.h"
#include "tests/lib/stamps.h"

#define NAME "00112233445566778899aabbccddeeff"
#define N_BLOCKS 600u
#define OP_BLOCKS_MAX 40u

struct run {
	int dirfd;
	FILE *record;
	const char *blocklog; /* or NULL */
	uint64_t rng;
	struct delta *delta;
	struct stamps *stamps;
	uint32_t version;
	uint64_t flushes;
};

static void fail(const char *what, int rc)
{
	fprintf(stderr, "tiny-device: error: %s: %s\n", what, strerror(rc < 0 ? -rc : rc));
	exit(1);
}

/* ---- the record ---- */

static void read_record(struct run *run, const char *path, uint64_t bytes, size_t *ret_least)
{
	FILE *file = fopen(path, "re");
	uint64_t ops, at;
	uint32_t version, block, count;
	char line[128];

	*ret_least = 0;
	if (!file)
		return;
	while (fgets(line, sizeof(line), file)) {
		if (sscanf(line, "op %" SCNu32 " %" SCNu32 " %" SCNu32, &version, &block,
			    &count) == 3) {
			stamps_add(run->stamps, version, block, count);
			run->version = version > run->version ? version : run->version;
		} else if (sscanf(line, "flushed %" SCNu64 " %" SCNu64, &ops, &at) == 2 &&
			at <= bytes) {
			*ret_least = ops;
		}
	}
	fclose(file);
}

static void note_flush(struct run *run)
{
	struct stat st = {0};

	if (run->blocklog && stat(run->blocklog, &st) < 0)
		fail(run->blocklog, errno);
	fprintf(run->record, "flushed %zu %jd\n", run->stamps->n_ops, (intmax_t)st.st_size);
	fflush(run->record);
	run->flushes++;
}

/* ---- one step ---- */

static uint64_t below(struct run *run, uint64_t n)
{
	return rng_below(&run->rng, n);
}

static int change(struct run *run, uint32_t block, uint32_t count, bool zero)
{
	static uint8_t buf[OP_BLOCKS_MAX * DELTA_BLOCK_BYTES];
	uint32_t version = zero ? STAMP_ZERO : ++run->version;
	int rc;

	fprintf(run->record, "op %" PRIu32 " %" PRIu32 " %" PRIu32 "\n", version, block, count);
	fflush(run->record);
	stamps_add(run->stamps, version, block, count);
	if (zero)
		return delta_zero(run->delta, block, count);
	stamps_fill(version, block, count, buf);
	rc = delta_write(run->delta, buf, count, block);
	return rc;
}

static int random_change(struct run *run)
{
	uint32_t count = 1 + (uint32_t)below(run, below(run, 4) == 0 ? OP_BLOCKS_MAX : 4);

	return change(run, (uint32_t)below(run, N_BLOCKS - count), count, below(run, 8) == 0);
}

static int flush(struct run *run)
{
	int rc = delta_flush(run->delta);

	if (rc == 0)
		note_flush(run);
	return rc;
}

static int clean(struct run *run)
{
	uint64_t moved;
	int rc;

	do
		rc = delta_clean(run->delta, UINT64_C(1) << 20, &moved);
	while (rc > 0);
	return rc;
}

static void open_delta(struct run *run)
{
	struct err err = {0};

	if (delta_open(run->dirfd, NAME, NULL, &run->delta, &err) < 0) {
		fprintf(stderr, "tiny-device: error: %s\n", err.message);
		exit(1);
	}
}

/* A clean stop, or none at all. */
static int reopen(struct run *run)
{
	int rc = 0;

	if (below(run, 2) == 0) {
		rc = delta_close(run->delta);
		if (rc == 0)
			note_flush(run);
	} else {
		delta_abandon(run->delta);
	}
	open_delta(run);
	return rc;
}

static int step(struct run *run)
{
	switch (below(run, 40)) {
	case 0:
		return reopen(run);
	case 1:
	case 2:
		return delta_checkpoint(run->delta);
	case 3:
	case 4:
		return clean(run);
	case 5:
		return delta_prepare(run->delta);
	case 6 ... 15:
		return flush(run);
	default:
		return random_change(run);
	}
}

/* ---- the three ---- */

static void run_begin(struct run *run, const char *dir)
{
	run->dirfd = open(dir, O_RDONLY | O_DIRECTORY | O_CLOEXEC);
	if (run->dirfd < 0)
		fail(dir, errno);
	run->stamps = stamps_new(N_BLOCKS, NULL);
	run->version = STAMP_FIRST;
	run->rng = rng_seed();
}

static void make_delta(struct run *run)
{
	int rc = delta_create(NULL, run->dirfd, NAME, N_BLOCKS * DELTA_BLOCK_BYTES, NULL);

	if (rc == 0)
		rc = fsync(run->dirfd) < 0 ? -errno : 0;
	if (rc < 0)
		fail("cannot make the delta", rc);
	note_flush(run);
}

static void open_record(struct run *run, const char *path)
{
	run->record = fopen(path, "ae");
	if (!run->record)
		fail(path, errno);
}

static int do_write(struct run *run, const char *record, uint64_t ops)
{
	struct delta_stats stats;

	open_record(run, record);
	make_delta(run);
	open_delta(run);
	printf("seed %" PRIu64 "\n", run->rng);
	for (uint64_t i = 0; i < ops; i++) {
		int rc = step(run);

		if (rc < 0)
			fail("a step failed", rc);
	}
	delta_stats(run->delta, &stats);
	printf("%zu changes, %" PRIu64 " flushes, %" PRIu64 " bytes appended, %" PRIu64
	       " moved in the last life\n", run->stamps->n_ops, run->flushes,
		stats.appended_bytes, stats.moved_bytes);
	delta_abandon(run->delta);
	return 0;
}

static bool complain(void *ctx, const struct check_problem *problem, bool may_repair)
{
	fprintf(stderr, "tiny-device: %s: %s\n", problem->where, problem->detail);
	return false;
}

/* What lazyclone-fsck -n -f would say. */
static int check_all(struct run *run)
{
	struct check check = {.full = true, .ask = complain};
	struct check_target target = {.dirfd = run->dirfd, .where = "delta",
		.size_bytes = N_BLOCKS * DELTA_BLOCK_BYTES};
	struct id id;
	int rc = id_parse(NAME, &id);

	target.id = &id;
	if (rc == 0)
		rc = check_delta(&check, &io_kernel, &target, NULL);
	if (rc < 0)
		fail("cannot check", rc);
	return check.damages + check.unknowns > 0;
}

/* An older state, or none at all? */
static void complain_of_prefix(const struct run *run, const uint32_t *versions, size_t least)
{
	size_t k = least;

	while (k > 0 && !stamps_match(run->stamps, versions, k, k))
		k--;
	fprintf(stderr, "tiny-device: error: the first %zu changes were flushed, and it is %s %zu\n",
		least, k > 0 ? "as after" : "a mixture of", k > 0 ? k : run->stamps->n_ops);
}

static int do_check(struct run *run, const char *record, uint64_t bytes, bool all)
{
	uint32_t versions[N_BLOCKS];
	size_t least;
	int rc;

	read_record(run, record, bytes, &least);
	open_delta(run);
	rc = stamps_read(run->delta, N_BLOCKS, versions);
	if (rc < 0)
		fail("a block is a mixture or cannot be read", rc);
	if (!stamps_match(run->stamps, versions, least, run->stamps->n_ops)) {
		complain_of_prefix(run, versions, least);
		return 1;
	}
	if (delta_close(run->delta) < 0)
		return 1;
	return all ? check_all(run) : 0;
}

/* Work until a flush fails: pages that the device has already are still taken. */
static int work_until_failure(struct run *run)
{
	int rc = 0;

	for (int i = 0; i < 2000 && rc == 0; i++) {
		rc = random_change(run);
		if (rc == 0 && i % 8 == 0)
			rc = flush(run);
	}
	return rc;
}

static int do_fail(struct run *run, const char *record, const char *command)
{
	int rc = 0;

	open_record(run, record);
	make_delta(run);
	open_delta(run);
	for (int i = 0; i < 40 && rc == 0; i++)
		rc = random_change(run);
	if (rc == 0)
		rc = flush(run);
	if (rc < 0 || system(command) != 0)
		fail("before the device failed", rc);
	rc = work_until_failure(run);
	if (rc != -EIO)
		fail("the flush that had to fail", rc);
	if (delta_flush(run->delta) != -EIO || random_change(run) != -EIO)
		fail("a call after the failed flush", 0);
	delta_abandon(run->delta);
	printf("%" PRIu64 " flushes before the one that failed\n", run->flushes);
	return 0;
}

int main(int argc, char **argv)
{
	struct run run = {0};

	if (argc < 5) {
		fprintf(stderr, "usage: tiny-device write|check|look|fail DIR RECORD ...\n");
		return 2;
	}
	run_begin(&run, argv[2]);
	if (strcmp(argv[1], "check") == 0 || strcmp(argv[1], "look") == 0)
		return do_check(&run, argv[3], strtoull(argv[4], NULL, 10), argv[1][0] == 'c');
	if (strcmp(argv[1], "fail") == 0)
		return do_fail(&run, argv[3], argv[4]);
	run.blocklog = argv[4];
	return do_write(&run, argv[3], argc > 5 ? strtoull(argv[5], NULL, 10) : 1000);
}
