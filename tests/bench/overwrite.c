/* SPDX-License-Identifier: LGPL-2.1-or-later */
/* Steady random overwriting of a delta: how much is written, and how much space it takes.
 *
 * All blocks are written once, then overwritten at random by several threads at
 * full speed, while one thread does the maintenance that is due, as the daemon
 * does. Half of a block compresses. What is printed, one line per figure, is of
 * the second half of the overwriting, when everything is in its steady state.
 * Exits with 1 where more is written, or more space taken, than is promised.
 *
 *	overwrite DIR [SPAN_MIB [FACTOR [THREADS]]]
 *
 * SPAN_MIB (1024) MiB of the disk are overwritten FACTOR (4) times by THREADS (2).
 * DIR gets a directory of its own, which is removed at the end.
 */
#include <errno.h>
#include <fcntl.h>
#include <inttypes.h>
#include <pthread.h>
#include <stdatomic.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include "fs/store/delta.h"
#include "fs/util/clock.h"
#include "fs/util/id.h"
#include "tests/lib/rng.h"
#include "tests/lib/temp.h"

#define THREADS_MAX 16u
#define BATCH 256u     /* writes between two looks at the common state */
#define AMPLIFICATION_MAX 2.2
#define SPACE_MAX 2.2
#define FLUSH_EVERY 64u /* batches, of one thread */

static struct {
	struct delta *delta;
	char name[ID_TEXT];
	int dirfd;
	uint64_t blocks, writes; /* in all */
	_Atomic uint64_t done;
	atomic_bool stop;
	_Atomic int error;
	uint64_t seed;
	/* of the maintenance thread */
	uint64_t longest_step_ns;
	uint64_t allocated_max, live_max; /* in the second half */
} t;

struct mark {
	struct delta_stats stats;
	uint64_t done, ns;
};

static void fill(uint8_t *block, uint64_t *rng)
{
	uint64_t words[DELTA_BLOCK_BYTES / 16];

	for (size_t i = 0; i < sizeof(words) / 8; i++)
		words[i] = rng_next(rng);
	memcpy(block, words, sizeof(words));
	memset(block + sizeof(words), 'x', DELTA_BLOCK_BYTES - sizeof(words));
}

static void failed(int rc)
{
	atomic_store(&t.error, rc);
	atomic_store(&t.stop, true);
}

static void *writer(void *arg)
{
	uint64_t me = (uint64_t)(uintptr_t)arg, rng = t.seed + me, batches = 0;
	uint8_t block[DELTA_BLOCK_BYTES];
	int rc = 0;

	while (rc == 0 && !atomic_load(&t.stop) &&
		atomic_fetch_add(&t.done, BATCH) < t.writes) {
		for (uint32_t i = 0; rc == 0 && i < BATCH; i++) {
			fill(block, &rng);
			rc = delta_write(t.delta, block, 1, rng_below(&rng, t.blocks));
		}
		if (rc == 0 && me == 0 && ++batches % FLUSH_EVERY == 0)
			rc = delta_flush(t.delta);
	}
	if (rc < 0)
		failed(rc);
	return NULL;
}

static uint64_t allocated(const char *suffix)
{
	char file[ID_TEXT + 8];
	struct stat st;

	snprintf(file, sizeof(file), "%s.%s", t.name, suffix);
	return fstatat(t.dirfd, file, &st, 0) < 0 ? 0 : (uint64_t)st.st_blocks * 512;
}

/* Payload with its block sums: what a plain packed file would take. */
static uint64_t live_bytes(const struct delta_stats *stats)
{
	return stats->live_bytes + 8 * stats->data_blocks;
}

static void watch_space(void)
{
	struct delta_stats stats;
	uint64_t now = allocated("log") + allocated("ckpt");

	delta_stats(t.delta, &stats);
	if (atomic_load(&t.done) < t.writes / 2)
		return;
	if (now > t.allocated_max)
		t.allocated_max = now;
	t.live_max = live_bytes(&stats);
}

static int maintain_once(unsigned int due)
{
	uint64_t began = clock_now_ns(), moved, ns;
	int rc = 0;

	if (due & DELTA_DUE_CHECKPOINT) {
		rc = delta_checkpoint(t.delta);
	} else if (due & DELTA_DUE_CLEAN) {
		rc = delta_clean(t.delta, UINT64_C(4) << 20, &moved);
		ns = clock_now_ns() - began;
		if (ns > t.longest_step_ns)
			t.longest_step_ns = ns;
	} else if (due & DELTA_DUE_PREPARE) {
		rc = delta_prepare(t.delta);
	}
	return rc < 0 ? rc : 0;
}

static void *maintainer(void *arg)
{
	uint64_t looked = 0;

	while (!atomic_load(&t.stop)) {
		unsigned int due = delta_due(t.delta);
		int rc = maintain_once(due);

		if (rc < 0) {
			failed(rc);
			break;
		}
		if (clock_now_ns() - looked > 20000000) {
			looked = clock_now_ns();
			watch_space();
		}
		if (!due)
			usleep(2000);
	}
	return NULL;
}

static void take_mark(struct mark *mark)
{
	delta_stats(t.delta, &mark->stats);
	mark->done = atomic_load(&t.done);
	mark->ns = clock_now_ns();
}

static int fill_disk(void)
{
	uint8_t *buf = malloc(DELTA_BLOCKS_MAX * DELTA_BLOCK_BYTES);
	uint64_t rng = t.seed;
	int rc = buf ? 0 : -ENOMEM;

	for (uint64_t block = 0; rc == 0 && block < t.blocks; block += DELTA_BLOCKS_MAX) {
		for (uint32_t i = 0; i < DELTA_BLOCKS_MAX; i++)
			fill(buf + (size_t)i * DELTA_BLOCK_BYTES, &rng);
		rc = delta_write(t.delta, buf, DELTA_BLOCKS_MAX, block);
	}
	free(buf);
	return rc;
}

static void run_threads(unsigned int n, struct mark *half, struct mark *end)
{
	pthread_t thread[THREADS_MAX], keeper;

	for (uintptr_t i = 0; i < n; i++)
		pthread_create(&thread[i], NULL, writer, (void *)i);
	pthread_create(&keeper, NULL, maintainer, NULL);
	while (atomic_load(&t.done) < t.writes / 2 && !atomic_load(&t.stop))
		usleep(1000);
	take_mark(half);
	for (unsigned int i = 0; i < n; i++)
		pthread_join(thread[i], NULL);
	take_mark(end);
	atomic_store(&t.stop, true);
	pthread_join(keeper, NULL);
}

static void line(const char *what, double value, const char *unit)
{
	printf("steady random overwrite 4K: %-30s %10.2f %s\n", what, value, unit);
}

/* -ERANGE: more than is promised. */
static int print(const struct mark *half, const struct mark *end)
{
	const struct delta_stats *a = &half->stats, *b = &end->stats;
	double payload = (double)(b->live_bytes / b->data_blocks * (end->done - half->done));
	double guest = (double)(b->appended_bytes - a->appended_bytes) / payload;
	double moved = (double)(b->moved_bytes - a->moved_bytes) / payload;
	double checkpoint = (double)(b->checkpoint_bytes - a->checkpoint_bytes) / payload;
	double sec = (double)(end->ns - half->ns) / 1e9;
	double space = (double)t.allocated_max / (double)t.live_max;

	line("live data", (double)t.live_max / (1 << 20), "MiB");
	line("writes", (double)(end->done - half->done) / sec / 1e3, "k/s");
	line("write amplification", guest + moved + checkpoint, "x");
	line("  by cleaning", moved, "x");
	line("  by checkpoints", checkpoint, "x");
	line("space at most", space, "times live");
	line("longest step of cleaning", (double)t.longest_step_ns / 1e6, "ms");
	return guest + moved + checkpoint < AMPLIFICATION_MAX && space < SPACE_MAX ? 0 : -ERANGE;
}

static int bench(unsigned int threads)
{
	struct mark half, end;
	struct id id = id_new();
	struct err err = {0};
	int rc;

	id_format(&id, t.name);
	rc = delta_create(NULL, t.dirfd, t.name, t.blocks * DELTA_BLOCK_BYTES, &err);
	if (rc == 0)
		rc = delta_open(t.dirfd, t.name, NULL, &t.delta, &err);
	if (rc < 0) {
		fprintf(stderr, "overwrite: %s\n", err.message);
		return rc;
	}
	rc = fill_disk();
	if (rc == 0) {
		run_threads(threads, &half, &end);
		rc = atomic_load(&t.error);
	}
	if (rc == 0)
		rc = print(&half, &end);
	delta_close(t.delta);
	return rc;
}

static uint64_t argument(int argc, char **argv, int i, uint64_t fallback, uint64_t max)
{
	uint64_t value = argc > i ? strtoull(argv[i], NULL, 10) : fallback;

	return value == 0 || value > max ? fallback : value;
}

int main(int argc, char **argv)
{
	char dir[TEMP_PATH_MAX];
	uint64_t span_mib, factor;
	unsigned int threads;
	int rc;

	if (argc < 2) {
		fprintf(stderr, "usage: overwrite DIR [SPAN_MIB [FACTOR [THREADS]]]\n");
		return 2;
	}
	span_mib = argument(argc, argv, 2, 1024, 1 << 20);
	factor = argument(argc, argv, 3, 4, 1 << 20);
	threads = (unsigned int)argument(argc, argv, 4, 2, THREADS_MAX);
	t.seed = rng_seed();
	t.blocks = span_mib << 8;
	t.writes = t.blocks * factor;
	setenv("TMPDIR", argv[1], 1);
	temp_dir("overwrite", dir);
	t.dirfd = open(dir, O_RDONLY | O_DIRECTORY | O_CLOEXEC);
	rc = bench(threads);
	close(t.dirfd);
	temp_dir_remove(dir);
	if (rc < 0)
		fprintf(stderr, "overwrite: %s\n", strerror(-rc));
	return rc < 0;
}
